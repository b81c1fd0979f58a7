"""Django's own limits, handlers and checks are in force for what comes back, as for what is uploaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path
from werkzeug.test import EnvironBuilder

from flask_s3handoff.testing import MemoryStore
from flask_s3handoff.wsgi import Handoff, HandoffMiddleware
from tests.browser_like import Browser, Page, Upload, encode

from . import django_app

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
LEO = Upload("leo.png", b"picture" * 100, "image/png")
Entries = list[tuple[str, str | Upload]]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser at the wrapped app, which has the token of its forms."""
    config = {
        "S3HANDOFF_STORE": MemoryStore(),
        "S3HANDOFF_WORK_DIR": str(tmp_path / "work"),
        "SECRET_KEY": "0123456789abcdef" * 2,
    }
    django_app.configure()
    settings = {"S3HANDOFF_PLACES": {"users/": {}}, **config}
    handoff = Handoff.from_mapping(settings)
    yield Browser(HandoffMiddleware(get_wsgi_application(), handoff))
    handoff.rooms.mirror.close()


def carry(browser: Browser, *files: Upload) -> tuple[str, str]:
    """Return Django's own token, and ours for these files: the form comes again, without a title."""
    first = browser.open("/")
    csrf = first.form().controls[0].value
    entries: Entries = [("csrfmiddlewaretoken", csrf)]
    entries += [("avatar", file) for file in files]
    again = browser.post("/", entries)
    assert again.status == 422
    return csrf, again.form().token


def sent(browser: Browser, entries: Entries, enctype: str = "multipart/form-data") -> Page:
    """Send these fields to the view that tells what arrived."""
    return browser.post("/fields", entries, enctype=enctype)


@pytest.mark.parametrize("enctype", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_a_text_over_the_memory_limit_is_djangos_error(browser: Browser, enctype: str) -> None:
    """DATA_UPLOAD_MAX_MEMORY_SIZE, hit with a file on its way and without: the same status."""
    csrf, token = carry(browser, LEO)
    long = ("text", "x" * (django_app.MAX_TEXT_BYTES + 1))
    for tokens in ([], [("_s3handoff", token)]):
        page = sent(browser, [("csrfmiddlewaretoken", csrf), *tokens, long], enctype)
        assert (page.status, "Bad Request" in page.text or "Too Large" in page.text) == (400, True)
    assert (
        sent(browser, [("csrfmiddlewaretoken", csrf), ("_s3handoff", token)], enctype).status == 200
    )


def test_a_file_counts_for_no_text(browser: Browser) -> None:
    """A file ten times the limit of texts comes back, as it was uploaded."""
    large = Upload("leo.png", b"x" * 10 * django_app.MAX_TEXT_BYTES, "image/png")
    csrf, token = carry(browser, large)
    page = sent(browser, [("_s3handoff", token), ("csrfmiddlewaretoken", csrf)])

    assert page.text == "csrfmiddlewaretoken\navatar: leo.png"


def test_our_field_counts_for_none(browser: Browser) -> None:
    """DATA_UPLOAD_MAX_NUMBER_FIELDS: a form that just fits still does; one more is Django's error."""
    csrf, token = carry(browser, LEO)
    fits: Entries = [(f"n{n}", "1") for n in range(django_app.MAX_FIELDS - 1)]
    ours: Entries = [("csrfmiddlewaretoken", csrf), ("_s3handoff", token)]

    assert sent(browser, [*ours, *fits]).status == 200
    assert sent(browser, [*ours, *fits, ("more", "1")]).status == 400


def test_too_many_files_are_djangos_error(browser: Browser) -> None:
    """DATA_UPLOAD_MAX_NUMBER_FILES counts what comes back with what is new."""
    csrf, token = carry(browser, LEO, LEO, LEO)
    ours: Entries = [("csrfmiddlewaretoken", csrf), ("_s3handoff", token)]

    assert sent(browser, ours).status == 200
    assert sent(browser, [*ours, ("other", LEO)]).status == 400


def test_the_apps_upload_handlers_see_it(browser: Browser) -> None:
    """They count what comes back, and stop what is too much for them."""
    csrf, token = carry(browser, LEO)
    django_app.handled.clear()
    sent(browser, [("csrfmiddlewaretoken", csrf), ("_s3handoff", token)])
    assert django_app.handled == ["leo.png"]

    huge = Upload("huge.png", b"x" * (django_app.QUOTA_BYTES + 1), "image/png")
    csrf, token = carry(browser, huge)
    page = sent(browser, [("csrfmiddlewaretoken", csrf), ("_s3handoff", token)])
    assert "huge.png" not in page.text


def test_the_csrf_check_still_holds(browser: Browser) -> None:
    """Our token is no ticket past it, whichever way the form comes."""
    _, token = carry(browser, LEO)
    for enctype in ("multipart/form-data", "application/x-www-form-urlencoded"):
        assert sent(browser, [("_s3handoff", token)], enctype).status == 403
        assert (
            sent(
                browser, [("csrfmiddlewaretoken", "x" * 64), ("_s3handoff", token)], enctype
            ).status
            == 403
        )


def test_a_broken_upload_is_said_before_django_takes_what_came_of_it(browser: Browser) -> None:
    """B4: a form with a file whose end is missing is a 400; Django would go on with wrong texts."""
    csrf = browser.open("/").form().controls[0].value
    entries: Entries = [("csrfmiddlewaretoken", csrf), ("avatar", LEO), ("title", "Leo")]
    body, content_type = encode(entries, "multipart/form-data")
    assert browser.send("POST", "/fields", body[:-10], content_type).status == 400

    built = EnvironBuilder("/", method="POST", data=body[:-10], content_type=content_type)
    with closing(WSGIRequest(built.get_environ())) as unwrapped:
        assert unwrapped.POST["title"].startswith("Leo\r\n--")


def test_the_readme_is_true_of_django(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its block, as it stands, around a real Django app."""
    django_app.configure()
    block = README.split("<!-- test: wsgi -->")[1].split("```python\n")[1].split("```")[0]
    store = {"S3HANDOFF_STORE": "memory", "S3HANDOFF_WORK_DIR": str(tmp_path / "work")}
    block = block.replace('"S3HANDOFF_BUCKET": "acme-uploads"', "**store")
    names: dict[str, Any] = {"store": store, "SECRET_KEY": "x" * 32, "HttpResponse": HttpResponse}
    names["__name__"] = "readme_app"
    names["get_wsgi_application"] = get_wsgi_application
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own README
    urls = ModuleType("readme_urls")
    vars(urls)["urlpatterns"] = [path("", django_app.start), path("save", names["save"])]
    monkeypatch.setitem(sys.modules, "readme_urls", urls)
    with override_settings(ROOT_URLCONF="readme_urls"):
        browser = Browser(names["application"])
        csrf, token = carry(browser, LEO)
        saved = browser.post("/save", [("csrfmiddlewaretoken", csrf), ("_s3handoff", token)])

    assert saved.text == "users/654/avatar.jpg"
