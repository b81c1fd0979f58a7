"""DirStore: nothing outside its folder, never half an object, nothing left of what fails."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import threading
from pathlib import Path

import pytest

from flask_s3handoff.dirstore import DirStore
from flask_s3handoff.errors import Corrupt, InvalidKey, Missing, Unavailable
from flask_s3handoff.store import kind_of

KIND = kind_of("a.png", "image/png")
OUTSIDE = "outside.txt"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that is not there yet, beside a file that nobody may touch."""
    (tmp_path / OUTSIDE).write_text("secret")
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> DirStore:
    """A store in that folder."""
    return DirStore(root)


def put(store: DirStore, key: str, data: bytes = b"picture") -> None:
    digest = hashlib.sha256(data).hexdigest()
    store.put(key, io.BytesIO(data), size=len(data), sha256=digest, kind=KIND)


def read(store: DirStore, key: str) -> bytes:
    with store.open(key) as opened:
        return opened.read()


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def test_making_a_store_touches_no_disk(root: Path, store: DirStore) -> None:
    """The folder is made by the first write, for its owner only."""
    assert list(store.list("users/")) == []
    assert not root.exists()
    put(store, "users/1/a.png")
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    modes = {stat.S_IMODE((root / name).stat().st_mode) for name in files(root)}
    assert modes == {0o600}


@pytest.mark.parametrize(
    "key", ["../outside.txt", "/etc/passwd", "a/../../outside.txt", "a//b", "."]
)
def test_keys_that_leave_the_folder_are_refused(store: DirStore, root: Path, key: str) -> None:
    """No verb gets as far as the disk (B41)."""
    for verb in (store.stat, store.open, store.delete):
        with pytest.raises(InvalidKey):
            verb(key)
    with pytest.raises(InvalidKey):
        put(store, key)
    assert (root.parent / OUTSIDE).read_text() == "secret"


@pytest.mark.parametrize("where", ["users", "users/1"])
def test_a_folder_behind_a_symbolic_link_is_refused(
    store: DirStore, root: Path, where: str
) -> None:
    """Neither written, read, listed nor deleted through (T22)."""
    put(store, "users/1/a.png")
    elsewhere = root.parent / "elsewhere"
    (root / where).rename(elsewhere)
    (root / where).symlink_to(elsewhere)
    before = files(elsewhere)
    for use in (
        lambda: put(store, "users/1/b.png"),
        lambda: read(store, "users/1/a.png"),
        lambda: store.delete("users/1/a.png"),
        lambda: list(store.list("users/1/")),
    ):
        with pytest.raises(InvalidKey):
            use()
    assert files(elsewhere) == before


def test_a_listing_does_not_follow_a_link(store: DirStore, root: Path) -> None:
    """A linked folder further down is passed over."""
    put(store, "users/1/a.png")
    (root / "users" / "link").symlink_to(root / "users" / "1")
    assert [entry.key for entry in store.list("users/")] == ["users/1/a.png"]


def test_a_blob_or_a_record_that_is_a_link_is_not_read(store: DirStore, root: Path) -> None:
    """Planted by somebody who can write here."""
    put(store, "a.png")
    (blob,) = [path for path in root.iterdir() if not path.name.startswith("~")]
    blob.unlink()
    blob.symlink_to(root.parent / OUTSIDE)
    with pytest.raises(Unavailable):
        read(store, "a.png")


@pytest.mark.parametrize(
    "change",
    [{"blob": "../outside.txt"}, {"key": "b.png"}, {"extra": 1}, {"size": "many"}],
    ids=["blob elsewhere", "another key", "unknown field", "no number"],
)
def test_a_damaged_record_is_corrupt(
    store: DirStore, root: Path, change: dict[str, object]
) -> None:
    """A record is judged before it is believed."""
    put(store, "a.png")
    record = root / "~a.png.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    with pytest.raises(Corrupt):
        read(store, "a.png")


def test_a_record_cut_short_is_corrupt_until_it_is_replaced(store: DirStore, root: Path) -> None:
    """A disk that lost bytes does not stop a new file from taking the place."""
    put(store, "a.png")
    (root / "~a.png.json").write_text("{")
    with pytest.raises(Corrupt):
        store.stat("a.png")
    put(store, "a.png", b"new")
    assert read(store, "a.png") == b"new"


def test_nothing_is_left_of_a_refused_put(store: DirStore, root: Path) -> None:
    """Other bytes than were announced leave no file (rule 11)."""
    with pytest.raises(Corrupt):
        store.put("users/1/a.png", io.BytesIO(b"x"), size=1, sha256="0" * 64, kind=KIND)
    with pytest.raises(Corrupt):
        store.put("users/1/a.png", io.BytesIO(b"x"), size=2, sha256="0" * 64, kind=KIND)
    assert files(root) == []


def test_nothing_is_left_of_an_overwritten_or_deleted_file(store: DirStore, root: Path) -> None:
    """One record and one blob for each key, and none in the end."""
    put(store, "a.png", b"one")
    put(store, "a.png", b"two")
    assert len(files(root)) == 2
    store.delete("a.png")
    assert files(root) == []


def test_nothing_is_left_of_an_upload(store: DirStore, root: Path) -> None:
    """Parts are gone when it is complete, and when it is aborted."""
    upload = store.begin("a.png", kind=KIND)
    upload.part(1, io.BytesIO(b"ab"), 2)
    upload.part(2, io.BytesIO(b"c"), 1)
    upload.complete(size=3, sha256=hashlib.sha256(b"abc").hexdigest())
    assert len(files(root)) == 2
    aborted = store.begin("b.png", kind=KIND)
    aborted.part(1, io.BytesIO(b"ab"), 2)
    aborted.abort()
    assert len(files(root)) == 2
    with pytest.raises(Unavailable):
        aborted.part(2, io.BytesIO(b"c"), 1)


def test_a_reader_never_sees_half(store: DirStore) -> None:
    """Under a writer who replaces one key all the time, each read is one of its files, whole."""
    versions = [bytes([n]) * (50_000 + n) for n in range(8)]
    put(store, "a.png", versions[0])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for version in versions:
                put(store, "a.png", version)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {read(store, "a.png") for _ in range(200)}
    finally:
        stop.set()
        writer.join(10)
    assert seen <= set(versions)


def test_names_that_a_disk_would_mix_up(store: DirStore) -> None:
    """A key and a key below it, tildes, percent signs, and segments longer than a disk takes."""
    keys = ["a", "a/b", "a~b", "a%7Eb", "~a.json", "~a.json/x", "n" * 300, "n" * 301, "ü" * 150]
    for key in keys:
        put(store, key, key.encode())
    assert [read(store, key) for key in keys] == [key.encode() for key in keys]
    put(store, "deep/" + "n" * 300 + "/x", b"x")
    assert [entry.key for entry in store.list("deep/" + "n" * 300 + "/")] == [
        "deep/" + "n" * 300 + "/x"
    ]


def test_a_disk_that_does_not_work_is_unavailable(root: Path) -> None:
    """The store's folder is a file, say."""
    root.write_text("in the way")
    with pytest.raises(Unavailable) as raised:
        put(DirStore(root), "a.png")
    assert raised.value.facts["errno"]


def test_two_stores_on_one_folder_share_it(root: Path) -> None:
    """Two servers with a shared disk."""
    put(DirStore(root), "users/1/a.png")
    assert read(DirStore(root), "users/1/a.png") == b"picture"
    DirStore(root).delete("users/1/a.png")
    with pytest.raises(Missing):
        DirStore(root).stat("users/1/a.png")
