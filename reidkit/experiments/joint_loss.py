"""The joint-loss paper's runs: the ablation grid, and the configuration of one of its cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from reidkit.data import Dataset, Split
from reidkit.data.resident import load_images
from reidkit.experiments.runs import load_initial_weights, load_weights, make_sampler, open_dataset, train_reid
from reidkit.experiments.settings import Configuration
from reidkit.losses import JointLoss
from reidkit.models.reid import ReIDNetwork
from reidkit.records import Record
from reidkit.training import Batch, choose_device, extract_features

Attention = Literal["none", "se", "eca", "cbam", "danet", "nonlocal", "half"]
Loss = Literal["ce", "ce+tri", "ce+tri+cir"]


@dataclass(frozen=True)
class Cell:
    """One cell of the ablation grid, and the row of the paper's Table 1 that it is, if it is one."""

    attention: Attention
    loss: Loss
    row: str | None = None

    @property
    def name(self) -> str:
        return f"{self.attention}/{self.loss}"


_ROWS: dict[tuple[Attention, Loss], str] = {
    ("none", "ce"): "Baseline",
    ("none", "ce+tri"): "Baseline(+Tri)",
    ("se", "ce"): "Baseline(+SE)",
    ("danet", "ce"): "Baseline(+DANet)",
    ("nonlocal", "ce"): "Baseline(+Non-local)",
    ("eca", "ce"): "Baseline(+ECA)",
    ("none", "ce+tri+cir"): "Baseline(+Tri Cir)",
    ("cbam", "ce+tri+cir"): "Ours",
}
GRID: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell(attention, loss, _ROWS.get((attention, loss)))
        for attention in get_args(Attention)
        if attention != "half"
        for loss in get_args(Loss)
    )
}
CONTROLS: dict[str, Cell] = {cell.name: cell for cell in (Cell("half", "ce"), Cell("half", "ce+tri+cir"))}
"""What tells attention from a residual branch that is merely scaled."""
CELLS = GRID | CONTROLS
TABLE_1: tuple[str, ...] = tuple(f"{attention}/{loss}" for attention, loss in _ROWS)


class RunConfig(Configuration):
    """One run of the joint-loss paper: a cell of the grid, a seed, and the settings."""

    attention: Attention = "none"
    loss: Loss = "ce"

    @property
    def title(self) -> tuple[str, ...]:
        return self.dataset, self.attention, self.loss.replace("+", "-"), f"seed{self.seed}"

    @property
    def cell(self) -> str:
        return f"{self.attention}/{self.loss}"

    def make(self, build: Path, records: Path, progress: bool) -> Record | None:
        dataset = open_dataset(self, progress)
        labels = dataset.train.labels()
        network = build_network(self, int(labels.max()) + 1).to(choose_device(self.device))
        if self.channels_last:
            network = network.to(memory_format=torch.channels_last)
        forward = torch.compile(network) if self.compile else network
        objective = JointLoss(
            label_smoothing=self.label_smoothing,
            triplet_margin=self.triplet_margin,
            use_triplet=self.loss != "ce",
        )

        def losses(batch: Batch) -> Mapping[str, Tensor]:
            output = forward(batch.images, batch.labels)
            correct = output.scores.detach().argmax(dim=1) == batch.labels
            return {**objective(output, batch.labels), "accuracy": correct.float().mean()}

        return train_reid(
            self,
            dataset,
            network,
            losses,
            lambda images, _: extract_features(network, images, self),
            make_sampler(self, labels, compares=self.loss != "ce"),
            build=build,
            records=records,
            progress=progress,
        )

    def features(self, dataset: Dataset, splits: Sequence[str] = ("query", "gallery")) -> list[Tensor]:
        device = choose_device(self.device)
        network = load_network(self, len(dataset.train.identities)).to(device)
        if self.channels_last:
            network = network.to(memory_format=torch.channels_last)
        chosen: list[Split] = [getattr(dataset, split) for split in splits]
        return [extract_features(network, load_images(split.paths, self.size, device), self) for split in chosen]


def build_network(config: RunConfig, num_classes: int) -> ReIDNetwork:
    """The re-identification network of a run, freshly initialised from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ReIDNetwork(
            num_classes,
            attention=config.attention,
            classifier="circle" if config.loss == "ce+tri+cir" else "linear",
            width_multiplier=config.width_multiplier,
            last_stride=config.last_stride,
            residual_scale=config.residual_scale,
            circle_scale=config.circle_scale,
            circle_margin=config.circle_margin,
        )
    load_initial_weights(network.backbone, config)
    return network


def load_network(config: RunConfig, num_classes: int) -> ReIDNetwork:
    """The trained network of a finished run, in evaluation mode on the CPU. Raises CheckpointError where none is."""
    network = build_network(config.model_copy(update={"weights": None}), num_classes)
    load_weights(network, config)
    return network.eval()
