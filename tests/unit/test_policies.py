"""Policies: what is allowed follows from the settings, what others wrote stays."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from flask_s3handoff.errors import ConfigError
from flask_s3handoff.estate import Holding, holdings
from flask_s3handoff.policies import (
    Statement,
    document,
    for_operator,
    for_servers,
    merged,
    opened_to_all,
    refuses_plain_http,
    tls_only,
)
from tests.operator_account import config_of

BUCKET = Holding(name="acme-uploads", staging="handoff/")
STAGED = "arn:aws:s3:::acme-uploads/handoff/x"
PLACES = {"users/": {}, "archive/": {"bucket": "acme-archive", "region": "us-west-2"}}
ACCESS_POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/uploads"


def by_sid(statements: list[Statement]) -> dict[str, Statement]:
    return {statement.sid.removeprefix("S3Handoff"): statement for statement in statements}


def test_staging_and_places_are_allowed_and_nothing_else() -> None:
    """Each action names its prefixes; servers delete nothing in staging."""
    allowed = by_sid(for_servers(config_of(places=PLACES)))
    everything = (
        "arn:aws:s3:::acme-uploads/handoff/*",
        "arn:aws:s3:::acme-uploads/users/*",
        "arn:aws:s3:::acme-archive/archive/*",
    )
    assert list(allowed) == ["Write", "Read", "Abort", "Delete", "List", "List2"]
    assert {allowed[name].resources for name in ("Write", "Read", "Abort")} == {everything}
    assert allowed["Delete"].resources == everything[1:]
    assert allowed["List"].resources == ("arn:aws:s3:::acme-uploads",)
    assert allowed["List"].condition == {"StringLike": {"s3:prefix": ["handoff/*", "users/*"]}}
    assert allowed["List2"].condition == {"StringLike": {"s3:prefix": ["archive/*"]}}


def test_without_places_nothing_may_be_deleted() -> None:
    """An app that only carries never deletes."""
    assert list(by_sid(for_servers(config_of()))) == ["Write", "Read", "Abort", "List"]


def test_a_folder_is_allowed_what_a_place_is() -> None:
    """A place with a local path is put, read, listed and deleted below its prefix (folders)."""
    folder = {"avatars/": {"path": "uploads/avatars"}}
    allowed = by_sid(for_servers(config_of(places=folder)))
    for name in ("Write", "Read", "Abort", "Delete"):
        assert "arn:aws:s3:::acme-uploads/avatars/*" in allowed[name].resources
    assert allowed["List"].condition == {"StringLike": {"s3:prefix": ["handoff/*", "avatars/*"]}}
    assert "folders" in allowed["Write"].reason


def test_elsewhere_than_at_amazon_a_whole_bucket_is_listed() -> None:
    """Ceph asks for no prefix when it chooses between 404 and 403 (docs/decisions/0086)."""
    config = config_of(places=PLACES, endpoint_url="https://s3.example.com")
    listed = by_sid(for_servers(config))["List"]
    assert listed.resources == ("arn:aws:s3:::acme-uploads", "arn:aws:s3:::acme-archive")
    assert listed.condition is None


def test_an_acl_needs_a_permission_of_its_own() -> None:
    """Only for the place that sends one; staging never does."""
    config = config_of(places={"public/": {"acl": "public-read"}, "users/": {}})
    allowed = by_sid(for_servers(config))
    assert allowed["Acl"].actions == ("s3:PutObjectAcl",)
    assert allowed["Acl"].resources == ("arn:aws:s3:::acme-uploads/public/*",)


@pytest.mark.parametrize(
    ("key", "resource", "condition"),
    [
        ("1234-abcd", "arn:aws:kms:*:*:key/1234-abcd", None),
        (
            "arn:aws:kms:eu-west-1:123456789012:key/1",
            "arn:aws:kms:eu-west-1:123456789012:key/1",
            None,
        ),
        ("alias/mine", "arn:aws:kms:*:*:key/*", "alias/mine"),
        ("arn:aws:kms:eu-west-1:123456789012:alias/mine", "arn:aws:kms:*:*:key/*", "alias/mine"),
    ],
)
def test_a_key_of_ones_own_is_allowed(key: str, resource: str, condition: str | None) -> None:
    """Encryption by KMS needs two permissions of KMS (P5); an alias is no resource there."""
    allowed = by_sid(for_servers(config_of(sse="aws:kms", kms_key_id=key)))["Kms"]
    assert (allowed.actions, allowed.resources) == (
        ("kms:GenerateDataKey", "kms:Decrypt"),
        (resource,),
    )
    assert condition == (
        allowed.condition and allowed.condition["ForAnyValue:StringEquals"]["kms:ResourceAliases"]
    )


def test_an_access_point_is_named_as_such() -> None:
    """Its objects have ARNs of their own form (P14)."""
    allowed = by_sid(for_servers(config_of(bucket=ACCESS_POINT)))
    assert allowed["Write"].resources == (f"{ACCESS_POINT}/object/handoff/*",)
    assert allowed["List"].resources == (ACCESS_POINT,)


@pytest.mark.parametrize(
    ("region", "start"),
    [
        ("cn-north-1", "arn:aws-cn:"),
        ("us-gov-west-1", "arn:aws-us-gov:"),
        ("eu-west-1", "arn:aws:"),
    ],
)
def test_other_parts_of_amazon_have_other_arns(region: str, start: str) -> None:
    """China and GovCloud."""
    assert for_servers(config_of(region=region))[0].resources[0].startswith(start)


def test_every_statement_has_a_reason_and_the_document_is_valid() -> None:
    """IAM takes letters and digits for a Sid, each once, and no word more than it knows."""
    key = {"sse": "aws:kms", "kms_key_id": "alias/mine"}
    for statements in (
        for_servers(config_of(places=PLACES, **key)),
        for_operator(config_of(places=PLACES, **key)),
    ):
        policy = json.loads(json.dumps(document(statements)))
        sids = [each["Sid"] for each in policy["Statement"]]
        assert len(set(sids)) == len(sids)
        assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)
        known = {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert all(set(each) <= known for each in policy["Statement"])
        assert all(statement.reason for statement in statements)


def test_no_statement_allows_everything() -> None:
    """No star stands for an action, nor for all resources."""
    for each in for_operator(config_of(places=PLACES)):
        assert not any("*" in action for action in each.actions)
        assert not any(resource in ("*", "arn:aws:s3:::*") for resource in each.resources)


def test_servers_cannot_change_the_bucket() -> None:
    """Whoever gets into a server cannot open the bucket."""
    actions = {action for each in for_servers(config_of(places=PLACES)) for action in each.actions}
    assert not any("Bucket" in action and action != "s3:ListBucket" for action in actions)


def test_an_operator_may_also_purge_and_set_up() -> None:
    """What the commands do beyond the app, and no more."""
    more = by_sid(for_operator(config_of(places=PLACES)))
    assert more["Purge"].resources == ("arn:aws:s3:::acme-uploads/handoff/*",)
    assert "s3:CreateBucket" in more["Setup"].actions
    assert more["Look"].resources == ("arn:aws:s3:::acme-uploads", "arn:aws:s3:::acme-archive")


def test_a_bucket_is_looked_after_once() -> None:
    """Whether a place names staging's bucket or leaves it out; what it leaves out is as for staging."""
    places = {**PLACES, "more/": {"bucket": "acme-uploads"}, "old/": {"bucket": "acme-archive"}}
    first, second = holdings(config_of(places=places, bucket_owner="123456789012"))
    assert (first.name, first.prefixes) == ("acme-uploads", ["handoff/", "users/", "more/"])
    assert (second.name, second.prefixes) == ("acme-archive", ["archive/", "old/"])
    assert (first.region, second.region) == ("eu-west-1", "us-west-2")
    assert (first.owner, second.owner) == ("123456789012", "123456789012")


def test_other_stores_have_no_bucket() -> None:
    """A folder has no policy."""
    with pytest.raises(ConfigError, match="is not S3"):
        holdings(config_of(store="memory"))


def test_a_bucket_policy_keeps_what_others_wrote() -> None:
    """Ours is added once, and renewed in its place."""
    theirs = {"Sid": "Theirs", "Effect": "Allow"}
    first = merged({"Version": "2008-10-17", "Id": "x", "Statement": theirs}, tls_only(BUCKET))
    assert first["Statement"] == [theirs, tls_only(BUCKET)]
    assert (first["Version"], first["Id"]) == ("2008-10-17", "x")
    older = {**first, "Statement": [{"Sid": "S3HandoffTlsOnly", "Effect": "Deny"}, theirs]}
    assert merged(older, tls_only(BUCKET))["Statement"] == [tls_only(BUCKET), theirs]


def test_plain_http_is_refused_by_whatever_name() -> None:
    """Somebody else's statement to the same effect is enough."""
    foreign = {**tls_only(BUCKET), "Sid": "AllowSSLRequestsOnly"}
    assert refuses_plain_http({"Statement": [foreign]})
    assert not refuses_plain_http({"Statement": [{**foreign, "Effect": "Allow"}]})
    assert not refuses_plain_http(None)


OPEN = {"Sid": "Open", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}


@pytest.mark.parametrize(
    ("change", "is_open"),
    [
        ({"Resource": "arn:aws:s3:::acme-uploads/*"}, True),
        ({"Resource": ["arn:aws:s3:::acme-uploads/handoff/*"]}, True),
        ({"Resource": "arn:aws:s3:::acme-uploads/users/*"}, False),
        ({"Resource": "arn:aws:s3:::acme-uploads/*", "Principal": {"AWS": ["*"]}}, True),
        ({"Resource": "arn:aws:s3:::acme-uploads/*", "Principal": {"AWS": "123456789012"}}, False),
        ({"Resource": "arn:aws:s3:::acme-uploads/*", "Principal": {"Service": "x"}}, False),
        ({"Resource": "arn:aws:s3:::acme-uploads/*", "Action": ["s3:get*"]}, True),
        ({"Resource": "arn:aws:s3:::acme-uploads/*", "Action": "*"}, True),
        ({"Resource": "arn:aws:s3:::acme-uploads/*", "Action": "s3:PutObject"}, False),
        ({"Resource": "arn:aws:s3:::acme-uploads/*", "Effect": "Deny"}, False),
        ({"Resource": "arn:aws:s3:::acme-uploads/*", "Condition": {"Bool": {}}}, False),
        ({"Resource": "arn:aws:s3:::acme-upload?/hand*"}, True),
        ({"Resource": "arn:aws:s3:::acme-uploads/[h]andoff/*"}, False),
    ],
)
def test_a_statement_that_opens_staging_is_seen(change: dict[str, Any], is_open: bool) -> None:
    """Anybody, without a condition, may read what is on its way: the doctor must say so."""
    policy = {"Statement": [tls_only(BUCKET), {**OPEN, **change}]}
    assert opened_to_all(policy, STAGED) == (["Open"] if is_open else [])
