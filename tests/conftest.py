"""What many tests share: a place of its own for everything that runs make, and one small rendered data set."""

import os
from pathlib import Path

import pytest
import torch

from reidkit.data.synthped import render

# Tests run side by side (pytest -n): threads of torch that wait for one another would stall them all.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start


FIRST = ("test_slurm.py", "test_book.py")  # one waits for a cluster, the other builds a book meanwhile
LAST = ("test_browser.py", "test_chapters.py", "test_pdf.py")  # which these read, the longest first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate((*FIRST, "", *LAST))}
    items.sort(key=lambda item: order.get(item.path.name, order[""]))


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty build folder, which runs and records of the test go to."""
    monkeypatch.setenv("REIDKIT_BUILD", str(tmp_path / "build"))
    return tmp_path / "build"


@pytest.fixture(scope="session")
def synthped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rendered people, and fewer pictures of others than usual, in Market-1501's layout."""
    root = tmp_path_factory.mktemp("data") / "synthped"
    people = {"train_identities": 8, "test_identities": 4, "distractors": 20, "junk": 10}
    return render(root, "market-like", seed=0, **people, progress=False)


@pytest.fixture
def one_block_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ResNet of four blocks where all sixteen would only show the same again, and slowly."""
    monkeypatch.setattr("reidkit.models.backbone.EVERY_BLOCK", (1, 1, 1, 1))
