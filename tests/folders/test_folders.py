"""Folders on several servers: what is read, what is newest, whose name it is, and what it costs."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from flask import Flask
from werkzeug.test import Client
from werkzeug.utils import send_from_directory

from flask_s3handoff import S3Handoff
from flask_s3handoff.beneath import Beneath
from flask_s3handoff.errors import ConfigError, InvalidKey, Unavailable
from flask_s3handoff.ledger import name_of
from flask_s3handoff.scope import Scope, Spot
from flask_s3handoff.store import OpenedFile, kind_of
from flask_s3handoff.testing import MemoryStore
from tests.folders.others import wrapped
from tests.folders.shelf import Shelf, put_unseen, read, read_unseen, steps, wait_for_key, write
from tests.servers import wait_until

A = "files/a.txt"


def at(folder: str, name: str = "a.txt") -> str:
    """Return a path in the folder."""
    return os.path.join(folder, name)


class TestReading:
    """The file is there when the app asks for it, however it asks."""

    @pytest.mark.parametrize(
        "asks",
        [
            lambda f: read(at(f)) == b"a",
            lambda f: os.path.exists(at(f)),
            lambda f: os.path.isfile(at(f)),
            lambda f: os.path.getsize(at(f)) == 1,
            lambda f: os.path.lexists(at(f)),
            lambda f: os.access(at(f), os.R_OK),
            lambda f: os.stat(at(f)).st_size == 1,
            lambda f: os.lstat(at(f)).st_size == 1,
            lambda f: Path(f, "a.txt").exists(),
            lambda f: Path(f, "a.txt").read_bytes() == b"a",
            lambda f: os.path.exists(os.fsencode(at(f))),
            lambda f: shutil.copy(at(f), f + "-copy") and read(f + "-copy") == b"a",
            steps(lambda f: os.close(os.open(at(f), os.O_RDONLY)), lambda _: True),
            steps(lambda f: os.rename(at(f), f + "-away"), lambda _: True),
            steps(lambda f: os.link(at(f), f + "-link"), lambda _: True),
            steps(lambda f: os.remove(at(f)), lambda _: True),
            steps(lambda f: open(at(f), "r+b").close(), lambda _: True),
        ],
    )
    @pytest.mark.parametrize("options", [{}, {"immutable": True}], ids=["mutable", "immutable"])
    def test_one_get_brings_it(self, asks: Any, options: Any) -> None:
        """And nothing else: no HEAD before it, no second GET (rule 9)."""
        with Shelf(2, **options) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            shelf.asked()
            assert shelf.do(1, asks) == "True"
            assert shelf.asked("open", "stat", "fetch") == [("open", A)]

    def test_send_from_directory_serves_it(self) -> None:
        """Which asks `os.path.isfile` first."""
        with Shelf(2) as shelf:
            shelf.do(0, make_and_write)
            environ: dict[str, Any] = {"REQUEST_METHOD": "GET"}
            served: list[bytes] = []

            def serve(folder: str) -> None:
                response = send_from_directory(folder, "deep/er/a.txt", environ)
                response.direct_passthrough = False
                served.append(response.get_data())
                response.close()

            shelf.do(1, serve)
            assert served == [b"a"]

    def test_what_is_in_no_store_is_asked_for_once(self) -> None:
        """A miss is remembered for the request, and no longer."""
        with Shelf(2) as shelf:
            shelf.do(1, lambda f: [os.path.exists(at(f)) for _ in range(5)])
            assert shelf.asked() == [("open", A)]
            shelf.do(0, write("a.txt", b"a"))
            assert shelf.has(1, "a.txt")

    def test_without_read_through_only_what_is_here_is_read(self) -> None:
        """A name in a database is not enough then."""
        with Shelf(2, read_through=False) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            shelf.asked()
            assert not shelf.has(1, "a.txt")
            assert shelf.asked() == []

    def test_a_view_that_looks_elsewhere_costs_nothing(self) -> None:
        """Other files are not ours, whatever their names begin with."""
        with Shelf(2) as shelf:
            shelf.do(
                0,
                steps(
                    lambda f: Path(f + "_evil").mkdir(), lambda f: write("a.txt", b"a")(f + "_evil")
                ),
            )
            shelf.do(0, lambda f: [os.path.exists(f), os.listdir(f), os.stat("/"), read(__file__)])
            assert shelf.asked() == []

    @pytest.mark.parametrize(
        "asks",
        [
            lambda f: os.path.isdir(f + "/deep/er"),
            lambda f: os.listdir(f + "/deep/er") == [],
            lambda f: list(os.scandir(f + "/deep/er")) == [],
            steps(write("deep/er/b.txt", b"b"), lambda f: os.path.isfile(f + "/deep/er/b.txt")),
            steps(
                write("b.txt", b"b"),
                lambda f: os.rename(f + "/b.txt", f + "/deep/er/b.txt"),
                lambda _: True,
            ),
        ],
    )
    def test_a_folder_is_there_that_another_server_made(self, asks: Any) -> None:
        """To be asked for, listed (what is here), written into; asked for once."""
        with Shelf(2) as shelf:
            shelf.do(0, make_and_write)
            shelf.asked()
            assert shelf.do(1, asks) == "True"
            assert len(shelf.asked("list")) == 1

    def test_a_folder_that_is_here_costs_nothing(self) -> None:
        """Apps call `makedirs` before each `save`."""
        with Shelf(2) as shelf:
            shelf.do(0, lambda f: os.makedirs(f + "/deep/er", exist_ok=True))
            shelf.asked()
            shelf.do(0, lambda f: os.makedirs(f + "/deep/er", exist_ok=True))
            assert shelf.asked() == []

    def test_a_folder_that_is_nowhere(self) -> None:
        """It is not made up."""

        def doing(folder: str) -> None:
            assert not os.path.isdir(folder + "/nowhere")
            with pytest.raises(FileNotFoundError):
                write("nowhere/a.txt", b"a")(folder)

        with Shelf(2) as shelf:
            shelf.do(0, doing)
            assert os.listdir(shelf.folder(0)) == []

    def test_it_is_read_while_an_answer_streams(self) -> None:
        """The request has been left by then; what is missing is brought all the same."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"streamed"))

            @shelf.apps[1].get("/stream")
            def stream() -> Any:
                return (read(at(shelf.folder(1))) for _ in range(1)), 200

            assert shelf.apps[1].test_client().get("/stream").data == b"streamed"


def make_and_write(folder: str) -> None:
    """Write a file two folders deep."""
    os.makedirs(folder + "/deep/er")
    write("deep/er/a.txt", b"a")(folder)


class TestNewest:
    """A name may be written again, on any server."""

    def test_every_server_reads_what_was_written_last(self) -> None:
        """One conditional GET per file and request tells."""
        with Shelf(3) as shelf:
            for n, data in enumerate([b"first", b"second, longer", b"3"]):
                shelf.do(n, write("a.txt", data))
                shelf.asked()
                assert [shelf.read(m, "a.txt") for m in range(3)] == [data] * 3
                assert shelf.asked() == [("open", A)] * 3

    def test_what_is_here_already_is_not_sent_again(self) -> None:
        """The etag is known to every process of this server, and after it was started anew."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            before = os.stat(at(shelf.folder(0)))
            assert shelf.read(0, "a.txt") == b"a"
            assert os.stat(at(shelf.folder(0))) == before

    def test_immutable_names_are_not_asked_about(self) -> None:
        """They are promised to be unique."""
        with Shelf(2, immutable=True) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            shelf.read(1, "a.txt")
            shelf.asked()
            assert shelf.read(0, "a.txt") + shelf.read(1, "a.txt") == b"aa"
            assert shelf.asked() == []

    def test_what_one_server_appends_to_is_what_another_wrote(self) -> None:
        """A write that keeps what is there begins with the newest."""
        with Shelf(3) as shelf:
            shelf.do(0, write("a.txt", b"one "))
            shelf.do(1, write("a.txt", b"two ", "ab"))
            shelf.do(0, write("a.txt", b"three", "ab"))
            assert shelf.read(2, "a.txt") == b"one two three"

    def test_a_file_from_before_us_is_read_as_it_is(self) -> None:
        """Not adopted yet: it is on this disk only, and stays."""
        with Shelf(2) as shelf:
            put_unseen(at(shelf.folder(0)), b"old")
            assert shelf.read(0, "a.txt") == b"old"
            assert not shelf.has(1, "a.txt")

    def test_a_change_that_nobody_saw_is_not_lost(self) -> None:
        """A cron job rewrote the file here: the store has nothing newer, so it stays."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            put_unseen(at(shelf.folder(0)), b"changed\n")
            assert shelf.read(0, "a.txt") == b"changed\n"
            shelf.do(1, write("a.txt", b"newer"))
            assert shelf.read(0, "a.txt") == b"newer"

    def test_another_process_of_this_server_is_writing(self) -> None:
        """What the store has does not come between."""
        with Shelf(2) as shelf:
            shelf.do(1, write("a.txt", b"on another server"))
            (folder,) = shelf.handoff(0).folders.folders
            put_unseen(at(shelf.folder(0)), b"half")
            note = folder._ledger.read(A)
            folder._ledger.write(A, type(note)(writer=name_of(os.getppid())))
            assert shelf.read(0, "a.txt") == b"half"
            folder._ledger.write(A, type(note)(writer=f"{2**22 + 1}-1"))  # it was killed
            assert shelf.read(0, "a.txt") == b"on another server"


class TestRemoving:
    """What is removed on one server is gone on all."""

    def test_a_file(self) -> None:
        """Also one that only the store has, and for a server that has its own copy."""
        with Shelf(3) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            shelf.read(1, "a.txt")
            shelf.do(2, lambda f: os.remove(at(f)))
            assert shelf.store.keys() == []
            assert [shelf.has(n, "a.txt") for n in range(3)] == [False] * 3

    def test_a_tree(self) -> None:
        """`rmtree` of what this server has takes along what only the store has."""
        with Shelf(2) as shelf:
            shelf.do(0, make_and_write)
            shelf.do(1, lambda f: os.mkdir(f + "/deep"))
            shelf.do(1, lambda f: shutil.rmtree(f + "/deep"))
            assert shelf.store.keys() == []

    def test_a_file_that_is_written_again(self) -> None:
        """Removed and written in one request: it is there."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            shelf.do(1, steps(lambda f: os.remove(at(f)), write("a.txt", b"again")))
            assert shelf.read(0, "a.txt") == b"again"

    def test_what_never_was_is_not_deleted(self) -> None:
        """A temporary file costs the store nothing."""
        with Shelf(2, immutable=True) as shelf:
            shelf.do(0, steps(write("t.tmp", b"x"), lambda f: os.remove(at(f, "t.tmp"))))
            assert shelf.asked() == []


class TestNames:
    """Two people, two servers, one name: nobody gets the other one's bytes."""

    @staticmethod
    def save_counting_up(data: bytes) -> Any:
        """Return what saves under the first free name, as so many apps do."""

        def save(folder: str) -> str:
            n = 0
            while os.path.exists(at(folder, f"photo{n or ''}.jpg")):
                n += 1
            write(f"photo{n or ''}.jpg", data)(folder)
            return f"photo{n or ''}.jpg"

        return save

    def test_a_free_name_is_free_on_all_servers(self) -> None:
        """`exists` asks the store."""
        with Shelf(3) as shelf:
            names = [shelf.do(n, self.save_counting_up(b"%d" % n)) for n in range(3)]
            assert names == ["photo.jpg", "photo1.jpg", "photo2.jpg"]
            assert [shelf.read(2 - n, name) for n, name in enumerate(names)] == [b"0", b"1", b"2"]

    @pytest.mark.parametrize("options", [{}, {"immutable": True}], ids=["mutable", "immutable"])
    def test_the_loser_of_a_race_is_told(self, options: Any) -> None:
        """Both saw that the name was free; nobody is overwritten, and the loser's answer is 409."""
        both = threading.Barrier(2)

        def save(data: bytes) -> Any:
            def doing(folder: str) -> None:
                assert not os.path.exists(at(folder))
                both.wait(20)
                write("a.txt", data)(folder)

            return doing

        with Shelf(2, **options) as one, Shelf(2, store=one.store, **options) as other:
            statuses: dict[bytes, int] = {}

            def run(shelf: Shelf, data: bytes) -> None:
                shelf._doing = save(data)
                statuses[data] = shelf.apps[0].test_client().post("/").status_code

            threads = [
                threading.Thread(target=run, args=[*p]) for p in [(one, b"one"), (other, b"other")]
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            winner = next(data for data, status in statuses.items() if status == 200)
            assert sorted(statuses.values()) == [200, 409]
            assert one.store.bytes_of(A) == winner
            assert one.read(0, "a.txt") == other.read(0, "a.txt") == winner

    def test_the_loser_of_a_race_keeps_what_it_wanted_to_rename(self) -> None:
        """The name that it had still is the file's, on every server."""
        with Shelf(2) as shelf:
            shelf.do(0, write("old.txt", b"mine"))

            def rename(folder: str) -> None:
                assert not os.path.exists(at(folder))
                put_in_store(shelf.store, A, b"another's")
                os.rename(at(folder, "old.txt"), at(folder))

            shelf.do(0, rename, status=409)
            assert [shelf.read(n, "old.txt") for n in (0, 1)] == [b"mine"] * 2
            assert [shelf.read(n, "a.txt") for n in (0, 1)] == [b"another's"] * 2

    def test_exclusive_creation_asks_first(self) -> None:
        """`open("x")` where another server has the name."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"a"))

            def taken(folder: str) -> None:
                with pytest.raises(FileExistsError):
                    open(at(folder), "xb").close()

            shelf.do(1, taken)
            assert shelf.store.bytes_of(A) == b"a"

    def test_a_name_that_was_there_is_overwritten(self) -> None:
        """As on one disk: the last writer wins."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            shelf.do(1, lambda f: os.path.exists(at(f)) and write("a.txt", b"b")(f))
            assert shelf.read(0, "a.txt") == b"b"

    def test_names_that_differ_in_case_are_two(self) -> None:
        """On file systems that tell them apart, as the store does."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"lower"))
            shelf.do(1, write("A.txt", b"upper"))
            assert (shelf.read(1, "a.txt"), shelf.read(0, "A.txt")) == (b"lower", b"upper")

    def test_a_disk_that_takes_two_names_for_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a Mac's does: the second one is refused, and nobody gets the other one's bytes."""
        with Shelf(2) as shelf:
            (folder,) = shelf.handoff(0).folders.folders
            vars(folder.beneath)["_folds_case"] = True
            shelf.do(0, write("leo.txt", b"leo"))
            put_unseen(at(shelf.folder(0), "LEO.txt"), b"leo")
            monkeypatch.setattr("flask_s3handoff.beneath.os.listdir", lambda _: ["leo.txt"])

            def refused(folder: str) -> None:
                with pytest.raises(FileExistsError, match="only in case"):
                    read(at(folder, "LEO.txt"))

            shelf.do(0, refused)
            assert shelf.read(0, "leo.txt") == b"leo"

    @pytest.mark.parametrize(
        "name",
        [
            "b\\c.txt",
            "line\nbreak",
            "nul\x7f",
            "x" * 250 + "/" + "y" * 250 + "/" + "z" * 250 + "/" + "w" * 200,
        ],
    )
    def test_a_name_that_cannot_be_a_key_stays_here(
        self, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is written and read as ever, and the log says that it is not mirrored."""
        with Shelf(2) as shelf:
            shelf.do(
                0,
                steps(
                    lambda f: os.makedirs(os.path.dirname(at(f, name)), exist_ok=True),
                    write(name, b"a"),
                ),
            )
            assert shelf.read(0, name) == b"a"
            assert shelf.store.keys() == []
            assert "cannot be a key" in caplog.text


class TestInside:
    """No path leads out of a folder, whatever the app or an archive does (T22, T23)."""

    @pytest.mark.parametrize("name", ["../secret.txt", "deep/../../secret.txt", "./../secret.txt"])
    def test_dots_lead_to_what_is_not_ours(self, name: str) -> None:
        """B41: the app reads and writes there as ever; nothing of it is mirrored or brought."""
        with Shelf(2) as shelf:
            shelf.store.put(
                "files/secret.txt", EMPTY, size=0, sha256=NOTHING, kind=kind_of("secret.txt", "")
            )
            shelf.asked()
            shelf.do(0, lambda f: os.mkdir(f + "/deep"))
            shelf.do(0, write(name, b"mine"))
            assert shelf.asked() == []
            assert shelf.read(0, name) == b"mine"

    def test_a_key_that_leads_out_is_never_written(self) -> None:
        """Whoever put `files/../x` into the bucket."""
        with Shelf(2) as shelf:
            shelf.store._objects["files/../stray.txt"] = thing()
            (folder,) = shelf.handoff(0).folders.folders
            with pytest.raises(InvalidKey):
                folder.key_of("../stray.txt")
            shelf.handoff(0).pull()
            assert not os.path.exists(shelf.folder(0) + "/../stray.txt")

    def test_nothing_is_brought_through_a_link(self, tmp_path: Path) -> None:
        """A folder within the folder that is a link: the app's, and left alone."""
        with Shelf(2) as shelf:
            shelf.do(0, make_and_write)
            os.symlink(tmp_path, shelf.folder(1) + "/deep")
            (tmp_path / "er").mkdir()
            assert not shelf.has(1, "deep/er/a.txt")
            assert list((tmp_path / "er").iterdir()) == []

    def test_nothing_is_mirrored_through_a_link(self, tmp_path: Path) -> None:
        """What is written behind it is somewhere else."""
        with Shelf(2) as shelf:
            os.symlink(tmp_path, shelf.folder(0) + "/link")
            shelf.do(0, write("link/a.txt", b"a"))
            assert (tmp_path / "a.txt").read_bytes() == b"a"
            assert shelf.store.keys() == []

    def test_what_is_no_file_is_left_alone(self) -> None:
        """A socket and a fifo that are named anew hold up nobody."""

        def doing(folder: str) -> None:
            os.mkfifo(at(folder, "fifo"))
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(at(folder, "socket"))
            for name in ("fifo", "socket"):
                os.rename(at(folder, name), at(folder, name + ".new"))
            write("a.txt", b"a")(folder)

        with Shelf(2) as shelf:
            shelf.do(0, doing)
            assert shelf.store.keys() == [A]

    def test_what_nobody_may_read_is_left_alone(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log says so; what else was written is mirrored."""
        open_as_ever = os.open

        def refuse(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            if path == "b.txt" and not flags & os.O_WRONLY:
                raise PermissionError(errno.EACCES, "Permission denied")
            return open_as_ever(path, flags, *rest, **options)

        monkeypatch.setattr("flask_s3handoff.beneath.os.open", refuse)
        with Shelf(2) as shelf:
            shelf.do(0, steps(write("b.txt", b"b"), write("a.txt", b"a")))
            assert shelf.store.keys() == [A]
            assert "cannot be read" in caplog.text

    def test_the_folder_itself_may_be_a_link(self, tmp_path: Path) -> None:
        """That is the operator's choice."""
        with Shelf(2) as shelf:
            os.rmdir(shelf.folder(0))
            os.symlink(tmp_path, shelf.folder(0))
            shelf.do(0, write("a.txt", b"a"))
            assert shelf.read(1, "a.txt") == b"a"

    def test_a_folder_inside_another(self) -> None:
        """The inner one has its own prefix, and the outer one never writes there."""

        def places(disk: str) -> dict[str, Any]:
            return {"all/": {"path": disk}, "inner/": {"path": disk + "/inner"}}

        store = MemoryStore()
        with Nested(store, places) as one, Nested(store, places) as two:
            one.write("a.txt")
            one.write("inner/b.txt")
            assert store.keys() == ["all/a.txt", "inner/b.txt"]
            store._objects["all/inner/c.txt"] = store._objects["all/a.txt"]
            assert two.exists("inner/b.txt")
            assert not two.exists("inner/c.txt")
            assert two.handoff.pull().left == (two.disk + "/inner/c.txt",)


class TestWhoseDoing:
    """Requests within requests, and threads that serve one after the other."""

    def test_a_request_within_a_request_is_settled_by_itself(self) -> None:
        """Rule 1 holds for the inner answer, which leads to other servers as well."""
        with Shelf(2) as shelf:

            def ask(_: str) -> list[str]:
                data = {"name": "b.txt", "file": (io.BytesIO(b"b"), "b.txt")}
                assert shelf.apps[0].test_client().post("/save", data=data).text == "saved"
                return shelf.store.keys()

            assert shelf.do(0, steps(write("a.txt", b"a"), ask)) == "['files/b.txt']"
            assert shelf.store.keys() == [A, "files/b.txt"]

    def test_what_is_written_after_a_request_is_mirrored_as_well(self) -> None:
        """By the thread that served it."""
        with Shelf(2) as shelf:
            shelf.do(0, write("b.txt", b"b"))
            write("a.txt", b"a")(shelf.folder(0))
            wait_for_key(shelf, A)

    def test_threads_of_the_app_go_on_while_a_request_ends(self) -> None:
        """What they bring meanwhile is no mistake of ours."""
        with Shelf(2) as shelf:
            shelf.do(0, steps(write("a.txt", b"a"), write("b.txt", b"b")))
            folders, environ = shelf.handoff(1).folders, dict[str, Any]()
            folders.context = lambda: environ
            read(at(shelf.folder(1)))

            class Busy(Scope):
                def write(self, spot: Spot, *, was_free: bool) -> None:
                    super().write(spot, was_free=was_free)
                    other = threading.Thread(target=read, args=[at(shelf.folder(1), "b.txt")])
                    other.start()
                    other.join()

            folders.here().__class__ = Busy
            put_unseen(at(shelf.folder(1)), b"changed")
            folders.settle()
            folders.leave(environ)
            assert shelf.store.bytes_of(A) == b"changed"


class TestFailing:
    """The store is down: what is here works, what is not says so, nothing is lost."""

    def test_what_cannot_be_mirrored_is_a_503_and_is_mirrored_later(self) -> None:
        """A redirect to the next step would lead to a server that has nothing."""
        with Shelf(2) as shelf:
            shelf.store.fail_with(Unavailable(), verbs=["put"])
            shelf.do(0, write("a.txt", b"a"), status=503)
            shelf.store.recover()
            wait_for_key(shelf, A)
            assert shelf.read(1, "a.txt") == b"a"

    @pytest.mark.parametrize("kind", [RuntimeError, OSError])
    def test_whatever_a_store_raises_nothing_is_lost(
        self, kind: type[Exception], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A store of one's own may have mistakes: the thread that mirrors later survives them."""
        with Shelf(2) as shelf:
            shelf.store.fail_with(kind("as told"), verbs=["put"], times=2)
            shelf.do(0, write("a.txt", b"a"), status=503 if kind is OSError else 500)
            wait_for_key(shelf, A)
            shelf.store.fail_with(kind("as told"), verbs=["put"], times=1)
            write("b.txt", b"b")(shelf.folder(0))  # in no request
            wait_for_key(shelf, "files/b.txt")
        assert "as told" in caplog.text

    def test_a_read_of_what_is_not_here_is_no_404(self) -> None:
        """`exists` does not say no, `open` raises what is an `OSError`; uncaught, both are a 503."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            shelf.store.fail_with(Unavailable(), verbs=["open"])
            shelf.do(1, lambda f: os.path.exists(at(f)), status=503)
            shelf.do(1, lambda f: read(at(f)), status=503)

            def caught(folder: str) -> int:
                with pytest.raises(OSError, match="did not answer") as error:
                    read(at(folder))
                return error.value.errno or 0

            assert shelf.do(1, caught) == str(errno.EIO)

    def test_what_is_immutable_and_here_needs_no_store(self) -> None:
        """A server goes on with what it has."""
        with Shelf(2, immutable=True) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            shelf.store.fail_with(Unavailable())
            assert shelf.read(0, "a.txt") == b"a"

    def test_wrong_bytes_are_never_put_in_place(self) -> None:
        """Rule 2: what the store says of its digest is checked."""
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"right"))
            item = shelf.store._objects[A]
            shelf.store._objects[A] = type(item)(b"wrong", item.kind, item.sha256)
            shelf.do(1, lambda f: read(at(f)), status=503)
            assert os.listdir(shelf.folder(1)) == []

    def test_a_file_whose_name_becomes_a_folders_leaves_nothing_behind(
        self, tmp_path: Path
    ) -> None:
        """Just before the newer bytes take its place (rule 11)."""
        (tmp_path / "a.txt").write_bytes(b"old")

        def chunks() -> Iterator[bytes]:
            yield b"new"
            (tmp_path / "a.txt").unlink()
            (tmp_path / "a.txt").mkdir()

        with pytest.raises(IsADirectoryError):
            Beneath(str(tmp_path)).place("a.txt", chunks(), modified_at=0.0, replaces=True)
        assert os.listdir(tmp_path) == ["a.txt"]

    def test_a_view_that_fails_has_written_all_the_same(self) -> None:
        """As on one disk; and its own 500 is not hidden by the store's failure."""

        def doing(folder: str) -> None:
            write("a.txt", b"a")(folder)
            raise RuntimeError("the view is broken")

        with Shelf(2) as shelf:
            shelf.do(0, doing, status=500)
            assert shelf.read(1, "a.txt") == b"a"
            shelf.store.fail_with(Unavailable(), verbs=["put"])
            shelf.do(0, steps(write("b.txt", b"b"), lambda _: 1 / 0), status=500)
            shelf.store.recover()
            wait_for_key(shelf, "files/b.txt")

    def test_the_apps_own_500_is_what_the_middleware_shows(self, tmp_path: Path) -> None:
        """As the extension does: a store that is down hides nothing, and has the file later."""
        store = MemoryStore()

        def failing(folder: str) -> Any:
            def application(_environ: Any, start_response: Any) -> list[bytes]:
                write("a.txt", b"a")(folder)
                start_response("500 INTERNAL SERVER ERROR", [])
                return [b"the app's own words"]

            return application

        keys = {"SECRET_KEY": secrets.token_hex(), "FLEET_DISK": str(tmp_path)}
        app = wrapped(failing, {**keys, "S3HANDOFF_STORE": store})
        store.fail_with(Unavailable(), verbs=["put"])
        answer = Client(app).get("/")
        assert (answer.status_code, answer.text) == (500, "the app's own words")
        store.recover()
        wait_until(lambda: store.keys() == ["media/a.txt"], what="the file in the store")

    def test_our_own_mistakes_are_nobody_elses(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The hook never raises what is no `OSError` of ours."""
        with Shelf(2) as shelf:
            monkeypatch.setattr("flask_s3handoff.folders.Folders.spot", lambda *_: 1 / 0)
            assert shelf.do(0, steps(write("a.txt", b"a"), lambda f: read(at(f)))) == "b'a'"
            assert "could not be judged" in caplog.text

    def test_a_deadline_holds_for_all_files_of_a_request(self) -> None:
        """Rule 10: two slow files do not wait twice."""
        with Shelf(2, config={"S3HANDOFF_DEADLINE": 0.3}) as shelf:
            shelf.do(0, steps(*(write(f"{n}.txt", b"a") for n in range(3))))
            slow = threading.Event()
            shelf.store.__class__ = Slow
            shelf.store.gate = slow  # type: ignore[attr-defined]
            for n in range(3):
                shelf.do(1, partial(read_at, f"{n}.txt"), status=503)
            slow.set()


class Slow(MemoryStore):
    """A store that answers when it is told to."""

    gate: threading.Event

    def open(self, key: str, *, unless: str = "") -> OpenedFile:
        self.gate.wait(5)
        return super().open(key, unless=unless)


def read_at(name: str, folder: str) -> bytes:
    """Read a file of the folder."""
    return read(at(folder, name))


class TestAllOfIt:
    """The way in and the way out."""

    def test_adopt_mirrors_what_is_there(self) -> None:
        """Nothing is overwritten, nothing is sent twice; what differs is named."""
        with Shelf(2) as shelf:
            os.mkdir(shelf.folder(0) + "/sub")
            for name in ("a.txt", "sub/b.txt", "c.txt"):
                put_unseen(at(shelf.folder(0), name), name.encode())
            put_unseen(at(shelf.folder(0), "bad\nname"), b"")
            os.symlink("/etc/passwd", at(shelf.folder(0), "link"))
            shelf.do(1, write("c.txt", b"other"))
            told: list[tuple[int, int]] = []
            first = shelf.handoff(0).adopt(lambda *progress: told.append(progress))
            assert (first.moved, first.unchanged, len(first.left)) == (2, 0, 2)
            assert told == [(n, 4) for n in range(1, 5)]
            assert shelf.store.keys() == [A, "files/c.txt", "files/sub/b.txt"]
            assert shelf.store.bytes_of("files/c.txt") == b"other"
            assert read_unseen(at(shelf.folder(0), "c.txt")) == b"c.txt"
            shelf.asked()
            again = shelf.handoff(0).adopt()
            assert (again.moved, again.unchanged, len(again.left)) == (0, 2, 2)
            assert shelf.asked("put") == []

    def test_pull_brings_everything_back(self) -> None:
        """To one disk, from which the app goes on without us."""
        with Shelf(3) as shelf:
            shelf.do(0, make_and_write)
            shelf.do(1, write("b.txt", b"b"))
            pulled = shelf.handoff(2).pull()
            assert (pulled.moved, pulled.left) == (2, ())
            assert read(at(shelf.folder(2), "deep/er/a.txt")) == b"a"
            assert shelf.handoff(2).pull().unchanged == 2

    def test_without_a_folder_there_is_nothing_to_do(self) -> None:
        """And the message says what is missing."""
        app = Flask(__name__)
        app.config.update(S3HANDOFF_STORE="memory", S3HANDOFF_PLACES={"users/": {}})
        handoff = S3Handoff(app)
        with app.app_context(), pytest.raises(ConfigError, match="'path'"):
            handoff.adopt()

    def test_track_refuses_what_lies_elsewhere(self) -> None:
        """A mistake of the app's, said at once."""
        with Shelf(2) as shelf, pytest.raises(InvalidKey, match="does not lie in a folder"):
            shelf.handoff(0).track("/etc/passwd")

    def test_a_large_file_goes_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beyond what S3 takes in one request."""
        monkeypatch.setattr("flask_s3handoff.folder.MAX_PUT_BYTES", 10)
        monkeypatch.setattr("flask_s3handoff.folder.LARGE_PART_BYTES", 4)
        with Shelf(2) as shelf:
            shelf.do(0, write("a.txt", b"eleven byte"))
            asked = [verb for verb, _ in shelf.asked()]
            assert asked == ["begin", "part", "part", "part", "complete", "stat"]
            assert shelf.read(0, "a.txt") == b"eleven byte"
            assert shelf.asked() == [("open", A)]
            assert shelf.read(1, "a.txt") == b"eleven byte"

    def test_many_threads_want_one_cold_file(self) -> None:
        """One GET for all of them where names are unique."""
        with Shelf(2, immutable=True) as shelf:
            shelf.do(0, write("a.txt", b"a"))
            shelf.asked()

            def doing(folder: str) -> None:
                threads = [threading.Thread(target=read, args=[at(folder)]) for _ in range(16)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

            shelf.do(1, doing)
            assert shelf.asked() == [("open", A)]


EMPTY = io.BytesIO()
NOTHING = hashlib.sha256().hexdigest()


def put_in_store(store: MemoryStore, key: str, data: bytes) -> None:
    """Store what a server of another site wrote."""
    digest = hashlib.sha256(data).hexdigest()
    store.put(key, io.BytesIO(data), size=len(data), sha256=digest, kind=kind_of(key, ""))


def thing() -> Any:
    """Return what a memory store keeps."""
    store = MemoryStore()
    store.put("x", EMPTY, size=0, sha256=NOTHING, kind=kind_of("x", ""))
    return store._objects["x"]


class Nested:
    """One app with the places that a test wants, on a disk of its own."""

    def __init__(self, store: MemoryStore, places: Any) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="s3handoff-nested-")
        self.disk = os.path.realpath(self._home.name) + "/disk"
        os.makedirs(self.disk + "/inner")
        self.app = Flask(__name__)
        self.app.config.update(
            S3HANDOFF_PLACES=places(self.disk),
            S3HANDOFF_WORK_DIR=self._home.name + "/work",
            TESTING=True,
        )
        S3Handoff(self.app, store=store)
        self.handoff = self.app.extensions["s3handoff"].handoff
        self._doing: Callable[[], object] = object
        self.app.add_url_rule("/", view_func=lambda: str(self._doing()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._home.cleanup()

    def write(self, name: str) -> None:
        """Write a file in a view."""
        self._do(lambda: write(name, b"x")(self.disk))

    def exists(self, name: str) -> bool:
        """Ask for a file in a view."""
        return self._do(lambda: os.path.exists(self.disk + "/" + name)) == "True"

    def _do(self, doing: Any) -> str:
        self._doing = doing
        return self.app.test_client().get("/").text
