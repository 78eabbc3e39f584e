from pathlib import Path

import pytest

from reidkit.records import write_record
from reidkit.report import repetitions as shown


def record(folder: Path, name: str, **metrics: float) -> None:
    made = {"device": "CPU, 1 thread, fp32", "commit": "0" * 40, "data": "0" * 64}
    write_record(folder / name, system="joint-loss", config={"epochs": 10}, metrics=metrics, provenance=made)


def test_what_was_trained_again_stands_beside_what_is_published(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "record_roots", lambda: (build / "records", tmp_path))
    assert shown.repetitions_in_words(shown.repetitions()).startswith("None was repeated")
    record(tmp_path, "synthped-none-ce-seed0-11111111", mAP=0.521)
    record(tmp_path, "synthped-attributes-seed0-22222222", accuracy=0.9)
    record(tmp_path, "synthped-se-ce-seed0-33333333", mAP=0.6)  # not repeated
    record(build / "repeated", "synthped-none-ce-seed0-11111111", mAP=0.5185)
    record(build / "repeated", "synthped-attributes-seed0-22222222", accuracy=0.9)
    record(build / "repeated", "synthped-eca-ce-seed0-44444444", mAP=0.6)  # not published
    found = shown.repetitions()
    table = shown.repetition_table(found)
    assert table["epochs"].tolist() == [10, 10]
    assert table["metric"].tolist() == ["accuracy", "mAP"]
    assert table["here"].tolist() == pytest.approx([90.0, 51.85])
    assert table["moved by"].tolist() == ["0.00", "−0.25"]
    words = shown.repetitions_in_words(found)
    assert words.startswith("2 published runs were trained once more")
    assert "51.85 against 52.10 (mAP, {doc}`11111111 <runs/synthped-none-ce-seed0-11111111>`)" in words
