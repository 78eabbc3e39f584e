"""What is taken for a tensor, and what is not."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as npst

from reidkit.tensors import as_tensor, integers


def test_a_tensor_comes_back_as_it_is() -> None:
    for dtype in (torch.int64, torch.uint8, torch.float16):
        x = torch.ones(3, dtype=dtype)
        assert as_tensor("x", x, torch.device("meta")) is x
    assert integers("x", x := torch.arange(3, dtype=torch.int32)) is x


@given(npst.arrays(npst.integer_dtypes() | npst.unsigned_integer_dtypes() | npst.floating_dtypes(sizes=(32, 64)),
                   npst.array_shapes(min_dims=1, max_dims=3, min_side=0)))  # fmt: skip
def test_an_array_keeps_its_numbers_and_is_left_alone(array: np.ndarray) -> None:
    array.flags.writeable = False
    tensor = as_tensor("array", array)
    assert tensor.numpy().dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(tensor, array)


def test_a_writable_array_is_not_copied() -> None:
    assert as_tensor("array", array := np.zeros((2, 3))).data_ptr() == array.ctypes.data


def test_an_empty_list_of_integers() -> None:
    assert integers("ids", []).dtype == torch.int64
    with pytest.raises(TypeError, match="ids is torch.float64; expected integers"):
        integers("ids", np.empty(0))


@pytest.mark.parametrize(
    ("values", "described"),
    [
        (None, "None"),
        ("0002", "'0002'"),
        (["a", 1], "a list of int and str"),
        (([1], [1, 2]), "a tuple of list"),
        (np.array([None, 1]), "an array of object"),
        ({1: 2}, "{1: 2}"),
        ([torch.ones(1, requires_grad=True)] * 2, "a list of Tensor"),
    ],
)
def test_what_is_no_numbers_is_named(values: Any, described: str) -> None:
    for function in (as_tensor, integers):
        with pytest.raises(TypeError) as caught:
            function("ids", values)
        assert str(caught.value) == f"ids is {described}; expected numbers, in a tensor, a NumPy array or a list"


@pytest.mark.parametrize("values", [1.5, [1.5], np.array([1j]), torch.ones(2)])
def test_what_is_no_integers_is_named(values: Any) -> None:
    with pytest.raises(TypeError, match=r"ids is torch\.\w+; expected integers"):
        integers("ids", values)
