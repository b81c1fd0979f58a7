"""Rule 12: what was used before the fork is not used after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.apps import warm
from tests.conftest import need
from tests.real.browser import cropped, picture, post_alone
from tests.real.site import Site, site
from tests.servers import S3Server, counting_proxy, gunicorn

WARM = "tests.apps.warm:create_app()"
WORKERS = 4
READS = 160
SIDES = {"left": 3, "top": 4, "right": 40, "bottom": 30}


@pytest.fixture(scope="module")
def warmed(weed: S3Server) -> Iterator[Site]:
    """Four workers of one master, which has used S3 before it forked.

    S3 is a few milliseconds away: the longer an answer is awaited, the more others wait for theirs.
    """
    need("gunicorn")
    serve = partial(gunicorn, worker_class="gthread", preload=True, workers=WORKERS)
    with (
        counting_proxy(weed, latency_seconds=0.02) as far,
        site(weed, app=WARM, labels="A", serve=serve, through=far.server) as warmed,
    ):
        yield warmed


def test_rule_12_f31_no_worker_reads_another_ones_answers(warmed: Site) -> None:
    """A socket shared by four processes gave 18 wrong bodies of 80, and no error; ours gives 0."""

    def read(n: int) -> tuple[str, bool]:
        with warmed.browser() as person:
            page = person.get(f"/object/{n % warm.OBJECTS}")
        return page.answer.headers["X-Pid"], page.answer.content == warm.content(n % warm.OBJECTS)

    with ThreadPoolExecutor(4 * WORKERS) as threads:
        answers = list(threads.map(read, range(READS)))
    by_worker = Counter(pid for pid, _ in answers)
    assert sum(not right for _, right in answers) == 0
    assert len(by_worker) == WORKERS


def test_rule_12_f31_threads_that_were_used_before_the_fork_work_after_it(warmed: Site) -> None:
    """A pool from before the fork takes work and never does it: each worker has its own."""
    upload = picture()
    with ThreadPoolExecutor(WORKERS) as threads:
        post = partial(post_alone, f"{warmed.url}/add")
        pages = list(threads.map(lambda _: post([upload]), range(2 * WORKERS)))
    for page in pages:
        with warmed.browser() as person:
            person.take_cookies(page)
            key = person.submit(person.submit(page, (), **SIDES)).text
        assert warmed.stored(key) == cropped(upload, (3, 4, 40, 30))
