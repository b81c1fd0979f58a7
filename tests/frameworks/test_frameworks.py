"""Three steps in Django, in Bottle and in no framework: wrapped, each works on three servers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from flask_s3handoff.dirstore import DirStore
from flask_s3handoff.testing import Fleet, MemoryStore
from tests.browser_like import Browser, Page, Upload

from . import bare_app, bottle_app, django_app

APPS = {"bare": bare_app, "bottle": bottle_app, "django": django_app}
LEO = Upload("Léo 1.png", b"\x89PNG\r\n\x1a\n the picture of Leo" * 2000, "image/png")


@pytest.fixture(params=APPS)
def app(request: pytest.FixtureRequest) -> ModuleType:
    """Each framework's app."""
    return APPS[request.param]


@pytest.fixture(params=["round-robin", "adversarial"])
def fleet(app: ModuleType, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Three copies of it in one process."""
    with Fleet(app.create_app, routing=request.param) as made:
        yield made


def title_missing(browser: Browser) -> Page:
    """Go through step 1, and forget the title."""
    return browser.submit(browser.open("/"), avatar=LEO)


def three_steps(browser: Browser) -> Page:
    """Choose a picture, forget its title, mend that, crop, save."""
    again = title_missing(browser)
    assert again.status == 422
    crop = browser.submit(again, title="Leo")  # the file input is empty now
    assert (crop.status, LEO.filename in crop.text) == (200, True), crop.text
    saving = browser.submit(crop, width="1234")
    assert LEO.filename in saving.text
    return browser.submit(saving)


def test_a_file_goes_through_three_steps(fleet: Fleet) -> None:
    """Each on another server: redisplay after a mistake, a redirect, a urlencoded form, an edit."""
    saved = three_steps(Browser(fleet))

    assert saved.text == f"users/654/avatar.png {LEO.filename} image/png 1234"
    assert isinstance(fleet.store, MemoryStore)
    assert fleet.store.bytes_of("users/654/avatar.png") == LEO.data[:1234]
    assert all(copy.answered for copy in fleet.copies)


def test_without_a_file_the_apps_own_error_is_shown(fleet: Fleet) -> None:
    """A wrapped app still knows what was not chosen."""
    browser = Browser(fleet)
    page = browser.post("/add" if "/add" in browser.open("/").text else "/", csrf(browser, "/"))

    assert page.status in (400, 422)
    assert not page.tokens


def csrf(browser: Browser, url: str) -> list[tuple[str, str | Upload]]:
    """Return an empty form of this page, with Django's token if it has one."""
    controls = browser.open(url).form().controls
    return [(c.name, c.value) for c in controls if c.name == "csrfmiddlewaretoken"] + [
        ("title", "Leo"),
        ("avatar", Upload("", b"")),
    ]


def test_a_logout_of_the_browser_is_not_ours(fleet: Fleet) -> None:
    """A stranger with the same page has no cookie: 403, and the app does not run."""
    again = title_missing(Browser(fleet))
    stranger = Browser(fleet)
    stranger.open("/")

    assert stranger.submit(again, title="Leo").status == 403


def test_three_real_processes(app: ModuleType, tmp_path: Path) -> None:
    """Separate disks; the server that took the upload is killed (-9) after it answered."""
    store = tmp_path / "store"
    with Fleet(
        app.create_app, processes=True, routing="adversarial", store=f"dir:{store}"
    ) as fleet:
        browser = Browser(fleet)
        again = title_missing(browser)
        fleet.kill()
        crop = browser.submit(again, title="Leo")
        saved = browser.submit(browser.submit(crop, width="1234"))
        assert saved.text == f"users/654/avatar.png {LEO.filename} image/png 1234"
        with DirStore(str(store)).open("users/654/avatar.png") as stored:
            digest = hashlib.sha256(stored.read(10_000)).hexdigest()
    assert digest == hashlib.sha256(LEO.data[:1234]).hexdigest()


def test_unwrapped_the_same_app_loses_the_file(app: ModuleType) -> None:
    """What the tests above show is ours: switched off, step 1 shown again has forgotten the file."""
    with Fleet(app.create_app, config={"S3HANDOFF_ENABLED": False}) as fleet:
        browser = Browser(fleet)
        again = title_missing(browser)
        assert not again.tokens
        assert "data-s3handoff" not in again.text
