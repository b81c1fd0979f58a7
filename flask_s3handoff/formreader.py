"""Which form elements would a browser make of a page, and where would their buttons send them?

A reading follows the tags of a page with as much of a parser's memory as forms need: the "form
element pointer", tables, templates and the like. What may send a form elsewhere refuses it, also
when it comes later in the page or stands outside of the form; so a page is read whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from .htmlscan import (
    BARRIERS,
    CELLS,
    FORMATTING,
    Attribute,
    Doubt,
    Tag,
    attributes,
    first_attributes,
    is_in_cell,
    tags,
)
from .origins import clean_url
from .paths import TOKEN_FIELD

First = Mapping[bytes, Attribute]  # of each attribute the first, as browsers keep it
IsOwn = Callable[[str], bool]

_SUBMITS = frozenset({"post", "dialog"})
# htmx and Turbo send a form elsewhere than its action says (H44).
_HTMX = re.compile(rb"(?:data-)?hx-(?:get|post|put|patch|delete)")
_TURBO = re.compile(rb"data-turbo-(?!confirm)")
_MAY_MATTER = re.compile(
    rb"[\t\n\f\r /\"']form(?:action|method|enctype)?[\t\n\f\r =/>]|file|hx-|turbo|&|_s3handoff"
)

# Beyond these a page takes too long to read (H83).
MAX_FORMS = 200
MAX_CONTROLS = 1000
MAX_TAGS, BYTES_PER_TAG = 2000, 32

# What, behind a doubt, may change the answer for a form before it. Apart they are fast to find.
_LATER = re.compile(rb"form(?:action|method|enctype|(?<=[\s/\"']form)\s*=)")
_LATER_TYPE = re.compile(rb"type\s*=\s*[\"']?(?:file|[a-z]*&)")
# What makes a parser reopen formatting elements just where our input would do it as well.
_REOPENS = re.compile(rb"[^<\0]|<(?:[^a-zA-Z/!?]|(?:input|label|span)[\t\n\f\r />])", re.IGNORECASE)


@dataclass(frozen=True)
class FileInput:
    """A file input of a form; ``required_at`` is the offset of its word ``required``, if any."""

    name: str
    required_at: int | None = None


@dataclass
class Controls:
    """What the controls of one form say about it."""

    send_elsewhere: bool = False
    use_base: bool = False
    have_token: bool = False
    file_inputs: list[FileInput] = field(default_factory=list)

    def adopt(self, others: Controls) -> None:
        """Take over other controls; their file inputs go to the first form that asks."""
        self.send_elsewhere |= others.send_elsewhere
        self.use_base |= others.use_base
        self.have_token |= others.have_token
        self.file_inputs += others.file_inputs
        others.file_inputs = []


@dataclass(eq=False)
class FormElement:
    """A form as a parser has it, ours or not.

    ``depth`` counts the barriers around it. It is bare when our input would be the first to reopen
    formatting elements in it, and loose when it stands between the cells of a table and stays
    empty there, whatever follows.
    """

    insert_at: int
    depth: int
    action: str | None
    marked: str | None
    form_id: str | None
    is_refused: bool
    is_bare: bool
    is_loose: bool
    controls: Controls = field(default_factory=Controls)


def read_forms(page: bytes, is_own: IsOwn) -> Reading:
    """Read a page up to its end or its first doubt; ``is_own`` judges the addresses in it."""
    reading = _read(page, is_own, formatting=False)
    if any(form.is_bare for form in reading.accepted()):
        return _read(page, is_own, formatting=True)
    return reading


def _read(page: bytes, is_own: IsOwn, *, formatting: bool) -> Reading:
    reading = Reading(page, is_own)
    try:
        for tag in tags(page, formatting=formatting):
            reading.take(tag)
    except Doubt as doubt:
        if _matters_later(page[doubt.at :].lower()):
            reading.forms.clear()
    reading.end()
    return reading


def _matters_later(rest: bytes) -> bool:
    found = _LATER.search(rest) or _LATER_TYPE.search(rest)
    return bool(found) or any(w in rest for w in (b"<base", b"hx-", b"data-turbo", b"_s3handoff"))


class Reading:
    """One pass over the tags of a page."""

    def __init__(self, page: bytes, is_own: IsOwn) -> None:
        self.page, self.is_own = page, is_own
        self.tags_left = MAX_TAGS + len(page) // BYTES_PER_TAG
        self.controls_left = MAX_CONTROLS
        self.forms: list[FormElement] = []
        self.elsewhere: dict[str, Controls] = {}  # those that name the id of their form
        self.spoilt = self.rebased = 0  # so many forms, from the first on, share what orphans do
        self.pointer: FormElement | None = None  # the parser's "form element pointer"
        self.barriers: list[bytes] = []
        self.templates = 0
        self.in_select = self.in_button = False
        self.around_noscript: tuple[FormElement | None, int, bool] | None = None
        self.base: str | None = None
        self.base_is_foreign = False
        self.unclosed, self.unclosed_total = Counter[bytes](), 0  # formatting elements
        self.opened_at: dict[bytes, int] = {}
        self.is_unsettled = False

    def take(self, tag: Tag) -> None:
        """Learn from one tag."""
        self.tags_left -= 1
        if self.tags_left < 0 or self.controls_left < 0:
            raise Doubt(tag.start)
        if self.in_select and tag.name not in _IN_SELECT:
            raise Doubt(tag.start)  # parsers before and after 2025 differ (H18)
        handler = _HANDLERS.get(tag.name)
        if handler and (not self.templates or tag.name in _IN_TEMPLATE):
            handler(self, tag)
        elif tag.name in BARRIERS:
            self.is_unsettled = True  # </template> clears up to its marker, and no further

    def end(self) -> None:
        """Give the controls that name a form by its id to that form."""
        for form_id, controls in self.elsewhere.items():
            if controls.send_elsewhere and not (form_id.isascii() and form_id.isprintable()):
                self.forms.clear()  # who knows which id a browser takes it for
        for form in self.forms:
            if form.form_id in self.elsewhere:
                form.controls.adopt(self.elsewhere[form.form_id])

    def accepted(self) -> Iterator[FormElement]:
        """Yield the forms that may carry a token, once the reading has ended."""
        refused_before = False
        spoilt = max(self.spoilt, self.rebased if self.base_is_foreign else 0)
        for number, form in enumerate(self.forms):
            may_change_hands = form.is_loose and refused_before
            if number < spoilt or may_change_hands or self._refuses(form):
                refused_before = True
            else:
                yield form

    def _refuses(self, form: FormElement) -> bool:
        uses_base = form.action is not None or form.controls.use_base
        return (
            form.is_refused
            or form.controls.send_elsewhere
            or (uses_base and self.base_is_foreign)  # H31–H34
        )

    def _form(self, tag: Tag) -> None:
        if tag.is_end:
            self._end_form(tag)
        elif len(self.forms) == MAX_FORMS:
            raise Doubt(tag.start)
        elif self.pointer is None:  # else a browser ignores the tag (H29, threats 0.2)
            self.pointer = self._element(tag)
            self.forms.append(self.pointer)

    def _end_form(self, tag: Tag) -> None:
        form, self.pointer = self.pointer, None
        if form and form.depth != len(self.barriers):
            raise Doubt(tag.start)  # the pointer is clear, but the form may stay open (H29c)

    def _element(self, tag: Tag) -> FormElement:
        first = first_attributes(self.page, tag)
        action = _value_of(first, b"action")
        is_bare = not _REOPENS.match(self.page, tag.end)
        is_unsettled = self.is_unsettled or self.unclosed_total > 0
        return FormElement(
            insert_at=tag.end,
            depth=len(self.barriers),
            action=clean_url(action) if action else None,
            marked=_value_of(first, b"data-s3handoff"),
            form_id=_value_of(first, b"id"),
            is_refused=(_value_of(first, b"method") or "").lower() != "post"
            or _sends_elsewhere(first, b"action", b"enctype", self.is_own)
            or (is_bare and is_unsettled),
            is_bare=is_bare,
            is_loose=b"table" in self.barriers and not is_in_cell(self.page, tag),
        )

    def _button(self, tag: Tag) -> None:
        if self.in_button and not tag.is_end:
            raise Doubt(tag.start)  # it closes the other one, and the forms in that
        self.in_button = not tag.is_end
        if not tag.is_end:
            self._control(tag)

    def _control(self, tag: Tag) -> None:
        if not _MAY_MATTER.search(self.page[tag.start : tag.end].lower()):
            return
        self.controls_left -= 1
        first = first_attributes(self.page, tag)
        controls = _controls_of(self.page, tag, first, self.is_own)
        form_id = _value_of(first, b"form")
        if form_id is not None:
            self.elsewhere.setdefault(form_id, Controls()).adopt(controls)
            return
        # After `<form><b></form>` a parser has no form, and the control may still be inside of one.
        if not self.pointer or self.pointer.is_loose:
            self.spoilt = len(self.forms) if controls.send_elsewhere else self.spoilt
            self.rebased = len(self.forms) if controls.use_base else self.rebased
        if self.forms:
            self.forms[-1].controls.adopt(controls)

    def _base(self, tag: Tag) -> None:
        href = _value_of(first_attributes(self.page, tag), b"href")
        if href is None:
            return
        self.base_is_foreign |= not self.is_own(href)
        if self.base is None:
            self.base = clean_url(href)

    def _barrier(self, tag: Tag) -> None:
        self._settle(tag)
        if self.around_noscript or self.in_button:
            raise Doubt(tag.start)
        if not tag.is_end:
            self.barriers.append(tag.name)
        elif self.barriers and self.barriers.pop() != tag.name:
            raise Doubt(tag.start)
        if self.pointer and self.pointer.depth > len(self.barriers):
            self.pointer.depth = -1  # what it stood in is closed: no `</form>` matches any more

    def _select(self, tag: Tag) -> None:
        self._settle(tag)
        self.in_select = not tag.is_end

    def _template(self, tag: Tag) -> None:
        self._settle(tag)
        self.templates = max(0, self.templates + (-1 if tag.is_end else 1))

    def _noscript(self, tag: Tag) -> None:
        """Let through what means the same with and without scripting (H11)."""
        self._settle(tag)
        state = self.pointer, self.templates, self.in_button
        if tag.is_end and state != self.around_noscript:
            raise Doubt(tag.start)
        self.around_noscript = None if tag.is_end else state

    def _frameset(self, tag: Tag) -> None:
        raise Doubt(tag.start)  # it may replace the body (H19)

    def _formatting(self, tag: Tag) -> None:
        """Count what is open; an end tag does not count behind eight blocks that are open in it."""
        if not tag.is_end:
            self.opened_at.setdefault(tag.name, tag.end)
            self.unclosed[tag.name] += 1
            self.unclosed_total += 1
        elif self.unclosed[tag.name]:
            self.unclosed[tag.name] -= 1
            self.unclosed_total -= 1
        if tag.is_end and not self.unclosed[tag.name]:
            inside = self.opened_at.pop(tag.name, tag.start), tag.start
            opened = self.page.count(b"<", *inside) - 2 * self.page.count(b"</", *inside)
            self.is_unsettled |= opened >= 8

    def _settle(self, _tag: Tag) -> None:
        """Remember for good that a formatting element was left open where its end may not count."""
        self.is_unsettled |= self.unclosed_total > 0


_IN_SELECT = FORMATTING | {b"select", b"input", b"button", b"base"}
_IN_TEMPLATE = frozenset({b"template", b"select", b"noscript"})
_HANDLERS = {
    **dict.fromkeys(BARRIERS, Reading._barrier),
    **dict.fromkeys(FORMATTING, Reading._formatting),
    **dict.fromkeys(CELLS, Reading._settle),
    b"form": Reading._form,
    b"input": Reading._control,
    b"button": Reading._button,
    b"base": Reading._base,
    b"select": Reading._select,
    b"template": Reading._template,
    b"noscript": Reading._noscript,
    b"frameset": Reading._frameset,
}


def _value_of(first: First, name: bytes) -> str | None:
    """Return the value of an attribute; None without the attribute."""
    return first[name].value if name in first else None


def _controls_of(page: bytes, tag: Tag, first: First, is_own: IsOwn) -> Controls:
    """Return what one control says of its form; any type counts, for scripts may change it."""
    method = _value_of(first, b"formmethod")
    by_get = method is not None and method.lower() not in _SUBMITS  # token in the URL (H25)
    is_input = tag.name == b"input"
    return Controls(
        send_elsewhere=by_get or _sends_elsewhere(first, b"formaction", b"formenctype", is_own),
        use_base=bool(_value_of(first, b"formaction")),
        have_token=is_input and _value_of(first, b"name") == TOKEN_FIELD,
        file_inputs=_file_inputs(page, tag, first) if is_input else [],
    )


def _sends_elsewhere(first: First, url: bytes, encoding: bytes, is_own: IsOwn) -> bool:
    """Tell whether the addresses of a form or a control, or the encoding, are not for us."""
    if (_value_of(first, encoding) or "").lower() == "text/plain":
        return True  # no server can parse it (H28)
    return any(
        name.endswith(b"hx-get") or not is_own(attribute.value)
        for name, attribute in first.items()
        if name == url or _HTMX.fullmatch(name) or _TURBO.match(name)
    )


def _file_inputs(page: bytes, tag: Tag, first: First) -> list[FileInput]:
    name = _value_of(first, b"name")
    if not name or (_value_of(first, b"type") or "").lower() != "file":
        return []
    required = [a.at for a in attributes(page, tag) if a.name == b"required"]
    return [FileInput(name, required[0] if len(required) == 1 else None)]
