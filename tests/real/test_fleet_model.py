"""The simulation of benchmarks/fleet.py against real servers: the same routing, the same requests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import fleet_plot
from benchmarks.fleet import compare, simulate
from benchmarks.fleet_parts import Flow, Site
from tests.conftest import need
from tests.real.browser import Browser, bytes_of, cropped, picture
from tests.real.site import Site as RealSite
from tests.real.site import site as run_site
from tests.servers import CountingProxy, S3Request, S3Server, counting_proxy, haproxy

LABELS = "ABCDEFGH"
FLOWS = 80
PEOPLE = 4
BOX = (3, 4, 40, 30)
SIDES = dict(zip(("left", "top", "right", "bottom"), BOX, strict=True))
PICTURE = picture()
MEAN_SIZE = (len(bytes_of(PICTURE)) + len(cropped(PICTURE, BOX))) // 2
SIGMAS = 4  # by chance alone, one run in 16,000 is further off


@pytest.fixture(scope="module")
def counted(weed: S3Server) -> Iterator[tuple[RealSite, CountingProxy]]:
    """Eight servers that share nothing but a counted S3."""
    need("haproxy")
    need("gunicorn")
    app = "tests.apps.capable:create_app()"
    with (
        counting_proxy(weed) as proxy,
        run_site(weed, app=app, labels=LABELS, through=proxy.server) as where,
    ):
        yield where, proxy


def one_flow(url: str) -> tuple[int, ...]:
    """Upload, crop and save; return the servers that answered."""
    with Browser(url) as person:
        pages = [person.post("/add", [PICTURE])]
        pages.append(person.submit(pages[-1], (), **SIDES))
        pages.append(person.submit(pages[-1]))
    assert [page.status for page in pages] == [200, 200, 200], [page.text for page in pages]
    return tuple(LABELS.index(page.server) for page in pages)


def bytes_in(request: S3Request) -> int:
    """Return how many bytes of a file came with a request."""
    return int(request.headers.get("content-length", 0)) if request.kind == "PUT" else 0


@pytest.mark.parametrize("servers", [1, 3, 8])
def test_the_model_asks_s3_for_what_real_servers_ask(
    counted: tuple[RealSite, CountingProxy], servers: int
) -> None:
    """By the routing that really was: the very counts. By a routing of its own: within 4 sigma."""
    where, proxy = counted
    ports = [where.servers[label].port for label in LABELS[:servers]]
    with haproxy(ports, balance="random(1)") as balancer, ThreadPoolExecutor(PEOPLE) as people:
        proxy.reset()
        routes = list(people.map(one_flow, [balancer.url] * FLOWS))
    asked, sent = Counter(proxy.kinds), sum(map(bytes_in, proxy.requests))
    assert {server for route in routes for server in route} == set(range(servers))

    def as_it_was(flow: Flow) -> int:
        return routes[flow.number][flow.step]

    model = Site(servers=servers, flows=FLOWS, size=MEAN_SIZE)
    replayed = simulate("handoff", model, route=as_it_was)
    assert Counter(replayed.requests) == asked
    assert replayed.sent == pytest.approx(sent, abs=FLOWS)  # the mean is rounded

    gets = simulate("handoff", Site(servers=servers)).requests.get("GET", 0) / Site().flows
    spread = math.sqrt(gets * (1 - gets) / FLOWS)
    assert asked["GET"] / FLOWS == pytest.approx(gets, abs=SIGMAS * spread)


def test_the_plot_is_drawn_the_same_each_time(tmp_path: Path) -> None:
    """From the same numbers, byte for byte: a change of the picture is a change of the numbers."""
    outcomes = compare(Site(flows=200), [1, 3, 10])
    for name in ("a.svg", "b.svg"):
        fleet_plot.draw(outcomes, outcomes, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "flows lost, per million" in (tmp_path / "a.svg").read_text()
