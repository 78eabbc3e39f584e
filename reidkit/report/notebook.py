"""What a chapter asks for first: the profile that it runs with. Its execution is `report.execute`'s affair."""

from collections.abc import Mapping
from typing import Any

from reidkit.profile import Profile
from reidkit.settings import ParameterError, nearest


def notebook_profile(namespace: Mapping[str, Any]) -> Profile:
    """The profile that a chapter runs with; its first cell after the parameters calls this with `globals()`.

    `profile` names the parameter file; every other variable with a parameter's name (whether it was written in the
    parameters cell or injected by papermill) replaces what the file says, unless it is None. Raises ParameterError for
    a variable that is no parameter: papermill itself only warns of a misspelt one.
    """
    given = {name: value for name, value in namespace.items() if _is_parameter(name, value)}
    for name in given:
        if name not in Profile.model_fields:
            raise ParameterError(f"unknown parameter {name!r}{nearest(name, Profile.model_fields)}")
    changes = {name: value for name, value in given.items() if name != "profile" and value is not None}
    return Profile.read(given.get("profile", "synthped"), **changes)


def _is_parameter(name: str, value: Any) -> bool:
    """Whether a notebook's variable was meant as a parameter: plain data, and not IPython's own."""
    if name.startswith("_") or name in {"In", "Out"}:
        return False
    return value is None or isinstance(value, bool | int | float | str | list | tuple | dict)
