"""What was written and removed in folders, carried to the store: now, or by a thread soon.

The thread is there only while something is to be done that no request does: what threads of the
app wrote, what a request wrote while it streamed, what could not be stored in time.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress

from .audit import unwatched
from .errors import AlreadyExists, HandoffError, Unavailable
from .pool import result_of
from .scope import Spot, Work
from .store import SLOWEST_BYTES_PER_SECOND

log = logging.getLogger("flask_s3handoff")

PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0

Job = Callable[[], None]


class Errands:
    """What is still to be done for the folders of one app. ``submit`` does it beside the caller."""

    def __init__(self, submit: Callable[[Job], Future[None]], *, seconds: float) -> None:
        self.pending = Work()
        self._again: dict[Spot, float] = {}
        self._submit = submit
        self.seconds = seconds
        self._own = _Own(os.getpid())

    def carry_out(self, work: Work, until: float) -> set[Spot]:
        """Store what was written, then delete what was removed, and return what was stored.

        What fails is done later, and raised; of ``AlreadyExists`` nothing is left to do.
        """
        try:
            return self._carried_out(work, until)
        except AlreadyExists:
            raise
        except BaseException:  # also a mistake in somebody's own store
            self.later(work)
            raise

    def _carried_out(self, work: Work, until: float) -> set[Spot]:
        writes = dict(_expanded(work.writes))
        failure = self._all_done([_put(*write) for write in writes.items()], until)
        if failure is None and (work.gone or work.trees):
            failure = self._all_done([_remove(work)], until)
        if failure is not None:
            if isinstance(failure, AlreadyExists):
                _let_be(work)
            raise failure
        return set(writes)

    def _all_done(self, jobs: Iterable[Job], until: float) -> HandoffError | None:
        """Have all of it done, and return what failed worst."""
        worst: HandoffError | None = None
        for future in [self._started(job) for job in jobs]:
            try:
                result_of(future, until=until)
            except HandoffError as error:
                worst = error if worst is None or isinstance(worst, AlreadyExists) else worst
        return worst

    def _started(self, job: Job) -> Future[None]:
        try:
            return self._submit(job)
        except Unavailable:  # the interpreter is going down: nobody else does it any more
            return _done(job)

    def flush(self) -> None:
        """Carry out what is pending, now."""
        with unwatched():
            until = time.monotonic() + self.seconds + self.pending.size() / SLOWEST_BYTES_PER_SECOND
            self.carry_out(self.pending.take_finished(), until)

    def later(self, work: Work) -> None:
        """Carry this out when nobody waits for it."""
        self.pending.add(work)
        self.soon()

    def look_again(self, spot: Spot) -> None:
        """See to it that what a thread is about to do is found, whoever takes its note first.

        The hook is told before it happens: a request that leaves in between finds nothing done.
        """
        self._again[spot] = time.monotonic()
        self.soon()

    def look(self, *, is_last: bool = False) -> None:
        """Note anew what was done only after its note was taken."""
        with unwatched():
            for spot, since in list(self._again.items()):
                if is_last or time.monotonic() - since >= PAUSE_SECONDS:
                    del self._again[spot]
                    _note_again(spot, self.pending)

    def is_done(self) -> bool:
        """Tell whether there is nothing left to do."""
        return not self.pending and not self._again

    def soon(self) -> None:
        """See to it that a thread does what is pending."""
        if self._own.pid != os.getpid():
            self._own = _Own(os.getpid())  # our parent's thread is none of this process
        self._own.start(self)
        self._own.wake.set()


class _Own:
    """The thread of one process; it ends when nothing is pending, or nobody is left to ask for it.

    When the process wants to end it tries once more, and ends too.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.wake = threading.Event()
        self._lock = threading.Lock()
        self._is_running = False

    def start(self, errands: Errands) -> None:
        with self._lock:
            if self._is_running:
                return
            self._is_running = True
        run = threading.Thread(
            target=self._run, args=[weakref.ref(errands)], name="s3handoff-flush"
        )
        run.start()

    def _run(self, reference: weakref.ref[Errands]) -> None:
        pause, is_last = PAUSE_SECONDS, False
        while not is_last:
            is_last = not self._main_thread_lives_after(pause)
            errands = reference()
            if errands is None or self._is_done(errands):
                return
            errands.look(is_last=is_last)
            # What is still being written, or cannot be stored, is looked at less and less often.
            is_idle = not _flushed(errands) or errands.pending
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS) if is_idle else PAUSE_SECONDS
            del errands

    def _main_thread_lives_after(self, seconds: float) -> bool:
        """Wait that long, or until there is more to do, or the process wants to end."""
        until, main = time.monotonic() + seconds, threading.main_thread()
        self.wake.clear()
        main.join(PAUSE_SECONDS)
        while main.is_alive() and time.monotonic() < until and not self.wake.is_set():
            main.join(PAUSE_SECONDS)
        return main.is_alive()

    def _is_done(self, errands: Errands) -> bool:
        with self._lock:
            self._is_running = not errands.is_done()
            return not self._is_running


def _note_again(spot: Spot, work: Work) -> None:
    with suppress(OSError):
        match spot.folder.difference(spot.relpath):
            case "written":
                work.write(spot, was_free=spot.folder.place.immutable)
            case "removed":
                work.remove(spot)


def _flushed(errands: Errands) -> bool:
    try:
        errands.flush()
    except HandoffError as error:
        log.warning("What was written in a folder is not mirrored yet: %s", error.reason)
        return False
    except Exception:  # a mistake in somebody's own store: the thread lives, and tries again
        log.exception("What was written in a folder could not be mirrored")
        return False
    return True


def _done(job: Job) -> Future[None]:
    future: Future[None] = Future()
    try:
        job()
        future.set_result(None)
    except Exception as error:  # noqa: BLE001 - whoever asks for the result has it raised
        future.set_exception(error)
    return future


def _put(spot: Spot, was_free: bool) -> Job:
    def put() -> None:
        with unwatched():
            try:
                spot.folder.put(spot.relpath, if_absent=was_free)
            except OSError as error:  # who waits for it hears no more than that it failed
                log.warning("%r is mirrored later: %s", spot.path, error)
                raise

    return put


def _let_be(work: Work) -> None:
    """Remove nothing for a request that failed: it may be what was to be renamed to that name."""
    for spot in work.gone:
        spot.folder.end_write(spot.relpath)


def _remove(work: Work) -> Job:
    def remove() -> None:
        with unwatched():
            for spot in work.gone | _files_of(work.trees):
                spot.folder.delete(spot.relpath)

    return remove


def _files_of(trees: Iterable[Spot]) -> set[Spot]:
    """Return what the store has below folders that were removed or named anew."""
    return {
        Spot(tree.folder, relpath)
        for tree in trees
        for relpath in tree.folder.keys_below(tree.relpath)
    }


def _expanded(writes: dict[Spot, bool]) -> Iterator[tuple[Spot, bool]]:
    """Yield what was written; of a folder that was named anew, or is tracked, all its files."""
    for spot, was_free in writes.items():
        if spot.folder.beneath.is_folder(spot.relpath):
            for relpath in spot.folder.beneath.files(spot.relpath):
                yield Spot(spot.folder, relpath), False
        else:
            yield spot, was_free
