"""Attribute heat maps against pytorch-grad-cam: `python -m tests.benchmarks.gradcam [quarter full]`.

16 images, Market-1501's 27 attributes, three stages. pytorch-grad-cam is called as its users do, once per stage and
attribute, or once per attribute with the three stages as target layers, of which it returns the mean only. Its time
does not depend on the attribute: it is measured for one and multiplied by 27. Speed is its time over ours. The
difference is the largest between that attribute's maps, per stage, scaled and enlarged by its own function.
"""

import argparse
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import GradCAM  # type: ignore[import-untyped]
from pytorch_grad_cam.utils.image import scale_cam_image  # type: ignore[import-untyped]
from torch import Tensor, nn

from reidkit.gradcam import attribute_heat_maps
from reidkit.models.backbone import STAGES
from reidkit.systems.attributes import AttributeNetwork
from tests.benchmarks.harness import best_times, conditions, markdown

CLASSES, FIELDS = [2] * 9 + [4, 9, 10], [1] * 10 + [8, 9]
NETWORKS = {"quarter": ("quarter width, 128×64", 0.25, 128), "full": ("full width, 256×128", 1.0, 256)}


class OneGroup(nn.Module):
    """pytorch-grad-cam wants one tensor of outputs."""

    def __init__(self, network: AttributeNetwork, group: int) -> None:
        super().__init__()
        self.network, self.group = network, group

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)[self.group]
        return logits


def at_least(value: float, bar: float) -> str:
    return f"{value:.1f} × (bar {bar:g}: {'met' if value >= bar else 'MISSED'})"


def measure(name: str, width_multiplier: float, height: int, rounds: int) -> list[object]:
    torch.manual_seed(0)
    network = AttributeNetwork(CLASSES, FIELDS, width_multiplier)
    images = torch.randn(16, 3, height, height // 2)
    with torch.no_grad():
        network(images)  # for BN statistics, without which the network is so sure that gradients vanish
    network.eval()
    group, class_ = network.attributes[-1]
    model, count = OneGroup(network, group), len(network.attributes)
    targets = [lambda logits: logits.softmax(-1)[class_]] * len(images)

    def peer(*layers: str) -> Any:
        with GradCAM(model, [getattr(network.backbone, layer) for layer in layers]) as cam:
            return cam(images, targets)

    functions = {
        "ours": lambda: attribute_heat_maps(network, images),
        "each": lambda: [peer(layer) for layer in STAGES],
        "at once": lambda: peer(*STAGES),
    }
    best = best_times(functions, rounds)
    difference = 0.0
    for layer, maps in attribute_heat_maps(network, images).items():
        # Twice, as it does: each layer, and then the mean of the layers, here of one.
        scaled = scale_cam_image(scale_cam_image(maps[:, -1].numpy(), (height // 2, height)))
        difference = max(difference, float(np.abs(scaled - peer(layer)).max()))
    each, at_once = count * best["each"], count * best["at once"]
    return [
        name,
        f"{best['ours']:.2f} s",
        f"{each:.1f} s",
        at_least(each / best["ours"], 14),
        f"{at_once:.1f} s",
        at_least(at_once / best["ours"], 5),
        f"{difference:.0e} (bar 1e-4: {'met' if difference <= 1e-4 else 'MISSED'})",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["quarter", "full"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(conditions(), end="\n\n")
    columns = ["network", "ours", "per stage and attribute", "speed", "three stages at once", "speed", "difference"]
    rows = [measure(*NETWORKS[part], rounds=options.rounds) for part in options.parts]
    print(markdown(columns, rows), end="\n\n")
    print(conditions())


if __name__ == "__main__":
    main()
