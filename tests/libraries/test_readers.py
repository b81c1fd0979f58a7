"""What people open uploads with: fresh, after a redisplay, and on another server, it must work the same."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flask import Flask, request
from PIL import Image
from werkzeug.utils import secure_filename

from flask_s3handoff import S3Handoff
from tests.browser_like import Browser, Upload
from tests.small_apps import count, fleet_of, form, memory, page


def picture() -> bytes:
    """Return a PNG of two colours."""
    image = Image.new("RGB", (40, 30), "red")
    image.paste("blue", (0, 0, 10, 10))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def zipped() -> bytes:
    """Return an archive with one member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/b.txt", "inside")
    return stream.getvalue()


def tarred() -> bytes:
    """Return a compressed tar with one member."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        info = tarfile.TarInfo("b.txt")
        info.size = 6
        archive.addfile(info, io.BytesIO(b"inside"))
    return stream.getvalue()


TABLE = "name,size\nLeo,1\nÄda,2\n".encode()


def text_of(file: Any) -> Any:
    """Read text through a wrapper that closes what it wraps."""
    with io.TextIOWrapper(file.stream, "utf-8") as text:
        return text.read()


def csv_of(file: Any) -> Any:
    """Read rows through a wrapper that is only dropped."""
    return list(csv.DictReader(io.TextIOWrapper(file, "utf-8", newline="")))


def size_of(image: Any) -> Any:
    """Load all of a picture."""
    with Image.open(image) as opened:
        opened.load()
        return [*opened.size, opened.format, opened.getpixel((0, 0)), opened.getpixel((39, 29))]


def members_of(file: Any) -> Any:
    """Read an archive's members."""
    with zipfile.ZipFile(file) as archive:
        return [[name, archive.read(name).decode()] for name in archive.namelist()]


def tar_of(file: Any) -> Any:
    """Read a compressed tar, streaming."""
    with tarfile.open(fileobj=file, mode="r:gz") as archive:
        return [
            [member.name, (archive.extractfile(member) or io.BytesIO()).read().decode()]
            for member in archive
        ]


def saved(file: Any) -> Any:
    """Save the werkzeug way, read back."""
    target = io.BytesIO()
    file.save(target)
    return hashlib.sha256(target.getvalue()).hexdigest()


def piecewise(file: Any) -> Any:
    """Seek, tell, read, readline, readinto, iterate."""
    first = file.readline().decode("latin-1")
    place = file.tell()
    rest = b"".join(file.stream)
    file.seek(0, io.SEEK_END)
    end = file.tell()
    file.seek(2)
    buffer = bytearray(3)
    file.readinto(buffer)
    return [
        first,
        place,
        len(rest),
        end,
        buffer.decode("latin-1"),
        file.readable(),
        file.seekable(),
        file.writable(),
    ]


READERS: dict[str, tuple[Upload, Callable[[Any], Any]]] = {
    "Pillow": (Upload("a.png", picture(), "image/png"), size_of),
    "Pillow, by path": (Upload("a.png", picture(), "image/png"), lambda file: size_of(file.path)),
    "Pillow, by stream": (Upload("a.png", picture(), "image/png"), lambda file: size_of(file.stream)),
    "pandas": (Upload("a.csv", TABLE, "text/csv"), lambda file: json.loads(pd.read_csv(file).to_json())),
    "pandas, by path": (Upload("a.csv", TABLE), lambda file: json.loads(pd.read_csv(file.path).to_json())),
    "pandas, by stream": (Upload("a.csv", TABLE), lambda file: json.loads(pd.read_csv(file.stream).to_json())),
    "zipfile": (Upload("a.zip", zipped(), "application/zip"), members_of),
    "zipfile, by path": (Upload("a.zip", zipped()), lambda file: members_of(file.path)),
    "tarfile": (Upload("a.tar.gz", tarred()), tar_of),
    "gzip": (Upload("a.gz", gzip.compress(b"inside")), lambda file: gzip.GzipFile(fileobj=file).read().decode()),
    "TextIOWrapper": (Upload("a.txt", TABLE), text_of),
    "csv": (Upload("a.csv", TABLE), csv_of),
    "json": (Upload("a.json", b'{"a": [1, 2]}'), json.load),
    "save": (Upload("a.bin", bytes(range(256)) * 999), saved),
    "copyfileobj": (Upload("a.bin", b"x" * 70_000), lambda file: shutil.copyfileobj(file, io.BytesIO())),
    "file_digest": (Upload("a.bin", b"x" * 70_000), lambda file: hashlib.file_digest(file.stream, "sha256").hexdigest()),
    "piece by piece": (Upload("a.txt", b"one\ntwo\nthree"), piecewise),
    "lines": (Upload("a.txt", b"one\ntwo\nthree"), lambda file: [line.decode() for line in file]),
    "names": (
        Upload("../ä b.PNG", b"x", "image/png"),
        lambda f: [f.filename, secure_filename(f.filename), f.mimetype, f.content_type, f.name, f.content_length, bool(f)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_it_reads_the_same_on_every_server(name: str) -> None:
    """Werkzeug's own answer, ours when fresh, when redisplayed on another server, and read twice."""
    upload, read = READERS[name]
    plain: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/read")
        def view() -> str:
            file = request.files["file"]
            first = json.dumps(read(file))
            file.seek(0)
            plain.append(json.dumps(read(file)))
            return page(f"<pre>{first}</pre>", form("/read"))

        @app.post("/plain")
        @handoff.exempt
        def exempt() -> str:
            return f"<pre>{json.dumps(read(request.files['file']))}</pre>"

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        first = browser.post("/read", [("file", upload)])
        again = browser.submit(first)
        last = browser.submit(again)
        results = {
            seen.text.partition("<pre>")[2].partition("</pre>")[0] for seen in (first, again, last)
        }
        assert len(results) == 1
        assert set(plain) == results
        if "path" not in name and name not in ("names", "piece by piece"):
            without_us = browser.post("/plain", [("file", upload)]).text
            assert without_us.partition("<pre>")[2].partition("</pre>")[0] in results
        assert count(fleet, "put") == 1
        assert count(fleet, "fetch") == 2, "once on each of the other servers"


def test_pillow_edits_in_place() -> None:
    """Open the path, crop, save to the path: the saved picture is the cropped one, on any server."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/crop")
        def crop() -> str:
            file: Any = request.files["file"]
            with Image.open(file.path) as image:
                image.crop((0, 0, 10, 10)).save(file.path)
            return page(json.dumps(size_of_small(file)), form("/save"))

        @app.post("/turn")
        def turn() -> str:
            file: Any = request.files["file"]
            turned, stream = Image.open(file), io.BytesIO()
            turned.rotate(90).save(stream, "PNG")
            file.replace(stream)
            return page(form("/crop"))

        app.add_url_rule(
            "/save",
            "save",
            lambda: handoff.promote(request.files["file"], "users/1.png"),
            methods=["POST"],
        )

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        cropped = browser.submit(
            browser.post("/turn", [("file", Upload("a.png", picture(), "image/png"))])
        )
        assert "[10, 10]" in cropped.text
        browser.submit(cropped)
        with Image.open(io.BytesIO(memory(fleet).bytes_of("users/1.png"))) as image:
            assert image.size == (10, 10)


def size_of_small(file: Any) -> Any:
    """Return the size of a picture as the file has it now."""
    with Image.open(file) as image:
        return list(image.size)


@pytest.mark.parametrize("closing", ["close", "wrapper", "stream", "with"])
def test_f39_everything_works_after_the_stream_was_closed(closing: str, tmp_path: Path) -> None:
    """``TextIOWrapper`` closes what it wraps; the file is opened again, from the start."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/")
        def view() -> str:
            file: Any = request.files["file"]
            file.read(3)
            if closing == "close":
                file.close()
            elif closing == "wrapper":
                io.TextIOWrapper(file.stream).close()
            elif closing == "stream":
                file.stream.close()
            else:
                with file.stream:
                    pass
            assert file.read() == TABLE
            file.save(tmp_path / "copy.csv")
            with open(file.path, "ab") as copy:
                copy.write(b"more")
            assert file.size == len(TABLE) + 4
            return page(form("/"))

    with fleet_of(build) as fleet:
        assert Browser(fleet).post("/", [("file", Upload("a.csv", TABLE))]).form().token
