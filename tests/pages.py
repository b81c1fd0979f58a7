"""The code blocks of README and docs, for the tests that run them.

A block may have a name, in a comment before it: ``<!-- test: fleet -->``. A template has its file
name as its caption.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_BLOCK = re.compile(
    r"^(?:<!-- test: (?P<name>[\w ]+) -->\n)?"
    r" *```(?:\{code-block\} )?(?P<language>[\w+]+)\n"
    r"(?P<options>(?::\w+:[^\n]*\n)*)"
    r"(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block of code; ``line`` is where its code begins."""

    page: str
    line: int
    language: str
    code: str
    name: str = ""
    caption: str = ""

    def run(self, names: dict[str, object]) -> None:
        """Run Python among these names; a traceback shows the page's own lines."""
        source = "\n" * (self.line - 1) + self.code
        exec(compile(source, self.page, "exec"), names)  # noqa: S102 - our own pages


def blocks(page: str, language: str = "") -> list[Block]:
    """Return the blocks of a page (below the root), of one language if told."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [_block(page, text, match) for match in _BLOCK.finditer(text)]
    return [block for block in found if language in ("", block.language)]


def _block(page: str, text: str, match: re.Match[str]) -> Block:
    caption = re.search(r":caption: (.*)", match["options"])
    return Block(
        page,
        text.count("\n", 0, match.start("code")) + 1,
        match["language"],
        match["code"],
        match["name"] or "",
        caption[1].strip() if caption else "",
    )


def named(page: str, name: str) -> Block:
    """Return the block of this name."""
    (found,) = [block for block in blocks(page) if block.name == name]
    return found


def templates(page: str) -> dict[str, str]:
    """Return the templates that a page shows, by the names that its views use."""
    shown = [block for block in blocks(page) if block.caption.startswith("templates/")]
    return {block.caption.removeprefix("templates/"): block.code for block in shown}


def all_pages() -> list[str]:
    """List README and every page of the site, but the decisions."""
    pages = (path.relative_to(ROOT).as_posix() for path in sorted(DOCS.rglob("*.md")))
    return ["README.md", *(page for page in pages if not page.startswith("docs/decisions/"))]
