"""`make demo`: one command, three servers, one address; and nothing left of it afterwards."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests
from PIL import Image

from tests.conftest import need
from tests.real.browser import Browser, Page, picture
from tests.servers import ROOT, Process, free_ports, wait_until
from tests.servers.process import clean_env, listens

WITHOUT_WEED = """\
import sys
from example_app.demo import __main__, store
store.find_weed = lambda: "no-such-weed"
sys.exit(__main__.main())
"""


class Demo:
    """A demo in a process of its own, with a folder for everything it writes."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        temp = folder / "temp"
        temp.mkdir()
        self.process = Process(
            [sys.executable, *words],
            log=folder / "log",
            env=clean_env({"TMPDIR": str(temp), "PYTHONPATH": str(ROOT)}),
            cwd=ROOT,
        )
        self.process.wait_ready(lambda: "Ctrl-C" in self.text, seconds=60)

    @property
    def text(self) -> str:
        """What it has said."""
        return self.process.text()

    @property
    def urls(self) -> list[str]:
        """Every address that it has told: the store's, and the one to open."""
        return re.findall(r"http://127\.0\.0\.1:\d+", self.text)

    @property
    def server_pids(self) -> list[int]:
        """The servers' process ids, as told."""
        return [int(pid) for pid in re.findall(r"server \d  process (\d+)", self.text)]

    def person(self) -> Browser:
        """Somebody who opens the address."""
        return Browser(self.urls[-1])

    def interrupt(self, number: signal.Signals) -> None:
        """Press Ctrl-C, or let the system ask it to end; wait until it has."""
        os.kill(self.process.pid, number)
        wait_until(lambda: not self.process.running, what="the demo has ended")


@contextlib.contextmanager
def running(*words: str) -> Iterator[Demo]:
    """Run a demo; end it on every path."""
    with tempfile.TemporaryDirectory(prefix="s3h-demo-") as folder:
        demo = Demo(Path(folder), *words)
        try:
            yield demo
        finally:
            if demo.process.running:
                demo.interrupt(signal.SIGINT)


def a_demo(*words: str) -> contextlib.AbstractContextManager[Demo]:
    """Run the demo as `make demo` does, on a port of its own."""
    need("weed")
    need("gunicorn")
    return running("-m", "example_app.demo", "--port", str(free_ports(1)[0]), *words)


def server(page: Page) -> str:
    """The number of the server that gave a page, from its footer."""
    (label,) = re.findall(r"Answered by <span[^>]*>server (\d)", page.text)
    return str(label)


def walk(person: Browser) -> tuple[Page, list[str]]:
    """Upload, crop and save; return the gallery and who answered each step."""
    upload = person.submit(person.get("/"), [picture(size=(64, 48))])
    crop = person.submit(upload, x=3, y=4, width=30, height=20)
    saved = person.submit(crop, name="Leo")
    assert "It suits you, Leo." in saved.text
    told = re.findall(
        r"(?:POST|GET) <code>/avatar/\w*</code></td><td><span[^>]*>server (\d)", saved.text
    )
    return saved, told


def shown(page: Page) -> tuple[int, int]:
    """Fetch the first avatar of the gallery as a browser does, and return its size."""
    (src,) = re.findall(r'<img src="([^"]+)" alt="Avatar \d', page.text)
    url = urljoin(page.answer.url, src.replace("&amp;", "&"))
    answer = requests.get(url, timeout=10)
    with Image.open(io.BytesIO(answer.content)) as avatar:
        return avatar.size


def family(pid: int) -> set[int]:
    """A process and everything that it has started, by the system's table."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
    members = {pid}
    while more := {child for child, parent in parents.items() if parent in members} - members:
        members |= more
    return members


def is_there(pid: int) -> bool:
    """Is there such a process? (One that has ended and waits for its parent is not.)"""
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(errors="replace")
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_the_whole_flow_and_nothing_left_behind(number: signal.Signals) -> None:
    """Three servers answer, the avatar comes from S3, and the end leaves no process, port or file."""
    with a_demo() as demo:
        with demo.person() as person:
            gallery, servers = walk(person)
            assert set(servers) == {"1", "2", "3"}
            assert shown(gallery) == (30, 20)
        processes = family(demo.process.pid)
        assert len(processes) >= 1 + 1 + 3 * 2  # the demo, the store, three masters and workers
        demo.interrupt(number)
        assert "Stopped." in demo.text
        wait_until(lambda: not any(map(is_there, processes)), what="every process has ended")
        assert not any(listens(int(url.rpartition(":")[2])) for url in demo.urls)
        assert list((demo.folder / "temp").iterdir()) == []


def test_the_servers_share_nothing_but_the_store() -> None:
    """No two of them have a work folder or a temporary folder in common."""
    with a_demo() as demo:
        with demo.person() as person:
            walk(person)
        (home,) = (demo.folder / "temp").iterdir()
        for pid in demo.server_pids:
            env = Path(f"/proc/{pid}/environ").read_text().split("\0")
            own = {
                line.partition("=")[2]
                for line in env
                if line.startswith(("TMPDIR", "FLASK_S3HANDOFF_WORK"))
            }
            label = next(line for line in env if line.startswith("FLASK_LABEL="))[-2]
            assert len(own) == 2
            assert all(f"{home}/server-{label}/" in path for path in own)


def test_a_dead_server_is_passed_over() -> None:
    """One is killed, then another, in the middle of a flow: the third goes on alone."""
    with a_demo() as demo, demo.person() as person:
        upload = person.submit(person.get("/"), [picture(size=(64, 48))])
        for pid in demo.server_pids[:2]:
            os.killpg(pid, signal.SIGKILL)
        wait_until(lambda: "1 left" in demo.text, what="the demo says so")
        crop = person.submit(upload, x=0, y=0, width=20, height=20)
        saved = person.submit(crop, name="Leo")
        assert shown(saved) == (20, 20)
        assert server(saved) == "3"


def test_a_busy_port_is_passed_over_and_their_number_can_be_chosen() -> None:
    """Two demos on one machine do not meet; `--servers` is heard."""
    with a_demo("--servers", "2") as first:
        port = int(first.urls[-1].rpartition(":")[2])
        with running("-m", "example_app.demo", f"--port={port}", "--servers=2") as second:
            assert int(second.urls[-1].rpartition(":")[2]) > port
            assert len(second.server_pids) == 2
            with second.person() as person:
                walk(person)


def test_without_seaweedfs_moto_stands_in_and_says_so() -> None:
    """Where no wheel fits the demo still runs, and does not pretend that signatures are checked."""
    need("gunicorn")
    need("moto")
    with running("-c", WITHOUT_WEED, "--port", str(free_ports(1)[0])) as demo:
        assert "moto checks no signatures" in demo.text
        with demo.person() as person:
            gallery, _ = walk(person)
            assert shown(gallery) == (30, 20)
