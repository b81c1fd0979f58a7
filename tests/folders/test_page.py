"""`docs/retrofit.md`: the app of the page fails before, and works after."""

from __future__ import annotations

import io
import os
from types import SimpleNamespace
from typing import Any

import django.conf
import django.core.wsgi
import pytest
from flask import Flask
from PIL import Image

from flask_s3handoff.testing import Fleet
from tests.folders.album import picture
from tests.pages import named

PAGE = "docs/retrofit.md"


def app_of(*names: str) -> Any:
    """Return a factory of the app that these blocks of the page make."""

    def create_app(config: dict[str, Any]) -> Flask:
        folder = os.path.join(config["FLEET_DISK"], "uploads")
        os.makedirs(folder)
        known: dict[str, Any] = {"__name__": "page", "__file__": __file__}
        for name in names:
            named(PAGE, name).run(known)
            known["app"].config.update(config, UPLOAD_FOLDER=folder)
        app: Flask = known["app"]
        return app

    return create_app


def avatar(fleet: Fleet) -> Any:
    """Upload and crop, each on another server, and return the last answer."""
    client = fleet.client()
    data = {"avatar": (io.BytesIO(picture("red")), "me.png")}
    page = client.post("/profile/avatar", data=data, follow_redirects=True)
    assert "<form" in page.text
    return client.post("/profile/crop", data={"size": "20"}, follow_redirects=True)


def test_before_the_second_step_is_a_404() -> None:
    """The server that is asked does not have the file."""
    with Fleet(app_of("before")) as fleet:
        assert avatar(fleet).status_code == 404


def test_after_it_works_on_every_server() -> None:
    """The end of the file is all that is new."""
    with Fleet(app_of("before", "after")) as fleet:
        assert Image.open(io.BytesIO(avatar(fleet).data)).size == (20, 20)


def test_the_wrapper_of_the_django_app_is_made(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the page writes it; the whole app runs in test_retrofit.py."""
    settings = SimpleNamespace(MEDIA_ROOT=str(tmp_path), SECRET_KEY="k" * 32, configured=False)
    monkeypatch.setattr(django.conf, "settings", settings)
    monkeypatch.setattr("django.core.wsgi.get_wsgi_application", lambda: None)
    known: dict[str, Any] = {}
    named(PAGE, "django").run(known)
    assert known["application"]._handoff.config.folders[0].path == str(tmp_path)
