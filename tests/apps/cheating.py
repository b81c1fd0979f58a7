"""An app that works on one server, or on one disk, and nowhere else: it looks for its files."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from flask import Flask, current_app, request

KEPT = "kept.bin"


def create_app(config: Mapping[str, Any]) -> Flask:
    """Return the app; it keeps files in the folder that a ``Fleet`` gives it."""
    if config.get("FAILS"):
        raise RuntimeError("this app does not start")
    app = Flask(__name__)
    app.config.from_mapping(config)
    app.add_url_rule("/keep", view_func=keep, methods=["POST"])
    app.add_url_rule("/find/<way>", view_func=find)
    app.add_url_rule("/pid", view_func=lambda: str(os.getpid()))
    return app


def keep() -> str:
    """Keep the body on this server's disk, and look at it there."""
    (own_disk() / KEPT).write_bytes(request.get_data())
    os.symlink(own_disk() / KEPT, own_disk() / "link")
    return (own_disk() / "link").read_text()


def find(way: str) -> str:
    """Use the file wherever it lies, in one of the ways, and hide what comes of it if asked."""
    disks = own_disk().parent.glob("copy-*")
    there = next(disk / KEPT for disk in disks if (disk / KEPT).exists())
    try:
        WAYS[way](there)
    except AssertionError:
        if "hidden" not in request.args:
            raise
    return "found"


def own_disk() -> Path:
    """Return the folder of this copy."""
    return Path(current_app.config["FLEET_DISK"])


def _through_a_link(path: Path) -> None:
    link = own_disk() / "cheat"
    os.symlink(os.path.relpath(path, link.parent), link)
    link.read_bytes()


def _in_a_thread(path: Path) -> None:
    reading = threading.Thread(target=lambda: _ignoring(path.read_bytes))
    reading.start()
    reading.join()


def _ignoring(work: Callable[[], object]) -> None:
    try:
        work()
    except AssertionError:
        pass  # a thread's error has nobody to go to


def _connect(path: Path) -> None:
    with closing(sqlite3.connect(path)):
        pass


WAYS: dict[str, Callable[[Path], object]] = {
    "open": Path.read_bytes,
    "bytes": lambda path: open(os.fsencode(path), "rb").close(),
    "os.open": lambda path: os.close(os.open(path, os.O_RDONLY)),
    "append": lambda path: path.open("ab").close(),
    "copy": lambda path: shutil.copy(path, own_disk()),
    "move": lambda path: os.rename(path, own_disk() / "moved"),
    "give": lambda path: os.rename(own_disk() / KEPT, path),
    "hard link": lambda path: os.link(path, own_disk() / "linked"),
    "link": _through_a_link,
    "list": lambda path: os.listdir(path.parent),
    "scan": lambda path: list(path.parent.iterdir()),
    "remove": Path.unlink,
    "truncate": lambda path: os.truncate(path, 0),
    "database": _connect,
}
BESIDE: dict[str, Callable[[Path], object]] = {"thread": _in_a_thread}
WAYS |= BESIDE
