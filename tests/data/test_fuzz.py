"""A data set's files, damaged at random (see `tests.fuzzing`). About ten seconds in all."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reidkit.data import DatasetError, load_dataset, read_attributes
from reidkit.data.attributes import GROUPS
from reidkit.data.decoding import FORMATS, read_image
from tests.fuzzing import Payload, damaged, is_told

EXAMPLE = "0000_000_01_0303morning_0008_0_ex.jpg"


def image_file(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(256, size=(16, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), kind)
    return file.getvalue()


def attribute_file(compressed: bool) -> bytes:
    def split(ids: list[int]) -> dict[str, object]:
        fields = {field: np.ones(len(ids), np.uint8) for group in GROUPS["market_attribute"] for field in group.fields}
        return {**fields, "image_index": np.array([f"{identity:04d}" for identity in ids], dtype=object)}

    content = {"market_attribute": {"train": split([2, 7]), "test": split([1, 3])}}
    scipy.io.savemat(file := io.BytesIO(), content, do_compression=compressed)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of odd metadata
@pytest.mark.parametrize("kind", ["JPEG", *FORMATS])
def test_images(tmp_path: Path, kind: str) -> None:
    path, whole, told = tmp_path / "0002_c1s1_000451_03.jpg", image_file(kind), 0

    def read() -> None:
        image = read_image(path)
        assert image.dtype == torch.uint8
        assert image.ndim == 3
        assert len(image) == 3

    for seed in range(300):
        path.write_bytes(damaged(whole, seed))
        told += is_told(read, path, DatasetError)
    assert told > 100


@pytest.mark.filterwarnings("ignore::scipy.io.matlab.MatReadWarning")
@pytest.mark.parametrize("compressed", [True, False])
def test_attribute_files(tmp_path: Path, compressed: bool) -> None:
    path, whole, told = tmp_path / "market_attribute.mat", attribute_file(compressed), 0
    for seed in range(300):
        path.write_bytes(damaged(whole, seed))
        told += is_told(lambda: read_attributes(path), path, DatasetError)
    assert told > 200


lines = st.text(st.characters(codec="utf-8"), max_size=60) | st.builds(
    "{}/{} {}".format,
    st.sampled_from(["0000", "..", "/", "0000/../0000", "x" * 300, "\0"]),
    st.sampled_from([EXAMPLE, "0000_000_16_0303morning_0008_0_ex.jpg", "x" * 300, "a.jpg", ""]),
    st.sampled_from(["0", "-1", "1.0", "9" * 18, "9" * 19, "9" * 5000, "٣", "²", ""]),
)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.builds(lambda x, e: "\n".join(x).encode(e), st.lists(lines), encodings))
def test_lists(msmt: Path, content: bytes) -> None:
    """Either every line is an image that is there, or what is wrong is told."""
    path = msmt / "list_query.txt"
    path.write_bytes(content)
    if not is_told(lambda: load_dataset("msmt17", msmt), msmt, DatasetError):
        query = load_dataset("msmt17", msmt).query
        assert query.paths == (msmt / "test" / "0000" / EXAMPLE,)


def test_no_pickle_is_run(msmt: Path, tmp_path: Path) -> None:
    written = tmp_path / "written"
    content = pickle.dumps(Payload(written))
    for path, read in (
        (tmp_path / "market_attribute.mat", read_attributes),
        (tmp_path / "0002_c1s1_000451_03.jpg", read_image),
        (msmt / "list_query.txt", lambda _: load_dataset("msmt17", msmt)),
    ):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=path.name):
            read(path)
    assert not written.exists()
    pickle.loads(content)
    assert written.exists()  # so that it would have shown
