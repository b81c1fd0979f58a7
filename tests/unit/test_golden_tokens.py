"""Tokens of past releases are read for ever: servers of two versions serve the same pages for a while.

``python -m tests.unit.test_golden_tokens 0.2`` prints the lines to add for a release.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from flask_s3handoff.binding import Binder
from flask_s3handoff.errors import Forged
from flask_s3handoff.tokens import FORMAT, Binding, Bundle, Claim, Kept, Token, TokenSigner

FILE = Path(__file__).parents[1] / "data" / "tokens" / "tokens.jsonl"
KEY = "a published key: for tests, and for nothing else"
NOW = 1_795_600_000
COOKIE = ("01c8ae1c0123456789", "a-cookie-of-22-letters")
PRINCIPAL = "ada@example.com"
LEO = Claim(
    relpath="20261125/abcdefghijklmnopqrstuvwxyz/leo.png",
    field="avatar",
    filename="léo 🦁.png",
    content_type="image/png",
    size=34_567,
    sha256="5a" * 32,
    uploaded_at=NOW - 60,
)
CV = Claim(
    relpath="20261124/zyxwvutsrqponmlkjihg234567/cv.pdf",
    field="documents[]",
    filename='a "quoted", long name.pdf',
    content_type="application/pdf",
    size=0,
    sha256="00" * 32,
    uploaded_at=NOW - 86_400,
)
KEPT = Kept("avatars/léo.png", "b2" * 32, NOW - 60)
BUNDLE = Bundle("20261125/bbbbbbbbbbbbbbbbbbbbbbbbbb/claims.json", 2345, "c3" * 32)
LINK = ("users/654/léo.png", "image/png", "inline")


def stopped() -> TokenSigner:
    """Return a signer with the published key and a clock that stands still."""
    return TokenSigner(lambda: [KEY], now=lambda: NOW)


def bindings(signer: TokenSigner) -> dict[str, Binding]:
    """Return what a token may be bound to."""
    cookie = signer.digest("cookie", COOKIE[1])
    user = signer.digest("principal", PRINCIPAL)
    return {
        "cookie": Binding(COOKIE[0], cookie),
        "principal": Binding(COOKIE[0], cookie, user),
        "none": Binding(),
    }


def shapes(signer: TokenSigner) -> dict[str, Token]:
    """Return one token of each shape; one in a query is a token like those in forms."""
    bound = bindings(signer)
    return {
        "one-claim": Token(bound["cookie"], (LEO,)),
        "several-claims": Token(bound["cookie"], (LEO, CV)),
        "no-claim": Token(bound["cookie"]),
        "kept-files": Token(bound["cookie"], (LEO, KEPT)),
        "bundle": Token(bound["cookie"], bundle=BUNDLE),
        "query": Token(bound["cookie"], (CV,)),
        "bound-with-principal": Token(bound["principal"], (LEO,)),
        "unbound": Token(bound["none"], (LEO,)),
    }


def lines() -> list[dict[str, Any]]:
    """Return what was minted once: release, shape and text."""
    return [json.loads(line) for line in FILE.read_text().splitlines()]


@pytest.mark.parametrize("line", lines(), ids=lambda line: f"{line['release']}-{line['shape']}")
def test_f43_a_token_of_a_past_release_is_read(line: dict[str, str]) -> None:
    """It says today what it said when it was minted."""
    signer = stopped()
    if line["shape"] == "link":
        assert signer.read_link(line["text"]) == LINK
    elif line["shape"] == "bundled-claims":
        assert signer.unpack_claims(line["text"].encode()) == (LEO, CV)
    else:
        assert signer.read(line["text"]) == shapes(signer)[line["shape"]]


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("line", lines(), ids=lambda line: f"{line['release']}-{line['shape']}")
def test_f43_the_cookie_of_a_past_release_still_binds(line: dict[str, str], secure: bool) -> None:
    """Its name, its value, and the digests of cookie and user are made as they were."""
    signer = stopped()
    if line["shape"] in ("link", "bundled-claims"):
        return
    name = f"{'__Host-' if secure else ''}s3handoff-{COOKIE[0]}"
    for cookies in ({name: COOKIE[1]}, {}):
        binder = Binder(
            signer,
            cookies,
            on=line["shape"] != "unbound",
            secure=secure,
            principal=lambda: PRINCIPAL,
            lifetime_seconds=86_400,
            now=NOW,
        )
        accepted = binder.accepts(signer.read(line["text"]).binding)
        assert accepted == (bool(cookies) or line["shape"] == "unbound")


def test_f43_every_shape_is_kept() -> None:
    """Each has its line for the format that is minted now."""
    kept = {line["shape"] for line in lines()}
    assert kept == {*shapes(stopped()), "link", "bundled-claims"}


@pytest.mark.parametrize("version", [0, FORMAT + 1, 99])
def test_f43_a_format_of_the_future_is_refused_in_a_word(version: int) -> None:
    """A server that is not rolled forward yet says ``forged``, and crashes over nothing."""
    signer = stopped()
    with pytest.raises(Forged):
        signer.read(signer._sign("token", [version, "nonce", ["", "", ""], [], 0]))


def mint(release: str) -> None:
    """Print a line for each shape."""
    signer = stopped()
    texts = {shape: signer.mint(token) for shape, token in shapes(signer).items()}
    texts["bundled-claims"] = signer.pack_claims((LEO, CV)).decode()
    texts["link"] = signer.mint_link(LINK[0], 2**40, LINK[1:])
    for shape, text in texts.items():
        print(json.dumps({"release": release, "shape": shape, "text": text}))


if __name__ == "__main__":
    mint(sys.argv[1])
