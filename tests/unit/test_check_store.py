"""A linter for the linter: check_store passes on good stores and names what a bad one breaks."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from flask_s3handoff.dirstore import DirStore
from flask_s3handoff.errors import AlreadyExists, Missing
from flask_s3handoff.memory import MemoryParts, MemoryStore, _Object
from flask_s3handoff.paths import check_key
from flask_s3handoff.store import LOCAL, Entry, Kind, OpenedFile
from flask_s3handoff.testing import Promise, check_store
from tests.scripted import Answer, Asked, ScriptedS3


def lacking(promises: list[Promise]) -> set[str]:
    assert {promise.state for promise in promises} <= {"ok", "lacking"}
    return {promise.detail for promise in promises if promise.state == "lacking"}


def test_memory_keeps_its_promises() -> None:
    """All but addresses; and nothing is left in it."""
    store = MemoryStore()
    assert lacking(check_store(store)) == {"presigned_urls"}
    assert store.keys() == []


def test_a_folder_keeps_its_promises(tmp_path: Path) -> None:
    """All but addresses; and no file is left in it."""
    assert lacking(check_store(DirStore(tmp_path / "store"))) == {"presigned_urls"}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class Truncating(MemoryStore):
    """Loses the last byte."""

    def _keep(self, key: str, item: Any, *, overwrite: bool) -> None:
        super()._keep(key, replace(item, data=item.data[:-1]), overwrite=overwrite)


class Rotting(MemoryStore):
    """Flips a bit of what it keeps."""

    def _keep(self, key: str, item: Any, *, overwrite: bool) -> None:
        flipped = bytes([item.data[0] ^ 1, *item.data[1:]]) if item.data else b""
        super()._keep(key, replace(item, data=flipped), overwrite=overwrite)


class RefusingNothing(MemoryStore):
    """Has no files of no bytes."""

    def put(self, key: str, body: Any, **options: Any) -> str:
        return super().put(key, body, **options) if options["size"] else "nothing"


class Small(MemoryStore):
    """Keeps 8 MiB of each file."""

    def _keep(self, key: str, item: Any, *, overwrite: bool) -> None:
        super()._keep(key, replace(item, data=item.data[: 8 << 20]), overwrite=overwrite)


class Overwriting(MemoryStore):
    """Takes `if_absent` and overwrites all the same, as some endpoints do."""

    def put(self, key: str, body: Any, **options: Any) -> str:
        return super().put(key, body, **{**options, "if_absent": False})


class Racing(MemoryStore):
    """Looks, takes its time, and writes: two writers may both find the key free."""

    def put(self, key: str, body: Any, **options: Any) -> str:
        if options["if_absent"] and key not in self.keys():
            threading.Event().wait(0.01)
            options["if_absent"] = False
        return super().put(key, body, **options)


class CopyingOver(MemoryStore):
    """Copies over what is there."""

    def copy(self, source: str, key: str, **options: Any) -> None:
        super().copy(source, key, **{**options, "overwrite": True})


class CopyingOnce(MemoryStore):
    """Does not know its own copy again."""

    def copy(self, source: str, key: str, *, overwrite: bool, **options: Any) -> None:
        if key in self.keys() and not overwrite:
            raise AlreadyExists
        super().copy(source, key, overwrite=overwrite, **options)


class LookingFirst(MemoryStore):
    """Looks, takes its time, and copies: two racers may both find the key free."""

    def copy(self, source: str, key: str, *, overwrite: bool, **options: Any) -> None:
        if key in self.keys() and not overwrite:
            super().copy(source, key, overwrite=False, **options)
        threading.Event().wait(0.01)
        super().copy(source, key, overwrite=True, **options)


class CopyingKind(MemoryStore):
    """Keeps the kind of the source."""

    def copy(self, source: str, key: str, **options: Any) -> None:
        check_key(source)
        super().copy(source, key, **{**options, "kind": self._at(source).kind})


class Believing(MemoryStore):
    """Believes any digest."""

    def put(self, key: str, body: Any, **options: Any) -> str:
        body.seek(0)
        digest = hashlib.sha256(body.read()).hexdigest()
        return super().put(key, body, **{**options, "sha256": digest})


class Silent(MemoryStore):
    """Fetches nothing where there is nothing."""

    def fetch(self, key: str, fd: int, *, size: int, **options: Any) -> None:
        with contextlib.suppress(Missing):
            super().fetch(key, fd, size=size, **options)


class Padding(MemoryStore):
    """Gives as many bytes as were asked for."""

    def fetch(self, key: str, fd: int, *, size: int, **options: Any) -> None:
        found = self._at(key)
        padded = replace(found, data=found.data.ljust(size, b"\0")[:size])
        self._objects[key] = padded
        try:
            super().fetch(key, fd, size=size, **options)
        finally:
            self._objects[key] = found


class Patient(MemoryStore):
    """Has no deadline."""

    def fetch(self, key: str, fd: int, *, until: float, **options: Any) -> None:
        super().fetch(key, fd, until=until + 3600, **options)


class Disorderly(MemoryStore):
    """Tells twice what has arrived."""

    def fetch(self, key: str, fd: int, *, progress: Callable[[int], None], **options: Any) -> None:
        def twice(done: int) -> None:
            progress(done)
            progress(done)

        super().fetch(key, fd, progress=twice, **options)


class Hasty(MemoryStore):
    """Puts parts together as they came."""

    def begin(self, key: str, *, kind: Kind) -> MemoryParts:
        parts = super().begin(key, kind=kind)
        send = parts.part
        parts.part = lambda *given: send(len(parts._parts), *given[1:])  # type: ignore[method-assign]
        return parts


class Completing(MemoryStore):
    """Completes what is not complete."""

    def begin(self, key: str, *, kind: Kind) -> MemoryParts:
        parts = super().begin(key, kind=kind)
        parts.complete = lambda **_: self._keep(key, self._whole(parts), overwrite=True)  # type: ignore[method-assign]
        return parts

    def _whole(self, parts: MemoryParts) -> Any:
        data = b"".join(parts._parts[number] for number in sorted(parts._parts))
        return _Object(data, parts._kind, None)


class Forgiving(MemoryStore):
    """Takes parts after the abort."""

    def begin(self, key: str, *, kind: Kind) -> MemoryParts:
        parts = super().begin(key, kind=kind)
        parts.abort = lambda: None  # type: ignore[method-assign]
        return parts


class Greedy(MemoryStore):
    """Reads everything at once."""

    def open(self, key: str, *, unless: str = "") -> OpenedFile:
        opened = super().open(key, unless=unless)
        everything = opened.file.read
        opened.read = lambda _size=-1: everything()
        return opened


class Repeating(MemoryStore):
    """Sends a file again that its reader has."""

    def open(self, key: str, **_: Any) -> OpenedFile:
        return super().open(key)


class Asciifying(MemoryStore):
    """Mixes up keys that it finds alike."""

    def put(self, key: str, body: Any, **options: Any) -> str:
        return super().put(key.encode("ascii", "replace").decode(), body, **options)

    def fetch(self, key: str, fd: int, **options: Any) -> None:
        super().fetch(key.encode("ascii", "replace").decode(), fd, **options)

    def copy(self, source: str, key: str, **options: Any) -> None:
        super().copy(source.encode("ascii", "replace").decode(), key, **options)


class Listing(MemoryStore):
    """Lists by prefix without its slash."""

    def list(self, prefix: str) -> Iterator[Entry]:
        everything = super().list("check/")
        return (entry for entry in everything if entry.key.startswith(prefix.rstrip("/")))


class FirstPage(MemoryStore):
    """Lists one page."""

    def list(self, prefix: str) -> Iterator[Entry]:
        return (entry for n, entry in enumerate(super().list(prefix)) if n < 1000)


class Complaining(MemoryStore):
    """Has to have what is deleted."""

    def delete(self, key: str) -> None:
        self.stat(key)
        super().delete(key)


class Trusting(MemoryStore):
    """Takes any key."""

    def _enter(self, verb: str, key: str) -> None:
        self.calls.append((verb, key))


class Addressed(MemoryStore):
    """Claims to have addresses."""

    def __init__(self) -> None:
        super().__init__(capabilities=replace(LOCAL, presigned_urls=True))


class Served(Addressed):
    """Has addresses, which a server of its own serves."""

    def __init__(self, server: ScriptedS3, *, judges: Sequence[str] = ("sig", "until")) -> None:
        super().__init__()
        self._judges = judges
        self._server = server
        server.will(self._serve)

    def url(self, key: str, *, expires_seconds: int, kind: Kind | None = None) -> str:
        served = kind or self.kind_of(key)
        said: dict[str, object] = {"for": expires_seconds, "until": time.time() + expires_seconds}
        said |= {"type": served.content_type, "disposition": served.disposition}
        signed = f"/{quote(key)}?{urlencode(said)}"
        return f"{self._server.url}{signed}&sig={_signature(signed)}"

    def _serve(self, asked: Asked) -> Answer:
        signed, _, signature = asked.target.rpartition("&sig=")
        if "sig" in self._judges and signature != _signature(signed):
            return Answer(403)
        said = {name: values[0] for name, values in asked.query.items()}
        if "until" in self._judges and time.time() > float(said["until"]):
            return Answer(403)
        kind = {"Content-Type": said["type"], "Content-Disposition": said["disposition"]}
        return Answer(body=self.bytes_of(asked.path[1:]), headers=kind)


def _signature(signed: str) -> str:
    return hashlib.sha256(signed.encode()).hexdigest()


@pytest.fixture
def server() -> Iterator[ScriptedS3]:
    """Where a Served store lives."""
    with ScriptedS3().running() as running:
        yield running


def test_a_store_with_addresses_keeps_all_promises(server: ScriptedS3) -> None:
    """Nothing is lacking, so everything is tried."""
    assert lacking(check_store(Served(server))) == set()


@pytest.mark.parametrize(
    ("judges", "promise"), [(["until"], "changed url"), (["sig"], "expired url")]
)
def test_addresses_that_open_too_much(
    server: ScriptedS3, judges: list[str], promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature that nobody checks, a time that never ends."""
    monkeypatch.setattr("flask_s3handoff.testing.promises.EXPIRY_PATIENCE_SECONDS", 2)
    with pytest.raises(AssertionError, match=f"breaks a promise: {promise}: "):
        check_store(Served(server, judges=judges))


@pytest.mark.parametrize(
    ("bad", "promise"),
    [
        (Truncating, "round trip"),
        (Rotting, "round trip"),
        (Disorderly, "round trip"),
        (RefusingNothing, "no bytes"),
        (Small, "around 8 MiB"),
        (Hasty, "parts"),
        (Completing, "unwhole parts"),
        (Forgiving, "abort"),
        (Overwriting, "if_absent"),
        (Racing, "racing writers"),
        (Believing, "wrong digest"),
        (Silent, "missing"),
        (Padding, "another length"),
        (Patient, "deadline"),
        (Greedy, "open"),
        (Repeating, "open unless"),
        (CopyingKind, "copy"),
        (CopyingOver, "copy over"),
        (CopyingOnce, "copy over"),
        (LookingFirst, "racing copies"),
        (Asciifying, "odd names"),
        (Trusting, "keys that lead elsewhere"),
        (Listing, "list"),
        (FirstPage, "list pages"),
        (Complaining, "delete"),
        (Addressed, "url"),
    ],
)
def test_a_broken_promise_is_named(bad: type[MemoryStore], promise: str) -> None:
    """Each bad store fails at its own promise, and not before."""
    with pytest.raises(AssertionError, match=f"breaks a promise: {promise}: "):
        check_store(bad())


def test_what_is_declared_as_lacking_is_not_tried() -> None:
    """A store that says that it cannot is believed, and the report says so."""
    store = CopyingSometimes(capabilities=replace(LOCAL, conditional_copy=False))
    assert lacking(check_store(store)) == {"conditional_copy", "presigned_urls"}


class CopyingSometimes(LookingFirst):
    """Looks first, and says so."""
