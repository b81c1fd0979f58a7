"""A Fleet in one process: unkind routing, disks of their own, and an eye on who uses which."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flask_s3handoff.testing import Fleet, ForeignDisk, MemoryStore
from tests.apps import cheating

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ROUTINGS = ("round-robin", "random", "adversarial")


def tiny(config: dict[str, Any]) -> WSGIApplication:
    """Make an app that answers with its disk."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [config["FLEET_DISK"].encode()]

    return app


def route(fleet: Fleet, requests: int) -> list[int]:
    """Send requests and return which copy got each."""
    client = fleet.client()
    order = []
    for _ in range(requests):
        disk = client.get("/").text
        order.append(next(copy.index for copy in fleet.copies if copy.disk == disk))
    return order


def has_neighbours(order: Sequence[int]) -> bool:
    """Tell whether a copy was asked twice in a row."""
    return any(one == other for one, other in itertools.pairwise(order))


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("routing", ROUTINGS)
def test_no_copy_is_asked_twice_in_a_row(routing: str, size: int) -> None:
    """Every routing moves on with every request, and none leaves a copy out."""
    with Fleet(tiny, size, routing=routing) as fleet:
        order = route(fleet, 100)
    assert not has_neighbours(order)
    assert set(order) == set(range(size))


def test_round_robin_goes_round() -> None:
    """In order, and over the gap that a dead copy leaves."""
    with Fleet(tiny, 4) as fleet:
        assert route(fleet, 5) == [0, 1, 2, 3, 0]
        fleet.kill(fleet.copies[1])
        assert route(fleet, 4) == [2, 3, 0, 2]


def test_random_routing_repeats_by_its_seed() -> None:
    """A test that failed fails again; another seed is another order."""
    orders = []
    for seed in (7, 7, 8):
        with Fleet(tiny, routing="random", seed=seed) as fleet:
            orders.append(route(fleet, 30))
    assert orders[0] == orders[1] != orders[2]


def test_the_adversary_asks_the_copy_that_has_least() -> None:
    """A file on one disk keeps the requests away from it."""
    with Fleet(tiny, 3, routing="adversarial") as fleet:
        Path(fleet.copies[1].disk, "file").touch()
        assert 1 not in route(fleet, 6)


def test_an_unknown_routing_is_refused() -> None:
    """With the names of those that there are."""
    with pytest.raises(ValueError, match="round-robin, random, adversarial"):
        Fleet(tiny, routing="sticky")


def test_one_server_is_no_fleet() -> None:
    """It would hide what the fleet is for, from the start or after a death."""
    with pytest.raises(ValueError, match="at least two"):
        Fleet(tiny, 1)
    with Fleet(tiny, 2) as fleet:
        route(fleet, 1)
        assert fleet.kill().index == 0
        assert route(fleet, 1) == [1]
        with pytest.raises(RuntimeError, match="twice in a row"):
            route(fleet, 1)


def test_nobody_is_killed_by_guess() -> None:
    """Before the first answer there is no last copy."""
    with Fleet(tiny) as fleet, pytest.raises(ValueError, match="No copy has answered"):
        fleet.kill()


@pytest.fixture
def cheats() -> Iterator[Fleet]:
    """Yield a fleet whose app looks for its file on every disk."""
    with Fleet(cheating.create_app, 2) as fleet:
        assert fleet.client().post("/keep", data=b"mine").text == "mine"
        yield fleet


@pytest.mark.parametrize("way", [way for way in cheating.WAYS if way not in cheating.BESIDE])
def test_a_foreign_disk_is_out_of_bounds(cheats: Fleet, way: str) -> None:
    """Whatever is done to another copy's file, the test that let it happen fails."""
    with pytest.raises(ForeignDisk, match=r"copy-1 used .*copy-0"):
        cheats.client().get(f"/find/{way}")


def test_a_foreign_disk_is_told_of_even_if_the_app_hides_it(cheats: Fleet) -> None:
    """An ``except`` in the app hides nothing; what was told once is not told again."""
    with pytest.raises(ForeignDisk):
        cheats.client().get("/find/open?hidden")
    assert cheats.client().get("/find/open").text == "found"


def test_a_body_that_is_streamed_is_watched_too() -> None:
    """A generator that reads a foreign disk does so after the app has returned."""

    def lazy(config: dict[str, Any]) -> WSGIApplication:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield config["FLEET_DISK"].encode()
            yield str(os.listdir(config["FLEET_DISK"].replace("copy-1", "copy-0"))).encode()

        return app

    with Fleet(lazy) as fleet:
        fleet.client().get("/")
        with pytest.raises(ForeignDisk):
            fleet.client().get("/")


def test_a_response_is_closed() -> None:
    """As a server does, so that what an app does on closing happens."""
    closed = []

    class Body(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    def closing(_config: dict[str, Any]) -> WSGIApplication:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Body([b"body"])

        return app

    with Fleet(closing) as fleet:
        assert fleet.client().get("/").text == "body"
    assert closed == [True]


def test_the_copies_share_a_store_and_a_secret_and_nothing_else() -> None:
    """What each copy is given."""
    given: list[dict[str, Any]] = []

    def noting(config: dict[str, Any]) -> WSGIApplication:
        given.append(config)
        return tiny(config)

    with Fleet(noting, config={"COLOUR": "red"}) as fleet:
        assert [len({str(config[name]) for config in given}) for name in sorted(given[0])] == [
            1,  # COLOUR
            3,  # FLEET_DISK
            1,  # S3HANDOFF_STORE
            3,  # S3HANDOFF_WORK_DIR
            1,  # SECRET_KEY
            1,  # TESTING
        ]
        assert isinstance(fleet.store, MemoryStore)
    given.clear()
    with Fleet(noting, config={"S3HANDOFF_BUCKET": "acme-uploads"}):
        assert {config["S3HANDOFF_STORE"] for config in given} == {"s3"}


@pytest.mark.parametrize("store", [MemoryStore(), "memory"])
def test_processes_cannot_share_a_memory(store: MemoryStore | str) -> None:
    """Each would have its own, and every test would fail for that."""
    with pytest.raises(ValueError, match="nothing in memory"):
        Fleet(tiny, store=store, processes=True)


def test_nothing_is_left_of_a_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, after the end and after an app that does not start."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Fleet(cheating.create_app) as fleet:
        fleet.client().post("/keep", data=BytesIO(b"x"))
        assert list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="does not start"):
        Fleet(cheating.create_app, config={"FAILS": True})
    assert list(tmp_path.iterdir()) == []
