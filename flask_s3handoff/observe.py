"""Observe mode: requests and responses pass as they are; what we would do is said in the log.

A process hears of every file that it uses (``audit``), and says at the end of a request what that
request left on the disk and what it looked for. What it means is told by ``survey``, which reads
the logs of all servers together.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import Headers
from werkzeug.wsgi import get_host, get_path_info

from .audit import Touch, unwatched, watch
from .config import HandoffConfig
from .errors import ConfigError, HandoffError
from .facts import Fact, line_of, server_name
from .forms import charset_of, eligible_forms
from .leaving import REDIRECTS, redirects_alone, take_query_token
from .notes import Known, Notes, is_ignored, learn, seen_at
from .origins import is_own_url, path_in_app
from .paths import TOKEN_FIELD, is_below, quoted_path
from .tokens import Claim, Kept, TokenSigner

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("flask_s3handoff")
facts_log = logging.getLogger("flask_s3handoff.observe")

Page = Callable[[], bytes | None]
_current: ContextVar[Visitor | None] = ContextVar("s3handoff_observed", default=None)


class Observer:
    """Watches what one app does in this process. Kept alive by the app that it is put around."""

    roots = ("/",)

    def __init__(self, config: HandoffConfig, signer: TokenSigner) -> None:
        self.config = config
        self.signer = signer
        self.known = Known()
        self.server = server_name()
        self._unattributed: dict[str, None] = {}
        self._late: dict[int, Visitor] = {}
        watch(self, stats=True)

    def around(self, application: WSGIApplication) -> WSGIApplication:
        """Return the app, listened to."""

        def observed(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
            visitor = Visitor(self, environ)
            _current.set(visitor)  # not reset: what streams the body belongs to this request
            try:
                return application(environ, start_response)
            finally:
                quietly(self._tell, visitor)

        return observed

    def touched(self, touch: Touch) -> None:
        """Hear what is about to happen to a file."""
        visitor = _current.get()
        with unwatched():
            if visitor is None:
                self._hear_of_nobody(touch)
            elif visitor.owner() is self:
                visitor.notes.touch(touch)
                if visitor.notes.is_over:
                    self._late[id(visitor)] = visitor

    def _hear_of_nobody(self, touch: Touch) -> None:
        """Remember what a thread writes beside the uploads, for the next request to tell."""
        path = touch.target or touch.path
        is_written = touch.verb in ("write", "rename") and not is_ignored(path)
        if is_written and os.path.dirname(path) in self.known.upload_folders:
            learn(self._unattributed, path)

    def _tell(self, visitor: Visitor) -> None:
        visitor.let_go()
        late, self._late = self._late, {}
        with unwatched():
            facts = self._facts_of_nobody()
            facts += [fact for one in [*late.values(), visitor] for fact in one.notes.end()]
            if facts:
                _make_heard()
            for fact in facts:
                facts_log.info("%s", line_of(fact))

    def _facts_of_nobody(self) -> list[Fact]:
        paths, self._unattributed = self._unattributed, {}
        at, pid = self.known.began, os.getpid()
        found = [(path, seen) for path in tuple(paths) if (seen := seen_at(path)) is not None]
        return [
            Fact(
                "write", max(at, seen.st_mtime), self.server, pid, more={"file": path, "new": True}
            )
            for path, seen in found
        ]


class Visitor:
    """One request, as a face sees it."""

    def __init__(self, observer: Observer, environ: WSGIEnvironment) -> None:
        self.owner = weakref.ref(observer)  # the last request of a thread keeps no app alive
        self._config = observer.config
        self._environ = environ
        self._path = get_path_info(environ) or "/"
        self._carries = False
        method = environ.get("REQUEST_METHOD", "GET")
        self.notes = Notes(observer.known, observer.server, method, self._path)

    @property
    def _is_on_our_paths(self) -> bool:
        return is_below(self._path, self._config.paths)

    def let_go(self) -> None:
        """Forget the request: a thread remembers its last visitor, and that must be all."""
        self._environ = {}

    def upload(self, field: str, filename: str, size: int | None) -> None:
        """Note a file that would be mirrored."""
        carries = self._is_on_our_paths
        if carries or not self._config.paths:  # folders only: their files come by any path
            self._carries, self.notes.has_upload = carries, True
            self.notes.say("upload", field=field, filename=filename, size=size)

    def token(self, text: str, source: str) -> None:
        """Note a token of a server that does more than observe."""
        if self._is_on_our_paths:
            self._carries = True
            self.notes.say("token", source=source, **self._read(text))

    def _read(self, text: str) -> dict[str, Any]:
        observer = self.owner()
        if observer is None:
            return {}
        try:
            claims = observer.signer.read(text).claims
        except (ConfigError, HandoffError) as error:
            return {"refused": getattr(error, "reason", "no key")}
        return {"files": [_in_short(claim) for claim in claims]}

    def leave(self, status: int, headers: Headers, page: Page) -> None:
        """Note an answer that would carry what the request brought."""
        self._take_query_token()
        self._expect_token()
        if not self._carries or not self._is_on_our_paths:
            return
        location = headers.get("Location")
        if status in REDIRECTS and location:
            self._redirect(status, location)
        elif (headers.get("Content-Type") or "").startswith("text/html"):
            self._page(status, headers, page)

    def _take_query_token(self) -> None:
        query = self._environ.get("QUERY_STRING", "")
        if TOKEN_FIELD in query and (text := take_query_token(query)[1]):
            self.token(text, "query")

    def _expect_token(self) -> None:
        """Go on with a flow: an earlier answer would have sent a token here."""
        source = "form" if self.notes.method == "POST" else "query"
        if not self._carries and (self._path, source) in self.notes.known.targets:
            self._carries = True
            self.notes.say("token", source=source, expected=True)

    def _redirect(self, status: int, location: str) -> None:
        config, alone = self._config, redirects_alone(self.notes.method, status)
        origin = f"{self._environ['wsgi.url_scheme']}://{get_host(self._environ)}"
        own = is_own_url(location, trusted_origins=config.trusted_origins, own_origin=origin)
        target = self._target(location) if own and alone and config.redirects else None
        if target is not None:
            learn(self.notes.known.targets, (target, "query"))
            self.notes.say("redirect", status=status, target=target)

    def _page(self, status: int, headers: Headers, page: Page) -> None:
        if "Content-Encoding" in headers or self._config.inject == "off":
            return
        text = page()
        if text is None:  # a stream: reading it would change it
            self.notes.say("page", status=status, forms=None)
            return
        charset, config = charset_of(headers.get("Content-Type", "")), self._config
        forms = eligible_forms(text, charset=charset, trusted_origins=config.trusted_origins)
        wanted = [form for form in forms if form.is_wanted(config.inject)]
        targets = [target for form in wanted if (target := self._target(form.action or ""))]
        for target in targets:
            learn(self.notes.known.targets, (target, "form"))
        if targets:
            self.notes.say("page", status=status, forms=len(targets), targets=sorted({*targets}))

    def _target(self, reference: str) -> str | None:
        """Return the path in our app that a URL of this page means, if it is one of ours."""
        root = self._environ.get("SCRIPT_NAME", "").rstrip("/")
        path = path_in_app(reference, quoted_path(root + self._path), quoted_path(root))
        return path if path is not None and is_below(path, self._config.paths) else None


def _in_short(claim: Claim | Kept) -> dict[str, Any]:
    if isinstance(claim, Kept):
        return {"key": claim.key}
    return {"field": claim.field, "name": claim.filename, "size": claim.size}


def current_visitor() -> Visitor | None:
    """Return the request that runs here, if it is observed."""
    visitor = _current.get()
    return None if visitor is None or visitor.notes.is_over else visitor


def quietly(act: Callable[..., object], *arguments: Any) -> None:
    """Do our own part: whatever is wrong with it, the app's answer leaves as it is."""
    try:
        act(*arguments)
    except Exception:
        with unwatched():
            log.exception("A request could not be observed")


def _make_heard() -> None:
    """Log the facts also where an app has configured nothing, or has silenced whom it forgot."""
    facts_log.disabled = False
    if facts_log.level == logging.NOTSET:
        facts_log.setLevel(logging.INFO)
    if not facts_log.hasHandlers():
        facts_log.addHandler(logging.StreamHandler())
