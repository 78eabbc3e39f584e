"""What book/looking.md shows: whether trained attention looks at the picture, and what that is worth."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from reidkit.cells import from_cells
from reidkit.data import DatasetError
from reidkit.evaluation.bootstrap import bootstrap
from reidkit.models.attention import ATTENTION
from reidkit.published import OURS
from reidkit.records import Record
from reidkit.report.chapters.losses import lines
from reidkit.report.chapters.recipe import cell_of, decayed
from reidkit.report.differences import with_interval
from reidkit.report.drawings import STAGES
from reidkit.report.rows import Estimate, Runs, people
from reidkit.report.sheets import Cell, mosaic, overlay, picture
from reidkit.report.style import Drawing, notice
from reidkit.report.words import DATASETS, listed, number
from reidkit.runs import check_data, configuration_of, open_dataset
from reidkit.systems.joint_loss import SYSTEM

ROWS = ("se/ce", "eca/ce", "cbam/ce", OURS, "danet/ce", "nonlocal/ce")
SHEET = (OURS, "danet/ce", "nonlocal/ce")  # what is drawn, of the rows that weigh places
CONTROLS = ("decayed", "full-start")  # of a row
BLIND = 0.001  # a module whose weights differ by less of their mean between pictures
SHOWN = 8  # people of the sheet


def shown_rows(runs: Runs) -> list[str]:
    """The rows with attention that were run and say what it looks at: each as it is, then its controls."""
    rows = [of for row in ROWS for of in (row, *(f"{row}/{control}" for control in CONTROLS))]
    return [row for row in rows if measured(runs, row)]


def weights_table(runs: Runs) -> pd.DataFrame:
    """A line per row and kind of weights: their mean, and how far they differ within an image and between images.

    Means over the modules of the network and the row's seeds, and how many of these are blind; at last what the row
    loses in mAP when it is frozen.
    """
    lines = []
    for row in shown_rows(runs):
        records = measured(runs, row)
        found = pd.concat([record.table("attention") for record in records]).groupby("weighs", sort=False)
        frozen = with_interval(frozen_gain(records))
        for weighs, modules in found:
            mean = modules["mean"].mean()
            gate = ATTENTION[records[0].config["attention"]].place == "attention"
            called = SYSTEM.label(row.removesuffix("/decayed"))  # the next column says it
            line = {"Row": called, "Decayed": "yes" if decayed(records[0]) else "no", "Weighs": weighs}
            line |= {"Mean": number(mean) if gate else "–"}
            line |= {side.capitalize(): f"{100 * modules[side].mean():.1f}" for side in ("within", "between")}
            line |= {"Blind": f"{(modules['between'] < BLIND).sum()} of {len(modules)}"}
            lines.append(line | {"mAP, frozen": frozen})
            frozen = ""  # said once, of all its modules together
    return pd.DataFrame(lines)


def frozen_gain(records: Sequence[Record]) -> Estimate:
    """What runs gain in mAP when their attention weighs every image alike, in points; the mean over their seeds.

    It is of these very networks: the interval covers the people sought.
    """
    gains = [record.table("frozen")["average_precision"] - record.queries["average_precision"] for record in records]
    scores = 100 * np.mean(gains, axis=0)
    (low,), (high,) = bootstrap(scores[:, None], clusters=people(records[0].queries["query"]))
    return Estimate(float(np.nanmean(scores)), float(low), float(high))


def between(runs: Runs, row: str) -> "pd.Series[float]":
    """By how many per cent of their mean a row's weights differ between images, on average, by what they weigh."""
    known = [record.table("attention") for record in measured(runs, row)]
    differ: pd.Series[float] = 100 * pd.concat(known).groupby("weighs")["between"].mean()
    return differ


def answer(runs: Runs) -> str:
    """How far the weights of SE and CBAM differ between pictures, what freezing them costs, and what decay had left."""
    told = []
    for row in ("se/ce", "cbam/ce"):
        if measured(runs, row):
            frozen = with_interval(frozen_gain(measured(runs, row)))
            differ = listed(
                [f"weights of {weighed} differ by {by:.1f} %" for weighed, by in between(runs, row).items()]
            )
            told.append(
                f"{ATTENTION[row.split('/')[0]].title}'s {differ} of their mean from picture to picture, and freezing "
                f"them changes mAP by {frozen} points."
            )
    if measured(runs, "se/ce/decayed"):
        (left,) = between(runs, "se/ce/decayed")
        told.append(
            f"With the usual weight decay on them and branches that start at zero, SE's differ by {left:.1f} %: it "
            "looks at nothing."
        )
    return " ".join(told) or "No row with attention has been measured yet."


def measured(runs: Runs, row: str) -> list[Record]:
    """The records of a row that say what its attention looks at."""
    return [record for record in runs.get(row, ()) if "attention" in record.tables]


def decay_chart() -> Drawing:
    """What an optimiser makes of a weight that the loss does not ask for: its size over the steps, live.

    Adam at two penalties, SGD with momentum, and Adam whose decay stands beside its gradient (AdamW).
    """
    penalty, start = 5e-4, 0.1
    optimisers: Mapping[str, tuple[type[torch.optim.Optimizer], dict[str, float]]] = {
        f"Adam, penalty {penalty:g}": (torch.optim.Adam, {"weight_decay": penalty}),
        f"Adam, penalty {penalty / 100:g}": (torch.optim.Adam, {"weight_decay": penalty / 100}),
        f"AdamW, decay {penalty:g}": (torch.optim.AdamW, {"weight_decay": penalty}),
        f"SGD, penalty {penalty:g}": (torch.optim.SGD, {"weight_decay": penalty, "momentum": 0.9}),
    }
    paths = {name: _alone(kind, start, lr=3e-3, **given) for name, (kind, given) in optimisers.items()}
    first, *_ = paths.values()
    figure = lines(range(len(first)), paths, "steps", height=3.3, ylabel="weight", ylim=(0, 1.15 * start))
    gone = next(step for step, value in enumerate(first) if value < start / 100)
    told = "; ".join(f"{name}: {path[-1]:.3g}" for name, path in paths.items())
    what = f"A weight of {start} under four optimisers; with Adam it is gone after {gone} steps"
    return figure, f"{what}. At the end: {told}."


def _alone(kind: type[torch.optim.Optimizer], start: float, **options: float) -> list[float]:
    weight = torch.nn.Parameter(torch.tensor(start))
    optimiser, path = kind([weight], **options), [start]  # type: ignore[arg-type]
    for _ in range(400):
        weight.grad = torch.zeros(())
        optimiser.step()
        path.append(weight.item())
    return path


def drawn(runs: Runs) -> list[Record]:
    """The records whose maps the sheet shows."""
    return [measured(runs, row)[0] for row in SHEET if measured(runs, row)]


def looks_sheet(chosen: Sequence[Record], data_root: Path | None = None) -> Drawing:
    """What attention over places looks at in the same queries: of each run its last module of every stage.

    data_root: where the data set of the records is, if not where it is looked for. Raises RecordError where another one
    is there.
    """
    if not chosen:
        return notice("No run with attention over places has been measured yet.")
    try:
        dataset = open_dataset(configuration_of(chosen[0], data_root), progress=False)
    except DatasetError:
        return notice(f"The pictures of {DATASETS[chosen[0].config['dataset']]} are not on this machine.")
    check_data(chosen[0], dataset)
    paths = {path.name: path for path in dataset.query.paths}
    names = list(dict.fromkeys(chosen[0].table("looks")["query"]))[:SHOWN]
    blocks, rows = [], []
    for record in chosen:
        looks = record.table("looks")
        lines = {}
        for module in last_of_stages(list(dict.fromkeys(looks["module"]))):
            maps = looks[looks["module"] == module].set_index("query").loc[names]
            lines[STAGES[module.split(".")[1]]] = [
                Cell(overlay(picture(paths[name]), from_cells(*cell)))
                for name, *cell in zip(names, maps["cells"], maps["height"], maps["peak"], strict=True)
            ]
        blocks.append(list(lines.values()))
        rows.append([f"{ATTENTION[record.config['attention']].title}\n{stage}" for stage in lines])
    blocks[0].insert(0, [Cell(picture(paths[name])) for name in names])
    rows[0].insert(0, "picture")
    people = [name[:4] for name in names]
    figure = mosaic(blocks, rows, [people] + [[""] * len(people)] * (len(blocks) - 1))
    alt = f"{len(people)} queries under what {listed([SYSTEM.label(cell_of(r)) for r in chosen])} look at, by stage."
    return figure, alt


def last_of_stages(modules: Sequence[str]) -> list[str]:
    """Of modules such as `backbone.layer2.3.output`, the last of each stage."""
    return list({module.split(".")[1]: module for module in modules}.values())
