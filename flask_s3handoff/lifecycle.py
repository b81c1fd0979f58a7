"""The lifecycle of a bucket: the rules that we want, merged into those that are there, and judged.

Pure. S3 replaces all rules of a bucket at once, so whoever writes one must keep the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .estate import Holding

DAY_SECONDS = 86_400
STAGING_ID = "s3handoff-staging"
UNFINISHED_ID = "s3handoff-unfinished"
SETUP = "flask s3handoff setup"

Rule = dict[str, Any]


class Fault(NamedTuple):
    """What is wrong with the rules of a bucket: ``fatal`` if files are lost by it."""

    fatal: bool
    text: str
    mend: str = SETUP


def staging_days(token_max_age_seconds: int) -> int:
    """Return after how many days staging may be emptied: rules work by whole days (P8).

    >>> staging_days(86_400)
    2
    """
    return math.ceil(token_max_age_seconds / DAY_SECONDS) + 1


def rules(holding: Holding, token_max_age_seconds: int) -> list[Rule]:
    """Return our rules for a bucket: staging empties itself, and no upload stays unfinished."""
    ours: list[Rule] = []
    if holding.staging:
        days = staging_days(token_max_age_seconds)
        # In a bucket with versions an expired object would stay as an old version.
        expire = {
            "Expiration": {"Days": days},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        }
        ours.append(_rule(STAGING_ID, holding.staging, **expire))
    folders = [place for place in holding.places if place.path]
    # only folders send files to a place in parts
    return [*ours, *(_rule(f"{UNFINISHED_ID}-{p.prefix.rstrip('/')}", p.prefix) for p in folders)]


def _rule(name: str, prefix: str, **actions: Any) -> Rule:
    abort = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **actions, **abort}


def merged(there: Sequence[Rule], ours: Sequence[Rule]) -> list[Rule]:
    """Return all rules: those of others as they are, ours (known by their ID) as we want them.

    >>> [rule["ID"] for rule in merged([{"ID": "logs"}], [{"ID": "s3handoff-staging"}])]
    ['logs', 's3handoff-staging']
    """
    wanted = {rule["ID"]: rule for rule in ours}
    kept = [wanted.pop(str(rule.get("ID")), rule) for rule in there]
    return [*kept, *wanted.values()]


def faults(there: Sequence[Rule], holding: Holding, token_max_age_seconds: int) -> Iterator[Fault]:
    """Tell what is wrong with the rules of a bucket, whoever wrote them."""
    if holding.staging:
        yield from _staging_faults(there, holding.staging, token_max_age_seconds)
    for prefix in holding.place_prefixes:
        for rule in _covering(there, prefix):
            if days := _days(rule):
                text = f"rule {_name(rule)} deletes what is below {prefix} after {days} days"
                yield Fault(False, text, "give that rule another prefix")


def _staging_faults(there: Sequence[Rule], prefix: str, seconds: int) -> Iterator[Fault]:
    covering = _covering(there, prefix)
    expiring = [(days, _name(rule)) for rule in covering if (days := _days(rule))]
    if not expiring:
        yield Fault(False, f"nothing empties {prefix}")
    for days, name in expiring:
        if days * DAY_SECONDS < seconds:
            text = f"rule {name} empties {prefix} after {days} days, and tokens live {seconds} s"
            yield Fault(True, text)
    if not any("AbortIncompleteMultipartUpload" in rule for rule in covering):
        yield Fault(False, f"unfinished uploads below {prefix} stay for ever")


def _covering(there: Sequence[Rule], prefix: str) -> list[Rule]:
    """Return the enabled rules that hold for everything below a prefix."""
    return [
        rule
        for rule in there
        if rule.get("Status") == "Enabled" and prefix.startswith(_prefix(rule))
    ]


def _prefix(rule: Rule) -> str:
    """Return the prefix of a rule; one that asks for tags or sizes too covers nothing wholly."""
    chosen = rule.get("Filter", {})
    if set(chosen) - {"Prefix"}:
        return "\0"
    return str(chosen.get("Prefix", rule.get("Prefix") or ""))


def _days(rule: Rule) -> int | None:
    days = rule.get("Expiration", {}).get("Days")
    return int(days) if days else None


def _name(rule: Rule) -> str:
    return repr(rule.get("ID") or "without a name")
