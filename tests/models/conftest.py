import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def one_block_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ResNet of four blocks where all sixteen would only show the same again, and slowly."""
    monkeypatch.setattr("reidkit.models.backbone.EVERY_BLOCK", (1, 1, 1, 1))
