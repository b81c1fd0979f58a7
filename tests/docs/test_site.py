"""What is looked for in the built site is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import site_check

WRONG = {
    "fetches https://fonts.example": '<link rel="stylesheet" href="https://fonts.example/a.css">',
    "fetches //cdn.example": '<script src="//cdn.example/a.js"></script>',
    "none.html leads nowhere": '<a href="none.html">x</a>',
    "#none leads nowhere": '<a href="#none">x</a>',
    "other.html#none leads nowhere": '<a href="other.html#none">x</a>',
}
RIGHT = (
    '<a id="top" href="https://example.com/">x</a> <a href="#top">x</a> <a href="other.html#here">x</a>'
    '<script src="_static/a.js"></script> <link rel="canonical" href="https://example.com/">'
)


def site(folder: Path, body: str) -> list[str]:
    """Write two pages, and return what is wrong with them."""
    (folder / "index.html").write_text(body)
    (folder / "other.html").write_text('<p id="here">')
    return list(site_check.complaints(folder))


@pytest.fixture(autouse=True)
def no_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of ours are not expected in these sites."""
    monkeypatch.setattr(site_check, "DOCS", tmp_path / "none")


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_with_a_page_is_told(tmp_path: Path, said: str) -> None:
    """Another host that a browser would ask by itself, a link into nothing."""
    (told,) = site(tmp_path, WRONG[said])
    assert said in told


def test_a_page_that_is_right_is_left_alone(tmp_path: Path) -> None:
    """A link to another host is a person's own click."""
    assert site(tmp_path, RIGHT) == []


def test_a_style_sheet_that_fetches_is_told(tmp_path: Path) -> None:
    """Fonts are the usual case."""
    (tmp_path / "a.css").write_text("@font-face { src: url( https://fonts.example/a.woff2 ) }")
    assert site(tmp_path, RIGHT) == ["a.css fetches from another host"]


def test_a_page_that_was_not_built_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An orphan would be missing without a word."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "lost.md").write_text("# Lost")
    monkeypatch.setattr(site_check, "DOCS", sources)
    assert site(tmp_path, RIGHT) == ["lost.md has no page"]
