"""A browser without a screen: cookies, redirects, and the forms of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import BytesIO
from typing import Any, Self
from urllib.parse import urljoin

import requests
from PIL import Image, ImageDraw

Upload = tuple[str, tuple[str, bytes, str]]
SECONDS = 60


@dataclass
class Form:
    """One form: where it goes, what it sends unless told otherwise."""

    action: str
    values: list[tuple[str, str]] = field(default_factory=list)


class _Forms(HTMLParser):
    """Collects the forms of a page; of inputs, the hidden ones."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(values.get("action", "")))
        elif tag == "input" and values.get("type") == "hidden" and self.found:
            self.found[-1].values.append((values["name"], values["value"]))


def forms_of(page: str) -> list[Form]:
    """Return the forms of a page."""
    parser = _Forms()
    parser.feed(page)
    return parser.found


class Page:
    """An answer, as a person would see it."""

    def __init__(self, answer: requests.Response) -> None:
        self.answer = answer
        self.status = answer.status_code
        self.text = answer.text

    @property
    def servers(self) -> list[str]:
        """The servers that answered, in order: more than one where redirects were followed."""
        return [a.headers.get("X-Server", "") for a in [*self.answer.history, self.answer]]

    @property
    def server(self) -> str:
        """The server that gave this page."""
        return self.servers[-1]

    @property
    def form(self) -> Form:
        """The first form of the page; its action is a whole URL."""
        form = forms_of(self.text)[0]
        return Form(urljoin(self.answer.url, form.action), form.values)

    def json(self) -> Any:
        """Return what an answer in JSON says."""
        return self.answer.json()


class Browser:
    """One person's browser: keeps cookies, follows redirects, submits forms.

    >>> page = Browser("http://127.0.0.1:8000").get("/")            # doctest: +SKIP
    >>> page = browser.submit(page, files=[picture("leo.png")])     # doctest: +SKIP
    """

    def __init__(self, site: str) -> None:
        self.site = site
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy of this machine's stands in between

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, path: str) -> Page:
        """Open a page of the site."""
        return Page(self._session.get(f"{self.site}{path}", timeout=SECONDS))

    def post(self, path: str, files: Sequence[Upload] = (), **values: Any) -> Page:
        """Send a form that no page has shown."""
        return self.send(Form(f"{self.site}{path}"), files, **values)

    def submit(self, page: Page, files: Sequence[Upload] = (), **values: Any) -> Page:
        """Send the first form of a page, with what the person has typed and chosen."""
        return self.send(page.form, files, **values)

    def send(self, form: Form, files: Sequence[Upload] = (), **values: Any) -> Page:
        """Send a form as multipart, files or not, as a form with a file input is sent."""
        typed = [(name, (None, str(value))) for name, value in values.items()]
        hidden = [(name, (None, value)) for name, value in form.values]
        parts: Any = [*hidden, *typed, *files]
        return Page(self._session.post(form.action, files=parts, timeout=SECONDS))

    def take_cookies(self, page: Page) -> None:
        """Keep the cookies of an answer that another connection of this browser got."""
        self._session.cookies.update(page.answer.cookies)


def post_alone(url: str, files: Sequence[Upload]) -> Page:
    """Send files as a browser does that has no cookie of this site yet."""
    with Browser(url) as browser:
        return browser.post("", files)


def picture(
    name: str = "leo.png", field: str = "avatar", size: tuple[int, int] = (64, 48)
) -> Upload:
    """Draw a picture in which no two pixels of a row are alike."""
    image = Image.linear_gradient("L").resize(size).rotate(30)
    ImageDraw.Draw(image).ellipse((5, 5, 30, 40), outline=255)
    return field, (name, png(image), "image/png")


def bytes_of(upload: Upload) -> bytes:
    """Return the bytes that were sent."""
    return upload[1][1]


def cropped(upload: Upload, box: tuple[int, int, int, int]) -> bytes:
    """Crop a picture here, without any server."""
    with Image.open(BytesIO(bytes_of(upload))) as image:
        return png(image.crop(box))


def png(image: Image.Image) -> bytes:
    """Return the bytes of a picture's file."""
    file = BytesIO()
    image.save(file, "png")
    return file.getvalue()
