"""A proxy that counts S3 requests: bytes pass unchanged, so signatures stay valid."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.servers.relay import Relay, shut
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


class CountingProxy(Relay):
    """Listens in front of an S3 server and remembers every request.

    >>> with counting_proxy(server) as proxy:                   # doctest: +SKIP
    ...     proxy.server.client.get_object(Bucket="b", Key="k")
    ...     assert proxy.counts() == {"GET": 1}
    """

    def __init__(self, upstream: S3Server, *, latency_seconds: float = 0.0) -> None:
        """Bind a port; `start` accepts connections. Each request is held for the latency."""
        super().__init__(urlsplit(upstream.url).port or 80)
        self._latency_seconds = latency_seconds
        self._seen: list[S3Request] = []
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

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        """One client connection is one upstream connection, so that answers need no parsing."""
        answers = self._spawn(_pump, server, client)
        self._forward(client, server)
        shut(server, socket.SHUT_WR)
        answers.join()

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
    shut(sink, socket.SHUT_RDWR)
