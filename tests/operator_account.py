"""An account at Amazon for unit tests: exactly the verbs with which an operator's commands ask."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from flask_s3handoff.config import HandoffConfig
from flask_s3handoff.s3admin import BucketAdmin, admins

ABSENT = {
    "public_access_block": "NoSuchPublicAccessBlockConfiguration",
    "bucket_ownership_controls": "OwnershipControlsNotFoundError",
    "bucket_policy": "NoSuchBucketPolicy",
    "bucket_lifecycle_configuration": "NoSuchLifecycleConfiguration",
}
ARGUMENT = {
    "public_access_block": "PublicAccessBlockConfiguration",
    "bucket_ownership_controls": "OwnershipControls",
    "bucket_policy": "Policy",
    "bucket_lifecycle_configuration": "LifecycleConfiguration",
}


class Refused(Exception):
    """What the SDK raises: an answer with a code."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class Account:
    """Buckets by name, what each has, and whatever was asked."""

    def __init__(self, *, url: str = "https://s3.eu-west-1.amazonaws.com") -> None:
        self.meta = self.events = self
        self.endpoint_url = url
        self.region_name = "eu-west-1"
        self.buckets: dict[str, dict[str, Any]] = {}
        self.refusing: dict[str, Refused] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.uploads: list[dict[str, Any]] = []

    def register_last(self, _event: str, _hook: Any) -> None:
        """The SDK's event system; nothing is sent from here."""

    def factory(self, _service: str, **_options: Any) -> Account:
        """Stand in for ``boto3.Session().client``."""
        return self

    def verbs(self, start: str = "") -> list[str]:
        """What was asked, by the start of its name."""
        return [verb for verb, _ in self.asked if verb.startswith(start)]

    def list_objects_v2(self, **params: Any) -> Any:
        """Tell whether the bucket is there, to who may list this prefix and no other."""
        self._note("list_objects_v2", params)
        assert params["Prefix"] in ("handoff/", "users/")
        if params["Bucket"] not in self.buckets:
            raise Refused("NoSuchBucket", 404)
        return {}

    def create_bucket(self, **params: Any) -> Any:
        """Make it, as Amazon does since 2023: everything shut."""
        self._note("create_bucket", params)
        owned = {"Rules": [{"ObjectOwnership": params.get("ObjectOwnership", "ObjectWriter")}]}
        self.buckets[params["Bucket"]] = {"bucket_ownership_controls": owned}

    def get_bucket_location(self, **params: Any) -> Any:
        """Name its region."""
        self._note("get_bucket_location", params)
        return {"LocationConstraint": self.buckets[params["Bucket"]].get("region", "eu-west-1")}

    def list_multipart_uploads(self, **params: Any) -> Any:
        """One upload to a page, to see whether all pages are read."""
        self._note("list_multipart_uploads", params)
        there = [u for u in self.uploads if u["Key"] > params.get("KeyMarker", "")]
        more = {"IsTruncated": True, "NextKeyMarker": there[0]["Key"]} if there[1:] else {}
        page = {**more, "NextUploadIdMarker": there[0]["UploadId"]} if more else {}
        return {"Uploads": there[:1], **page}

    def abort_multipart_upload(self, **params: Any) -> None:
        """Drop it."""
        self._note("abort_multipart_upload", params)
        self.uploads = [u for u in self.uploads if u["UploadId"] != params["UploadId"]]

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        """Read or write one aspect of a bucket."""
        how, _, aspect = verb.partition("_")
        if aspect not in ABSENT or how not in ("get", "put"):
            raise AttributeError(verb)
        return lambda **params: self._aspect(verb, how, aspect, params)

    def _aspect(self, verb: str, how: str, aspect: str, params: dict[str, Any]) -> Any:
        self._note(verb, params)
        there = self.buckets[params["Bucket"]]
        if how == "put":
            there[aspect] = copy.deepcopy(params[ARGUMENT[aspect]])
            return {}
        if aspect not in there:
            raise Refused(ABSENT[aspect], 404)
        found = copy.deepcopy(there[aspect])
        return found if aspect.startswith("bucket_life") else {ARGUMENT[aspect]: found}

    def _note(self, verb: str, params: dict[str, Any]) -> None:
        self.asked.append((verb, params))
        if verb in self.refusing:
            raise self.refusing[verb]


def config_of(**settings: Any) -> HandoffConfig:
    """The settings of an app, without their prefix."""
    given = {"bucket": "acme-uploads", "region": "eu-west-1", **settings}
    return HandoffConfig.from_mapping({f"S3HANDOFF_{n.upper()}": v for n, v in given.items()})


def admins_of(account: Account, config: HandoffConfig) -> list[BucketAdmin]:
    """An admin for each of its buckets."""
    return admins(config, factory=account.factory)
