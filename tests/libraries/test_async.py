"""Async views and hooks: the same flow, awaited."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flask import Flask, redirect, request

from flask_s3handoff import S3Handoff
from flask_s3handoff.errors import Unavailable
from tests.browser_like import Browser, Upload
from tests.small_apps import ROUTINGS, fleet_of, form, memory, page

pytestmark = pytest.mark.oldest

LEO = Upload("leo.png", b"\x89PNG Leo" * 20, "image/png")


def wizard(app: Flask, handoff: S3Handoff) -> None:
    """Upload, crop, save; each step waits for something in between."""

    @app.before_request
    async def before() -> None:
        await asyncio.sleep(0)

    @app.after_request
    async def after(response: Any) -> Any:
        await asyncio.sleep(0)
        return response

    @app.post("/add")
    async def add() -> Any:
        await asyncio.sleep(0)
        assert request.files["avatar"].filename == "leo.png"
        return redirect("/see")

    @app.get("/see")
    async def see() -> str:
        await asyncio.sleep(0)
        return page(form("/crop"))

    @app.post("/crop")
    async def crop() -> str:
        await asyncio.to_thread(cut, request.files["avatar"])
        return page(form("/save"))

    @app.post("/save")
    async def save() -> str:
        await asyncio.sleep(0)
        return handoff.promote(request.files["avatar"], "users/leo.png")


def cut(file: Any) -> None:
    """Edit in a worker thread, as a view does that must not block its loop."""
    with open(file.path, "r+b") as picture:
        picture.truncate(11)


@pytest.mark.parametrize("routing", ROUTINGS)
def test_three_awaited_steps_on_three_servers(routing: str) -> None:
    """The crop, made in a thread of the loop's, is what is saved."""
    with fleet_of(wizard, routing=routing) as fleet:
        browser = Browser(fleet)
        see = browser.post("/add", [("avatar", LEO)])
        assert browser.submit(browser.submit(see)).text == "users/leo.png"
        assert memory(fleet).bytes_of("users/leo.png") == LEO.data[:11]


def test_an_async_error_handler() -> None:
    """What cannot be stored ends in the app's own handler, awaited."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        wizard(app, handoff)

        @app.errorhandler(Unavailable)
        async def sorry(error: Unavailable) -> Any:
            await asyncio.sleep(0)
            return f"sorry about {error.filename}", 503

    with fleet_of(build) as fleet:
        memory(fleet).fail_with(Unavailable())
        assert Browser(fleet).post("/add", [("avatar", LEO)]).text == "sorry about leo.png"
