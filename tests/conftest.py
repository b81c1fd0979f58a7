"""Fixtures for real parts, and the rules of every test: no skip in CI, nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import NoReturn, TypeVar

import pytest

from tests import leaks, servers
from tests.leaks import Watch
from tests.sentinels import Guard
from tests.servers import Cache, CountingProxy, LoadBalancer, S3Server, WebServer

# What may be skipped even in CI: what the endpoint under test, or the platform, is known to lack.
LACKING = ("endpoint lacks", "platform lacks")
guard = Guard()
R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


def need(part: str) -> None:
    """Skip the test when a real part is missing, and say why; in CI that is a failure."""
    if reason := servers.available(part):
        pytest.skip(reason)


# --- the rules ---------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Keep this machine's accounts out of the tests, and their servers from outliving them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    signal.signal(signal.SIGTERM, _end_in_order)
    guard.watch()


def _end_in_order(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def nothing_secret_is_told() -> Iterator[None]:
    """Fail a test during which a key, a token or a signed link got into a log, at whatever level (T38)."""
    yield
    if told := guard.take():
        pytest.fail("told in the log: " + "; ".join(told))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the browser's tests last: Playwright leaves its event loop running in this thread."""
    items.sort(key=lambda item: "browser" in item.path.parts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, turn the skip of a test into a failure."""
    report = yield
    return _refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI, turn the skip of a whole module into a failure."""
    report = yield
    return _refuse_skip(report)


def _refuse_skip(report: R) -> R:
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(words in reason for words in LACKING):
            report.outcome = "failed"
            report.longrepr = f"{reason}\n(nothing may be skipped with CI=true)"
    return report


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a file of ours open, a thread busy, a `.part` or an unfinished upload.

    A test that kills a writer says so: `@pytest.mark.leaves_parts`.
    """
    wants_folder = "tmp_path" in request.fixturenames
    watch = Watch([request.getfixturevalue("tmp_path")] if wants_folder else [])
    yield
    if request.node.get_closest_marker("leaves_parts"):
        allowed = ("partial file", leaks.UNFINISHED)
        left = [leak for leak in watch.leaks() if not leak.startswith(allowed)]
        leaks.forget_stores()
    else:
        left = watch.leaks()
    if left:
        pytest.fail("left behind: " + ", ".join(left))


@pytest.fixture(autouse=True, scope="module")
def each_module_has_its_stores() -> Iterator[None]:
    """Ask the buckets of one module only, so that asking stays cheap."""
    yield
    leaks.forget_stores()


# --- the real parts ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def weed() -> Iterator[S3Server]:
    """SeaweedFS, one for all tests: take a fresh `bucket(weed)`."""
    need("weed")
    with servers.weed() as server:
        yield server
        if left := servers.unfinished_uploads(server):
            pytest.fail(f"unfinished uploads in SeaweedFS, after all tests: {left}")


@pytest.fixture(scope="session")
def rgw() -> Iterator[S3Server]:
    """Ceph's RADOS Gateway, one for all tests: take a fresh `bucket(rgw)`."""
    need("rgw")
    with servers.rgw() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """A moto process, one for all tests; it proves nothing about signatures and policies."""
    need("moto")
    with servers.moto_server() as server:
        yield server


@pytest.fixture(params=["weed", "rgw", "moto"])
def s3(request: pytest.FixtureRequest) -> S3Server:
    """Each of the S3 servers in turn."""
    server: S3Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def proxy(weed: S3Server) -> Iterator[CountingProxy]:
    """A counting proxy in front of SeaweedFS; `proxy.server` is the server seen through it."""
    with servers.counting_proxy(weed) as counting:
        yield counting


@pytest.fixture(scope="session")
def gunicorn() -> Callable[..., AbstractContextManager[WebServer]]:
    """Run apps: `with gunicorn("module:create_app()", env=…) as server`."""
    need("gunicorn")
    return servers.gunicorn


@pytest.fixture(scope="session")
def haproxy() -> Callable[..., AbstractContextManager[LoadBalancer]]:
    """Balance over servers: `with haproxy([a.port, b.port]) as balancer`."""
    need("haproxy")
    return servers.haproxy


@pytest.fixture(scope="session")
def nginx() -> Callable[..., AbstractContextManager[Cache]]:
    """Keep pages of a server: `with nginx(server.port, "proxy_cache pages;") as cache`."""
    need("nginx")
    return servers.nginx


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where the browser is: `executable_path` of Playwright's `chromium.launch`."""
    need("chromium")
    return servers.find_chromium() or ""
