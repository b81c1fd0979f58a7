"""Apps that keep paths, on three servers with separate disks: configuration is all that changes."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image
from werkzeug.test import Client, TestResponse

from flask_s3handoff.testing import Fleet
from tests.folders.album import SIZES, create_app, picture


def sizes_of(client: Client, names: list[str]) -> list[tuple[int, int]]:
    """Fetch the pictures that the app made, each from another server."""
    answers = [client.get(f"/uploads/{name}") for name in names]
    assert [answer.status_code for answer in answers] == [200] * len(names)
    return [Image.open(io.BytesIO(answer.data)).size for answer in answers]


def names(answer: TestResponse) -> list[str]:
    """Return the names that the app has kept."""
    said: dict[str, list[str]] = json.loads(answer.data)
    return said["names"]


def walk_through(fleet: Fleet) -> list[tuple[int, int]]:
    """Upload, look, crop, look again; the server that got the upload dies at once."""
    client = fleet.client()
    red = picture("red")
    gone_on = client.post("/upload", data={"avatar": (io.BytesIO(red), "me.png")})
    fleet.kill()
    page = client.get(gone_on.location).text
    assert client.get(page.split('"')[1]).data == red
    done = client.post("/crop")
    return sizes_of(client, names(client.get(done.location)))


@pytest.mark.parametrize("options", [{}, {"immutable": True}])
@pytest.mark.parametrize("paths", [["/"], []])
def test_an_app_with_the_name_in_the_session(options: dict[str, Any], paths: list[str]) -> None:
    """Three processes, adversarial routing, the uploading server killed."""
    config = {"FOLDER_OPTIONS": options, "S3HANDOFF_PATHS": paths}
    with Fleet(create_app, 4, routing="adversarial", processes=True, config=config) as fleet:
        assert walk_through(fleet) == [(size, size) for size in SIZES]


def test_without_the_configuration_the_same_app_fails() -> None:
    """What the test before this one proves."""
    config = {"WITH_HANDOFF": False}
    with (
        Fleet(create_app, 4, routing="adversarial", processes=True, config=config) as fleet,
        pytest.raises(AssertionError),
    ):
        walk_through(fleet)
