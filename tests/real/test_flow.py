"""The main job on real parts: upload, crop, save, each on another server, some of them killed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import need
from tests.real.browser import Browser, Page, Upload, cropped, picture, post_alone
from tests.real.site import DOCUMENTS, SERVERS, Site, site
from tests.servers import S3Server

BOX = (3, 4, 40, 30)
SIDES = dict(zip(("left", "top", "right", "bottom"), BOX, strict=True))
FORKING = ["sync", "gthread", "preload"]


@pytest.fixture
def three(request: pytest.FixtureRequest, weed: S3Server) -> Iterator[Site]:
    """Three servers over SeaweedFS, of the kind that a test asks for."""
    need("haproxy")
    need("waitress" if request.param == "waitress" else "gunicorn")
    with site(weed, serve=SERVERS[request.param]) as three:
        yield three


@pytest.fixture
def papers(weed: S3Server) -> Iterator[Site]:
    """Three servers of the documents app."""
    need("haproxy")
    need("gunicorn")
    with site(weed, app=DOCUMENTS) as papers:
        yield papers


def digest(data: bytes) -> str:
    """Return the sha256, in hex."""
    return hashlib.sha256(data).hexdigest()


def add(person: Browser, upload: Upload) -> Page:
    """Step 1."""
    return seen(person.submit(person.get("/"), [upload]))


def crop(person: Browser, page: Page) -> Page:
    """Step 2."""
    return seen(person.submit(page, (), **SIDES))


def save(person: Browser, page: Page) -> Page:
    """Step 3; the page is the key."""
    return seen(person.submit(page))


def seen(page: Page) -> Page:
    """Insist on an answer that is no error."""
    assert page.status == 200, page.text
    return page


def is_saved(three: Site, key: str, upload: Upload) -> bool:
    """Compare what is stored with the crop of the picture, made here, by no server."""
    return digest(three.stored(key)) == digest(cropped(upload, BOX))


def each_step_elsewhere(three: Site) -> None:
    """Walk through the three steps, and insist on three servers and the right bytes."""
    upload = picture()
    with three.browser() as person:
        first = add(person, upload)
        second = crop(person, first)
        third = save(person, second)

    assert len({first.server, second.server, third.server}) == 3
    assert is_saved(three, third.text, upload)


@pytest.mark.parametrize("three", SERVERS, indirect=True)
def test_each_step_on_another_server(three: Site) -> None:
    """Round robin sends each step elsewhere; what is saved is the cropped picture."""
    each_step_elsewhere(three)


def test_each_step_on_another_server_over_ceph(rgw: S3Server) -> None:
    """The same over another S3."""
    need("haproxy")
    with site(rgw) as three:
        each_step_elsewhere(three)


@pytest.mark.parametrize("three", FORKING, indirect=True)
def test_rule_1_f19_the_server_that_took_the_upload_dies(three: Site) -> None:
    """What the page says is true even if its server is killed the moment it has said it."""
    upload = picture()
    with three.browser() as person:
        first = add(person, upload)
        three.kill9(first.server)
        second = crop(person, first)
        third = save(person, second)

    assert first.server not in (second.server, third.server)
    assert is_saved(three, third.text, upload)


@pytest.mark.parametrize("three", FORKING, indirect=True)
def test_rule_1_f19_the_server_that_cropped_dies(three: Site) -> None:
    """An edit is as safe as an upload."""
    upload = picture()
    with three.browser() as person:
        second = crop(person, add(person, upload))
        three.kill9(second.server)
        third = save(person, second)

    assert third.server != second.server
    assert is_saved(three, third.text, upload)


def test_rule_1_a_large_file_survives_the_server_that_took_it(papers: Site) -> None:
    """24 MiB take a while to S3, and the answer waits for them, a redirect as well as a page."""
    content = random.Random(24).randbytes(24 << 20)
    with papers.browser() as person:
        page = seen(person.post("/send", [("documents", ("big.bin", content, "x/y"))]))
        papers.kill9(page.servers[0])
        checked = seen(person.submit(page)).json()
    assert checked == {"documents": [["big.bin", digest(content)]]}


def long_names(count: int) -> list[str]:
    """Make names that are as long as a disk allows, in letters that take three bytes each."""
    dice = random.Random(20)
    ideographs = [chr(code) for code in range(0x4E00, 0x9FA0)]
    return ["".join(dice.choices(ideographs, k=251)) + ".pdf" for _ in range(count)]


def test_twenty_files_with_long_names_cross_a_redirect(papers: Site) -> None:
    """Their token fits into no request line, so the claims wait in the store (B86)."""
    names = long_names(20)
    sent = [("documents", (name, name.encode() * 9, "application/pdf")) for name in names]
    with papers.browser() as person:
        page = seen(person.post("/send", sent))
        checked = seen(person.submit(page)).json()

    redirect, last = page.answer.history[-1], page.answer.url
    assert len(redirect.headers["Location"]) < 2000
    assert last.startswith(f"{papers.url}/listed?_s3handoff=")
    assert len(set(page.servers)) == 2
    assert checked == {"documents": [[name, digest(name.encode() * 9)] for name in names]}


@pytest.mark.parametrize("three", ["gthread"], indirect=True)
def test_three_parallel_first_uploads_of_one_browser(three: Site) -> None:
    """Each server mints a cookie of its own, and none of them takes another's place (0.13)."""
    uploads = [picture(size=(64, 40 + n)) for n in range(3)]
    with ThreadPoolExecutor(3) as tabs, three.browser() as person:
        first = list(tabs.map(lambda upload: post_alone(f"{three.url}/add", [upload]), uploads))
        for page in first:
            person.take_cookies(seen(page))
        saved = [save(person, crop(person, page)).text for page in first]

    assert len({page.server for page in first}) == 3
    assert all(is_saved(three, key, upload) for key, upload in zip(saved, uploads, strict=True))
