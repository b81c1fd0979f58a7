"""Shapes of apps: factories, blueprints, mounts, own request classes, several apps in one process."""

from __future__ import annotations

import gzip
import logging
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, Request, redirect, request, url_for
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.test import run_wsgi_app

from flask_s3handoff import S3Handoff
from flask_s3handoff.errors import ConfigError
from flask_s3handoff.testing import Fleet, MemoryStore
from tests.browser_like import Browser
from tests.carry.test_carry import ADA, LEO, line_of, shown, wizard
from tests.small_apps import FILE, ROUTINGS, answer, fleet_of, form, memory, page

pytestmark = pytest.mark.oldest

bare = Flask("bare")
bare.config["TESTING"] = True


class OwnRequest(Request):
    """An app's own request: another property, and a limit of its own."""

    max_form_parts = 7

    @property
    def shouted(self) -> str:
        """The path, loudly."""
        return self.path.upper()


@pytest.mark.parametrize("when", ["before", "after", "in the middle"])
def test_an_app_with_its_own_request_class(when: str) -> None:
    """Set before or after ``init_app``: it stays the app's class, and carries (tried on its parser too)."""

    def create_app(config: dict[str, Any]) -> Flask:
        app = Flask(__name__)
        app.config.from_mapping(config)
        handoff = S3Handoff()
        if when == "before":
            app.request_class = OwnRequest
        handoff.init_app(app)

        @app.post("/add")
        def add() -> str:
            assert isinstance(request._get_current_object(), OwnRequest)  # type: ignore[attr-defined]
            assert request.shouted == "/ADD"  # type: ignore[attr-defined]
            return page(shown(), form("/add"))

        if when == "in the middle":
            app.test_client().get("/")
        if when != "before":
            app.request_class = OwnRequest
        return app

    with Fleet(create_app) as fleet:
        browser = Browser(fleet)
        seen = browser.submit(browser.post("/add", [("avatar", LEO)]))
        assert line_of(LEO) in seen.text
        assert browser.post("/add", [(f"f{n}", "x") for n in range(8)]).status == 413


def test_a_factory_with_blueprints() -> None:
    """The extension is made at import, the app in a factory, the views in blueprints, exempt ones too."""
    handoff = S3Handoff()

    def create_app(config: dict[str, Any]) -> Flask:
        profile = Blueprint("profile", __name__, url_prefix="/profile")
        answer(profile, "/add", lambda: page(shown(), form("crop"), form(url_for("other.done"))))  # type: ignore[arg-type]
        answer(profile, "/crop", lambda: page(shown(), form("crop")))  # type: ignore[arg-type]
        other = Blueprint("other", __name__)
        other.post("/done", endpoint="done")(
            handoff.exempt(lambda: page(shown(), form("/profile/crop")))
        )
        app = Flask(__name__)
        app.config.from_mapping(config)
        app.register_blueprint(profile)
        app.register_blueprint(other)
        handoff.init_app(app)
        return app

    with Fleet(create_app) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/profile/add", [("avatar", LEO)])
        assert line_of(LEO) in browser.submit(seen, "crop").text
        assert browser.submit(seen, "/done").text.count("avatar") == 0


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("paths", [["/"], ["/add", "/crop", "/save", "/go"]])
def test_mounted_below_a_prefix(routing: str, paths: list[str]) -> None:
    """``DispatcherMiddleware``: forms, redirects, cookies and ``S3HANDOFF_PATHS`` mean the app's own paths."""

    def create_app(config: dict[str, Any]) -> Any:
        app = Flask(__name__)
        app.config.from_mapping(config)
        S3Handoff(app)
        answer(
            app, "/add", lambda: page(shown(), form(url_for("at /go")), form("/crop"), form("save"))
        )
        answer(app, "/go", lambda: redirect(url_for("at /save")))
        answer(app, "/save", lambda: page(shown(), form(url_for("at /save"))))
        return DispatcherMiddleware(bare, {"/shop/é".encode().decode("latin-1"): app})  # PEP 3333

    with Fleet(create_app, routing=routing, config={"S3HANDOFF_PATHS": paths}) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/shop/%C3%A9/add", [("avatar", LEO)])
        assert line_of(LEO) in seen.text
        assert [bool(f.tokens) for f in seen.forms] == [True, False, True]
        saved = browser.submit(seen, 0)
        assert [hop.location.partition("?")[0] for hop in saved.hops] == ["/shop/%C3%A9/save"]
        assert line_of(LEO) in saved.text
        assert line_of(LEO) in browser.submit(saved).text


def test_a_redirect_out_of_the_mount_carries_nothing() -> None:
    """Another app lives there."""

    def create_app(config: dict[str, Any]) -> Any:
        app = Flask(__name__)
        app.config.from_mapping(config)
        S3Handoff(app)
        answer(app, "/go", lambda: (request.files["avatar"], redirect("/other"))[1])
        return DispatcherMiddleware(bare, {"/shop": app})

    with Fleet(create_app) as fleet:
        assert Browser(fleet).post("/shop/go", [("avatar", LEO)], follow=False).location == "/other"


def two_apps(
    *, key: str = "", other_key: str = ""
) -> tuple[Callable[[dict[str, Any]], Any], list[MemoryStore]]:
    """Return a factory of two apps side by side, each with its own store."""
    stores = [MemoryStore(), MemoryStore()]

    def create_app(config: dict[str, Any]) -> Any:
        mounts: dict[str, Any] = {}
        for name, store, own in (("/a", stores[0], key), ("/b", stores[1], other_key)):
            app = Flask(f"{__name__}.{name[1:]}")
            app.config.from_mapping({**config, "S3HANDOFF_STORE": store})
            if own:
                app.config["SECRET_KEY"] = own
            app.config["S3HANDOFF_WORK_DIR"] += name
            S3Handoff(app)
            answer(app, "/show", lambda: page(shown(), form("/a/show"), form("/b/show")))
            mounts[name] = app
        return DispatcherMiddleware(bare, mounts)

    return create_app, stores


def test_b71_two_apps_in_one_process_do_not_mix() -> None:
    """Each has its state, its store, its work folder; a token of one is nothing to the other (B71)."""
    create_app, stores = two_apps(key="a" * 32, other_key="b" * 32)
    with Fleet(create_app) as fleet:
        browser = Browser(fleet)
        left = browser.post("/a/show", [("avatar", LEO)])
        right = browser.post("/b/show", [("avatar", ADA)])
        assert line_of(LEO) in browser.submit(left, "/a/show").text
        assert line_of(ADA) in browser.submit(right, "/b/show").text
        crossed = browser.post("/b/show", [("_s3handoff", left.form("/a/show").token)])
        assert crossed.status == 200
        assert line_of(LEO) not in crossed.text
        assert [len(store.keys()) for store in stores] == [1, 1]
        assert not left.form("/b/show").tokens


def test_init_app_twice_is_refused() -> None:
    """Two gates around one app would do everything twice."""
    app = Flask(__name__)
    app.config.from_mapping(SECRET_KEY="k" * 32, S3HANDOFF_STORE="memory")
    handoff = S3Handoff(app)
    with pytest.raises(ConfigError, match="once per app"):
        handoff.init_app(app)


def test_one_extension_for_several_apps() -> None:
    """The object keeps nothing of an app; its answers are those of the app at work."""
    handoff = S3Handoff()
    stores = [MemoryStore(), MemoryStore()]
    apps = [Flask(f"{__name__}{n}") for n in range(2)]
    for app, store in zip(apps, stores, strict=True):
        app.config.from_mapping(
            SECRET_KEY="k" * 32, S3HANDOFF_PLACES={"users/": {}}, S3HANDOFF_STORE="memory"
        )
        handoff.init_app(app, store=store)
        with app.app_context():
            handoff.put(b"x", f"users/{app.name[-1]}")
    assert [store.keys() for store in stores] == [["users/0"], ["users/1"]]


def zipped(inner: Any) -> Any:
    """Compress every answer, as a middleware in front of an app does."""

    def middleware(environ: Any, start_response: Any) -> Any:
        chunks, status, headers = run_wsgi_app(inner, environ, buffered=True)
        body = gzip.compress(b"".join(chunks))
        headers["Content-Encoding"], headers["Content-Length"] = "gzip", str(len(body))
        start_response(status, headers.to_wsgi_list())
        return [body]

    return middleware


MIDDLEWARE: dict[str, Any] = {
    "gzip": zipped,
    "ProxyFix": ProxyFix,
    "static": lambda inner: SharedDataMiddleware(inner, {"/static": os.path.dirname(__file__)}),
    "session": lambda inner: lambda environ, start: inner({**environ, "session": {}}, start),
    "lint": LintMiddleware,
}


@pytest.mark.parametrize("below", [True, False], ids=["below us", "above us"])
@pytest.mark.parametrize("what", MIDDLEWARE)
def test_b72_other_middleware_around_the_app_is_no_obstacle(
    what: str, below: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Flask's own hook writes the page before any of them; ours is beside the ``wsgi_app`` only."""

    def create_app(config: dict[str, Any]) -> Flask:
        app = Flask(__name__)
        app.config.from_mapping(config)
        wrap: Any = app
        if below:
            wrap.wsgi_app = MIDDLEWARE[what](wrap.wsgi_app)
        S3Handoff(app)
        answer(app, "/show", lambda: page(shown(), form("/show")))
        if not below:
            wrap.wsgi_app = MIDDLEWARE[what](wrap.wsgi_app)
        return app

    with Fleet(create_app) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/show", [("avatar", LEO)])
        for _ in range(2):
            text = gzip.decompress(seen.data) if what == "gzip" else seen.data
            assert line_of(LEO).encode() in text
            (token,) = re.findall(rb'name="_s3handoff" value="([^"]+)"', text)
            seen = browser.post("/show", [("_s3handoff", token.decode())])


def test_behind_a_proxy_that_ends_tls(caplog: pytest.LogCaptureFixture) -> None:
    """With ``ProxyFix`` the cookie is Secure; without it a warning says once what to set (B72)."""

    def create_app(config: dict[str, Any]) -> Flask:
        app = Flask(__name__)
        app.config.from_mapping(config)
        S3Handoff(app)
        answer(app, "/add", lambda: (request.files.get("avatar"), page(form("/add")))[1])
        if config["PROXY_FIX"]:
            app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
        return app

    for fixed in (True, False):
        with Fleet(create_app, config={"PROXY_FIX": fixed}) as fleet:
            caplog.clear()
            for _ in range(7):
                seen = Browser(fleet).post(
                    "/add",
                    [("avatar", LEO)],
                    X_Forwarded_Proto="https",
                    X_Forwarded_For="192.0.2.7",
                )
            cookie = seen.headers["Set-Cookie"]
            assert cookie.startswith("__Host-" if fixed else "s3handoff-")
            assert caplog.text.count("ProxyFix") == (0 if fixed else 3)


def test_a_copy_that_has_the_key_only_as_a_fallback() -> None:
    """Rolling a new key out, server by server: the new ones sign, the old key still verifies (T42)."""
    keys = iter(["old-" + "k" * 32, "new-" + "k" * 32, "new-" + "k" * 32])

    def create_app(config: dict[str, Any]) -> Flask:
        app = Flask(__name__)
        app.config.from_mapping(config)
        app.config["S3HANDOFF_SECRET_KEY"] = ["old-" + "k" * 32, next(keys)]
        S3Handoff(app)
        answer(app, "/show", lambda: page(shown(), form("/show")))
        return app

    with Fleet(create_app) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/show", [("avatar", LEO)])
        for _ in range(2):
            seen = browser.submit(seen)
            assert line_of(LEO) in seen.text


def test_f42_servers_with_different_keys_say_so(caplog: pytest.LogCaptureFixture) -> None:
    """A mis-deploy: nothing is believed, nothing crashes, and the log has the word (F42)."""
    keys = iter("abc")

    def create_app(config: dict[str, Any]) -> Flask:
        app = Flask(__name__)
        app.config.from_mapping({**config, "SECRET_KEY": next(keys) * 32})
        handoff = S3Handoff(app)
        answer(
            app,
            "/show",
            lambda: page(shown(), " ".join(e.code for e in handoff.errors), form("/show")),
        )
        return app

    with Fleet(create_app) as fleet, caplog.at_level(logging.INFO, logger="flask_s3handoff"):
        browser = Browser(fleet)
        seen = browser.submit(browser.post("/show", [("avatar", LEO)]))
        assert "forged" in seen.text
        assert "forged" in caplog.text


def test_debug_mode_with_a_form_that_forgot_its_enctype() -> None:
    """Flask's own hint for ``request.files`` of a urlencoded form stays, and a token is still a file."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(
            app,
            "/add",
            lambda: page(shown(), '<form method="post" action="/add"><input name="a"></form>'),
        )
        answer(app, "/need", lambda: request.files["avatar"].filename or "")

    with fleet_of(build, DEBUG=True) as fleet:
        browser = Browser(fleet)
        seen = browser.submit(browser.post("/add", [("avatar", LEO)]))
        assert line_of(LEO) in seen.text
        with pytest.raises(Exception, match="enctype"):
            browser.post(
                "/need", [("avatar", "leo.png")], enctype="application/x-www-form-urlencoded"
            )


def test_rule_12_forty_requests_at_once() -> None:
    """Threads share an app: every file is its own, and every page works on the next server."""
    with fleet_of(wizard) as fleet:
        from tests.browser_like import Upload

        def errand(n: int) -> Callable[[Browser], str]:
            def run(tab: Browser) -> str:
                crop = tab.post("/add", [("avatar", Upload(f"{n}.png", bytes([n]) * 500))])
                save = tab.submit(crop, width=str(n + 1))
                return tab.submit(save, "/save", name=str(n)).text

            return run

        keys = Browser(fleet).together(*(errand(n) for n in range(40)))
        assert keys == [f"users/{n}.png" for n in range(40)]
        assert all(
            memory(fleet).bytes_of(f"users/{n}.png") == bytes([n]) * (n + 1) for n in range(40)
        )


def test_the_helper_finds_its_fields() -> None:
    """The browser of these tests would notice a form that lost a field."""
    with fleet_of(lambda app, _: answer(app, "/", lambda: page(form("/", FILE)))) as fleet:
        seen = Browser(fleet).open("/")
        with pytest.raises(AssertionError, match="no field"):
            Browser(fleet).submit(seen, nonsense="x")
