"""Filling a file by one stream or several: whole, in order, in time, and nothing left running."""

from __future__ import annotations

import hashlib
import io
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from flask_s3handoff.errors import Corrupt, Missing, Unavailable
from flask_s3handoff.ranges import SINGLE_GET_BYTES, STREAMS, Get, Span, fill

MIB = 1 << 20
DATA = random.Random(0).randbytes(32 * MIB + 7)


@pytest.fixture
def fd() -> Iterator[int]:
    """A file to be filled."""
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def of(data: bytes) -> Get:
    """Serve spans of some bytes."""
    return lambda span: io.BytesIO(data[span.start : span.stop])


def run(fd: int, get: Get, size: int, progress: Callable[[int], None] | None = None) -> None:
    fill(fd, size, get, progress=progress or (lambda _: None), until=time.monotonic() + 30)


def content(fd: int) -> bytes:
    return os.pread(fd, len(DATA) + 1, 0)


@pytest.mark.parametrize(
    "size",
    [0, 1, SINGLE_GET_BYTES - 1, SINGLE_GET_BYTES, SINGLE_GET_BYTES + 1, 16 * MIB, len(DATA)],
)
def test_every_size_arrives_whole(fd: int, size: int) -> None:
    """Boundaries included (F47)."""
    run(fd, of(DATA[:size]), size)
    assert content(fd) == DATA[:size]


def test_hashing_in_order_while_streams_land_out_of_order(fd: int) -> None:
    """Whoever is told may read what is in place, from this one thread."""
    digest, done, threads = hashlib.sha256(), 0, set()
    dice = random.Random(1)
    delays = [dice.random() / 50 for _ in range(100)]

    def get(span: Span) -> io.BytesIO:
        threading.Event().wait(delays.pop())
        return io.BytesIO(DATA[span.start : span.stop])

    def progress(upto: int) -> None:
        nonlocal done
        assert upto > done
        digest.update(os.pread(fd, upto - done, done))
        done = upto
        threads.add(threading.current_thread())

    run(fd, get, len(DATA), progress)
    assert digest.hexdigest() == hashlib.sha256(DATA).hexdigest()
    assert threads == {threading.current_thread()}


def test_small_files_are_one_request_and_large_ones_a_few(fd: int) -> None:
    """The spans cover the file once; no more than eight are under way."""
    asked: list[Span] = []
    busy, most = 0, 0
    lock = threading.Lock()

    class Body(io.BytesIO):
        def __exit__(self, *_: object) -> None:
            nonlocal busy
            with lock:
                busy -= 1

    def get(span: Span) -> io.BytesIO:
        nonlocal busy, most
        with lock:
            asked.append(span)
            busy += 1
            most = max(most, busy)
        return Body(DATA[span.start : span.stop])

    run(fd, get, SINGLE_GET_BYTES)
    assert asked == [Span(0, SINGLE_GET_BYTES, whole=True)]
    asked.clear()
    run(fd, get, len(DATA))
    assert not any(span.whole for span in asked)
    ends = [0, *(span.stop for span in sorted(asked))]
    assert [span.start for span in sorted(asked)] == ends[:-1]
    assert ends[-1] == len(DATA)
    assert most <= STREAMS


def test_our_own_error_in_one_stream_ends_all(fd: int) -> None:
    """The first error is the answer, and no thread outlives the call (rule 11)."""

    def get(span: Span) -> io.BytesIO:
        if span.start > 8 * MIB:
            raise Missing
        return io.BytesIO(DATA[span.start : span.stop])

    with pytest.raises(Missing):
        run(fd, get, len(DATA))
    assert not [t for t in threading.enumerate() if t.name.startswith("s3handoff-range")]


class Breaking(io.BytesIO):
    """A body that breaks after its first bytes."""

    def read1(self, _: int | None = -1, /) -> bytes:
        if self.tell():
            raise ConnectionResetError
        return super().read1(3)


def test_a_broken_stream_goes_on_where_it_was_left(fd: int) -> None:
    """No byte is asked for twice, and the rest is not the whole."""
    asked: list[Span] = []

    def get(span: Span) -> io.BytesIO:
        asked.append(span)
        body = DATA[span.start : span.stop]
        return Breaking(body) if len(asked) < 3 else io.BytesIO(body)

    run(fd, get, 10)
    assert content(fd)[:10] == DATA[:10]
    assert asked == [
        Span(0, 10, whole=True),
        Span(3, 10, whole=False),
        Span(6, 10, whole=False),
    ]


def test_a_break_after_the_last_byte_is_no_break(fd: int) -> None:
    """Some servers reset a connection that they have finished with."""
    run(fd, lambda span: Breaking(DATA[span.start : span.stop]), 3)
    assert content(fd) == DATA[:3]


@pytest.mark.parametrize("size", [10, len(DATA)])
def test_a_stream_that_always_breaks_is_unavailable(fd: int, size: int) -> None:
    """Three attempts for each span."""
    with pytest.raises(Unavailable) as raised:
        run(fd, lambda _: io.BytesIO(b""), size)
    assert raised.value.facts["detail"] == "cut"


@pytest.mark.parametrize("size", [10, len(DATA)])
def test_b74_too_many_bytes_are_corrupt(fd: int, size: int) -> None:
    """An answer that is longer than its span is not cut to fit (B74)."""
    with pytest.raises(Corrupt):
        run(fd, lambda span: io.BytesIO(bytes(span.stop - span.start + 1)), size)


@pytest.mark.parametrize("size", [10, len(DATA)])
def test_time_is_over(fd: int, size: int) -> None:
    """A body that has a byte now and then does not outlast the deadline (F4)."""

    class Drip(io.BytesIO):
        def read1(self, _: int | None = -1, /) -> bytes:
            threading.Event().wait(0.01)
            return super().read1(1)

    before = time.monotonic()
    with pytest.raises(Unavailable) as raised:
        fill(
            fd,
            size,
            lambda span: Drip(DATA[span.start : span.stop]),
            progress=lambda _: None,
            until=before + 0.05,
        )
    assert raised.value.facts["detail"] == "deadline"
    assert time.monotonic() - before < 15  # and not for ever


def test_a_caller_who_stops_stops_all(fd: int) -> None:
    """What `progress` raises comes out, and the streams end."""

    def progress(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(fd, of(DATA), len(DATA), progress)
    assert not [t for t in threading.enumerate() if t.name.startswith("s3handoff-range")]
