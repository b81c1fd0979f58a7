"""S3Store: the store protocol over S3 and what speaks S3.

Nothing is contacted, and boto3 not even imported, before the first verb (rule 8). Each key goes to
the bucket of the longest place that it lies below, else to the default bucket.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC
from typing import Any
from urllib.parse import quote

from .config import HandoffConfig, Place
from .errors import AlreadyExists, ConfigError, Corrupt, InvalidKey, Missing, Unavailable
from .paths import check_key, check_prefix
from .ranges import Span, fill
from .s3bucket import Arriving, Bucket, S3Opened, Timed, Upload, said
from .s3client import ClientFactory, Clients, translated
from .store import AWS, UNKNOWN_ENDPOINT, Capabilities, Content, Entry, Kind

log = logging.getLogger("flask_s3handoff")

_NOT_IMPLEMENTED = ("NotImplemented", "501")


class S3Store:
    """A store in one bucket or several.

    >>> S3Store(bucket="acme-uploads", region="eu-central-1")
    S3Store('acme-uploads')

    ``capabilities`` says what the endpoint lacks: ``store.CEPH_RGW`` and its neighbours are those
    that were run. ``client_factory`` stands in for ``boto3.Session().client``.
    """

    def __init__(
        self,
        *,
        bucket: str,
        region: str | None = None,
        endpoint_url: str | None = None,
        owner: str | None = None,
        sse: str | None = None,
        kms_key_id: str | None = None,
        places: Sequence[Place] = (),
        deadline_seconds: float = 20.0,
        capabilities: Capabilities | None = None,
        client_factory: ClientFactory | None = None,
    ) -> None:
        self._capabilities = capabilities
        self._deadline_seconds = deadline_seconds
        self._encryption = _encryption(sse, kms_key_id)
        clients = Clients(
            endpoint_url=endpoint_url, deadline_seconds=deadline_seconds, factory=client_factory
        )
        default = Bucket(name=bucket, clients=clients, region=region, owner=owner)
        self._buckets = [*_longest_first(places, default), default]
        if capabilities and not capabilities.acls and any(place.acl for place in places):
            raise ConfigError(
                "S3HANDOFF_PLACES names an 'acl', which this endpoint drops silently."
            )

    @classmethod
    def from_config(cls, config: HandoffConfig) -> S3Store:
        """Make the store that an app has configured."""
        if config.bucket is None:
            raise ConfigError("S3HANDOFF_BUCKET is missing.")
        return cls(
            bucket=config.bucket,
            region=config.region,
            endpoint_url=config.endpoint_url,
            owner=config.bucket_owner,
            sse=config.sse,
            kms_key_id=config.kms_key_id,
            places=config.places,
            deadline_seconds=config.deadline_seconds,
        )

    def __repr__(self) -> str:
        return f"S3Store({self._buckets[-1].name!r})"

    @property
    def capabilities(self) -> Capabilities:
        """What this endpoint does: as declared, else by its name, and as it has answered since."""
        if self._capabilities is None:
            self._capabilities = AWS if self._buckets[-1].is_amazon() else UNKNOWN_ENDPOINT
        return self._capabilities

    def put(
        self,
        key: str,
        body: Content,
        *,
        size: int,
        sha256: str,
        kind: Kind,
        if_absent: bool = False,
    ) -> str:
        """Store at most 5 GiB in one request, whose digest S3 checks itself.

        With ``if_absent``, on an endpoint without conditional PUTs, we look first: a writer between
        the look and the PUT is overwritten.
        """
        bucket = self._bucket_of(key)
        once = self._once(key, self.capabilities.conditional_put) if if_absent else {}
        try:
            answer = bucket.ask(
                "put_object",
                once,
                Key=key,
                Body=Timed(body, size, self._deadline_seconds),
                ContentLength=size,
                ChecksumSHA256=_base64(sha256),
                Metadata={"sha256": sha256},
                **self._stored(bucket, kind),
            )
        except AlreadyExists as error:
            # Was the first answer lost, and did the next attempt meet the first one's object?
            if not error.facts.get("retries") or (entry := self.stat(key)).sha256 != sha256:
                raise
            return entry.etag
        return str(answer.get("ETag", ""))

    def begin(self, key: str, *, kind: Kind) -> Upload:
        """Start a multipart upload; all parts but the last have at least 5 MiB."""
        bucket = self._bucket_of(key)
        begun = bucket.ask("create_multipart_upload", Key=key, **self._stored(bucket, kind))
        return Upload(
            bucket=bucket,
            key=key,
            upload_id=said(begun, "UploadId"),
            seconds=self._deadline_seconds,
        )

    def fetch(
        self, key: str, fd: int, *, size: int, progress: Callable[[int], None], until: float
    ) -> None:
        """Fetch by one plain GET up to 8 MiB, by parallel ranges above."""
        bucket = self._bucket_of(key)

        def get(span: Span) -> Arriving:
            wanted = {} if span.whole else {"Range": f"bytes={span.start}-{span.stop - 1}"}
            answer = bucket.ask("get_object", Key=key, **wanted)
            body = Arriving(answer["Body"])
            if not _is_answer_to(span, size, answer):
                body.close()
                raise Corrupt("The store has another length than was signed.")
            return body

        fill(fd, size, get, progress=progress, until=until)

    def open(self, key: str, *, unless: str = "") -> S3Opened:
        """Open the object for streaming, by one GET."""
        changed = {"IfNoneMatch": unless} if unless else {}
        answer = self._bucket_of(key).ask("get_object", Key=key, **changed)
        try:
            return S3Opened(answer["Body"], _entry(key, answer), self._deadline_seconds)
        except Unavailable:
            answer["Body"].close()
            raise

    def stat(self, key: str) -> Entry:
        """Tell about the object, by one HEAD."""
        return _entry(key, self._bucket_of(key).ask("head_object", Key=key))

    def copy(self, source: str, key: str, *, kind: Kind, sha256: str, overwrite: bool) -> None:
        """Copy at most 5 GiB inside S3; the two buckets may differ.

        Without ``overwrite`` the copy is conditional where the endpoint can do that. Elsewhere we
        look first: a writer between the look and the copy is overwritten (docs/decisions/0010).
        """
        try:
            once = {} if overwrite else self._once(key, self.capabilities.conditional_copy)
            self._copy(source, key, kind, sha256, once)
        except AlreadyExists:
            if self.stat(key).sha256 != sha256:
                raise
        except Unavailable as error:
            if overwrite or not self._lacks_conditional_copy(error):
                raise
            self.copy(source, key, kind=kind, sha256=sha256, overwrite=False)

    def delete(self, key: str) -> None:
        """Delete the object; one that is not there is deleted already."""
        with suppress(Missing):
            self._bucket_of(key).ask("delete_object", Key=key)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield what lies below a prefix, 1,000 objects to a request, made when they are needed.

        Keys that no verb of ours takes, such as a console's folder markers, are left out (B83).
        """
        bucket = self._bucket_of(check_prefix(prefix)[:-1], prefix)
        more: dict[str, str] = {}
        while True:
            page = bucket.ask("list_objects_v2", Prefix=prefix, **more)
            yield from (_entry(found["Key"], found) for found in _ours(prefix, page))
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not token or token == more.get("ContinuationToken"):
                return
            more = {"ContinuationToken": token}

    def url(self, key: str, *, expires_seconds: int, kind: Kind | None = None) -> str:
        """Return the place's public address of the key, or a presigned GET.

        A presigned address ends with the credentials that signed it, if that is sooner (P3).
        """
        bucket = self._bucket_of(key)
        if bucket.public_url:
            return f"{bucket.public_url.rstrip('/')}/{quote(key)}"
        # The owner is not named: that is a header, and browsers do not send it.
        served = {"Bucket": bucket.name, "Key": key, **_served_as(kind)}
        with translated("presign", key):
            return str(
                bucket.client.generate_presigned_url(
                    "get_object", Params=served, ExpiresIn=expires_seconds
                )
            )

    def _bucket_of(self, key: str, below: str | None = None) -> Bucket:
        check_key(key)
        return next(b for b in self._buckets if (below or key).startswith(b.prefix))

    def _stored(self, bucket: Bucket, kind: Kind) -> dict[str, Any]:
        """Return what is said of every new object; an ACL only where a place names one (P1)."""
        acl = {"ACL": bucket.acl} if bucket.acl else {}
        return {
            "ContentType": kind.content_type,
            "ContentDisposition": kind.disposition,
            **self._encryption,
            **acl,
        }

    def _copy(self, source: str, key: str, kind: Kind, sha256: str, once: dict[str, str]) -> None:
        origin, bucket = self._bucket_of(source), self._bucket_of(key)
        owner = {"ExpectedSourceBucketOwner": origin.owner} if origin.owner else {}
        checked = {"ChecksumAlgorithm": "SHA256"} if self.capabilities.checksums else {}
        answer = bucket.ask(
            "copy_object",
            once,
            Key=key,
            CopySource={"Bucket": origin.name, "Key": source},
            MetadataDirective="REPLACE",
            Metadata={"sha256": sha256},
            **self._stored(bucket, kind),
            **owner,
            **checked,
        )
        if not _is_copy(answer, sha256):
            self.delete(key)
            raise Corrupt("The store copied other bytes than were signed.")

    def _lacks_conditional_copy(self, error: Unavailable) -> bool:
        """Tell whether the endpoint has just said so, and remember it (P9)."""
        if not self.capabilities.conditional_copy or error.facts["detail"] not in _NOT_IMPLEMENTED:
            return False
        log.warning("This endpoint copies without conditions: from now on we look before a copy")
        self._capabilities = replace(self.capabilities, conditional_copy=False)
        return True

    def _once(self, key: str, conditional: bool) -> dict[str, str]:
        """Return the header by which the key must be free, or look whether it is."""
        if conditional:
            return {"If-None-Match": "*"}
        try:
            self.stat(key)
        except Missing as missing:
            if missing.facts.get("status") != 404:
                # Without s3:ListBucket nobody tells us what is there, so nothing is overwritten.
                raise Unavailable(**missing.facts) from missing
            return {}
        raise AlreadyExists


def _encryption(sse: str | None, kms_key_id: str | None) -> dict[str, str]:
    """Return what asks for encryption at rest; without it the bucket's own default holds (P5)."""
    kms = {"SSEKMSKeyId": kms_key_id} if kms_key_id else {}
    sse = sse or ("aws:kms" if kms_key_id else None)
    return ({"ServerSideEncryption": sse} if sse else {}) | kms


def _longest_first(places: Sequence[Place], default: Bucket) -> list[Bucket]:
    """Return the places' buckets; what a place leaves out is as for the default bucket."""
    return [
        replace(
            default,
            name=place.bucket or default.name,
            prefix=place.prefix,
            region=place.region or default.region,
            owner=place.owner or default.owner,
            acl=place.acl,
            public_url=place.public_url,
        )
        for place in sorted(places, key=lambda place: -len(place.prefix))
    ]


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def _served_as(kind: Kind | None) -> dict[str, str]:
    if kind is None:
        return {}
    return {
        "ResponseContentType": kind.content_type,
        "ResponseContentDisposition": kind.disposition,
    }


def _is_answer_to(span: Span, size: int, answer: dict[str, Any]) -> bool:
    """Judge status and lengths: the answer to a range may be another range, or everything (B79)."""
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    if span.whole:
        return bool(status == 200 and answer.get("ContentLength", size) == size)
    return status == 206 and answer.get("ContentRange") == (
        f"bytes {span.start}-{span.stop - 1}/{size}"
    )


def _is_copy(answer: dict[str, Any], sha256: str) -> bool:
    """Compare the digest, where the endpoint gives one of the whole object (not of its parts)."""
    digest = answer.get("CopyObjectResult", {}).get("ChecksumSHA256") or ""
    return not digest or "-" in digest or digest == _base64(sha256)


def _entry(key: str, answer: dict[str, Any]) -> Entry:
    """Read a GET's, a HEAD's or a listing's answer; some servers change the case of names."""
    metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
    return Entry(
        key=key,
        size=said(answer, "ContentLength", "Size"),
        last_modified=said(answer, "LastModified").astimezone(UTC),
        content_type=answer.get("ContentType"),
        sha256=metadata.get("sha256"),
        etag=answer.get("ETag", ""),
    )


def _ours(prefix: str, page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for found in page.get("Contents", ()):
        with suppress(InvalidKey):
            if check_key(found.get("Key")).startswith(prefix):
                yield found
