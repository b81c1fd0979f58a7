"""What must be right before a version is tagged; `make release-check`.

`make wheel`, and beside it: the sdist builds the same wheel, the description renders as PyPI would
show it, a user's mypy sees our types in the installed wheel, the changelog is dated for the version
in pyproject.toml, and nothing is left uncommitted.
"""

from __future__ import annotations

import datetime as dt
import email
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from readme_renderer import markdown

from tests.tree import ROOT
from tests.wheel_check import META, check, clean_python, run

USERS_FILES = ("flask_app.py", "wsgi_app.py")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:(?:a|b|rc)[0-9]+)?")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
# Run in the clean environment, which has no mypy: ours looks into it.
_MYPY = ("-m", "mypy", "--strict", "--no-error-summary")


def main() -> None:
    """Say everything that is wrong at once, and fail."""
    found = [*about_version(META["version"], tags()), *about_changes(), *about_changelog_file()]
    with tempfile.TemporaryDirectory(prefix="s3h-release-") as name:
        folder = Path(name)
        wheel, _sdist = check(folder)
        found += about_sameness(wheel, wheel_of_tree(folder))
        found += about_description(wheel)
        found += about_types(folder)
    if found:
        sys.exit("release: " + "\n         ".join(found))
    print(f"release: {META['name']} {META['version']} may be tagged v{META['version']}")


def about_version(version: str, tags: list[str]) -> Iterator[str]:
    """A version is x.y.z, and is given once."""
    if not _VERSION.fullmatch(version):
        yield f"pyproject.toml says version {version!r}; write 1.2.3, or 1.2.3rc1"
    if f"v{version}" in tags:
        yield f"v{version} is tagged already: bump the version in pyproject.toml"


def about_changelog_file() -> Iterator[str]:
    """The changelog of this checkout."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    yield from about_changelog(text, META["version"], dt.datetime.now(dt.UTC).date())


def about_changelog(text: str, version: str, today: dt.date) -> Iterator[str]:
    """The version has a section with a date, at the top, with something in it."""
    _, *parts = _HEADING.split(text)
    sections = list(zip(parts[::2], parts[1::2], strict=True))
    unreleased = dict(sections).get("Unreleased", "")
    if "- " in unreleased:
        yield f"CHANGELOG.md: what stands under Unreleased goes under '## {version} - {today}'"
    released = [(title, body) for title, body in sections if title != "Unreleased"]
    if not released or not released[0][0].startswith(f"{version} - "):
        yield f"CHANGELOG.md: the first release is to be '## {version} - {today}'"
        return
    title, body = released[0]
    if "- " not in body:
        yield f"CHANGELOG.md: nothing is told of {version}"
    yield from _about_date(title.removeprefix(f"{version} - "), today)


def _about_date(said: str, today: dt.date) -> Iterator[str]:
    try:
        date = dt.date.fromisoformat(said)
    except ValueError:
        yield f"CHANGELOG.md: {said!r} is no date; write {today}"
        return
    if date > today:
        yield f"CHANGELOG.md: {date} is in the future"


def about_changes() -> Iterator[str]:
    """What is tagged is what was committed."""
    if git("status", "--porcelain"):
        yield "the tree has changes that are not committed"


def tags() -> list[str]:
    """Return the tags of this repository."""
    return git("tag", "--list").split()


def git(*words: str) -> str:
    """Ask git."""
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def wheel_of_tree(folder: Path) -> Path:
    """Build a wheel from the tree itself, not from the sdist."""
    goal = folder / "direct"
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        goal,
        folder / "source",
    )
    (wheel,) = goal.glob("*.whl")
    return wheel


def about_sameness(one: Path, other: Path) -> Iterator[str]:
    """Whoever builds from the sdist gets what we publish."""
    here, there = contents(one), contents(other)
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            yield f"{name} differs between the wheel of the sdist and the wheel of the tree"


def contents(wheel: Path) -> dict[str, int]:
    """Return the files of a wheel with their checksums."""
    return {item.filename: item.CRC for item in zipfile.ZipFile(wheel).infolist()}


def about_description(wheel: Path) -> Iterator[str]:
    """PyPI shows it as a page, and not as plain text."""
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_string(archive.read(name).decode())
    if not (metadata["Description-Content-Type"] or "").startswith("text/markdown"):
        yield f"the description is {metadata['Description-Content-Type']}, not text/markdown"
    page = markdown.render(str(metadata.get_payload()))
    if page is None or "<table>" not in page or "<pre" not in page:
        yield "the description does not render with its tables and its code"


def about_types(folder: Path) -> Iterator[str]:
    """A user's files check against the wheel in the clean environment."""
    user = folder / "user"
    user.mkdir()
    for name in USERS_FILES:
        shutil.copy(ROOT / "tests" / "typing" / name, user)
    command = [sys.executable, *_MYPY, f"--python-executable={clean_python(folder)}", *USERS_FILES]
    done = subprocess.run(command, cwd=user, capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"a user's mypy says: {done.stdout}{done.stderr}"


if __name__ == "__main__":
    main()
