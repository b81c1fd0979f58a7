"""htmx: pages that arrive in pieces, and are swapped into each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask, Response, request

from flask_s3handoff import S3Handoff
from tests.browser_like import Browser, Page, Upload
from tests.small_apps import ROUTINGS, fleet_of, form, memory, page

pytestmark = pytest.mark.oldest

LEO = Upload("leo.png", b"\x89PNG Leo" * 20, "image/png")
HTMX = {"HX-Request": "true"}


def site(app: Flask, handoff: S3Handoff) -> None:
    """A wizard whose steps are fragments that replace the form."""

    @app.get("/")
    def start() -> str:
        return page(
            form(
                "/add",
                '<input type="file" name="avatar">',
                attributes='hx-post="/add" hx-target="this"',
            )
        )

    @app.post("/add")
    def add() -> Any:
        assert request.headers["HX-Request"] == "true"
        name = request.files["avatar"].filename
        swap = form("/name", '<input name="name">', attributes='hx-post="/name"')
        return Response(f"<div>{name}</div>{swap}", headers={"HX-Trigger": "added"})

    @app.post("/name")
    def name() -> Any:
        if len(request.form["name"]) < 3:
            return (
                f"<p>too short</p>{form('/name', '<input name=name>', attributes='hx-post=/name')}",
                422,
            )
        key = handoff.promote(request.files["avatar"], f"users/{request.form['name']}.png")
        return Response("", headers={"HX-Redirect": f"/done?key={key}"})

    @app.post("/elsewhere")
    def elsewhere() -> str:
        assert request.files["avatar"]
        return form("/name", attributes='hx-post="https://evil.example/"') + form(
            "/a", attributes="hx-get=/x"
        )

    @app.post("/by-header")
    def by_header() -> Any:
        return {"name": request.files["avatar"].filename, "token": handoff.token()}


@pytest.mark.parametrize("routing", ROUTINGS)
def test_fragments_carry(routing: str) -> None:
    """Each fragment's form has a fresh token; the validation error keeps it, too (H68, H70)."""
    with fleet_of(site, routing=routing) as fleet:
        browser = Browser(fleet, headers=HTMX)
        second = browser.submit(browser.open("/"), avatar=LEO)
        assert second.headers["HX-Trigger"] == "added"
        again = browser.submit(second, name="x")
        assert again.status == 422
        done = browser.submit(again, name="leo")
        assert done.headers["HX-Redirect"] == "/done?key=users/leo.png"
        assert memory(fleet).bytes_of("users/leo.png") == LEO.data


def test_a_form_that_htmx_sends_elsewhere_gets_no_token() -> None:
    """``hx-post`` to another site, ``hx-get`` into a URL: the form's own action does not count there (H44)."""
    with fleet_of(site) as fleet:
        assert not Browser(fleet).post("/elsewhere", [("avatar", LEO)]).tokens


def test_a_script_sends_the_token_like_any_field() -> None:
    """``new FormData(form)`` of the old form, after the page has moved on."""
    with fleet_of(site) as fleet:
        browser = Browser(fleet, headers=HTMX)
        seen: Page = browser.post("/by-header", [("avatar", LEO)])
        token = json.loads(seen.data)["token"]
        again = browser.post("/by-header", [("_s3handoff", token)])
        assert json.loads(again.data)["name"] == "leo.png"
