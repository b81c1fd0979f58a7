"""Fleet: N copies of an app over one store, and a load balancer that is never kind.

One server hides every mistake that this package is about. A Fleet calls your factory once per
copy, gives each copy a disk of its own, never sends two requests in a row to the same copy, and
fails when a copy uses another copy's disk.
"""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import Client

from ..memory import MemoryStore
from ..store import Store
from .disks import Watched, disk_of, raise_foreign_use, watch_always, watching

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Factory = Callable[[dict[str, Any]], "WSGIApplication"]
START_SECONDS = 30
ANSWER_SECONDS = 60
_HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "server", "date"})


@dataclass
class Copy:
    """One copy of the app. ``disk`` is its own folder; ``answered`` counts its requests."""

    index: int
    disk: str
    app: WSGIApplication | None = None
    process: SpawnProcess | None = None
    pipe: Connection | None = None
    port: int = 0
    answered: int = 0
    alive: bool = True


class Fleet:
    """Run N copies of an app that share nothing but a store.

    ``factory`` takes a mapping of settings and returns a WSGI app; the mapping holds
    ``S3HANDOFF_STORE``, ``S3HANDOFF_WORK_DIR``, ``SECRET_KEY``, ``TESTING`` and ``FLEET_DISK`` (the
    copy's own folder: keep there what the app keeps on disk), and whatever ``config`` adds.
    ``routing`` is ``"round-robin"``, ``"random"`` (by ``seed``) or ``"adversarial"`` (the copy with
    the emptiest disk)::

        def create_app(config):
            app = Flask(__name__)
            app.config.from_mapping(config)
            ...

        with Fleet(create_app, routing="adversarial") as fleet:
            client = fleet.client()
            page = client.post("/upload", data={"avatar": (BytesIO(b"…"), "leo.png")})

    With ``processes=True`` each copy is a process of its own (the factory must be importable, and
    the store a ``"dir:/path"`` or S3 by its settings in ``config``), and ``kill`` is a real
    ``kill -9``. Raises ``ForeignDisk`` when a copy used another copy's disk: with processes
    whatever did it, in one process if it was the thread of the request.
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
        if routing not in _ROUTINGS:
            raise ValueError(f"routing is one of {', '.join(_ROUTINGS)}, not {routing!r}")
        self._factory = factory
        self._choose = _ROUTINGS[routing]
        self._random = random.Random(seed)  # noqa: S311 - a test must repeat, not surprise
        self._processes = processes
        self._routing = threading.Lock()
        self._home = os.path.realpath(tempfile.mkdtemp(prefix="s3handoff-fleet-"))
        self._config = {"SECRET_KEY": secrets.token_hex(16), "TESTING": True, **(config or {})}
        self.last: Copy | None = None
        self.copies: list[Copy] = []
        try:
            self.store = self._chosen_store(store)
            self._start(size)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop every copy and remove every disk."""
        for copy in self.copies:
            _stop(copy)
        try:
            raise_foreign_use(self._home)  # after the last answer
        finally:
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
        ask = _ask_process if self._processes else self._ask_here
        try:
            return ask(copy, environ, start_response)
        finally:
            raise_foreign_use(self._home)

    def _next(self) -> Copy:
        with self._routing:
            others = [copy for copy in self.copies if copy.alive and copy is not self.last]
            if not others:
                raise RuntimeError("Only one copy is left: it would answer twice in a row.")
            self.last = self._choose(self, others)
            self.last.answered += 1
            return self.last

    def _chosen_store(self, store: Store | str | None) -> Store | str:
        chosen: Store | str | None = store or self._config.get("S3HANDOFF_STORE")
        if chosen is None and "S3HANDOFF_BUCKET" in self._config:
            chosen = "s3"
        if not self._processes:
            return chosen or MemoryStore()
        if chosen == "memory" or not isinstance(chosen, str | None):
            raise ValueError("Processes can share a 'dir:/path' or S3, and nothing in memory.")
        return chosen or f"dir:{os.path.join(self._home, 'store')}"

    def _start(self, size: int) -> None:
        start = self._start_process if self._processes else self._start_here
        for index in range(size):
            copy = Copy(index, disk_of(self._home, index))
            os.mkdir(copy.disk)
            self.copies.append(copy)
            start(copy)
        for copy in self.copies:
            _await_port(copy)

    def _settings(self, copy: Copy) -> dict[str, Any]:
        own = {"S3HANDOFF_WORK_DIR": os.path.join(copy.disk, "work"), "FLEET_DISK": copy.disk}
        return {**own, **self._config, "S3HANDOFF_STORE": self.store}

    def _start_here(self, copy: Copy) -> None:
        with self._watching(copy):
            copy.app = self._factory(self._settings(copy))

    def _start_process(self, copy: Copy) -> None:
        spawn = multiprocessing.get_context("spawn")
        copy.pipe, theirs = spawn.Pipe(duplex=False)
        with contextlib.closing(theirs):
            watched = Watched(copy.disk, self._home)
            arguments = (self._factory, self._settings(copy), theirs, watched)
            copy.process = spawn.Process(target=_serve, args=arguments, daemon=True)
            copy.process.start()

    def _ask_here(
        self, copy: Copy, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        assert copy.app is not None
        with self._watching(copy):
            body = copy.app(environ, start_response)
            try:
                return list(body)
            finally:
                if close := getattr(body, "close", None):
                    close()

    def _watching(self, copy: Copy) -> contextlib.AbstractContextManager[None]:
        return watching(Watched(copy.disk, self._home))


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


# Processes


def _await_port(copy: Copy) -> None:
    if copy.pipe is None:
        return
    with contextlib.closing(copy.pipe):
        if not copy.pipe.poll(START_SECONDS):
            raise RuntimeError(f"Copy {copy.index} did not start in {START_SECONDS} s.")
        try:
            copy.port = copy.pipe.recv()
        except EOFError:
            raise RuntimeError(f"Copy {copy.index} ended before it could answer.") from None


def _serve(factory: Factory, config: dict[str, Any], pipe: Connection, watched: Watched) -> None:
    """Be one copy: in a process of its own, which ends with the fleet's, however that ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the fleet, which stops us
    tempfile.tempdir = watched.disk  # no other server sees this one's temporary files
    watch_always(watched)
    server = make_server(
        "127.0.0.1", 0, factory(config), threaded=True, request_handler=_QuietHandler
    )
    pipe.send(server.server_port)
    pipe.close()
    server.serve_forever()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of each request: the test's own output is what counts."""


def _stop(copy: Copy) -> None:
    if copy.pipe is not None:
        copy.pipe.close()
    if copy.process is not None:
        copy.process.kill()
        copy.process.join()
        copy.process.close()
        copy.process = None


def _ask_process(
    copy: Copy, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", copy.port, timeout=ANSWER_SECONDS)
    with contextlib.closing(connection):
        size = int(environ.get("CONTENT_LENGTH") or 0)
        connection.request(
            environ["REQUEST_METHOD"],
            _target(environ),
            body=environ["wsgi.input"].read(size),
            headers=_headers(environ),
        )
        answer = connection.getresponse()
        headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in _HOP_HEADERS]
        start_response(f"{answer.status} {answer.reason}", headers)
        return [answer.read()]


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
