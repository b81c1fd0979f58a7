"""HTML in → HTML out: which forms of a page are ours, and the bytes that are added to them.

Two mistakes are possible, and they do not weigh the same. A form that is missed costs one more
upload; a form that is wrongly taken gives the token to somebody else, or breaks a page. So every
doubt is a no, and ``{{ s3handoff.fields() }}`` remains as the explicit way (threats 4).

Bytes are only added: taking them out again gives the app's page, byte for byte (rule 6).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urljoin

from .formreader import FileInput, FormElement, read_forms
from .origins import is_own_url
from .paths import TOKEN_FIELD

MAX_PAGE_BYTES = 4 << 20
REQUIRED_MARK = b"data-s3handoff-"  # put before the word `required` (H64)

_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")
_FORM = re.compile(rb"<[fF][oO][rR][mM][\t\n\f\r />]")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s;\"']+)", re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """A form that goes by POST to our own origin, whichever of its buttons is pressed.

    ``insert_at`` is the offset right after its start tag; ``action`` its address relative to the
    page (None: the page itself); ``marked`` its ``data-s3handoff``, which may say ``"off"``;
    ``has_token`` tells that it holds an input of ours already (H63).
    """

    insert_at: int
    action: str | None = None
    marked: str | None = None
    file_inputs: tuple[FileInput, ...] = ()
    has_token: bool = False

    def is_wanted(self, inject: str) -> bool:
        """Tell whether it may be given a token, by what it says itself and ``S3HANDOFF_INJECT``."""
        asked = self.marked is not None or inject == "same-origin"
        return asked and self.marked != "off" and not self.has_token


def eligible_forms(
    page: bytes, *, charset: str | None, trusted_origins: Collection[str] = ()
) -> list[Form]:
    """Find the forms of a whole page that may carry a token; ``charset`` is its Content-Type's.

    Forms that are marked ``"off"`` or have a token already are returned too: the caller skips them.

    >>> [form.action for form in eligible_forms(b"<form method=post action=/save>", charset=None)]
    ['/save']
    """
    if len(page) > MAX_PAGE_BYTES or not _FORM.search(page) or not is_readable(page, charset):
        return []
    found = read_forms(page, partial(is_own_url, trusted_origins=trusted_origins))
    return [_form(element, found.base) for element in found.accepted()]


def _form(element: FormElement, base: str | None) -> Form:
    action, controls = element.action, element.controls
    return Form(
        insert_at=element.insert_at,
        action=urljoin(base, action) if base and action is not None else action,
        marked=element.marked,
        file_inputs=tuple(controls.file_inputs),
        has_token=controls.have_token,
    )


def charset_of(content_type: str) -> str | None:
    """Return the charset that a Content-Type names.

    >>> charset_of("text/html; charset=utf-8")
    'utf-8'
    """
    found = _CHARSET.search(content_type)
    return found and found[1]


def hidden_input(token: str) -> bytes:
    """Return the input that carries this token; no character of it can end the attribute.

    >>> hidden_input("abc")
    b'<input type="hidden" name="_s3handoff" value="abc" autocomplete="off">'
    """
    if not _TOKEN.fullmatch(token):
        raise ValueError("a token consists of A-Z a-z 0-9 . _ ~ - only")
    tag = f'<input type="hidden" name="{TOKEN_FIELD}" value="{token}" autocomplete="off">'
    return tag.encode()


def splice(page: bytes, additions: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the page with bytes added at these offsets; nothing is taken away.

    >>> splice(b"ac", [(1, b"b"), (2, b"d")])
    b'abcd'
    """
    pieces, done = [], 0
    for at, added in sorted(additions, key=lambda addition: addition[0]):
        if not 0 <= at <= len(page):
            raise ValueError(f"offset {at} is outside of a page of {len(page)} bytes")
        pieces += [page[done:at], added]
        done = at
    return b"".join([*pieces, page[done:]])


# --- Can the bytes be read at all? In these charsets `<`, `>`, quotes, `=`, `/` and space mean what
# they mean in ASCII wherever they stand (threats 4.3).

_READABLE = re.compile(
    r"utf-?8|unicode-1-1-utf-8|(?:us-)?ascii|(?:iso-?8859-?|latin|l)[0-9]{1,2}(?:-[ei])?"
    r"|(?:windows-|x-cp|cp)125[0-8]|windows-874|koi8(?:-[ru])?|gbk|x-gbk|gb_?2312|gb18030"
    r"|big5(?:-hkscs)?|(?:x-)?euc-(?:jp|kr)|shift[-_]jis|x-sjis|sjis|ms_kanji|windows-(?:31j|949)"
)
_LABEL = re.compile(
    rb"[cC][hH][aA][rR][sS][eE][tT][\t\n\f\r ]*+=[\t\n\f\r \"']*+([^\t\n\f\r \"'/>;]*+)"
)


def is_readable(page: bytes, charset: str | None) -> bool:
    """Tell whether the markup is in plain ASCII bytes; ``charset`` is the Content-Type's, if any.

    >>> is_readable(b"<p>", "utf-8"), is_readable(b"<p>", "utf-16"), is_readable(b"<p>", None)
    (True, False, True)
    """
    if page.startswith(b"\xef\xbb\xbf"):
        return True
    if page.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    labels = [charset] if charset else [label.decode("latin-1") for label in _LABEL.findall(page)]
    if not labels:
        return b"\x1b" not in page and b"\0" not in page  # else a browser might guess (H52)
    return all(_READABLE.fullmatch(label.strip(" \t\"'").lower()) for label in labels)
