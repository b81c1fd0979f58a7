"""Whatever writes below a folder: another server reads it as it was written."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gevent
import pandas as pd
import pytest
from flask import Flask
from PIL import Image

from tests.folders.shelf import Doing, Shelf, read, steps, wait_for_key, write

HELLO = b"hello, world"
WRITERS: dict[str, Doing] = {}


def writer(doing: Callable[[str], object]) -> Callable[[str], object]:
    """Enter a way to write `a.txt`."""
    WRITERS[doing.__name__] = doing
    return doing


for mode in ("wb", "xb", "ab", "w+b", "a+b", "x+b", "w", "x", "a"):
    WRITERS[f"open {mode}"] = write("a.txt", HELLO, mode)


@writer
def open_in_place(folder: str) -> None:
    write("a.txt", b"HELLO, world")(folder)
    with open(os.path.join(folder, "a.txt"), "r+b") as file:
        file.write(b"hello")


@writer
def path_object(folder: str) -> None:
    Path(folder, "a.txt").write_bytes(HELLO)


@writer
def bytes_path(folder: str) -> None:
    write("a.txt", HELLO)
    with open(os.fsencode(folder) + b"/a.txt", "wb") as file:
        file.write(HELLO)


@writer
def os_open(folder: str) -> None:
    fd = os.open(os.path.join(folder, "a.txt"), os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, HELLO)
    os.close(fd)


@writer
def descriptor(folder: str) -> None:
    fd = os.open(os.path.join(folder, "a.txt"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with open(fd, "wb") as file:
        file.write(HELLO)


@writer
def truncate(folder: str) -> None:
    write("a.txt", HELLO + b" and more")(folder)
    os.truncate(os.path.join(folder, "a.txt"), len(HELLO))


@writer
def mkstemp_and_replace(folder: str) -> None:
    fd, name = tempfile.mkstemp(dir=folder)
    with open(fd, "wb") as file:
        file.write(HELLO)
    os.replace(name, os.path.join(folder, "a.txt"))


@writer
def named_temporary_file(folder: str) -> None:
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(HELLO)
    os.rename(file.name, os.path.join(folder, "a.txt"))


@writer
def move_in(folder: str) -> None:
    elsewhere = Path(folder).parent / "elsewhere.txt"
    elsewhere.write_bytes(HELLO)
    shutil.move(elsewhere, os.path.join(folder, "a.txt"))


@writer
def hard_link(folder: str) -> None:
    elsewhere = Path(folder).parent / "elsewhere.txt"
    elsewhere.write_bytes(HELLO)
    os.link(elsewhere, os.path.join(folder, "a.txt"))


@writer
def copy(folder: str) -> None:
    elsewhere = Path(folder).parent / "elsewhere.txt"
    elsewhere.write_bytes(HELLO)
    shutil.copy2(elsewhere, os.path.join(folder, "a.txt"))


@writer
def relative_after_chdir(folder: str) -> None:
    before = os.getcwd()
    os.chdir(os.path.dirname(folder))
    try:
        write("a.txt", HELLO)("files")
    finally:
        os.chdir(before)


@writer
def crooked_spelling(folder: str) -> None:
    write("a.txt", HELLO)(f"{folder}/../files/./")


@writer
def thread(folder: str) -> None:
    run = threading.Thread(target=write("a.txt", HELLO), args=[folder])
    run.start()
    run.join()


@writer
def thread_pool(folder: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write("a.txt", HELLO), [folder]))


@writer
def greenlet(folder: str) -> None:
    gevent.spawn(write("a.txt", HELLO), folder).join()


@pytest.mark.parametrize("options", [{}, {"immutable": True}], ids=["mutable", "immutable"])
@pytest.mark.parametrize("name", WRITERS)
def test_what_one_server_wrote_another_reads(name: str, options: Any) -> None:
    """The response of the writing request has left, so the store has it."""
    with Shelf(2, **options) as shelf:
        shelf.do(0, WRITERS[name])
        assert shelf.store.keys() == ["files/a.txt"]
        assert shelf.store.bytes_of("files/a.txt") == HELLO
        assert shelf.read(1, "a.txt") == HELLO


def test_an_upload_is_saved_by_werkzeug() -> None:
    """`FileStorage.save`."""
    with Shelf(2) as shelf:
        for size in (0, 10, 400_000):
            data = {"file": (io.BytesIO(b"x" * size), "me.bin"), "name": f"{size}.bin"}
            assert shelf.apps[0].test_client().post("/save", data=data).status_code == 200
            assert shelf.read(1, f"{size}.bin") == b"x" * size


def test_an_async_view_writes() -> None:
    """It runs in another thread, in a copy of the request's context."""
    with Shelf(2) as shelf:
        shelf._doing = write("a.txt", HELLO)
        shelf.apps[0].test_client().post("/async")
        assert shelf.read(1, "a.txt") == HELLO


def test_libraries_write() -> None:
    """Pillow, pandas, zipfile, tarfile: into the folder, and whole trees."""

    def doing(folder: str) -> None:
        Image.new("RGB", (4, 4), "red").save(os.path.join(folder, "red.png"))
        pd.DataFrame({"a": [1, 2]}).to_csv(os.path.join(folder, "table.csv"), index=False)
        with zipfile.ZipFile(os.path.join(folder, "all.zip"), "w") as archive:
            archive.writestr("in/side.txt", HELLO)
        with zipfile.ZipFile(os.path.join(folder, "all.zip")) as archive:
            archive.extractall(os.path.join(folder, "unpacked"))  # noqa: S202 - our own
        shutil.copytree(os.path.join(folder, "unpacked"), os.path.join(folder, "copied"))

    with Shelf(2) as shelf:
        shelf.do(0, doing)
        assert shelf.read(1, "copied/in/side.txt") == shelf.read(1, "unpacked/in/side.txt") == HELLO
        assert shelf.read(1, "table.csv") == b"a\n1\n2\n"
        shelf.do(1, lambda folder: Image.open(os.path.join(folder, "red.png")).load())
        shelf.do(1, lambda folder: zipfile.ZipFile(os.path.join(folder, "all.zip")).close())


def test_a_subprocess_writes_what_is_tracked() -> None:
    """Python sees nothing of it; `track` says so, before or after."""

    def run(folder: str) -> None:
        path = os.path.join(folder, "by/another.txt")
        os.makedirs(os.path.dirname(path))
        subprocess.run([sys.executable, "-c", f"open({path!r}, 'w').write('hello')"], check=True)

    with Shelf(2) as shelf:
        shelf.do(0, run)
        assert shelf.store.keys() == []
        shelf.do(0, lambda folder: shelf.handoff(0).track(os.path.join(folder, "by")))
        assert shelf.read(1, "by/another.txt") == b"hello"


def test_a_library_in_c_changes_what_was_brought() -> None:
    """Nobody sees the write; the file that was read is not what it was."""
    with Shelf(2) as shelf:
        shelf.do(0, write("a.txt", b"first"))

        def doing(folder: str) -> None:
            path = os.path.join(folder, "a.txt")
            assert read(path) == b"first"
            subprocess.run(["/bin/sh", "-c", f"echo changed > {path}"], check=True)

        shelf.do(1, doing)
        assert shelf.read(0, "a.txt") == b"changed\n"


def test_dir_fd_is_told_by_rename_and_remove() -> None:
    """Of what `os.open` opens in an open folder Python tells no hook: it is left alone."""

    def doing(folder: str) -> None:
        write("old.txt", HELLO)(folder)
        fd = os.open(folder, os.O_RDONLY)
        os.rename("old.txt", "new.txt", src_dir_fd=fd, dst_dir_fd=fd)
        os.close(os.open("unseen.txt", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
        os.close(fd)

    with Shelf(2) as shelf:
        shelf.do(0, doing)
        assert shelf.store.keys() == ["files/new.txt"]
        shelf.do(0, lambda folder: shelf.handoff(0).track(folder + "/unseen.txt"))
        assert shelf.store.keys() == ["files/new.txt", "files/unseen.txt"]


def test_a_folder_is_named_anew() -> None:
    """With what this server has of it, and with what only the store has."""
    with Shelf(3) as shelf:
        shelf.do(0, steps(lambda f: os.makedirs(f + "/old"), write("old/a.txt", b"a")))
        shelf.do(1, steps(lambda f: os.makedirs(f + "/old"), write("old/b.txt", b"b")))
        shelf.do(1, lambda folder: os.rename(folder + "/old", folder + "/new"))
        assert shelf.store.keys() == ["files/new/a.txt", "files/new/b.txt"]
        assert shelf.read(2, "new/a.txt") + shelf.read(2, "new/b.txt") == b"ab"


def test_a_thread_that_outlives_its_request() -> None:
    """What it writes later is mirrored when it has closed the file, by nobody's request."""
    wrote, go_on = threading.Event(), threading.Event()

    def slowly(folder: str) -> None:
        with open(os.path.join(folder, "a.txt"), "wb", buffering=0) as file:
            file.write(b"half ")
            wrote.set()
            go_on.wait(20)
            file.write(b"and half")

    with Shelf(2) as shelf:
        run = threading.Thread(target=slowly, args=[shelf.folder(0)])
        run.start()
        wrote.wait(20)
        shelf.do(0, write("b.txt", b"another request"))
        assert shelf.store.keys() == ["files/b.txt"]
        go_on.set()
        run.join()
        wait_for_key(shelf, "files/a.txt")
        assert shelf.store.bytes_of("files/a.txt") == b"half and half"


def test_a_script_flushes_before_it_ends() -> None:
    """Outside of any request, as in a task of Celery."""
    with Shelf(2) as shelf:
        write("a.txt", HELLO)(shelf.folder(0))
        shelf.handoff(0).flush()
        assert shelf.read(1, "a.txt") == HELLO


def test_tar_with_links_is_unpacked_and_stays_inside(tmp_path: Path) -> None:
    """A link in somebody's archive is neither followed nor mirrored (T22)."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
        plain = tarfile.TarInfo("plain.txt")
        plain.size = 5
        archive.addfile(plain, io.BytesIO(b"plain"))
    packed.seek(0)

    def doing(folder: str) -> None:
        with tarfile.open(fileobj=packed) as archive:
            archive.extractall(folder, filter="fully_trusted")  # noqa: S202 - what an app must not do
        assert read(os.path.join(folder, "link.txt")) == b"secret"
        write("link.txt", b"overwritten", "ab")(folder)

    with Shelf(2) as shelf:
        shelf.do(0, doing)
        assert shelf.store.keys() == ["files/plain.txt"]
        assert not shelf.has(1, "link.txt")


def test_apps_without_folders_are_not_watched() -> None:
    """No hook, no wrapper; tried in a process of its own, because a hook stays."""
    program = (
        "import os, sys; hooks = []; sys.addaudithook(lambda e, a: hooks.append(e) if e == 'sys.addaudithook' else None)\n"
        "from flask import Flask; from flask_s3handoff import S3Handoff; app = Flask('x')\n"
        "app.config.update(S3HANDOFF_STORE='memory', S3HANDOFF_PLACES={'users/': {}}); S3Handoff(app)\n"
        "assert hooks == [], hooks; assert type(os.stat).__name__ == 'builtin_function_or_method'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_apps_own_stat_comes_back() -> None:
    """With the last app that has a folder, its wrapper goes."""
    with Shelf(2) as shelf:
        assert hasattr(os.stat, "__wrapped__")
        assert isinstance(shelf.apps[0], Flask)
    shelf.apps.clear()
    shelf.fleet.copies.clear()
    import gc

    gc.collect()
    assert not hasattr(os.stat, "__wrapped__")
