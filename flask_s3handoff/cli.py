"""The commands of ``flask s3handoff``: a face, which asks the rooms below and prints what they say.

Found by Flask through the entry point ``flask.commands``, so that help is there before an app is
(docs/decisions/0085). docs/commands.md describes every command, option and exit code.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from . import policies, report
from .current import EXTENSION_KEY, current_handoff
from .doctor import Surroundings, examine
from .errors import ConfigError, HandoffError, InvalidKey
from .handoff import Handoff
from .housekeeping import Abandoned, abandoned, drop_all, listed
from .provision import Step, reason_of, set_up
from .s3admin import admins

OK, NOT_RIGHT, WRONG_USE, NO_ANSWER = 0, 1, 2, 3

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_Command = Callable[..., None]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def s3handoff() -> None:
    """Set up, check and look after the bucket of an app's uploads.

    \b
    A new app, from nothing:
      flask --app app s3handoff setup --dry-run     what would be done
      flask --app app s3handoff setup               do it
      flask --app app s3handoff policy > iam.json   what the servers may do
      flask --app app s3handoff check               is all well, on this host?

    \b
    Exit codes: 0 all is well, 1 something is not right or would be changed,
    2 wrong use or a wrong setting, 3 the store refused or did not answer.
    """


@contextmanager
def _telling() -> Iterator[None]:
    """Tell of our errors in a line; log lines of the same would only say it twice."""
    log = logging.getLogger("flask_s3handoff")
    level = log.level
    log.setLevel(max(level, logging.ERROR))
    try:
        yield
    except (ConfigError, InvalidKey) as error:
        _end(error.description, WRONG_USE)
    except HandoffError as error:
        _end(reason_of(error), NO_ANSWER)
    finally:
        log.setLevel(level)


def _end(text: str | None, code: int) -> NoReturn:
    click.echo(f"Error: {text}", err=True)
    raise click.exceptions.Exit(code)


def _for_app(function: _Command) -> _Command:
    """Run a command inside of the app, whose settings may be wrong already when it is made."""
    inner = with_appcontext(function)

    @functools.wraps(function)
    def run(**options: Any) -> None:
        with _telling():
            inner(**options)

    return run


def _handoff() -> Handoff:
    if EXTENSION_KEY not in current_app.extensions:
        _end("This app has no S3Handoff: S3Handoff(app), or handoff.init_app(app).", WRONG_USE)
    return current_handoff()


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


# --- setup ----------------------------------------------------------------------------------------


@s3handoff.command()
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@_as_json
@_for_app
def setup(dry_run: bool, as_json: bool) -> None:
    """Create the buckets, or set up those that are there.

    Each gets Block Public Access, an enforced owner, a policy that refuses plain
    HTTP, and the lifecycle rule that empties staging. What others wrote stays;
    a second run changes nothing.

    \b
    Examples:
      flask --app app s3handoff setup --dry-run
      flask --app app s3handoff setup --dry-run --json   exit code 1: it would change something
    """
    config = _handoff().config
    steps = [step for admin in admins(config) for step in set_up(admin, config, dry_run=dry_run)]
    if as_json:
        report.as_json({"steps": [_step_facts(step) for step in steps]})
    else:
        _show_steps(steps)
    states = {step.state for step in steps}
    raise click.exceptions.Exit(NOT_RIGHT if states & {"failed", "needed"} else OK)


def _step_facts(step: Step) -> dict[str, Any]:
    facts = {"bucket": step.bucket, "step": step.name, "state": step.state, "text": step.text}
    return {**facts, "before": step.before, "wanted": step.wanted}


def _show_steps(steps: Sequence[Step]) -> None:
    report.table([(step.state, step.bucket, step.name, step.text) for step in steps])
    for step in steps:
        if step.diff:
            click.echo(f"\n{step.bucket}, {step.name}:\n" + "\n".join(step.diff))
    if not any(step.state in ("changed", "needed", "failed") for step in steps):
        click.echo("Nothing to do.")


# --- policy ---------------------------------------------------------------------------------------


@s3handoff.command()
@click.option(
    "--for",
    "who",
    type=click.Choice(["servers", "operator"]),
    default="servers",
    show_default=True,
    help="Whose permissions: what the app does, or what these commands need beyond it.",
)
@_as_json
@_for_app
def policy(who: str, as_json: bool) -> None:
    """Print the least IAM policy for this app's settings.

    The policy goes to the standard output, the reason of each statement to the
    standard error; with --json both to the standard output.

    \b
    Examples:
      flask --app app s3handoff policy > iam.json
      flask --app app s3handoff policy --for operator
    """
    config = _handoff().config
    wanted = policies.for_servers(config) if who == "servers" else policies.for_operator(config)
    document = policies.document(wanted)
    if as_json:
        reasons = {statement.sid: statement.reason for statement in wanted}
        report.as_json({"policy": document, "reasons": reasons})
        return
    report.as_json(document)
    report.table([(each.sid, each.reason) for each in wanted], file=sys.stderr)


# --- check ----------------------------------------------------------------------------------------


@s3handoff.command()
@click.option("--no-probe", is_flag=True, help="Write nothing to the store.")
@click.option("--strict", is_flag=True, help="A warning is a failure.")
@_as_json
@_for_app
def check(no_probe: bool, strict: bool, as_json: bool) -> None:
    """Examine settings, host, bucket and store; say what mends what is wrong.

    Run it on a server, as the servers' user. Its probes are a few bytes, deleted
    again. Compare the fingerprint of the key between your servers.

    \b
    Examples:
      flask --app app s3handoff check
      flask --app app s3handoff check --strict --json    in a deployment
    """
    handoff = _handoff()
    findings = list(examine(handoff, _surroundings(), write=not no_probe))
    if as_json:
        report.as_json({"findings": [vars(finding) for finding in findings]})
    else:
        report.table([(f.state, f.name, f.text) for f in findings])
        mends = [(f.state, f.name, f"→ {f.mend}") for f in findings if f.mend]
        if mends:
            click.echo("\nTo mend it:")
            report.table(mends)
    bad = {"failure", "warning"} if strict else {"failure"}
    raise click.exceptions.Exit(NOT_RIGHT if bad & {f.state for f in findings} else OK)


def _surroundings() -> Surroundings:
    app = current_app
    return Surroundings(behind_proxy_fix=_has_proxy_fix(app))


def _has_proxy_fix(app: Flask) -> bool:
    """Look for it around the app: ``ProxyFix`` and its like call that ``app``."""
    layer: Any = app.wsgi_app
    for _ in range(20):
        if type(layer).__name__ == "ProxyFix":
            return True
        inside = [cell.cell_contents for cell in getattr(layer, "__closure__", None) or ()]
        layer = getattr(layer, "app", None) or next(filter(callable, inside), None)
    return False


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
@_as_json
@_for_app
def list_(prefix: str, urls: bool, as_json: bool) -> None:
    """List what is stored below PREFIX: size, age, key, URL.

    PREFIX lies below a place or is staging's. Public URLs are always shown,
    signed ones with --urls.

    \b
    Examples:
      flask --app app s3handoff list users/654/
      flask --app app s3handoff list handoff/ --json
    """
    handoff = _handoff()
    found = list(listed(handoff, prefix.rstrip("/") + "/"))
    links = [each.url() if urls or _is_public(handoff, each.key) else "" for each in found]
    if as_json:
        rows = [
            {"key": f.key, "size": f.size, "last_modified": f.last_modified.isoformat(), "url": url}
            for f, url in zip(found, links, strict=True)
        ]
        report.as_json({"files": rows})
        return
    for_people = zip(found, links, strict=True)
    report.table(
        [(report.size_of(f.size), report.age_of(f.last_modified), f.key, u) for f, u in for_people]
    )
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
@_as_json
@_for_app
def purge(older_than: int | None, force: bool, dry_run: bool, as_json: bool) -> None:
    """Delete what was left in staging, and unfinished uploads.

    The lifecycle rule of `setup` does this by itself; this is for stores without
    one, and for at once. Places are never touched.

    \b
    Examples:
      flask --app app s3handoff purge --dry-run
      flask --app app s3handoff purge --older-than 2d
    """
    handoff = _handoff()
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


# `adopt` and `pull`, for folders, follow here.
