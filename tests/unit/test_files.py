"""HandoffFile: a FileStorage in every respect, that fetches only when its bytes are used."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from PIL import Image
from werkzeug.datastructures import FileStorage

from flask_s3handoff.errors import Expired
from flask_s3handoff.files import HandoffFile
from flask_s3handoff.tokens import Claim

BYTES = b"line one\nline two\n" * 100


class FakeKeeper:
    """Has exactly what a file may ask for, and writes down what was asked."""

    def __init__(self, folder: Path, content: bytes = BYTES) -> None:
        self.folder = folder
        self.content = content
        self.asked: list[str] = []

    def claim(self) -> Claim:
        """Return the claim of what is kept."""
        return Claim(
            relpath=f"20261123/{'k' * 26}/leo.png",
            field="avatar",
            filename="Leo's picture.png",
            content_type="image/png",
            size=len(self.content),
            sha256=hashlib.sha256(self.content).hexdigest(),
            uploaded_at=1,
        )

    def local_copy(self, file: HandoffFile) -> str:
        """Write the bytes to a file, as a fetch does."""
        self.asked.append("local_copy")
        if file.error:
            raise file.error
        path = self.folder / "local"
        path.write_bytes(self.content)
        return str(path)

    def edit_copy(self, file: HandoffFile) -> str:
        """Copy the local copy."""
        path = self.folder / f"edit-{len(self.asked)}.png"
        path.write_bytes(Path(self.local_copy(file)).read_bytes())
        return str(path)

    def revise(self, file: HandoffFile, source: str | IO[bytes]) -> None:
        """Take the new bytes."""
        self.asked.append("revise")
        self.content = (
            Path(source).read_bytes() if isinstance(source, str) else bytes(source.read())
        )
        file.became(self.claim())

    def url_of(self, file: HandoffFile, expires: int | None) -> str:
        """Settle, as the real one does by waiting for the claim."""
        return f"https://store/{file.sha256}?{expires}"

    def promote(self, file: HandoffFile, key: str, overwrite: bool) -> str:
        """Write it down."""
        self.asked.append(f"promote {key} {overwrite} {file.size}")
        return key

    def discard(self, file: HandoffFile) -> None:
        """Write it down."""
        self.asked.append(f"discard {file.field}")


@pytest.fixture
def keeper(tmp_path: Path) -> FakeKeeper:
    return FakeKeeper(tmp_path)


@pytest.fixture
def file(keeper: FakeKeeper) -> HandoffFile:
    return HandoffFile(keeper.claim(), keeper)


@pytest.mark.parametrize(
    "look",
    [
        bool,
        repr,
        lambda f: (f.filename, f.mimetype, f.content_type, f.content_length, f.name, f.field),
        lambda f: (f.size, f.sha256, f.relpath),
        lambda f: [hasattr(f, name) for name in ("read", "seek", "path_or_buf", "write", "mode", "_x")],
        lambda f: (f.readable(), f.seekable(), f.closed, f.writable()),
        lambda f: f.close(),
        lambda f: isinstance(f, FileStorage),
    ],
)  # fmt: skip
def test_rule_9_a_look_costs_no_fetch(
    file: HandoffFile, keeper: FakeKeeper, look: Callable[[HandoffFile], object]
) -> None:
    """Truth, name, type, size and ``hasattr`` ask nobody."""
    look(file)

    assert keeper.asked == []


def test_it_says_what_it_is(file: HandoffFile) -> None:
    """Names and numbers are those of the claim."""
    assert file
    assert (file.field, file.name, file.filename) == ("avatar", "avatar", "Leo's picture.png")
    assert (file.mimetype, file.content_length, file.size) == ("image/png", len(BYTES), len(BYTES))


def test_it_reads_like_any_file(file: HandoffFile, tmp_path: Path) -> None:
    """read, seek, iteration, lines and save."""
    assert file.read(4) == b"line"
    assert file.tell() == 4
    file.seek(0)
    assert file.readline() == b"line one\n"
    file.seek(0)
    assert next(iter(file)) == b"line one\n"
    file.seek(0)
    file.save(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == BYTES
    file.close()


def test_it_works_after_its_stream_was_closed(file: HandoffFile) -> None:
    """TextIOWrapper closes what it wraps; the next use opens it again."""
    with io.TextIOWrapper(file, encoding="ascii") as text:
        assert text.readline() == "line one\n"

    assert file.read() == BYTES
    file.close()
    assert file.read(4) == b"line"
    file.stream.close()
    assert file.read(4) == b"line"
    file.close()


def test_zipfile_and_pillow_read_it(tmp_path: Path) -> None:
    """Libraries take it as the file it is."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "inside")
    picture = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(picture, "PNG")

    zipped = FakeKeeper(tmp_path, packed.getvalue())
    file = HandoffFile(zipped.claim(), zipped)
    with zipfile.ZipFile(file) as archive:
        assert archive.read("a.txt") == b"inside"
    file.close()
    painted = FakeKeeper(tmp_path, picture.getvalue())
    seen = HandoffFile(painted.claim(), painted)
    with Image.open(seen) as image:
        assert image.size == (4, 4)
    seen.close()


def test_an_edit_of_the_path_becomes_a_new_revision(file: HandoffFile, keeper: FakeKeeper) -> None:
    """From then on the file reads, and is, the edited one."""
    before = file.sha256
    Path(file.path).write_bytes(b"edited")

    assert file.read() == b"edited"
    assert file.sha256 == hashlib.sha256(b"edited").hexdigest() != before
    assert file.size == 6
    assert keeper.asked.count("revise") == 1
    file.close()


def test_an_edit_that_replaces_the_file_is_seen(file: HandoffFile, tmp_path: Path) -> None:
    """Pillow and careful writers put a new file in the old one's place."""
    assert file.path
    assert file.read(4) == b"line"
    (tmp_path / "new").write_bytes(b"replaced")
    os.replace(tmp_path / "new", file.path)

    assert file.read() == b"replaced"
    assert file.size == 8
    file.close()


def test_an_edit_of_the_same_length_is_seen(file: HandoffFile) -> None:
    """Size alone proves nothing."""
    Path(file.path).write_bytes(BYTES.replace(b"one", b"two"))

    assert file.sha256 == hashlib.sha256(BYTES.replace(b"one", b"two")).hexdigest()


def test_reading_or_touching_the_path_makes_no_revision(
    file: HandoffFile, keeper: FakeKeeper
) -> None:
    """Only other bytes are a new revision: an edit is one PUT, a look none (rule 9)."""
    path = Path(file.path)
    path.read_bytes()
    os.utime(path)
    path.write_bytes(BYTES)

    assert file.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert "revise" not in keeper.asked


def test_a_new_name_is_carried_with_the_type_that_goes_with_it(file: HandoffFile) -> None:
    """A PNG that was cropped and saved as a JPEG is one from then on."""
    file.filename = "avatar.jpg"

    assert (file.claim.filename, file.claim.content_type) == ("avatar.jpg", "image/jpeg")
    assert file.mimetype == "image/jpeg"
    file.filename = None
    assert file.claim.filename == "avatar.jpg"


def test_f39_a_path_that_was_moved_away_leaves_the_revision(
    file: HandoffFile, keeper: FakeKeeper, tmp_path: Path
) -> None:
    """``shutil.move(file.path, …)`` takes the copy, not the file (F39)."""
    os.replace(file.path, tmp_path / "elsewhere")

    assert file.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert Path(file.path).read_bytes() == BYTES
    assert "revise" not in keeper.asked


@pytest.mark.parametrize("kind", ["bytes", "file", "path"])
def test_replace_takes_bytes_a_file_or_a_path(file: HandoffFile, tmp_path: Path, kind: str) -> None:
    """Each makes a new revision at once."""
    (tmp_path / "new").write_bytes(b"new bytes")
    sources = {"bytes": b"new bytes", "file": io.BytesIO(b"new bytes"), "path": tmp_path / "new"}
    assert file.path

    file.replace(sources[kind])  # type: ignore[arg-type]

    assert file.read() == b"new bytes"
    assert file.size == 9
    assert Path(file.path).read_bytes() == b"new bytes"
    file.close()


def test_a_url_shows_the_edit(file: HandoffFile) -> None:
    """An edit is settled before its URL is made."""
    Path(file.path).write_bytes(b"edited")

    assert hashlib.sha256(b"edited").hexdigest() in file.url(expires=60)


def test_promote_and_discard_are_its_keepers(file: HandoffFile, keeper: FakeKeeper) -> None:
    """The file passes them on, settled."""
    Path(file.path).write_bytes(b"edited")
    file.promote("users/1.png")
    file.discard()

    assert keeper.asked[-2:] == ["promote users/1.png False 6", "discard avatar"]


def test_an_error_is_raised_when_the_bytes_are_used_and_not_before(keeper: FakeKeeper) -> None:
    """Rule 5: never an absent file, never a silent one."""
    file = HandoffFile(keeper.claim(), keeper, error=Expired(filename="leo.png"))

    assert file.filename
    assert file
    for use in (
        lambda: file.read(),
        lambda: file.path,
        lambda: file.save(os.devnull),
        lambda: list(file),
    ):
        with pytest.raises(Expired):
            use()


def test_a_library_may_put_its_own_stream_in(file: HandoffFile, keeper: FakeKeeper) -> None:
    """Some scanners replace ``file.stream`` by one of theirs."""
    file.stream = io.BytesIO(b"scanned")

    assert file.read() == b"scanned"
    assert keeper.asked == []


def test_an_unknown_attribute_is_no_attribute(file: HandoffFile) -> None:
    """As on any object."""
    with pytest.raises(AttributeError, match="'HandoffFile' object has no attribute 'nope'"):
        _ = file.nope
