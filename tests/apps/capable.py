"""The avatar app of somebody who has tried what the endpoint can do, and declares it."""

from __future__ import annotations

from flask import Flask

from flask_s3handoff.s3 import S3Store
from flask_s3handoff.store import SEAWEEDFS
from tests.apps import avatar


def create_app() -> Flask:
    """Return the app over a store that copies conditionally, as S3 itself does."""
    settings = Flask(__name__).config
    settings.from_prefixed_env()
    store = S3Store(
        bucket=settings["S3HANDOFF_BUCKET"],
        endpoint_url=settings["S3HANDOFF_ENDPOINT_URL"],
        region=settings["S3HANDOFF_REGION"],
        capabilities=SEAWEEDFS,
    )
    return avatar.create_app({"S3HANDOFF_STORE": store})
