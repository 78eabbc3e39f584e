"""How the claims of the two papers fared: each as a difference of runs, on every data set that has them."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd

from reidkit.claims import Claim, Untested
from reidkit.profile import Profile
from reidkit.published import Table
from reidkit.records import Record
from reidkit.report.rows import QUERIES, Estimate, Spread, gain
from reidkit.report.style import BLUE, ORANGE, WIDTH, Drawing, style
from reidkit.report.words import interval, signed
from reidkit.runs import find_record

HARDLY = 1.0  # points of mAP: what is less than this, hardly helps
HOLDS, BUT = "holds", "holds, but not over its control"
NOT, OPEN = "does not hold", "cannot be told"
ONE_SEED, MISSING = "one seed: no verdict yet", "not run"

Runs = Mapping[str, Sequence[Record]]  # by row, the records of its seeds


def runs_of(profile: Profile, system: str) -> dict[str, list[Record]]:
    """The finished records of a profile's rows of a system, controls included, by row."""
    found: dict[str, list[Record]] = {}
    for planned in profile.planned(system):
        if (record := find_record(planned.config)) is not None:
            found.setdefault(planned.row, []).append(record)
    return found


def difference(runs: Runs, row: str, over: str | None) -> Estimate:
    """What a row has over another in mAP, in points; nan where one of them was not run."""
    if over is None or not runs.get(row) or not runs.get(over):
        return Estimate()
    return gain(runs[row], runs[over], Spread.of(runs.values()))["mAP"]


def fared(claim: Claim, runs: Runs) -> str:
    """The verdict on a claim. The rule:

    - It *holds* where the whole 95 % interval of the difference is on its side of zero, *does not hold* where all of it
      is on the other, and else *cannot be told*. That something hardly helps holds where all of the interval is below
      one point, and does not where all of it is above.
    - Where it holds, but not over the control, which has what comes with it and not what is praised, that is said.
    - Where no row has several seeds, the interval knows nothing of their choice, and there is no verdict yet.
    """
    found, own = difference(runs, claim.row, claim.over), difference(runs, claim.row, claim.control)
    if math.isnan(found.ours):
        return MISSING
    if found.covers == QUERIES:
        return ONE_SEED
    if not claim.better:
        return HOLDS if found.high < HARDLY else NOT if found.low > HARDLY else OPEN
    if found.low <= 0:
        return NOT if found.high < 0 else OPEN
    return HOLDS if math.isnan(own.ours) or own.low > 0 else BUT


def claims_table(claims: Sequence[Claim], tables: Iterable[Table], data: Mapping[str, Runs]) -> pd.DataFrame:
    """A row per claim: what is said, what the paper prints for it, and by data set the verdict and what it rests on."""
    printed = tuple(tables)
    lines = [
        {"Claim": f"{claim.said} ({claim.where})", "Paper": _signed(claim.printed(printed))}
        | {title: _judged(claim, runs) for title, runs in data.items()}
        for claim in claims
    ]
    return pd.DataFrame(lines)


def _judged(claim: Claim, runs: Runs) -> str:
    verdict = fared(claim, runs)
    return verdict if verdict == MISSING else f"*{verdict}*: {_with_interval(difference(runs, claim.row, claim.over))}"


def controls_table(claims: Sequence[Claim], data: Mapping[str, Runs]) -> pd.DataFrame:
    """A row per claim that has a control: what its row has over the control, by data set."""
    lines = [
        {"Claim": claim.said, "Control": f"`{claim.control}`"}
        | {title: _with_interval(difference(runs, claim.row, claim.control)) for title, runs in data.items()}
        for claim in claims
        if claim.control
    ]
    return pd.DataFrame(lines)


def _signed(value: float | None) -> str:
    return "–" if value is None else signed(value)


def _with_interval(found: Estimate) -> str:
    return "–" if math.isnan(found.ours) else f"{signed(found.ours)} [{interval(*found[1:], sign=True)}]"


def untested_table(claims: Sequence[Untested]) -> pd.DataFrame:
    """The claims that no difference of rows can test here, and why."""
    return pd.DataFrame([{"Claim": f"{c.said} ({c.where})", "Not tested, because": c.why} for c in claims])


def behind(claims: Iterable[Claim], data: Mapping[str, Runs]) -> list[Record]:
    """The records that the verdicts rest on."""
    rows = {row for claim in claims for row in (claim.row, claim.over, claim.control) if row}
    return [record for runs in data.values() for row, found in runs.items() if row in rows for record in found]


def counted(claims: Sequence[Claim], runs: Runs, data: str) -> str:
    """How many claims fared how on a data set, in a sentence."""
    verdicts = [fared(claim, runs) for claim in claims]
    tested = [verdict for verdict in verdicts if verdict != MISSING]
    if not tested:
        return f"None of the {len(claims)} claims has been tested on {data} yet."
    counts = pd.Series(tested).value_counts().reindex([HOLDS, BUT, NOT, OPEN, ONE_SEED], fill_value=0)
    told = ", ".join(f"{count} × *{verdict}*" for verdict, count in counts.items() if count)
    return f"Of {len(claims)} claims {len(tested)} were tested on {data}: {told}."


def covered(runs: Runs) -> str:
    """What the intervals of differences between these rows are taken over."""
    if any(len(records) > 1 for records in runs.values()):
        return "95 % intervals over queries and seeds"
    return "95 % intervals over the queries alone: every row has one seed so far, so that there is no verdict yet"


def claims_chart(claims: Sequence[Claim], tables: Iterable[Table], data: Mapping[str, Runs]) -> Drawing:
    """What each claim's row has over the other in mAP: the paper's number, and ours by data set with its interval.

    Raises ValueError where no claim has been tested on any of the data.
    """
    printed = tuple(tables)
    found = {
        claim.said: {title: difference(runs, claim.row, claim.over) for title, runs in data.items()} for claim in claims
    }
    tested = {said: by_data for said, by_data in found.items() if not all(math.isnan(e.ours) for e in by_data.values())}
    if not tested:
        raise ValueError("none of the claims has been tested on these data")
    paper = {claim.said: claim.printed(printed) for claim in claims}
    colours = dict(zip(data, (BLUE, "#009e73"), strict=False))
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.55 * len(tested)), layout="constrained")
        axes.axvline(0, color="0.3", linewidth=1)
        for title, shift in zip(data, (-0.12, 0.12), strict=False):
            lines = [(y + shift, e[title]) for y, e in enumerate(tested.values()) if not math.isnan(e[title].ours)]
            for y, estimate in lines:
                axes.hlines(y, estimate.low, estimate.high, color=colours[title], linewidth=4, alpha=0.45)
            axes.plot(
                [e.ours for _, e in lines],
                [y for y, _ in lines],
                "o",
                color=colours[title],
                label=title if lines else None,
            )
        places = [(y, x) for y, said in enumerate(tested) if (x := paper[said]) is not None]
        axes.plot([x for _, x in places], [y for y, _ in places], "D", color=ORANGE, fillstyle="none", label="paper")
        axes.set_yticks(range(len(tested)), [textwrap.fill(said, 26) for said in tested])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="difference in mAP (points)")
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    told = "; ".join(
        f"{said}: paper {_signed(paper[said])}, "
        + ", ".join(f"{title} {_with_interval(e)}" for title, e in by_data.items())
        for said, by_data in tested.items()
    )
    return figure, f"Chart of differences in mAP by claim, in points. {told}."
