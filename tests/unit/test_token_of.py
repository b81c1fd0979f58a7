"""``token_of`` finds what a browser would send on."""

from __future__ import annotations

import pytest
from werkzeug.wrappers import Response

from flask_s3handoff.testing import token_of


def test_the_token_of_a_page_is_that_of_its_first_form() -> None:
    """A page with two forms has two tokens, of the same files."""
    page = "".join(f'<form><input name="_s3handoff" value="T.{n}"></form>' for n in "ab")
    assert token_of(Response(page, mimetype="text/html")) == "T.a"


def test_the_token_of_a_redirect_is_in_its_address() -> None:
    """Whatever else is in the query, and before the fragment."""
    headers = {"Location": "/crop?size=1&_s3handoff=T.x~-#top"}
    assert token_of(Response("_s3handoff", status=302, headers=headers)) == "T.x~-"


def test_an_answer_without_a_token_is_told() -> None:
    """A test that fails in its helper should not be a riddle."""
    with pytest.raises(AssertionError, match="200 OK of text/html"):
        token_of(Response("<p>nothing</p>", mimetype="text/html"))
    with pytest.raises(AssertionError, match="302 FOUND to /next"):
        token_of(Response(status=302, headers={"Location": "/next"}))
