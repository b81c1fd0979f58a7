"""Lifecycle rules: ours, merged into others', and all of them judged."""

from __future__ import annotations

from typing import Any

import pytest

from flask_s3handoff.config import Place
from flask_s3handoff.estate import Holding
from flask_s3handoff.lifecycle import faults, merged, rules, staging_days

DAY = 86_400
BUCKET = Holding(name="acme", staging="handoff/", places=(Place(prefix="users/"),))
ABORT = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}


def rule(prefix: str | None = "handoff/", days: int | None = 2, **more: Any) -> dict[str, Any]:
    chosen = {} if prefix is None else {"Filter": {"Prefix": prefix}}
    expire = {"Expiration": {"Days": days}} if days else {}
    return {"ID": "r", "Status": "Enabled", **chosen, **expire, **ABORT, **more}


def texts(*there: dict[str, Any], seconds: int = DAY) -> list[str]:
    return [f"{fault.fatal}: {fault.text}" for fault in faults(there, BUCKET, seconds)]


@pytest.mark.parametrize(("seconds", "days"), [(1, 2), (DAY, 2), (DAY + 1, 3), (30 * DAY, 31)])
def test_staging_outlives_its_tokens_by_a_day(seconds: int, days: int) -> None:
    """Rules work by whole days, and clocks differ (P8)."""
    assert staging_days(seconds) == days
    assert (days - 1) * DAY >= seconds


def test_our_own_rule_is_found_to_be_right() -> None:
    """What `setup` writes, `check` approves."""
    (ours,) = rules(BUCKET, DAY)
    assert ours["Expiration"] == {"Days": 2}
    assert ours["Filter"] == {"Prefix": "handoff/"}
    assert texts(ours) == []


def test_a_bucket_of_places_is_not_emptied() -> None:
    """Permanent files stay; a folder sends files in parts, which may be left unfinished."""
    folder = Place(prefix="avatars/", path="uploads")
    places = Holding(name="acme-2", places=(Place(prefix="users/"), folder))
    (ours,) = rules(places, DAY)
    assert ours["Filter"] == {"Prefix": "avatars/"}
    assert "Expiration" not in ours
    assert list(faults([ours], places, DAY)) == []


def test_rules_of_others_stay_in_their_order() -> None:
    """S3 replaces all rules at once: one that is left out is lost."""
    ours = rules(BUCKET, DAY)
    logs, old = {"ID": "logs"}, {"ID": "s3handoff-staging", "Status": "Disabled"}
    nameless = {"Status": "Enabled", "Prefix": "tmp/"}
    assert merged([logs, old, nameless], ours) == [logs, *ours, nameless]
    assert merged(merged([logs], ours), ours) == [logs, *ours]


@pytest.mark.parametrize(
    "covering",
    [rule(), rule("hand"), rule("", days=3), rule(None, Prefix="handoff/"), rule(None)],
)
def test_whoever_wrote_it_a_rule_that_empties_staging_will_do(covering: dict[str, Any]) -> None:
    """Also one in the old form, or for the whole bucket."""
    assert not [text for text in texts(covering) if "handoff/" in text]


@pytest.mark.parametrize(
    "other",
    [
        rule("handoff/x"),
        rule("logs/"),
        rule(Status="Disabled"),
        rule(Filter={"And": {"Prefix": "handoff/", "Tags": []}}),
        rule(Filter={"ObjectSizeGreaterThan": 5}),
        rule(days=None),
    ],
)
def test_a_rule_that_covers_less_is_not_enough(other: dict[str, Any]) -> None:
    """Staging would grow for ever."""
    assert "False: nothing empties handoff/" in texts(other)


def test_a_rule_that_comes_too_early_is_fatal() -> None:
    """Files would be gone while tokens still name them."""
    assert texts(rule(days=1), seconds=2 * DAY) == [
        f"True: rule 'r' empties handoff/ after 1 days, and tokens live {2 * DAY} s"
    ]


def test_a_rule_that_deletes_permanent_files_is_told() -> None:
    """A rule for the whole bucket does, and nobody remembers it after ten years."""
    assert texts(rule(""), rule()) == ["False: rule 'r' deletes what is below users/ after 2 days"]


def test_uploads_that_stay_unfinished_are_told() -> None:
    """They are paid for, and no listing shows them."""
    there = rule()
    del there["AbortIncompleteMultipartUpload"]
    assert texts(there) == ["False: unfinished uploads below handoff/ stay for ever"]
