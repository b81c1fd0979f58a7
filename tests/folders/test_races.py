"""Threads, forks, other processes and other requests at the wrong moment: nothing is lost."""

from __future__ import annotations

import contextvars
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

from flask import after_this_request

from flask_s3handoff.dirstore import DirStore
from tests.folders.shelf import Shelf, wait_for_key, write

A = "files/a.txt"


def at(folder: str, name: str = "a.txt") -> str:
    """Return a path in the folder."""
    return os.path.join(folder, name)


class TestWhoseWork:
    """What a request wrote is its own; what is nobody's is not forgotten."""

    def test_a_thread_with_the_requests_context_outlives_it(self) -> None:
        """As `asyncio.to_thread` and many executors make them: the request it names is over."""
        go_on, threads = threading.Event(), []

        def start(folder: str) -> None:
            def later() -> None:
                go_on.wait(20)
                write("a.txt", b"late")(folder)

            threads.append(threading.Thread(target=contextvars.copy_context().run, args=[later]))
            threads[0].start()

        with Shelf(2) as shelf:
            shelf.do(0, start)
            go_on.set()
            threads[0].join()
            wait_for_key(shelf, A)

    def test_a_process_that_is_forked_in_a_request(self, tmp_path: Path) -> None:
        """Its writes are not its parent's request's, which never ends there."""

        def fork(folder: str) -> None:
            doing = write("a.txt", b"of a child")
            child = multiprocessing.get_context("fork").Process(target=doing, args=[folder])
            child.start()
            child.join(30)

        store: Any = DirStore(str(tmp_path / "store"))
        with Shelf(2, store=store) as shelf:
            shelf.do(0, fork)
            assert shelf.read(1, "a.txt") == b"of a child"

    def test_an_app_that_asks_itself(self) -> None:
        """The inner answer leaves when the store has what its own view wrote."""
        with Shelf(2) as shelf:
            known: list[list[str]] = []

            @shelf.apps[0].post("/outer")
            def outer() -> str:
                shelf.apps[0].test_client().post("/")
                known.append(shelf.store.keys())
                return ""

            shelf._doing = write("a.txt", b"a")
            shelf.apps[0].test_client().post("/outer")
            assert known == [[A]]

    def test_what_an_after_request_writes_is_there_before_the_answer(self) -> None:
        """As a session does that is kept in files."""

        def doing(folder: str) -> None:
            @after_this_request
            def save(response: Any) -> Any:
                write("a.txt", b"a")(folder)
                return response

        with Shelf(2) as shelf:
            shelf.do(0, doing)
            assert shelf.store.keys() == [A]
