"""Flask-Caching: what it keeps never has a token in it, and what it gives back carries all the same."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Response, redirect, request
from flask_caching import Cache

from flask_s3handoff import S3Handoff
from tests.browser_like import Browser, Upload
from tests.small_apps import answer, fleet_of, form, page

LEO = Upload("leo.png", b"\x89PNG Leo", "image/png")
ADA = Upload("ada.png", b"\x89PNG Ada", "image/png")


class Site:
    """Cached views of three kinds, and the stores of the copies' caches."""

    def __init__(self) -> None:
        self.caches: list[Cache] = []
        self.runs = 0

    def build(self, app: Flask, _: S3Handoff) -> None:
        """Give a copy its routes."""
        cache = Cache(app, config={"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": 300})
        self.caches.append(cache)

        @app.get("/text")
        @cache.cached()
        def text() -> str:
            self.runs += 1
            return page(form("/show"))

        @app.get("/object")
        @cache.cached()
        def whole() -> Response:
            self.runs += 1
            return Response(page(form("/show")), headers={"X-Kept": "1"})

        @app.get("/hop")
        @cache.cached()
        def hop() -> Any:
            self.runs += 1
            return redirect("/text")

        answer(app, "/go/<to>", lambda to: (request.files["avatar"], redirect(f"/{to}"))[1], "POST")  # type: ignore[misc, arg-type]
        answer(app, "/show", lambda: request.files["avatar"].read(), "POST")

    def kept(self) -> str:
        """Return everything that the caches hold, as text."""
        return "".join(str(value) for cache in self.caches for value in cache.cache._cache.values())


@pytest.mark.parametrize("kind", ["text", "object", "hop"])
def test_no_token_is_ever_kept(kind: str) -> None:
    """Leo's and Ada's pages come out of one kept body, each with its own token, none with another's."""
    site = Site()
    with fleet_of(site.build) as fleet:
        leo, ada = Browser(fleet), Browser(fleet)
        for _ in range(4):
            for browser, picture in ((leo, LEO), (ada, ADA)):
                seen = browser.post(f"/go/{kind}", [("avatar", picture)])
                assert len(seen.tokens) == 1
                assert browser.submit(seen).data == picture.data
        assert site.runs <= 2 * len(fleet.copies)
        assert site.kept()
        assert "_s3handoff" not in site.kept()
        stranger = Browser(fleet).open(f"/{kind}")
        assert not stranger.tokens
        assert "Set-Cookie" not in stranger.headers
        assert "_s3handoff" not in stranger.url


def test_a_kept_page_is_the_same_for_everybody_without_a_file() -> None:
    """Its headers are those that the app gave it."""
    site = Site()
    with fleet_of(site.build) as fleet:
        Browser(fleet).post("/go/object", [("avatar", LEO)])
        for _ in range(3):
            seen = Browser(fleet).open("/object")
            assert seen.headers["X-Kept"] == "1"
            assert "Cache-Control" not in seen.headers
