"""F15, F16, F35–F37: the local disk is full, refuses, is swept or is shared; nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request

from flask_s3handoff import S3Handoff
from flask_s3handoff.mirror import Pending
from flask_s3handoff.testing import Fleet
from tests.apps.failing import create_app
from tests.browser_like import Browser, Page, Upload
from tests.carry.test_carry import ADA, LEO, line_of, shown
from tests.faults.flow import BIG, WIDTH, add, crop, fleet_over, good, save, saved, staged, store_of
from tests.scripted import Answer
from tests.servers.strict import StrictS3
from tests.small_apps import apps_of, fleet_of, form, page, settled
from tests.unit.test_workdir import small_disk

SECRET = "a secret that is long enough"
LARGE = Upload("large.bin", BIG.data[: 3 << 20])


def on_disks(fleet: Fleet) -> list[str]:
    """Return every file in the work folders but local copies."""
    return [
        str(path)
        for copy in fleet.copies
        for path in Path(copy.disk).rglob("*")
        if path.is_file() and not path.relative_to(copy.disk).parts[1].isdecimal()
    ]


def is_refused(page: Page) -> bool:
    """Tell whether it is a 503 that says when to come back, names no folder and carries nothing."""
    told = page.status == 503 and int(page.headers["Retry-After"]) > 0
    return told and "s3handoff-fleet" not in page.text and "_s3handoff" not in page.text


def test_f15_a_full_disk_takes_no_upload_and_loses_none(s3: StrictS3) -> None:
    """503; smaller files and other pages go on; with room again the same form works."""
    with fleet_over(s3) as fleet:
        browser = Browser(fleet)
        shown = good(browser.post("/show", [("avatar", LEO)]))
        values: list[tuple[str, str | Upload]] = [("avatar", LARGE)]
        with small_disk(1 << 20):
            assert is_refused(browser.post("/show", values))
            assert good(browser.open("/hello")).text == "hello"
            assert line_of(LEO) in good(browser.submit(shown, "/show")).text
        settled(fleet)
        assert (on_disks(fleet), staged(s3), s3.unfinished()) == ([], [LEO.data], [])
        assert line_of(LARGE) in good(browser.post("/show", values)).text


def test_f15_a_disk_that_fills_up_behind_the_first_parts(s3: StrictS3) -> None:
    """Parts are in S3 already: they are dropped with the rest."""
    with fleet_over(s3) as fleet:
        with small_disk(10 << 20):
            assert Browser(fleet).post("/add", [("avatar", BIG)]).status == 503
        settled(fleet)
        assert s3.count("BEGIN") == s3.count("ABORT")
        assert (on_disks(fleet), staged(s3), s3.unfinished()) == ([], [], [])


def test_f15_a_full_disk_cannot_take_a_file_back_or_edit_it(s3: StrictS3) -> None:
    """503 on the server without room, the token stays good; no half copy is ever found."""
    with fleet_over(s3) as fleet:
        browser = Browser(fleet)
        shown = good(browser.post("/show", [("avatar", LARGE)]))
        with small_disk(1 << 20):
            for _ in range(3):  # on each server: fetched, fetched, and copied for an edit
                assert browser.submit(shown, "/crop").status == 503
        assert on_disks(fleet) == []
        for _ in range(3):
            assert line_of(LARGE) in good(browser.submit(shown, "/show")).text


@contextlib.contextmanager
def few_descriptors() -> Iterator[None]:
    """Let nobody open anything more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as highest:
        most = highest.fileno()
    with contextlib.suppress(OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_f16_without_descriptors_an_upload_is_503(s3: StrictS3) -> None:
    """And a moment later all is well: the file that was carried is as it was."""
    with fleet_over(s3) as fleet:
        browser = Browser(apps_of(fleet)[0])
        shown = good(browser.post("/show", [("avatar", LEO)]))
        values: list[tuple[str, str | Upload]] = [("avatar", ADA)]
        assert shown.form().token  # the browser's own modules are open by now
        with few_descriptors():
            refused = browser.post("/show", values)
            hello = browser.open("/hello")
            again = browser.submit(shown, "/show")
        assert is_refused(refused)
        assert good(hello).text == "hello"
        assert again.status == 503
        assert line_of(LEO) in good(browser.submit(shown, "/show")).text
        assert line_of(ADA) in good(browser.post("/show", values)).text


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO, errno.ENOSPC])
def test_f16_a_work_folder_that_refuses_is_503(
    s3: StrictS3, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it says; the app still serves its other pages."""
    with fleet_over(s3) as fleet:
        browser = Browser(fleet)
        good(browser.post("/show", [("avatar", LEO)]))
        home = os.path.dirname(fleet.copies[0].disk)
        whole = os.open

        def refusing(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            if str(path).startswith(home) and flags & (os.O_WRONLY | os.O_RDWR):
                raise OSError(number, os.strerror(number), path)
            return whole(path, flags, *rest, **options)

        monkeypatch.setattr(os, "open", refusing)
        values: list[tuple[str, str | Upload]] = [("avatar", ADA)]
        assert is_refused(browser.post("/show", values))
        assert good(browser.open("/hello")).text == "hello"
        monkeypatch.undo()
        assert line_of(ADA) in good(browser.post("/show", values)).text


def test_f35_a_file_that_is_swept_before_the_store_has_it(
    s3: StrictS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fresh, gone from the disk, and its PUT still under way: it is waited for, then fetched."""
    awaited, wait = threading.Event(), Pending.wait

    def holds(_: object, proceed: Callable[[], Answer]) -> Answer:
        awaited.wait(10)
        return proceed()

    def waits(pending: Pending, until: float) -> None:
        awaited.set()
        wait(pending, until)

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/")
        def view() -> str:
            assert request.files["avatar"]
            shutil.rmtree(app.config["S3HANDOFF_WORK_DIR"])
            return page(shown(), form("/"))

    monkeypatch.setattr(Pending, "wait", waits)
    s3.fail("PUT", holds)
    with fleet_of(build, store=store_of(s3)) as fleet:
        assert line_of(LEO) in good(Browser(fleet).post("/", [("avatar", LEO)])).text


def test_f35_a_cleaner_that_runs_all_the_time(s3: StrictS3) -> None:
    """Folders and files vanish at random under many flows: nobody notices."""
    with fleet_over(s3, deadline=10.0) as fleet:
        over = threading.Event()

        def clean() -> None:
            while not over.wait(0.05):
                for copy in fleet.copies:
                    shutil.rmtree(os.path.join(copy.disk, "work"), ignore_errors=True)

        cleaner = threading.Thread(target=clean)
        cleaner.start()
        try:
            with ThreadPoolExecutor(4) as people:
                list(people.map(show_again(fleet), range(12)))
        finally:
            over.set()
            cleaner.join()


def show_again(fleet: Fleet) -> Callable[[int], None]:
    """Upload and look, on one server after the other."""

    def flow(_: int) -> None:
        browser = Browser(fleet)
        shown = good(browser.post("/show", [("avatar", LEO)]))
        for _ in range(3):
            shown = good(browser.submit(shown, "/show"))
            assert line_of(LEO) in shown.text

    return flow


def test_f36_two_servers_on_one_shared_folder_without_locks(
    s3: StrictS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS: no ``flock``, files that are renamed instead of removed; the bytes are right."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    config = {"SECRET_KEY": SECRET, "S3HANDOFF_WORK_DIR": str(tmp_path / "shared")}
    store = store_of(s3)
    one, two = create_app(config, store), create_app(config, store)
    browser = Browser(one)
    page = add(browser)
    for copy in (tmp_path / "shared").glob("2*/*/*"):
        copy.rename(copy.with_name(".nfs0000000000000001"))
    browser.app = two
    pages = browser.together(*[lambda line: crop(line, page)] * 4)
    for number, cropped in enumerate(pages):
        save(browser, cropped, f"leo{number}")
        assert saved(s3, f"leo{number}") == LEO.data[:WIDTH]


def test_f37_a_read_only_root_has_a_stand_in(
    s3: StrictS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No work folder is named and the instance folder cannot be made: all three steps work."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    whole, made = os.mkdir, []

    def refusing(path: Any, *rest: Any, **options: Any) -> None:
        if not str(path).startswith(str(tmp_path)):
            made.append(path)
            raise OSError(errno.EROFS, "Read-only file system", path)
        whole(path, *rest, **options)

    monkeypatch.setattr(os, "mkdir", refusing)
    app = create_app({"SECRET_KEY": SECRET}, store_of(s3))
    browser = Browser(app)
    save(browser, crop(browser, add(browser)))
    assert saved(s3) == LEO.data[:WIDTH]
    assert made
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(f"s3handoff-{os.geteuid()}-")]
