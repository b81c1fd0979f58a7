"""A release that is not ready is told what it lacks."""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.release_check import (
    about_changelog,
    about_description,
    about_sameness,
    about_version,
)
from tests.tree import ROOT

TODAY = dt.date(2026, 11, 27)
GOOD = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-11-27\n\n### Added\n\n- A thing.\n"
WRONG = {
    "not dated": ("# Changelog\n\n## Unreleased\n\n### Added\n\n- A thing.\n", "first release is"),
    "left over": (GOOD.replace("Unreleased\n", "Unreleased\n\n- More.\n"), "under Unreleased"),
    "of another version": (GOOD.replace("1.2.3", "1.2.2"), "'## 1.2.3 - 2026-11-27'"),
    "of a longer version": (GOOD.replace("1.2.3", "1.2.30"), "'## 1.2.3 - 2026-11-27'"),
    "no date": (GOOD.replace("2026-11-27", "soon"), "'soon' is no date"),
    "in the future": (GOOD.replace("2026-11-27", "2026-11-28"), "in the future"),
    "nothing told": (GOOD.replace("- A thing.", ""), "nothing is told"),
}


def test_a_changelog_with_a_date_is_good() -> None:
    """An empty Unreleased may stay for the next release; older releases stand below."""
    older = "\n## 1.2.2 - 2025-01-01\n\n- Old.\n"
    assert list(about_changelog(GOOD + older, "1.2.3", TODAY)) == []


@pytest.mark.parametrize("what", WRONG)
def test_a_changelog_that_is_not_ready_is_told_why(what: str) -> None:
    """The message says what to write."""
    text, said = WRONG[what]
    assert said in "; ".join(about_changelog(text, "1.2.3", TODAY))


def test_our_changelog_can_become_one_of_a_release() -> None:
    """When its heading is dated, nothing else is missing."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = re.sub("^## Unreleased$", "## 1.2.3 - 2026-11-27", text, flags=re.MULTILINE)
    assert list(about_changelog(dated, "1.2.3", TODAY)) == []


@pytest.mark.parametrize(
    ("version", "said"),
    [("1.2.3", ""), ("1.2.3rc1", ""), ("1.2", "write 1.2.3"), ("1.0.0", "tagged already")],
)
def test_a_version_is_three_numbers_and_given_once(version: str, said: str) -> None:
    """A tag is never moved."""
    assert said in "; ".join(about_version(version, ["v1.0.0"]))
    assert bool(said) == bool(list(about_version(version, ["v1.0.0"])))


@pytest.fixture
def wheel(tmp_path: Path) -> Callable[..., Path]:
    """Write a wheel with these files."""

    def write(name: str, **files: str) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file, text in files.items():
                archive.writestr(file.replace("__", "/"), text)
        return tmp_path / name

    return write


def test_two_wheels_that_differ_are_told_apart(wheel: Callable[..., Path]) -> None:
    """By a byte, or by a file."""
    one, other = wheel("a.whl", x="1", y="1"), wheel("b.whl", x="2", z="1")
    assert [told.split()[0] for told in about_sameness(one, other)] == ["x", "y", "z"]
    assert list(about_sameness(one, one)) == []


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("text/markdown", "| a |\n|---|\n| b |\n\n```python\nx = 1\n```\n", ""),
        ("text/plain", "| a |\n|---|\n| b |\n\n```python\nx = 1\n```\n", "not text/markdown"),
        ("text/markdown", "no table", "does not render"),
    ],
)
def test_a_description_is_a_page(
    wheel: Callable[..., Path], kind: str, body: str, said: str
) -> None:
    """As PyPI would show it."""
    metadata = f"Metadata-Version: 2.4\nDescription-Content-Type: {kind}\n\n{body}"
    path = wheel("c.whl", **{"p.dist-info__METADATA": metadata})
    assert said in "; ".join(about_description(path))
    assert bool(said) == bool(list(about_description(path)))
