"""Any text as a token, any payload that was signed, any token of ours: read back, or ``Forged``.

Cookies and query strings are judged beside it: what a stranger sends raises nothing at all.
"""

from __future__ import annotations

import copy
from typing import Any

from flask_s3handoff.arriving import QUERY_TOKEN_KEY, hide_query_token
from flask_s3handoff.binding import Binder
from flask_s3handoff.errors import Forged
from flask_s3handoff.leaving import take_query_token, with_query_token
from flask_s3handoff.paths import MAX_FILENAME_LENGTH, TOKEN_FIELD, is_relpath
from flask_s3handoff.tokens import MAX_SIZE, Binding, Bundle, Claim, Kept, Token, TokenSigner, _b64

from .choices import Choices

SIGNER = TokenSigner(lambda: ["an older key of 16 bytes", "a key of at least 16 bytes"])
RELPATH = f"20261123/{'k' * 26}/leo.png"
ROW = [RELPATH, "avatar", "leo.png", "image/png", 3, "A" * 43, 1_700_000_000]
PAYLOAD = [1, "nonce", ["0123456789abcdef01", "c" * 22, ""], [ROW, ROW], 0]
BUNDLED = [1, "nonce", ["", "", ""], [], [RELPATH, 3, "ab" * 32]]
TEXTS = ("avatar", "", "é\"'><", "a[]", "\0", "\ud800", "x" * 255, "x" * 256, "日本")
# What a cell of a payload may become: other types, other sizes, other spellings.
CELLS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 2**53, 2**70, -(2**70), float("inf"), float("nan"), "", "x", "é" * 22, "A" * 43, "A" * 44,
    "A" * 42 + "=", "../x", f"{RELPATH}/..", f"{RELPATH}\n", RELPATH.upper(), "20261123", [], [[]], {}, {"a": 1}, [1, 2, 3],
    "x" * 256, "\ud800", "\0", ROW, [ROW], RELPATH, "ab" * 32, "AB" * 32,
)  # fmt: skip
QUERY = (
    "_s3handoff=T.x", "_s3handoff", "_s3handoff=", "a=1", "&", "=", "a=%5fs3handoff=", "%5Fs3handoff=T", "b=_s3handoff", "#", "?", ";",
    "_s3handoff=a&_s3handoff=b", "\xff", "+",
)  # fmt: skip


def check(data: bytes) -> None:
    """Judge one input; ``AssertionError`` and any other exception is a find."""
    choices = Choices(data)
    choices.one_of((_any_text, _changed, _signed, _mutated, _minted, _cookies, _query))(choices)


def read(text: object) -> Token | None:
    """Return the token of a text, None if it is forged; what is read is sound."""
    try:
        token = SIGNER.read(text)
    except Forged:
        return None
    for claim in token.claims:
        _is_sound(claim)
    if token.bundle is not None:
        assert is_relpath(token.bundle.relpath)
        assert len(token.bundle.sha256) == 64
    return token


def _is_sound(claim: Claim | Kept) -> None:
    if isinstance(claim, Kept):  # a folder's: its path is judged by the folder
        return
    assert is_relpath(claim.relpath)
    assert 0 <= claim.size <= MAX_SIZE
    assert claim.uploaded_at >= 0
    assert bytes.fromhex(claim.sha256).hex() == claim.sha256
    assert len(claim.sha256) == 64
    assert len(claim.filename) <= MAX_FILENAME_LENGTH


def _any_text(choices: Choices) -> None:
    """Nobody can write a token without the key, whatever the type and the length."""
    spelling = choices.one_of(("latin-1", "utf-8", "utf-16-le", ""))
    raw = choices.rest()
    assert read(raw.decode(spelling, "replace") if spelling else raw) is None
    if spelling == "utf-16-le":
        assert read(raw[: len(raw) // 2 * 2].decode(spelling, "surrogatepass")) is None


def _changed(choices: Choices) -> None:
    """One changed character, one more or one less makes a token forged (B26, B28)."""
    text = SIGNER.mint(Token(Binding(), (_claim(choices),)))
    at = choices.number(len(text) - 1)
    changed = (
        text[:at]
        + choices.some(choices.number(2)).decode("latin-1")
        + text[at + choices.number(2) :]
    )
    assert changed == text or read(changed) is None


def _signed(choices: Choices) -> None:
    """Bytes that were signed by mistake are judged like all others (B31, B32)."""
    body = choices.rest()
    read(SIGNER._signer("token").sign(_b64(body)).decode())
    _unpack(body)


def _mutated(choices: Choices) -> None:
    """A payload of ours with some cells changed, signed with the right key (B30–B32)."""
    payload: Any = copy.deepcopy(choices.one_of((PAYLOAD, BUNDLED)))
    for _ in range(1 + choices.number(2)):
        _change(payload, choices)
    try:
        text = SIGNER._sign("token", payload)
    except UnicodeEncodeError:  # a lone surrogate cannot even be signed
        return
    token = read(text)
    if token is not None:
        assert SIGNER.read(SIGNER.mint(token)) == token
        _unpack(SIGNER.pack_claims(token.claims))


def _change(payload: Any, choices: Choices) -> None:
    """Change one cell, at any depth."""
    row = payload
    while isinstance(row, list) and row:
        at = choices.number(len(row) - 1)
        if not isinstance(row[at], list) or choices.number(3) == 3:
            row[at : at + choices.number(1) + choices.number(1)] = [
                copy.deepcopy(choices.one_of(CELLS))
            ]
            return
        row = row[at]


def _unpack(body: bytes) -> None:
    try:
        claims = SIGNER.unpack_claims(body)
    except Forged:
        return
    for claim in claims:
        _is_sound(claim)


def _minted(choices: Choices) -> None:
    """What we mint is what we read, and what is packed is what is unpacked."""
    claims = tuple(_claim(choices) for _ in range(choices.number(3)))
    bundle = Bundle(RELPATH, choices.number(65_535), "cd" * 32) if choices.number(1) else None
    binding = choices.one_of(
        (Binding(), Binding("0" * 18, "c" * 22, "p" * 22), Binding("", "", "p" * 22))
    )
    token = Token(binding, claims, bundle)
    text = SIGNER.mint(token)
    assert read(text) == token
    assert SIGNER.unpack_claims(SIGNER.pack_claims(claims)) == claims
    assert with_query_token("/x", text) == f"/x?{TOKEN_FIELD}={text}"


def _claim(choices: Choices) -> Claim:
    text = choices.some(choices.number(30)).decode("utf-8", "replace")
    return Claim(
        relpath=RELPATH,
        field=choices.one_of([t for t in TEXTS if t.isprintable() and len(t) < 256]),
        filename=text,
        content_type=choices.one_of(("image/png", "", "x/y; z=\"'")),
        size=choices.number(65_535),
        sha256=choices.some(32).ljust(32, b"\1").hex(),
        uploaded_at=choices.number(65_535),
    )


def _cookies(choices: Choices) -> None:
    """No jar of cookies raises, and none of a stranger's is accepted (B33)."""
    stems = ("s3handoff-", "__Host-s3handoff-", "session", "")
    cookies = {
        choices.one_of(stems) + choices.some(choices.number(20)).decode("latin-1"): choices.some(
            choices.number(24)
        ).decode("latin-1")
        for _ in range(choices.number(9))
    }
    for secure in (True, False):
        binder = Binder(
            SIGNER,
            cookies,
            on=True,
            secure=secure,
            principal=lambda: None,
            lifetime_seconds=86_400,
            now=1.8e9,
        )
        assert not binder.accepts(Binding("0123456789abcdef01", "c" * 22, ""))
        binding = binder.binding()
        assert binder.accepts(binding)
        assert len(binder.leaving_cookies()) <= 1 + len(cookies)
        assert len(binder.forget()) <= 1 + len(cookies)


def _query(choices: Choices) -> None:
    """Taking our token out of a query leaves the app's own, and no trace of ours (T14)."""
    pieces = [choices.one_of(QUERY) for _ in range(choices.number(8))]
    query = "&".join(pieces) if choices.number(1) else "".join(pieces)
    query += choices.rest().decode("latin-1")
    kept, token = take_query_token(query)
    own = [pair for pair in query.split("&") if pair.partition("=")[0] != TOKEN_FIELD]
    assert kept == "&".join(own)
    assert take_query_token(kept) == (kept, None)
    assert not token or f"{TOKEN_FIELD}={token}" in query
    environ = {
        "QUERY_STRING": query,
        "REQUEST_METHOD": "GET",
        "RAW_URI": f"/x?{query}",
        "HTTP_REFERER": f"http://h/?{query}",
    }
    hide_query_token(environ)
    assert environ["QUERY_STRING"] == kept
    assert environ.get(QUERY_TOKEN_KEY) == (token or None)
    for name in ("RAW_URI", "HTTP_REFERER"):
        shown = environ[name].partition("?")[2].split("&")
        assert not [pair for pair in shown if pair.partition("=")[0] == TOKEN_FIELD]
    if "#" not in query and "?" not in query:
        there = with_query_token(f"/x?{query}#top", "NEW.token")
        assert take_query_token(there.partition("?")[2].partition("#")[0])[1] == "NEW.token"
