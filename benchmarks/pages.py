"""The pages of the HTML figures: an ordinary one, and those that somebody made to cost time."""

from __future__ import annotations

_CARD = (
    '<div class="card" id=c{n}><h3>Item {n}</h3><p>Some <b>bold</b> and <a href="/item/{n}?x=1">'
    "linked</a> text, with an <img src=/i/{n}.png alt='a > b'> and <br/> a line.</p>"
    "<ul><li>one<li>two</ul><span data-x='<form>'>three</span></div>\n"
)
_NOT_FORMS = (
    "<title>A <form> in a title</title><script>var s = '<form method=post>';</script>"
    "<!-- <form method=post> --><style>p > a { color: red }</style>"
)
_FORM = (
    '<form class=f method="post" action="/save/{n}">{gap}<div><label>Name <input name=name></label>'
    "<input type=file name=file required><select name=s><option>1<option>2</select>"
    "<button>Save</button></div></form>"
)


def ordinary(size: int, *, bare: bool = False) -> bytes:
    """Return a page of about so many bytes with three forms, and what only looks like one.

    In a bare form nothing, not even a line break, stands before its first block: whether that
    moves a parser depends on all formatting before it, so such a page is read twice.
    """
    third, gap = size // 3 // len(_CARD.format(n=100)), "" if bare else "\n"
    body = "".join(
        "".join(_CARD.format(n=100 * k + n) for n in range(third)) + _FORM.format(n=k, gap=gap)
        for k in range(3)
    )
    return f"<!doctype html><html><head>{_NOT_FORMS}</head><body>{body}</body></html>".encode()


_START = b"<form method=post>"
# name → head, what is repeated, tail
_EVIL = {
    "unclosed tag": (_START, b"<p ", b""),
    "unclosed link": (_START, b"</a ", b""),
    "angle brackets": (_START, b"<", b""),
    "unclosed comment": (_START, b"<!-- ", b""),
    "bogus comments": (_START, b"<!x", b""),
    "quotes": (_START, b'<p a="', b""),
    "equals": (_START + b"<p ", b"a=", b">"),
    "slashes": (_START, b"</", b""),
    "attributes": (_START, b"<p a=1 b='2' c>", b""),
    "odd attributes": (_START, b"<p a'=1 b\"c>", b""),
    "inputs": (_START + b"x", b"<input>", b""),
    "forms": (b"", _START, b""),
    "forms, closed": (b"", _START + b"<p></form>", b""),
    "refused forms": (b"", b"<form></form>", b""),
    "bold, open": (_START, b"<b>", b""),
    "bold, closed": (_START, b"<b></b>", b""),
    "links": (_START, b"<a href=/x>x</a>", b""),
    "links in links": (_START, b"<a><b></a></b>", b""),
    "spans in a link": (_START, b"<a><span></span>", b""),
    "icons": (_START, b"<a><i>x</i>", b""),
    "cells": (_START + b"<table><tr>", b"<td>", b"</table>"),
    "cells with links": (_START + b"<table><tr>", b"<td><a>x</a>", b"</table>"),
    "forms in cells": (b"<table><tr>", b"<td><form method=post><p></form>", b"</table>"),
    "tables": (_START, b"<table>", b""),
    "svg": (_START + b"<svg>", b"<g>", b""),
    "svg, closed": (_START, b"<svg><g/></svg>", b""),
    "scripts": (_START, b"<script></script>", b""),
    "script in script": (_START + b"<script><!--", b"<script></script>", b"--></script>"),
    "noscript": (_START, b"<noscript></noscript>", b""),
    "references": (_START[:-1] + b" action='", b"&amp;", b"'>x"),
    "digits": (_START[:-1] + b" action='&#", b"0", b";'>x"),
    "templates": (_START, b"<template></template>", b""),
    "text": (_START, b"text ", b""),
}


def evil(name: str, size: int) -> bytes:
    """Return a page of so many bytes of one pattern."""
    head, pattern, tail = _EVIL[name]
    return head + pattern * (size // len(pattern)) + tail


EVIL_NAMES = tuple(_EVIL)
