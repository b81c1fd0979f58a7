"""An S3 with a round trip and a bandwidth per connection, and nothing else that costs.

    python -m benchmarks.fake_s3 PORT

One thread per connection. A body is read and forgotten but for its size and its first byte; an
object is that byte, over and over. Signatures are not looked at. What is asked of ``/_bench``
steers it (``rtt``, ``rate``) and tells what was counted since the last ``reset``.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from urllib.parse import parse_qs, unquote, urlsplit

BLOCK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class Stored:
    """What is kept of an object: the byte that it consists of, its size, its metadata."""

    size: int
    fill: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Line:
    """What lies between a client and this server, and what came over it."""

    rtt: float = 0.0
    rate: float = 0.0  # bytes per second and connection; 0 is no limit
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, *names: str) -> None:
        """Count a request under each of these names."""
        with self.lock:
            self.counts.update(names)

    def travel(self) -> None:
        """Let one round trip pass."""
        time.sleep(self.rtt)


class Pace:
    """Holds a connection to its rate."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._began = time.monotonic()
        self._bytes = 0

    def passed(self, size: int) -> None:
        """Wait until so many more bytes may have passed."""
        if self._rate:
            self._bytes += size
            ahead = self._began + self._bytes / self._rate - time.monotonic()
            if ahead > 0.0005:
                time.sleep(ahead)


@dataclass(frozen=True)
class Asked:
    """One request: its head, read and split."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]

    @classmethod
    def read(cls, stream: BufferedReader) -> Asked | None:
        """Read the next head; None when the client is gone."""
        first = stream.readline()
        if not first.strip():
            return None
        method, target, _ = first.decode("latin-1").split(" ", 2)
        lines = iter(stream.readline, b"\r\n")
        pairs = (line.decode("latin-1").partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        split = urlsplit(target)
        query = parse_qs(split.query, keep_blank_values=True)
        return cls(method, unquote(split.path), query, headers)

    @property
    def name(self) -> str:
        """Return the method, with what S3 makes of it."""
        if self.method == "POST":
            return "CREATE" if "uploads" in self.query else "COMPLETE"
        if self.method == "PUT" and "partNumber" in self.query:
            return "PART"
        return "COPY" if "x-amz-copy-source" in self.headers else self.method

    def body(self, stream: BufferedReader, pace: Pace) -> tuple[int, bytes]:
        """Read the body; return its size and first byte as the sender meant them."""
        size, first = 0, b""
        for block in self._blocks(stream):
            pace.passed(len(block))
            size, first = size + len(block), first or block[:4096]
        if "aws-chunked" in self.headers.get("content-encoding", ""):
            first = first.partition(b"\r\n")[2]
        return int(self.headers.get("x-amz-decoded-content-length", size)), first[:1]

    def _blocks(self, stream: BufferedReader) -> Iterator[bytes]:
        if self.headers.get("transfer-encoding") != "chunked":
            yield from _exactly(stream, int(self.headers.get("content-length", 0)))
            return
        while size := int(stream.readline(), 16):
            yield from _exactly(stream, size)
            stream.readline()
        stream.readline()


def _exactly(stream: BufferedReader, size: int) -> Iterator[bytes]:
    while size and (block := stream.read1(min(size, BLOCK))):
        size -= len(block)
        yield block


class FakeS3:
    """The objects, and one conversation per connection."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._objects: dict[str, Stored] = {}
        self._parts: dict[str, dict[int, tuple[int, bytes]]] = {}

    def converse(self, connection: socket.socket) -> None:
        """Answer one client until it hangs up."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.line.travel()  # the handshake
        with connection, connection.makefile("rb") as stream:
            while asked := Asked.read(stream):
                if asked.path == "/_bench":
                    connection.sendall(_answer(200, self._steered(asked)))
                else:
                    self._serve(asked, stream, connection)

    def _serve(self, asked: Asked, stream: BufferedReader, connection: socket.socket) -> None:
        expects = asked.headers.get("expect", "").lower() == "100-continue"
        self.line.count(asked.name, *(["Expect"] if expects else []))
        if expects:
            self.line.travel()
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = asked.body(stream, Pace(self.line.rate))
        self.line.travel()
        for block in self._answers(asked, *body):
            connection.sendall(block)

    def _answers(self, asked: Asked, size: int, fill: bytes) -> Iterator[bytes]:
        match asked.name:
            case "GET" | "HEAD":
                yield from self._object(asked)
            case "CREATE":
                self._parts[asked.path] = {}
                text = b"<CreateUploadResult><UploadId>1</UploadId></CreateUploadResult>"
                yield _answer(200, text)
            case "COMPLETE":
                parts = self._parts.pop(asked.path)
                self._objects[asked.path] = Stored(sum(s for s, _ in parts.values()), parts[1][1])
                text = b"<CompleteUploadResult><ETag>1</ETag></CompleteUploadResult>"
                yield _answer(200, text)
            case "PART":
                self._parts[asked.path][int(asked.query["partNumber"][0])] = size, fill
                yield _answer(200, b"", ETag='"1"')
            case "COPY":
                source = "/" + unquote(asked.headers["x-amz-copy-source"]).lstrip("/")
                self._objects[asked.path] = self._objects[source]
                yield _answer(200, b"<CopyObjectResult><ETag>1</ETag></CopyObjectResult>")
            case "PUT":
                kept = {k: v for k, v in asked.headers.items() if k.startswith("x-amz-meta-")}
                self._objects[asked.path] = Stored(size, fill, kept)
                yield _answer(200, b"", ETag='"1"')
            case _:
                self._objects.pop(asked.path, None)
                yield _answer(204, b"")

    def _object(self, asked: Asked) -> Iterator[bytes]:
        stored = self._objects.get(asked.path)
        if stored is None:
            yield _answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        found = _RANGE.fullmatch(asked.headers.get("range", ""))
        start = int(found[1]) if found else 0
        stop = min(int(found[2]) + 1, stored.size) if found and found[2] else stored.size
        headers = {"ETag": '"1"', "Last-Modified": "Mon, 23 Nov 2026 00:00:00 GMT"}
        if found:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
        status, size = (206 if found else 200), stop - start
        yield _answer(status, b"", size, **headers, **stored.headers)
        if asked.method == "GET":
            yield from self._bytes(stored.fill, size)

    def _bytes(self, fill: bytes, size: int) -> Iterator[bytes]:
        pace, block = Pace(self.line.rate), fill * min(size, BLOCK)
        while size:
            some = block[:size]
            yield some
            pace.passed(len(some))
            size -= len(some)

    def _steered(self, asked: Asked) -> bytes:
        told = json.dumps(self.line.counts).encode()
        if "reset" in asked.query:
            self.line.counts = Counter()
        if "rtt" in asked.query:
            self.line.rtt = float(asked.query["rtt"][0])
        if "rate" in asked.query:
            self.line.rate = float(asked.query["rate"][0])
        return told


def _answer(status: int, body: bytes, length: int | None = None, **headers: str) -> bytes:
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} OK", f"Content-Length: {size}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def main(port: int) -> None:
    """Serve until we are killed."""
    server = FakeS3(Line())
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The kernel would take in megabytes that the line has not carried yet.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_quietly, args=(server, connection), daemon=True).start()


def _quietly(server: FakeS3, connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):  # a client that was killed, or gave up
        server.converse(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]))
