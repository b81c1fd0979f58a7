"""A shared cache in front, real and eager: nobody's token is ever kept, or shown to the next visitor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.real.browser import Browser, Page, bytes_of, picture
from tests.real.site import Site, site
from tests.servers import Cache, S3Server

Nginx = Callable[..., AbstractContextManager[Cache]]
PUBLIC = "tests.apps.public:create_app()"
KEEPS = ["proxy_cache pages;", "proxy_cache_valid any 10m;", "proxy_cache_methods GET HEAD POST;"]
CACHES = {
    "by-url": [*KEEPS, "proxy_cache_key $host$request_uri;"],
    "by-path": [*KEEPS, "proxy_cache_key $host$uri;"],
    "by-path-while-updating": [*KEEPS, "proxy_cache_key $host$uri;", "proxy_cache_lock on;", "proxy_cache_use_stale updating error;"],
}  # fmt: skip


@pytest.fixture(scope="module")
def public(weed: S3Server) -> Iterator[Site]:
    """One server whose pages everybody may keep."""
    with site(weed, app=PUBLIC, labels="A") as running:
        yield running


def cache_status(page: Page) -> str:
    """Whence a page came: `HIT` is the cache."""
    return page.answer.headers.get("X-Cache", "")


def tokens_of(page: Page) -> list[str]:
    """Return every token in the body, the address and the way to it."""
    texts = [
        page.text,
        page.answer.url,
        *(a.headers.get("Location", "") for a in page.answer.history),
    ]
    return re.findall(r"_s3handoff(?:\" value=\"|=)([A-Za-z0-9._~-]+)", " ".join(texts))


@pytest.mark.parametrize("way", ["/add", "/add-and-stay"])
@pytest.mark.parametrize("kind", CACHES)
def test_t15_two_visitors_never_share_a_page_with_a_token(
    kind: str, way: str, public: Site, nginx: Nginx
) -> None:
    """Leo and Ada upload through a cache that keeps all it may: POSTs too, and by path alone."""
    pictures = picture("leo.png"), picture("ada.png", size=(48, 64))
    with nginx(public.servers["A"].port, *CACHES[kind]) as cache:
        seen: list[str] = []
        with Browser(cache.url) as leo, Browser(cache.url) as ada:
            people = list(zip((leo, ada), pictures, strict=True))
            for browser, mine in people * 3:  # only their first pages set a cookie
                page = browser.post(way, [mine])
                assert cache_status(page) != "HIT"
                seen += (found := set(tokens_of(page)))
                assert found
                assert browser.submit(page).answer.content == bytes_of(mine)
        assert len(set(seen)) == len(seen)
        kept = b"".join(cache.kept())
        assert b"_s3handoff" not in kept
        assert not any(bytes_of(mine) in kept for mine in pictures)


@pytest.mark.parametrize("kind", CACHES)
def test_t15_what_carries_nothing_is_kept_as_the_app_wants_it(
    kind: str, public: Site, nginx: Nginx
) -> None:
    """A page without a file is everybody's: the second visitor gets it from the cache."""
    with nginx(public.servers["A"].port, *CACHES[kind]) as cache:
        for expected in ("MISS", "HIT", "HIT"):
            with Browser(cache.url) as browser:
                page = browser.get("/edit")
                assert cache_status(page) == expected
                assert tokens_of(page) == []
        assert len(cache.kept()) == 1


def test_t15_what_a_token_brought_is_nobody_elses(public: Site, nginx: Nginx) -> None:
    """The picture itself, asked for by a URL with a token, is not kept for those who ask without."""
    with nginx(public.servers["A"].port, *CACHES["by-path"]) as cache, Browser(cache.url) as leo:
        (token, *_) = tokens_of(leo.post("/add", [picture()]))
        mine = leo.get(f"/image?_s3handoff={token}")
        assert mine.answer.content == bytes_of(picture())
        assert cache_status(mine) != "HIT"
        with Browser(cache.url) as stranger:
            assert stranger.get("/image").answer.content == b"nothing"
