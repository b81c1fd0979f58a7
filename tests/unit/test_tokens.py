"""Tokens: what we signed comes back as it was, and nothing else is believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from itsdangerous import Signer, URLSafeTimedSerializer

from flask_s3handoff.errors import Forged
from flask_s3handoff.tokens import (
    MAX_TOKEN_LENGTH,
    Binding,
    Bundle,
    Claim,
    Token,
    TokenSigner,
)

KEY = "one key of at least 16 bytes"
RELPATH = f"20261123/{'k' * 26}/leo.jpg"
CLAIM = Claim(
    relpath=RELPATH,
    field="avatar",
    filename="leo.jpg",
    content_type="image/jpeg",
    size=12_345,
    sha256="ab" * 32,
    uploaded_at=1_700_000_000,
)
BINDING = Binding("0123456789abcdef01", "c" * 22, "p" * 22)
Sign = Callable[[Any], str]


@pytest.fixture
def signer() -> TokenSigner:
    return TokenSigner(lambda: [KEY])


@pytest.fixture
def sign(signer: TokenSigner) -> Sign:
    """Return a way to sign any payload with the right key: what is signed is judged all the same."""

    def sign(payload: Any) -> str:
        return signer._sign("token", payload)

    return sign


def payload(**changes: Any) -> list[Any]:
    """Return the payload of a good token, with one claim field changed."""
    fields = {
        "relpath": RELPATH,
        "field": "avatar",
        "filename": "leo.jpg",
        "content_type": "image/jpeg",
        "size": 1,
        "sha256": base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode(),
        "uploaded_at": 1,
    }
    return [1, "nonce", ["", "", ""], [list((fields | changes).values())], 0]


def test_a_token_brings_back_its_claims_and_binding(signer: TokenSigner) -> None:
    """Everything that was known of a file is known on the next server."""
    other = CLAIM._replace(filename="Ünï 日本 'x\".jpg", field="a[]", size=0)

    token = signer.read(signer.mint(Token(BINDING, (CLAIM, other))))

    assert token == Token(BINDING, (CLAIM, other))


def test_a_token_can_name_a_staged_bundle(signer: TokenSigner) -> None:
    """Long tokens name the object that holds their claims."""
    bundle = Bundle(RELPATH, 99, "cd" * 32)

    assert signer.read(signer.mint(Token(BINDING, bundle=bundle))).bundle == bundle
    assert signer.unpack_claims(signer.pack_claims([CLAIM])) == (CLAIM,)


def test_a_token_has_no_character_that_html_or_a_url_escapes(signer: TokenSigner) -> None:
    """The injected bytes hold no attacker's character (threats 0.6)."""
    text = signer.mint(Token(BINDING, (CLAIM._replace(field='"><script>'),)))

    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-")


def test_two_tokens_of_the_same_claims_differ(signer: TokenSigner) -> None:
    """Guesses in compressed pages do not add up (threat T16)."""
    assert signer.mint(Token(BINDING, (CLAIM,))) != signer.mint(Token(BINDING, (CLAIM,)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        ".",
        "..",
        "a.b.c",
        "A" * (MAX_TOKEN_LENGTH + 1),
        "\0",
        "\ud800",
        "é.a.b",
        None,
        7,
        b"x.y",
    ],
    ids=lambda value: f"B24-B25-{value!r:.12}",
)
def test_garbage_is_forged_and_never_another_exception(signer: TokenSigner, text: object) -> None:
    """B24, B25: itsdangerous itself raises UnicodeEncodeError and TypeError on some of these."""
    with pytest.raises(Forged):
        signer.read(text)


def test_b26_no_other_spelling_of_a_signature_is_accepted(signer: TokenSigner) -> None:
    """The last base64 character has aliases that decode to the same bytes."""
    text = signer.mint(Token(BINDING, (CLAIM,)))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    for other in [text[:-1] + letter for letter in alphabet if letter != text[-1]] + [text + "="]:
        with pytest.raises(Forged):
            signer.read(other)


def test_b28_no_flipped_bit_survives(signer: TokenSigner) -> None:
    """Every single-bit change of a token is forged."""
    text = signer.mint(Token(BINDING, (CLAIM,)))
    for position in range(len(text)):
        for bit in range(7):
            flipped = text[:position] + chr(ord(text[position]) ^ (1 << bit)) + text[position + 1 :]
            with pytest.raises(Forged):
                signer.read(flipped)


def test_b27_a_compressed_payload_is_never_inflated(signer: TokenSigner) -> None:
    """A payload of itsdangerous's compressed form is refused although its key is right."""
    bomb = URLSafeTimedSerializer(KEY).dumps("x" * 1_000_000)

    with pytest.raises(Forged):
        signer.read(str(bomb))


def test_b29_a_token_of_another_purpose_is_forged(signer: TokenSigner) -> None:
    """Salts keep a session cookie and a link of our own route apart from a token (T4)."""
    body = base64.urlsafe_b64encode(json.dumps(payload()).encode()).rstrip(b"=").decode()

    for text in (
        Signer(KEY).sign(body).decode(),
        Signer(KEY, salt="cookie-session").sign(body).decode(),
        signer.mint_link(RELPATH, 2**40, ["image/png", "inline"]),
    ):
        with pytest.raises(Forged):
            signer.read(text)


@pytest.mark.parametrize(
    "relpath",
    ["../../x", "/abs", "C:\\x", "a\0b", "other/x", "", "20261123/", RELPATH + "/..", "..%2f", "x" * 1025,
     RELPATH + "\n", f"20261123/{'k' * 26}/..", 7, None],
    ids=lambda value: f"B31-{value!r:.20}",
)  # fmt: skip
def test_a_relative_path_is_judged_although_it_is_signed(
    signer: TokenSigner, sign: Sign, relpath: object
) -> None:
    """B31, T1: our own signature does not make a path safe."""
    with pytest.raises(Forged):
        signer.read(sign(payload(relpath=relpath)))


@pytest.mark.parametrize(
    "changes",
    [
        {"size": -1},
        {"size": 2**70},
        {"size": True},
        {"size": "1"},
        {"size": 1.5},
        {"sha256": "AA"},
        {"sha256": "é" * 43},
        {"uploaded_at": -1},
        {"uploaded_at": "now"},
        {"uploaded_at": None},
        {"field": "x" * 256},
        {"filename": "x" * 256},
        {"content_type": 3},
        {"extra": 1},
    ],
    ids=lambda changes: f"B30-B32-{changes!r:.30}",
)
def test_a_claim_of_the_wrong_shape_is_forged(
    signer: TokenSigner, sign: Sign, changes: dict[str, Any]
) -> None:
    """B30, B32: exact keys, exact types."""
    with pytest.raises(Forged):
        signer.read(sign(payload(**changes)))


@pytest.mark.parametrize(
    "body",
    [{}, [], [1], [2, "n", ["", "", ""], [], 0], [1, "n", ["", ""], [], 0], [1, "n", ["", "", ""], {}, 0],
     [1, "n", ["x/y", "", ""], [], 0], [1, "n", ["", "short", ""], [], 0], [1, "n", ["", "", ""], [], 5],
     [1, "n", ["", "", ""], [], ["../x", 1, "ab" * 32]], [True, "n", ["", "", ""], [], 0, 0], float("nan")],
    ids=lambda value: f"B32-{value!r:.30}",
)  # fmt: skip
def test_a_payload_of_the_wrong_shape_is_forged(signer: TokenSigner, sign: Sign, body: Any) -> None:
    """B32: another format, a missing part, a foreign binding or bundle."""
    with pytest.raises(Forged):
        signer.read(sign(body))


def test_b32_ten_thousand_nested_levels_are_forged(signer: TokenSigner, sign: Sign) -> None:
    """Deep nesting is refused without a RecursionError."""
    body = base64.urlsafe_b64encode(b"[" * 10_000 + b"]" * 10_000).rstrip(b"=")

    with pytest.raises(Forged):
        signer.read(signer._signer("token").sign(body).decode())


def test_the_newest_key_signs_and_all_verify() -> None:
    """Rotation keeps forms that are open; the order is itsdangerous's (T42, CVE-2025-47278)."""
    old, new = "the old key of 16 bytes", "the new key of 16 bytes"
    before, both = TokenSigner(lambda: [old]), TokenSigner(lambda: [old, new])
    after = TokenSigner(lambda: [new])

    assert both.read(before.mint(Token(BINDING))) == Token(BINDING)
    assert after.read(both.mint(Token(BINDING))) == Token(BINDING)
    with pytest.raises(Forged):
        after.read(before.mint(Token(BINDING)))
    assert both.matches(before.digest("cookie", "value"), "cookie", "value")


def test_a_digest_keeps_purposes_and_values_apart(signer: TokenSigner) -> None:
    """A cookie's digest is no principal's digest."""
    digest = signer.digest("cookie", "value")

    assert signer.matches(digest, "cookie", "value")
    assert not signer.matches(digest, "principal", "value")
    assert not signer.matches(digest, "cookie", "other")
    assert not signer.matches("", "cookie", "value")


def test_a_link_expires(signer: TokenSigner) -> None:
    """The route that stands in for presigned URLs keeps their promise."""
    now = 1_000.0
    clocked = TokenSigner(lambda: [KEY], now=lambda: now)
    link = clocked.mint_link("users/1.jpg", 1_060, ["image/jpeg", "inline"])

    assert clocked.read_link(link) == ("users/1.jpg", "image/jpeg", "inline")
    now = 1_061.0
    with pytest.raises(Forged):
        clocked.read_link(link)


def test_keys_are_read_on_first_use() -> None:
    """Making a signer needs no secret: an app may be imported without one (rule 8)."""

    def no_keys() -> list[str]:
        raise LookupError("read too early")

    signer = TokenSigner(no_keys)

    with pytest.raises(LookupError):
        signer.mint(Token(BINDING))
