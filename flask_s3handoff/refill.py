"""A request body in which each token has become the file again, as if the browser had sent it.

For frameworks that parse bodies themselves. The body is read before the app runs, because only
then is known what it holds and how long it will be; fresh files are mirrored as they pass. What
holds no token is what the app then reads, byte for byte. Where there is one, the parts are framed
anew: each as it came, without ours, and with the files that the tokens stand for. Their bytes are
windows of the local copies: nothing is copied, and memory does not grow with them.

A multipart body that cannot be read is an error if a file or a token is in it, since that would be
lost (rules 3 and 5). Any other is the app's own affair, and passes as it came.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Any, cast

from werkzeug.exceptions import ClientDisconnected, HTTPException
from werkzeug.http import parse_options_header
from werkzeug.wsgi import get_content_length, get_input_stream

from .body import FORM_TYPES, MULTIPART_TYPE, Parsed, parse
from .bodyscan import MAX_PARTS, Part, ScanningParser
from .bodywriter import (
    Body,
    Piece,
    Window,
    clear,
    decoded,
    file_head,
    multipart,
    open_pieces,
    pairs_of,
    text_head,
    urlencoded,
)
from .disk import despite_cleaners, disk, open_private
from .errors import HandoffError, TooLarge
from .exchange import Exchange
from .files import HandoffFile
from .paths import TOKEN_FIELD
from .reply import Ends
from .spool import Spool
from .visit import Rooms

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_FORM_BYTES = 4 << 20  # of a urlencoded form with a token: such a form is held in memory
_DIGESTS = ("HTTP_CONTENT_MD5", "HTTP_DIGEST", "HTTP_CONTENT_DIGEST", "HTTP_REPR_DIGEST")


def brings_form(environ: WSGIEnvironment) -> bool:
    """Tell whether a request brings a form, in which files and tokens may be."""
    mimetype = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    return environ["REQUEST_METHOD"] in ("POST", "PUT", "PATCH") and mimetype in FORM_TYPES


class Refill:
    """The body of one request.

    ``exchange`` gives the request's story, begun when a file or a token is seen. ``ends`` is closed
    when the app has answered. Switched off, tokens are only taken out.
    """

    def __init__(
        self,
        environ: WSGIEnvironment,
        rooms: Rooms,
        *,
        exchange: Callable[[], Exchange],
        ends: Ends,
    ) -> None:
        self._environ = environ
        self._rooms = rooms
        self._exchange = exchange
        self._is_on = rooms.config.is_active
        self._ends = ends
        self._mimetype, self._options = parse_options_header(environ["CONTENT_TYPE"])
        self._spool = Spool(
            get_input_stream(environ),
            rooms.workdir.begin,
            expected=get_content_length(environ),
            watchword=TOKEN_FIELD.encode(),
        )

    def pour(self) -> None:
        """Read the body, and give the app the one that it shall see.

        Raises what is to be answered in the app's place: ``BadRequest``, ``TooLarge``,
        ``Expired``, ``Missing``…
        """
        try:
            self._pour()
        finally:
            if self._spool.fd is not None:
                self._ends.add(self._spool.close)

    def _pour(self) -> None:
        is_multipart = self._mimetype.lower() == MULTIPART_TYPE
        body = self._read_multipart() if is_multipart else self._read_urlencoded()
        if body is not None:
            self._replace(body)
        elif self._spool.size:
            self._environ["wsgi.input"] = open_pieces([self._window(0, self._spool.size)])

    def _replace(self, body: Body) -> None:
        environ = self._environ
        environ["wsgi.input"] = body.open()
        environ["CONTENT_TYPE"] = body.content_type
        environ["CONTENT_LENGTH"] = str(body.size)
        for name in ("HTTP_TRANSFER_ENCODING", *_DIGESTS):
            environ.pop(name, None)

    # Multipart

    def _read_multipart(self) -> Body | None:
        parser = ScanningParser()
        try:
            parsed = self._parse(parser)
        except (HandoffError, ClientDisconnected):
            raise
        except HTTPException:
            self._spool.drain()
            if self._is_on and (parser.has_seen_file or self._spool.has_watchword):
                raise
            return None
        try:
            restored = self._admit(parsed)
        except BaseException:
            parsed.abort()
            raise
        has_ours = any(part.name == TOKEN_FIELD for part in parser.parts)
        return self._framed(parser.parts, restored) if has_ours else None

    def _parse(self, parser: ScanningParser) -> Parsed:
        environ, config = self._environ, self._rooms.config
        return parse(
            parser,
            cast(IO[bytes], self._spool),
            MULTIPART_TYPE,
            get_content_length(environ),
            self._options,
            receive=self._rooms.mirror.receive if self._is_on else _Nowhere,
            max_files=config.max_files if self._is_on else MAX_PARTS,
            content_length_header=environ.get("CONTENT_LENGTH"),
            terminated=bool(environ.get("wsgi.input_terminated")),
            content_encoding=environ.get("HTTP_CONTENT_ENCODING"),
        )

    def _admit(self, parsed: Parsed) -> list[HandoffFile]:
        """Make claims of the fresh files, and return the files of the tokens."""
        if not self._is_on or not (parsed.files or parsed.tokens):
            return []
        files = [file for _, file in self._exchange().admit(parsed)]
        self._refuse_unread()
        return [file for file in files[len(parsed.files) :] if isinstance(file, HandoffFile)]

    def _refuse_unread(self) -> None:
        """Raise where a token's claims could not be had: the form would arrive without its file."""
        unread = self._exchange().unread
        if unread is not None and self._rooms.config.on_error == "raise":
            raise unread

    def _framed(self, parts: Sequence[Part], files: Sequence[HandoffFile]) -> Body:
        """Put a file where the form has its empty input, else at the end."""
        contents = {id(file): self._part_of(file) for file in files}
        framed: list[list[Piece]] = []
        for part in parts:
            filled = [f for f in files if part.filename == "" and f.field == part.name]
            framed += [contents.pop(id(f)) for f in filled if id(f) in contents]
            if part.name != TOKEN_FIELD and not filled:
                framed.append([self._window(part.start, part.end)])
        return self._multipart([*framed, *contents.values()])

    def _multipart(self, parts: Sequence[Sequence[Piece]]) -> Body:
        return multipart(parts, charset=self._options.get("charset"))

    # Urlencoded

    def _read_urlencoded(self) -> Body | None:
        spool, charset = self._spool, self._options.get("charset")
        spool.drain()
        if not spool.has_watchword:
            return None
        if spool.size > MAX_FORM_BYTES and self._is_on:
            raise TooLarge(f"A form with a file is larger than {MAX_FORM_BYTES:,} bytes.")
        pairs, tokens = pairs_of(open_pieces([self._window(0, spool.size)]).read())
        if not tokens:
            return None
        files = self._admit_tokens(tokens)
        if not files:
            return urlencoded(pairs, charset=charset)
        texts = [[text_head(clear(name, charset)), v] for name, v in map(decoded, pairs)]
        return self._multipart([*texts, *map(self._part_of, files)])

    def _admit_tokens(self, tokens: Sequence[str]) -> list[HandoffFile]:
        if not self._is_on:
            return []
        files = self._exchange().admit_tokens(tokens)
        self._refuse_unread()
        return files

    # Both

    def _part_of(self, file: HandoffFile) -> list[Piece]:
        """Return a file as a part; raises what is wrong with it."""
        with disk():
            fd = despite_cleaners(lambda: self._open(file))
        self._ends.add(partial(os.close, fd))
        name = file.filename or file.relpath.rpartition("/")[2]
        head = file_head(file.field, name, file.content_type or "")
        return [head, Window(fd, 0, file.size)]

    def _open(self, file: HandoffFile) -> int:
        return open_private(self._exchange().local_copy(file), os.O_RDONLY)

    def _window(self, start: int, end: int) -> Piece:
        fd = self._spool.fd
        return self._spool.slice(start, end) if fd is None else Window(fd, start, end - start)


class _Nowhere:
    """The sink of a file that is not ours to keep."""

    def __init__(self, *_args: Any, **_options: Any) -> None:
        self.size = 0

    def write(self, data: bytes, /) -> int:
        """Forget it."""
        return len(data)

    def seek(self, _offset: int, _whence: int = 0, /) -> int:
        """Do nothing."""
        return 0

    def abort(self) -> None:
        """Do nothing."""
