"""Settings, marks and calls that say what is carried, and how far."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask, redirect, render_template_string, request
from flask.views import MethodView

from flask_s3handoff import S3Handoff, file_discarded, file_mirrored, file_revised, token_refused
from flask_s3handoff.errors import Forged, Missing, Unavailable
from tests.browser_like import Browser, Page, Upload
from tests.carry.test_carry import ADA, LEO, line_of, shown
from tests.small_apps import FILE, answer, apps_of, at, count, fleet_of, form, memory, page, settled

pytestmark = pytest.mark.oldest


# --- S3HANDOFF_PATHS ------------------------------------------------------------------------------------


def site(app: Flask, handoff: S3Handoff) -> None:
    """One flow below /profile, and everything else."""
    forms = [
        form("/profile/crop"),
        form("/search"),
        form("/profiles"),
        form("/logout"),
        form("crop"),
    ]
    answer(app, "/profile/add", lambda: page(shown(), *forms))
    answer(app, "/profile/crop", lambda: page(shown(), *forms))
    answer(app, "/elsewhere", lambda: page(shown(), *forms))
    answer(app, "/profile/leave", lambda: (request.files["avatar"], redirect("/elsewhere"))[1])
    answer(app, "/profile/stay", lambda: (request.files["avatar"], redirect("crop"))[1])


def with_tokens(seen: Page) -> list[str]:
    """Return the actions of the forms that carry."""
    return [f.element.get("action", "") for f in seen.forms if f.tokens]


def test_only_forms_on_the_named_paths_carry() -> None:
    """The logout and the search form of that page never meet us."""
    with fleet_of(site, paths=["/profile/"]) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/profile/add", [("avatar", LEO)])
        assert with_tokens(seen) == ["/profile/crop", "crop"]
        assert line_of(LEO) in browser.submit(seen, "/profile/crop").text


def test_an_upload_elsewhere_is_not_ours() -> None:
    """It is the app's, as without us: nothing is stored, nothing carried."""
    with fleet_of(site, paths=["/profile/"]) as fleet:
        seen = Browser(fleet).post("/elsewhere", [("avatar", LEO)])
        assert line_of(LEO) in seen.text
        assert not seen.tokens
        assert count(fleet) == 0


def test_a_token_sent_elsewhere_is_taken_out_and_does_not_count() -> None:
    """The view there sees neither a file nor our field."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        site(app, handoff)
        answer(app, "/raw", lambda: json.dumps([*request.form, *request.files, *request.args]))

    with fleet_of(build, paths=["/profile/"]) as fleet:
        browser = Browser(fleet)
        token = browser.post("/profile/add", [("avatar", LEO)]).form("crop").token
        assert browser.post("/raw", [("a", "1"), ("_s3handoff", token)]).text == '["a"]'
        assert browser.open(f"/raw?b=1&_s3handoff={token}").text == '["b"]'


def test_a_redirect_carries_only_to_the_named_paths() -> None:
    """The target must lie there as well."""
    with fleet_of(site, paths=["/profile/"]) as fleet:
        browser = Browser(fleet)
        stays = browser.post("/profile/stay", [("avatar", LEO)], follow=False)
        assert stays.location.startswith("crop?_s3handoff=")
        leaves = browser.post("/profile/leave", [("avatar", LEO)], follow=False)
        assert leaves.location == "/elsewhere"


# --- forms that opt in or out ------------------------------------------------------------------------------


def marked_forms(app: Flask, handoff: S3Handoff) -> None:
    """A page with a marked form, an unmarked one, and one that wants nothing."""
    forms = [
        form("/a"), form("/b", attributes="data-s3handoff"), form("/c", attributes='data-s3handoff="off"'),
        form("/d", attributes='data-s3handoff="on"'),
    ]  # fmt: skip
    answer(app, "/", lambda: page(shown(), *forms))
    answer(app, "/b", shown)


@pytest.mark.parametrize(
    ("inject", "carrying"),
    [("same-origin", ["/a", "/b", "/d"]), ("marked", ["/b", "/d"]), ("off", [])],
)
def test_marks_and_modes(inject: str, carrying: list[str]) -> None:
    """``data-s3handoff``, ``data-s3handoff="off"``, and the three modes of ``S3HANDOFF_INJECT``."""
    with fleet_of(marked_forms, inject=inject) as fleet:
        seen = Browser(fleet).post("/", [("avatar", LEO)])
        assert with_tokens(seen) == carrying


def test_without_injection_the_fields_still_carry() -> None:
    """``S3HANDOFF_INJECT = "off"`` and ``{{ s3handoff.fields() }}``: exactly what is asked for."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        template = page(form("/show", "{{ s3handoff.fields() }}"), form("/other"))
        answer(app, "/", lambda: (request.files.get("avatar"), render_template_string(template))[1])
        answer(app, "/show", shown)

    with fleet_of(build, inject="off") as fleet:
        browser = Browser(fleet)
        assert not browser.open("/").tokens
        seen = browser.post("/", [("avatar", LEO)])
        assert with_tokens(seen) == ["/show"]
        assert line_of(LEO) in browser.submit(seen, "/show").text


def test_fields_in_a_template_without_any_file_are_nothing() -> None:
    """Neither bytes nor headers, so that the page stays as cacheable as it was."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/", lambda: render_template_string("<form>{{ s3handoff.fields() }}</form>"))

    with fleet_of(build) as fleet:
        seen = Browser(fleet).open("/")
        assert seen.text == "<form></form>"
        assert "Set-Cookie" not in seen.headers
        assert "Cache-Control" not in seen.headers


# --- exempt views ------------------------------------------------------------------------------------------


def test_an_exempt_view_never_meets_us() -> None:
    """No mirroring, restoring, injecting or carrying; our field is taken out all the same."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: page(shown(), form("/exempt"), form("/go")))

        @app.post("/exempt")
        @handoff.exempt
        def exempt() -> str:
            return page(shown(), json.dumps(sorted(request.form)), form("/add"))

        @app.post("/go")
        @handoff.exempt
        def go() -> Any:
            return redirect("/add")

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/add", [("avatar", LEO)])
        settled(fleet)
        asked = count(fleet)
        left = browser.post(
            "/exempt", [("cv", ADA), ("_s3handoff", seen.form("/go").token), ("a", "b")]
        )
        assert line_of(ADA, "cv") in left.text
        assert line_of(LEO) not in left.text
        assert '["a"]' in left.text
        assert not left.tokens
        assert browser.submit(seen, "/go", follow=False).location == "/add"
        settled(fleet)
        assert count(fleet) == asked


def test_a_view_class_can_be_exempt() -> None:
    """By ``decorators``, as Flask's own."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        class Upload(MethodView):
            decorators = [handoff.exempt]  # noqa: RUF012 - as Flask documents it

            def post(self) -> str:
                return page(shown(), form("/add"))

        app.add_url_rule("/add", view_func=Upload.as_view("add"))

    with fleet_of(build) as fleet:
        assert not Browser(fleet).post("/add", [("avatar", LEO)]).tokens
        assert count(fleet) == 0


# --- switched off -------------------------------------------------------------------------------------------


def test_switched_off_we_take_our_field_out_and_do_nothing_else() -> None:
    """``S3HANDOFF_ENABLED = False``: the way out, also for pages that are still open."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: page(shown(), form("/raw")))

        @app.route("/raw", methods=["GET", "POST"])
        def raw() -> Any:
            seen = [*request.form, *request.files, *request.args, request.url]
            ours = [
                handoff.token(),
                str(handoff.fields()),
                handoff.restore(request.form.get("t", "")),
                handoff.errors,
            ]
            return json.dumps([seen, ours, [f.filename for f in handoff.files]])

    with fleet_of(build) as fleet, fleet_of(build, enabled=False, SECRET_KEY="k" * 32) as off:
        token = Browser(fleet).post("/add", [("avatar", LEO)]).form().token
        browser = Browser(off)
        seen = browser.post("/raw", [("a", "1"), ("_s3handoff", token), ("t", token)])
        assert json.loads(seen.text) == [["a", "t", "http://localhost/raw"], ["", "", [], []], []]
        seen = browser.open(f"/raw?b=1&_s3handoff={token}")
        assert json.loads(seen.text) == [["b", "http://localhost/raw?b=1"], ["", "", [], []], []]
        seen = browser.post("/add", [("avatar", LEO)])
        assert line_of(LEO) in seen.text
        assert not seen.tokens
        assert count(off) == 0


def test_switched_off_promote_still_saves() -> None:
    """An app's own views go on: ``handoff.promote`` takes any ``FileStorage``."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/save", lambda: handoff.promote(request.files["avatar"], "users/1.png"))

    with fleet_of(build, enabled=False) as fleet:
        assert Browser(fleet).post("/save", [("avatar", LEO)]).text == "users/1.png"
        assert memory(fleet).bytes_of("users/1.png") == LEO.data


# --- collect --------------------------------------------------------------------------------------------------


def collecting(app: Flask, handoff: S3Handoff) -> None:
    """A view that asks what could not be used."""

    @app.route("/show", methods=["GET", "POST"])
    def show() -> str:
        told = [[error.field, error.filename, error.code] for error in handoff.errors]
        return page(shown(), json.dumps(told), form("/show"))


@pytest.mark.parametrize(
    "what", ["expired", "foreign", "missing", "corrupt", "unavailable", "too_large", "forged"]
)
def test_rule_5_collected_errors_say_field_name_and_code(what: str) -> None:
    """With ``S3HANDOFF_ON_ERROR = "collect"`` the file is absent and ``handoff.errors`` says why."""
    with fleet_of(collecting, on_error="collect") as fleet:
        browser = Browser(fleet)
        shows = browser.post("/show", [("avatar", LEO)]).form()
        spoil(fleet, what)
        values = {"_s3handoff": shows.token + "x"} if what == "forged" else {}
        sender = Browser(fleet) if what == "foreign" else browser
        seen = sender.submit_form(shows, values)
        assert seen.status == 200
        assert line_of(LEO) not in seen.text
        told = [None, None, "forged"] if what == "forged" else ["avatar", "leo.png", what]
        assert json.dumps([told]) in seen.text
        assert not seen.tokens


def spoil(fleet: Any, what: str) -> None:
    """Make the carried file unusable in one way."""
    store = memory(fleet)
    settled(fleet)
    if what == "expired":
        at(fleet, 86_401)
    elif what == "missing":
        store.delete(store.keys()[0])
    elif what == "unavailable":
        store.fail_with(Unavailable(), verbs=["fetch"])
    elif what == "corrupt":
        held = store._objects[store.keys()[0]]
        store._objects[store.keys()[0]] = type(held)(held.data[:-1] + b"?", held.kind, held.sha256)
    elif what == "too_large":
        import dataclasses

        for app in apps_of(fleet):
            handoff = app.extensions["s3handoff"].handoff
            config = dataclasses.replace(handoff.config, max_file_size_bytes=10)
            handoff.rooms = dataclasses.replace(handoff.rooms, config=config)


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("expired", 410),
        ("foreign", 403),
        ("missing", 410),
        ("corrupt", 502),
        ("unavailable", 503),
        ("too_large", 413),
    ],
)
def test_rule_5_a_file_that_cannot_be_used_raises_when_it_is_used(what: str, status: int) -> None:
    """By default: an error with its own status, where the bytes are asked for (T5, F11, F12)."""
    with fleet_of(collecting) as fleet:
        browser = Browser(fleet)
        shows = browser.post("/show", [("avatar", LEO)]).form()
        spoil(fleet, what)
        seen = (Browser(fleet) if what == "foreign" else browser).submit_form(shows, {})
        assert seen.status == status
        assert ("Retry-After" in seen.headers) is (what == "unavailable")


@pytest.mark.parametrize(
    "what", ["expired", "foreign", "missing", "corrupt", "unavailable", "too_large"]
)
def test_a_view_that_does_not_need_the_file_is_not_disturbed(what: str) -> None:
    """The error waits for somebody who uses the bytes."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: page(shown(), form("/name")))
        answer(app, "/name", lambda: f"{request.form['name']} {bool(request.files['avatar'])}")

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        token = browser.post("/add", [("avatar", LEO)]).form().token
        spoil(fleet, what)
        sender = Browser(fleet) if what == "foreign" else browser
        assert sender.post("/name", [("name", "ada"), ("_s3handoff", token)]).text == "ada True"


def test_a_file_that_is_gone_for_good_is_not_carried_on() -> None:
    """After the 410 the form works without it; nobody meets the same error for ever."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/show", lambda: page(shown(), form("/show")))
        app.register_error_handler(Missing, lambda e: (page(e.reason, form("/show")), e.code))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/show", [("avatar", LEO)])
        spoil(fleet, "missing")
        gone = browser.submit(seen)
        assert gone.status == 410
        assert browser.submit(gone).status == 200


def test_a_file_that_cannot_be_had_just_now_is_carried_on() -> None:
    """The error page of a short outage keeps it: the next submit succeeds."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/show", lambda: page(shown(), form("/show")))
        app.register_error_handler(Unavailable, lambda e: (page(e.reason, form("/show")), e.code))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/show", [("avatar", LEO)])
        memory(fleet).fail_with(Unavailable(), verbs=["fetch"])
        failed = browser.submit(seen)
        assert failed.status == 503
        memory(fleet).recover()
        assert line_of(LEO) in browser.submit(failed).text


# --- JSON clients ------------------------------------------------------------------------------------------


def api(app: Flask, handoff: S3Handoff) -> None:
    """Step by step in JSON: a token out, a token in."""

    @app.post("/api/upload")
    def upload() -> Any:
        return {"name": request.files["avatar"].filename, "token": handoff.token()}

    @app.post("/api/crop")
    def crop() -> Any:
        (file,) = handoff.restore(request.json["token"])
        file.replace(file.read()[:20])
        return {"token": handoff.token(), "size": file.size}

    @app.post("/api/save")
    def save() -> Any:
        return {"keys": [f.promote("users/1.png") for f in handoff.restore(request.json["token"])]}


def ask(browser: Browser, url: str, **body: Any) -> Any:
    """Send JSON and read the answer."""
    seen = browser.send("POST", url, json.dumps(body).encode(), "application/json")
    return json.loads(seen.data) if seen.status == 200 else seen.status


def test_a_json_client_carries_the_token_itself() -> None:
    """``token()`` and ``restore()`` on three servers, the answers private like pages."""
    with fleet_of(api) as fleet:
        browser = Browser(fleet)
        first = browser.post("/api/upload", [("avatar", LEO)])
        assert first.headers["Cache-Control"] == "private, no-cache"
        token = json.loads(first.data)["token"]
        cropped = ask(browser, "/api/crop", token=token)
        assert cropped["size"] == 20
        assert ask(browser, "/api/save", token=cropped["token"]) == {"keys": ["users/1.png"]}
        assert memory(fleet).bytes_of("users/1.png") == LEO.data[:20]


def test_restore_refuses_what_is_not_ours() -> None:
    """``Forged`` at once; a foreign file when it is used; nothing asked of the store."""
    with fleet_of(api) as fleet:
        browser = Browser(fleet)
        token = json.loads(browser.post("/api/upload", [("avatar", LEO)]).data)["token"]
        settled(fleet)
        asked = count(fleet)
        assert ask(browser, "/api/crop", token="nonsense") == Forged.code
        assert ask(browser, "/api/crop", token="") == Forged.code
        assert ask(Browser(fleet), "/api/crop", token=token) == 403
        assert count(fleet) == asked


# --- limits ------------------------------------------------------------------------------------------------------


def limited(app: Flask, handoff: S3Handoff) -> None:
    """Two fields, redisplayed."""
    fields = ['<input type="file" name="photo" multiple>', FILE]
    answer(app, "/", lambda: page(shown(), form("/", *fields)))


def test_more_files_than_allowed_is_413() -> None:
    """While they arrive, and nothing is left of them."""
    files: list[tuple[str, str | Upload]] = [("photo", Upload(f"{n}", b"x")) for n in range(4)]
    with fleet_of(limited, max_files=3) as fleet:
        assert Browser(fleet).post("/", files[:3]).status == 200
        assert count(fleet, "put") == 3
        assert Browser(fleet).post("/", files).status == 413
        settled(fleet)
        assert count(fleet, "put") == 3


def test_restored_and_fresh_files_count_together() -> None:
    """Rule 7: the limit holds for what a request has, wherever it comes from (B40)."""
    photos = [Upload(f"{n}", b"x") for n in range(3)]
    with fleet_of(limited, max_files=3) as fleet:
        browser = Browser(fleet)
        seen = browser.submit(browser.open("/"), photo=photos)
        assert browser.submit(seen).status == 200
        assert browser.submit(seen, avatar=LEO).status == 413
        replaced = browser.submit(seen, photo=[ADA])
        assert line_of(ADA, "photo") in replaced.text
        assert replaced.status == 200


@pytest.mark.parametrize(("size", "status"), [(100, 200), (101, 413)])
def test_the_size_limit_counts_while_the_file_arrives(size: int, status: int) -> None:
    """One byte more is 413, and nothing reaches the store or stays on disk."""
    with fleet_of(limited, max_file_size=100) as fleet:
        seen = Browser(fleet).post("/", [("avatar", Upload("a.bin", b"x" * size))])
        assert seen.status == status
        settled(fleet)
        assert count(fleet, "put") == (1 if status == 200 else 0)


def test_rule_7_b40_a_restored_file_passes_the_limit_of_today() -> None:
    """The limit was lowered since: the claim is too large now (B40), and is not fetched."""
    with fleet_of(limited) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/", [("avatar", LEO)])
        spoil(fleet, "too_large")
        assert browser.submit(seen).status == 413
        assert count(fleet, "fetch") == 0


# --- discard, replace, reopen, before_view ---------------------------------------------------------------


def editing(app: Flask, handoff: S3Handoff) -> None:
    """Give up, replace, read after closing."""

    @app.post("/do/<what>")
    def do(what: str) -> str:
        file: Any = request.files["avatar"]
        if what == "discard":
            file.discard()
        elif what == "bytes":
            file.replace(b"new bytes")
        elif what == "path":
            with open(file.path, "wb") as copy:
                copy.write(b"new bytes")
        elif what == "same":
            with open(file.path, "r+b") as copy:
                copy.write(LEO.data[:3])
        elif what == "gone":
            import os

            os.unlink(file.path)
        elif what == "name":
            assert file.path.endswith("leo.png")
        return page(
            shown(), *(form(f"/do/{then}") for then in ("show", "discard", "bytes", "path"))
        )


@pytest.mark.parametrize("what", ["bytes", "path"])
def test_an_edit_is_seen_at_once_and_on_the_next_server(what: str) -> None:
    """``replace`` and writing to ``path`` make a new revision."""
    with fleet_of(editing) as fleet:
        browser = Browser(fleet)
        seen = browser.post(f"/do/{what}", [("avatar", LEO)])
        new = Upload("leo.png", b"new bytes")
        assert line_of(new) in seen.text
        assert line_of(new) in browser.submit(seen, "/do/show").text
        assert len(memory(fleet).keys()) == 2


@pytest.mark.parametrize("what", ["same", "gone", "name", "show"])
def test_f39_no_new_revision_without_a_change(what: str) -> None:
    """Touching, writing the same bytes, even deleting the edit copy: the revision stays (F39)."""
    with fleet_of(editing) as fleet:
        browser = Browser(fleet)
        seen = browser.post(f"/do/{what}", [("avatar", LEO)])
        assert line_of(LEO) in browser.submit(seen, "/do/show").text
        settled(fleet)
        assert len(memory(fleet).keys()) == 1


def test_a_discarded_file_is_carried_no_further() -> None:
    """The next page has no token; the older page keeps its own revision (rule 4)."""
    with fleet_of(editing) as fleet:
        browser = Browser(fleet)
        first = browser.post("/do/show", [("avatar", LEO)])
        assert not browser.submit(first, "/do/discard").tokens
        assert line_of(LEO) in browser.submit(first, "/do/show").text


def test_reopen_puts_a_permanent_file_on_its_way_again() -> None:
    """A gallery's picture is cropped again: a new file under a field, the old key untouched."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.get("/again")
        def again() -> str:
            file = handoff.reopen("users/old.png", "avatar")
            assert file.filename == "old.png"
            assert file.mimetype == "image/png"
            return page(form("/crop"))

        @app.post("/crop")
        def crop() -> str:
            request.files["avatar"].replace(b"cropped")
            return page(form("/save"))

        answer(app, "/save", lambda: handoff.promote(request.files["avatar"], "users/new.png"))
        answer(app, "/put", lambda: handoff.put(LEO.data, "users/old.png"))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        browser.post("/put")
        browser.submit(browser.submit(browser.open("/again")))
        assert memory(fleet).bytes_of("users/new.png") == b"cropped"
        assert memory(fleet).bytes_of("users/old.png") == LEO.data


def test_mirror_before_view_does_not_run_the_view_without_the_store() -> None:
    """``S3HANDOFF_MIRROR = "before_view"``: 503, and nothing that the view does has happened."""
    ran: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/pay")
        def pay() -> str:
            ran.append("paid")
            return page(shown(), form("/pay"))

    with fleet_of(build, mirror="before_view") as fleet:
        memory(fleet).fail_with(Unavailable())
        seen = Browser(fleet).post("/pay", [("avatar", LEO)])
        assert seen.status == 503
        assert "Retry-After" in seen.headers
        assert ran == []
        memory(fleet).recover()
        assert line_of(LEO) in Browser(fleet).post("/pay", [("avatar", LEO)]).text
        assert ran == ["paid"]


def test_an_error_handler_is_asked_once() -> None:
    """What fails in the view and what cannot leave is one error for the user, not two."""
    told: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        def failed(error: Unavailable) -> Any:
            told.append(error.reason)
            return redirect("/sorry")

        app.register_error_handler(Unavailable, failed)
        answer(app, "/add", lambda: page(shown(), handoff.token(), form("/add")))

    with fleet_of(build) as fleet:
        memory(fleet).fail_with(Unavailable())
        left = Browser(fleet).post("/add", [("avatar", LEO)], follow=False)
        assert left.location == "/sorry"
        assert told == ["unavailable"]


# --- signals ---------------------------------------------------------------------------------------------------


def test_signals_tell_what_happened() -> None:
    """Sender is the app; each carries the file, or the refusal."""
    seen: list[str] = []

    def listen(sender: Any, **facts: Any) -> None:
        about = facts.get("file") or facts["refusal"]
        seen.append(about.filename or about.code)
        assert isinstance(sender, Flask)

    signals = [file_mirrored, file_revised, file_discarded, token_refused]
    with fleet_of(editing) as fleet:
        for signal in signals:
            signal.connect(listen)
        try:
            browser = Browser(fleet)
            page = browser.post("/do/bytes", [("avatar", LEO)])
            browser.submit(page, "/do/discard")
            browser.post("/do/bytes", [("avatar", ADA), ("_s3handoff", "nonsense")])
        finally:
            for signal in signals:
                signal.disconnect(listen)
    assert seen == ["leo.png", "leo.png", "leo.png", "ada.png", "forged", "ada.png"]
