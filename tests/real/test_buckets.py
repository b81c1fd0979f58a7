"""Several buckets for several purposes, in one app on a real server: staging in one, places in others."""

from __future__ import annotations

import io
import json
import re
import urllib.error
import urllib.request
from typing import Any, cast

import pytest
from flask import Flask, request

from flask_s3handoff import S3Handoff
from flask_s3handoff.files import HandoffFile
from flask_s3handoff.store import kind_of
from flask_s3handoff.testing import Fleet
from tests.servers import S3Server, bucket, keys
from tests.small_apps import fleet_of, form, handoffs_of

PICTURE = b"\x89PNG picture"
OWNER = "123456789012"


def two_steps(app: Flask, handoff: S3Handoff) -> None:
    """Upload, and keep below the place that is asked for; both pages show the file's address."""

    @app.post("/upload")
    def upload() -> str:
        file = cast(HandoffFile, request.files["file"])
        return form("/keep") + f"<a href='{file.url()}'>"

    @app.post("/keep")
    def keep() -> str:
        file = cast(HandoffFile, request.files["file"])
        key = handoff.promote(file, f"{request.form['place']}1/leo.png")
        return f"<a href='{handoff.url(key)}'>"


def open_to_all(server: S3Server, name: str) -> None:
    """Let anybody read a bucket, as one does for a web site."""
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
    statement = {**allow, "Resource": f"arn:aws:s3:::{name}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    server.client.put_bucket_policy(Bucket=name, Policy=policy)


def fetched(url: str) -> bytes | int:
    """What anybody gets there: the bytes, or the status."""
    try:
        with urllib.request.urlopen(url) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def keep(fleet: Fleet, place: str) -> tuple[str, str]:
    """Upload a file and promote it; return its address while staged, and afterwards."""
    person = fleet.client()
    page = person.post("/upload", data={"file": (io.BytesIO(PICTURE), "leo.png", "image/png")})
    assert page.status_code == 200, page.text
    token = re.search('name="_s3handoff" value="(.+?)"', page.text)
    assert token
    kept = person.post("/keep", data={"_s3handoff": token[1], "place": place})
    assert kept.status_code == 200, kept.text
    staged, public = re.findall("href='(.+?)'", page.text + kept.text)
    return staged, public


@pytest.fixture
def buckets(weed: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A bucket for each purpose; that of the site is open to all."""
    for name, value in weed.env.items():
        monkeypatch.setenv(name, value)
    names = {purpose: bucket(weed) for purpose in ("staging", "site", "papers")}
    open_to_all(weed, names["site"])
    return names


def app_of(server: S3Server, buckets: dict[str, str], **places: dict[str, Any]) -> Fleet:
    """Three servers of an app with staging in one bucket and each place in another."""
    given = {
        "site/": {"bucket": buckets["site"], "public_url": f"{server.url}/{buckets['site']}"},
        "papers/": {
            "bucket": buckets["papers"],
            "region": "eu-west-1",
            "owner": OWNER,
            "expires": 60,
        },
        **{f"{name}/": options for name, options in places.items()},
    }
    settings: dict[str, Any] = {
        "bucket": buckets["staging"],
        "endpoint_url": server.url,
        "places": given,
    }
    return fleet_of(two_steps, store="s3", **settings)


def test_each_place_has_its_own_bucket(weed: S3Server, buckets: dict[str, str]) -> None:
    """Files go where their purpose is, and no copy is left elsewhere."""
    with app_of(weed, buckets) as fleet:
        for place in ("site/", "papers/"):
            keep(fleet, place)
    assert keys(weed, buckets["site"]) == ["site/1/leo.png"]
    assert keys(weed, buckets["papers"]) == ["papers/1/leo.png"]
    staged = keys(weed, buckets["staging"])
    assert len(staged) == 2
    assert all(key.startswith("handoff/") for key in staged)


def test_each_place_has_its_own_addresses(weed: S3Server, buckets: dict[str, str]) -> None:
    """A public one is plain, a private one is signed for its own region and time."""
    with app_of(weed, buckets) as fleet:
        _, public = keep(fleet, "site/")
        _, private = keep(fleet, "papers/")
    assert public == f"{weed.url}/{buckets['site']}/site/1/leo.png"
    assert fetched(public) == PICTURE
    assert "X-Amz-Expires=60" in private
    assert "%2Feu-west-1%2Fs3%2F" in private
    assert fetched(private) == PICTURE
    assert fetched(private.partition("?")[0]) == 403


def test_the_same_places_are_there_outside_of_a_request(
    weed: S3Server, buckets: dict[str, str]
) -> None:
    """put, list, open and delete find the bucket of a key."""
    with app_of(weed, buckets) as fleet:
        handoff = handoffs_of(fleet)[0]
        for place in ("site/", "papers/"):
            handoff.put(PICTURE, f"{place}2/a.png")
            assert [each.key for each in handoff.list(f"{place}2/")] == [f"{place}2/a.png"]
            with handoff.open(f"{place}2/a.png") as file:
                assert file.read() == PICTURE
        handoff.delete("papers/2/a.png")
    assert keys(weed, buckets["site"]) == ["site/2/a.png"]
    assert keys(weed, buckets["papers"]) == []


def test_staging_is_never_public_whatever_a_place_says(
    rgw: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one bucket with a place that is public by its ACL and has a public URL (B73)."""
    for name, value in rgw.env.items():
        monkeypatch.setenv(name, value)
    one = bucket(rgw)
    public = {"acl": "public-read", "public_url": f"{rgw.url}/{one}"}
    settings: dict[str, Any] = {
        "bucket": one,
        "endpoint_url": rgw.url,
        "places": {"site/": public, "users/": {}},
    }
    with fleet_of(two_steps, store="s3", **settings) as fleet:
        staged, kept = keep(fleet, "site/")
        _, private = keep(fleet, "users/")
    assert kept == f"{rgw.url}/{one}/site/1/leo.png"
    assert fetched(kept) == PICTURE
    for url in (staged, private):
        assert "X-Amz-Signature=" in url
        assert fetched(url) == PICTURE
        assert fetched(url.partition("?")[0]) == 403
    acls = [
        rgw.client.get_object_acl(Bucket=one, Key=key)["Grants"]
        for key in keys(rgw, one, "handoff/")
    ]
    assert [len(grants) for grants in acls] == [1, 1]


def test_parts_in_staging_are_not_public_either(
    rgw: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file travels in parts, begun by another request with words of its own."""
    for name, value in rgw.env.items():
        monkeypatch.setenv(name, value)
    one = bucket(rgw)
    settings: dict[str, Any] = {
        "bucket": one,
        "endpoint_url": rgw.url,
        "places": {"site/": {"acl": "public-read"}},
    }
    with fleet_of(two_steps, store="s3", **settings) as fleet:
        store = handoffs_of(fleet)[0].store()
        upload = store.begin("handoff/large", kind=kind_of("a.bin", ""))
        upload.part(1, io.BytesIO(PICTURE), len(PICTURE))
        upload.complete(size=len(PICTURE), sha256="0" * 64)
    assert fetched(f"{rgw.url}/{one}/handoff/large") == 403
