"""What is shown of comparisons, settings and records."""

import re

from reidkit.profile import Profile
from reidkit.published import SAN_GAL_ATTRIBUTE_SETTINGS, SAN_GAL_OURS, SAN_GAL_SETTINGS, TABLE_1
from reidkit.report import tables
from reidkit.report.verdicts import compare
from reidkit.systems.joint_loss import RunConfig
from tests.report.conftest import CELLS, MARKET, MakeRecord


def test_settings_say_what_the_paper_prints_and_what_a_run_used() -> None:
    small = RunConfig.model_validate({"epochs": 12, "width_multiplier": 0.25})
    shown = tables.settings({"A": RunConfig(), "B": small}).set_index("Setting")
    assert shown.loc["input size", "Paper"] == "256×128"
    assert shown.loc["epochs"].tolist() == ["not printed (60)", "120", "12"]
    assert shown.loc["backbone", "B"] == "width × 0.25"
    assert shown.loc["augmentation", "A"] == "flip 0.5; pad-crop 10; random erasing 0.5"
    assert shown.loc["data set of the ablation", "A"] == "SynthPed (toy data)"


def test_settings_of_both_networks_of_san_gal() -> None:
    market = Profile.read("market1501-imagenet")
    shown = tables.settings({"A": market.config(SAN_GAL_OURS)}, SAN_GAL_SETTINGS).set_index("Setting")
    assert shown.loc["input size"].tolist() == ["256×128", "256×128 pixels"]
    assert shown.loc["initial weights"].tolist() == ["pre-trained", "imagenet"]
    assert shown.loc["momentum"].tolist() == ["not printed (0.9)", "0.9"]
    assert shown.loc["epochs"].tolist() == ["20", "20"]
    assert shown.loc["warm-up", "A"] == "to epoch 1 from × 0.03"
    adam = Profile.read("synthped").config("IDonly")
    assert tables.settings({"A": adam}, SAN_GAL_SETTINGS).set_index("Setting").loc["momentum", "A"] == "–"
    shown = tables.settings({"A": market.config("attributes")}, SAN_GAL_ATTRIBUTE_SETTINGS).set_index("Setting")
    assert shown.loc["epochs", "A"] == "10"


def test_verdicts_of_several_metrics_are_told_apart(make_record: MakeRecord) -> None:
    comparison = compare(TABLE_1, [make_record()])
    comparison.loc[comparison["method"] == "Baseline", "verdict"] = [
        "reproduced",
        "worse",
        "worse",
        "reproduced",
    ]
    shown = tables.side_by_side(comparison).set_index("Method")["Verdict"]
    assert shown["Baseline"] == "reproduced (Rank-1, mAP); worse (Rank-5, Rank-10)"
    assert shown["Ours"] == "not run"


def test_provenance_names_the_record_of_every_hash_in_the_table(make_record: MakeRecord) -> None:
    records = [make_record(), make_record("se")]
    origin = tables.provenance(records)
    hashes = set(re.findall(r"{doc}`[^`]+`", " ".join(tables.side_by_side(compare(TABLE_1, records))["Record"])))
    assert hashes == set(origin["Record"])
    assert origin.loc[0, "Minutes"] == "2.0"
    assert origin.loc[0, "Commit"] == "`01234567 (changed)`"


def test_console_text_lines_up(make_record: MakeRecord) -> None:
    text = tables.as_text(TABLE_1, [make_record(*cell.split("/")) for cell in CELLS])
    block = text.split("\n\n")[1].splitlines()
    assert len(block) == 9
    assert len({line.index("  ", 20) for line in block}) <= 2


def test_intervals_of_every_metric_name_it(make_san_gal_record: MakeRecord) -> None:
    comparison = compare(MARKET, [make_san_gal_record()])
    shown = tables.intervals(comparison, None)
    assert list(zip(shown["Method"], shown["Score"], strict=True)) == [
        (row.method, label) for row in MARKET.rows for label in ("Rank\N{NON-BREAKING HYPHEN}1", "mAP")
    ]
    both = [tables.intervals(comparison, metric) for metric in ("rank-1", "mAP")]
    for i in range(len(MARKET.rows)):
        for j in range(2):
            assert shown.drop(columns="Score").loc[2 * i + j].tolist() == both[j].loc[i].tolist()


def test_runs_that_differ_in_a_few_settings_are_told_apart_by_them_and_others_by_size_and_hash(
    make_record: MakeRecord,
) -> None:
    first, second = make_record(), make_record(sampling="identities")
    assert list(tables.told_apart([first, second]).values()) == [", sampling auto", ", sampling identities"]
    other = make_record(epochs=40, image_height=64, image_width=32, width_multiplier=0.25, batch_size=32)
    apart = tables.told_apart([first, other])
    assert apart[other.name] == f", 40 epochs at 64×32, {other.name[-8:]}"
    assert apart[first.name] == f", 60 epochs at 256×128, {first.name[-8:]}"
