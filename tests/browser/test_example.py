"""The example in Chromium: through a load balancer, on three servers that share nothing but S3."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, FilePayload, Page, expect

from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.flow import (
    button,
    crop,
    frame,
    leo,
    numbers,
    problem,
    save,
    server,
    sizes,
    told,
    upload,
)
from tests.browser.looks import FAINT_TEXT, NAMELESS, WIDTH, keep
from tests.browser.portrait import portrait, sideways
from tests.conftest import need
from tests.real.site import Site, site
from tests.servers import S3Server, wait_until

EXAMPLE = "example_app:create_app()"
DEVICES: dict[str, Any] = {
    "desktop": {"viewport": DESKTOP},
    "phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}
Person = Callable[..., BrowserContext]


@pytest.fixture(scope="module")
def three(weed: S3Server) -> Iterator[Site]:
    """Three servers and a load balancer, for all tests that let them live."""
    need("haproxy")
    need("gunicorn")
    with site(weed, app=EXAMPLE, labels="123") as three:
        yield three


@pytest.fixture
def mortal(weed: S3Server) -> Iterator[Site]:
    """Three servers to be killed."""
    need("haproxy")
    need("gunicorn")
    with site(weed, app=EXAMPLE, labels="123") as three:
        yield three


# The whole way


def test_three_steps_through_the_load_balancer(person: Person, three: Site) -> None:
    """Upload, crop, save: the picture comes from S3 where it must, and the avatar is what was cropped."""
    page = upload(person().new_page(), three.url)
    expect(page.locator(".cropper-crop-box")).to_be_visible()
    crop(page, x=300, y=100, width=400, height=400)
    expect(page.locator("img.avatar")).to_have_js_property("naturalWidth", 400)
    save(page)
    assert sizes(page) == [(400, 400)]
    story = " | ".join(told(page))
    assert re.search(r"POST /avatar/crop server \d (came from S3|was on its disk)", story), story
    assert re.search(r"POST /avatar/profile server \d copied within S3", story), story
    assert len(set(re.findall(r"server (\d)", story))) == 3


def test_a_dropped_picture(person: Person, three: Site) -> None:
    """Drag and drop: the zone lights up, the picture is previewed, and goes its way."""
    page = person().new_page()
    page.goto(three.url)
    files = page.evaluate_handle(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", {type: "image/jpeg"}));
            return data;
        }""",
        list(portrait(600, 400)),
    )
    zone = page.locator(".drop")
    zone.dispatch_event("dragover", {"dataTransfer": files})
    expect(zone).to_have_class("drop over")
    zone.dispatch_event("drop", {"dataTransfer": files})
    expect(zone).to_have_class("drop")
    expect(page.locator(".chosen img")).to_have_js_property("naturalWidth", 600)
    button(page, "Upload").click()
    page.wait_for_url("**/avatar/crop?**")
    assert numbers(page) == {"x": 100, "y": 0, "width": 400, "height": 400}


def test_a_drop_beside_the_zone_leaves_the_page(person: Person, three: Site) -> None:
    """A picture that misses is no reason to lose the page."""
    page = person().new_page()
    page.goto(three.url)
    prevented = page.evaluate(
        """() => !document.querySelector("h1").dispatchEvent(
            new DragEvent("drop", {bubbles: true, cancelable: true}))"""
    )
    assert prevented


def test_the_progress_bar_moves(person: Person, three: Site) -> None:
    """On a slow line a person sees how far it is, and cannot send twice."""
    page = person().new_page()
    page.goto(three.url)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 400_000}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
    page.set_input_files("#avatar", leo(4000, 2600))
    button(page, "Upload").click()
    bar = page.get_by_role("progressbar", name="Sending")
    expect(bar).to_be_visible()
    wait_until(lambda: 0.05 < bar.evaluate("bar => bar.value") < 0.95, what="the bar moves")
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Sending [\d.]+ [kM]B"))
    page.wait_for_url("**/avatar/crop?**")


def test_a_photo_taken_sideways(person: Person, three: Site) -> None:
    """The browser turns it as the server does: both speak of the same pixels."""
    photo = FilePayload(name="a.jpg", mimeType="image/jpeg", buffer=sideways(portrait(600, 400)))
    page = upload(person().new_page(), three.url, photo)
    frame(page).wait_for()
    expect(page.locator("#picture")).to_have_js_property("naturalHeight", 600)
    assert numbers(page) == {"x": 0, "y": 100, "width": 400, "height": 400}


# What goes wrong


def test_a_wrong_type_is_said_at_once(person: Person, three: Site) -> None:
    """Before anything is sent; and the next choice takes the words away."""
    page = person().new_page()
    page.goto(three.url)
    page.set_input_files(
        "#avatar", FilePayload(name="a.txt", mimeType="text/plain", buffer=b"Dear")
    )
    assert problem(page) == "Choose a JPEG, PNG, WebP or GIF picture; this is none."
    page.set_input_files("#avatar", leo())
    expect(page.locator(".errors")).to_have_count(0)


def test_too_big_is_said_at_once(person: Person, three: Site, tmp_path: Path) -> None:
    """Nobody waits for 11 MB to be refused; pressing Upload moves the focus to the reason."""
    page = person().new_page()
    page.goto(three.url)
    page.set_input_files("#avatar", big(tmp_path, 11))
    assert problem(page) == "Choose a smaller picture: at most 10 MB."
    expect(page.locator("#avatar")).to_have_accessible_description(re.compile("Error: Choose a sm"))
    button(page, "Upload").click()
    expect(page.locator(".errors")).to_be_focused()


def test_a_broken_picture_is_explained_without_a_new_page(person: Person, three: Site) -> None:
    """The server's own words, the focus on them, and the next picture works."""
    page = person().new_page()
    page.goto(three.url)
    half = FilePayload(name="a.jpg", mimeType="image/jpeg", buffer=portrait(600, 400)[:3000])
    page.set_input_files("#avatar", half)
    button(page, "Upload").click()
    expect(page.locator(".errors")).to_be_focused()
    assert problem(page).startswith("This picture is damaged")
    assert page.title().startswith("Error: ")
    page.set_input_files("#avatar", leo())
    button(page, "Upload").click()
    page.wait_for_url("**/avatar/crop?**")


def test_without_a_script_too_big_is_a_page_and_no_lost_connection(
    person: Person, three: Site, tmp_path: Path
) -> None:
    """The server answers while 30 MB are still on their way; the browser shows the answer."""
    page = person(java_script_enabled=False).new_page()
    page.goto(three.url)
    page.set_input_files("#avatar", big(tmp_path, 30))
    button(page, "Upload").click()
    assert problem(page) == "Choose a smaller picture: at most 10 MB."


def test_a_name_that_is_refused_keeps_the_picture(person: Person, three: Site) -> None:
    """The picture is still there, from another server; the box has the focus and leads to the field."""
    page = crop(upload(person().new_page(), three.url), width=300, height=300)
    button(page, "Save").click()
    expect(page.locator(".errors")).to_be_focused()
    assert problem(page) == "Enter your name."
    expect(page.locator("img.avatar")).to_have_js_property("naturalWidth", 300)
    page.locator(".errors a").click()
    expect(page.locator("#name")).to_be_focused()
    assert sizes(save(page)) == [(300, 300)]


def big(folder: Path, megabytes: int) -> Path:
    """Write a file of this size that takes no room."""
    path = folder / "big.png"
    with path.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    return path


# Going back and forth


def test_reload_on_every_page(person: Person, three: Site) -> None:
    """F5 asks for the page again, and never to send a form again."""
    page = upload(person().new_page(), three.url)
    page.reload()
    crop(page, x=0, y=0, width=200, height=200)
    page.reload()
    expect(page.locator("img.avatar")).to_have_js_property("naturalWidth", 200)
    save(page)
    page.reload()
    assert sizes(page) == [(200, 200)]


def test_back_and_crop_again(person: Person, three: Site) -> None:
    """Every page holds the picture that it shows: two crops of one upload, both saved."""
    page = save(crop(upload(person().new_page(), three.url), width=300, height=300))
    page.go_back()
    page.go_back()
    page.wait_for_url("**/avatar/crop?**")
    save(crop(page, x=0, y=0, width=250, height=250))
    assert sorted(sizes(page)) == [(250, 250), (300, 300)]


def test_two_tabs(person: Person, three: Site) -> None:
    """Two pictures at once in one browser: each tab keeps its own."""
    both = person()
    one = upload(both.new_page(), three.url)
    two = upload(both.new_page(), three.url, leo(600, 400))
    crop(one, x=0, y=0, width=500, height=500)
    crop(two, x=0, y=0, width=100, height=100)
    assert sizes(save(one)) == [(500, 500)]
    assert sorted(sizes(save(two))) == [(100, 100), (500, 500)]


def test_without_javascript(person: Person, three: Site) -> None:
    """Plain forms, number fields: nothing is missing but comfort."""
    page = person(java_script_enabled=False).new_page()
    page.goto(three.url)
    page.set_input_files("#avatar", leo())
    button(page, "Upload").click()
    page.wait_for_url("**/avatar/crop?**")
    expect(page.locator("#crop-keys")).to_be_hidden()
    save(crop(page, x=10, y=20, width=300, height=200))
    expect(page.locator(".gallery img")).to_have_js_property("naturalHeight", 200)


# The gallery


def test_crop_a_saved_avatar_again_and_delete_it(person: Person, three: Site) -> None:
    """Any saved avatar goes on its way again; what is deleted is gone, the rest stays."""
    page = save(crop(upload(person().new_page(), three.url), width=300, height=300))
    page.get_by_role("button", name="Crop again").click()
    page.wait_for_url("**/avatar/crop?**")
    save(crop(page, x=0, y=0, width=120, height=120))
    first, second = sizes(page)  # newest first; a store tells the time in whole seconds
    assert {first, second} == {(120, 120), (300, 300)}
    page.get_by_text("Delete").first.click()
    button(page, "Yes, delete").first.click()
    page.get_by_text("Deleted.").wait_for()
    assert sizes(page) == [second]


# Servers that die


def test_the_servers_that_took_and_cropped_the_picture_are_killed(
    mortal: Site, person: Person
) -> None:
    """Each right after it answered; a third one saves what two dead ones have left in S3."""
    page = upload(person().new_page(), mortal.url)
    taken_by = next(re.findall(r"server (\d)", row)[0] for row in told(page) if "uploaded" in row)
    mortal.kill9(taken_by)
    page.reload()
    assert server(page) != taken_by
    crop(page, x=0, y=0, width=350, height=350)
    cropped_by = next(re.findall(r"server (\d)", row)[0] for row in told(page) if "edited" in row)
    mortal.kill9(cropped_by)
    expect(page.locator("img.avatar")).to_have_js_property("naturalWidth", 350)
    assert sizes(save(page)) == [(350, 350)]
    assert server(page) not in (taken_by, cropped_by)


# How it looks, and for whom


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", DEVICES)
def test_every_page_can_be_read_and_used_by_everybody(
    person: Person, three: Site, device: str, scheme: str
) -> None:
    """Contrast of 4.5 to 1, a name for every control, nothing wider than a small phone."""
    options = DEVICES[device]
    page = person(color_scheme=scheme, **options).new_page()
    for name in every_page(page, three.url):
        assert page.evaluate(FAINT_TEXT) == [], name
        assert page.evaluate(NAMELESS) == [], name
        assert page.evaluate(WIDTH) <= options["viewport"]["width"], name
        keep(page, f"{name}-{device}-{scheme}")


def every_page(page: Page, url: str) -> Iterator[str]:
    """Walk through all pages, and say the name of each when it stands there."""
    page.goto(f"{url}/")
    yield "1-upload"
    page.set_input_files("#avatar", leo())
    expect(page.locator(".chosen img")).to_have_js_property("naturalWidth", 1200)
    yield "1-upload-chosen"
    page.set_input_files("#avatar", FilePayload(name="a.txt", mimeType="text/plain", buffer=b"-"))
    yield "1-upload-error"
    upload(page, url)
    frame(page).wait_for()
    yield "2-crop"
    crop(page, x=310, y=120, width=490, height=490)
    yield "3-save"
    button(page, "Save").click()
    page.locator(".errors").wait_for()
    yield "3-save-error"
    save(page)
    crop(upload(page, url), x=150, y=0, width=800, height=800)
    save(page)
    sizes(page)
    page.get_by_text("Delete").first.click()
    page.evaluate("scrollTo(0, 0)")
    yield "4-gallery"
    page.goto(f"{url}/avatar/nowhere")
    yield "5-not-found"


# Mouse, finger, keyboard


def test_the_frame_follows_the_mouse(person: Person, three: Site) -> None:
    """Drag the frame, then its corner: the numbers follow."""
    page = upload(person().new_page(), three.url)
    before = numbers(page)
    drag(page, ".cropper-face", 60, 0)
    moved = numbers(page)
    assert moved["x"] > before["x"]
    assert (moved["width"], moved["height"]) == (before["width"], before["height"])
    drag(page, ".point-sw", 80, -80)
    smaller = numbers(page)
    assert smaller["width"] == smaller["height"] < moved["width"]


def test_the_frame_follows_a_finger(person: Person, three: Site) -> None:
    """The same on a phone."""
    page = upload(person(**DEVICES["phone"]).new_page(), three.url)
    before = numbers(page)
    frame(page).wait_for()
    box = page.locator(".point-se").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    finger = page.context.new_cdp_session(page)
    for kind, far in (("touchStart", 0), ("touchMove", 30), ("touchMove", 60)):
        points = [{"x": x - far, "y": y - far}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    after = numbers(page)
    assert after["width"] == after["height"] < before["width"]


def test_everything_by_keyboard_alone(person: Person, three: Site) -> None:
    """Tab, arrows and Enter lead through all three steps; the frame says where it is."""
    page = person().new_page()
    page.goto(three.url)
    page.set_input_files("#avatar", leo())  # the system's own dialogue is not ours to test
    page.focus("#avatar")
    press(page, "Tab", "Enter")
    page.wait_for_url("**/avatar/crop?**")
    frame(page).wait_for()
    tab_to(page, ".cropper-crop-box")
    press(page, *["Shift+ArrowUp"] * 10, *["ArrowRight"] * 5, *["ArrowDown"] * 3)
    assert numbers(page) == {"x": 260, "y": 36, "width": 680, "height": 680}
    said = "680 by 680 pixels, 260 from the left, 36 from the top"
    expect(page.get_by_role("status")).to_have_text(said)
    press(page, *["ArrowLeft"] * 40, *["Shift+ArrowRight"] * 40)
    assert numbers(page) == {"x": 0, "y": 36, "width": 764, "height": 764}
    tab_to(page, "#square")
    press(page, "Space")
    tab_to(page, "#width")
    page.keyboard.type("500")
    tab_to(page, "form.crop button")
    assert numbers(page) == {"x": 0, "y": 36, "width": 500, "height": 764}
    press(page, "Enter")
    page.wait_for_url("**/avatar/profile?**")
    tab_to(page, "#name")
    page.keyboard.type("Leo")
    press(page, "Enter")
    page.get_by_text("It suits you, Leo.").wait_for()
    assert sizes(page) == [(335, 512)]


def drag(page: Page, what: str, right: int, down: int) -> None:
    """Drag a part of the cropper."""
    frame(page).wait_for()
    box = page.locator(what).bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y + down, steps=5)
    page.mouse.up()


def press(page: Page, *keys: str) -> None:
    """Press keys, one after the other."""
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until this has the focus, as a person does who sees where it is."""
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("what => document.activeElement.matches(what)", selector):
            return
    pytest.fail(f"Tab does not lead to {selector}")
