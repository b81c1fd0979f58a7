"""One of the apps, with its settings from the environment: for servers that import what they run."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def create_app() -> WSGIApplication:
    """Return the app that `APP` names: bare, bottle or django."""
    config = {k: v for k, v in os.environ.items() if k.startswith(("S3HANDOFF_", "SECRET_KEY"))}
    app: WSGIApplication = import_module(f"tests.frameworks.{os.environ['APP']}_app").create_app(
        config
    )
    return app
