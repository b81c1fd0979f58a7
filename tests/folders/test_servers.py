"""The album under real servers: forked with the hook in place, threads, greenlets."""

from __future__ import annotations

import io

import pytest
import requests

from tests.folders.album import SIZES, picture
from tests.real.site import SERVERS, site
from tests.servers import S3Server


@pytest.mark.parametrize("kind", SERVERS)
def test_the_album_works_behind_a_load_balancer(kind: str, weed: S3Server) -> None:
    """Uploaded, looked at, cropped, looked at again, with the uploading server killed."""
    config = {"FOLDER_OPTIONS": {"immutable": True}, "S3HANDOFF_PATHS": []}
    serve = SERVERS[kind]
    with (
        site(weed, app="tests.folders.served:create_app()", serve=serve, config=config) as run,
        requests.Session() as person,
    ):
        red = picture("red")
        page = person.post(f"{run.url}/upload", files={"avatar": ("me.png", io.BytesIO(red))})
        assert page.status_code == 200, page.text
        (uploader,) = [
            n for n, f in run.folders.items() if any(f.parent.glob(f"{f.name}-disk/uploads/*.png"))
        ][:1]
        run.kill9(uploader)
        assert person.get(run.url + page.text.split('"')[1]).content == red
        names = person.post(f"{run.url}/crop").json()["names"]
        assert len(names) == len(SIZES)
        for name in names * 2:
            assert person.get(f"{run.url}/uploads/{name}").status_code == 200
