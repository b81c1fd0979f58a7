"""What a step costs: S3 requests, counted by a proxy between real servers and a real S3."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.conftest import need
from tests.real.browser import Browser, Form, Page, Upload, picture
from tests.real.site import AVATAR, DOCUMENTS, Site, site
from tests.servers import CountingProxy, S3Request, S3Server, counting_proxy

CAPABLE = "tests.apps.capable:create_app()"
SIDES = {"left": 3, "top": 4, "right": 40, "bottom": 30}
MIB = 1 << 20
SMALL: Upload = ("documents", ("a.txt", b"small" * 100, "text/plain"))
LARGE: Upload = ("documents", ("b.bin", b"12 MiB" * 2 * MIB, "application/octet-stream"))


class Counted:
    """A site whose S3 requests are counted, and a person who uses it."""

    def __init__(self, where: Site, proxy: CountingProxy, person: Browser) -> None:
        self.site = where
        self.person = person
        self.at_start = proxy.kinds
        self.folders_at_start = [path for path in where.folders.values() if path.exists()]
        self._proxy = proxy

    @contextmanager
    def requests(self) -> Iterator[list[S3Request]]:
        """Give a list that holds, in the end, what the block has cost."""
        self._proxy.reset()
        spent: list[S3Request] = []
        yield spent
        spent += self._proxy.requests

    @contextmanager
    def kinds(self) -> Iterator[list[str]]:
        """The same, by kind."""
        spent: list[str] = []
        with self.requests() as requests:
            yield spent
        spent += [request.kind for request in requests]


@contextmanager
def counted(weed: S3Server, app: str, labels: str = "ABC") -> Iterator[Counted]:
    """Run an app behind a counting proxy of its own."""
    need("haproxy")
    need("gunicorn")
    with (
        counting_proxy(weed) as proxy,
        site(weed, app=app, labels=labels, through=proxy.server) as where,
        where.browser() as person,
    ):
        yield Counted(where, proxy, person)


@pytest.fixture(scope="module")
def pictures(weed: S3Server) -> Iterator[Counted]:
    """Three servers of the avatar app, over what is known to copy conditionally, as S3 does."""
    with counted(weed, CAPABLE) as three:
        yield three


@pytest.fixture(scope="module")
def papers(weed: S3Server) -> Iterator[Counted]:
    """Three servers of the documents app."""
    with counted(weed, DOCUMENTS) as three:
        yield three


@pytest.fixture
def one_server(weed: S3Server) -> Iterator[Counted]:
    """One server of the avatar app."""
    with counted(weed, CAPABLE, "A") as one:
        yield one


def well(page: Page) -> Page:
    """Insist on an answer that is no error."""
    assert page.status == 200, page.text
    return page


def add_and_crop(person: Browser) -> Page:
    """Take steps 1 and 2."""
    page = well(person.submit(person.get("/"), [picture()]))
    return well(person.submit(page, (), **SIDES))


def send(on: Counted, *uploads: Upload) -> Page:
    """Send documents and follow the redirect to their list, on the next server."""
    page = well(on.person.post("/send", uploads))
    assert len(set(page.servers)) == 2
    return page


def test_rule_8_import_and_start_up_never_contact_s3(pictures: Counted, papers: Counted) -> None:
    """Six processes have imported their app and answered nobody yet: 0 requests, no folder."""
    assert pictures.at_start == papers.at_start == []
    assert pictures.folders_at_start == papers.folders_at_start == []


def test_rule_8_a_page_without_upload_or_token_costs_nothing(papers: Counted) -> None:
    """Plain pages, pages with forms and forms without files: 0 requests."""
    with papers.kinds() as kinds:
        for path in ("/", "/hello", "/listed"):
            well(papers.person.get(path))
        well(papers.person.post("/ignore", word="yes"))
    assert kinds == []


def test_rule_9_three_steps_on_three_servers(pictures: Counted) -> None:
    """Upload, fetch and edit, server-side copy: PUT, GET, PUT, COPY."""
    with pictures.kinds() as kinds:
        well(pictures.person.submit(add_and_crop(pictures.person)))
    assert kinds == ["PUT", "GET", "PUT", "COPY"]


def test_rule_9_a_third_step_that_reads_costs_one_more_get(pictures: Counted) -> None:
    """A view that opens the cropped picture fetches it; leaving it as it was costs no PUT."""
    page = add_and_crop(pictures.person)
    form = Form(f"{pictures.site.url}/look", page.form.values)
    with pictures.kinds() as kinds:
        assert well(pictures.person.send(form)).json() == {"size": [37, 26]}
    assert kinds == ["GET"]


def test_rule_9_on_one_server_nothing_is_fetched(one_server: Counted) -> None:
    """The server that has the file never asks for it: PUT, PUT, COPY."""
    with one_server.kinds() as kinds:
        page = add_and_crop(one_server.person)
        form = Form(f"{one_server.site.url}/look", page.form.values)
        well(one_server.person.send(form))
        well(one_server.person.submit(page))
    assert kinds == ["PUT", "PUT", "COPY"]


def test_an_endpoint_of_unknown_gifts_is_looked_at_before_a_copy(weed: S3Server) -> None:
    """Where nobody has declared that it copies conditionally, one HEAD keeps us from overwriting."""
    with counted(weed, AVATAR, "A") as one, one.kinds() as kinds:
        well(one.person.submit(add_and_crop(one.person)))
    assert kinds == ["PUT", "PUT", "HEAD", "COPY"]


@pytest.mark.parametrize("path", ["/glance", "/ignore"])
def test_rule_9_a_view_that_reads_no_bytes_fetches_none(papers: Counted, path: str) -> None:
    """Truth, name, type, ``hasattr`` and the request's end cost nothing; the file goes on."""
    page = send(papers, SMALL)
    form = Form(f"{papers.site.url}{path}", page.form.values)
    with papers.kinds() as kinds:
        next_page = well(papers.person.send(form))
        assert next_page.server != page.servers[0]
        assert next_page.form.values
    assert kinds == []


def test_rule_9_a_file_is_fetched_once_by_each_server(papers: Counted) -> None:
    """Three servers read it three times each: it was uploaded to one, so two fetch it."""
    page = send(papers, SMALL)
    with papers.kinds() as kinds:
        for _ in range(9):
            well(papers.person.submit(page))
    assert kinds == ["GET", "GET"]


def test_rule_9_many_at_once_on_a_cold_server_fetch_once(papers: Counted) -> None:
    """Eight tabs ask one server for a file that it has not: one fetches, the others wait."""
    page = send(papers, SMALL)
    cold = next(label for label in papers.site.servers if label not in page.servers)
    form = Form(f"{papers.site.servers[cold].url}/check", page.form.values)
    with papers.kinds() as kinds, ThreadPoolExecutor(8) as tabs:
        pages = list(tabs.map(lambda _: papers.person.send(form), range(8)))
    assert {well(page).text for page in pages} == {pages[0].text}
    assert kinds == ["GET"]


def test_a_large_file_travels_in_parts(papers: Counted) -> None:
    """12 MiB: one request creates the upload, one completes it, and three bring the parts."""
    with papers.requests() as requests:
        send(papers, LARGE)
    kinds = [request.kind for request in requests]
    sizes = [int(r.headers["content-length"]) for r in requests if r.kind == "PART"]
    assert kinds == ["MULTIPART", "PART", "PART", "PART", "MULTIPART"]
    assert sum(sizes) == 12 * MIB
    assert min(sorted(sizes)[1:]) >= 5 * MIB  # S3 takes no smaller one but the last


def test_rule_9_no_request_is_announced_or_asked_about(papers: Counted, pictures: Counted) -> None:
    """No ``Expect: 100-continue``, which doubles a PUT; no HEAD before a GET, COPY or PUT."""
    with papers.requests() as large, pictures.requests() as small:
        well(papers.person.submit(send(papers, LARGE)))
        well(pictures.person.submit(add_and_crop(pictures.person)))
    requests = [*large, *small]
    assert {r.kind for r in requests} == {"MULTIPART", "PART", "GET", "PUT", "COPY"}
    assert [r for r in requests if "expect" in r.headers] == []


def test_claims_that_fit_into_no_url_cost_one_object(papers: Counted) -> None:
    """Twenty files across a redirect: twenty PUTs, one for their claims, one GET for these."""
    files = [("documents", (f"{n}.txt", b"%d" % n, "text/plain")) for n in range(20)]
    with papers.kinds() as kinds:
        send(papers, *files)
    assert kinds == ["PUT"] * 21 + ["GET"]
