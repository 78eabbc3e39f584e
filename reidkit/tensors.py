"""What people hold in their hands, as tensors: NumPy arrays, lists, columns of pandas.

A tensor comes back as it is, so that asking costs nothing where tensors are given.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Values = Tensor | npt.ArrayLike


def as_tensor(name: str, values: Values, device: torch.device | None = None) -> Tensor:
    """`values` as a tensor, on `device` if they were none. Raises TypeError, by `name`, where they are not numbers."""
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
        # Torch takes neither another byte order nor a negative stride, and warns of what cannot be written to.
        array = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
        return torch.from_numpy(array).to(device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} is {_described(values)}; expected numbers, in a tensor, a NumPy array or a list"
        ) from error


def integers(name: str, values: Values, device: torch.device | None = None) -> Tensor:
    """As `as_tensor`, for identities, cameras and labels: TypeError where they are not integers."""
    if isinstance(values, list) and not values:  # whose elements have no type
        return torch.empty(0, dtype=torch.int64, device=device)
    tensor = as_tensor(name, values, device)
    if tensor.is_floating_point() or tensor.is_complex():
        raise TypeError(f"{name} is {tensor.dtype}; expected integers")
    return tensor


def check_range(labels: Tensor, classes: int) -> None:
    """Raises IndexError where a label is outside of [0, classes). On a GPU, it waits for them."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise IndexError(f"label {int(wrong[0])} is out of bounds; expected 0 to {classes - 1}")


def _described(values: npt.ArrayLike) -> str:
    if isinstance(values, np.ndarray):
        return f"an array of {values.dtype}"
    if isinstance(values, list | tuple) and values:
        return f"a {type(values).__name__} of {' and '.join(sorted({type(x).__name__ for x in values}))}"
    return repr(values)[:80]
