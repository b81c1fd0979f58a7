"""A small HTTP server that answers as it is told, for what no well-behaved S3 server does."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import responses
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    port: int = 0

    @property
    def path(self) -> str:
        """The path without its query, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, list[str]]:
        """The query, parsed."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)


@dataclass(frozen=True)
class Answer:
    """One answer. ``length`` may lie; ``drip`` sends a byte at a time until the server stops, and
    ``stall`` nothing after its body.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    reset: bool = False
    silent: bool = False
    drip: bool = False
    chunked: bool = False
    stall: bool = False

    @classmethod
    def error(cls, status: int, code: str, **headers: str) -> Answer:
        """An S3 error document."""
        body = f"<Error><Code>{code}</Code><Message>as scripted</Message></Error>"
        return cls(status, body.encode(), headers)


Step = Answer | Callable[[Asked], Answer]


def serving(data: bytes) -> Callable[[Asked], Answer]:
    """Answer a GET as S3 would, ranges included."""

    def answer(asked: Asked) -> Answer:
        if "range" not in asked.headers:
            return Answer(body=data)
        first, last = map(int, asked.headers["range"].removeprefix("bytes=").split("-"))
        said = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        return Answer(206, data[first : last + 1], said)

    return answer


class ScriptedS3:
    """Give out answers in turn, the last one again and again; keep every request."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.stopped = threading.Event()
        self._answers: list[Step] = [Answer()]
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.script = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def will(self, *answers: Step) -> None:
        """Forget the past and answer with these from now on."""
        with self._lock:
            self.asked = []
            self._answers = list(answers)

    def next(self, asked: Asked) -> Answer:
        """Note a request and return its answer."""
        with self._lock:
            self.asked.append(asked)
            step = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return step if isinstance(step, Answer) else step(asked)

    def methods(self) -> list[str]:
        """The methods that were asked, in order."""
        return [asked.method for asked in self.asked]

    @contextlib.contextmanager
    def running(self) -> Iterator[ScriptedS3]:
        """Serve until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.stopped.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join(10)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    script: ScriptedS3


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Answer the requests of one connection until one side has enough."""
        with contextlib.suppress(OSError):
            while (asked := self._read()) and self._write(asked, self.server.script.next(asked)):
                pass

    def _read(self) -> Asked | None:
        line = self.rfile.readline().decode("latin-1").split()
        if not line:
            return None
        headers: dict[str, str] = {}
        while (header := self.rfile.readline().decode("latin-1").strip()) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect") == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = int(headers.get("content-length", 0))
        body = self.rfile.read(size)
        if len(body) < size:  # whoever sent it has gone away
            return None
        return Asked(line[0], line[1], headers, body, self.client_address[1])

    def _write(self, asked: Asked, answer: Answer) -> bool:
        """Send the answer; return whether the connection goes on."""
        if answer.silent:
            self.server.script.stopped.wait(60)
            return False
        self.wfile.write(_head(answer))
        if asked.method == "HEAD":
            return True
        if answer.drip:
            return self._drip(answer)
        self.wfile.write(_chunk(answer.body) if answer.chunked else answer.body)
        if answer.stall:
            self.server.script.stopped.wait(60)
            return False
        if answer.reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        return answer.length is None and not answer.reset

    def _drip(self, answer: Answer) -> bool:
        for byte in answer.body:
            self.wfile.write(bytes([byte]))
            if self.server.script.stopped.wait(0.02):
                break
        return False


def _head(answer: Answer) -> bytes:
    length = len(answer.body) if answer.length is None else answer.length
    framing = (
        {"Transfer-Encoding": "chunked"} if answer.chunked else {"Content-Length": str(length)}
    )
    headers = {
        "Last-Modified": "Mon, 23 Nov 2026 10:00:00 GMT",
        "ETag": '"e"',
        **framing,
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
