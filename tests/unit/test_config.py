"""Settings: a wrong one is refused where it is read, by its name, with what to write instead."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

import pytest

from flask_s3handoff.config import SETTINGS, HandoffConfig, Place, secret_keys
from flask_s3handoff.errors import ConfigError, InvalidKey

GOOD = {"S3HANDOFF_BUCKET": "acme-uploads"}
STRONG = "sixteen bytes or more of it"


def config(**settings: Any) -> HandoffConfig:
    """Return the config of these settings, beside a good bucket."""
    return HandoffConfig.from_mapping({**GOOD, **settings})


def test_the_defaults_are_those_that_the_table_promises() -> None:
    """DESIGN 4: a bucket is all that has to be said."""
    defaults = config()

    assert (defaults.prefix, defaults.paths, defaults.inject) == ("handoff/", ("/",), "same-origin")
    assert (defaults.token_max_age_seconds, defaults.max_files) == (86_400, 20)
    assert (defaults.deadline_seconds, defaults.url_expires_seconds) == (20.0, 300)
    assert (defaults.bind, defaults.on_error, defaults.mirror) == ("cookie", "raise", "overlap")


WRONG_VALUES = [
    *(("S3HANDOFF_BUCKET", v) for v in ("", "My_Bucket", "192.168.1.1", "a", "s3://b", "b/prefix", 7, "a..b")),
    *(("S3HANDOFF_PREFIX", v) for v in ("", "/x", "x", "x//", "../", "x/../y/", "é/", "x" * 513 + "/", None)),
    *(("S3HANDOFF_ENDPOINT_URL", v) for v in ("s3.example.com", "http://s3.amazonaws.com", "https://x/path", 3)),
    *(("S3HANDOFF_TOKEN_MAX_AGE", v) for v in (0, -1, "1h", 10 * 365 * 86_400, True, 1.5)),
    *(("S3HANDOFF_MAX_FILE_SIZE", v) for v in (0, -1, "10MB", True)),
    *(("S3HANDOFF_WORK_DIR", v) for v in ("relative/path", 3)),
    *(("S3HANDOFF_PATHS", v) for v in ([], ["profile"], "/profile", ["//evil"], [3])),
    *(("S3HANDOFF_TRUSTED_ORIGINS", v) for v in ("https://a.example", ["a.example"], ["https://a.example/x"])),
    ("S3HANDOFF_BUCKET_OWNER", 123456789012),
    ("S3HANDOFF_BUCKET_OWNER", "12"),
    ("S3HANDOFF_SSE", "rot13"),
    ("S3HANDOFF_INJECT", "always"),
    ("S3HANDOFF_MIRROR", "later"),
    ("S3HANDOFF_BIND", "session"),
    ("S3HANDOFF_ON_ERROR", "ignore"),
    ("S3HANDOFF_DEADLINE", 0),
    ("S3HANDOFF_URL_EXPIRES", 8 * 86_400),
    ("S3HANDOFF_MAX_FILES", 0),
    ("S3HANDOFF_ENABLED", "yes"),
    ("S3HANDOFF_REDIRECTS", 1),
    ("S3HANDOFF_COOKIE_SECURE", "on"),
    ("S3HANDOFF_STORE", "dir:relative"),
    ("S3HANDOFF_STORE", "ftp"),
    ("S3HANDOFF_STORE", object()),
    ("S3HANDOFF_PLACES", ["users/"]),
    ("S3HANDOFF_PLACES", {"users": {}}),
    ("S3HANDOFF_PLACES", {"users/": None}),
    ("S3HANDOFF_PLACES", {"users/": {"buckets": "x"}}),
    ("S3HANDOFF_PLACES", {"users/": {"bucket": "X"}}),
    ("S3HANDOFF_PLACES", {"users/": {"path": ""}}),
    ("S3HANDOFF_PLACES", {"users/": {"path": "/"}}),
    ("S3HANDOFF_PLACES", {"users/": {"path": "uploads", "immutable": 1}}),
    ("S3HANDOFF_PLACES", {"users/": {"immutable": True}}),
    ("S3HANDOFF_PLACES", {"users/": {"read_through": False}}),
    ("S3HANDOFF_PLACES", {"users/": {"path": "a"}, "pictures/": {"path": "./b/../a"}}),
    ("S3HANDOFF_PLACES", {"users/": {"expires": 0}}),
    ("S3HANDOFF_PLACES", {"users/": {"public_url": "cdn.example.com"}}),
    ("S3HANDOFF_PLACES", {"users/": {"public_url": "https://cdn.example.com/?x"}}),
    ("S3HANDOFF_OBSERVE", "on"),
    ("S3HANDOFF_KMS_KEY_ID", "alias/uploads"),
]  # fmt: skip
ROWS = {"BUCKET": "B65", "BUCKET_OWNER": "B65", "PREFIX": "B66", "PLACES": "B66", "ENDPOINT_URL": "B67", "TOKEN_MAX_AGE": "B68", "MAX_FILE_SIZE": "B69", "WORK_DIR": "B70"}  # fmt: skip


def wrong_id(value: Any) -> str:
    """Name a case by its row in the list of bad inputs, or by its setting."""
    setting = str(value).removeprefix("S3HANDOFF_") if str(value).startswith("S3H") else ""
    return f"{ROWS[setting]}-{setting}" if setting in ROWS else setting or f"{value!r:.30}"


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES, ids=wrong_id)
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(name: str, value: Any) -> None:
    """B65–B70: the message names the setting."""
    with pytest.raises(ConfigError, match=name.removesuffix("S")):
        config(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("S3HANDOFF_OBSERVE", "True", "in the environment true or false"),
        ("S3HANDOFF_PATHS", "/profile/", '["/profile/"]'),
        ("S3HANDOFF_TRUSTED_ORIGINS", "https://a.example", '["https://'),
        ("S3HANDOFF_PLACES", {"/users/": {}}, "does not begin with a slash"),
    ],
)
def test_a_near_miss_of_a_value_is_refused_with_the_right_form(
    name: str, value: Any, said: str
) -> None:
    """What people write first: Python in the environment, one text for a list, a key like a URL."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        config(**{name: value})


@pytest.mark.parametrize("prefix", ["handoff/", "handoff/users/"])
def test_b66_a_place_may_not_lie_in_staging(prefix: str) -> None:
    """A lifecycle rule empties staging; no permanent file may be in its way."""
    with pytest.raises(ConfigError, match="overlap"):
        config(S3HANDOFF_PLACES={prefix: {}})


def test_b65_an_access_point_is_a_bucket() -> None:
    """Practice P14."""
    arn = "arn:aws:s3:eu-central-1:123456789012:accesspoint/uploads"

    assert HandoffConfig.from_mapping({"S3HANDOFF_BUCKET": arn}).bucket == arn


def test_a_near_miss_is_refused_with_the_right_name() -> None:
    """A typo must not leave a limit off."""
    with pytest.raises(ConfigError, match="S3HANDOFF_MAX_FILE_SIZE"):
        config(S3HANDOFF_MAX_FILESIZE=1)


def test_another_unknown_setting_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """B73: there is no setting that makes everything public, and it says so."""
    with caplog.at_level(logging.WARNING):
        config(S3HANDOFF_QQQQ=1)

    assert "S3HANDOFF_QQQQ" in caplog.text


def test_b73_an_acl_is_no_setting() -> None:
    """ACLs are per place and never for staging."""
    assert "S3HANDOFF_ACL" not in {setting.name for setting in SETTINGS}


def test_without_a_bucket_the_message_says_what_to_set() -> None:
    """The first error that a new user meets."""
    with pytest.raises(ConfigError, match="S3HANDOFF_BUCKET is missing"):
        HandoffConfig.from_mapping({})


def test_in_development_the_store_is_a_folder_and_it_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody needs a bucket to try it."""
    with caplog.at_level(logging.WARNING):
        made = HandoffConfig.from_mapping({}, instance_path="/srv/app", development=True)

    assert made.store == "dir:/srv/app/s3handoff-store"
    assert "S3HANDOFF_BUCKET" in caplog.text


def test_the_place_with_the_longest_prefix_wins() -> None:
    """Places may lie inside places."""
    places = {"users/": {"bucket": "acme-users"}, "users/logos/": {"acl": "public-read"}}
    made = config(S3HANDOFF_PLACES=places)

    assert made.place_of("users/logos/x.png") == Place(prefix="users/logos/", acl="public-read")
    assert made.place_of("users/1.png") == Place(prefix="users/", bucket="acme-users")
    assert made.place_of("users/", is_prefix=True) == made.place_of("users/1.png")
    with pytest.raises(InvalidKey, match="'elsewhere/' does not lie below"):
        made.place_of("elsewhere/", is_prefix=True)
    for key in ("elsewhere/1.png", "users", "users/../1.png"):
        with pytest.raises(InvalidKey):
            made.place_of(key)


FLASKS = "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf"
WEAK: list[Any] = [
    None,
    "",
    "dev",
    "changeme",
    b"x" * 15,
    "short",
    7,
    [],
    FLASKS,
    b'_5#y2L"F4Q8z\n\xec]/',
]


@pytest.mark.parametrize("key", WEAK)
def test_t3_b63_a_weak_secret_is_refused_on_first_use(key: Any) -> None:
    """T3: itsdangerous itself accepts an empty key; the two long ones everybody has read."""
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        secret_keys({"SECRET_KEY": key} if key != [] else {"S3HANDOFF_SECRET_KEY": []})


def test_a_secret_of_digits_is_not_said_to_be_missing() -> None:
    """The environment is read as JSON, and there digits are a number."""
    with pytest.raises(ConfigError, match="SECRET_KEY is a number, not text"):
        secret_keys({"SECRET_KEY": int("1234567890" * 4)})


def test_b64_fallbacks_are_a_list_and_the_newest_key_is_last() -> None:
    """Flask lists the newest fallback first or last as it likes; SECRET_KEY is the newest of all."""
    old = "an older key of 16 bytes"
    keys = secret_keys({"SECRET_KEY": STRONG, "SECRET_KEY_FALLBACKS": [old]})

    assert keys == [old, STRONG]
    with pytest.raises(ConfigError, match="SECRET_KEY_FALLBACKS"):
        secret_keys({"SECRET_KEY": STRONG, "SECRET_KEY_FALLBACKS": old})


def test_an_own_secret_replaces_flasks() -> None:
    """One key or a list of them."""
    own = "our own key of 16 bytes"

    assert secret_keys({"SECRET_KEY": "x", "S3HANDOFF_SECRET_KEY": own}) == [own]
    assert secret_keys({"S3HANDOFF_SECRET_KEY": [own, STRONG]}) == [own, STRONG]


def test_the_session_cookies_security_is_ours_too() -> None:
    """S3HANDOFF_COOKIE_SECURE follows SESSION_COOKIE_SECURE, or the request's scheme."""
    assert config(SESSION_COOKIE_SECURE=True).cookie_secure is True
    assert config(SESSION_COOKIE_SECURE=False).cookie_secure is None
    assert config(SESSION_COOKIE_SECURE=True, S3HANDOFF_COOKIE_SECURE=False).cookie_secure is False


def test_a_place_with_a_path_is_a_folder() -> None:
    """A relative path starts where the process does; the rest has its defaults."""
    made = config(S3HANDOFF_PLACES={"users/": {}, "avatars/": {"path": "uploads/../avatars"}})
    assert [(f.prefix, f.path) for f in made.folders] == [("avatars/", os.path.abspath("avatars"))]
    assert (made.folders[0].immutable, made.folders[0].read_through) == (False, True)


@pytest.mark.parametrize("setting", ["S3HANDOFF_WORK_DIR", "S3HANDOFF_STORE"])
@pytest.mark.parametrize("ours", ["/srv/app/uploads/ours", "/srv/app/uploads", "/srv/app"])
def test_a_folder_and_our_own_files_do_not_lie_in_each_other(setting: str, ours: str) -> None:
    """We would mirror our own local copies, and those copies again."""
    own = {setting: f"dir:{ours}" if setting == "S3HANDOFF_STORE" else ours}
    with pytest.raises(ConfigError, match="must not lie in each other"):
        config(**own, S3HANDOFF_PLACES={"users/": {"path": "/srv/app/uploads"}})
