"""What book/systems.md and book/systems-parts.md show of each compared system: its network, traced and drawn."""

import torch

from reidkit.data.attributes import GROUPS
from reidkit.data.resident import Draw
from reidkit.data.synthped import PARTS, PRESETS
from reidkit.profile import Profile
from reidkit.report.chapters.comparison import NAMES
from reidkit.report.display import NumberedFigure, numbered_figure
from reidkit.report.flow import draw
from reidkit.settings import Configuration
from reidkit.systems import ROWS
from reidkit.systems.system import Batch, Classes
from reidkit.training import Batch as Step

PEOPLE, PICTURES = 2, 2  # as few as triplets need


def some_batch(config: Configuration, classes: Classes) -> Batch:
    """A batch of noise of the size that a run has, with what its system needs beside images."""
    count = PEOPLE * PICTURES
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, config.image_height, config.image_width, generator=generator)
    labels = torch.arange(PEOPLE).repeat_interleave(PICTURES)
    unmoved = Draw(torch.zeros(count).bool(), torch.zeros(count, 2).long(), torch.zeros(count, 4).long())
    step = Step(images, labels[:, None], torch.arange(count), unmoved, 0.0)
    parts = torch.ones(count, len(PARTS), config.image_height // 8, config.image_width // 8)
    attributes = torch.zeros(count, len(classes.groups)).long()
    return Batch(images, labels, attributes, {"parts": parts} if "parts" in config.needs else {}, step)


def figure_name(row: str) -> str:
    """What pages refer to the drawing of a row by."""
    return "figure-system-" + row.replace("/", "-").replace("+", "-")


def drawn(profile: Profile, row: str) -> NumberedFigure:
    """The network of a row as a numbered figure, traced at the size of a profile on SynthPed."""
    config, identities = profile.config(row).from_scratch(), PRESETS[profile.synthped_preset].train_identities
    classes = Classes(identities, GROUPS["market_attribute"] if "attributes" in config.needs else ())
    system, name = ROWS[row], NAMES[row]
    figure, alt = draw(system.build(config, classes), some_batch(config, classes), f"{name}, from above:")
    return numbered_figure(figure, figure_name(row), f"{name}: `reidkit run {profile.profile} --row {row}`.", alt)
