"""Reading a body: every bad input has an answer, and no sink is ever forgotten.

The ids are the rows of the list of bad inputs: B for bodies and file names, F for faults.
"""

from __future__ import annotations

import io
import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.http import parse_options_header
from werkzeug.wsgi import get_content_length, get_input_stream

from flask_s3handoff.body import Parsed, _Steady, parse, parse_unread
from flask_s3handoff.errors import ConfigError, TooLarge, Unavailable

MULTIPART = "multipart/form-data; boundary=B"
END = b"--B--\r\n"
CHUNKED: dict[str, Any] = {"wsgi.input_terminated": True}


class Sink:
    """A sink that remembers."""

    def __init__(self, filename: str, content_type: str, content_length: int | None) -> None:
        self.filename = filename
        self.content_type = content_type
        self.content_length = content_length
        self.data = b""
        self.aborted = 0
        self.on_write: Callable[[], None] = lambda: None

    @property
    def size(self) -> int:
        return len(self.data)

    def write(self, data: bytes, /) -> int:
        self.on_write()
        self.data += data
        return len(data)

    def seek(self, _offset: int, _whence: int = 0, /) -> int:
        return 0

    def abort(self) -> None:
        self.aborted += 1


@dataclass
class Sinks:
    """Opens sinks and keeps them for the test to look at."""

    opened: list[Sink] = field(default_factory=list)
    prepare: Callable[[Sink], None] = lambda _sink: None

    def __call__(self, filename: str, content_type: str, *, content_length: int | None) -> Sink:
        sink = Sink(filename, content_type, content_length)
        self.prepare(sink)
        self.opened.append(sink)
        return sink

    def are_all_aborted(self) -> bool:
        return all(sink.aborted for sink in self.opened)


class Trickle:
    """A stream that hands over its chunks as they came, and then ends."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = [chunk for chunk in chunks if chunk]

    def read(self, size: int = -1) -> bytes:
        if not self._chunks:
            return b""
        chunk = self._chunks.pop(0)
        if 0 <= size < len(chunk):
            self._chunks.insert(0, chunk[size:])
            chunk = chunk[:size]
        return chunk


def part(name: str | None, body: bytes, filename: str | None = None, headers: str = "") -> bytes:
    """Write one part as a browser does."""
    disposition = "form-data"
    if name is not None:
        disposition += f'; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    head = f"--B\r\nContent-Disposition: {disposition}\r\n{headers}\r\n"
    return head.encode() + body + b"\r\n"


def parser() -> FormDataParser:
    """Make a parser with the limits that Flask 3.1 sets."""
    return FormDataParser(max_form_memory_size=500_000, max_form_parts=1000, cls=ImmutableMultiDict)


def read(
    body: bytes | Trickle,
    sinks: Sinks | None = None,
    *,
    content_type: str = MULTIPART,
    max_files: int = 20,
    encoding: str | None = None,
    **environ: Any,
) -> Parsed:
    """Parse a body as a request would, from its WSGI environ."""
    if isinstance(body, bytes):
        environ = {"CONTENT_LENGTH": str(len(body)), **environ}
    environ["wsgi.input"] = io.BytesIO(body) if isinstance(body, bytes) else body
    mimetype, options = parse_options_header(content_type)
    return parse(
        parser(),
        get_input_stream(environ),
        mimetype,
        get_content_length(environ),
        options,
        receive=sinks if sinks is not None else Sinks(),
        max_files=max_files,
        content_length_header=environ.get("CONTENT_LENGTH"),
        terminated="wsgi.input_terminated" in environ,
        content_encoding=encoding,
    )


def contents(parsed: Parsed) -> list[tuple[str, str | None, bytes]]:
    return [(name, file.filename, sink.data) for name, file, sink in parsed.files]  # type: ignore[attr-defined]


FILE = part("avatar", b"\x89PNG", "a.png", "Content-Type: image/png\r\n")
TWO_FILES = part("title", b"Leo") + FILE + part("cv", b"%PDF", "cv.pdf") + END


def test_a_form_is_read_into_fields_and_sinks() -> None:
    """Fields, files with their types, and tokens come out apart, in the order of the body."""
    sinks = Sinks()
    body = part("title", b"Leo") + part("_s3handoff", b"t1") + FILE + part("_s3handoff", b"t2")
    parsed = read(body + part("cv", b"%PDF", "cv.pdf") + END, sinks)
    assert parsed.form == ImmutableMultiDict([("title", "Leo")])
    assert isinstance(parsed.form, ImmutableMultiDict)
    assert parsed.tokens == ["t1", "t2"]
    assert contents(parsed) == [("avatar", "a.png", b"\x89PNG"), ("cv", "cv.pdf", b"%PDF")]
    assert [sink.content_type for sink in sinks.opened] == ["image/png", ""]
    assert parsed.files[0][1].content_type == "image/png"
    assert not any(sink.aborted for sink in sinks.opened)


MALFORMED = {
    "B1-no-boundary": (TWO_FILES, {"content_type": "multipart/form-data"}),
    "B1-empty-boundary": (TWO_FILES, {"content_type": "multipart/form-data; boundary="}),
    "B1-not-ascii": (TWO_FILES, {"content_type": "multipart/form-data; boundary=é"}),
    "B2-other-boundary": (TWO_FILES, {"content_type": "multipart/form-data; boundary=C"}),
    "B3-cut-in-a-file": (part("avatar", b"x" * 5000, "a.png")[:-700], {}),
    "B4-no-end": (TWO_FILES.removesuffix(END), {}),
    "B4-half-an-end": (TWO_FILES[:-3], {}),
    "B5-line-broke": (TWO_FILES[:-9], {"CONTENT_LENGTH": str(len(TWO_FILES))}),
    "B6-negative": (TWO_FILES, {"CONTENT_LENGTH": "-1"}),
    "B6-letters": (TWO_FILES, {"CONTENT_LENGTH": "abc"}),
    "B6-exponent": (TWO_FILES, {"CONTENT_LENGTH": "1e3"}),
    "B6-plus": (TWO_FILES, {"CONTENT_LENGTH": "+5"}),
    "B6-two": (TWO_FILES, {"CONTENT_LENGTH": "5, 5"}),
    "B6-two-chunked": (TWO_FILES, {"CONTENT_LENGTH": "5, 5", **CHUNKED}),
    "B6-2^63": (TWO_FILES, {"CONTENT_LENGTH": str(2**63)}),
    "B6-other-digits": (TWO_FILES, {"CONTENT_LENGTH": "٥"}),
    "B6-empty": (TWO_FILES, {"CONTENT_LENGTH": ""}),
    "B6-zero": (TWO_FILES, {"CONTENT_LENGTH": "0"}),
    "B6-negative-chunked": (
        TWO_FILES,
        {"CONTENT_LENGTH": "-1", **CHUNKED},
    ),
    "B9-no-disposition": (b"--B\r\nContent-Type: image/png\r\n\r\nx\r\n" + FILE + END, {}),
    "B10-file-without-name": (FILE + part(None, b"x", "a.png") + END, {}),
    "B10-field-without-name": (FILE + part(None, b"x") + END, {}),
    "B15-file-name-64-KB": (FILE + part("n" * 65536, b"x", "a.png") + END, {}),
    "B15-field-name-64-KB": (FILE + part("n" * 65536, b"x") + END, {}),
    "B15-256-bytes": (FILE + part("n" * 256, b"x", "a.png") + END, {}),
    "B15-128-letters-of-2-bytes": (FILE + part("é" * 128, b"x") + END, {}),
    "B15-empty-file": (FILE + part("n" * 256, b"", "") + END, {}),
    "B16-not-utf-8": (FILE + b"--B\r\nX-Y: \xff\xfe\r\n" + part("a", b"x")[5:] + END, {}),
    "B47-two-filenames": (FILE + part("cv", b"x", 'a.png"; filename="b.php') + END, {}),
    "B47-other-case": (FILE + part("cv", b"x", 'a.png"; FileName="b.php') + END, {}),
    "B47-unquoted": (FILE + part("cv", b"x", 'a.png"; filename=b; x="y') + END, {}),
    "B47-two-names": (FILE + part('cv"; name="x', b"x", "a.png") + END, {}),
    "B47-two-headers": (
        FILE + part("cv", b"x", "a", 'Content-Disposition: form-data; name="z"\r\n') + END,
        {},
    ),
    "B58-latin-1": (FILE + part("cv", b"x", "Z").replace(b"Z", b"\xe9.png") + END, {}),
}


@pytest.mark.parametrize(("body", "options"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_body_is_a_bad_request(body: bytes, options: dict[str, Any]) -> None:
    """Whatever is wrong with a multipart body is 400 with a reason, and no sink is left."""
    sinks = Sinks()
    with pytest.raises(BadRequest) as refused:
        read(body, sinks, **options)
    assert refused.value.code == 400
    assert len(refused.value.get_description()) > 30
    assert sinks.are_all_aborted()


TOO_LARGE = {
    "B17-1001-parts": part("a", b"") * 1001 + END,
    "B18-999-files": FILE * 999 + END,
    "B19-600-KB-field": FILE + part("a", b"x" * 600_000) + END,
    "B20-headers-never-end": FILE + b"--B\r\n" + b"X-Y: z\r\n" * 80_000,
    "B23-10-MB-preamble": b"x" * 10_000_000 + TWO_FILES,
    "B23-10-MB-epilogue": TWO_FILES + b"x" * 10_000_000,
}


@pytest.mark.parametrize("body", TOO_LARGE.values(), ids=TOO_LARGE)
def test_too_much_is_413(body: bytes) -> None:
    """Too many parts or files, too long fields and headers: 413, and no sink is left."""
    sinks = Sinks()
    with pytest.raises(HTTPException) as refused:
        read(body, sinks)
    assert refused.value.code == 413
    assert isinstance(refused.value, TooLarge | RequestEntityTooLarge)
    assert len(sinks.opened) <= 20
    assert sinks.are_all_aborted()


def test_b18_the_twentieth_file_is_taken_and_the_next_refused() -> None:
    """`S3HANDOFF_MAX_FILES` counts files, not the inputs that were left empty."""
    nothing = part("other", b"", "")
    assert len(read(nothing * 5 + FILE * 20 + END, max_files=20).files) == 20
    with pytest.raises(TooLarge) as refused:
        read(FILE * 3 + END, max_files=2)
    assert refused.value.facts == {"max_files": 2}


ACCEPTED: dict[str, tuple[bytes, list[tuple[str, str | None, bytes]]]] = {
    "B8-part-length-negative": (
        part("a", b"xyz", "f", "Content-Length: -5\r\n"),
        [("a", "f", b"xyz")],
    ),
    "B8-part-length-huge": (
        part("a", b"xyz", "f", "Content-Length: 99999999999\r\n"),
        [("a", "f", b"xyz")],
    ),
    "B11-empty-name": (part("", b"x", "f"), [("", "f", b"x")]),
    "B14-html-in-name": (
        part('\\"><script>', b"x", "f"),
        [('"><script>', "f", b"x")],
    ),
    "B15-255-bytes": (part("n" * 255, b"x", "f"), [("n" * 255, "f", b"x")]),
    "B23a-bare-lf": (
        b'--B\nContent-Disposition: form-data; name="a"; filename="f"\n\nx\ny\r\nz\n',
        [("a", "f", b"x\ny\r\nz")],
    ),
    "B23b-base64-as-it-is": (
        part("a", b"eA==", "f", "Content-Transfer-Encoding: base64\r\n"),
        [("a", "f", b"eA==")],
    ),
    "B23c-nearly-a-boundary": (
        part("a", b"\r\n--Bx\r\n--\r\n-\r", "f"),
        [("a", "f", b"\r\n--Bx\r\n--\r\n-\r")],
    ),
    "B23e-multipart-mixed": (
        part("a", b"--C\r\n\r\nx\r\n--C--", "f", "Content-Type: multipart/mixed; boundary=C\r\n"),
        [("a", "f", b"--C\r\n\r\nx\r\n--C--")],
    ),
    "B23f-field-twice": (
        part("a", b"1", "f") + part("b", b"2", "g") + part("a", b"3", "h"),
        [("a", "f", b"1"), ("b", "g", b"2"), ("a", "h", b"3")],
    ),
    "B41-traversal": (part("a", b"x", "../../etc/passwd"), [("a", "../../etc/passwd", b"x")]),
    "B43-nul": (part("a", b"x", "a\0.png"), [("a", "a\0.png", b"x")]),
    "B45-encoded": (
        part("a", b"x", "Z").replace(b'filename="Z"', b"filename*=UTF-8''%e2%82%ac.png"),
        [("a", "€.png", b"x")],
    ),
    "B46-both-forms": (
        part("a", b"x", "a.png").replace(b'png"', b"png\"; filename*=UTF-8''%e2%82%ac.png"),
        [("a", "€.png", b"x")],
    ),
    "B47-quoted-text-is-no-parameter": (
        part("a", b"x", '\\"; filename=\\"b.php'),
        [("a", '"; filename="b.php', b"x")],
    ),
    "B52-japanese": (part("a", b"x", "日本語.png"), [("a", "日本語.png", b"x")]),
    "B60-boundary-in-name": (part("a", b"x", "--B--.png"), [("a", "--B--.png", b"x")]),
    "B62-named-like-the-token": (part("a", b"x", "_s3handoff"), [("a", "_s3handoff", b"x")]),
    "F46-zero-bytes": (part("a", b"", "f"), [("a", "f", b"")]),
}


@pytest.mark.parametrize(("body", "files"), ACCEPTED.values(), ids=ACCEPTED)
def test_an_odd_body_gives_exactly_its_bytes(
    body: bytes, files: list[tuple[str, str | None, bytes]]
) -> None:
    """What is odd but clear is taken: names verbatim, bytes exact, order kept."""
    sinks = Sinks()
    assert contents(read(body + END, sinks)) == files
    assert not any(sink.aborted for sink in sinks.opened)


def test_b7_a_chunked_body_needs_a_server_that_ends_it() -> None:
    """Without Content-Length the body counts only where the server says that it ends."""
    parsed = read(Trickle(TWO_FILES), **CHUNKED)
    assert len(parsed.files) == 2
    with pytest.raises(BadRequest, match="Content-Length"):
        read(Trickle(TWO_FILES))


@pytest.mark.parametrize("body", [b"", b"not empty"], ids=["B12", "B13"])
def test_an_input_in_which_nothing_was_chosen_is_no_file(body: bytes) -> None:
    """`filename=""` opens no sink; the app gets an empty `FileStorage` without a name."""
    sinks = Sinks()
    parsed = read(part("avatar", body, "") + END, sinks)
    assert (sinks.opened, parsed.files) == ([], [])
    [(name, file)] = parsed.empty
    assert (name, file.filename, file.read()) == ("avatar", "", b"")


def test_b21_line_breaks_at_the_start_take_linear_time() -> None:
    """16 MiB that begin with a line break are read in a moment (CVE-2023-46136)."""
    for start in (b"\r", b"\n", b"\r\n"):
        began = time.perf_counter()
        parsed = read(part("a", start + b"x" * (16 << 20), "f") + END)
        assert time.perf_counter() - began < 60  # seconds, and not hours
        assert contents(parsed)[0][2][:3] == (start + b"xxx")[:3]


def test_b22_a_hostile_content_type_takes_no_time() -> None:
    """5,000 backslashes in the Content-Type are read in a moment (CVE-2024-24762)."""
    began = time.perf_counter()
    parsed = read(TWO_FILES, content_type=MULTIPART + '; !="' + "\\" * 5000)
    assert time.perf_counter() - began < 60  # seconds, and not hours
    assert len(parsed.files) == 2


def test_b47_a_hostile_disposition_takes_no_time() -> None:
    """400 KB of half-open parameters in a part's header are judged in a moment."""
    for nonsense in ('; a="\\', "; a", ";   =", '; a="b\\"'):
        began = time.perf_counter()
        body = part("a", b"x", f'f"{nonsense * (400_000 // len(nonsense))}; x="') + END
        try:
            read(body)
        except BadRequest:
            pass
        assert time.perf_counter() - began < 60  # seconds, and not hours


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "gzip, identity"])
def test_b23d_a_compressed_form_is_415(encoding: str) -> None:
    """A form with a Content-Encoding is refused: nobody would decode it."""
    with pytest.raises(UnsupportedMediaType):
        read(TWO_FILES, encoding=encoding)


def test_b23d_identity_is_no_encoding() -> None:
    """`Content-Encoding: identity` says nothing."""
    assert len(read(TWO_FILES, encoding="identity").files) == 2


def test_b23f_a_file_and_a_text_of_one_name_are_both_kept() -> None:
    """A text field beside a file of the same name stays text."""
    parsed = read(part("a", b"text") + part("a", b"file", "f") + END)
    assert (parsed.form["a"], contents(parsed)) == ("text", [("a", "f", b"file")])


OTHER_BODIES = {
    "urlencoded": ("application/x-www-form-urlencoded", b"a=1&_s3handoff=t&a=2", ["t"], ["1", "2"]),
    "urlencoded-not-utf-8": ("application/x-www-form-urlencoded", b"a=\xff", [], []),
    "json": ("application/json", b'{"_s3handoff": "t"}', [], []),
    "plain": ("text/plain", b"_s3handoff=t", [], []),
}


@pytest.mark.parametrize(
    ("content_type", "body", "tokens", "values"), OTHER_BODIES.values(), ids=OTHER_BODIES
)
def test_b23g_other_bodies_stay_as_lenient_as_they_were(
    content_type: str, body: bytes, tokens: list[str], values: list[str]
) -> None:
    """Tokens are taken out of a urlencoded form; what is no form is left unread."""
    parsed = read(body, content_type=content_type)
    assert (parsed.tokens, parsed.form.getlist("a")) == (tokens, values)
    assert "_s3handoff" not in parsed.form
    if not content_type.endswith("urlencoded"):
        assert parsed.stream.read() == body


def test_b38_a_token_sent_as_a_file_is_ignored() -> None:
    """A file part named like the token field is neither token nor file; its sink is aborted."""
    sinks = Sinks()
    body = part("_s3handoff", b"t", "x") + part("_s3handoff", b"", "") + FILE + END
    parsed = read(body, sinks)
    assert (parsed.tokens, parsed.empty) == ([], [])
    assert [name for name, _, _ in contents(parsed)] == ["avatar"]
    assert [sink.aborted for sink in sinks.opened] == [1, 0]


def test_b39_text_that_imitates_a_file_stays_text() -> None:
    """Only a file part of the body is a file (CVE-2026-124289)."""
    parsed = read(part("avatar", b'{"filename": "x"}') + part("avatar.filename", b"x") + END)
    assert parsed.files == []
    assert parsed.form["avatar"] == '{"filename": "x"}'


# --- however the bytes arrive ------------------------------------------------------------------

PUZZLE = (
    b"preamble\r\n"
    + part("title", "Größe\r\n--".encode())
    + part("a", b"\r\n--Bx\r\n--", "f")
    + part("b", b"", "g")
    + part("c", b"\n\r\r\n\n--\r", "h", "Content-Type: text/plain\r\n")
    + END
)
PIECES = [("a", "f", b"\r\n--Bx\r\n--"), ("b", "g", b""), ("c", "h", b"\n\r\r\n\n--\r")]


def test_b23c_every_split_gives_the_same_bytes() -> None:
    """Cut in two at any offset, or byte by byte, the body means the same."""
    chunkings: list[list[bytes]] = [[PUZZLE[:n], PUZZLE[n:]] for n in range(len(PUZZLE))]
    chunkings.append([PUZZLE[n : n + 1] for n in range(len(PUZZLE))])
    for chunks in chunkings:
        parsed = read(Trickle(*chunks), CONTENT_LENGTH=str(len(PUZZLE)))
        assert contents(parsed) == PIECES, chunks
        assert parsed.form["title"] == "Größe\r\n--"


def test_b23c_a_delimiter_at_the_edge_of_a_read_is_seen() -> None:
    """Where the parser's reads meet, every 64 KiB, files are exact (pallets/werkzeug 3065, 3285)."""
    head = len(part("a", b"", "f")) - 2
    for size in range(65_536 - head - 12, 65_536 - head + 4):
        for end in (b"", b"\r", b"\n-\r"):
            data = b"\n" + bytes(size - len(end) - 1) + end
            assert contents(read(part("a", data, "f") + END)) == [("a", "f", data)], size


@settings(max_examples=100, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--b", b"x" * 90]), max_size=60).map(
        b"".join
    ),
    cuts=st.lists(st.integers(0, 4000), max_size=6),
    size=st.sampled_from([1, 30, 90, 500, 65_536]),
)
def test_b23c_any_bytes_survive_any_cuts(data: bytes, cuts: list[int], size: int) -> None:
    """Files made of the parser's own marks come out as they went in, however they are cut."""
    body = part("a", data, "f") + part("b", data) + END
    places = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    line = Trickle(*(body[a:b] for a, b in itertools.pairwise(places)))
    steady = _Steady(cast(IO[bytes], line), "B")
    form, files = MultiPartParser(buffer_size=size).parse(cast(IO[bytes], steady), b"B", len(body))
    assert files["a"].read() == data
    assert form["b"].encode() == data
    files["a"].close()


def test_a_steady_stream_is_read_in_whole_buffers() -> None:
    """However small the line's pieces are, the parser sees buffers, and all of the bytes once."""
    body = random.Random(1).randbytes(300_000)
    line = Trickle(*(body[n : n + 100] for n in range(0, len(body), 100)))
    steady = _Steady(cast(IO[bytes], line), "B")
    reads = list(iter(lambda: steady.read(65_536), b""))
    assert b"".join(reads) == body
    assert {len(piece) > 65_000 for piece in reads[:-1]} == {True}
    assert steady.read(65_536) == b""


def truncations() -> Iterator[tuple[bytes, dict[str, Any]]]:
    for size in range(len(PUZZLE) - 2):  # the last line break may be missing
        cut = PUZZLE[:size]
        yield cut, {"CONTENT_LENGTH": str(size)}
        yield cut, {"CONTENT_LENGTH": str(len(PUZZLE))}
        yield cut, {**CHUNKED, "CONTENT_LENGTH": ""}


def test_rule_3_a_body_cut_anywhere_is_a_bad_request() -> None:
    """Cut at any byte, told by its length, by a lost line or by the end: 400, no sink left (F27)."""
    for cut, environ in truncations():
        sinks = Sinks()
        with pytest.raises(BadRequest):
            read(cut, sinks, **environ)
        assert sinks.are_all_aborted(), (cut, environ)


# --- whatever goes wrong underneath ------------------------------------------------------------

FAILURES = {
    "too-large": TooLarge(),
    "F15-disk-full": Unavailable(),
    "F28-disconnect": ClientDisconnected(),
    "config": ConfigError("S3HANDOFF_WORK_DIR: no"),
    "F4-worker-ends": SystemExit(1),
    "interrupt": KeyboardInterrupt(),
    "os-error": OSError("reset"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("where", ["open", "write", "read"])
def test_every_sink_is_aborted_whatever_is_raised(failure: BaseException, where: str) -> None:
    """An error of the stream or of a sink comes through as it is, and all sinks are aborted."""

    def fail() -> None:
        raise failure

    def prepare(sink: Sink) -> None:
        if sinks.opened and where == "open":
            fail()
        if sinks.opened and where == "write":
            sink.on_write = fail

    class Broken(Trickle):
        def read(self, size: int = -1) -> bytes:
            if not self._chunks and where == "read":
                fail()
            return super().read(size)

    sinks = Sinks(prepare=prepare)
    stream = Broken(part("a", b"1", "f") + part("b", b"2" * 200_000, "g"))
    with pytest.raises(type(failure)) as raised:
        read(stream, sinks, **CHUNKED)
    assert raised.value is failure
    assert len(sinks.opened) == (1 if where == "open" else 2)
    assert sinks.are_all_aborted()


def test_an_abort_that_fails_does_not_spare_the_others() -> None:
    """Each sink is aborted, also when the abort of one raises."""
    sinks = Sinks()
    body = TWO_FILES.removesuffix(END)

    def prepare(sink: Sink) -> None:
        if sinks.opened:
            sink.abort = lambda: (_ for _ in ()).throw(OSError("abort"))  # type: ignore[method-assign]

    sinks.prepare = prepare
    with pytest.raises((BadRequest, OSError)):
        read(body, sinks)
    assert sinks.opened[0].aborted == 1


def test_what_was_parsed_can_be_given_up() -> None:
    """`Parsed.abort` aborts every sink, for who cannot finish them all."""
    sinks = Sinks()
    read(TWO_FILES, sinks).abort()
    assert [sink.aborted for sink in sinks.opened] == [1, 1]


def test_a_sink_is_told_how_much_may_still_come() -> None:
    """`content_length` is what is left of the body, so that the last file's tail can be small."""
    sinks = Sinks()
    body = part("a", b"x" * 1000, "f") + part("b", b"y", "g") + END
    read(body, sinks)
    read(Trickle(body), sinks, **CHUNKED)
    expected = [len(body), len(body) - 1000, None, None]
    assert [sink.content_length for sink in sinks.opened] == expected


def test_a_storage_class_that_drops_files_leaves_no_sink() -> None:
    """An app whose own multi dict keeps one file per field loses the others, and we abort them."""

    class Last(ImmutableMultiDict[str, Any]):
        def __init__(self, pairs: Any = ()) -> None:
            super().__init__(dict(pairs))

    sinks = Sinks()
    own = FormDataParser(cls=Last)
    body = io.BytesIO(part("a", b"1", "f") + part("a", b"2", "g") + END)
    parsed = parse(
        own, body, "multipart/form-data", None, {"boundary": "B"}, receive=sinks, max_files=9,
        content_length_header=None, terminated=True,
    )  # fmt: skip
    assert contents(parsed) == [("a", "g", b"2")]
    assert [sink.aborted for sink in sinks.opened] == [1, 0]


def test_b1_without_parameters_there_is_no_boundary() -> None:
    """`options` may be left out, as in werkzeug's own parser."""
    stream = io.BytesIO(TWO_FILES)
    with pytest.raises(BadRequest):
        parse(
            parser(), stream, "multipart/form-data", len(TWO_FILES), None, receive=Sinks(),
            max_files=9, content_length_header=str(len(TWO_FILES)), terminated=False,
        )  # fmt: skip


# --- a body that nobody asked for --------------------------------------------------------------


def tokens(body: bytes, content_type: str = MULTIPART, stream: Any = None) -> list[str]:
    mimetype, options = parse_options_header(content_type)
    stream = stream or io.BytesIO(body)
    return parse_unread(parser(), stream, mimetype, len(body), options).tokens


def test_an_unread_body_gives_its_tokens() -> None:
    """A view that never reads its form still hands on: its tokens are read, its files dropped."""
    body = part("_s3handoff", b"t1") + FILE + part("_s3handoff", b"t2") + part("x", b"y") + END
    assert tokens(body) == ["t1", "t2"]
    assert tokens(b"a=b&_s3handoff=t", "application/x-www-form-urlencoded") == ["t"]


UNREADABLE = [body for name, (body, _) in MALFORMED.items() if name[:2] in ("B3", "B4", "B9")]


@pytest.mark.parametrize("body", [*UNREADABLE, *TOO_LARGE.values(), b"", b"\xff"])
def test_an_unread_body_that_is_broken_has_no_tokens(body: bytes) -> None:
    """The answer is given already: nothing that is wrong with the body may change it."""
    assert tokens(body) == []


def test_an_unread_body_whose_line_breaks_has_no_tokens() -> None:
    """A client that is gone by now does not change the answer either."""

    class Broken(Trickle):
        def read(self, _size: int = -1) -> bytes:
            raise ClientDisconnected

    assert tokens(b"", stream=Broken()) == []


def test_an_unread_body_that_is_no_form_is_not_read() -> None:
    """A JSON body stays in its stream."""
    stream = io.BytesIO(b"{}")
    assert tokens(b"{}", "application/json", stream) == []
    assert stream.tell() == 0
