"""What a setting may be: each judge returns the value, or raises ``ConfigError`` by its name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from .errors import ConfigError, InvalidKey
from .paths import check_prefix

MAX_URL_EXPIRES_SECONDS = 7 * 86_400  # what SigV4 allows
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ACCESS_POINT = re.compile(r"arn:aws[a-z-]*:s3:[a-z0-9-]*:[0-9]{12}:accesspoint[:/][a-z0-9-]{3,63}")
_IP_ADDRESS = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]*[a-z0-9](?::[0-9]{1,5})?")

Judge = Callable[[str, Any], Any]


def refuse_unless(right: bool, setting: str, value: object, wanted: str) -> None:
    if not right:
        raise ConfigError(f"{setting} must be {wanted}, not {value!r:.200}.")


def optional(judge: Judge) -> Judge:
    return lambda setting, value: None if value is None else judge(setting, value)


def one_of(*choices: str) -> Judge:
    def judge(setting: str, value: Any) -> str:
        refuse_unless(value in choices, setting, value, " or ".join(map(repr, choices)))
        return str(value)

    return judge


def flag(setting: str, value: Any) -> bool:
    wanted = "True or False (in the environment true or false)"
    refuse_unless(isinstance(value, bool), setting, value, wanted)
    return bool(value)


def whole(least: int, most: int, unit: str) -> Judge:
    def judge(setting: str, value: Any) -> int:
        right = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        refuse_unless(right, setting, value, f"a whole number of {unit}, {least} to {most}")
        return int(value)

    return judge


url_expires = whole(1, MAX_URL_EXPIRES_SECONDS, "seconds")


def seconds(setting: str, value: Any) -> float:
    right = isinstance(value, int | float) and not isinstance(value, bool) and 0.1 <= value <= 3600
    refuse_unless(right, setting, value, "a number of seconds, 0.1 to 3600")
    return float(value)


def optional_text(setting: str, value: Any) -> str | None:
    refuse_unless(value is None or (isinstance(value, str) and value != ""), setting, value, "text")
    return None if value is None else str(value)


def bucket(setting: str, value: Any) -> str:
    right = isinstance(value, str) and (
        (_BUCKET.fullmatch(value) and ".." not in value and not _IP_ADDRESS.fullmatch(value))
        or _ACCESS_POINT.fullmatch(value)
    )
    wanted = (
        "the name of a bucket (3 to 63 of a-z 0-9 . -, no s3://, no path) or an access point ARN"
    )
    refuse_unless(bool(right), setting, value, wanted)
    return str(value)


def owner(setting: str, value: Any) -> str:
    right = isinstance(value, str) and re.fullmatch(r"[0-9]{12}", value) is not None
    refuse_unless(right, setting, value, "the 12 digits of an AWS account, as text")
    return str(value)


def endpoint(setting: str, value: Any) -> str:
    refuse_unless(isinstance(value, str), setting, value, "a URL such as https://s3.example.com")
    url = urlsplit(value)
    right = (
        url.scheme in ("http", "https") and url.hostname and url.path in ("", "/") and not url.query
    )
    refuse_unless(
        bool(right), setting, value, "a URL such as https://s3.example.com, without a path"
    )
    plain_aws = url.scheme == "http" and str(url.hostname).endswith(".amazonaws.com")
    refuse_unless(not plain_aws, setting, value, "https for AWS")
    return str(value).rstrip("/")


def public_url(setting: str, value: Any) -> str:
    """Return a base URL, without a slash at its end; keys are put behind it."""
    url = urlsplit(value) if isinstance(value, str) else None
    right = (
        url and url.scheme in ("http", "https") and url.hostname and not url.query + url.fragment
    )
    refuse_unless(bool(right), setting, value, "a public_url such as https://cdn.example.com")
    return str(value).rstrip("/")


def prefix(setting: str, value: Any) -> str:
    try:
        prefix = check_prefix(value)
    except InvalidKey as error:
        raise ConfigError(f"{setting}: {error.description}") from error
    right = prefix.isascii() and len(prefix) <= 512
    refuse_unless(right, setting, value, "at most 512 ASCII characters")
    return prefix


def list_of_text(setting: str, value: Any, wanted: str) -> tuple[str, ...]:
    right = not isinstance(value, str | bytes) and isinstance(value, list | tuple | set | frozenset)
    refuse_unless(right and all(isinstance(v, str) for v in value), setting, value, wanted)
    return tuple(value)


def url_paths(setting: str, value: Any) -> tuple[str, ...]:
    wanted = 'a list of URL paths such as ["/profile/"]'
    paths = list_of_text(setting, value, wanted)
    right = all(path.startswith("/") and not path.startswith("//") for path in paths)
    refuse_unless(right, setting, value, wanted)
    return paths


def origins(setting: str, value: Any) -> tuple[str, ...]:
    wanted = 'a list of origins such as ["https://app.example.com"]'
    told = list_of_text(setting, value, wanted)
    origins = tuple(origin.lower().rstrip("/") for origin in told)
    refuse_unless(all(_ORIGIN.fullmatch(origin) for origin in origins), setting, value, wanted)
    return origins


def store(setting: str, value: Any) -> Any:
    if not isinstance(value, str):
        right = all(
            hasattr(value, verb) for verb in ("put", "fetch", "stat", "copy", "delete", "list")
        )
        refuse_unless(right, setting, value, 'a Store, "s3", "memory" or "dir:/path"')
        return value
    right = value in ("s3", "memory") or (value.startswith("dir:") and os.path.isabs(value[4:]))
    refuse_unless(right, setting, value, '"s3", "memory", "dir:" and an absolute path, or a Store')
    return value


def work_dir(setting: str, value: Any) -> str:
    right = isinstance(value, str | os.PathLike) and os.path.isabs(value)
    refuse_unless(right, setting, value, "an absolute path")
    return str(os.fspath(value))


def folder(setting: str, value: Any) -> str:
    """Return the absolute path of a folder; a relative one starts where the process does."""
    right = isinstance(value, str | os.PathLike) and bool(os.fspath(value))
    refuse_unless(right, setting, value, "the path of a folder")
    path = os.path.abspath(os.fsdecode(value))
    refuse_unless(os.path.dirname(path) != path, setting, value, "a folder below the root")
    return path
