"""The simulation of docs/scaling.md: its parts are those of the package, its page is its own."""

from __future__ import annotations

import io
import math
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet import compare, main, simulate, table
from benchmarks.fleet_parts import Site, WorkFolder, requests_to_get, requests_to_put
from flask_s3handoff import ranges
from flask_s3handoff.memory import MemoryStore
from flask_s3handoff.mirror import Mirror
from flask_s3handoff.paths import new_relpath
from flask_s3handoff.store import Content, Parts
from flask_s3handoff.workdir import WorkDir
from tests.tree import ROOT

MIB = 1 << 20
PAGE = ROOT / "docs" / "scaling.md"
SIZES = [0, 1, 200_000, 5 * MIB - 1, 5 * MIB, 8 * MIB, 8 * MIB + 1, 12 * MIB, 30 * MIB]


class CountedParts:
    """Counts each part."""

    def __init__(self, parts: Parts, requests: Counter[str]) -> None:
        self._parts, self._requests = parts, requests
        self.complete, self.abort = parts.complete, parts.abort

    def part(self, number: int, body: Content, size: int) -> None:
        """Count one."""
        self._requests["PART"] += 1
        self._parts.part(number, body, size)


class CountedStore(MemoryStore):
    """Counts the requests that S3 would get."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()

    def put(self, *given: Any, **named: Any) -> str:
        """Count one."""
        self.requests["PUT"] += 1
        return super().put(*given, **named)

    def begin(self, *given: Any, **named: Any) -> Any:
        """Count the beginning and the end."""
        self.requests["MULTIPART"] += 2
        return CountedParts(super().begin(*given, **named), self.requests)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_costs_the_requests_that_the_package_makes(size: int, tmp_path: Path) -> None:
    """One PUT, or parts; one GET, or ranges."""
    store = CountedStore()
    workdir = WorkDir(str(tmp_path / "work"), max_bytes=1 << 30, max_age_seconds=3600)
    mirror = Mirror(store, workdir, prefix="handoff/", max_file_size_bytes=None)
    kind = {"filename": "a.bin", "content_type": "application/octet-stream"}
    _, pending, _ = mirror.revise(io.BytesIO(bytes(size)), **kind)
    pending.wait(time.monotonic() + 60)
    mirror.close()

    assert requests_to_put(size) == dict(store.requests)
    assert requests_to_get(size) == len(ranges._spans(size))


def test_a_work_folder_keeps_what_the_real_one_keeps(tmp_path: Path) -> None:
    """The same files at the same moments: the same ones are left after each."""
    start, moment = time.time(), 0.0
    site = Site(size=1000, work_dir=10_000, max_age=2000)
    real = WorkDir(
        str(tmp_path / "work"),
        max_bytes=site.work_dir,
        max_age_seconds=site.max_age,
        now=lambda: start + moment,
    )
    model, paths = WorkFolder(site), dict[tuple[int, int], str]()
    for n, pause in enumerate([1, 1, 5, 20, 70, 3, 400, 2, 2, 2, 2, 2, 2, 30, 900, 1, 1500, 61]):
        moment += pause
        with real.begin() as draft:
            draft.write(bytes(site.size))
            os.utime(draft.fd, (start + moment, start + moment))
            paths[n, 0] = draft.publish(new_relpath("a.bin"))
        model.add((n, 0), moment)
        kept = {name for name, path in paths.items() if os.path.exists(path)}
        assert {name for name in paths if model.has(name)} == kept
    assert 0 < len(kept) < len(paths) / 2


@pytest.mark.parametrize("servers", [1, 2, 3, 10])
def test_a_share_of_steps_finds_its_file(servers: int) -> None:
    """By chance one in N lands where the file is: all others cost one GET, and no more."""
    outcome = simulate("handoff", Site(servers=servers, flows=5000))

    expected, spread = 1 - 1 / servers, math.sqrt((servers - 1) / 5000) / servers
    assert outcome.requests.get("GET", 0) / 5000 == pytest.approx(expected, abs=4 * spread + 1e-9)
    assert (outcome.requests["PUT"], outcome.requests["COPY"]) == (10_000, 5000)
    assert outcome.local == pytest.approx(1 - expected, abs=4 * spread + 1e-9)


def test_a_small_work_folder_costs_gets() -> None:
    """Copies that are evicted while people think are fetched again, even by the same server."""
    outcome = simulate("handoff", Site(servers=1, flows=5000, work_dir=2_000_000))

    assert 0.5 < outcome.requests["GET"] / 5000 < 1.0
    assert outcome.died == 0


def test_servers_that_end_take_sticky_flows_with_them_and_none_of_ours() -> None:
    """With a server's life of three minutes; ours fetch more, and lose nothing."""
    site = Site(servers=100, life=0.05, flows=10_000)
    sticky, ours = simulate("sticky", site), simulate("handoff", site)

    assert sticky.died > 500
    assert sticky.died == pytest.approx(sticky.lost, rel=0.25)
    assert ours.died == ours.lost == 0


def test_a_shared_disk_holds_until_it_does_not() -> None:
    """Its time is shared by all: with more servers there is less for each."""
    few, many, more = (simulate("shared", Site(servers=n, flows=5000)) for n in (10, 300, 400))
    assert few.disk_load < 0.05
    assert few.p50 < many.p50 < more.p50
    assert more.disk_load > 1
    assert "| grows | grows |" in table([more])


def test_seconds_are_the_stores_and_the_views() -> None:
    """With a store that always takes 25 ms: upload beside the view, fetch, view, put, view, copy."""
    site = Site(servers=100, flows=2000, size=0, s3_p99=0.025, view=0.03)

    assert simulate("handoff", site).p50 == pytest.approx(0.03 + 0.08 + 0.055)
    assert simulate("sticky", site).p50 == pytest.approx(0.03 + 0.03 + 0.055)


def test_the_page_shows_what_the_command_prints() -> None:
    """A row is computed again; whoever changes the model writes the page anew."""
    rows = table(compare(Site(), [3])).splitlines()

    page = PAGE.read_text(encoding="utf-8")
    assert "python -m benchmarks.fleet --write" in page
    assert [row for row in rows if row not in page] == []


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--steps", "edit,keep", "a flow begins with an upload"),
        ("--steps", "upload,eat", "a step is one of edit, read, keep, not 'eat'"),
        ("--servers", "0", "--servers must be more than 0"),
        ("--s3-speed", "0", "--s3-speed must be more than 0"),
    ],
)
def test_an_option_that_means_nothing_is_refused(option: str, value: str, says: str) -> None:
    """In a sentence that says what to do."""
    with pytest.raises(SystemExit, match=says):
        main([option, value])


def test_the_command_prints_a_row_per_way(capsys: pytest.CaptureFixture[str]) -> None:
    """For the servers that one asks for."""
    main(["--servers", "2", "5", "--flows", "50", "--think", "0", "--steps", "upload,read,read"])

    ways = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [[word.strip() for word in pair] for pair in ways] == [
        [servers, way] for servers in "25" for way in ("handoff", "sticky", "shared")
    ]
