"""What the pages say of settings and errors is read from the code when they are built.

A page writes ``<!-- from code: settings -->``; ``fill`` puts the text in its place. Explanations
of settings are the README's, so that there is one of each.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flask_s3handoff.config import SECRET_SETTING, SETTINGS, HandoffConfig
from flask_s3handoff.errors import HandoffError

ROOT = Path(__file__).resolve().parents[2]
MARK = re.compile(r"^<!-- from code: ([a-z]+) -->$", re.MULTILINE)


def explanations() -> dict[str, tuple[str, str]]:
    """Return what the README's table says of each setting: its default, and the explanation."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("<!-- test: settings -->")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(S3HANDOFF_\w+)` \| (.*?) \| (.*) \|$", table, re.MULTILINE)
    return {name: (default, text) for name, default, text in rows}


def settings() -> str:
    """Describe every setting, in the order of the table in ``config``."""
    said, fields = explanations(), {setting.name: setting.field for setting in SETTINGS}
    return "\n\n".join(_setting(name, *said[name], fields) for name in [*fields, SECRET_SETTING])


def _setting(name: str, default: str, text: str, fields: dict[str, str]) -> str:
    field = f" · `HandoffConfig.{fields[name]}`" if name in fields else ""
    head = f"({name.lower().replace('_', '-')})=\n## `{name}`"
    return f"{head}\n\n{text[:1].upper()}{text[1:]}.\n\nDefault: {default}{field}"


def defaults() -> Iterator[tuple[str, object]]:
    """Yield each setting's name with the default that the code has."""
    config = HandoffConfig()
    yield from ((setting.name, getattr(config, setting.field)) for setting in SETTINGS)


def errors() -> str:
    """Tell every error: its reason, its status, its class, and what it means."""
    rows = ["| reason | status | class | |", "|---|---|---|---|"]
    for error in error_classes():
        meaning = inspect.cleandoc(error.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        meaning = meaning.replace("``", "`")
        rows.append(f"| `{error.reason}` | {error.code} | `{error.__name__}` | {meaning} |")
    return "\n".join(rows)


def error_classes() -> list[type[HandoffError]]:
    """Return every public error but the root, in the order of their definition."""
    return HandoffError.__subclasses__()


# The order of the menu "Run it"; a page that is not named here stands at its end.
_ORDER = ("bucket", "deployment", "commands", "retrofit", "scaling", "reliability", "logging")
_ELSEWHERE = {"index", "start", "tutorial", "concepts", "comparison", "testing", "changelog"}


def operations() -> str:
    """List the pages on running it: what is there joins the menu, what is not is not missed."""
    docs = ROOT / "docs"
    found = [*docs.glob("*.md"), *docs.glob("benchmarks/*.md")]
    names = {path.relative_to(docs).with_suffix("").as_posix() for path in found} - _ELSEWHERE
    return "\n".join([*(n for n in _ORDER if n in names), *sorted(names - {*_ORDER})])


_TEXTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "errors": errors,
    "operations": operations,
}


def fill(source: str) -> str:
    """Return a page with the texts from the code in place of their marks."""
    return MARK.sub(lambda found: _TEXTS[found[1]](), source)


def _on_read(_app: Any, _name: str, source: list[str]) -> None:
    source[0] = fill(source[0])


def setup(app: Any) -> dict[str, Any]:
    """Tell Sphinx to ask us about each page."""
    app.connect("source-read", _on_read)
    return {"version": "1", "parallel_read_safe": True}
