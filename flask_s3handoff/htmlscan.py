"""Walk over a page as a browser's tokenizer does, stopping only at the tags that matter to forms.

One regular expression swallows a whole run of text, comments and ordinary tags; what it stops at is
a tag whose name is in the lists below. Quantifiers are possessive, so every byte is read a bounded
number of times, and a construct that never ends makes the walk stop instead of trying again (H83).

What two parsers might read differently raises :exc:`Doubt`: a rewriter that guesses its context
wrong turns into a gadget (threats 0.5), so nobody should touch the page beyond that point.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Generator, Iterator
from html.entities import html5
from typing import NamedTuple

RAW_TEXT = frozenset(
    b"script style textarea title xmp iframe noembed noframes plaintext noscript".split()
)
# A `</form>` inside one of these does not close a form that is outside of it.
BARRIERS = frozenset(b"table object marquee applet".split())
# What a parser opens again in the next block if it was left open (the adoption agency) …
FORMATTING = frozenset(b"a b big code em font i nobr s small strike strong tt u".split())
# … but not across these.
CELLS = frozenset(b"td th caption".split())

_FOREIGN_NAMES = frozenset({b"svg", b"math"})
_OPAQUE = RAW_TEXT | _FOREIGN_NAMES
_STARTS = _OPAQUE | BARRIERS | set(b"form input button base select template frameset".split())
_ENDS = BARRIERS | set(b"form button select template".split())

# In svg and math, these tags make a parser leave, and those hold HTML again (H15–H17a).
_BREAKS_OUT = frozenset(
    b"b big blockquote body br center code dd div dl dt em embed font form h1 h2 h3 h4 h5 h6 head"
    b" hr i img li listing menu meta nobr ol p pre ruby s small span strike strong sub sup table tt"
    b" u ul var".split()
)
_HOLDS_HTML = frozenset(b"annotation-xml desc foreignobject mi mn mo ms mtext title".split())


class Doubt(Exception):
    """From this offset on, parsers may disagree about what the page says."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Tag(NamedTuple):
    """A tag that matters; ``page[start:end]`` is its text, brackets included."""

    name: bytes
    is_end: bool
    start: int
    end: int


class Attribute(NamedTuple):
    """An attribute as it is written; ``at`` is the offset of its name."""

    name: bytes
    raw: bytes
    at: int

    @property
    def value(self) -> str:
        """Return the value with its character references decoded."""
        return decoded(self.raw)


def tags(page: bytes, *, formatting: bool = False) -> Iterator[Tag]:
    """Yield the tags that matter to forms, in order; raise :exc:`Doubt` where the page gets unsure.

    ``formatting`` adds the tags of FORMATTING, and of CELLS the first of several in a row. A
    ``<noscript>`` is read both ways, as text and as tags: it ends with an empty end tag of its own,
    and where the two ways differ is doubt.

    >>> [tag.name for tag in tags(b'<p><!-- <form> --><form method=post><input></form>')]
    [b'form', b'input', b'form']
    """
    return _walk(page, 0, len(page), _formatting_token() if formatting else _TOKEN)


def attributes(page: bytes, tag: Tag) -> Iterator[Attribute]:
    """Yield the attributes of a start tag in order, duplicates too."""
    for found in _ATTRIBUTE.finditer(page, tag.start + 1 + len(tag.name), tag.end - 1):
        raw = found[2] or found[3] or found[4] or b""
        yield Attribute(found[1].lower(), raw, found.start(1))


def first_attributes(page: bytes, tag: Tag) -> dict[bytes, Attribute]:
    """Return the attributes as browsers keep them: the first of each name (H42)."""
    first: dict[bytes, Attribute] = {}
    for attribute in attributes(page, tag):
        first.setdefault(attribute.name, attribute)
    return first


def is_in_cell(page: bytes, tag: Tag) -> bool:
    """Look back, over nested tables, for what a tag in a table stands in."""
    nested = 0
    parts = list(_TABLE_PART.finditer(page, max(0, tag.start - _LOOK_BACK_BYTES), tag.start))
    for part in reversed(parts):
        is_end, is_table = bool(part[1]), part[0][-5:].lower() == b"table"
        if not nested and not (is_table and is_end):
            return part[2] is not None and not is_end
        nested += (1 if is_end else -1) * is_table
    return False


def decoded(raw: bytes) -> str:
    """Decode an attribute's value; its ASCII characters are right in every charset we act on.

    >>> decoded(b"&sol;a?x=1&copy=2&#x2f;")
    '/a?x=1&copy=2/'
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return _REFERENCE.sub(_referenced, text) if "&" in text else text


def _walk(page: bytes, at: int, limit: int, token: re.Pattern[bytes]) -> Iterator[Tag]:
    usual = token
    while at < limit:
        found = token.match(page, at, limit)
        if not found or found.end() == at:
            raise Doubt(at)
        at, token, kind = found.end(), usual, found.lastindex
        if kind == 1:
            tag = Tag(found[1].lower(), False, found.start(1) - 1, at)
            yield tag
            if tag.name in _OPAQUE:
                at = yield from _skip(page, tag, limit, usual)
            elif tag.name in CELLS:
                token = _formatting_token(cells=False)  # the next one says the same
        elif kind == 2:
            yield Tag(found[2].lower(), True, found.start(2) - 2, at)


def _skip(page: bytes, tag: Tag, limit: int, token: re.Pattern[bytes]) -> Generator[Tag, None, int]:
    """Return where an element without tags that matter to forms ends."""
    if tag.name in _FOREIGN_NAMES:
        return _foreign_end(page, tag, limit)
    at = (_script_end if tag.name == b"script" else _raw_text_end)(page, tag, limit)
    if tag.name == b"noscript":
        yield from _walk(page, tag.end, at, token)
        yield Tag(tag.name, True, at, at)
    return at


def _raw_text_end(page: bytes, tag: Tag, limit: int) -> int:
    """Return where the end tag of a raw text element begins (H6–H10)."""
    found = _RAW_TEXT_END[tag.name].search(page, tag.end, limit)
    if not found:
        raise Doubt(tag.start)
    return found.start()


def _script_end(page: bytes, tag: Tag, limit: int) -> int:
    """Return where ``</script>`` begins; after ``<!-- <script>`` the second (H5)."""
    at, escaped, twice = tag.end, False, False
    while found := _SCRIPT.search(page, at, limit):
        at = found.end()
        if found[0] == b"<!--":
            escaped, at = True, at - 2  # `<!-->` is closed by its own dashes
        elif found[0] == b"-->":
            escaped = twice = False
        elif not found[1]:
            twice = escaped
        elif not twice:
            return found.start()
        else:
            twice = False
    raise Doubt(tag.start)


def _foreign_end(page: bytes, tag: Tag, limit: int) -> int:
    """Return where an svg or math element ends; only balanced and plain ones are sure (H17b)."""
    if icon := _icon().match(page, tag.start, limit):
        return icon.end()
    at, open_names = tag.start, list[bytes]()
    for _ in range(_MOST_TAGS + (limit - at) // 16):
        if not (found := _foreign().match(page, at, limit)):
            break
        at, name = found.end(), found[2].lower()
        inside = open_names[-1] if open_names else b""
        if found[1]:
            if open_names.pop() != name:
                break
        elif name in _BREAKS_OUT or inside in _HOLDS_HTML or (found[3] and found[3][-2:] == b"/>"):
            break
        elif page[at - 2 : at] != b"/>":
            open_names.append(name)
        if not open_names:
            return at
    raise Doubt(tag.start)


def _referenced(found: re.Match[str]) -> str:
    """Decode one character reference by the rules for attributes (threats 4.2, rule 1)."""
    hexadecimal, decimal, name, after = found.groups()
    if name:
        return html5.get(name + after, found[0])  # no name ends with "="
    digits = (hexadecimal or decimal).lstrip("0") or "0"
    if len(digits) > 7:  # beyond Unicode, and `int` is slow with many digits
        return "\ufffd"
    return _character(int(digits, 16 if hexadecimal else 10))


def _character(code: int) -> str:
    if 0x80 <= code <= 0x9F:
        return bytes([code]).decode("cp1252", "replace")
    return "\ufffd" if code == 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF else chr(code)


# --- The expressions. `re.IGNORECASE` would switch off the search for literal prefixes, so both
# cases are spelled out. `\s` would take in VT, which is no space in HTML (H54). No tag with a NUL
# matches (H51). Repeated groups are atomic and bounded: possessive ones fail on Python 3.11.0 to
# 3.11.4 (cpython 106052), and unbounded ones take 100 bytes of memory a round.

_GAP = rb"\t\n\f\r "
_NAME_ENDS = rb"(?=[%b/>])" % _GAP
_COMMON = frozenset(b"a b i p s u br div img li span td tr ul".split())
_MOST_TAGS = 1000  # swallowed in one match
_MOST_ATTRIBUTES = 250  # a tag with more is doubt


def _spelled(name: bytes) -> bytes:
    return b"".join(b"[%c%c]" % (letter, letter - 32) if letter > 45 else b"-" for letter in name)


def _by_initial(names: frozenset[bytes]) -> dict[bytes, bytes]:
    """Return, for each first letter, what may follow it."""
    initials = sorted({name[:1] for name in names})
    return {
        initial: b"(?:%b)%b"
        % (b"|".join(_spelled(name[1:]) for name in names if name[:1] == initial), _NAME_ENDS)
        for initial in initials
    }


def _any_of(names: frozenset[bytes]) -> bytes:
    tails = _by_initial(names)
    return b"(?:%b)" % b"|".join(_spelled(initial) + tail for initial, tail in tails.items())


def _none_of(names: frozenset[bytes]) -> bytes:
    """Match the first letter of any other name: most tags are decided by that letter alone."""
    tails = _by_initial(names)
    others = bytes(set(b"abcdefghijklmnopqrstuvwxyz") - set(b"".join(tails)))
    some = [_spelled(initial) + b"(?!%b)" % tail for initial, tail in tails.items()]
    return b"(?:%b)" % b"|".join([b"[%b%b]" % (others, others.upper()), *some])


def _simple_attributes(unquoted: bytes) -> bytes:
    """Match well-formed attributes and ``>`` quickly; all else is left to _ANY_ATTRIBUTES."""
    value = rb"""(?:"[^"\0]*+"|[%b]++(?=[%b>])|'[^'\0]*+')""" % (unquoted, _GAP)
    rest = rb"""[^>"'=\0]*+"""
    return rb"""%b(?>(?:(?<![%b/="'])=%b%b){0,%d})>""" % (rest, _GAP, value, rest, _MOST_ATTRIBUTES)


def _common(names: frozenset[bytes]) -> bytes:
    """Match what most tags are. Any other way to match them is longer, and ends where this does."""
    letters = b"".join(sorted(name for name in names if len(name) == 1))
    others = b"|".join(sorted(name for name in names if len(name) > 1))
    return b"/?+(?:[%b]|h[1-6]|%b)(?:>|[%b]%b)" % (letters, others, _GAP, _SIMPLE_ATTRIBUTES)


def _closed_formatting() -> bytes:
    """Match a formatting element that is closed after some inline content, as most links are."""
    tag = _NAME_ENDS + _SIMPLE_ATTRIBUTES
    icon = b"[iI]%b[^<]*+</[iI][%b]*+>" % (tag, _GAP)
    inline = b"/?%b%b|%b" % (_any_of(frozenset({b"span", b"img", b"br"})), _SIMPLE_ATTRIBUTES, icon)
    content = b"(?>(?:[^<]++|<(?:%b)){0,%d})</" % (inline, _MOST_ATTRIBUTES)
    names = map(_spelled, sorted(FORMATTING))
    return b"|".join(b"%b%b%b%b[%b]*+>" % (name, tag, content, name, _GAP) for name in names)


def _compile_token(
    starts: frozenset[bytes], ends: frozenset[bytes], swallowed: bytes = b"(?!)"
) -> re.Pattern[bytes]:
    """Match a run, and the tag of these names that ends it (group 1, or 2 for an end tag)."""
    ordinary = b"(?:/%b|%b)%b%b" % (_none_of(ends), _none_of(starts), _REST_OF_NAME, _TAG)
    usual = _common(_COMMON - starts - ends)
    part = b"[^<]*+<(?:%b|%b|%b|%b)" % (usual, ordinary, swallowed, _NO_TAG % b"")
    run = b"(?>(?:%b){0,%d})[^<]*+" % (part, _MOST_TAGS)
    return re.compile(b"%b(?:<(?:(%b)|/(%b))%b)?" % (run, _any_of(starts), _any_of(ends), _TAG))


_SIMPLE_ATTRIBUTES = _simple_attributes(rb"""^>"'=\0""" + _GAP)
_ANY_ATTRIBUTES = (
    rb"""(?>(?:[_/]*+[^_/>\0][^_/>=\0]*+(?:[_]*+=[_]*+"""
    rb"""(?:"[^"\0]*+"|'[^'\0]*+'|[^_>"'\0][^_>\0]*+|(?=>))|(?![_]*+=))){0,%d})[_/]*+>"""
).replace(b"_", _GAP) % _MOST_ATTRIBUTES
_TAG = b"(?:>|%b|%b)" % (_SIMPLE_ATTRIBUTES, _ANY_ATTRIBUTES)  # most have no attributes
_REST_OF_NAME = rb"[^%b/>\0]*+" % _GAP
# After `<`: nothing, a comment (H2, H3), or a bogus one up to the first `>` (H13, H20).
_NO_TAG = (
    rb"(?=[^a-zA-Z/!?])|!--(?:-?>|[\s\S]*?--!?>)"
    rb"|!(?!--%b)[^>]*+>|\?[^>]*+>|/(?=[^a-zA-Z])[^>]*+>"
)

_TOKEN = _compile_token(_STARTS, _ENDS)


@functools.cache
def _formatting_token(*, cells: bool = True) -> re.Pattern[bytes]:
    """Compile this one when a page asks for it: it takes longer than all the others together."""
    starts, ends = _STARTS | FORMATTING, _ENDS | FORMATTING
    return _compile_token(starts | CELLS if cells else starts, ends, _closed_formatting())


_PLAIN_ATTRIBUTES = _simple_attributes(rb"""^>"'=/\0""" + _GAP)


@functools.cache
def _icon() -> re.Pattern[bytes]:
    """Match what most of them are at once: an svg of tags that close themselves."""
    svg, rest = _spelled(b"svg"), _REST_OF_NAME + _PLAIN_ATTRIBUTES
    inside = b"(?>(?:[^<]*+<%b%b(?<=/>)){0,%d})" % (_none_of(_BREAKS_OUT), rest, _MOST_ATTRIBUTES)
    return re.compile(b"<%b%b(?<!/>)%b[^<]*+</%b[%b]*+>" % (svg, rest, inside, svg, _GAP))


@functools.cache
def _foreign() -> re.Pattern[bytes]:
    """Match up to a tag in svg; group 3 is one whose last ``/`` may belong to an unquoted value."""
    # CDATA is left to doubt (H16)
    skipped = b"(?>(?:[^<]*+<(?:%b)){0,%d})" % (_NO_TAG % rb"|\[", _MOST_TAGS)
    tag = b"(?:%b|(%b))" % (_PLAIN_ATTRIBUTES, _ANY_ATTRIBUTES)
    return re.compile(b"%b[^<]*+<(/?)([a-zA-Z]%b)%b" % (skipped, _REST_OF_NAME, tag))


_ATTRIBUTE = re.compile(
    rb"""[_/]*+([^_/>][^_/>=]*+)(?:[_]*+=[_]*+(?:"([^"]*+)"|'([^']*+)'|([^_>]*+)))?""".replace(
        b"_", _GAP
    )
)
_TABLE_PART = re.compile(
    rb"<(/?)(?:(t[dh]|caption)|table|tr|tbody|thead|tfoot|colgroup)%b" % _NAME_ENDS, re.IGNORECASE
)
_LOOK_BACK_BYTES = 4096
_REFERENCE = re.compile(r"&(?:#(?:[xX]([0-9a-fA-F]++)|([0-9]++));?|([a-zA-Z][a-zA-Z0-9]*+)([;=]?))")
_SCRIPT = re.compile(b"<!--|-->|<(/?)%b%b" % (_spelled(b"script"), _NAME_ENDS))
_RAW_TEXT_END = {name: re.compile(b"</%b%b" % (_spelled(name), _NAME_ENDS)) for name in RAW_TEXT}
_RAW_TEXT_END[b"plaintext"] = re.compile(b"(?!)")  # nothing ends it (H10)
