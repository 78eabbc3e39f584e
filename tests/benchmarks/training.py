"""The training step against plain fp32: `python -m tests.benchmarks.training [full quarter] [--rounds 5]`.

A step is the forward pass, the joint loss (cross-entropy and triplet), backward and Adam, on one batch that stays the
same. Ours is as `reidkit.training` does it by default, bf16 autocast with weights and images in channels_last; plain is
the same network from the same weights, contiguous and without autocast. A ratio is our time over the plain one.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from reidkit.losses import JointLoss
from reidkit.systems.joint_loss import ReIDNetwork
from reidkit.training import Settings, autocast
from tests.benchmarks.harness import best_times, conditions, markdown, verdict

IDENTITIES = 751  # of Market-1501's training set
PARTS = {  # width multiplier, image size, batch
    "full": (1.0, (256, 128), 32),
    "quarter": (0.25, (128, 64), 64),
}


def training_step(
    width: float, images: Tensor, labels: Tensor, precision: str, memory_format: torch.memory_format
) -> Callable[[], None]:
    """A function that trains a network of its own, from weights that are always the same, by one step."""
    torch.manual_seed(0)
    network = ReIDNetwork(IDENTITIES, width_multiplier=width).to(memory_format=memory_format).train()
    images = images.contiguous(memory_format=memory_format)
    settings, criterion = Settings(), JointLoss()
    optimizer = torch.optim.Adam(
        (parameter for parameter in network.parameters() if parameter.requires_grad),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )

    def step() -> None:
        with autocast(images.device, precision):
            loss = criterion(network(images, labels), labels)["total"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def measure(width: float, size: tuple[int, int], batch: int, rounds: int) -> list[object]:
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(batch // 4).repeat_interleave(4)
    settings = Settings()
    ours_format = torch.channels_last if settings.channels_last else torch.contiguous_format
    functions = {
        "plain": training_step(width, images, labels, "fp32", torch.contiguous_format),
        "ours": training_step(width, images, labels, settings.precision, ours_format),
    }
    best_times(functions, 1)  # the first step allocates Adam's state
    best = best_times(functions, rounds)
    name = f"ResNet-50 × {width:g}, {batch} images of {size[0]}×{size[1]}"
    speeds = [f"{best[which]:.2f} s, {batch / best[which]:.0f} images/s" for which in ("plain", "ours")]
    return [name, *speeds, f"{best['plain'] / best['ours']:.2f} ×", verdict(best["ours"] / best["plain"], 0.588)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(conditions(), end="\n\n")
    rows = [measure(*PARTS[part], options.rounds) for part in options.parts]
    print(markdown(["training step", "plain fp32", "ours", "speed-up (bar 1.7 ×)", "ours / plain"], rows), end="\n\n")
    print(conditions())


if __name__ == "__main__":
    main()
