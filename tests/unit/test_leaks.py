"""The watch that follows every test must be able to bite."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import leaks
from tests.conftest import need
from tests.leaks import Watch


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for late finishers."""
    monkeypatch.setattr(leaks, "SECONDS", 0.0)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system lists no descriptors")
def test_an_open_file_is_found(tmp_path: Path) -> None:
    """A file that is still open below the watched folder is named."""
    watch = Watch([tmp_path])
    with (tmp_path / "left").open("wb"):
        (found,) = watch.leaks()
    assert str(tmp_path / "left") in found
    assert watch.leaks() == []


def test_a_partial_file_is_found(tmp_path: Path) -> None:
    """An upload that ended halfway is named."""
    partial = tmp_path / "a" / "x.part"
    partial.parent.mkdir()
    partial.touch()
    assert Watch([tmp_path]).leaks() == [f"partial file {partial}"]
    partial.unlink()


def test_a_busy_thread_is_found() -> None:
    """A thread with our name that still works is named; other threads are not ours."""
    release = threading.Event()
    threads = [threading.Thread(target=release.wait, name=n) for n in ("s3handoff-put", "other")]
    for thread in threads:
        thread.start()
    assert Watch([]).leaks() == ["busy thread s3handoff-put"]
    release.set()
    for thread in threads:
        thread.join()


def test_an_idle_pool_is_no_leak() -> None:
    """A pool keeps its threads for the next upload."""
    with ThreadPoolExecutor(1, thread_name_prefix="s3handoff") as pool:
        pool.submit(int).result()
        assert [t for t in threading.enumerate() if t.name.startswith("s3handoff")]
        leaks.SECONDS = 3.0  # the thread may still be on its way back to the queue
        assert Watch([]).leaks() == []


def test_a_missing_part_is_a_skip_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no server reads which one, and how to get it."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match=r"haproxy \(make test-deps\)"):
        need("haproxy")
