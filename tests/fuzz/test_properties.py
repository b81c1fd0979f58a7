"""Ten thousand examples by hypothesis, judged by the oracles that the fuzzers use as well.

The examples are made in two ways: any bytes to choose by, and pieces of what the room reads, put
together so that most of them are nearly right.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_s3handoff.paths import TOKEN_FIELD
from tests.fuzz import fuzz_body, fuzz_forms, fuzz_paths, fuzz_refill, fuzz_token
from tests.fuzz.budget import FACTOR, settings_for

planned: dict[str, int] = {}
ran: dict[str, int] = {}
choices = st.binary(min_size=1, max_size=200)


@pytest.fixture(scope="module", autouse=True)
def stage() -> Iterator[None]:
    """Take down the middleware of the last example."""
    yield
    fuzz_refill.close()


def examples(number: int, **strategies: Any) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Run a property on so many examples, and see that they were run."""

    def decorate(judge: Callable[..., None]) -> Callable[[], None]:
        name = judge.__name__
        planned[name] = number * FACTOR

        @settings_for(number * FACTOR)
        @given(**strategies)
        def run(**example: Any) -> None:
            ran[name] += 1
            judge(**example)

        @functools.wraps(judge)
        def test() -> None:
            ran[name] = 0
            run()
            assert ran[name] >= planned[name], "hypothesis stopped early"

        del test.__wrapped__  # pytest would look for fixtures by its arguments
        marked: Callable[[], None] = pytest.mark.timeout(120 * FACTOR)(test)
        return marked

    return decorate


# Bodies

fields = st.sampled_from(["a", "avatar", "", TOKEN_FIELD, "é", "n" * 256, "x\\"])
filenames = st.sampled_from([None, "", "x.png", "C:\\x", 'a"; filename="b', "日.png", "x\\"])
content = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b"--B", b"--B--", b"--", b"-", b"x", b"\xff", b"\0", b"y" * 80]), max_size=8
).map(b"".join)  # fmt: skip
trifle = st.sampled_from([b"", b"\r\n", b"--B\r\n", b"--B--", b"\0", b'"', b";", b"\xff"])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw a multipart body, nearly right: parts, and sometimes a cut or a trifle put in."""
    body = b""
    for name, filename, data in draw(st.lists(st.tuples(fields, filenames, content), max_size=6)):
        disposition = f'form-data; name="{name}"'
        disposition += "" if filename is None else f'; filename="{filename}"'
        body += f"--B\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"
    body += draw(st.sampled_from([b"--B--\r\n", b"--B--", b"", b"--B--\r\nepilogue"]))
    if draw(st.integers(0, 3)) == 3:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(trifle) + body[at + draw(st.integers(0, 2)) :]
    return body


@examples(2500, body=bodies(), cuts=st.lists(st.integers(0, 900), max_size=4))
def test_b23c_a_body_is_read_as_werkzeug_reads_it_or_refused(body: bytes, cuts: list[int]) -> None:
    """B1–B23: and the same however the line cuts it; every sink ends."""
    fuzz_body.judge(body, cuts)


@examples(1500, data=choices)
def test_any_choices_of_a_body_hold(data: bytes) -> None:
    """B1–B23: raw bytes, soup, and what our own writer frames."""
    fuzz_body.check(data)


@examples(1500, kind=st.integers(0, 3), data=choices)
def test_the_app_behind_the_middleware_reads_the_same_form(kind: int, data: bytes) -> None:
    """B1–B23, B34–B38: werkzeug and Django find what was sent, and the file of the token."""
    fuzz_refill.check(bytes([kind]) + data)


# Tokens


@examples(2000, kind=st.integers(0, 6), data=choices)
def test_a_token_is_read_back_or_forged(kind: int, data: bytes) -> None:
    """B24–B33: whatever was changed, whoever signed it."""
    fuzz_token.check(bytes([kind]) + data)


cells = st.recursive(
    st.sampled_from(fuzz_token.CELLS) | st.integers() | st.text(max_size=40) | st.floats(),
    lambda inner: st.lists(inner, max_size=7),
    max_leaves=12,
)


@examples(1000, payload=st.lists(cells, max_size=6))
def test_b32_any_signed_payload_is_a_sound_token_or_forged(payload: list[Any]) -> None:
    """B30–B32: of any shape and depth."""
    try:
        text = fuzz_token.SIGNER._sign("token", [1, "nonce", ["", "", ""], *payload])
    except UnicodeEncodeError:  # a lone surrogate cannot even be signed
        return
    fuzz_token.read(text)


# Names, keys, URLs


@examples(1000, kind=st.integers(0, 2), text=st.text(max_size=300))
def test_b41_any_text_stays_in_its_place(kind: int, text: str) -> None:
    """B41–B62, B85, B86: as a name, a key, a URL."""
    fuzz_paths.JUDGES[kind](text)


@examples(
    2000,
    kind=st.integers(0, 2),
    text=st.lists(st.sampled_from(fuzz_paths.PIECES), max_size=9).map("".join),
)
def test_b41_tricky_text_stays_in_its_place(kind: int, text: str) -> None:
    """B41–B62, B85, B86: made of dots, slashes, schemes, marks and device names."""
    fuzz_paths.JUDGES[kind](text)


# Pages


@examples(
    1500,
    charset=st.sampled_from(fuzz_forms.CHARSETS),
    tokens=st.lists(st.sampled_from(fuzz_forms.TOKENS), max_size=24),
)
def test_rule_6_any_page_comes_back_byte_for_byte(charset: str | None, tokens: list[str]) -> None:
    """H1–H84: taking our bytes out gives the page, and no oracle objects to where they went."""
    fuzz_forms.judge_bytes("".join(tokens).encode(), charset)


def test_ten_thousand_examples_are_run() -> None:
    """Each property has counted its own; all of them together are what was promised."""
    print(f"planned {sum(planned.values())} examples, ran {ran}")
    assert sum(planned.values()) >= 10_000
