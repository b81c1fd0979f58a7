"""The examples in docstrings do what they say."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import example_app
import flask_s3handoff

PACKAGES = (flask_s3handoff, example_app)
ROOMS = [
    found.name
    for package in PACKAGES
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not found.name.endswith(".__main__")
]
MODULES = [package.__name__ for package in PACKAGES] + ROOMS


def examples(module: str) -> list[doctest.DocTest]:
    """Return the docstrings of a module that have an example."""
    found = doctest.DocTestFinder(exclude_empty=True).find(import_module(module))
    return [docstring for docstring in found if docstring.examples]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_do_what_they_say(module: str) -> None:
    """Each docstring in a namespace of its own."""
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for docstring in examples(module):
        said: list[str] = []
        failed, _ = runner.run(docstring, out=said.append, clear_globs=True)
        assert not failed, "".join(said)


def test_there_are_examples() -> None:
    """A finder that finds nothing would be content."""
    assert sum(len(examples(module)) for module in MODULES) > 15
