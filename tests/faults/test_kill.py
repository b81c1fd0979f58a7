"""F17–F22: servers are killed at every step of upload, write-back and promotion, and asked to end."""

from __future__ import annotations

import contextlib
import functools
import http.client
import multiprocessing
import secrets
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.datastructures import Headers

from flask_s3handoff.store import AWS
from flask_s3handoff.workdir import WorkDir
from tests.apps import failing
from tests.apps.failing import Step, chosen, create_app
from tests.browser_like import Browser, Page, Upload
from tests.carry.test_carry import LEO
from tests.faults.flow import BIG, WIDTH, add, crop, good, save, saved, staged, store_of
from tests.servers.strict import REGION, StrictS3

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.apps.failing"])
SECONDS = 60
ATTEMPTS = 3  # a step that depends on how threads meet may be absent from a run


class Broken(Exception):
    """What a browser says when a server breaks off."""


class Remote:
    """A server of another process, as a WSGI app: a request that breaks off is ``Broken``."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on."""
        size = int(environ.get("CONTENT_LENGTH") or 0)
        headers = {
            "Cookie": environ.get("HTTP_COOKIE", ""),
            "Content-Type": environ.get("CONTENT_TYPE", ""),
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        with contextlib.closing(connection):
            try:
                body = environ["wsgi.input"].read(size)
                connection.request(environ["REQUEST_METHOD"], environ["PATH_INFO"], body, headers)
                answer = connection.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise Broken from error
        start_response(f"{answer.status} {answer.reason}", list(Headers(answer.getheaders())))
        return [data]


class Line:
    """Where a browser's requests go at the moment."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Ask whoever it is now."""
        return self.app(environ, start_response)


class Ground:
    """Servers that share a secret and a strict S3, each with a disk of its own."""

    def __init__(self, s3: StrictS3, folder: Path) -> None:
        self.s3 = s3
        self._folder = folder
        self._shared = {"SECRET_KEY": secrets.token_hex(16), "S3HANDOFF_DEADLINE": 10}
        self._store = store_of(s3, deadline_seconds=10.0)
        self.other = self.healthy(folder / "other")

    def healthy(self, disk: Path) -> WSGIApplication:
        """Return a server that lives."""
        config = {**self._shared, "S3HANDOFF_WORK_DIR": str(disk)}
        return create_app(config, self._store)

    def ask_victim(
        self, disk: Path, death: Step | None, ask: Callable[[WSGIApplication], Page]
    ) -> tuple[Page | None, list[Step] | None]:
        """Ask a server that dies at a step; return its page, if any, and its steps if it lived."""
        who = self.s3.server
        store = {
            "bucket": "staging", "region": REGION, "endpoint_url": who.url, "capabilities": AWS,
            "aws_access_key_id": who.access_key, "aws_secret_access_key": who.secret_key,
            "deadline_seconds": 10.0,
        }  # fmt: skip
        config = {**self._shared, "S3HANDOFF_WORK_DIR": str(disk)}
        ours, theirs = CONTEXT.Pipe(duplex=False)
        victim = CONTEXT.Process(
            target=failing.serve_one, args=(config, store, death, theirs), daemon=True
        )
        with contextlib.closing(ours):
            with contextlib.closing(theirs):
                victim.start()
            page = None
            with contextlib.suppress(Broken):
                page = ask(Remote(_received(ours)))
            seen = _end_of(ours)
        victim.join(SECONDS)
        assert victim.exitcode == (-9 if seen is None else 0)
        return page, seen


def _received(pipe: Connection) -> Any:
    assert pipe.poll(SECONDS), "the server says nothing"
    return pipe.recv()


def _end_of(pipe: Connection) -> list[Step] | None:
    """Return the steps of a server that has come to its end, or nothing if it was killed."""
    try:
        steps: list[Step] = _received(pipe)
    except EOFError:
        return None
    return steps


@pytest.fixture
def ground(s3: StrictS3, tmp_path: Path) -> Ground:
    """Servers over a strict S3."""
    return Ground(s3, tmp_path)


# --- killed at every step -----------------------------------------------------------------------------


MIDDLE = Upload("middle.bin", BIG.data[: 6 << 20])  # large enough for a part and a rest


class Story:
    """What a person does: until the request that is cut off, that request, and what follows."""

    def __init__(self, upload: Upload, name: str, browser: Browser) -> None:
        self.upload = upload
        self.name = name
        self.browser = browser
        self.page = self.before()

    def before(self) -> Page:
        """Come to the page whose form is sent to the victim."""
        return good(self.browser.open("/"))

    def act(self) -> Page:
        """Send it."""
        return self.browser.submit(self.page, avatar=self.upload)

    def again(self) -> Page:
        """Send it once more, to another server; return the page to save from."""
        return crop(self.browser, good(self.act()))


class Writing(Story):
    """The edit of an uploaded file is cut off."""

    def before(self) -> Page:
        """Upload."""
        return add(self.browser, self.upload)

    def act(self) -> Page:
        """Crop."""
        return self.browser.submit(self.page, width=str(WIDTH))

    def again(self) -> Page:
        """The page before the edit has its own revision, whole; and the edit can be made again."""
        values = [("_s3handoff", self.page.form().token), ("name", f"{self.name}-before")]
        good(self.browser.post("/save", values))
        return good(self.act())


class Saving(Writing):
    """The promotion of an edited file is cut off."""

    def before(self) -> Page:
        """Upload and crop."""
        return crop(self.browser, add(self.browser, self.upload))

    def act(self) -> Page:
        """Save."""
        return self.browser.submit(self.page, "/save", name=self.name)

    def again(self) -> Page:
        """As a double click does; and the same page still works afterwards."""
        good(self.act())
        return self.page


class Kill:
    """One death, and everything that must hold after it."""

    def __init__(
        self,
        ground: Ground,
        disk: Path,
        death: Step | None,
        tell: Callable[[Browser], Story],
    ) -> None:
        self.s3, self.disk = ground.s3, disk
        line = Line(ground.other)
        self.story = story = tell(Browser(line))

        def ask(server: WSGIApplication) -> Page:
            line.app = server
            return story.act()

        answer, self.seen = ground.ask_victim(disk, death, ask)
        if answer is not None:
            good(answer)
        self._nothing_partial()
        line.app = ground.other
        page = story.again()
        line.app = ground.healthy(disk)  # the victim, started again
        save(story.browser, page, story.name)
        assert saved(self.s3, story.name) == story.upload.data[:WIDTH]
        assert saved(self.s3, f"{story.name}-before") in (None, story.upload.data)
        self._nothing_left()

    def _whole(self, data: bytes) -> bool:
        return data in (self.story.upload.data, self.story.upload.data[:WIDTH])

    def _nothing_partial(self) -> None:
        """In S3 and on the victim's disk, what has a name is whole."""
        assert all(map(self._whole, staged(self.s3)))
        assert saved(self.s3, self.story.name) in (None, self.story.upload.data[:WIDTH])
        assert all(self._whole(path.read_bytes()) for path in self.disk.glob("2*/*/*"))
        assert self.s3.apply_lifecycle() <= 1

    def _nothing_left(self) -> None:
        """A sweep of the next morning takes what the death has left."""
        late = time.time() + 7 * 3600
        WorkDir(str(self.disk), max_bytes=1 << 30, max_age_seconds=86_400, now=lambda: late).evict()
        left = [p for kind in ("part", "edit", "lock") for p in (self.disk / kind).glob("*")]
        assert left == []


def killed_everywhere(ground: Ground, folder: Path, upload: Upload, story: type[Story]) -> set[str]:
    """Tell a good run first, then die before each of its steps, none skipped."""

    def kill(name: str, death: Step | None) -> list[Step] | None:
        tell = functools.partial(story, upload, name)
        return Kill(ground, folder / name, death, tell).seen

    steps = kill("good", None)
    assert steps
    done: set[Step] = set()
    left = chosen(steps)
    while left:
        step = left.pop(0)
        done.add(step)
        for attempt in range(ATTEMPTS):
            try:
                lived = kill(f"{len(done)}-{attempt}", step)
            except AssertionError as error:
                raise AssertionError(f"killed before {step}: {error}") from error
            if lived is None:
                break
            assert step not in lived, f"not killed before {step}"
        else:  # how threads meet is their choice: die at the steps of this other way instead
            left += [
                other for other in chosen(lived or []) if other not in done and other not in left
            ]
    return {step.label for step in steps}


@pytest.mark.leaves_parts
@pytest.mark.parametrize("upload", [LEO, MIDDLE], ids=["put", "parts"])
def test_f17_f18_killed_at_every_step_of_an_upload(
    ground: Ground, tmp_path: Path, upload: Upload
) -> None:
    """A broken page; the whole form is sent again and all goes on, nothing of the first is seen."""
    labels = killed_everywhere(ground, tmp_path, upload, Story)
    assert labels >= {"os.link day", "store sendall", "store recv_into", "request sendall"}


@pytest.mark.leaves_parts
def test_f20_killed_at_every_step_of_a_write_back(ground: Ground, tmp_path: Path) -> None:
    """Back, and the form once more; the revision from before the edit is as it was."""
    labels = killed_everywhere(ground, tmp_path, LEO, Writing)
    assert labels >= {"open edit", "open lock", "os.link day", "store sendall", "store recv_into"}


@pytest.mark.leaves_parts
def test_f21_killed_at_every_step_of_a_promotion(ground: Ground, tmp_path: Path) -> None:
    """The form once more gives the same answer, and there is one object."""
    labels = killed_everywhere(ground, tmp_path, LEO, Saving)
    assert labels >= {"store sendall", "store recv_into", "request sendall"}
