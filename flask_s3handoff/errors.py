"""Every public error: one root, a reason, an HTTP status, the facts.

::

    HandoffError                      (a werkzeug HTTPException: Flask answers with its status)
     ├─ ConfigError        500  config       a setting is wrong; the message names it
     ├─ Expired            410  expired      the claim is older than S3HANDOFF_TOKEN_MAX_AGE
     ├─ Forged             400  forged       we did not sign this token
     ├─ Foreign            403  foreign      another browser's or another user's token
     ├─ Missing            410  missing      the store no longer has the file
     ├─ Corrupt            502  corrupt      the store gave other bytes than were signed
     ├─ Unavailable        503  unavailable  the store did not answer in time
     │   └─ Unreadable     503  unavailable  the same out of ``open``: an OSError as well
     ├─ TooLarge           413  too_large    over S3HANDOFF_MAX_FILE_SIZE or S3HANDOFF_MAX_FILES
     ├─ Unbound            500  unbound      a redirect cannot carry while S3HANDOFF_BIND is "off"
     ├─ InvalidKey         400  invalid_key  not a key below a place
     └─ AlreadyExists      409  exists       another file already has this key

``code`` is werkzeug's word for the HTTP status, so the stable, greppable word is ``reason``
(docs/decisions/0001-reason-not-code.md).
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Any, ClassVar

from werkzeug.exceptions import HTTPException

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

log = logging.getLogger("flask_s3handoff")

RETRY_AFTER_SECONDS = 5


class HandoffError(HTTPException):
    """The root of every error that this package raises.

    Flask turns it into a response with its status; an ``errorhandler`` sees the facts::

        @app.errorhandler(HandoffError)
        def lost(error):
            flash(f"Please choose {error.filename or 'the file'} again ({error.reason}).")
            return redirect(url_for("upload"))
    """

    code: int | None = None  # with one, `errorhandler(HandoffError)` would see no other in Flask
    reason: ClassVar[str] = "error"
    description: str = "The uploaded file could not be handed on."

    def __init__(
        self,
        description: str | None = None,
        *,
        field: str | None = None,
        filename: str | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(description or type(self).description)
        self.field = field
        self.filename = filename
        self.facts = facts

    def about(self, *, field: str | None, filename: str | None) -> HandoffError:
        """Return the same error, told of one file."""
        return type(self)(self.description, field=field, filename=filename, **self.facts)


class ConfigError(HandoffError, ValueError):
    """A setting is wrong; the message names it and says what to write instead.

    Visitors are not told: it is in the log.
    """

    code = 500
    reason = "config"
    description = "A setting of flask_s3handoff is wrong."

    def __str__(self) -> str:
        """Say what is wrong, without a status: most are raised before there is a request."""
        return self.description

    def get_description(
        self,
        environ: WSGIEnvironment | None = None,  # noqa: ARG002 - werkzeug's signature
        scope: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> str:
        """Keep settings and paths out of the page; Flask itself logs no ``HTTPException``."""
        log.error("Answered with 500: %s", self.description)
        return "<p>The server is not set up to hand files on.</p>"


class Expired(HandoffError):
    """The claim is older than ``S3HANDOFF_TOKEN_MAX_AGE``, counted from the upload."""

    code = 410
    reason = "expired"
    description = "This file was uploaded too long ago. Please choose it again."


class Forged(HandoffError):
    """The token was not signed by us, or was changed since."""

    code = 400
    reason = "forged"
    description = "The reference to an uploaded file is not valid. Please choose the file again."


class Foreign(HandoffError):
    """The token belongs to another browser or another user."""

    code = 403
    reason = "foreign"
    description = (
        "This file was uploaded from another browser or by another user, or cookies are off."
        " Please choose it again."
    )


class Missing(HandoffError):
    """The store no longer has the file."""

    code = 410
    reason = "missing"
    description = "This file is no longer available. Please choose it again."


class Corrupt(HandoffError):
    """The store answered with other bytes than those that were signed."""

    code = 502
    reason = "corrupt"
    description = "This file arrived damaged from the store. Please choose it again."


class Unavailable(HandoffError):
    """The store did not do its work within ``S3HANDOFF_DEADLINE``; nothing was carried."""

    code = 503
    reason = "unavailable"
    description = "The store of uploaded files did not answer in time. Please try again."

    def get_headers(
        self,
        environ: WSGIEnvironment | None = None,
        scope: dict[str, Any] | None = None,
    ) -> list[tuple[str, str]]:
        """Ask the client to come back in a few seconds (RFC 9110, 10.2.3)."""
        return [*super().get_headers(environ, scope), ("Retry-After", str(RETRY_AFTER_SECONDS))]


class Unreadable(Unavailable, OSError):
    """A file of a folder cannot be had from the store: what ``open`` raises.

    An app may catch it as an ``OSError`` (``EIO``); one that does not answers with 503.
    """

    def __init__(self, description: str | None = None, *, path: str = "", **facts: Any) -> None:
        super().__init__(description, **facts)
        self.errno, self.strerror, self.filename = errno.EIO, self.description, path


class TooLarge(HandoffError):
    """A file is over ``S3HANDOFF_MAX_FILE_SIZE``, or they are more than ``S3HANDOFF_MAX_FILES``."""

    code = 413
    reason = "too_large"
    description = "The file is too large, or there are too many files."


class Unbound(HandoffError):
    """A redirect has a file to carry while ``S3HANDOFF_BIND`` is ``"off"``."""

    code = 500
    reason = "unbound"
    description = (
        'S3HANDOFF_BIND="off" carries nothing across a redirect: bind to the cookie,'
        " set S3HANDOFF_REDIRECTS=False, or discard the file before redirecting."
    )


class InvalidKey(HandoffError, ValueError):
    """The key is malformed or does not lie below one of ``S3HANDOFF_PLACES``."""

    code = 400
    reason = "invalid_key"
    description = "This is not a key below one of S3HANDOFF_PLACES."


class AlreadyExists(HandoffError):
    """Another file already has this key, and ``overwrite`` was not asked for."""

    code = 409
    reason = "exists"
    description = "Another file already has this name."
