"""A Fleet of real processes: the main job, real deaths, and disks that nobody else may use."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from werkzeug.test import Client, TestResponse

from flask_s3handoff.dirstore import DirStore
from flask_s3handoff.testing import Fleet, ForeignDisk
from tests.apps import avatar, cheating
from tests.real.browser import bytes_of, cropped, forms_of, picture
from tests.servers import ROOT, S3Server, bucket, wait_until

BOX = (3, 4, 40, 30)
SIDES = dict(zip(("left", "top", "right", "bottom"), BOX, strict=True))
ROUTINGS = ("round-robin", "random", "adversarial")

ORPHANS = """
import json, os, signal
from flask_s3handoff.testing import Fleet
from tests.apps import cheating

if __name__ == "__main__":
    fleet = Fleet(cheating.create_app, processes=True)
    print(json.dumps([copy.process.pid for copy in fleet.copies]), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module", params=ROUTINGS)
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Yield three processes by each routing, over a shared folder."""
    with Fleet(avatar.create_app, routing=request.param, processes=True) as fleet:
        yield fleet


def add(person: Client) -> TestResponse:
    """Step 1."""
    return person.post("/add", data={"avatar": (BytesIO(bytes_of(picture())), "leo.png")})


def submit(person: Client, page: TestResponse, **values: int) -> TestResponse:
    """Send the form of a page."""
    assert page.status_code == 200, page.text
    (form,) = forms_of(page.text)
    return person.post(form.action, data={**dict(form.values), **values})


def is_saved(content: bytes) -> bool:
    """Compare with the crop of the picture, made here, by no server."""
    wanted = cropped(picture(), BOX)
    return hashlib.sha256(content).digest() == hashlib.sha256(wanted).digest()


def stored(fleet: Fleet, key: str) -> bytes:
    """Return what the fleet's folder has under a key."""
    with DirStore(str(fleet.store).removeprefix("dir:")).open(key) as opened:
        return opened.read()


def test_each_step_in_another_process(fleet: Fleet) -> None:
    """Three processes, three disks, one file."""
    person = fleet.client()
    pages = [add(person)]
    pages.append(submit(person, pages[-1], **SIDES))
    pages.append(submit(person, pages[-1]))

    assert is_saved(stored(fleet, pages[-1].text))
    assert all(a.headers["X-Pid"] != b.headers["X-Pid"] for a, b in itertools.pairwise(pages))
    assert len({copy.disk for copy in fleet.copies}) == len(fleet.copies)


def test_rule_1_a_copy_that_is_killed_takes_nothing_with_it(
    weed: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over S3: ``kill -9`` right after the upload's answer, and again after the crop's."""
    for name, value in weed.env.items():
        monkeypatch.setenv(name, value)
    config = {
        "S3HANDOFF_BUCKET": bucket(weed),
        "S3HANDOFF_ENDPOINT_URL": weed.url,
        "S3HANDOFF_REGION": weed.region,
    }
    with Fleet(avatar.create_app, processes=True, config=config) as fleet:
        person = fleet.client()
        page = add(person)
        fleet.kill()
        page = submit(person, page, **SIDES)
        victim = fleet.kill()
        page = submit(person, page)
        assert victim.process is None
        content = weed.client.get_object(Bucket=config["S3HANDOFF_BUCKET"], Key=page.text)
        assert is_saved(content["Body"].read())


@pytest.fixture(scope="module")
def cheats() -> Iterator[Fleet]:
    """Yield two processes of an app that looks for its file on every disk."""
    with Fleet(cheating.create_app, 2, processes=True) as fleet:
        assert fleet.client().post("/keep", data=b"mine").text == "mine"
        yield fleet


@pytest.mark.parametrize("way", ["open", "open?hidden", "list", "database", "thread"])
def test_a_foreign_disk_is_out_of_bounds(cheats: Fleet, way: str) -> None:
    """Also for the app's own threads, and if the app hides the error."""
    person = cheats.client()
    if cheats.last is cheats.copies[1]:
        person.get("/pid")
    with pytest.raises(ForeignDisk, match=r"copy-1 used .*copy-0"):
        person.get(f"/find/{way}")


def test_an_app_that_does_not_start_is_said_so(capfd: pytest.CaptureFixture[str]) -> None:
    """At once, with the traceback of the copy above."""
    with pytest.raises(RuntimeError, match="ended before it could answer"):
        Fleet(cheating.create_app, processes=True, config={"FAILS": True})
    assert "this app does not start" in capfd.readouterr().err


def test_copies_end_with_the_process_that_made_them(tmp_path: Path) -> None:
    """Even if that was killed, and could not stop them."""
    (tmp_path / "orphans.py").write_text(ORPHANS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, tmp_path / "orphans.py"], check=False, capture_output=True, env=environment
    )
    for pid in json.loads(made.stdout):
        wait_until(partial(_has_ended, pid), what=f"the end of process {pid}")


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
