"""Parts to body: a multipart body as a browser would have sent it, made of windows of open files.

Nothing is copied: a body is a list of pieces, bytes in memory or windows of files, that are read
one after the other. Names are escaped with backslashes, as RFC 9110 has it: Django takes the
``%22`` of browsers for what it says, and all frameworks read ``\\"`` right.
"""

from __future__ import annotations

import io
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, cast
from urllib.parse import unquote_to_bytes

from .body import FORM_TYPE, MULTIPART_TYPE
from .paths import TOKEN_FIELD

_BUFFER_BYTES = 64 * 1024
_BREAKS = re.compile(rb"[\r\n\0]+")
_PLAIN = re.compile(r"[\x20-\x7e]+")
_CHARSET = re.compile(r"[A-Za-z0-9._:+-]{1,40}")


@dataclass(frozen=True)
class Window:
    """Some bytes of an open file, whose position does not matter."""

    fd: int
    start: int
    size: int


Piece = bytes | Window


@dataclass(frozen=True)
class Body:
    """A body: its Content-Type, its size in bytes, and what it is made of."""

    content_type: str
    size: int
    pieces: Sequence[Piece]

    def open(self) -> IO[bytes]:
        """Return it as a file; closing that leaves the files of its windows open."""
        return open_pieces(self.pieces)


def multipart(parts: Iterable[Sequence[Piece]], *, charset: str | None = None) -> Body:
    """Frame parts, each with its headers, by a boundary that nobody can have foreseen (B60).

    >>> body = multipart([[text_head(b"title"), b"Leo"]])
    >>> body.size == len(body.open().read())
    True
    """
    boundary = f"----s3handoff{secrets.token_hex(16)}"
    delimiter = f"--{boundary}\r\n".encode()
    pieces: list[Piece] = [piece for part in parts for piece in (delimiter, *part, b"\r\n")]
    pieces.append(f"--{boundary}--\r\n".encode())
    content_type = _typed(f"{MULTIPART_TYPE}; boundary={boundary}", charset)
    return Body(content_type, sum(map(size_of, pieces)), pieces)


def urlencoded(pairs: Iterable[bytes], *, charset: str | None = None) -> Body:
    """Put the pairs of a form together as they were."""
    text = b"&".join(pairs)
    return Body(_typed(FORM_TYPE, charset), len(text), [text])


def _typed(content_type: str, charset: str | None) -> str:
    known = charset and _CHARSET.fullmatch(charset)
    return f"{content_type}; charset={charset}" if known else content_type


def size_of(piece: Piece) -> int:
    """Return the size of a piece in bytes."""
    return piece.size if isinstance(piece, Window) else len(piece)


# The head of a part


def text_head(name: bytes) -> bytes:
    """Return the headers of a text and the blank line after them."""
    return b'Content-Disposition: form-data; name="%s"\r\n\r\n' % _quoted(name)


def file_head(field: str, filename: str, content_type: str) -> bytes:
    r"""Return the headers of a file and the blank line after them; names go as UTF-8.

    >>> file_head("avatar", 'le"o.png', "image/png").splitlines()[0]
    b'Content-Disposition: form-data; name="avatar"; filename="le\\"o.png"'
    """
    named = _quoted(_utf8(field)), _quoted(_utf8(filename))
    kind = content_type if _PLAIN.fullmatch(content_type) else "application/octet-stream"
    disposition = b'Content-Disposition: form-data; name="%s"; filename="%s"\r\n' % named
    return disposition + f"Content-Type: {kind}\r\n\r\n".encode()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _quoted(text: bytes) -> bytes:
    """Escape what would end a name, and drop what would end its line (B54, B55)."""
    return _BREAKS.sub(b"", text).replace(b"\\", b"\\\\").replace(b'"', b'\\"')


# Urlencoded forms


def pairs_of(form: bytes) -> tuple[list[bytes], list[str]]:
    """Split a urlencoded form into the app's own pairs, as they are, and our tokens.

    >>> pairs_of(b"title=a+b&_s3handoff=TOKEN")
    ([b'title=a+b'], ['TOKEN'])
    """
    own: list[bytes] = []
    tokens: list[str] = []
    for pair in form.split(b"&"):
        name, value = decoded(pair)
        if name == TOKEN_FIELD.encode():
            tokens.append(value.decode("utf-8", "replace"))
        elif pair:
            own.append(pair)
    return own, tokens


def decoded(pair: bytes) -> tuple[bytes, bytes]:
    """Return the name and the value of a pair.

    >>> decoded(b"a+name=100%25")
    (b'a name', b'100%')
    """
    name, _, value = pair.replace(b"+", b" ").partition(b"=")
    return unquote_to_bytes(name), unquote_to_bytes(value)


def clear(name: bytes, charset: str | None) -> bytes:
    r"""Return a field's name as it is read in a urlencoded form, unless that tells its charset.

    In the header of a part, bytes that are no UTF-8 would cost the whole form (B16).

    >>> clear(b"caf\xe9", None).decode()
    'caf�'
    """
    return name if charset else name.decode("utf-8", "replace").encode()


# Reading


def open_pieces(pieces: Sequence[Piece]) -> IO[bytes]:
    """Return pieces as one file."""
    return cast(IO[bytes], io.BufferedReader(_Rope(pieces), _BUFFER_BYTES))


class _Rope(io.RawIOBase):
    """Pieces, read one after the other."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        super().__init__()
        self._chunks = _chunks(pieces)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # any writable buffer
        """Fill a buffer, at least in part; nothing at the end."""
        self._rest = self._rest or memoryview(next(self._chunks, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _chunks(pieces: Iterable[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, Window):
            yield from _read(piece)
        elif piece:
            yield piece


def _read(window: Window) -> Iterator[bytes]:
    at, end = window.start, window.start + window.size
    while at < end:
        data = os.pread(window.fd, min(_BUFFER_BYTES, end - at), at)
        if not data:
            raise EOFError("A file became shorter while it was read.")
        yield data
        at += len(data)
