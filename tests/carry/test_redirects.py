"""Across a redirect: reload, Back, chains, long tokens, and whose URL may be given a token."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask, redirect, request

from flask_s3handoff import S3Handoff
from flask_s3handoff.errors import Unavailable
from tests.browser_like import Browser, Upload
from tests.carry.test_carry import ADA, LEO, NAME, line_of, shown
from tests.small_apps import FILE, ROUTINGS, answer, count, fleet_of, form, memory, page, settled

pytestmark = pytest.mark.oldest


def post_redirect_get(app: Flask, handoff: S3Handoff) -> None:
    """Upload, be redirected, see a page with the next form."""

    @app.post("/add")
    def add() -> Any:
        assert request.files.getlist("avatar")
        return redirect("/next?size=2#top")

    @app.get("/next")
    def following() -> str:
        seen = [request.url, request.full_path, request.query_string.decode(), str(request.args)]
        assert not any("_s3handoff" in text for text in seen), seen
        return page(shown(), form("/show"), form("", NAME))

    answer(app, "/show", shown, "POST")
    answer(app, "/next", lambda: page("posted", shown()), "POST")


@pytest.mark.parametrize("routing", ROUTINGS)
def test_upload_redirect_reload_and_go_on(routing: str) -> None:
    """The same URL twice is the same page, and both pages go on."""
    with fleet_of(post_redirect_get, routing=routing) as fleet:
        browser = Browser(fleet)
        first = browser.post("/add", [("avatar", LEO)])
        again = browser.reload(first)
        for seen in (first, again):
            assert line_of(LEO) in seen.text
            assert line_of(LEO) in browser.submit(seen, "/show").text


def test_the_app_never_sees_the_token_in_its_url() -> None:
    """Not in ``url``, ``full_path``, ``args`` (asserted in the view), nor in ``redirect(request.url)``."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], redirect("/here?a=1"))[1])

        @app.get("/here")
        def here() -> Any:
            if "b" in request.args:
                return page(shown(), form("/show"))
            return redirect(request.url + "&b=2")

    with fleet_of(build) as fleet:
        seen = Browser(fleet).post("/add", [("avatar", LEO)])
        assert line_of(LEO) in seen.text
        assert [hop.location.partition("_s3handoff")[0] for hop in seen.hops] == [
            "/here?a=1&",
            "http://localhost/here?a=1&b=2&",
        ]


def test_a_form_without_action_posts_to_the_url_with_the_token() -> None:
    """The browser sends the page's whole URL; there the token is taken out and does not count."""
    with fleet_of(post_redirect_get) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/add", [("avatar", LEO)])
        assert "_s3handoff=" in seen.form(1).action
        assert line_of(LEO) in browser.submit(seen, 1).text
        assert line_of(LEO) not in browser.post(seen.url, [("name", "no token in the form")]).text


def test_going_back_by_the_referrer_does_not_bring_the_file_back() -> None:
    """``redirect(request.referrer)`` after ``discard``: the old page's URL had the token in it."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], redirect("/edit"))[1])
        answer(app, "/edit", lambda: page(shown(), form("/drop"), form("/keep")))

        @app.post("/drop")
        def drop() -> Any:
            request.files["avatar"].discard()
            assert "_s3handoff" not in str(request.referrer) + str(request.headers)
            return redirect(request.referrer or "/")

        @app.post("/keep")
        def keep() -> Any:
            return redirect(request.referrer or "/")

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/add", [("avatar", LEO)])
        dropped = browser.post(
            "/drop", [("_s3handoff", seen.form("/drop").token)], Referer=seen.url
        )
        assert dropped.url == "http://localhost/edit"
        assert line_of(LEO) not in dropped.text
        kept = browser.post("/keep", [("_s3handoff", seen.form("/drop").token)], Referer=seen.url)
        assert kept.url.count("_s3handoff") == 1
        assert line_of(LEO) in kept.text


def test_a_missing_slash_keeps_the_file() -> None:
    """Flask's own redirect to the URL with the slash carries what came to the one without."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], redirect("/profile"))[1])
        answer(app, "/profile/", lambda: page(shown(), form("/profile/")))

    with fleet_of(build) as fleet:
        seen = Browser(fleet).post("/add", [("avatar", LEO)])
        assert [hop.status for hop in seen.hops] == [302, 308]
        assert line_of(LEO) in seen.text


def test_a_missing_slash_at_the_upload_itself(caplog: pytest.LogCaptureFixture) -> None:
    """A 308 makes the browser send its body again: no token, no warning, and one file."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add/", lambda: page(shown(), form("/show")))
        answer(app, "/show", shown)

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        carried = browser.post("/add/", [("avatar", ADA)])
        values: list[tuple[str, str | Upload]] = [("_s3handoff", carried.form().token), ("cv", LEO)]
        seen = browser.post("/add", values)
        assert [hop.location for hop in seen.hops] == ["http://localhost/add/"]
        assert line_of(LEO, "cv") in seen.text
        assert line_of(ADA) in seen.text
        assert "can carry" not in caplog.text


def test_a_view_that_moves_its_whole_form(caplog: pytest.LogCaptureFixture) -> None:
    """``redirect(…, 307)`` after reading it: the browser brings token and file again, so nothing is lost."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/old", lambda: (shown(), redirect("/new", 307))[1])
        answer(app, "/new", lambda: page(shown(), form("/old")))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/old", [("avatar", LEO)])
        assert [hop.location for hop in seen.hops] == ["/new"]
        assert line_of(LEO) in browser.submit(seen).text
        assert "can carry" not in caplog.text


def test_b88_a_chain_of_redirects() -> None:
    """Three hops, none of which looks at the file (B88)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], redirect("/1"))[1])
        answer(app, "/1", lambda: redirect("2"))
        answer(app, "/2", lambda: redirect("?three"), "GET")

        @app.before_request
        def third() -> Any:
            return page(shown(), form("/show")) if request.query_string == b"three" else None

    with fleet_of(build) as fleet:
        seen = Browser(fleet).post("/add", [("avatar", LEO)])
        assert len(seen.hops) == 3
        assert line_of(LEO) in seen.text


def test_b89_two_tabs_redirected_at_once_do_not_mix() -> None:
    """Each URL names its own file (B89)."""
    barrier = threading.Barrier(2, timeout=20)

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/add")
        def add() -> Any:
            assert request.files["avatar"]
            barrier.wait()
            return redirect("/next")

        answer(app, "/next", lambda: page(shown(), form("/show")), "GET")
        answer(app, "/show", shown)

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        left, right = browser.together(
            lambda tab: tab.post("/add", [("avatar", LEO)]),
            lambda tab: tab.post("/add", [("avatar", ADA)]),
        )
        assert line_of(LEO) in browser.submit(left).text
        assert line_of(ADA) in browser.submit(right).text


# --- long ones -----------------------------------------------------------------------------------------


def many_files(app: Flask, handoff: S3Handoff) -> None:
    """Twenty files in one input, and a redirect."""
    answer(app, "/", lambda: page(form("/add", '<input type="file" name="photo" multiple>')), "GET")
    answer(app, "/add", lambda: (request.files["photo"], redirect("/next"))[1])
    answer(app, "/next", lambda: page(shown(), form("/show")), "GET")
    answer(app, "/show", shown)


PHOTOS = [
    Upload(f"{n:02} {'日本語のとても長い名前' * 6} ünïcode.jpg", bytes([n]) * 100)
    for n in range(20)
]


@pytest.mark.parametrize("routing", ROUTINGS)
def test_b90_twenty_files_with_long_names_across_a_redirect(routing: str) -> None:
    """Their claims are staged as one object; the URL stays short (B90)."""
    with fleet_of(many_files, routing=routing) as fleet:
        browser = Browser(fleet)
        seen = browser.submit(browser.open("/"), photo=PHOTOS)
        assert len(seen.url) < 1600
        wanted = "".join(line_of(photo, "photo") for photo in PHOTOS)
        assert wanted in seen.text
        assert wanted in browser.reload(seen).text
        assert len(seen.form().token) > 1500
        assert wanted in browser.submit(seen).text


def test_a_short_token_is_not_staged() -> None:
    """One file, one redirect, one PUT."""
    with fleet_of(post_redirect_get) as fleet:
        Browser(fleet).post("/add", [("avatar", LEO)], follow=False)
        assert count(fleet, "put") == 1


def test_a_strangers_long_token_costs_no_s3_call() -> None:
    """Whose it is, is judged before its bundle is fetched (T20)."""
    with fleet_of(many_files) as fleet:
        url = Browser(fleet).post("/add", [("photo", p) for p in PHOTOS], follow=False).location
        settled(fleet)
        asked = count(fleet)
        stranger = Browser(fleet).open(url)
        assert stranger.status == 200
        assert "photo" not in stranger.text
        assert count(fleet) == asked


def test_rule_5_a_bundle_that_cannot_be_had_now_is_not_a_page_without_files() -> None:
    """The page would lose twenty files without a word: 503, and a reload later shows them all."""
    with fleet_of(many_files) as fleet:
        browser = Browser(fleet)
        url = browser.post("/add", [("photo", p) for p in PHOTOS], follow=False).location
        memory(fleet).fail_with(Unavailable(), verbs=["fetch"])
        failed = browser.open(url)
        assert failed.status == 503
        assert "Retry-After" in failed.headers
        memory(fleet).recover()
        assert "".join(line_of(photo, "photo") for photo in PHOTOS) in browser.open(url).text


# --- where to ----------------------------------------------------------------------------------------------

OURS = [
    "next", "./next", "/next", "?x", "#y", "http://localhost/next", "/next?x=1&y#z", "HTTP://LOCALHOST/next",
    "http://localhost:80/next",
]  # fmt: skip
FOREIGN = [
    "https://evil.example/next", "//evil.example/next", "/\\evil.example/next", "\\\\evil.example",
    "https:evil.example", "http://localhost.evil.example/", "http://localhost@evil.example/",
    "https://localhost/next", "http://localhost:8080/next", "javascript:alert(1)", "mailto:a@b.example",
]  # fmt: skip


def going_to(target: str, status: int = 302, *methods: str) -> Any:
    """Build an app whose every answer points there."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.route("/dir/go", methods=methods or ("GET", "POST"))
        def go() -> Any:
            request.files.get("avatar")
            response = app.response_class("moved", status)
            response.autocorrect_location_header = False
            response.headers["Location"] = target
            return response

    return build


@pytest.mark.parametrize("target", OURS, ids=lambda target: f"B86-{target}")
def test_b86_a_redirect_to_our_own_origin_carries(target: str) -> None:
    """Relative, absolute, a query only, a fragment only (B86)."""
    with fleet_of(going_to(target)) as fleet:
        url = Browser(fleet).post("/dir/go", [("avatar", LEO)], follow=False).location
        before, _, after = target.partition("#")
        assert url.startswith(before.lower())
        assert url.endswith(after)
        assert url.count("_s3handoff=") == 1


@pytest.mark.parametrize("target", FOREIGN, ids=lambda target: f"B85-{target}")
def test_rule_6_b85_a_redirect_to_anybody_else_carries_nothing(target: str) -> None:
    """The header is what the app wrote, byte for byte (B85)."""
    with fleet_of(going_to(target)) as fleet:
        left = Browser(fleet).post("/dir/go", [("avatar", LEO)], follow=False)
        assert left.location == Browser(fleet).post("/dir/go", follow=False).location
        assert "Set-Cookie" not in left.headers


def test_a_trusted_origin_counts_as_ours() -> None:
    """``S3HANDOFF_TRUSTED_ORIGINS`` names the other host of the same app."""
    build = going_to("https://www.shop.example/next")
    with fleet_of(build, trusted_origins=["https://www.shop.example"]) as fleet:
        url = Browser(fleet).post("/dir/go", [("avatar", LEO)], follow=False).location
        assert "_s3handoff=" in url


@pytest.mark.parametrize(
    ("status", "method", "carries"),
    [
        (301, "GET", True), (302, "GET", True), (303, "GET", True), (307, "GET", True), (308, "GET", True),
        (302, "POST", True), (303, "POST", True),
        (301, "POST", False), (307, "POST", False), (308, "POST", False),
        (300, "GET", False), (201, "POST", False), (304, "GET", False), (200, "GET", False),
    ],
)  # fmt: skip
def test_b87_which_answers_carry_in_their_location(status: int, method: str, carries: bool) -> None:
    """307 and 308 to a POST make the browser send its file again itself (B87)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        going_to("/next", status)(app, handoff)
        answer(app, "/start", lambda: (request.files["avatar"], redirect("/dir/go"))[1])

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        if method == "POST":
            left = browser.post("/dir/go", [("avatar", LEO)], follow=False)
        else:
            first = browser.post("/start", [("avatar", LEO)], follow=False)
            left = browser.open(first.location, follow=False)
        assert left.status == status
        assert ("_s3handoff=" in left.location) is carries


def test_a_token_in_the_query_of_a_post_does_not_count() -> None:
    """Query tokens are for GET and HEAD only; nor do headers, JSON or cookies count (B37)."""
    with fleet_of(post_redirect_get) as fleet:
        browser = Browser(fleet)
        url = browser.post("/add", [("avatar", LEO)], follow=False).location
        token = url.partition("_s3handoff=")[2].partition("#")[0]
        assert browser.post(f"/show?_s3handoff={token}").text == ""
        assert browser.post("/show", X_S3handoff=token, _s3handoff=token).text == ""
        body = b'{"_s3handoff": "%s"}' % token.encode()
        assert browser.send("POST", "/show", body, "application/json").text == ""
        browser.client.set_cookie("_s3handoff", token)
        assert browser.post("/show").text == ""


def test_a_head_request_takes_the_token_and_gives_none() -> None:
    """HEAD is answered like GET, without a body to put a form into (H76)."""
    with fleet_of(post_redirect_get) as fleet:
        browser = Browser(fleet)
        url = browser.post("/add", [("avatar", LEO)], follow=False).location
        asked = browser.send("HEAD", url)
        assert asked.status == 200
        assert asked.data == b""


@pytest.mark.parametrize(
    "query",
    [
        "_s3handoff=",
        "_s3handoff",
        "_s3handoff=x&_s3handoff=y",
        "&_s3handoff=%00&a=1&",
        "_s3handoff=%F0%9F",
    ],
)
def test_a_bad_token_in_a_url_is_no_error(query: str) -> None:
    """The page is shown; what is left of the query is the app's."""
    seen: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.get("/")
        def view() -> str:
            seen.append(request.query_string.decode())
            return page(form("/"))

    with fleet_of(build) as fleet:
        assert Browser(fleet).open(f"/?{query}").status == 200
        assert "_s3handoff" not in seen[0]
        assert count(fleet) == 0


def test_a_redirect_with_a_token_is_private() -> None:
    """Rule 7, also for a permanent redirect, which a browser would keep."""
    with fleet_of(going_to("/next")) as fleet:
        browser = Browser(fleet)
        browser.post("/dir/go", [("avatar", LEO)], follow=False)  # sets the cookie
        left = browser.post("/dir/go", [("avatar", LEO)], follow=False)
        assert left.headers["Cache-Control"] == "private, no-cache"
        assert "Cookie" in left.headers["Vary"]
        assert left.headers["Referrer-Policy"] == "same-origin"


def test_redirects_false_carries_nothing_across_them(caplog: pytest.LogCaptureFixture) -> None:
    """``S3HANDOFF_REDIRECTS = False``: the ``Location`` stays, and the log says what is lost (rule 5)."""
    with fleet_of(post_redirect_get, redirects=False) as fleet:
        seen = Browser(fleet).post("/add", [("avatar", LEO)])
        assert seen.hops[0].location == "/next?size=2#top"
        assert "leo.png" not in seen.text
        assert "can carry" in caplog.text


def test_with_binding_off_a_redirect_that_must_carry_is_an_error() -> None:
    """A bearer token never goes into a URL; it is said where it happens, and says what to do."""
    with fleet_of(post_redirect_get, bind="off") as fleet:
        failed = Browser(fleet).post("/add", [("avatar", LEO)])
        assert failed.status == 500
        assert "S3HANDOFF_BIND" in failed.text


def test_with_binding_off_forms_carry_for_every_browser() -> None:
    """Without binding the token alone counts, and no cookie is set."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: page(shown(), form("/add", FILE)))

    with fleet_of(build, bind="off") as fleet:
        seen = Browser(fleet).post("/add", [("avatar", LEO)])
        assert "Set-Cookie" not in seen.headers
        assert line_of(LEO) in Browser(fleet).submit(seen).text


def test_a_form_with_more_files_than_a_token_can_name() -> None:
    """A hundred files with long names in a redisplayed form: staged as one object, none is lost."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/", lambda: page(str(len(request.files)), shown(), form("/")))

    photos = [Upload(f"{n} {'日本語のとても長い名前' * 20}.jpg", bytes([n])) for n in range(100)]
    with fleet_of(build, max_files=100) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/", [(f"photo{n}", photo) for n, photo in enumerate(photos)])
        again = browser.submit(seen)
        assert again.text.count("<p>photo") == 100
        assert len(again.form().token) < 65_536


@pytest.mark.parametrize("how", ["header", "meta", "script"])
def test_b91_a_page_that_moves_on_by_itself_carries_nothing_and_says_so(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """``Refresh``, ``<meta>`` and scripts go where we cannot see: a warning, once (rule 5)."""
    bodies = {
        "header": page("please wait"),
        "meta": page('<meta http-equiv="refresh" content="0; url=/next">'),
        "script": page("<script>location = '/next'</script>"),
    }

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/add")
        def add() -> Any:
            assert request.files["avatar"]
            return bodies[how], 200, {"Refresh": "0; url=/next"} if how == "header" else {}

    with fleet_of(build) as fleet:
        seen = Browser(fleet).post("/add", [("avatar", LEO)])
        assert seen.text == bodies[how]
        assert seen.headers.get("Refresh", "0; url=/next") == "0; url=/next"
        assert "can carry its uploaded file" in caplog.text


def test_b92_a_browser_without_cookies_is_told() -> None:
    """Step 1 works; step 2 says that cookies are off, whether the token came by form or by redirect."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/show", lambda: page(shown(), form("/show")))
        answer(app, "/add", lambda: (request.files["avatar"], redirect("/show"))[1])

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        browser.client = type(browser.client)(fleet, use_cookies=False)
        seen = browser.post("/show", [("avatar", LEO)])
        assert line_of(LEO) in seen.text
        for answered in (browser.submit(seen), browser.post("/add", [("avatar", LEO)])):
            assert answered.status == 403
            assert "cookies are off" in answered.text
