"""What an attacker tries with real requests, named for the threats; each of these once succeeded."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, redirect, request

from flask_s3handoff import S3Handoff
from tests.browser_like import Browser
from tests.carry.test_carry import LEO
from tests.small_apps import answer, fleet_of

pytestmark = pytest.mark.oldest


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_t15_what_a_token_in_the_url_brings_is_kept_by_nobody(method: str) -> None:
    """A CDN that ignores query strings would show one person's file to the next (rule 7)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], redirect("/raw"))[1])

        @app.get("/raw")
        def raw() -> Any:
            content = b"".join(file.read() for file in request.files.values())
            answered = app.response_class(content, mimetype="image/png")
            answered.cache_control.public = True
            answered.cache_control.max_age = 600
            answered.add_etag()
            return answered

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        there = browser.post("/add", [("avatar", LEO)], follow=False).location
        seen = browser.send(method, there)
        assert seen.data == (LEO.data if method == "GET" else b"")
        assert seen.headers["Cache-Control"] == "private, no-cache"
        assert seen.headers["Vary"] == "Cookie"
        assert seen.headers["Referrer-Policy"] == "same-origin"
        assert "ETag" not in seen.headers
        other = browser.open("/raw")
        assert other.headers["Cache-Control"] == "public, max-age=600"
