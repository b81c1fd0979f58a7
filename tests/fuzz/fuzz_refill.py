"""Any form in front of an app of another framework: the form as it came, and the files of its tokens.

What werkzeug reads in the body that came is what it reads in the body that the app gets, but for our
field and for the files that were brought back; and Django reads the same files. A body without our
field is the very bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http.multipartparser import MultiPartParser as DjangoParser
from django.http.multipartparser import MultiPartParserError
from werkzeug.exceptions import HTTPException
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from flask_s3handoff.bodywriter import pairs_of
from flask_s3handoff.paths import TOKEN_FIELD
from tests.frameworks.django_app import configure
from tests.wsgi_bench import MULTIPART, URLENCODED, Bench, file, multipart, text

from .choices import Choices
from .fuzz_body import iter_soup

PICTURE = b"\x89PNG\r\n--Q\r\n\r\n--Q--\r\n-"
MAX_FILES = 4
RUNS_PER_BENCH = 400  # its folder and its store grow by what is uploaded
NAMES = ("a", "avatar", "title", "_s3handoff ", "é", "avatar[]", 'q\\"uote')
FILENAMES = ("x.png", "", "C:\\fakepath\\x.png", "é.png", "..\\..\\x", "x\\")
CONTENTS = (
    b"",
    b"1",
    b"\r\n",
    b"--B",
    b"\r\n--",
    b"\xff\xfe",
    b"_s3handoff",
    "é".encode(),
    b"\r\n--B--x",
    b"=&%zz+",
)
TRIFLES = (
    b"--B\r\n",
    b"\r\n",
    b"-",
    b"\0",
    b'"',
    b"; filename=x",
    b"B",
    b"_s3handoff",
    b"X: y\r\n",
)

Files = list[tuple[str, str | None, bytes]]
Texts = list[tuple[str, str]]


class Stage:
    """A middleware with a file that was uploaded, made anew from time to time."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="fuzz-refill-")
        self.bench = Bench(Path(self.folder), {"max_files": MAX_FILES})
        self.token = self.bench.upload(file("avatar", "leo.png", PICTURE))
        self.runs = 0

    def close(self) -> None:
        """Leave nothing behind."""
        self.bench.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_stages: list[Stage] = []


def stage() -> Stage:
    """Return the stage of this moment."""
    if _stages and _stages[0].runs >= RUNS_PER_BENCH:
        close()
    if not _stages:
        configure()
        _stages.append(Stage())
    _stages[0].runs += 1
    return _stages[0]


def close() -> None:
    """Take the stage down; the next input builds another one."""
    while _stages:
        _stages.pop().close()


def check(data: bytes) -> None:
    """Judge one input; ``AssertionError`` and any other exception is a find."""
    choices, on = Choices(data), stage()
    kind = choices.one_of((_parts, _damaged, _urlencoded, _soup))
    body, content_type = kind(choices, on.token)
    on.bench.seen.clear()
    answer = on.bench.post(body, content_type)
    assert answer.status_code in (200, 400, 413), answer.status
    if answer.status_code == 200:
        _compare(on, body, content_type)
    else:
        assert not on.bench.seen, "the app acted on a body that was refused"
        assert b"Traceback" not in answer.get_data()


# What is sent


def _parts(choices: Choices, token: str) -> tuple[bytes, str]:
    parts = [_part(choices, token) for _ in range(choices.number(6))]
    return multipart(*parts), MULTIPART


def _part(choices: Choices, token: str) -> bytes:
    kind = choices.number(7)
    if kind < 2:
        return text(TOKEN_FIELD, choices.one_of((token, token, "x.y", "", token[:-1])))
    if kind == 2:
        return file("avatar", "", b"", "application/octet-stream")
    if kind == 3:
        return file(TOKEN_FIELD, "x", token.encode())
    name = choices.one_of(NAMES)
    content = choices.one_of(CONTENTS) + choices.some(choices.number(9))
    return text(name, content) if kind < 6 else file(name, choices.one_of(FILENAMES), content)


def _damaged(choices: Choices, token: str) -> tuple[bytes, str]:
    """Parts with a trifle put in, taken out, or the end cut off."""
    body, content_type = _parts(choices, token)
    for _ in range(1 + choices.number(1)):
        at, gone = choices.number(65_535) % (len(body) + 1), choices.number(3)
        body = body[:at] + choices.one_of((b"", *TRIFLES)) + body[at + gone :]
    return (
        body[: choices.number(65_535) % (len(body) + 1)] if choices.number(7) == 7 else body
    ), content_type


def _soup(choices: Choices, token: str) -> tuple[bytes, str]:
    return b"".join(iter_soup(choices)).replace(b"token.text", token.encode()), MULTIPART


def _urlencoded(choices: Choices, token: str) -> tuple[bytes, str]:
    own = (
        f"_s3handoff={token}",
        f"%5fs3handoff={token}",
        "_s3handoff=x",
        "_s3handoff",
        f"a={token}",
        "a=_s3handoff",
    )
    pairs = [
        choices.one_of((*own, "a=1", "", "=", "b=%zz", "c=%ff+%00", "d=%C3%A9", "é=1"))
        for _ in range(choices.number(7))
    ]
    return "&".join(pairs).encode() + choices.rest(), URLENCODED


# What is seen


def _compare(on: Stage, body: bytes, content_type: str) -> None:
    seen = on.bench.last
    assert seen.environ["CONTENT_LENGTH"] == str(len(seen.body))
    if content_type == URLENCODED:
        _compare_urlencoded(on, body)
        return
    try:
        texts, files = _by_werkzeug(body, content_type)
    except (ValueError, HTTPException):  # this body is no form for anybody
        texts, files = [], []
    if TOKEN_FIELD not in {name for name, *_ in [*texts, *files]}:
        assert seen.body == body, "a body without a token was changed"
        return
    tokens = [value for name, value in texts if name == TOKEN_FIELD]
    is_chosen = any(name == "avatar" and filename for name, filename, _ in files)
    brought = [PICTURE] if on.token in tokens[:MAX_FILES] and not is_chosen else []
    wanted = [
        (name, content)
        for name, filename, content in files
        if name != TOKEN_FIELD and not (brought and name == "avatar" and not filename)
    ]
    read_texts, read_files = _by_werkzeug(seen.body, seen.environ["CONTENT_TYPE"])
    assert sorted(read_texts) == sorted(pair for pair in texts if pair[0] != TOKEN_FIELD)
    found = sorted((name, content) for name, _, content in read_files)
    assert found == sorted([*wanted, *(("avatar", content) for content in brought)])
    _compare_django(seen, brought)


def _by_werkzeug(body: bytes, content_type: str) -> tuple[Texts, Files]:
    boundary = parse_options_header(content_type)[1]["boundary"].encode()
    reading = MultiPartParser(
        stream_factory=lambda *_args, **_options: BytesIO(),  # its own stay open when it gives up
        buffer_size=len(body) + 1024,
        max_form_memory_size=500_000,
    )
    form, files = reading.parse(BytesIO(body), boundary, len(body))
    items = list(files.items(multi=True))
    found = [(name, item.filename, item.read()) for name, item in items]
    for _, item in items:
        item.close()
    return list(form.items(multi=True)), found


def _compare_django(seen: Any, brought: list[bytes]) -> None:
    """Django finds the file that was brought back as well, whole."""
    meta = {"CONTENT_TYPE": seen.environ["CONTENT_TYPE"], "CONTENT_LENGTH": str(len(seen.body))}
    handler = MemoryFileUploadHandler()
    try:
        _, files = DjangoParser(meta, BytesIO(seen.body), [handler], "utf-8").parse()
    except (SuspiciousOperation, MultiPartParserError):  # its limits
        return
    for content in brought:
        assert content in [item.read() for item in files.getlist("avatar")], "Django sees another"


def _compare_urlencoded(on: Stage, body: bytes) -> None:
    seen = on.bench.last
    own, tokens = pairs_of(body)
    if TOKEN_FIELD.encode() not in body or not tokens:  # no browser escapes our name
        assert seen.body == body
    elif on.token not in tokens[:4]:
        assert seen.body == b"&".join(own)
    else:
        texts, files = _by_werkzeug(seen.body, seen.environ["CONTENT_TYPE"])
        assert files == [("avatar", "leo.png", PICTURE)]
        assert len(texts) == len(own)
