"""One request's story: what arrives, what the app does with it, what it still has to carry.

No framework here. A face tells about its request in a ``Visit`` and keeps the ``Exchange`` in the
WSGI environ; ``leaving`` writes what is carried into the response.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from werkzeug.datastructures import FileStorage

from .binding import Cookie
from .body import Parsed
from .carriage import Carriage, Judged
from .disk import despite_cleaners
from .errors import Forged, HandoffError, TooLarge, Unavailable
from .files import HandoffFile
from .mirror import Pending, Revision
from .paths import MAX_FIELD_BYTES, display_name, new_relpath
from .store import OCTET_STREAM, kind_of
from .tokens import Claim
from .visit import Patience, Refusal, Rooms, Visit

log = logging.getLogger("flask_s3handoff")


@dataclass
class _Carried:
    """A file, whose it is, and what is known about its way to the store."""

    file: HandoffFile
    owner: str | None = None
    pending: Pending | None = None
    local_path: str | None = None
    ended: bool = False
    edit_paths: list[str] = field(default_factory=list)


class Exchange:
    """The files of one request, from its arrival until its response has left."""

    def __init__(self, rooms: Rooms, visit: Visit) -> None:
        self.rooms = rooms
        self.visit = visit
        self.errors: list[Refusal] = []
        self.unread: Unavailable | None = None
        self.by_redirect = False
        self.token_given = False
        self.forgets = False
        self._carried: dict[int, _Carried] = {}
        self.patience = Patience(rooms.config.deadline_seconds)
        self.carriage = Carriage(rooms, visit, self.patience)

    # Arriving

    def admit(self, parsed: Parsed) -> list[tuple[str, FileStorage]]:
        """Turn what was parsed into the files of the request, in order."""
        fresh = self._admit_uploads(parsed)
        taken = frozenset(name for name, _ in fresh)
        restored = self.admit_tokens(parsed.tokens, taken=taken)
        filled = taken | {file.field for file in restored}
        empty = [(name, file) for name, file in parsed.empty if name not in filled]
        return [*fresh, *((file.field, file) for file in restored), *empty]

    def _admit_uploads(self, parsed: Parsed) -> list[tuple[str, HandoffFile]]:
        try:
            fresh = [
                (name, self._admit_upload(name, file, sink)) for name, file, sink in parsed.files
            ]
            if self.rooms.config.mirror == "before_view":
                self.wait_for(file for _, file in fresh)
        except BaseException:
            parsed.abort()  # what was not finished yet
            raise
        return fresh

    def _admit_upload(self, name: str, part: FileStorage, sink: Any) -> HandoffFile:
        revision, pending, path = sink.finish()
        claim = Claim(
            relpath=revision.relpath,
            field=name,
            filename=display_name(part.filename or ""),
            content_type=(part.content_type or OCTET_STREAM)[:MAX_FIELD_BYTES],
            size=revision.size,
            sha256=revision.sha256,
            uploaded_at=int(self.rooms.now()),
        )
        file = HandoffFile(claim, self, headers=part.headers)
        self._keep(file).pending, self._keep(file).local_path = pending, path
        self._notify("file_mirrored", file)
        return file

    def admit_tokens(
        self, texts: Sequence[str], *, taken: frozenset[str] = frozenset()
    ) -> list[HandoffFile]:
        """Return the files of these tokens; what cannot be used is told in ``errors``.

        A file of a field that is ``taken`` was chosen anew: the new one beats the token's (B36).
        """
        most = self.rooms.config.max_files
        if len(texts) > most:  # B34
            self._refuse(TooLarge(f"More than {most} tokens."))
        claims = {c.relpath: (c, e) for text in texts[:most] for c, e in self._claims_of(text)}
        files = [self._restore(c, e) for c, e in claims.values() if c.field not in taken]
        return [file for file in files if file is not None]

    def _claims_of(self, text: str) -> list[Judged]:
        try:
            return self.carriage.read(text)
        except HandoffError as error:
            self._refuse(error)
            self.unread = error if isinstance(error, Unavailable) else self.unread
            return []

    def _restore(self, claim: Claim, error: HandoffError | None) -> HandoffFile | None:
        if len(self._carried) >= self.rooms.config.max_files:
            error = error or TooLarge(f"More than {self.rooms.config.max_files} files.")
        if error is not None:
            error = error.about(field=claim.field, filename=claim.filename)
            self._refuse(error)
        if isinstance(error, Forged):
            return None
        file = HandoffFile(claim, self, error=error)
        if self.rooms.config.on_error == "collect" and (error or not self._is_had(file)):
            return None
        self._keep(file).ended = error is not None
        return file

    def _is_had(self, file: HandoffFile) -> bool:
        """Fetch now: with ``"collect"`` a file that cannot be had must be absent, not raise."""
        self._keep(file)
        try:
            self.local_copy(file)
        except HandoffError:
            del self._carried[id(file)]
            return False
        return True

    def _refuse(self, error: HandoffError) -> None:
        refusal = Refusal(error.field, error.filename, error.reason, error.description)
        self.errors.append(refusal)
        log.info("token refused: %s (field %r)", error.reason, error.field)
        self.rooms.notify("token_refused", {"refusal": refusal})

    def start(self, field: str, filename: str, content_type: str, source: IO[bytes]) -> HandoffFile:
        """Put these bytes on their way under a field, as if they had just been uploaded."""
        claim = Claim(
            relpath=new_relpath(filename),
            field=field,
            filename=display_name(filename),
            content_type=content_type,
            size=0,
            sha256="",
            uploaded_at=int(self.rooms.now()),
        )
        file = HandoffFile(claim, self)
        self.revise(file, source)
        return file

    # Working: what a HandoffFile asks of its keeper

    def local_copy(self, file: HandoffFile) -> str:
        """Return the path of the immutable local copy; one GET if this server has none."""
        _check_usable(file)
        carried = self._keep(file)
        if carried.local_path is None or not os.path.exists(carried.local_path):  # F35
            carried.local_path = self._rehydrate(file)
        return carried.local_path

    def _rehydrate(self, file: HandoffFile) -> str:
        claim = file._claim  # the revision as it is: an edit cannot be settled before it is there
        began = time.monotonic()
        try:
            with self.patience.spend(claim.size) as until:
                if on_its_way := self._keep(file).pending:
                    on_its_way.wait(until)  # swept while still on its way to the store (F35)
                path, source = self.rooms.mirror.rehydrate(
                    Revision(claim.relpath, claim.size, claim.sha256), until=until
                )
        except HandoffError as error:
            known = error.about(field=claim.field, filename=claim.filename)
            self._refuse(known)
            self._keep(file).ended |= not isinstance(known, Unavailable)  # it will never come back
            raise known from error
        self._notify("file_rehydrated", file, source=source, seconds=time.monotonic() - began)
        return path

    def edit_copy(self, file: HandoffFile) -> str:
        """Return the path of a new private copy; it is removed when the response has left."""
        name = file._claim.relpath.rpartition("/")[2]
        path = despite_cleaners(lambda: self.rooms.workdir.edit_copy(self.local_copy(file), name))
        self._keep(file).edit_paths.append(path)
        return path

    def revise(self, file: HandoffFile, source: str | IO[bytes]) -> None:
        """Make a new revision; its PUT runs while the view goes on."""
        _check_usable(file)
        claim = file._claim
        revision, pending, path = self.rooms.mirror.revise(
            source, filename=claim.filename, content_type=claim.content_type
        )
        carried = self._keep(file)
        carried.pending, carried.local_path = pending, path
        file.became(
            claim.revised(relpath=revision.relpath, size=revision.size, sha256=revision.sha256)
        )
        self._notify("file_revised", file, previous=claim.relpath)

    def url_of(self, file: HandoffFile, expires: int | None) -> str:
        """Return a presigned URL of this revision, which the store has by then."""
        _check_usable(file)
        self.wait_for([file])
        kind = kind_of(file.claim.filename, file.claim.content_type)
        key = self.rooms.mirror.key_of(file.claim.relpath)
        seconds = expires or self.rooms.config.url_expires_seconds
        return self.rooms.link(key, kind, seconds, self.visit.script_root)

    def promote(self, file: HandoffFile, key: str, overwrite: bool) -> str:
        """Copy the revision to its permanent key on the server side of the store."""
        self.rooms.config.place_of(key)
        _check_usable(file)
        self.wait_for([file])
        claim = file.claim
        with self.patience.spend(claim.size) as until:
            self.rooms.mirror.do(
                lambda: self.rooms.store().copy(
                    self.rooms.mirror.key_of(claim.relpath),
                    key,
                    kind=kind_of(claim.filename, claim.content_type),
                    sha256=claim.sha256,
                    overwrite=overwrite,
                ),
                until=until,
            )
        self._keep(file).ended = True
        self._notify("file_promoted", file, key=key)
        return key

    def discard(self, file: HandoffFile) -> None:
        """Carry this file no further; older pages keep their own revision."""
        self._keep(file).ended = True
        self._notify("file_discarded", file)

    # Leaving

    @property
    def files(self) -> list[HandoffFile]:
        """Every file that this request brought, made or restored."""
        return [carried.file for carried in self._carried.values()]

    def carried_files(self) -> list[HandoffFile]:
        """Return the files that a response has to carry, their edits settled.

        What a user brought is not carried on after a logout, nor under another login.
        """
        if self.forgets or not self.rooms.config.is_active:
            return []
        user = self.visit.principal()
        live = [c.file for c in self._carried.values() if not c.ended and c.owner in (None, user)]
        for file in live:
            file.settle()
        return live

    def drop_edits(self) -> None:
        """Make no revisions of edits that were not settled: the view may have broken off (F38)."""
        for carried in self._carried.values():
            carried.file.drop_edit()

    def drop_unstored(self) -> None:
        """Carry no further what the store has not acknowledged: its error is being answered."""
        self.unread = None
        for carried in self._carried.values():
            if carried.pending is not None and not _is_stored(carried.pending):
                carried.ended = True

    def wait_for(self, files: Iterable[HandoffFile]) -> None:
        """Return when the store has acknowledged these revisions (rule 1), or raise."""
        for file in files:
            claim, pending = file.claim, self._keep(file).pending
            if pending is None:
                continue
            try:
                with self.patience.spend(claim.size) as until:
                    pending.wait(until)
            except HandoffError as error:
                self._keep(file).ended = True  # told now; the answer to it is not held up again
                raise error.about(field=claim.field, filename=claim.filename) from error

    def token(self, files: Sequence[HandoffFile]) -> str:
        """Return a token of these files, which the store has by then."""
        self.wait_for(files)
        self.token_given = True
        return self.carriage.mint([file.claim for file in files])

    def query_token(self, files: Sequence[HandoffFile]) -> str:
        """Return a token for a redirect of ours; raises ``Unbound`` where tokens are bearers."""
        self.wait_for(files)
        self.token_given = True
        return self.carriage.mint_for_url([file.claim for file in files])

    def leaving_cookies(self) -> list[Cookie]:
        """Return the cookies that the response has to set or delete."""
        binder = self.carriage.binder
        if self.forgets:
            return binder.forget()
        return binder.leaving_cookies() if self.token_given else []

    @property
    def has_open_files(self) -> bool:
        """Whether there is something to close: a stream, an edit copy."""
        return any(c.edit_paths or c.file.is_open for c in self._carried.values())

    def close(self) -> None:
        """Remove the edit copies; local copies stay for the next request."""
        for carried in self._carried.values():
            carried.file.close()
            for path in carried.edit_paths:
                self.rooms.workdir.drop_edit_copy(path)
            carried.edit_paths.clear()

    def _keep(self, file: HandoffFile) -> _Carried:
        """Return what is known of a file; a new one belongs to the user of this moment."""
        if id(file) not in self._carried:
            self._carried[id(file)] = _Carried(file, self.visit.principal())
        return self._carried[id(file)]

    def _notify(self, event: str, file: HandoffFile, **facts: Any) -> None:
        log.info("%s %s field=%r %s", event, file._claim.relpath, file.field, facts or "")
        self.rooms.notify(event, {"file": file, **facts})


def _check_usable(file: HandoffFile) -> None:
    """Raise what is wrong with a file: nobody reads, links, edits or promotes a stranger's (T5)."""
    if file.error is not None:
        raise file.error


def _is_stored(pending: Pending) -> bool:
    try:
        pending.wait(time.monotonic())
    except HandoffError:
        return False
    return True
