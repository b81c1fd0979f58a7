"""What nobody may read in a log: keys, credentials, tokens, signed links. Looked for in all that is told."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterator

OURS = "flask_s3handoff"
EVERYTHING = 1
# The secrets that tests have handed out of late: each app and each server has its own.
SECRETS: deque[str] = deque(maxlen=300)
SHAPES = {
    "a token": re.compile(r"WzEs[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{43}"),
    "a presigned query": re.compile(r"(?:X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token)=\w", re.IGNORECASE),
    "an old signed query": re.compile(r"AWSAccessKeyId=\w[^ ]*&Signature="),
    "a signed header": re.compile(r"AWS4-HMAC-SHA256 Credential="),
}  # fmt: skip
# The SDK tells its requests at DEBUG, signatures included; whoever asks for that has asked for it.
NOT_OURS = ("botocore", "boto3", "s3transfer", "urllib3")


def sentinel(secret: str) -> str:
    """Remember a secret, and return it.

    >>> list(found(f"signed with {sentinel('sentinel-of-a-doctest')}"))
    ['a secret of this run']
    """
    SECRETS.append(secret)
    return secret


def found(text: str) -> Iterator[str]:
    """Yield what a text tells and should not."""
    yield from (what for what, shape in SHAPES.items() if shape.search(text))
    if any(secret in text for secret in SECRETS):
        yield "a secret of this run"


class Guard(logging.Handler):
    """Reads all that is logged, and what our own logger would say at DEBUG even where nobody asked.

    Others get from our logger what they would get without the guard.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def watch(self) -> None:
        """Begin to read."""
        logging.getLogger().addHandler(self)
        ours = logging.getLogger(OURS)
        ours.setLevel(EVERYTHING)
        ours.addFilter(self._read_ours)

    def _read_ours(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        level = logging.getLogger(OURS).level
        return record.levelno >= (logging.getLogger().level if level == EVERYTHING else level)

    def emit(self, record: logging.LogRecord) -> None:
        """Look into one record: its text, and the exception that it tells."""
        if record.name.partition(".")[0] in NOT_OURS:
            return
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" {record.exc_info[1]!r} {record.exc_info[1]}"
        self.told += (f"{what} by {record.name}: {text[:200]!r}" for what in found(text))

    def take(self) -> list[str]:
        """Return what was found since the last time."""
        told, self.told = self.told, []
        return told
