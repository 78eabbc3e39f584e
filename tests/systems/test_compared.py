"""The compared systems: what all of them must do, and what each one's article or its authors' code says it is."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.data.resident import Draw
from reidkit.models.pooling import stripes
from reidkit.systems import ROWS
from reidkit.systems.bfe import BFE, BFEConfig, drop_stripe
from reidkit.systems.circle import CircleConfig
from reidkit.systems.circle import build as build_circle
from reidkit.systems.ianet import ChannelIA, IANet, IANetConfig, SpatialIA
from reidkit.systems.osnet import OSNet, OSNetConfig
from reidkit.systems.pcb import PCB, PCBConfig
from reidkit.systems.system import Batch, Classes, Model
from reidkit.training import Batch as Step

COMPARED = [row for row, system in ROWS.items() if system.name not in {"joint-loss", "attributes", "san-gal"}]


def small(row: str, **changed: object) -> Model:
    system = ROWS[row]
    values = {"width_multiplier": 0.125, "residual_scale": 0.0, **system.rows[row], **changed}
    return system.build(system.configuration.model_validate(values), Classes(4, ()))


def batch(images: Tensor, labels: Tensor) -> Batch:
    count = len(images)
    draw = Draw(torch.zeros(count).bool(), torch.zeros(count, 2).long(), torch.zeros(count, 4).long())
    return Batch(images, labels, None, {}, Step(images, labels[:, None], torch.arange(count), draw, 0.0))


LABELS = torch.arange(4).repeat_interleave(2)


@pytest.mark.usefixtures("one_block_a_stage")
@pytest.mark.parametrize("row", COMPARED)
@pytest.mark.parametrize("size", [(128, 64), (72, 40)])
def test_sizes_and_half_precision(row: str, size: tuple[int, int]) -> None:
    network = small(row).to(memory_format=torch.channels_last)
    images = torch.randn(8, 3, *size).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        losses = network.train().losses(batch(images, LABELS))
    losses["total"].backward()
    assert all(value.isfinite() for value in losses.values())
    for name, parameter in network.named_parameters():
        assert not parameter.requires_grad or parameter.grad.isfinite().all(), name
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embedding = network(images)
    assert embedding.dtype == torch.float32
    assert embedding.isfinite().all()


@pytest.mark.usefixtures("one_block_a_stage")
@pytest.mark.parametrize("row", COMPARED)
def test_four_people_are_learnt_by_heart(row: str) -> None:
    network = small(row)
    people = torch.randn(4, 3, 8, 4)
    images = F.interpolate(people, (64, 32)).repeat_interleave(2, 0) + 0.3 * torch.randn(8, 3, 64, 32)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 3e-3)
    first = None
    for _ in range(30):
        terms = network.train().losses(batch(images, LABELS))
        first = first or terms["total"].item()
        optimizer.zero_grad()
        terms["total"].backward()
        optimizer.step()
    assert terms["accuracy"] == 1
    assert terms["total"].item() < 0.7 * first


@pytest.mark.parametrize(
    ("network", "millions"),
    [
        (lambda: PCB(751, PCBConfig()), 25.19),
        (lambda: BFE(751, BFEConfig()), 32.28),
        (lambda: IANet(751, IANetConfig()), 25.06),
        *((lambda m=m: OSNet(1, OSNetConfig(width_multiplier=m)), c + 513e-6)
          for m, c in ((1.0, 2.1695), (0.75, 1.2858), (0.5, 0.6300), (0.25, 0.2019))),
    ],
)  # fmt: skip
def test_full_networks_have_the_published_number_of_parameters(network: object, millions: float) -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in network().parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.005 if millions > 10 else 0.0001)


def copied(source: nn.Module, target: nn.Module) -> None:
    """Fills `target` with the state of `source`, whose entries come in the same order."""
    values = [value for name, value in source.state_dict().items() if not name.startswith("classifier")]
    state = {name: value for name, value in target.state_dict().items() if not name.startswith("classifier")}
    assert len(values) == len(state)
    target.load_state_dict(
        {name: value.view(own.shape) for (name, own), value in zip(state.items(), values, strict=True)}, strict=False
    )


def shaken(network: nn.Module) -> nn.Module:
    """With parameters and statistics that are all at work."""
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if "running_var" in name or (value.ndim == 1 and name.endswith("weight")):
                value.uniform_(0.5, 1.5)
            elif "running_mean" in name or name.endswith("bias"):
                value.normal_(std=0.1)
    return network.eval()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_osnet_is_torchreids() -> None:
    from torchreid.reid.models.osnet import osnet_x0_25

    theirs = shaken(osnet_x0_25(3, pretrained=False))
    ours = OSNet(3, OSNetConfig(width_multiplier=0.25)).eval()
    copied(theirs, ours)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pcb_is_torchreids() -> None:
    from torchreid.reid.models.pcb import pcb_p4

    theirs = shaken(pcb_p4(3, pretrained=False))
    ours = PCB(3, PCBConfig(stripes=4)).eval()
    copied(theirs, ours)
    images = torch.randn(1, 3, 96, 32)  # maps of six rows, which four stripes do not divide
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images).flatten(1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("height", "count"), [(24, 6), (8, 6), (4, 4), (4, 6), (5, 2)])
def test_stripes_are_pytorchs_adaptive_pooling(height: int, count: int) -> None:
    maps = torch.randn(2, 3, height, 4)
    torch.testing.assert_close(stripes(maps, count), F.adaptive_avg_pool2d(maps, (count, 1)).squeeze(3))


@pytest.mark.parametrize(("height", "dropped"), [(6, 2), (8, 3), (16, 5), (24, 8)])
def test_bfe_drops_one_stripe_of_a_whole_batch_anywhere(height: int, dropped: int) -> None:
    tops = set()
    for _ in range(50):
        maps = drop_stripe(torch.ones(2, 3, height, 4), 0.33)
        assert torch.equal(maps, maps[:1, :1, :, :1].expand_as(maps))
        rows = (maps[0, 0, :, 0] == 0).nonzero()[:, 0].tolist()
        assert rows == list(range(rows[0], rows[0] + dropped))
        tops.add(rows[0])
    assert min(tops) == 0
    assert max(tops) == height - dropped


def test_bfe_drops_nothing_in_evaluation_and_compares_unscaled_features() -> None:
    network = small("bfe").eval()
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))
    assert BFEConfig().metric == "euclidean"


def test_ianets_second_softmax_is_uniform_whatever_the_features() -> None:
    """The finding of the chapter: at 16×8 places no weight is off the mean by more than 1.6 per cent."""
    x = F.relu(torch.randn(2, 64, 16, 8))
    published, meant = (SpatialIA(64, reading).weights(5 * x) for reading in ("softmax", "normalised"))
    assert ((published * 128 - 1).abs() < 0.016).all()
    assert (meant * 128).max() > 10
    torch.testing.assert_close(meant.sum(2), torch.ones(2, 128))
    published, meant = (ChannelIA(64, reading).weights(x) for reading in ("softmax", "normalised"))
    assert published.diagonal(dim1=1, dim2=2).min() > 0.999
    assert meant.diagonal(dim1=1, dim2=2).mean() < 0.6


def test_ianets_blocks_start_as_the_identity_and_have_no_convolution() -> None:
    block = nn.Sequential(SpatialIA(512, "softmax"), ChannelIA(512, "softmax"))
    assert sum(parameter.numel() for parameter in block.parameters()) == 2048
    x = torch.randn(2, 512, 8, 4)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("interaction", ["softmax", "normalised"])
def test_ianets_spatial_weights_place_by_place(interaction: str) -> None:
    x = torch.randn(1, 4, 3, 2)
    places = [(row, column) for row in range(3) for column in range(2)]
    for i, (row, column) in enumerate(places):
        alike = torch.stack([x[0, :, row, column] @ x[0, :, r, c] / 4**0.5 for r, c in places]).softmax(0)
        sigma_y, sigma_x = 0.625 * 3, 0.625 * 2
        near = [-((r - row) ** 2) / (2 * sigma_y**2) - (c - column) ** 2 / (2 * sigma_x**2) for r, c in places]
        product = alike * torch.tensor(near).softmax(0)
        expected = product.softmax(0) if interaction == "softmax" else product / product.sum()
        torch.testing.assert_close(SpatialIA(4, interaction).weights(x)[0, i], expected)


def test_the_circle_classifier_has_its_authors_constants() -> None:
    classifier = build_circle(CircleConfig(width_multiplier=0.125), Classes(3, ())).classifier
    logits = classifier.logits(torch.tensor([[0.5, 0.2, -0.4]]), [0])
    torch.testing.assert_close(logits, torch.tensor([[-24.0, -2.88, 0.0]]), rtol=0, atol=1e-4)
    assert F.cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(24.05462, abs=1e-4)
