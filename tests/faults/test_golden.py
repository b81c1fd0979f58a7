"""F43: servers of two releases side by side; what an old one has signed is read for ever.

A file in tests/data/golden/ is never changed and never removed: a new format adds one.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from flask_s3handoff.binding import Binder
from flask_s3handoff.errors import Forged
from flask_s3handoff.tokens import FORMAT, Bundle, Claim, TokenSigner

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "golden").glob("format-*.json"))


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What one release has signed, and what it meant."""
    told: dict[str, Any] = json.loads(request.param.read_text(encoding="utf-8"))
    return told


def test_f43_every_format_has_its_golden_tokens() -> None:
    """Whoever makes a new format keeps tokens of it here."""
    assert [path.stem for path in GOLDEN] == [f"format-{n}" for n in range(1, FORMAT + 1)]


def test_f43_golden_tokens_are_read(golden: dict[str, Any]) -> None:
    """Claims, bundles and links, each as it was meant."""
    signer = TokenSigner(lambda: [golden["key"]])
    claims = tuple(Claim(**claim) for claim in golden["claims"])
    assert signer.read(golden["token"]).claims == claims
    assert signer.read(golden["bundled"]).bundle == Bundle(**golden["bundle"])
    assert signer.unpack_claims(golden["packed"].encode()) == claims
    assert list(signer.read_link(golden["link"])) == golden["link_says"]


@pytest.mark.parametrize("secure", [True, False])
def test_f43_golden_bindings_are_accepted(golden: dict[str, Any], secure: bool) -> None:
    """Of that browser and that user, and of no other."""
    signer = TokenSigner(lambda: [golden["key"], "a newer key of thirty-two bytes!"])
    binding = signer.read(golden["token"]).binding
    stem = "__Host-s3handoff-" if secure else "s3handoff-"
    right = {stem + golden["cookie_id"]: golden["cookie"]}

    def accepts(cookies: dict[str, str], user: str | None) -> bool:
        binder = Binder(
            signer, cookies, on=True, secure=secure, principal=lambda: user,
            lifetime_seconds=86_400, now=0.0,
        )  # fmt: skip
        return binder.accepts(binding)

    assert accepts(right, golden["principal"])
    assert not accepts(right, "another")
    assert not accepts(dict.fromkeys(right, "A" * 22), golden["principal"])


@pytest.mark.parametrize("version", [0, FORMAT + 1, 99])
def test_f43_a_format_of_the_future_is_refused_in_a_word(version: int) -> None:
    """A server that is not rolled forward yet says ``forged``, and crashes over nothing."""
    signer = TokenSigner(lambda: ["a secret key of 32 random bytes!"])
    body = json.dumps([version, "nonce", ["", "", ""], [], 0]).encode()
    text = base64.urlsafe_b64encode(body).rstrip(b"=")
    with pytest.raises(Forged):
        signer.read(signer._signer("token").sign(text).decode())
