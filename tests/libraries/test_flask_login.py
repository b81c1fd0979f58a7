"""Flask-Login: a file goes with its user, and with nobody else."""

from __future__ import annotations

from typing import Any

from flask import Flask, redirect, request
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)

from flask_s3handoff import S3Handoff
from tests.browser_like import Browser, Upload
from tests.small_apps import answer, count, fleet_of, form, memory, page, permanent

PICTURE = Upload("leo.png", b"the picture of Leo", "image/png")


class User(UserMixin):  # type: ignore[misc]  # published without types
    """Somebody with a name."""

    def __init__(self, name: str) -> None:
        self.id = name


def site(app: Flask, handoff: S3Handoff) -> None:
    """Members upload; the principal is the user's id, as the documentation says."""
    manager = LoginManager(app)
    manager.user_loader(User)
    manager.login_view = "login"
    handoff.principal_loader(lambda: current_user.get_id())

    @manager.request_loader  # type: ignore[untyped-decorator]  # as above
    def from_form(seen: Any) -> Any:  # the classic one, which reads the form while it is parsed
        return User(seen.form["user"]) if seen.form.get("password") == "secret" else None

    def names() -> str:
        return page(
            f"{current_user.get_id()}:", *(f.read().decode() for f in request.files.values())
        )

    @app.route("/login", methods=["GET", "POST"], endpoint="login")
    def login() -> Any:
        if request.method == "POST" and "name" in request.form:
            login_user(User(request.form["name"]))
            return redirect(request.args.get("next", "/home"))
        return page("log in", form("/login?next=/home", '<input name="name">'))

    @app.post("/logout")
    @login_required  # type: ignore[untyped-decorator]  # as above
    def logout() -> Any:
        logout_user()
        return redirect("/home")

    @app.post("/members")
    @login_required  # type: ignore[untyped-decorator]  # as above
    def members() -> str:
        key = handoff.promote(request.files["avatar"], f"users/{current_user.get_id()}.png")
        return page(key)

    answer(app, "/add", lambda: page(names(), *map(form, ("/add", "/members", "/logout"))))
    answer(
        app,
        "/home",
        lambda: page(
            names(), form("/members"), form("/add"), form("/login", '<input name="name">')
        ),
    )


def logged_in(browser: Browser, name: str) -> None:
    """Log somebody in."""
    assert f"{name}:" in browser.post("/login", [("name", name)]).text


def test_an_anonymous_upload_goes_through_the_login_wall() -> None:
    """``login_required`` redirects to the login page, which redirects home; the picture is there."""
    with fleet_of(site) as fleet:
        browser = Browser(fleet)
        added = browser.post("/add", [("avatar", PICTURE)])
        wall = browser.submit(added, "/members")
        assert "log in" in wall.text
        home = browser.submit(wall, name="ada")
        assert "ada:" in home.text
        assert PICTURE.data.decode() in home.text
        assert "users/ada.png" in browser.submit(home, "/members").text
        assert memory(fleet).bytes_of("users/ada.png") == PICTURE.data


def test_logout_ends_it() -> None:
    """Neither the page after it nor the page before it works for anybody else."""
    with fleet_of(site) as fleet:
        browser = Browser(fleet)
        logged_in(browser, "ada")
        added = browser.post("/add", [("avatar", PICTURE)])
        home = browser.submit(added, "/logout")
        assert "None:" in home.text
        assert "_s3handoff" not in home.url
        assert not home.tokens
        logged_in(browser, "bob")
        assert browser.submit(added, "/add").status == 403
        assert browser.submit(added, "/members").status == 403
        assert not permanent(fleet)


def test_a_user_from_the_form_itself() -> None:
    """``request_loader`` reads the form of the very upload that asks who it is for."""
    with fleet_of(site) as fleet:
        browser = Browser(fleet)
        values: list[tuple[str, str | Upload]] = [
            ("user", "ada"),
            ("password", "secret"),
            ("avatar", PICTURE),
        ]
        added = browser.post("/add", values)
        assert "ada:" in added.text
        assert browser.submit(added, "/add").status == 403  # without the password it is not ada
        assert count(fleet, "fetch") == 0
