"""The example as a person walks through it in a browser."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import FilePayload, Locator, Page

from tests.browser.portrait import portrait
from tests.servers import wait_until

Box = dict[str, int]
FIELDS = ("x", "y", "width", "height")


def leo(width: int = 1200, height: int = 800) -> FilePayload:
    """A picture, as a file that is chosen."""
    return FilePayload(name="leo.jpg", mimeType="image/jpeg", buffer=portrait(width, height))


def upload(page: Page, site: str, file: Any = None) -> Page:
    """Step 1: choose a picture and send it; the crop page is shown then."""
    page.goto(f"{site}/")
    page.set_input_files("#avatar", file or leo())
    button(page, "Upload").click()
    page.wait_for_url("**/avatar/crop?**")
    return page


def crop(page: Page, **box: int) -> Page:
    """Step 2: type numbers, if any, and crop."""
    for name, value in box.items():
        page.fill(f"#{name}", str(value))
        page.keyboard.press("Tab")  # a field is read when it is left
    button(page, "Crop").click()
    page.wait_for_url("**/avatar/profile?**")
    return page


def save(page: Page, name: str = "Leo") -> Page:
    """Step 3: give a name and save; the gallery is shown then."""
    page.fill("#name", name)
    button(page, "Save").click()
    page.get_by_text(f"It suits you, {name}.").wait_for()
    return page


def button(page: Page, name: str) -> Locator:
    """A button by its whole name."""
    return page.get_by_role("button", name=name, exact=True)


def frame(page: Page) -> Locator:
    """The cropper's frame, once it can be used."""
    return page.get_by_role("application", name="Crop frame")


def numbers(page: Page) -> Box:
    """What the four fields say."""
    return {name: int(page.input_value(f"#{name}")) for name in FIELDS}


def problem(page: Page) -> str:
    """What the box at the top says."""
    return page.locator(".errors a").inner_text()


def sizes(page: Page) -> list[tuple[int, int]]:
    """The sizes of the saved avatars, as the browser has loaded them; newest first, by the second."""
    pictures = page.locator(".gallery img")
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
    loaded = "all => all.every(img => img.complete)"
    wait_until(lambda: pictures.evaluate_all(loaded), what="the gallery has loaded")
    found = pictures.evaluate_all("all => all.map(img => [img.naturalWidth, img.naturalHeight])")
    return [(width, height) for width, height in found]


def server(page: Page) -> str:
    """The number of the server that answered this page."""
    return page.locator("footer p .server").inner_text().removeprefix("server ")


def told(page: Page) -> list[str]:
    """The footer's lines: this request and those before it, oldest first."""
    rows = page.locator("footer tbody tr").all_inner_texts()
    now = page.locator("footer p").inner_text()
    return [re.sub(r"\s+", " ", row).strip() for row in [*reversed(rows), now]]
