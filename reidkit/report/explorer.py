"""The ablation explorer: widgets that show any run of a profile, made from its records before the page is opened.

Dropdowns are linked to nested `Stack`s in the browser (`jsdlink`), so that they need no kernel; what they choose from
is HTML with inline pictures. `live` has what does need a kernel: training a run that is missing, and ranking the
gallery for a picture of the reader's own.
"""

import html
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import ipywidgets
import numpy as np
import pandas as pd
import torch
from ipywidgets import HTML, Button, Dropdown, FileUpload, Layout, Output, Stack, VBox
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reidkit.data import Dataset
from reidkit.data.resident import normalise, resize
from reidkit.evaluation import top_matches
from reidkit.models import ATTENTION
from reidkit.models.backbone import STAGES
from reidkit.places import build_root
from reidkit.profile import Plan, Profile
from reidkit.published import SAN_GAL_OURS, SAN_GAL_TABLE_1, TABLE_1, TABLE_3, TABLE_4, Row, Table
from reidkit.records import Record
from reidkit.report import tables
from reidkit.report.display import run_link
from reidkit.report.inline import STYLE, Line, Sheet, data_uri, difference_chart, line_chart
from reidkit.report.ranked_lists import example_queries
from reidkit.report.sheets import picture
from reidkit.runs import (
    attributes_of,
    check_data,
    features,
    find_record,
    heat_map_folder,
    heat_maps,
    load_network,
    open_dataset,
    run,
    weights_path,
)
from reidkit.settings import Configuration
from reidkit.systems.attributes import attribute_names
from reidkit.systems.joint_loss import GRID, LOSSES, RunConfig
from reidkit.systems.san_gal import READINGS, ROWS, SanGalConfig

RANKS = 20  # of the CMC curve
RESULTS = 8  # of a ranked list
QUERIES = {"easy": 0.9, "median": 0.5, "hard": 0.1}  # quantiles of the baseline's average precision
EXTREMES = 5  # queries that are named for what they gained, and for what they lost
HEAT = np.array([230.0, 97.0, 0.0])  # the colour of a heat map at its peak


# ------------------------------------------------------------------------------------------------------- experiments


@dataclass(frozen=True)
class Experiment:
    """One paper's ablation on one data set: what the first dropdown chooses from."""

    paper: Literal["Joint loss", "SAN-GAL"]
    table: Table  # the printed ablation of that data set
    profile: Profile

    @property
    def name(self) -> str:
        plan = self.profile
        if plan.dataset == "synthped":
            like = "" if plan.synthped_preset == "market-like" else f" {plan.synthped_preset}"
            return f"{self.paper}: SynthPed{like} (toy)"
        return f"{self.paper}: {tables.DATASETS[plan.dataset]}{' (small)' if plan.profile.endswith('-small') else ''}"

    @property
    def slug(self) -> str:
        """The name as a part of a label."""
        return "-".join((*self.paper.lower().split(), self.profile.profile))

    @property
    def cells(self) -> tuple[str, ...]:
        """Its runs as `reidkit run --cell` calls them, the baseline first."""
        readings = tuple(f"{SAN_GAL_OURS}/{reading}" for reading in READINGS)
        return tuple(GRID) if self.paper == "Joint loss" else (*ROWS, *readings)

    @cached_property
    def records(self) -> dict[str, list[Record]]:
        """By cell, the records of the profile's seeds; none where it was not run."""
        plan = self.profile
        seeds = plan.systems.get("joint-loss" if self.paper == "Joint loss" else "san-gal", Plan()).seeds
        return {
            cell: [record for seed in seeds if (record := find_record(plan.config(cell, seed)))] for cell in self.cells
        }

    @property
    def baseline(self) -> list[Record]:
        return self.records[self.cells[0]]

    @cached_property
    def comparison(self) -> tables.Comparison:
        """`tables.compare` of every cell; "not printed" is the verdict on those that the paper does not have."""
        own = {row.cell: row for row in self.table.rows}
        unknown = dict.fromkeys(self.table.metrics, np.nan)
        rows = [replace(own.get(cell, Row("", unknown, cell)), method=cell) for cell in self.cells]
        found = tables.compare(replace(self.table, rows=tuple(rows)), itertools.chain(*self.records.values()))
        found["cell"] = found["method"]
        found["method"] = found["cell"].map(self.label)
        found.loc[found["paper"].isna() & (found["seeds"] > 0), "verdict"] = "not printed"
        return found

    def scores(self, cell: str) -> tables.Comparison:
        return self.comparison[self.comparison["cell"] == cell]

    def label(self, cell: str) -> str:
        """A cell in words, with what the paper calls it."""
        printed = next((row.method for row in self.table.rows if row.cell == cell), "")
        first, _, second = cell.partition("/")
        if self.paper == "SAN-GAL":
            return printed or f"{first}, {second.replace('-', ' ')}"
        return f"{ATTENTION[first].title}, {LOSSES[second]}" + (f": {printed}" if printed else "")

    def config(self, cell: str) -> Configuration:
        """The run of a cell, with the seed of its first record if it has one."""
        records = self.records[cell]
        return self.profile.config(cell, records[0].config["seed"] if records else None)

    def base(self, cell: str, of: str) -> list[Record]:
        """The records of the cell `of` that `cell` is compared with: of the same seeds where they are there."""
        seeds = {record.config["seed"] for record in self.records[cell]}
        same = [record for record in self.records[of] if record.config["seed"] in seeds]
        return same if len(same) == len(seeds) else self.records[of]


def experiments(profile: Profile) -> list[Experiment]:
    """What there is to explore of a profile: both papers on its data, on its companion's, and on Market-1501."""
    plans = [profile]
    for plan in (profile.other(), Profile.read("market1501-small")):
        if plan is not None and plan.profile not in {other.profile for other in plans}:
            plans.append(plan)
    grids = {table.dataset: table for table in (TABLE_1, TABLE_3, TABLE_4)}
    halves = {table.dataset: table for table in SAN_GAL_TABLE_1}
    stands_for = [tables.TOY_COPY_OF[p.synthped_preset] if p.dataset == "synthped" else p.dataset for p in plans]
    places = list(zip(plans, stands_for, strict=True))
    return [
        *(Experiment("Joint loss", grids[data], plan) for plan, data in places if plan.rows("joint-loss")),
        *(
            Experiment("SAN-GAL", halves[data], plan)
            for plan, data in places
            if "san-gal" in plan.systems and data in halves
        ),
    ]


def overview(experiment: Experiment) -> pd.DataFrame:
    """Every cell of an experiment in a row, for display: paper, here, and what it gains over the baseline in mAP."""
    rows = []
    for cell, records in experiment.records.items():
        scores = experiment.scores(cell).set_index("metric").to_dict("index")
        gain = {"ours": np.nan, "low": np.nan, "high": np.nan}
        if records and experiment.baseline and cell != experiment.cells[0]:
            gain = tables.gain(records, experiment.base(cell, experiment.cells[0]))
        rows.append(
            {
                "Run": experiment.label(cell),
                "Rank-1 paper": scores["rank-1"]["paper"],
                "Rank-1 here": scores["rank-1"]["ours"],
                "mAP paper": scores["mAP"]["paper"],
                "mAP here": scores["mAP"]["ours"],
                "95 % interval": _interval(scores["mAP"]["low"], scores["mAP"]["high"]),
                "Over baseline": _signed(gain["ours"]),
                "95 % of that": _interval(gain["low"], gain["high"]),
                "Verdict on mAP": scores["mAP"]["verdict"],
                "Record": " ".join(run_link(record.name) for record in records) or "–",
            }
        )
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------------------------ measurements


def cmc(records: Sequence[Record], ranks: int = RANKS) -> NDArray[np.float64]:
    """The share of queries (ranks,) in per cent with a right match among the first 1 … ranks results, mean over seeds.

    Queries without a match in the gallery do not count.
    """
    curves = []
    for record in records:
        rank = record.queries["first_match_rank"].to_numpy()
        curves.append(100 * (rank[rank >= 1][:, None] <= np.arange(1, ranks + 1)).mean(0))
    shares: NDArray[np.float64] = np.mean(curves, axis=0)
    return shares


def query_differences(ours: Sequence[Record], base: Sequence[Record]) -> pd.DataFrame:
    """Average precision by query in per cent, mean over seeds: columns base, ours, difference, the greatest first."""
    scores = {name: 100 * tables.query_scores(records)["mAP"] for name, records in (("base", base), ("ours", ours))}
    frame = pd.DataFrame(scores)
    frame["difference"] = frame["ours"] - frame["base"]
    return frame.sort_values("difference", ascending=False, kind="stable")


# ------------------------------------------------------------------------------------------------------------- panels


def cell_panel(experiment: Experiment, cell: str, links: bool = True) -> str:
    """Everything about a cell but its pictures: scores, curves, and what its queries gained.

    links: whether the names of the records lead to their pages, which a built book has and JupyterLab has not.
    """
    title = f"<p><strong>{html.escape(experiment.label(cell))}</strong></p>"
    records = experiment.records[cell]
    if not records:
        command = html.escape(experiment.profile.command(cell, experiment.config(cell).seed))
        printed = _scores(experiment, cell) if experiment.scores(cell)["paper"].notna().any() else ""
        return _block(f"{title}{printed}<p>Not run. This runs it: <code>{command}</code></p>")
    bases = {"the baseline": experiment.cells[0]}
    if cell.startswith(f"{SAN_GAL_OURS}/"):
        bases["the literal reading"] = SAN_GAL_OURS
    changes = [
        _change(name, records, base) if (base := experiment.base(cell, of)) else f"<p>Not run: {name}.</p>"
        for name, of in bases.items()
        if of != cell
    ]
    names = ", ".join(
        f'<a href="runs/{record.name}.html">{record.name}</a>' if links else f"<code>{record.name}</code>"
        for record in records
    )
    other = "; ".join(tables.departures(records[0], experiment.table))
    setting = f"Another setting than the paper's: {html.escape(other)}." if other else "The paper's setting."
    return _block(
        f"{title}{_scores(experiment, cell)}<details><summary>Where the numbers come from</summary><p>From {names}. "
        f"{setting} Intervals by bootstrap over the queries.</p></details>"
        f'<div class="rx-figures">{_cmc(experiment, cell)}{training_charts(records)}</div>{"".join(changes)}'
    )


def _scores(experiment: Experiment, cell: str) -> str:
    rows = [
        [
            tables.LABELS[line["metric"]],
            _number(line["paper"]),
            _number(line["ours"]),
            _interval(line["low"], line["high"]),
            _signed(line["difference"]),
            line["verdict"],
        ]
        for line in experiment.scores(cell).to_dict("records")
    ]
    header = ["per cent", "Paper", "Here", "95 % interval", "Difference", "Verdict"]
    return _table(header, rows, "Scores: the paper's and those measured here")


def _cmc(experiment: Experiment, cell: str) -> str:
    ranks = np.arange(1, RANKS + 1)
    lines, said, key = [], [], []
    base = [] if cell == experiment.cells[0] else experiment.baseline
    for kind, records, name in (
        ("base", base, "dashed: baseline"),
        ("here", experiment.records[cell], "line: this run"),
    ):
        if records:
            curve = cmc(records)
            lines.append(Line(kind, ranks, curve))  # type: ignore[arg-type]
            said.append(f"{name}, " + ", ".join(f"{curve[k - 1]:.1f} at {k}" for k in (1, 5, 10, RANKS)))
            key.append(name)
    scores = experiment.scores(cell)
    printed = scores[scores["metric"].str.startswith("rank-") & scores["paper"].notna()]
    if len(printed):
        at = [int(metric.removeprefix("rank-")) for metric in printed["metric"]]
        lines.append(Line("paper", at, printed["paper"].to_numpy()))
        said.append("paper, " + ", ".join(f"{score:.1f} at {k}" for k, score in zip(at, printed["paper"], strict=True)))
        key.append("diamonds: the paper")
    alt = f"Share of queries in per cent with a right match among the first k results: {'; '.join(said)}."
    return _figure(line_chart(lines, "first k results", "right match (%)", alt), f"CMC curve ({', '.join(key)})")


def training_charts(records: Sequence[Record]) -> str:
    """Loss, accuracy and, where it was evaluated on the way, mAP: a line per seed."""
    drawn = []
    for column, label, scale in (
        ("total", "training loss", 1),
        ("accuracy", "accuracy (%)", 100),
        ("mAP", "mAP (%)", 100),
    ):
        histories = [record.history for record in records if column in record.history]
        curves = [history[["epoch", column]].dropna().to_numpy(float).T * [[1], [scale]] for history in histories]
        if not any(curve.size for curve in curves):
            continue
        ends = "; ".join(f"{y[0]:.3g} after epoch {x[0]:g}, {y[-1]:.3g} after epoch {x[-1]:g}" for x, y in curves)
        lines = [Line("here", *curve) for curve in curves]
        chart = line_chart(lines, "epoch", label, f"The {label} over the epochs: {ends}.", log=column == "total")
        what = {"total": "Training loss", "accuracy": "Accuracy on training pictures", "mAP": "mAP of the queries"}[
            column
        ]
        drawn.append(_figure(chart, what + (f", {len(curves)} seeds" if len(curves) > 1 else "")))
    return "".join(drawn)


def _change(name: str, records: Sequence[Record], base: Sequence[Record]) -> str:
    """What the queries gained and lost over other records, with the paired intervals."""
    gains = {
        label: tables.gain(records, base, metric)
        for metric, label in tables.LABELS.items()
        if metric in ("mAP", "rank-1")
    }
    found = query_differences(records, base)
    values = found["difference"].to_numpy()
    counts = f"{(values > 0).sum():,} of {len(values):,} queries gained, {(values < 0).sum():,} lost"
    alt = (
        f"What the average precision of each query gained over {name}, sorted: from {values[0]:+.1f} to "
        f"{values[-1]:+.1f} points, {values.mean():+.2f} on average; {counts}."
    )
    chart = difference_chart(values, f"{len(values):,} queries, sorted", "AP gained (points)", alt)
    ends = pd.concat([found[values > 0].head(EXTREMES), found[values < 0].tail(EXTREMES)])
    rows = [
        [f"<code>{line['query']}</code>", _number(line["base"]), _number(line["ours"]), _signed(line["difference"])]
        for line in ends.reset_index().to_dict("records")
    ]
    named = _table(["Query", "AP before", "AP here", "Gained"], rows, f"Queries that gained and lost most over {name}")
    said = "; ".join(
        f"{label} {_signed(gain['ours'])} points, 95 % interval {_signed(gain['low'])} to {_signed(gain['high'])}"
        for label, gain in gains.items()
    )
    return (
        f"<p>Against {name}: {said} (paired over queries). {counts[0].upper()}{counts[1:]}.</p>"
        f'<div class="rx-figures">{_figure(chart, f"Average precision gained over {name}, query by query")}'
        + (
            f"<details><summary>Which queries gained and lost most</summary>{named}</details></div>"
            if rows
            else "</div>"
        )
    )


def _block(content: str) -> str:
    return f'<div class="rx">{content}</div>'


def _figure(drawing: str, caption: str) -> str:
    return f"<figure>{drawing}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], label: str) -> str:
    def line(values: Sequence[str], tag: str) -> str:
        kinds = [' class="rx-text"' if name in {"Verdict", "Query"} else "" for name in header]
        return "".join(f"<{tag}{kind}>{value}</{tag}>" for kind, value in zip(kinds, values, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="rx-scroll" role="region" tabindex="0" aria-label="{html.escape(label)}"><table><thead><tr>'
        f"{line(header, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def _signed(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.2f}".replace("-", "−")


def _interval(low: float, high: float) -> str:
    return "–" if np.isnan(low) else f"{low:.1f} – {high:.1f}".replace("-", "−")


# ----------------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Pictures:
    """Ranked lists and heat maps of an experiment, for the same queries: one of each name in QUERIES."""

    dataset: Dataset
    queries: tuple[int, ...]  # positions in the query split
    top: dict[str, Tensor]  # by cell: gallery indexes (queries, RESULTS), best first, -1 for none
    sheets: tuple[Sheet, ...]  # of each query: itself at key -1, the ground truth, and what any of the lists shows
    heat: list[list[str]]  # panels by query and stage; empty where no heat maps are stored

    @property
    def style(self) -> str:
        return "".join(sheet.style for sheet in self.sheets)


def pictures(experiment: Experiment, name: str) -> Pictures | None:
    """The pictures of an experiment; None where no weights are here, and of real people, who belong on no page.

    The queries are those at the quantiles QUERIES of the baseline's average precision. name: of the sheets. Raises
    RecordError where the data set is not the one that the records were made from.
    """
    plan = experiment.profile
    run_ = [cell for cell, records in experiment.records.items() if records]
    able = {cell: config for cell in run_ if _can_rank(config := experiment.config(cell))}
    if plan.dataset != "synthped" or not experiment.baseline or not able:
        return None
    dataset = open_dataset(plan, progress=False)
    check_data(experiment.baseline[0], dataset)
    queries = tuple(example_queries(experiment.baseline[0], tuple(QUERIES.values())))
    top = {cell: top_results(config, dataset, queries) for cell, config in able.items()}
    sheets = []
    for place, query in enumerate(queries):
        shown = itertools.chain(_truth(dataset, query), *(results[place].tolist() for results in top.values()))
        tiles = {-1: picture(dataset.query.paths[query])}
        tiles |= {i: picture(dataset.gallery.paths[i]) for i in dict.fromkeys(shown) if i >= 0}
        sheets.append(Sheet(f"{name}-{place}", tiles))
    heat = _heat(plan.config("attributes"), dataset, queries, name) if experiment.paper == "SAN-GAL" else []
    return Pictures(dataset, queries, top, tuple(sheets), heat)


def top_results(config: Configuration, dataset: Dataset, queries: Sequence[int]) -> Tensor:
    """Gallery indexes (queries, RESULTS), best first, -1 for none, of a finished run; kept in build/explorer."""
    path = build_root() / "explorer" / f"{config.name}.json"
    names = [dataset.query.paths[i].name for i in queries]
    if path.is_file() and path.stat().st_mtime > weights_path(config).stat().st_mtime:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["queries"] == names:
            return torch.tensor(kept["top"])
    at, query, gallery = torch.tensor(queries), dataset.query, dataset.gallery
    first, second = features(config, dataset)
    top = top_matches(first[at], second, query.ids[at], gallery.ids, query.cameras[at], gallery.cameras, k=RESULTS)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps({"queries": names, "top": top.tolist()}), encoding="utf-8")
    partial.replace(path)
    return top


def _can_rank(config: Configuration) -> bool:
    """Whether the weights of a run, and the heat maps that it reads, are on this machine."""
    guide = config.attributes if isinstance(config, SanGalConfig) and not config.online else None
    return weights_path(config).is_file() and (guide is None or _has_heat_maps(guide))


def _has_heat_maps(config: Configuration) -> bool:
    folders = (heat_map_folder(config, split) / "meta.json" for split in ("query", "gallery"))
    return find_record(config) is not None and weights_path(config).is_file() and all(map(os.path.isfile, folders))


def _truth(dataset: Dataset, query: int) -> list[int]:
    """The first of the gallery's pictures of a query's person by other cameras."""
    gallery = dataset.gallery
    right = (gallery.ids == dataset.query.ids[query]) & (gallery.cameras != dataset.query.cameras[query])
    return [int(i) for i in right.nonzero()[:RESULTS, 0]]


def list_panel(found: Pictures, cell: str, place: int, record: Record) -> str:
    """One ranked list: the query, its first results, and beneath them the ground truth."""
    query, gallery, sheet = found.queries[place], found.dataset.gallery, found.sheets[place]
    name, line = found.dataset.query.paths[query].name, record.queries.iloc[query]
    results = []
    for rank, i in enumerate((i for i in found.top[cell][place].tolist() if i >= 0), start=1):
        right = bool(gallery.ids[i] == found.dataset.query.ids[query])
        said = f"rank {rank}, {'right' if right else 'wrong'}: {gallery.paths[i].name}"
        thumb = sheet.thumb(i, said, "rx-right" if right else "rx-wrong")
        results.append(f"<span>{thumb}{rank} {'✓' if right else '✗'}</span>")
    truth = [f"<span>{sheet.thumb(i, gallery.paths[i].name)}</span>" for i in _truth(found.dataset, query)]
    return _block(
        f"<p>Query <code>{name}</code>: average precision {100 * line['average_precision']:.1f} %, first right picture "
        f"at rank {line['first_match_rank']:.0f}.</p>"
        f'<div class="rx-row"><span>{sheet.thumb(-1, f"query {name}")}query</span>{"".join(results)}</div>'
        f'<p>What should come first:</p><div class="rx-row">{"".join(truth)}</div>'
    )


def _heat(config: Configuration, dataset: Dataset, queries: Sequence[int], name: str) -> list[list[str]]:
    """By query and stage, the stored heat maps of all attributes over the query's picture, each on its own scale."""
    if not _has_heat_maps(config):
        return []
    fields = attribute_names(attributes_of(dataset))
    maps = heat_maps(config, "query", progress=False)[torch.tensor(queries)]  # per stage (queries, K, h, w)
    panels: list[list[str]] = []
    for place, query in enumerate(queries):
        path = dataset.query.paths[query]
        grey = picture(path).mean(2, keepdims=True)  # (H, W, 1)
        panels.append([])
        for stage in STAGES:
            tiles, said = {}, []
            for k, (field, heat) in enumerate(zip(fields, maps[stage][place], strict=True)):
                peak, (row, column) = float(heat.max()), divmod(int(heat.argmax()), heat.shape[1])
                scaled = Image.fromarray((255 * heat / (peak or 1)).byte().numpy())
                share = 0.8 / 255 * np.asarray(scaled.resize(grey.shape[1::-1], Image.Resampling.BILINEAR))[..., None]
                tiles[k] = (grey * (1 - share) + HEAT * share).astype(np.uint8)
                where = f"in row {row + 1} of {heat.shape[0]}, column {column + 1} of {heat.shape[1]}"
                said.append(f"{field}: {f'peak {peak:.2g} {where}' if peak else 'zero everywhere'}")
            sheet = Sheet(f"{name}-heat", tiles, (32, 64))
            shown = "".join(f"<span>{sheet.thumb(k, said[k])}{fields[k]}</span>" for k in tiles)
            panels[-1].append(
                _block(
                    f"{sheet.style}<p>Heat maps of <code>{path.name}</code> at {stage}, for the classes that the "
                    f'attribute network predicts, each on its own scale.</p><div class="rx-row rx-wide">{shown}</div>'
                )
            )
    return panels


# ------------------------------------------------------------------------------------------------------------ widgets


def explorer(chosen: Sequence[Experiment], links: bool = True) -> VBox:
    """The explorer of some experiments, as widgets that work without a kernel; `links` as for `cell_panel`.

    Raises ValueError where there is nothing to choose from.
    """
    if not chosen:
        raise ValueError("no experiment to explore: the profile runs neither paper's ablation")
    make = _Widgets()
    modules = list(dict.fromkeys(cell.attention for cell in GRID.values()))
    experiment_choice = make.choice("Data", [experiment.name for experiment in chosen])
    attention, loss = (
        make.choice("Attention", [ATTENTION[name].title for name in modules]),
        make.choice("Loss", LOSSES.values()),
    )
    query, stage = make.choice("Query", QUERIES), make.choice("Stage", STAGES)
    runs: Dropdown | None = None
    pages = []
    for number, experiment in enumerate(chosen):
        found = pictures(experiment, f"rx-{number}")
        heat = [make.stack(stage, map(make.panel, stages)) for stages in (found.heat if found else [])]
        maps = [stage, make.stack(query, heat)] if heat else []
        columns = {}
        for cell in experiment.cells:
            parts = [make.panel(cell_panel(experiment, cell, links))]
            if found and cell in found.top:
                record = experiment.records[cell][0]
                lists = [list_panel(found, cell, place, record) for place in range(len(QUERIES))]
                parts += [query, make.stack(query, map(make.panel, lists))]
                parts += maps if cell.startswith(SAN_GAL_OURS) else []
            columns[cell] = make.column(*parts)
        if experiment.paper == "Joint loss":
            rows = [make.stack(loss, [columns[f"{a}/{b}"] for b in LOSSES]) for a in modules]
            controls = [attention, loss, make.stack(attention, rows)]
        else:
            runs = runs or make.choice("Run", map(experiment.label, experiment.cells))
            controls = [runs, make.stack(runs, columns.values())]
        pages.append(make.column(make.panel(found.style if found else ""), *controls))
    return make.column(make.panel(STYLE), experiment_choice, make.stack(experiment_choice, pages))


class _Widgets:
    """Makes widgets that share their layouts and styles: each of those takes a kilobyte of the page."""

    def __init__(self) -> None:
        self.text, self.wide = HTML(), Layout(width="100%", overflow="visible")
        self.dropdown = Dropdown(layout=Layout(width="auto", max_width="26rem"), style={"description_width": "5rem"})

    def panel(self, text: str) -> HTML:
        return HTML(text, layout=self.text.layout, style=self.text.style)

    def column(self, *children: Any) -> VBox:
        return VBox(children, layout=self.wide)

    def choice(self, description: str, options: Iterable[str]) -> Dropdown:
        shared = {"layout": self.dropdown.layout, "style": self.dropdown.style}
        return Dropdown(options=list(options), description=description, **shared)

    def stack(self, choice: Dropdown, children: Iterable[Any]) -> Stack:
        """Shows the child that `choice` says."""
        stack = Stack(list(children), selected_index=choice.index, layout=self.wide)
        ipywidgets.jsdlink((choice, "index"), (stack, "selected_index"))
        return stack


# ------------------------------------------------------------------------------------------------------ with a kernel


def live(profile: Profile) -> VBox:
    """The explorer of a profile with what needs a kernel: to train what is missing, and to rank an own picture."""
    shown = VBox([explorer(experiments(profile), links=False)])

    def renew() -> None:
        shown.children = (explorer(experiments(profile), links=False), shown.children[1], own_picture(profile))

    shown.children = (*shown.children, training(profile, renew), own_picture(profile))
    return shown


def training(profile: Profile, trained: Callable[[], None]) -> VBox:
    """Trains a run that the profile has no record of, with a progress bar, and then calls `trained`."""
    missing = Dropdown(description="Not run yet", style={"description_width": "6rem"}, layout=Layout(width="30rem"))
    button, output = Button(description="Train it"), Output()

    def refresh() -> None:
        own = [experiment for experiment in experiments(profile) if experiment.profile is profile]
        missing.options = [
            (f"{experiment.paper}: {experiment.label(cell)}", cell)
            for experiment in own
            for cell, records in experiment.records.items()
            if not records
        ]
        missing.index = 0 if missing.options else None
        button.disabled = not missing.options

    def train(_: Button) -> None:
        button.disabled = True
        output.clear_output()
        try:
            with output:  # which shows the progress bar, and in a notebook what goes wrong
                print(run(profile.config(missing.value)).record.name)
                trained()
        finally:
            refresh()

    refresh()
    button.on_click(train)
    return VBox([missing, button, output])


def own_picture(profile: Profile) -> VBox:
    """Ranks the gallery for a picture that the reader uploads, by a joint-loss run whose weights are here."""
    answer, upload = HTML(), FileUpload(accept="image/*", description="Your picture")
    network = Dropdown(description="Ranked by", style={"description_width": "6rem"}, layout=Layout(width="30rem"))
    network.options = [
        (experiment.label(cell), config)
        for experiment in experiments(profile)
        if experiment.paper == "Joint loss" and experiment.profile is profile
        for cell, records in experiment.records.items()
        if records and _can_rank(config := experiment.config(cell))
    ]
    network.index = 0 if network.options else None
    upload.disabled = not network.options
    if upload.disabled:
        answer.value = _block("<p>No joint-loss run of this profile has its weights here: train one first.</p>")

    def show(_: object) -> None:
        if upload.value:
            answer.value = _block(rank_picture(network.value, bytes(upload.value[0]["content"])))

    upload.observe(show, "value")
    network.observe(show, "value")
    return VBox([network, upload, answer])


def rank_picture(config: RunConfig, file: bytes) -> str:
    """The pictures of a finished run's gallery that are most like the one in `file`, with their cosine similarities."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            given = np.array(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return f"<p>This is no picture that can be read: {html.escape(str(error))}</p>"
    dataset = open_dataset(config)
    (gallery,) = features(config, dataset, ("gallery",))
    network = load_network(config, dataset)
    with torch.inference_mode():
        feature = network(normalise(resize(torch.from_numpy(given).permute(2, 0, 1)[None], config.size)))  # (1, C)
    similar = torch.nn.functional.cosine_similarity(feature, gallery).topk(min(RESULTS, len(gallery)))
    shown = [("your picture", "", given)]
    for rank, (value, i) in enumerate(zip(similar.values.tolist(), similar.indices.tolist(), strict=True), start=1):
        path = dataset.gallery.paths[i]
        shown.append((f"{rank}: {value:.2f}", path.name, picture(path)))
    images = "".join(
        f'<span><img src="{data_uri(Image.fromarray(pixels).resize((64, 128)))}" alt="{name or text}" width="40">{text}'
        f"</span>"
        for text, name, pixels in shown
    )
    return f'<p>Rank and cosine similarity:</p><div class="rx-row">{images}</div>'
