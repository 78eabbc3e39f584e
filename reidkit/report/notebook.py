"""What a chapter asks for first: the profile that it runs with. Its execution is `report.execute`'s affair."""

from collections.abc import Mapping
from typing import Any

from reidkit.profile import Profile
from reidkit.report.parameters_cell import assigned
from reidkit.settings import ParameterError, nearest

PLACE = "the chapter's parameters"
INJECTED = "# Parameters"  # how papermill begins the cell that it puts after the parameters cell


def notebook_profile(namespace: Mapping[str, Any]) -> Profile:
    """The profile that a chapter runs with; its first cell after the parameters calls this with `globals()`.

    `profile` names the parameter file; every other variable of the parameters cell (whether it was written there or
    injected by papermill) replaces what the file says, unless it is None. Raises ParameterError for a variable that is
    no parameter: papermill itself only warns of a misspelt one.
    """
    given = {name: namespace[name] for name in _parameters(namespace) if name in namespace}
    for name in given:
        if name not in Profile.model_fields:
            raise ParameterError(f"{PLACE}: unknown parameter {name!r}{nearest(name, Profile.model_fields)}")
    changes = {name: value for name, value in given.items() if name != "profile" and value is not None}
    return Profile.read(given.get("profile", "synthped"), dict.fromkeys(changes, PLACE), **changes)


def _parameters(namespace: Mapping[str, Any]) -> list[str]:
    """The variables that were meant as parameters, and not what the chapter calls its own when its cells run again.

    The kernel's list of the cells that were run, `In`, tells: the parameters cell is the last that assigned `profile`.
    Where none did, all that is plain data is taken for a parameter, so that a misspelt `profile` is told too.
    """
    cells = namespace.get("In", [])[:-1]  # the last is the one that asks
    own = [n for n, cell in enumerate(cells) if "profile" in assigned(cell) and not cell.startswith(INJECTED)]
    if not own:
        plain = (bool, int, float, str, list, tuple, dict, type(None))
        return [name for name, value in namespace.items() if _is_public(name) and isinstance(value, plain)]
    cell, after = cells[own[-1]], "".join(cells[own[-1] + 1 : own[-1] + 2])
    names = assigned(cell) + (assigned(after) if after.startswith(INJECTED) else [])
    return [name for name in dict.fromkeys(names) if _is_public(name)]


def _is_public(name: str) -> bool:
    """Whether a variable is not IPython's own."""
    return not name.startswith("_") and name not in {"In", "Out"}
