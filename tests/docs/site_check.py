"""Look at the site that was built: every page is there, and no page asks another host for anything.

python -m tests.docs.site_check build/docs
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.pages import DOCS

# Where a browser fetches something by itself; a link is followed by a person.
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
_NOT_FETCHED = {"canonical", "index", "search", "next", "prev"}


class _Page(HTMLParser):
    """Collects what a page fetches, where it leads, and the anchors that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.anchors.add(said.get("id", ""))
        if tag == "a":
            self.links.append(said.get("href", ""))
        if said.get("rel") not in _NOT_FETCHED and said.get(FETCHED.get(tag, "-")):
            self.fetched.append(said[FETCHED[tag]])


def read(path: Path) -> _Page:
    """Read one page of the site."""
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def complaints(site: Path) -> Iterator[str]:
    """Yield what is wrong with a site."""
    pages = {path.resolve(): read(path) for path in sorted(site.rglob("*.html"))}
    for source in sorted(DOCS.rglob("*.md")):
        if (site / source.relative_to(DOCS).with_suffix(".html")).resolve() not in pages:
            yield f"{source.name} has no page"
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        yield from (f"{name} fetches {url}" for url in page.fetched if urlsplit(url).netloc)
        yield from (
            f"{name}: {url} leads nowhere" for url in page.links if _is_dead(path, url, pages)
        )
    for sheet in site.rglob("*.css"):
        said = re.sub(r"""[\s"']""", "", sheet.read_text(encoding="utf-8"))
        if "url(http" in said or "url(//" in said or "@importhttp" in said:
            yield f"{sheet.name} fetches from another host"


def _is_dead(path: Path, url: str, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(url)
    if parts.scheme or parts.netloc or path.name in ("genindex.html", "search.html"):
        return False
    goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if goal not in pages:
        return not goal.exists()
    return bool(parts.fragment) and unquote(parts.fragment) not in pages[goal].anchors


def main() -> None:
    """Say what is wrong, and fail."""
    site = Path(sys.argv[1])
    if found := list(complaints(site)):
        sys.exit("docs: " + "\n      ".join(found))
    print(f"docs: open {site / 'index.html'}")


if __name__ == "__main__":
    main()
