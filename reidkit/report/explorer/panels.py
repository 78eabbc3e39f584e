"""Everything about a row but its pictures: scores, curves, and what its queries gained, as HTML."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from reidkit.records import Record
from reidkit.report.display import Written
from reidkit.report.explorer.charts import Line, difference_chart, line_chart
from reidkit.report.explorer.experiments import Experiment
from reidkit.report.markup import markup
from reidkit.report.rows import query_scores, same_seeds
from reidkit.report.tables import COVERS, interval_cells
from reidkit.report.verdicts import departures
from reidkit.report.words import LABELS, interval, number, signed

RANKS = 20  # of the CMC curve
EXTREMES = 5  # queries that are named for what they gained, and for what they lost
Captioned = tuple[Markup, str]  # a chart and its caption


def row_panel(experiment: Experiment, row: str, links: bool = True) -> Markup:
    """Everything about a row but its pictures: scores, curves, and what its queries gained.

    links: whether the names of the records lead to their pages, which a built book has and JupyterLab has not.
    """
    records, scores = experiment.records[row], experiment.scores(row)
    given: dict[str, object] = {"label": experiment.label(row), "records": records, "scores": ""}
    if records or scores["paper"].notna().any():
        given["scores"] = _scores(scores)
    if not records:
        command = experiment.profile.command(row, experiment.config(row).seed)
        return markup("panel.html", command=command, **given)
    covers = COVERS.get(scores["covers"].iloc[0], "").replace("*", "")
    return markup(
        "panel.html",
        links=links,
        departures=departures(records[0], experiment.table),
        covers=f"Intervals by bootstrap over the queries{f'; {covers}' if covers else ' and seeds'}.",
        figures=[_cmc(experiment, row), *training_charts(records)],
        changes=[_change(experiment, row, name, base) for name, base in experiment.bases(row).items()],
        **given,
    )


def _scores(scores: pd.DataFrame) -> Markup:
    shown = {
        "per cent": scores["metric"].map(LABELS),
        "Paper": scores["paper"].map(number),
        "Here": scores["ours"].map(number),
        "95 % interval": interval_cells(scores),
        "Difference": scores["difference"].map(signed),
        "Verdict": scores["verdict"],
    }
    return Written(pd.DataFrame(shown)).html(label="Scores: the paper's and those measured here")


def cmc(records: Sequence[Record], ranks: int = RANKS) -> NDArray[np.float64]:
    """The share of queries (ranks,) in per cent with a right match among the first 1 … ranks results, mean over seeds.

    Queries without a match in the gallery do not count.
    """
    first = [record.queries["first_match_rank"].to_numpy() for record in records]
    curves = [100 * (rank[rank >= 1][:, None] <= np.arange(1, ranks + 1)).mean(0) for rank in first]
    shares: NDArray[np.float64] = np.mean(curves, axis=0)
    return shares


def _cmc(experiment: Experiment, row: str) -> Captioned:
    ranks = np.arange(1, RANKS + 1)
    lines, said, key = [], [], []
    if experiment.baseline and row != experiment.rows[0]:
        lines.append(Line("base", ranks, cmc(experiment.baseline)))
        key.append("dashed: baseline")
    lines.append(Line("here", ranks, cmc(experiment.records[row])))
    key.append("line: this run")
    for name, line in zip(key, lines, strict=True):
        said.append(f"{name}, " + ", ".join(f"{line.y[k - 1]:.1f} at {k}" for k in (1, 5, 10, RANKS)))
    scores = experiment.scores(row)
    printed = scores[scores["metric"].str.startswith("rank-") & scores["paper"].notna()]
    if len(printed):
        at = [int(metric.removeprefix("rank-")) for metric in printed["metric"]]
        lines.append(Line("paper", at, printed["paper"].to_numpy()))
        said.append("paper, " + ", ".join(f"{score:.1f} at {k}" for k, score in zip(at, printed["paper"], strict=True)))
        key.append("diamonds: the paper")
    alt = f"Share of queries in per cent with a right match among the first k results: {'; '.join(said)}."
    return line_chart(lines, "first k results", "right match (%)", alt), f"CMC curve ({', '.join(key)})"


def training_charts(records: Sequence[Record]) -> list[Captioned]:
    """Loss, accuracy and, where it was evaluated on the way, mAP: a line per seed."""
    drawn = []
    for column, label, scale, caption in (
        ("total", "training loss", 1, "Training loss"),
        ("accuracy", "accuracy (%)", 100, "Accuracy on training pictures"),
        ("mAP", "mAP (%)", 100, "mAP of the queries"),
    ):
        histories = [record.history for record in records if column in record.history]
        curves = [history[["epoch", column]].dropna().to_numpy(float).T * [[1], [scale]] for history in histories]
        if any(curve.size for curve in curves):
            ends = "; ".join(f"{y[0]:.3g} after epoch {x[0]:g}, {y[-1]:.3g} after epoch {x[-1]:g}" for x, y in curves)
            alt, lines = f"The {label} over the epochs: {ends}.", [Line("here", *curve) for curve in curves]
            chart = line_chart(lines, "epoch", label, alt, log=column == "total")
            drawn.append((chart, caption + (f", {len(curves)} seeds" if len(curves) > 1 else "")))
    return drawn


def query_differences(ours: Sequence[Record], base: Sequence[Record]) -> pd.DataFrame:
    """Average precision by query in per cent, mean over seeds: columns base, ours, difference, the greatest first."""
    ours, base = same_seeds(ours, base)
    frame = pd.DataFrame({"base": query_scores(base)["mAP"], "ours": query_scores(ours)["mAP"]})
    frame["difference"] = frame["ours"] - frame["base"]
    return frame.sort_values("difference", ascending=False, kind="stable")


def _change(experiment: Experiment, row: str, name: str, base: str) -> Markup:
    """What the queries gained and lost over another row, with the paired intervals."""
    if not experiment.records[base]:
        return Markup("<p>Not run: {}.</p>").format(name)
    found = query_differences(experiment.records[row], experiment.records[base])
    values = found["difference"].to_numpy()
    counts = f"{(values > 0).sum():,} of {len(values):,} queries gained, {(values < 0).sum():,} lost"
    alt = (
        f"What the average precision of each query gained over {name}, sorted: from {values[0]:+.1f} to "
        f"{values[-1]:+.1f} points, {values.mean():+.2f} on average; {counts}."
    )
    ends = pd.concat([found[values > 0].head(EXTREMES), found[values < 0].tail(EXTREMES)])
    named = {"Query": [f"`{query}`" for query in ends.index], "AP before": ends["base"], "AP here": ends["ours"]}
    table = Written(pd.DataFrame(named | {"Gained": ends["difference"].map(signed)}))
    gains = experiment.measured.gain(row, base)
    return markup(
        "change.html",
        name=name,
        gains="; ".join(
            f"{LABELS[metric]} {signed(gain.ours)} points, 95 % interval {interval(*gain[1:], digits=2, sign=True)}"
            for metric, gain in gains.items()
            if metric in ("mAP", "rank-1")
        ),
        counts=counts[0].upper() + counts[1:],
        chart=difference_chart(values, f"{len(values):,} queries, sorted", "AP gained (points)", alt),
        named=table.html(label=f"Queries that gained and lost most over {name}") if len(ends) else "",
    )
