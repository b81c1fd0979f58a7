"""One request's tokens: read and judged when they come, minted when they leave."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence

from .binding import Binder
from .disk import despite_cleaners, disk
from .errors import Expired, Foreign, Forged, HandoffError, TooLarge, Unbound
from .mirror import Revision
from .tokens import CLOCK_SKEW_SECONDS, MAX_TOKEN_LENGTH, Bundle, Claim, Kept, Token
from .visit import Patience, Rooms, Visit

log = logging.getLogger("flask_s3handoff")

MAX_URL_TOKEN_LENGTH = 1500
MAX_BUNDLE_BYTES = 1 << 20
MAX_KEPT = 200
_ANOTHER_KEY = "a token of another key"

Judged = tuple[Claim, HandoffError | None]


class Carriage:
    """Claims in, claims out, bound to the browser and the user of one request."""

    def __init__(self, rooms: Rooms, visit: Visit, patience: Patience) -> None:
        config = rooms.config
        self.kept: dict[str, Kept] = {}
        self._rooms = rooms
        self._patience = patience
        self._is_eager = visit.eager or config.on_error == "collect"
        self._sizes: dict[str, int] = {}
        self.binder = Binder(
            rooms.signer,
            visit.cookies,
            on=config.bind == "cookie",
            secure=visit.secure,
            principal=visit.principal,
            lifetime_seconds=config.token_max_age_seconds,
            now=rooms.now(),
        )

    def read(self, text: str) -> list[Judged]:
        """Return each claim of a token, with what is wrong with it or ``None``.

        Raises ``Forged``, or what the store says of a long token's bundle.
        """
        try:
            token = self._rooms.signer.read(text)
        except Forged:
            self._warn_of_another_key()
            raise
        foreign = None if self.binder.accepts(token.binding) else Foreign()
        if token.bundle is not None and foreign:
            raise foreign  # a stranger's bundle is not even fetched
        claims = token.claims if token.bundle is None else self._unbundle(token.bundle)
        for kept in claims:
            if isinstance(kept, Kept) and not foreign and self._is_live(kept):
                self._keep(kept)
        found = [claim for claim in claims if isinstance(claim, Claim)]
        return [(claim, foreign or self._judge(claim)) for claim in found]

    def _warn_of_another_key(self) -> None:
        """Say it once: anybody can send what nobody signed, but a site with two keys sends much."""
        if _ANOTHER_KEY not in self._rooms.warned:
            self._rooms.warned.add(_ANOTHER_KEY)
            log.warning(
                "A token was refused that none of this server's keys has signed:"
                " do all servers, and all their processes, have the same SECRET_KEY?"
            )

    def keep(self, key: str, sha256: str) -> None:
        """Let every token from now on name this file of a folder; the newest 200 are named."""
        self._keep(Kept(key, sha256, int(self._rooms.now())))

    def _keep(self, kept: Kept) -> None:
        self.kept.pop(kept.key, None)
        self.kept[kept.key] = kept
        while len(self.kept) > MAX_KEPT:
            del self.kept[next(iter(self.kept))]

    def _is_live(self, kept: Kept) -> bool:
        age = self._rooms.now() - kept.stored_at
        return -CLOCK_SKEW_SECONDS <= age <= self._rooms.config.token_max_age_seconds

    def _judge(self, claim: Claim) -> HandoffError | None:
        """Judge a claim as if it came fresh: age, clock (F10), and the limits of today (B40)."""
        config, age = self._rooms.config, claim.age_seconds(self._rooms.now())
        if age > config.token_max_age_seconds:
            return Expired()
        if age < -CLOCK_SKEW_SECONDS:
            log.warning("The clock of another server is %d seconds ahead of this one's", -age)
            return Expired()  # we signed it: not a stranger's, and never silent (rule 5)
        limit = config.max_file_size_bytes
        if limit is not None and claim.size > limit:
            return TooLarge()
        return self._judge_sum(claim) if self._is_eager else None

    def _judge_sum(self, claim: Claim) -> HandoffError | None:
        """Fetch no more for a small request than the work folder may hold (T20).

        Only where files are fetched before the app asks for them; elsewhere the app decides.
        """
        most = self._rooms.config.work_dir_max_bytes
        self._sizes[claim.relpath] = claim.size
        if sum(self._sizes.values()) <= most:
            return None
        del self._sizes[claim.relpath]
        return TooLarge(f"Together the files are larger than {most:,} bytes.", max_bytes=most)

    def mint(self, claims: Sequence[Claim], *, most: int = MAX_TOKEN_LENGTH) -> str:
        """Return a token of these claims, which the store has by now.

        Beyond ``most`` characters it names a staged bundle of claims, as nobody would read it.
        """
        both: tuple[Claim | Kept, ...] = (*claims, *self.kept.values())
        text = self._rooms.signer.mint(Token(self.binder.binding(), both))
        return text if len(text) <= most else self._mint_bundled(both)

    def mint_for_url(self, claims: Sequence[Claim]) -> str:
        """Return a token that fits into a URL."""
        if not self.binder.is_on:
            raise Unbound(
                field=next((claim.field for claim in claims), None),
                filename=next((claim.filename for claim in claims), None),
            )
        return self.mint(claims, most=MAX_URL_TOKEN_LENGTH)

    def _mint_bundled(self, claims: Sequence[Claim | Kept]) -> str:
        body = self._rooms.signer.pack_claims(claims)
        revision, pending, _ = self._rooms.mirror.revise(
            io.BytesIO(body), filename="claims.json", content_type="application/json"
        )
        with self._patience.spend(revision.size) as until:
            pending.wait(until)
        bundle = Bundle(revision.relpath, revision.size, revision.sha256)
        return self._rooms.signer.mint(Token(self.binder.binding(), bundle=bundle))

    def _unbundle(self, bundle: Bundle) -> tuple[Claim | Kept, ...]:
        if bundle.size > MAX_BUNDLE_BYTES:
            raise Forged()
        revision = Revision(bundle.relpath, bundle.size, bundle.sha256)
        with disk():
            body = despite_cleaners(lambda: self._read(revision))
        return self._rooms.signer.unpack_claims(body)

    def _read(self, revision: Revision) -> bytes:
        with self._patience.spend(revision.size) as until:
            path, _ = self._rooms.mirror.rehydrate(revision, until=until)
        with open(path, "rb") as body:
            return body.read()
