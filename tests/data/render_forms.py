"""Render the forms that real libraries' own templates make, into ``tests/data/forms``.

Run ``python -m tests.data.render_forms`` after an upgrade of one of them; the pages are committed,
so that the test needs none of these libraries. Secrets and dates are replaced: two runs give the
same bytes.
"""

# mypy: disable-error-code="misc, no-untyped-call, attr-defined, name-defined, untyped-decorator"
# (the libraries rendered here have no types, and their models are classes made at run time)

from __future__ import annotations

import io
import logging
import re
import secrets
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import django
import flask
import flask_admin
import flask_bootstrap
import flask_security
import flask_wtf
import wtforms
from django.conf import settings
from flask_admin.contrib.fileadmin import FileAdmin
from flask_admin.contrib.sqla import ModelView
from flask_admin.form import SecureForm
from flask_security.models import fsqla_v3
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.file import FileField, FileRequired, MultipleFileField

HERE = Path(__file__).parent / "forms"
Page = tuple[str, str]

# What differs from run to run, and must not be committed either.
_SECRETS = (
    re.compile(r'((?:name|id)="(?:csrfmiddlewaretoken|csrf_token)"[^>]*value=")[^"]*'),
    re.compile(r'(data-csrf=")[^"]*'),
    re.compile(r'(name="csrf_token" type="hidden" value=")[^"]*'),
    re.compile(r"(otpauth://)[^\"'<]*"),
    re.compile(r"(data:image/svg\+xml;base64,)[^\"']*"),
)


def tidied(page: str) -> str:
    """Take out what is secret or changes, and white space at line ends."""
    for secret in _SECRETS:
        page = secret.sub(r"\1x", page)
    page = re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", "2026-01-01 00:00:00", page)
    page = re.sub(r"[ \t]+\n", "\n", page.replace("\r\n", "\n"))
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"


# --- Flask-WTF and Bootstrap-Flask: forms of our own, their fields, widgets and macros


class Avatar(flask_wtf.FlaskForm):
    """An upload."""

    title = wtforms.StringField("Title", validators=[wtforms.validators.DataRequired()])
    avatar = FileField("Avatar", validators=[FileRequired()])
    submit = wtforms.SubmitField("Upload")


class Attachments(flask_wtf.FlaskForm):
    """Several files and every common field."""

    subject = wtforms.StringField("Subject < 10 & > 2", description="shown in <b>lists</b>")
    body = wtforms.TextAreaField("Body", default="</textarea><form method=post>")
    files = MultipleFileField("Files")
    kind = wtforms.SelectField("Kind", choices=[("a", "First"), ("b", "Second <form>")])
    tags = wtforms.SelectMultipleField("Tags", choices=[("x", "X"), ("y", "Y")])
    size = wtforms.RadioField("Size", choices=[("s", "Small"), ("l", "Large")])
    agree = wtforms.BooleanField("I agree")
    when = wtforms.DateField("When")
    secret = wtforms.PasswordField("Secret")
    save = wtforms.SubmitField("Save")
    cancel = wtforms.SubmitField("Cancel", render_kw={"formnovalidate": True})


class Telephone(wtforms.Form):
    """A part of a form."""

    country = wtforms.IntegerField("Country")
    number = wtforms.StringField("Number")


class Contact(flask_wtf.FlaskForm):
    """Forms in a form."""

    name = wtforms.StringField("Name")
    home = wtforms.FormField(Telephone)
    others = wtforms.FieldList(wtforms.FormField(Telephone), min_entries=2)
    photo = FileField("Photo")
    send = wtforms.SubmitField()


FORMS = (Avatar, Attachments, Contact)

_PLAIN = """<!doctype html><title>{{ form.__class__.__name__ }}</title>
<form method="post" action="{{ action }}" enctype="multipart/form-data">{{ hidden }}
{% for field in form if field.widget.input_type != "hidden" %}{{ field.label }} {{ field }}
{% for error in field.errors %}<em>{{ error }}</em>{% endfor %}{% endfor %}</form>
<form method="get" action="/search"><input name="q"></form>
<form method="post" action="/logout">{{ form.csrf_token }}<button>Log out</button></form>
"""
_TABLE = """<form method=post enctype=multipart/form-data>{{ form.hidden_tag() }}<table>
{% for field in form %}<tr><th>{{ field.label }}</th><td>{{ field(class="wide") }}</td></tr>
{% endfor %}</table></form>"""


def flask_app() -> flask.Flask:
    """Return an app that signs nothing of value."""
    app = flask.Flask(__name__)
    app.config.update(
        SECRET_KEY=secrets.token_hex(),
        TESTING=True,
        SQLALCHEMY_DATABASE_URI="sqlite://",
        BOOTSTRAP_SERVE_LOCAL=True,
    )
    return app


def flask_wtf_pages() -> Iterator[Page]:
    """Render each form plainly and as a table, fresh and with errors."""
    app = flask_app()
    for form_class in FORMS:
        for state in ("fresh", "refused"):
            method = "POST" if state == "refused" else "GET"
            with app.test_request_context(method=method):
                form = form_class()
                if state == "refused":
                    form.validate()
                for name, template in (("plain", _PLAIN), ("table", _TABLE)):
                    context = {"form": form, "hidden": form.hidden_tag(), "action": ""}
                    page = flask.render_template_string(template, **context)
                    yield f"{form_class.__name__}-{state}-{name}", page


_RENDERINGS = {
    "basic": "{{ render_form(form) }}",
    "action": "{{ render_form(form, action='/save?next=/', button_style='success') }}",
    "inline": "{{ render_form(form, form_type='inline') }}",
    "horizontal": "{{ render_form(form, form_type='horizontal', novalidate=True) }}",
    "floating": "{{ render_form(form, form_type='floating', extra_classes='x') }}",
    "id": "{{ render_form(form, id='f', role='form', render_kw={'data-x': '<form>'}) }}",
    "several": "{{ render_form(form) }}{{ render_form(form, method='get') }}{{ render_form(form) }}",
    "fields": "<form method=post>{{ form.hidden_tag() }}{% for f in form %}{{ render_field(f) }}"
    "{% endfor %}</form>",
    "row": "<form method='post'>{{ form.csrf_token }}{{ render_form_row([form.csrf_token]) }}</form>",
}
_ACTIONS = """{% from 'VERSION/table.html' import render_table %}
{{ render_table(rows, [('id', '#'), ('title', 'Title')], show_actions=True, view_url='/view',
   edit_url='/edit', delete_url=('drop', [('row', ':id')])) }}"""


def bootstrap_flask_pages() -> Iterator[Page]:
    """Render each form in every style of both Bootstraps, and tables with actions."""
    for bootstrap in (flask_bootstrap.Bootstrap4, flask_bootstrap.Bootstrap5):
        app = flask_app()
        flask_wtf.CSRFProtect(app)
        bootstrap(app)
        app.add_url_rule("/drop/<row>", "drop", lambda row: row, methods=["POST"])
        folder = bootstrap.__name__.lower()
        for form_class in FORMS:
            with app.test_request_context():
                yield from _styles(folder, form_class)
        with app.test_request_context():
            rows = [{"id": number, "title": f"Title {number}"} for number in range(6)]
            page = flask.render_template_string(_ACTIONS.replace("VERSION", folder), rows=rows)
            yield f"{folder}-table", page


def _styles(folder: str, form_class: type[flask_wtf.FlaskForm]) -> Iterator[Page]:
    imports = f"{{% from '{folder}/form.html' import render_form, render_field, render_form_row %}}"
    for style, rendering in _RENDERINGS.items():
        if style == "floating" and folder == "bootstrap4":
            continue
        page = flask.render_template_string(imports + rendering, form=form_class())
        yield f"{folder}-{form_class.__name__}-{style}", page


# --- Flask-Admin


def flask_admin_pages() -> Iterator[Page]:
    """Render list, create, edit and file manager, with and without modal windows."""
    app, db = flask_app(), SQLAlchemy()
    db.init_app(app)
    models = _models(db)
    with tempfile.TemporaryDirectory() as folder, app.app_context():
        Path(folder, "a.txt").write_text("x")
        Path(folder, "deeper").mkdir()
        admin = flask_admin.Admin(app, name="Admin")
        _add_views(admin, db, models, folder)
        db.create_all()
        _add_rows(db, models)
        client = app.test_client()
        for name, path in _ADMIN_PATHS.items():
            yield name, client.get(path).get_data(as_text=True)


_ADMIN_PATHS = {
    "index": "/admin/",
    "list": "/admin/article/",
    "list-filtered": "/admin/article/?flt0_0=a&search=Title",
    "list-empty": "/admin/article/?search=nothing",
    "create": "/admin/article/new/",
    "edit": "/admin/article/edit/?id=1&url=/admin/article/",
    "details": "/admin/article/details/?id=1",
    "modal-list": "/admin/modal/",
    "modal-create": "/admin/modal/new/?modal=True",
    "modal-edit": "/admin/modal/edit/?id=1&modal=True",
    "author-list": "/admin/author/",
    "author-create": "/admin/author/new/",
    "author-edit-inline": "/admin/author/edit/?id=1",
    "files": "/admin/fileadmin/",
    "files-upload": "/admin/fileadmin/upload/",
    "files-mkdir": "/admin/fileadmin/mkdir/",
    "files-rename": "/admin/fileadmin/rename/?path=a.txt",
    "files-edit": "/admin/fileadmin/edit/?path=a.txt",
}


def _models(db: SQLAlchemy) -> tuple[Any, Any]:
    class Author(db.Model):
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String(50))

    class Article(db.Model):
        id = db.Column(db.Integer, primary_key=True)
        title = db.Column(db.String(50), nullable=False)
        body = db.Column(db.Text)
        published = db.Column(db.Boolean)
        when = db.Column(db.DateTime)
        author_id = db.Column(db.Integer, db.ForeignKey("author.id"))
        author = db.relationship(Author, backref="articles")

    return Author, Article


def _add_views(admin: Any, db: SQLAlchemy, models: tuple[Any, Any], folder: str) -> None:
    author, article = models

    class ArticleView(ModelView):
        form_base_class = SecureForm
        can_view_details = can_export = True
        column_searchable_list = column_editable_list = ("title",)
        column_filters = ("title", "published")

        @flask_admin.actions.action("publish", "Publish", "Really?")
        def publish(self, ids: list[str]) -> None:
            """Do nothing."""

    class ModalView(ModelView):
        create_modal = edit_modal = details_modal = can_view_details = True

    class AuthorView(ModelView):
        inline_models = (article,)

    admin.add_view(ArticleView(article, db.session, endpoint="article"))
    admin.add_view(ModalView(article, db.session, name="Modal", endpoint="modal"))
    admin.add_view(AuthorView(author, db.session, endpoint="author"))

    class Files(FileAdmin):
        editable_extensions = ("txt",)
        form_base_class = SecureForm

    admin.add_view(Files(folder, "/static/", name="Files", endpoint="fileadmin"))


def _add_rows(db: SQLAlchemy, models: tuple[Any, Any]) -> None:
    author, article = models
    db.session.add(author(id=1, name="Ada <b>"))
    rows = [article(id=n, title=f"Title {n}", body="<form>", author_id=1) for n in range(1, 15)]
    db.session.add_all(rows)
    db.session.commit()


# --- Flask-Security


_FOR_VISITORS = ("login", "register", "reset", "confirm")
_FOR_USERS = ("change", "verify")


def flask_security_pages() -> Iterator[Page]:
    """Render the pages for visitors and those for somebody who is logged in."""
    app = flask_app()
    client = app.test_client()
    _secure(app)
    for name in _FOR_VISITORS:
        yield name, client.get(f"/{name}").get_data(as_text=True)
        yield f"{name}-refused", client.post(f"/{name}", data={}).get_data(as_text=True)
    with client.session_transaction() as session:
        session.update(_user_id=app.extensions["a user"], _fresh=True, fs_paa=4e9)
    for name in _FOR_USERS:
        yield name, client.get(f"/{name}").get_data(as_text=True)
        yield f"{name}-refused", client.post(f"/{name}", data={}).get_data(as_text=True)


def _secure(app: flask.Flask) -> None:
    features = "REGISTERABLE RECOVERABLE CHANGEABLE CONFIRMABLE"
    app.config.update({f"SECURITY_{name}": True for name in features.split()})
    app.config.update(
        SECURITY_PASSWORD_HASH="plaintext",
        SECURITY_PASSWORD_SALT="salt",
        SECURITY_SEND_REGISTER_EMAIL=False,
        SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False},
    )
    db = SQLAlchemy(app)
    fsqla_v3.FsModels.set_db_info(db)

    class Role(db.Model, fsqla_v3.FsRoleMixin):
        pass

    class User(db.Model, fsqla_v3.FsUserMixin):
        pass

    store = flask_security.SQLAlchemyUserDatastore(db, User, Role)
    flask_security.Security(app, store)
    with app.app_context():
        db.create_all()
        user = {"email": "a@example.com", "password": "password"}
        created = store.create_user(**user, confirmed_at=flask_security.naive_utcnow())
        db.session.commit()
        app.extensions["a user"] = created.get_id()


# --- Django admin and Django's own forms


class DjangoUrls:
    """Filled when Django is set up."""

    urlpatterns: list[Any] = []  # noqa: RUF012 (Django asks for this name)


def django_pages() -> Iterator[Page]:
    """Render the admin site with users, groups, sites, flat pages and redirects."""
    _set_up_django()
    from django.contrib.auth.models import Group, User  # Django allows no import before its set-up
    from django.test import Client
    from django.utils import timezone

    client = Client()
    for path in ("/admin/login/?next=/admin/", "/accounts/password_reset/"):
        yield _name(path), client.get(path, follow=True).content.decode()
    user = User.objects.create_superuser("ada", "ada@example.com")
    moment = timezone.datetime(2026, 1, 1)
    User.objects.create_user("bob")
    Group.objects.create(name="Readers <b>")
    client.force_login(user)
    for path in _DJANGO_PATHS:
        User.objects.update(date_joined=moment, last_login=moment)
        yield _name(path), client.get(path).content.decode()
    refused = client.post("/admin/auth/user/add/", {"username": "no spaces"})
    yield "user-add-refused", refused.content.decode()
    marked = {"action": "delete_selected", "_selected_action": ["2"], "index": "0"}
    confirmed = client.post("/admin/auth/user/", marked)
    yield "user-delete-selected", confirmed.content.decode()


_DJANGO_PATHS = (
    *("/admin/", "/admin/password_change/", "/admin/auth/", "/admin/auth/user/?q=a&is_staff=1"),
    *("/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/user/1/change/"),
    *("/admin/auth/user/2/delete/", "/admin/auth/user/2/history/", "/admin/auth/user/2/password/"),
    *("/admin/auth/group/", "/admin/auth/group/add/?_popup=1", "/admin/auth/group/1/change/"),
    *("/admin/sites/site/", "/admin/sites/site/add/", "/admin/sites/site/1/change/"),
    *("/admin/flatpages/flatpage/", "/admin/flatpages/flatpage/add/", "/admin/redirects/redirect/"),
    *(
        "/admin/redirects/redirect/add/",
        "/admin/auth/group/1/delete/",
        "/accounts/password_change/",
    ),
)


def _name(path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", path).strip("-")


def _set_up_django() -> None:
    names = "admin auth contenttypes sessions messages sites flatpages redirects"
    middleware = ("sessions", "auth", "messages")
    context = ("auth", "messages")
    settings.configure(
        SECRET_KEY=secrets.token_hex(),
        ALLOWED_HOSTS=["*"],
        USE_TZ=False,
        SITE_ID=1,
        STATIC_URL="/static/",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[f"django.contrib.{name}" for name in names.split()],
        MIDDLEWARE=[_MIDDLEWARE[name] for name in middleware],
        ROOT_URLCONF=DjangoUrls,
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        *(f"django.contrib.{n}.context_processors.{n}" for n in context),
                    ]
                },
            }
        ],
    )
    django.setup()
    from django.contrib import admin  # Django allows no import before its set-up
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from django.urls import include, path

    class Members(admin.TabularInline):
        model = User.groups.through

    admin.site._registry[Group].inlines = [Members]
    DjangoUrls.urlpatterns += [
        path("admin/", admin.site.urls),
        path("accounts/", include("django.contrib.auth.urls")),
    ]
    call_command("migrate", verbosity=0, stdout=io.StringIO())


_MIDDLEWARE = {
    "sessions": "django.contrib.sessions.middleware.SessionMiddleware",
    "auth": "django.contrib.auth.middleware.AuthenticationMiddleware",
    "messages": "django.contrib.messages.middleware.MessageMiddleware",
}


def django_form_pages() -> Iterator[Page]:
    """Render a form with files in each of Django's ways, fresh, refused and with an initial file."""
    from django import forms  # Django allows no import before its set-up
    from django.template import Context, Template

    class Profile(forms.Form):
        name = forms.CharField(max_length=3)
        avatar = forms.FileField()
        photos = forms.FileField(required=False, label="More <b>photos</b>")
        kind = forms.ChoiceField(choices=[("a", "A"), ("b", "B")], widget=forms.RadioSelect)
        notes = forms.CharField(widget=forms.Textarea, initial="</textarea>")
        when = forms.SplitDateTimeField()
        token = forms.CharField(widget=forms.HiddenInput, initial="x")

    class Stored:
        url = "/media/leo.jpg"

        def __str__(self) -> str:
            return "leo.jpg"

    states = {
        "fresh": Profile(),
        "refused": Profile({"name": "long"}),
        "initial": Profile(initial={"avatar": Stored(), "photos": Stored()}),
    }
    template = Template(_DJANGO_FORM)
    for state, form in states.items():
        for way in ("as_p", "as_table", "as_ul", "as_div"):
            yield f"{state}-{way}", template.render(Context({"form": getattr(form, way)()}))
    formset = forms.formset_factory(Profile, extra=3, can_delete=True)()
    yield "formset", template.render(Context({"form": formset.as_p()}))


_DJANGO_FORM = """<h1>Profile</h1><form action="{% if 0 %}x{% endif %}" method="post"
  enctype="multipart/form-data">{% csrf_token %}
<input type="hidden" name="csrfmiddlewaretoken" value="x">
{{ form }}<input type="submit" value="Save"></form>"""


# --- all of them

LIBRARIES: dict[str, Callable[[], Iterator[Page]]] = {
    "flask-wtf": flask_wtf_pages,
    "bootstrap-flask": bootstrap_flask_pages,
    "flask-admin": flask_admin_pages,
    "flask-security": flask_security_pages,
    "django-admin": django_pages,
    "django": django_form_pages,
}
_README = """The forms of real libraries, as their own templates render them: test data for which forms we find.
Made by `python -m tests.data.render_forms`; not to be edited. The templates are under the licences of
their projects (BSD-3-Clause, MIT): {versions}.
"""


def main() -> None:
    """Write every page."""
    logging.disable()
    warnings.simplefilter("ignore")
    HERE.mkdir(exist_ok=True)
    for old in HERE.glob("*.html"):
        old.unlink()
    for library, pages in LIBRARIES.items():
        for name, page in pages():
            (HERE / f"{library}-{name}.html".lower()).write_text(tidied(page), newline="\n")
    names = ("flask-wtf", "wtforms", "bootstrap-flask", "flask-admin", "flask-security", "django")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    (HERE / "README.md").write_text(_README.format(versions=versions))


if __name__ == "__main__":
    main()
