"""Body to parts: werkzeug's own parser with our sinks, strict wherever a file could get lost.

Werkzeug answers a truncated or malformed upload with 200 and an empty form (tried on 3.0 and 3.1):
"the line broke" looks like "no file was chosen", and the token is gone with the form. Here each of
these is a ``BadRequest`` that says what to do. Other content types stay as werkzeug has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, Any, Protocol, Self, cast

from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import BadRequest, HTTPException, UnsupportedMediaType
from werkzeug.formparser import FormDataParser

from .errors import TooLarge
from .paths import MAX_FIELD_BYTES, TOKEN_FIELD

FORM_TYPE = "application/x-www-form-urlencoded"
MULTIPART_TYPE = "multipart/form-data"
FORM_TYPES = (FORM_TYPE, MULTIPART_TYPE)
_PADDING_BYTES = 72  # line breaks, dashes, and the white space that RFC 2046 allows after them
_DELIMITER_START = re.compile(rb"[\r\n]++(?:-?\Z|--)")
_LENGTH = re.compile(r"[0-9]{1,18}")  # 2^63 is no length (B6)
_PARAMETER = re.compile(r';[ \t]*+([^\s;="]++)=(?:"(?:\\.|[^"\\])*+"|[^;"]*+)', re.DOTALL)


class Sink(Protocol):
    """Where the bytes of one file part go. It must be true in a boolean context."""

    @property
    def size(self) -> int:
        """How many bytes were written."""

    def write(self, data: bytes, /) -> int:
        """Take the next bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Do nothing: werkzeug rewinds a part when it has ended."""

    def abort(self) -> None:
        """Give the part up and leave nothing behind; idempotent."""


class Receive(Protocol):
    """Opens the sink of a part; ``content_length`` is what the body still holds, at most."""

    def __call__(self, filename: str, content_type: str, *, content_length: int | None) -> Sink: ...


@dataclass
class Parsed:
    """A body in its parts. Who takes it finishes or aborts every sink in ``files``.

    ``files`` come in the order of the body. ``empty`` are the file inputs in which nothing was
    chosen, whatever body they had (B12, B13).
    """

    stream: IO[bytes]
    form: MultiDict[str, str]
    files: list[tuple[str, FileStorage, Sink]] = field(default_factory=list)
    empty: list[tuple[str, FileStorage]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def abort(self) -> None:
        """Give up every sink; those that were finished stay as they are."""
        with ExitStack() as each:
            for _, _, sink in self.files:
                each.callback(sink.abort)


def parse(
    parser: FormDataParser,
    stream: IO[bytes],
    mimetype: str,
    content_length: int | None,
    options: Mapping[str, str] | None,
    *,
    receive: Receive,
    max_files: int,
    content_length_header: str | None,
    terminated: bool,
    content_encoding: str | None = None,
) -> Parsed:
    """Read the body into its parts; file parts go to the sinks that ``receive`` opens.

    ``parser`` is the one that the app's own request would use; its limits and its classes count.
    Raises ``BadRequest``, ``TooLarge``, ``UnsupportedMediaType`` and what the parser, the stream
    and the sinks raise; every sink is aborted then.
    """
    if mimetype != MULTIPART_TYPE:
        form = parser.parse(stream, mimetype, content_length, dict(options or {}))[1]
        return _parsed(parser, stream, form)
    _check_framing(content_length_header, terminated, content_encoding)
    with _Sinks(receive, max_files) as sinks:
        parser.silent = False
        parser.stream_factory = sinks.open
        with _strictly():
            _, form, files = parser.parse(
                _steady(stream, options), mimetype, content_length, dict(options or {})
            )
        _check_names(form)
        parsed = _parsed(parser, stream, form)
        sinks.sort_into(parsed, [file for _, file in files.items(multi=True)])
        return parsed


def parse_unread(
    parser: FormDataParser,
    stream: IO[bytes],
    mimetype: str,
    content_length: int | None,
    options: Mapping[str, str] | None,
) -> Parsed:
    """Read a body that nobody asked for, without its files; whatever is wrong, it is empty."""
    parser.stream_factory = _drop
    if mimetype == MULTIPART_TYPE:
        stream = _steady(stream, options)
    try:
        form = parser.parse(stream, mimetype, content_length, dict(options or {}))[1]
    except Exception:  # noqa: BLE001 - the view has answered already: its answer must not change
        return Parsed(stream, parser.cls())
    return _parsed(parser, stream, form)


def without_tokens(parser: FormDataParser, form: MultiDict[str, str]) -> MultiDict[str, str]:
    """Return what the app shall see of a form: all but what is ours."""
    if TOKEN_FIELD not in form:
        return form
    return parser.cls([(k, v) for k, v in form.items(multi=True) if k != TOKEN_FIELD])


def _parsed(parser: FormDataParser, stream: IO[bytes], form: MultiDict[str, str]) -> Parsed:
    return Parsed(stream, without_tokens(parser, form), tokens=form.getlist(TOKEN_FIELD))


def _steady(stream: IO[bytes], options: Mapping[str, str] | None) -> IO[bytes]:
    return cast(IO[bytes], _Steady(stream, (options or {}).get("boundary", "")))


class _Steady:
    """A stream that is read in whole buffers, none of which ends within a delimiter.

    Each werkzeug from 3.0 to 3.1.9 gives a part a byte too many for some of the places at which
    the line can cut a delimiter (docs/decisions/0020-steady-reads.md): what may be the beginning of
    one is kept for the next read.
    """

    def __init__(self, stream: IO[bytes], boundary: str) -> None:
        self._stream = stream
        self._longest = len(boundary) + _PADDING_BYTES
        self._data = b""
        self._is_over = False

    def read(self, size: int) -> bytes:
        """Return about ``size`` bytes, less only at the end of the body, and nothing after it."""
        while not self._is_over:
            self._fill(size)
            end = self._safe_end()
            data, self._data = self._data[:end], self._data[end:]
            if data:
                return data
            size += self._longest  # all of it may be a delimiter: see what follows
        return b""

    def _fill(self, size: int) -> None:
        chunks, length = [self._data] if self._data else [], len(self._data)
        while length < size and not self._is_over:
            chunks.append(self._stream.read(size - length))
            length += len(chunks[-1])
            self._is_over = not chunks[-1]
        self._data = b"".join(chunks)  # a single one is not copied

    def _safe_end(self) -> int:
        """Return where the line break stands that may begin a delimiter, or the end."""
        data = self._data
        start = max(0, len(data) - self._longest)
        found = None if self._is_over else _DELIMITER_START.search(data, start)
        if found is None:
            return len(data)
        end = found.start()
        return end - 1 if data[end - 1 : end + 1] == b"\r\n" else end


class _Nothing(BytesIO):
    """The stream of a part whose body is dropped: always empty."""

    def write(self, data: Any, /) -> int:
        return len(data)


def _drop(*_args: Any, **_options: Any) -> IO[bytes]:
    return _Nothing()


class _Sinks:
    """The sinks of one body, in order; all are aborted unless the body was whole and right."""

    def __init__(self, receive: Receive, max_files: int) -> None:
        self._receive = receive
        self._max_files = max_files
        self._open: list[Sink] = []
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: Any) -> None:  # noqa: PYI036 - handed on as it came
        self._undo.__exit__(*failure)

    def open(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None,
        content_length: int | None = None,  # noqa: ARG002 - the part's own word for it is no fact (B8)
    ) -> IO[bytes]:
        """Open the sink of the next file part, as a ``stream_factory`` of werkzeug."""
        if not filename:
            return _Nothing()
        if len(self._open) >= self._max_files:
            raise TooLarge(f"More than {self._max_files} files.", max_files=self._max_files)
        sink = self._receive(
            filename, content_type or "", content_length=self._left_of(total_content_length)
        )
        self._open.append(sink)
        self._undo.callback(sink.abort)
        return cast(IO[bytes], sink)

    def _left_of(self, total: int | None) -> int | None:
        return None if total is None else total - sum(sink.size for sink in self._open)

    def sort_into(self, parsed: Parsed, files: list[FileStorage]) -> None:
        """Give each file its sink, in the order of the body; abort what the app will not see."""
        for file in files:
            _check_name(file.name)
            _check_disposition(file.headers)
        shown = {id(file.stream): file for file in files if file.name != TOKEN_FIELD}  # B38
        self._undo.pop_all()
        for sink in self._open:
            if id(sink) not in shown:
                sink.abort()
                continue
            file = shown.pop(id(sink))
            parsed.files.append((str(file.name), file, sink))
        parsed.empty.extend((str(file.name), file) for file in shown.values())


@contextmanager
def _strictly() -> Iterator[None]:
    """Turn the parser's ``ValueError`` into an answer that says what to do."""
    try:
        yield
    except HTTPException:  # ConfigError and InvalidKey are ValueErrors too
        raise
    except ValueError as error:
        raise BadRequest(
            "The form arrived incomplete or malformed. Please submit it again."
            f" ({MULTIPART_TYPE}: {error})"
        ) from error


def _check_framing(length: str | None, terminated: bool, encoding: str | None) -> None:
    """Refuse a body whose end nobody knows (B6, B7), and one that is compressed (B23d)."""
    if (encoding or "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Please send the form without Content-Encoding.")
    if length and not _LENGTH.fullmatch(length.strip()):
        raise BadRequest("Content-Length must be a whole number of bytes.")
    if not length and not terminated:
        raise BadRequest("This server needs a Content-Length: please send the form with one.")


def _check_names(form: MultiDict[str, str]) -> None:
    for name in form:
        _check_name(name)


def _check_name(name: str | None) -> None:
    """Refuse a part without a name (B10) and a name that no page has (B15)."""
    if name is None:
        raise BadRequest("A part of the form has no name: please name every form field.")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_FIELD_BYTES:
        raise BadRequest(f"The name of a form field is longer than {MAX_FIELD_BYTES} bytes.")


def _check_disposition(headers: Headers) -> None:
    """Refuse a part that names its file twice: who reads it picks another one than we (B47)."""
    dispositions = headers.getlist("Content-Disposition")
    names = [name.lower() for name in _PARAMETER.findall(dispositions[0])]
    if len(dispositions) > 1 or len(names) != len(set(names)):
        raise BadRequest("A part of the form names its file twice: please send one filename.")
