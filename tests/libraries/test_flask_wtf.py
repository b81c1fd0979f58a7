"""Flask-WTF: upload, a validation error, the form again, and another server; its validators hold."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, redirect, render_template_string, request
from flask_wtf import CSRFProtect, FlaskForm
from flask_wtf.file import FileAllowed, FileField, FileRequired, FileSize, MultipleFileField
from wtforms import StringField, SubmitField
from wtforms.validators import InputRequired, Length

from flask_s3handoff import S3Handoff
from flask_s3handoff.testing import Fleet
from tests.browser_like import Browser, Upload
from tests.small_apps import ROUTINGS, count, fleet_of, memory, permanent

PICTURE = Upload("leo.png", b"\x89PNG\r\n\x1a\n" + b"x" * 900, "image/png")

TEMPLATE = """<!doctype html><title>profile</title>
{% for field, errors in form.errors.items() %}<p>{{ field }}: {{ errors|join(" ") }}</p>{% endfor %}
<form method="post" enctype="multipart/form-data">
{{ form.hidden_tag() }}
{% for field in form if field.type not in ("CSRFTokenField",) %}{{ field.label }} {{ field }}{% endfor %}
</form>
"""


class Profile(FlaskForm):  # type: ignore[misc]  # published without types
    """A name that must be there, and a picture of a kind and a size."""

    name = StringField("Name", validators=[InputRequired(), Length(min=3)])
    avatar = FileField(
        "Avatar",
        validators=[
            FileRequired(),
            FileAllowed(["png", "jpg"]),
            FileSize(max_size=1000, min_size=10),
        ],
    )
    save = SubmitField("Save")


class Album(FlaskForm):  # type: ignore[misc]  # as above
    """Several pictures in one field."""

    name = StringField("Name", validators=[InputRequired()])
    photos = MultipleFileField(
        "Photos", validators=[FileRequired(), FileAllowed(["png"]), FileSize(max_size=1000)]
    )
    save = SubmitField("Save")


def site(app: Flask, handoff: S3Handoff) -> None:
    """Two forms with CSRF on, written as their documentation does it."""
    CSRFProtect(app)

    @app.route("/profile", methods=["GET", "POST"])
    def profile() -> Any:
        form = Profile()
        if form.validate_on_submit():
            handoff.promote(form.avatar.data, f"users/{form.name.data}.png")
            return redirect("/done")
        return render_template_string(TEMPLATE, form=form)

    @app.route("/album", methods=["GET", "POST"])
    def album() -> Any:
        form = Album()
        if form.validate_on_submit():
            for place, photo in enumerate(form.photos.data):
                handoff.promote(photo, f"users/{form.name.data}/{place}.png")
            return redirect("/done")
        return render_template_string(TEMPLATE, form=form)

    @app.get("/done")
    def done() -> str:
        return "done"


@pytest.fixture(params=ROUTINGS)
def fleet(request: pytest.FixtureRequest) -> Any:
    """Three copies by each routing."""
    with fleet_of(site, routing=request.param) as fleet:
        yield fleet


def test_the_picture_survives_a_name_that_fails(fleet: Fleet) -> None:
    """The form is shown again twice; the file is chosen once, though its field is required."""
    browser = Browser(fleet)
    seen = browser.submit(browser.open("/profile"), avatar=PICTURE, name="x")
    assert "name: " in seen.text
    assert "avatar: " not in seen.text
    seen = browser.submit(seen, name="yy")
    assert "avatar: " not in seen.text
    assert browser.submit(seen, name="leo").text == "done"
    assert memory(fleet).bytes_of("users/leo.png") == PICTURE.data


def test_several_pictures_survive(fleet: Fleet) -> None:
    """``MultipleFileField``: all of them, in order."""
    photos = [Upload(f"{n}.png", bytes([n]) * 50, "image/png") for n in range(3)]
    browser = Browser(fleet)
    seen = browser.submit(browser.open("/album"), photos=photos)
    assert "name: " in seen.text
    assert "photos: " not in seen.text
    assert browser.submit(seen, name="a").text == "done"
    kept = [memory(fleet).bytes_of(f"users/a/{n}.png") for n in range(3)]
    assert kept == [photo.data for photo in photos]


def test_without_a_file_it_is_still_required(fleet: Fleet) -> None:
    """``FileRequired`` says so, before and after."""
    browser = Browser(fleet)
    page = browser.open("/profile")
    body = browser.submit_form(page.form(), {"name": "leo", "avatar": [Upload("", b"")]})
    assert "avatar: This field is required." in body.text


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (Upload("leo.exe", b"x" * 100), "approved extension"),
        (Upload("leo.png", b"x" * 1001), "between"),
        (Upload("leo.png", b"x" * 9), "between"),
        (Upload("leo.png", b""), "between"),
    ],
)
def test_rule_7_validators_hold_for_a_restored_file(fleet: Fleet, file: Upload, error: str) -> None:
    """What is refused when it is fresh is refused again when it comes back, and is replaced by a good one."""
    browser = Browser(fleet)
    seen = browser.submit(browser.open("/profile"), avatar=file, name="leo")
    assert error in seen.text
    seen = browser.submit(seen, name="leo")
    assert error in seen.text
    assert browser.submit(seen, name="leo", avatar=PICTURE).text == "done"
    assert memory(fleet).bytes_of("users/leo.png") == PICTURE.data


def test_csrf_is_not_weakened(fleet: Fleet) -> None:
    """A form without its CSRF token is 400, with ours or without."""
    browser = Browser(fleet)
    seen = browser.submit(browser.open("/profile"), avatar=PICTURE, name="x")
    token = seen.form().token
    assert browser.post("/profile", [("name", "leo"), ("_s3handoff", token)]).status == 400
    assert not permanent(fleet)


def test_fileallowed_alone_costs_no_get() -> None:
    """Names and truth need no bytes; ``FileSize`` does, and asks for them once."""

    class Named(FlaskForm):  # type: ignore[misc]  # as above
        name = StringField("Name", validators=[InputRequired()])
        avatar = FileField("Avatar", validators=[FileRequired(), FileAllowed(["png"])])

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.route("/", methods=["GET", "POST"])
        def view() -> str:
            form = Named()
            form.validate_on_submit()
            assert request.method == "GET" or not form.avatar.errors
            return render_template_string(TEMPLATE, form=form)

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        browser.submit(browser.submit(browser.open("/"), avatar=PICTURE))
        assert count(fleet, "put") == 1
        assert count(fleet, "fetch") == 0
