"""The reference is whole: what a user may write, catch, hear or grep stands in the docs."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib.util
import re
from collections.abc import Iterator
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from flask import Flask, request

import flask_s3handoff
from flask_s3handoff import HandoffMiddleware, S3Handoff, testing
from flask_s3handoff.config import SECRET_SETTING, SETTINGS, Place
from flask_s3handoff.errors import HandoffError
from flask_s3handoff.files import HandoffFile
from flask_s3handoff.handle import Handle
from flask_s3handoff.wsgi import RequestHandle
from tests.pages import DOCS, ROOT, all_pages
from tests.small_apps import fleet_of, form
from tests.tree import modules

LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error"}
LEVELS |= {"exception": "error", "critical": "critical"}
# Of a HandoffFile, what its keeper asks it and what a FileStorage has anyway.
FOR_THE_KEEPER = {"claim", "settle", "drop_edit", "became", "is_open"}
OF_A_FILE_STORAGE = {"stream", "headers", "closed", "readable", "seekable", "writable"}


def page(name: str) -> str:
    """Return a page's text; what is read from the code is in it."""
    spec = importlib.util.spec_from_file_location("from_code", DOCS / "_ext" / "from_code.py")
    assert spec
    assert spec.loader
    from_code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(from_code)
    filled: str = from_code.fill((ROOT / name).read_text(encoding="utf-8"))
    return filled


SITE = "\n".join(page(name) for name in all_pages() if name != "README.md")


def has(name: str) -> bool:
    """Tell whether a name stands in the site as code, with a dot or as a word of its own."""
    return re.search(rf"[.`(]{re.escape(name)}\b", SITE) is not None


def public(*classes: type) -> set[str]:
    """Return the public names that these classes define."""
    return {name for cls in classes for name in vars(cls) if not name.startswith("_")}


def test_every_setting_has_a_section() -> None:
    """With its default, its field and its explanation, which are the README's."""
    reference = page("docs/reference/settings.md")
    for name in [setting.name for setting in SETTINGS] + [SECRET_SETTING]:
        assert f"## `{name}`\n" in reference
    assert set(re.findall(r"S3HANDOFF_[A-Z_0-9]+[A-Z0-9]", SITE)) - {s.name for s in SETTINGS} == {
        SECRET_SETTING
    }


def test_every_option_of_a_place_is_told() -> None:
    """They are the keys of a dictionary that a user writes."""
    options = {field.name.removesuffix("_seconds") for field in dataclasses.fields(Place)}
    said = page("docs/reference/settings.md")
    assert {o for o in options - {"prefix"} if f'| `"{o}"` |' not in said} == set()


@pytest.mark.parametrize("name", sorted(public(S3Handoff, Handle, RequestHandle)))
def test_every_method_of_a_handle_is_documented(name: str) -> None:
    """What a view may call on ``handoff`` and ``environ["s3handoff"]``."""
    assert has(name) or name in ("begin", "refill"), f"say what {name} does in docs/"


@pytest.mark.parametrize("name", sorted(public(HandoffFile) - FOR_THE_KEEPER - OF_A_FILE_STORAGE))
def test_every_name_of_a_file_is_documented(name: str) -> None:
    """What a HandoffFile adds to a FileStorage."""
    api = page("docs/reference/api.md").split("autoclass:: flask_s3handoff.HandoffFile(")[1]
    assert re.search(rf"\b{name}\b", api.split("```")[0])


def test_the_middleware_and_its_arguments_are_documented() -> None:
    """Where a user of Django looks."""
    said = page("docs/reference/api.md") + page("README.md")
    assert f"flask_s3handoff.{HandoffMiddleware.__name__}" in said
    assert "principal=" in said


@pytest.mark.parametrize("error", HandoffError.__subclasses__(), ids=lambda e: e.reason)
def test_every_reason_is_documented_with_its_status(error: Any) -> None:
    """The words to match on."""
    assert f"| `{error.reason}` | {error.code} | `{error.__name__}` |" in page(
        "docs/reference/errors.md"
    )


def test_every_signal_is_documented_with_its_facts() -> None:
    """A listener is written by the table."""
    table = page("docs/reference/signals.md")
    signals = {name for name in flask_s3handoff.__all__ if name[0].islower()}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == signals


def test_the_facts_of_every_signal_are_those_that_are_sent() -> None:
    """A listener has its arguments from the table."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", page("docs/reference/signals.md"), re.MULTILINE)
    assert facts_sent() == {name: set(re.findall(r"`(\w+)`", facts)) for name, facts in rows}


def facts_sent() -> dict[str, set[str]]:
    """Send each signal once, and return the names of its facts."""
    sent: dict[str, set[str]] = {}
    with contextlib.ExitStack() as stack:
        for name in (name for name in flask_s3handoff.__all__ if name[0].islower()):

            def listen(_app: Flask, name: str = name, **facts: object) -> None:
                sent[name] = set(facts)

            stack.enter_context(getattr(flask_s3handoff, name).connected_to(listen))
        with fleet_of(every_signal) as fleet:
            browser = fleet.client()
            answer = browser.post("/up", data={"a": (BytesIO(b"picture"), "a.jpg")})
            browser.post("/all", data={"_s3handoff": [testing.token_of(answer), "made up"]})
    return sent


def every_signal(app: Flask, _handoff: S3Handoff) -> None:
    """Add a step that uploads, and one that does everything else."""

    def up() -> str:
        return f"{request.files['a'].filename}{form('/all')}"

    def everything() -> str:
        file = cast(HandoffFile, request.files["a"])
        file.replace(file.read() + b", edited")
        file.promote("users/1/a.jpg")
        file.discard()
        return "done"

    app.add_url_rule("/up", view_func=up, methods=["POST"])
    app.add_url_rule("/all", view_func=everything, methods=["POST"])


@pytest.mark.parametrize("name", [*flask_s3handoff.__all__, *testing.__all__])
def test_every_public_name_is_documented(name: str) -> None:
    """What can be imported."""
    assert has(name)


def commands() -> list[str]:
    """Return the names of every command of ``flask s3handoff``, once there are any."""
    if importlib.util.find_spec("flask_s3handoff.cli") is None:
        return []
    import click

    found = vars(import_module("flask_s3handoff.cli")).values()
    groups = [value for value in found if isinstance(value, click.Group)]
    inner = {id(c) for group in groups for c in group.commands.values()}
    return [name for group in groups if id(group) not in inner for name in _below(group, "")]


def _below(group: Any, before: str) -> Iterator[str]:
    for name, command in group.commands.items():
        yield f"{before}{name}"
        if hasattr(command, "commands"):
            yield from _below(command, f"{before}{name} ")


def test_every_command_is_documented() -> None:
    """Each has a section of its own, of as many words as a person types."""
    sections = re.findall(r"^#+ (?:`?flask s3handoff )?([a-z -]+)", SITE, re.MULTILINE)
    assert set(commands()) - {" ".join(section.split()) for section in sections} == set()


# --- the log -------------------------------------------------------------------------------------


class Line(NamedTuple):
    """One ``log.…("…")`` of the package."""

    level: str
    text: str
    room: str


def log_lines() -> list[Line]:
    """Find every call on ``log`` in the package."""
    return [
        Line(LEVELS[node.func.attr], _text(node, room), room)
        for room, module in modules().items()
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
        and node.func.attr in LEVELS
    ]


def _text(call: ast.Call, room: str) -> str:
    first = call.args[0]
    assert isinstance(first, ast.Constant), f"{room}: a log line is a text that can be searched for"
    return str(first.value)


def test_every_log_line_is_documented() -> None:
    """Level, text, when, and what to do."""
    rows = re.findall(r"^\| (\w+) \| `(.*?)` \| .+ \| .+ \|$", page("docs/logging.md"), re.M)
    missing = {(line.level, line.text) for line in log_lines()} - set(rows)
    assert not missing, "docs/logging.md has no row for " + "; ".join(
        f"| {level} | `{text}` | when | what to do |" for level, text in sorted(missing)
    )


def test_no_log_line_is_documented_that_is_gone() -> None:
    """Nobody greps for what is never written."""
    rows = re.findall(r"^\| (\w+) \| `(.*?)` \| .+ \| .+ \|$", page("docs/logging.md"), re.M)
    assert set(rows) - {(line.level, line.text) for line in log_lines()} == set()
    assert len(rows) == len(set(rows)), "a row stands there twice"


def test_every_log_line_has_words() -> None:
    """``%s`` alone cannot be searched for; the story of a file begins with its signal's name."""
    events = "%s %s field=%r %s"
    bare = [
        line for line in log_lines() if not re.search("[a-z]{4}", re.sub(r"%\w", "", line.text))
    ]
    assert [line.text for line in bare] == [events] * len(bare)
    assert len(log_lines()) > 15


def test_one_logger() -> None:
    """Its name is the one that the page tells; what is only observed goes to a child of it."""
    sources = {p: Path(p).read_text() for p in sorted((ROOT / "flask_s3handoff").rglob("*.py"))}
    named = {n for text in sources.values() for n in re.findall(r"getLogger\((.*?)\)", text)}
    assert named == {'"flask_s3handoff"', '"flask_s3handoff.observe"'}
    assert all(name.replace('"', "`") in page("docs/logging.md") for name in named)
