"""Who fails on which queries, and where systems look: from made-up records, and from pictures of the renderer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reidkit.data import Dataset, load_dataset
from reidkit.data.conditions import CONDITIONS
from reidkit.data.part_maps import part_map
from reidkit.data.synthped import PARTS
from reidkit.focus import SEGMENTS
from reidkit.profile import Profile
from reidkit.records import Record
from reidkit.report.chapters import hard_cases as shown
from reidkit.report.differences import with_interval
from tests.report.conftest import MakeRecord, check_page


@pytest.fixture
def found(make_record: MakeRecord) -> pd.DataFrame:
    """The first half of the queries are occluded, nobody is in the dark, and so on."""
    names = make_record().queries["query"]
    columns = {name: np.zeros(len(names), dtype=bool) for name in CONDITIONS}
    columns["occluded"][: len(names) // 2] = True
    columns["from behind"][::2] = True
    return pd.DataFrame(columns, index=pd.Index(names, name="query"))


def worse(record: Record, queries: slice, by: float) -> Record:
    """The record as if some of its queries had gone worse."""
    precision = record.queries["average_precision"].to_numpy().copy()
    precision[queries] = (precision[queries] - by).clip(min=0)
    record.tables["queries"] = record.queries.assign(average_precision=precision)
    record.metrics["mAP"] = float(np.nanmean(precision))
    return record


def focusing(record: Record, shares: pd.DataFrame) -> Record:
    """The record as if its two features lay on the head and on everything else, three to one."""
    rows = []
    for feature, head in ((1, 0.75), (2, 0.25)):
        for segment in SEGMENTS:
            energy = {"head": head, "person": head, "background": 1 - head}.get(segment, 0.0)
            for measure in ("pointing", "energy", "iou"):
                row = {"feature": feature, "segment": segment, "measure": measure, "images": 10, "map": energy}
                rows.append(
                    row | {f"over {kind}{end}": 0.1 for kind in ("random", "centre") for end in ("", " low", " high")}
                )
    record.tables.update(focus=pd.DataFrame(rows), shares=shares)
    return record


def test_a_condition_costs_what_the_baseline_lacks_there(make_record: MakeRecord, found: pd.DataFrame) -> None:
    runs = {"none/ce": [worse(make_record(), slice(0, 100), 0.3)]}
    table = shown.conditions_table(found, runs).set_index("Condition")
    precision = 100 * runs["none/ce"][0].queries["average_precision"]
    assert table.loc["occluded", "Queries"] == 100
    assert table.loc["occluded", "mAP there"] == f"{precision[1:100].mean():.1f}"
    assert table.loc["occluded", "mAP elsewhere"] == f"{precision[100:].mean():.1f}"
    assert table.loc["occluded", "Difference"].startswith("−2")
    assert table.loc["dark", ["Queries", "mAP there", "Difference"]].tolist() == [0, "–", "–"]


def test_two_groups_are_apart_by_their_means_with_an_interval_over_both() -> None:
    generator = np.random.default_rng(0)
    people = pd.Index([f"{number:04d}_c1s1_000000_00.jpg" for number in range(340)])
    one, other = (
        pd.Series(generator.normal(mean, 5, len(names)), names)
        for mean, names in ((50.0, people[:40]), (60.0, people[40:]))
    )
    estimate = shown.apart(one, other)
    assert estimate.ours == pytest.approx(one.mean() - other.mean())
    error = 1.96 * np.hypot(one.std() / 40**0.5, other.std() / 300**0.5)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(error, rel=0.1)
    assert np.isnan(shown.apart(one, other[:0]).ours)
    paired = shown.apart(one, one.rename(lambda name: name.replace("c1", "c2")) + 10)  # the same people in both
    assert (paired.low, paired.high) == (pytest.approx(-10), pytest.approx(-10))


def test_gains_are_drawn_for_the_queries_of_each_condition(make_record: MakeRecord, found: pd.DataFrame) -> None:
    runs = {"none/ce": [make_record()], "pcb": [worse(make_record(), slice(0, 100), 0.2)]}
    figure, alt = shown.gains_chart(found, runs)
    check_page(figure)
    assert "PCB, occluded −" in alt
    assert "elsewhere 0.00" in alt
    assert "PCB, dark –, elsewhere −" in alt  # no query is dark
    assert shown.gains_chart(found, {})[1] == "None of the compared systems has been run yet."
    assert "reidkit data render" in shown.gains_chart(found[:0], runs)[1]


def test_a_gain_on_hard_queries_is_set_beside_what_all_systems_gain_there(
    make_record: MakeRecord, found: pd.DataFrame
) -> None:
    base, plain = worse(make_record(), slice(0, 100), 0.3), make_record()
    runs = {"none/ce": [base], "gp-reid": [base], "dare": [base], "vpm": [plain]}
    more = shown.contrasts(found, runs, "occluded")
    assert more["vpm"].low > 0 > more["gp-reid"].high
    assert more["vpm"].ours == pytest.approx(-2 * more["gp-reid"].ours)
    told = shown.room_in_words(found, runs)
    assert told.startswith("Where queries are *occluded*, 1 of 3 systems gain more over the plain ")
    assert "the median by 0.0 points" in told
    assert told.endswith("clearly ahead of the other systems there: VPM.")
    table = shown.purpose_table(found, runs).set_index("System")
    assert table.loc["VPM", ["Than the others", "Place"]].tolist() == [with_interval(more["vpm"]), "1 of 3"]
    assert table.loc["BFE", ["Than the others", "Place"]].tolist() == ["–", "–"]
    all_alike = shown.room_in_words(found, {"none/ce": [base], "gp-reid": [plain], "dare": [plain], "vpm": [plain]})
    assert "3 of 3 systems" in all_alike
    assert "none is clearly ahead of the other systems" in all_alike
    assert shown.room_in_words(found, {}) == "What the systems gain there has not been measured yet."


def test_seeds_widen_a_contrast(make_record: MakeRecord, found: pd.DataFrame) -> None:
    def seeds(*by: float) -> list[Record]:
        return [worse(make_record(seed=seed), slice(0, 100), b) for seed, b in enumerate(by)]

    apart = {"dare": seeds(0.1, 0.3, 0.5), "vpm": seeds(0.0, 0.2, 0.1)}
    alike = {"dare": seeds(0.3, 0.3, 0.3), "vpm": seeds(0.1, 0.1, 0.1)}
    wide, narrow = (shown.contrasts(found, runs, "occluded")["vpm"] for runs in (apart, alike))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_cameras_that_a_condition_is_of_are_counted() -> None:
    names = [f"0001_c{camera}s1_00000{k}_00.jpg" for camera, count in ((1, 5), (2, 3), (3, 2)) for k in range(count)]
    found = pd.DataFrame({"from behind": True, "dark": False}, index=names)
    told = shown.cameras_in_words(found)
    assert told.startswith("But two cameras took 8 of the 10 queries that are *from behind*: ")
    assert shown.cameras_in_words(shown.conditions_of(None)) == ""


def test_what_lies_under_a_part_adds_up(make_record: MakeRecord) -> None:
    record = focusing(make_record(), pd.DataFrame())
    energies = shown.energies(record)
    assert energies.loc[1].to_dict() == pytest.approx(
        {"head": 0.75, "upper": 0, "lower": 0, "shoes": 0, "luggage": 0, "occluder": 0, "background": 0.25}
    )
    figure, alt = shown.parts_chart({"pcb": record})
    check_page(figure)
    assert "PCB 1: head 75 % and background 25 %; PCB 2: head 25 %" in alt
    person = shown.person_table({"pan": record})
    assert person["Map"].tolist()[:4] == ["–", *["75.0"] * 3]  # AANet was not run
    assert person["Over centre"].tolist()[1].startswith("+10.00 [")
    assert shown.person_table({})["Map"].tolist() == ["–", "–"]
    rivals = ("a blob in the middle", "a map that is the same everywhere")
    words = " ".join(f"Beside {rival}, PAN's is ahead by the pointing game, energy and IoU." for rival in rivals)
    record.tables["focus"] = record.tables["focus"].query("feature == 1")  # PAN has one map
    assert shown.person_in_words({"pan": record}) == words
    assert "AANet's and PAN's are ahead by" in shown.person_in_words({"aanet": record, "pan": record})
    assert shown.person_in_words({}) == "Neither has been measured yet."


@pytest.fixture
def dataset(synthped: Path) -> Dataset:
    return load_dataset("synthped", synthped)


def test_a_stripe_is_hidden_where_an_occluder_covers_it(dataset: Dataset) -> None:
    hidden = shown.hidden_stripes(dataset, 4)
    for path in dataset.query.paths:
        covered = part_map(path) == PARTS["occluder"]  # (128, 64)
        expected = [covered[32 * k : 32 * (k + 1)].float().mean().item() for k in range(4)]
        assert hidden.loc[path.name].tolist() == pytest.approx(expected, abs=1e-6)


def test_visibility_is_told_by_region(make_record: MakeRecord, dataset: Dataset) -> None:
    names = [path.name for path in dataset.query.paths]
    shares = pd.DataFrame({"query": names, "1": 0.2, "2": 0.8})
    table = shown.visibility_table({"vpm": focusing(make_record(), shares)}, dataset)
    assert table["Region"].tolist() == ["1", "2"]
    assert table["Share of the picture (%)"].tolist() == ["20.0", "80.0"]
    assert table["Hidden in"].tolist() == (shown.hidden_stripes(dataset, 2) > shown.HIDDEN).sum().tolist()
    assert shown.visibility_table({}, dataset).to_numpy().tolist() == [["–"] * 4]
    assert table["Change there (points)"].tolist() == ["–", "–"]  # hidden in too few
    assert shown.visibility_in_words({}, dataset) == "It has not been measured yet."


def test_a_hidden_region_that_shrinks_is_said_to(make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number:04d}_c1s1_000000_00.jpg" for number in range(60)]
    hidden = pd.DataFrame({"1": 0.0, "2": [1.0] * 30 + [0.0] * 30, "3": [0.0, 1.0] * 30}, index=names)
    monkeypatch.setattr(shown, "hidden_stripes", lambda dataset, stripes: hidden)
    noise = np.random.default_rng(0).normal(0, 0.01, 60)
    shares = pd.DataFrame({"query": names, "1": 0.2, "2": 0.4 - 0.1 * hidden["2"].to_numpy() + noise, "3": 0.4 + noise})
    told = shown.visibility_in_words({"vpm": focusing(make_record(), shares)}, object())  # type: ignore[arg-type]
    assert told == (
        "Where something hides it, VPM takes less of the picture for region 2. Of region 3 it cannot be told."
    )


def test_a_book_of_other_data_renders_nothing_for_this_page(build: Path) -> None:
    compared, book = Profile.read("synthped-compared"), Profile.read("smoke")
    assert shown.data_of(compared, book, {}) is None
    assert not compared.config("none/ce").root.exists()
    assert shown.conditions_of(None).columns.tolist() == list(CONDITIONS)
    assert shown.conditions_table(shown.conditions_of(None), {})["Difference"].tolist() == ["–"] * 4
