"""In debug an answer says how long we and the store took; elsewhere it says nothing."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, cast

from flask import Flask, Response, request

from flask_s3handoff import HandoffFile, S3Handoff
from flask_s3handoff.testing import Fleet
from tests.small_apps import fleet_of, form

TIMES = re.compile(r"s3handoff;dur=[0-9]+\.[0-9], store;dur=[0-9]+\.[0-9]")
SHARED = Response("kept")


def build(app: Flask, _handoff: S3Handoff) -> None:
    """Give the app a page, a step, and a response that is one object for all requests."""
    app.add_url_rule("/", view_func=lambda: "hello", endpoint="hello")
    app.add_url_rule("/shared", view_func=shared, methods=["POST"])
    app.add_url_rule(
        "/add", view_func=lambda: form(request.files["avatar"].name or ""), methods=["POST"]
    )


def shared() -> Response:
    """Use the file and answer with a response that other requests have, too."""
    cast(HandoffFile, request.files["avatar"]).promote("users/1/a.jpg", overwrite=True)
    return SHARED


def answer(fleet: Fleet, url: str = "/add") -> Any:
    """Upload a file to a fleet, and return the answer."""
    with fleet:
        return fleet.client().post(url, data={"avatar": (BytesIO(b"picture"), "leo.jpg")})


def test_in_debug_the_developer_tools_show_what_we_and_the_store_took() -> None:
    """The header is read by the network panel of every browser."""
    assert TIMES.fullmatch(answer(fleet_of(build, DEBUG=True)).headers["Server-Timing"])


def test_without_debug_nothing_is_said() -> None:
    """Visitors are not told how the house works."""
    assert "Server-Timing" not in answer(fleet_of(build)).headers


def test_an_idle_request_says_nothing() -> None:
    """A page without a file is not ours to speak of (rule 8)."""
    with fleet_of(build, DEBUG=True) as fleet:
        assert "Server-Timing" not in fleet.client().get("/").headers


def test_a_response_that_is_shared_stays_as_it_was() -> None:
    """What the app made is never changed, in debug neither (rule 6)."""
    assert "Server-Timing" in answer(fleet_of(build, DEBUG=True), "/shared").headers
    assert "Server-Timing" not in SHARED.headers
