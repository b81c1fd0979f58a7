"""Which forms are ours: every HTML case of the threat model that a page can decide (H1–H72, H83).

In the tables ``⇩`` stands where a token is expected; without it the text is the page. What a
response decides (H73–H82) is tested with the leaving hook; H12 and H71 ask for nothing in templates;
H62, H66, H68, H69 and H84 are documentation.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest

from flask_s3handoff import htmlscan
from flask_s3handoff.formreader import MAX_CONTROLS, MAX_FORMS, MAX_TAGS, FileInput
from flask_s3handoff.forms import (
    MAX_PAGE_BYTES,
    REQUIRED_MARK,
    Form,
    eligible_forms,
    hidden_input,
    is_readable,
    splice,
)
from flask_s3handoff.htmlscan import Doubt, attributes, decoded, tags
from flask_s3handoff.origins import is_own_url

P = "<form method=post>"
EVIL = "<form method=post action=//evil.example>"
TRUSTED = ("https://app.example", "http://dev.example:8000/")

# id, page with ⇩ where a token belongs
PAGES = [
    ("H1-comment", f"<!-- {P} -->"),
    ("H2-empty-comment", f"<!-->{P}⇩-->"),
    ("H2-dash-comment", f"<!--->{P}⇩-->"),
    ("H3-bang-comment", f"<!-- x --!>{P}⇩-->"),
    ("H3-bang-opens-nothing", f"<!--!>{P}-->{P}⇩x"),
    ("H3a-space-before-end", f"<!-- a -- > {P} -->{P}⇩x"),
    ("H3a-nested-comment", f"<!-- <!-- --> {P}⇩"),
    ("H3a-unterminated", f"<!-- {P}"),
    ("H3a-unterminated-after", f"{P}⇩x</form><!-- {P}"),
    ("H4-script", f'<script>var s="{P}"</script>'),
    ("H4-json-script", f"<script type=application/json>{P}</script>"),
    ("H4-template-script", f"<script type=text/template>{P}</script>{P}⇩x"),
    ("H5-double-escape", f'<script><!--<script>"</script>{P}"--></script>{P}⇩x'),
    ("H5-single-escape", f"<script><!-- x //--></script>{P}⇩x"),
    ("H5-escape-closed-by-itself", f"<script><!--><script></script>{P}⇩x"),
    ("H5-escape-ends", f"<script><!--<script>--></script>{P}⇩x"),
    ("H5-inner-script-ends", f"<script><!--<script></script>{P}</script>{P}⇩x"),
    ("H5-scripts-is-another-name", f"<script><!--<scripts></script>{P}⇩x--></script>"),
    ("H5a-end-tag-in-script", f'{P}⇩x<script>"</form>"</script>{P}'),
    ("H5b-space-in-end-tag", f"<script></script >{P}⇩x"),
    ("H5b-quoted-in-end-tag", f"<script></script x='>{P}'>{P}⇩x"),
    ("H5b-other-end-tag", f"<script></scripts>{P}</script>{P}⇩x"),
    ("H5b-unterminated", f"<script>{P}"),
    ("H6-style", f"<style>@import '{P}'</style>{P}⇩x"),
    ("H7-textarea", f"<textarea>{P}</textarea>{P}⇩x"),
    ("H7-textarea-unterminated", f"<textarea>{P}"),
    ("H7-textarea-space", f"<textarea></textarea >{P}⇩x"),
    ("H8-title", f"<title>{P}</title>"),
    ("H9-xmp", f"<xmp>{P}</xmp>"),
    ("H9-iframe", f"<iframe>{P}</iframe>"),
    ("H9-noembed", f"<noembed>{P}</noembed>"),
    ("H9-noframes", f"<noframes>{P}</noframes>"),
    ("H9-srcdoc", f'<iframe srcdoc="{P}"></iframe>{P}⇩x'),
    ("H10-plaintext", f"{P}⇩x</form><plaintext>{P}</plaintext>{P}"),
    ("H11-in-body", f"<body><noscript>{P}⇩x</form></noscript>{P}⇩x"),
    ("H11-in-head", f"<head><noscript>{P}⇩x</form></noscript>"),
    ("H11-closes-a-form", f"{EVIL}<noscript></form></noscript>{P}"),
    ("H11-leaves-a-form-open", f"<noscript>{P}⇩x</noscript>{P}"),
    ("H11-hides-its-end", f"<noscript><p title='</noscript>'>{P}"),
    ("H11-comment-over-its-end", f"<noscript><!-- </noscript>{P}--></noscript>{P}"),
    ("H11-script-over-its-end", f"<noscript><script></noscript>{P}</script>"),
    ("H11-table-over-its-end", f"<noscript><table></noscript>{P}"),
    ("H11-template-over-its-end", f"<noscript><template></noscript>{P}</template>{P}"),
    ("H11-button-over-its-end", f"{P}⇩x<button><noscript></button></noscript>{P}"),
    ("H11-nested", f"<noscript><noscript></noscript>{P}</noscript>{P}"),
    ("H12-template", f"<template>{P}</template>{P}⇩x"),
    ("H12-form-around", f"{P}⇩x<template></form></template>{P}"),
    ("H12-nested", f"<template><template></template>{P}</template>{P}⇩x"),
    ("H12-marker-in-template", f"<template><code><marquee></template>{P}"),
    ("H12-formatting-in-template", f"<template><code></template>{P}⇩"),
    ("H12-select-in-template", f"<template><select><title></template>{P}"),
    ("H12-template-closes-select", f"<template><select></template>{P}</select>{P}"),
    ("H13-cdata", f"<![CDATA[{P}]]>"),
    ("H13-cdata-ends-early", f"<![CDATA[ > {P}⇩x]]>"),
    ("H14-cdata-in-svg", f"<svg><![CDATA[ > {P}]]></svg>"),
    ("H15-svg", f"<svg>{P}</svg>"),
    ("H15-math", f"<math>{P}</math>{P}"),
    ("H16-foreignobject", f"<svg><foreignObject>{P}</foreignObject></svg>{P}"),
    ("H16-desc", f"<svg><desc>{P}</desc></svg>"),
    ("H16-mtext", f"<math><mtext>{P}</mtext></math>"),
    ("H16-annotation", f"<math><annotation-xml encoding=text/html>{P}</annotation-xml></math>"),
    ("H16-element-in-desc", f"<svg><desc><style></desc></svg>{P}"),
    ("H17-style-in-svg", "<svg><style><form></style></svg>"),
    ("H17-in-sync", f'<svg><style></svg><script>"</style>{P}"</script>'),
    ("H17a-breaks-out", f"<svg><p>{P}"),
    ("H17a-font", f"<svg><font color=red>{P}</font></svg>"),
    ("H17a-unbalanced", f"<div><svg><g></svg>{P}"),
    ("H17a-ancestor-closes", f"<div><svg></div>{P}"),
    ("H17b-icon", f"<svg><title>x</title><style>a</style><path/></svg>{P}⇩x"),
    ("H17b-math", f"<math><mi>x</mi><mo>=</mo></math>{P}⇩x"),
    ("H17b-self-closing", f"<svg/>{P}⇩x"),
    ("H17b-slash-in-value", f"<svg><path d=M0/></svg>{P}"),
    ("H17b-slash-in-svg-value", f"<svg a=b/>{P}"),
    ("H17b-unquoted-value", f"<svg width=1><path d='a/'/></svg>{P}⇩x"),
    ("H18-select", f"<select>{P}</select>"),
    ("H18-end-tag-in-select", f"{EVIL}<select></form></select>{P}"),
    ("H18-text-mode", f"<select><title></select>{P}</title>{P}"),
    ("H18-svg", f"<select><svg></select>{P}"),
    ("H18-closed", f"<select><option>1</select>{P}⇩x"),
    ("H19-frameset", f"<frameset>{P}</frameset>"),
    ("H20-double-quoted", f'<div title="{P}">'),
    ("H20-single-quoted", f"<div title='{P}'>{P}⇩x"),
    ("H20-unquoted", f"<a x=<form>{P}⇩x"),
    ("H20-doctype", f'<!DOCTYPE x "{P}x">'),
    ("H20-bogus", "<?x <form method=post> ?>"),
    ("H20-bogus-end-tag", "</ <form method=post>"),
    ("H20-tag-name", f"<x<form method=post>{P}⇩x"),
    ("H21-no-method", "<form action=/x>"),
    ("H21-get", "<form method=get>"),
    ("H21-empty", '<form method="">'),
    ("H21-put", "<form method=put>"),
    ("H21-trailing-space", "<form method='post '>"),
    ("H21-long-s", "<form method=poſt>"),
    ("H21-nul", "<form method=po\0st>"),
    ("H22-dialog", "<form method=dialog>"),
    ("H23-upper", "<form method=POST>⇩x"),
    ("H23-mixed", "<form method=PoSt>⇩x"),
    ("H23-reference", "<form method=p&#111;st>⇩x"),
    ("H23-quoted", "<form method='post'>⇩x"),
    ("H24-formaction", f"{P}<button formaction=//evil.example>x</button></form>"),
    ("H24-any-type", f"{P}<input type=text formaction=//evil.example></form>"),
    ("H24-only-that-form", f"{P}<button formaction=//evil.example></button></form>{P}⇩x"),
    ("H25-formmethod", f"{P}<input type=submit formmethod=get></form>"),
    ("H25-invalid-formmethod", f"{P}<input type=submit formmethod=''></form>"),
    ("H26-before", "<button form=f formaction=//evil.example></button><form id=f method=post>"),
    ("H26-after", "<form id=f method=post>x</form><button form=f formmethod=get></button>"),
    ("H26-other-form", "<form id=g method=post>⇩x</form><button form=f formmethod=get></button>"),
    (
        "H26-inside-another",
        f"{P}⇩x<button form=f formaction=//e></button></form><form id=f method=post>",
    ),
    (
        "H26-odd-id",
        "<form method=post id='&eacute;'>x</form><button form='é' formmethod=get></button>",
    ),
    ("H26-after-misnesting", f"{P}<b></form><button formaction=//evil.example></button>"),
    ("H26-between-cells", f"{P}x<div></form><table>{P}x<tr><button formaction=//e></button>"),
    ("H27-own-formaction", f"{P}⇩x<button formaction=/draft></button></form>"),
    ("H27-empty-formaction", f"{P}⇩x<button formaction=''></button></form>"),
    ("H27-dialog", f"{P}⇩x<button formmethod=dialog></button></form>"),
    ("H28-image", f"{P}<input type=image formaction=//evil.example></form>"),
    ("H28-formenctype", f"{P}<button formenctype=text/plain></button></form>"),
    ("H28-enctype", "<form method=post enctype='Text/Plain'>"),
    ("H28-multipart", "<form method=post enctype=multipart/form-data>⇩x"),
    ("H29-nested", f"{P}⇩x{P}"),
    ("H29-nested-in-foreign", f"{EVIL}{P}"),
    ("H29-siblings", f"{EVIL}</form>{P}⇩x"),
    ("H29a-misnested", f"<div>{P}⇩x</div>{P}"),
    ("H29a-misnested-foreign", f"<div>{EVIL}</div>{P}"),
    ("H29b-nested-tables", f"<table><tr><td>{P}⇩x<table><tr><td>{P}"),
    ("H29c-table-crossing", f"{EVIL}<table></form>{P}"),
    ("H29c-cell-crossing", f"{EVIL}<table><tr><td></form>{P}"),
    ("H29c-object-crossing", f"{EVIL}<object></form>{P}"),
    ("H29c-two-tables", f"<table><tr><td>{EVIL}</table><table><tr><td></form>{P}"),
    ("H29c-between-cells", f"{EVIL}<div></form><table>{P}"),
    ("H29c-in-a-cell", f"{EVIL}</form><table><tr><td>{P}⇩x"),
    ("H29c-cell-with-a-table", f"{EVIL}</form><table><td><table><td></table>{P}⇩x"),
    ("H29c-rows-of-forms", f"<table><tr>{P}⇩<td>x</form></tr><tr>{P}⇩<td>x</form></table>"),
    ("H29c-marquee-over-table", f"<marquee><table></marquee>{P}"),
    ("H29c-button-in-button", f"<button>{P}⇩x</form><button>{P}x"),
    ("H30-unclosed", f"{P}⇩x"),
    ("H30-stray-end", f"</form>{P}⇩x"),
    ("H30-slash-closes", f"{P}⇩x</form/>{P}⇩x"),
    ("H30-quoted-closes", f'{P}⇩x</form x=">">{P}⇩x'),
    ("H30-other-name", f"{P}⇩x</formx>{P}"),
    ("H31-base-before", "<base href=//evil.example><form method=post action=save>"),
    ("H32-base-after", "<form method=post action=save>x</form><base href=//evil.example>"),
    ("H32-second-base", "<base href=/a><base href=//evil.example><form method=post action=save>"),
    ("H32-first-base", "<base href=//evil.example><base href=/a><form method=post action=save>"),
    ("H32-base-for-formaction", f"{P}<button formaction=x></button></form><base href=//e>"),
    ("H32-base-in-doubt", f"{P}x</form><svg><desc><base href=//evil.example></desc></svg>"),
    ("H33-target-only", "<base target=x><form method=post action=save>⇩x"),
    ("H33-own-base", "<base href=/app/><form method=post action=save>⇩x"),
    ("H33-commented", "<!--<base href=//e>--><form method=post action=save>⇩x"),
    ("H33-in-template", "<template><base href=//e></template><form method=post action=save>⇩x"),
    ("H33-in-svg", "<svg><base href='//e'/></svg><form method=post action=save>⇩x"),
    ("H34-no-action", f"<base href=//evil.example>{P}⇩x"),
    ("H34-empty-action", "<base href=//evil.example><form method=post action=''>⇩x"),
    ("H34-space-action", "<base href=//evil.example><form method=post action=' '>"),
    ("H42-first-foreign", "<form method=post action=//evil.example action=/ok>"),
    ("H42-first-own", "<form method=post action=/ok action=//evil.example>⇩x"),
    ("H42-first-method", "<form method=get method=post>"),
    ("H43-gt-in-quotes", "<form method=post action='/a>b'>⇩x"),
    ("H43-newline", "<form method=post action='/a\nb'>⇩x"),
    ("H43-braces", '<form method=post action="{{ url }}<b>">⇩x'),
    ("H43-long", f"<form method=post action='/{'x' * 10_000}'>⇩x"),
    ("H44-unknown-attributes", "<form method=post data-action=//e :action='//e' th:action=//e>⇩x"),
    ("H44-htmx-foreign", "<form method=post hx-post=//evil.example>"),
    ("H44-htmx-own", "<form method=post hx-post=/save>⇩x"),
    ("H44-htmx-get", "<form method=post hx-get=/save>"),
    ("H44-htmx-data", "<form method=post data-hx-put=https://evil.example>"),
    ("H44-htmx-button", f"{P}<button hx-post=//evil.example>x</button></form>"),
    ("H44-turbo", "<form method=post data-turbo-src=//evil.example>"),
    ("H44-turbo-confirm", "<form method=post data-turbo-confirm='Really: delete?'>⇩x"),
    ("H51-nul-in-text", f"a\0b{P}⇩x"),
    ("H51-nul-in-tag", f"<p \0>{P}"),
    ("H53-upper", "<FORM METHOD=POST>⇩x"),
    ("H53-slash", "<form/method=post>⇩x"),
    ("H53-newlines", '<form\nmethod\n=\n"post">⇩x'),
    ("H53-cr-ff", "<form\rmethod=post\f>⇩x"),
    ("H54-vt", f"<form\x0bmethod=post>{P}⇩x"),
    ("H54-nbsp", f"<form\xa0method=post>{P}⇩x"),
    ("H54-formx", f"<formx method=post>{P}⇩x"),
    ("H54-form-x", f"<form-x method=post>{P}⇩x"),
    ("H54-nul", f"<fo\0rm method=post>{P}x"),
    ("H55-unquoted-value", "<form method=post/action=/x>"),
    ("H56-no-space", '<form method="post"action="/a">⇩x'),
    ("H56-equals-first", "<form =x method=post>⇩x"),
    ("H56-stray-quote", '<form "x method=post>⇩x'),
    ("H56-lt", "<form <x method=post>⇩x"),
    ("H56-quote-after-quote", "<form method=post x='a'=\"b\">⇩x"),
    ("H57-slash", "<form method=post />⇩x"),
    ("H58-unterminated", '<form method=post action="/a'),
    ("H59-double-lt", "<<form method=post>⇩x"),
    ("H59-text-before", "a<form method=post>⇩x"),
    ("H59-space", f"< form method=post>{P}⇩x"),
    ("H60-in-p", f"<p>{P}⇩x"),
    ("H60-in-button", f"<button>{P}⇩x"),
    ("H60-after-html", f"</html>{P}⇩x"),
    ("H60-in-head", f"<head>{P}⇩x"),
    ("H61-outside-controls", "<form id=f method=post>⇩</form><input form=f>"),
    ("H67-dialog", f"<dialog>{P}⇩<fieldset disabled></fieldset></form></dialog>"),
    ("H67-shadow-root", f"<template shadowrootmode=open>{P}</template>"),
    ("H70-fragment", f"<tr><td>{P}⇩x"),
    ("H72-xhtml-syntax", '<?xml version="1.0"?><form method="post" action="/x">⇩<br /></form>'),
    # Our input would make the parser reopen a <b> that it would otherwise reopen later.
    ("disturb-reopened", f"<p><b>x</p>{P}<div>x</div></form>"),
    ("disturb-text-reopens", f"<p><b>x</p>{P}⇩x<div>x</div></form>"),
    ("disturb-input-reopens", f"<p><b>x</p>{P}⇩<input></form>"),
    ("disturb-closed", f"<p><b>x</b></p>{P}⇩<div>x</div></form>"),
    ("disturb-icon-link", f"<p><a href=x>y <i class=z></i></a></p>{P}⇩<div>x</div></form>"),
    ("disturb-table-end", f"<table><b><td></b></td></table>{P}<div>x</div></form>"),
    ("disturb-cell-start", f"<p><b></p><table><td></b></table>{P}<p>x</form>"),
    ("disturb-deep", f"<b>{'<div>' * 8}</b>{'</div>' * 8}{P}<div>x</div></form>"),
    ("disturb-not-so-deep", f"<b>{'<div>' * 7}</b>{'</div>' * 7}{P}⇩<div>x</div></form>"),
    ("disturb-template-closed", f"<template><td><b>x<p></b></template>{P}⇩<div>x</div></form>"),
    ("disturb-template-marker", f"<template><b><object></b></template>{P}<div>x</div></form>"),
    ("disturb-link-in-link", f"<p><a><a></a></p>{P}<div>x</div></form>"),
]


@pytest.mark.parametrize("page", [pytest.param(page, id=case) for case, page in PAGES])
def test_a_token_goes_into_our_forms_and_nowhere_else(page: str) -> None:
    """The forms of a page that get a token are exactly the ones marked in the table."""
    offsets = [form.insert_at for form in eligible_forms(_plain(page), charset="utf-8")]
    assert splice(_plain(page), ((at, "⇩".encode()) for at in offsets)).decode() == page


def _plain(page: str) -> bytes:
    return page.replace("⇩", "").encode()


@pytest.mark.parametrize("case", [case for case, page in PAGES if "⇩" in page])
def test_a_form_is_found_whatever_stands_around_the_page(case: str) -> None:
    """Text before and after a page moves the offsets and changes nothing else."""
    page = _plain(dict(PAGES)[case])
    alone = [form.insert_at for form in eligible_forms(page, charset="utf-8")]
    shifted = [form.insert_at for form in eligible_forms(b"text\n" + page, charset="utf-8")]
    assert shifted == [at + 5 for at in alone]


OWN = [
    *[("H35", url) for url in ("/save", "save", "./x", "../x", "?a=1", "#f", "a/b:c", "./x:y")],
    *[("H35", url) for url in ("", " ", "/a?next=https://evil.example", "?u=\\", "#//x", "/sàve")],
    ("H40-listed", "https://app.example/x"),
    ("H40-port", "https://app.example:443/x"),
    ("H40-upper", "HTTPS://APP.EXAMPLE"),
    ("H40-other-listed", "http://dev.example:8000?x"),
    ("H37-newline", "/a\r\n/b"),
]
FOREIGN = [
    *[
        ("H36", url)
        for url in ("//evil", "///evil", "/\\evil", "\\\\evil", "\\/evil", "/%5c\\evil")
    ],
    *[("H37", url) for url in (" //evil", "\t//evil", "/\t/evil", "/\n/evil", "\x01//evil")],
    *[("H37", url) for url in ("/a\x01b", "/a\x7f", "/\ufffd", "/\ud800", "ht\ntps://evil")],
    *[("H38", url) for url in ("https:evil", "https:/evil", "https:///evil", "http:/evil", "x:y")],
    *[("H39", url) for url in ("javascript:x", "java\nscript:x", "data:,x", "blob:x", "mailto:x")],
    ("H39", "about:blank"),
    ("H40-scheme", "http://app.example/x"),
    ("H40-other-port", "https://app.example:444/x"),
    ("H40-trailing-dot", "https://app.example./x"),
    ("H40-subdomain", "https://www.app.example/x"),
    ("H40-network-path", "//app.example/x"),
    ("H41-userinfo", "https://app@evil/"),
    ("H41-path", "https://evil/@app.example"),
    ("H41-suffix", "https://app.example.evil/"),
    ("H41-backslash", "https://app.example\\@evil/"),
    ("H41-ideographic-dot", "https://app。example/"),
    ("H41-kelvin", "https://app.example\u212a/"),
    ("H41-percent", "https://app%2eexample/"),
    ("H41-ipv6", "https://[::1]/"),
    ("H41-userinfo-own", "https://app.example@evil/"),
    ("H41-empty-port", "https://app.example:/"),
]


@pytest.mark.parametrize("url", [pytest.param(url, id=f"{c}-{url!r}") for c, url in OWN])
def test_an_own_address_is_accepted(url: str) -> None:
    """Relative references and trusted origins are ours (threats 4.2)."""
    assert is_own_url(url, trusted_origins=TRUSTED)


@pytest.mark.parametrize("url", [pytest.param(url, id=f"{c}-{url!r}") for c, url in FOREIGN])
def test_a_foreign_address_is_refused(url: str) -> None:
    """Whatever a browser may resolve to another origin is not ours (threats 4.2)."""
    assert not is_own_url(url, trusted_origins=TRUSTED)


REFERENCES = ("&sol;&sol;evil", "&#47/evil.com/", "/&bsol;evil", "&Tab;//evil", "&NewLine;//evil")


@pytest.mark.parametrize("action", [*REFERENCES, "javascript&colon;x", "&#x2F;&#0047;e", "&#9//e"])
def test_character_references_do_not_hide_a_foreign_address(action: str) -> None:
    """An action is judged after its references are decoded, as browsers do (H36, H37, H39)."""
    assert eligible_forms(f"<form method=post action='{action}'>".encode(), charset="utf-8") == []


def test_references_in_attributes_are_decoded_by_the_rules_for_attributes() -> None:
    """``&copy=2`` stays, ``&copy;`` does not; numbers need no semicolon and may be nonsense."""
    assert decoded(b"?x=1&copy=2&ltb&lt;&amp&notit;") == "?x=1&copy=2&ltb<&&notit;"
    assert decoded(b"&#65&#x42;&#0;&#x110000;&#xD800;&#128;&#1;") == "AB\ufffd\ufffd\ufffd€\x01"
    assert decoded(b"&#" + b"9" * 100_000) == "\ufffd"
    assert decoded(b"\xe9&eacute;") == "éé"


def test_an_own_origin_makes_absolute_redirects_ours() -> None:
    """A ``Location`` with the request's own origin stays with us; without one it does not."""
    assert is_own_url("http://localhost:5000/x", own_origin="http://localhost:5000")
    assert not is_own_url("http://localhost:5001/x", own_origin="http://localhost:5000")
    assert not is_own_url("http://localhost:5000/x")


def test_a_page_may_send_its_form_to_a_trusted_origin() -> None:
    """An absolute action counts as ours when its origin is listed (H40)."""
    page = b"<form method=post action=https://app.example/save>"
    assert [form.action for form in eligible_forms(page, charset=None, trusted_origins=TRUSTED)]
    assert eligible_forms(page, charset=None) == []


JAPANESE = "表示ソ能".encode("shift_jis")  # trail bytes that look like backslashes
ENCODINGS = [
    ("H45-bom", b"\xef\xbb\xbf" + P.encode() + b"x", "utf-16", True),
    ("H46-utf-16-bom", "\ufeff<form method=post>x".encode("utf-16-le"), None, False),
    ("H46-utf-16", P.encode() + b"x", "utf-16le", False),
    ("H46-utf-16-unlabelled", P.encode("utf-16-le"), None, False),
    ("H46-ascii-after-utf-16-bom", b"\xff\xfe" + P.encode() + b"x", "utf-8", False),
    ("H46-utf-16-be-bom", b"\xfe\xff" + P.encode() + b"x", "utf-8", False),
    ("H46-utf-32", P.encode() + b"x", "utf-32", False),
    ("H47-latin-1", b"\xe9\x80" + P.encode() + b"\xff", "iso-8859-1", True),
    ("H47-windows", b"\xe9\x80" + P.encode() + b"\xff", "Windows-1252", True),
    ("H47-quoted-label", P.encode() + b"x", '"utf-8"', True),
    ("H48-header-wins", b"<meta charset=utf-16>" + P.encode() + b"x", "utf-8", True),
    ("H48-meta-alone", b"<meta charset=utf-16>" + P.encode() + b"x", None, False),
    ("H48-late-meta", b" " * 2000 + b"<meta charset=iso-2022-jp>" + P.encode() + b"x", None, False),
    (
        "H48-http-equiv",
        b"<meta content='text/html; charset=UTF-7'>" + P.encode() + b"x",
        None,
        False,
    ),
    ("H48-meta", b"<meta charset='utf-8'>\x1b" + P.encode() + b"x", None, True),
    ("H49-shift-jis", JAPANESE + P.encode() + JAPANESE, "Shift_JIS", True),
    ("H49-gbk", "中文".encode("gbk") + P.encode() + b"x", "gbk", True),
    ("H49-big5", "許功蓋".encode("big5") + P.encode() + b"x", "big5", True),
    ("H49-euc-kr", "한국어".encode("euc-kr") + P.encode() + b"x", "euc-kr", True),
    ("H50-iso-2022-jp", "日本".encode("iso-2022-jp") + P.encode() + b"x", "iso-2022-jp", False),
    ("H50-utf-7", P.encode() + b"x", "utf-7", False),
    ("H50-hz", P.encode() + b"x", "hz-gb-2312", False),
    ("H50-unknown", P.encode() + b"x", "klingon", False),
    ("H50-user-defined", P.encode() + b"x", "x-user-defined", False),
    ("H51-invalid-utf-8", b"\xff\xc0" + P.encode() + b"\x80", "utf-8", True),
    ("H52-esc", b"\x1b$B" + P.encode() + b"x", None, False),
    ("H52-nul", b"\0" + P.encode() + b"x", None, False),
    ("H52-nothing", P.encode() + b"x", None, True),
]


@pytest.mark.parametrize(
    ("page", "charset", "found"), [pytest.param(*case[1:], id=case[0]) for case in ENCODINGS]
)
def test_only_pages_whose_markup_is_ascii_are_touched(
    page: bytes, charset: str | None, found: bool
) -> None:
    """The charset decides whether we may read a page; its other bytes stay as they are."""
    forms = eligible_forms(page, charset=charset)
    assert [form.insert_at for form in forms] == (
        [page.index(P.encode()) + len(P)] if found else []
    )
    assert is_readable(page, charset) is found


def test_form_facts_are_what_the_carrier_needs() -> None:
    """A form tells its action, its mark, its file inputs and whether it has a token already."""
    page = b"""<form id=f method=post action=" /sa
ve " data-s3handoff=off><input type=FILE name=a required><input type=file name="b&amp;c">
<input type=file><input name=text required></form>
<input form=f type=file name=d required><form method=post data-s3handoff>
<input type=hidden name=_s3handoff value=x></form><form method=post action=''>x</form>"""
    first, second, third = eligible_forms(page, charset="utf-8")
    required = [page.index(b"required"), page.rindex(b"required")]
    inputs = (FileInput("a", required[0]), FileInput("b&c"), FileInput("d", required[1]))
    assert first == Form(page.index(b"><input") + 1, "/save", "off", inputs)
    assert (second.action, second.marked, second.file_inputs, second.has_token) == (
        None,
        "",
        (),
        True,
    )
    assert (third.action, third.marked, third.has_token) == (None, None, False)


def test_a_required_file_input_is_marked_by_added_bytes_only() -> None:
    """``data-s3handoff-`` before the word takes the requirement away in a browser (H64)."""
    page = b'<form method=post>x<input type=file name=a REQUIRED="required"></form>'
    (form,) = eligible_forms(page, charset="utf-8")
    at = form.file_inputs[0].required_at
    assert at == page.index(b"REQUIRED")
    marked = splice(page, [(at, REQUIRED_MARK)])
    assert b'<input type=file name=a data-s3handoff-REQUIRED="required">' in marked
    assert marked.replace(REQUIRED_MARK, b"") == page


def test_a_word_required_elsewhere_is_left_alone() -> None:
    """Values, other names and a doubled attribute are no requirement that we could lift (H64)."""
    for attribute in ("title=required", "required2", "data-required", "required required"):
        page = f"<form method=post>x<input type=file name=a {attribute}></form>".encode()
        (form,) = eligible_forms(page, charset="utf-8")
        assert form.file_inputs == (FileInput("a", None),)


def test_an_action_is_given_relative_to_the_page_not_to_its_base() -> None:
    """The caller compares paths without knowing of ``<base>``; only the first one counts (H33)."""
    page = b"<base href=/app/x><base href=/y/><form method=post action=save>x"
    assert [form.action for form in eligible_forms(page, charset=None)] == ["/app/save"]
    page = b"<base href=/app/x><form method=post>x"
    assert [form.action for form in eligible_forms(page, charset=None)] == [None]


def test_the_hidden_input_holds_nothing_that_could_end_it() -> None:
    """Every token of our alphabet fits; anything else is refused (threats 0.6)."""
    token = "AZaz09._~-"
    assert hidden_input(token) == (
        f'<input type="hidden" name="_s3handoff" value="{token}" autocomplete="off">'.encode()
    )
    for bad in ("", 'a"b', "a b", "a>", "a&b", "é", "a\n", "a\0"):
        with pytest.raises(ValueError, match="a token consists of"):
            hidden_input(bad)


def test_splicing_adds_bytes_and_takes_none_away() -> None:
    """Additions may come in any order; those at one offset keep theirs (rule 6)."""
    assert splice(b"abc", [(3, b"4"), (0, b"1"), (1, b"2"), (1, b"3")]) == b"1a23bc4"
    assert splice(b"abc", []) == b"abc"
    for offset in (-1, 4):
        with pytest.raises(ValueError, match="outside"):
            splice(b"abc", [(offset, b"x")])


def test_rule_6_taking_our_bytes_out_gives_the_page_back() -> None:
    """For every page of the table: what was added is all that differs."""
    for _, text in PAGES:
        page = _plain(text)
        forms = eligible_forms(page, charset="utf-8")
        injected = splice(page, ((form.insert_at, hidden_input("T")) for form in forms))
        assert injected.replace(hidden_input("T"), b"") == page


def test_a_page_with_too_much_in_it_is_left_alone() -> None:
    """Limits bound the time that a page can take (H83)."""
    form = P.encode() + b"x</form>"
    assert len(eligible_forms(form * MAX_FORMS, charset=None)) == MAX_FORMS
    assert len(eligible_forms(form * (MAX_FORMS + 1), charset=None)) == MAX_FORMS
    assert len(eligible_forms(b" " * (MAX_PAGE_BYTES - len(form)) + form, charset=None)) == 1
    assert eligible_forms(b" " * (MAX_PAGE_BYTES + 1 - len(form)) + form, charset=None) == []
    assert eligible_forms(b"<input form=f>" * (MAX_CONTROLS + 1) + form, charset=None) == []
    assert len(eligible_forms(b"<input form=f>" * MAX_CONTROLS + form, charset=None)) == 1
    assert eligible_forms(b"<base >" * 2 * MAX_TAGS + form, charset=None) == []


def test_what_follows_a_doubt_may_still_refuse_a_form_before_it() -> None:
    """Nobody reads on after a doubt, so a word that could matter there is enough to refuse."""
    found = P.encode() + b"x</form><plaintext>"
    assert len(eligible_forms(found, charset=None)) == 1
    for later in ("formaction", "FORMMETHOD", " form = f", "<base", "_s3handoff", "type='file'"):
        assert eligible_forms(found + later.encode(), charset=None) == []


PIECES = (
    *("<p ", "</a ", "<", "</", "<!--", "<!-", "-", "--!>", "<![CDATA[", "<?", "<form ", "<form>"),
    *(P, "<a b='", '<a b="', "='", "a=", "<x a=b=", "<x =", "<x a=b ", "&", "&a", "\0", "<p\0>"),
    *("<script>", "<script><!--", "<script><!--<script>", "</script>", "<textarea>", "<title"),
    *("<svg>", "<svg><g>", "<svg><g></g></svg>", "<math><mi>", "<svg a=b/>", "<svg><title>"),
    *("<table>", "</table>", "<table><td>", "<select>", "<template>", "<noscript>", "</noscript>"),
    *("<b>", "<a><i>", "<a><i></i>", "<b>x</b>", "<a><span>", "<button></button>", "<object>"),
    *("<input type=file name=a>", "<button form=f formaction=x></button>", "charset= ", "type="),
)
STARTS = ("", f"{P}<div>", "<form method=post action='", "<svg>", f"<table><td>{EVIL}</form>{P}<p>")


class _Counting:
    """A pattern that counts how often it is asked, and how many bytes it was given to read."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern, self.calls, self.bytes = pattern, 0, 0

    def match(self, page: bytes, at: int, limit: int) -> re.Match[bytes] | None:
        found = self.pattern.match(page, at, limit)
        self.calls += 1
        self.bytes += (found.end() if found else limit) - at
        return found


@pytest.mark.parametrize("piece", PIECES)
def test_every_byte_is_read_a_bounded_number_of_times(piece: str) -> None:
    """A page of one construct without end is walked once: no start over, no step back (H83)."""
    page = (piece * (20_000 // len(piece))).encode()
    token = _Counting(htmlscan._TOKEN)
    walked = list(_walked(page, token))
    assert token.bytes <= len(page)
    assert token.calls <= len(walked) + len(page) // 1000 + 2
    assert all(one.end <= other.start for one, other in pairwise(walked))


def _walked(page: bytes, token: _Counting) -> Iterator[htmlscan.Tag]:
    try:
        yield from htmlscan._walk(page, 0, len(page), token)  # type: ignore[arg-type]
    except Doubt:
        pass


@pytest.mark.timeout(60)
@pytest.mark.parametrize("start", STARTS)
def test_no_page_of_one_piece_takes_long(start: str) -> None:
    """200 KB of any construct are read in moments; a quadratic walk would take minutes (H83)."""
    for piece in PIECES:
        eligible_forms((start + piece * (200_000 // len(piece))).encode(), charset=None)


def test_attributes_are_read_as_browsers_read_them() -> None:
    """Names, values and offsets, with the odd spellings that browsers accept (H53–H56)."""
    page = b"""<form =a b = c d='e"f'g="h'i"/j k/=l "m>"""
    (tag,) = tags(page)
    assert [(a.name, a.raw) for a in attributes(page, tag)] == [
        *[(b"=a", b""), (b"b", b"c"), (b"d", b'e"f'), (b"g", b"h'i"), (b"j", b"")],
        *[(b"k", b""), (b"=l", b""), (b'"m', b"")],
    ]
    assert all(page[a.at :].lower().startswith(a.name) for a in attributes(page, tag))


def test_a_process_that_answers_no_page_does_not_learn_to_read_one() -> None:
    """The expressions are half of what importing us takes; they wait for the first page."""
    code = (
        "import sys; from flask_s3handoff import S3Handoff, HandoffMiddleware\n"
        "print({n for n in sys.modules if n.endswith(('.forms', '.htmlscan')) and 's3h' in n})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
