import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reidkit.profile import Profile
from reidkit.records import Record
from reidkit.report.chapters import recipe as shown
from tests.report.conftest import MakeRecord, check_page, written


def made(attention: str = "none", loss: str = "ce", score: float = 0.5, **values: Any) -> Record:
    config = {"dataset": "synthped", "epochs": 40, "residual_scale": 0.0} | values
    history = pd.DataFrame({"epoch": [1, 2], "accuracy": [0.1, 0.99]})
    if "tri" in loss:
        history["triplet"] = [0.6, 0.31]
    name = f"synthped-{attention}-{loss}-{config['residual_scale']}"
    return Record(
        directory=Path(name),
        system="joint-loss",
        config=config | {"attention": attention, "loss": loss},
        metrics={"mAP": score},
        tables={"history": history},
        provenance={},
    )


def by_name(*records: Record) -> dict[str, Record]:
    return {record.name: record for record in records}


def test_gates_halve_a_branch_at_the_start_and_two_in_a_row_quarter_it() -> None:
    scales = shown.starting_scales().set_index("Module")["Scale"]
    assert scales["none"] == scales["DANet"] == scales["Non-local"] == 1
    assert scales["constant ½"] == pytest.approx(0.5)
    assert scales[["SE", "ECA"]].tolist() == pytest.approx([0.5, 0.5], abs=0.05)
    assert scales["CBAM"] == pytest.approx(0.25, abs=0.06)


def test_every_screened_run_has_a_row_with_where_its_losses_ended() -> None:
    records = by_name(made(residual_scale=1.0, score=0.3), made(score=0.4), made(loss="ce+tri", dataset="market1501"))
    table = shown.screening_table(records)
    assert table["γ"].tolist() == ["0", "1", "0"]
    assert table["Data"].tolist() == ["SynthPed, 40 epochs"] * 2 + ["Market-1501, 40 epochs"]
    assert table["mAP"].tolist() == pytest.approx([40, 30, 50])
    assert table["Triplet loss"].isna().tolist() == [True, True, False]


def test_the_chart_draws_rows_that_were_screened_at_two_scales() -> None:
    records = by_name(made(score=0.4), made(residual_scale=1.0, score=0.3), made("se"))
    figure, alt = shown.screening_chart(records)
    check_page(figure)
    assert "SynthPed, CE: 40.0 at 0, 30.0 at 1" in alt
    assert "SE" not in written(figure)
    with pytest.raises(ValueError, match="no row was screened at two scales"):
        shown.screening_chart(by_name(made()))


def test_the_joint_loss_is_told_at_each_start_that_both_losses_were_screened_at() -> None:
    joint = [made(loss="ce+tri+cir", score=score, residual_scale=scale) for score, scale in ((0.6, 0.0), (0.45, 0.25))]
    records = by_name(*joint, made(), made(residual_scale=0.25), made("se", score=0.1), made(residual_scale=1.0))
    told = "had +10.0 points at γ = 0 and −5.0 points at γ = ¼ on SynthPed"
    assert told in shown.joint_loss_in_words(records)


def test_gains_are_over_the_first_run() -> None:
    table = shown.first_table([made(score=0.3), made("se", score=0.36), made(loss="ce+tri", score=0.1)])
    assert table["Gain"].tolist() == ["–", "+6.00", "−20.00"]
    assert table["Triplet loss"].tolist()[2] == 0.31


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["none", "se", "eca"], "From this start nobody has run it"),
        (["none", "se", "eca", "half"], r"SE gained 0\.0 .* the constant 0\.0\."),
    ],
)
def test_the_constant_gate_is_told_of_where_it_was_run(rows: list[str], words: str) -> None:

    assert re.search(words, shown.gates_in_words([made(row) for row in rows]))


def test_the_joint_loss_from_another_start_is_told_where_it_was_run(
    monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord
) -> None:
    plans = {"toy": Profile.read("synthped")}
    monkeypatch.setattr(shown, "runs_of", lambda plan, system: {"se/ce": [make_record("se", seed=s) for s in range(4)]})
    monkeypatch.setattr(shown, "find_record", lambda config: None)
    assert shown.other_start_in_words(plans) == ""

    def started(config: Any) -> Record:
        assert config.residual_scale == 0.25
        return make_record(loss=config.loss, seed=config.seed, quality=0.5 if config.loss == "ce" else 0.8)

    monkeypatch.setattr(shown, "find_record", started)
    told = shown.other_start_in_words(plans)
    assert told.startswith("Tested whole, from branches that start at ¼, it has +")
    assert told.endswith(" on toy, three seeds.")
