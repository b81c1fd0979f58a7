"""Random pages, judged by parsers that we did not write (see tests/fuzz/form_oracles.py).

The same pages by the million: ``make fuzz``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.form_oracles import (
    Html5libDocument,
    LexborDocument,
    Verdict,
    eligible,
    inject,
    judge,
    opinions,
    without_ours,
)
from tests.fuzz.fuzz_forms import Tally, campaign

# What real libraries' templates render; made by tests/data/render_forms.py.
RENDERED = sorted(Path(__file__).parents[1].joinpath("data", "forms").glob("*.html"))

DOCUMENTS = 21_000
BATCHES = 6


@pytest.fixture(scope="module")
def tally() -> Tally:
    """Judge all pages once, for all tests of this file."""
    total = Tally()
    for batch in range(BATCHES):
        total.add(campaign(DOCUMENTS // BATCHES, f"unit:{batch}"))
    print(total.line())
    return total


def test_no_random_page_gets_a_token_wrong(tally: Tally) -> None:
    """Each token's form goes by POST to our own origin, whichever button is pressed."""
    assert tally.counts["documents"] == DOCUMENTS
    assert tally.counts["wrong"] == 0, tally.examples
    assert tally.counts["injections"] > DOCUMENTS / 4
    assert tally.counts["judged by lexbor"] > DOCUMENTS / 4
    assert tally.counts["judged by html5lib"] > DOCUMENTS / 5
    assert tally.counts["judged by html5lib with scripting"] > DOCUMENTS / 50


def test_no_random_page_is_disturbed(tally: Tally) -> None:
    """Without our inputs, the tree of the page is the one that it was."""
    assert tally.counts["disturbed"] == 0, tally.examples


def test_rule_6_taking_our_bytes_out_of_a_random_page_gives_it_back(tally: Tally) -> None:
    """Only bytes of ours were added."""
    assert tally.counts["not restored"] == 0, tally.examples


def test_nearly_every_form_of_ours_is_found(tally: Tally) -> None:
    """On pages without a construct that makes us stop, at least 95 % of the forms get a token."""
    assert tally.counts["tidy eligible"] > 1000
    assert tally.counts["calm eligible"] > 1000
    assert tally.recall("tidy") >= 0.99
    assert tally.recall("calm") >= 0.95


def test_the_oracles_do_not_crash(tally: Tally) -> None:
    """A crash of an oracle leaves a page unjudged, so it must stay an exception."""
    crashes = sum(number for what, number in tally.counts.items() if what.startswith("crashes"))
    assert crashes <= DOCUMENTS / 1000, tally.line()


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_every_form_of_a_real_template_is_found(path: Path) -> None:
    """Flask-WTF, Flask-Admin, Flask-Security, Bootstrap-Flask and Django: all forms, none wrong."""
    raw = path.read_bytes()
    injected, forms = inject(raw)
    assert forms == eligible(LexborDocument(raw.decode()))
    assert without_ours(injected) == raw
    assert [
        verdict for _, verdict in opinions(raw.decode(), injected.decode()) if verdict != Verdict()
    ] == []


def test_the_real_templates_hold_enough_forms() -> None:
    """At least 200 forms, so that "all of them" says something."""
    assert sum(eligible(LexborDocument(path.read_text())) for path in RENDERED) >= 200


OURS = '<input type="hidden" name="_s3handoff" value="T0" autocomplete="off">'


WRONG = (
    f"<form action=//evil.example method=post><form method=post>{OURS}",
    f"<form method=post>{OURS}<button formaction=//evil.example>",
    f"<form method=post id=f>{OURS}</form><button form=f formmethod=get>",
    f"<form method=post action=x>{OURS}<base href=//evil.example>",
    f"<form>{OURS}",
    f"<form method=post enctype=text/plain>{OURS}",
    f"<form action=//evil.example method=post><div></form><table><form method=post>{OURS}",
    f"<p>{OURS}",
)
DISTURBED = (
    f"<p><b>x</p><form method=post>{OURS}<div>x</div></form>",
    f"<form method=post><select>{OURS}<option></select>",
    f"<textarea><form method=post>{OURS}</textarea>",
)


@pytest.mark.parametrize("injected", WRONG)
def test_the_oracles_see_a_wrong_injection(injected: str) -> None:
    """Each oracle objects to a token in a form that may go elsewhere."""
    page = injected.replace(OURS, "")
    assert judge(LexborDocument, page, injected).wrong
    assert judge(Html5libDocument, page, injected).wrong


@pytest.mark.parametrize("injected", DISTURBED)
def test_the_oracles_see_a_disturbed_page(injected: str) -> None:
    """Each oracle objects when an input changes the tree around it, or is no input at all."""
    verdicts = [verdict for _, verdict in opinions(injected.replace(OURS, ""), injected)]
    assert len(verdicts) == 2
    assert all(not isinstance(verdict, Exception) and verdict.is_disturbed for verdict in verdicts)
