"""S3Handoff: the Flask face. It translates, and decides nothing.

An idle request passes through a closure and one look-up; everything else is made when a file part
or a token is really seen.
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, TypeVar

from flask import Flask, has_request_context, request
from werkzeug.datastructures import FileStorage

from .config import HandoffConfig, secret_keys
from .current import (
    EXEMPT_MARK,
    EXTENSION_KEY,
    State,
    current_exchange,
    current_handoff,
    parsed_exchange,
    send_signal,
)
from .errors import ConfigError
from .exchange import Exchange
from .files import HandoffFile
from .handle import Handle
from .handoff import Handoff, Source, StoredFile
from .hooks import install
from .paths import check_key
from .store import OCTET_STREAM, Store

if TYPE_CHECKING:
    from .moving import Moved, Progress

View = TypeVar("View", bound=Callable[..., Any])
Loader = TypeVar("Loader", bound=Callable[[], object])


class S3Handoff(Handle):
    """Carry uploaded files from request to request, whichever server gets them.

    ::

        app = Flask(__name__)
        handoff = S3Handoff(app)            # or S3Handoff() and handoff.init_app(app)

    ``store`` takes any ``Store`` in place of ``S3HANDOFF_STORE``, for tests:
    ``S3Handoff(app, store=MemoryStore())``.
    """

    def __init__(self, app: Flask | None = None, *, store: Store | None = None) -> None:
        self._store = store
        self._principal: Callable[[], object] | None = None
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, *, store: Store | None = None) -> None:
        """Read the settings of this app and put us around it. Contacts nobody."""
        if EXTENSION_KEY in app.extensions:
            raise ConfigError("This app has an S3Handoff already: call init_app once per app.")
        own_store = store or self._store
        own = {"S3HANDOFF_STORE": own_store} if own_store is not None else {}
        config = HandoffConfig.from_mapping(
            {**app.config, **own},
            instance_path=app.instance_path,
            development=app.debug or app.testing,
        )
        handoff = Handoff(
            config, keys=lambda: secret_keys(app.config), notify=lambda *a: send_signal(app, *a)
        )
        app.extensions[EXTENSION_KEY] = State(
            handoff, lambda: self._principal and self._principal()
        )
        install(app)
        app.jinja_env.globals["s3handoff"] = self

    # This request: see Handle

    def _arrived(self) -> Exchange:
        return parsed_exchange()

    def _begun(self) -> Exchange:
        return current_exchange()

    # Permanent files

    def open(self, key: str) -> IO[bytes]:
        """Return a permanent file for reading, in or out of a request; close it after use."""
        return current_handoff().open(key)

    def reopen(self, key: str, field: str) -> HandoffFile:
        """Put a permanent file on its way again, as if it had just been uploaded in this field."""
        name = key.rpartition("/")[2]
        content_type = mimetypes.guess_type(name)[0] or OCTET_STREAM
        with current_handoff().open(key) as source:
            return parsed_exchange().start(field, name, content_type, source)

    def put(
        self, source: Source, key: str, *, content_type: str = "", overwrite: bool = False
    ) -> str:
        """Store bytes, a file object or the file at a path under a permanent key."""
        return current_handoff().put(source, key, content_type=content_type, overwrite=overwrite)

    def promote(self, file: FileStorage, key: str, *, overwrite: bool = False) -> str:
        """Copy a file that is being carried to its permanent key, inside S3.

        A plain ``FileStorage``, from a path that we stay out of, is put there instead.
        """
        if isinstance(file, HandoffFile):
            return file.promote(key, overwrite=overwrite)
        return self.put(file.stream, key, content_type=file.mimetype, overwrite=overwrite)

    def delete(self, key: str) -> None:
        """Delete a permanent file."""
        current_handoff().delete(key)

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """Yield the permanent files below a prefix: key, size, last modified, ``url()``."""
        return current_handoff().list(prefix)

    def url(self, file_or_key: FileStorage | str, *, expires: int | None = None) -> str:
        """Return a presigned or public URL of a carried file or of a permanent key."""
        if isinstance(file_or_key, HandoffFile):
            return file_or_key.url(expires=expires)
        root = request.root_path if has_request_context() else ""
        return current_handoff().url(check_key(file_or_key), expires, script_root=root)

    # Folders

    def track(self, path: str | os.PathLike[str]) -> None:
        """Mirror this file, or all below this path, with what the request wrote.

        For writers that Python does not see: ``subprocess``, sqlite3, libraries in C.
        """
        current_handoff().track(path)

    def flush(self) -> None:
        """Mirror now what was written outside of any request: at the end of a script or a task."""
        current_handoff().flush()

    def adopt(self, progress: Progress = lambda _done, _of: None) -> Moved:
        """Mirror what lies in the folders already; nothing in the store is overwritten."""
        return current_handoff().adopt(progress)

    def pull(self, progress: Progress = lambda _done, _of: None) -> Moved:
        """Bring every file of the folders from the store to this disk: the way out."""
        return current_handoff().pull(progress)

    # Rules

    def exempt(self, view: View) -> View:
        """Keep us out of a view: no mirroring, restoring, injecting or carrying."""
        setattr(view, EXEMPT_MARK, True)
        return view

    def principal_loader(self, loader: Loader) -> Loader:
        """Bind tokens to a user in addition: the loader returns an id, ``None`` for anonymous."""
        self._principal = loader
        return loader
