"""What the chapter shows of heat maps: pictures, tables and figures against plain loops."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from reidkit.data import load_dataset
from reidkit.data.resident import Augmentation
from reidkit.data.synthped import ATTRIBUTE_PARTS, PARTS
from reidkit.profile import Profile
from reidkit.report import sheets
from reidkit.report.chapters import heat_maps as shown
from reidkit.report.style import Drawing
from reidkit.report.words import field_title
from reidkit.runs import heat_map_folder, heat_maps, run, weights_path, with_weights
from reidkit.systems.attributes import attribute_names
from tests.report.conftest import check_page


@pytest.fixture(scope="module")
def explained(synthped: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a barely trained network on a small render."""
    patch = pytest.MonkeyPatch()
    patch.setenv("REIDKIT_BUILD", str(tmp_path_factory.mktemp("explained")))
    patch.setattr("reidkit.models.backbone.EVERY_BLOCK", (1, 1, 1, 1))
    config = Profile.read("smoke", data_root=str(synthped)).config("attributes")
    assert shown.explain(config) is None  # no record
    run(config, progress=False)
    yield shown.explain(config, most=12)
    kept = weights_path(config)
    kept.unlink()
    assert shown.explain(config) is None  # a record, but no weights
    patch.undo()


def test_examples_are_spread_over_the_split(explained: shown.Explained, synthped: Path) -> None:
    query = load_dataset("synthped", synthped).query
    positions = [query.paths.index(path) for path in explained.split.paths]
    assert len(positions) == min(12, len(query))
    assert positions[0] == 0
    assert positions[-1] == len(query) - 1
    assert positions == sorted(set(positions))
    assert explained.fields == attribute_names(explained.dataset.attributes)  # type: ignore[arg-type]


def test_regions_are_those_of_the_part_maps(explained: shown.Explained) -> None:
    for k, (field, attribute) in enumerate(zip(explained.fields, explained.network.attributes, strict=True)):
        regions = explained.regions(k)
        for i in (0, 5, 11):
            codes = [PARTS[part] for part in ATTRIBUTE_PARTS[field]]
            worn = attribute.class_ in (None, int(explained.labels[i, attribute.group]))
            expected = np.isin(explained.parts[i].numpy(), codes) & worn
            np.testing.assert_array_equal(regions[i].numpy(), expected)
            np.testing.assert_array_equal(explained.region(i, k), expected)


def test_energy_by_region_equals_a_loop(explained: shown.Explained) -> None:
    shares = shown.energy_by_region(explained, "layer3")
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    for group in ("upper-body colour", "backpack"):
        values = []
        for k, attribute in enumerate(explained.network.attributes):
            if explained.groups[attribute.group].name != group:
                continue
            for i in range(len(explained.labels)):
                heat = explained.maps["layer3"][i, k]
                if explained.region(i, k).any() and heat.max() > 0:
                    fine = F.interpolate(heat[None, None], explained.parts.shape[1:], mode="bilinear")[0, 0].numpy()
                    parts = explained.parts[i].numpy()
                    inside = [np.isin(parts, [PARTS[p] for p in names]) for names in shown.REGIONS.values()]
                    values.append([fine[mask].sum() / fine.sum() for mask in inside])
        assert (group in shares.index) == bool(values)
        if values:
            np.testing.assert_allclose(shares.loc[group], np.mean(values, axis=0), atol=1e-4)


def test_examples_lie_at_their_quantiles(explained: shown.Explained) -> None:
    k = explained.fields.index("gender")
    energies = []
    for i in range(len(explained.labels)):
        heat = explained.maps["layer4"][i, k]
        fine = F.interpolate(heat[None, None], explained.parts.shape[1:], mode="bilinear")[0, 0].numpy()
        energies.append(float(fine[explained.region(i, k)].sum() / max(fine.sum(), 1e-30)))
    best, middle, worst = shown.example_images(explained, k, [1.0, 0.5, 0.0])
    assert energies[best] == pytest.approx(max(energies))
    assert energies[worst] == pytest.approx(min(energies))
    assert sorted(energies)[5] - 1e-6 <= energies[middle] <= sorted(energies)[6] + 1e-6


def test_an_overlay_is_brightest_at_the_peak() -> None:
    grey = np.full((32, 16, 3), 100, np.uint8)
    heat = torch.zeros(4, 2)
    heat[1, 1] = 3.0
    light = sheets.overlay(grey, heat).astype(int).sum(axis=2)
    y, x = np.unravel_index(light.argmax(), light.shape)
    assert 8 <= y < 16
    assert x >= 8
    np.testing.assert_array_equal(sheets.overlay(grey, heat), sheets.overlay(grey, 10 * heat))  # scaled to its own peak
    faint = sheets.overlay(grey, heat, peak=30.0).astype(int).sum(axis=2)
    assert faint.max() < light.max()
    blank = sheets.overlay(grey, torch.zeros(4, 2))
    assert len(np.unique(blank.reshape(-1, 3), axis=0)) == 1


def test_the_people_sheet_names_and_marks_the_predictions(explained: shown.Explained) -> None:
    figure, alt = shown.people_sheet(explained, [0, 7], "layer4")
    wrong = int((explained.predicted[[0, 7]] != explained.labels[[0, 7]]).sum())
    assert alt.count("(wrong)") == wrong
    crosses = [text.get_text() for axes in figure.axes for text in axes.texts if "✗" in text.get_text()]
    assert len(crosses) == wrong
    for g, group in enumerate(explained.groups):
        assert f"{group.name} {group.classes[int(explained.predicted[0, g])]}" in alt


def test_the_stage_sheet_has_a_row_for_each_region(explained: shown.Explained) -> None:
    chosen = shown.regional(explained)
    parts = [ATTRIBUTE_PARTS[explained.fields[k]] for k in chosen]
    assert len(set(parts)) == len(parts)
    assert not any(shown.whole_body(explained.fields[k]) for k in chosen)
    figure, alt = shown.stage_sheet(explained)
    rows = [text.get_text().replace("\n", " ") for text in figure.axes[0].get_yticklabels()]
    seen = [k for k in chosen if explained.regions(k).any()]
    assert rows == [field_title(explained.fields[k]) for k in seen]
    assert len(figure.axes[0].images) == len(rows) * 2 * 4
    assert all(f"{name}, " in alt for name in rows)


def test_the_moved_sheet_says_what_is_left(explained: shown.Explained) -> None:
    k = explained.fields.index("gender")
    image = int(explained.maps["layer2"][:, k].flatten(1).amax(1).argmax())
    _, alt = shown.moved_sheet(explained, image, k, Augmentation(explained.size, padding=4), "layer2")
    left = dict(re.findall(r"(stored|flip|shift|erase|all) (\d+) %", alt))
    assert left["stored"] == left["flip"] == "100"
    assert int(left["all"]) <= min(int(left["shift"]), int(left["erase"])) + 1


def test_stored_maps_are_weighed(build: Path, synthped: Path) -> None:
    config = Profile.read("smoke", data_root=str(synthped)).config("attributes")
    assert set(shown.stored_table({"here": config})["Images"]) == {"not stored here"}
    with_weights(config, progress=False)
    maps = heat_maps(config, "query", progress=False)
    table = shown.stored_table({"here": config}).set_index("Images of")
    assert table.loc["train", "Images"] == "not stored here"
    row = table.loc["query"]
    assert row["Images"] == str(len(maps))
    size = sum(path.stat().st_size for path in heat_map_folder(config, "query").glob("*.npy"))
    assert row["Bytes per image"] == f"{size / len(maps):,.0f}"
    assert maps.nbytes < size < maps.nbytes + 6 * 256  # but for the headers
    assert row["Maps per image"] == "27 × 3 stages"


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone(explained: shown.Explained) -> None:
    drawn: list[Drawing] = [
        shown.region_chart(shown.energy_by_region(explained, "layer2")),
        shown.people_sheet(explained, [0, 1]),
        shown.stage_sheet(explained),
        shown.moved_sheet(explained, 0, 0, Augmentation(explained.size)),
    ]
    for figure, alt in drawn:
        assert alt.strip()
        check_page(figure)
