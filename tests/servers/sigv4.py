"""Signature Version 4, judged as S3 judges it: headers, presigned queries, POST policies.

Written from the specification and not over botocore, so that the SDK's signer and this page check
each other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW = timedelta(minutes=15)
MAX_EXPIRES_SECONDS = 7 * 86_400
UNSIGNED = "UNSIGNED-PAYLOAD"
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{{64}})"
)


class Refused(Exception):
    """S3 says no: a status, a code, what else the document tells and the headers of the answer."""

    def __init__(self, status: int, code: str, message: str = "", **details: str) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.code = code
        self.details = {"Message": message, **details}


@dataclass(frozen=True)
class Key:
    """The secret of an access key; a temporary one has a session token and an end."""

    secret: str
    token: str | None = None
    ends: datetime | None = None


@dataclass(frozen=True)
class Judge:
    """Who may ask, of which region, at what time."""

    keys: Mapping[str, Key]
    region: str
    now: datetime

    def check(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """Raise ``Refused`` unless the request is signed, by its headers or by its query."""
        query = parse_qsl(urlsplit(target).query, keep_blank_values=True)
        if "authorization" in headers:
            self._check_headers(method, target, query, headers, body)
        elif "X-Amz-Signature" in dict(query):
            self._check_query(method, target, query, headers)
        else:
            raise Refused(403, "AccessDenied", "not signed")

    def _check_headers(
        self,
        method: str,
        target: str,
        query: list[tuple[str, str]],
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        match = _AUTHORIZATION.fullmatch(headers["authorization"])
        if match is None:
            raise Refused(400, "AuthorizationHeaderMalformed")
        credential, signed, signature = match.groups()
        names = signed.split(";")
        must = [name for name in headers if name.startswith("x-amz-")] + ["host"]
        if unsigned := sorted(set(must) - set(names)):
            raise Refused(403, "AccessDenied", f"headers that are not signed: {unsigned}")
        stamp = headers.get("x-amz-date", "")
        if abs(_moment(stamp) - self.now) > SKEW:
            raise Refused(403, "RequestTimeTooSkewed")
        key = self._key_of(credential, stamp, headers.get("x-amz-security-token"))
        payload = headers.get("x-amz-content-sha256", "")
        self._compare(
            signature,
            key,
            credential,
            stamp,
            _canonical(method, target, query, headers, names, payload),
        )
        _check_payload(payload, body)

    def _check_query(
        self, method: str, target: str, query: list[tuple[str, str]], headers: Mapping[str, str]
    ) -> None:
        said = dict(query)
        stamp, credential = said.get("X-Amz-Date", ""), said.get("X-Amz-Credential", "")
        seconds = said.get("X-Amz-Expires", "")
        if said.get("X-Amz-Algorithm") != ALGORITHM or not seconds.isdecimal():
            raise Refused(400, "AuthorizationQueryParametersError")
        if not 0 < int(seconds) <= MAX_EXPIRES_SECONDS:
            raise Refused(400, "AuthorizationQueryParametersError", "X-Amz-Expires")
        key = self._key_of(credential, stamp, said.get("X-Amz-Security-Token"))
        names = said.get("X-Amz-SignedHeaders", "").split(";")
        rest = [pair for pair in query if pair[0] != "X-Amz-Signature"]
        self._compare(
            said["X-Amz-Signature"],
            key,
            credential,
            stamp,
            _canonical(method, target, rest, headers, names, UNSIGNED),
        )
        if self.now > _moment(stamp) + timedelta(seconds=int(seconds)):
            raise Refused(403, "AccessDenied", "Request has expired")

    def check_post(self, fields: Mapping[str, str], file: bytes) -> None:
        """Judge a browser's POST: the policy's signature, its end, and each of its conditions."""
        said = {name.lower(): value for name, value in fields.items()}
        policy, credential = said.get("policy", ""), said.get("x-amz-credential", "")
        stamp = said.get("x-amz-date", "")
        if said.get("x-amz-algorithm") != ALGORITHM:
            raise Refused(403, "AccessDenied", "not signed")
        key = self._key_of(credential, stamp, said.get("x-amz-security-token"))
        wanted = _sign(_signing_key(key.secret, credential), policy)
        if not hmac.compare_digest(wanted, said.get("x-amz-signature", "")):
            raise Refused(403, "SignatureDoesNotMatch")
        document = _decoded(policy)
        if self.now > datetime.fromisoformat(document["expiration"].replace("Z", "+00:00")):
            raise Refused(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
        _check_conditions(document["conditions"], said, len(file))

    def _key_of(self, credential: str, stamp: str, token: str | None) -> Key:
        parts = credential.split("/")
        if len(parts) != 5 or parts[1] != stamp[:8] or parts[3:] != ["s3", "aws4_request"]:
            raise Refused(400, "AuthorizationHeaderMalformed", "the credential's scope")
        if parts[2] != self.region:
            raise Refused(
                400, "AuthorizationHeaderMalformed", "the region is wrong", Region=self.region
            )
        key = self.keys.get(parts[0])
        if key is None:
            raise Refused(403, "InvalidAccessKeyId")
        if key.ends is not None and self.now >= key.ends:
            raise Refused(400, "ExpiredToken")
        if key.token != token:
            raise Refused(400, "InvalidToken")
        return key

    def _compare(
        self, signature: str, key: Key, credential: str, stamp: str, canonical: str
    ) -> None:
        scope = credential.partition("/")[2]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join([ALGORITHM, stamp, scope, digest])
        if not hmac.compare_digest(_sign(_signing_key(key.secret, credential), text), signature):
            raise Refused(403, "SignatureDoesNotMatch")


def _moment(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused(403, "AccessDenied", "no x-amz-date") from None


def _canonical(
    method: str,
    target: str,
    query: list[tuple[str, str]],
    headers: Mapping[str, str],
    names: list[str],
    payload: str,
) -> str:
    """Write the request as both sides must have signed it; S3 encodes the path once."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}" for name in names]
    path = quote(unquote(urlsplit(target).path), safe="/-_.~")
    asked = "&".join(f"{name}={value}" for name, value in pairs)
    return "\n".join([method, path, asked, *lines, "", ";".join(names), payload])


def _check_payload(payload: str, body: bytes) -> None:
    if payload.startswith("STREAMING-"):
        raise Refused(501, "NotImplemented", "aws-chunked bodies and trailers are not taken here")
    if payload != UNSIGNED and payload != hashlib.sha256(body).hexdigest():
        raise Refused(400, "XAmzContentSHA256Mismatch")


def _signing_key(secret: str, credential: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in credential.split("/")[1:]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _sign(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _decoded(policy: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(base64.b64decode(policy, validate=True))
    except (ValueError, binascii.Error):
        raise Refused(400, "InvalidPolicyDocument") from None
    return document


_UNJUDGED = ("policy", "x-amz-signature", "file")


def _check_conditions(conditions: list[Any], fields: Mapping[str, str], size: int) -> None:
    """Every condition holds, and every field is in a condition."""
    judged: set[str] = set()
    for condition in conditions:
        rule = _as_list(condition)
        if rule[0] == "content-length-range":
            if not int(rule[1]) <= size <= int(rule[2]):
                raise Refused(400, "EntityTooLarge" if size > int(rule[2]) else "EntityTooSmall")
            continue
        name, value = rule[1].lstrip("$").lower(), fields.get(rule[1].lstrip("$").lower(), "")
        judged.add(name)
        holds = value.startswith(rule[2]) if rule[0] == "starts-with" else value == rule[2]
        if not holds:
            raise Refused(403, "AccessDenied", f"Invalid according to Policy: {name}")
    extra = {name for name in fields if not name.startswith("x-ignore-")} - judged
    if extra := extra - set(_UNJUDGED):
        raise Refused(403, "AccessDenied", f"Extra input fields: {sorted(extra)}")


def _as_list(condition: Any) -> list[Any]:
    if isinstance(condition, dict):
        ((name, value),) = condition.items()
        return ["eq", f"${name}", value]
    return list(condition)
