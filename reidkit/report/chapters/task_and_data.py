"""What a data set looks like: sheets of its pictures, what its labels share, and how far plain colour goes.

The sheets are for SynthPed. Pictures of real people are not to be published, however public the data set.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.patches import Patch
from torch import Tensor

from reidkit.data import Attributes, AttributeSplit, Split
from reidkit.data.part_maps import part_map
from reidkit.data.resident import Augmentation, Images, read_image, resize
from reidkit.data.synthped import PARTS
from reidkit.report.sheets import augmented, picture, sheet
from reidkit.report.style import Drawing


def most_seen(split: Split, count: int) -> list[int]:
    """The `count` people whom most cameras saw, by their numbers: examples by a rule, not by choice."""
    seen = {person: len(split.cameras[split.ids == person].unique()) for person in split.identities.tolist()}
    return sorted(sorted(seen, key=lambda person: (-seen[person], person))[:count])


def contact_sheet(split: Split, people: Sequence[int], *, people_down: bool = False) -> Drawing:
    """A row per camera and a column per person, or the other way round: the first picture of each by each."""
    first: dict[tuple[int, int], Path] = {}
    for path, person, camera in zip(split.paths, split.ids.tolist(), split.cameras.tolist(), strict=True):
        first.setdefault((person, camera), path)
    cameras = split.cameras.unique().tolist()
    pictures = [[picture(first[p, c]) if (p, c) in first else None for p in people] for c in cameras]
    names, eyes = [f"{person:04d}" for person in people], [f"c{camera}" for camera in cameras]
    turned = list(zip(*pictures, strict=True))  # a row per person
    figure = sheet(turned, names, eyes) if people_down else sheet(pictures, eyes, names)
    seen = "; ".join(
        f"{person:04d} by {', '.join(str(c) for c in cameras if (person, c) in first)}" for person in people
    )
    across = "one row per person, one column per camera" if people_down else "one row per camera, one column per person"
    return figure, f"Contact sheet of {len(cameras)} cameras and {len(people)} people, {across}. People seen: {seen}."


def part_sheet(paths: Sequence[Path]) -> Drawing:
    """Pictures of a SynthPed render above their part maps, with a legend of the parts in sight."""
    maps = [part_map(path).numpy() for path in paths]
    hues, codes = plt.get_cmap("tab20"), iter((*range(0, 14, 2), 16, 18, *range(1, 14, 2)))  # its greys left out
    colours = {part: (0.87, 0.87, 0.87) if part == "background" else hues(next(codes))[:3] for part in PARTS}
    palette = np.zeros((256, 3), np.uint8)
    palette[list(PARTS.values())] = np.round(255 * np.array(list(colours.values())))
    columns = [path.name[:4] for path in paths]
    seen = [part for part, code in PARTS.items() if any((labels == code).any() for labels in maps)]
    figure = sheet(
        [list(map(picture, paths)), [palette[m] for m in maps]], ["image", "parts"], columns, below=1.3, narrowest=4.5
    )
    handles = [Patch(color=colours[part], label=part) for part in seen]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=10.5, handlelength=1)
    shares = "; ".join(
        f"{path.stem}: "
        + ", ".join(f"{part} {100 * (labels == code).mean():.1f}" for part, code in PARTS.items() if code in labels)
        for path, labels in zip(paths, maps, strict=True)
    )
    return figure, f"Pictures and beneath each its part map. Share of each part in per cent of the picture: {shares}."


def most_parts(split: Split, count: int) -> list[Path]:
    """The `count` pictures with the most parts in sight, of different people: examples by a rule, not by choice."""
    others = PARTS["background"], PARTS["occluder"]
    shown = {path: len(np.setdiff1d(part_map(path).numpy(), others)) for path in split.paths}
    best: dict[int, Path] = {}
    for path, person in zip(split.paths, split.ids.tolist(), strict=True):
        if person not in best or shown[path] > shown[best[person]]:
            best[person] = path
    return sorted(best.values(), key=lambda path: (-shown[path], path.name))[:count]


def augmentation_sheet(
    paths: Sequence[Path], augmentation: Augmentation, generator: torch.Generator, draws: int = 7
) -> Drawing:
    """Each picture as the network would see it untouched, and after several draws of the augmentation."""
    rows, said = [], []
    for path in paths:
        image = resize(read_image(path)[None], augmentation.size)
        draw = augmentation.draw(draws, generator)
        rows.append([image[0].permute(1, 2, 0).numpy(), *augmented(augmentation, image, draw)])
        boxes = (draw.erase[:, 2:] - draw.erase[:, :2]).prod(1)
        said.append(
            f"{path.stem}: {int(draw.flip.sum())} flipped, {int((boxes > 0).sum())} erased, shifted by up to "
            f"{int(draw.shift.abs().max())} pixels"
        )
    columns = ["stored", *(str(i + 1) for i in range(draws))]
    figure = sheet(rows, [path.name[:4] for path in paths], columns)
    return figure, f"{len(paths)} pictures, each untouched and after {draws} draws of augmentation. {'; '.join(said)}."


def batch_sheet(split: Split, batch: Tensor, images_per_identity: int, most: int = 8) -> Drawing:
    """A P×K batch (P·K,) of indexes into a split: a column of K pictures for each of its first `most` people."""
    groups = batch.view(-1, images_per_identity)[:most]  # (P, K)
    people = [f"{int(split.ids[group[0]]):04d}" for group in groups]
    pictures = [[picture(split.paths[i]) for i in row] for row in groups.T.tolist()]
    figure = sheet(pictures, [str(k + 1) for k in range(images_per_identity)], people)
    cameras = "; ".join(
        f"{person} by cameras {', '.join(map(str, split.cameras[group].tolist()))}"
        for person, group in zip(people, groups, strict=True)
    )
    whole = f"{len(batch) // images_per_identity} people with {images_per_identity} pictures each"
    return figure, f"A batch of {whole}; shown are {len(people)} of the people: {cameras}."


def look_alikes(attributes: AttributeSplit) -> list[list[int]]:
    """The people who share all their attributes, group by group, the largest first; loners are left out."""
    _, group = torch.unique(attributes.labels, dim=0, return_inverse=True)
    groups = [attributes.ids[group == g].tolist() for g in range(int(group.max()) + 1 if len(group) else 0)]
    return sorted((people for people in groups if len(people) > 1), key=lambda people: (-len(people), people))


def shared_attributes(attributes: Attributes) -> pd.DataFrame:
    """How many people of each split share all their attributes with somebody else of it."""
    rows = []
    for name in ("train", "test"):
        split: AttributeSplit = getattr(attributes, name)
        groups = look_alikes(split)
        rows.append(
            {
                "Split": {"train": "training", "test": "test"}[name],
                "People": len(split.ids),
                "Different combinations": len(split.labels.unique(dim=0)),
                "Share all with another": sum(map(len, groups)),
                "Largest group": max(map(len, groups), default=1),
            }
        )
    return pd.DataFrame(rows)


def colour_histogram(images: Tensor, bins: int = 8, stripes: int = 6) -> Tensor:
    """How often each colour occurs in each of some horizontal stripes: a descriptor that has learned nothing.

    images: uint8 (N, 3, H, W) in RGB. bins: of each channel. Returns float32 (N, stripes·bins³), each row of Euclidean
    length 1. The six stripes are those of Gray & Tao, "Viewpoint Invariant Pedestrian Recognition with an Ensemble of
    Localized Features", ECCV 2008.
    """
    count, _, height, _ = images.shape
    place = images.long() * bins // 256  # (N, 3, H, W)
    colour = np.ravel_multi_index(tuple(place.movedim(1, 0).numpy()), (bins, bins, bins))  # (N, H, W)
    stripe = np.arange(count)[:, None, None] * stripes + (np.arange(height) * stripes // height)[:, None]
    size = bins**3
    counts = np.bincount((stripe * size + colour).ravel(), minlength=count * stripes * size)
    histogram = torch.from_numpy(counts).view(count, stripes * size).float()
    return torch.nn.functional.normalize(histogram)


def person_colours(images: Tensor) -> Tensor:
    """The middle half of uint8 pictures (N, 3, H, W), each channel of each brought to one mean and spread.

    That takes away most of the street, and of what camera and hour do to the colours.
    """
    width = images.shape[3]
    middle = images[..., width // 4 : width - width // 4].float()
    mean, spread = middle.mean((2, 3), keepdim=True), middle.std((2, 3), keepdim=True).clamp(min=1)
    return ((middle - mean) / spread * 45 + 128).clamp(0, 255).byte()


def histograms(images: Images, prepare: Callable[[Tensor], Tensor] = torch.clone, batch: int = 256) -> Tensor:
    """`colour_histogram` of a whole split (N, stripes·bins³), so many pictures at a time, each `prepare`d before."""
    indexes = torch.arange(len(images)).split(batch)
    return torch.cat([colour_histogram(prepare(pixels.cpu())) for pixels in images.batches(indexes)])
