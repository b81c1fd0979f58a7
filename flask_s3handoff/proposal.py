"""What was found → settings to begin with, as Python to paste."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .facts import is_generated
from .findings import Survey, Verdict

MANY = 3  # folders side by side that stand for one purpose, as one per user does
_UNSAFE = re.compile(r"[^a-z0-9._-]+")
_LATER = (Verdict.FAILED, Verdict.LUCKY, Verdict.SHARED)


@dataclass
class Folder:
    """A folder of the app, and how many of its files a later request read."""

    path: str
    files: list[str]
    read_later: int
    elsewhere: list[str]
    is_immutable: bool
    is_for_uploads: bool


def folders_of(survey: Survey) -> list[Folder]:
    """Return the folders in which requests kept what was uploaded, the busiest first."""
    first = _first_names(survey)
    homes = {path: _home(path) for path in survey.tainted}
    homes = {path: first.get(home, home) for path, home in homes.items()}
    roots = _common_roots(set(homes.values()))
    grouped: dict[str, list[str]] = defaultdict(list)
    for path, home in sorted(homes.items()):
        grouped[next(root for root in roots if _is_below(home, root))].append(path)
    found = [
        _folder(survey, root, files, sorted(name for name in first if first[name] == root))
        for root, files in grouped.items()
    ]
    return sorted(found, key=lambda folder: (-folder.read_later, -len(folder.files), folder.path))


def _first_names(survey: Survey) -> dict[str, str]:
    """Map the names that one folder has on several servers to the first of them."""
    first: dict[str, str] = {}
    for names in ((_home(path), _home(name)) for path, name in sorted(survey.aliases.items())):
        known = {first.get(name, name) for name in names}
        for name in {*names, *(name for name in first if first[name] in known)}:
            first[name] = min(known)
    return first


def _home(path: str) -> str:
    """Climb from a file's folder over those that are one of many; never to the top."""
    folder = os.path.dirname(path)
    while is_generated(os.path.basename(folder)) and folder.count("/") > 1:
        folder = os.path.dirname(folder)
    return folder


def _common_roots(homes: set[str]) -> list[str]:
    """Put one folder in the place of many side by side, or of those that lie in it."""
    siblings: dict[str, set[str]] = defaultdict(set)
    for home in homes:
        siblings[os.path.dirname(home)].add(home)
    for parent, children in siblings.items():
        if len(children) >= MANY and parent.count("/") > 1:
            homes = (homes - children) | {parent}
    return sorted(h for h in homes if not any(_is_below(h, other) for other in homes - {h}))


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")


def _folder(survey: Survey, root: str, files: list[str], names: list[str]) -> Folder:
    later = {survey.alias(read.file) for read, verdict in survey.verdicts if verdict in _LATER}
    writes = [
        write
        for path, written in survey.writes.items()
        if any(_is_below(path, name) for name in {root, *names})
        for write in written
    ]
    brought = [write for write in writes if write.request in survey.tainted_requests]
    return Folder(
        path=root,
        files=files,
        read_later=len(later & set(files)),
        elsewhere=[name for name in names if name != root],
        is_immutable=all(len(survey.writes[file]) == 1 for file in files),
        is_for_uploads=2 * len(brought) > len(writes),
    )


def paths_of(survey: Survey) -> list[str]:
    """Return the URL path prefixes of the flows in which uploaded files travel.

    Two or more paths with one first segment are told by that segment.
    """
    seen = {_static(route) for (_, route, _), what in survey.routes.items() if what.is_in_a_flow}
    seen |= {target for fact in survey.facts for target in _targets(fact.more)}
    if "/" in seen:
        return ["/"]
    by_segment: dict[str, set[str]] = defaultdict(set)
    for path in seen:
        by_segment[path.split("/")[1]].add(path)
    return sorted(
        f"/{segment}/" if len(paths) > 1 else min(paths) for segment, paths in by_segment.items()
    )


def _static(route: str) -> str:
    """Return the part of a pattern before what varies."""
    return re.split(r"[<*]", route, maxsplit=1)[0] or "/"


def _targets(more: object) -> Iterable[str]:
    said = more if isinstance(more, dict) else {}
    return [*said.get("targets", ()), *([said["target"]] if "target" in said else ())]


def settings_of(survey: Survey) -> str:
    """Return the settings as Python, with what speaks against each as a comment."""
    folders = folders_of(survey)
    paths = ", ".join(f'"{_quoted(path)}"' for path in paths_of(survey))
    lines = [f"S3HANDOFF_PATHS = [{paths}]"]
    if chosen := [folder for folder in folders if folder.is_for_uploads and folder.read_later]:
        lines += ["S3HANDOFF_PLACES = {", *_entries(chosen), "}"]
    for folder in folders:
        if not folder.is_for_uploads:
            lines.append(f"# not {folder.path}: most of it was written without an upload")
        elif not folder.read_later:
            lines.append(f"# not {folder.path}: no later request read what was written there")
    return "\n".join(lines)


def _entries(folders: Iterable[Folder]) -> Iterable[str]:
    taken: set[str] = set()
    for folder in folders:
        name = _place_name(folder.path, taken)
        immutable = ', "immutable": True' if folder.is_immutable else ""
        why = "each name was written once" if folder.is_immutable else "a name was written twice"
        yield f'    "{name}": {{"path": "{_quoted(folder.path)}"{immutable}}},  # {why}'
        yield from (f"    # on another server: {path}" for path in folder.elsewhere)


def _quoted(path: str) -> str:
    return path.encode("unicode_escape").decode().replace('"', '\\"')


def _place_name(path: str, taken: set[str]) -> str:
    base = _UNSAFE.sub("-", os.path.basename(path).lower()).strip("-.") or "files"
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}-{count}"
    taken.add(name)
    return f"{name}/"
