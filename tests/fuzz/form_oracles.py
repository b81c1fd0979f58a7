"""Two HTML parsers and a URL parser that we did not write, asked whether an injection was right.

* **html5lib** records the form owner that its parser gives to every control. It knows no
  ``<template>``, so pages with one are not its to judge. Pages with ``<noscript>`` it reads twice,
  with and without scripting.
* **lexbor** (selectolax) judges every page, but shows no form owner. Our input's is the nearest form
  around it, or the empty one right before it (between the rows of a table forms stay empty). A
  button's is the nearest form around it, if no other form has begun since: if one has, the button
  may be that one's, so it is counted as unsure and left to html5lib.
* **ada** resolves addresses by the WHATWG rules.

Of an input whose owner is not its nearest ancestor form, that form has to be ours as well: the input
changes hands as soon as a script serialises that part of the page (H29c).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from xml.etree import ElementTree as ET

import ada_url
import html5lib
from html5lib.treebuilders import etree
from selectolax.lexbor import LexborHTMLParser, LexborNode

from flask_s3handoff.forms import eligible_forms, hidden_input, splice

# `https:evil` is a relative address on an https page and an absolute one on an http page.
PAGE_URLS = ("https://app.example/dir/page?q=1", "http://app.example/dir/page?q=1")
_OURS = re.compile(r'<input type="hidden" name="_s3handoff" value="T[0-9]+" autocomplete="off">')
_HTML = "{http://www.w3.org/1999/xhtml}"


@dataclass
class Element:
    """What an oracle knows of an element; ``key`` tells it from all others."""

    name: str
    attributes: dict[str, str]
    key: object
    node: Any
    is_foreign: bool = False

    def get(self, name: str, default: str = "") -> str:
        """Return the value of an attribute, or the default."""
        return self.attributes.get(name, default)


class Document(Protocol):
    """A parsed page."""

    unsure: int

    def elements(self) -> Iterator[Element]:
        """Yield the elements of the page in tree order, without those in templates."""

    def owner(self, control: Element) -> object | None:
        """Return the key of the form that this control belongs to."""

    def nearest(self, control: Element) -> object | None:
        """Return the key of the nearest form around this control."""

    def content(self) -> object:
        """Return the whole page without our inputs, to be compared."""


@dataclass
class Verdict:
    """What one oracle says of one page."""

    wrong: list[str] = field(default_factory=list)
    is_disturbed: bool = False
    unsure: int = 0


def inject(page: bytes) -> tuple[bytes, int]:
    """Return the page with a numbered token in each form of ours, and how many there are."""
    forms = [f for f in eligible_forms(page, charset="utf-8") if not f.has_token]
    inputs = [hidden_input(f"T{number}") for number in range(len(forms))]
    return splice(page, zip((form.insert_at for form in forms), inputs, strict=True)), len(forms)


def without_ours(page: bytes) -> bytes:
    """Take our inputs out again."""
    return re.sub(_OURS.pattern.encode(), b"", page)


def judge(parse: Callable[[str], Document], page: str, injected: str) -> Verdict:
    """Ask one oracle about one page before and after."""
    after = parse(injected)
    wrong, is_disturbed = _wrong(after), after.content() != parse(page).content()
    return Verdict(wrong, is_disturbed, after.unsure)


def eligible(document: Document) -> int:
    """Count the forms that may carry a token, as this oracle sees the page."""
    elements = list(document.elements())
    forms = [e for e in elements if e.name == "form" and not e.is_foreign]
    return sum(1 for form in forms if not _reasons(document, elements, form))


def _wrong(document: Document) -> list[str]:
    elements = list(document.elements())
    forms = {e.key: e for e in elements if e.name == "form" and not e.is_foreign}
    wrong = []
    for control in elements:
        if control.name != "input" or not re.fullmatch("T[0-9]+", control.get("value")):
            continue
        form = forms.get(document.owner(control))
        if form is None or control.is_foreign:
            wrong.append("without a form")
        else:
            wrong += _reasons(document, elements, form)
            around = forms.get(document.nearest(control), form)
            wrong += [f"{r} when moved" for r in _reasons(document, elements, around)]
    return wrong


def _reasons(document: Document, elements: list[Element], form: Element) -> list[str]:
    """Say why this form must not carry a token."""
    base = next((e for e in elements if e.name == "base" and "href" in e.attributes), None)
    href = base.get("href") if base else ""
    method, action, enctype = form.get("method"), form.get("action"), form.get("enctype")
    reasons = _objections(method, action, enctype, href)
    for control in elements:
        if _submits(control) and _owner(document, elements, control) == form.key:
            overridden = (
                control.get("formmethod", method),
                control.get("formaction", action),
                control.get("formenctype", enctype),
            )
            reasons += _objections(*overridden, href) if _is_sent(control) else []
    return reasons


def _objections(method: str, action: str, enctype: str, base: str) -> list[str]:
    objections = []
    if method.lower() != "post":
        objections.append(f"method {method!r}")
    if enctype.lower() == "text/plain":
        objections.append("text/plain")
    if action and not all(_is_own(action, base, page_url) for page_url in PAGE_URLS):
        objections.append(f"goes to {action!r}")
    return objections


def _is_sent(control: Element) -> bool:
    return control.get("formmethod").lower() != "dialog"


def _submits(control: Element) -> bool:
    kind = control.get("type").lower()
    if control.name == "button":
        return kind not in ("button", "reset")
    return control.name == "input" and kind in ("submit", "image")


def _owner(document: Document, elements: list[Element], control: Element) -> object | None:
    if "form" not in control.attributes:
        return document.owner(control)
    form_id = control.get("form")
    named = next((e for e in elements if form_id and e.attributes.get("id") == form_id), None)
    return named.key if named and named.name == "form" else None


@functools.cache
def _is_own(action: str, base: str, page_url: str) -> bool:
    try:
        base_url = ada_url.URL(base, page_url).href
    except ValueError:
        base_url = page_url
    try:
        return bool(ada_url.URL(action, base_url).origin == ada_url.URL(page_url).origin)
    except ValueError:
        return True  # the browser sends nothing


# --- html5lib


class _Builder(etree.getETreeModule(ET).TreeBuilder):  # type: ignore[misc]
    """Remember the form element pointer of every element."""

    def __init__(self, namespaceHTMLElements: bool) -> None:  # noqa: N803 (html5lib calls it so)
        super().__init__(namespaceHTMLElements)
        self.pointers: dict[Any, Any] = {}

    def insertElementNormal(self, token: Any) -> Any:  # noqa: N802
        return self._noted(super().insertElementNormal(token))

    def insertElementTable(self, token: Any) -> Any:  # noqa: N802
        return self._noted(super().insertElementTable(token))

    def _noted(self, element: Any) -> Any:
        if self.formPointer is not None:
            self.pointers[element._element] = self.formPointer._element
        return element


class Html5libDocument:
    """A page as html5lib reads it."""

    unsure = 0

    def __init__(self, page: str, *, scripting: bool = False) -> None:
        parser = html5lib.HTMLParser(tree=_Builder, namespaceHTMLElements=True)
        self.root = parser.parse(page, scripting=scripting)
        self.pointers = parser.tree.pointers
        self.parents = {child: parent for parent in self.root.iter() for child in parent}
        self.scripting = scripting

    def elements(self) -> Iterator[Element]:
        for node in self.root.iter():
            if isinstance(node.tag, str) and node.tag.startswith(_HTML):
                attributes = {str(k): v or "" for k, v in node.attrib.items()}
                yield Element(node.tag.removeprefix(_HTML), attributes, node, node)

    def owner(self, control: Element) -> object | None:
        return cast(object, self.pointers.get(control.node, self.nearest(control)))

    def nearest(self, control: Element) -> object | None:
        node = control.node
        while node is not None and node.tag != f"{_HTML}form":
            node = self.parents.get(node)
        return cast(object, node)

    def content(self) -> object:
        parts: list[object] = []
        _flatten(self.root, parts, scripting=self.scripting)
        return parts


def _flatten(node: Any, parts: list[object], *, scripting: bool) -> None:
    """Write a tree as a list, neighbouring texts joined; with scripting a noscript holds text."""
    if node.attrib.get("name") == "_s3handoff" and node.attrib.get("value", "").startswith("T"):
        return
    text = node.text or ""
    is_noscript = scripting and node.tag == f"{_HTML}noscript"
    parts.append((str(node.tag), tuple(node.attrib.items())))
    _add_text(parts, _OURS.sub("", text) if is_noscript else text)
    for child in node:
        _flatten(child, parts, scripting=scripting)
        _add_text(parts, child.tail or "")
    parts.append(None)


def _add_text(parts: list[object], text: str) -> None:
    if parts and isinstance(parts[-1], str):
        parts[-1] += text
    elif text:
        parts.append(text)


# --- lexbor


class LexborDocument:
    """A page as lexbor reads it."""

    def __init__(self, page: str) -> None:
        self.tree = LexborHTMLParser(page)
        self.unsure = 0
        self.begun: dict[object, object] = {}  # control → the last form that begins before it

    def elements(self) -> Iterator[Element]:
        last: object = None
        for node in self.tree.css(":is(base, form, input, button, [id])"):
            attributes = {k: v or "" for k, v in node.attributes.items()}
            last = node.mem_id if node.tag == "form" else last
            self.begun[node.mem_id] = last
            yield Element(str(node.tag), attributes, node.mem_id, node, _is_foreign(node))

    def owner(self, control: Element) -> object | None:
        nearest = self.nearest(control)
        if control.get("name") == "_s3handoff":
            before = control.node.prev
            is_between_rows = before is not None and before.tag == "form" and before.child is None
            return cast(object, before.mem_id) if is_between_rows else nearest
        if nearest != self.begun[control.key]:
            self.unsure += nearest is not None
            return None
        return nearest

    def nearest(self, control: Element) -> object | None:
        form = next((node for node in _ancestors(control.node) if node.tag == "form"), None)
        return form.mem_id if form else None

    def content(self) -> object:
        return _OURS.sub("", self.tree.html or "")


def _ancestors(node: LexborNode) -> Iterator[LexborNode]:
    above = node.parent
    while above is not None:
        yield above
        above = above.parent


def _is_foreign(node: LexborNode) -> bool:
    return any(above.tag in ("svg", "math") for above in _ancestors(node))


# --- who judges what


def opinions(page: str, injected: str) -> Iterator[tuple[str, Verdict | Exception]]:
    """Yield what each oracle that knows the constructs of this page says; or how it crashed."""
    oracles: list[tuple[str, Callable[[str], Document]]] = [("lexbor", LexborDocument)]
    if "<template" not in page:
        oracles.append(("html5lib", Html5libDocument))
    if "<noscript" in page and "<template" not in page:
        oracles.append(
            ("html5lib with scripting", functools.partial(Html5libDocument, scripting=True))
        )
    for name, parse in oracles:
        try:
            yield name, judge(parse, page, injected)
        except Exception as crash:  # noqa: BLE001 (an oracle's own crash is counted, not hidden)
            yield name, crash
