"""Rule 12: a process that is forked in a bad moment works."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_s3handoff import handoff
from flask_s3handoff.handoff import Handoff
from flask_s3handoff.testing import MemoryStore

SECONDS = 10


def new_handoff() -> Handoff:
    """Return a handoff that has not been used."""
    return Handoff.from_mapping({"S3HANDOFF_STORE": "memory", "SECRET_KEY": "k" * 32})


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked child; return 0 if it went well, and in time."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_rule_12_threads_that_come_first_at_once_share_one_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each may make one; all use the same."""
    everybody = threading.Barrier(4)

    def make(_config: Any) -> MemoryStore:
        everybody.wait(SECONDS)
        return MemoryStore()

    monkeypatch.setattr(handoff, "_make_store", make)
    first = new_handoff()
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda _: first.store(), range(4)))
    assert {id(store) for store in stores} == {id(first.store())}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_rule_12_a_fork_during_the_first_use_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A master that warms up in a thread may fork while that thread makes the store."""
    making, forked = threading.Event(), threading.Event()

    def make(_config: Any) -> MemoryStore:
        making.set()
        forked.wait(SECONDS)
        return MemoryStore()

    monkeypatch.setattr(handoff, "_make_store", make)
    first = new_handoff()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(first.store)
        assert making.wait(SECONDS)
        monkeypatch.setattr(handoff, "_make_store", lambda _: MemoryStore())
        try:
            assert in_child(first.store) == 0
        finally:
            forked.set()
