"""How numbers, intervals, names and settings are written: each in one way, everywhere in the book."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reidkit.data.attributes import GROUPS
from reidkit.settings import Settings
from reidkit.systems import SYSTEMS

LABELS = {"rank-1": "Rank-1", "rank-5": "Rank-5", "rank-10": "Rank-10", "mAP": "mAP"}
DATASETS = {
    "synthped": "SynthPed (toy data)",
    "market1501": "Market-1501",
    "dukemtmcreid": "DukeMTMC-reID",
    "msmt17": "MSMT17",
    "own": "own pictures",
}
# SynthPed's presets, by the data set whose tables they may stand in
TOY_COPY_OF = {"market-like": "market1501", "duke-like": "dukemtmcreid", "msmt-like": "msmt17"}


# ------------------------------------------------------------------------------------------------------------- numbers


def number(value: float | None, digits: int = 2) -> str:
    """A score, – where there is none."""
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign, – where there is none; what rounds to zero has no sign."""
    if value is None or np.isnan(value):
        return "–"
    written = f"{value:+.{digits}f}".replace("-", "−")
    return written[1:] if float(written[1:]) == 0 else written


def power(value: float) -> str:
    """A small or large number by a power of ten, one digit before it: *5·10⁻⁴*."""
    if value == 0:
        return "0"
    digit, exponent = f"{value:.0e}".split("e")
    return f"{digit}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def interval(low: float, high: float, covers: str = "", *, digits: int = 1, sign: bool = False) -> str:
    """A 95 % interval, – where there is none; `covers` says in brackets what it covers, if that is to be said."""
    if np.isnan(low):
        return "–"
    if sign:  # a bound that decides, by lying beside zero, does not look like zero
        written = " to ".join(signed(v, digits + (v != 0 and round(v, digits) == 0)) for v in (low, high))
    else:
        written = f"{number(low, digits)} to {number(high, digits)}"
    return f"{written} ({covers})" if covers else written


# --------------------------------------------------------------------------------------------------------------- names


def listed(words: Sequence[str]) -> str:
    """One or more words as a sentence has them: *hat, bag and age*."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def a_few(words: Sequence[str]) -> str:
    """The same of at most four words, and how many more there are: *hat, bag, age, gender and 3 more*."""
    return listed([*words[:4], f"{len(words) - 4} more"] if len(words) > 4 else words)


def counted(count: int) -> str:
    """A number as a sentence has it: *three*, and from thirteen on in digits."""
    return _COUNTS[count] if count < len(_COUNTS) else str(count)


_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def field_title(field: str) -> str:
    """What a field of an attribute file is called here: *hat*, *sleeve length*, *upper black*."""
    return _FIELDS.get(field, field)


_FIELDS = {
    field: group.name if len(group.fields) == 1 else f"{group.name.partition('-')[0]} {class_}"
    for groups in GROUPS.values()
    for group in groups
    for field, class_ in zip(group.fields, group.classes[-len(group.fields) :], strict=True)
}


def data_title(plan: Settings) -> str:
    """What a page calls the data of a profile or run: SynthPed by the data set that it is a copy of."""
    if plan.dataset != "synthped":
        return DATASETS[plan.dataset]
    return f"SynthPed, {plan.synthped_preset} (toy data)"


def stands_for(config: Mapping[str, Any]) -> str:
    """The data set whose tables a run may stand in."""
    return TOY_COPY_OF[config["synthped_preset"]] if config["dataset"] == "synthped" else str(config["dataset"])


# ------------------------------------------------------------------------------------------------------------ settings


def phrases(system: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The settings of a run that belong to its method, in the words that their fields have as titles: *epochs 60*.

    By setting; `values` are all settings of the run, as plain values.
    """
    words = {key: _text(value) for key, value in values.items()}
    words["fall"] = f"× {words['decay']} at epochs {words['milestones']}"
    if values["schedule"] == "cosine":
        words["fall"] = f"along a cosine from epoch {max(values['cosine_from'], values['warmup_epochs']):g}"
    return {key: title.format(words[key], **words) for key, title in titles(system).items() if title}


def titles(system: str) -> dict[str, str]:
    """By setting that belongs to the method, the title of its field; "" where another setting's title tells it too.

    What a system has defaults of its own for keeps its title.
    """
    kinds = [kind for kind in SYSTEMS[system].configuration.__mro__ if issubclass(kind, Settings)]
    found = {
        key: [kind.model_fields[key].title for kind in kinds if key in kind.model_fields]
        for key in kinds[0].model_fields
    }
    return {key: titles[0] for key, of_kinds in found.items() if (titles := [t for t in of_kinds if t is not None])}


_NAMES = {"adam": "Adam", "sgd": "SGD", True: "with", False: "without"}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return listed([_text(one) for one in value] or ["none"])
    if isinstance(value, str | bool):
        return _NAMES.get(value, str(value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)
