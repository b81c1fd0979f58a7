"""Where a browser finds the token of an answer, for tests that send it on."""

from __future__ import annotations

import re

from werkzeug.wrappers import Response

from ..paths import TOKEN_FIELD

_IN_FORM = re.compile(rf'name="{TOKEN_FIELD}" value="([A-Za-z0-9._~-]+)"')
_IN_QUERY = re.compile(rf"[?&]{TOKEN_FIELD}=([A-Za-z0-9._~-]+)")


def token_of(answer: Response) -> str:
    """Return the token in the first form of a page, or in the address of a redirect.

    ::

        page = client.post("/avatar", data={"avatar": (BytesIO(b"…"), "leo.png")})
        client.post("/crop", data={"_s3handoff": token_of(page)})
    """
    location = answer.headers.get("Location", "")
    found = _IN_QUERY.search(location) or _IN_FORM.search(answer.get_data(as_text=True))
    if found is None:
        what = f"to {location}" if location else f"of {answer.mimetype}"
        raise AssertionError(f"No token in this answer: {answer.status} {what}.")
    return found[1]
