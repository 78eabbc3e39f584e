"""The compared systems: what all of them must do, and what each one's article or its authors' code says it is."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.data import AttributeGroup, DatasetError, load_dataset
from reidkit.data.decoding import read_image
from reidkit.data.part_maps import PartMaps
from reidkit.data.resident import Draw, ResidentImages
from reidkit.data.samplers import IdentitySampler
from reidkit.data.synthped import PARTS
from reidkit.models.backbone import ResNet50
from reidkit.models.pooling import stripes
from reidkit.profile import Profile
from reidkit.runs import run
from reidkit.settings import Settings
from reidkit.systems import ROWS
from reidkit.systems.aligned_reid import aligned_distances, shortest_path
from reidkit.systems.bfe import BFE, BFEConfig, drop_stripe
from reidkit.systems.circle import MGN, CircleConfig
from reidkit.systems.circle import build as build_circle
from reidkit.systems.dare import DaRe, DaReConfig
from reidkit.systems.dpfl import consensus_loss
from reidkit.systems.duatm import DuATMConfig, decorrelation_loss, refine, sequence_distances
from reidkit.systems.gp_reid import GPReIDConfig, squared_triplet_loss
from reidkit.systems.ianet import ChannelIA, IANet, IANetConfig, SpatialIA
from reidkit.systems.osnet import OSNet, OSNetConfig
from reidkit.systems.pan import sample
from reidkit.systems.pcb import PCB, PCBConfig, pool_parts
from reidkit.systems.spreid import MASKS, pool_masks
from reidkit.systems.svdnet import SVDNet, SVDNetConfig, decorrelated, orthogonality
from reidkit.systems.system import Batch, Classes, Model
from reidkit.systems.vpm import VPMConfig, cut, region_distances, region_of_rows, visibility_and_features
from reidkit.training import Batch as Step
from reidkit.training import Training, train

COMPARED = [row for row, system in ROWS.items() if system.name not in {"joint-loss", "attributes", "san-gal"}]


GROUPS = (AttributeGroup("hat", ("no", "yes"), ("hat",)), AttributeGroup("colour", ("none", "red", "blue"), ("r", "b")))


def small(row: str, **changed: object) -> Model:
    system = ROWS[row]
    values = {"width_multiplier": 0.125, "residual_scale": 0.0, **system.rows[row], **changed}
    config = system.configuration.model_validate(values)
    return system.build(config, Classes(4, GROUPS if "attributes" in config.needs else ()))


def part_maps(count: int) -> dict[str, Tensor]:
    return {"parts": torch.rand(count, len(PARTS), 16, 8, generator=torch.Generator().manual_seed(0))}


def batch(images: Tensor, labels: Tensor) -> Batch:
    count = len(images)
    draw = Draw(torch.zeros(count).bool(), torch.zeros(count, 2).long(), torch.zeros(count, 4).long())
    step = Step(images, labels[:, None], torch.arange(count), draw, 0.0)
    return Batch(images, labels, torch.stack([labels % 2, labels % 3], 1), part_maps(count), step)


LABELS = torch.arange(4).repeat_interleave(2)


@pytest.mark.usefixtures("one_block_a_stage")
@pytest.mark.parametrize("row", COMPARED)
@pytest.mark.parametrize("size", [(128, 64), (72, 40)])
def test_sizes_and_half_precision_in_every_stage(row: str, size: tuple[int, int]) -> None:
    network = small(row).to(memory_format=torch.channels_last)
    images = torch.randn(8, 3, *size).to(memory_format=torch.channels_last)
    for stage in network.stages():
        stage.enter()
        stage.set_modes(network)
        with torch.autocast("cpu", torch.bfloat16):
            losses = network.losses(batch(images, LABELS))
        losses["total"].backward()
        assert all(value.isfinite() for value in losses.values())
    for name, parameter in network.named_parameters():
        assert not parameter.requires_grad or parameter.grad.isfinite().all(), name  # in one stage or another
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embedding = network(images, *([part_maps(8)] if row == "spreid" else []))
    assert embedding.dtype == torch.float32
    assert embedding.isfinite().all()


@pytest.mark.usefixtures("one_block_a_stage")
@pytest.mark.parametrize("row", COMPARED)
def test_four_people_are_learnt_by_heart(row: str) -> None:
    harder = {"triplet_margin": 2.0} if row == "gp-reid" else {}  # its own is kept by four people from the start
    network = small(row, **harder)
    people = torch.randn(4, 3, 8, 4)
    images = F.interpolate(people, (64, 32)).repeat_interleave(2, 0) + 0.3 * torch.randn(8, 3, 64, 32)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 3e-3)
    totals = []
    for _ in range(30):
        terms = network.train().losses(batch(images, LABELS))
        totals.append(terms["total"].item())
        optimizer.zero_grad()
        terms["total"].backward()
        optimizer.step()
    assert terms.get("accuracy", 1) > 0.9  # DaRe and GP-reid's last stage classify nothing
    assert sum(totals[-3:]) < 0.7 * sum(totals[:3])


@pytest.mark.usefixtures("one_block_a_stage")
@pytest.mark.parametrize("row", ["pcb+rpp", "svdnet", "pan", "gp-reid", "spreid/predicted"])
def test_a_run_is_resumed_across_the_border_of_a_stage(row: str, tmp_path: Path) -> None:
    settings = Settings(image_height=32, image_width=16, epochs=10, batch_size=8, learning_rate=1e-3, warmup_epochs=1)
    labels = torch.arange(16) // 4
    images = ResidentImages([], settings.size)
    images.pixels = torch.randint(256, (16, 3, 32, 16), generator=torch.Generator().manual_seed(0)).byte()

    def trained(directory: Path, until: int = 100) -> tuple[Training, dict[str, Tensor]]:
        network, steps = small(row), 0

        def losses(step: Step) -> Mapping[str, Tensor]:
            nonlocal steps
            if steps == until:
                raise InterruptedError
            steps += 1
            return network.losses(Batch(step.images, step.labels, None, part_maps(len(step.images)), step))

        done = train(network, losses, images, labels, IdentitySampler(labels, 2, 4), settings, seed=1, identity={},
                     directory=directory, stages=network.stages(), checkpoint_seconds=0, progress=False)  # fmt: skip
        return done, network.state_dict()

    whole, weights = trained(tmp_path / "whole")
    steps = len(whole.history) * 2
    with pytest.raises(InterruptedError):
        trained(tmp_path / "cut", steps - 9)  # before the last border, and again behind it
    with pytest.raises(InterruptedError):
        trained(tmp_path / "cut", 7)
    resumed, again = trained(tmp_path / "cut")
    pd.testing.assert_frame_equal(whole.history, resumed.history, check_exact=True)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.parametrize(
    ("network", "millions"),
    [
        (lambda: PCB(751, PCBConfig()), 25.19),
        (lambda: BFE(751, BFEConfig()), 32.28),
        (lambda: IANet(751, IANetConfig()), 25.06),
        (lambda: SVDNet(751, SVDNetConfig()), 26.37),
        (lambda: DaRe(DaReConfig()), 27.98),
        (lambda: MGN(751, CircleConfig()), 70.35),
        *((lambda m=m: OSNet(1, OSNetConfig(width_multiplier=m)), c + 513e-6)
          for m, c in ((1.0, 2.1695), (0.75, 1.2858), (0.5, 0.6300), (0.25, 0.2019))),
    ],
)  # fmt: skip
def test_full_networks_have_the_published_number_of_parameters(network: object, millions: float) -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in network().parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.005 if millions > 10 else 0.0001)


@pytest.mark.usefixtures("one_block_a_stage")
@pytest.mark.parametrize(
    ("row", "heads"),
    [
        ("dpfl", 2 * (256 + 1) * 4 + (512 + 1) * 4),
        ("gp-reid", (256 + 2) * 256 + (256 + 1) * 4),
        ("duatm", (256 + 2) * 16 + (16 + 2) * 16 + 2 * 16 + 16 * 4),
    ],
)
def test_beside_its_backbones_a_network_has_the_layers_that_it_names(row: str, heads: int) -> None:
    network = small(row)
    backbones = [module for module in network.modules() if isinstance(module, ResNet50)]
    whole, *parts = (sum(p.numel() for p in module.parameters()) for module in (network, *backbones))
    assert len(parts) == (2 if row == "dpfl" else 1)
    assert whole - sum(parts) == heads


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


def test_refined_parts_by_hand() -> None:
    maps, shares = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2), torch.tensor([[0.7, 0.4], [0.3, 0.6]]).view(1, 2, 1, 2)
    torch.testing.assert_close(pool_parts(maps, shares), torch.tensor([[[1.9, 2.1]]]))
    maps = torch.randn(2, 5, 6, 3)
    alike = pool_parts(maps, torch.full((2, 4, 6, 3), 0.25))
    torch.testing.assert_close(alike, maps.mean((2, 3))[:, :, None].expand(-1, -1, 4))


def test_refinement_takes_the_place_of_stripes_from_its_second_stage_on() -> None:
    network = small("pcb+rpp").eval()
    images = torch.randn(2, 3, 64, 32)
    first, second, _ = network.stages()
    with torch.no_grad():
        built = network(images)
        first.enter()
        cut_up = network(images)
        second.enter()
        assert torch.equal(network(images), built)
        plain = PCB(4, PCBConfig(width_multiplier=0.125)).eval()
        plain.load_state_dict(network.state_dict(), strict=False)
        assert torch.equal(plain(images), cut_up)
    assert not torch.allclose(built, cut_up)
    assert set(second.learns) == {network.refine}


def test_svdnets_decorrelation_keeps_every_distance_and_makes_vectors_orthogonal() -> None:
    weight = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert orthogonality(weight).item() == pytest.approx(7 / 11)
    new = decorrelated(weight)
    assert new.norm(dim=1).sort().values.tolist() == pytest.approx([1.199353, 2.358294])
    assert orthogonality(new).item() == pytest.approx(1, abs=1e-6)
    apart = torch.tensor([1.0, 2.0, 3.0]) - torch.tensor([0.0, 1.0, -1.0])
    for vectors in (weight, new):
        assert (vectors @ apart).norm().item() == pytest.approx(40**0.5)


def test_svdnets_new_vectors_stand_where_the_old_ones_they_are_like_stood() -> None:
    orthogonal = torch.linalg.qr(torch.randn(9, 6))[0].T * torch.tensor([3.0, 1.0, 5.0, 2.0, 4.0, 6.0])[:, None]
    torch.testing.assert_close(decorrelated(orthogonal), orthogonal, rtol=1e-4, atol=1e-5)
    weight = torch.randn(8, 12)
    new = decorrelated(weight)
    assert (F.cosine_similarity(new, weight) > 0).all()
    inputs = torch.randn(5, 12)
    torch.testing.assert_close(torch.pdist(inputs @ new.T), torch.pdist(inputs @ weight.T))


@pytest.mark.parametrize(("row", "full"), [("pcb", 0.5), ("svdnet", 0.5), ("dpfl", 0.5), ("pan", 0.75)])
def test_a_narrow_network_drops_no_more_than_leaves_it_what_a_wide_one_has(row: str, full: float) -> None:
    def rate(width: float) -> float:
        dropout = small(row, width_multiplier=width).dropout
        return dropout.p if isinstance(dropout, nn.Dropout) else dropout

    assert rate(1.0) == full
    assert rate(0.25) == 0


def test_pan_sees_the_middle_at_first_and_the_whole_map_under_the_identity() -> None:
    maps = torch.randn(2, 3, 8, 4)
    identity = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(2, -1, -1)
    torch.testing.assert_close(sample(maps, identity), maps)
    network = small("pan")
    first, second = network.stages()
    first.enter()
    images, embedding = torch.randn(2, 3, 64, 32), network.backbone.out_channels
    assert network.eval()(images).shape == (2, embedding)
    second.enter()
    assert network(images).shape == (2, 2 * embedding)
    for stage, source in zip(network.align, ("layer2", "layer3", "layer4"), strict=True):
        expected = network.backbone.get_submodule(source).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in stage.state_dict().items())
    theta = network.transform(network.reduce(torch.randn(2, embedding))).view(2, 2, 3)
    torch.testing.assert_close(theta, torch.tensor([[0.8, 0, 0], [0, 0.8, 0]]).expand(2, -1, -1))


def test_vpms_visibility_features_and_distance_by_hand() -> None:
    maps = torch.tensor([1.0, 2.0, 4.0]).view(1, 1, 3, 1)
    shares = torch.tensor([[0.9, 0.5, 0.2], [0.1, 0.5, 0.8]]).view(1, 2, 3, 1)
    visibility, features = visibility_and_features(maps, shares)
    torch.testing.assert_close(visibility, torch.tensor([[1.6, 1.4]]))
    torch.testing.assert_close(features, torch.tensor([[[1.6875], [3.071429]]]))
    first = torch.tensor([[10.0, 0, 6]]), torch.tensor([[[0.0], [0], [0]]])
    second = torch.tensor([[8.0, 8, 2]]), torch.tensor([[[1.0], [5], [2]]])
    assert region_distances(first, second).item() == pytest.approx(1.130435)
    packed = [torch.cat([features, visible[:, :, None]], 2).flatten(1) for visible, features in (first, second)]
    metric = VPMConfig(regions=3).metric
    assert callable(metric)
    assert metric(*packed).item() == pytest.approx(1.130435)


def test_vpms_cut_pictures_know_what_they_show() -> None:
    rows = torch.linspace(0, 1, 64).view(1, 1, 64, 1).expand(20, 3, 64, 8)  # each pixel knows its height in the whole
    cut_up, top, height = cut(rows, 0.5)
    assert height.min() >= 0.5
    assert (top + height).max() <= 1
    region = region_of_rows(top, height, 4, 16)
    seen = cut_up[:, 0].unflatten(1, (16, 4)).mean((2, 3))  # (N, rows)
    clear = ((4 * seen) % 1 - 0.5).abs() < 0.45  # not at a border
    assert ((4 * seen).long() == region)[clear].all()
    whole = region_of_rows(torch.zeros(1), torch.ones(1), 4, 8)
    assert whole.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]


def test_aligned_reids_shortest_path_by_hand_and_against_all_paths() -> None:
    distances = torch.tensor([[[0.1, 0.9, 0.8], [0.2, 0.3, 0.7], [0.9, 0.4, 0.1]]])
    assert shortest_path(distances).item() == pytest.approx(1.1)
    first, second = torch.tensor([[[1.0, 0], [0, 1], [1, 1]]]), torch.tensor([[[0.0, 1], [1, 1], [0, 0]]])
    assert aligned_distances(first, second).item() == pytest.approx(1.679836, abs=1e-6)
    assert aligned_distances(first, first).item() == pytest.approx(1.070976, abs=1e-6)
    distances = torch.rand(3, 5, 5)
    paths = []
    for downs in itertools.combinations(range(8), 4):
        i = j = 0
        total = distances[:, 0, 0]
        for step in range(8):
            i, j = (i + 1, j) if step in downs else (i, j + 1)
            total = total + distances[:, i, j]
        paths.append(total)
    torch.testing.assert_close(shortest_path(distances), torch.stack(paths).amin(0))


def test_spreids_means_under_masks_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2], [3, 4]]]])
    masks = torch.tensor([[[[1.0, 0], [0, 1]], [[0, 0], [0.5, 1]], [[0, 0], [0, 0]]]])
    torch.testing.assert_close(pool_masks(maps, masks), torch.tensor([[[2.5], [5.5 / 1.5], [0.0]]]))
    finer = masks.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(pool_masks(maps, finer), pool_masks(maps, masks))
    assert {part for mask in MASKS.values() for part in mask} == set(PARTS) - {"background", "occluder"}


def test_spreids_parser_learns_the_parts_and_then_draws_the_masks_by_itself() -> None:
    network = small("spreid/predicted")
    where = torch.tensor([[0, 8], [2, 6]])  # parts by place: in the pictures, each has a colour
    colours = torch.randn(len(PARTS), 3, generator=torch.Generator().manual_seed(1))
    layouts = torch.stack([where, where.flip(0), where.flip(1), where.mT])
    images = F.interpolate(colours[layouts].permute(0, 3, 1, 2), (64, 32)).repeat_interleave(2, 0)
    shares = F.one_hot(layouts, len(PARTS)).permute(0, 3, 1, 2).float()
    maps = {"parts": F.interpolate(shares, (16, 8)).repeat_interleave(2, 0)}
    given = batch(images, LABELS)
    given = Batch(given.images, given.labels, None, maps, given.step)
    parse, identify = network.stages()
    parse.enter()
    parse.set_modes(network)
    optimizer = torch.optim.Adam(network.parser.parameters(), 3e-3)
    for _ in range(60):
        terms = network.losses(given)
        optimizer.zero_grad()
        terms["total"].backward()
        optimizer.step()
    assert terms["accuracy"] > 0.9
    identify.enter()
    assert set(identify.learns) == {network.backbone, network.classifier}
    network.eval()
    with torch.no_grad():
        drawn, true = network.focus(images), network.masks(F.interpolate(maps["parts"], (8, 4), mode="area"))
        assert (drawn - true).abs().mean() < 0.1
        assert torch.equal(network(images), network(images, part_maps(8)))


def test_part_maps_are_shares_of_the_stored_pixels(synthped: Path) -> None:
    images = load_dataset("synthped", synthped).query.paths[:3]
    maps = PartMaps(images)
    shares = maps[torch.tensor([2, 0])]["parts"]
    assert shares.shape == (2, len(PARTS), 16, 8)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 16, 8))
    stored = read_image(synthped / "parts" / "query" / f"{images[2].stem}.png")[0]
    assert shares[0, PARTS["upper"], 5, 3] == (stored[40:48, 24:32] == PARTS["upper"]).float().mean()
    with pytest.raises(DatasetError, match="elsewhere.*3 of 3 are missing"):
        PartMaps([synthped / "elsewhere" / "query" / image.name for image in images])


def test_a_run_that_needs_part_maps_reads_them(build: Path, synthped: Path) -> None:
    config = Profile.read("smoke", data_root=synthped, batch_size=8, systems={"spreid": {}}).config("spreid")
    assert 0 < run(config, progress=False).metrics["mAP"] <= 1


def test_aanets_attention_is_the_largest_scaled_map_of_the_predicted_classes() -> None:
    network = small("aanet", threshold=0.5)
    maps = torch.rand(2, network.backbone.out_channels, 4, 3)
    logits = [torch.tensor([[0.0, 1], [1, 0]]), torch.tensor([[0.0, 0, 1], [1, 0, 0]])]
    found = network.attention(maps, logits)
    for image, classes in enumerate(((1, 2), (0, 0))):
        scaled = []
        for linear, chosen in zip(network.classify_attributes, classes, strict=True):
            activation = (linear.weight[chosen].detach()[:, None, None] * maps[image]).sum(0)
            scaled.append((activation - activation.min()) / (activation.max() - activation.min()))
        expected = torch.stack(scaled).amax(0)
        torch.testing.assert_close(found[image, 0], expected * (expected >= 0.5), rtol=1e-4, atol=1e-5)


def test_dare_starts_with_the_mean_of_its_stages() -> None:
    network = small("dare").train()
    embeddings = network(torch.randn(4, 3, 64, 32))
    torch.testing.assert_close(embeddings[:, 4], embeddings[:, :4].mean(1))  # equal weights at first


def test_dpfls_branches_follow_the_consensus_and_not_it_them() -> None:
    teacher = torch.tensor([[0.7, 0.2, 0.1]]).log().requires_grad_()
    student = torch.tensor([[0.5, 0.3, 0.2]]).log().requires_grad_()
    loss = consensus_loss(teacher, student)
    assert loss.item() == pytest.approx(0.886941, abs=1e-6)
    loss.backward()
    torch.testing.assert_close(student.grad, torch.tensor([[0.5 - 0.7, 0.3 - 0.2, 0.2 - 0.1]]))
    assert teacher.grad is None


def test_dpfls_second_branch_sees_no_more_than_half_the_resolution() -> None:
    network = small("dpfl").eval()
    images = torch.randn(2, 3, 64, 32)
    coarse = F.avg_pool2d(images, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        (fine, half), (other, same) = (network(x).chunk(2, 1) for x in (images, coarse))
    torch.testing.assert_close(half, same, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(fine, other, rtol=1e-2)


def test_gp_reids_triplets_are_of_squared_distances_of_unit_vectors() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0], [-1.0, 0.0]])  # at 0°, 90°, 45° and 180°
    near, far = 2 - 2**0.5, 2 + 2**0.5  # of 45° and 135°, squared; of 90° it is 2
    excess = (2 - near, 2 - near, far - near, far - 2)  # of an image's own person over the other one
    expected = sum(0.1 + more for more in excess) / 4 / 2
    assert squared_triplet_loss(features, torch.tensor([0, 0, 1, 1]), 0.1).item() == pytest.approx(expected)
    assert GPReIDConfig().triplet_margin == 0.1


def test_gp_reid_first_classifies_and_then_compares() -> None:
    network = small("gp-reid").train()
    given = batch(torch.randn(8, 3, 64, 32), LABELS)
    first, second = network.stages()
    for stage, minimised in ((first, "cross-entropy"), (second, "triplet")):
        stage.enter()
        terms = network.losses(given)
        assert terms["total"] is terms[minimised]
    network.zero_grad()
    terms["total"].backward()
    assert all(parameter.grad is None for parameter in network.classifier.parameters())
    assert network.classifier not in second.learns
    embedding = network.eval()(given.images)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(8))


def test_duatms_distance_by_hand_and_place_by_place() -> None:
    first, second = (refine(x, x) for x in torch.tensor([[[[1.0, 0], [0, 1]]], [[[0.0, 2], [1, 1]]]]))
    assert sequence_distances(first, second).item() == pytest.approx(1.0)
    assert sequence_distances(first, first).item() == pytest.approx(0, abs=1e-6)

    values, queries = torch.randn(2, 3, 5, 4)  # three pictures of five places
    expected = torch.zeros(3, 3)
    for a, b in itertools.product(range(3), repeat=2):
        for one, other in ((a, b), (b, a)):
            for i in range(5):
                own, aligned = ((values[k] @ queries[one, i]).softmax(0) @ values[k] for k in (one, other))
                expected[a, b] += (own - aligned).norm() / 5 / 2
    torch.testing.assert_close(sequence_distances(*[refine(values, queries)] * 2), expected, rtol=1e-4, atol=1e-5)


def test_duatm_ranks_by_that_distance_a_few_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small("duatm").eval()
    with torch.no_grad():
        query, gallery = (network(torch.randn(n, 3, 64, 32)) for n in (7, 5))
        parts = [x.unflatten(1, (8, 32)) for x in (query, gallery)]  # 4×2 places, of 16 numbers twice
    whole = sequence_distances(*(refine(x[..., :16], x[..., 16:]) for x in parts))
    metric = DuATMConfig(width_multiplier=0.125).metric
    assert callable(metric)
    torch.testing.assert_close(metric(query, gallery), whole)
    monkeypatch.setattr("reidkit.systems.duatm._AT_ONCE", 2 * 5 * 8 * 16)
    torch.testing.assert_close(metric(query, gallery), whole)  # 2, 2, 2 and 1
    torch.testing.assert_close(metric(gallery, query).T, whole)


def test_duatms_decorrelation_is_the_mean_square_of_the_correlations() -> None:
    values = torch.randn(3, 4, 5) * torch.tensor([1.0, 2, 3, 4, 5]) + 7
    correlations = values.flatten(0, 1).T.corrcoef()
    expected = correlations[~torch.eye(5, dtype=torch.bool)].square().mean()
    torch.testing.assert_close(decorrelation_loss(values), expected)
    values[..., 2] = 1.0  # correlated with nothing
    assert decorrelation_loss(values.requires_grad_()).isfinite()


def test_the_circle_classifier_has_its_authors_constants() -> None:
    classifier = build_circle(CircleConfig(width_multiplier=0.125), Classes(3, ())).classifier
    logits = classifier.logits(torch.tensor([[0.5, 0.2, -0.4]]), [0])
    torch.testing.assert_close(logits, torch.tensor([[-24.0, -2.88, 0.0]]), rtol=0, atol=1e-4)
    assert F.cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(24.05462, abs=1e-4)


def test_attention_is_not_decayed() -> None:
    """Behind branches that start at zero, Adam would take it to zero before anything asks for it."""
    osnet = OSNet(3, OSNetConfig(width_multiplier=0.25))
    assert {type(module).__name__ for module in osnet.undecayed()} == {"AggregationGate"}
    assert len(osnet.undecayed()) == 6
    assert not PCB(3, PCBConfig(width_multiplier=0.125)).undecayed()
