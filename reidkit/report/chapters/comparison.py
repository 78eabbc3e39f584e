"""What book/comparison.md shows of the systems that the papers set themselves beside: what they are, cost and reach."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import NullLocator
from scipy.stats import spearmanr
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reidkit.data.attributes import GROUPS
from reidkit.data.synthped import PARTS
from reidkit.models.backbone import scaled_dropout
from reidkit.profile import Profile
from reidkit.published import SAN_GAL_OURS
from reidkit.records import Record
from reidkit.report.chapters.looking import frozen_gain
from reidkit.report.costs import step_costs
from reidkit.report.differences import with_interval
from reidkit.report.rows import PEOPLE, Estimate, Runs, difference, runs_of, score
from reidkit.report.style import BLUE, ORANGE, WIDTH, Drawing, name_rows, styled
from reidkit.report.tables import score_cell, seed_links
from reidkit.report.words import counted, listed, number, signed
from reidkit.systems import ROWS, SYSTEMS
from reidkit.systems.system import Classes


@dataclass(frozen=True)
class Rival:
    """A system that a comparison table prints."""

    printed: str  # what the tables call it
    row: str | None  # ours; None where it is not built
    variant: str  # what the printed row is of, where not ResNet-50 on the one data set at 256×128
    remark: str = ""  # why there is no row of ours


RIVALS = (
    Rival("SVDNet", "svdnet", "224×224"),
    Rival("AACN", None, "GoogLeNet (recalled) with a pose network", "no code, and no pose network at hand"),
    Rival("HAC", None, "unknown", "no article of this name and these numbers was found"),
    Rival("DPFL", "dpfl", "two Inception-V3, two scales"),
    Rival("DaRe", "dare", "DenseNet-201"),
    Rival("GP-reid", "gp-reid", "ResNet-101 (recalled)"),
    Rival("PCB", "pcb", "384×128"),
    Rival("PCB+RPP", "pcb+rpp", "384×128"),
    Rival("Alignedreid", "aligned-reid", "ResNet50-X (recalled), four data sets, two networks"),
    Rival("IANet", "ianet", ""),
    Rival("OSNet", "osnet", "its own small network"),
    Rival("Auto-ReID", None, "a searched network, 384×128 (recalled)", "its layout is not published"),
    Rival("Circle Loss", "circle/mgn", "MGN"),
    Rival("PAN", "pan", "224×224"),
    Rival("DuATM", "duatm", "DenseNet-121, compared in pairs"),
    Rival("SPReID", "spreid", "two Inception-V3, 512×170 and larger, ten data sets, body parts"),
    Rival("VPM", "vpm", "384×128 (recalled)"),
    Rival("AANet", "aanet", "ResNet-152, 384×128 (recalled), attributes"),
    Rival("BFE", "bfe", "384×128"),
)
OTHERS = tuple(rival.row for rival in RIVALS if rival.row)  # rows of other people's systems
CONTROLS = ("ianet/normalised", "ianet/none", "spreid/predicted", "pcb/one-stripe", "circle")
NAMES = {
    "none/ce": "plain, cross-entropy",
    "none/ce+tri": "plain, triplet loss",
    "cbam/ce+tri+cir": "Li and Wang",
    SAN_GAL_OURS: "SAN-GAL",
    **{row: ROWS[row].label(row) for row in (*OTHERS, *CONTROLS)},
}  # of the rows that are compared

# What stands before a row's classifiers, where that is another thing than in the plain baseline: by mark, which rows.
ADDED, NONE, DROPOUT = "†", "‡", "§"
RATES = dict.fromkeys(("svdnet", "dpfl", "pcb", "pcb+rpp", "pcb/one-stripe"), 0.5) | {"pan": 0.9}  # at full width
MARKS = {
    ADDED: ("aligned-reid", "duatm", "gp-reid", "circle"),
    NONE: ("svdnet", "dpfl", "pan", "spreid", "spreid/predicted", "aanet"),
    DROPOUT: tuple(RATES),
}

CHEAP = 1.1  # plain training steps, below which a system costs what the plain network does
LABELS = {"attributes": "attributes", "heat maps": "attributes", "parts": "part maps"}  # which those are that it needs


def variants() -> pd.DataFrame:
    """What each printed row really is of, and the row of ours that stands beside it."""
    lines = [
        {
            "Printed as": rival.printed,
            "Is of": rival.variant or "–",
            "Here": f"`{rival.row}`" if rival.row else rival.remark,
        }
        for rival in RIVALS
    ]
    return pd.DataFrame(lines)


@torch.no_grad()
def cost(profile: Profile, row: str, identities: int = 751) -> tuple[float, float, int]:
    """Millions of parameters and of multiply-adds per image, and the length of the embedding, at a profile's size.

    Counted on the network itself, in evaluation mode, its classifiers included among the parameters.
    """
    if row == SAN_GAL_OURS:
        row = f"{row}/online"  # with the network that draws its heat maps
    system = ROWS[row]
    config = profile.config(row).from_scratch()
    network = system.build(config, Classes(identities, GROUPS["market_attribute"])).eval()
    image = torch.zeros(1, 3, profile.image_height, profile.image_width)
    given = {"maps": {"parts": torch.ones(1, len(PARTS), 8, 4)}} if "parts" in config.needs else {}
    with FlopCounterMode(display=False) as counted:
        embedding = network(image, **given)
    first = embedding[0] if isinstance(embedding, tuple) else embedding
    return _parameters(network) / 1e6, counted.get_total_flops() / 2e6, int(first.numel())


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def costs(profile: Profile, rows: Iterable[str] = tuple(NAMES)) -> pd.DataFrame:
    """A line per row: its parameters and multiply-adds in millions, the length of its embedding, and what it is told.

    That is what else its training, or SPReID's test, is told of a picture than who is on it. `step`: of its training,
    as it was measured at the size of `synthped-compared`, over that of the plain network; nan where it was not.
    """
    steps = step_costs()
    lines = [
        (
            NAMES[row],
            row,
            *cost(profile, row),
            ", ".join({LABELS[need] for need in profile.config(row).needs}),
            steps.get(row, np.nan) / steps["none/ce"],
        )
        for row in rows
    ]
    return pd.DataFrame(lines, columns=["system", "row", "parameters", "multiply-adds", "embedding", "told", "step"])


def marks(row: str) -> str:
    """Those of a row, in the order of `MARKS`."""
    return "".join(mark for mark, rows in MARKS.items() if row in rows)


def marks_in_words(profile: Profile) -> str:
    """What the marks say of the runs of a profile."""
    width = profile.config("none/ce").width_multiplier
    left = [NAMES[row] for row, rate in RATES.items() if scaled_dropout(rate, width) > 0]
    return (
        "The plain networks, Li and Wang's and SAN-GAL have a batch norm before the classifier, and no dropout. "
        f"{ADDED}: so has this system, though its article does not say so. {NONE}: none stands before the classifier, "
        f"or before one of several. {DROPOUT}: dropout. At this width nothing of it is left"
        + (f", but in {listed(left)}." if left else ".")
    )


def ranking_table(found: pd.DataFrame, data: Mapping[str, Runs]) -> pd.DataFrame:
    """`costs` for display, with the mAP of each row by data set, its interval and its runs; the best known first."""
    lines = []
    for system, row, parameters, work, length, also, step in found.itertuples(index=False):
        scores = {title: score(runs, row) for title, runs in data.items()}
        line = {"System": " ".join(filter(None, [system, marks(row), f"({also})" if also else ""]))}
        line["order"] = -np.nan_to_num(next(iter(scores.values())).ours)
        for title, of_row in scores.items():
            line |= {title: score_cell(of_row), "Runs" + " " * len(line): seed_links(data[title].get(row, ()))}
        line |= {"Weights (M)": number(parameters, 1), "Image (M)": number(work, 0), "Step (×)": number(step)}
        line["Length"] = length
        lines.append(line)
    return pd.DataFrame(lines).sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)


@styled
def cost_chart(found: pd.DataFrame, runs: Runs) -> Drawing:
    """mAP with its interval beside what an image and a training step cost, a line per row that was run, the best first.

    Raises ValueError where none was.
    """
    lines = [
        (str(system), float(work), float(step), score(runs, str(row)))
        for system, row, work, step in found[["system", "row", "multiply-adds", "step"]].itertuples(index=False)
        if runs.get(str(row))
    ]
    if not lines:
        raise ValueError("none of the compared systems has been run")
    lines.sort(key=lambda line: -line[3].ours)
    names, works, steps, scores = zip(*lines, strict=True)
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(WIDTH, 0.9 + 0.2 * len(lines)), sharey=True, width_ratios=(4, 2, 2), layout="constrained"
    )
    rows = range(len(lines))
    ours, low, high = zip(*(of_row[:3] for of_row in scores), strict=True)
    left.hlines(rows, low, high, color=BLUE, linewidth=4, alpha=0.35)
    left.plot(ours, rows, "o", color=BLUE)
    left.set(xlabel="mAP (%)")
    middle.plot(works, rows, "s", color=ORANGE)
    middle.set(xscale="log", xlabel="image (M)")
    middle.xaxis.set_major_formatter("{x:g}")
    middle.xaxis.set_minor_locator(NullLocator())
    right.plot(steps, rows, "D", color=ORANGE)
    right.set(xlabel="step (×)")
    for axes in (middle, right):
        axes.margins(x=0.15)
    for axes in (left, middle, right):
        name_rows(axes, names, fontsize="small")
        axes.grid(axis="y", linewidth=0.5)  # from a score to its cost
    told = "; ".join(f"{system} {of_row.ours:.1f} at {work:.0f} and {step:.1f}" for system, work, step, of_row in lines)
    return figure, (
        "mAP of each system, the best first, its multiply-adds for an image in millions, and the cost of a step of its "
        f"training over that of the plain network. {told}."
    )


def compared(profile: Profile) -> dict[str, list[Record]]:
    """The finished records of all systems of a profile that rank, by row."""
    ranking = [system for system in profile.systems if SYSTEMS[system].ranks]
    return {row: records for system in ranking for row, records in runs_of(profile, system).items()}


PLAIN = "none/ce+tri"
METHODS = {
    "cbam/ce+tri+cir": "Li and Wang's method",
    SAN_GAL_OURS: "SAN-GAL",
    PLAIN: "the plain network with triplet loss",
}  # which the systems of other people are set beside


def answer(runs: Runs, data: str) -> str:
    """What runs on a data set say of the papers' comparison: their methods beside the plain network, and the others."""
    run = [row for row in NAMES if runs.get(row)]
    text = f"Of {len(NAMES)} rows {len(run)} have been run on {data} so far."
    if len(run) == len(NAMES):
        text = f"All {len(NAMES)} rows have been run on {data}."
    own = [
        f"{name} has {with_interval(difference(runs, row, PLAIN))}"
        for row, name in METHODS.items()
        if {row, PLAIN} <= set(run) and row != PLAIN
    ]
    text += f" Over {METHODS[PLAIN]}, {listed(own)} points of mAP." if own else ""
    if found := standings(runs):
        many = len(next(iter(found.values())))
        told = "; ".join(_standing(METHODS[row], gains) for row, gains in found.items())
        text += f" Of {counted(many)} system{'s' if many > 1 else ''} of other people, {told}."
    if any(gain.covers == PEOPLE for gains in found.values() for gain in gains.values()):
        text += " Most have one seed, so that this is of the people alone, and no verdict yet."
    return text


def standings(runs: Runs) -> dict[str, dict[str, Estimate]]:
    """What each system of other people has over each of METHODS, as far as both were run."""
    others = [row for row in OTHERS if runs.get(row)]
    return {
        row: {other: difference(runs, other, row) for other in others} for row in METHODS if runs.get(row) and others
    }


def _standing(method: str, gains: Mapping[str, Estimate]) -> str:
    """How many of the others a method is ahead of, and which are ahead of it: by the whole interval."""
    ahead = [NAMES[row] for row, gain in gains.items() if gain.low > 0]
    behind = sum(gain.high < 0 for gain in gains.values())
    return f"{method} is ahead of {counted(behind) if behind else 'none'} and behind {listed(ahead or ['none'])}"


def spread_in_words(runs: Runs) -> str:
    """How far apart the seeds of systems lie, in a sentence."""
    ranges = {row: 100 * np.array([record.metrics["mAP"] for record in runs[row]]) for row in OTHERS if runs.get(row)}
    order = sorted((row for row in ranges if len(ranges[row]) > 1), key=lambda row: -np.ptp(ranges[row]))
    if len(order) < 3:
        return ""
    told = [f"{ranges[row].min():.1f} to {ranges[row].max():.1f} for {NAMES[row]}" for row in (*order[:2], order[-1])]
    return (
        f"How far apart the seeds of a system lie is its own: {listed(told)}. So the intervals of this chapter "
        "take each row's own spread, drawn towards that of the others {cite}`smyth2004linear`."
    )


def agreement_in_words(data: Mapping[str, Runs]) -> str:
    """How well the order of rows on one data set agrees with that on the other, over those that both have."""
    (one, first), (other, second) = data.items()
    both = [row for row in NAMES if first.get(row) and second.get(row)]
    if len(both) < 5:
        return ""
    ours, theirs = ([score(runs, row).ours for row in both] for runs in (first, second))
    order = spearmanr(ours, theirs).statistic
    same = sum(
        difference(first, row, PLAIN).ours * difference(second, row, PLAIN).ours > 0 for row in both if row != PLAIN
    )
    return (
        f"Does {one} tell what holds on {other}? Of the {counted(len(both) - 1)} rows that both have beside "
        f"{METHODS[PLAIN]}, {counted(same) if same else 'none'} are on the same side of it on both; the orders agree "
        f"with Spearman's ρ = {number(order)}."
    )


def osnet_in_words(profile: Profile, runs: Runs) -> str:
    """What OSNet reaches and costs beside the plain baseline with triplet loss, in a sentence."""
    gain = difference(runs, "osnet", "none/ce+tri")
    if not gain.known:
        return "OSNet has not been run yet."
    work = {row: cost(profile, row)[1] for row in ("osnet", "none/ce+tri")}
    return (
        f"OSNet, in which a gate weighs four scales in every block, has {with_interval(gain)} points of mAP over the "
        f"plain network with triplet loss, and {work['osnet']:.0f} million multiply-adds an image instead of "
        f"{work['none/ce+tri']:.0f}, both at the width of these runs."
    )


def costs_in_words(found: pd.DataFrame, runs: Runs) -> str:
    """Which system does best at the plain network's cost, and what OSNet's small network costs to train.

    SAN-GAL is none of them: a step of it comes after its attribute network and its maps.
    """
    steps, works = (dict(zip(found["row"], map(float, found[of]), strict=True)) for of in ("step", "multiply-adds"))
    cheap = [row for row, step in steps.items() if step <= CHEAP and runs.get(row) and row != SAN_GAL_OURS]
    if not cheap or not {"osnet", "none/ce"} <= steps.keys():
        return "What the systems cost has not been compared yet."
    best = max(cheap, key=lambda row: score(runs, row).ours)
    less, more = works["osnet"] / works["none/ce"], steps["osnet"] / steps["none/ce"]
    return (
        f"Of the {counted(len(cheap))} whose step costs at most {CHEAP:g} plain ones, SAN-GAL left out, "
        f"*{NAMES[best]}* has the highest mAP. What an image costs does not tell what training does: OSNet needs "
        f"{less:.1f} of the plain network's multiply-adds and {more:.1f} of its time for a step, as a CPU is slow at "
        "convolutions of single channels."
    )


def ianet_in_words(runs: Runs) -> str:
    """How far the spatial weights of IANet, as published, are from uniform, and what it is worth."""
    records = [record for record in runs.get("ianet", ()) if "attention" in record.tables]
    if not records:
        return "IANet has not been run yet."
    weights = pd.concat([record.table("attention") for record in records])
    places, channels = (weights[weights["weighs"] == what] for what in ("places", "channels"))
    within, between = (100 * places[side] for side in ("within", "between"))
    plain, without = (difference(runs, "ianet", row) for row in (PLAIN, "ianet/none"))
    low, high = channels["between"].min(), channels["between"].max()
    text = (
        f"Trained on SynthPed, its spatial weights differ by {within.min():.1f} to {within.max():.1f} % of their mean "
        f"from place to place, and by {between.min():.1f} to {between.max():.1f} % from picture to picture; its "
        f"weights of channels differ by {low:.1f} to {high:.1f} times their mean. Its gain over the plain baseline "
        f"with triplet loss is {with_interval(plain)} points. "
    )
    if without.known:
        text += f"Over the same network and losses without its modules it is {with_interval(without)}. "
    text += f"To freeze all its weights changes mAP by {with_interval(frozen_gain(records))}"
    normalised = difference(runs, "ianet/normalised", "ianet")
    if not normalised.known:
        return text + "."
    text += f". The row that divides by the sum has {with_interval(normalised)} over it."
    return text + seed_by_seed(runs)


def seed_by_seed(runs: Runs) -> str:
    """What weights that select are worth to IANet with each seed, where more than one have been run, in a sentence."""
    scores = [{r.config["seed"]: 100 * r.metrics["mAP"] for r in runs[row]} for row in ("ianet/normalised", "ianet")]
    gains = [signed(scores[0][seed] - scores[1][seed], 1) for seed in sorted(scores[0].keys() & scores[1].keys())]
    if len(gains) < 2:
        return ""
    return f" Seed by seed that is {listed(gains)}: the first alone looked like a finding."


def selecting_in_words(runs: Runs) -> str:
    """What IANet's modules are worth, as published and with spatial weights that can select, in a sentence."""
    selects, whole = difference(runs, "ianet/normalised", "ianet"), difference(runs, "ianet/normalised", "ianet/none")
    if not (selects.known and whole.known):
        return "IANet has not been run with weights that select, and without its modules, yet."
    return (
        "In IANet's published code the weights of places are nearly alike. With weights that can differ it has "
        f"{with_interval(selects)} points of mAP over that, and {with_interval(whole)} over the same network and "
        "losses without its modules."
    )


def stripes_in_words(runs: Runs) -> str:
    """What PCB's stripes are worth over its own baseline, what that lacks to the plain one, and what refining adds."""
    if not runs.get("pcb") or not runs.get("pcb/one-stripe"):
        return "PCB has not been run with one stripe yet."
    refined = difference(runs, "pcb+rpp", "pcb")
    stripes, lacks = difference(runs, "pcb", "pcb/one-stripe"), difference(runs, "pcb/one-stripe", "none/ce")
    return (
        f"PCB's stripes are worth {with_interval(stripes)} points over PCB with one stripe, its article's own "
        f"baseline. That one lies {with_interval(lacks)} from the plain baseline of this book."
        + (f" Refining the parts changes PCB by {with_interval(refined)}." if runs.get("pcb+rpp") else "")
    )
