"""Seeded random pages: tag soup made to mislead, and tidy pages as templates render them."""

from __future__ import annotations

import random
from collections.abc import Callable

OWN_FORMS = (
    "<form method=post>",
    '<form method="post" action="/save">',
    "<form action=/ok METHOD='POST'>",
    "<FORM\nmethod\n=\n\"p&#111;st\" action='save?a=1&amp;b=2'>",
    "<form/method=post/id=f>",
    '<form method="post"action="/a">',
    "<form method=post id=f action=''>",
    "<form method=post id=g action='#top' />",
    "<form method=post action=/own action=//evil.example/>",
    "<form method=post action='a>b'>",
)
OTHER_FORMS = (
    "<form action=//evil.example/ method=post>",
    "<form action=//evil.example/ action=/ok method=post>",
    "<form method=post action='https:evil.example'>",
    "<form method=post action='/\\evil.example'>",
    "<form method=post action='&sol;&Tab;/evil.example'>",
    "<form method=post action=' \t//evil.example'>",
    "<form method=post action='/&bsol;evil.example'>",
    "<form method=post action=javascript&colon;x>",
    "<form method=post action=' '>",
    "<form method=post action=/ok enctype=text/plain>",
    "<form>",
    "<form action=/search>",
    "<form method=get method=post action=/ok>",
    "<form method='post ' action=/ok>",
    "<form id=f action=//evil.example/ method=post>",
    "<form method=dialog>",
    "<form method=post/action=/ok>",
    "<form\x0bmethod=post>",
)
SUBMITTERS = (
    "<button>",
    "</button>",
    "<button formaction=//evil.example/>go</button>",
    "<button form=f formaction=//evil.example/>go</button>",
    "<button form=g formmethod=get>go</button>",
    "<button formmethod=get>go</button>",
    "<button formmethod=dialog formaction=/draft>go</button>",
    "<input type=submit formaction='/\\evil.example'>",
    "<input type=image form=f formaction=http:evil.example>",
    "<input type=submit form=g formenctype=text/plain>",
    "<input type=submit formaction=/draft>",
    "<input type=submit formaction=draft>",
)
BASES = (
    "<base href=//evil.example/>",
    "<base href=https://evil.example/>",
    "<base href=/app/>",
    "<base target=x>",
)
BLOCKS = (
    *("<div>", "</div>", "<p>", "</p>", "<ul><li>", "</li>", "<h1>", "</h1>", "<fieldset>"),
    *("</fieldset>", "<hr>", "<br>", "</br>", "<pre>\n", "</pre>", "<dl><dd>", "<option>"),
    *("<body>", "</body>", "</html>", "<head>", "</head>", "<html>", "<!doctype html>"),
)
INLINE = (
    *("<b>", "</b>", "<i>", "</i>", "<a href=x>", "</a>", "<span>", "</span>", "<font>", "</font>"),
    *("<nobr>", "</nobr>", "<code>", "</code>", "<small>x</small>", "<label>", "</label>"),
    *("<a href=/x>x <i class=y></i></a>", "<b>bold</b>", "<em><span>x</span></em>", "<img src=x>"),
)
TABLES = (
    *("<table>", "</table>", "<tr>", "</tr>", "<td>", "</td>", "<th>", "<tbody>", "</tbody>"),
    *("<caption>", "</caption>", "<colgroup>", "<col>", "<table><tr><td>", "</td></tr></table>"),
    *("<object>", "</object>", "<marquee>", "</marquee>", "<applet>", "</applet>"),
)
SELECTS = ("<select>", "</select>", "<select><option>1</select>", "<optgroup>", "<select><b>")
RAW_TEXT = (
    *("<script>", "</script>", "<style>", "</style>", "<textarea>", "</textarea>", "<title>"),
    *("</title>", "<xmp>", "</xmp>", "<iframe>", "</iframe>", "<noframes>", "</noframes>"),
    *("<noembed>", "</noembed>", "<script><!--", "<script>x</script>", "<style>a{}</style>"),
    *("<textarea>\nx</textarea>", "<script>'</form>'</script >", "</script x='>'>", "<plaintext>"),
    *("<noscript>", "</noscript>", "<noscript><p>x</noscript>"),
)
FOREIGN = (
    *("<svg>", "</svg>", "<math>", "</math>", "<svg><path d='M0'/></svg>", "<svg/>", "<g>", "</g>"),
    *("<svg><title>x</title><style>a</style><g><path/></g></svg>", "<desc>", "</desc>", "<mi>"),
    *("</mi>", "<foreignObject>", "</foreignObject>", "<math><mi>x</mi></math>", "<svg a=b/>"),
    *("<svg><a></a></svg>", "<annotation-xml encoding=text/html>", "<svg><![CDATA[ > ]]></svg>"),
)
TEMPLATES = ("<template>", "</template>", "<template><p>x</template>", "<template><form>")
FRAMESETS = ("<frameset>", "</frameset>")
STRAYS = (
    *("<!--", "-->", "--!>", "<!-->", "<!--->", "<!-- x -->", "<!-- <form method=post> -->"),
    *("<![CDATA[", "]]>", "<!x>", "<?x>", "</ x>", "</>", "<", ">", '"', "'", "=", "<>", "</"),
    *("<div title='<form method=post>'>", '<div title="', "<p x='", "<i =x>", '<a "x>', "<x<y>"),
    *("\0", "<p\0>", "<fo\0rm method=post>", "<form method=post \0>", '<div=">">', "&amp;", "é"),
    *("< form method=post>", "<formx method=post>", "</formx>", "<a b='c'=\"d\">", "<a b=c'd>"),
)
TEXT = ("x", " ", "\n", "text ", "\n  ")

SOUP: tuple[tuple[tuple[str, ...], int], ...] = (
    (OWN_FORMS, 22),
    (OTHER_FORMS, 14),
    (("</form>", "</form/>", "</form x='>'>"), 22),
    (SUBMITTERS, 6),
    (BASES, 1),
    (BLOCKS, 16),
    (INLINE, 14),
    (TABLES, 16),
    (SELECTS, 3),
    (RAW_TEXT, 7),
    (FOREIGN, 6),
    (TEMPLATES, 3),
    (FRAMESETS, 1),
    (STRAYS, 9),
    (TEXT, 16),
    (("<input name=a>", "<input type=file name=b required>", "<input form=f>"), 6),
)
# Tokens in any order, and still nothing that makes us stop reading or leaves formatting open.
CALM: tuple[tuple[tuple[str, ...], int], ...] = (
    (OWN_FORMS, 20),
    (OTHER_FORMS, 10),
    (("</form>", "</form/>", "</form x='>'>"), 24),
    (("<input type=submit formaction=/draft>", "<button formmethod=dialog>x</button>"), 6),
    (BASES[2:], 1),
    (BLOCKS, 16),
    (("<a href=/x>x <i class=y></i></a>", "<b>bold</b>", "<em><span>x</span></em>"), 14),
    (("<table><tr><td>x</td></tr></table>", "<select><option>1</select>"), 6),
    (("<script>'</form>'</script >", "<style>a{}</style>", "<textarea>\nx</textarea>"), 8),
    (("<svg><g><path d='M0'/></g></svg>", "<math><mi>x</mi></math>", "<svg/>"), 4),
    (("<template><form></template>", "<noscript><p>x</noscript>"), 3),
    (("<!-- <form method=post> -->", "<!-->", "<?x>", "<div title='<form method=post>'>"), 6),
    (TEXT, 16),
    (("<input name=a>", "<input type=file name=b required>"), 6),
)


def soup(source: random.Random) -> str:
    """Return tag soup of 3 to 28 tokens; each page uses only some kinds, so that they interact."""
    return _mixed(source, SOUP)


def calm(source: random.Random) -> str:
    """Return soup without a construct at which we stop reading; every form of ours is to be found."""
    return _mixed(source, CALM)


def _mixed(source: random.Random, all_kinds: tuple[tuple[tuple[str, ...], int], ...]) -> str:
    weights = [weight * source.choice((0, 1, 1, 3)) for _, weight in all_kinds]
    weights[0] += 1
    kinds = source.choices(all_kinds, weights, k=source.randint(3, 28))
    return "".join(source.choice(tokens) for tokens, _ in kinds)


def tidy(source: random.Random) -> str:
    """Return a well-formed page, with every construct that real templates have in their forms."""
    title = source.choice(("x", "a < b", "<form method=post>", "&lt;"))
    base = source.choice(("", "", "", "<base href=/app/>", "<base target=x>"))
    body = "".join(_tidy_block(source, 0) for _ in range(source.randint(1, 6)))
    return (
        f"<!doctype html>\n<html><head><meta charset=utf-8><title>{title}</title>{base}"
        f"<style>a > b {{}}</style></head>\n<body>{body}</body></html>\n"
    )


def _tidy_block(source: random.Random, depth: int) -> str:
    kinds: list[Callable[[random.Random, int], str]] = [_tidy_leaf, _tidy_leaf]
    if depth < 4:
        kinds += [_tidy_form, _tidy_form, _tidy_table, _tidy_box]
    return source.choice(kinds)(source, depth + 1)


def _tidy_box(source: random.Random, depth: int) -> str:
    tag = source.choice(("div", "section", "ul", "article", "fieldset", "dialog"))
    inner = "".join(_tidy_block(source, depth) for _ in range(source.randint(1, 3)))
    return f'<{tag} class="c">{inner}</{tag}>{source.choice(TEXT)}'


def _tidy_table(source: random.Random, depth: int) -> str:
    cell = _tidy_block(source, depth)
    row = f"<tr><th>x</th><td>{cell}</td></tr>"
    return f"<table><thead><tr><th>h</th></tr></thead><tbody>{row}</tbody></table>\n"


def _tidy_form(source: random.Random, _depth: int) -> str:
    start = source.choice((*OWN_FORMS, *OWN_FORMS, *OTHER_FORMS[:12]))
    if source.random() < 0.7:
        start = start.replace("id=f", "").replace("id=g", "")
    fields = "".join(_tidy_field(source) for _ in range(source.randint(1, 5)))
    return f"{start}{source.choice(('', TEXT[2], TEXT[4]))}{fields}</form>\n"


def _tidy_field(source: random.Random) -> str:
    return source.choice(
        (
            '<div><label for="a">x</label><input id="a" name="a" value="<form>"></div>',
            "<input type=hidden name=csrf value=x>",
            "<p><input type=file name=b required></p>",
            "<select name=s><option value=1>1</option><option>2</option></select>",
            "<textarea name=t>\n<form method=post></textarea>",
            "<table><tr><td><input name=c></td></tr></table>",
            '<button type="submit" class="btn">Go <svg viewBox="0 0 1 1"><path d="M0"/></svg></button>',
            "<input type=submit formaction=/draft>",
            source.choice(SUBMITTERS[2:4]) if source.random() < 0.2 else "<hr>",
            "<script>document.write('</form>')</script>",
            "<!-- </form> -->",
        )
    )


def _tidy_leaf(source: random.Random, _depth: int) -> str:
    return source.choice(
        (
            "<p>Some <b>bold</b> &amp; <a href='/x?a=1&b=2'>linked <i class=icon></i></a> text</p>",
            "<h2>Title</h2>\n",
            '<svg class="icon"><title>x</title><g><path d="M0 0"/></g></svg>',
            "<a href=/x><svg><use href=#x></use></svg> x</a>",
            "<script>if (a < b) { x = '<form method=post>' }</script>\n",
            "<script><!--\nx()\n//--></script>",
            "<template><form method=post><input></form></template>",
            "<!-- <form method=post> -->",
            "<math><mi>x</mi><mo>=</mo></math>",
            "<select><option>1</select>",
            "<img alt='<form method=post>' src=x>",
            "<noscript><img src=x><p>Please <a href=/x>switch</a> it on</p></noscript>",
            "<iframe src=x></iframe>",
            "text\n",
        )
    )
