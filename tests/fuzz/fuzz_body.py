"""Any bytes as a body: read like werkzeug reads them, or refused; the same however they arrive.

``check`` takes what a fuzzer made of its choices: raw bytes, a soup of what bodies are made of, or
parts that our own writer framed, which have to come back as they were.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.formparser import FormDataParser, MultiPartParser

from flask_s3handoff.body import MULTIPART_TYPE, Parsed, parse
from flask_s3handoff.bodyscan import ScanningParser
from flask_s3handoff.bodywriter import Piece, file_head, multipart, text_head
from flask_s3handoff.errors import TooLarge
from flask_s3handoff.paths import TOKEN_FIELD
from tests.unit.test_body import Sinks, Trickle, parser

from .choices import Choices

# All that reading a body may raise; `ClientDisconnected` is a BadRequest.
DOCUMENTED = (BadRequest, RequestEntityTooLarge, UnsupportedMediaType, TooLarge)
BOUNDARY = "B"
MAX_FILES = 6
SOUP = (
    b"--B\r\n", b"--B--\r\n", b"--B", b"--B--", b"--B \t\r\n", b"--Bx", b"--b\r\n", b"\r\n", b"\n", b"\r", b"--", b"-", b"",
    b"Content-Disposition: form-data", b'; name="a"', b'; name="avatar"', b'; name="_s3handoff"', b"; name=b", b'; name=""',
    b'; filename="x.png"', b'; filename=""', b'; filename="a\\"b"', b'; filename="C:\\x\\y"', b"; filename*=UTF-8''%e2%82%ac",
    b"; filename*=UTF-8''..%2f", b"; filename*0=a", b'; filename="x\\"', b'; FILENAME="z"', b'; x="', b";", b"=", b'"', b"\\",
    b"Content-Type: image/png\r\n", b"Content-Type: text/plain; charset=latin-1\r\n", b"Content-Length: -5\r\n", b": ", b" folded\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"\r\n\r\n", b"\n\n", b"\0", b"\xff\xfe", "é".encode(), b"x" * 70, b"token.text", b"a" * 300,
    b'--B\r\nContent-Disposition: form-data; name="t"\r\n\r\nx\r\n',
    b'--B\r\nContent-Disposition: form-data; name="avatar"; filename="f"\r\nContent-Type: a/b\r\n\r\n\x89PNG\r\n',
)  # fmt: skip
NAMES = (
    "a",
    "",
    "é",
    'q"uote',
    "back\\slash",
    "line\r\nbreak",
    "n" * 255,
    TOKEN_FIELD,
    "_s3handoff ",
    "x;y=z",
    "a\0b",
)
FILENAMES = (
    "x.png",
    "",
    "C:\\fake\\x.png",
    'le"o.png',
    "日本.png",
    "a\r\nX: y",
    "..",
    "x\\",
    "; filename=y",
    "f" * 300,
)

Read = tuple[list[tuple[str, str]], list[tuple[str, str | None, bytes]], list[str], list[str]]


def check(data: bytes) -> None:
    """Judge one input; ``AssertionError`` and any other exception is a find."""
    choices = Choices(data)
    choices.one_of((_raw, _soup, _written))(choices)


def _raw(choices: Choices) -> None:
    cuts = [choices.number(999) for _ in range(choices.number(3))]
    judge(choices.rest(), cuts)


def _soup(choices: Choices) -> None:
    cuts = [choices.number(999) for _ in range(choices.number(3))]
    judge(b"".join(iter_soup(choices)), cuts)


def iter_soup(choices: Choices) -> list[bytes]:
    """Return pieces of bodies in any order."""
    pieces = []
    while not choices.is_over:
        pieces.append(choices.one_of(SOUP))
    return pieces


# A body of anybody's


def judge(body: bytes, cuts: Sequence[int]) -> None:
    """Read a body whole and in pieces, and compare with what werkzeug itself reads."""
    whole = outcome(body, [])
    assert outcome(body, cuts) == whole, "the answer depends on how the line cuts the body"
    if isinstance(whole, int):
        return
    form, files, tokens, empty = whole
    texts, seen = _by_werkzeug(body)
    assert _grouped([*form, *((TOKEN_FIELD, token) for token in tokens)]) == _grouped(texts)
    seen = [file for file in seen if file[0] != TOKEN_FIELD]
    assert _grouped(files) == _grouped(file for file in seen if file[1])
    assert sorted(empty) == sorted(name for name, filename, _ in seen if not filename)
    _compare_scan(body, form, files, tokens)


def _grouped(named: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return what has names by these, each in its order: a multi-dict keeps no other."""
    return sorted(named, key=lambda entry: str(entry[0]))


def outcome(body: bytes, cuts: Sequence[int], boundary: str = BOUNDARY) -> Read | int:
    """Return what a body holds, or the status with which it is refused and leaves no sink."""
    sinks = Sinks()
    try:
        parsed = _parse(parser(), body, cuts, sinks, boundary)
    except DOCUMENTED as error:
        status = int(error.code or 500)
    else:
        return _found(parsed, sinks)
    assert sinks.are_all_aborted(), "a sink was forgotten"
    assert status in (400, 413, 415)
    return status


def _found(parsed: Parsed, sinks: Sinks) -> Read:
    assert len(parsed.files) == sum(not sink.aborted for sink in sinks.opened)
    files = [(name, file.filename, sink.data) for name, file, sink in parsed.files]  # type: ignore[attr-defined]
    empty = [name for name, _ in parsed.empty]
    return list(parsed.form.items(multi=True)), files, parsed.tokens, empty


def _parse(
    parser: FormDataParser, body: bytes, cuts: Sequence[int], sinks: Sinks, boundary: str = BOUNDARY
) -> Parsed:
    places = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    stream: Any = Trickle(*(body[start:end] for start, end in itertools.pairwise(places)))
    return parse(
        parser,
        stream,
        MULTIPART_TYPE,
        len(body),
        {"boundary": boundary},
        receive=sinks,
        max_files=MAX_FILES,
        content_length_header=str(len(body)),
        terminated=False,
    )


def _by_werkzeug(body: bytes) -> tuple[list[tuple[str, str]], list[tuple[str, str | None, bytes]]]:
    reading = MultiPartParser(
        stream_factory=lambda *_args, **_options: BytesIO(),  # its own stay open when it gives up
        buffer_size=len(body) + 1024,
        max_form_memory_size=500_000,
    )
    form, files = reading.parse(BytesIO(body), BOUNDARY.encode(), len(body))
    items = list(files.items(multi=True))
    found = [(name, file.filename, file.read()) for name, file in items]
    for _, file in items:
        file.close()
    return list(form.items(multi=True)), found


def _compare_scan(
    body: bytes,
    form: list[tuple[str, str]],
    files: list[tuple[str, str | None, bytes]],
    tokens: list[str],
) -> None:
    """Where our scanner reads this body too, it finds the same parts; else it says why it does not."""
    scanner, sinks = ScanningParser(), Sinks()
    try:
        scanned = _parse(scanner, body, [], sinks)
    except BadRequest:  # a file that only other parsers would see
        assert sinks.are_all_aborted()
        return
    assert scanned.tokens == tokens
    assert list(scanned.form) == list(dict.fromkeys(name for name, _ in form))
    contents = [(name, sink.data) for name, _, sink in scanned.files]  # type: ignore[attr-defined]
    assert contents == [(name, content) for name, _, content in files]
    ends = [0, *itertools.chain.from_iterable((part.start, part.end) for part in scanner.parts)]
    assert ends == sorted(ends)
    assert ends[-1] <= len(body)


# A body of our own


def _written(choices: Choices) -> None:
    """What our writer frames comes back as it was: names without line breaks, bytes untouched."""
    parts: list[list[Piece]] = []
    texts, files = [], []
    for _ in range(choices.number(4)):
        name, content = choices.one_of(NAMES), choices.some(choices.number(60))
        if choices.number(1):
            filename = choices.one_of(FILENAMES)
            parts.append([file_head(name, filename, "image/png"), content])
            files.append((_plain(name), _plain(filename), content))
        else:
            parts.append([text_head(name.encode()), content])
            texts.append((_plain(name), content.decode("utf-8", "replace")))
    body = multipart(parts)
    data = body.open().read()
    assert len(data) == body.size
    read = outcome(data, [choices.number(999)], body.content_type.partition("boundary=")[2])
    assert not isinstance(read, int), "our own body is refused"
    form, found, tokens, empty = read
    ours = [text for name, text in texts if name == TOKEN_FIELD]
    files = [file for file in files if file[0] != TOKEN_FIELD]
    assert tokens == ours
    assert _grouped(form) == _grouped(pair for pair in texts if pair[0] != TOKEN_FIELD)
    assert found == [file for file in files if file[1]]
    assert sorted(empty) == sorted(name for name, filename, _ in files if not filename)


def _plain(name: str) -> str:
    return name.translate(dict.fromkeys(map(ord, "\r\n\0")))
