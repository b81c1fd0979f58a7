"""What one tag says: where it sends its form, and what else its form should know of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .htmlscan import Attribute, Tag, attributes
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


def value_of(first: First, name: bytes) -> str | None:
    """Return the value of an attribute; None without the attribute."""
    return first[name].value if name in first else None


def may_matter(text: bytes) -> bool:
    """Tell whether the text of a control is worth a closer look; most controls are not."""
    return _MAY_MATTER.search(text.lower()) is not None


def controls_of(page: bytes, tag: Tag, first: First, is_own: IsOwn) -> Controls:
    """Return what one control says of its form; any type counts, for scripts may change it."""
    method = value_of(first, b"formmethod")
    by_get = method is not None and method.lower() not in _SUBMITS  # token in the URL (H25)
    is_input = tag.name == b"input"
    return Controls(
        send_elsewhere=by_get or sends_elsewhere(first, b"formaction", b"formenctype", is_own),
        use_base=bool(value_of(first, b"formaction")),
        have_token=is_input and value_of(first, b"name") == TOKEN_FIELD,
        file_inputs=_file_inputs(page, tag, first) if is_input else [],
    )


def sends_elsewhere(first: First, url: bytes, encoding: bytes, is_own: IsOwn) -> bool:
    """Tell whether the addresses of a form or a control, or the encoding, are not for us."""
    if (value_of(first, encoding) or "").lower() == "text/plain":
        return True  # no server can parse it (H28)
    return any(
        name.endswith(b"hx-get") or not is_own(attribute.value)
        for name, attribute in first.items()
        if name == url or _HTMX.fullmatch(name) or _TURBO.match(name)
    )


def _file_inputs(page: bytes, tag: Tag, first: First) -> list[FileInput]:
    name = value_of(first, b"name")
    if not name or (value_of(first, b"type") or "").lower() != "file":
        return []
    required = [a.at for a in attributes(page, tag) if a.name == b"required"]
    return [FileInput(name, required[0] if len(required) == 1 else None)]
