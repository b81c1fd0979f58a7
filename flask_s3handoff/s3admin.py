"""A bucket as its operator sees it: how it is set up, and setting it up. No server asks for this.

An answer is plain data; what an endpoint has no notion of is ``Lacks``. Nothing is contacted
before the first verb.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from .config import HandoffConfig
from .errors import AlreadyExists, HandoffError, Unavailable
from .estate import Holding, holdings
from .s3bucket import Bucket
from .s3client import ClientFactory, Clients, translated
from .store import OCTET_STREAM

PUBLIC_ACCESS_FLAGS = (
    "BlockPublicAcls",
    "IgnorePublicAcls",
    "BlockPublicPolicy",
    "RestrictPublicBuckets",
)
ENFORCED = "BucketOwnerEnforced"
_LACKING = ("NotImplemented", "501", "MethodNotAllowed", "405", "NotSupported")
_NO_BUCKET = ("NoSuchBucket", "404")
_ABSENT = (
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "NoSuchBucketPolicy",
    "NoSuchLifecycleConfiguration",
)


class Lacks(Exception):
    """This endpoint knows no such thing."""


class Unfinished(NamedTuple):
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    initiated: datetime


class BucketAdmin:
    """One bucket of an app, read and written by verbs that need an operator's credentials."""

    def __init__(self, holding: Holding, clients: Clients) -> None:
        self.holding = holding
        self._bucket = Bucket(
            name=holding.name, clients=clients, region=holding.region, owner=holding.owner
        )

    def is_amazon(self) -> bool:
        """Tell whether Amazon is asked, which contacts nobody."""
        return self._bucket.is_amazon()

    def endpoint_url(self) -> str:
        """Return where this bucket is asked for, which contacts nobody."""
        with translated("client", self.holding.name):
            return str(self._bucket.client.meta.endpoint_url)

    def wanted_region(self) -> str | None:
        """Return the region of our settings, or of the SDK's chain."""
        with translated("client", self.holding.name):
            known: str | None = self._bucket.client.meta.region_name
        return self.holding.region or known

    def exists(self) -> bool:
        """Tell whether the bucket is there; ``Unavailable`` if it is somebody else's.

        Asked by a listing of our own prefix: who may list no more than that may not HEAD a bucket.
        """
        try:
            self._bucket.ask("list_objects_v2", Prefix=self.holding.prefixes[0], MaxKeys=1)
        except HandoffError as error:
            if error.facts.get("detail") in _NO_BUCKET:
                return False
            raise
        return True

    def region(self) -> str | None:
        """Return the region that the bucket lies in; only Amazon's has a meaning."""
        said = self._bucket.ask("get_bucket_location").get("LocationConstraint")
        if not self.is_amazon():
            return None
        return {None: "us-east-1", "EU": "eu-west-1"}.get(said) or str(said)

    def create(self, *, enforced: bool) -> None:
        """Make the bucket; elsewhere than at Amazon the endpoint itself says the region."""
        region = self.wanted_region() if self.is_amazon() else None
        place = {"LocationConstraint": region} if region and region != "us-east-1" else None
        options: dict[str, Any] = {"CreateBucketConfiguration": place} if place else {}
        if enforced:
            options["ObjectOwnership"] = ENFORCED
        with translated("create_bucket", self.holding.name):
            self._bucket.client.create_bucket(Bucket=self.holding.name, **options)

    def public_access(self) -> dict[str, bool]:
        """Return the four switches of Block Public Access."""
        answer = self._read("get_public_access_block") or {}
        said = answer.get("PublicAccessBlockConfiguration", {})
        return {flag: bool(said.get(flag)) for flag in PUBLIC_ACCESS_FLAGS}

    def set_public_access(self, flags: dict[str, bool]) -> None:
        """Set the four switches."""
        self._write("put_public_access_block", PublicAccessBlockConfiguration=flags)

    def ownership(self) -> str | None:
        """Return who owns what is written here: with ``BucketOwnerEnforced`` there are no ACLs."""
        answer = self._read("get_bucket_ownership_controls")
        if answer is None:
            return None
        # Ceph 16 takes the question for a listing, whose answer says nothing of it.
        if not (rules := answer.get("OwnershipControls", {}).get("Rules")):
            raise Lacks
        return str(rules[0]["ObjectOwnership"])

    def set_ownership(self, ownership: str) -> None:
        """Set who owns what is written here."""
        rules = {"Rules": [{"ObjectOwnership": ownership}]}
        self._write("put_bucket_ownership_controls", OwnershipControls=rules)

    def policy(self) -> dict[str, Any] | None:
        """Return the bucket policy."""
        answer = self._read("get_bucket_policy")
        policy: dict[str, Any] | None = json.loads(answer["Policy"]) if answer else None
        return policy

    def set_policy(self, policy: dict[str, Any]) -> None:
        """Set the bucket policy."""
        self._write("put_bucket_policy", Policy=json.dumps(policy))

    def lifecycle(self) -> list[dict[str, Any]]:
        """Return the lifecycle rules."""
        answer = self._read("get_bucket_lifecycle_configuration") or {}
        rules: list[dict[str, Any]] = answer.get("Rules", [])
        return rules

    def set_lifecycle(self, rules: list[dict[str, Any]]) -> None:
        """Replace the lifecycle rules, and keep what is said of all of them together."""
        answer = self._read("get_bucket_lifecycle_configuration") or {}
        name = "TransitionDefaultMinimumObjectSize"
        kept = {name: answer[name]} if name in answer else {}
        verb = "put_bucket_lifecycle_configuration"
        self._write(verb, LifecycleConfiguration={"Rules": rules}, **kept)

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Yield the multipart uploads below a prefix that are still open."""
        more: dict[str, str] = {}
        while True:
            page = self._bucket.ask("list_multipart_uploads", Prefix=prefix, **more)
            for each in page.get("Uploads", ()):
                yield Unfinished(each["Key"], each["UploadId"], each["Initiated"])
            marker = page.get("NextKeyMarker"), page.get("NextUploadIdMarker")
            if not page.get("IsTruncated") or not all(marker) or list(more.values()) == [*marker]:
                return
            more = {"KeyMarker": str(marker[0]), "UploadIdMarker": str(marker[1])}

    def abort(self, upload: Unfinished) -> None:
        """Drop an unfinished upload; one that is gone is dropped already."""
        try:
            self._bucket.ask("abort_multipart_upload", Key=upload.key, UploadId=upload.upload_id)
        except Unavailable as error:
            if error.facts["detail"] != "NoSuchUpload":
                raise

    def has_conditional_copy(self, source: str, key: str) -> bool:
        """Try to copy over an object that is there: tell whether the endpoint refuses (P9)."""
        origin = {"Bucket": self.holding.name, "Key": source}
        once, kind = {"If-None-Match": "*"}, {"ContentType": OCTET_STREAM}
        replaced = {"MetadataDirective": "REPLACE", **kind}
        try:
            self._bucket.ask("copy_object", once, Key=key, CopySource=origin, **replaced)
        except AlreadyExists:
            return True
        except HandoffError as error:
            if error.facts.get("detail") not in _LACKING:
                raise
        return False

    def _read(self, verb: str) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = self._bucket.ask(verb)
        except HandoffError as error:
            if error.facts.get("detail") in _ABSENT:
                return None
            _raise_if_lacking(error)
            raise
        return answer

    def _write(self, verb: str, **params: Any) -> None:
        try:
            self._bucket.ask(verb, **params)
        except HandoffError as error:
            _raise_if_lacking(error)
            raise


def _raise_if_lacking(error: HandoffError) -> None:
    if error.facts.get("detail") in _LACKING:
        raise Lacks from error


def admins(config: HandoffConfig, *, factory: ClientFactory | None = None) -> list[BucketAdmin]:
    """Return an admin for each bucket of an app, staging's first."""
    clients = Clients(
        endpoint_url=config.endpoint_url,
        deadline_seconds=config.deadline_seconds,
        factory=factory,
    )
    return [BucketAdmin(holding, clients) for holding in holdings(config)]
