"""The house stands: imports only climb, and each foreign library has one door.

`FLOORS` is the map of the package; CONTRIBUTING.md explains it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.tree import PACKAGE as FOLDER
from tests.tree import modules

# From the ground up. A line is one idea in one or more rooms: a room may import those before it in
# its own line, and every room of a lower floor, but nothing of the other lines of its own floor.
FLOORS: dict[str, list[list[str]]] = {
    "ground": [
        ["errors", "paths", "judges", "config", "disk", "estate"],
    ],
    "first": [
        ["tokens", "binding"],
        ["policies"],
        ["lifecycle"],
        [
            *("store", "ranges", "s3client", "s3bucket", "s3", "s3admin"),
            *("records", "dirstore", "memory"),
        ],
        ["draft", "spool", "root", "sweep", "flight", "workdir", "beneath", "ledger"],
        ["htmlscan", "origins", "formreader", "forms"],
        ["body", "bodyscan", "bodywriter"],
        ["audit"],
        ["facts", "findings", "proposal", "survey"],
    ],
    "second": [
        [
            *("pool", "upload", "mirror", "files", "visit"),
            *("folder", "scope", "errands", "whose", "folders", "moving"),
            *("carriage", "exchange", "leaving", "arriving", "handle", "handoff", "links"),
            *("reply", "refill"),
            *("notes", "observe", "tap"),
            *("provision", "probe", "bucketcheck", "housekeeping", "doctor"),
        ],
    ],
    "faces": [
        ["current", "bystander", "hooks", "extension", "report", "command", "clifiles", "cli"],
        ["wsgi"],
        [
            "testing.bench",
            "testing.promises",
            "testing.contract",
            "testing.disks",
            "testing.fleet",
            "testing.tokens",
            "testing",
        ],
    ],
}
# What may be imported by whom, beside the standard library. `werkzeug` is everybody's.
DOORS = {
    "itsdangerous": {"tokens"},
    "boto3": {"s3client"},
    "botocore": {"s3client"},
    "flask": {"current", "bystander", "hooks", "extension", "command", "cli"},
    "click": {"command", "clifiles", "cli"},
    "rich": {"report"},
    "blinker": {"current"},
    "markupsafe": {"handle"},
}
ROOF = "__init__"
PACKAGE = "flask_s3handoff"

ROOMS = {
    room: (floor, line, place)
    for floor, lines in enumerate(FLOORS.values())
    for line, rooms in enumerate(lines)
    for place, room in enumerate(rooms)
}
MODULES = modules()


def imports(module: ast.Module, room: str = "") -> Iterator[str]:
    """Every module that is imported, wherever the statement stands, by its absolute name."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, room)
            # A name may be a room itself (`from . import paths`) or something in it.
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _absolute(node: ast.ImportFrom, room: str) -> str:
    inner = room if (FOLDER / room.replace(".", "/")).is_dir() else room.rpartition(".")[0]
    package = [PACKAGE, *inner.split(".")] if inner else [PACKAGE]
    base = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*base, *([node.module] if node.module else [])])


def rooms_used(room: str) -> set[str]:
    """The rooms that a room imports: of `paths.check_key` and `paths`, what is a room."""
    names = [name.split(".")[1:] for name in imports(MODULES[room], room) if _is_ours(name)]
    return {_room(name) for name in names}


def _is_ours(name: str) -> bool:
    return name.split(".")[0] == PACKAGE


def _room(name: list[str]) -> str:
    known = (".".join(name[:end]) for end in range(len(name), 0, -1))
    return next((room for room in known if room in MODULES), ".".join(name))


def may_import(room: str, other: str) -> bool:
    """Does this import climb, or stay in its line?"""
    floor, line, place = ROOMS[room]
    other_floor, other_line, other_place = ROOMS.get(other, (99, 0, 0))
    if floor == other_floor:
        return line == other_line and other_place < place
    return other_floor < floor


def test_every_room_has_its_place() -> None:
    """A new room is entered in the map; a room that is gone leaves it."""
    assert set(MODULES) - {ROOF} == set(ROOMS)


@pytest.mark.parametrize("room", sorted(set(MODULES) & set(ROOMS)))
def test_imports_only_climb(room: str) -> None:
    """Any file can be read knowing only those below it."""
    assert {other for other in rooms_used(room) - {room} if not may_import(room, other)} == set()


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library: str) -> None:
    """What a library does to us is translated in one place."""
    users = {
        room
        for room, module in MODULES.items()
        if any(name.split(".")[0] == library for name in imports(module, room))
    }
    assert users <= DOORS[library]


def test_the_check_sees_every_way_to_import() -> None:
    """Relative, absolute, nested and whole-package imports are all seen."""
    source = """
from . import paths
from .config import Place
import flask_s3handoff.store
def late():
    from flask_s3handoff.errors import Missing
    from flask_s3handoff import tokens
    import boto3.session
"""
    seen = set(imports(ast.parse(source)))
    ours = {"paths", "config.Place", "store", "errors.Missing", "tokens"}
    assert seen == {f"{PACKAGE}.{name}" for name in ours} | {"boto3.session"}


def test_the_check_knows_up_from_down() -> None:
    """Lower floors and earlier rooms of the same line are allowed; siblings are not."""
    assert may_import("forms", "htmlscan")
    assert may_import("handoff", "store")
    assert not may_import("paths", "config")
    assert not may_import("body", "store")
    assert not may_import("store", "mirror")
