"""What people do with forms, and what must come along: each flow on three copies of an app."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import pytest
from flask import Flask, copy_current_request_context, redirect, request, session, url_for
from werkzeug.wrappers import Response

from flask_s3handoff import S3Handoff
from flask_s3handoff.errors import HandoffError
from tests.browser_like import Browser, Page, Upload
from tests.small_apps import (
    FILE,
    ROUTINGS,
    answer,
    at,
    count,
    fleet_of,
    form,
    memory,
    page,
    permanent,
    settled,
)

pytestmark = pytest.mark.oldest

LEO = Upload("leo.png", b"\x89PNG\r\n\x1a\n the picture of Leo" * 40, "image/png")
ADA = Upload("ada.png", b"\x89PNG\r\n\x1a\n the picture of Ada" * 40, "image/png")
NAME = '<input name="name">'


@pytest.fixture(params=ROUTINGS)
def routing(request: pytest.FixtureRequest) -> str:
    """Each way in which a load balancer may choose."""
    way: str = request.param
    return way


def bytes_of(field: str = "avatar") -> bytes:
    """Read a file of the request, whole."""
    data: bytes = request.files[field].read()
    return data


def shown() -> str:
    """Tell what the request has, one line per file."""
    return "".join(
        f"<p>{field} {file.filename} {hashlib.sha256(file.read()).hexdigest()}</p>"
        for field, file in request.files.items(multi=True)
        if file.filename
    )


def line_of(upload: Upload, field: str = "avatar") -> str:
    """Return the line that ``shown`` writes for this file."""
    return f"<p>{field} {upload.filename} {hashlib.sha256(upload.data).hexdigest()}</p>"


# --- the wizard, and the profile form -----------------------------------------------------------------


def wizard(app: Flask, handoff: S3Handoff) -> None:
    """Add an avatar, crop it to a width, save it."""

    @app.get("/")
    def start() -> str:
        return page(form("/add", FILE))

    @app.post("/add")
    def add() -> str:
        return page(shown(), form("/crop", '<input name="width" value="64">'))

    @app.post("/crop")
    def crop() -> str:
        with open(request.files["avatar"].path, "r+b") as picture:
            picture.truncate(int(request.form["width"]))
        return page(form("/crop", '<input name="width" value="32">'), form("/save", NAME))

    @app.post("/save")
    def save() -> str:
        key = f"users/{request.form['name']}.png"
        return handoff.promote(request.files["avatar"], key)


def test_a_wizard_of_three_steps(routing: str) -> None:
    """Upload, crop, save, each on another server: the cropped bytes are saved."""
    with fleet_of(wizard, routing=routing) as fleet:
        browser = Browser(fleet)
        crop = browser.submit(browser.open("/"), avatar=LEO)
        assert line_of(LEO) in crop.text
        save = browser.submit(crop, width="100")
        assert browser.submit(save, "/save", name="leo").text == "users/leo.png"
        assert memory(fleet).bytes_of("users/leo.png") == LEO.data[:100]


def test_rule_4_f25_back_to_step_two_and_another_crop(routing: str) -> None:
    """Both crops start from the picture as it was uploaded, not from each other's result."""
    with fleet_of(wizard, routing=routing) as fleet:
        browser = Browser(fleet)
        crop = browser.submit(browser.open("/"), avatar=LEO)
        narrow = browser.submit(crop, width="10")
        wide = browser.submit(crop, width="200")

        browser.submit(wide, "/save", name="wide")
        browser.submit(narrow, "/save", name="narrow")
        assert memory(fleet).bytes_of("users/wide.png") == LEO.data[:200]
        assert memory(fleet).bytes_of("users/narrow.png") == LEO.data[:10]


def test_rule_4_nothing_under_staging_is_written_twice(routing: str) -> None:
    """Four crops of one picture are four new objects; the first ones stay as they were."""
    with fleet_of(wizard, routing=routing) as fleet:
        browser = Browser(fleet)
        crop = browser.submit(browser.open("/"), avatar=LEO)
        for width in (50, 40, 30, 20):
            crop = browser.submit(crop, width=str(width))
        written = [key for verb, key in memory(fleet).calls if verb == "put"]
        assert len(written) == len(set(written)) == 5
        sizes = sorted(len(memory(fleet).bytes_of(key)) for key in written)
        assert sizes == [20, 30, 40, 50, len(LEO.data)]


def test_two_tabs_do_not_mix(routing: str) -> None:
    """Two uploads in two tabs of one browser, step by step in turn: each keeps its own."""
    with fleet_of(wizard, routing=routing) as fleet:
        browser = Browser(fleet)
        start = browser.open("/")
        left, right = browser.submit(start, avatar=LEO), browser.submit(start, avatar=ADA)
        left, right = browser.submit(left, width="120"), browser.submit(right, width="90")
        browser.submit(right, "/save", name="ada")
        browser.submit(left, "/save", name="leo")
        assert memory(fleet).bytes_of("users/leo.png") == LEO.data[:120]
        assert memory(fleet).bytes_of("users/ada.png") == ADA.data[:90]


def test_rule_4_f24_a_double_submit_saves_once(routing: str) -> None:
    """The same page sent five times is five times success, and one object (F24, F26, I7)."""
    with fleet_of(wizard, routing=routing) as fleet:
        browser = Browser(fleet)
        save = browser.submit(browser.submit(browser.open("/"), avatar=LEO), width="77")
        answers = {browser.submit(save, "/save", name="leo").text for _ in range(5)}
        assert answers == {"users/leo.png"}
        assert permanent(fleet) == ["users/leo.png"]
        assert memory(fleet).bytes_of("users/leo.png") == LEO.data[:77]


def test_two_crops_to_one_name_do_not_overwrite_each_other() -> None:
    """Another revision under a key that is taken is a conflict, and nobody's file is lost (T30)."""
    with fleet_of(wizard) as fleet:
        browser = Browser(fleet)
        crop = browser.submit(browser.open("/"), avatar=LEO)
        one, other = browser.submit(crop, width="10"), browser.submit(crop, width="20")
        assert browser.submit(one, "/save", name="leo").status == 200
        assert browser.submit(other, "/save", name="leo").status == 409
        assert memory(fleet).bytes_of("users/leo.png") == LEO.data[:10]


def profile(app: Flask, handoff: S3Handoff) -> None:
    """Edit a profile: a name that can fail validation, and a picture."""

    @app.route("/profile", methods=["GET", "POST"])
    def edit() -> Any:
        picture = request.files.get("avatar")
        if request.method == "POST" and request.form["name"]:
            if picture:
                handoff.promote(picture, f"users/{request.form['name']}.png")
            return redirect(url_for("done"))
        note = f"<p>{picture.filename}</p>" if picture else ""
        status = 422 if request.method == "POST" else 200
        return page(note, form("", NAME, FILE)), status

    @app.get("/done")
    def done() -> str:
        return page("done", form("/profile", NAME, FILE))


def test_edit_profile_keeps_the_picture_when_the_name_fails(routing: str) -> None:
    """A 4xx page shows the form again; the picture need not be chosen again."""
    with fleet_of(profile, routing=routing) as fleet:
        browser = Browser(fleet)
        again = browser.submit(browser.open("/profile"), name="", avatar=LEO)
        assert again.status == 422
        assert "leo.png" in again.text
        again = browser.submit(again, name="")
        assert "leo.png" in again.text
        done = browser.submit(again, name="leo")
        assert "done" in done.text
        assert memory(fleet).bytes_of("users/leo.png") == LEO.data


def test_a_new_picture_replaces_the_carried_one(routing: str) -> None:
    """A real file beats a token of the same field, in this request and in every one after it (B36)."""
    with fleet_of(profile, routing=routing) as fleet:
        browser = Browser(fleet)
        again = browser.submit(browser.open("/profile"), name="", avatar=LEO)
        again = browser.submit(again, name="", avatar=ADA)
        assert "ada.png" in again.text
        again = browser.submit(again, name="")
        assert "ada.png" in again.text
        browser.submit(again, name="ada")
        assert memory(fleet).bytes_of("users/ada.png") == ADA.data


def test_a_replaced_picture_is_not_carried_beside_the_new_one() -> None:
    """The token that follows names one file: the old one is superseded, not a second value."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/again")
        def again() -> str:
            return page(shown(), str(len(handoff.files)), form("/again", FILE))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        first = browser.post("/again", [("avatar", LEO)])
        second = browser.submit(first, avatar=ADA)
        third = browser.submit(second)
        for seen in (second, third):
            assert line_of(ADA) in seen.text
            assert line_of(LEO) not in seen.text
            assert "</p>1<form" in seen.text, "one file"


# --- comments ------------------------------------------------------------------------------------------


def comments(app: Flask, handoff: S3Handoff) -> None:
    """A page with comments, and a form for the next one with an optional attachment."""

    @app.route("/comments", methods=["GET", "POST"])
    def talk() -> Any:
        if request.method == "POST":
            attachment = request.files.get("attachment")
            place = len(memory_keys(handoff, "users/comments/")) + 1
            text = request.form["text"].encode()
            handoff.put(text, f"users/comments/{place}.txt")
            if attachment:
                handoff.put(attachment.stream, f"users/attachments/{place}.bin")
            return redirect(url_for("talk"))
        field = '<input type="file" name="attachment">'
        return page(form("", '<input name="text">', field), form("/other", '<input name="text">'))


def memory_keys(handoff: S3Handoff, prefix: str) -> list[str]:
    """List permanent keys."""
    return [stored.key for stored in handoff.list(prefix)]


def test_the_next_comment_does_not_get_the_last_ones_attachment(routing: str) -> None:
    """Rule 2 of carrying: after the redirect the form starts afresh."""
    with fleet_of(comments, routing=routing) as fleet:
        browser = Browser(fleet)
        file = Upload("notes.pdf", b"the first attachment")
        after = browser.submit(browser.open("/comments"), text="one", attachment=file)
        assert after.hops
        assert not after.form(0).tokens
        browser.submit(after, text="two")

        keys = memory(fleet).keys()
        assert [key for key in keys if key.startswith("users/")] == [
            "users/attachments/1.bin",
            "users/comments/1.txt",
            "users/comments/2.txt",
        ]


def test_another_form_of_that_page_does_get_it() -> None:
    """Only a form with a file input of that field starts afresh; the next step goes on with it."""
    with fleet_of(comments) as fleet:
        browser = Browser(fleet)
        file = Upload("notes.pdf", b"the first attachment")
        after = browser.submit(browser.open("/comments"), text="one", attachment=file)
        assert after.form("/other").token


# --- who is it? ------------------------------------------------------------------------------------------


def members(app: Flask, handoff: S3Handoff) -> None:
    """An app with users: tokens are bound to them as well."""

    @handoff.principal_loader
    def user() -> object:
        return session.get("user")

    @app.post("/add")
    def add() -> str:
        return page(shown(), form("/show", NAME), form("/login", NAME), form("/logout", NAME))

    @app.post("/login")
    def login() -> Any:
        session["user"] = request.form["name"]
        return redirect("/home")

    @app.post("/quick-login")
    def quick_login() -> Any:
        session["user"] = "ada"
        return redirect("/home")

    @app.post("/logout")
    def logout() -> Any:
        if request.args.get("reading"):
            shown()
        session.clear()
        return redirect("/home")

    @app.get("/home")
    def home() -> str:
        return page(f"<p>user {session.get('user')}</p>", form("/show", NAME), form("/login", NAME))

    @app.post("/show")
    def show() -> str:
        return page(shown(), form("/show", NAME))


def test_a_file_uploaded_before_the_login_is_there_after_it(routing: str) -> None:
    """Anonymous to logged in keeps working, through the login form and its redirect."""
    with fleet_of(members, routing=routing) as fleet:
        browser = Browser(fleet)
        added = browser.post("/add", [("avatar", LEO)])
        home = browser.submit(added, "/login", name="ada")
        assert "user ada" in home.text
        seen = browser.submit(home, "/show")
        assert line_of(LEO) in seen.text
        assert line_of(LEO) in browser.submit(seen).text


def test_the_page_from_before_the_login_still_works_after_it() -> None:
    """Back to the page that was shown to nobody in particular: its token is good for this browser."""
    with fleet_of(members) as fleet:
        browser = Browser(fleet)
        added = browser.post("/add", [("avatar", LEO)])
        browser.submit(added, "/login", name="ada")
        assert line_of(LEO) in browser.submit(added, "/show").text


def logged_in(browser: Browser, name: str) -> None:
    """Log a person in."""
    assert f"user {name}" in browser.post("/login", [("name", name)]).text


def test_after_a_logout_the_file_is_foreign() -> None:
    """What Ada uploaded, nobody may use in her browser when she has left (T7)."""
    with fleet_of(members) as fleet:
        browser = Browser(fleet)
        logged_in(browser, "ada")
        added = browser.post("/add", [("avatar", LEO)])
        assert line_of(LEO) in browser.submit(added, "/show").text
        browser.post("/logout")
        assert browser.submit(added, "/show").status == 403


def test_for_another_user_of_the_same_browser_the_file_is_foreign() -> None:
    """Bob, who logs in after Ada, cannot go on with her page."""
    with fleet_of(members) as fleet:
        browser = Browser(fleet)
        logged_in(browser, "ada")
        added = browser.post("/add", [("avatar", LEO)])
        browser.post("/logout")
        logged_in(browser, "bob")
        assert browser.submit(added, "/show").status == 403
        logged_in(browser, "ada")
        assert line_of(LEO) in browser.submit(added, "/show").text


@pytest.mark.parametrize("reading", ["", "?reading=1"])
def test_a_logout_does_not_carry_the_users_file_to_the_next_page(reading: str) -> None:
    """The form that logs out carries the token itself; the page after it is for nobody (T7)."""
    with fleet_of(members) as fleet:
        browser = Browser(fleet)
        logged_in(browser, "ada")
        added = browser.post("/add", [("avatar", LEO)])
        token = added.form("/logout").token
        home = browser.post(f"/logout{reading}", [("_s3handoff", token)])
        assert "user None" in home.text
        assert "_s3handoff" not in home.url
        assert not home.tokens
        logged_in(browser, "bob")
        assert line_of(LEO) not in browser.submit(home, "/show").text


def test_a_login_as_somebody_else_does_not_take_the_file_along() -> None:
    """Ada's file does not become Bob's because he logs in over her."""
    with fleet_of(members) as fleet:
        browser = Browser(fleet)
        logged_in(browser, "ada")
        added = browser.post("/add", [("avatar", LEO)])
        home = browser.submit(added, "/login", name="bob")
        assert "user bob" in home.text
        assert not home.tokens


def test_a_login_view_that_never_reads_its_form() -> None:
    """The upload is taken along though nobody asked for it before the user was known."""
    with fleet_of(members) as fleet:
        browser = Browser(fleet)
        token = browser.post("/add", [("avatar", LEO)]).form("/login").token
        home = browser.post("/quick-login", [("_s3handoff", token)])
        assert "user ada" in home.text
        assert line_of(LEO) in browser.submit(home, "/show").text


@pytest.mark.parametrize("using", ["promote", "url", "path", "replace", "read", "save", "edit"])
def test_a_foreign_file_cannot_be_used_in_any_way(using: str) -> None:
    """Not read, not linked, not edited, not replaced, and above all not promoted (T5)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: page(shown(), form("/use")))
        ways: dict[str, Any] = {
            "promote": lambda file: handoff.promote(file, "users/mallory.png"),
            "url": lambda file: handoff.url(file),
            "path": lambda file: file.path,
            "replace": lambda file: file.replace(b"x"),
            "read": lambda file: file.read().decode("latin-1"),
            "save": lambda file: file.save("/dev/null"),
            "edit": lambda file: file.stream.read(1),
        }
        answer(app, "/use", lambda: f"used {ways[using](request.files['avatar'])}")

    with fleet_of(build) as fleet:
        token = Browser(fleet).post("/add", [("avatar", LEO)]).form("/use").token
        settled(fleet)
        asked = count(fleet)
        assert Browser(fleet).post("/use", [("_s3handoff", token)]).status == 403
        assert count(fleet) == asked


def test_another_browser_with_the_token_gets_nothing() -> None:
    """A stolen token is worth nothing without its cookie (T5, B33), and costs no S3 call."""
    with fleet_of(members) as fleet:
        token = Browser(fleet).post("/add", [("avatar", LEO)]).form("/show").token
        asked = count(fleet)
        assert Browser(fleet).post("/show", [("_s3handoff", token)]).status == 403
        assert count(fleet) == asked


def test_a_user_loader_that_reads_the_form() -> None:
    """The classic ``request_loader`` asks for ``request.form``, while it is being parsed."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @handoff.principal_loader
        def user() -> object:
            return request.form.get("name") or None

        @app.post("/add")
        def add() -> str:
            assert request.form["name"] in ("ada", "bob")
            return page(shown(), form("/add", '<input name="name" value="ada">'))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        added = browser.post("/add", [("name", "ada"), ("avatar", LEO)])
        assert line_of(LEO) in added.text
        assert line_of(LEO) in browser.submit(added).text
        assert browser.submit(added, name="bob").status == 403


def test_a_principal_of_any_type() -> None:
    """A loader may return a number; 0 is a user, None is not."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        handoff.principal_loader(lambda: request.args.get("user", type=int))
        answer(app, "/show", lambda: page(shown(), form("/show?user=0"), form("/show?user=1")))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        added = browser.post("/show?user=0", [("avatar", LEO)])
        assert line_of(LEO) in browser.submit(added, 0).text
        assert browser.submit(added, 1).status == 403


def test_forget_makes_everything_foreign() -> None:
    """On a shared computer ``forget()`` in the logout view ends it for every page of this browser."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/show", lambda: page(shown(), form("/show"), form("/logout")))

        @app.post("/logout")
        def logout() -> Any:
            shown()
            handoff.forget()
            return redirect("/bye")

        answer(app, "/bye", lambda: page("bye", form("/show")))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        added = browser.post("/show", [("avatar", LEO)])
        assert browser.cookies
        bye = browser.submit(added, "/logout")
        assert "bye" in bye.text
        assert bye.url == "http://localhost/bye"
        assert not bye.tokens
        assert not browser.cookies
        assert browser.submit(added, "/show").status == 403


# --- many at once ------------------------------------------------------------------------------------------


def test_three_parallel_first_uploads_all_work() -> None:
    """A page that uploads three files at once, before there is any cookie: all three tokens live."""
    barrier = threading.Barrier(3, timeout=20)

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/add")
        def add() -> str:
            barrier.wait()
            return page(shown(), form("/show"))

        answer(app, "/show", shown)

    uploads = [Upload(f"{n}.txt", f"file {n}".encode()) for n in range(3)]

    def sending(upload: Upload) -> Any:
        return lambda browser: browser.post("/add", [("avatar", upload)])

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        pages: list[Page] = browser.together(*map(sending, uploads))
        assert len(browser.cookies) == 3
        for upload, seen in zip(uploads, pages, strict=True):
            assert line_of(upload) in browser.submit(seen, "/show").text


def test_several_files_and_fields_and_multiple_inputs(routing: str) -> None:
    """Order, names and multiplicity are those of the first request."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        fields = [
            '<input type="file" name="photo" multiple>',
            '<input type="file" name="cv">',
            FILE,
        ]
        answer(app, "/", lambda: page(form("/show", *fields)))
        answer(app, "/show", lambda: page(shown(), form("/show", *fields)))

    photos = [Upload(f"{n}.jpg", bytes([n]) * 999) for n in range(3)]
    cv = Upload("cv.pdf", b"%PDF")
    wanted = "".join(line_of(photo, "photo") for photo in photos) + line_of(cv, "cv")
    with fleet_of(build, routing=routing) as fleet:
        browser = Browser(fleet)
        seen = browser.submit(browser.open("/"), photo=photos, cv=cv)
        assert wanted in seen.text
        seen = browser.submit(seen)
        assert wanted in seen.text
        seen = browser.submit(seen, cv=LEO)
        assert line_of(LEO, "cv") in seen.text
        assert line_of(cv, "cv") not in seen.text
        assert "".join(line_of(photo, "photo") for photo in photos) in seen.text


def test_an_empty_file_is_a_file() -> None:
    """Nought bytes are carried; they are not the same as nothing chosen (F46)."""
    with fleet_of(wizard) as fleet:
        browser = Browser(fleet)
        empty = Upload("empty.txt", b"")
        crop = browser.submit(browser.open("/"), avatar=empty)
        assert line_of(empty) in crop.text
        save = browser.submit(crop, width="3")
        browser.submit(save, "/save", name="empty")
        assert memory(fleet).bytes_of("users/empty.png") == b"\0\0\0"


def test_nothing_chosen_is_no_file() -> None:
    """Werkzeug's empty FileStorage is there, as without us, and nothing is carried (B12, B13)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/")
        def view() -> str:
            assert "avatar" in request.files
            assert not request.files["avatar"]
            assert request.files["avatar"].read() == b""
            return page(form("/"))

    with fleet_of(build) as fleet:
        assert not Browser(fleet).post("/", [("avatar", Upload("", b""))]).tokens
        assert not Browser(fleet).post("/", [("avatar", Upload("", b"dropped"))]).tokens
        assert count(fleet) == 0


# --- ways of Flask ---------------------------------------------------------------------------------------


def test_a_view_that_never_reads_its_form(routing: str) -> None:
    """A plain "are you sure?" page in between: what it was sent goes on to the page that it shows."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: page(form("/confirm")))
        answer(app, "/confirm", lambda: page("Sure?", form("/show")))
        answer(app, "/show", shown)

        @app.before_request
        def look() -> None:
            if request.path == "/add":
                assert request.files["avatar"]

    with fleet_of(build, routing=routing) as fleet:
        browser = Browser(fleet)
        sure = browser.submit(browser.post("/add", [("avatar", LEO)]))
        assert "Sure?" in sure.text
        assert line_of(LEO) in browser.submit(sure).text


@pytest.mark.parametrize("enctype", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_a_login_wall_in_between_keeps_the_token(enctype: str) -> None:
    """``before_request`` redirects to a login page; the carried file comes along to it."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.before_request
        def wall() -> Any:
            if request.path == "/members" and "user" not in session:
                return redirect("/login")
            return None

        answer(app, "/add", lambda: page(shown(), form("/members")))
        answer(app, "/members", lambda: page(shown()))

        @app.route("/login", methods=["GET", "POST"])
        def login() -> str:
            if request.method == "POST":
                session["user"] = "ada"
                return page("welcome", form("/members"))
            return page(form("/login"))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        token = browser.post("/add", [("avatar", LEO)]).form("/members").token
        wall = browser.post("/members", [("_s3handoff", token)], enctype=enctype)
        assert wall.hops[0].location.startswith("/login?_s3handoff=")
        welcome = browser.submit(wall)
        assert line_of(LEO) in browser.submit(welcome).text


def test_a_wall_before_the_upload_itself_mirrors_nothing() -> None:
    """File parts of a view that did not run are not stored."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        app.before_request(lambda: redirect("/login"))

    with fleet_of(build) as fleet:
        answer = Browser(fleet).post("/add", [("avatar", LEO)], follow=False)
        assert answer.location == "/login"
        assert count(fleet) == 0


def test_copy_current_request_context_carries_what_the_thread_edits() -> None:
    """A thread with a copy of the context works on the same files as the view."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/add")
        def add() -> str:
            @copy_current_request_context
            def crop() -> None:
                request.files["avatar"].replace(bytes_of()[:50])

            thread = threading.Thread(target=crop)
            thread.start()
            thread.join()
            return page(form("/show"))

        answer(app, "/show", shown)

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.submit(browser.post("/add", [("avatar", LEO)]))
        assert line_of(Upload("leo.png", LEO.data[:50])) in seen.text


def test_a_shared_response_object_is_never_changed() -> None:
    """A module-level ``Response`` carries Ada's token to Ada, and nothing to anybody else."""
    shared = Response(page("same for all", form("/show")), content_type="text/html; charset=utf-8")
    before = (shared.get_data(), list(shared.headers), shared.status)

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.route("/same", methods=["GET", "POST"])
        def same() -> Response:
            request.files.get("avatar")
            return shared

        answer(app, "/show", shown)

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        mine = browser.post("/same", [("avatar", LEO)])
        assert line_of(LEO) in browser.submit(mine).text
        theirs = Browser(fleet).open("/same")
        assert not theirs.tokens
        assert "Set-Cookie" not in theirs.headers
        assert (shared.get_data(), list(shared.headers), shared.status) == before


def test_a_shared_redirect_is_never_changed() -> None:
    """The same for a redirect that a module keeps."""
    shared = redirect("/next")

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/go")
        def go() -> Any:
            request.files.get("avatar")
            return shared

    with fleet_of(build) as fleet:
        mine = Browser(fleet).post("/go", [("avatar", LEO)], follow=False)
        assert "_s3handoff=" in mine.location
        assert shared.headers["Location"] == "/next"
        assert Browser(fleet).post("/go", follow=False).location == "/next"


# --- age -----------------------------------------------------------------------------------------------------


def test_a_logout_form_with_an_expired_token_logs_out() -> None:
    """A token that is no longer good never stands in the way of a view that does not need it."""
    with fleet_of(members, token_max_age=600) as fleet:
        browser = Browser(fleet)
        logged_in(browser, "ada")
        logout = browser.post("/add", [("avatar", LEO)]).form("/logout")
        at(fleet, 601)
        assert "user None" in browser.submit_form(logout, {}).text


def test_rule_4_expiry_counts_from_the_upload() -> None:
    """Signing again every few minutes does not make a file live longer."""
    with fleet_of(members, token_max_age=600) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/show", [("avatar", LEO)])
        for minutes in (3, 6, 9):
            at(fleet, minutes * 60)
            seen = browser.submit(seen)
            assert line_of(LEO) in seen.text
        at(fleet, 601)
        assert browser.submit(seen).status == 410


def test_an_edit_does_not_extend_the_life_of_a_file() -> None:
    """A new revision is as old as its upload."""
    with fleet_of(wizard, token_max_age=600) as fleet:
        browser = Browser(fleet)
        crop = browser.submit(browser.open("/"), avatar=LEO)
        at(fleet, 590)
        save = browser.submit(crop, width="5")
        at(fleet, 605)
        assert browser.submit(save, "/save", name="leo").status == 410


@pytest.mark.parametrize("seconds", [-59, -30, 30])
def test_servers_whose_clocks_differ_by_less_than_a_minute(seconds: int) -> None:
    """A token from the near future works (F10)."""
    with fleet_of(members) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/show", [("avatar", LEO)])
        at(fleet, seconds)
        assert line_of(LEO) in browser.submit(seen).text


def test_b30_a_file_from_the_future_has_expired(caplog: pytest.LogCaptureFixture) -> None:
    """Two minutes are more than clocks may differ (F10): it is said, to the operator too."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/show", lambda: page(" ".join(e.code for e in handoff.errors), form("/show")))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/show", [("avatar", LEO)])
        at(fleet, -121)
        seen = browser.submit(seen)
        assert "expired" in seen.text
        assert not seen.tokens
        assert "seconds ahead of this one's" in caplog.text


def test_an_error_page_of_the_app_can_say_what_to_do() -> None:
    """``errorhandler(HandoffError)`` sees field, file name and reason, and may redirect."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        wizard(app, handoff)

        @app.errorhandler(HandoffError)
        def lost(error: HandoffError) -> Any:
            return redirect(f"/?again={error.field}-{error.filename}-{error.reason}")

    with fleet_of(build, token_max_age=600) as fleet:
        browser = Browser(fleet)
        crop = browser.submit(browser.open("/"), avatar=LEO)
        at(fleet, 700)
        assert browser.submit(crop).url.endswith("/?again=avatar-leo.png-expired")


def test_nothing_is_sent_after_the_test() -> None:
    """The helper that waits for the copies' threads really waits."""
    with fleet_of(wizard) as fleet:
        Browser(fleet).post("/add", [("avatar", LEO)])
        settled(fleet)
        assert count(fleet, "put") == 1
