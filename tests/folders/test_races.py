"""Threads, forks, other processes and other requests at the wrong moment: nothing is lost."""

from __future__ import annotations

import contextvars
import errno
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import after_this_request

from flask_s3handoff.audit import Touch, unwatched
from flask_s3handoff.dirstore import DirStore
from flask_s3handoff.errors import Unavailable
from flask_s3handoff.ledger import Note, name_of
from flask_s3handoff.store import OpenedFile
from flask_s3handoff.testing import MemoryStore
from tests.folders.shelf import Shelf, put_unseen, read, read_unseen, steps, wait_for_key, write

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

    def test_such_a_thread_reads_what_is_newest(self) -> None:
        """What its request was told counts for that request."""
        go_on, threads, found = threading.Event(), [], []

        def start(folder: str) -> None:
            def later() -> None:
                go_on.wait(20)
                found.append(read(at(folder)))

            read(at(folder))
            threads.append(threading.Thread(target=contextvars.copy_context().run, args=[later]))
            threads[0].start()

        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"old"))
            shelf.do(0, start)
            shelf.do(1, write("a.txt", b"new"))
            go_on.set()
            threads[0].join()
            assert found == [b"new"]

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


class TestRemovedMeanwhile:
    """What is being removed is not brought back by whoever looks at it."""

    @pytest.mark.parametrize("name", ["d/a.txt", "d/b.txt", "d"])
    @pytest.mark.parametrize("removes", [os.remove, shutil.rmtree])
    def test_another_request_looks_at_it(self, removes: Callable[[str], object], name: str) -> None:
        """Between the removal and the answer."""
        with Shelf(2) as shelf:

            @shelf.apps[0].post("/remove")
            def remove() -> str:
                removes(at(shelf.folder(0), "d" if removes is shutil.rmtree else "d/a.txt"))
                return str(shelf.has(0, name))

            shelf.do(0, steps(lambda f: os.mkdir(at(f, "d")), write("d/a.txt", b"a")))
            shelf.do(1, steps(lambda f: os.mkdir(at(f, "d")), write("d/b.txt", b"b")))
            stays = removes is os.remove and name != "d/a.txt"
            assert shelf.apps[0].test_client().post("/remove").text == str(stays)
            assert shelf.store.keys() == (["files/d/b.txt"] if removes is os.remove else [])
            assert shelf.has(0, name) == stays

    def test_another_process_looks_at_it(self) -> None:
        """A process of the same server knows it by the note."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            (folder,) = shelf.handoff(0).folders.folders
            shelf.store.fail_with(Unavailable(), verbs=["delete"])
            shelf.do(0, lambda f: os.remove(at(f)), status=503)
            assert folder._ledger.read(A).is_claimed
            folder._ledger.write(A, Note(writer=name_of(os.getppid())))
            shelf.handoff(0).folders.errands.pending.take()
            assert not shelf.has(0, "a.txt")

    def test_a_process_that_has_the_number_of_a_dead_one(self) -> None:
        """After a restart of the container, numbers come again: nobody waits for the dead."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"old"))
            (folder,) = shelf.handoff(0).folders.folders
            told = {**vars(folder._ledger.read(A)), "writer": str(os.getppid())}
            folder._ledger.write(A, Note(**told))
            shelf.do(1, write("a.txt", b"new"))
            assert shelf.read(0, "a.txt") == b"new"

    def test_a_name_that_was_used_for_a_moment(self) -> None:
        """A file that came and went here is found when another server writes it."""
        with Shelf(2) as shelf:
            shelf.do(
                0,
                steps(
                    lambda f: os.path.exists(at(f)),
                    write("a.txt", b"x"),
                    lambda f: os.remove(at(f)),
                ),
            )
            shelf.do(1, write("a.txt", b"a"))
            assert shelf.read(0, "a.txt") == b"a"

    @pytest.mark.parametrize("removes", [os.remove, shutil.rmtree])
    def test_a_thread_removes_it(self, removes: Callable[[str], object]) -> None:
        """Outside of any request: it is deleted without anybody's asking."""
        with Shelf(2) as shelf:
            shelf.do(0, steps(lambda f: os.mkdir(at(f, "d")), write("d/a.txt", b"a")))
            n = [os.remove, shutil.rmtree].index(removes)  # the other server has none of its files
            os.makedirs(at(shelf.folder(n), "d"), exist_ok=True)
            removes(at(shelf.folder(n), "d" if n else "d/a.txt"))
            wait_until(lambda: not shelf.store.keys())

    def test_a_folder_of_which_nothing_is_read_is_named_anew(self) -> None:
        """Without `read_through`: what was not brought keeps its name, and is not deleted."""
        with Shelf(2, read_through=False) as shelf:
            shelf.do(0, steps(lambda f: os.mkdir(at(f, "d")), write("d/a.txt", b"a")))
            shelf.do(1, steps(lambda f: os.mkdir(at(f, "d")), write("d/b.txt", b"b")))
            shelf.do(1, lambda f: os.rename(at(f, "d"), at(f, "e")))
            data = {shelf.store.bytes_of(key) for key in set(shelf.store.keys())}
            assert data == {b"a", b"b"}


class Meanwhile(MemoryStore):
    """A store that lets something happen while it is asked for a file."""

    happens: Callable[[], object] | None = None

    def open(self, key: str, *, unless: str = "") -> OpenedFile:
        happens, self.happens = self.happens, None
        if happens:
            happens()
        return super().open(key, unless=unless)


class TestWrittenMeanwhile:
    """A process begins to write while another one asks the store about the file."""

    @pytest.mark.parametrize("elsewhere", ["written", "deleted"])
    def test_it_is_not_replaced(self, elsewhere: str) -> None:
        """Neither by what the store has, nor by its having nothing."""
        with Shelf(2, store=Meanwhile()) as shelf:
            assert isinstance(shelf.store, Meanwhile)
            shelf.do(0, write("a.txt", b"first"))
            if elsewhere == "written":
                shelf.do(1, write("a.txt", b"second"))
            else:
                shelf.do(1, lambda f: os.remove(at(f)))
            (folder,) = shelf.handoff(0).folders.folders

            def begin() -> None:
                told = {**vars(folder._ledger.read(A)), "writer": name_of(os.getppid())}
                folder._ledger.write(A, Note(**told))
                put_unseen(at(shelf.folder(0)), b"half")

            shelf.store.happens = begin
            assert shelf.read(0, "a.txt") == b"half"
            assert read_unseen(at(shelf.folder(0))) == b"half"


class TestTakenTooEarly:
    """The hook is told before a thread does it; a request leaves in between."""

    def test_what_is_written_then(self) -> None:
        """The note is taken, and nothing is there yet: it is looked at again."""
        with Shelf(2) as shelf:
            shelf.handoff(0).folders.touched(Touch("write", at(shelf.folder(0))))
            shelf.do(0, write("b.txt", b"b"))
            put_unseen(at(shelf.folder(0)), b"a")
            wait_for_key(shelf, A)
            assert shelf.store.bytes_of(A) == b"a"

    def test_what_is_removed_then(self) -> None:
        """The file is still here when its removal is carried out."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            shelf.handoff(0).folders.touched(Touch("remove", at(shelf.folder(0))))
            shelf.do(0, write("b.txt", b"b"))
            with unwatched():
                os.remove(at(shelf.folder(0)))
            wait_until(lambda: shelf.store.keys() == ["files/b.txt"])


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    pause = threading.Event()
    for _ in range(400):
        if is_so():
            return
        pause.wait(0.05)
    raise AssertionError("in vain")


class TestFullDisk:
    """What the disk refuses is no answer to `exists`."""

    def test_exists_does_not_say_no(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """F15: the app would take the name for free."""

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            monkeypatch.setattr("flask_s3handoff.beneath.os.utime", refuse)
            shelf.do(1, lambda f: os.path.exists(at(f)), status=503)
