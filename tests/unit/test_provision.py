"""Setting a bucket up: what is there stays, nothing shut is opened, a second run changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_s3handoff.policies import tls_only
from flask_s3handoff.provision import Step, set_up, unique_name
from tests.operator_account import Account, Refused, admins_of, config_of

OPEN = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), False
)
SHUT = dict.fromkeys(OPEN, True)
OWNER = "123456789012"


def run(account: Account, *, dry_run: bool = False, **settings: Any) -> list[Step]:
    """Set up every bucket of these settings."""
    config = config_of(**settings)
    admins = admins_of(account, config)
    return [step for admin in admins for step in set_up(admin, config, dry_run=dry_run)]


def states(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.state for step in steps}


def test_a_bucket_is_made_and_shut() -> None:
    """From nothing: in the region, owner enforced, not public, TLS only, staging emptied."""
    account = Account()
    assert states(run(account)) == {
        "bucket": "changed",
        "public access": "changed",
        "ownership": "ok",
        "TLS only": "changed",
        "lifecycle": "changed",
    }
    made = account.asked[1][1]
    assert made["CreateBucketConfiguration"] == {"LocationConstraint": "eu-west-1"}
    assert made["ObjectOwnership"] == "BucketOwnerEnforced"
    there = account.buckets["acme-uploads"]
    assert there["public_access_block"] == SHUT
    assert json.loads(there["bucket_policy"])["Statement"][0]["Effect"] == "Deny"
    (rule,) = there["bucket_lifecycle_configuration"]["Rules"]
    assert rule["ID"] == "s3handoff-staging"


def test_a_second_run_changes_nothing() -> None:
    """And writes nothing."""
    account = Account()
    run(account)
    account.asked.clear()
    assert set(states(run(account)).values()) == {"ok"}
    assert not account.verbs("put") + account.verbs("create")


@pytest.mark.parametrize("exists", [True, False])
def test_a_dry_run_tells_and_changes_nothing(exists: bool) -> None:
    """The same steps, with their differences, whether the bucket is there or not."""
    account = Account()
    if exists:
        account.create_bucket(Bucket="acme-uploads")
    account.asked.clear()
    steps = run(account, dry_run=True)
    needed = {step.name for step in steps if step.state == "needed"}
    assert needed == {"bucket", "public access", "ownership", "TLS only", "lifecycle"} - (
        {"bucket"} if exists else set()
    )
    assert any('+    "ID": "s3handoff-staging",' in step.diff for step in steps)
    assert not account.verbs("put") + account.verbs("create")


def test_what_others_set_up_stays() -> None:
    """Rules, statements and the rest of a configuration survive in their place."""
    account = Account()
    logs = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}}
    theirs = {"Sid": "CDN", "Effect": "Allow", "Principal": {"Service": "cdn"}, "Action": "s3:Get*"}
    account.buckets["acme-uploads"] = {
        "bucket_lifecycle_configuration": {
            "Rules": [logs],
            "TransitionDefaultMinimumObjectSize": "varies_by_storage_class",
        },
        "bucket_policy": json.dumps({"Version": "2012-10-17", "Statement": [theirs]}),
    }
    run(account)
    there = account.buckets["acme-uploads"]
    assert there["bucket_lifecycle_configuration"]["Rules"][0] == logs
    assert len(there["bucket_lifecycle_configuration"]["Rules"]) == 2
    assert json.loads(there["bucket_policy"])["Statement"][0] == theirs
    written = dict(account.asked)["put_bucket_lifecycle_configuration"]
    assert written["TransitionDefaultMinimumObjectSize"] == "varies_by_storage_class"


def test_a_statement_of_somebody_else_to_the_same_effect_will_do() -> None:
    """Two of them would only be noise."""
    account = Account()
    config = config_of()
    foreign = {**tls_only(admins_of(account, config)[0].holding), "Sid": "OnlyTls"}
    account.buckets["acme-uploads"] = {"bucket_policy": json.dumps({"Statement": [foreign]})}
    assert states(run(account))["TLS only"] == "ok"


def test_a_place_with_an_acl_keeps_its_owner() -> None:
    """With an enforced owner each promotion there would fail (P1); no policy may open it all the same."""
    account = Account()
    steps = states(run(account, places={"public/": {"acl": "public-read"}}))
    assert steps["ownership"] == "skipped"
    assert "ObjectOwnership" not in account.asked[1][1]
    shut = {"BlockPublicPolicy": True, "RestrictPublicBuckets": True}
    assert account.buckets["acme-uploads"]["public_access_block"] == {**OPEN, **shut}


def test_what_is_shut_stays_shut() -> None:
    """Also where a place wants to be public: opening a bucket is the operator's own decision."""
    account = Account()
    account.buckets["acme-uploads"] = {"public_access_block": SHUT}
    assert states(run(account, places={"p/": {"acl": "public-read"}}))["public access"] == "ok"
    assert account.buckets["acme-uploads"]["public_access_block"] == SHUT


def test_a_web_site_is_not_shut() -> None:
    """What somebody has opened by a policy stays open, and is said to be."""
    account = Account()
    site = {"Sid": "Site", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
    site["Resource"] = "arn:aws:s3:::acme-uploads/users/*"
    account.buckets["acme-uploads"] = {"bucket_policy": json.dumps({"Statement": [site]})}
    (step,) = [s for s in run(account, places={"users/": {}}) if s.name == "public access"]
    assert (step.state, "statement Site" in step.text) == ("skipped", True)
    assert "public_access_block" not in account.buckets["acme-uploads"]


def test_ceph_can_still_be_written_to() -> None:
    """With `BlockPublicAcls` on it refuses every PUT (docs/decisions/0087)."""
    account = Account(url="https://s3.example.com")
    run(account)
    shut = account.buckets["acme-uploads"]["public_access_block"]
    assert [flag for flag, on in shut.items() if not on] == ["BlockPublicAcls"]


def test_each_bucket_is_set_up_for_what_it_holds() -> None:
    """A place's own bucket is shut too, and not emptied."""
    account = Account()
    run(account, places={"users/": {"bucket": "acme-users"}})
    assert set(account.buckets) == {"acme-uploads", "acme-users"}
    assert account.buckets["acme-users"]["public_access_block"] == SHUT
    assert "bucket_lifecycle_configuration" not in account.buckets["acme-users"]


def test_the_owner_is_named_with_every_question() -> None:
    """A bucket that somebody else has by now is not set up for him (T28, P6)."""
    account = Account()
    run(account, bucket_owner=OWNER)
    named = {verb: params.get("ExpectedBucketOwner") for verb, params in account.asked}
    assert {verb for verb, owner in named.items() if owner != OWNER} == {"create_bucket"}


@pytest.mark.parametrize("code", ["NotImplemented", "MethodNotAllowed", "501"])
def test_what_an_endpoint_lacks_is_said_and_skipped(code: str) -> None:
    """SeaweedFS has no Public Access Block: that is not a failure."""
    account = Account(url="https://s3.example.com")
    account.refusing["get_public_access_block"] = Refused(code, 501)
    steps = run(account)
    assert states(steps)["public access"] == "skipped"
    assert states(steps)["lifecycle"] == "changed"
    assert "CreateBucketConfiguration" not in account.asked[1][1]


def test_an_answer_that_speaks_of_something_else_is_a_lack() -> None:
    """Ceph 16 takes the question for the owner for a listing."""
    account = Account(url="https://s3.example.com")
    account.buckets["acme-uploads"] = {"bucket_ownership_controls": {}}
    assert states(run(account))["ownership"] == "skipped"


def test_plain_http_is_not_refused_where_it_is_used() -> None:
    """The policy would shut us out, and nobody could take it back."""
    account = Account(url="http://s3.example.com")
    assert states(run(account))["TLS only"] == "skipped"
    assert not account.verbs("put_bucket_policy")


@pytest.mark.parametrize("code", ["AccessDenied", "AllAccessDisabled"])
def test_a_step_that_is_refused_fails_alone(code: str) -> None:
    """The others go on; a denial says what it takes."""
    account = Account()
    account.refusing["put_bucket_lifecycle_configuration"] = Refused(code, 403)
    steps = run(account)
    assert states(steps)["lifecycle"] == "failed"
    assert states(steps)["TLS only"] == "changed"
    said = steps[-1].text
    assert code in said or "flask s3handoff policy --for operator" in said


@pytest.mark.parametrize(
    ("verb", "code"),
    [("list_objects_v2", "AccessDenied"), ("create_bucket", "BucketAlreadyExists")],
)
def test_a_name_that_is_taken_is_told_with_a_free_one(verb: str, code: str) -> None:
    """All accounts share one space of names; nothing else is tried on a stranger's bucket."""
    account = Account()
    account.refusing[verb] = Refused(code, 403)
    (step,) = run(account)
    assert step.state == "failed"
    assert "'acme-uploads-" in step.text
    assert not account.verbs("put")


def test_a_bucket_that_was_made_meanwhile_is_ours() -> None:
    """Two deployments at once."""
    account = Account()
    account.refusing["create_bucket"] = Refused("BucketAlreadyOwnedByYou", 409)
    account.buckets["x"] = {}
    config = config_of()
    step = next(iter(set_up(admins_of(account, config)[0], config, dry_run=False)))
    assert step.state == "ok"


def test_a_unique_name_is_a_name() -> None:
    """With account and region in it, or with some dice; at most 63 characters."""
    account = Account()
    (known,) = admins_of(account, config_of(bucket_owner=OWNER))
    assert unique_name(known) == f"acme-uploads-{OWNER}-eu-west-1"
    (long,) = admins_of(account, config_of(bucket="a" * 63, region=None))
    assert len(unique_name(long)) == 63
    assert unique_name(long) != unique_name(long)


def test_an_access_point_is_left_alone() -> None:
    """The bucket behind it has another name."""
    account = Account()
    (step,) = run(account, bucket=f"arn:aws:s3:eu-west-1:{OWNER}:accesspoint/uploads")
    assert step.state == "skipped"
    assert account.asked == []
