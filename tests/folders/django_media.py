"""A Django app that keeps its uploads below MEDIA_ROOT, by Django's own storage."""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings
from django.core.files.storage import default_storage
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path

from flask_s3handoff import HandoffMiddleware
from tests.folders.others import wrapped


def add(request: HttpRequest) -> HttpResponse:
    """Save the file under a name that Django finds free, and remember that."""
    if request.FILES:
        name = default_storage.save("photo.txt", request.FILES["file"])
    else:
        name = request.COOKIES["name"]
        with default_storage.open(name, "ab") as kept:
            kept.write(b"!")
    answer = redirect("/show")
    answer.set_cookie("name", name)
    return answer


def show(request: HttpRequest) -> HttpResponse:
    """Show it."""
    name = request.COOKIES["name"]
    if not default_storage.exists(name):
        return HttpResponse("gone", status=404)
    return FileResponse(default_storage.open(name))


urlpatterns = [path("", add), path("show", show)]


def create_app(config: dict[str, Any]) -> HandoffMiddleware:
    """Return one copy; Django's settings are those of its process."""
    settings.configure(
        ALLOWED_HOSTS=["*"],
        MEDIA_ROOT=os.path.join(config["FLEET_DISK"], "media"),
        ROOT_URLCONF=__name__,
        SECRET_KEY=config["SECRET_KEY"],
        USE_TZ=True,
    )
    django.setup()
    return wrapped(lambda _folder: get_wsgi_application(), config)
