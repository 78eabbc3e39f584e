"""What the chapters show of attributes and heat maps: the numbers in words, tables and figures against plain loops."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reidkit.data import AttributeGroup, load_dataset
from reidkit.data.attributes import GROUPS
from reidkit.data.resident import Augmentation
from reidkit.data.synthped import ATTRIBUTE_PARTS, PARTS
from reidkit.experiments import Profile, run, weights_path
from reidkit.experiments.san_gal import attribute_names, heat_map_folder, heat_maps
from reidkit.losses import attribute_loss
from reidkit.models.san_gal import STAGES, AttributeNetwork
from reidkit.report import heat_map_figures as shown
from reidkit.report.figures import Drawing

mpl.use("agg")
GROUP_LIST = (
    AttributeGroup("hat", ("no", "yes"), ("hat",)),
    AttributeGroup("age", ("young", "teenager", "adult", "old"), ("age",)),
    AttributeGroup("upper-body colour", ("none", "black", "red"), ("upblack", "upred")),
)


@pytest.fixture(autouse=True)
def _close() -> None:
    plt.close("all")


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.tensor([[0, 2, 1], [0, 2, 2], [0, 1, 2], [1, 2, -1]])


@pytest.fixture
def scores() -> pd.DataFrame:
    """As a record's table: the hat is learned, age is not, the colour is worse than the majority."""
    rows = []
    for level in ("identity", "image"):
        for name, accuracy, balanced, majority, chance in (
            ("hat", 0.9, 0.8, 0.7, 0.5),
            ("age", 0.6, 0.25, 0.6, 0.25),
            ("upper-body colour", 0.3, 0.4, 0.5, 1 / 3),
        ):
            rows.append(
                {
                    "attribute": name,
                    "level": level,
                    "count": 10,
                    "accuracy": accuracy,
                    "balanced accuracy": balanced,
                    "majority accuracy": majority,
                    "majority balanced accuracy": chance,
                }
            )
    return pd.DataFrame(rows)


MakeLocalisation = Callable[[Mapping[str, float]], pd.DataFrame]


@pytest.fixture
def localisation() -> MakeLocalisation:
    """The table of a record whose maps are so much over the centre, by attribute, with intervals of ± 0.1."""

    def make(over: Mapping[str, float]) -> pd.DataFrame:
        rows = []
        for i, (field, gain) in enumerate(over.items()):
            for s, stage in enumerate(STAGES):
                for measure in shown.MEASURES:
                    gain_here = gain - 0.05 * s
                    row: dict[str, Any] = {"attribute": field, "stage": stage, "measure": measure}
                    row |= {"images": 0 if np.isnan(gain) else 10, "blank": s, "random": 0.1 + 0.01 * i, "centre": 0.3}
                    row |= {"map": 0.3 + gain_here, "map low": 0.2 + gain_here, "map high": 0.4 + gain_here}
                    for baseline, value in (("centre", 0.3), ("random", row["random"])):
                        difference = 0.3 + gain_here - value
                        row |= {f"over {baseline}": difference}
                        row |= {f"over {baseline} low": difference - 0.1, f"over {baseline} high": difference + 0.1}
                    rows.append(row)
        return pd.DataFrame(rows)

    return make


# ---------------------------------------------------------------------------------------------- labels and the network


def test_every_field_of_both_files_has_a_title_of_its_own() -> None:
    for groups in GROUPS.values():
        titles = [shown.title_of(field) for group in groups for field in group.fields]
        assert len(set(titles)) == len(titles)
    assert shown.title_of("upblack") == "upper black"
    assert shown.title_of("downbrown") == "lower brown"
    assert shown.title_of("up") == "sleeve length"
    assert shown.title_of("unheard of") == "unheard of"


def test_the_class_table_has_the_groups_of_both_files() -> None:
    table = shown.class_table().set_index("Group")
    assert table["Market-1501"].count() == 12
    assert table["DukeMTMC-reID"].count() == 10
    assert list(table.loc["hat"]) == ["no, yes", "no, yes"]
    assert "boots" not in table["Market-1501"].dropna()


def test_class_balance_counts_the_known_labels(labels: Any) -> None:
    figure, alt = shown.class_balance(GROUP_LIST, labels)
    assert "4 training identities" in alt
    assert "hat: no 75.0, yes 25.0" in alt
    assert "age: adult 75.0, teenager 25.0, young 0.0, old 0.0" in alt
    assert "upper-body colour: red 66.7, black 33.3, none 0.0" in alt  # of the three that are known
    widths = [patch.get_width() for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert sum(widths) == pytest.approx(300)


def test_constant_loss_is_the_lowest_loss_of_a_constant_answer(labels: Any) -> None:
    sizes = (2, 4, 3)
    logits = [torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    optimizer = torch.optim.LBFGS(logits, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = attribute_loss([z.expand(len(labels), -1) for z in logits], labels)
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    assert closure().item() == pytest.approx(shown.constant_loss(labels), abs=1e-3)


def test_the_head_table_has_what_came_by() -> None:
    network = AttributeNetwork([2, 4, 3], [1, 1, 2], width_multiplier=0.125)
    table = shown.head_table(network, GROUP_LIST, 64, 32)
    assert table["Logits"].tolist() == ["2", "4", "3", "9"]
    assert table["Heat maps"].tolist() == ["1", "1", "2", "4"]
    assert set(table["Given"]) == {"256"}
    held = [int(text.replace(",", "")) for text in table["Parameters"]]
    assert held[:3] == [2 * 256 + 257 * classes for classes in (2, 4, 3)]
    assert held[3] == sum(held[:3])


def test_guessed_counts_what_one_group_says_of_another() -> None:
    labels = torch.tensor([[0, 0, 1], [0, 0, 1], [0, 1, 1], [1, 1, 2], [1, 1, -1]])
    told, majority = shown.guessed(labels, GROUP_LIST, "age", "upper-body colour")
    assert told == pytest.approx(3 / 4)  # red: age 0 twice of three, black: the only one; the fifth is not known
    assert majority == pytest.approx(2 / 4)
    assert shown.guessed(labels, GROUP_LIST, "hat", "hat") == (1.0, 3 / 5)


# -------------------------------------------------------------------------------------------------------------- scores


def test_score_tables_are_in_per_cent_with_their_mean(scores: pd.DataFrame) -> None:
    table = shown.score_table(scores)
    assert table.iloc[0].tolist() == ["hat", *["90.0", "70.0", "80.0", "50.0"] * 2]
    assert table.iloc[-1].tolist() == ["mean", *["60.0", "60.0", "48.3", "36.1"] * 2]
    both = shown.mean_table({"here": scores, "there": None})
    assert both["Counted"].tolist() == ["people", "images", "not run"]
    assert both.iloc[2, 2:].isna().all()
    assert both.iloc[0, 2:].tolist() == ["60.0", "60.0", "48.3", "36.1"]


@pytest.mark.parametrize(
    ("change", "says", "says_not"),
    [
        (0.1, "beats the majority class, by", "learned nothing"),
        (0.0, "does **not** beat", "beats"),
        (-0.1, "does **not**", "beats"),
    ],
)
def test_a_network_that_does_not_beat_the_majority_has_learned_nothing(
    scores: pd.DataFrame, change: float, says: str, says_not: str
) -> None:
    scores["accuracy"] = scores["majority accuracy"] + change
    text = shown.what_was_learned(scores, "these")
    assert says in text
    assert says_not not in text
    assert ("learned nothing" in text) == (change <= 0)
    assert ("10.0 points" in text) == (change != 0)


def test_the_groups_that_were_not_learned_are_named(scores: pd.DataFrame) -> None:
    text = shown.what_was_learned(scores, "these")
    assert "ahead of the majority class in 1 of 3 groups, and not in age and upper-body colour" in text


def test_the_balanced_chart_is_sorted_by_gain(scores: pd.DataFrame) -> None:
    figure, alt = shown.balanced_chart(scores)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["hat", "upper-body colour", "age"]
    assert "hat: people 80.0, images 80.0, a constant answer 50.0" in alt


# -------------------------------------------------------------------------------------------------------- localisation


def test_words_on_attributes_follow_the_intervals(localisation: MakeLocalisation) -> None:
    table = localisation({"hat": 0.2, "bag": 0.05, "up": -0.2, "upred": float("nan")})
    text = shown.attributes_in_words(table, "layer2")
    assert "of 1 of 3 attributes are better than the centre (hat)" in text
    assert "those of 1 worse (sleeve length)" in text
    assert "1 cannot be told from it (bag)" in text
    assert "No query shows upper red" in text
    assert "Those of 2 are better than a constant map" in text  # 0.3 + 0.05 is 0.24 over 0.11, 0.1 is 0.02 below 0.12


def test_means_are_those_of_the_attributes_and_their_intervals_hold_them(localisation: MakeLocalisation) -> None:
    table = localisation({"hat": 0.2, "bag": 0.05, "up": -0.2, "upred": float("nan")})
    means = shown.localisation_means(table)
    assert len(means) == len(shown.MEASURES) * len(STAGES)
    for _, row in means.iterrows():
        cells = table[(table["measure"] == row["measure"]) & (table["stage"] == row["stage"]) & (table["images"] > 0)]
        for column in ("map", "centre", "random", "over centre", "over random"):
            assert row[column] == pytest.approx(100 * sum(cells[column]) / 3)
        assert row["over centre low"] <= row["over centre"] <= row["over centre high"]
        lowest, highest = 100 * cells["over centre"].min(), 100 * cells["over centre"].max()
        assert lowest - 1e-9 <= row["over centre low"] <= row["over centre high"] <= highest + 1e-9
    assert shown.best_stage(means, "energy") == "layer2"
    shows = shown.means_table(means)
    assert shows["Stage"].tolist() == list(STAGES) * 3
    assert all(re.fullmatch(r"[+−]\d+\.\d \([+−]\d+\.\d to [+−]\d+\.\d\)", text) for text in shows["Over centre"])


@pytest.mark.parametrize(("gain", "says"), [(0.2, "better than the centre"), (-0.2, "worse than the centre")])
def test_words_on_stages_follow_the_means(localisation: MakeLocalisation, gain: float, says: str) -> None:
    text = shown.stages_in_words(shown.localisation_means(localisation({"hat": gain, "bag": gain})))
    assert "All three measures agree on layer2" in text
    assert text.count(says) == 3


def test_words_on_stages_leave_open_what_is_open(localisation: MakeLocalisation) -> None:
    text = shown.stages_in_words(shown.localisation_means(localisation({"hat": 0.2, "bag": -0.2})))
    assert text.count("not to be told from the centre") == 3


def test_blank_maps_are_counted(localisation: MakeLocalisation) -> None:
    table = localisation({"hat": 0.2, "bag": 0.05})
    text = shown.blanks_in_words(table)
    assert "0 of 20 after layer2, 2 of 20 after layer3 and 4 of 20 after layer4" in text
    assert "10 %" not in text
    assert "after layer4, 20 % of them" in text
    assert shown.blanks_in_words(table.assign(blank=0)) == "None of the 60 maps is blank."


def test_charts_of_localisation_leave_out_what_no_query_shows(localisation: MakeLocalisation) -> None:
    table = localisation({"hat": 0.2, "bag": 0.05, "up": -0.2, "upred": float("nan")})
    figure, alt = shown.localisation_chart(table)
    assert [axes.get_title() for axes in figure.axes] == list(STAGES)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["sleeve length", "bag", "hat"]  # from the largest region to the smallest
    assert "hat 50, 45, 40; centre 30, random 10" in alt
    figure, alt = shown.over_centre_grid(table)
    assert "hat +20, +15, +10, +20" in alt or "hat +20, +15, +10 (uncertain), +20" in alt
    cells = {text.get_text(): text.get_fontweight() for text in figure.axes[0].texts}
    assert cells["+20"] == "bold"
    assert cells["+5"] == "normal"
    assert cells["−20"] == "bold"


def test_learned_and_found_agree_where_they_do(scores: pd.DataFrame, localisation: MakeLocalisation) -> None:
    table = localisation({"hat": 0.3, "age": -0.2, "upblack": 0.1, "upred": 0.3})
    figure, alt, correlation = shown.learned_and_found(scores, table, GROUP_LIST, "layer2")
    assert "hat +30.0 and +30.0" in alt
    assert "upper-body colour +6.7 and +20.0" in alt  # the mean over its colours
    assert correlation == pytest.approx(1.0)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["hat", "upper-body colour", "age"]


# ------------------------------------------------------------------------------------------------------------ pictures


@pytest.fixture(scope="module")
def explained(synthped: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a barely trained network on a small render."""
    patch = pytest.MonkeyPatch()
    patch.setenv("REIDKIT_BUILD", str(tmp_path_factory.mktemp("explained")))
    config = Profile.read("smoke", data_root=str(synthped)).attribute_config()
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
    light = shown.overlay(grey, heat).astype(int).sum(axis=2)
    y, x = np.unravel_index(light.argmax(), light.shape)
    assert 8 <= y < 16
    assert x >= 8
    np.testing.assert_array_equal(shown.overlay(grey, heat), shown.overlay(grey, 10 * heat))  # scaled to its own peak
    faint = shown.overlay(grey, heat, peak=30.0).astype(int).sum(axis=2)
    assert faint.max() < light.max()
    blank = shown.overlay(grey, torch.zeros(4, 2))
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
    assert rows == [shown.title_of(explained.fields[k]) for k in seen]
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
    config = Profile.read("smoke", data_root=str(synthped)).attribute_config()
    assert set(shown.stored_table({"here": config})["Images"]) == {"not stored here"}
    maps = heat_maps(config, "query", progress=False)
    table = shown.stored_table({"here": config}).set_index("Images of")
    assert table.loc["train", "Images"] == "not stored here"
    row = table.loc["query"]
    assert row["Images"] == str(len(maps))
    size = sum(path.stat().st_size for path in heat_map_folder(config, "query").glob("*.npy"))
    assert row["Bytes per image"] == f"{size / len(maps):,.0f}"
    assert maps.nbytes < size < maps.nbytes + 6 * 256  # but for the headers
    assert row["Maps per image"] == "27 × 3 stages"


def test_attributes_of_a_data_set_that_is_not_here(tmp_path: Path) -> None:
    config = Profile.read("market1501-small", data_root=str(tmp_path)).attribute_config()
    assert shown.attributes_at_hand(config) is None


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone(
    explained: shown.Explained, scores: pd.DataFrame, localisation: MakeLocalisation
) -> None:
    over = {field: 0.1 for groups in GROUPS.values() for group in groups for field in group.fields}
    table, attributes = localisation(over), explained.dataset.attributes
    assert attributes is not None
    drawn: list[Drawing] = [
        shown.class_balance(explained.groups, attributes.train.labels),
        shown.balanced_chart(scores),
        shown.localisation_chart(table),
        shown.over_centre_grid(table),
        shown.learned_and_found(scores, table, GROUP_LIST, "layer2")[:2],
        shown.region_chart(shown.energy_by_region(explained, "layer2")),
        shown.people_sheet(explained, [0, 1]),
        shown.stage_sheet(explained),
        shown.moved_sheet(explained, 0, 0, Augmentation(explained.size)),
    ]
    for figure, alt in drawn:
        assert alt.strip()
        check_page(figure)


def check_page(figure: Figure) -> None:
    figure.draw_without_rendering()
    inside, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert width <= 5.2
    assert min(inside.x0, inside.y0) >= -0.01  # nothing is cut off
    assert inside.x1 <= width + 0.01
    assert inside.y1 <= height + 0.01
    # a telephone shows a figure 3.4 inches wide; type below 6.5 points is not read there
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text()]
    assert min(text.get_fontsize() for text in texts) * min(1, 3.4 / width) >= 6.5
