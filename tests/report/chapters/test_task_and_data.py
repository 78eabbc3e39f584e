"""Sheets of pictures, shared attributes and colour histograms, on a small render and against naive loops."""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reidkit.data import AttributeGroup, Attributes, AttributeSplit, Dataset, load_dataset
from reidkit.data.part_maps import part_map
from reidkit.data.resident import Augmentation, ResidentImages
from reidkit.data.synthped import PARTS
from reidkit.report import sheets
from reidkit.report.chapters import task_and_data as samples

GAP = sheets.GAP


@pytest.fixture(scope="module")
def dataset(synthped: Path) -> Dataset:
    return load_dataset("synthped", synthped)


def shown(figure: Figure, height: int = 128, width: int = 64) -> list[list[NDArray[Any]]]:
    """The pictures of a sheet by row and column, white where there is none."""
    rows, columns = names(figure)
    places = {}
    for image in figure.axes[0].images:
        left, _, _, top = image.get_extent()
        places[(top + 0.5) / (height + GAP), (left + 0.5) / (width + GAP)] = np.asarray(image.get_array())
    empty = np.full((height, width, 3), 255)
    return [[places.get((i, j), empty) for j in range(len(columns))] for i in range(len(rows))]


def names(figure: Figure) -> tuple[list[str], list[str]]:
    axes = figure.axes[0]
    return [t.get_text() for t in axes.get_yticklabels()], [t.get_text() for t in axes.get_xticklabels()]


def test_a_sheet_puts_every_picture_in_its_place() -> None:
    one, two = np.full((8, 4, 3), 10, np.uint8), np.full((8, 4, 3), 20, np.uint8)
    figure = sheets.sheet([[one, None], [None, two]], ["a", "b"], ["x", "y"])
    values = [[int(picture.mean()) for picture in row] for row in shown(figure, 8, 4)]
    assert values == [[10, 255], [255, 20]]
    assert names(figure) == (["a", "b"], ["x", "y"])
    with pytest.raises(ValueError, match="at least one; got 0 sizes"):
        sheets.sheet([[None]], ["a"], ["x"])
    with pytest.raises(ValueError, match="one size"):
        sheets.sheet([[one, two[:4]]], ["a"], ["x", "y"])


@pytest.mark.parametrize("people_down", [False, True])
def test_a_contact_sheet_has_a_person_and_a_camera_for_each_place(dataset: Dataset, people_down: bool) -> None:
    split = dataset.train
    people, cameras = samples.most_seen(split, 3), split.cameras.unique().tolist()
    figure, alt = samples.contact_sheet(split, people, people_down=people_down)
    pictures, (rows, columns) = shown(figure), names(figure)
    assert (columns, rows)[people_down] == [f"{person:04d}" for person in people]
    assert (rows, columns)[people_down] == [f"c{camera}" for camera in cameras]
    for i, person in enumerate(people):
        seen = [c for c in cameras if ((split.ids == person) & (split.cameras == c)).any()]
        assert f"{person:04d} by {', '.join(map(str, seen))}" in alt
        for j, camera in enumerate(cameras):
            cell = pictures[i][j] if people_down else pictures[j][i]
            same = ((split.ids == person) & (split.cameras == camera)).nonzero()[:, 0].tolist()
            expected = sheets.picture(split.paths[same[0]]) if same else np.full((128, 64, 3), 255)
            np.testing.assert_array_equal(cell, expected)


def test_examples_are_found_by_their_rules(dataset: Dataset) -> None:
    split = dataset.train
    count = {person: len(split.cameras[split.ids == person].unique()) for person in split.identities.tolist()}
    chosen = samples.most_seen(split, 4)
    assert chosen == sorted(chosen)
    assert min(count[p] for p in chosen) >= max(count[p] for p in count if p not in chosen)
    paths = samples.most_parts(split, 5)
    own = [code for part, code in PARTS.items() if part not in ("background", "occluder")]
    parts = {path: sum(code in part_map(path).numpy() for code in own) for path in split.paths}
    assert parts[paths[0]] == max(parts.values())
    assert len({path.name[:4] for path in paths}) == 5


def test_part_maps_stand_beneath_their_pictures_in_the_colours_of_the_legend(dataset: Dataset) -> None:
    paths = samples.most_parts(dataset.query, 3)
    figure, alt = samples.part_sheet(paths)
    pictures = shown(figure)
    legend = {
        text.get_text(): np.round(255 * np.array(patch.get_facecolor()[:3]))
        for text, patch in zip(figure.legends[0].get_texts(), figure.legends[0].get_patches(), strict=True)
    }
    assert len({tuple(colour) for colour in legend.values()}) == len(legend)
    for column, path in enumerate(paths):
        np.testing.assert_array_equal(pictures[0][column], sheets.picture(path))
        labels = part_map(path).numpy()
        for part, code in PARTS.items():
            if code in labels:
                assert (pictures[1][column][labels == code] == legend[part]).all()
        told = alt.split(f"{path.stem}: ")[1].split(";")[0]
        shares = [float(share) for share in re.findall(r"\d+\.\d", told)]
        assert sum(shares) == pytest.approx(100, abs=1)


def test_without_augmentation_every_draw_shows_the_stored_picture(dataset: Dataset) -> None:
    still = Augmentation((128, 64), flip_probability=0, padding=0, erasing_probability=0)
    figure, alt = samples.augmentation_sheet(dataset.train.paths[:2], still, torch.Generator().manual_seed(0), draws=3)
    for row, path in zip(shown(figure), dataset.train.paths, strict=False):
        for one in row:
            np.testing.assert_array_equal(one, sheets.picture(path))
    assert alt.count("0 flipped, 0 erased, shifted by up to 0 pixels") == 2


def test_an_augmentation_sheet_says_what_was_drawn(dataset: Dataset) -> None:
    always = Augmentation((128, 64), flip_probability=1, padding=5, erasing_probability=1)
    figure, alt = samples.augmentation_sheet(dataset.train.paths[:1], always, torch.Generator().manual_seed(0), draws=3)
    assert "3 flipped, 3 erased" in alt
    stored, *draws = shown(figure)[0]
    assert all((draw != stored).any() for draw in draws)


def test_a_batch_sheet_has_a_column_for_each_person(dataset: Dataset) -> None:
    split = dataset.train
    members = [(split.ids == person).nonzero()[:2, 0] for person in split.identities[:3]]
    figure, alt = samples.batch_sheet(split, torch.cat(members), 2, most=2)
    pictures, (rows, columns) = shown(figure), names(figure)
    assert rows == ["1", "2"]
    assert columns == [f"{person:04d}" for person in split.identities[:2].tolist()]
    for column, group in enumerate(members[:2]):
        for row, index in enumerate(group.tolist()):
            np.testing.assert_array_equal(pictures[row][column], sheets.picture(split.paths[index]))
    assert alt.startswith("A batch of 3 people with 2 pictures each; shown are 2")


def test_every_sheet_fits_a_page_and_is_legible_on_a_telephone(dataset: Dataset) -> None:
    drawn = [
        samples.contact_sheet(dataset.train, samples.most_seen(dataset.train, 10))[0],
        samples.contact_sheet(dataset.train, [1, 2], people_down=True)[0],
        samples.part_sheet(samples.most_parts(dataset.query, 8))[0],
        samples.part_sheet(samples.most_parts(dataset.query, 4))[0],
    ]
    for figure in drawn:
        figure.draw_without_rendering()
        inside = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert width <= 6.5
        assert min(inside.x0, inside.y0) >= 0  # nothing is cut off
        assert inside.x1 <= width
        assert inside.y1 <= height
        texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text()]
        assert min(text.get_fontsize() for text in texts) * min(1, 3.4 / width) >= 6.5


# ------------------------------------------------------------------------------------------------- shared attributes


def split_of(labels: list[list[int]]) -> AttributeSplit:
    return AttributeSplit(torch.arange(1, len(labels) + 1), torch.tensor(labels))


def test_look_alikes_share_every_attribute() -> None:
    split = split_of([[0, 1], [1, 1], [0, 1], [1, 0], [1, 1], [0, 1]])
    assert samples.look_alikes(split) == [[1, 3, 6], [2, 5]]
    assert samples.look_alikes(split_of([[0], [1]])) == []
    table = samples.shared_attributes(
        Attributes((AttributeGroup("a", ("x", "y"), ("a",)),), split, split_of([[0]]), ())
    )
    assert table.to_numpy().tolist() == [["training", 6, 3, 5, 3], ["test", 1, 1, 0, 1]]


def test_people_of_one_look_share_their_attributes_on_disk(dataset: Dataset) -> None:
    assert dataset.attributes is not None
    train = dataset.attributes.train
    for group in samples.look_alikes(train):
        labels = train.labels_of(torch.tensor(group))
        assert (labels == labels[0]).all()


# -------------------------------------------------------------------------------------------------------- plain colour


def naive_histogram(image: NDArray[Any], bins: int, stripes: int) -> NDArray[Any]:
    height, width, _ = image.shape
    counts = np.zeros((stripes, bins, bins, bins))
    for y in range(height):
        for x in range(width):
            counts[(y * stripes // height, *(int(int(value) / 256 * bins) for value in image[y, x]))] += 1
    return counts.ravel() / np.linalg.norm(counts)


def test_colour_histogram_equals_a_naive_loop() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 13, 5), np.uint8))
    images[1], images[2, :, 3:] = 255, 0  # white, and black
    fast = samples.colour_histogram(images, bins=3, stripes=6).numpy()
    slow = [naive_histogram(image.permute(1, 2, 0).numpy(), 3, 6) for image in images]
    np.testing.assert_allclose(fast, slow, atol=1e-6)


def test_colour_histogram_does_not_see_where_in_a_stripe_a_colour_is() -> None:
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 3, 12, 6), np.uint8))
    within = images.view(1, 3, 3, 24)[..., torch.randperm(24)].view(1, 3, 12, 6)
    assert torch.equal(samples.colour_histogram(images, stripes=3), samples.colour_histogram(within, stripes=3))
    assert not torch.equal(
        samples.colour_histogram(images, stripes=3), samples.colour_histogram(images.flip(2), stripes=3)
    )


def test_histograms_of_a_split_do_not_depend_on_the_batch(dataset: Dataset) -> None:
    images = ResidentImages(dataset.query.paths, (128, 64))
    assert torch.equal(samples.histograms(images, batch=5), samples.colour_histogram(images.pixels))
    prepared = samples.histograms(images, samples.person_colours, batch=7)
    assert torch.equal(prepared, samples.colour_histogram(samples.person_colours(images.pixels)))


def test_person_colours_see_neither_the_margins_nor_the_light() -> None:
    generator = np.random.default_rng(2)
    images = torch.from_numpy(generator.integers(60, 120, (2, 3, 16, 8), np.uint8))
    expected = samples.person_colours(images)
    assert expected.shape == (2, 3, 16, 4)
    street = images.clone()
    street[..., :2], street[..., 6:] = 0, 255
    assert torch.equal(samples.person_colours(street), expected)
    lit = images * 2 + torch.tensor([10, 0, 3], dtype=torch.uint8).view(3, 1, 1)
    assert (samples.person_colours(lit).int() - expected.int()).abs().max() <= 1
    assert samples.person_colours(torch.full((1, 3, 4, 4), 7, dtype=torch.uint8)).unique().tolist() == [128]
