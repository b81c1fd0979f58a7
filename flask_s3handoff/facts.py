"""Facts ⇄ lines of a log: what observe mode writes, and what the survey of it reads.

A line is ``observe `` and compact JSON, whatever a log's own format puts before it::

    observe {"what":"read","at":1764252000.1,"server":"web2/5f0c","file":"/srv/up/leo.png",…}
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

MARK = "observe "
_DECODER = json.JSONDecoder()
_GENERATED = re.compile(r"[0-9]+|[0-9a-fA-F-]{8,}|(?=[^.]*[0-9])[^.]{16,}")
_COMMON = ("what", "at", "server", "pid", "request", "method", "path", "rule", "endpoint")


@dataclass(frozen=True)
class Fact:
    """One thing that a request did. ``more`` holds what this kind of fact tells in addition.

    ``upload``: field, filename, size. ``token``: source, files, refused, expected.
    ``page``: forms, targets. ``redirect``: target. ``write``: file, new. ``remove``: file.
    ``read``: file, there, by (``"open"`` or ``"stat"``), known (the process knows who wrote it).
    """

    what: str
    at: float
    server: str
    pid: int = 0
    request: str = ""
    method: str = ""
    path: str = ""
    rule: str = ""
    endpoint: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The file that it is about."""
        return str(self.more.get("file", ""))

    @property
    def route(self) -> str:
        """The pattern of its URL path: the rule, or the path without what looks generated.

        >>> Fact("read", 0, "web1", path="/photos/4711/crop").route
        '/photos/*/crop'
        """
        return self.rule or "/".join(
            "*" if is_generated(segment) else segment for segment in self.path.split("/")
        )


def is_generated(name: str) -> bool:
    """Tell whether a name looks like a number, a hash or a random text: one of many."""
    return _GENERATED.fullmatch(name) is not None


def line_of(fact: Fact) -> str:
    """Return the line of a fact; plain ASCII, so that no file name can break a log.

    >>> line_of(Fact("write", 1.5, "web1", more={"file": "/srv/a"}))
    'observe {"what":"write","at":1.5,"server":"web1","file":"/srv/a"}'
    """
    said = {name: value for name in _COMMON if (value := getattr(fact, name))}
    return MARK + json.dumps({**said, **fact.more}, separators=(",", ":"))


def fact_of(line: str) -> Fact | None:
    """Return the fact in a line of any log, or None where there is none."""
    _, mark, rest = line.partition(MARK + "{")
    if not mark:
        return None
    try:
        said, _ = _DECODER.raw_decode("{" + rest)
        common = {name: said.pop(name) for name in _COMMON if name in said}
        return Fact(**{**common, "at": float(common["at"])}, more=said)
    except (ValueError, TypeError, LookupError):  # cut off, or somebody else's
        return None


def facts_of(lines: Iterable[str]) -> Iterator[Fact]:
    """Yield the facts of a log."""
    return (fact for line in lines if (fact := fact_of(line)) is not None)


def server_name() -> str:
    """Name this server: what runs under the same name is taken to have the same disk."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot:
        return f"{socket.gethostname()}/{boot.read(4)}"
    return socket.gethostname()


def tail_of(path: str) -> str:
    """Return what the path of one file has in common on servers with different roots.

    >>> tail_of("/srv/release-7/uploads/leo.png")
    'uploads/leo.png'
    """
    folder, name = os.path.split(path)
    return f"{os.path.basename(folder)}/{name}"
