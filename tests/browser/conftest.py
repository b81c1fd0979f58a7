"""Chromium, and pages that fail their test when the console says that something went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    sync_playwright,
)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1000, "height": 800}
PHONE = {"width": 390, "height": 844}
# What Chromium logs of every answer of 4xx: the tests look at those answers themselves.
REFUSED = "the server responded with a status of 4"

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def chrome(chromium: str) -> Iterator[Browser]:
    """One Chromium for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def person(chrome: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Make people: each has a browser profile of their own, and no error in the console."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def new_person(**options: Any) -> BrowserContext:
        context = chrome.new_context(**{"viewport": DESKTOP, **options})
        context.set_default_timeout(15_000)
        context.on("page", lambda page: _listen(page, complaints))
        contexts.append(context)
        return context

    yield new_person
    for context in contexts:
        context.close()
    assert complaints == []


def _listen(page: Page, complaints: list[str]) -> None:
    page.on("console", lambda message: _judge(message, complaints))
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on("requestfailed", lambda request: _judge_request(request, complaints))


def _judge(message: ConsoleMessage, complaints: list[str]) -> None:
    if message.type in ("error", "warning") and REFUSED not in message.text:
        complaints.append(message.text)


def _judge_request(request: Request, complaints: list[str]) -> None:
    if request.failure != "net::ERR_ABORTED":  # left by going on to another page
        complaints.append(f"{request.url[:80]}: {request.failure}")
