"""The JavaScript of the docs, in a browser."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext

from flask_s3handoff.testing import MemoryStore
from tests.docs.serving import served
from tests.docs.test_pages import site_of
from tests.pages import blocks

SCRIPT = """async () => {
  const file = new File(["picture"], "é leo.jpg", { type: "image/jpeg" });
  const sent = await upload(file);
  const kept = await save(sent.token, "Leo");
  return [sent.name, sent.size, kept.name, kept.key];
}"""


def test_the_script_of_the_json_page_saves_a_file(person: Callable[..., BrowserContext]) -> None:
    """Up by ``fetch``, kept by ``fetch``, on three servers."""
    (code,) = [block.code for block in blocks("docs/howto/json.md", "js")]
    with site_of("howto/json.md") as fleet, served(fleet) as url:
        page = person().new_page()
        page.route("**/page", lambda route: route.fulfill(body="<!doctype html><title>p</title>"))
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.goto(f"{url}/page")
        page.add_script_tag(content=code)
        *said, key = page.evaluate(SCRIPT)

        assert said == ["é leo.jpg", 7, "Leo"]
        assert isinstance(fleet.store, MemoryStore)
        assert fleet.store.bytes_of(key) == b"picture"
