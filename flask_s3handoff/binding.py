"""To whom a token belongs: a random cookie of this browser, and a user in addition.

One cookie per minted id, because three parallel first uploads mint three: with one shared name two
of their tokens would die. Not the session id, which logins rotate (threats T5–T7, 0.13).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .tokens import Binding, TokenSigner, is_binding_id, minutes_of, random_id

PLAIN_STEM = "s3handoff-"
SECURE_STEM = "__Host-s3handoff-"
_STEMS = (PLAIN_STEM, SECURE_STEM)
MAX_COOKIES = 8
_VALUE = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True)
class Cookie:
    """A cookie to set; an empty value deletes it. HttpOnly, SameSite=Lax, Path=/."""

    name: str
    value: str = field(repr=False)
    max_age_seconds: int
    secure: bool


def has_binding_cookie(names: Iterable[str]) -> bool:
    """Tell whether a browser sends any binding cookie at all."""
    return any(name.startswith(_STEMS) for name in names)


def binding_cookies(header: str) -> dict[str, str]:
    """Return the binding cookies of a ``Cookie`` header, by the very bytes of their names.

    werkzeug 3.0 strips every kind of space from a name: ``"\\xa0__Host-…"``, which a sibling domain
    may set, would pass for a cookie of this host alone (T6). Of one name the first counts.
    """
    pairs = [pair.strip(" \t").partition("=") for pair in header.split(";")]
    return {name: value for name, _, value in reversed(pairs) if name.startswith(_STEMS)}


class Binder:
    """Judge and make the bindings of one request."""

    def __init__(
        self,
        signer: TokenSigner,
        cookies: Mapping[str, str],
        *,
        on: bool,
        secure: bool,
        principal: Callable[[], str | None],
        lifetime_seconds: int,
        now: float,
    ) -> None:
        self._signer = signer
        self._stem = SECURE_STEM if secure else PLAIN_STEM
        self._on = on
        self._secure = secure
        self._principal = principal
        self._lifetime_seconds = lifetime_seconds
        self._now = now
        self._cookies = {
            name.removeprefix(self._stem): value
            for name, value in cookies.items()
            if name.startswith(self._stem)
            and is_binding_id(name.removeprefix(self._stem))
            and _VALUE.fullmatch(value)
        }
        self._minted: str | None = None

    @property
    def is_on(self) -> bool:
        """Whether tokens are bound to a cookie."""
        return self._on

    def accepts(self, binding: Binding) -> bool:
        """Tell whether a token of this binding may be used in this request."""
        return self._accepts_cookie(binding) and self._accepts_principal(binding)

    def _accepts_cookie(self, binding: Binding) -> bool:
        if not self._on:
            return True
        value = self._cookies.get(binding.cookie_id)
        return value is not None and self._signer.matches(binding.cookie_digest, "cookie", value)

    def _accepts_principal(self, binding: Binding) -> bool:
        """Accept an anonymous token from anybody, a user's token from that user only."""
        if not binding.principal_digest:
            return True
        principal = self._principal()
        return principal is not None and self._signer.matches(
            binding.principal_digest, "principal", principal
        )

    def binding(self) -> Binding:
        """Return the binding for a token that leaves now; a cookie is minted if none is young."""
        user = self._principal()
        principal = "" if user is None else self._signer.digest("principal", user)
        if not self._on:
            return Binding(principal_digest=principal)
        cookie_id = self._young_id() or self._mint()
        digest = self._signer.digest("cookie", self._cookies[cookie_id])
        return Binding(cookie_id, digest, principal)

    def _age_seconds(self, cookie_id: str) -> float:
        return self._now - 60 * minutes_of(cookie_id)

    def _young_id(self) -> str | None:
        """Return the newest cookie that outlives every token signed with it now."""
        young = [i for i in self._cookies if -120 <= self._age_seconds(i) <= self._lifetime_seconds]
        return max(young, default=None)

    def _mint(self) -> str:
        self._minted = random_id(self._now)
        self._cookies[self._minted] = secrets.token_urlsafe(16)
        return self._minted

    def leaving_cookies(self) -> list[Cookie]:
        """Return the cookie that was minted, and the deletion of those too old or too many."""
        if self._minted is None:
            return []
        by_age = sorted(self._cookies, reverse=True)
        most = 2 * self._lifetime_seconds
        stale = [i for n, i in enumerate(by_age) if n >= MAX_COOKIES or self._age_seconds(i) > most]
        minted = Cookie(self._stem + self._minted, self._cookies[self._minted], most, self._secure)
        return [minted, *(self._deletion(i) for i in stale if i != self._minted)]

    def forget(self) -> list[Cookie]:
        """Return the deletion of every binding cookie of this browser."""
        return [self._deletion(cookie_id) for cookie_id in self._cookies]

    def _deletion(self, cookie_id: str) -> Cookie:
        return Cookie(self._stem + cookie_id, "", 0, self._secure)
