"""Differences in mAP, the paper's beside ours: a line per claim or row, in it a point and an interval per data set."""

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd

from reidkit.report.rows import PEOPLE, Estimate, Runs, differences
from reidkit.report.style import BLUE, ORANGE, WIDTH, Drawing, name_rows, notice, styled
from reidkit.report.words import interval, signed

GREEN = "#009e73"


@styled
def difference_chart(
    found: Mapping[str, Mapping[str, Estimate]], paper: Mapping[str, float | None], label: str = "difference in mAP"
) -> Drawing:
    """A line per difference: the paper's as a diamond, ours by data set as a dot with its 95 % interval, in points.

    found: by what each line is called, by data set (two at most); those that were not run on any are left out.
    paper: by the same names; None where the paper prints no such difference.
    Where nothing was run, the figure says so.
    """
    drawn = {name: by_data for name, by_data in found.items() if any(e.known for e in by_data.values())}
    if not drawn:
        return notice("None of these rows has been run yet.")
    run_on = {title for by_data in drawn.values() for title, e in by_data.items() if e.known}
    data = [title for title in next(iter(drawn.values())) if title in run_on]
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.55 * len(drawn)), layout="constrained")
    axes.axvline(0, color="0.3", linewidth=1)
    shifts = (-0.12, 0.12) if len(data) > 1 else (0.0,)
    for title, shift, colour, marker in zip(data, shifts, (BLUE, GREEN), "os", strict=False):
        at = {y + shift: e for y, by_data in enumerate(drawn.values()) if (e := by_data.get(title)) and e.known}
        ours, low, high = zip(*(e[:3] for e in at.values()), strict=True)
        axes.hlines(list(at), low, high, color=colour, linewidth=4, alpha=0.45)
        axes.plot(ours, list(at), marker, color=colour, label=title)
    printed = {y: x for y, name in enumerate(drawn) if (x := paper.get(name)) is not None}
    if printed:
        axes.plot(list(printed.values()), list(printed), "D", color=ORANGE, fillstyle="none", label="paper")
    name_rows(axes, [textwrap.fill(name, 26) for name in drawn])
    axes.set(xlabel=f"{label} (points)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    told = "; ".join(
        f"{name}: "
        + (f"paper {signed(printed[y])}, " if y in printed else "")
        + ", ".join(f"{title} {with_interval(e)}" for title, e in by_data.items() if e.known)
        for y, (name, by_data) in enumerate(drawn.items())
    )
    return figure, f"Chart of the {label} in points. {told}."


def gain_chart(
    shown: Mapping[str, str], base: str, paper: Mapping[str | None, float], data: Mapping[str, Runs]
) -> Drawing:
    """What rows gain over a base in mAP: `difference_chart` of what each of `shown` is called, by row.

    paper: the printed mAP of rows, in per cent.
    """
    names = {row: name for row, name in shown.items() if row != base}
    found = {name: differences(data, row, base) for row, name in names.items()}
    printed = {name: round(paper[row] - paper[base], 2) for row, name in names.items() if row in paper}
    return difference_chart(found, printed, "gain in mAP")


def with_interval(found: Estimate) -> str:
    """A difference of ours with its interval, which says where it knows nothing of seeds; – where it was not run."""
    if not found.known:
        return "–"
    alone = " (people alone)" if found.covers == PEOPLE else ""
    return f"{signed(found.ours)} [{interval(found.low, found.high, sign=True)}]{alone}"


def difference_table(found: Mapping[str, Mapping[str, Estimate]]) -> pd.DataFrame:
    """A line per difference, in mAP, by what it is called, a column per data set; of what was run."""
    run = {name: by_data for name, by_data in found.items() if any(e.known for e in by_data.values())}
    data = dict.fromkeys(title for by_data in run.values() for title, e in by_data.items() if e.known)
    lines = [{"Control": name} | {t: with_interval(by_data[t]) for t in data} for name, by_data in run.items()]
    return pd.DataFrame(lines or [{"Control": "not run yet"}])
