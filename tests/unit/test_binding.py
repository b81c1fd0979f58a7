"""Binding: a token works with the browser, and the user, that it was given to."""

from __future__ import annotations

from typing import Any

import pytest

from flask_s3handoff.binding import MAX_COOKIES, Binder
from flask_s3handoff.tokens import Binding, TokenSigner

SIGNER = TokenSigner(lambda: ["one key of at least 16 bytes"])
MINUTE = 29_000_000
NOW = MINUTE * 60.0
DAY = 86_400
Jar = dict[str, str]


def binder(jar: Jar, *, user: str | None = None, **options: Any) -> Binder:
    """Return the binder of a request with these cookies, of this user."""
    defaults: dict[str, Any] = {
        "on": True,
        "secure": False,
        "principal": lambda: user,
        "lifetime_seconds": DAY,
        "now": NOW,
    }
    return Binder(SIGNER, jar, **{**defaults, **options})


def minted(jar: Jar, **options: Any) -> Binding:
    """Return a binding, and put its cookie into the jar as a browser does."""
    made = binder(jar, **options)
    binding = made.binding()
    for cookie in made.leaving_cookies():
        if cookie.value:
            jar[cookie.name] = cookie.value
        else:
            jar.pop(cookie.name, None)
    return binding


class TestCookies:
    """One random cookie per minted id."""

    def test_a_token_works_with_its_own_cookie_only(self) -> None:
        """Another browser, or none, is foreign (T5, B33)."""
        mine: Jar = {}
        theirs: Jar = {}
        binding = minted(mine)
        minted(theirs)

        assert binder(mine).accepts(binding)
        assert not binder(theirs).accepts(binding)
        assert not binder({}).accepts(binding)

    def test_a_changed_value_is_foreign(self) -> None:
        """The id alone is in the token; the value is what counts."""
        jar: Jar = {}
        binding = minted(jar)
        name = next(iter(jar))

        assert not binder({name: "A" * 22}).accepts(binding)
        assert not binder({name: jar[name] + ";"}).accepts(binding)

    def test_three_parallel_first_uploads_all_work(self) -> None:
        """With one shared name, two of the three tokens would die."""
        jars: list[Jar] = [{}, {}, {}]
        bindings = [minted(jar) for jar in jars]
        together = jars[0] | jars[1] | jars[2]

        assert all(binder(together).accepts(binding) for binding in bindings)

    def test_a_young_cookie_is_used_again(self) -> None:
        """A browser does not collect a cookie per upload."""
        jar: Jar = {}
        first, second = minted(jar), minted(jar)

        assert first.cookie_id == second.cookie_id
        assert len(jar) == 1

    def test_an_old_cookie_still_verifies_but_signs_no_more(self) -> None:
        """Every token is outlived by the cookie that it was signed with."""
        jar: Jar = {}
        old = minted(jar)
        later = NOW + DAY + 60

        assert binder(jar, now=later).accepts(old)
        assert minted(jar, now=later).cookie_id != old.cookie_id

    def test_cookies_too_old_or_too_many_are_taken_away(self) -> None:
        """A browser never sends a growing header."""
        jar: Jar = {}
        for day in range(MAX_COOKIES + 4):
            now = NOW + day * (DAY + 120)
            minted(jar, now=now)

        assert len(jar) <= 3
        crowd = {f"s3handoff-{MINUTE - n:08x}{n:010x}": "A" * 22 for n in range(20)}
        crowded = binder(crowd, now=NOW + DAY + 60)
        crowded.binding()
        deleted = [cookie for cookie in crowded.leaving_cookies() if not cookie.value]
        assert len(deleted) == 20 + 1 - MAX_COOKIES

    def test_a_secure_request_believes_secure_cookies_only(self) -> None:
        """A subdomain can plant a plain cookie, but not one named __Host- (T6)."""
        plain: Jar = {}
        binding = minted(plain)
        secure: Jar = {}
        secure_binding = minted(secure, secure=True)

        assert not binder(plain, secure=True).accepts(binding)
        assert next(iter(secure)).startswith("__Host-s3handoff-")
        assert binder(secure, secure=True).accepts(secure_binding)

    @pytest.mark.parametrize("name", ["s3handoff-", "s3handoff-../x", "s3handoff-ABC", "session"])
    def test_a_malformed_cookie_is_no_cookie(self, name: str) -> None:
        """B33: what is not of our shape is not there."""
        assert binder({name: "A" * 22}).forget() == []

    def test_forgetting_deletes_every_cookie(self) -> None:
        """What the browser still carries is foreign from then on."""
        jar: Jar = {}
        minted(jar)

        assert [(c.name, c.value, c.max_age_seconds) for c in binder(jar).forget()] == [
            (next(iter(jar)), "", 0)
        ]

    def test_no_cookie_is_set_where_none_was_minted(self) -> None:
        """A response that needs no new cookie sets none."""
        jar: Jar = {}
        minted(jar)
        again = binder(jar)
        again.binding()

        assert again.leaving_cookies() == []


class TestPrincipals:
    """A user in addition."""

    @pytest.mark.parametrize(
        ("before", "after", "works"),
        [(None, "ann", True), ("ann", "ann", True), ("ann", None, False), ("ann", "bob", False)],
    )
    def test_login_keeps_working_and_logout_does_not(
        self, before: str | None, after: str | None, works: bool
    ) -> None:
        """Anonymous → logged in is fine; logout or another user is foreign (T7)."""
        jar: Jar = {}
        binding = minted(jar, user=before)

        assert binder(jar, user=after).accepts(binding) is works

    def test_no_user_id_is_in_the_binding(self) -> None:
        """A token is readable: it holds digests (T16)."""
        assert "ann@example.com" not in str(minted({}, user="ann@example.com"))


def test_with_binding_off_every_browser_is_accepted() -> None:
    """A bearer token, for clients without cookies; a user still counts."""
    off = binder({}, on=False).binding()

    assert off == Binding()
    assert binder({}, on=False).accepts(off)
    assert not binder({}, on=True).accepts(off)
    assert not binder({}, on=False, user="bob").accepts(binder({}, on=False, user="ann").binding())
