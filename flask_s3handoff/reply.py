"""What a WSGI app answers, held back until it is known what its answer has to carry.

The server's ``start_response`` is called when the app has returned, or has given its first bytes:
by then it has done what it does with its files. An answer that carries nothing stays the app's own
object, so that a server still knows its ``wsgi.file_wrapper``. Each ``close`` is called once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from werkzeug.wrappers import Response

from .exchange import Exchange
from .leaving import MAX_STREAM_BYTES, leave

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Headers = list[tuple[str, str]]
Write = Callable[[bytes], object]


class Ends:
    """What is to be ended with a request, the latest first, and each once."""

    def __init__(self) -> None:
        self._stack: ExitStack | None = None  # a request that has nothing to end makes none

    def __bool__(self) -> bool:
        return self._stack is not None

    def add(self, end: Callable[[], object]) -> None:
        """Call this at the end."""
        self._stack = self._stack or ExitStack()
        self._stack.callback(end)

    def close(self) -> None:
        """End everything, whatever one of them raises; idempotent."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()


class Reply:
    """The answer to one request. ``start`` is the ``start_response`` that the app is given.

    ``environ`` is let go at the end: it holds the app's handle, and that holds us. A circle would
    keep every request alive until Python looks for circles.
    """

    # What an idle request never changes costs it nothing.
    exchange: Exchange | None = None
    settle: Callable[[int], object] | None = None  # told the status
    has_left = False
    _has_data = False
    _head: tuple[str, Headers] | None = None
    _exc_info: OptExcInfo | None = None
    _write: Write | None = None

    def __init__(self, environ: WSGIEnvironment, start_response: StartResponse) -> None:
        self.environ = environ
        self.ends = Ends()
        self._start_response = start_response
        self._written: list[bytes] = []

    def carry(self, exchange: Exchange) -> None:
        """Let this answer carry what the exchange has."""
        if self.has_left:
            raise RuntimeError("The answer has left: use its files before start_response.")
        self.exchange = exchange

    # What the app calls

    def start(
        self, status: str, headers: Headers, exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """Take the head of the answer, or another one while none has left (PEP 3333)."""
        if exc_info is not None and self.has_left:
            return self._start_response(status, headers, exc_info)
        if exc_info and exc_info[1] and (self._written or self._has_data):
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self._head is not None:
            raise AssertionError("start_response was called twice")
        self._head, self._exc_info = (status, headers), exc_info
        return self._take

    def _take(self, data: bytes) -> None:
        """Take bytes the old way; a page with forms is held back, up to 1 MiB."""
        if self._write is not None:
            self._write(data)
            return
        self._written.append(data)
        if self.exchange is None or sum(map(len, self._written)) > MAX_STREAM_BYTES:
            self._let_go()

    def _let_go(self) -> None:
        """Send the head, with what it can carry, and what was written so far."""
        written, self._written = self._written, []
        self._left(iter(()), passes=True)
        assert self._write is not None
        for data in written:
            self._write(data)

    # What the middleware calls

    def leave(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """Call the server's ``start_response``, and return what it iterates over."""
        has_ends = bool(self.ends)
        if close := getattr(body, "close", None):
            self.ends.add(close)
        is_file = self._is_file(body)
        left = self._left(self._begun(body), passes=is_file)
        if self.exchange is not None and (not is_file or self.exchange.has_open_files):
            has_ends = True  # what still streams may open a file of ours
        if has_ends or left is not body:
            return _Ending(left, self.close)
        self.environ = {}
        return body

    def _is_file(self, body: Iterable[bytes]) -> bool:
        """Tell whether the server sends this without Python; most make it of a class."""
        wrapper = self.environ.get("wsgi.file_wrapper")
        return isinstance(wrapper, type) and isinstance(body, wrapper)

    def close(self) -> None:
        """End what was opened for this request; idempotent."""
        try:
            self.ends.close()
        finally:
            self.environ = {}
            if self.exchange is not None:
                self.exchange.close()

    def _begun(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """Ask a lazy app for its first bytes: by then its head is known, and final."""
        is_ready = self.exchange is None or isinstance(body, list | tuple) or self._is_file(body)
        if self._head is not None and is_ready:
            return body
        chunks, first = iter(body), []
        for chunk in chunks:
            first.append(chunk)
            if chunk or self.exchange is None:
                break
        self._has_data = any(first)
        return itertools.chain(first, chunks)

    def _left(self, body: Iterable[bytes], *, passes: bool) -> Iterable[bytes]:
        """Send the head, and return the body: the app's own, or one that carries."""
        if self.has_left:
            return body
        if self._head is None:
            raise AssertionError("the app returned without calling start_response")
        if self.settle is not None:
            self.settle(int(self._head[0][:3]))
        if self.exchange is None:
            self._send(*self._head)
            return body
        body = self._with_written(body)
        is_head = self.environ["REQUEST_METHOD"] == "HEAD"
        shown = iter(body) if is_head else body  # of no bytes at all, no length is to be told
        response = _Answer(shown, *self._head, direct_passthrough=passes)
        left = leave(self.exchange, response)
        if left is response:
            self._send(*self._head)
            return body
        chunks, status, headers = left.get_wsgi_response(self.environ)
        self._send(status, headers)
        return chunks

    def _with_written(self, body: Iterable[bytes]) -> Iterable[bytes]:
        if not self._written:
            return body
        both = itertools.chain(self._written, body)
        return list(both) if isinstance(body, list | tuple) else both

    def _send(self, status: str, headers: Headers) -> None:
        exc_info, self._exc_info = self._exc_info, None  # no circle of a frame and its traceback
        self.has_left = True
        if exc_info is None:
            self._write = self._start_response(status, headers)
        else:
            self._write = self._start_response(status, headers, exc_info)


class _Answer(Response):
    """A response that says no more than the app did."""

    default_mimetype = None


class _Ending:
    """A body that ends the request when it has been sent."""

    def __init__(self, chunks: Iterable[bytes], end: Callable[[], object]) -> None:
        self._chunks = iter(chunks)
        self._end = end

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Tell the app, and close what is open."""
        self._end()
