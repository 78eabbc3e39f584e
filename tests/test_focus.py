"""Where a network's features come from: maps that are what it pools with, and a record's measures of them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from reidkit.focus import SEGMENTS
from reidkit.models.pooling import average, stripes
from reidkit.profile import Profile
from reidkit.runs import run
from reidkit.systems import build_network
from reidkit.systems.pan import sample, window
from reidkit.systems.pcb import pool_parts
from reidkit.systems.system import Focused


def focused(row: str, **settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    network = build_network(row, 4, width_multiplier=0.125, **settings).eval()
    assert isinstance(network, Focused)
    return network


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 72, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("one_block_a_stage")
@pytest.mark.parametrize("count", [3, 4])
def test_pcbs_stripes_are_pooled_under_its_focus(count: int) -> None:
    network = focused("pcb", stripes=count)
    with torch.no_grad():
        maps, focus = network.backbone(images()), network.focus(images())
    assert focus.shape == (2, count, *maps.shape[2:])
    pooled = torch.einsum("nchw,nkhw->nck", maps, focus) / maps.shape[3]
    torch.testing.assert_close(pooled, stripes(maps, count))


@pytest.mark.usefixtures("one_block_a_stage")
def test_refined_parts_and_regions_share_every_place() -> None:
    refined, vpm = focused("pcb+rpp", stripes=3), focused("vpm", regions=3)
    with torch.no_grad():
        for network in (refined, vpm):
            total = network.focus(images()).sum(1)
            torch.testing.assert_close(total, torch.ones_like(total))
        parts = pool_parts(refined.backbone(images()), refined.focus(images()))
        expected = torch.nn.functional.normalize(parts).flatten(1)
        torch.testing.assert_close(refined(images()), expected)
        visibility = vpm(images()).unflatten(1, (3, -1))[..., -1]
        torch.testing.assert_close(vpm.focus(images()).sum((2, 3)), visibility)


def test_pans_window_is_what_is_sampled() -> None:
    half = torch.tensor([[[0.5, 0, -0.5], [0, 0.5, 0.5]]])  # the lower left quarter
    expected = torch.zeros(1, 1, 8, 4)
    expected[..., 4:, :2] = 1
    assert torch.equal(window(half, 8, 4), expected)
    marks = torch.where(expected > 0, 1.0, 5.0)
    assert sample(marks, half)[..., 1:-1, 1:-1].eq(1).all()  # at its border it mixes in a neighbour
    turned = torch.tensor([[[0.0, 1, 0], [-1, 0, 0]]])
    assert window(turned, 6, 6).eq(1).all()


@pytest.mark.usefixtures("one_block_a_stage")
def test_pan_looks_at_the_middle_at_first() -> None:
    network = focused("pan")
    with torch.no_grad():
        assert average(network.focus(images()), 2, 3).flatten().tolist() == pytest.approx([0.64] * 2, abs=0.06)


@pytest.mark.usefixtures("build", "one_block_a_stage")
def test_a_record_tells_where_features_come_from(synthped: Path) -> None:
    profile = Profile.read("smoke", data_root=synthped, systems={"pcb": {"settings": {"stripes": 2}}, "joint-loss": {}})
    config = profile.config("pcb")
    record = run(config, progress=False).record
    focus, shares = record.table("focus"), record.table("shares")
    assert set(focus["segment"]) == set(SEGMENTS)
    assert focus["feature"].unique().tolist() == [1, 2]
    assert shares["query"].equals(record.queries["query"])
    assert shares[["1", "2"]].to_numpy() == pytest.approx(16 / config.image_height)  # a stripe's rows add up to one
    energy = focus.query("measure == 'energy'").pivot(index="segment", columns="feature", values="map")
    assert energy.loc["head", 1] > energy.loc["head", 2]
    assert energy.loc["shoes", 2] > energy.loc["shoes", 1]
    assert "focus" not in run(profile.config("none/ce"), progress=False).record.tables
