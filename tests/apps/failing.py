"""A server that dies at a step of its own: ``kill -9``, before the n-th effect of one request.

Between two effects (something written, made, removed, linked, sent or received) nothing can be seen
from outside, so a death before each of them is every death there is. The effects are those of the
whole process, watched from outside: nothing of this is in the package, and a step that is new there
is in the list by itself.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import boto3.session
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from flask_s3handoff import S3Handoff
from flask_s3handoff.s3 import S3Store
from tests.faults.flow import journey

# What the SDK reads of S3's model is read once, before any process of this kind is forked.
SESSION = boto3.session.Session()
SESSION.client("s3", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")

MADE = (
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.truncate",
    "socket.connect",
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SENT = ("send", "sendall", "pwrite", "flock")
WRITTEN = ("write", "truncate", "flush", "close", "__exit__")
FILES = (io.FileIO, io.BufferedWriter, io.BufferedRandom)
RECEIVED = ("recv", "recv_into")


class Step(NamedTuple):
    """The ``place``-th of several alike in a row, in the ``run``-th such row of this label."""

    label: str
    run: int
    place: int


class Steps:
    """Counts the effects of this process from ``begin`` on, and dies before one of them."""

    def __init__(self, work_dir: str, death: Step | None) -> None:
        self.seen: list[Step] = []
        self._work_dir = work_dir
        self._death = death
        self._runs: Counter[str] = Counter()
        self._last = threading.local()
        self._on = False

    def begin(self) -> None:
        """Watch every thread of this process."""
        self._on = True
        sys.addaudithook(self._audit)
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def end(self) -> None:
        """Watch no more."""
        self._on = False

    def _audit(self, event: str, given: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open" and given[2] and given[2] & WRITES:
            self._step(f"open {self._where(given[0])}")
        elif event in MADE:
            self._step(f"{event} {self._where(given[event == 'os.link'])}")

    def _where(self, path: object) -> str:
        """Tell a path by its kind: local copies have random names and today's date."""
        inside = os.path.relpath(str(path), self._work_dir).split(os.sep)[0]
        return "day" if inside.isdecimal() else inside if inside.isalpha() else "-"

    def _profile(self, _frame: object, event: str, what: Any) -> None:
        if not self._on or event != "c_call":
            return
        name, owner = what.__name__, getattr(what, "__self__", None)
        in_pool = threading.current_thread().name.startswith("s3handoff")
        is_effect = (
            name in SENT
            or (name in WRITTEN and isinstance(owner, FILES) and owner.writable())
            or (name in RECEIVED and in_pool)
        )
        if is_effect and owner is not sys.stderr.buffer:
            self._step(f"{'store' if in_pool else 'request'} {name}")

    def _step(self, label: str) -> None:
        last: Step | None = getattr(self._last, "step", None)
        if last is None or last.label != label:
            self._runs[label] += 1
            step = Step(label, self._runs[label], 1)
        else:
            step = Step(label, last.run, last.place + 1)
        self._last.step = step
        if step == self._death:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen.append(step)


def chosen(seen: list[Step]) -> list[Step]:
    """Return the steps to die at: of many alike in a row the first, one between and the last.

    Of those that receive, the first: how many there are is the network's choice.
    """
    most: dict[tuple[str, int], int] = {}
    for step in seen:
        most[step.label, step.run] = max(step.place, most.get((step.label, step.run), 0))
    return [
        Step(label, run, place)
        for (label, run), count in most.items()
        for place in sorted({1} if "recv" in label else {1, (count + 1) // 2, count})
    ]


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Say nothing."""


def create_app(config: Mapping[str, Any], store: S3Store) -> Flask:
    """Return the app of the fault tests."""
    app = Flask(__name__)
    app.config.from_mapping(config, S3HANDOFF_PLACES={"users/": {}})
    journey(app, S3Handoff(app, store=store))
    return app


def serve_one(
    config: Mapping[str, Any], store: Mapping[str, Any], death: Step | None, pipe: Connection
) -> None:
    """Tell the port, answer one request, tell the steps that it took; or die on the way."""
    given = dict(store)
    keys = {name: given.pop(name) for name in ("aws_access_key_id", "aws_secret_access_key")}

    def factory(*names: Any, **options: Any) -> Any:
        return SESSION.client(*names, **options, **keys)

    s3 = S3Store(**given, client_factory=factory)
    app = create_app(config, s3)
    steps = Steps(config["S3HANDOFF_WORK_DIR"], death)

    def watched(environ: Any, start_response: Any) -> Any:
        steps.begin()
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, watched, request_handler=_Quiet)
    pipe.send(server.server_port)
    server.handle_request()
    app.extensions["s3handoff"].handoff.rooms.mirror.close()
    steps.end()
    server.server_close()
    pipe.send(steps.seen)
