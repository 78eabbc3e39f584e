"""Figures of book/san-gal.md: Figs. 1 and 3 and blocks of channels, drawn from the live modules; charts; and a person.

As in `drawings`: shapes come from a forward pass that is listened to, and the steps from the options of the modules, so
that a drawing cannot say what the code does not do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
import torch
from torch import Tensor

from reidkit.gradcam import attribute_heat_maps
from reidkit.models.backbone import STAGES
from reidkit.report import drawings
from reidkit.report.chapters.heat_maps import inside, regional, whole_body
from reidkit.report.drawings import ROW, TIMES, Chart, Shape, Text, Trace, observe, shape
from reidkit.report.explained import Explained
from reidkit.report.sheets import Cell, mosaic, overlay
from reidkit.report.style import PALETTE, WIDTH, Drawing, notice, styled
from reidkit.report.words import field_title, power
from reidkit.settings import Settings
from reidkit.systems.attributes import AttributeNetwork
from reidkit.systems.san_gal import READINGS, AttributeSpatialAttention, SanGalNetwork


@dataclass(frozen=True)
class DualTraced:
    """Both networks, and what passed through them in one go: the calls of their modules, and the heat maps."""

    of_attributes: Trace
    of_reid: Trace
    heat_maps: Mapping[str, Shape]  # (K, h, w) by stage


def trace(attributes: AttributeNetwork, reid: SanGalNetwork, height: int = 256, width: int = 128) -> DualTraced:
    """Two images (3, height, width), their heat maps, and the re-ID network on both; the networks stay as they are."""
    images = torch.zeros(2, 3, height, width)
    of_one = attribute_heat_maps(attributes, images[:1])
    maps = {stage: of_stage.expand(2, -1, -1, -1) for stage, of_stage in of_one.items()}
    return DualTraced(
        observe(attributes, images),
        observe(reid, images, maps, torch.tensor([0, 1])),
        {stage: tuple(of_stage.shape[1:]) for stage, of_stage in maps.items()},
    )


def dual_trace(traced: DualTraced) -> Drawing:
    """Fig. 1: the attribute network at the left, the re-ID network at the right, its heat maps between them.

    Raises ValueError for a re-ID network without attention, or with attribute heads: the row ID+attrAttention is drawn.
    """
    if not len(traced.of_reid.network.attention) or len(traced.of_reid.network.heads):
        raise ValueError("this drawing is of the row ID+attrAttention: with attention, and without attribute heads")
    left, middle, right = 0.86, 2.6, 4.34  # the three columns
    wide, narrow, lane = 1.56, 1.18, 1.8  # the lane is where the gradients go up
    backbone, seen = traced.of_attributes, traced.of_reid
    chart = Chart(12)

    def stem(calls: Trace) -> Text:
        return "Conv1, Conv2_x", calls.out_of("backbone.layer1"), "layer"

    chart.label(left, 0.13, "attribute network")
    chart.label(right, 0.13, "re-ID network")
    image = chart.box(middle, 0, "image", seen.into("backbone.conv1"), "data", width=1.5)
    trunk = [chart.box(left, 1, *stem(backbone), width=wide)]
    guided = [chart.box(right, 1, *stem(seen), width=wide)]
    chart.arrow(image.left, (left, image.y), trunk[0].top)
    chart.arrow(image.right, (right, image.y), guided[0].top)
    maps = []
    for i, stage in enumerate(STAGES):
        row, title, name = 2 + 2 * i, drawings.STAGES[stage], f"backbone.{stage}"
        trunk.append(chart.box(left, row, title, backbone.out_of(name), "layer", width=wide))
        guided.append(chart.box(right, row, title, seen.out_of(name), "layer", width=wide))
        maps.append(chart.box(middle, row + 1, "heat maps", shape(traced.heat_maps[stage]), "data", width=narrow))
        asam = seen.out_of(f"attention.{stage}")
        guided.append(chart.box(right, row + 1, "ASAM", asam, "attention", width=wide))
        chart.arrow(trunk[-1].right, (middle, trunk[-1].y), maps[-1].top)
        chart.arrow(maps[-1].right, guided[-1].left)
    groups = len(traced.of_attributes.network.heads)
    logits = sum(backbone[f"heads.{group}"][0].output[0] for group in range(groups))
    ends: list[Text] = [
        ("avg. pooling", backbone.into("heads.0"), "layer"),
        (f"{groups} × BN, FC", f"{logits} logits", "layer"),
        ("softmax", f"{logits} probabilities", "layer"),
        ("attribute loss", "", "loss"),
    ]
    trunk += [chart.box(left, 8 + i, *text, width=wide) for i, text in enumerate(ends)]
    ends = [
        ("avg. pooling", seen.into("neck"), "layer"),
        (drawings.words(seen.network.neck), seen.out_of("neck"), "layer"),
        ("classifier", f"{seen.out_of('classifier')} logits", "layer"),
        ("cross-entropy", "", "loss"),
    ]
    guided += [chart.box(right, 8 + i, *text, width=wide) for i, text in enumerate(ends)]
    for above, below in (*pairwise(trunk), *pairwise(guided)):
        chart.arrow(above.bottom, below.top)
    triplet = chart.box(middle, 8, "triplet loss", "", "loss", width=narrow)
    retrieval = chart.box(middle, 9, "retrieval", "by cosine", "data", width=narrow)
    chart.arrow(guided[-4].left, triplet.right)
    chart.arrow(guided[-3].left, retrieval.right)
    softmax = trunk[-2]
    for box in maps:
        chart.arrow(softmax.right, (lane, softmax.y), (lane, box.y), box.left, dashed=True)
    chart.label(middle, 10.5 * ROW, "dashed:\ngradients, Eq. 1")
    return chart.finish(
        "Flow chart of both networks, top to bottom: the attribute network at the left, the re-ID network at the "
        "right. At each of three stages the attribute network's map and the gradients of its probabilities make heat "
        "maps, which go to the ASAM after the same stage of the re-ID network. In rows from the top:"
    )


def attention_module(traced: DualTraced, stage: str = "layer2") -> Drawing:
    """Fig. 3: the Attribute Spatial Attention Module after a stage, in the reading that its options choose."""
    name, seen = f"attention.{stage}", traced.of_reid
    module, features = seen.module(name, AttributeSpatialAttention), seen[name][0].inputs
    heat, height_width = traced.heat_maps[stage], features[1:]
    given = torch.zeros(1, *features), torch.zeros(1, *heat)
    blocks = tuple(module.block_attention(*given).shape[1:])
    half = tuple(module.attention(*given).shape[1:])
    right, left, attended, wide, narrow = 3.96, 1.38, 2.05, 2.05, 1.27

    steps: list[Text] = [("heat maps", shape(heat), "data")]
    if module.scaling == "minmax":
        steps.append(("each map to 0–1", shape(heat), "layer"))
    if blocks != heat:
        steps.append(("pooling in blocks", shape(blocks), "layer"))
    source = len(steps) - 1  # what is pooled, and weighed
    steps += [
        ("mean over h, w", shape((blocks[0], 1, 1)), "layer"),
        ("sigmoid: $β$, Eq. 3", shape((blocks[0], 1, 1)), "attention"),
        TIMES,
        ("sigmoid: $α$, Eq. 4", shape(blocks), "attention"),
    ]
    if module.sigmoids == 2:
        steps.append(("sigmoid again", shape(blocks), "attention"))
    if half != blocks:
        steps.append(("blocks of channels", shape(half), "layer"))
    chart = Chart(len(steps) + 1)
    path = chart.stack(right, 0, *steps, width=wide)
    edge, product = WIDTH - 0.08, path[steps.index(TIMES)]
    chart.arrow(path[source].right, (edge, path[source].y), (edge, product.y), product.right)

    kept, other = ("first", "last") if module.attended == "last" else ("last", "first")
    rest = (features[0] - half[0], *height_width)
    whole = chart.box(left, 0, "activation map", shape(features), "data", width=1.9)
    keeps = chart.box(2 * left - attended, 1, f"{kept} half", shape(rest), "data", width=narrow)
    weighed = chart.box(attended, 1, f"{other} half", shape(half), "data", width=narrow)
    times = chart.box(attended, path[-1].row, *TIMES, width=narrow)
    output = seen.out_of(name)
    both = chart.box(left, path[-1].row + 1, "both halves", output, "data", width=1.9)
    for box in (keeps, weighed):
        chart.arrow((box.x, whole.bottom[1]), box.top)
    chart.arrow(keeps.bottom, (keeps.x, both.top[1]))
    chart.arrow(weighed.bottom, times.top)
    chart.arrow(path[-1].left, times.right)
    chart.arrow(times.bottom, (times.x, both.top[1]))
    return chart.finish(
        "Flow chart of the attention module: the activation map of the re-ID network at the left, of which one half is "
        "kept and the other multiplied; at the right how the heat maps become what it is multiplied by. In rows from "
        "the top:"
    )


def shares(maps: int, channels: int) -> Tensor:
    """By how much each of K maps counts in each attended channel, (K, channels), asked of the module itself.

    Its attention is probed with one map at a time; the maps that move a channel are averaged there.
    """
    module = AttributeSpatialAttention(sigmoids=1)
    features = torch.zeros(maps, 2 * channels, 1, 1)
    alone = torch.eye(maps)[:, :, None, None]  # image k has map k, and no other
    moved = module.attention(features, alone)[:, :, 0, 0] > module.attention(features, 0 * alone)[:, :, 0, 0]
    return moved / moved.sum(0)


@styled
def blocks(*sizes: tuple[int, int]) -> Drawing:
    """Which maps serve which channels, a panel for each (maps, channels)."""
    said = []
    heights = [maps for maps, _ in sizes]
    size = (WIDTH, 0.45 * sum(heights) + 1.2 * len(sizes))
    figure, grid = plt.subplots(len(sizes), figsize=size, height_ratios=heights, squeeze=False, layout="constrained")
    for axes, (maps, channels) in zip(grid[:, 0], sizes, strict=True):
        table = shares(maps, channels)
        written = [
            ["1" if share == 1 else f"1/{round(1 / share)}" if share else "" for share in row] for row in table.tolist()
        ]
        shown = torch.where(table > 0, torch.arange(1, maps + 1)[:, None], 0)  # by its number the colour of a map
        colours = sns.blend_palette(["white", *sns.color_palette("pastel", maps)], maps + 1)
        look = {"fmt": "", "annot_kws": {"color": "black", "fontsize": 11}, "linewidths": 1, "linecolor": "0.6"}
        names = [f"map {k}" for k in range(maps)]
        sns.heatmap(shown, annot=written, cmap=colours, cbar=False, square=True, yticklabels=names, ax=axes, **look)
        axes.set(title=f"{maps} maps, {channels} channels", xlabel="channel")
        axes.tick_params(length=0, rotation=0)
        of_channel = [", ".join(str(k) for k in table[:, c].nonzero().flatten().tolist()) for c in range(channels)]
        listed = "; ".join(f"channel {c}: {found}" for c, found in enumerate(of_channel))
        said.append(f"{maps} maps and {channels} channels, {listed}")
    return figure, f"Grids of which maps serve which attended channel. {'. '.join(said)}."


@styled
def attention_over_heat(heat: Tensor, curves: Mapping[int, tuple[Tensor, Tensor]]) -> Drawing:
    """Attention over the heat value (N,), by the number of sigmoids: of a place that alone is warm, and of many."""
    names, one = {2: "two sigmoids", 1: "one sigmoid"}, int((heat <= 1).sum()) - 1  # min-max-scaled maps end at 1
    said = []
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    axes.axvspan(0, 1, color="0.92", lw=0)
    axes.text(0.5, 0.86, "scaled to 0–1", ha="center", va="center", rotation=90)
    for (sigmoids, (alone, among)), colour, dash in zip(curves.items(), PALETTE, ("-", "--"), strict=False):
        axes.fill_between(heat, alone, among, color=colour, alpha=0.25, lw=0)
        label = names[sigmoids] + (", literal" if sigmoids == 2 else "")
        axes.plot(heat, alone, dash, color=colour, lw=2.5, label=label)
        axes.plot(heat, among, dash, color=colour, lw=1.2)
        ends = (f"{alone[i]:.3f} to {among[i]:.3f} at {heat[i]:g}" for i in (one, -1))
        said.append(f"{names[sigmoids]}: {alone[0]:.3f} at 0, {', '.join(ends)}")
    axes.set(xlabel="heat value L", ylabel="attention", xlim=(0, 8), ylim=(0.48, 1.02))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure, f"Line chart of attention over the heat value from 0 to 8. {'; '.join(said)}."


def attention_sheet(explained: Explained, image: int, stage: str = "layer4") -> Drawing:
    """A query under its heat maps and under what ASAM makes of them in two readings: a row per attribute.

    Nothing in the module is learned, so that this is what any run of SAN-GAL multiplies its features by. The attributes
    are the two on which the maps have the largest share of their energy, of those in sight that are not all of the
    person.
    """
    e, shares = explained, {}
    heat = e.answers[stage][image]  # (K, h, w)
    for k in regional(e):
        region = e.region(image, k)
        if region.any() and heat[k].any() and not whole_body(e.fields[k]):
            shares[k] = inside(heat[k], region)
    readings: dict[str, dict[str, Any]] = {"literal": {}, "scaled,\none sigmoid": READINGS["scaled-maps-one-sigmoid"]}
    features = torch.zeros(()).expand(1, 2 * len(heat), *heat.shape[1:])
    attention = {
        name: AttributeSpatialAttention(**reading).block_attention(features, heat[None])[0]
        for name, reading in readings.items()
    }
    rows, names, told = [], [], []
    picture = e.pictures[image].numpy()
    for k in sorted(shares, key=lambda k: -shares[k])[:2]:
        region = e.region(image, k)
        cells = [Cell(picture, region), Cell(overlay(picture, heat[k]), region)]
        cells += [Cell(overlay(picture, weights[k] - 0.5, peak=0.5), region) for weights in attention.values()]
        rows.append(cells)
        names.append(field_title(e.fields[k]).replace(" ", "\n"))
        ranges = [f"{name.replace(chr(10), ' ')} {w[k].min():.3f} to {w[k].max():.3f}" for name, w in attention.items()]
        told.append(f"{field_title(e.fields[k])}: {', '.join(ranges)}")
    if not rows:
        return notice("No attribute of a part is in sight in this picture.")
    columns = ["picture", "heat map", *readings]
    figure = mosaic([rows], [names], [columns], bar="heat, of its peak; attention, from 0.5 to 1", wide=4.4)
    return figure, f"{e.split.paths[image].stem} under heat maps after {stage} and attention. {'; '.join(told)}."


@styled
def schedules(configs: Mapping[str, Settings]) -> Drawing:
    """The learning rate over the epochs, a panel for each of some runs by their names."""
    said = []
    size = (WIDTH, 2.5 * len(configs) + 0.5)
    figure, grid = plt.subplots(len(configs), figsize=size, sharex=True, squeeze=False, layout="constrained")
    for axes, (label, config), colour in zip(grid[:, 0], configs.items(), PALETTE, strict=False):
        epochs = torch.linspace(0, config.epochs, 100 * config.epochs + 1).tolist()[:-1]
        rates = [config.learning_rate_at(epoch) for epoch in epochs]
        axes.plot(epochs, rates, color=colour, lw=2.5)
        falls = config.milestones if config.schedule == "milestones" else ()  # a cosine has no steps to name
        turns = [e for e in (0, config.warmup_epochs, *falls) if e < config.epochs]
        for epoch in turns:
            at = (epoch, config.learning_rate_at(epoch))
            axes.annotate(power(at[1]), at, (3, 4), textcoords="offset points", va="bottom")
        optimiser = {"sgd": "SGD", "adam": "Adam"}[config.optimizer]
        axes.set(title=f"{label}, {optimiser}", ylabel="learning rate", yscale="log")
        lowest = max(min(rates), max(rates) / 1000)  # a cosine ends at zero
        axes.set_ylim(0.7 * lowest, 2 * max(rates) * (max(rates) / lowest) ** 0.15)
        values = ", ".join(f"{config.learning_rate_at(e):.2g} at {e:g}" for e in turns)
        said.append(f"{label}: {values}, until {config.epochs}")
    last = max(config.epochs for config in configs.values())
    axes.set(xlabel="epochs done", xlim=(0, 1.025 * last), xticks=range(0, last + 1, 5))
    return figure, f"Line chart of the learning rate over the epochs done. {'; '.join(said)}."
