"""Who may do what: the least that an app's servers and its operator need, and who must stay out.

Pure: settings in, statements out, each with its reason. Nothing is contacted.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .config import HandoffConfig
from .estate import Holding, holdings, partition

VERSION = "2012-10-17"
TLS_SID = "S3HandoffTlsOnly"

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What is allowed, and why: an IAM document has no room for the reason."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    reason: str
    condition: Mapping[str, Any] | None = None

    def as_iam(self) -> Document:
        """Return the statement as IAM reads it."""
        condition = {"Condition": self.condition} if self.condition else {}
        allowed = {"Action": list(self.actions), "Resource": list(self.resources)}
        return {"Sid": self.sid, "Effect": "Allow", **allowed, **condition}


def document(statements: Sequence[Statement]) -> Document:
    """Return the whole policy document."""
    return {"Version": VERSION, "Statement": [statement.as_iam() for statement in statements]}


def for_servers(config: HandoffConfig) -> list[Statement]:
    """Return the least that the servers of an app need, a statement for each thing they do."""
    buckets = holdings(config)
    everything = _objects(buckets, lambda holding: holding.prefixes)
    kept = _objects(buckets, lambda holding: holding.place_prefixes)
    with_acl = _objects(buckets, lambda holding: [p.prefix for p in holding.places if p.acl])
    folders = " and what is in folders" if any(place.path for place in config.places) else ""
    written = f"store uploads, edits, promoted files{folders}"
    return [
        _allow("Write", ("PutObject",), everything, written),
        _allow("Read", ("GetObject",), everything, "fetch, promote and presign them"),
        _allow("Abort", ("AbortMultipartUpload",), everything, "leave no parts of a large upload"),
        *([_allow("Delete", ("DeleteObject",), kept, "delete permanent files")] if kept else []),
        *([_allow("Acl", ("PutObjectAcl",), with_acl, "send a place's 'acl'")] if with_acl else []),
        *_listing(config, buckets),
        *_encryption(config),
    ]


def for_operator(config: HandoffConfig) -> list[Statement]:
    """Return what ``setup``, ``check`` and ``purge`` need in addition; no server has it."""
    buckets = [holding for holding in holdings(config) if not holding.is_access_point]
    whole = tuple(holding.arn() for holding in buckets)
    staging = _objects(buckets, lambda holding: [holding.staging] if holding.staging else [])
    aspects = ("BucketPolicy", "BucketPublicAccessBlock", "BucketOwnershipControls")
    reads = ["GetBucketLocation", *(f"Get{each}" for each in aspects), "GetLifecycleConfiguration"]
    writes = ["CreateBucket", *(f"Put{each}" for each in aspects), "PutLifecycleConfiguration"]
    return [
        *for_servers(config),
        _allow("Look", reads, whole, "check and setup read how a bucket is set up"),
        _allow("Setup", writes, whole, "setup creates it and sets it up"),
        _allow("Uploads", ("ListBucketMultipartUploads",), whole, "purge finds unfinished uploads"),
        _allow("Purge", ("DeleteObject",), staging, "purge and check delete in staging"),
    ]


def _allow(name: str, verbs: Sequence[str], resources: Sequence[str], reason: str) -> Statement:
    actions = tuple(f"s3:{verb}" for verb in verbs)
    return Statement(
        sid=f"S3Handoff{name}", actions=actions, resources=tuple(resources), reason=reason
    )


def _objects(buckets: Sequence[Holding], prefixes: Any) -> tuple[str, ...]:
    return tuple(b.arn(f"{prefix}*") for b in buckets for prefix in prefixes(b))


def _listing(config: HandoffConfig, buckets: Sequence[Holding]) -> Iterator[Statement]:
    """Allow to list: S3 says 403 and not 404 of a key that is gone to who may not (F6).

    Amazon takes the wanted key for ``s3:prefix`` there, Ceph did not (docs/decisions/0086).
    """
    reason = "list files, and be told 404 of a key that is gone"
    if config.endpoint_url:
        yield _allow("List", ("ListBucket",), tuple(b.arn() for b in buckets), reason)
        return
    for number, holding in enumerate(buckets, 1):
        yield Statement(
            sid=f"S3HandoffList{number if number > 1 else ''}",
            actions=("s3:ListBucket",),
            resources=(holding.arn(),),
            reason=reason,
            condition={"StringLike": {"s3:prefix": [f"{p}*" for p in holding.prefixes]}},
        )


def _encryption(config: HandoffConfig) -> Iterator[Statement]:
    """Allow to use a key of one's own (P5); of Amazon's own keys S3 asks nothing."""
    if not config.kms_key_id:
        return
    name, part = config.kms_key_id, partition(config.region)
    is_alias = name.startswith("alias/") or ":alias/" in name
    any_key = f"arn:{part}:kms:*:*:key/"
    resource = any_key + "*" if is_alias else name if name.startswith("arn:") else any_key + name
    alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": name.rpartition(":")[2]}}
    yield Statement(
        sid="S3HandoffKms",
        actions=("kms:GenerateDataKey", "kms:Decrypt"),
        resources=(resource,),
        reason="write and read what S3HANDOFF_KMS_KEY_ID encrypts",
        condition=alias if is_alias else None,
    )


def tls_only(holding: Holding) -> Document:
    """Return the statement of a bucket policy that refuses plain HTTP (P11)."""
    return {
        "Sid": TLS_SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [holding.arn(), holding.arn("*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def merged(policy: Document | None, statement: Document) -> Document:
    """Return the bucket policy with this statement in it: ours is known by its Sid, others stay.

    >>> merged({"Version": "2012-10-17", "Statement": [{"Sid": "theirs"}]}, {"Sid": "ours"})
    {'Version': '2012-10-17', 'Statement': [{'Sid': 'theirs'}, {'Sid': 'ours'}]}
    """
    whole = copy.deepcopy(policy) if policy else {"Version": VERSION, "Statement": []}
    there = _listed(whole["Statement"])
    ours = [n for n, each in enumerate(there) if each.get("Sid") == statement["Sid"]]
    if ours:
        there[ours[0]] = statement
    else:
        there.append(statement)
    return {**whole, "Statement": there}


def refuses_plain_http(policy: Document | None) -> bool:
    """Tell whether any statement, by whatever name, refuses requests without TLS."""
    return any(
        each.get("Effect") == "Deny"
        and each.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
        in ("false", False, ["false"])
        for each in _listed((policy or {}).get("Statement", []))
    )


def opened_to_all(policy: Document | None, arn: str) -> list[str]:
    """Name the statements that let anybody read this object without any condition."""
    return [
        each.get("Sid") or f"number {number}"
        for number, each in enumerate(_listed((policy or {}).get("Statement", [])), 1)
        if each.get("Effect") == "Allow"
        and "Condition" not in each
        and _is_anybody(each.get("Principal"))
        and _covers(each.get("Action", []), "s3:GetObject", ignore_case=True)
        and _covers(each.get("Resource", []), arn)
    ]


def _is_anybody(principal: Any) -> bool:
    aws = principal.get("AWS", []) if isinstance(principal, dict) else principal
    return "*" in _listed(aws)


def _covers(patterns: Any, text: str, *, ignore_case: bool = False) -> bool:
    flags = re.IGNORECASE if ignore_case else 0
    return any(re.fullmatch(_expression(each), text, flags) for each in _listed(patterns))


def _expression(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")


def _listed(value: Any) -> list[Any]:
    """Return a list: IAM writes one thing without the brackets."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []
