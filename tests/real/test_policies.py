"""The policy that `flask s3handoff policy` prints, on a server that enforces it: enough, and no more."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any, cast

import boto3
import boto3.session
import pytest
from flask import Flask, request
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from flask_s3handoff import S3Handoff
from flask_s3handoff.config import HandoffConfig
from flask_s3handoff.errors import HandoffError
from flask_s3handoff.files import HandoffFile
from flask_s3handoff.policies import for_servers
from flask_s3handoff.s3 import S3Store
from flask_s3handoff.store import CEPH_RGW
from flask_s3handoff.testing import check_store
from tests.real.conftest import abort_uploads
from tests.servers import S3Server, bucket
from tests.small_apps import fleet_of, form

MIB = 1 << 20
# Each statement, and what is denied without it.
SIDS = {
    "Write": "create_multipart_upload",
    "Read": "get_object",
    "Abort": "abort_multipart_upload",
    "Delete": "delete_object",
    "List": "head_object",
}


@pytest.fixture
def config(rgw: S3Server) -> HandoffConfig:
    """The settings of an app with staging in one bucket and users' files in another."""
    places = {"users/": {}, "archive/": {"bucket": bucket(rgw)}}
    return HandoffConfig.from_mapping(
        {
            "S3HANDOFF_BUCKET": bucket(rgw),
            "S3HANDOFF_ENDPOINT_URL": rgw.url,
            "S3HANDOFF_PLACES": places,
        }
    )


def store_of_guest(server: S3Server, config: HandoffConfig) -> S3Store:
    """The app's store, with the credentials of the user who owns nothing."""
    guest = boto3.session.Session(server.guest.access_key, server.guest.secret_key)
    return S3Store(
        bucket=str(config.bucket),
        endpoint_url=server.url,
        region=server.region,
        places=config.places,
        capabilities=CEPH_RGW,
        client_factory=guest.client,
    )


def prove(server: S3Server, config: HandoffConfig) -> None:
    """Walk the three steps, run the contract below a place, and look for what was left."""
    store = store_of_guest(server, config)
    for place in ("users/", "archive/"):
        walk(store, place)
    check_store(store, prefix="users/")
    assert abort_uploads(server, str(config.bucket)) == []


def walk(store: S3Store, place: str) -> None:
    """Carry a large file over three servers, change it, and keep it."""
    data = bytes(6 * MIB)
    with fleet_of(three_steps, store=store, places={place: {}}) as fleet:
        person = fleet.client()
        boundary, body = encode_multipart({"avatar": FileStorage(io.BytesIO(data), "leo.bin")})
        page = person.post(
            "/avatar", data=body, content_type=f"multipart/form-data; boundary={boundary}"
        )
        for _ in range(2):
            assert page.status_code == 200, page.text
            token = re.search('name="_s3handoff" value="(.+?)"', page.text)
            assert token
            step = "/crop" if page.request.path == "/avatar" else "/save"
            page = person.post(step, data={"_s3handoff": token[1], "to": place})
        assert page.text == f"{place}654/avatar.bin"
    assert store.stat(page.text).size == len(data) - 1
    store.delete(page.text)


def three_steps(app: Flask, handoff: S3Handoff) -> None:
    """Upload, change, keep."""

    @app.post("/avatar")
    def upload() -> str:
        return form("/crop") if request.files["avatar"] else ""

    @app.post("/crop")
    def crop() -> str:
        file = cast(HandoffFile, request.files["avatar"])
        file.replace(file.read()[1:])
        return form("/save")

    @app.post("/save")
    def save() -> str:
        file = cast(HandoffFile, request.files["avatar"])
        return handoff.promote(file, f"{request.form['to']}654/avatar.bin")


def test_the_policy_is_enough(rgw: S3Server, config: HandoffConfig, allow: Any) -> None:
    """With exactly what is printed the flow and the whole contract pass."""
    allow(for_servers(config))
    prove(rgw, config)


@pytest.mark.parametrize(("sid", "verb"), SIDS.items())
def test_no_statement_is_idle(
    rgw: S3Server,
    config: HandoffConfig,
    allow: Any,
    sid: str,
    verb: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without any one of them something is denied and fails: what is printed is the least."""
    statements = for_servers(config)
    assert [statement.sid for statement in statements] == [f"S3Handoff{name}" for name in SIDS]
    allow([each for each in statements if each.sid != f"S3Handoff{sid}"])
    with pytest.raises((AssertionError, HandoffError)):
        prove(rgw, config)
    assert re.search(rf"{verb} of .* failed: (AccessDenied|403)", caplog.text)


def test_a_listing_by_prefix_is_not_enough_for_ceph(
    rgw: S3Server, config: HandoffConfig, allow: Any
) -> None:
    """Amazon asks for `s3:prefix` when it chooses between 404 and 403, Ceph 16 does not (0086)."""
    at_amazon = for_servers(replace(config, endpoint_url=None))
    assert at_amazon[-1].condition == {"StringLike": {"s3:prefix": ["archive/*"]}}
    allow(at_amazon)
    with pytest.raises(AssertionError, match="503 Service Unavailable"):
        walk(store_of_guest(rgw, config), "users/")
