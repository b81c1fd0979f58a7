"""A browser at the level of WSGI, and bodies that come as fast as a line lets them."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=----WebKitFormBoundaryAbCdEfGhIjKlMnOp"
_DELIMITER = b"------WebKitFormBoundaryAbCdEfGhIjKlMnOp"
_TOKEN = re.compile(rb'name="_s3handoff" value="([^"]+)"')
WINDOW_BYTES = 512 * 1024  # what lies in the kernel and in a proxy while the app does not read


class Zeros(io.RawIOBase):
    """An upload of so many zeros, made while it is read.

    ``rate`` is in bytes per second. A reader that falls behind by more than a window holds the
    sender up, as TCP does.
    """

    def __init__(self, size: int, *, rate: float = 0.0, fill: bytes = b"\0") -> None:
        super().__init__()
        head = b'%b\r\nContent-Disposition: form-data; name="file"; filename="film.mp4"\r\n'
        self._head = head % _DELIMITER + b"Content-Type: video/mp4\r\n\r\n"
        self._tail = b"\r\n%b--\r\n" % _DELIMITER
        self._block = fill * 65_536
        self._left = size
        self.length = len(self._head) + size + len(self._tail)
        self._rate = rate
        self._came = 0
        self._began = 0.0

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, when they have come."""
        data = self._next(65_536 if size < 0 else min(size, 65_536))
        if self._rate:
            self._wait(len(data))
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer with the next bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        """Return whole reads, across the head and the tail: so no write is luckily aligned."""
        if size == 65_536 and not self._head and self._left >= size:
            self._left -= size
            return self._block
        some = min(max(size - len(self._head), 0), self._left)
        data = self._head + self._block[:some]
        if some == self._left:
            data, self._tail = data + self._tail, b""
        self._head, self._left = data[size:], self._left - some
        return data[:size]

    def _wait(self, size: int) -> None:
        now = time.monotonic()
        self._began = self._began or now
        # what could not be sent, because nobody read, is sent later
        self._began = max(self._began, now - (self._came + WINDOW_BYTES) / self._rate)
        self._came += size
        ahead = self._began + self._came / self._rate - now
        if ahead > 0:
            time.sleep(ahead)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def token(self) -> str:
        """Return the token of a page."""
        found = _TOKEN.search(self.body)
        assert found, self.body[:500]
        return found[1].decode()


@dataclass
class Person:
    """Somebody with a browser: remembers cookies."""

    cookies: dict[str, str] = field(default_factory=dict)

    def upload(self, app: WSGIApplication, body: Zeros, path: str = "/upload") -> Answer:
        """Send a file."""
        return self.send(app, path, body, body.length, MULTIPART)

    def submit(self, app: WSGIApplication, path: str, **fields: str) -> Answer:
        """Send a form without a file."""
        data = urlencode(fields).encode()
        return self.send(app, path, io.BytesIO(data), len(data), URLENCODED)

    def send(
        self, app: WSGIApplication, path: str, stream: Any, length: int, content_type: str
    ) -> Answer:
        """Send a body, and insist on an answer that is no error."""
        environ = environ_of("POST", path)
        environ |= {
            "wsgi.input": stream,
            "CONTENT_LENGTH": str(length),
            "CONTENT_TYPE": content_type,
        }
        if self.cookies:
            environ["HTTP_COOKIE"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        answer = call(app, environ)
        assert answer.status == "200 OK", (answer.status, answer.body[:500])
        for name, value in answer.headers:
            if name == "Set-Cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        return answer


def environ_of(method: str, path: str) -> WSGIEnvironment:
    """Return the environ of a request without a body."""
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def call(app: WSGIApplication, environ: WSGIEnvironment) -> Answer:
    """Call an app as a server does, and read its answer to the end."""
    started: list[Any] = []

    def start_response(status: str, headers: Any, _exc_info: Any = None) -> Callable[..., object]:
        started[:] = [status, headers]
        return lambda _data: None

    body: Iterable[bytes] = app(environ, start_response)
    try:
        data = b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    return Answer(started[0], started[1], data)
