"""The example app: what a person sees, on three servers that share nothing but a store."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from flask import Flask
from PIL import Image

from example_app import create_app, pictures
from example_app.pictures import BadBox, BadPicture, Box, Size
from flask_s3handoff.errors import Unavailable
from flask_s3handoff.memory import MemoryStore
from flask_s3handoff.testing import Fleet
from tests.browser_like import Browser, Page, Upload

BOX: dict[str, Any] = {"x": "10", "y": "20", "width": "30", "height": "40"}


def picture(
    width: int = 200, height: int = 100, *, kind: str = "PNG", colour: str = "red", **options: Any
) -> bytes:
    """Draw a picture of one colour."""
    body = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(body, kind, **options)
    return body.getvalue()


def bomb(side: int) -> bytes:
    """Write a PNG of a few hundred bytes that says it has ``side`` × ``side`` pixels."""
    body = bytearray(picture(1, 1))
    body[16:24] = side.to_bytes(4, "big") * 2
    body[29:33] = zlib.crc32(body[12:29]).to_bytes(4, "big")
    return bytes(body)


def numbered(config: dict[str, Any]) -> Flask:
    """Make one copy of the app, which shows its number."""
    return create_app({**config, "LABEL": config["FLEET_DISK"][-1]})


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Three copies of the app over one store."""
    with Fleet(numbered) as running:
        yield running


@pytest.fixture
def store(fleet: Fleet) -> MemoryStore:
    """What the copies share."""
    assert isinstance(fleet.store, MemoryStore)
    return fleet.store


@pytest.fixture
def browser(fleet: Fleet) -> Browser:
    """A person."""
    return Browser(fleet)


Choose = Callable[..., Page]


@pytest.fixture
def choose(browser: Browser) -> Choose:
    """Choose a file on the first page, and upload it."""

    def chosen(data: bytes, name: str = "leo.png") -> Page:
        return browser.submit(browser.open("/"), avatar=Upload(name, data, "image/png"))

    return chosen


def save(browser: Browser, crop: Page, name: str = "Leo", **box: Any) -> Page:
    """Go from the crop page to the gallery."""
    return browser.submit(browser.submit(crop, **{**BOX, **box}), name=name)


def problem(page: Page) -> str:
    """What the box at the top of a page says."""
    found = re.search(r'class="errors".*?<a [^>]*>(.*?)</a>', page.text, re.S)
    return found[1] if found else ""


def gallery(page: Page) -> list[str]:
    """The addresses of the saved avatars."""
    return re.findall(r'<img src="([^"]+)" alt="Avatar \d', page.text)


# The three steps


def test_three_steps_on_three_servers(
    browser: Browser, choose: Choose, store: MemoryStore, fleet: Fleet
) -> None:
    """A picture is uploaded, cropped and saved; no two requests meet the same server."""
    page = save(browser, choose(picture()))
    assert "It suits you, Leo." in page.text
    (key,) = [entry.key for entry in store.list("users/")]
    assert re.fullmatch(r"users/[0-9a-f]{16}/[0-9a-f]{24}\.jpg", key)
    with store.open(key) as stored, Image.open(io.BytesIO(stored.read(10**6))) as saved:
        assert (saved.format, saved.size) == ("JPEG", (30, 40))
    assert all(copy.answered for copy in fleet.copies)


def test_the_saved_avatar_is_a_jpeg_by_its_type_too(
    browser: Browser, choose: Choose, store: MemoryStore
) -> None:
    """A PNG was uploaded, a JPEG is saved: the store says so when it is asked for it."""
    page = save(browser, choose(picture()))
    answer = browser.open(gallery(page)[0])
    assert answer.headers["Content-Type"] == "image/jpeg"


def test_the_avatar_survives_a_name_that_is_refused(
    browser: Browser, choose: Choose, store: MemoryStore
) -> None:
    """Twice no good name, then one: the picture need not be chosen again."""
    page = browser.submit(choose(picture()), **BOX)
    empty = browser.submit(page, name="  ")
    assert (empty.status, problem(empty)) == (422, "Enter your name.")
    long = browser.submit(empty, name="L" * 41)
    assert (long.status, problem(long)) == (422, "Use at most 40 characters for your name.")
    assert "It suits you, Leo." in browser.submit(long, name="Leo").text


def test_back_and_another_crop(browser: Browser, choose: Choose, store: MemoryStore) -> None:
    """The crop page keeps the picture that it shows, whatever was cropped since."""
    crop = choose(picture())
    save(browser, crop, width="30")
    page = save(browser, crop, width="90")
    sizes = set()
    for url in gallery(page):
        with Image.open(io.BytesIO(browser.open(url).data)) as saved:
            sizes.add(saved.size)
    assert sizes == {(30, 40), (90, 40)}


def test_saving_twice_saves_once(browser: Browser, choose: Choose, store: MemoryStore) -> None:
    """A double click on Save is one avatar."""
    profile = browser.submit(choose(picture()), **BOX)
    browser.submit(profile, name="Leo")
    assert len(gallery(browser.submit(profile, name="Leo"))) == 1


@pytest.mark.parametrize("path", ["/avatar/crop", "/avatar/profile"])
def test_a_step_without_a_picture_leads_to_the_first(browser: Browser, path: str) -> None:
    """A bookmark of step 2 or 3 is no dead end."""
    page = browser.open(path)
    assert (page.status, page.url.endswith("/avatar/")) == (200, True)
    assert "Choose a picture first." in page.text


# What is refused


@pytest.mark.parametrize(
    ("data", "name", "says"),
    [
        pytest.param(b"Dear sir", "letter.txt", pictures.NOT_OURS, id="wrong type"),
        pytest.param(picture(kind="TIFF"), "leo.tif", pictures.NOT_OURS, id="wrong format"),
        pytest.param(
            b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", pictures.NOT_OURS, id="svg"
        ),
        pytest.param(picture(999, 999)[:-900], "leo.png", pictures.DAMAGED, id="truncated PNG"),
        pytest.param(
            picture(999, 999, kind="JPEG")[:2000], "leo.jpg", pictures.DAMAGED, id="truncated JPEG"
        ),
        pytest.param(bomb(6400), "bomb.png", pictures.TOO_MANY_PIXELS, id="41 million pixels"),
        pytest.param(bomb(12_000), "bomb.png", pictures.TOO_MANY_PIXELS, id="144 million pixels"),
        pytest.param(bomb(60_000), "bomb.png", pictures.TOO_MANY_PIXELS, id="3.6 billion pixels"),
        pytest.param(b"", "empty.png", pictures.NOT_OURS, id="empty"),
    ],
)
def test_t32_a_bad_picture_is_explained_and_not_carried(
    choose: Choose, data: bytes, name: str, says: str
) -> None:
    """Wrong type, broken or a bomb: one clear sentence, and the form starts afresh."""
    page = choose(data, name)
    assert (page.status, problem(page), page.tokens) == (422, says, [])


def test_no_picture_at_all_is_explained(browser: Browser) -> None:
    """The Upload button without a choice, in a browser that knows no `required`."""
    page = browser.post("/avatar/", [("avatar", Upload("", b""))])
    assert (page.status, problem(page)) == (422, "Choose a picture first.")


def test_a_picture_that_is_too_big_is_explained(choose: Choose, store: MemoryStore) -> None:
    """Above the limit nothing is kept, and the page says what the limit is."""
    page = choose(picture() + bytes(10 * 1024 * 1024))
    assert (page.status, problem(page)) == (413, "Choose a smaller picture: at most 10 MB.")
    assert list(store.list("handoff/")) == []


@pytest.mark.parametrize(
    ("box", "field", "says"),
    [
        ({"x": "-1"}, "x", "Enter a whole number of pixels for x."),
        ({"y": "1.5"}, "y", "Enter a whole number of pixels for y."),
        ({"width": "٣"}, "width", "Enter a whole number of pixels for width."),
        ({"width": "0"}, "width", "The width must be at least 1 pixel."),
        ({"height": "81"}, "height", "The crop ends at pixel 101; the height ends at 100."),
        ({"x": "9999999999999"}, "x", "Enter a whole number of pixels for x."),
    ],
)
def test_a_bad_crop_is_explained_and_the_picture_kept(
    browser: Browser, choose: Choose, box: dict[str, str], field: str, says: str
) -> None:
    """The numbers come back as they were typed, beside what is wrong with them."""
    page = browser.submit(choose(picture()), **{**BOX, **box})
    assert (page.status, problem(page)) == (422, says)
    assert f'name="{field}" value="{box[field]}"' in page.text
    assert "It suits you, Leo." in save(browser, page).text


# The gallery


def test_a_saved_avatar_can_be_cropped_again(browser: Browser, choose: Choose) -> None:
    """It goes through the three steps like a fresh upload; the saved one stays."""
    page = save(browser, choose(picture()))
    crop = browser.submit(page, page.forms[1].element.attrib["action"])
    assert "of 30 × 40" in crop.text
    again = save(browser, crop, x="0", y="0", width="10", height="10")
    assert len(gallery(again)) == 2


def test_a_saved_avatar_can_be_deleted(
    browser: Browser, choose: Choose, store: MemoryStore
) -> None:
    """Delete means delete: in the store too."""
    page = save(browser, choose(picture()))
    after = browser.submit(page, page.forms[2].element.attrib["action"])
    assert "Deleted." in after.text
    assert (gallery(after), list(store.list("users/"))) == ([], [])


def test_nobody_sees_or_touches_the_avatars_of_others(
    fleet: Fleet, browser: Browser, choose: Choose, store: MemoryStore
) -> None:
    """Another person with the right file name gets nothing, and deletes nothing."""
    page = save(browser, choose(picture()))
    actions = [form.element.attrib["action"] for form in page.forms[1:]]
    stranger = Browser(fleet)
    assert gallery(stranger.open("/")) == []
    for action in (*actions, "/avatar/saved/..%2f..%2fhandoff/delete"):
        assert stranger.post(action, [("sure", "yes")]).status in (200, 400, 404, 410)
    assert len(list(store.list("users/"))) == 1


def test_a_malformed_form_is_an_answer_and_no_crash(browser: Browser) -> None:
    """Even in a view that reads no form."""
    assert browser.post("/avatar/saved/leo.jpg/delete", follow=False).status == 303


# The footer, the errors, the headers


def test_the_footer_tells_who_answered_and_where_the_file_was(
    browser: Browser, choose: Choose
) -> None:
    """Uploaded here, come from S3, edited, handed on, copied: the whole way can be read."""
    text = save(browser, choose(picture())).text
    told = [re.sub(r"<[^>]+>|\s+", " ", row) for row in re.findall(r"<tr><td>.*?</tr>", text)]
    story = " | ".join(re.sub(r" +", " ", row).strip() for row in reversed(told))
    assert re.fullmatch(
        r"POST /avatar/ server \d uploaded here \| "
        r"GET /avatar/crop server \d came from S3 in [\d.]+ ms \| "
        r"POST /avatar/crop server \d came from S3 in [\d.]+ ms, edited, sent to S3 \| "
        r"GET /avatar/profile server \d handed on unread \| "
        r"POST /avatar/profile server \d copied within S3 to its place",
        story,
    ), story
    servers = re.findall(r"server (\d)", story)
    assert all(one != next_one for one, next_one in pairwise(servers))


def test_the_follow_up_of_a_script_is_not_in_the_footer(browser: Browser) -> None:
    """The browser asks for that page a second time, by itself: it is told once."""
    browser.send("GET", "/avatar/", headers={"X-Requested-With": "XMLHttpRequest"})
    assert "Your requests before this one" not in browser.open("/avatar/").text


def test_the_store_down_is_a_page_of_ours(browser: Browser, store: MemoryStore) -> None:
    """503 with Retry-After, and words."""
    store.fail_with(Unavailable())
    page = browser.open("/avatar/")
    assert (page.status, "Retry-After" in page.headers) == (503, True)
    assert "Service Unavailable" in page.text


def test_no_script_and_no_picture_from_elsewhere(browser: Browser) -> None:
    """Nothing inline, nothing from a CDN; the policy names our own files and the store."""
    page = browser.open("/avatar/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=\"/static/)|<style|\sstyle=|\son\w+=", page.text)


# Pictures


def test_a_photo_taken_sideways_is_cropped_as_it_is_seen(browser: Browser, choose: Choose) -> None:
    """The camera stored 200 × 100 and "turn me": a person sees 100 × 200, blue above red."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo, body = Image.new("RGB", (200, 100), "red"), io.BytesIO()
    photo.paste("blue", (0, 0, 100, 100))
    photo.save(body, "JPEG", exif=exif)
    page = choose(body.getvalue(), "leo.jpg")
    assert "of 100 × 200" in page.text
    saved = save(browser, page, x="0", y="150", width="100", height="50")
    with Image.open(io.BytesIO(browser.open(gallery(saved)[0]).data)) as avatar:
        assert (avatar.size, dict(avatar.getexif())) == ((100, 50), {})
        red, green, blue = avatar.resize((1, 1)).tobytes()
        assert red > 240 > 10 > max(green, blue)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_colours_becomes_a_jpeg(tmp_path: Any, mode: str) -> None:
    """Palettes, grey, print colours; what is transparent becomes white."""
    path = str(tmp_path / "picture")
    Image.new(mode, (8, 8)).save(path, "JPEG" if mode == "CMYK" else "PNG")
    pictures.crop(path, Box(0, 0, 4, 4))
    with Image.open(path) as avatar:
        assert (avatar.format, avatar.size) == ("JPEG", (4, 4))
        if mode == "RGBA":
            assert avatar.getpixel((1, 1)) == (255, 255, 255)


def test_a_large_crop_becomes_a_small_avatar(tmp_path: Any) -> None:
    """Nobody needs an avatar of 20 million pixels."""
    path = str(tmp_path / "picture")
    Image.new("RGB", (2000, 1000)).save(path, "PNG")
    pictures.crop(path, Box(0, 0, 2000, 1000))
    with Image.open(path) as avatar:
        assert avatar.size == (512, 256)


def test_a_box_is_the_largest_square_unless_told() -> None:
    """What most people want, in the middle."""
    assert Box.largest_square(Size(200, 100)) == Box(50, 0, 100, 100)
    with pytest.raises(BadBox):
        Box.from_form({}, Size(200, 100))


def test_a_picture_that_is_refused_is_left_open_for_the_next_reader() -> None:
    """The stream belongs to the request, not to us."""
    stream = io.BytesIO(b"no picture")
    with pytest.raises(BadPicture):
        pictures.check(stream)
    assert not stream.closed
