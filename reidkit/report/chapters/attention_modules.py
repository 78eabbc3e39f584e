"""Drawings of book/attention-modules.md: the joint-loss paper's Figs. 1 to 5, from the live modules."""

from collections.abc import Sequence

import torch

from reidkit.models.attention import CBAM, ChannelAttention, SpatialAttention
from reidkit.models.backbone import Bottleneck
from reidkit.report.drawings import PLUS, STAGES, TIMES, Chart, Text, Trace, is_identity, observe, shape, words
from reidkit.report.style import WIDTH, Drawing
from reidkit.systems.joint_loss import ReIDNetwork


def trace(network: ReIDNetwork, height: int = 256, width: int = 128) -> Trace:
    """One real forward pass of two images (3, height, width), in training mode, on a copy of the network."""
    return observe(network, torch.zeros(2, 3, height, width), torch.tensor([0, 1]))


def retrieval(traced: Trace) -> Drawing:
    """Fig. 1: how the network is trained, and how it is then used."""
    image, embedding = traced.into("backbone.conv1"), traced.out_of("neck")
    left, right, centre, wide = 1.3, WIDTH - 1.3, WIDTH / 2, WIDTH - 0.2
    chart = Chart(9.7)
    chart.heading(0, "Training")
    identities = f"B of {traced.out_of('classifier')}"
    _, network = chart.stack(left, 0.6, ("batch", f"B × {image}", "data"), ("network", "", "layer"))
    _, loss = chart.stack(right, 0.6, ("its identities", identities, "data"), ("joint loss", "", "loss"))
    (end, y), (start, _) = network.right, loss.left
    chart.arrow((end, y - 0.1), (start, y - 0.1))
    chart.arrow((start, y + 0.1), (end, y + 0.1), dashed=True)
    chart.label(centre, y + 0.45, "features and logits to the right, gradients back (dashed)")

    chart.heading(3, "Retrieval")
    queries = chart.stack(left, 3.6, ("query image", image, "data"))
    gallery = chart.stack(right, 3.6, ("gallery", f"G × {image}", "data"))
    (trained,) = chart.stack(centre, 4.6, ("trained network", "without its classifier", "layer"), width=wide)
    queries += chart.stack(left, 5.6, ("embedding", embedding, "data"))
    gallery += chart.stack(right, 5.6, ("embeddings", f"G × {embedding}", "data"))
    cosine, *_ = chart.stack(
        centre,
        6.6,
        ("cosine similarity", "G numbers", "layer"),
        ("sort", "most similar first", "layer"),
        ("the first N of the list", "", "data"),
        width=wide,
    )
    for above, below in (queries, gallery):
        chart.arrow(above.bottom, (above.x, trained.top[1]))
        chart.arrow((above.x, trained.bottom[1]), below.top)
        chart.arrow(below.bottom, (below.x, cosine.top[1]))
    return chart.finish("Flow chart in two parts, training above and retrieval below.")


def architecture(traced: Trace) -> Drawing:
    """Fig. 2: the whole network, its attention modules, its losses, and what is kept for retrieval."""
    network, main, side, wide, narrow = traced.network, 1.8, 4.25, 2.75, 1.8
    stages = {
        name: [block for block in network.backbone.get_submodule(name).children() if isinstance(block, Bottleneck)]
        for name in STAGES
    }
    chart = Chart(11)
    boxes = chart.stack(
        main,
        0,
        ("image", traced.into("backbone.conv1"), "data"),
        (f"Conv1: {words(network.backbone.conv1)}", traced.out_of("backbone.bn1"), "layer"),
        ("max pooling", traced.into("backbone.layer1"), "layer"),
        *(
            (f"{STAGES[name]}: {len(blocks)} blocks", traced.out_of(f"backbone.{name}"), "layer")
            for name, blocks in stages.items()
        ),
        ("average pooling", traced.into("neck"), "layer"),
        (words(network.neck), traced.out_of("neck"), "layer"),
        (words(network.classifier), f"{traced.out_of('classifier')} logits", "layer"),
        width=wide,
    )
    pooling, neck, classifier = boxes[-3:]
    for stage, blocks in zip(boxes[3:-3], stages.values(), strict=True):
        for place, where in (("attention", "inside"), ("output", "after")):
            modules = [module for block in blocks if not is_identity(module := block.get_submodule(place))]
            if modules:
                text = (words(modules[0]), f"{where} {len(modules)} of {len(blocks)} blocks", "attention")
                (attention,) = chart.stack(side, stage.row, text, width=narrow)
                chart.arrow(attention.left, stage.right)
    triplet, joint, entropy = (
        chart.stack(side, box.row, (title, equation, "loss"), width=narrow)[0]
        for box, title, equation in (
            (pooling, "triplet loss", "Eq. 3"),
            (neck, "joint loss", "Eq. 5"),
            (classifier, "cross-entropy", "Eq. 1"),
        )
    )
    chart.arrow(pooling.right, triplet.left)
    chart.arrow(classifier.right, entropy.left)
    chart.arrow(triplet.bottom, joint.top)
    chart.arrow(entropy.top, joint.bottom)
    (used,) = chart.stack(main, classifier.row + 1, ("retrieval", "by cosine, after training", "data"), width=wide)
    chart.arrow(neck.left, (0.15, neck.y), (0.15, used.y), used.left)
    return chart.finish(
        "Flow chart of the whole network, top to bottom. The pooled features go to the triplet loss; those after the "
        "neck go to the classifier and cross-entropy and, after training, to retrieval."
    )


def residual_block(traced: Trace, name: str = "backbone.layer2.0") -> Drawing:
    """Fig. 3: a residual block, with its attention before the addition or its module after the last ReLU."""
    block, main, side, wide, narrow = traced.module(name, Bottleneck), 1.9, 4.25, 2.75, 1.7
    branch: list[Text] = [
        (f"{words(block.conv1)}, BN, ReLU", traced.out_of(f"{name}.bn1"), "layer"),
        (f"{words(block.conv2)}, BN, ReLU", traced.out_of(f"{name}.bn2"), "layer"),
        (f"{words(block.conv3)}, BN", traced.out_of(f"{name}.bn3"), "layer"),
    ]
    if isinstance(block.attention, CBAM):
        branch.append(("channel attention", traced.out_of(f"{name}.attention.channel"), "attention"))
        branch.append(("spatial attention", traced.out_of(f"{name}.attention.spatial"), "attention"))
    elif not is_identity(block.attention):
        branch.append((words(block.attention), traced.out_of(f"{name}.attention"), "attention"))
    after: list[Text] = [("ReLU", traced.into(f"{name}.output"), "layer")]
    if not is_identity(block.output):
        after.append((words(block.output), traced.out_of(f"{name}.output"), "attention"))

    chart = Chart(len(branch) + len(after) + 3)
    texts = [("$x_l$", traced.into(name), "data"), *branch, PLUS, *after, ("$x_{l+1}$", traced.out_of(name), "data")]
    boxes = chart.stack(main, 0, *texts, width=wide)
    start, plus = boxes[0], boxes[texts.index(PLUS)]
    chart.bracket(boxes[1], boxes[len(branch)], "$F(x_l, W_l)$")
    way = f"{words(block.downsample.get_submodule('0'))}, BN" if len(block.downsample) else "identity"
    shortcut = ("shortcut", f"{way}\n{traced.out_of(f'{name}.downsample')}", "layer")
    (skip,) = chart.stack(side, plus.row / 2, shortcut, width=narrow)
    chart.arrow(start.right, (side, start.y), skip.top)
    chart.arrow(skip.bottom, (side, plus.y), plus.right)
    return chart.finish("Flow chart of a residual block, the residual part at the left and the shortcut at the right.")


def channel_attention(traced: Trace, name: str = "backbone.layer2.0.attention.channel") -> Drawing:
    """Fig. 4: CBAM's channel attention. As in the code, the two branches are added before the second, linear, layer."""
    traced.module(name, ChannelAttention)
    mean, maximum = (shape(call.inputs) for call in traced[f"{name}.fc1"])  # one layer, called for each of both
    weights = traced.out_of(f"{name}.fc2")
    return weighing(
        "Flow chart of the channel attention module; its weights multiply the map that it was given.",
        ("$F$", traced.into(name), "data"),
        ("mean over H, W", mean, "layer"),
        ("max. over H, W", maximum, "layer"),
        (
            ("layer 1, ReLU, for each", f"2 × {traced.out_of(f'{name}.fc1')}", "layer"),
            ("sum of both", traced.into(f"{name}.fc2"), "layer"),
            ("layer 2", weights, "layer"),
            ("sigmoid: $M_C(F)$", f"{weights} × 1 × 1", "attention"),
        ),
        ("$F$′", traced.out_of(name), "data"),
    )


def spatial_attention(traced: Trace, name: str = "backbone.layer2.0.attention.spatial") -> Drawing:
    """Fig. 5: CBAM's spatial attention."""
    module = traced.module(name, SpatialAttention)
    channels, *places = traced[f"{name}.conv"][0].inputs
    weights = traced.out_of(f"{name}.bn")
    return weighing(
        "Flow chart of the spatial attention module; its weights multiply the map that it was given.",
        ("$F$′", traced.into(name), "data"),
        ("mean over C", shape((channels // 2, *places)), "layer"),
        ("max. over C", shape((channels // 2, *places)), "layer"),
        (
            ("stacked", traced.into(f"{name}.conv"), "layer"),
            (f"{words(module.conv)}, BN", weights, "layer"),
            ("sigmoid: $M_S(F$′$)$", weights, "attention"),
        ),
        ("$F$″", traced.out_of(name), "data"),
    )


def weighing(lead: str, given: Text, left: Text, right: Text, steps: Sequence[Text], result: Text) -> Drawing:
    """A map pooled in two ways, the steps from there to weights, and the product of the weights and the map."""
    x, wide, narrow = 2.25, 4.1, 1.95
    chart = Chart(len(steps) + 4)
    (source,) = chart.stack(x, 0, given, width=wide)
    pools = chart.stack(x - 1.075, 1, left, width=narrow) + chart.stack(x + 1.075, 1, right, width=narrow)
    first, *_, times, _ = chart.stack(x, 2, *steps, TIMES, result, width=wide)
    for pool in pools:
        chart.arrow((pool.x, source.bottom[1]), pool.top)
        chart.arrow(pool.bottom, (pool.x, first.top[1]))
    edge = WIDTH - 0.3
    chart.arrow(source.right, (edge, source.y), (edge, times.y), times.right)
    return chart.finish(lead)
