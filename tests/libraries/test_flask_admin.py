"""Flask-Admin: its create form with an upload field, refused once, saved on another server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_admin.form import FileUploadField
from flask_sqlalchemy import SQLAlchemy
from wtforms.validators import Length

from flask_s3handoff import S3Handoff
from tests.browser_like import Browser, Upload
from tests.small_apps import fleet_of

CONTRACT = Upload("contract.pdf", b"%PDF-1.7 signed", "application/pdf")


def site(disks: Path) -> Any:
    """Build a copy with one model, its database and its uploads on the copy's own disk."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        folder = disks / Path(app.config["FLEET_DISK"]).name
        folder.mkdir()
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / 'db.sqlite'}"
        db = SQLAlchemy(app)

        class Customer(db.Model):  # type: ignore[name-defined, misc]  # made at run time
            id = db.Column(db.Integer, primary_key=True)
            name = db.Column(db.String(40))
            contract = db.Column(db.String(200))

        class CustomerView(ModelView):  # type: ignore[misc]  # published without types
            form_columns = ("name", "contract")
            form_overrides = {"contract": FileUploadField}  # noqa: RUF012 - as Flask-Admin documents it
            form_args = {  # noqa: RUF012 - as above
                "name": {"validators": [Length(min=3)]},
                "contract": {"base_path": str(folder), "allowed_extensions": ["pdf"]},
            }

        Admin(app).add_view(CustomerView(Customer, db))
        with app.app_context():
            db.create_all()
            app.teardown_appcontext(lambda _: db.engine.dispose())

    return build


def test_the_create_form_keeps_the_file_when_the_name_fails(tmp_path: Path) -> None:
    """Two refusals on two servers; the third saves name and file as Flask-Admin does."""
    with fleet_of(site(tmp_path)) as fleet:
        browser = Browser(fleet)
        new = browser.open("/admin/customer/new/")
        again = browser.submit_form(upload_form(new), {"name": "x", "contract": CONTRACT})
        assert "at least 3 characters" in again.text
        again = browser.submit_form(upload_form(again), {"name": "yy"})
        saved = browser.submit_form(upload_form(again), {"name": "Leo"})
        assert saved.hops
        (copy,) = tmp_path.rglob("*.pdf")
        assert copy.read_bytes() == CONTRACT.data


def test_the_next_customer_does_not_get_the_last_ones_file(tmp_path: Path) -> None:
    """ "Save and add another": the form after the redirect starts afresh."""
    with fleet_of(site(tmp_path)) as fleet:
        browser = Browser(fleet)
        new = browser.open("/admin/customer/new/")
        fresh = browser.submit_form(
            upload_form(new), {"name": "Leo", "contract": CONTRACT}, "Save and Add Another"
        )
        assert fresh.hops
        assert not upload_form(fresh).tokens


def upload_form(page: Any) -> Any:
    """Return the form with the file input."""
    (found,) = [form for form in page.forms if any(c.type == "file" for c in form.controls)]
    return found
