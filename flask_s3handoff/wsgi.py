"""HandoffMiddleware: any WSGI framework. Flask has a face of its own, and is not imported here.

The app sees forms in which each token has become the file again (``refill``), and its answers carry
the files on (``reply``). What it wants to say about them it says to ``environ["s3handoff"]``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import get_path_info

from .arriving import QUERY_TOKEN_KEY, hide_query_token, visit_of
from .errors import HandoffError
from .exchange import Exchange
from .files import HandoffFile
from .handle import Handle
from .handoff import Handoff as Handoff
from .links import serve_link
from .paths import is_below
from .refill import Refill, brings_form
from .reply import Reply
from .tokens import Kept
from .visit import LINK_ROUTE, Visit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .folders import Folders

Principal = Callable[["WSGIEnvironment"], object]


class _ExtensionName(str):
    """A name of ours in an environ, without the dot that ``wsgiref.validate`` wants in it.

    It takes names without one for CGI variables, which must be text; PEP 3333 does not.
    """

    __slots__ = ()

    def __contains__(self, text: object) -> bool:
        return text == "." or super().__contains__(str(text))


HANDLE_KEY = _ExtensionName("s3handoff")
_environ: ContextVar[WSGIEnvironment | None] = ContextVar("s3handoff_environ", default=None)


def _kept_by_tokens() -> Mapping[str, Kept]:
    environ = _environ.get()
    exchange = environ and environ[HANDLE_KEY]._arrived()
    return exchange.carriage.kept if exchange else {}


class HandoffMiddleware:
    """Carry uploaded files from request to request, in front of any WSGI app.

    ::

        application = HandoffMiddleware(application, Handoff.from_mapping({
            "S3HANDOFF_BUCKET": "acme-uploads", "SECRET_KEY": os.environ["SECRET_KEY"],
        }))

    ``principal`` takes the environ and returns the id of the user, or None: tokens are then bound
    to users in addition. A file that a form brings by a token and that cannot be had is answered in
    the app's place with the error's status; with ``S3HANDOFF_ON_ERROR="collect"`` it is absent.
    """

    def __init__(
        self,
        application: WSGIApplication,
        handoff: Handoff,
        *,
        principal: Principal = lambda _environ: None,
    ) -> None:
        self._application = application
        self._handoff = handoff
        self._principal = principal
        if handoff.folders is not None:
            handoff.folders.context = _environ.get
            handoff.folders.learn = _kept_by_tokens
        self._serves_links = handoff.config.store != "s3"
        self._observed: WSGIApplication | None = None
        if handoff.config.only_observes:
            from .observe import Observer  # an app that is not looked at does not wait for it
            from .tap import observed

            self._observed = observed(application, Observer(handoff.config, handoff.rooms.signer))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if self._observed is not None:
            return self._observed(environ, start_response)
        hide_query_token(environ)
        if self._serves_links and environ.get("PATH_INFO", "").startswith(LINK_ROUTE):
            return self._serve_link(environ, start_response)
        reply = Reply(environ, start_response)
        handle = RequestHandle(self._handoff, reply, self._principal)
        environ[HANDLE_KEY] = handle
        try:
            self._arrive(environ, handle)
        except HTTPException as error:  # in the app's place: it would see a form without its file
            reply.close()
            return error(environ, start_response)
        except BaseException:
            reply.close()
            raise
        return self._answer(environ, start_response, reply)

    def _arrive(self, environ: WSGIEnvironment, handle: RequestHandle) -> None:
        """Take in what a request brings; an idle one brings neither a form nor a token."""
        token = environ.get(QUERY_TOKEN_KEY)
        if token is None and not brings_form(environ):
            return
        config = self._handoff.config
        if not is_below(get_path_info(environ) or "/", config.paths):
            return
        if token is None:
            handle.refill()
        elif config.is_active:
            exchange = handle.begin()
            exchange.by_redirect = True
            exchange.admit_tokens([token])

    def _answer(
        self, environ: WSGIEnvironment, start_response: StartResponse, reply: Reply
    ) -> Iterable[bytes]:
        try:
            if self._handoff.folders is None:
                return reply.leave(self._application(environ, reply.start))
            return self._answer_with_folders(self._handoff.folders, environ, reply)
        except HandoffError as error:  # the store is down, or the app let it through
            reply.close()
            if reply.has_left:
                raise
            return error(environ, start_response)
        except BaseException:
            reply.close()
            raise

    def _answer_with_folders(
        self, folders: Folders, environ: WSGIEnvironment, reply: Reply
    ) -> Iterable[bytes]:
        """Mirror what the app writes in folders before its answer leaves (DESIGN 5)."""
        token = _environ.set(environ)
        reply.settle = partial(self._settle, folders, environ[HANDLE_KEY])
        try:
            return folders.left(environ, reply.leave(self._application(environ, reply.start)))
        except BaseException:
            folders.leave(environ)
            raise
        finally:
            _environ.reset(token)

    def _settle(self, folders: Folders, handle: RequestHandle, status: int) -> None:
        kept = folders.settle(may_fail=status < 500)
        if kept and is_below(handle.path, self._handoff.config.paths):
            for key, sha256 in kept.items():
                handle.begin().carriage.keep(key, sha256)

    def _serve_link(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        link = get_path_info(environ).removeprefix(LINK_ROUTE)
        try:
            return serve_link(self._handoff, environ, link, Response)(environ, start_response)
        except HandoffError as error:
            return error(environ, start_response)


class RequestHandle(Handle):
    """This request's files: ``environ["s3handoff"]``.

    A file is named by its field or by itself::

        handle = environ["s3handoff"]
        handle.replace("avatar", cropped)                 # or edit the file at .get("avatar").path
        handle.promote("avatar", f"users/{user_id}/avatar.jpg")
    """

    def __init__(self, handoff: Handoff, reply: Reply, principal: Principal) -> None:
        self._handoff = handoff
        self._reply = reply
        self._principal = principal
        self._root = reply.environ.get("SCRIPT_NAME", "")
        self.path = get_path_info(reply.environ) or "/"

    def replace(
        self, file: HandoffFile | str, source: bytes | IO[bytes] | str | os.PathLike[str]
    ) -> None:
        """Make a new revision of bytes, of a file object or of the file at a path."""
        self._file(file).replace(source)

    def promote(self, file: HandoffFile | str, key: str, *, overwrite: bool = False) -> str:
        """Copy a file to its permanent key, inside the store; it is carried no further."""
        return self._file(file).promote(key, overwrite=overwrite)

    def discard(self, file: HandoffFile | str) -> None:
        """Give a file up: it is carried no further."""
        self._file(file).discard()

    def url(self, file_or_key: HandoffFile | str, *, expires: int | None = None) -> str:
        """Return a URL of a file of this request, or of a permanent key."""
        if isinstance(file_or_key, HandoffFile):
            return file_or_key.url(expires=expires)
        root = quote(self._root, encoding="latin-1")
        return self._handoff.url(file_or_key, expires, script_root=root)

    def _file(self, file: HandoffFile | str) -> HandoffFile:
        found = self.get(file) if isinstance(file, str) else file
        if found is None:
            raise KeyError(f"This request has no file {file!r}.")
        return found

    def _arrived(self) -> Exchange | None:
        return self._reply.exchange

    def _begun(self) -> Exchange:
        return self.begin()

    # For the middleware

    def begin(self) -> Exchange:
        """Return the request's story, begun if need be."""
        if self._reply.exchange is None:
            self._reply.carry(self._handoff.exchange(self._visit()))
        exchange = self._reply.exchange
        assert exchange is not None
        return exchange

    def refill(self) -> None:
        """Put the files of the form's tokens into its body."""
        rooms, ends = self._handoff.rooms, self._reply.ends
        Refill(self._reply.environ, rooms, exchange=self.begin, ends=ends).pour()

    def _visit(self) -> Visit:
        request = Request(self._reply.environ, populate_request=False)
        paths = self._handoff.config.paths
        return visit_of(
            request,
            self._handoff.rooms,
            # no path: strangers choose those, and each is remembered when it was warned of
            endpoint=next((p for p in paths if is_below(request.path, (p,))), "the app"),
            principal=lambda: self._principal(self._reply.environ),
            eager=True,
        )
