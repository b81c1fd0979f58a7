"""Apps that keep paths, on three servers with separate disks: configuration is all that changes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from werkzeug.test import Client, TestResponse

from flask_s3handoff.testing import Fleet
from tests.browser_like import Browser, Upload
from tests.folders import django_media
from tests.folders.album import SIZES, create_app, picture
from tests.folders.others import bare, of_bottle, people, photos, profile
from tests.servers import S3Server, bucket
from tests.small_apps import memory


def sizes_of(client: Client, names: list[str]) -> list[tuple[int, int]]:
    """Fetch the pictures that the app made, each from another server."""
    answers = [client.get(f"/uploads/{name}") for name in names]
    assert [answer.status_code for answer in answers] == [200] * len(names)
    return [Image.open(io.BytesIO(answer.data)).size for answer in answers]


def names(answer: TestResponse) -> list[str]:
    """Return the names that the app has kept."""
    said: dict[str, list[str]] = json.loads(answer.data)
    return said["names"]


def walk_through(fleet: Fleet) -> list[tuple[int, int]]:
    """Upload, look, crop, look again; the server that got the upload dies at once."""
    client = fleet.client()
    red = picture("red")
    gone_on = client.post("/upload", data={"avatar": (io.BytesIO(red), "me.png")})
    fleet.kill()
    page = client.get(gone_on.location).text
    assert client.get(page.split('"')[1]).data == red
    done = client.post("/crop")
    return sizes_of(client, names(client.get(done.location)))


@pytest.mark.parametrize("options", [{}, {"immutable": True}])
@pytest.mark.parametrize("paths", [["/"], []])
def test_an_app_with_the_name_in_the_session(options: dict[str, Any], paths: list[str]) -> None:
    """Three processes, adversarial routing, the uploading server killed."""
    config = {"FOLDER_OPTIONS": options, "S3HANDOFF_PATHS": paths}
    with Fleet(create_app, 4, routing="adversarial", processes=True, config=config) as fleet:
        assert walk_through(fleet) == [(size, size) for size in SIZES]


def test_without_the_configuration_the_same_app_fails() -> None:
    """What the test before this one proves."""
    config = {"WITH_HANDOFF": False}
    with (
        Fleet(create_app, 4, routing="adversarial", processes=True, config=config) as fleet,
        pytest.raises(AssertionError),
    ):
        walk_through(fleet)


def test_tokens_name_the_files_where_names_alone_are_not_asked_for() -> None:
    """Without ``read_through`` the store is asked for what this browser's tokens name, and no more."""
    config = {"FOLDER_OPTIONS": {"read_through": False, "immutable": True}}
    with Fleet(create_app, 3, routing="round-robin", config=config) as fleet:
        browser = Browser(fleet)
        red = picture("red")
        page = browser.post("/upload", [("avatar", Upload("me.png", red, "image/png"))])
        assert [bool(form.tokens) for form in page.forms] == [True]
        done = browser.submit(page)
        assert done.status == 200, done.text
        stranger = fleet.client()
        stored = [key for key, _ in kept(fleet)]
        assert stranger.get(f"/uploads/{stored[0].partition('/')[2]}").status_code == 404


def served(fleet: Fleet, client: Client, url: str) -> bytes:
    """Fetch a URL from as many copies as are alive."""
    first, *others = [client.get(url).data for copy in fleet.copies if copy.alive]
    assert others == [first] * len(others)
    return bytes(first)


def file(data: bytes, name: str = "me.png") -> dict[str, tuple[io.BytesIO, str]]:
    """Return what a form has, whatever the field is called."""
    return {field: (io.BytesIO(data), name) for field in ("picture", "avatar", "photo", "file")}


def test_an_app_with_the_name_in_a_database_a_day_later(tmp_path: Path) -> None:
    """Another browser, no token: the name is all that there is."""
    config = {"DATABASE": str(tmp_path / "people.db")}
    with Fleet(people, 3, routing="adversarial", processes=True, config=config) as fleet:
        person = fleet.client().post("/people", data=file(b"first")).text
        fleet.kill()
        assert served(fleet, fleet.client(), f"/people/{person}/picture") == b"first"


def test_an_app_that_overwrites_one_name_twice_with_back() -> None:
    """Whoever looks sees what was written last; the older page is sent again, and wins."""
    with Fleet(profile, 3, routing="adversarial", processes=True) as fleet:
        client = fleet.client()
        for data in (b"first", b"second, longer", b"first"):  # Back, and the first again
            client.post("/avatar", data=file(data))
            assert served(fleet, client, "/avatar") == data
        fleet.kill()
        assert served(fleet, client, "/avatar") == b"first"


def test_an_app_that_finds_a_free_name_by_counting_up() -> None:
    """Two people, two servers, one name: two files, each its own bytes."""
    with Fleet(photos, 3, routing="adversarial", processes=True) as fleet:
        alice, bob = fleet.client(), fleet.client()
        of_alice = alice.post("/photos", data=file(b"Alice", "IMG_1.jpg")).text
        of_bob = bob.post("/photos", data=file(b"Bob", "IMG_1.jpg")).text
        assert (of_alice, of_bob) == ("IMG_1.jpg", "IMG_1-1.jpg")
        assert served(fleet, bob, f"/photos/{of_alice}") == b"Alice"
        assert served(fleet, alice, f"/photos/{of_bob}") == b"Bob"
        assert alice.get("/photos/IMG_2.jpg").status_code == 404


@pytest.mark.parametrize(
    "app", [bare, of_bottle, django_media.create_app], ids=["bare", "bottle", "django"]
)
def test_an_app_of_another_framework(app: Any) -> None:
    """Wrapped, and no other line changed: saved, appended to, read, each on another server."""
    with Fleet(app, 3, routing="adversarial", processes=True) as fleet:
        client = fleet.client()
        shown = client.post("/", data={"file": file(b"hello")["file"]}, follow_redirects=True)
        assert shown.data == b"hello"
        client.post("/", data={"more": "yes"})
        fleet.kill()
        url = "/show" if shown.request.path == "/show" else "/"
        assert served(fleet, client, url) == b"hello!"


def test_the_store_is_a_real_s3(weed: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conditional requests, etags and all, over the wire."""
    for name, value in weed.env.items():
        monkeypatch.setenv(name, value)
    config = {
        "S3HANDOFF_BUCKET": bucket(weed),
        "S3HANDOFF_ENDPOINT_URL": weed.url,
        "S3HANDOFF_REGION": weed.region,
        "S3HANDOFF_STORE": "s3",
    }
    with Fleet(photos, 3, routing="adversarial", processes=True, config=config) as fleet:
        client = fleet.client()
        names = [client.post("/photos", data=file(b"%d" % n, "a.jpg")).text for n in range(3)]
        assert names == ["a.jpg", "a-1.jpg", "a-2.jpg"]
        fleet.kill()
        assert [served(fleet, client, f"/photos/{name}") for name in names] == [b"0", b"1", b"2"]


def kept(fleet: Fleet) -> list[tuple[str, int]]:
    """Return what the store has in the folder's place."""
    return [(entry.key, entry.size) for entry in memory(fleet).list("avatars/")]
