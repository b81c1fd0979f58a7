"""A proxy that counts S3 requests: bytes pass unchanged, so signatures stay valid."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.servers.s3 import S3Server

COPY_SOURCE = "x-amz-copy-source"
KINDS = frozenset({"PUT", "GET", "HEAD", "COPY", "LIST", "DELETE", "MULTIPART", "PART", "BUCKET"})
_BLOCK = 65536


@dataclass(frozen=True)
class S3Request:
    """One request as it arrived, header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)

    @property
    def bucket(self) -> str:
        """The bucket of a path-style request."""
        return unquote(self.path).lstrip("/").partition("/")[0]

    @property
    def key(self) -> str:
        """The key of a path-style request, empty for the bucket itself."""
        return unquote(self.path).lstrip("/").partition("/")[2]

    @property
    def kind(self) -> str:
        """What it does, as one of `KINDS`."""
        if not self.key:
            return self._kind_of_bucket()
        if self.method == "POST" or (self.method == "DELETE" and "uploadId" in self.query):
            return "MULTIPART"  # begin, complete, abort
        if self.method == "PUT" and COPY_SOURCE in self.headers:
            return "COPY"
        return "PART" if self.method == "PUT" and "partNumber" in self.query else self.method

    def _kind_of_bucket(self) -> str:
        if self.method == "POST" and "delete" in self.query:
            return "DELETE"
        if self.method == "GET" and ("list-type" in self.query or "prefix" in self.query):
            return "LIST"
        return "MULTIPART" if "uploads" in self.query else "BUCKET"


class CountingProxy:
    """Listens in front of an S3 server and remembers every request.

    >>> with counting_proxy(server) as proxy:                   # doctest: +SKIP
    ...     proxy.server.client.get_object(Bucket="b", Key="k")
    ...     assert proxy.counts() == {"GET": 1}
    """

    def __init__(self, upstream: S3Server, *, latency_seconds: float = 0.0) -> None:
        """Bind a port; `start` accepts connections. Each request is held for the latency."""
        self._latency_seconds = latency_seconds
        self._target = urlsplit(upstream.url).port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._seen: list[S3Request] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.server = upstream.at(self.url)

    @property
    def requests(self) -> list[S3Request]:
        """Every request so far, in the order of arrival."""
        with self._lock:
            return list(self._seen)

    @property
    def kinds(self) -> list[str]:
        """The kinds of all requests so far, in the order of arrival."""
        return [request.kind for request in self.requests]

    def counts(self) -> dict[str, int]:
        """How many requests of each kind."""
        return dict(Counter(self.kinds))

    def count(self, kind: str | None = None, *, prefix: str = "") -> int:
        """How many requests of this kind (or any), for keys with this prefix.

        >>> proxy.count("GET", prefix="handoff/")               # doctest: +SKIP
        """
        if kind is not None and kind not in KINDS:
            raise ValueError(f"{kind!r} is none of {sorted(KINDS)}")
        wanted = (request for request in self.requests if request.key.startswith(prefix))
        return sum(kind in (None, request.kind) for request in wanted)

    def reset(self) -> None:
        """Forget what was seen."""
        with self._lock:
            self._seen.clear()

    def start(self) -> None:
        """Accept connections in the background."""
        self._spawn(self._accept)

    def stop(self) -> None:
        """Close every connection and wait for the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._listener.close()
        with self._lock:
            living = list(self._open)
        for connection in living:
            _shut(connection, socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)

    def _spawn(self, work: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=args, name="counting-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._spawn(self._serve, self._listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        """One client connection is one upstream connection, so that answers need no parsing."""
        with client, contextlib.suppress(OSError), self._connected() as server:
            for connection in (client, server):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._tracked(client, server):
                answers = self._spawn(_pump, server, client)
                self._forward(client, server)
                _shut(server, socket.SHUT_WR)
                answers.join()

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._target or 80))

    @contextlib.contextmanager
    def _tracked(self, *connections: socket.socket) -> Iterator[None]:
        with self._lock:
            self._open.update(connections)
        try:
            yield
        finally:
            with self._lock:
                self._open.difference_update(connections)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with client.makefile("rb") as incoming, contextlib.suppress(OSError):
            while head := _read_head(incoming):
                request = parse(head)
                with self._lock:
                    self._seen.append(request)
                time.sleep(self._latency_seconds)
                server.sendall(head)
                for block in _body(incoming, request.headers):
                    server.sendall(block)


@contextlib.contextmanager
def counting_proxy(server: S3Server, *, latency_seconds: float = 0.0) -> Iterator[CountingProxy]:
    """Put a counting proxy before a server; `proxy.server` is the server as seen through it."""
    proxy = CountingProxy(server, latency_seconds=latency_seconds)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


def parse(head: bytes) -> S3Request:
    """Read the request line and the headers."""
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    url = urlsplit(target)
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return S3Request(method, url.path, dict(parse_qsl(url.query, keep_blank_values=True)), headers)


def _read_head(incoming: BinaryIO) -> bytes:
    lines = []
    while line := incoming.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _body(incoming: BinaryIO, headers: Mapping[str, str]) -> Iterator[bytes]:
    if "chunked" in headers.get("transfer-encoding", ""):
        yield from _chunks(incoming)
    else:
        yield from _exactly(incoming, int(headers.get("content-length") or 0))


def _chunks(incoming: BinaryIO) -> Iterator[bytes]:
    while line := incoming.readline():
        yield line
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        yield from _exactly(incoming, size + 2)
    while line := incoming.readline():  # trailers, then an empty line
        yield line
        if line == b"\r\n":
            return


def _exactly(incoming: BinaryIO, size: int) -> Iterator[bytes]:
    while size and (block := incoming.read(min(size, _BLOCK))):
        size -= len(block)
        yield block


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(_BLOCK):
            sink.sendall(block)
    _shut(sink, socket.SHUT_RDWR)


def _shut(connection: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(how)
