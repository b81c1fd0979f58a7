"""What a framework that reads bodies itself is sent, seen as it passes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from werkzeug.datastructures import Headers
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from .body import FORM_TYPES, MULTIPART_TYPE
from .observe import Observer, Visitor, current_visitor, quietly
from .paths import TOKEN_FIELD

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MAX_FORM_BYTES = 256 * 1024


def observed(application: WSGIApplication, observer: Observer) -> WSGIApplication:
    """Return the app, listened to, with its uploads and answers."""

    def listening(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        visitor = current_visitor()
        if visitor is None:
            return application(environ, start_response)
        answers: list[tuple[int, Headers]] = []

        def noting(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            answers.append((int(status[:3]), Headers(headers)))
            return start_response(status, headers, *exc_info)

        tap = _tap(environ)
        body = application(environ, noting)
        quietly(_tell, visitor, tap, answers, body)
        return body

    return observer.around(listening)


def _tell(
    visitor: Visitor, tap: Tap | None, answers: list[tuple[int, Headers]], body: object
) -> None:
    if tap is not None:
        tap.tell(visitor)
    if answers:  # else it is a generator, which has not begun
        status, headers = answers[-1]
        visitor.leave(status, headers, lambda: _page(body))


def _page(body: object) -> bytes | None:
    return b"".join(body) if isinstance(body, list | tuple) else None


def _tap(environ: WSGIEnvironment) -> Tap | None:
    mimetype, options = parse_options_header(environ.get("CONTENT_TYPE", ""))
    if mimetype not in FORM_TYPES:
        return None
    boundary = options.get("boundary", "") if mimetype == MULTIPART_TYPE else None
    tap = Tap(environ["wsgi.input"], None if boundary is None else boundary.encode("latin-1"))
    environ["wsgi.input"] = tap
    return tap


class Tap:
    """Stands for ``wsgi.input``; ``boundary`` is None for a urlencoded form."""

    def __init__(self, inner: Any, boundary: bytes | None) -> None:
        self._inner = inner
        self._decoder = None if boundary is None else MultipartDecoder(boundary)
        self._form = bytearray()
        self._files: list[list[Any]] = []
        self._tokens: list[str] = []
        self._part: Field | File | None = None
        self._is_lost = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return functools.partial(self._read_into, found) if name == "readinto" else found

    def _read_into(self, read: Callable[[Any], int | None], target: Any) -> int | None:
        count = read(target)
        self._seen(bytes(memoryview(target)[: count or 0]))
        return count

    def read(self, *size: int) -> bytes:
        """Read on."""
        return self._seen(self._inner.read(*size))

    def readline(self, *size: int) -> bytes:
        """Read a line."""
        return self._seen(self._inner.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        """Read all lines."""
        return [self._seen(line) for line in self._inner.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return (self._seen(line) for line in self._inner)

    def _seen(self, data: bytes) -> bytes:
        if not self._is_lost:
            try:
                self._take(data)
            except (ValueError, LookupError):  # no form; the app will say so
                self._is_lost = True
        return data

    def _take(self, data: bytes) -> None:
        if self._decoder is None:
            self._form += data[: MAX_FORM_BYTES - len(self._form)]
            return
        self._decoder.receive_data(data)
        while not isinstance(event := self._decoder.next_event(), NeedData | Epilogue):
            if isinstance(event, Field | File):
                self._begin(event)
            elif isinstance(event, Data):
                self._count(event.data)

    def _begin(self, part: Field | File) -> None:
        self._part = part
        if isinstance(part, File) and part.filename:
            self._files.append([part.name, part.filename, 0])
        elif part.name == TOKEN_FIELD:
            self._tokens.append("")

    def _count(self, data: bytes) -> None:
        if isinstance(self._part, File):
            if self._part.filename:
                self._files[-1][2] += len(data)
        elif self._part is not None and self._part.name == TOKEN_FIELD:
            self._tokens[-1] += data.decode("ascii", "replace")

    def tell(self, visitor: Visitor) -> None:
        """Say what has passed."""
        for field, filename, size in self._files:
            visitor.upload(field, filename, size)
        if TOKEN_FIELD.encode() in self._form:
            self._tokens += parse_qs(self._form.decode("ascii", "replace")).get(TOKEN_FIELD, [])
        for token in self._tokens:
            visitor.token(token, "form")
