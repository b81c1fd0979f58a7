"""Setting a bucket up, step by step: what is there, what is wanted, and the difference.

Every step merges: what others wrote stays, and nothing that is shut is opened. So a second run
changes nothing.
"""

from __future__ import annotations

import difflib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .config import HandoffConfig
from .errors import HandoffError
from .lifecycle import merged as merged_rules
from .lifecycle import rules
from .policies import merged as merged_policy
from .policies import opened_to_all, refuses_plain_http, tls_only
from .s3admin import ENFORCED, PUBLIC_ACCESS_FLAGS, BucketAdmin, Lacks
from .s3client import DENIED

State = Literal["ok", "changed", "needed", "skipped", "failed"]
_TAKEN = ("BucketAlreadyExists", *DENIED)
_OUR_OWN = "BucketAlreadyOwnedByYou"


@dataclass(frozen=True, kw_only=True)
class Step:
    """What came of one step of a set-up."""

    bucket: str
    name: str
    state: State
    text: str
    before: Any = None
    wanted: Any = None

    @property
    def diff(self) -> list[str]:
        """The lines that differ, as ``diff -u`` writes them."""
        if self.state not in ("changed", "needed"):
            return []
        before, wanted = (_lines(value) for value in (self.before, self.wanted))
        return list(difflib.unified_diff(before, wanted, lineterm="", n=2))[2:]


@dataclass(frozen=True, kw_only=True)
class _Aspect:
    """One thing that a bucket has: how it is read, what it should be, how it is written."""

    name: str
    read: Callable[[], Any]
    wanted: Callable[[Any], Any]
    write: Callable[[Any], None]
    absent: Any = None
    why_not: str | None = None


def set_up(admin: BucketAdmin, config: HandoffConfig, *, dry_run: bool) -> Iterator[Step]:
    """Set one bucket up, or tell what that would change."""
    if admin.holding.is_access_point:
        yield _step(admin, "bucket", "skipped", "an access point: set up the bucket behind it")
        return
    first = _bucket(admin, dry_run)
    yield first
    if first.state == "failed":
        return
    is_new = first.state == "needed"
    for aspect in (
        _public_access(admin, is_new),
        _ownership(admin),
        _tls(admin),
        _rules(admin, config),
    ):
        yield _settled(admin, aspect, dry_run=dry_run, is_new=is_new)


def _bucket(admin: BucketAdmin, dry_run: bool) -> Step:
    region = admin.wanted_region()
    where = f"in {region}" if admin.is_amazon() else f"at {admin.endpoint_url()}"
    try:
        if admin.exists():
            return _step(admin, "bucket", "ok", "is there")
        if dry_run:
            return _step(admin, "bucket", "needed", f"would be created {where}", wanted=where)
        admin.create(enforced=not _sends_acls(admin))
    except HandoffError as error:
        if error.facts.get("detail") == _OUR_OWN:
            return _step(admin, "bucket", "ok", "is there")
        return _step(admin, "bucket", "failed", _why_no_bucket(admin, error))
    return _step(admin, "bucket", "changed", f"created {where}", wanted=where)


def _why_no_bucket(admin: BucketAdmin, error: HandoffError) -> str:
    detail = error.facts.get("detail")
    if detail not in _TAKEN:
        return reason_of(error)
    return (
        f"the name is taken, or is not yours to use ({detail}): names are shared by all accounts."
        f" A free one is surely {unique_name(admin)!r}"
    )


def unique_name(admin: BucketAdmin) -> str:
    """Return a name that nobody has: with account and region in it, or with some dice."""
    holding = admin.holding
    known = [part for part in (holding.owner, holding.region) if part]
    tail = "-".join(known) if len(known) == 2 else secrets.token_hex(4)
    return f"{holding.name[: 62 - len(tail)]}-{tail}"


def _public_access(admin: BucketAdmin, is_new: bool) -> _Aspect:
    shut = flags_to_shut(admin)

    def wanted(there: dict[str, bool]) -> dict[str, bool]:
        return {flag: flag in shut or there[flag] for flag in PUBLIC_ACCESS_FLAGS}

    return _Aspect(
        name="public access",
        read=admin.public_access,
        wanted=wanted,
        write=admin.set_public_access,
        absent=dict.fromkeys(PUBLIC_ACCESS_FLAGS, False),
        why_not=None if is_new else _why_open(admin),
    )


def _why_open(admin: BucketAdmin) -> str | None:
    """Say who has opened the bucket on purpose, for a web site perhaps: that is not ours to end."""
    try:
        policy = admin.policy()
    except (HandoffError, Lacks):
        return None
    keys = (admin.holding.arn(f"{prefix}any") for prefix in admin.holding.prefixes)
    by = dict.fromkeys(name for key in keys for name in opened_to_all(policy, key))
    opened = f"the bucket policy opens it to everybody: statement {', '.join(by)}"
    return f"{opened}. Take that away first, if it is not meant" if by else None


def flags_to_shut(admin: BucketAdmin) -> list[str]:
    """Return the switches of Block Public Access that should be on.

    Not those for ACLs where a place sends a public one. And elsewhere than at Amazon not the one by
    which Ceph, for years, refused every PUT (docs/decisions/0087); public ACLs are ignored there.
    """
    is_public = any("public" in (place.acl or "") for place in admin.holding.places)
    acls = [] if is_public else ["IgnorePublicAcls"]
    acls += ["BlockPublicAcls"] if admin.is_amazon() and not is_public else []
    return [*acls, "BlockPublicPolicy", "RestrictPublicBuckets"]


def _ownership(admin: BucketAdmin) -> _Aspect:
    acls = ", ".join(place.prefix for place in admin.holding.places if place.acl)
    return _Aspect(
        name="ownership",
        read=admin.ownership,
        wanted=lambda _there: ENFORCED,
        write=admin.set_ownership,
        why_not=f"{acls} sends an ACL, which needs an owner that is not enforced" if acls else None,
    )


def _sends_acls(admin: BucketAdmin) -> bool:
    return any(place.acl for place in admin.holding.places)


def _tls(admin: BucketAdmin) -> _Aspect:
    plain = admin.endpoint_url().startswith("http://")

    def wanted(there: Any) -> Any:
        return there if refuses_plain_http(there) else merged_policy(there, tls_only(admin.holding))

    return _Aspect(
        name="TLS only",
        read=admin.policy,
        wanted=wanted,
        write=admin.set_policy,
        why_not="this endpoint is asked by plain HTTP, and would shut us out" if plain else None,
    )


def _rules(admin: BucketAdmin, config: HandoffConfig) -> _Aspect:
    ours = rules(admin.holding, config.token_max_age_seconds)
    return _Aspect(
        name="lifecycle",
        read=admin.lifecycle,
        wanted=lambda there: merged_rules(there, ours),
        write=admin.set_lifecycle,
        absent=[],
        why_not=None if ours else "nothing is staged here",
    )


def _settled(admin: BucketAdmin, aspect: _Aspect, *, dry_run: bool, is_new: bool) -> Step:
    if aspect.why_not:
        return _step(admin, aspect.name, "skipped", aspect.why_not)
    try:
        before = aspect.absent if is_new else aspect.read()
        wanted = aspect.wanted(before)
        if before == wanted:
            return _step(admin, aspect.name, "ok", "is as it should be", before, wanted)
        if dry_run:
            return _step(admin, aspect.name, "needed", "would be changed", before, wanted)
        aspect.write(wanted)
    except Lacks:
        return _step(admin, aspect.name, "skipped", "this endpoint has no such thing")
    except HandoffError as error:
        return _step(admin, aspect.name, "failed", reason_of(error))
    return _step(admin, aspect.name, "changed", "changed", before, wanted)


def reason_of(error: HandoffError) -> str:
    """Say what the store said, for an operator, and what it takes if it was a refusal."""
    detail = error.facts.get("detail") or error.reason
    if detail in DENIED:
        verb = error.facts.get("verb")
        return f"{verb} is denied: `flask s3handoff policy --for operator` says what it takes"
    return f"{error.facts.get('verb', 'it')} failed: {detail}"


def _step(
    admin: BucketAdmin, name: str, state: State, text: str, before: Any = None, wanted: Any = None
) -> Step:
    bucket = admin.holding.name
    return Step(bucket=bucket, name=name, state=state, text=text, before=before, wanted=wanted)


def _lines(value: Any) -> list[str]:
    if value in (None, [], {}):
        return []
    return [value] if isinstance(value, str) else json.dumps(value, indent=2).splitlines()
