"""A browser without a screen: forms, cookies, redirects, Back; for tests inside one process.

It sends what a browser would send and nothing more: the controls of one form, hidden ones and empty
file inputs included, by the form's own method, enctype and action. ``Back`` needs no method: a
``Page`` never changes, so a test goes back by keeping one::

    browser = Browser(fleet)
    crop = browser.submit(browser.open("/"), avatar=Upload("leo.png", b"…"))
    first = browser.submit(crop, width="200")
    again = browser.submit(crop, width="300")        # Back, and another crop
"""

from __future__ import annotations

import re
import secrets
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import html5lib
from werkzeug.datastructures import Headers
from werkzeug.test import Client

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MAX_REDIRECTS = 20
MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
_BUTTONS = frozenset({"submit", "image", "button", "reset"})
T = TypeVar("T")


class Upload(NamedTuple):
    """A file that a person chooses."""

    filename: str
    data: bytes
    content_type: str = "application/octet-stream"


Value = str | Upload | list[Upload] | list[str] | None


class Refused(Exception):
    """The browser does not submit the form: a required file input is empty."""


@dataclass(frozen=True)
class Control:
    """One control of a form as it stands in the page."""

    tag: str
    name: str
    type: str
    value: str
    element: ET.Element

    def has(self, attribute: str) -> bool:
        """Tell whether a boolean attribute is there."""
        return attribute in self.element.attrib


@dataclass(frozen=True)
class Form:
    """A form of a page; ``action`` is the URL that it goes to."""

    page_url: str
    element: ET.Element
    controls: tuple[Control, ...]

    @property
    def action(self) -> str:
        """The URL to which the form is sent; without an action, the page's own."""
        return urljoin(self.page_url, self.element.get("action") or self.page_url)

    @property
    def tokens(self) -> list[str]:
        """The values of our hidden inputs in it."""
        return [c.value for c in self.controls if c.name == "_s3handoff"]

    @property
    def token(self) -> str:
        """The one token in it."""
        (token,) = self.tokens
        return token


@dataclass(frozen=True)
class Page:
    """What a browser shows after one navigation; ``hops`` are the redirects before it."""

    url: str
    status: int
    headers: Headers
    data: bytes
    hops: tuple[Hop, ...] = ()

    @property
    def text(self) -> str:
        """The body as text."""
        return self.data.decode("utf-8", "replace")

    @property
    def location(self) -> str:
        """Where an answer that was not followed points to."""
        return self.headers["Location"]

    @cached_property
    def forms(self) -> list[Form]:
        """The forms of the page, in order."""
        tree = html5lib.parse(self.text, namespaceHTMLElements=False)
        return [
            Form(self.url, element, tuple(_controls_of(tree, element)))
            for element in tree.iter("form")
        ]

    def form(self, which: str | int = 0) -> Form:
        """Return a form by its place, its id or its action."""
        if isinstance(which, int):
            return self.forms[which]
        known = ("id", "action", "name")
        (found,) = [f for f in self.forms if which in [f.element.get(k) for k in known]]
        return found

    @property
    def tokens(self) -> list[str]:
        """Every token in the page."""
        return re.findall(r'name="_s3handoff" value="([^"]*)"', self.text)


class Hop(NamedTuple):
    """One redirect on the way to a page."""

    status: int
    location: str
    headers: Headers


@dataclass
class Browser:
    """One person's browser: a cookie jar over any WSGI app."""

    app: WSGIApplication
    origin: str = "http://localhost"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = Client(self.app)

    def open(self, url: str, *, follow: bool = True, **headers: str) -> Page:
        """Go to a URL: a link, the address bar, a reload."""
        return self.send("GET", url, follow=follow, headers=headers)

    def reload(self, page: Page) -> Page:
        """Ask for the same URL again."""
        return self.open(page.url)

    def post(
        self,
        url: str,
        values: Iterable[tuple[str, str | Upload]] = (),
        *,
        enctype: str = MULTIPART,
        follow: bool = True,
        **headers: str,
    ) -> Page:
        """Send these values without a page."""
        body, content_type = encode(values, enctype)
        return self.send("POST", url, body, content_type, follow=follow, headers=headers)

    def submit(
        self,
        page: Page,
        form: str | int = 0,
        button: str | None = None,
        *,
        follow: bool = True,
        **values: Value,
    ) -> Page:
        """Fill a form of this page in and press a button (by name; the first, unless told)."""
        return self.submit_form(page.form(form), values, button, follow=follow)

    def submit_form(
        self,
        form: Form,
        values: Mapping[str, Value],
        button: str | None = None,
        *,
        follow: bool = True,
    ) -> Page:
        """Send one form as HTML says: its successful controls, in the order of the page."""
        pressed = _pressed(form, button)
        attributes = form.element.attrib
        method = (pressed and pressed.element.get("formmethod")) or attributes.get("method", "get")
        enctype = (pressed and pressed.element.get("formenctype")) or attributes.get("enctype")
        action = pressed.element.get("formaction") if pressed else None
        url = urljoin(form.page_url, action) if action else form.action
        entries = list(_entries(form, values, pressed))
        if method.lower() != "post":
            query = urlencode([(name, _text(value)) for name, value in entries])
            return self.open(f"{url.partition('?')[0]}?{query}", follow=follow)
        return self.post(url, entries, enctype=enctype or URLENCODED, follow=follow)

    def send(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        content_type: str | None = None,
        *,
        follow: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Page:
        """Send one request, and go where it points: a 307 or 308 sends the body again."""
        url, hops = urljoin(self.origin, url), list[Hop]()
        while True:
            page = self._ask(method, url, body, content_type, headers or {})
            if page.status not in (301, 302, 303, 307, 308) or not follow:
                return Page(page.url, page.status, page.headers, page.data, tuple(hops))
            hops.append(Hop(page.status, page.location, page.headers))
            assert len(hops) < MAX_REDIRECTS, f"a loop of redirects: {hops[-3:]}"
            url = urljoin(url, page.location)
            if page.status not in (307, 308) and method != "HEAD":
                method, body, content_type = "GET", b"", None

    def _ask(
        self,
        method: str,
        url: str,
        body: bytes,
        content_type: str | None,
        headers: Mapping[str, str],
    ) -> Page:
        parts = urlsplit(url)
        named = {k.replace("_", "-"): v for k, v in {**self.headers, **headers}.items()}
        with self.client.open(
            parts.path or "/",
            base_url=f"{parts.scheme}://{parts.netloc}",
            query_string=parts.query,
            method=method,
            data=body,
            content_type=content_type,
            headers=named,
        ) as answer:
            return Page(url, answer.status_code, answer.headers, answer.get_data())

    @property
    def cookies(self) -> list[str]:
        """The names of its cookies."""
        return sorted(cookie.key for cookie in self._jar.values())

    @property
    def _jar(self) -> dict[Any, Any]:
        jar: dict[Any, Any] = self.client._cookies  # type: ignore[assignment]  # None without a jar
        return jar

    def together(self, *errands: Callable[[Browser], T]) -> list[T]:
        """Do several things at once, as a page does that sends three requests in parallel.

        All of them leave with the cookies of this moment; what they bring back is put together.
        """
        lines = [Browser(self.app, self.origin, self.headers) for _ in errands]
        found: list[T | BaseException] = [AssertionError("not done")] * len(errands)

        def run(place: int) -> None:
            try:
                found[place] = errands[place](lines[place])
            except BaseException as error:  # noqa: BLE001 - raised again below, by the test's thread
                found[place] = error

        for line in lines:
            line._jar.update(self._jar)
        threads = [threading.Thread(target=run, args=(place,)) for place in range(len(errands))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for line in lines:
            self._jar.update(line._jar)
        return [_raised(outcome) for outcome in found]


def _raised(outcome: T | BaseException) -> T:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


# --- what a form sends (HTML, "constructing the form data set") --------------------------------------


def _controls_of(tree: ET.Element, form: ET.Element) -> Iterator[Control]:
    """Yield the controls whose owner is this form: those inside, and those that name its id."""
    inside = set(form.iter())
    for element in tree.iter():
        if element.tag not in ("input", "button", "select", "textarea"):
            continue
        owner = element.get("form")
        if owner == form.get("id") if owner is not None else element in inside:
            yield _control(element)


def _control(element: ET.Element) -> Control:
    tag = str(element.tag)
    default = {"input": "text", "button": "submit"}.get(tag, tag)
    value = element.get("value", "")
    if tag == "textarea":
        value = "".join(element.itertext())
    if tag == "select":
        value = _selected(element)
    return Control(tag, element.get("name", ""), element.get("type", default), value, element)


def _selected(select: ET.Element) -> str:
    options = list(select.iter("option"))
    chosen = [option for option in options if "selected" in option.attrib] or options
    return chosen[0].get("value", "".join(chosen[0].itertext())) if chosen else ""


def _pressed(form: Form, button: str | None) -> Control | None:
    submits = [c for c in form.controls if c.type in ("submit", "image")]
    if button is None:
        return submits[0] if submits else None
    return next(c for c in submits if button in (c.name, c.value))


def _entries(
    form: Form, values: Mapping[str, Value], pressed: Control | None
) -> Iterator[tuple[str, str | Upload]]:
    unknown = set(values) - {control.name for control in form.controls}
    assert not unknown, f"the form has no field named {sorted(unknown)}"
    for control in form.controls:
        if not control.name or control.has("disabled"):
            continue
        if control.type in _BUTTONS:
            if pressed is not None and control.element is pressed.element:
                yield control.name, control.value
        elif control.type in ("checkbox", "radio"):
            yield from _ticked(control, values)
        else:
            for value in _filled(control, values.get(control.name)):
                yield control.name, value


def _ticked(control: Control, values: Mapping[str, Value]) -> Iterator[tuple[str, str | Upload]]:
    value = control.element.get("value", "on")
    wanted = values.get(control.name)
    if control.has("checked") if wanted is None else wanted == value:
        yield control.name, value


def _filled(control: Control, value: Value) -> list[Upload] | list[str]:
    if control.type == "file":
        return _chosen(control, value)
    if value is None:
        return [control.value]
    assert isinstance(value, str), f"{control.name} takes text"
    return [value]


def _chosen(control: Control, value: Value) -> list[Upload]:
    """Return the files of an input; none chosen goes as one nameless, empty part."""
    if value is None and control.has("required"):
        raise Refused(control.name)
    files = value if isinstance(value, list) else [value] if value is not None else []
    assert len(files) < 2 or control.has("multiple"), f"{control.name} takes one file"
    return [f for f in files if isinstance(f, Upload)] or [Upload("", b"")]


# --- how it sends it ---------------------------------------------------------------------------------


def encode(values: Iterable[tuple[str, str | Upload]], enctype: str) -> tuple[bytes, str]:
    """Return the body and its content type; a urlencoded form sends the names of files only."""
    if enctype != MULTIPART:
        return urlencode([(name, _text(value)) for name, value in values]).encode(), URLENCODED
    boundary = f"----FormBoundary{secrets.token_hex(8)}"
    parts = [_part(name, value) for name, value in values]
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    return body + f"--{boundary}--\r\n".encode(), f"{MULTIPART}; boundary={boundary}"


def _text(value: str | Upload) -> str:
    return value.filename if isinstance(value, Upload) else value


def _part(name: str, value: str | Upload) -> bytes:
    head = f'Content-Disposition: form-data; name="{_quoted(name)}"'
    if isinstance(value, str):
        return f"{head}\r\n\r\n{value}".encode()
    head += f'; filename="{_quoted(value.filename)}"\r\nContent-Type: {value.content_type}'
    return f"{head}\r\n\r\n".encode() + value.data


def _quoted(text: str) -> str:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
