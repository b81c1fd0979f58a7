"""HandoffConfig: every setting, frozen and validated, with its unit in its name.

``SETTINGS`` is the one table: name, field, default and the rule that judges a value. Secrets are
not in it: ``secret_keys`` reads them on first use, so that importing an app never needs them.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from . import judges
from .errors import ConfigError, InvalidKey
from .judges import Judge, flag, one_of, optional, optional_text, refuse_unless, whole
from .paths import check_key, check_prefix

log = logging.getLogger("flask_s3handoff")

MIN_SECRET_BYTES = 16
MAX_TOKEN_AGE_SECONDS = 30 * 86_400
SECRET_SETTING = "S3HANDOFF_SECRET_KEY"
_KNOWN_SECRETS = (  # long enough, and in every copy of Flask's own documentation
    b"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
    b'_5#y2L"F4Q8z\n\xec]/',
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A permanent prefix, in its own bucket if need be; with a ``path`` it is a folder.

    >>> Place.from_mapping("users/", {"bucket": "acme-users", "region": "eu-central-1"}).bucket
    'acme-users'
    """

    prefix: str
    bucket: str | None = None
    region: str | None = None
    owner: str | None = None
    acl: str | None = None
    public_url: str | None = None
    expires_seconds: int | None = None
    path: str | None = None
    immutable: bool = False
    read_through: bool = True

    @classmethod
    def from_mapping(cls, prefix: str, options: Mapping[str, Any]) -> Place:
        """Read one entry of ``S3HANDOFF_PLACES``."""
        setting = f"S3HANDOFF_PLACES[{prefix!r}]"
        refuse_unless(isinstance(options, Mapping), setting, options, "a mapping of options")
        for name in options:
            if name not in _PLACE_OPTIONS:
                raise ConfigError(f"{setting} takes {', '.join(_PLACE_OPTIONS)}, not {name!r}.")
        if "path" not in options and (extra := {"immutable", "read_through"} & set(options)):
            raise ConfigError(f"{setting}: {min(extra)!r} is for a folder, which has a 'path'.")
        return cls(
            prefix=judges.prefix(setting, prefix),
            bucket=optional(judges.bucket)(setting, options.get("bucket")),
            region=optional_text(f"{setting}['region']", options.get("region")),
            owner=optional(judges.owner)(setting, options.get("owner")),
            acl=optional_text(f"{setting}['acl']", options.get("acl")),
            public_url=optional(judges.public_url)(setting, options.get("public_url")),
            expires_seconds=optional(judges.url_expires)(setting, options.get("expires")),
            path=optional(judges.folder)(f"{setting}['path']", options.get("path")),
            immutable=flag(f"{setting}['immutable']", options.get("immutable", False)),
            read_through=flag(f"{setting}['read_through']", options.get("read_through", True)),
        )


_PLACE_OPTIONS = (
    *("bucket", "region", "owner", "acl", "public_url", "expires"),
    *("path", "immutable", "read_through"),
)


@dataclass(frozen=True, kw_only=True)
class HandoffConfig:
    """What one app has configured. Made by ``from_mapping``, never changed.

    >>> HandoffConfig.from_mapping({"S3HANDOFF_BUCKET": "acme-uploads"}).deadline_seconds
    20.0
    """

    bucket: str | None = None
    store: Any = "s3"
    region: str | None = None
    endpoint_url: str | None = None
    bucket_owner: str | None = None
    sse: str | None = None
    kms_key_id: str | None = None
    prefix: str = "handoff/"
    places: tuple[Place, ...] = ()
    paths: tuple[str, ...] = ("/",)
    work_dir: str | None = None
    work_dir_max_bytes: int = 1 << 30
    token_max_age_seconds: int = 86_400
    max_file_size_bytes: int | None = None
    max_files: int = 20
    inject: str = "same-origin"
    trusted_origins: tuple[str, ...] = ()
    redirects: bool = True
    mirror: str = "overlap"
    bind: str = "cookie"
    cookie_secure: bool | None = None
    on_error: str = "raise"
    deadline_seconds: float = 20.0
    url_expires_seconds: int = 300
    enabled: bool = True
    observe: bool = False
    instance_path: str | None = field(default=None, compare=False)

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, Any],
        *,
        instance_path: str | None = None,
        development: bool = False,
    ) -> HandoffConfig:
        """Read the ``S3HANDOFF_*`` keys of a mapping; anything wrong is a ``ConfigError``."""
        given = {name: value for name, value in mapping.items() if name.startswith("S3HANDOFF_")}
        _refuse_near_misses(given)
        values = {
            setting.field: setting.judge(setting.name, given[setting.name])
            for setting in SETTINGS
            if setting.name in given
        }
        if given.get("S3HANDOFF_COOKIE_SECURE") is None:
            values["cookie_secure"] = mapping.get("SESSION_COOKIE_SECURE") or None
        config = cls(**values, instance_path=instance_path)
        return config._for_development() if development else config._checked()

    def _for_development(self) -> HandoffConfig:
        if self.store != "s3" or self.bucket or self.instance_path is None or self.only_observes:
            return self._checked()
        folder = os.path.join(self.instance_path, "s3handoff-store")
        log.warning("No S3HANDOFF_BUCKET: in debug and testing the store is the folder %s", folder)
        return replace(self, store=f"dir:{folder}")._checked()

    def _checked(self) -> HandoffConfig:
        if self.store == "s3" and self.is_active and not self.bucket:
            raise ConfigError(
                "S3HANDOFF_BUCKET is missing: name the bucket,"
                ' or set S3HANDOFF_STORE to "dir:/path" for development.'
            )
        if self.kms_key_id and not (self.sse or "").startswith("aws:kms"):
            raise ConfigError('S3HANDOFF_KMS_KEY_ID has no effect without S3HANDOFF_SSE="aws:kms".')
        for place in self.places:
            if place.prefix.startswith(self.prefix) or self.prefix.startswith(place.prefix):
                raise ConfigError(
                    f"S3HANDOFF_PLACES {place.prefix!r} and S3HANDOFF_PREFIX {self.prefix!r}"
                    " overlap: a lifecycle rule empties staging: no permanent file may lie there."
                )
        _check_folders(self)
        return self

    @property
    def is_active(self) -> bool:
        """Tell whether requests and responses are acted on at all."""
        return self.enabled and not self.observe

    @property
    def only_observes(self) -> bool:
        """Tell whether requests are looked at, and left as they are."""
        return self.enabled and self.observe

    @property
    def folders(self) -> tuple[Place, ...]:
        """The places that are folders of the app."""
        return tuple(place for place in self.places if place.path is not None)

    def place_of(self, key: object, *, is_prefix: bool = False) -> Place:
        """Return the place with the longest prefix of this key, or raise ``InvalidKey``."""
        key = check_prefix(key) if is_prefix else check_key(key)
        below = [place for place in self.places if key.startswith(place.prefix)]
        if not below:
            raise InvalidKey(f"{key!r} does not lie below any of S3HANDOFF_PLACES.")
        return max(below, key=lambda place: len(place.prefix))


def _check_folders(config: HandoffConfig) -> None:
    """Refuse folders in which we would meet ourselves, or each other."""
    if not config.paths and not config.folders:
        raise ConfigError("S3HANDOFF_PATHS is empty, and no place is a folder: nothing is left.")
    paths = [place.path or "" for place in config.folders]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise ConfigError(f"S3HANDOFF_PLACES: {twice} is the 'path' of two places.")
    own = [config.work_dir, str(config.store)[4:] if str(config.store)[:4] == "dir:" else None]
    for path in paths:
        for other in filter(None, own):
            if os.path.commonpath([path, other]) in (path, other):
                raise ConfigError(
                    f"S3HANDOFF_PLACES: the folder {path} and {other}, where we keep our own files,"
                    " must not lie in each other."
                )


def secret_keys(mapping: Mapping[str, Any]) -> list[str | bytes]:
    """Return the signing keys, newest last (the order in which itsdangerous wants them).

    ``S3HANDOFF_SECRET_KEY`` may be one key or a list; without it, ``SECRET_KEY`` signs and
    ``SECRET_KEY_FALLBACKS`` still verify.
    """
    own = mapping.get(SECRET_SETTING)
    if own is not None:
        keys = [own] if isinstance(own, str | bytes) else own
        name = SECRET_SETTING
    else:
        fallbacks = mapping.get("SECRET_KEY_FALLBACKS") or []
        refuse_unless(
            isinstance(fallbacks, list | tuple), "SECRET_KEY_FALLBACKS", fallbacks, "a list of keys"
        )
        keys = [*fallbacks, mapping.get("SECRET_KEY")]
        name = "SECRET_KEY"
    refuse_unless(
        isinstance(keys, list | tuple) and len(keys) > 0, name, "…", "a key or a list of keys"
    )
    for key in keys:
        _check_secret(name, key)
    return list(keys)


def _check_secret(name: str, key: object) -> None:
    """Refuse keys that can be guessed (threat T3; itsdangerous itself takes an empty one)."""
    if isinstance(key, int | float):  # digits alone in the environment are a number
        raise ConfigError(f"{name} is a number, not text: set it to 32 random bytes.")
    if not isinstance(key, str | bytes) or not key:
        raise ConfigError(
            f"{name} is missing: tokens are signed with it. Set it to 32 random bytes."
        )
    raw = key.encode() if isinstance(key, str) else key
    if len(raw) < MIN_SECRET_BYTES or raw in _KNOWN_SECRETS:
        raise ConfigError(
            f"{name} is too weak to sign tokens: at least {MIN_SECRET_BYTES} random bytes,"
            " for example from python -c 'import secrets; print(secrets.token_hex(32))'."
        )


def _refuse_near_misses(given: Mapping[str, Any]) -> None:
    known = [setting.name for setting in SETTINGS] + [SECRET_SETTING]
    for name in given:
        if name in known:
            continue
        if close := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            raise ConfigError(f"{name} is not a setting. Did you mean {close[0]}?")
        log.warning("%s is not a setting of flask_s3handoff and has no effect", name)


def _places(setting: str, value: Any) -> tuple[Place, ...]:
    refuse_unless(isinstance(value, Mapping), setting, value, 'a mapping such as {"users/": {}}')
    return tuple(Place.from_mapping(prefix, options) for prefix, options in value.items())


class Setting(NamedTuple):
    """One row of the settings table."""

    name: str
    field: str
    judge: Judge


SETTINGS = (
    Setting("S3HANDOFF_BUCKET", "bucket", optional(judges.bucket)),
    Setting("S3HANDOFF_STORE", "store", judges.store),
    Setting("S3HANDOFF_REGION", "region", optional_text),
    Setting("S3HANDOFF_ENDPOINT_URL", "endpoint_url", optional(judges.endpoint)),
    Setting("S3HANDOFF_BUCKET_OWNER", "bucket_owner", optional(judges.owner)),
    Setting("S3HANDOFF_SSE", "sse", optional(one_of("AES256", "aws:kms", "aws:kms:dsse"))),
    Setting("S3HANDOFF_KMS_KEY_ID", "kms_key_id", optional_text),
    Setting("S3HANDOFF_PREFIX", "prefix", judges.prefix),
    Setting("S3HANDOFF_PLACES", "places", _places),
    Setting("S3HANDOFF_PATHS", "paths", judges.url_paths),
    Setting("S3HANDOFF_WORK_DIR", "work_dir", optional(judges.work_dir)),
    Setting("S3HANDOFF_WORK_DIR_MAX_BYTES", "work_dir_max_bytes", whole(1 << 20, 1 << 50, "bytes")),
    Setting(
        "S3HANDOFF_TOKEN_MAX_AGE",
        "token_max_age_seconds",
        whole(1, MAX_TOKEN_AGE_SECONDS, "seconds"),
    ),
    Setting("S3HANDOFF_MAX_FILE_SIZE", "max_file_size_bytes", optional(whole(1, 5 << 40, "bytes"))),
    Setting("S3HANDOFF_MAX_FILES", "max_files", whole(1, 1000, "files")),
    Setting("S3HANDOFF_INJECT", "inject", one_of("same-origin", "marked", "off")),
    Setting("S3HANDOFF_TRUSTED_ORIGINS", "trusted_origins", judges.origins),
    Setting("S3HANDOFF_REDIRECTS", "redirects", flag),
    Setting("S3HANDOFF_MIRROR", "mirror", one_of("overlap", "before_view")),
    Setting("S3HANDOFF_BIND", "bind", one_of("cookie", "off")),
    Setting("S3HANDOFF_COOKIE_SECURE", "cookie_secure", optional(flag)),
    Setting("S3HANDOFF_ON_ERROR", "on_error", one_of("raise", "collect")),
    Setting("S3HANDOFF_DEADLINE", "deadline_seconds", judges.seconds),
    Setting("S3HANDOFF_URL_EXPIRES", "url_expires_seconds", judges.url_expires),
    Setting("S3HANDOFF_ENABLED", "enabled", flag),
    Setting("S3HANDOFF_OBSERVE", "observe", flag),
)
