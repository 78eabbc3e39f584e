"""What the chapters on one's own parts and pictures count and type."""

from pathlib import Path

import pytest
import torch

from reidkit.data import Dataset, Split, load_dataset
from reidkit.report.chapters.extend import Workshop, beside, first_right
from tests.report.conftest import MakeRecord


def split(ids: list[int], cameras: list[int]) -> Split:
    paths = tuple(Path(f"{number}.jpg") for number in range(len(ids)))
    return Split(paths, torch.tensor(ids), torch.tensor(cameras))


def test_first_right_leaves_out_strangers_then_pictures_of_the_same_camera() -> None:
    """A query at 0 degrees; its own of one camera at 10, a stranger at 20, somebody at 30, its own of another at 40."""
    degrees = torch.tensor([0.0, 10.0, 20.0, 30.0, 40.0]).deg2rad()
    features = torch.stack([degrees.cos(), degrees.sin()], 1)
    gallery = split([1, 0, 2, 1], [1, 2, 2, 2])
    dataset = Dataset("synthped", Path(), gallery, split([1], [1]), gallery, None)
    found = first_right(dataset, features[:1], features[1:])
    assert found["First is right"].tolist() == [100, 0, 0]
    assert found["By chance"].tolist() == pytest.approx([200 / 3, 50, 100 / 3])
    assert "3 pictures" in found.loc[0, "Searched among"]
    assert "4 pictures" in found.loc[2, "Searched among"]


def test_rows_stand_beside_the_first(make_record: MakeRecord) -> None:
    base, other = make_record(), make_record("se", quality=0.7)
    for record in (base, other):
        record.provenance["seconds"]["training"] = 2.0
    shown = beside(base, other)
    assert shown["Row"].tolist() == ["`none/ce`", "`se/ce`"]
    assert shown.loc[0, "Gain"] == shown.loc[0, "95 % interval"] == ""
    assert shown.loc[1, "Gain"] == f"{100 * (other.metrics['mAP'] - base.metrics['mAP']):+.2f}"


def test_a_terminal_prints_what_a_command_says_and_tells_of_one_that_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, synthped: Path
) -> None:
    monkeypatch.setattr(
        "reidkit.report.chapters.extend.open_dataset", lambda *_, **__: load_dataset("synthped", synthped)
    )
    workshop = Workshop()
    workshop.terminal("reidkit data check synthped people")
    assert "nothing is wrong" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="nowhere"):
        workshop.terminal("reidkit data check own nowhere")
    workshop.terminal("reidkit runs --format csv")  # of its own build folder, and the published ones
    assert "finished" not in capsys.readouterr().out
