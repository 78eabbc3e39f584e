"""What the chapter on the recipe shows: where a residual branch starts, and what came of it on held-out people."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from torch import nn

from reidkit.models import ATTENTION
from reidkit.models.backbone import ResNet50
from reidkit.places import project_root, record_roots
from reidkit.profile import Profile
from reidkit.records import Record, read_records
from reidkit.report.differences import with_interval
from reidkit.report.display import run_link
from reidkit.report.rows import difference, runs_of
from reidkit.report.style import WIDTH, Drawing, styled
from reidkit.report.words import counted, listed, signed
from reidkit.runs import find_record
from reidkit.systems.joint_loss import CONTROLS, GRID, LOSSES, SYSTEM, attends
from reidkit.systems.system import seeded

DATA = {"synthped": "SynthPed", "market1501": "Market-1501"}
SCALES = {0.0: "0", 0.25: "¼", 0.5: "½", 1.0: "1"}


def starting_scales() -> pd.DataFrame:
    """What every attention module multiplies a residual branch by before it has learned anything.

    Measured on a fresh ResNet-50 of a quarter of the width: the standard deviation of what leaves the module over that
    of what enters it, the mean over the blocks that have one and are gated. DANet and Non-local stand behind a block
    and add to it.
    """
    rows = []
    for name, placement in ATTENTION.items():
        with seeded(0):
            network = ResNet50(name, width_multiplier=0.25).train()
            ratios = _ratios(network, torch.randn(8, 3, 128, 64)) if placement.place == "attention" else []
        measured = sum(ratios) / len(ratios) if ratios else 1.0
        rows.append({"Module": placement.title, "Scale": measured})
    return pd.DataFrame(rows)


@torch.no_grad()
def _ratios(network: ResNet50, images: torch.Tensor) -> list[float]:
    """The scale at which each gated block's module passes its branch on."""
    ratios: list[float] = []

    def note(_: nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        ratios.append((made.std() / given[0].std()).item())

    for name, module in network.named_modules():
        if name.endswith(".attention"):
            module.register_forward_hook(note)
    network(images)
    return ratios


def screened() -> dict[str, Record]:
    """The runs by which the recipe was chosen, by name: scored on identities held out of the training set."""
    return {record.name: record for record in read_records(project_root() / "book" / "screening")}


def screening_table(records: Mapping[str, Record]) -> pd.DataFrame:
    """A row per screened run: what it was, its score on held-out identities, and where its losses ended."""
    rows = []
    for record in records.values():
        config, last = record.config, record.history.iloc[-1]
        triplet = last.get("triplet")
        rows.append(
            {
                "Data": f"{DATA[config['dataset']]}, {config['epochs']} epochs",
                "Attention": ATTENTION[config["attention"]].title,
                "Loss": LOSSES[config["loss"]],
                "Decayed": "–" if not attends(config) else "yes" if decayed(record) else "no",
                "γ": config["residual_scale"],
                "mAP": 100 * record.metrics["mAP"],
                "Accuracy": 100 * last["accuracy"],
                "Triplet loss": None if triplet is None else float(triplet),
            }
        )
    table = pd.DataFrame(rows).sort_values(
        ["Data", "Attention", "Loss", "Decayed", "γ"], ascending=[False, True, True, False, True]
    )
    return table.assign(γ=table["γ"].map(SCALES)).reset_index(drop=True)


def joint_loss_in_words(records: Mapping[str, Record]) -> str:
    """What the joint loss had over cross-entropy on SynthPed, at each start that both were screened at."""
    scores: dict[float, dict[str, float]] = {}
    for record in records.values():
        if record.config["dataset"] == "synthped" and decayed(record):
            scores.setdefault(record.config["residual_scale"], {})[cell_of(record)] = 100 * record.metrics["mAP"]
    told = [
        f"{signed(found['none/ce+tri+cir'] - found['none/ce'], 1)} points at γ = {SCALES[scale]}"
        for scale, found in sorted(scores.items())
        if {"none/ce", "none/ce+tri+cir"} <= found.keys()
    ]
    return f"Over cross-entropy the joint loss had {listed(told)} on SynthPed, from one run of each."


def other_start_in_words(plans: Mapping[str, Profile], scale: float = 0.25) -> str:
    """What the joint loss has over the baseline where branches start at another scale, by data set, in a sentence."""
    rows, told = ("none/ce", "none/ce+tri+cir"), []
    for title, plan in plans.items():
        runs = dict(runs_of(plan, "joint-loss"))  # they tell how far seeds lie apart
        for row in rows:
            configs = [plan.config(row, seed) for seed in plan.systems["joint-loss"].seeds]
            started = [find_record(config.model_copy(update={"residual_scale": scale})) for config in configs]
            runs[f"{row}/other"] = [record for record in started if record]
        base, joint = (f"{row}/other" for row in rows)
        if (gain := difference(runs, joint, base)).known:
            seeds = min(len(runs[base]), len(runs[joint]))
            told.append(f"{with_interval(gain)} on {title}, {counted(seeds)} seed{'s' if seeds > 1 else ''}")
    if not told:
        return ""
    return f"Tested whole, from branches that start at {SCALES[scale]}, it has {listed(told)}."


def decayed(record: Record) -> bool:
    """Whether the weights of its attention, if it has any, were decayed as all others."""
    return bool(SYSTEM.complete(record.config)["decay_attention"])


@styled
def screening_chart(records: Mapping[str, Record]) -> Drawing:
    """mAP on held-out identities over the scale at which residual branches start: a line per row and data set.

    All from decayed weights, as the screening of the scale was.
    """
    lines: dict[str, dict[float, float]] = {}
    for record in (record for record in records.values() if decayed(record)):
        config = record.config
        title = f"{DATA[config['dataset']]}, {ATTENTION[config['attention']].title}, {LOSSES[config['loss']]}"
        lines.setdefault(title.replace("none, ", ""), {})[config["residual_scale"]] = 100 * record.metrics["mAP"]
    lines = {title: dict(sorted(found.items())) for title, found in sorted(lines.items()) if len(found) > 1}
    if not lines:
        raise ValueError("no row was screened at two scales")
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    palette = sns.color_palette("colorblind", len(lines))
    for (title, found), colour, dash in zip(lines.items(), palette, ["-", "--", ":", "-."] * 4, strict=False):
        axes.plot(list(found), list(found.values()), dash, marker="o", color=colour, lw=2, label=title)
    axes.set(xlabel="γ of a residual branch at the start", ylabel="mAP on held-out people")
    axes.xaxis.set_major_locator(FixedLocator(list(SCALES)))
    axes.xaxis.set_major_formatter(FixedFormatter(list(SCALES.values())))
    axes.xaxis.set_minor_locator(NullLocator())
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize="small")
    told = "; ".join(
        f"{title}: " + ", ".join(f"{score:.1f} at {SCALES[scale]}" for scale, score in found.items())
        for title, found in lines.items()
    )
    return figure, f"Line chart of mAP on held-out people over the starting scale. {told}."


def first_runs() -> list[Record]:
    """The runs on Market-1501 that stopped after twelve epochs, from branches at full strength; the baseline first."""
    found = [
        record
        for record in read_records(record_roots()[1])
        if record.system == "joint-loss"
        and (record.config["dataset"], record.config["epochs"]) == ("market1501", 12)
        and record.config.get("residual_scale", 1.0) == 1.0
        and record.config.get("sampling", "auto") == "auto"
    ]
    return sorted(found, key=lambda record: [*GRID, *CONTROLS].index(cell_of(record)))


def cell_of(record: Record) -> str:
    """The cell of the grid that a joint-loss record is of, wherever its branches start."""
    return f"{record.config['attention']}/{record.config['loss']}"


def first_table(records: Sequence[Record]) -> pd.DataFrame:
    """A row per run: its mAP, what it gains over the first of them, and where its training stood when it stopped."""
    base = records[0].metrics["mAP"]
    rows: list[dict[str, Any]] = []
    for record in records:
        last = record.history.iloc[-1]
        rows.append(
            {
                "Attention": ATTENTION[record.config["attention"]].title,
                "Loss": LOSSES[record.config["loss"]],
                "mAP": 100 * record.metrics["mAP"],
                "Gain": signed(100 * (record.metrics["mAP"] - base)) if rows else "–",
                "Triplet loss": last.get("triplet"),
                "Run": run_link(record.name),
            }
        )
    return pd.DataFrame(rows)


def answer(records: Sequence[Record]) -> str:
    """What it takes, and what the first runs had us believe without."""
    gains = gains_of(records)
    attention = max(gain for row, gain in gains.items() if row in ("se/ce", "eca/ce", "danet/ce", "nonlocal/ce"))
    return (
        "Residual branches that start at zero, and enough epochs. By our first runs of the paper's Table 1, which had "
        f"neither, attention gains up to {attention:.1f} points of mAP and the triplet loss costs "
        f"{-gains['none/ce+tri']:.1f}. Neither came back."
    )


def gains_of(records: Sequence[Record]) -> dict[str, float]:
    """What each row has over the baseline, in points of mAP."""
    scores = {cell_of(record): 100 * record.metrics["mAP"] for record in records}
    return {row: score - scores["none/ce"] for row, score in scores.items()}


def gates_in_words(records: Sequence[Record]) -> str:
    """What the gates of the first runs gained over the baseline, beside the gate that attends to nothing."""
    gains = gains_of(records)
    if not {"se/ce", "eca/ce", "half/ce"} <= gains.keys():
        return "From this start nobody has run it. From the one that this chapter arrives at, {numref}`table-1` has it."
    return (
        f"SE gained {signed(gains['se/ce'], 1)} points over the baseline, ECA {signed(gains['eca/ce'], 1)} and the "
        f"constant {signed(gains['half/ce'], 1)}."
    )
