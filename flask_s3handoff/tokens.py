"""Claims ⇄ signed text. The only room that signs, and the only import of itsdangerous.

A token is ``payload.signature`` over ``[A-Za-z0-9._~-]``: a compact JSON list in base64url, signed
with HMAC-SHA256 under a salt per purpose. It is signed, not secret: it holds no session id, no
cookie value and no user id, only digests of them. Nothing unsigned is parsed, nothing is ever
inflated (threats T2–T4, T43, B24–B32).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from itsdangerous import BadSignature, Signer
from itsdangerous.signer import SigningAlgorithm

from .errors import Forged
from .paths import MAX_FIELD_BYTES, MAX_FILENAME_LENGTH, is_key, is_relpath

FORMAT = 1
MAX_TOKEN_LENGTH = 64 * 1024
MAX_SIZE = 5 << 40
CLOCK_SKEW_SECONDS = 60
_SALT = "flask_s3handoff"
_TEXT = re.compile(r"[A-Za-z0-9._~-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BINDING_ID = re.compile(r"[0-9a-z]{8,32}")
_DIGESTS = re.compile(r"(?:[A-Za-z0-9_-]{22})? (?:[A-Za-z0-9_-]{22})?")


class Claim(NamedTuple):
    """What we know of one file. ``size`` in bytes, ``uploaded_at`` in seconds since the epoch."""

    relpath: str
    field: str
    filename: str
    content_type: str
    size: int
    sha256: str
    uploaded_at: int

    def revised(self, *, relpath: str, size: int, sha256: str) -> Claim:
        """Return the claim of a new revision; its age still counts from the upload."""
        return self._replace(relpath=relpath, size=size, sha256=sha256)

    def age_seconds(self, now: float) -> float:
        """Return how long ago the file was uploaded."""
        return now - self.uploaded_at


class Kept(NamedTuple):
    """A file that the app keeps in a folder: its key, and what the store had under it then."""

    key: str
    sha256: str
    stored_at: int


class Binding(NamedTuple):
    """To whom a token belongs: a random cookie, and a user in addition.

    ``cookie_digest`` and ``principal_digest`` are empty where there is none.
    """

    cookie_id: str = ""
    cookie_digest: str = ""
    principal_digest: str = ""


class Bundle(NamedTuple):
    """Where the claims of a long token are staged: a relative path, its size and sha256."""

    relpath: str
    size: int
    sha256: str


class Token(NamedTuple):
    """A token that was read: its signature is ours, its fields have the right shape."""

    binding: Binding
    claims: tuple[Claim | Kept, ...] = ()
    bundle: Bundle | None = None


class _Sha256(SigningAlgorithm):
    """HMAC in one call; itsdangerous' own takes twice as long."""

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        return hmac.digest(key, value, "sha256")


class TokenSigner:
    """Mint and read tokens.

    ``keys`` is called on first use and returns the keys newest last: the last signs, all verify.

    >>> signer = TokenSigner(lambda: ["a secret key of 32 random bytes!"])
    >>> signer.read(signer.mint(Token(Binding()))).claims
    ()
    """

    def __init__(
        self, keys: Callable[[], Sequence[str | bytes]], *, now: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._now = now
        self._signers: dict[str, Signer] = {}
        self._known_keys: list[bytes] = []

    def mint(self, token: Token) -> str:
        """Return the text of a token; two mints of the same claims differ (BREACH, threat T16)."""
        return self._sign("token", _pack(token))

    def read(self, text: object) -> Token:
        """Return the token of this text, or raise ``Forged`` without a word about why."""
        return _token_of(self._unsign("token", text))

    def mint_link(self, key: str, expires_at: int, kind: Sequence[str]) -> str:
        """Return the text that our own route takes for a store without presigned URLs."""
        return self._sign("link", [key, expires_at, *kind])

    def read_link(self, text: object) -> tuple[str, str, str]:
        """Return key, content type and disposition of a link that has not expired."""
        match self._unsign("link", text):
            case [str(key), int(expires_at), str(content_type), str(disposition)]:
                if expires_at < self._now():
                    raise Forged("This link has expired.")
                return key, content_type, disposition
        raise Forged()

    def pack_claims(self, claims: Sequence[Claim | Kept]) -> bytes:
        """Return the body of a staged bundle; the token that names it signs its sha256."""
        return json.dumps([_row(claim) for claim in claims], ensure_ascii=False).encode()

    def unpack_claims(self, body: bytes) -> tuple[Claim | Kept, ...]:
        """Return the claims of a staged bundle, judged like those of a token."""
        return _claims_of(_json(body))

    def digest(self, purpose: str, value: str) -> str:
        """Return a keyed digest of a cookie value or a user id, 22 characters."""
        return self._digest(self._key_list()[-1], purpose, value)

    def matches(self, digest: str, purpose: str, value: str) -> bool:
        """Tell whether this is the digest of this value under any of the keys."""
        for key in self._key_list():
            if hmac.compare_digest(digest, self._digest(key, purpose, value)):
                return True
        return False

    def fingerprints(self) -> list[str]:
        """Return the start of each key's digest of a constant, newest last, to compare servers."""
        return [self._digest(key, "fingerprint", "")[:8] for key in self._key_list()]

    def _key_list(self) -> list[bytes]:
        if not self._known_keys:
            self._known_keys = [k.encode() if isinstance(k, str) else k for k in self._keys()]
        return self._known_keys

    @staticmethod
    def _digest(key: bytes, purpose: str, value: str) -> str:
        message = f"{_SALT}.{purpose}\0{value}".encode("utf-8", "surrogatepass")
        return _b64(hmac.digest(key, message, "sha256")[:16]).decode()

    def _signer(self, purpose: str) -> Signer:
        if purpose not in self._signers:
            salt = f"{_SALT}.{purpose}.v{FORMAT}".encode()
            self._signers[purpose] = Signer(
                # as `key_derivation="hmac"` would derive them again for every token
                [hmac.digest(key, salt, "sha256") for key in self._key_list()],
                sep=".",
                key_derivation="none",
                algorithm=_Sha256(),
            )
        return self._signers[purpose]

    def _sign(self, purpose: str, payload: list[Any]) -> str:
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        return self._signer(purpose).sign(_b64(body)).decode()

    def _unsign(self, purpose: str, text: object) -> Any:
        """Judge length and alphabet first, then the signature, and only then parse."""
        if not isinstance(text, str) or len(text) > MAX_TOKEN_LENGTH or not _TEXT.fullmatch(text):
            raise Forged()
        if not _is_canonical(text):
            raise Forged()
        try:
            body = self._signer(purpose).unsign(text)
        except BadSignature:
            raise Forged() from None  # the original holds unverified bytes
        return _json(_unb64(body))


def random_id(now: float) -> str:
    """Return a new binding id: its minute in eight hex digits, then 40 random bits."""
    return f"{int(now) // 60:08x}{secrets.token_hex(5)}"


def minutes_of(binding_id: str) -> int:
    """Return the minute in which a binding id was minted, 0 when it is not one of ours."""
    try:
        return int(binding_id[:8], 16)
    except ValueError:
        return 0


def is_binding_id(text: str) -> bool:
    """Tell whether a cookie's name ends in an id as we mint them."""
    return _BINDING_ID.fullmatch(text) is not None


def _b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _unb64(text: bytes) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise Forged() from None


def _is_canonical(text: str) -> bool:
    """Refuse the other spellings of a signature's last character (B26)."""
    signature = text.rpartition(".")[2].encode()
    return _b64(_unb64(signature)) == signature


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Forged() from None


def _pack(token: Token) -> list[Any]:
    binding = token.binding
    bundle = token.bundle and [token.bundle.relpath, token.bundle.size, token.bundle.sha256]
    return [
        FORMAT,
        secrets.token_urlsafe(6),
        [binding.cookie_id, binding.cookie_digest, binding.principal_digest],
        [_row(claim) for claim in token.claims],
        bundle or 0,
    ]


def _row(claim: Claim | Kept) -> list[Any]:
    digest = _b64(bytes.fromhex(claim.sha256)).decode()
    if isinstance(claim, Kept):
        return [claim.key, digest, claim.stored_at]
    return [
        claim.relpath,
        claim.field,
        claim.filename,
        claim.content_type,
        claim.size,
        digest,
        claim.uploaded_at,
    ]


def _token_of(payload: Any) -> Token:
    match payload:
        case [int(version), str(), list(binding), list(rows), bundle] if version == FORMAT:
            return Token(_binding_of(binding), _claims_of(rows), _bundle_of(bundle))
    raise Forged()


def _binding_of(fields: list[Any]) -> Binding:
    match fields:
        case [str(cookie_id), str(cookie_digest), str(principal_digest)]:
            if (not cookie_id or is_binding_id(cookie_id)) and (
                _DIGESTS.fullmatch(f"{cookie_digest} {principal_digest}")
            ):
                return Binding(cookie_id, cookie_digest, principal_digest)
    raise Forged()


def _claims_of(rows: Any) -> tuple[Claim | Kept, ...]:
    if not isinstance(rows, list):
        raise Forged()
    return tuple(_claim_of(row) for row in rows)


def _claim_of(row: Any) -> Claim | Kept:
    match row:
        case [str(key), str(digest), int(at)] if not isinstance(at, bool):
            kept = Kept(key, _unb64(digest.encode()).hex(), at)
            if _SHA256.fullmatch(kept.sha256) and at >= 0 and is_key(key):
                return kept
        case [str(path), str(field), str(name), str(kind), int(size), str(digest), int(at)] if (
            not isinstance(size, bool) and not isinstance(at, bool)
        ):
            claim = Claim(
                relpath=path,
                field=field,
                filename=name,
                content_type=kind,
                size=size,
                sha256=_unb64(digest.encode()).hex(),
                uploaded_at=at,
            )
            if _is_sound(claim):
                return claim
    raise Forged()


def _is_sound(claim: Claim) -> bool:
    """Judge a claim although it is signed (T1, B31, B32)."""
    return (
        is_relpath(claim.relpath)
        and 0 <= claim.size <= MAX_SIZE
        and claim.uploaded_at >= 0
        and _SHA256.fullmatch(claim.sha256) is not None
        and len(claim.field.encode("utf-8", "surrogatepass")) <= MAX_FIELD_BYTES
        and len(claim.filename) <= MAX_FILENAME_LENGTH
        and len(claim.content_type) <= MAX_FIELD_BYTES
    )


def _bundle_of(fields: Any) -> Bundle | None:
    match fields:
        case 0:
            return None
        case [str(relpath), int(size), str(sha256)]:
            if is_relpath(relpath) and 0 <= size <= MAX_SIZE and _SHA256.fullmatch(sha256):
                return Bundle(relpath, size, sha256)
    raise Forged()
