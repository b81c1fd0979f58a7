"""The commands of ``flask s3handoff``: a face, which asks the rooms below and prints what they say.

Found by Flask through the entry point ``flask.commands``, so that help is there before an app is
(docs/decisions/0085). docs/commands.md describes every command, option and exit code. Those about
files are in the room ``clifiles``.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import IO, Any

import click
from flask import Flask, current_app

from . import clifiles, policies, report, survey
from .command import NOT_RIGHT, OK, for_app, json_option, s3handoff, the_handoff
from .doctor import Surroundings, examine
from .provision import Step, set_up
from .s3admin import admins

__all__ = ["clifiles", "s3handoff"]


# --- setup ----------------------------------------------------------------------------------------


@s3handoff.command()
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@json_option
@for_app
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
    config = the_handoff().config
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
@json_option
@for_app
def policy(who: str, as_json: bool) -> None:
    """Print the least IAM policy for this app's settings.

    The policy goes to the standard output, the reason of each statement to the
    standard error; with --json both to the standard output.

    \b
    Examples:
      flask --app app s3handoff policy > iam.json
      flask --app app s3handoff policy --for operator
    """
    config = the_handoff().config
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
@json_option
@for_app
def check(no_probe: bool, strict: bool, as_json: bool) -> None:
    """Examine settings, host, bucket and store; say what mends what is wrong.

    Run it on a server, as the servers' user. Its probes are a few bytes, deleted
    again. Compare the fingerprint of the key between your servers.

    \b
    Examples:
      flask --app app s3handoff check
      flask --app app s3handoff check --strict --json    in a deployment
    """
    handoff = the_handoff()
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


# --- observe --------------------------------------------------------------------------------------


@s3handoff.command()
@click.argument("logs", nargs=-1, required=True, type=click.File(errors="replace"))
@json_option
def observe(logs: Sequence[IO[str]], as_json: bool) -> None:
    """Say what the LOGS of observe mode mean: do we have this bug, and where?

    They are those of all servers that ran with S3HANDOFF_OBSERVE = True, in any
    format; "-" is the standard input. Ends with settings to begin with.

    \b
    Examples:
      flask --app app s3handoff observe web1.log web2.log
      journalctl -u web | flask --app app s3handoff observe -
    """
    lines = itertools.chain.from_iterable(logs)
    if as_json:
        report.as_json(survey.summary_of(lines))
    else:
        click.echo(survey.report_of(lines))
