"""The three steps and the gallery. No token here, and of S3 only what an app means by it."""

from __future__ import annotations

import secrets
from typing import cast

from flask import Blueprint, abort, flash, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from flask_s3handoff import HandoffFile, S3Handoff

from . import pictures
from .pictures import BadBox, BadPicture, Box

handoff = S3Handoff()
pages = Blueprint("pages", __name__)
Page = Response | tuple[str, int] | str

MAX_NAME_LENGTH = 40


@pages.route("/avatar/", methods=["GET", "POST"])
def upload() -> Page:
    """Step 1: take a picture, or say what is wrong with it."""
    if request.method == "GET":
        return upload_page()
    avatar = request.files.get("avatar")
    if not avatar:
        return upload_page("Choose a picture first."), 422
    try:
        pictures.check(avatar.stream)
    except BadPicture as error:
        cast(HandoffFile, avatar).discard()
        return upload_page(str(error)), 422
    return redirect(url_for(".crop"), 303)


@pages.route("/avatar/crop", methods=["GET", "POST"])
def crop() -> Page:
    """Step 2: cut out a part. The picture may have been uploaded to another server."""
    avatar, error = the_avatar(), None
    size = pictures.size_of(avatar.stream)
    if request.method == "POST":
        try:
            pictures.crop(avatar.path, Box.from_form(request.form, size))
            avatar.filename = "avatar.jpg"
            return redirect(url_for(".profile"), 303)
        except BadBox as bad:
            error = bad
    page = render_template(
        "crop.html", avatar=avatar, size=size, box=Box.largest_square(size), error=error
    )
    return page, 422 if error else 200


@pages.route("/avatar/profile", methods=["GET", "POST"])
def profile() -> Page:
    """Step 3: ask for a name and save. The avatar survives a name that is refused."""
    avatar, error = the_avatar(), None
    name = request.form.get("name", session.get("name", "")).strip()
    if request.method == "POST":
        error = what_is_wrong_with(name)
        if not error:
            avatar.promote(f"{own_prefix()}{avatar.sha256[:24]}.jpg")
            session["name"] = name
            flash(f"Saved. It suits you, {name}.")
            return redirect(url_for(".upload"), 303)
    page = render_template("profile.html", avatar=avatar, name=name, error=error)
    return page, 422 if error else 200


@pages.post("/avatar/saved/<name>/crop")
def crop_again(name: str) -> Page:
    """Put a saved avatar on its way again, as if it had just been uploaded."""
    handoff.reopen(own_prefix() + name, field="avatar")
    return redirect(url_for(".crop"), 303)


@pages.post("/avatar/saved/<name>/delete")
def delete(name: str) -> Page:
    """Delete a saved avatar."""
    handoff.delete(own_prefix() + name)
    flash("Deleted.")
    return redirect(url_for(".upload"), 303)


def upload_page(error: str | None = None) -> str:
    """Render the first step, with the gallery of everything that was saved before."""
    saved = sorted(handoff.list(own_prefix()), key=lambda file: file.last_modified, reverse=True)
    return render_template("upload.html", error=error, saved=saved, accept=pictures.ACCEPT)


def the_avatar() -> HandoffFile:
    """Return the picture that was uploaded in the first step; without one, lead back there."""
    avatar = request.files.get("avatar")
    if not avatar:
        flash("Choose a picture first.")
        abort(redirect(url_for(".upload"), 303))
    return cast(HandoffFile, avatar)


def own_prefix() -> str:
    """Return where this visitor's avatars lie; a real app takes the id of its logged-in user."""
    return f"users/{session.setdefault('user', secrets.token_hex(8))}/"


def what_is_wrong_with(name: str) -> str | None:
    """Return why a name is refused, or ``None``."""
    if not name:
        return "Enter your name."
    if len(name) > MAX_NAME_LENGTH:
        return f"Use at most {MAX_NAME_LENGTH} characters for your name."
    return None
