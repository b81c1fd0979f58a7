"""The blocks that only a real server can read: nginx delivers what S3 holds and the app allows."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from flask import Flask, session

from flask_s3handoff import S3Handoff
from tests.docs.serving import served
from tests.pages import blocks
from tests.servers import Process, S3Server, bucket, find_command, free_ports, scratch
from tests.servers.process import clean_env, listens, missing_commands, running

NGINX = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass {app}; proxy_set_header Host $http_host; }}
    {block}
  }}
}}
"""
AMAZON = "acme-uploads.s3.eu-central-1.amazonaws.com"


@pytest.fixture
def app(weed: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Flask:
    """Make the app of the page on a real S3, with a file and a way to log in."""
    for name, value in weed.env.items():
        monkeypatch.setenv(name, value)
    app = Flask("page")
    app.config.from_mapping(
        SECRET_KEY="x" * 32,
        S3HANDOFF_BUCKET=bucket(weed),
        S3HANDOFF_ENDPOINT_URL=weed.url,
        S3HANDOFF_WORK_DIR=str(tmp_path / "work"),
        S3HANDOFF_PLACES={"users/": {}},
    )
    names: dict[str, Any] = {"app": app, "handoff": S3Handoff(app)}
    for block in blocks("docs/howto/cdn.md", "python"):
        if "@app." in block.code:
            block.run(names)

    @app.get("/login")
    def login() -> str:
        session["user_id"] = "654"
        return "hello"

    with app.app_context():
        names["handoff"].put(b"my picture", "users/654/a leo é.jpg", content_type="image/jpeg")
        names["handoff"].put(b"<script>", "users/654/page.html", content_type="text/html")
        names["handoff"].put(b"of another", "users/655/leo.jpg", content_type="image/jpeg")
    return app


def test_nginx_delivers_what_the_app_allows(weed: S3Server, app: Flask) -> None:
    """The block of the page, with SeaweedFS in the place of Amazon."""
    if reason := missing_commands("nginx"):
        pytest.skip(reason)
    (block,) = blocks("docs/howto/cdn.md", "nginx")
    code = block.code.replace(f"https://{AMAZON}/", f"{weed.url}/")
    code = code.replace(AMAZON, weed.url.partition("//")[2])
    (port,) = free_ports(1)
    with served(app) as url, scratch("s3h-docs-nginx") as folder:
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port, app=url, block=code))
        command = [find_command("nginx") or "", "-p", str(folder), "-c", str(config)]
        process = Process(command, log=folder / "nginx.log", env=clean_env({}), cwd=folder)
        with running(process, lambda: listens(port)), requests.Session() as browser:
            here = f"http://127.0.0.1:{port}"
            assert browser.get(f"{here}/download/leo.jpg").status_code == 403
            browser.get(f"{here}/login")
            answer = browser.get(f"{here}/download/a leo é.jpg")
            assert (answer.status_code, answer.content) == (200, b"my picture")
            assert answer.headers["Content-Type"] == "image/jpeg"
            page = browser.get(f"{here}/download/page.html")
            assert page.headers["Content-Disposition"].startswith("attachment")
            assert browser.get(f"{here}/download/none.jpg").status_code == 404
            assert browser.get(f"{here}/stored/users/655/leo.jpg").status_code == 404
