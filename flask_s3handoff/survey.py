"""The report of observe mode: do we have this bug, and where?

::

    python -m flask_s3handoff.survey web1.log web2.log

``report_of`` and, for machines, ``summary_of`` take lines of any log; ``main`` opens files.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .facts import facts_of
from .findings import Route, Survey, Verdict, survey_of
from .proposal import folders_of, paths_of, settings_of

_NOTHING = """\
These logs hold no line of observe mode. Set S3HANDOFF_OBSERVE = True, let your logging show the
level INFO of "flask_s3handoff.observe", and upload a file."""
_USAGE = "usage: python -m flask_s3handoff.survey LOGFILE...   (- is the standard input)"
_WORDS = {
    Verdict.FAILED: "{} of another server's file failed",
    Verdict.LUCKY: "{} found it only because the same server had written it",
    Verdict.SHARED: "{} found what another server had written",
    Verdict.GONE: "{} came after the file was taken away",
}


def report_of(lines: Iterable[str]) -> str:
    """Return what an operator wants to know of the logs of one or several servers."""
    survey = survey_of(facts_of(lines))
    if not survey.facts:
        return _NOTHING
    parts = [_answer(survey), _heard(survey), _where(survey)]
    return "\n\n".join([*parts, "Settings to begin with:\n\n" + settings_of(survey)])


def summary_of(lines: Iterable[str]) -> dict[str, Any]:
    """Return the same for machines."""
    survey = survey_of(facts_of(lines))
    return {
        "reads": {verdict.name.lower(): survey.count(verdict) for verdict in Verdict},
        "collisions": survey.collisions,
        "servers": sorted(survey.servers),
        "uploads": sum(what.uploads for what in survey.routes.values()),
        "paths": paths_of(survey),
        "folders": [vars(folder) for folder in folders_of(survey)],
    }


def _answer(survey: Survey) -> str:
    failed, lucky = survey.count(Verdict.FAILED), survey.count(Verdict.LUCKY)
    shared, twice = survey.count(Verdict.SHARED), survey.collisions
    if failed or twice:
        said = [f"{_times(failed, 'read')} of another server's upload found nothing"] * bool(failed)
        said += [f"two servers each made their own {path}" for path in twice[:3]]
        return f"Do we have this bug? YES: {'; '.join(said)}."
    if lucky:
        return (
            "Do we have this bug? NOT SEEN, BUT IT WAITS:"
            f" {_times(lucky, 'read')} of an upload worked only because the same server had it."
        )
    if shared:
        return "Do we have this bug? NO: each server finds what the others write (a shared disk?)."
    if any(what.carries for what in survey.routes.values()):
        return (
            "Do we have this bug? NOT ON DISK: no later request read an uploaded file."
            " Whether people have to choose their file again is seen below."
        )
    if not any(what.uploads for what in survey.routes.values()):
        return (
            "Do we have this bug? NOT SEEN: these logs tell of no upload."
            " Upload a file on one of S3HANDOFF_PATHS, and go on to the next step."
        )
    return "Do we have this bug? NOT SEEN: no later request needed an uploaded file."


def _times(count: int, noun: str, plural: str = "") -> str:
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def _heard(survey: Survey) -> str:
    first, last = survey.facts[0].at, survey.facts[-1].at
    servers = survey.servers.items()
    heard = [f"{name} ({_times(len(pids), 'process', 'processes')})" for name, pids in servers]
    return f"Heard of: {', '.join(heard)}; {_moment(first)} to {_moment(last)} UTC."


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def _where(survey: Survey) -> str:
    rows = sorted(survey.routes.items(), key=lambda row: (-row[1].failed, row[0][1], row[0][0]))
    told = [
        f"  {method} {route}{endpoint and f'  [{endpoint}]'}\n" + "\n".join(_facts(what))
        for (method, route, endpoint), what in rows
        if what.is_in_a_flow
    ]
    return "\n".join(["Where:", *told]) if told else "Where: nowhere."


def _facts(what: Route) -> Iterator[str]:
    if what.uploads:
        yield f"    {_times(what.uploads, 'upload')}, which would be mirrored"
    if what.kept:
        yield f"    {_times(what.kept, 'file')} kept on this server's disk"
    if what.carries:
        yield f"    {_times(what.carries, 'answer')} that would carry a file on"
    for verdict, words in _WORDS.items():
        if count := what.reads.get(verdict):
            yield "    " + words.format(_times(count, "read"))


# From the command line


def main(arguments: Sequence[str]) -> int:
    """Print the report of these log files."""
    if not arguments or arguments[0].startswith("--"):
        print(_USAGE)
        return 0 if arguments else 2
    try:
        print(report_of(_lines_of(arguments)))
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _lines_of(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name == "-":
            yield from sys.stdin
        else:
            with open(name, encoding="utf-8", errors="replace") as log:
                yield from log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
