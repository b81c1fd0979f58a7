"""What the store is known to have of the files in a folder: one small note for each.

Notes lie in the work folder, shared by the processes of a server. A note that is lost costs one
comparison of digests. While a process writes a file, its note says so: nobody else replaces it.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from .disk import Identity, despite_cleaners, open_private
from .paths import random_name
from .workdir import WorkDir

_FOLDER = "ledger"
_KEYS = {"identity", "etag", "sha256", "writer"}


@dataclass(frozen=True)
class Note:
    """The file as it was when the store had it. ``writer`` names a process that writes it.

    What a writer began with is what it overwrites: then the rest tells of that.
    """

    identity: Identity | None = None
    etag: str = ""
    sha256: str = ""
    writer: str = ""

    @property
    def is_claimed(self) -> bool:
        """Tell whether a process of this server is writing or removing the file."""
        return bool(self.writer) and self.writer == name_of(self.writer.partition("-")[0])

    @property
    def is_being_written(self) -> bool:
        """Tell whether another process of this server is writing the file."""
        return self.is_claimed and self.writer != name_of(os.getpid())


def name_of(pid: int | str) -> str:
    """Return a name that no later process has: numbers come again, as after each restart (T22).

    It is the number and the moment of its start, as Linux counts it; empty if there is none.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            started = file.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return ""
    return f"{pid}-{started}"


class Ledger:
    """The notes of one folder, by key."""

    def __init__(self, workdir: WorkDir) -> None:
        self._workdir = workdir

    def read(self, key: str) -> Note:
        """Return what is known; a note that is not there, or damaged, knows nothing."""
        try:
            with open(self._path(key), "rb", opener=open_private) as file:
                return _note_of(json.load(file))
        except (OSError, ValueError):
            return Note()

    def write(self, key: str, note: Note) -> None:
        """Remember this, in one step."""
        despite_cleaners(lambda: self._write(key, note))

    def forget(self, key: str) -> None:
        """Know nothing of this key any more."""
        with suppress(OSError):
            os.unlink(self._path(key))

    def _write(self, key: str, note: Note) -> None:
        path = self._path(key)
        new = f"{path}.{random_name()}"
        try:
            with open(new, "x", encoding="utf-8", opener=open_private) as file:
                json.dump(asdict(note), file)
            os.replace(new, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise

    def _path(self, key: str) -> str:
        name = hashlib.sha256(key.encode()).hexdigest()
        return os.path.join(self._workdir.folder(_FOLDER), name)


def _note_of(said: Any) -> Note:
    if not isinstance(said, dict) or set(said) != _KEYS:
        return Note()
    identity = said["identity"] and Identity(*said["identity"])
    return Note(identity, str(said["etag"]), str(said["sha256"]), str(said["writer"]))
