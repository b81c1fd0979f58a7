"""What a test may not leave behind: open files of ours, busy threads of ours, partial files, and
multipart uploads that nobody has finished, in every store that can be asked.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

THREADS = "s3handoff"
PARTIAL = "*.part"
# A thread of a pool that waits for work stands here, and may: pools live as long as their process.
IDLE = os.path.join("concurrent", "futures", "thread.py")
SECONDS = 3.0
UNFINISHED = "unfinished upload"

_stores: dict[str, Callable[[], list[str]]] = {}


def watch_store(name: str, ask: Callable[[], list[str]]) -> None:
    """Ask this store, after every test from now on, which uploads are unfinished in it."""
    _stores[name] = ask


def forget_stores() -> None:
    """Ask them no more: their module has ended, or a test has killed a writer on purpose."""
    _stores.clear()


class Watch:
    """What was open before a test, to be compared with what is open after it.

    >>> watch = Watch([])
    >>> watch.leaks()
    []
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        """Watch these folders, and every file with our name in its path."""
        self._folders = [str(folder) for folder in folders]
        self._before = self._open_files()

    def leaks(self) -> list[str]:
        """Describe what is left, after giving late finishers a moment."""
        deadline = time.monotonic() + SECONDS
        while (found := self._found()) and time.monotonic() < deadline:
            gc.collect()  # a file that is only waiting for the collector warns by itself
            time.sleep(0.02)
        return found

    def _found(self) -> list[str]:
        files = sorted(set(self._open_files().items()) - set(self._before.items()))
        described = [f"open file {target} (descriptor {number})" for number, target in files]
        busy = [f"busy thread {name}" for name in busy_threads()]
        return described + busy + self._partial() + unfinished_uploads()

    def _open_files(self) -> dict[str, str]:
        return {n: t for n, t in open_files().items() if THREADS in t or self._is_watched(t)}

    def _is_watched(self, target: str) -> bool:
        return any(target.startswith(folder + os.sep) for folder in self._folders)

    def _partial(self) -> list[str]:
        found = (path for folder in self._folders for path in Path(folder).rglob(PARTIAL))
        return [f"partial file {path}" for path in found if path.is_file()]


def unfinished_uploads() -> list[str]:
    """Every multipart upload that was begun and neither completed nor aborted."""
    return [f"{UNFINISHED} {key} in {name}" for name, ask in _stores.items() for key in ask()]


def open_files() -> dict[str, str]:
    """Every descriptor of this process that is a file, where the system shows them (Linux)."""
    table: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
                table[number] = os.readlink(f"/proc/self/fd/{number}")
    return {number: target for number, target in table.items() if target.startswith("/")}


def busy_threads() -> list[str]:
    """Threads with our name that are doing something."""
    frames = sys._current_frames()
    ours = [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]
    standing = {thread.name: frames.get(thread.ident or 0) for thread in ours}
    return [
        name for name, at in standing.items() if at and not at.f_code.co_filename.endswith(IDLE)
    ]
