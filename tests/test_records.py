import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reidkit.records import (
    Record,
    RecordError,
    compare,
    origin,
    provenance,
    publish,
    read_record,
    read_records,
    replace_record,
    write_record,
)


def write(directory: Path, **changes: Any) -> Record:
    values: dict[str, Any] = {
        "system": "joint-loss",
        "config": {"attention": "none", "seed": 0},
        "metrics": {"mAP": 0.25, "rank-1": 0.5},
        "history": pd.DataFrame({"epoch": [1, 2], "total": [3.0, 2.0]}),
        "queries": pd.DataFrame(
            {"query": ["a.jpg", "b.jpg"], "average_precision": [0.25, math.nan], "first_match_rank": [1, 0]}
        ),
        "provenance": provenance(seed=0, data="abc"),
    }
    return write_record(directory, **(values | changes))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = write(tmp_path / "run")
    again = read_record(tmp_path / "run")
    assert again.name == "run"
    assert again.config == record.config
    assert again.metrics == {"mAP": 0.25, "rank-1": 0.5}
    pd.testing.assert_frame_equal(again.history, record.history)
    assert math.isnan(again.queries["average_precision"][1])
    assert {"commit", "dirty", "versions", "created", "seed", "data"} <= again.provenance.keys()
    assert again.provenance["versions"]["torch"]


def test_code_without_a_checkout_is_of_the_commit_that_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("REIDKIT_COMMIT", commit)
    assert origin()["commit"] not in (None, commit)  # here git knows better
    monkeypatch.setattr("reidkit.records._git", lambda *_: None)
    assert origin() == {"commit": commit, "dirty": False}
    assert provenance(seed=1)["commit"] == commit
    monkeypatch.setenv("REIDKIT_COMMIT", f"{commit}-dirty")
    assert origin() == {"commit": commit, "dirty": True}
    for said in ("main", commit[:7], f"{commit}-clean"):
        monkeypatch.setenv("REIDKIT_COMMIT", said)
        with pytest.raises(RecordError, match=f"REIDKIT_COMMIT={said}: expected 40 hexadecimal digits"):
            origin()
    monkeypatch.delenv("REIDKIT_COMMIT")
    assert origin() == {"commit": None, "dirty": None}


def test_a_folder_made_ready_for_the_record_is_filled(tmp_path: Path) -> None:
    """Snakemake makes the folders of its outputs."""
    (tmp_path / "run").mkdir()
    assert write(tmp_path / "run").metrics["mAP"] == 0.25


def test_an_old_record_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "run")
    with pytest.raises(RecordError, match="is there already"):
        write(tmp_path / "run", metrics={"mAP": 0.9})
    assert read_record(tmp_path / "run").metrics["mAP"] == 0.25


def test_tables_that_lost_their_record_are_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    """As Snakemake leaves them, which removes the `record.json` of a run whose end it did not see."""
    write(tmp_path / "run")
    (tmp_path / "run" / "record.json").unlink()
    (tmp_path / "run" / "of-before.csv").write_text("a\n1\n")
    assert write(tmp_path / "run", metrics={"mAP": 0.9}).metrics["mAP"] == 0.9
    assert not (tmp_path / "run" / "of-before.csv").exists()
    (tmp_path / "run" / "record.json").rename(tmp_path / "run" / "notes.txt")
    with pytest.raises(RecordError, match="is there already"):
        write(tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").exists()


def test_a_metric_that_is_not_finite_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="mAP"):
        write(tmp_path / "run", metrics={"mAP": math.nan})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reidkit.records._write", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    assert read_records(tmp_path) == []


@pytest.mark.parametrize("file", ["queries.csv", "history.csv"])
def test_an_altered_file_is_noticed(tmp_path: Path, file: str) -> None:
    write(tmp_path / "run")
    path = tmp_path / "run" / file
    path.write_text(path.read_text().replace("0.25", "0.6").replace("2.0", "1.0"))
    with pytest.raises(RecordError, match=f"{file}: missing or altered"):
        read_record(tmp_path / "run")


def test_a_truncated_record_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "run")
    path = tmp_path / "run" / "record.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(RecordError, match="not valid JSON"):
        read_record(tmp_path / "run")
    with pytest.raises(RecordError, match="no such record"):
        read_record(tmp_path / "elsewhere")


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "run")
    path = tmp_path / "run" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(RecordError, match="format 99"):
        read_record(tmp_path / "run")


def test_half_written_records_are_not_listed_and_the_first_folder_wins(tmp_path: Path) -> None:
    write(tmp_path / "working" / "run")
    write(tmp_path / "published" / "run", metrics={"mAP": 0.9})
    write(tmp_path / "published" / "other")
    (tmp_path / "working" / ".run.1.partial").mkdir()
    (tmp_path / "working" / ".run.1.partial" / "record.json").write_text("{")
    found = read_records(tmp_path / "working", tmp_path / "published", tmp_path / "nowhere")
    assert [record.name for record in found] == ["other", "run"]
    assert found[1].metrics["mAP"] == 0.25


def test_compare_names_the_metric_that_moved(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", metrics={"mAP": 0.26, "rank-1": 0.5})
    assert [(d.metric, d.within) for d in compare(first, second)] == [("mAP", False), ("rank-1", True)]
    assert all(d.within for d in compare(first, second, tolerance=0.011))


def test_only_like_is_compared_with_like(tmp_path: Path) -> None:
    first = write(tmp_path / "a")
    second = write(tmp_path / "b", config={"attention": "cbam", "seed": 0})
    with pytest.raises(RecordError, match="attention: 'none' / 'cbam'"):
        compare(first, second)


def test_records_that_share_no_metric_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="share no metric"):
        compare(write(tmp_path / "a"), write(tmp_path / "b", metrics={"accuracy": 0.5}))


def test_an_interrupted_replacement_leaves_the_record_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, rename = write(tmp_path / "run"), Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if target == record.directory and self.name == record.name:  # the second of the two renames
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            replace_record(record, {"mAP": 0.75}, record.provenance, {})
    assert read_record(record.directory).metrics == {"mAP": 0.25, "rank-1": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    replaced = replace_record(record, {"mAP": 0.75}, record.provenance, {})
    assert replaced.metrics == {"mAP": 0.75}
    pd.testing.assert_frame_equal(replaced.queries, record.queries)


CLEAN = {"commit": "0123456789", "dirty": False, "data": "abc", "versions": {}}


def test_a_record_that_can_be_repeated_is_published_once_and_alike(tmp_path: Path) -> None:
    record = write(tmp_path / "records" / "run", provenance=CLEAN)
    (tmp_path / "published").mkdir()
    for _ in range(2):  # a second time changes nothing
        copy = publish(record, tmp_path / "published")
        assert copy.directory == tmp_path / "published" / "run"
        for file in ("record.json", "history.csv", "queries.csv"):
            assert (copy.directory / file).read_bytes() == (record.directory / file).read_bytes()
    assert [path.name for path in (tmp_path / "published").iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"commit": None}, "does not say of which commit"),
        ({"dirty": True}, "uncommitted changes"),
        ({"dirty": None}, "uncommitted changes"),
        ({"data": ""}, "does not say which data"),
    ],
)
def test_a_record_of_unknown_origin_is_not_published(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    record = write(tmp_path / "records" / "run", provenance=CLEAN | changed)
    (tmp_path / "published").mkdir()
    with pytest.raises(RecordError, match=message):
        publish(record, tmp_path / "published")
    assert not list((tmp_path / "published").iterdir())


def test_a_record_whose_score_does_not_follow_is_not_published(tmp_path: Path) -> None:
    record = write(tmp_path / "records" / "run", provenance=CLEAN, metrics={"mAP": 0.99})
    (tmp_path / "published").mkdir()
    with pytest.raises(RecordError, match="its mAP is 0.99, but that of its queries 0.250000: it was altered"):
        publish(record, tmp_path / "published")


def test_pictures_and_other_records_of_the_name_are_not_published(tmp_path: Path) -> None:
    record = write(tmp_path / "records" / "run", provenance=CLEAN)
    other = write(tmp_path / "published" / "run", provenance=CLEAN | {"data": "def"})
    (record.directory / "query.jpg").write_bytes(b"")
    with pytest.raises(RecordError, match=r"holds query.jpg(.|\n)*another record of this name"):
        publish(record, tmp_path / "published")
    assert read_record(other.directory).provenance["data"] == "def"
