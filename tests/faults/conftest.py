"""What the fault tests share: a strict S3, and apps of three copies over it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.strict import StrictS3


@pytest.fixture
def s3() -> Iterator[StrictS3]:
    """A strict S3 with one bucket, of its own for each test."""
    with StrictS3().running() as running:
        running.bucket("staging")
        yield running
