"""SAN-GAL's runs: the attribute network, its heat maps, the rows they guide, and what is refused."""

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

from reidkit.data import DatasetError
from reidkit.data.heat_maps import HeatMapError, HeatMaps
from reidkit.data.layouts import file_list_checksum
from reidkit.data.resident import load_images, normalise, resize
from reidkit.gradcam import attribute_heat_maps
from reidkit.models.backbone import STAGES
from reidkit.profile import Profile
from reidkit.records import compare
from reidkit.runs import (
    attributes_of,
    features,
    gather,
    heat_map_folder,
    heat_maps,
    load_network,
    measure,
    open_dataset,
    repeat,
    run,
    save_weights,
    weights_path,
    with_weights,
)
from reidkit.settings import ParameterError
from reidkit.systems import ROWS, attributes, san_gal
from reidkit.systems.attributes import AttributeConfig, attribute_names, localisation
from reidkit.systems.san_gal import CONTROLS, READINGS, DualTrace, SanGalConfig
from reidkit.systems.system import Classes
from reidkit.training import CheckpointError

pytestmark = pytest.mark.usefixtures("one_block_a_stage")


@pytest.fixture
def smoke(build: Path, synthped: Path) -> Profile:
    return Profile.read("smoke", data_root=synthped, batch_size=8)


def test_every_row_and_reading_trains_and_is_a_run_of_its_own(smoke: Profile) -> None:
    rows = [row for row, system in ROWS.items() if system.name in {"attributes", "san-gal"}]
    runs = {name: run(smoke.config(name), progress=False) for name in rows}
    assert len({finished.record.name for finished in runs.values()}) == len(rows) == 4 + len(READINGS) + len(CONTROLS)
    for name, finished in runs.items():
        assert finished.config.row_name == name
        if name != "attributes":
            assert len(finished.record.queries) == len(open_dataset(smoke).query)
            assert finished.history["mAP"].notna().all()  # evaluate_every: 1
            dataset = open_dataset(smoke)  # the stored weights and heat maps are those that were evaluated
            assert measure(*features(finished.config, dataset), dataset) == finished.metrics
    assert set(runs["attributes"].record.tables) == {"history", "steps", "attributes", "localisation", "examples"}
    assert "attributes" in runs["ID+attr"].history.columns
    assert "attributes" not in runs["IDonly"].history.columns
    spread = runs["ID+attrAttention"].record.table("attention").set_index("stage")
    assert list(spread.index) == list(STAGES)
    assert (spread["lowest"] >= 0.622).all()
    assert (spread["highest"] <= 0.7311).all()
    single = runs["ID+attrAttention/scaled-maps-one-sigmoid"].record.table("attention").set_index("stage")
    assert (single["std"] > spread["std"]).all()


def test_id_only_is_the_joint_loss_papers_baseline_where_both_are_trained_alike(smoke: Profile) -> None:
    ours = run(smoke.config("IDonly").model_copy(update={"triplet": False, "warmup_factor": 0.1}), progress=False)
    theirs = run(smoke.config("none/ce"), progress=False)
    assert ours.metrics == theirs.metrics


def test_the_same_seed_gives_the_same_record(smoke: Profile) -> None:
    first = run(smoke.config("ID+attrAttention"), progress=False).record
    again = repeat(first, data_root=smoke.root, progress=False)
    assert all(line.first == line.second for line in compare(first, again))
    assert first.table("attention").equals(again.table("attention"))


def test_stored_maps_are_the_networks_own(smoke: Profile) -> None:
    config = smoke.config("attributes")
    with_weights(config, progress=False)
    stored = heat_maps(config, "query", progress=False)
    dataset = open_dataset(config)
    network = load_network(config, dataset)
    assert len(stored) == len(dataset.query)
    images = load_images(dataset.query.paths, config.size)
    indexes = torch.tensor([3, 0])
    (pixels,) = images.batches([indexes])
    fresh = attribute_heat_maps(network, normalise(resize(pixels, config.size)))
    for stage, maps in stored[indexes].items():
        peaks = fresh[stage].amax((2, 3), keepdim=True)
        assert maps.shape[1] == len(attribute_names(attributes_of(dataset))) == 27
        assert ((maps - fresh[stage]).abs() <= peaks / 500 + 1e-12).all()


def test_heat_maps_of_labels_differ_from_those_of_predictions(smoke: Profile) -> None:
    config = smoke.config("attributes")
    with_weights(config, progress=False)
    maps = [heat_maps(config, "train", classes, progress=False) for classes in ("predicted", "labels")]
    first, second = (stored[torch.arange(len(stored))]["layer4"] for stored in maps)
    assert not first.equal(second)
    colours = slice(10, 27)  # an attribute that stands for a class of its own is explained by it in either case
    assert first[:, colours].equal(second[:, colours])


def test_online_maps_are_those_of_the_stored_kind(smoke: Profile) -> None:
    """The dual-trace network computes for a batch what would have been stored for it, and discards the gradients."""
    config = smoke.config("ID+attrAttention/online")
    network = san_gal.build(config, Classes(8, attributes_of(open_dataset(config)).groups))
    assert isinstance(network, DualTrace)
    images = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    maps = attribute_heat_maps(network.attributes, images)
    with torch.no_grad():
        online, offline = network.eval()(images), network.reid.eval()(images, maps)
    assert online.equal(offline)
    output = network.train()(images)
    assert all(parameter.grad is None for parameter in network.parameters()), "the first pass leaves no gradient"
    output.logits.sum().backward()
    assert all(parameter.grad is None for parameter in network.attributes.parameters()), (
        "identity loss stops at the maps"
    )
    (output.attributes[0].sum()).backward()
    assert network.attributes.backbone.conv1.weight.grad is not None


def test_maps_of_another_network_are_refused(smoke: Profile) -> None:
    config = smoke.config("attributes")
    with_weights(config, progress=False)
    heat_maps(config, "query", progress=False)
    state = weights_path(config)
    classes = Classes(8, attributes_of(open_dataset(config)).groups)
    save_weights(state, attributes.build(config, classes), config, classes, file_list_checksum(open_dataset(config)))
    with pytest.raises(HeatMapError, match="network"):
        heat_maps(config, "query", progress=False)
    with pytest.raises(HeatMapError, match="no heat maps here"):
        HeatMaps.open(heat_map_folder(config, "gallery"), {})


def test_weights_of_another_run_are_refused(smoke: Profile) -> None:
    config = smoke.config("attributes")
    run(config, progress=False)
    other = config.model_copy(update={"seed": 5})
    weights_path(other).write_bytes(weights_path(config).read_bytes())
    with pytest.raises(CheckpointError, match="are of the run"):
        load_network(other, open_dataset(config))


def test_localisation_counts_an_image_where_the_attribute_is_in_sight(smoke: Profile) -> None:
    config = smoke.config("attributes")
    dataset = open_dataset(config)
    material = gather(config, dataset, torch.device("cpu"), ("query",))
    found = localisation(attributes.build(config, material.classes).eval(), material, config)
    known = attributes_of(dataset)
    assert set(found["attribute"]) == set(attribute_names(known))
    energy = found[(found["stage"] == "layer4") & (found["measure"] == "energy")].set_index("attribute")
    carried = 0
    for name in ("hat", "backpack", "bag", "handbag"):
        group = next(i for i, group in enumerate(known.groups) if group.name == name)
        owners = known.test.labels_of(dataset.query.ids)[:, group] == 1
        assert (energy.loc[name, "images"] > 0) <= owners.any()
        assert energy.loc[name, "images"] <= owners.sum()
        carried += energy.loc[name, "images"]
    assert carried > 0
    assert found["random"].dropna().between(0, 1).all()


def test_a_data_set_without_attributes_is_named(smoke: Profile, synthped: Path) -> None:
    dataset = dataclasses.replace(open_dataset(smoke), attributes=None)
    with pytest.raises(DatasetError, match="market_attribute.mat"):
        attributes_of(dataset)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("san-gal: {rows: [IDolny]}", "systems.san-gal: 'IDolny' is none of its rows; did you mean 'IDonly'"),
        ("san-gal: {settings: {epohcs: 3}}", "systems.san-gal.settings: unknown parameter 'epohcs'; did you mean 'ep"),
        ("attributes: {settings: {epochs: 0}}", "systems.attributes.settings: epochs: .*greater than or equal to 1"),
        ("san-gal: {settings: {decay: [0.5, 0.5]}}", "decay has 2 factors for 3 milestones"),
        ("san-gal: {raws: []}", "systems"),
        ("sangal: {}", "systems: 'sangal' is none; did you mean 'san-gal'"),
    ],
)
def test_a_bad_parameter_of_san_gal_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"systems": yaml.safe_load(text)}))
    with pytest.raises(ParameterError, match=message):
        Profile.read(path)


def test_the_defaults_are_what_the_paper_prints() -> None:
    config = SanGalConfig()
    assert [round(config.learning_rate_at(epoch), 7) for epoch in (0, 1, 5, 7, 15)] == [3e-5, 1e-3, 5e-4, 1e-4, 3e-5]
    assert (config.epochs, config.image_height, config.image_width, config.optimizer) == (20, 256, 128, "sgd")
    assert config.weights == AttributeConfig().weights == "imagenet"
    assert AttributeConfig().epochs == 10


def test_only_the_attended_row_has_an_attribute_network() -> None:
    with pytest.raises(ValueError, match="needs a run of the attribute network"):
        SanGalConfig(row="ID+attrAttention")
    with pytest.raises(ValueError, match="needs a run of the attribute network"):
        SanGalConfig(row="IDonly", attributes=AttributeConfig())


def test_control_maps_are_as_strong_as_the_stored_ones_and_know_nothing_of_the_image() -> None:
    class Stored:
        maps = torch.rand(7, 3, 8, 4, generator=torch.Generator().manual_seed(0))

        def __len__(self) -> int:
            return 7

        def __getitem__(self, indexes: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"layer4": self.maps[indexes]}

    stored, everyone = Stored(), torch.arange(7)
    shuffled = san_gal.ControlMaps(stored, "shuffled", seed=0)[everyone]["layer4"]
    theirs = (shuffled[:, None] == stored.maps).flatten(2).all(2)  # whose maps each image has
    assert theirs.sum(0).tolist() == theirs.sum(1).tolist() == [1] * 7
    assert not theirs.diagonal().any()
    centre = san_gal.ControlMaps(stored, "centre", seed=0)[everyone[2:4]]["layer4"]
    torch.testing.assert_close(centre.amax((2, 3)), stored.maps[2:4].amax((2, 3)))
    torch.testing.assert_close(centre, centre.flip(2, 3))
    assert (centre[:, :, 0, 0] < 0.1 * centre[:, :, 4, 2]).all()
    constant = san_gal.ControlMaps(stored, "constant", seed=0)[everyone]["layer4"]
    torch.testing.assert_close(constant, stored.maps.mean((2, 3), keepdim=True).expand(7, 3, 8, 4))
