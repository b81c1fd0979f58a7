"""One pass over the bytes: every size, every failure, every fork, and never a byte in memory."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path
from typing import IO, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest
from werkzeug.formparser import FormDataParser

from flask_s3handoff.body import Sink, parse
from flask_s3handoff.errors import Corrupt, InvalidKey, Missing, TooLarge, Unavailable
from flask_s3handoff.mirror import Inflow, Mirror, Pending, Revision
from flask_s3handoff.pool import Pool
from flask_s3handoff.store import Kind, Store
from flask_s3handoff.upload import (
    MAX_PARTS,
    PART_BYTES,
    STREAMS,
    TAIL_BYTES,
    Slice,
    Upload,
    part_size_of,
)
from flask_s3handoff.workdir import WorkDir

MIB = 1 << 20
SECONDS = 20.0
CONTEXTS = [multiprocessing.get_context("spawn"), multiprocessing.get_context("fork")]
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class FakeParts:
    """A multipart upload into a `FakeStore`."""

    def __init__(self, store: FakeStore, key: str, kind: Kind) -> None:
        self._store = store
        self._key = key
        self._kind = kind
        self.sizes: dict[int, int] = {}
        self._data: dict[int, bytes] = {}

    def part(self, number: int, body: Any, size: int) -> None:
        self._store.enter("part", self._key)
        self._data[number] = self._store.take(body, size)
        self.sizes[number] = size

    def complete(self, *, size: int, sha256: str) -> None:
        self._store.enter("complete", self._key)
        data = b"".join(self._data[number] for number in sorted(self._data))
        assert sorted(self._data) == list(range(1, len(self._data) + 1))
        assert sum(self.sizes.values()) == size
        self._store.keep(self._key, data, sha256, self._kind)
        self._store.open_uploads.remove(self)

    def abort(self) -> None:
        self._store.calls.append(("abort", self._key))
        self._store.open_uploads.remove(self)


class FakeStore:
    """A store with exactly the verbs that a mirror may call; it can fail, hang and forget."""

    def __init__(self, *, is_forgetful: bool = False) -> None:
        self.objects: dict[str, bytes] = {}
        self.kinds: dict[str, Kind] = {}
        self.calls: list[tuple[str, str]] = []
        self.open_uploads: list[FakeParts] = []
        self.uploads: list[FakeParts] = []
        self.failures: dict[str, Exception] = {}
        self.hanging: set[str] = set()
        self.released = threading.Event()
        self.is_forgetful = is_forgetful
        self.entered = threading.Semaphore(0)

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.calls]

    def enter(self, verb: str, key: str) -> None:
        self.calls.append((verb, key))
        self.entered.release()
        if verb in self.hanging:
            assert self.released.wait(SECONDS)
        if verb in self.failures:
            raise self.failures[verb]

    def take(self, body: Any, size: int) -> bytes:
        """Read a body as a transport does: seek, then small reads."""
        assert isinstance(body, Slice)
        assert body.seek(0, os.SEEK_END) == size
        body.seek(0)
        data, taken = [], 0
        while chunk := body.read(16_384):
            taken += len(chunk)
            data.append(b"" if self.is_forgetful else chunk)
        assert taken == size
        return b"".join(data)

    def keep(self, key: str, data: bytes, sha256: str, kind: Kind) -> None:
        assert self.is_forgetful or hashlib.sha256(data).hexdigest() == sha256
        self.objects[key] = data
        self.kinds[key] = kind

    def put(self, key: str, body: Any, *, size: int, sha256: str, kind: Kind) -> None:
        self.enter("put", key)
        self.keep(key, self.take(body, size), sha256, kind)

    def begin(self, key: str, *, kind: Kind) -> FakeParts:
        self.enter("begin", key)
        parts = FakeParts(self, key, kind)
        self.open_uploads.append(parts)
        self.uploads.append(parts)
        return parts

    def fetch(
        self, key: str, fd: int, *, size: int, progress: Callable[[int], None], until: float
    ) -> None:
        self.enter("fetch", key)
        assert size >= 0
        assert until > time.monotonic() - SECONDS
        if key not in self.objects:
            raise Missing()
        for at in range(0, len(self.objects[key]), 100_000):
            data = self.objects[key][at : at + 100_000]
            os.pwrite(fd, data, at)
            progress(at + len(data))


class Server:
    """One server: its own work folder, over a store that others share."""

    def __init__(self, folder: Path, store: FakeStore, **options: Any) -> None:
        self.root = folder / "s3handoff"
        self.workdir = WorkDir(str(self.root), max_bytes=1 << 40, max_age_seconds=86_400)
        self.mirror = Mirror(
            cast(Store, store),
            self.workdir,
            **{
                "prefix": "handoff/",
                "max_file_size_bytes": None,
                **options,
            },
        )

    def upload(
        self, data: bytes, *, length: int | None = None, step: int = 65_536
    ) -> tuple[Revision, Pending, str]:
        inflow = self.mirror.receive("leo.jpg", "image/jpeg", content_length=length)
        write(inflow, data, step)
        return inflow.finish()

    def rehydrate(self, revision: Revision, seconds: float = SECONDS) -> tuple[str, str]:
        return self.mirror.rehydrate(revision, until=time.monotonic() + seconds)

    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file())


def write(inflow: Inflow, data: bytes, step: int = 65_536) -> None:
    for at in range(0, len(data), step):
        assert inflow.write(data[at : at + step]) == len(data[at : at + step])


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def our_threads() -> set[threading.Thread]:
    """Return the threads of every pool of ours in this process."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("s3handoff")}


@pytest.fixture
def servers(tmp_path: Path, store: FakeStore) -> Iterator[Callable[..., Server]]:
    """Make servers; in the end everything is released, and their threads end."""
    made: list[Server] = []

    def serve(**options: Any) -> Server:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Server(folder, store, **options))
        return made[-1]

    before, others = descriptors(), our_threads()
    yield serve
    store.released.set()
    for server in made:
        server.mirror.close()
    assert descriptors() == before
    assert our_threads() <= others
    assert store.open_uploads == []


@pytest.fixture
def server(servers: Callable[..., Server]) -> Server:
    return servers()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def soon(seconds: float = SECONDS) -> float:
    return time.monotonic() + seconds


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# --- from the app to the store -----------------------------------------------------------------


def test_rule_9_a_small_file_is_one_put(server: Server, store: FakeStore) -> None:
    """The revision says what was written, the store has the bytes and their kind, the disk too."""
    data = noise(200_000)
    revision, pending, path = server.upload(data, length=200_300)
    pending.wait(soon())
    assert pending.done
    assert (revision.size, revision.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    key = "handoff/" + revision.relpath
    assert store.calls == [("put", key)]
    assert store.objects[key] == Path(path).read_bytes() == data
    assert store.kinds[key] == Kind("image/jpeg", 'inline; filename="leo.jpg"')
    assert path.endswith(revision.relpath)
    assert revision.relpath.endswith("/leo.jpg")


def test_t25_what_is_no_picture_is_stored_as_an_attachment(
    server: Server, store: FakeStore
) -> None:
    """The type that a browser will see is decided when the object is written."""
    inflow = server.mirror.receive("x.html", "text/html", content_length=None)
    inflow.write(b"<script>")
    revision, pending, _ = inflow.finish()
    pending.wait(soon())
    kind = store.kinds[server.mirror.key_of(revision.relpath)]
    assert kind.content_type == "application/octet-stream"
    assert kind.disposition.startswith("attachment")


SIZES = [0, 1, 512_000, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1]


@pytest.mark.parametrize("knows_length", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [*SIZES, 12 * MIB + 7])
def test_f47_every_size_arrives(
    servers: Callable[..., Server], store: FakeStore, size: int, knows_length: bool
) -> None:
    """Around every threshold the bytes are the same here, in the store and on another server."""
    data, here, there = noise(size), servers(), servers()
    revision, pending, path = here.upload(data, length=size + 300 if knows_length else None)
    pending.wait(soon())
    assert Path(path).read_bytes() == data
    assert store.objects[here.mirror.key_of(revision.relpath)] == data
    fetched, source = there.rehydrate(revision)
    assert (source, Path(fetched).read_bytes() == data) == ("store", True)
    assert there.rehydrate(revision) == (fetched, "local")
    assert store.verbs.count("put") == (1 if size < 5 * MIB else 0)
    assert store.verbs.count("fetch") == 1
    for upload in store.uploads:
        *whole, last = [upload.sizes[n] for n in sorted(upload.sizes)]
        assert len(set(whole)) <= 1
        assert all(part >= 5 * MIB for part in whole)
        assert last <= max(whole, default=5 * MIB)


@given(st.integers(0, 6 << 40))
def test_parts_are_alike_few_and_leave_a_small_tail(size: int) -> None:
    """S3 takes 10,000 parts of 5 MiB or more, R2 only parts that are alike; a tail is waited for."""
    part = part_size_of(size + 300)
    full, tail = divmod(size, part)
    assert part >= PART_BYTES
    assert full + bool(tail) <= MAX_PARTS
    if size >= PART_BYTES + TAIL_BYTES:
        assert tail <= TAIL_BYTES or part == PART_BYTES


@pytest.mark.parametrize("most", [None, 1, 100 * MIB, 5 << 40])
def test_parts_of_a_file_of_unknown_length(most: int | None) -> None:
    """A chunked body is cut so that the largest file that is allowed fits."""
    part = part_size_of(None, most=most)
    assert part >= PART_BYTES
    assert part * MAX_PARTS >= (most or 0)


def test_a_tail_is_small_where_the_length_is_known() -> None:
    """64 MiB: twelve parts travel while the file arrives, and 1.5 MiB are left at the end."""
    part = part_size_of(64 * MIB)
    assert 64 * MIB // part == 12
    assert 64 * MIB % part <= TAIL_BYTES


def test_parts_travel_while_the_rest_arrives(server: Server, store: FakeStore) -> None:
    """Nothing is sent before 5 MiB are there; then parts go, long before the file is whole."""
    data = noise(11 * MIB)
    inflow = server.mirror.receive("big.bin", "", content_length=None)
    write(inflow, data[: 5 * MIB - 1])
    assert store.calls == []
    write(inflow, data[5 * MIB - 1 : 6 * MIB])
    for _ in ("begin", "part"):
        assert store.entered.acquire(timeout=SECONDS)
    assert store.verbs == ["begin", "part"]
    write(inflow, data[6 * MIB :])
    revision, pending, _ = inflow.finish()
    pending.wait(soon())
    assert store.objects[server.mirror.key_of(revision.relpath)] == data
    assert sorted(store.verbs) == ["begin", "complete", "part", "part", "part"]


def test_rule_10_memory_does_not_grow_with_the_file(servers: Callable[..., Server]) -> None:
    """24 MiB pass through in less than 2 MiB: the disk is the buffer."""
    mirror = servers().mirror
    forgetful = Mirror(
        cast(Store, FakeStore(is_forgetful=True)),
        mirror.workdir,
        prefix="handoff/",
        max_file_size_bytes=None,
    )
    chunk = noise(65_536)
    tracemalloc.start()
    try:
        inflow = forgetful.receive("big.bin", "", content_length=24 * MIB)
        for _ in range(24 * 16):
            inflow.write(chunk)
        inflow.finish()[1].wait(soon())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        forgetful.close()
    assert peak < 2 * MIB


def test_a_slice_is_a_window_of_the_file(tmp_path: Path) -> None:
    """Reading, seeking and reading again stay within the window, and move nothing else."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        window = Slice(file.fileno(), 2, 5)
        assert (window.read(2), window.read(), window.read()) == (b"23", b"456", b"")
        assert window.seek(-2, os.SEEK_END) == 3
        assert window.tell() == 3
        assert window.seek(1, os.SEEK_CUR) == 4
        assert (window.read(9), window.seek(0)) == (b"6", 0)
        assert io.BufferedReader(cast(Any, window)).read(3) == b"234"
        assert file.tell() == 0


def test_max_file_size_counts_while_the_file_arrives(
    servers: Callable[..., Server], store: FakeStore
) -> None:
    """The last byte that is allowed is taken, the next one is not even written to the disk."""
    server = servers(max_file_size_bytes=100_000)
    server.upload(bytes(100_000))[1].wait(soon())
    inflow = server.mirror.receive("big.bin", "", content_length=None)
    inflow.write(bytes(100_000))
    with pytest.raises(TooLarge) as refused:
        inflow.write(b"!")
    assert inflow.size == 100_000
    assert (refused.value.filename, refused.value.facts) == ("big.bin", {"max_bytes": 100_000})
    inflow.abort()
    assert len(server.files()) == 1
    assert store.verbs == ["put"]


@pytest.mark.parametrize("size", [0, 1000, 5 * MIB, 12 * MIB])
def test_rule_11_an_aborted_file_leaves_nothing(
    server: Server, store: FakeStore, size: int
) -> None:
    """Neither here nor in the store; aborting again does no harm."""
    inflow = server.mirror.receive("leo.jpg", "image/jpeg", content_length=20 * MIB)
    write(inflow, noise(size))
    inflow.abort()
    inflow.abort()
    server.mirror.close()
    assert (server.files(), store.objects, store.open_uploads) == ([], {}, [])
    assert "put" not in store.verbs


def test_a_finished_file_cannot_be_aborted(server: Server, store: FakeStore) -> None:
    """Whoever aborts everything after an error may abort what is finished, too."""
    for size in (10, 6 * MIB):
        inflow = server.mirror.receive("leo.jpg", "image/jpeg", content_length=None)
        write(inflow, noise(size))
        revision, pending, path = inflow.finish()
        inflow.abort()
        pending.wait(soon())
        assert Path(path).exists()
        assert server.mirror.key_of(revision.relpath) in store.objects


FAILING = [
    ("put", 1000, 0),
    ("begin", 12 * MIB, 0),
    ("part", 12 * MIB, 1),
    ("complete", 12 * MIB, 1),
]


@pytest.mark.parametrize(("verb", "size", "aborts"), FAILING)
@pytest.mark.parametrize("error", [Unavailable(), Corrupt()], ids=["unavailable", "corrupt"])
def test_rule_1_who_waits_hears_what_the_store_said(
    server: Server,
    store: FakeStore,
    caplog: pytest.LogCaptureFixture,
    verb: str,
    size: int,
    aborts: int,
    error: Exception,
) -> None:
    """Writing and finishing go well whatever the store does; waiting raises, and again."""
    store.failures[verb] = error
    _, pending, path = server.upload(noise(size), length=size)
    for _ in range(2):
        with pytest.raises(type(error)) as raised:
            pending.wait(soon())
        assert raised.value is error
    server.mirror.close()
    assert pending.done
    assert (store.objects, store.verbs.count("abort")) == ({}, aborts)
    assert Path(path).stat().st_size == size
    assert "did not reach the store" in caplog.text


def test_after_a_part_has_failed_no_more_are_sent(server: Server, store: FakeStore) -> None:
    """A store that is down is not asked a thousand times."""
    store.failures["part"] = Unavailable()
    inflow = server.mirror.receive("big.bin", "", content_length=None)
    write(inflow, noise(5 * MIB))
    until = soon()
    while inflow._upload is None or inflow._upload._failure is None:
        assert time.monotonic() < until
        time.sleep(0.001)
    for _ in range(20):
        write(inflow, bytes(5 * MIB), 5 * MIB)
    inflow.abort()
    server.mirror.close()
    assert store.verbs == ["begin", "part", "abort"]


def test_f15_a_disk_that_fills_up_ends_everything(server: Server, store: FakeStore) -> None:
    """The write raises `Unavailable`; the parts that are in the store are dropped."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    inflow = server.mirror.receive("big.bin", "", content_length=None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (7 * MIB, before[1]))
    try:
        with pytest.raises(Unavailable) as refused:
            write(inflow, bytes(9 * MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    inflow.abort()
    server.mirror.close()
    assert refused.value.facts["errno"] == errno.EFBIG
    assert (server.files(), store.open_uploads, store.objects) == ([], [], {})
    assert store.verbs[-1] == "abort"


def test_f16_a_file_that_cannot_be_published_is_not_stored(
    server: Server, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`finish` raises, and nothing is left on either side."""

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    for size in (1000, 6 * MIB):
        with pytest.raises(Unavailable):
            server.upload(bytes(size))
    server.mirror.close()
    assert (server.files(), store.objects, store.open_uploads) == ([], {}, [])
    assert "put" not in store.verbs


# --- within the deadline -----------------------------------------------------------------------


def refused_in_time(work: Callable[[], object], seconds: float = 0.15) -> None:
    """Expect `Unavailable` at about the moment until which the work may wait."""
    began = time.monotonic()
    with pytest.raises(Unavailable):
        work()
    assert time.monotonic() - began < seconds + 15


@pytest.mark.parametrize(("verb", "size"), [("put", 1000), ("begin", 6 * MIB), ("part", 6 * MIB), ("complete", 6 * MIB)])  # fmt: skip
def test_rule_10_a_store_that_hangs_holds_nobody(
    server: Server, store: FakeStore, verb: str, size: int
) -> None:
    """The request goes on at its deadline; when the store comes back, nothing is left behind."""
    store.hanging.add(verb)
    _, pending, _ = server.upload(noise(size))
    refused_in_time(lambda: pending.wait(soon(0.15)))
    store.released.set()
    server.mirror.close()
    assert store.open_uploads == []
    assert pending.done


def test_rule_10_what_nobody_has_begun_is_not_begun_late(server: Server, store: FakeStore) -> None:
    """Behind a store that hangs no queue of lost work builds up."""
    store.hanging.add("put")
    pendings = [server.upload(b"x")[1] for _ in range(20)]
    for _ in range(8):
        assert store.entered.acquire(timeout=SECONDS)
    for pending in pendings:
        refused_in_time(lambda p=pending: p.wait(time.monotonic()))  # type: ignore[misc]
    late: list[int] = []
    refused_in_time(lambda: server.mirror.do(lambda: late.append(1), until=time.monotonic()))
    store.released.set()
    server.mirror.close()
    assert (store.verbs.count("put"), late) == (8, [])
    for pending in pendings[8:]:
        with pytest.raises(Unavailable):
            pending.wait(soon())


def test_an_upload_given_up_in_time_makes_no_object(server: Server, store: FakeStore) -> None:
    """After the deadline nobody will name the object: its parts are dropped, not joined."""
    store.hanging.add("part")
    _, pending, _ = server.upload(bytes(40 * MIB), step=MIB)
    refused_in_time(lambda: pending.wait(soon(0.1)))
    store.released.set()
    server.mirror.close()
    assert (store.objects, store.verbs[-1]) == ({}, "abort")
    assert store.verbs.count("part") <= STREAMS


def test_a_large_file_does_not_keep_the_small_ones_waiting(
    server: Server, store: FakeStore
) -> None:
    """The parts of one upload take four threads, and the others stay free."""
    store.hanging.add("part")
    inflow = server.mirror.receive("big.bin", "", content_length=None)
    write(inflow, bytes(40 * MIB), MIB)
    server.upload(b"small")[1].wait(soon())
    assert store.verbs.count("part") <= STREAMS
    store.released.set()
    _, pending, _ = inflow.finish()
    pending.wait(soon())
    assert store.verbs.count("part") == 8


def test_other_work_is_waited_for_as_long(server: Server) -> None:
    """`do` gives the result, raises what was raised, and gives up at its moment."""
    done = threading.Event()
    assert server.mirror.do(lambda: 7, until=soon()) == 7
    with pytest.raises(KeyError):
        server.mirror.do(lambda: os.environ["NO SUCH"], until=soon())
    refused_in_time(lambda: server.mirror.do(lambda: done.wait(SECONDS), until=soon(0.1)))
    done.set()


def test_rule_11_uploads_end_when_python_ends(server: Server, store: FakeStore) -> None:
    """When no thread can be started any more, the multipart upload is dropped at once."""

    class Ending(Pool):
        is_down = False

        def submit(self, work: Callable[[], Any]) -> Future[Any]:
            if self.is_down:
                raise Unavailable()
            return super().submit(work)

    pool = Ending()
    draft = server.workdir.begin()
    draft.write(bytes(20 * MIB))
    upload = Upload(pool, lambda: store.begin("handoff/x", kind=Kind("", "")), draft)
    upload.send(5 * MIB)
    for _ in ("begin", "part"):
        assert store.entered.acquire(timeout=SECONDS)
    pool.is_down = True
    upload.send(5 * MIB)
    upload.complete(size=20 * MIB, sha256="")
    with pytest.raises(Unavailable):
        upload.outcome.result(SECONDS)
    pool.close()
    assert store.verbs[-1] == "abort"


# --- from the store to the app -----------------------------------------------------------------


@pytest.fixture
def revision(servers: Callable[..., Server], store: FakeStore) -> Revision:
    """A revision that some other server has stored."""
    revision, pending, _ = servers().upload(noise(300_000))
    pending.wait(soon())
    store.calls.clear()
    return revision


def test_t21_sixteen_threads_on_a_cold_file_are_one_get(
    server: Server, store: FakeStore, revision: Revision
) -> None:
    """All of them get the same local copy."""
    store.hanging.add("fetch")
    found: list[tuple[str, str]] = []
    threads = [
        threading.Thread(target=lambda: found.append(server.rehydrate(revision))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    assert store.entered.acquire(timeout=SECONDS)
    store.released.set()
    for thread in threads:
        thread.join(SECONDS)
    assert store.verbs == ["fetch"]
    assert len({path for path, _ in found}) == 1
    assert sorted(source for _, source in found) == ["local"] * 15 + ["store"]


class FolderStore(FakeStore):
    """A store on disk, that two processes can share, and that tells of its fetches."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)

    def fetch(
        self, key: str, fd: int, *, size: int, progress: Callable[[int], None], until: float
    ) -> None:
        with (self.folder / "fetches").open("a") as log:
            log.write(f"{key}\n")
        while not (self.folder / "go").exists():
            assert time.monotonic() < until
            time.sleep(0.005)
        os.pwrite(fd, (self.folder / "object").read_bytes(), 0)
        progress(size)


def rehydrate_there(folder: str, revision: Revision) -> None:
    server = Server(Path(folder), FolderStore(folder))
    path, _ = server.rehydrate(revision)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    server.mirror.close()
    assert digest == revision.sha256
    (Path(folder) / f"done-{os.getpid()}").touch()


@forks
@pytest.mark.parametrize("context", CONTEXTS, ids=["spawn", "fork"])
def test_t21_two_processes_on_a_cold_file_are_one_get(
    tmp_path: Path, context: SpawnContext | ForkContext
) -> None:
    """The workers of one server share its work folder, and fetch once."""
    data = noise(100_000)
    (tmp_path / "object").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    revision = Revision("20261123/" + "a" * 26 + "/leo.jpg", len(data), sha256)
    workers = [
        context.Process(target=rehydrate_there, args=(str(tmp_path), revision)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    until = soon()
    while not (tmp_path / "fetches").exists():
        assert time.monotonic() < until
        time.sleep(0.005)
    (tmp_path / "go").touch()
    for worker in workers:
        worker.join(SECONDS)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len((tmp_path / "fetches").read_text().split()) == 1
    assert len(list(tmp_path.glob("done-*"))) == 2


def test_rule_2_a_damaged_local_copy_is_fetched_again(
    server: Server, store: FakeStore, revision: Revision
) -> None:
    """The app gets the right bytes, whatever happened to the disk."""
    path, _ = server.rehydrate(revision)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.write(b"damage")
    assert server.rehydrate(revision) == (path, "store")
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == revision.sha256
    os.unlink(path)
    assert server.rehydrate(revision) == (path, "store")
    assert store.verbs == ["fetch"] * 3


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "last-flipped": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "truncated": lambda data: data[:-1],
    "longer": lambda data: data + b"!",
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_rule_2_b75_wrong_bytes_are_never_shown(
    server: Server, store: FakeStore, revision: Revision, wrong: Callable[[bytes], bytes]
) -> None:
    """Other bytes than the claim's are `Corrupt`, and no file (F12, B74, B75)."""
    key = server.mirror.key_of(revision.relpath)
    right = store.objects[key]
    store.objects[key] = wrong(right)
    with pytest.raises(Corrupt):
        server.rehydrate(revision)
    assert server.files() == []
    store.objects[key] = right
    assert server.rehydrate(revision)[1] == "store"


@pytest.mark.parametrize("error", [Missing(), Unavailable(), Corrupt()], ids=lambda e: e.reason)
def test_what_the_store_says_comes_through(
    server: Server, store: FakeStore, revision: Revision, error: Exception
) -> None:
    """An error of the store is the app's to see; nothing is left, and the next try may go well."""
    store.failures["fetch"] = error
    with pytest.raises(type(error)) as raised:
        server.rehydrate(revision)
    assert raised.value is error
    assert server.files() == []
    store.failures.clear()
    assert server.rehydrate(revision)[1] == "store"


def test_f11_a_file_that_was_removed_is_missing(
    server: Server, store: FakeStore, revision: Revision
) -> None:
    """Lifecycle rules and administrators delete."""
    store.objects.clear()
    with pytest.raises(Missing):
        server.rehydrate(revision)


def test_rule_10_a_fetch_that_hangs_holds_nobody(
    server: Server, store: FakeStore, revision: Revision
) -> None:
    """Who fetches and who waits for it both go on in time; what comes late is kept."""
    store.hanging.add("fetch")
    waiter = threading.Thread(
        target=lambda: refused_in_time(lambda: server.rehydrate(revision, 0.15))
    )
    waiter.start()
    refused_in_time(lambda: server.rehydrate(revision, 0.15))
    waiter.join(SECONDS)
    store.released.set()
    server.mirror.close()
    assert server.rehydrate(revision)[1] == "local"


def test_f15_a_full_disk_while_fetching_leaves_nothing(
    server: Server, store: FakeStore, revision: Revision
) -> None:
    """`Unavailable`, whoever writes to the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    try:
        with pytest.raises(Unavailable):
            server.rehydrate(revision)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert server.files() == []
    assert len(store.verbs) == 1


@pytest.mark.parametrize("relpath", ["../x", "20261123/x/y", "users/1.jpg", ""])
def test_b31_only_relative_paths_of_ours_are_fetched(
    server: Server, store: FakeStore, relpath: str
) -> None:
    """A signed claim cannot make us read other keys."""
    with pytest.raises(InvalidKey):
        server.rehydrate(Revision(relpath, 1, "0" * 64))
    with pytest.raises(InvalidKey):
        server.mirror.key_of(relpath)
    assert store.calls == []


def test_rule_8_the_store_is_made_when_it_is_needed(tmp_path: Path) -> None:
    """A function that makes the store is not called before; local work never calls it."""
    made: list[FakeStore] = []

    def make() -> Store:
        made.append(FakeStore())
        return cast(Store, made[-1])

    workdir = WorkDir(str(tmp_path / "s3handoff"), max_bytes=1 << 30, max_age_seconds=9)
    mirror = Mirror(make, workdir, prefix="h/", max_file_size_bytes=None)
    others = our_threads()
    inflow = mirror.receive("a", "", content_length=None)
    inflow.write(b"x")
    inflow.abort()
    assert made == []
    assert our_threads() <= others
    inflow = mirror.receive("a", "", content_length=None)
    inflow.finish()[1].wait(soon())
    mirror.close()
    assert [store.verbs for store in made] == [["put"]]


# --- revisions ---------------------------------------------------------------------------------


class Unseekable(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        return self._data.read(size)


def at_its_end(data: bytes) -> IO[bytes]:
    stream = io.BytesIO()
    stream.write(data)
    return stream


SOURCES: dict[str, Callable[[bytes], Any]] = {
    "stream": io.BytesIO,
    "stream-at-its-end": at_its_end,
    "unseekable": Unseekable,
}


@pytest.mark.parametrize("size", [0, 1000, 12 * MIB])
@pytest.mark.parametrize("source", [*SOURCES, "path"])
def test_an_edit_is_a_new_revision(
    server: Server, store: FakeStore, tmp_path: Path, source: str, size: int
) -> None:
    """Of a path, of an open file wherever it stands, of a stream: all the bytes, one upload."""
    data = noise(size)
    (tmp_path / "edited").write_bytes(data)
    what = str(tmp_path / "edited") if source == "path" else SOURCES[source](data)
    revision, pending, path = server.mirror.revise(
        what, filename="leo.jpg", content_type="image/jpeg"
    )
    pending.wait(soon())
    assert Path(path).read_bytes() == store.objects[server.mirror.key_of(revision.relpath)] == data
    assert (revision.size, revision.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert store.verbs.count("put") == (1 if size < 5 * MIB else 0)


def test_rule_4_no_two_revisions_are_one(server: Server) -> None:
    """The same bytes again are another revision with another relative path."""
    pair = [
        server.mirror.revise(io.BytesIO(b"x"), filename="a", content_type="")[0] for _ in range(2)
    ]
    assert pair[0].relpath != pair[1].relpath
    assert pair[0].sha256 == pair[1].sha256


def test_an_edit_that_fails_leaves_nothing(
    servers: Callable[..., Server], store: FakeStore, tmp_path: Path
) -> None:
    """A path that is gone, a stream that breaks, a file that is too large."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 6 * MIB:
                raise OSError("broken")
            return super().read(size)

    server = servers(max_file_size_bytes=10 * MIB)
    for source, error in (
        (str(tmp_path / "gone"), FileNotFoundError),
        (Broken(bytes(9 * MIB)), OSError),
        (io.BytesIO(bytes(11 * MIB)), TooLarge),
    ):
        with pytest.raises(error):
            server.mirror.revise(cast(Any, source), filename="a", content_type="")
    server.mirror.close()
    assert (server.files(), store.objects, store.open_uploads) == ([], {}, [])


# --- forks -------------------------------------------------------------------------------------


def in_a_child(work: Callable[[], object]) -> int:
    """Run something in a forked child; return its exit code, 0 if it went well."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(SECONDS))  # a child that hangs must not outlive its test
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@forks
@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
def test_rule_12_a_child_has_a_pool_of_its_own(
    server: Server, store: FakeStore, is_busy: bool
) -> None:
    """A pool that was used before a fork is dead in the child: the child makes its own."""
    all_threads = threading.Barrier(8)
    for future in [server.mirror._pool.submit(all_threads.wait) for _ in range(8)]:
        future.result(SECONDS)
    if is_busy:
        store.hanging.add("part")
        server.upload(noise(12 * MIB))
        assert store.entered.acquire(timeout=SECONDS)

    def work() -> None:
        store.hanging.clear()
        data = noise(6 * MIB)
        revision, pending, path = server.upload(data)
        pending.wait(soon(10))
        os.unlink(path)
        assert server.rehydrate(revision, 10)[1] == "store"
        assert Path(path).read_bytes() == data

    assert [in_a_child(work) for _ in range(3)] == [0, 0, 0]
    store.released.set()
    server.upload(noise(1000))[1].wait(soon())


# --- with a body -------------------------------------------------------------------------------


def test_rule_3_a_truncated_form_leaves_nothing(server: Server, store: FakeStore) -> None:
    """Wherever a form of a large and a small file is cut: 400, no file, no part, no object."""
    head = b'--B\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n'
    body = head % b"a" + bytes(6 * MIB) + b"\r\n" + head % b"b" + b"small\r\n--B--\r\n"
    places = [0, 10, 70, 200_000, 5 * MIB, 6 * MIB + 70, len(body) - 20, len(body) - 3]
    for place in places:
        opened: list[Inflow] = []

        def receive(
            filename: str,
            content_type: str,
            *,
            content_length: int | None,
            opened: list[Inflow] = opened,
        ) -> Sink:
            inflow = server.mirror.receive(filename, content_type, content_length=content_length)
            opened.append(inflow)
            return inflow

        with pytest.raises(BadRequest):
            parse(
                FormDataParser(), io.BytesIO(body[:place]), "multipart/form-data", len(body),
                {"boundary": "B"}, receive=receive, max_files=9,
                content_length_header=str(len(body)), terminated=True,
            )  # fmt: skip
        server.mirror.close()
        assert (server.files(), store.objects, store.open_uploads) == ([], {}, [])
    assert "abort" in store.verbs
