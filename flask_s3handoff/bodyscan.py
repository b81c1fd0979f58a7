"""Body to windows: where in a multipart body each part stands.

Werkzeug's decoder says what the parts mean. What is remembered here is only where they stand, so
that a body can be framed anew around them without being understood: text of any charset, headers
of any kind. No text is kept but our token's, so memory does not grow with the body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO, Any

from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from .paths import TOKEN_FIELD

MAX_PARTS = 10_000
MAX_HEADERS_BYTES = 500_000  # of one part, or of all tokens: what is held in memory
_CHUNK_BYTES = 64 * 1024
# A quoted string ends at the latest with its header: reading takes linear time, whatever comes.
_TEXT = r'"((?:\\.|[^"\\])*+)\\?(?:"|\Z)'
_QUOTED = re.compile(_TEXT, re.DOTALL)
_QUOTED_FILENAME = re.compile(r";[ \t]*filename=" + _TEXT, re.DOTALL | re.IGNORECASE)
_FILENAME = re.compile(r";[ \t]*filename\*?[ \t]*=", re.IGNORECASE)
_ESCAPED = re.compile(r'\\([\\"])')


@dataclass(frozen=True)
class Part:
    """One part: from the first byte of its headers to the last one of its content.

    ``filename`` is None for a text, and empty for a file input in which nothing was chosen.
    """

    name: str | None
    filename: str | None
    start: int
    end: int


class ScanningParser(FormDataParser):
    """Stands in for an app's parser in ``body.parse``: files go to its sinks, texts nowhere.

    The form that it returns has every name, and the values of our token field only.
    """

    def __init__(self) -> None:
        super().__init__(max_form_memory_size=MAX_HEADERS_BYTES, max_form_parts=MAX_PARTS)
        self.parts: list[Part] = []
        self.has_seen_file = False

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,  # noqa: ARG002 - the caller knows that it is multipart
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Any:
        """Read a multipart body to its end; ``ValueError`` where it is not one."""
        boundary = (options or {}).get("boundary", "").encode("ascii")
        if not boundary:
            raise ValueError("Missing boundary")
        scan = _Scan(self, boundary, content_length)
        while data := stream.read(_CHUNK_BYTES):
            scan.feed(data)
        scan.feed(None)
        return stream, self.cls(scan.texts), self.cls(scan.files)


class _Scan:
    """One body on its way through the decoder."""

    def __init__(self, parser: ScanningParser, boundary: bytes, length: int | None) -> None:
        self.texts: list[tuple[Any, str]] = []  # a name may be missing: the caller refuses it
        self.files: list[tuple[Any, FileStorage]] = []
        self._parser = parser
        self._length = length
        self._decoder = MultipartDecoder(boundary, MAX_HEADERS_BYTES, max_parts=MAX_PARTS)
        self._fed = 0
        self._start = self._at = 0
        self._part: Field | File | None = None
        self._token = bytearray()
        self._tokens_bytes = 0
        self._sink: IO[bytes] | None = None

    def feed(self, data: bytes | None) -> None:
        """Take the next bytes, ``None`` at the end."""
        self._fed += len(data or b"")
        self._decoder.receive_data(data)
        event = self._decoder.next_event()
        while not isinstance(event, NeedData | Epilogue):
            if isinstance(event, Field | File):
                self._begin(event)
            elif isinstance(event, Data):
                self._take(event)
            else:
                self._start = self._position()
            event = self._decoder.next_event()

    def _position(self) -> int:
        """Return how much of the body the decoder has gone through."""
        return self._fed - len(self._decoder.buffer)

    def _begin(self, part: Field | File) -> None:
        """Begin a part; of the blank line after its headers, one line break is not yet read."""
        self._part = part
        self._at = self._position() + (2 if self._decoder.buffer.startswith(b"\r\n") else 1)
        self._sink = None
        if isinstance(part, Field) and names_a_file(part):
            self._parser.has_seen_file = True
            raise ValueError("a file name that does not end")
        if isinstance(part, File):
            self._parser.has_seen_file |= bool(part.filename)
            self._sink = self._parser.stream_factory(
                total_content_length=self._length,
                filename=faithful_filename(part),
                content_type=part.headers.get("content-type"),
                content_length=0,
            )

    def _take(self, event: Data) -> None:
        self._at += len(event.data)
        if self._sink is not None:
            self._sink.write(event.data)
        elif self._part is not None and self._part.name == TOKEN_FIELD:
            self._keep(event.data)
        if not event.more_data:
            self._end()

    def _keep(self, data: bytes) -> None:
        self._tokens_bytes += len(data)
        if self._tokens_bytes > MAX_HEADERS_BYTES:
            raise RequestEntityTooLarge()
        self._token += data

    def _end(self) -> None:
        part = self._part
        assert part is not None
        filename = faithful_filename(part) if isinstance(part, File) else None
        self._parser.parts.append(Part(part.name, filename, self._start, self._at))
        self._start = self._position()
        if self._sink is None:
            self.texts.append((part.name, self._token.decode("utf-8", "replace")))
            self._token.clear()
        else:
            self._sink.seek(0)
            file = FileStorage(self._sink, filename, part.name, headers=part.headers)
            self.files.append((part.name, file))


def names_a_file(text: Field) -> bool:
    r"""Tell whether another parser would see a file: browsers send a file ``x\`` as ``"x\"``."""
    disposition = text.headers.get("content-disposition", "")
    return _FILENAME.search(_QUOTED.sub('""', disposition)) is not None


def faithful_filename(part: File) -> str:
    r"""Return a file's name with its backslashes, which browsers do not escape and werkzeug eats.

    A part with ``filename="C:\fakepath\x.png"`` has that name, and not ``C:fakepathx.png``.
    """
    disposition = part.headers.get("content-disposition", "")
    if "\\" not in disposition or "filename*" in disposition.lower():
        return part.filename
    quoted = _QUOTED_FILENAME.findall(disposition)
    return _ESCAPED.sub(r"\1", quoted[0]).replace("%22", '"') if len(quoted) == 1 else part.filename
