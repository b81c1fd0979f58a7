"""How a bucket is set up, judged: where it lies, who gets in, what empties it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .config import HandoffConfig
from .errors import HandoffError
from .lifecycle import SETUP, faults, staging_days
from .policies import opened_to_all, refuses_plain_http
from .probe import SHUT, Finding
from .provision import flags_to_shut, reason_of
from .s3admin import ENFORCED, BucketAdmin, Lacks

OPERATOR = "run it with the permissions of `flask s3handoff policy --for operator`"

_KEYS_REFUSED = (
    *("SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken", "InvalidToken"),
    *("NoCredentialsError", "PartialCredentialsError"),
)
_NO_ANSWER = ("ConnectionError", "TimeoutError", "SSLError", "ConnectionClosedError")


def bucket_findings(
    admin: BucketAdmin, config: HandoffConfig, host_region: Callable[[], str | None]
) -> Iterator[Finding]:
    """Judge one bucket; what these credentials may not see is a warning."""
    name = f"bucket {admin.holding.name}"
    try:
        if not admin.exists():
            yield Finding(name, "failure", "is not there", SETUP)
            return
    except HandoffError as error:
        yield Finding(name, "failure", reason_of(error), _mend(error))
        return
    yield Finding(name, "ok", "is there")
    if admin.holding.is_access_point:
        return
    yield from _seen("region", lambda: _region(admin, host_region))
    yield from _seen("ownership", lambda: _ownership(admin))
    yield from _seen("public access", lambda: _public_access(admin))
    yield from _seen("TLS only", lambda: _policy(admin))
    yield from _seen("lifecycle", lambda: _lifecycle(admin, config))


def _mend(error: HandoffError) -> str:
    detail = str(error.facts.get("detail"))
    if detail in _KEYS_REFUSED:
        return "the credentials that the SDK's chain finds"
    if detail.endswith(_NO_ANSWER):
        return "S3HANDOFF_ENDPOINT_URL, the network"
    return "S3HANDOFF_BUCKET, S3HANDOFF_BUCKET_OWNER"


def _seen(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Lacks:
        yield Finding(name, "ok", "this endpoint has no such thing")
    except HandoffError as error:
        yield Finding(name, "warning", f"cannot be seen: {reason_of(error)}", OPERATOR)


def _region(admin: BucketAdmin, host_region: Callable[[], str | None]) -> Iterator[Finding]:
    region = admin.region()
    if region is None:
        return
    if region != (wanted := admin.wanted_region()):
        text = f"the bucket lies in {region}, and {wanted} is asked first"
        yield Finding("region", "warning", text, f"S3HANDOFF_REGION = {region!r}")
    elif (host := host_region()) and host != region:
        text = f"the bucket lies in {region}, this host in {host}: every file pays for the way"
        yield Finding("region", "warning", text, f"a bucket in {host}")
    else:
        yield Finding("region", "ok", region)


def _ownership(admin: BucketAdmin) -> Iterator[Finding]:
    ownership = admin.ownership()
    acls = [place.prefix for place in admin.holding.places if place.acl]
    if ownership == ENFORCED and acls:
        text = f"ACLs are off, and {acls[0]} sends one: promote() will fail"
        yield Finding("ownership", "failure", text, "take 'acl' out of S3HANDOFF_PLACES")
    elif ownership == ENFORCED:
        yield Finding("ownership", "ok", "the bucket's owner owns all, ACLs are off")
    elif acls:
        text = f"ACLs are on, as {acls[0]} wants it"
        yield Finding("ownership", "warning", text, "a CDN and 'public_url' are safer than an ACL")
    else:
        yield Finding("ownership", "warning", "ACLs are on, and nothing needs them", SETUP)


def _public_access(admin: BucketAdmin) -> Iterator[Finding]:
    flags = admin.public_access()
    is_open = [flag for flag in flags_to_shut(admin) if not flags[flag]]
    public = [place.prefix for place in admin.holding.places if "public" in (place.acl or "")]
    if public and admin.holding.staging:
        text = f"{public[0]} is public, and staging lies in the same bucket"
        yield Finding("public access", "warning", text, "a 'bucket' of its own for that place")
    elif flags["BlockPublicAcls"] and not admin.is_amazon():
        text = "BlockPublicAcls is on, with which Ceph up to 20.2 refuses every PUT"
        yield Finding("public access", "warning", text, "switch this one off, IgnorePublicAcls on")
    elif is_open:
        text = f"is not blocked: {', '.join(is_open)}"
        yield Finding("public access", "warning", text, SETUP)
    else:
        yield Finding("public access", "ok", "is blocked")


def _policy(admin: BucketAdmin) -> Iterator[Finding]:
    policy = admin.policy()
    if admin.holding.staging:
        key = admin.holding.arn(f"{admin.holding.staging}any")
        if by := opened_to_all(policy, key):
            text = f"the bucket policy opens it to everybody: statement {', '.join(by)}"
            yield Finding("staging", "failure", text, SHUT)
    if admin.endpoint_url().startswith("http://"):
        text = f"{admin.endpoint_url()} is asked by plain HTTP: files travel readable by others"
        yield Finding("TLS only", "warning", text, "S3HANDOFF_ENDPOINT_URL = 'https://…'")
    elif refuses_plain_http(policy):
        yield Finding("TLS only", "ok", "plain HTTP is refused")
    else:
        yield Finding("TLS only", "warning", "the bucket still answers to plain HTTP", SETUP)


def _lifecycle(admin: BucketAdmin, config: HandoffConfig) -> Iterator[Finding]:
    found = list(faults(admin.lifecycle(), admin.holding, config.token_max_age_seconds))
    for fault in found:
        yield Finding("lifecycle", "failure" if fault.fatal else "warning", fault.text, fault.mend)
    if found:
        return
    if admin.holding.staging:
        age = f"tokens live {config.token_max_age_seconds} s"
        days = staging_days(config.token_max_age_seconds)
        yield Finding("lifecycle", "ok", f"staging is emptied, after {days} days or later; {age}")
    else:
        yield Finding("lifecycle", "ok", "deletes nothing of ours")
