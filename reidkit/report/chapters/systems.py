"""What the three pages book/systems-*.md show of the compared systems: what each reaches, and its network, drawn."""

from collections.abc import Mapping, Sequence

import torch

from reidkit.data.attributes import GROUPS
from reidkit.data.resident import Draw
from reidkit.data.synthped import PARTS, PRESETS
from reidkit.profile import Profile
from reidkit.report.chapters.comparison import METHODS, NAMES, OTHERS, PLAIN
from reidkit.report.differences import difference_chart, with_interval
from reidkit.report.display import NumberedFigure, numbered_figure
from reidkit.report.flow import draw
from reidkit.report.rows import Runs, difference, differences, score
from reidkit.report.style import Drawing
from reidkit.report.tables import score_cell
from reidkit.report.words import counted, listed
from reidkit.settings import Configuration
from reidkit.systems import ROWS
from reidkit.systems.system import Batch, Classes
from reidkit.training import Batch as Step

# By page its rows, controls among them
PAGES = {
    "vectors": ("svdnet", "dare", "dpfl", "gp-reid", "circle/mgn", "circle"),
    "parts": ("pcb", "pcb/one-stripe", "pcb+rpp", "aligned-reid", "vpm", "spreid", "spreid/predicted", "bfe"),
    "attention": ("pan", "aanet", "ianet", "ianet/normalised", "ianet/none", "osnet", "duatm"),
}
PEOPLE, PICTURES = 2, 2  # as few as triplets need


def answer(rows: Sequence[str], data: Mapping[str, Runs]) -> str:
    """What the systems among these rows have over the plain network with triplet loss, a sentence for each data set."""
    told = []
    for title, runs in data.items():
        known = {row: gain for row in rows if row in OTHERS and (gain := difference(runs, row, PLAIN)).known}
        if len(known) == 1:
            ((row, gain),) = known.items()
            told.append(f"On {title} only {NAMES[row]} was run: {with_interval(gain)} over {METHODS[PLAIN]}.")
        elif known:
            ahead = [NAMES[row] for row, gain in known.items() if gain.clear and gain.ours > 0]
            behind = sum(gain.clear and gain.ours < 0 for gain in known.values())
            best = max(known, key=lambda row: known[row].ours)
            told.append(
                f"On {title}, of {counted(len(known))} systems, variants left out, {listed(ahead or ['none'])} "
                f"{'are' if len(ahead) > 1 else 'is'} clearly ahead of {METHODS[PLAIN]} and "
                f"{counted(behind) if behind else 'none'} clearly behind it; {NAMES[best]} is highest, at "
                f"{with_interval(known[best])}."
            )
    return " ".join(told) or "None of these systems has been run yet."


def masks_in_words(runs: Runs) -> str:
    """What the true masks of parts are worth to SPReID over its own parser's, and over a network without parts."""
    parser, plain = (difference(runs, "spreid", row) for row in ("spreid/predicted", "none/ce"))
    if not (parser.known and plain.known):
        return "SPReID has not been run with both kinds of masks yet."
    return (
        f"True masks have {with_interval(parser)} over those of its parser, and {with_interval(plain)} over a plain "
        "network with cross-entropy: where the parts are is not all that it lacks."
    )


def gains(rows: Sequence[str], data: Mapping[str, Runs]) -> Drawing:
    """What each row has over the plain network with triplet loss, by data set."""
    return difference_chart({NAMES[row]: differences(data, row, PLAIN) for row in rows}, {}, "gain in mAP")


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


def drawn(profile: Profile, data: Mapping[str, Runs], row: str) -> NumberedFigure:
    """The network of a row, traced at the size of a profile on SynthPed, as a figure that also tells its mAP."""
    config, identities = profile.config(row).from_scratch(), PRESETS[profile.synthped_preset].train_identities
    classes = Classes(identities, GROUPS["market_attribute"] if "attributes" in config.needs else ())
    system, name = ROWS[row], NAMES[row]
    figure, alt = draw(system.build(config, classes), some_batch(config, classes), f"{name}, from above:")
    scores = {title: score(runs, row) for title, runs in data.items()}
    told = [f"{score_cell(found)} on {title}" for title, found in scores.items() if found.known]
    caption = f"{name}: `reidkit run {profile.profile} --row {row}`." + (f" mAP {listed(told)}." if told else "")
    return numbered_figure(figure, figure_name(row), caption, alt)
