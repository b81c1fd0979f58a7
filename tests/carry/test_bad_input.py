"""Tokens and bodies that nobody of ours made: a clear error or none, no store call, nothing left."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from flask import Flask, Request, request
from itsdangerous import URLSafeTimedSerializer
from markupsafe import escape
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_s3handoff import S3Handoff
from flask_s3handoff.testing import Fleet
from flask_s3handoff.tokens import Binding, Claim, Token
from tests.bad_names import BAD_NAMES
from tests.bad_tokens import GARBAGE
from tests.browser_like import MULTIPART, Browser, Upload, encode
from tests.carry.test_carry import ADA, LEO, line_of, shown
from tests.small_apps import answer, count, fleet_of, form, handoffs_of, memory, page, settled
from tests.unit.test_body import ACCEPTED, END, MALFORMED
from tests.unit.test_body import MULTIPART as TABLE_TYPE
from tests.unit.test_body import TOO_LARGE as TOO_MUCH

pytestmark = pytest.mark.oldest

SHA = "a" * 64
PATH = "20261123/" + "k" * 26 + "/leo.png"


def site(app: Flask, handoff: S3Handoff) -> None:
    """A page that shows its files, one that has nothing to do with them, one that never looks."""
    answer(app, "/show", lambda: page(shown(), told(handoff), form("/show")))
    answer(app, "/unrelated", lambda: json.dumps([request.form.get("q"), sorted(request.form)]))
    answer(app, "/blind", lambda: page("blind", form("/show")))


def told(handoff: S3Handoff) -> str:
    """Write down the codes of this request's refusals."""
    return f"<p>codes {' '.join(error.code for error in handoff.errors)}</p>"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """One fleet for all tables."""
    with fleet_of(site) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def good(fleet: Fleet) -> str:
    """A token that works, for a browser that is not here."""
    return Browser(fleet).post("/show", [("avatar", LEO)]).form().token


def minted(fleet: Fleet, **changes: Any) -> str:
    """Sign a claim with the right key, whatever it says."""
    facts: dict[str, Any] = {
        "relpath": PATH, "field": "avatar", "filename": "leo.png", "content_type": "image/png", "size": 3,
        "sha256": SHA, "uploaded_at": 1_795_000_000, **changes,
    }  # fmt: skip
    return handoffs_of(fleet)[0].rooms.signer.mint(Token(Binding(), (Claim(**facts),)))


def signed(fleet: Fleet, payload: Any) -> str:
    """Sign anything with the right key and salt."""
    signer = handoffs_of(fleet)[0].rooms.signer
    return signer._sign("token", payload)


def refused(fleet: Fleet, token: str, enctype: str = MULTIPART) -> None:
    """Send a token in every way in which one may come; it is told, and costs nothing."""
    settled(fleet)
    asked = count(fleet)
    browser = Browser(fleet)
    seen = browser.post("/show", [("_s3handoff", token), ("a", "b")], enctype=enctype)
    assert seen.status == 200, seen.text
    assert "codes forged" in seen.text or "codes too_large" in seen.text
    assert "sha" not in seen.text
    assert not seen.tokens
    assert browser.post("/blind", [("_s3handoff", token)], enctype=enctype).tokens == []
    assert count(fleet) == asked


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("enctype", [MULTIPART, "application/x-www-form-urlencoded"])
def test_garbage_is_refused(fleet: Fleet, name: str, enctype: str) -> None:
    """B24, B25, B27: whatever the text is, the page is shown and the store not asked."""
    refused(fleet, GARBAGE[name], enctype)


def test_b25_bytes_that_are_no_text_are_refused(fleet: Fleet) -> None:
    """B25: lone surrogates and raw bytes in the field."""
    for raw in (b"\xff\xfe", b"\xed\xa0\x80", b"\x80"):
        body = (
            b'--b\r\nContent-Disposition: form-data; name="_s3handoff"\r\n\r\n'
            + raw
            + b"\r\n--b--\r\n"
        )
        seen = Browser(fleet).send("POST", "/show", body, "multipart/form-data; boundary=b")
        assert seen.status in (200, 400)
        escaped = b"_s3handoff=" + b"".join(b"%%%02x" % byte for byte in raw)
        seen = Browser(fleet).send("POST", "/show", escaped, "application/x-www-form-urlencoded")
        assert seen.status == 200
        assert "codes forged" in seen.text


def test_b26_b28_every_flipped_bit_of_a_token_is_refused(fleet: Fleet, good: str) -> None:
    """B26, B28: a sample of them through requests, every one through the signer; aliases too."""
    signer = handoffs_of(fleet)[0].rooms.signer
    flips = [
        good[:at] + chr(ord(good[at]) ^ (1 << bit)) + good[at + 1 :]
        for at in range(len(good))
        for bit in range(7)
    ]
    assert not [flip for flip in flips if reads(signer, flip)]
    for flip in flips[:: len(flips) // 12]:
        refused(fleet, flip)
    refused(fleet, good + "=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for alias in alphabet:
        if alias != good[-1]:
            assert not reads(signer, good[:-1] + alias)


def reads(signer: Any, text: str) -> bool:
    """Tell whether a signer takes this text."""
    from flask_s3handoff.errors import Forged

    try:
        signer.read(text)
    except Forged:
        return False
    return True


def test_b29_signatures_of_another_purpose_are_refused(fleet: Fleet) -> None:
    """B29: the session cookie, a mail link, and our own link route use other salts (T4)."""
    handoff = handoffs_of(fleet)[0]
    app = fleet.copies[0].app
    assert isinstance(app, Flask)
    session_like = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    assert session_like is not None
    refused(fleet, session_like.dumps([1, "x", ["", "", ""], [], 0]))
    refused(
        fleet, URLSafeTimedSerializer(app.secret_key or "").dumps([1, "x", ["", "", ""], [], 0])
    )
    refused(fleet, handoff.rooms.signer.mint_link("handoff/" + PATH, 2**33, ["", ""]))


PATHS = [
    "../../x", "/abs", "C:\\x", "a\0b", "other/20261123/x", "handoff/", "", "x" * 1025, "..%2f", PATH + "/..", PATH + "\n",
    "handoff/" + PATH, PATH.upper(), "20261123/" + "k" * 25 + "/x", "20261123/" + "k" * 26 + "/", "users/1.png",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"B31-{path!r:.24}")
def test_a_signed_path_is_judged_all_the_same(fleet: Fleet, path: str) -> None:
    """B31: the grammar of relative paths holds although the signature is right (T1)."""
    refused(fleet, minted(fleet, relpath=path))


WRONG: dict[str, dict[str, Any]] = {
    "B32-negative-size": {"size": -1}, "B32-huge-size": {"size": 2**70}, "B32-true-size": {"size": True},
    "B30-negative-time": {"uploaded_at": -1}, "B30-true-time": {"uploaded_at": True},
    "B32-long-field": {"field": "f" * 256}, "B32-long-name": {"filename": "f" * 256}, "B32-long-type": {"content_type": "t" * 256},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_signed_claim_is_judged_all_the_same(fleet: Fleet, name: str) -> None:
    """B30, B32: sizes, times and lengths out of range."""
    refused(fleet, minted(fleet, **WRONG[name]))


PAYLOADS: list[Any] = [
    None, 0, "x", [], {}, [2, "x", ["", "", ""], [], 0], [1, "x", ["", "", ""], []], [1, "x", ["", "", ""], [], 0, 0],
    [True, "x", ["", ""], [], 0], [1, 2, ["", "", ""], [], 0], [1, "x", "", [], 0], [1, "x", ["", "", ""], {}, 0],
    [1, "x", ["", "", ""], [["only", "three", "cells"]], 0], [1, "x", ["", "", ""], [], ["x", 1, SHA]],
    [1, "x", ["", "", ""], [[PATH, "f", "n", "t", 1.5, "x", 1]], 0], [1, "x", ["", "", ""], [[PATH, "f", "n", "t", 1, SHA, 1]], 0],
    [1, "x", ["", "", ""], [[PATH, "f", "n", "t", 1, "!!", 1]], 0], [1, "x", ["../", "", ""], [], 0],
    [1, "x", ["", "", ""], [], [PATH, 2**70, SHA]],
    [1, "x", ["", "", ""], [], 1], {"v": 1}, [float("nan")], [1e400],
]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: f"B32-{payload!r:.30}")
def test_a_signed_payload_of_another_shape_is_refused(fleet: Fleet, payload: Any) -> None:
    """B32: missing, extra and wrong cells; NaN; a bundle of another shape."""
    refused(fleet, signed(fleet, payload))


def test_b32_a_deeply_nested_payload_is_refused(fleet: Fleet) -> None:
    """B32: 10,000 levels."""
    signer = handoffs_of(fleet)[0].rooms.signer
    body = base64.urlsafe_b64encode(b"[" * 10_000 + b"]" * 10_000).rstrip(b"=")
    refused(fleet, signer._signer("token").sign(body).decode())


@pytest.mark.parametrize("jar", ["none", "malformed", "other value", "two of one name"])
def test_b33_a_token_without_its_cookie_is_foreign(fleet: Fleet, jar: str) -> None:
    """B33: no cookie, a malformed one, somebody else's value, two of the same name."""
    browser = Browser(fleet)
    seen = browser.post("/show", [("avatar", LEO)])
    (name,) = [name for name in browser.cookies if name.startswith("s3handoff-")]
    values = {
        "none": "", "malformed": f"{name}=", "other value": f"{name}={'A' * 22}",
        "two of one name": f"{name}={'A' * 22}; {name}={'B' * 22}",
    }  # fmt: skip
    body, content_type = encode([("_s3handoff", seen.form().token)], MULTIPART)
    thief = Browser(fleet)
    thief.client = type(thief.client)(fleet, use_cookies=False)
    answered = thief.send("POST", "/show", body, content_type, headers={"Cookie": values[jar]})
    assert answered.status == 403


def test_b34_a_thousand_tokens_are_one_refusal(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """B34: no fetch, no flood of log lines or signals, and the page is shown."""
    settled(fleet)
    asked = count(fleet)
    many: list[tuple[str, str | Upload]] = [("_s3handoff", f"x{n}.y") for n in range(1000)]
    with caplog.at_level("INFO", logger="flask_s3handoff"):
        seen = Browser(fleet).post("/show", many, enctype="application/x-www-form-urlencoded")
    assert seen.status == 200
    assert "too_large" in seen.text
    assert len(caplog.records) < 30
    assert count(fleet) == asked
    assert Browser(fleet).post("/show", many).status in (200, 413)


def test_b35_the_same_token_twice_is_one_file(fleet: Fleet) -> None:
    """B35: as in a form that was injected and filled by a script."""
    browser = Browser(fleet)
    token = browser.post("/show", [("avatar", LEO)]).form().token
    seen = browser.post("/show", [("_s3handoff", token), ("_s3handoff", token)])
    assert seen.text.count(line_of(LEO)) == 1


def test_the_token_of_two_pages_with_the_same_file_is_one_file(fleet: Fleet) -> None:
    """Two tokens of one revision differ as text, and are one file."""
    browser = Browser(fleet)
    first = browser.post("/show", [("avatar", LEO)]).form()
    second = browser.submit_form(first, {}).form()
    assert first.token != second.token
    seen = browser.post("/show", [("_s3handoff", first.token), ("_s3handoff", second.token)])
    assert seen.text.count(line_of(LEO)) == 1


def test_b36_a_real_file_beats_the_token(fleet: Fleet) -> None:
    """B36, also when the token is no good: it is not even told as an error."""
    browser = Browser(fleet)
    token = browser.post("/show", [("avatar", LEO)]).form().token
    seen = browser.post("/show", [("_s3handoff", token), ("avatar", ADA)])
    assert line_of(ADA) in seen.text
    assert line_of(LEO) not in seen.text
    stolen = Browser(fleet).post("/show", [("_s3handoff", token), ("avatar", ADA)])
    assert line_of(ADA) in stolen.text
    assert "codes </p>" in stolen.text


def test_b38_a_token_as_a_file_part_is_ignored(fleet: Fleet, good: str) -> None:
    """B38: neither a token, nor a file of that name."""
    settled(fleet)
    asked = count(fleet)
    part = Upload("x", good.encode(), "text/plain")
    seen = Browser(fleet).post("/show", [("_s3handoff", part)])
    assert seen.status == 200
    assert "codes </p>" in seen.text
    settled(fleet)
    assert count(fleet) == asked


@pytest.mark.parametrize("field", ["avatar", "avatar.filename", "avatar[stream]", "files[avatar]"])
def test_b39_text_that_imitates_a_file_is_text(fleet: Fleet, field: str) -> None:
    """B39: it stays in the form and is never a file."""
    text = '{"filename": "x.png", "stream": "…", "_claim": {}}'
    seen = Browser(fleet).post("/unrelated", [(field, text)])
    assert json.loads(seen.text) == [None, [field]]
    assert "<p>avatar" not in Browser(fleet).post("/show", [(field, text)]).text


# --- bodies ------------------------------------------------------------------------------------------------


def raw(
    fleet: Fleet, body: bytes, content_type: str = "multipart/form-data; boundary=b", **more: Any
) -> Any:
    """Send bytes as they are."""
    return Browser(fleet).send("POST", more.pop("url", "/show"), body, content_type, **more)


WHOLE = (
    b'--b\r\nContent-Disposition: form-data; name="avatar"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    + b"\x89PNG" * 5000
    + b"\r\n--b--\r\n"
)


@pytest.mark.parametrize("keep", [0, 10, 60, 130, 9000, len(WHOLE) - 9, len(WHOLE) - 4])
def test_rule_3_f27_a_truncated_upload_is_400_and_nothing_is_left(fleet: Fleet, keep: int) -> None:
    """Cut anywhere, as a proxy does that sends its own Content-Length (B3, B4, F27)."""
    settled(fleet)
    before, asked = files_of(fleet), count(fleet)
    seen = raw(fleet, WHOLE[:keep])
    if keep:
        assert seen.status == 400
        assert "submit it again" in seen.text
    settled(fleet)
    assert files_of(fleet) == before
    assert count(fleet) == asked


def test_rule_11_a_large_truncated_upload_is_aborted(fleet: Fleet) -> None:
    """Its parts had begun to travel: the multipart upload is gone, and so is the file."""
    settled(fleet)
    before, keys = files_of(fleet), memory(fleet).keys()
    head, _, _ = WHOLE.partition(b"\x89PNG")
    assert raw(fleet, head + b"x" * (12 << 20)).status == 400
    settled(fleet)
    assert memory(fleet).keys() == keys
    assert ("begin" in [verb for verb, _ in memory(fleet).calls]) is True
    assert count(fleet, "begin") == count(fleet, "abort")
    assert files_of(fleet) == before


def files_of(fleet: Fleet) -> list[str]:
    """List every file on every disk."""
    return sorted(
        os.path.join(folder, name)
        for copy in fleet.copies
        for folder, _, names in os.walk(copy.disk)
        for name in names
        if f"{os.sep}lock" not in folder
    )


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (WHOLE, "multipart/form-data"),
        (WHOLE, "multipart/form-data; boundary=other"),
        (WHOLE.replace(b'name="avatar"; ', b""), "multipart/form-data; boundary=b"),
        (
            WHOLE.replace(b"Content-Disposition: form-data", b"X: y"),
            "multipart/form-data; boundary=b",
        ),
        (WHOLE.replace(b"a.png", b"\xff\xfe"), "multipart/form-data; boundary=b"),
        (
            WHOLE.replace(b'filename="a.png"', b'filename="a.png"; filename="b.php"'),
            "multipart/form-data; boundary=b",
        ),
    ],
)
def test_a_malformed_upload_is_400_with_an_error_page_that_may_read_the_form(
    body: bytes, content_type: str
) -> None:
    """B1, B2, B9, B10, B16, B47; the app's own page for it sees an empty form and no files."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        site(app, handoff)

        @app.errorhandler(400)
        def bad(error: Any) -> Any:
            return page(f"{len(request.form)}{len(request.files)} {error.description}"), 400

    with fleet_of(build) as own:
        seen = raw(own, body, content_type)
        assert seen.status == 400
        assert "00 " in seen.text
        settled(own)
        assert count(own, "put", "complete") == 0


def test_a_latin_1_form_to_an_unrelated_page_is_still_200(fleet: Fleet) -> None:
    """Urlencoded bodies stay as lenient as werkzeug has them."""
    seen = raw(fleet, b"q=%E9t%E9&x=\xe9", "application/x-www-form-urlencoded", url="/unrelated")
    assert seen.status == 200
    seen = raw(
        fleet, b"q=1", "application/x-www-form-urlencoded; charset=latin-1", url="/unrelated"
    )
    assert json.loads(seen.text)[0] == "1"


@pytest.mark.parametrize("url", ["/unrelated", "/blind"])
def test_a_body_over_the_apps_own_limit(url: str) -> None:
    """``MAX_CONTENT_LENGTH``: 413 where the form is read, and the page as it is where nobody reads it."""
    with fleet_of(site, MAX_CONTENT_LENGTH=5000) as own:
        browser = Browser(own)
        assert browser.post("/show", [("avatar", LEO)]).tokens
        seen = browser.post(url, [("q", "x" * 6000)])
        assert seen.status == (413 if url == "/unrelated" else 200)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff\x00", "multipart/form-data"),
        (b"%", "application/x-www-form-urlencoded"),
        (b"{", "application/json"),
        (b"x", ""),
    ],
)
def test_an_unread_body_never_changes_the_answer(
    fleet: Fleet, body: bytes, content_type: str
) -> None:
    """What the view did not ask for cannot fail it."""
    seen = raw(fleet, body, content_type, url="/blind")
    assert seen.status == 200
    assert "blind" in seen.text
    assert not seen.tokens


def test_b23h_an_app_that_takes_the_stream_itself_keeps_it() -> None:
    """A view that reads ``request.stream`` or ``get_data()`` gets every byte, and we stay out."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/stream", lambda: page(str(len(request.stream.read())), form("/show")))
        answer(app, "/data", lambda: page(str(len(request.get_data())), form("/show")))

    with fleet_of(build) as own:
        for url in "/stream", "/data":
            seen = raw(own, WHOLE, url=url)
            assert str(len(WHOLE)) in seen.text
            assert not seen.tokens
        assert count(own) == 0


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_no_name_is_a_path(fleet: Fleet, name: str) -> None:
    """B41–B62: carried as a name, never used as one on disk or in the store, the same on every server."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/show")
        def show() -> str:
            file: Any = request.files["avatar"]
            return page(json.dumps([file.filename, os.path.basename(file.path)]), form("/show"))

    with fleet_of(build) as own:
        browser = Browser(own)
        first = browser.post("/show", [("avatar", Upload(name, b"x"))])
        again = browser.submit(first)
        lines = [seen.text.splitlines()[1].partition("<")[0] for seen in (first, again)]
        assert lines[0] == lines[1]
        on_disk = json.loads(lines[0])[1]
        assert on_disk.isascii()
        assert not on_disk.startswith((".", "-"))
        assert len(on_disk) <= 80
        (key,) = memory(own).keys()
        assert key.startswith("handoff/2")
        assert key.count("/") == 3


# The tables of tests/unit/test_body.py once more, through whole requests.


def sent(
    fleet: Fleet, body: bytes, content_type: str = TABLE_TYPE, **environ: Any
) -> tuple[int, str]:
    """Send a body with an environ as a server makes it, however odd; return status and text."""
    made = EnvironBuilder("/show", method="POST").get_environ()
    made |= {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body))}
    made |= {"wsgi.input": io.BytesIO(body), **environ}
    chunks, status, _ = run_wsgi_app(fleet, made, buffered=True)
    return int(status[:3]), b"".join(chunks).decode()


@pytest.mark.parametrize(("body", "options"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_form_is_400_and_nothing_is_left(
    fleet: Fleet, body: bytes, options: dict[str, Any]
) -> None:
    """It says what to do; no store call, no file; never a server error."""
    settled(fleet)
    before, asked = files_of(fleet), count(fleet)
    status, said = sent(fleet, body, **options)
    assert status == 400
    assert "<p>" in said
    settled(fleet)
    assert (files_of(fleet), count(fleet)) == (before, asked)


class Limited(Request):
    """A request with the limits that Flask has by itself since 3.1."""

    max_form_memory_size = 500_000
    max_form_parts = 1000


@pytest.mark.parametrize("body", TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_much_is_413_and_nothing_is_left(body: bytes) -> None:
    """Whatever there is too much of."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        site(app, handoff)
        app.request_class = Limited

    with fleet_of(build) as own:
        assert sent(own, body)[0] == 413
        settled(own)
        assert (files_of(own), count(own)) == ([], 0)


@pytest.mark.parametrize(("body", "files"), ACCEPTED.values(), ids=ACCEPTED)
def test_an_odd_form_is_carried_with_exactly_its_bytes(
    body: bytes, files: list[tuple[str, str, bytes]]
) -> None:
    """What is odd but clear arrives, goes to the store, and comes back on the next server."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/show", lambda: page(read_out(), form("/show")), "POST")

    def read_out() -> str:
        found = [[f.name, f.read().hex()] for f in request.files.values() if f.filename]
        return f"<p>{escape(json.dumps(found))}</p>"

    with fleet_of(build) as own:
        browser = Browser(own)
        seen = browser.send("POST", "/show", body + END, TABLE_TYPE)
        assert seen.status == 200
        again = browser.submit(seen)
        shown = [text.text.partition("</p>")[0] for text in (seen, again)]
        assert shown[0] == shown[1]
        first = {name: data.hex() for name, _, data in reversed(files)}
        assert {*map(tuple, json.loads(unescape(shown[0].partition("<p>")[2])))} == {*first.items()}
        assert len(memory(own).keys()) == len(files)


@pytest.mark.parametrize("way", ["query", "header", "cookie", "json"])
def test_b37_a_token_that_comes_another_way_means_nothing(fleet: Fleet, way: str) -> None:
    """Only a form field counts, and the query of a GET (T6)."""
    browser = Browser(fleet)
    token = browser.post("/show", [("avatar", LEO)]).form().token
    url, body, kind, headers = "/show", b"", MULTIPART, {}
    if way == "query":
        url, kind = f"/show?_s3handoff={token}", "application/x-www-form-urlencoded"
    elif way == "header":
        kind, headers = "text/plain", {"X-S3Handoff": token, "_s3handoff": token}
    elif way == "cookie":
        kind = "text/plain"
        browser.client.set_cookie("_s3handoff", token)
    else:
        body, kind = json.dumps({"_s3handoff": token}).encode(), "application/json"
    settled(fleet)
    asked = count(fleet)
    seen = browser.send("POST", url, body, kind, headers=headers)
    assert seen.status == 200
    assert "codes </p>" in seen.text
    assert "<p>avatar" not in seen.text
    assert not seen.tokens
    assert count(fleet) == asked


def test_b59_one_name_twice_is_two_files() -> None:
    """In one request, and of two people: nobody gets another's bytes."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/show", lambda: page(shown(), form("/show")))

    with fleet_of(build) as own:
        leo, ada = Browser(own), Browser(own)
        other = LEO._replace(data=b"other bytes of the same name")
        first = leo.post("/show", [("avatar", LEO), ("avatar", other)])
        second = ada.post("/show", [("avatar", LEO._replace(data=b"of Ada"))])
        assert len(memory(own).keys()) == 3
        assert line_of(LEO) in leo.submit(first).text
        assert line_of(other) in leo.submit(first).text
        assert line_of(LEO._replace(data=b"of Ada")) in ada.submit(second).text


@pytest.mark.parametrize("enctype", [MULTIPART, "application/x-www-form-urlencoded"])
def test_an_after_request_may_read_the_form_that_the_view_did_not(enctype: str) -> None:
    """A logger that looks late finds the form as ever, without our field and without files."""
    logged: list[Any] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        site(app, handoff)

        @app.after_request
        def log(response: Any) -> Any:
            logged.append([dict(request.form), dict(request.files)])
            return response

    with fleet_of(build) as own:
        browser = Browser(own)
        token = browser.post("/show", [("avatar", LEO)]).form().token
        seen = browser.post("/blind", [("q", "1"), ("_s3handoff", token)], enctype=enctype)
        assert seen.tokens
        assert logged[-1] == [{"q": "1"}, {}]
        browser.post("/blind", [("q", "2")], enctype=enctype)
        assert logged[-1] == [{"q": "2"}, {}]
