"""The app under fire: add, crop, save, over a strict S3; and what a person sees of it."""

from __future__ import annotations

import functools
from typing import Any

import boto3.session

from flask_s3handoff.s3 import S3Store
from flask_s3handoff.store import AWS
from tests.servers.strict import REGION, StrictS3


@functools.cache
def _session() -> Any:
    """One session for all tests: what it has read of S3's model takes a tenth of a second."""
    return boto3.session.Session()


def client_factory(s3: StrictS3) -> Any:
    """Return what makes clients with the credentials of this S3."""
    who = s3.server
    return functools.partial(
        _session().client,
        aws_access_key_id=who.access_key,
        aws_secret_access_key=who.secret_key,
    )


def store_of(s3: StrictS3, **options: Any) -> S3Store:
    """Return a store as an app would make it, of the bucket ``staging``."""
    given: dict[str, Any] = {
        "bucket": "staging",
        "region": REGION,
        "endpoint_url": s3.url,
        "capabilities": AWS,
        "deadline_seconds": 2.0,
        "client_factory": client_factory(s3),
    }
    return S3Store(**{**given, **options})
