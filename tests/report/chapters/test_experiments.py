"""The joint-loss paper's experiments as its chapter shows them."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from reidkit.profile import Profile
from reidkit.records import Record
from reidkit.report.chapters import experiments as shown
from reidkit.report.differences import gain_chart, with_interval
from reidkit.report.rows import difference, records_behind
from reidkit.report.tables import beside_runs
from tests.report.conftest import MakeRecord, check_page


def test_grid_heat_map_leaves_blank_what_was_not_run(make_record: MakeRecord) -> None:
    record = make_record("eca", "ce+tri")
    score = f"{100 * record.metrics['mAP']:.1f}"
    figure, alt = shown.grid_heat_map({"toy": shown.grid([record]), "Market-1501": shown.grid([])})
    check_page(figure)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(texts) == sorted([score] + ["–"] * 17)
    assert f"toy, ECA: CE not run, CE + Tri {score}, CE + Tri + Cir not run" in alt
    assert [text.get_text() for text in figure.axes[1].texts] == ["–"] * 18


def runs(make_record: MakeRecord, *rows: str) -> dict[str, list[Record]]:
    return {row: [make_record(*row.split("/")[:2], seed=seed) for seed in (0, 1)] for row in rows}


def test_gain_chart_draws_both_and_says_both(make_record: MakeRecord) -> None:
    data = {"toy": runs(make_record, "none/ce", "se/ce", "half/ce")}
    figure, alt = gain_chart(shown.SHOWN, shown.BASE, shown.PAPER, data)
    check_page(figure)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "Baseline(+SE)",
        "the constant ½ (control)",
    ]
    assert f"Baseline(+SE): paper +8.38, toy {with_interval(difference(data['toy'], 'se/ce', 'none/ce'))}" in alt


def test_the_table_has_the_papers_rows_and_the_controls(make_record: MakeRecord) -> None:
    data = {"toy": runs(make_record, "none/ce", "half/ce"), "Market-1501": {}}
    table = beside_runs(shown.SHOWN, shown.PAPER, data).set_index("Row")
    assert len(table) == 8 + 3
    assert table.loc["CBAM + joint loss"].tolist() == ["79.70", "–", "–"]
    paper, toy, seeds = table.loc["the constant ½ (control)"].tolist()
    assert paper == "–"
    assert toy.startswith(f"{np.mean([100 * record.metrics['mAP'] for record in data['toy']['half/ce']]):.1f} [")
    assert [text for text, _ in re.findall(r"`(\d) <(runs/[^>]+)>`", seeds)] == ["0", "1"]
    assert len(records_behind(data, shown.SHOWN)) == 4


def test_it_is_told_where_the_triplet_loss_ended(make_record: MakeRecord) -> None:
    records = [make_record(loss="ce+tri", seed=seed) for seed in (0, 1)]
    for record, loss, active in zip(records, (0.1, 0.2), (0.5, 0.7), strict=True):
        record.tables["history"] = pd.DataFrame({"triplet": [0.3, loss], "active triplets": [1.0, active]})
    told = shown.triplets_in_words({"toy": {"none/ce+tri": records}, "Market-1501": {}}, "none/ce+tri")
    assert told.endswith("ends at 0.15 on toy (60 % of the triplets are active).")
    assert shown.triplets_in_words({}, "none/ce+tri") == ""


def test_the_place_of_cbam_with_the_joint_loss_is_told(make_record: MakeRecord) -> None:
    rows = {"none": 0.5, "se": 0.9, "cbam": 0.7}
    runs = {f"{a}/ce+tri+cir": [make_record(a, "ce+tri+cir", quality=of)] for a, of in rows.items()}
    told = shown.joint_column_in_words({"toy": runs, "none": {}})
    assert told.startswith("With the joint loss, CBAM is number 2 of 3 on toy, at ")
    assert "; SE leads, at " in told


def test_batches_of_pairs_are_told_of_where_they_were_run(make_record: MakeRecord) -> None:
    found = runs(make_record, "none/ce")
    found["none/ce/pairs"] = [make_record(sampling="identities", batch_size=32, images_per_identity=2)]
    told = shown.pairs_in_words({"toy": found, "Market-1501": {}})
    assert told.endswith(f" {with_interval(difference(found, 'none/ce/pairs', 'none/ce'))} points on toy.")
    assert shown.pairs_in_words({}) == ""


def test_the_answer_counts_the_modules_that_help(make_record: MakeRecord) -> None:
    found = runs(make_record, "none/ce", "cbam/ce+tri+cir", "cbam/ce", "se/ce")
    found["se/ce"] = [make_record("se", seed=seed, quality=0.9) for seed in (0, 1)]
    text = shown.answer(found, "toy")
    assert with_interval(difference(found, "cbam/ce+tri+cir", "none/ce")) in text
    assert "Two modules with cross-entropy change it by " in text
    assert text.endswith(" points, and SE clearly helps.")
    gain = difference(found, "se/ce", "none/ce")
    assert shown.modules_in_words({"SE": gain}) == (
        f"SE with cross-entropy changes it by {with_interval(gain)} and clearly helps."
    )
    alone = {row: seeds[:1] for row, seeds in found.items()}
    assert shown.answer(alone, "toy").endswith(", and with so few seeds none can be said to help.")
    assert shown.answer({}, "toy") == "On toy the baseline has not been run yet."
    table = shown.controls({"toy": found, "other": {}})
    assert list(table["Control"]) == ["CBAM without the other losses"]
    assert list(table["toy"]) == [with_interval(difference(found, "cbam/ce", "none/ce"))]
    assert "other" not in table  # where nothing was run


def test_budgets_are_of_runs_that_differ_in_their_epochs_alone(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile.read("market1501")
    own = profile.config("none/ce")
    alike = [
        dataclasses.replace(make_record(), config=own.model_copy(update={"epochs": epochs, "seed": seed}).determinants)
        for epochs, seed in ((30, 0), (own.epochs, 0), (own.epochs, 1))
    ]
    other = dataclasses.replace(
        make_record(), config=own.model_copy(update={"batch_size": 32, "epochs": 30}).determinants
    )
    monkeypatch.setattr(shown, "read_records", lambda *_: [*alike, other])
    found = shown.budgets(profile, ["none/ce", "se/ce"])
    assert {row: {epochs: len(seeds) for epochs, seeds in of.items()} for row, of in found.items()} == {
        "none/ce": {30: 1, own.epochs: 2}
    }
    figure, alt = shown.budget_chart({"toy": found})
    check_page(figure)
    assert "toy, Baseline: " in alt
    assert "at 30" in alt
    assert "not been trained" in shown.budget_chart({"toy": {}})[1]


def test_budgets_in_words_say_what_longer_training_adds_and_what_it_does_to_a_gain(make_record: MakeRecord) -> None:
    low, high = make_record(quality=0.2), make_record(quality=0.8)
    more = f"{100 * (high.metrics['mAP'] - low.metrics['mAP']):+.1f}"
    rows = {"none/ce": {5: [low], 10: [low], 20: [high]}, "none/ce+tri+cir": {5: [low], 10: [high]}}
    assert shown.budgets_in_words(rows, 10, "toy") == (
        f"On toy, 20 epochs instead of 10 change the baseline's mAP by {more} points, and "
        f"what the joint loss has over the baseline is 0.0 points after 5 epochs and {more} after 10."
    )
    assert shown.budgets_in_words({"none/ce": {10: [low]}}, 10, "toy") == ""


def test_grid_holds_what_was_run_and_nan_elsewhere(make_record: MakeRecord) -> None:
    record = make_record("eca", "ce+tri")
    frame = shown.grid([record])
    assert frame.shape == (6, 3)
    assert frame.loc["eca", "ce+tri"] == pytest.approx(100 * record.metrics["mAP"])
    assert frame.notna().sum(axis=None) == 1
