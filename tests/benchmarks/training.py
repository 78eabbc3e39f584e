"""The training step: `python -m tests.benchmarks.training [full quarter] [--attention none cbam] [--rounds 3]`.

A step is what `reidkit.training.train` does with a batch: gather, augmentation, the forward pass, the joint loss
(cross-entropy and triplet), backward and Adam. Timed are whole epochs of the real loop, after one that warms up.

plain: fp32, contiguous, with PyTorch's deterministic mode as it comes, which fills every new tensor with NaN first.
guarded: as runs are by default (`precision: auto`, channels_last), but with that filling: how it was before.
ours: as runs are by default. On a GPU that is a CUDA graph; eager is the same without one, compiled is `compile: true`.

On a GPU the limits are those of an ideal: the FLOPs of the products and convolutions, and the bytes that the kernels of
an eager step read and write, over what the card's data sheet promises. A step takes the larger of both at least.
"""

import argparse
import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from reidkit import training
from reidkit.data.resident import ResidentImages
from reidkit.data.samplers import ShuffledSampler
from reidkit.losses import JointLoss
from reidkit.models import ATTENTION
from reidkit.settings import Settings
from reidkit.systems.joint_loss import ReIDNetwork
from reidkit.training import Batch, choose_device, precision_of, train
from tests.benchmarks.harness import conditions, markdown, verdict

IDENTITIES = 751  # of Market-1501's training set
CPU_PARTS = {  # width multiplier, image size, batch
    "full": (1.0, (256, 128), 32),
    "quarter": (0.25, (128, 64), 64),
}
GPU_PARTS = {"full": (1.0, (256, 128), 64), "half": (1.0, (128, 64), 64)}
STEPS = {"cpu": 2, "cuda": 100}  # an epoch
CARDS = {  # FLOP/s in bf16 without sparsity, bytes/s
    "H200": (989e12, 4.8e12),
    "H100": (989e12, 3.35e12),
    "A100": (312e12, 2.04e12),
}


@dataclass(frozen=True)
class Way:
    """How a step is taken; the defaults are those of a run."""

    precision: Any = "auto"
    channels_last: bool = True
    filled: bool = False
    graph: bool = True
    compile: bool = False


PLAIN = Way(precision="fp32", channels_last=False, filled=True, graph=False)
CPU_WAYS = {"plain": PLAIN, "guarded": Way(filled=True), "ours": Way()}
GPU_WAYS = {
    "plain": PLAIN,
    "guarded": Way(filled=True, graph=False),
    "eager": Way(graph=False),
    "ours": Way(),
    "compiled": Way(compile=True),
}


@dataclass(frozen=True)
class Work:
    """What is trained: ResNet-50 of some width with attention, on images (height, width) in batches."""

    attention: str
    width: float
    size: tuple[int, int]
    batch: int
    device: torch.device


@contextlib.contextmanager
def filled(enabled: bool) -> Iterator[None]:
    """Deterministic mode as PyTorch has it, with new tensors filled."""
    reproducible = training.reproducible

    @contextlib.contextmanager
    def guarded(deterministic: bool) -> Iterator[None]:
        with reproducible(deterministic):
            torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
            yield

    with patch.object(training, "reproducible", guarded) if enabled else contextlib.nullcontext():
        yield


def seconds_per_step(work: Work, way: Way, steps: int, epochs: int = 2) -> float:
    """The best epoch's, of those after the first."""
    torch.manual_seed(0)
    memory_format = torch.channels_last if way.channels_last else torch.contiguous_format
    network = ReIDNetwork(IDENTITIES, work.attention, "circle", work.width)
    network = network.to(work.device, memory_format=memory_format)
    forward = torch.compile(network) if way.compile else network
    objective = JointLoss()
    settings = Settings(
        image_height=work.size[0],
        image_width=work.size[1],
        epochs=epochs,
        batch_size=work.batch,
        precision=way.precision,
        channels_last=way.channels_last,
        evaluate_every=1,
    )
    images = ResidentImages([], work.size)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (steps * work.batch, 3, 128, 64), generator=generator, dtype=torch.uint8)
    images.pixels = pixels.contiguous(memory_format=torch.channels_last).to(work.device)
    labels = torch.arange(len(pixels)) // 4 % IDENTITIES
    ends: list[float] = []

    def losses(batch: Batch) -> Mapping[str, Tensor]:
        return objective(forward(batch.images, batch.labels), batch.labels)

    def evaluate() -> dict[str, float]:
        ends.append(time.perf_counter())  # the last look has waited for the device
        return {}

    with tempfile.TemporaryDirectory() as folder, filled(way.filled):
        train(
            network, losses, images, labels, ShuffledSampler(len(labels), work.batch), settings,
            seed=0, directory=Path(folder), identity={}, evaluate=evaluate, checkpoint_seconds=1e9,
            graph=way.graph, progress=False,
        )  # fmt: skip
    return min(end - start for start, end in itertools.pairwise(ends)) / steps


class Traffic(TorchDispatchMode):
    """The bytes that operations read and write, were nothing ever found in a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in tensors}.values())
        return result


def demands(work: Work) -> tuple[float, float]:
    """FLOPs and bytes of an eager step of ours, an image."""
    flops, traffic = FlopCounterMode(display=False), Traffic()
    network = ReIDNetwork(IDENTITIES, work.attention, "circle", work.width).to(work.device)
    network = network.to(memory_format=torch.channels_last)
    images = torch.zeros(work.batch, 3, *work.size, device=work.device).to(memory_format=torch.channels_last)
    labels = torch.arange(work.batch, device=work.device) // 4
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], fused=True)
    with flops, traffic:
        with training.autocast(work.device, precision_of("auto", work.device)):
            total = JointLoss()(network(images, labels), labels)["total"]
        total.backward()
        optimizer.step()
    return flops.get_total_flops() / work.batch, traffic.bytes / work.batch


def name_of(work: Work) -> str:
    width = f" × {work.width:g}" if work.width != 1 else ""
    return f"ResNet-50{width}, {work.attention}, {work.batch} of {work.size[0]}×{work.size[1]}"


def on_a_cpu(work: Work, rounds: int) -> list[object]:
    best = dict.fromkeys(CPU_WAYS, float("inf"))
    for _ in range(rounds):  # in turn, so that what else the machine does disturbs all alike
        for name, way in CPU_WAYS.items():
            best[name] = min(best[name], seconds_per_step(work, way, STEPS["cpu"]))
    speeds = [f"{seconds:.2f} s, {work.batch / seconds:.0f} images/s" for seconds in best.values()]
    # The bar is for processors with instructions for bf16; others are left with the memory format and the guard.
    bar = 1 / 1.9 if precision_of("auto", work.device) == "bf16" else None
    faster = [f"{best['plain'] / best[name]:.2f} ×" for name in ("guarded", "ours")]
    return [name_of(work), *speeds, *faster, verdict(best["ours"] / best["plain"], bar)]


def on_a_gpu(work: Work, rounds: int, ways: list[str]) -> Iterator[list[object]]:
    flops, traffic = demands(work)
    card = next((limits for card, limits in CARDS.items() if card in torch.cuda.get_device_name()), None)
    for name in ways:
        torch.compiler.reset()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        seconds = seconds_per_step(work, GPU_WAYS[name], STEPS["cuda"], 1 + rounds)
        speed = work.batch / seconds
        shares = ["–", "–"]
        if card and name != "plain":  # the limits are those of ours
            shares = [f"{speed * flops / card[0]:.0%}", f"{speed * traffic / card[1]:.0%}"]
        memory = f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB"
        yield [name_of(work), name, f"{speed:.0f}", f"{seconds * 1e3:.1f}", *shares, memory]


def main() -> None:
    device = choose_device("auto")
    gpu = device.type == "cuda"
    parts = GPU_PARTS if gpu else CPU_PARTS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(parts), help=f"of {', '.join(parts)}")
    parser.add_argument("--attention", nargs="*", default=["none", "cbam"] if gpu else ["none"], choices=ATTENTION)
    parser.add_argument("--ways", nargs="*", default=list(GPU_WAYS)[:-1], choices=GPU_WAYS, help="on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in parts]:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(parts)}")
    print(torch.cuda.get_device_name() if gpu else conditions(), end="\n\n")
    works = [Work(attention, *parts[part], device) for part in options.parts for attention in options.attention]
    if gpu:
        columns = ["training step", "way", "images/s", "ms", "of the FLOPs", "of the bytes", "peak memory"]
        rows = [row for work in works for row in on_a_gpu(work, options.rounds, options.ways)]
    else:
        columns = ["training step", *CPU_WAYS, "guarded over plain", "ours over plain (bar 1.9 ×)", "ours / plain"]
        rows = [on_a_cpu(work, options.rounds) for work in works]
    print(markdown(columns, rows), end="\n\n")
    print(torch.cuda.get_device_name() if gpu else conditions())


if __name__ == "__main__":
    main()
