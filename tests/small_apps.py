"""Small apps for tests: a few routes, the whole extension, three copies."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from flask import Flask

from flask_s3handoff import S3Handoff
from flask_s3handoff.handoff import Handoff
from flask_s3handoff.testing import Fleet, MemoryStore
from tests.sentinels import sentinel

Build = Callable[[Flask, S3Handoff], object]
ROUTINGS = ("round-robin", "random", "adversarial")
FILE = '<input type="file" name="avatar">'


def fleet_of(
    build: Build, *, routing: str = "round-robin", store: Any = None, **settings: Any
) -> Fleet:
    """Return three copies of the app that ``build`` gives its routes.

    Settings go in without their prefix: ``on_error="collect"`` is ``S3HANDOFF_ON_ERROR``; in capitals
    they are Flask's own.
    """

    def create_app(config: dict[str, Any]) -> Flask:
        app = Flask(__name__)
        app.config.from_mapping(S3HANDOFF_PLACES={"users/": {}})
        app.config.from_mapping(config)
        if len(secret := str(app.config["SECRET_KEY"])) >= 32:
            sentinel(secret)
        build(app, S3Handoff(app))
        return app

    config = {
        name if name.isupper() else f"S3HANDOFF_{name.upper()}": v for name, v in settings.items()
    }
    return Fleet(create_app, routing=routing, store=store, config=config)


def apps_of(fleet: Fleet) -> list[Flask]:
    """Return the copies' apps."""
    return [copy.app for copy in fleet.copies if isinstance(copy.app, Flask)]


def handoffs_of(fleet: Fleet) -> list[Handoff]:
    """Return what each copy has wired."""
    return [app.extensions["s3handoff"].handoff for app in apps_of(fleet)]


def form(action: str = "", *fields: str, attributes: str = "") -> str:
    """Return a form that goes by POST, with a button."""
    target = f' action="{action}"' if action else ""
    return (
        f'<form method="post" enctype="multipart/form-data"{target} {attributes}>'
        f"{''.join(fields)}<button>go</button></form>"
    )


def page(*parts: str) -> str:
    """Return an HTML page with these parts."""
    return f"<!doctype html><title>page</title>\n{''.join(parts)}\n"


def memory(fleet: Fleet) -> MemoryStore:
    """Return the store of a fleet in one process."""
    assert isinstance(fleet.store, MemoryStore)
    return fleet.store


def count(fleet: Fleet, *verbs: str) -> int:
    """Return how often the store was asked for one of these verbs, for anything without."""
    return sum(1 for verb, _ in memory(fleet).calls if not verbs or verb in verbs)


def settled(fleet: Fleet) -> None:
    """Wait for what the copies still send."""
    for handoff in handoffs_of(fleet):
        handoff.rooms.mirror.close()


def at(fleet: Fleet, seconds: float) -> None:
    """Set the clocks of all copies to this many seconds from now."""
    for handoff in handoffs_of(fleet):
        handoff.rooms = dataclasses.replace(handoff.rooms, now=lambda: time.time() + seconds)


def answer(app: Flask, rule: str, view: Callable[[], Any], *methods: str) -> None:
    """Give a one-line view a route: GET and POST, unless told."""
    app.add_url_rule(rule, f"at {rule}", view, methods=methods or ("GET", "POST"))


def permanent(fleet: Fleet) -> list[str]:
    """Return the keys below ``users/``."""
    return [stored.key for stored in memory(fleet).list("users/")]
