"""Fleet: N copies of an app over one store, and a load balancer that is never kind.

One server hides every mistake that this package is about. A Fleet calls your factory once per
copy, gives each copy a disk of its own, never sends two requests in a row to the same copy, and
fails when a copy opens a file on another copy's disk.
"""

from __future__ import annotations

import contextlib
import contextvars
import http.client
import multiprocessing
import os
import random
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from werkzeug.serving import make_server
from werkzeug.test import Client

from ..memory import MemoryStore
from ..store import Store

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Factory = Callable[[dict[str, Any]], "WSGIApplication"]
START_SECONDS = 30
_HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "server", "date"})
_PATH_EVENTS = frozenset({"open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.link"})


class ForeignDisk(AssertionError):
    """A copy of the app used another copy's disk: on real servers the file would not be there."""


@dataclass
class Copy:
    """One copy of the app. ``disk`` is its own folder; ``answered`` counts its requests."""

    index: int
    disk: str
    app: WSGIApplication | None = None
    process: SpawnProcess | None = None
    port: int = 0
    answered: int = 0
    alive: bool = True


class Fleet:
    """Run N copies of an app that share nothing but a store.

    ``factory`` takes a mapping of settings and returns a WSGI app; the mapping holds
    ``S3HANDOFF_STORE``, ``S3HANDOFF_WORK_DIR``, ``SECRET_KEY``, ``TESTING`` and ``FLEET_DISK`` (the
    copy's own folder), and whatever ``config`` adds. ``routing`` is ``"round-robin"``, ``"random"``
    (by ``seed``) or ``"adversarial"`` (the copy with the emptiest disk)::

        def create_app(config):
            app = Flask(__name__)
            app.config.from_mapping(config)
            ...

        with Fleet(create_app, routing="adversarial") as fleet:
            client = fleet.client()
            page = client.post("/upload", data={"avatar": (BytesIO(b"…"), "leo.png")})

    With ``processes=True`` each copy is a process of its own (the factory must be importable and
    the store a ``"dir:/path"`` or S3 settings in ``config``), and ``kill`` is a real ``kill -9``.
    """

    def __init__(
        self,
        factory: Factory,
        size: int = 3,
        *,
        store: Store | str | None = None,
        routing: str = "round-robin",
        seed: int = 0,
        processes: bool = False,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        if size < 2:
            raise ValueError("A fleet has at least two copies: one server hides what it is for.")
        self._factory = factory
        self._choose = _ROUTINGS[routing]
        self._random = random.Random(seed)  # noqa: S311 - a test must repeat, not surprise
        self._processes = processes
        self._home = tempfile.mkdtemp(prefix="s3handoff-fleet-")
        self.store = store or self._default_store()
        self._config = {"SECRET_KEY": secrets.token_hex(16), "TESTING": True, **(config or {})}
        self.copies = [self._start(index) for index in range(size)]
        self.last: Copy | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop every copy and remove every disk."""
        for copy in self.copies:
            _stop(copy)
        shutil.rmtree(self._home, ignore_errors=True)

    def client(self, **options: Any) -> Client:
        """Return a browser: werkzeug's test client, with cookies of its own."""
        return Client(self, **options)

    def kill(self, copy: Copy | None = None) -> Copy:
        """Let a copy die (the last that answered, unless told): it answers no more."""
        victim = copy or self.last
        if victim is None:
            raise ValueError("No copy has answered yet: name the one to kill.")
        victim.alive = False
        _stop(victim)
        return victim

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Route one request to a copy that did not answer the one before."""
        copy = self._next()
        self.last = copy
        copy.answered += 1
        ask = self._ask_process if self._processes else self._ask_here
        body = ask(copy, environ, start_response)
        self._raise_foreign_reads()
        return body

    def _next(self) -> Copy:
        alive = [copy for copy in self.copies if copy.alive]
        others = [copy for copy in alive if copy is not self.last]
        if not others:
            raise ForeignDisk("Only one copy is left: a request would go to the same copy twice.")
        return self._choose(self, others)

    def _default_store(self) -> Store | str:
        if not self._processes:
            return MemoryStore()
        return f"dir:{os.path.join(self._home, 'store')}"

    def _start(self, index: int) -> Copy:
        disk = os.path.join(self._home, f"copy-{index}")
        os.mkdir(disk)
        config = {
            "S3HANDOFF_STORE": self.store,
            "S3HANDOFF_WORK_DIR": os.path.join(disk, "work"),
            "FLEET_DISK": disk,
            **self._config,
        }
        if self._processes:
            return _start_process(Copy(index, disk), self._factory, config, self._home)
        _watch_disks()
        return Copy(index, disk, app=self._factory(config))

    def _ask_here(
        self, copy: Copy, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        assert copy.app is not None
        token = _asked.set(_Asked(copy.disk, self._home))
        try:
            body = copy.app(environ, start_response)
            return _Body(body, list(body))
        finally:
            _asked.reset(token)

    def _ask_process(
        self, copy: Copy, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", copy.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(
                environ["REQUEST_METHOD"],
                _target(environ),
                body=environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)),
                headers=_headers(environ),
            )
            answer = connection.getresponse()
            headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in _HOP_HEADERS]
            start_response(f"{answer.status} {answer.reason}", headers)
            return [answer.read()]

    def _raise_foreign_reads(self) -> None:
        if os.path.exists(_report_of(self._home)):
            with open(_report_of(self._home), encoding="utf-8") as report:
                raise ForeignDisk(report.read())


class _Body:
    """A response read while its copy was watched; closing it closes the copy's own."""

    def __init__(self, source: Iterable[bytes], chunks: list[bytes]) -> None:
        self._source = source
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        if close := getattr(self._source, "close", None):
            close()


def _round_robin(fleet: Fleet, others: list[Copy]) -> Copy:
    after = -1 if fleet.last is None else fleet.last.index
    return min(others, key=lambda copy: (copy.index - after - 1) % len(fleet.copies))


def _at_random(fleet: Fleet, others: list[Copy]) -> Copy:
    return fleet._random.choice(others)


def _emptiest(_fleet: Fleet, others: list[Copy]) -> Copy:
    return min(others, key=lambda copy: (_count_files(copy.disk), copy.answered, copy.index))


_ROUTINGS: dict[str, Callable[[Fleet, list[Copy]], Copy]] = {
    "round-robin": _round_robin,
    "random": _at_random,
    "adversarial": _emptiest,
}


def _count_files(folder: str) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


# Watching disks: one audit hook per process, which no code can take out again (PEP 578)


@dataclass(frozen=True)
class _Asked:
    """Which copy is answering: its own disk, and the home of all disks."""

    disk: str
    home: str


_asked: contextvars.ContextVar[_Asked | None] = contextvars.ContextVar("asked", default=None)
_is_watching = False


def _watch_disks(always: _Asked | None = None) -> None:
    global _is_watching
    if _is_watching:
        return
    _is_watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _PATH_EVENTS and (asked := _asked.get() or always):
            for path in arguments[:2]:
                _judge_path(asked, path)

    sys.addaudithook(hook)


def _judge_path(asked: _Asked, path: object) -> None:
    if not isinstance(path, str | bytes):
        return
    name = os.path.abspath(os.fsdecode(path))
    other = os.path.join(asked.home, "copy-")
    if name.startswith(other) and not (name + os.sep).startswith(asked.disk + os.sep):
        _report(asked, name)


def _report(asked: _Asked, name: str) -> None:
    """Tell the fleet, and stop the copy where it stands."""
    message = f"The copy with the disk {asked.disk} used {name}, which is another copy's disk."
    reporter = os.open(_report_of(asked.home), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(reporter, message.encode())
    os.close(reporter)
    raise ForeignDisk(message)


def _report_of(home: str) -> str:
    return os.path.join(home, "foreign-disk.txt")


# Processes


def _start_process(copy: Copy, factory: Factory, config: dict[str, Any], home: str) -> Copy:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    copy.process = spawn.Process(
        target=_serve, args=(factory, config, theirs, _Asked(copy.disk, home)), daemon=True
    )
    copy.process.start()
    theirs.close()
    try:
        if not ours.poll(START_SECONDS):
            raise RuntimeError(f"Copy {copy.index} did not start in {START_SECONDS} s.")
        copy.port = ours.recv()
    finally:
        ours.close()
    return copy


def _serve(factory: Factory, config: dict[str, Any], pipe: Connection, asked: _Asked) -> None:
    _watch_disks(always=asked)
    server = make_server("127.0.0.1", 0, factory(config), threaded=True)
    pipe.send(server.server_port)
    pipe.close()
    server.serve_forever()


def _stop(copy: Copy) -> None:
    if copy.process is not None and copy.process.is_alive():
        copy.process.kill()
        copy.process.join()
    if copy.process is not None:
        copy.process.close()
        copy.process = None


def _target(environ: WSGIEnvironment) -> str:

    path = quote(environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"], encoding="latin-1")
    return f"{path}?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else path


def _headers(environ: WSGIEnvironment) -> dict[str, str]:
    headers = {
        name[5:].replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-")] = environ[name]
    return headers
