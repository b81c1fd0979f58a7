"""Whole flows on real servers that log all they can: nobody who reads the logs gets a key or a token."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Any

from tests.real.browser import Browser, Form, picture
from tests.real.site import Site, site
from tests.sentinels import found
from tests.servers import S3Server, WebServer, gunicorn

TALKATIVE = "tests.apps.talkative:create_app()"
SIDES: dict[str, Any] = {"left": 3, "top": 4, "right": 40, "bottom": 30}
ANYTHING = r"[A-Za-z0-9._~-]{60,}"


def serve(app: str, *, env: dict[str, str]) -> AbstractContextManager[WebServer]:
    """Run gunicorn with its access log, at DEBUG."""
    told = {"GUNICORN_CMD_ARGS": "--log-level=debug --access-logfile=-"}
    return gunicorn(app, worker_class="gthread", env=env | told)


def logs_of(running: Site) -> str:
    """Return what all servers have written."""
    return "".join(server.log for server in running.servers.values())


def test_t38_the_logs_of_a_whole_flow_hold_no_secret(weed: S3Server) -> None:
    """Three steps, a redirect, a link, an error, bad tokens, at DEBUG and with access logs."""
    with site(weed, app=TALKATIVE, serve=serve) as running:
        with running.browser() as leo, running.browser() as stranger:
            crop = leo.post("/add", [picture()])
            save = leo.submit(crop, **SIDES)
            done = leo.submit(save)
            there = leo.post("/go", [picture()])
            url = leo.send(Form(f"{running.url}/link", crop.form.values)).text
            failed = leo.send(Form(f"{running.url}/fail", crop.form.values))
            foreign = stranger.send(Form(f"{running.url}/look", crop.form.values))
            forged = stranger.send(Form(f"{running.url}/save", [("_s3handoff", "x" * 80 + ".y")]))
            cookies = [str(value) for value in leo._session.cookies.get_dict().values()]
        told = logs_of(running)
        assert (done.status, failed.status, foreign.status, forged.status) == (200, 500, 403, 400)
        addresses = [a.headers["Location"] for a in there.answer.history]
        tokens = re.findall(ANYTHING, " ".join([crop.text, save.text, there.text, *addresses]))
        assert len(tokens) >= 3
        assert "X-Amz-Signature=" in url
        assert len(cookies) >= 1
        for part in (
            "file_mirrored",
            "file_rehydrated",
            "token refused: foreign",
            "RuntimeError",
            "GET /",
        ):
            assert part in told  # the log does tell
        for secret in (*tokens, *cookies, url.partition("?")[2], weed.secret_key):
            assert secret not in told
        assert list(found(told)) == []


def test_t38_a_store_that_refuses_us_is_told_without_its_words(weed: S3Server) -> None:
    """Wrong credentials: 503 for the visitor, a code for the operator, the key for nobody."""
    wrong: Any = {"AWS_SECRET_ACCESS_KEY": "a-wrong-secret-of-forty-characters-more"}

    def serve_wrong(app: str, *, env: dict[str, str]) -> AbstractContextManager[WebServer]:
        return serve(app, env=env | wrong)

    with site(weed, app=TALKATIVE, serve=serve_wrong, labels="A") as running:
        with Browser(running.url) as leo:
            refused = leo.post("/add", [picture()])
        told = logs_of(running)
        assert refused.status == 503
        assert "SignatureDoesNotMatch" in told
        for secret in (wrong["AWS_SECRET_ACCESS_KEY"], weed.secret_key):
            assert secret not in told + refused.text
        assert list(found(told)) == []
