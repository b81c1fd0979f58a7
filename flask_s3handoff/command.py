"""What every command of ``flask s3handoff`` shares: the group, the app, exit codes, errors told."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from flask import current_app
from flask.cli import with_appcontext

from .current import EXTENSION_KEY, current_handoff
from .errors import ConfigError, HandoffError, InvalidKey
from .handoff import Handoff
from .provision import reason_of

OK, NOT_RIGHT, WRONG_USE, NO_ANSWER = 0, 1, 2, 3

Command = Callable[..., None]


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
        end(error.description, WRONG_USE)
    except HandoffError as error:
        end(reason_of(error), NO_ANSWER)
    finally:
        log.setLevel(level)


def end(text: str | None, code: int) -> NoReturn:
    """Say why not, and end with this code."""
    click.echo(f"Error: {text}", err=True)
    raise click.exceptions.Exit(code)


def for_app(function: Command) -> Command:
    """Run a command inside of the app, whose settings may be wrong already when it is made."""
    inner = with_appcontext(function)

    @functools.wraps(function)
    def run(**options: Any) -> None:
        with _telling():
            inner(**options)

    return run


def the_handoff() -> Handoff:
    """Return the rooms of the current app, or end."""
    if EXTENSION_KEY not in current_app.extensions:
        end("This app has no S3Handoff: S3Handoff(app), or handoff.init_app(app).", WRONG_USE)
    return current_handoff()


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
