"""The app under fire: add, crop, save, over a strict S3; and what a person sees of it."""

from __future__ import annotations

import functools
import random
from typing import Any

import boto3.session
from flask import Flask, request

from flask_s3handoff import S3Handoff
from flask_s3handoff.errors import HandoffError
from flask_s3handoff.s3 import S3Store
from flask_s3handoff.store import AWS
from flask_s3handoff.testing import Fleet
from tests.browser_like import Browser, Page, Upload
from tests.carry.test_carry import LEO, shown, wizard
from tests.servers.strict import REGION, StrictS3
from tests.small_apps import answer, fleet_of, form, page

BIG = Upload("big.bin", random.Random(11).randbytes(11 << 20))
TITLE = '<input name="title" value="my title">'
WIDTH = 100


def journey(app: Flask, handoff: S3Handoff) -> None:
    """Add, crop and save; a page that carries nothing; an upload of one step; an error page."""
    wizard(app, handoff)
    answer(app, "/hello", lambda: "hello")
    answer(app, "/once", lambda: page(shown()))
    answer(app, "/show", lambda: page(shown(), form("/show", TITLE), form("/crop"), form("/save")))
    app.register_error_handler(HandoffError, say_what_is_wrong)


def say_what_is_wrong(error: HandoffError) -> Any:
    """Answer as an app does that keeps what was typed."""
    text = page(f"<p>{error.reason} {error.field}</p>", request.form.get("title", ""))
    headers = [pair for pair in error.get_headers() if pair[0] == "Retry-After"]
    return text, error.code, headers


def fleet_over(s3: StrictS3, *, deadline: float = 10.0, **store: Any) -> Fleet:
    """Return three copies of the app over one strict S3."""
    made = store_of(s3, deadline_seconds=deadline, **store)
    assert made._buckets[-1].client  # made now: it takes longer than some deadlines here
    return fleet_of(journey, store=made, deadline=deadline)


def add(browser: Browser, upload: Upload = LEO) -> Page:
    """Step 1."""
    return good(browser.submit(browser.open("/"), avatar=upload))


def crop(browser: Browser, page: Page) -> Page:
    """Step 2."""
    return good(browser.submit(page, width=str(WIDTH)))


def save(browser: Browser, page: Page, name: str = "leo") -> Page:
    """Step 3."""
    return good(browser.submit(page, "/save", name=name))


def good(page: Page) -> Page:
    """Insist on an answer that is no error."""
    assert page.status == 200, page.text
    return page


def walk(fleet: Fleet, s3: StrictS3, upload: Upload = LEO) -> None:
    """Take the three steps on three servers; insist on what is saved, and on nothing unfinished."""
    browser = Browser(fleet)
    save(browser, crop(browser, add(browser, upload)))
    assert saved(s3) == upload.data[:WIDTH]
    assert s3.unfinished() == []


def saved(s3: StrictS3, name: str = "leo") -> bytes | None:
    """Return what is stored for good under a name, or nothing."""
    stored = s3.buckets["staging"].get(f"users/{name}.png")
    return stored.data if stored else None


def staged(s3: StrictS3) -> list[bytes]:
    """Return every file on its way."""
    return [v.data for k, v in s3.buckets["staging"].items() if k.startswith("handoff/")]


@functools.cache
def _session() -> Any:
    """One session for all tests: what it has read of S3's model takes a tenth of a second."""
    return boto3.session.Session()


def client_factory(s3: StrictS3) -> Any:
    """Return what makes clients with the credentials of this S3."""
    who = s3.server
    return functools.partial(
        _session().client,
        aws_access_key_id=who.access_key,
        aws_secret_access_key=who.secret_key,
    )


def store_of(s3: StrictS3, **options: Any) -> S3Store:
    """Return a store as an app would make it, of the bucket ``staging``."""
    given: dict[str, Any] = {
        "bucket": "staging",
        "region": REGION,
        "endpoint_url": s3.url,
        "capabilities": AWS,
        "deadline_seconds": 10.0,
        "client_factory": client_factory(s3),
    }
    return S3Store(**{**given, **options})
