"""What every system has to be."""

import pytest
import torch

from reidkit.data import AttributeGroup
from reidkit.data.resident import Draw
from reidkit.data.synthped import PARTS
from reidkit.places import project_root
from reidkit.systems import ROWS, SYSTEMS
from reidkit.systems.system import Batch, Classes, System
from reidkit.training import Batch as Step

GROUPS = (AttributeGroup("hat", ("no", "yes"), ("hat",)), AttributeGroup("colour", ("none", "red", "blue"), ("r", "b")))
STAGES = {"layer2": (8, 4), "layer3": (4, 2), "layer4": (4, 2)}  # of images of 64×32


def batch(images: torch.Tensor) -> Batch:
    count = len(images)
    draw = Draw(torch.zeros(count).bool(), torch.zeros(count, 2).long(), torch.zeros(count, 4).long())
    labels = torch.arange(count) // 2
    maps = {stage: torch.rand(count, 3, *size) for stage, size in STAGES.items()}
    maps["parts"] = torch.rand(count, len(PARTS), 8, 4)
    return Batch(images, labels, torch.ones(count, 2).long(), maps, Step(images, labels, labels, draw, 0.0))


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_any_system_learns_and_embeds_each_image_by_itself(row: str) -> None:
    system = ROWS[row]
    values = {"width_multiplier": 0.125, "weights": None, "image_height": 64, "image_width": 32, **system.rows[row]}
    for setting, other in system.within.get(row, {}).items():
        values[setting] = ROWS[other].configuration(width_multiplier=0.125, weights=None)
    config = system.configuration.model_validate(values)
    network = system.build(config, Classes(3, GROUPS if "attributes" in config.needs else ()))
    images = torch.randn(6, 3, 64, 32)
    given = batch(images)
    losses = network.train().losses(given)
    assert losses["total"].isfinite()
    losses["total"].backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
    if system.ranks:
        network.eval()
        maps = (given.maps,) if config.needs & {"heat maps", "parts"} else ()
        alone = ({stage: values[:1] for stage, values in given.maps.items()},) if maps else ()
        with torch.no_grad():
            embedding = network(images, *maps)
            assert embedding.dtype == torch.float32
            assert embedding.shape[0] == 6
            torch.testing.assert_close(network(images[:1], *alone), embedding[:1], rtol=1e-4, atol=1e-4)


def test_a_system_has_an_article_and_rows_of_its_own() -> None:
    bibliography = (project_root() / "book" / "references.bib").read_text()
    assert len(ROWS) == sum(len(system.rows) for system in SYSTEMS.values())
    for system in SYSTEMS.values():
        assert system.configuration.system == system.name
        assert f"{{{system.article}," in bibliography
        assert set(system.reading) <= set(system.configuration.model_fields)
        for names in system.row_groups.values():
            assert set(names) <= set(system.rows)


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_pages_have_a_name_of_its_own_for_every_row(system: System) -> None:
    labels = [system.label(row) for row in system.rows]
    assert len(set(labels)) == len(labels)
    assert not [label for label in labels if "/" in label]


def test_a_row_is_called_by_its_choices_and_a_reading_after_its_row() -> None:
    assert SYSTEMS["joint-loss"].label("cbam/ce+tri+cir") == "CBAM, CE + Tri + Cir"
    assert SYSTEMS["joint-loss"].label("se/ce/full-start") == "SE, CE, from γ = 1"
    assert SYSTEMS["ianet"].label("ianet/normalised") == "normalised IANet"
    assert SYSTEMS["san-gal"].label("ID+attr") == "ID+attr"
