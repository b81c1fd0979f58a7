"""The album with its settings from the environment: for servers that import what they run."""

from __future__ import annotations

from flask import Flask

from tests.folders import album


def create_app() -> Flask:
    """Return the app; the folder lies beside the server's work folder."""
    read = Flask("settings")
    read.config.from_prefixed_env()
    config = dict(read.config)
    return album.create_app({**config, "FLEET_DISK": config["S3HANDOFF_WORK_DIR"] + "-disk"})
