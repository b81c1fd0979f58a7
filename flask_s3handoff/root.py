"""The work folder itself: chosen and made on first use, and judged each time.

A folder that others can write is a folder in which they can swap files under us (T22).
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
import tempfile
from contextlib import suppress

from .errors import ConfigError

log = logging.getLogger("flask_s3handoff")

_ATTEMPTS = 8
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class Root:
    """A private folder: ``path`` or, where nothing can be written, one for temporary files.

    The latter is named after ``fallback``, which tells the apps of one user apart. Without it,
    what cannot be written stays an error.
    """

    def __init__(self, path: str | None, *, fallback: str | None = None) -> None:
        self._wanted = path
        self._fallback = fallback
        self._chosen: str | None = None

    def path(self) -> str:
        """Return the folder; once a cleaner has removed it, anybody may have made it (F35).

        Raises ``ConfigError`` when it is not ours alone, ``OSError`` when it cannot be made.
        """
        root = self._chosen = self._chosen or self._choose()
        for _ in range(_ATTEMPTS):
            try:
                _judge(root)
            except FileNotFoundError:
                _make(root)  # and a cleaner that runs all the time may be faster than we
            else:
                return root
        _judge(root)
        return root

    def look(self) -> tuple[str, str | None]:
        """Return the folder and what is wrong with it, and make nothing.

        Who looks may be another user than the server: what he made, the server could not use.
        """
        root = self._chosen or self._wanted or self._temporary()
        try:
            _judge(root)
            _check_writable(root)
        except FileNotFoundError:
            return root, _why_not_made(root)
        except (ConfigError, OSError) as error:
            return root, str(error)
        return root, None

    def _choose(self) -> str:
        if self._wanted is None:
            return self._temporary()
        try:
            _make(self._wanted)
            _judge(self._wanted)
            _check_writable(self._wanted)
        except OSError as error:
            if error.errno not in _READ_ONLY or self._fallback is None:
                raise
            log.warning("%s cannot be written: working in %s", self._wanted, self._temporary())
            return self._temporary()
        return self._wanted

    def _temporary(self) -> str:
        """Name a folder that all processes of this app and this user find, and nobody else's."""
        digest = hashlib.sha256((self._fallback or "").encode()).hexdigest()[:16]
        return os.path.join(tempfile.gettempdir(), f"s3handoff-{os.geteuid()}-{digest}")


def _make(root: str) -> None:
    with suppress(FileExistsError):  # whatever it is, it is judged next
        os.makedirs(root, 0o700)


def _why_not_made(root: str) -> str | None:
    parent = os.path.dirname(root)
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    return None if os.access(parent, os.W_OK | os.X_OK) else f"{parent} cannot be written"


def _judge(root: str) -> None:
    """Raise ``ConfigError`` unless this is a folder of ours that only we can write."""
    seen = os.lstat(root)
    if not stat.S_ISDIR(seen.st_mode):
        wrong = "is a symbolic link or a file, not a folder"
    elif seen.st_uid != os.geteuid():
        wrong = f"belongs to the user {seen.st_uid}, and this process is {os.geteuid()}"
    elif seen.st_mode & 0o022:
        wrong = "can be written by others: chmod 700 it"
    else:
        return
    raise ConfigError(f"S3HANDOFF_WORK_DIR: {root} {wrong}.")


def _check_writable(root: str) -> None:
    if not os.access(root, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "the folder cannot be written", root)
