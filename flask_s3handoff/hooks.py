"""How we are put around a Flask app: a gate, a request class, a leaving hook.

An idle request passes the gate and one look-up on leaving; the rest is made when a file part or
a token is really seen (rule 8). ``process_response`` is wrapped, and not ``after_request``, because
it sees every response before any other extension does.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, current_app, has_request_context, request
from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import ClosingIterator

from .arriving import QUERY_TOKEN_KEY, hide_query_token
from .binding import has_binding_cookie
from .body import FORM_TYPES, MULTIPART_TYPE, Parsed, parse, parse_unread, without_tokens
from .current import (
    EXCHANGE_KEY,
    acts_here,
    current_exchange,
    current_handoff,
    current_state,
    is_exempt,
    parsed_exchange,
)
from .errors import HandoffError
from .leaving import kept_private, leave, may_carry, with_timing
from .links import serve_link
from .tokens import Kept
from .visit import LINK_ROUTE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .folders import Folders

log = logging.getLogger("flask_s3handoff")

MAX_UNREAD_BYTES = 32 << 20


def install(app: Flask) -> None:
    """Put the gate, the request class and the leaving hook around an app."""
    handoff = current_state(app).handoff
    if handoff.config.only_observes:
        from .bystander import stand_by  # an app that is not looked at does not wait for it

        stand_by(app)
        return
    around: Any = app  # mypy takes no assignment to a method; Flask documents this one
    around.wsgi_app = _gate(app.wsgi_app)
    around.request_context = _with_our_request(app)
    around.process_response = _leaving(app)
    if handoff.folders is not None:
        around.wsgi_app = _folder_gate(app, handoff.folders)
        around.process_response = _settling(app, handoff.folders)
    if handoff.config.mirror == "before_view":
        app.dispatch_request = _parsing_first(app)  # type: ignore[method-assign]
    if handoff.config.store != "s3":
        app.add_url_rule(f"{LINK_ROUTE}<path:link>", "s3handoff_link", _serve_link)


def _gate(wsgi_app: WSGIApplication) -> WSGIApplication:
    def gate(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        hide_query_token(environ)
        try:
            body = wsgi_app(environ, start_response)
        except BaseException:
            if EXCHANGE_KEY in environ:
                environ[EXCHANGE_KEY].close()
            raise
        # not by the response, which an `after_request` may have replaced
        exchange = environ.get(EXCHANGE_KEY)
        return body if exchange is None else ClosingIterator(body, exchange.close)

    return gate


def _folder_gate(app: Flask, folders: Folders) -> WSGIApplication:
    wsgi_app: WSGIApplication = app.wsgi_app
    folders.context = lambda: (
        request.environ if has_request_context() and _is_current(app) else None
    )
    folders.learn = _kept_by_tokens
    key = folders.key

    def gate(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        try:
            body = wsgi_app(environ, start_response)
        except BaseException:
            folders.leave(environ)
            raise
        if key in environ:
            return folders.left(environ, body)
        environ[key] = None  # what still streams is nobody's
        return body

    return gate


def _is_current(app: Flask) -> bool:
    return cast(Any, current_app)._get_current_object() is app


def _settling(app: Flask, folders: Folders) -> Callable[..., Response]:
    """Mirror what the request wrote before anybody sees its response (DESIGN 5)."""
    original: Callable[..., Any] = app.process_response
    handle: Callable[..., Any] = app.handle_user_exception

    def settled(context: tuple[Any, ...], response: Response) -> Response:
        try:
            kept = folders.settle(may_fail=response.status_code < 500)
            if kept and acts_here():
                for key, sha256 in kept.items():
                    current_exchange().carriage.keep(key, sha256)
        except HandoffError as error:
            response.close()
            return app.make_response(handle(*context, error))
        except BaseException:
            response.close()
            raise
        return response

    def process_response(*arguments: Any) -> Response:
        context = arguments[:-1]
        if not folders.is_idle:
            arguments = (*context, settled(context, arguments[-1]))
        sent: Response = original(*arguments)
        if not folders.active or not folders.here():
            return sent
        return settled(context, sent)  # what an `after_request` wrote, or a session kept in files

    return process_response


def _kept_by_tokens() -> Mapping[str, Kept]:
    """Read the request's tokens when the app first touches a folder that asks for them."""
    if not has_request_context() or not acts_here():
        return {}
    with suppress(HTTPException):  # the app hears of it when it reads the form itself
        return parsed_exchange().carriage.kept if _may_bring_tokens() else {}
    return {}


def _may_bring_tokens() -> bool:
    return QUERY_TOKEN_KEY in request.environ or request.mimetype in FORM_TYPES


def _with_our_request(app: Flask) -> Callable[..., Any]:
    """Make requests of our subclass of the app's request class, also if that is set later on."""
    original = app.request_context
    ours: Any = None

    def request_context(environ: WSGIEnvironment) -> Any:
        nonlocal ours
        if app.request_class is not ours:
            ours = app.request_class = _request_class(cast(Any, app.request_class))
        return original(environ)

    return request_context


def _parsing_first(app: Flask) -> Callable[..., Any]:
    """Store what an upload brings before its view runs (``S3HANDOFF_MIRROR="before_view"``)."""
    original: Callable[..., Any] = app.dispatch_request

    def dispatch_request(*arguments: Any) -> Any:  # Flask 3.2 passes its context
        if request.mimetype == MULTIPART_TYPE and request.url_rule and acts_here():
            _ = request.files
        return original(*arguments)

    return dispatch_request


@functools.cache
def _request_class(base: Any) -> Any:  # Any: mypy thinks that a request class has no hash
    if issubclass(base, _HandoffRequest):  # the app made a class of the one that it had from us
        return base
    return type(base.__name__, (_HandoffRequest, base), {"__module__": base.__module__})


class _HandoffRequest(Request):
    """Gives werkzeug's own parser our sinks."""

    @property
    def want_form_data_parsed(self) -> bool:
        return QUERY_TOKEN_KEY in self.environ or super().want_form_data_parsed

    def make_form_data_parser(self) -> FormDataParser:
        return cast(FormDataParser, _Parser(self, super().make_form_data_parser()))


class _Parser:
    """Stands in for the app's form data parser during one request."""

    def __init__(self, request: Request, inner: FormDataParser) -> None:
        self._request = request
        self._inner = inner

    def parse(
        self, stream: Any, mimetype: str, content_length: int | None, options: Any = None
    ) -> Any:
        """Parse as werkzeug does; files become HandoffFiles, tokens leave the form."""
        arguments = (stream, mimetype, content_length, options)
        if not acts_here():
            stream, form, files = self._inner.parse(*arguments)
            return stream, without_tokens(self._inner, form), files
        try:
            return self._admit(self._parse(*arguments))
        except HTTPException:
            empty = self._inner.cls
            vars(self._request).update(stream=stream, form=empty(), files=empty())
            raise

    def _parse(self, *arguments: Any) -> Parsed:
        environ, handoff = self._request.environ, current_handoff()
        parsed = parse(
            self._inner,
            *arguments,
            receive=handoff.rooms.mirror.receive,
            max_files=handoff.config.max_files,
            content_length_header=environ.get("CONTENT_LENGTH"),
            terminated=bool(environ.get("wsgi.input_terminated")),
            content_encoding=environ.get("HTTP_CONTENT_ENCODING"),
        )
        if QUERY_TOKEN_KEY in environ:
            parsed.tokens.append(environ[QUERY_TOKEN_KEY])
            current_exchange().by_redirect = True
        return parsed

    def _admit(self, parsed: Parsed) -> Any:
        if not parsed.files and not parsed.tokens:
            return parsed.stream, parsed.form, self._inner.cls(parsed.empty)
        # whoever says which user this is may ask for the form, which is known by now
        vars(self._request).update(stream=parsed.stream, form=parsed.form, files=self._inner.cls())
        try:
            files = current_exchange().admit(parsed)
        except BaseException:
            parsed.abort()  # what was finished stays; no other sink may stay open
            raise
        return parsed.stream, parsed.form, self._inner.cls(files)


def _leaving(app: Flask) -> Callable[..., Response]:
    original: Callable[..., Any] = app.process_response
    this_request = cast(Any, request)._get_current_object  # half of what asking the proxy costs
    handle: Callable[..., Any] = app.handle_user_exception

    def process_response(response: Any, *more: Any) -> Response:
        environ = this_request().environ
        if (  # idle: no exchange was begun, no token, no body
            EXCHANGE_KEY not in environ
            and QUERY_TOKEN_KEY not in environ
            and ("CONTENT_TYPE" not in environ or not environ["CONTENT_TYPE"])
        ):
            if not more:  # a star costs as much as this whole question
                return original(response)  # type: ignore[no-any-return]  # a `cast` costs a call
            return original(response, *more)  # type: ignore[no-any-return]
        *context, response = response, *more  # Flask 3.2 passes its context first
        began = time.monotonic()
        try:
            left = _left(response)
        except HandoffError as error:
            response.close()
            left = _left_with_error(app.make_response(handle(*context, error)))
        except BaseException:
            response.close()
            raise
        exchange = environ.get(EXCHANGE_KEY)
        if app.debug and exchange is not None:
            left = with_timing(exchange, left, time.monotonic() - began)
        sent = original(*context, left)
        return cast(Response, sent if exchange is None else kept_private(exchange, sent))

    return process_response


def _left(response: Response) -> Response:
    """Return the response that carries what this request has, or the response as it is."""
    if EXCHANGE_KEY not in request.environ and not _has_unread_tokens(response):
        return response
    if is_exempt():
        return response
    return leave(current_exchange(), response)


def _left_with_error(answer: Response) -> Response:
    """Carry what the store does have in the answer that tells of what it has not."""
    current_exchange().drop_unstored()
    try:
        return _left(answer)
    except HandoffError:
        log.exception("nothing could be carried in the answer to an error")
        return answer


def _has_unread_tokens(response: Response) -> bool:
    """Read the tokens of a form that the view never looked at, and tell whether there are any."""
    if "form" in vars(request) or not may_carry(request.method, response) or not acts_here():
        return False
    query_token = request.environ.get(QUERY_TOKEN_KEY)
    tokens = [query_token] if query_token else _tokens_in_unread_body()
    if not tokens:
        return False
    exchange = current_exchange()
    exchange.by_redirect = query_token is not None
    exchange.admit_tokens(tokens)
    return True


def _tokens_in_unread_body() -> list[str]:
    """Stay out if the app has taken the stream itself, and off endless bodies."""
    untouched = "stream" not in vars(request)
    is_form = request.mimetype in FORM_TYPES and request.method in ("POST", "PUT", "PATCH")
    size = request.content_length
    if not untouched or not is_form or not size or size > MAX_UNREAD_BYTES:
        return []
    if current_handoff().config.bind == "cookie" and not has_binding_cookie(request.cookies):
        return []  # whatever token it brings is foreign: nobody is waited for (T18)
    this = cast(Any, request)._get_current_object()  # super() takes no proxy
    parser = super(_HandoffRequest, this).make_form_data_parser()
    try:
        stream = request.stream
    except HTTPException:  # over MAX_CONTENT_LENGTH: the answer has said so, or does not mind
        return []
    unread = parse_unread(parser, stream, request.mimetype, size, request.mimetype_params)
    vars(this).update(form=unread.form, files=parser.cls())  # for an `after_request` that asks
    return unread.tokens


def _serve_link(link: str) -> Response:
    """Serve a file of a store that has no presigned URLs of its own."""
    return serve_link(current_handoff(), request.environ, link, current_app.response_class)
