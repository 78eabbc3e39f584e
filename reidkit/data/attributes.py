"""Person attributes of Market-1501 (27) and DukeMTMC-reID (23), one label per identity.

Source of market_attribute.mat and duke_attribute.mat and of their coding: Lin et al., "Improving Person
Re-identification by Attribute and Identity Learning", Pattern Recognition 2019.

The files hold one yes/no field per colour. A person wears one upper and one lower colour, so those fields
become one group each, a softmax over the colours with "none" for people with no colour marked. Fields are
read by name: the files order them differently in their two splits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reidkit.data.errors import DatasetError
from reidkit.data.matlab import read_matlab

IntArray = npt.NDArray[np.int64]
MISSING = -1  # the label of an identity whose file entry says nothing or contradicts itself


@dataclass(frozen=True)
class AttributeGroup:
    """One softmax: its `classes` exclude each other.

    `fields` are its names in the .mat file: one field coded 1, 2, … in the order of `classes`, or one field
    (1 no, 2 yes) for each class after "none".
    """

    name: str
    classes: tuple[str, ...]
    fields: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AttributeSplit:
    """`ids` (I,) int64, ascending; `labels` (I, G) int64: the class in each group, -1 where it is missing."""

    ids: Tensor
    labels: Tensor

    def labels_of(self, ids: Tensor) -> Tensor:
        """Labels (N, G) of images with these identities (N,); distractors and junk (ids below 1) get -1.

        Raises KeyError for an identity that has no labels.
        """
        position = torch.searchsorted(self.ids, ids).clamp(max=len(self.ids) - 1)
        known = self.ids[position] == ids
        if unknown := torch.unique(ids[~known & (ids > 0)]).tolist():
            raise KeyError(f"no attributes for the identities {_some(unknown)}")
        return torch.where(known[:, None], self.labels[position], MISSING)


@dataclass(frozen=True, eq=False)
class Attributes:
    """Attribute labels of the training and the test identities; `notes` says what is odd in the file."""

    groups: tuple[AttributeGroup, ...]
    train: AttributeSplit
    test: AttributeSplit
    notes: tuple[str, ...]


def _switch(name: str, field: str) -> AttributeGroup:
    return AttributeGroup(name, ("no", "yes"), (field,))


def _colours(part: str, prefix: str, colours: str) -> AttributeGroup:
    names = tuple(colours.split())
    return AttributeGroup(f"{part} colour", ("none", *names), tuple(prefix + name for name in names))


_GENDER = AttributeGroup("gender", ("male", "female"), ("gender",))
_CARRIES = (
    _switch("hat", "hat"),
    _switch("backpack", "backpack"),
    _switch("bag", "bag"),
    _switch("handbag", "handbag"),
)

# The name of the file's variable → its groups, in the order of the authors' tables
GROUPS: dict[str, tuple[AttributeGroup, ...]] = {
    "market_attribute": (
        _GENDER,
        AttributeGroup("hair length", ("short", "long"), ("hair",)),
        AttributeGroup("sleeve length", ("long", "short"), ("up",)),
        AttributeGroup("lower-body length", ("long", "short"), ("down",)),
        AttributeGroup("lower-body type", ("dress", "trousers"), ("clothes",)),
        *_CARRIES,
        AttributeGroup("age", ("young", "teenager", "adult", "old"), ("age",)),
        _colours("upper-body", "up", "black white red purple yellow gray blue green"),
        _colours("lower-body", "down", "black white pink purple yellow gray blue green brown"),
    ),
    "duke_attribute": (
        _GENDER,
        AttributeGroup("upper-body length", ("short", "long"), ("top",)),
        _switch("boots", "boots"),
        *_CARRIES,
        AttributeGroup("shoe colour", ("dark", "light"), ("shoes",)),
        _colours("upper-body", "up", "black white red purple gray blue green brown"),
        _colours("lower-body", "down", "black white red gray blue green brown"),
    ),
}
MAY_BE_ZERO = frozenset({"top"})  # Duke's file has 0, outside its own coding, for 0370 and 0679


def read_attributes(path: str | Path, train_ids: Tensor | None = None, test_ids: Tensor | None = None) -> Attributes:
    """Read market_attribute.mat or duke_attribute.mat; the variable inside says which it is.

    train_ids, test_ids: identities that must have labels, in any order, repeats allowed.

    Labels that are missing (-1), each told in `notes`: a colour group with several colours marked, since
    nothing says which of them counts, and Duke's `top` where it is 0.

    Raises DatasetError naming the file and the field or identity that does not fit: another data set's file,
    a field missing or too many, a label out of range, an identity without labels or with two entries.
    """
    path = Path(path)
    try:
        content = read_matlab(path)
    except Exception as error:  # a damaged file makes it raise anything: zlib.error, struct.error, ValueError, …
        raise DatasetError(f"{path}: cannot be read as a MATLAB file: {error}") from error
    known = [path.stem] if path.stem in GROUPS else list(GROUPS)
    found = [name for name in content if not name.startswith("__")]
    variable = next((name for name in known if name in found), None)
    if variable is None:
        other = ": it is another data set's attribute file" if set(found) & set(GROUPS) else ""
        expected = f"expected the variable {' or '.join(known)}, found {', '.join(found) or 'none'}"
        raise DatasetError(f"{path}: {expected}{other}")
    groups, notes = GROUPS[variable], list[str]()
    try:
        train, test = (
            _read_split(f"{variable}.{name}", _member(variable, content[variable], name), groups, notes)
            for name in ("train", "test")
        )
        _must_be_there("train", train, train_ids)
        _must_be_there("test", test, test_ids)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    return Attributes(groups, train, test, tuple(notes))


def _member(where: str, struct: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(struct, Mapping) or not isinstance(struct.get(name), Mapping):
        raise DatasetError(f"{where} has no struct {name!r}")
    member: Mapping[str, Any] = struct[name]
    return member


def _read_split(
    where: str, struct: Mapping[str, Any], groups: tuple[AttributeGroup, ...], notes: list[str]
) -> AttributeSplit:
    wanted = {field for group in groups for field in group.fields} | {"image_index"}
    if missing := sorted(wanted - struct.keys()):
        raise DatasetError(f"{where} lacks the fields {', '.join(missing)}")
    if unknown := sorted(struct.keys() - wanted):
        raise DatasetError(f"{where} has the unknown fields {', '.join(unknown)}: is it another data set's file?")
    try:
        ids = np.array([_identity(index) for index in np.atleast_1d(struct["image_index"])], dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"{where}.image_index: expected identities such as '0002': {error}") from error
    numbers, count = np.unique(ids, return_counts=True)
    if (count > 1).any():
        raise DatasetError(f"{where}.image_index: more than one entry for {_some(numbers[count > 1].tolist())}")
    labels = np.stack([_read_group(where, struct, group, ids, notes) for group in groups], axis=1)  # (I, G)
    order = np.argsort(ids)
    return AttributeSplit(torch.from_numpy(ids[order]), torch.from_numpy(labels[order]))


def _identity(index: Any) -> int:
    number = int(index)
    if number < 1 or (not isinstance(index, str) and number != index):
        raise ValueError(f"{index} is none")
    return number


def _read_group(
    where: str, struct: Mapping[str, Any], group: AttributeGroup, ids: IntArray, notes: list[str]
) -> IntArray:
    """Labels (I,) of one group, in the order of the file."""
    if len(group.fields) == 1:
        field = group.fields[0]
        codes = _read_codes(f"{where}.{field}", struct[field], len(group.classes), ids, field in MAY_BE_ZERO)
        for identity in ids[codes == 0].tolist():
            notes.append(f"{where}.{field} of {identity:04d} is 0: {group.name} taken as missing")
        return codes - 1
    yes = np.stack([_read_codes(f"{where}.{field}", struct[field], 2, ids) == 2 for field in group.fields])  # (F, I)
    labels = np.where(yes.any(axis=0), yes.argmax(axis=0) + 1, 0)  # 0 is "none"
    several = yes.sum(axis=0) > 1
    for i in several.nonzero()[0]:
        marked = ", ".join(np.array(group.fields)[yes[:, i]])
        notes.append(f"{where} of {ids[i]:04d} marks {marked}: {group.name} taken as missing")
    return np.where(several, MISSING, labels)


def _read_codes(where: str, values: Any, classes: int, ids: IntArray, may_be_zero: bool = False) -> IntArray:
    codes = np.atleast_1d(values)
    if codes.shape != ids.shape:
        raise DatasetError(f"{where}: {codes.size} labels for {ids.size} identities")
    if codes.dtype.kind not in "biuf":
        raise DatasetError(f"{where}: labels are no numbers")
    lowest = 0 if may_be_zero else 1
    bad = ~np.isin(codes, range(lowest, classes + 1))
    if bad.any():
        first = f"label {codes[bad][0]} of {ids[bad][0]:04d} is out of range"
        raise DatasetError(f"{where}: {first}, expected {lowest} to {classes} ({bad.sum()} such labels)")
    return codes.astype(np.int64)


def _must_be_there(name: str, split: AttributeSplit, wanted: Tensor | None) -> None:
    if wanted is not None and len(missing := torch.unique(wanted[~torch.isin(wanted, split.ids)])):
        raise DatasetError(
            f"no {name} attributes for {len(missing)} identities of the data set: {_some(missing.tolist())}; "
            "is it another data set's file?"
        )


def _some(ids: list[int]) -> str:
    more = f" and {len(ids) - 10} more" if len(ids) > 10 else ""
    return ", ".join(f"{identity:04d}" for identity in ids[:10]) + more
