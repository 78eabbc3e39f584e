"""One's own pictures through a trained network, and the search among them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from reidkit.embedding import Embedding, EmbeddingError, embed, search
from reidkit.profile import Profile
from reidkit.records import RecordError
from reidkit.runs import features, open_dataset, read_weights, run, weights_path
from reidkit.training import CheckpointError

pytestmark = pytest.mark.usefixtures("one_block_a_stage")


@pytest.fixture
def smoke(build: Path, synthped: Path) -> Profile:
    return Profile.read("smoke", data_root=synthped, batch_size=8)


@pytest.mark.parametrize("row", ["cbam/ce+tri+cir", "ID+attr", "ID+attrAttention/constant", "ID+attrAttention/online"])
def test_a_picture_gets_the_feature_that_it_is_ranked_by(smoke: Profile, row: str) -> None:
    config = smoke.config(row)
    name = run(config, progress=False).record.name
    dataset = open_dataset(config)
    (expected,) = features(config, dataset, ("query",))
    found = embed(dataset.root / "query")
    assert found.run == name
    assert [path.name for path in found.pictures] == [path.name for path in dataset.query.paths]
    torch.testing.assert_close(found.features, expected, rtol=1e-3, atol=1e-3)


def test_a_weights_file_is_enough_without_record_and_data(smoke: Profile, synthped: Path, tmp_path: Path) -> None:
    row = smoke.config("ID+attrAttention")
    run(row, progress=False)
    expected = embed(synthped / "query", row.name[-8:]).features
    for config in (row, row.guide):
        assert config is not None
        shutil.copy(weights_path(config), tmp_path)
    shutil.rmtree(weights_path(row).parents[1])
    found = embed(synthped / "query", tmp_path / f"{row.name}.safetensors")
    assert torch.equal(found.features, expected)


def test_older_weights_need_their_record_and_the_training_data(smoke: Profile, synthped: Path) -> None:
    config = smoke.config("none/ce")
    run(config, progress=False)
    expected = embed(synthped / "query").features
    file = weights_path(config)
    safetensors.torch.save_file(read_weights(file)[1], file, metadata={"run": config.name})
    assert torch.equal(embed(synthped / "query", data_root=synthped).features, expected)


def test_pictures_of_any_size_are_embedded_each_by_itself_and_bad_ones_named(smoke: Profile, tmp_path: Path) -> None:
    run(smoke.config("none/ce"), progress=False)
    generator = np.random.default_rng(0)
    (tmp_path / "deeper").mkdir()
    for name, shape in {"a.png": (300, 90, 3), "b.jpg": (20, 200, 3), "deeper/c.webp": (64, 32, 3)}.items():
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "b.jpg").read_bytes()[:200])
    found = embed(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found.pictures] == ["a.png", "b.jpg", "deeper/c.webp"]
    assert list(found.unreadable) == [tmp_path / "broken.jpg"]
    assert "broken.jpg: not a readable image" in found.unreadable[tmp_path / "broken.jpg"]
    alone = embed(tmp_path / "b.jpg")
    torch.testing.assert_close(alone.features[0], found.features[1], rtol=1e-4, atol=1e-4)
    with pytest.raises(EmbeddingError, match=r"broken\.jpg: not a readable"):
        embed([tmp_path / "broken.jpg"])
    (tmp_path / "empty").mkdir()
    for place, message in {"nowhere": "no such file or folder", "empty": "no picture in it or below"}.items():
        with pytest.raises(EmbeddingError, match=message):
            embed(tmp_path / place)


def test_where_no_network_can_be_had_it_is_said_which(smoke: Profile, synthped: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match="no finished run has its weights"):
        embed(synthped / "query")
    with pytest.raises(RecordError, match="nowhere: no such record"):
        embed(synthped / "query", "nowhere")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        embed(synthped / "query", tmp_path / "missing.safetensors")
    attributes = run(smoke.config("attributes"), progress=False).record.name
    with pytest.raises(EmbeddingError, match="makes no features"):
        embed(synthped / "query", attributes)
    with pytest.raises(EmbeddingError, match="no finished run"):
        embed(synthped / "query")  # one that names what people wear is none of the choice
    config = smoke.config("none/ce")
    run(config, progress=False)
    weights_path(config).unlink()
    with pytest.raises(CheckpointError, match="no weights of this run"):
        embed(synthped / "query", config.name)


def made_up(run: str, *names: str, seed: int = 0) -> Embedding:
    generator = torch.Generator().manual_seed(seed)
    return Embedding(run, tuple(map(Path, names)), torch.randn(len(names), 5, generator=generator))


def test_search_ranks_by_cosine_and_never_finds_the_picture_itself() -> None:
    query, gallery = made_up("a", "x.jpg", "b.jpg"), made_up("a", "a.jpg", "b.jpg", "c.jpg", seed=1)
    for row, (own, feature) in enumerate(zip(query.pictures, query.features, strict=True)):
        similar = torch.cosine_similarity(feature[None], gallery.features)
        expected = sorted(zip(similar.tolist(), gallery.pictures, strict=True), reverse=True)
        expected = [(value, picture) for value, picture in expected if picture != own]
        found = search(query, gallery, k=9)[row]
        assert [match.picture for match in found] == [picture for _, picture in expected]
        assert [match.similarity for match in found] == pytest.approx([value for value, _ in expected], abs=1e-5)
        assert search(query, gallery, k=1)[row] == found[:1]
    with pytest.raises(EmbeddingError, match="cannot be compared"):
        search(query, made_up("b", "a.jpg"))


def test_search_by_euclidean_distance_where_the_system_compares_so() -> None:
    near, far = torch.tensor([[1.0, 1.0], [9.0, 9.0]])
    query = Embedding("a", (Path("x.jpg"),), torch.tensor([[1.0, 0.0]]), "euclidean")
    gallery = Embedding("a", (Path("far.jpg"), Path("near.jpg")), torch.stack([far, near]), "euclidean")
    assert [match.picture.stem for match in search(query, gallery)[0]] == ["near", "far"]
    assert search(query, gallery)[0][0].similarity == pytest.approx(-1)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_features_are_read_back_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    written, file = made_up("a", "ä b.jpg", "c.jpg"), tmp_path / f"features{suffix}"
    written.save(file)
    read = Embedding.read(file)
    absolute = tuple(picture.absolute() for picture in written.pictures)
    assert (read.run, read.pictures, read.metric) == (written.run, absolute, written.metric)
    assert torch.equal(read.features, written.features)
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(EmbeddingError, match="no features written by"):
        Embedding.read(file)
    with pytest.raises(EmbeddingError, match=r"\.npz or \.safetensors"):
        written.save(tmp_path / "features.txt")
