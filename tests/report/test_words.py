"""How numbers, names and settings are written."""

from typing import Any

import numpy as np
import pytest

from reidkit.data.attributes import GROUPS
from reidkit.profile import Profile
from reidkit.published import SAN_GAL_OURS
from reidkit.report import tables, words
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS
from reidkit.systems.attributes import AttributeConfig
from reidkit.systems.joint_loss import RunConfig
from reidkit.systems.san_gal import SanGalConfig
from tests.report.conftest import MakeRecord


@pytest.mark.parametrize(
    ("value", "digits", "text"), [(-1.25, 1, "−1.2"), (0.5, 2, "+0.50"), (-0.001, 2, "0.00"), (np.nan, 2, "–")]
)
def test_differences_are_shown_with_their_sign(value: float, digits: int, text: str) -> None:
    assert words.signed(value, digits) == text


@pytest.mark.parametrize(("value", "text"), [(5e-4, "5·10⁻⁴"), (0.0, "0"), (2.4e10, "2·10¹⁰")])
def test_small_numbers_are_written_by_powers_of_ten(value: float, text: str) -> None:
    assert words.power(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(1, "hat"), (4, "hat, bag, age and gender"), (6, "hat, bag, age, gender and 2 more")]
)
def test_of_many_words_a_few_are_named(count: int, text: str) -> None:
    assert words.a_few(["hat", "bag", "age", "gender", "hair", "shoes"][:count]) == text


def test_data_are_called_by_what_they_are_a_copy_of(make_san_gal_record: MakeRecord) -> None:
    assert words.data_title(Profile.read("synthped-duke")) == "SynthPed, duke-like (toy data)"
    assert words.data_title(Profile.read("market1501-small")) == "Market-1501"
    toy = {"dataset": "synthped", "data_root": None}
    records = [make_san_gal_record(), make_san_gal_record(SAN_GAL_OURS + "/online", 1, **toy)]
    assert [data.split()[0] for data in tables.provenance(records)["Data"]] == ["market1501", "market-like"]
    assert tables.provenance(records)["Run"].tolist() == ["IDonly", SAN_GAL_OURS + "/online"]


@pytest.mark.parametrize("kind", [RunConfig, SanGalConfig, AttributeConfig])
def test_every_setting_is_either_part_of_the_yardstick_or_known_not_to_be(kind: type[Configuration]) -> None:
    judged = words.titles(kind.system).keys() | {"dataset", "weights"}
    data = {"data_root", "validation_identities", *(key for key in kind.model_fields if key.startswith("synthped_"))}
    computing = {
        "precision",
        "channels_last",
        "compile",
        "deterministic",
        "evaluate_every",
        "schedule_by",
        "device",
    }
    system = SYSTEMS[kind.system]
    named = system.told_by_rows | {"seed", "attributes"} & kind.model_fields.keys()
    assert judged | data | computing | named == set(kind.model_fields)


def test_a_setting_is_told_with_those_that_say_something_only_together() -> None:
    values = RunConfig().model_dump(mode="json")
    told = words.phrases("joint-loss", values)
    assert told["image_height"] == "256×128 pixels"
    assert "image_width" not in told
    assert told["schedule"] == "learning rate × 0.1 at epochs 40 and 90"
    cosine = words.phrases("joint-loss", values | {"schedule": "cosine", "cosine_from": 30})
    assert cosine["schedule"] == "learning rate along a cosine from epoch 30"
    alone = words.phrases("san-gal", SanGalConfig().model_dump(mode="json") | {"triplet": False, "milestones": []})
    assert alone["triplet"] == "without the triplet loss"
    assert alone["schedule"].endswith("at epochs none")


@pytest.mark.parametrize(
    ("bounds", "options", "text"),
    [
        ((1.25, 2.0), {}, "1.2 to 2.0"),
        ((-0.5, 0.25, "widened"), {"sign": True}, "−0.5 to +0.2 (widened)"),
        ((-0.5, 0.254), {"digits": 2}, "−0.50 to 0.25"),
        ((0.03, 4.2), {"sign": True}, "+0.03 to +4.2"),  # it leaves out zero, and looks so
        ((0.0, 0.0), {"sign": True}, "0.0 to 0.0"),
        ((np.nan, np.nan, "queries"), {}, "–"),
    ],
)
def test_an_interval_is_written_in_one_way(bounds: tuple[Any, ...], options: dict[str, Any], text: str) -> None:
    assert words.interval(*bounds, **options) == text


def test_every_field_of_both_files_has_a_title_of_its_own() -> None:
    for groups in GROUPS.values():
        titles = [words.field_title(field) for group in groups for field in group.fields]
        assert len(set(titles)) == len(titles)
    assert words.field_title("upblack") == "upper black"
    assert words.field_title("downbrown") == "lower brown"
    assert words.field_title("up") == "sleeve length"
    assert words.field_title("unheard of") == "unheard of"
