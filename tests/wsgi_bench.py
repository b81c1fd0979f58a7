"""What the tests of the WSGI face share: bodies by the byte, an app that reads them, a middleware."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wrappers import Request, Response

from flask_s3handoff.testing import MemoryStore
from flask_s3handoff.wsgi import Handoff, HandoffMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

FORM = b'<!doctype html><form method="post" action="/next"><button>go</button></form>'
HTML = [("Content-Type", "text/html; charset=utf-8")]
MULTIPART = "multipart/form-data; boundary=B"
URLENCODED = "application/x-www-form-urlencoded"
PICTURE = b"\x89PNG\r\n--Q\r\nnot really\r\n--Q--\r\n" * 40  # with the delimiters of a boundary Q


def text(name: str, value: bytes | str) -> bytes:
    """Return a text part."""
    data = value.encode() if isinstance(value, str) else value
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + data


def file(name: str, filename: str, data: bytes, content_type: str = "image/png") -> bytes:
    """Return a file part as browsers send it: its name is put in as it is."""
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    return f"{disposition}Content-Type: {content_type}\r\n\r\n".encode() + data


def multipart(*parts: bytes, boundary: bytes = b"B", end: bytes = b"--B--\r\n") -> bytes:
    """Frame parts."""
    return b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + end


@dataclass
class Seen:
    """What the app of a bench saw of one request."""

    environ: WSGIEnvironment
    body: bytes

    @property
    def request(self) -> Request:
        """The request again, for werkzeug's parser."""
        environ = {k: v for k, v in self.environ.items() if not k.startswith("werkzeug.")}
        return Request({**environ, "wsgi.input": BytesIO(self.body)})


Answer = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]


def page(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with a form."""
    start_response("200 OK", list(HTML))
    return [FORM]


@dataclass
class Bench:
    """A middleware around an app that remembers what it was given; ``answer`` makes its answers."""

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    principal: Any = None
    answer: Answer = page
    seen: list[Seen] = field(default_factory=list)
    reads: bool = True

    def __post_init__(self) -> None:
        self.store = MemoryStore()
        named = {f"S3HANDOFF_{name.upper()}": value for name, value in self.settings.items()}
        self.handoff = Handoff.from_mapping(
            {
                "S3HANDOFF_STORE": self.store,
                "S3HANDOFF_WORK_DIR": str(self.folder / "work"),
                "S3HANDOFF_PLACES": {"users/": {}},
                "SECRET_KEY": "0123456789abcdef" * 2,
                **named,
            }
        )
        options = {"principal": self.principal} if self.principal else {}
        self.middleware = HandoffMiddleware(self.app, self.handoff, **options)
        self.cookies: dict[str, str] = {}

    def app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Be the app."""
        if not self.reads:
            self.seen.append(Seen(environ, b""))
            return self.answer(environ, start_response)
        length, chunked = environ.get("CONTENT_LENGTH"), environ.get("wsgi.input_terminated")
        size = int(length) if length else -1 if chunked else 0
        body = environ["wsgi.input"].read(size)
        self.seen.append(Seen(environ, body))
        return self.answer(environ, start_response)

    def post(
        self,
        body: bytes,
        content_type: str = MULTIPART,
        path: str = "/",
        environ: dict[str, Any] | None = None,
    ) -> Response:
        """Send a body; what is given of the environ goes in as it is."""
        return self.send("POST", path, body, content_type, environ)

    def get(self, path: str = "/", environ: dict[str, Any] | None = None) -> Response:
        """Ask for a page."""
        return self.send("GET", path, environ=environ)

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str | None = None,
        environ: dict[str, Any] | None = None,
    ) -> Response:
        """Send a request with the cookies of this browser, and read the answer to its end."""
        built = EnvironBuilder(path, method=method, content_type=content_type)
        if content_type:
            built.input_stream = BytesIO(body)
            built.content_length = len(body)
        for name, value in self.cookies.items():
            built.headers.add("Cookie", f"{name}={value}")
        made = built.get_environ() | (environ or {})
        chunks, status, headers = run_wsgi_app(self.middleware, made, buffered=True)
        for cookie in headers.getlist("Set-Cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return Response(list(chunks), status, headers)

    def upload(self, *parts: bytes) -> str:
        """Upload a file and return the token of the page that answers."""
        answer, self.answer = self.answer, page
        response = self.post(multipart(*(parts or [file("avatar", "leo.png", PICTURE)])))
        self.answer = answer
        assert response.status_code == 200, response.get_data(True)
        return token_of(response)

    @property
    def last(self) -> Seen:
        """What the app saw last."""
        return self.seen[-1]

    def later(self, seconds: float) -> None:
        """Set the clock."""
        rooms = self.handoff.rooms
        self.handoff.rooms = dataclasses.replace(rooms, now=lambda: time.time() + seconds)

    def forget_local_copies(self) -> None:
        """Become another server: its disk is empty."""
        self.handoff.rooms.mirror.close()
        other = Handoff(self.handoff.config, keys=lambda: ["0123456789abcdef" * 2])
        work = self.folder / "work"
        for copy in sorted(work.glob("2*/*/*")):
            copy.unlink()
        self.handoff.rooms = dataclasses.replace(self.handoff.rooms, workdir=other.rooms.workdir)
        self.handoff.rooms.mirror.workdir = other.rooms.workdir

    def close(self) -> None:
        """Wait for what is still being sent."""
        self.handoff.rooms.mirror.close()


@contextmanager
def bench(
    folder: Path, *, answer: Answer = page, principal: Any = None, **settings: Any
) -> Iterator[Bench]:
    """Make a bench; settings go in without their prefix."""
    made = Bench(folder, settings, principal, answer)
    try:
        yield made
    finally:
        made.close()


def token_of(response: Response) -> str:
    """Return the one token of a page."""
    (token,) = re.findall(r'name="_s3handoff" value="([A-Za-z0-9._~-]+)"', response.get_data(True))
    return str(token)
