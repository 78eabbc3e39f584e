"""How the claims of the two papers fared: each as a difference of runs, on every data set that has them."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import pandas as pd

from reidkit.claims import Claim, Untested
from reidkit.published import Table
from reidkit.records import Record
from reidkit.report.differences import difference_chart, with_interval
from reidkit.report.display import explorer_link
from reidkit.report.rows import PEOPLE, Runs, Spread, difference, differences, records_behind
from reidkit.report.style import Drawing
from reidkit.report.words import counted as in_words
from reidkit.report.words import listed, signed

HARDLY = 1.0  # points of mAP: what is less than this, hardly helps
HOLDS, BUT = "holds", "holds, but not over its control"
UNCONTROLLED = "holds; its control is not run"
NOT, OPEN = "does not hold", "cannot be told"
TOO_FEW, MISSING = "too few seeds: no verdict yet", "not run"
# Of one claim, and of several
FARED = {
    HOLDS: ("{} holds", "{} hold"),
    BUT: ("{} holds, but not over its control", "{} hold, but not over their controls"),
    UNCONTROLLED: ("{} holds (its control is not run)", "{} hold (their controls are not run)"),
    NOT: ("{} does not hold", "{} do not hold"),
    OPEN: ("{} cannot be told", "{} cannot be told"),
    TOO_FEW: ("{} has too few seeds for a verdict", "{} have too few seeds for a verdict"),
}


def fared(claim: Claim, runs: Runs) -> str:
    """The verdict on a claim. The rule:

    - It *holds* where the whole 95 % interval of the difference is on its side of zero, *does not hold* where all of it
      is on the other, and else *cannot be told*. That something hardly helps holds where all of the interval is below
      one point, and does not where all of it is above.
    - Where it holds, but not over the control, which has what comes with it and not what is praised, that is said; so
      is that the control has not been run.
    - Where too few rows have several seeds, the interval knows nothing of their choice, and there is no verdict yet.
    """
    found, own = difference(runs, claim.row, claim.over), difference(runs, claim.row, claim.control)
    if not found.known:
        return MISSING
    if found.covers == PEOPLE:
        return TOO_FEW
    if not claim.better:
        return HOLDS if found.high < HARDLY else NOT if found.low > HARDLY else OPEN
    if found.low <= 0:
        return NOT if found.high < 0 else OPEN
    if claim.control and not own.known:
        return UNCONTROLLED
    return HOLDS if not claim.control or own.low > 0 else BUT


def claims_table(
    claims: Sequence[Claim], tables: Iterable[Table], data: Mapping[str, Runs], profiles: Mapping[str, str]
) -> pd.DataFrame:
    """A row per claim: what is said, what the paper prints for it, and by data set the verdict and what it rests on.

    profiles: by data set, whose runs they are; a verdict leads to the explorer, where the two rows stand side by side.
    """
    printed = tuple(tables)
    lines = [
        {
            "Claim": f"{claim.said} ({claim.where}): `{claim.row}` over `{claim.over}`",
            "Paper": signed(claim.printed(printed)),
        }
        | {title: _judged(claim, runs, profiles[title]) for title, runs in data.items()}
        for claim in claims
    ]
    return pd.DataFrame(lines)


def _judged(claim: Claim, runs: Runs, profile: str) -> str:
    verdict = fared(claim, runs)
    if verdict == MISSING:
        return verdict
    ours, base = (len(runs[row]) for row in (claim.row, claim.over))
    seeds = f"{ours} seed{'s' if ours > 1 else ''}" + ("" if ours == base else f" over {base}")
    found = with_interval(difference(runs, claim.row, claim.over))
    return f"{explorer_link(verdict, profile, claim.over, claim.row)}: {found}, {seeds}"


def controls_table(claims: Sequence[Claim], data: Mapping[str, Runs]) -> pd.DataFrame:
    """A row per claim that has a control: what its row has over the control, by data set."""
    lines = [
        {"Claim": claim.said, "Control": f"`{claim.control}`"}
        | {title: with_interval(e) for title, e in differences(data, claim.row, claim.control).items()}
        for claim in claims
        if claim.control
    ]
    return pd.DataFrame(lines)


def untested_table(claims: Sequence[Untested]) -> pd.DataFrame:
    """The claims that no difference of rows can test here, and why."""
    return pd.DataFrame([{"Claim": f"{c.said} ({c.where})", "Not tested, because": c.why} for c in claims])


def behind(claims: Iterable[Claim], data: Mapping[str, Runs]) -> list[Record]:
    """The records that the verdicts rest on."""
    rows = dict.fromkeys(row for claim in claims for row in (claim.row, claim.over, claim.control) if row)
    return records_behind(data, rows)


def counted(claims: Sequence[Claim], runs: Runs, data: str) -> str:
    """How many claims fared how on a data set, in a sentence."""
    verdicts = [fared(claim, runs) for claim in claims]
    tested = [verdict for verdict in verdicts if verdict != MISSING]
    if not tested:
        return f"On {data}, none of the {in_words(len(claims))} claims has been tested yet."
    counts = {verdict: tested.count(verdict) for verdict in FARED if verdict in tested}
    names = {verdict: in_words(count) for verdict, count in counts.items()}
    if len(counts) == 1:
        names = dict.fromkeys(counts, "all of them" if len(tested) > 1 else "it")
    told = listed([FARED[verdict][count > 1].format(names[verdict]) for verdict, count in counts.items()])
    if set(counts) == {OPEN} and len(tested) > 1:
        told = "none could be settled"
    many = f"{in_words(len(tested))} of the" if len(tested) < len(claims) else "all"
    were = "was" if len(tested) == 1 else "were"
    return f"On {data}, {many} {in_words(len(claims))} claims {were} tested: {told}."


def below_print(claims: Iterable[Claim], tables: Iterable[Table], data: Mapping[str, Runs]) -> str:
    """How many of the printed gains lie above all of our interval for them, by data set, in a sentence."""
    printed = tuple(tables)
    gains = [(claim, gain) for claim in claims if claim.better and (gain := claim.printed(printed)) is not None]
    lies: dict[str, list[str]] = {}  # by how many, the data sets
    for title, runs in data.items():
        found = [(difference(runs, claim.row, claim.over), gain) for claim, gain in gains]
        tested = [estimate.high < gain for estimate, gain in found if estimate.known]
        if tested:
            claimed = f"{in_words(len(tested))} claim{'s' if len(tested) > 1 else ''}"
            many = f"{in_words(sum(tested)) if any(tested) else 'none'} of {claimed}"
            lies.setdefault(many, []).append(title)
    told = [f"{many} on {listed(titles)}{' each' * (len(titles) > 1)}" for many, titles in lies.items()]
    return f"The paper's gain lies above our whole interval for {listed(told)}." if told else ""


def smallest(claims: Iterable[Claim], data: Mapping[str, Runs]) -> str:
    """Which gains of claims would not show on each data set: half of an interval, the mean over those tested.

    Intervals that know nothing of seeds say nothing of it: data sets that have no other are left out.
    """
    told = []
    for title, runs in data.items():
        found = [difference(runs, claim.row, claim.over) for claim in claims]
        if widths := [gain.high - gain.low for gain in found if gain.known and gain.covers != PEOPLE]:
            told.append(f"{fmean(widths) / 2:.0f} points on {title}")
    return f"A gain of less than about {listed(told)} would not show here: not seen is not absent." if told else ""


def covered(data: Mapping[str, Runs]) -> str:
    """What the intervals of differences between rows are taken over, on these data sets."""
    single = [title for title, runs in data.items() if runs and not Spread.of(runs.values()).freedom]
    if len(single) == len(data):
        return "95 % intervals over the people alone: too few rows have a second seed, so that there is no verdict yet"
    alone = f" (on {listed(single)} over the people alone, as too few rows have a second seed)" if single else ""
    return f"95 % intervals over people and seeds{alone}"


def claims_chart(claims: Sequence[Claim], tables: Iterable[Table], data: Mapping[str, Runs]) -> Drawing:
    """What each claim's row has over the other in mAP: the paper's number, and ours by data set with its interval."""
    printed = tuple(tables)
    found = {claim.said: differences(data, claim.row, claim.over) for claim in claims}
    return difference_chart(found, {claim.said: claim.printed(printed) for claim in claims})
