"""Commands about files: what is stored, what is left in staging, what lies in folders."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

import click

from . import report
from .command import NO_ANSWER, NOT_RIGHT, OK, for_app, json_option, s3handoff, the_handoff
from .errors import HandoffError
from .handoff import Handoff
from .housekeeping import Abandoned, abandoned, drop_all, listed
from .moving import Moved, Progress
from .provision import reason_of

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


# --- list and purge -------------------------------------------------------------------------------


def _seconds_of(_ctx: click.Context, _param: click.Parameter, age: str | None) -> int | None:
    """Read ``90`` or ``90s``, ``15m``, ``36h``, ``2d``."""
    if age is None:
        return None
    if not (found := re.fullmatch(r"([0-9]{1,9})([smhd]?)", age)):
        raise click.BadParameter("say 90s, 15m, 36h or 2d")
    return int(found[1]) * _UNITS[found[2]]


@s3handoff.command("list")
@click.argument("prefix")
@click.option("--urls", is_flag=True, help="Sign a URL of each; whoever has it can read the file.")
@json_option
@for_app
def list_(prefix: str, urls: bool, as_json: bool) -> None:
    """List what is stored below PREFIX: size, age, key, URL.

    PREFIX lies below a place or is staging's. Public URLs are always shown,
    signed ones with --urls.

    \b
    Examples:
      flask --app app s3handoff list users/654/
      flask --app app s3handoff list handoff/ --json
    """
    handoff = the_handoff()
    found = list(listed(handoff, prefix.rstrip("/") + "/"))
    links = [each.url() if urls or _is_public(handoff, each.key) else "" for each in found]
    if as_json:
        rows = [
            {"key": f.key, "size": f.size, "last_modified": f.last_modified.isoformat(), "url": url}
            for f, url in zip(found, links, strict=True)
        ]
        report.as_json({"files": rows})
        return
    sizes = [(report.size_of(f.size), report.age_of(f.last_modified)) for f in found]
    report.table([(*s, f.key, url) for s, f, url in zip(sizes, found, links, strict=True)])
    total = report.size_of(sum(each.size for each in found))
    click.echo(f"{len(found)} files, {total}", err=True)


def _is_public(handoff: Handoff, key: str) -> bool:
    in_staging = key.startswith(handoff.config.prefix)
    return not in_staging and handoff.config.place_of(key).public_url is not None


@s3handoff.command()
@click.option(
    "--older-than",
    metavar="AGE",
    callback=_seconds_of,
    help="Such as 36h or 2d. Default: S3HANDOFF_TOKEN_MAX_AGE; less needs --force.",
)
@click.option("--force", is_flag=True, help="Also what a page may still be carrying.")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@json_option
@for_app
def purge(older_than: int | None, force: bool, dry_run: bool, as_json: bool) -> None:
    """Delete what was left in staging, and unfinished uploads.

    The lifecycle rule of `setup` does this by itself; this is for stores without
    one, and for at once. Places are never touched.

    \b
    Examples:
      flask --app app s3handoff purge --dry-run
      flask --app app s3handoff purge --older-than 2d
    """
    handoff = the_handoff()
    lives = handoff.config.token_max_age_seconds
    if older_than is not None and older_than < lives and not force:
        text = f"--older-than: tokens live {lives} s, and what they name would be lost"
        raise click.UsageError(f"{text}. Say --force if you mean it.")
    found = list(abandoned(handoff, lives if older_than is None else older_than))
    errors = [] if dry_run else _drop(found)
    facts = {"found": len(found), "bytes": sum(each.size for each in found), "dry_run": dry_run}
    facts["failed"] = len(errors)
    if as_json:
        report.as_json({**facts, "keys": [each.key for each in found]})
    else:
        _show_purge(found, errors, dry_run=dry_run)
    raise click.exceptions.Exit(NO_ANSWER if errors else OK)


def _drop(found: Sequence[Abandoned]) -> list[HandoffError]:
    dropped = drop_all(found)
    with click.progressbar(dropped, len(found), label="Purging", file=sys.stderr) as bar:
        return [error for error in bar if error]


def _show_purge(
    found: Sequence[Abandoned], errors: Sequence[HandoffError], *, dry_run: bool
) -> None:
    if dry_run:
        kinds = ("", "unfinished upload")
        sizes = ((report.size_of(f.size), report.age_of(f.when), f) for f in found)
        report.table([(size, age, f.key, kinds[f.is_unfinished]) for size, age, f in sizes])
    total = report.size_of(sum(each.size for each in found))
    verb = "would be deleted" if dry_run else "deleted"
    click.echo(f"{len(found) - len(errors)} files, {total}: {verb}")
    for reason in sorted({reason_of(error) for error in errors}):
        click.echo(f"Error: {reason}", err=True)


# --- folders --------------------------------------------------------------------------------------


@s3handoff.command()
@json_option
@for_app
def adopt(as_json: bool) -> None:
    """Mirror what lies in the folders already: the way in.

    Nothing in the store is overwritten: a file that differs there is left alone on
    both sides and named, and the exit code is 1. It may be broken off and begun again.

    \b
    Examples:
      flask --app app s3handoff adopt
    """
    handoff = the_handoff()
    _show_moved(_with_progress("Adopting", handoff.adopt), "mirrored", as_json=as_json)


@s3handoff.command()
@json_option
@for_app
def pull(as_json: bool) -> None:
    """Bring every file of the folders from the store to this disk: the way out.

    What is here and the same stays. It may be broken off and begun again.

    \b
    Examples:
      flask --app app s3handoff pull
    """
    handoff = the_handoff()
    _show_moved(_with_progress("Pulling", handoff.pull), "brought", as_json=as_json)


def _with_progress(label: str, move: Callable[[Progress], Moved]) -> Moved:
    """Show on a terminal how far it is; the number of files is known with the first."""
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def progress(done: int, of: int) -> None:
            bar.length = of
            bar.update(done - bar.pos)

        return move(progress)


def _show_moved(moved: Moved, verb: str, *, as_json: bool) -> None:
    if as_json:
        facts = {"moved": moved.moved, "unchanged": moved.unchanged, "left": list(moved.left)}
        report.as_json(facts)
    else:
        report.table([("left", path) for path in moved.left])
        click.echo(f"{moved.moved} files {verb}, {moved.unchanged} as they were")
    raise click.exceptions.Exit(NOT_RIGHT if moved.left else OK)
