"""Facts of all servers → what they mean: which reads failed, and which only had luck."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from .facts import Fact, tail_of

SKEW_SECONDS = 5.0  # between the clocks of two servers


class Verdict(Enum):
    """What became of a read of a file that another request wrote."""

    FAILED = "another server's file: not found"
    LUCKY = "found: the same server had written it"
    SHARED = "found, though another server wrote it"
    GONE = "taken away before"
    UNKNOWN = "nobody in these logs wrote it"


@dataclass
class Route:
    """What happened on the URL paths of one view."""

    uploads: int = 0
    kept: int = 0
    reads: dict[Verdict, int] = field(default_factory=lambda: defaultdict(int))
    carries: int = 0

    @property
    def failed(self) -> int:
        """The reads that found nothing because another server has the file."""
        return self.reads.get(Verdict.FAILED, 0)

    @property
    def is_in_a_flow(self) -> bool:
        """Tell whether uploaded files came by here, in whatever way."""
        return bool(self.uploads or self.kept or self.carries or self.reads)


@dataclass
class Survey:
    """What the facts mean. ``tainted`` files came with an upload, or from a file that did."""

    facts: list[Fact]
    writes: dict[str, list[Fact]] = field(default_factory=lambda: defaultdict(list))
    removes: dict[str, list[Fact]] = field(default_factory=lambda: defaultdict(list))
    verdicts: list[tuple[Fact, Verdict]] = field(default_factory=list)
    tainted: set[str] = field(default_factory=set)
    tainted_requests: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    routes: dict[tuple[str, str, str], Route] = field(default_factory=lambda: defaultdict(Route))

    @property
    def servers(self) -> dict[str, set[int]]:
        """The servers that are heard of, and their processes."""
        found: dict[str, set[int]] = defaultdict(set)
        for fact in self.facts:
            found[fact.server].add(fact.pid)
        return dict(sorted(found.items()))

    @property
    def collisions(self) -> list[str]:
        """The files of one name that two servers made, each its own."""
        makers: dict[str, set[str]] = defaultdict(set)
        for path in self.tainted:
            makers[path] |= {f.server for f in self.writes[path] if f.more.get("new")}
        return sorted(path for path, servers in makers.items() if len(servers) > 1)

    def count(self, verdict: Verdict) -> int:
        """Count the reads of uploaded files that ended like this."""
        return sum(1 for read, found in self.verdicts if found is verdict and self.concerns(read))

    def concerns(self, fact: Fact) -> bool:
        """Tell whether it is about a file that came with an upload."""
        return self.alias(fact.file) in self.tainted

    def alias(self, path: str) -> str:
        """Return the name by which this file was written, maybe on a server with other roots."""
        return self.aliases.get(path, path)


def survey_of(facts: Iterable[Fact]) -> Survey:
    """Judge the facts of one or several servers, in any order."""
    survey = Survey(sorted(facts, key=lambda fact: fact.at))
    for fact in survey.facts:
        if fact.what in ("write", "remove"):
            (survey.writes if fact.what == "write" else survey.removes)[fact.file].append(fact)
    _find_aliases(survey)
    survey.verdicts = [(f, _verdict(survey, f)) for f in survey.facts if f.what == "read"]
    _spread_taint(survey)
    for fact in survey.facts:
        _count(survey, fact)
    for read, verdict in survey.verdicts:
        if survey.concerns(read) and verdict is not Verdict.UNKNOWN:
            _route(survey, read).reads[verdict] += 1
    return survey


def _find_aliases(survey: Survey) -> None:
    """Find the files whose folder has another path on another server (``/srv/release-7/…``)."""
    by_tail: dict[str, Fact] = {}
    for path, written in survey.writes.items():
        by_tail.setdefault(tail_of(path), written[0])
    for fact in survey.facts:
        if fact.what == "read" and not fact.more["there"] and fact.file not in survey.writes:
            other = by_tail.get(tail_of(fact.file))
            if other is not None and other.server != fact.server:
                survey.aliases[fact.file] = other.file


def _verdict(survey: Survey, read: Fact) -> Verdict:
    file = survey.alias(read.file)
    before = [w for w in survey.writes.get(file, ()) if w.at <= read.at + SKEW_SECONDS]
    others = [w for w in before if w.request != read.request or not w.request]
    is_ours = any(w.server == read.server for w in others) or bool(read.more.get("known"))
    if read.more["there"]:
        found = Verdict.SHARED if others else Verdict.UNKNOWN
        return Verdict.LUCKY if is_ours else found
    if is_ours or _is_gone(survey, file, read, others):
        return Verdict.GONE
    return Verdict.FAILED if others else Verdict.UNKNOWN


def _is_gone(survey: Survey, file: str, read: Fact, writes: Sequence[Fact]) -> bool:
    last = max((w.at for w in writes), default=0.0)
    return any(last <= removed.at <= read.at for removed in survey.removes.get(file, ()))


def _spread_taint(survey: Survey) -> None:
    """Follow the uploads: into files, to who reads those, and into what they write then."""
    requests = survey.tainted_requests
    requests |= {fact.request for fact in survey.facts if fact.what == "upload"}
    grown = -1
    while grown != len(survey.tainted) + len(requests):
        grown = len(survey.tainted) + len(requests)
        for fact in survey.facts:
            if fact.what == "write" and fact.request in requests:
                survey.tainted.add(fact.file)
            elif fact.what == "read" and fact.request and survey.concerns(fact):
                requests.add(fact.request)


def _route(survey: Survey, fact: Fact) -> Route:
    return survey.routes[fact.method, fact.route, fact.endpoint]


def _count(survey: Survey, fact: Fact) -> None:
    if fact.what == "upload":
        _route(survey, fact).uploads += 1
    elif fact.more.get("forms") or fact.what == "redirect":
        _route(survey, fact).carries += 1
    elif fact.what == "write" and fact.file in survey.tainted:
        _route(survey, fact).kept += 1
