"""The examples of docstrings, of the README and of the reference are executed."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import reidkit
from reidkit.places import project_root

PACKAGE = project_root() / "reidkit"
MODULES = [
    ".".join(file.relative_to(project_root()).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8") and file.name != "api.py"
]
REFERENCE = (project_root() / "book" / "api.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings(name: str, build: Path, synthped: Path, one_block_a_stage: None) -> None:
    result = doctest.testmod(importlib.import_module(name), extraglobs={"root": synthped})
    assert result.attempted > 0
    assert result.failed == 0


def test_the_reference_has_all_that_the_package_offers_with_an_example_each() -> None:
    shown = set(re.findall(r"[\w.]+", REFERENCE))
    for name in reidkit.__all__:
        offered = getattr(reidkit, name)
        assert name in {word.rpartition(".")[2] for word in shown}
        if callable(offered) and not hasattr(offered, "model_fields"):
            assert ">>> " in offered.__doc__, name
