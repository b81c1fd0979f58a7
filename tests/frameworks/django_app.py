"""Three steps in Django: a FileField, CSRF on, upload handlers and limits of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django
from django import forms
from django.conf import settings
from django.core.files.uploadhandler import StopUpload, TemporaryFileUploadHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path
from django.utils.html import escape

from flask_s3handoff.wsgi import Handoff, HandoffMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

QUOTA_BYTES = 100_000
MAX_TEXT_BYTES = 5_000
MAX_FIELDS = 20
handled: list[str] = []


class QuotaHandler(TemporaryFileUploadHandler):  # type: ignore[misc]  # Django has no types
    """An upload handler of the app: it counts, and stops what is too much."""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> Any:
        """Stop beyond the quota."""
        if start + len(raw_data) > QUOTA_BYTES:
            raise StopUpload(connection_reset=False)
        return super().receive_data_chunk(raw_data, start)

    def file_complete(self, file_size: int) -> Any:
        """Note what was seen."""
        handled.append(self.file_name)
        return super().file_complete(file_size)


class AvatarForm(forms.Form):  # type: ignore[misc]  # as above
    """A title and a picture, both required."""

    title = forms.CharField()
    avatar = forms.FileField()


class CropForm(forms.Form):  # type: ignore[misc]  # as above
    """How much of the picture is kept; the picture is required here too, and has no input."""

    width = forms.IntegerField(initial=9)
    avatar = forms.FileField()


def start(request: HttpRequest) -> HttpResponse:
    """Step 1: a form with a file, shown again until it is right."""
    form = AvatarForm(request.POST, request.FILES) if request.method == "POST" else AvatarForm()
    if form.is_bound and form.is_valid():
        return redirect("/crop")
    return page(request, form.as_p(), status=422 if form.is_bound else 200)


def crop(request: HttpRequest) -> HttpResponse:
    """Step 2: the file is there, on whichever server; as an upload when the form comes."""
    handle = request.environ["s3handoff"]
    if request.method == "GET":
        return page(request, str(CropForm()["width"]), handle.get("avatar").filename, enctype="")
    form = CropForm(request.POST, request.FILES)
    if not form.is_valid():
        return page(request, str(form.errors), status=422)
    picture = form.cleaned_data["avatar"]
    handle.replace("avatar", picture.read(form.cleaned_data["width"]))
    return page(request, '<input type="file" name="avatar">', picture.name, action="/save")


def save(request: HttpRequest) -> HttpResponse:
    """Step 3: save what was cropped, and tell what was seen."""
    picture = request.FILES["avatar"]
    key = request.environ["s3handoff"].promote("avatar", "users/654/avatar.png")
    seen = f"{picture.name} {picture.content_type} {len(picture.read())}"
    return HttpResponse(f"{key} {seen}", content_type="text/plain; charset=utf-8")


def fields(request: HttpRequest) -> HttpResponse:
    """Tell what arrived, for the tests of limits."""
    names = [*request.POST, *(f"{name}: {file.name}" for name, file in request.FILES.items())]
    return HttpResponse("\n".join(names), content_type="text/plain; charset=utf-8")


def page(
    request: HttpRequest,
    inner: str,
    name: str = "",
    *,
    action: str = "",
    status: int = 200,
    enctype: str = 'enctype="multipart/form-data"',
) -> HttpResponse:
    """Return a form with Django's own token in it."""
    csrf = f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
    form = (
        f'<form method="post" action="{action}" {enctype}>{csrf}{inner}<button>go</button></form>'
    )
    return HttpResponse(f"<!doctype html>{form}<p>{escape(name)}</p>", status=status)


urlpatterns = [path("", start), path("crop", crop), path("save", save), path("fields", fields)]


def configure() -> None:
    """Make this module a Django project; once per process."""
    if settings.configured:
        return
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=MAX_TEXT_BYTES,
        DATA_UPLOAD_MAX_NUMBER_FIELDS=MAX_FIELDS,
        DATA_UPLOAD_MAX_NUMBER_FILES=3,
        FILE_UPLOAD_HANDLERS=[f"{__name__}.QuotaHandler"],
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="not the secret of the tokens",
        USE_TZ=True,
    )
    django.setup()


def create_app(config: dict[str, Any]) -> WSGIApplication:
    """Return one copy."""
    configure()
    ours = {"S3HANDOFF_PLACES": {"users/": {}}, **config}
    return HandoffMiddleware(get_wsgi_application(), Handoff.from_mapping(ours))
