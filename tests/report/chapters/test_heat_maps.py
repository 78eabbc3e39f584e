"""What the chapter shows of heat maps: pictures, tables and figures against plain loops."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from reidkit.data import load_dataset
from reidkit.data.resident import Augmentation, normalise, resize
from reidkit.data.synthped import ATTRIBUTE_PARTS, PARTS
from reidkit.gradcam import attribute_heat_maps
from reidkit.profile import Profile
from reidkit.report import sheets
from reidkit.report.chapters import attribute_network, san_gal
from reidkit.report.chapters import heat_maps as shown
from reidkit.report.explained import Explained, explain
from reidkit.report.ranked_lists import followed
from reidkit.report.style import Drawing
from reidkit.report.words import field_title
from reidkit.runs import find_record, load_network, run
from reidkit.systems.attributes import EXAMPLES, attribute_names
from tests.report.conftest import check_page

SIZE = (64, 32)  # of what the profile's networks are given


@pytest.fixture(scope="module")
def explained(synthped: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a barely trained network on a small render."""
    patch = pytest.MonkeyPatch()
    patch.setenv("REIDKIT_BUILD", str(tmp_path_factory.mktemp("explained")))
    patch.setattr("reidkit.models.backbone.EVERY_BLOCK", (1, 1, 1, 1))
    config = Profile.read("smoke", data_root=str(synthped)).config("attributes")
    assert explain(config) is None  # no record
    run(config, progress=False)
    yield explain(config)
    patch.undo()


def test_what_a_record_keeps_are_the_networks_own_maps_and_answers(explained: Explained, synthped: Path) -> None:
    config = Profile.read("smoke", data_root=str(synthped)).config("attributes")
    network = load_network(config, explained.dataset)
    seen = normalise(resize(explained.pictures.permute(0, 3, 1, 2), config.size))
    with torch.inference_mode():
        predicted = torch.stack([logits.argmax(1) for logits in network(seen)], 1)
    assert torch.equal(explained.predicted, predicted)
    assert (predicted != explained.labels).any()
    assert explained.attributes == network.attributes
    for kept, classes in ((explained.maps, explained.labels), (explained.answers, predicted)):
        for stage, maps in attribute_heat_maps(network, seen, classes).items():
            peaks = maps.amax((2, 3), keepdim=True).clamp(min=1e-30)
            assert ((kept[stage] - maps).abs() / peaks).max() < 1 / 500


def test_examples_are_spread_over_the_split(explained: Explained, synthped: Path) -> None:
    query = load_dataset("synthped", synthped).query
    positions = [query.paths.index(path) for path in explained.split.paths]
    assert len(positions) == min(EXAMPLES, len(query))
    assert positions[0] == 0
    assert positions[-1] == len(query) - 1
    assert positions == sorted(set(positions))
    assert explained.fields == attribute_names(explained.dataset.attributes)  # type: ignore[arg-type]


def test_regions_are_those_of_the_part_maps(explained: Explained) -> None:
    for k, (field, attribute) in enumerate(zip(explained.fields, explained.attributes, strict=True)):
        regions = explained.regions(k)
        for i in (0, 5, 11):
            codes = [PARTS[part] for part in ATTRIBUTE_PARTS[field]]
            worn = attribute.class_ in (None, int(explained.labels[i, attribute.group]))
            expected = np.isin(explained.parts[i].numpy(), codes) & worn
            np.testing.assert_array_equal(regions[i].numpy(), expected)
            np.testing.assert_array_equal(explained.region(i, k), expected)


def test_energy_by_region_equals_a_loop(explained: Explained) -> None:
    shares = shown.energy_by_region(explained, "layer3")
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    for group in ("upper-body colour", "backpack"):
        values = []
        for k, attribute in enumerate(explained.attributes):
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


def test_examples_lie_at_their_quantiles(explained: Explained) -> None:
    k = explained.fields.index("gender")
    energies = []
    for i in range(len(explained.labels)):
        heat = explained.maps["layer4"][i, k]
        fine = F.interpolate(heat[None, None], explained.parts.shape[1:], mode="bilinear")[0, 0].numpy()
        energies.append(float(fine[explained.region(i, k)].sum() / max(fine.sum(), 1e-30)))
    best, middle, worst = shown.example_images(explained, k, [1.0, 0.5, 0.0])
    assert energies[best] == pytest.approx(max(energies))
    assert energies[worst] == pytest.approx(min(energies))
    assert energies[middle] == pytest.approx(sorted(energies)[round((len(energies) - 1) / 2)], abs=1e-6)


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


def test_the_people_sheet_names_and_marks_the_predictions(explained: Explained) -> None:
    figure, alt = shown.people_sheet(explained, [0, 7], "layer4")
    wrong = int((explained.predicted[[0, 7]] != explained.labels[[0, 7]]).sum())
    assert alt.count("(wrong)") == wrong
    crosses = [text.get_text() for axes in figure.axes for text in axes.texts if "✗" in text.get_text()]
    assert len(crosses) == wrong
    for g, group in enumerate(explained.groups):
        assert f"{group.name} {group.classes[int(explained.predicted[0, g])]}" in alt


def test_the_stage_sheet_has_a_row_for_each_region(explained: Explained) -> None:
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


def test_answers_stand_beside_the_person_with_the_truth_where_they_are_wrong(explained: Explained) -> None:
    figure, alt = attribute_network.answers_sheet(explained, 2)
    check_page(figure)
    for g, group in enumerate(explained.groups):
        answer, truth = (group.classes[int(of[2, g])] for of in (explained.predicted, explained.labels))
        assert f"{group.name} {answer}{'' if answer == truth else f', true is {truth}'}" in alt
    assert ", true is " in alt


def test_attention_on_a_person_is_the_modules(explained: Explained) -> None:
    figure, alt = san_gal.attention_sheet(explained, 3)
    check_page(figure)
    low, high = re.findall(r"literal ([\d.]+) to ([\d.]+)", alt)[0]
    assert float(low) + 0.001 > 0.6224
    assert float(low) <= float(high) < 0.7312
    assert re.search(r"one sigmoid 0\.5\d\d to 0\.[567]", alt)


def test_who_is_followed_is_the_median_query_of_the_method(explained: Explained) -> None:
    name = followed(Profile.read("synthped"))
    record = find_record(Profile.read("synthped").config("cbam/ce+tri+cir"))
    assert record is not None
    ranked = record.queries.sort_values("average_precision")["query"].tolist()
    assert name is not None
    assert abs(ranked.index(name) - len(ranked) / 2) < 3
    assert explained.person(explained.split.paths[3].name) == 3
    assert explained.person("nobody.jpg") == explained.person(None) == 0


def test_the_moved_sheet_says_what_is_left(explained: Explained) -> None:
    k = explained.fields.index("gender")
    image = int(explained.maps["layer2"][:, k].flatten(1).amax(1).argmax())
    _, alt = shown.moved_sheet(explained, image, k, Augmentation(SIZE, padding=4), "layer2")
    left = dict(re.findall(r"(stored|flip|shift|erase|all) (\d+) %", alt))
    assert left["stored"] == left["flip"] == "100"
    assert int(left["all"]) <= min(int(left["shift"]), int(left["erase"])) + 1


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone(explained: Explained) -> None:
    drawn: list[Drawing] = [
        shown.region_chart(shown.energy_by_region(explained, "layer2")),
        shown.people_sheet(explained, [0, 1]),
        shown.stage_sheet(explained),
        shown.moved_sheet(explained, 0, 0, Augmentation(SIZE)),
    ]
    for figure, alt in drawn:
        assert alt.strip()
        check_page(figure)


def test_other_sizes_of_the_same_network_are_told(explained: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Profile.read("smoke", data_root=str(explained.dataset.root)).config("attributes")
    record = find_record(config)
    assert record is not None
    elsewhere = record.directory.with_name("synthped-attributes-seed0-01234567")
    larger = dataclasses.replace(record, directory=elsewhere, config=record.config | {"image_height": 128})
    real = dataclasses.replace(larger, config=larger.config | {"dataset": "market1501"})
    monkeypatch.setattr(shown, "read_records", lambda _: [record, larger, real])
    told = shown.at_other_sizes(record)
    assert told.count("pictures of 128×32") == 1
    assert "01234567" in told
