"""`flask s3handoff`: what people see, what scripts get, and that all of it is documented."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_s3handoff import S3Handoff
from flask_s3handoff import cli as face
from flask_s3handoff.command import NO_ANSWER, NOT_RIGHT, OK, WRONG_USE
from flask_s3handoff.errors import ConfigError, Unavailable
from flask_s3handoff.report import age_of, size_of, table
from flask_s3handoff.store import Capabilities, kind_of
from flask_s3handoff.testing import MemoryStore

ROOT = Path(__file__).parents[2]
COMMANDS = face.s3handoff.commands
KIND = kind_of("a.png", "image/png")


@pytest.fixture
def store() -> MemoryStore:
    """A store with a file in a place and one in staging."""
    store = MemoryStore()
    for key in ("users/1/a.png", "users/10/b.png", "handoff/20261123/x/c.png"):
        put(store, key)
    return store


def page() -> str:
    """Return the page of commands."""
    return (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def put(store: MemoryStore, key: str, data: bytes = b"picture") -> None:
    digest = hashlib.sha256(data).hexdigest()
    store.put(key, io.BytesIO(data), size=len(data), sha256=digest, kind=KIND)


def app_of(store: MemoryStore | None, **settings: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="a key of at least 16 bytes", S3HANDOFF_PLACES={"users/": {}})
    app.config.update({f"S3HANDOFF_{name.upper()}": value for name, value in settings.items()})
    S3Handoff(app, store=store)
    return app


def run(app: Flask | None, *words: str) -> Result:
    """Run a command as `flask --app app s3handoff …` does."""

    def make(*_: Any) -> Flask:
        if app is None:
            raise ConfigError("S3HANDOFF_BUCKET must be the name of a bucket.")
        return app

    return CliRunner().invoke(face.s3handoff, words, obj=ScriptInfo(create_app=make))


def at_amazon(**settings: Any) -> Flask:
    given = {"bucket": "acme-uploads", "region": "eu-west-1"}
    return app_of(None, **given, **settings)


class TestPolicy:
    """What the servers may do."""

    def test_the_policy_can_be_redirected_into_a_file(self) -> None:
        """Pure JSON on the standard output; the reasons beside it."""
        done = run(at_amazon(), "policy")
        assert done.exit_code == 0
        policy = json.loads(done.stdout)
        assert policy["Version"] == "2012-10-17"
        assert all(each["Sid"] in done.stderr for each in policy["Statement"])
        assert "store uploads" in done.stderr

    def test_machines_get_the_reasons_too(self) -> None:
        """In one document."""
        told = json.loads(run(at_amazon(), "policy", "--for", "operator", "--json").stdout)
        assert set(told["reasons"]) == {each["Sid"] for each in told["policy"]["Statement"]}
        assert "S3HandoffPurge" in told["reasons"]


class TestList:
    """What is stored."""

    def test_a_prefix_is_a_folder(self, store: MemoryStore) -> None:
        """`users/1` never matches `users/10`."""
        done = run(app_of(store), "list", "users/1")
        assert done.exit_code == 0
        assert re.fullmatch(r"7 B\s+0 s\s+users/1/a.png\s*", done.stdout)
        assert done.stderr == "1 files, 7 B\n"

    def test_staging_can_be_listed(self, store: MemoryStore) -> None:
        """By an operator, if by no app."""
        (file,) = json.loads(run(app_of(store), "list", "handoff/", "--json").stdout)["files"]
        assert (file["key"], file["size"]) == ("handoff/20261123/x/c.png", 7)
        assert datetime.fromisoformat(file["last_modified"]).tzinfo is not None

    def test_signed_urls_are_shown_when_asked_for(self, store: MemoryStore) -> None:
        """Whoever reads the screen could open them."""
        assert "/_s3handoff/" not in run(app_of(store), "list", "users/").stdout
        done = run(app_of(store), "list", "users/", "--urls", "--json")
        assert all(
            file["url"].startswith("/_s3handoff/") for file in json.loads(done.stdout)["files"]
        )

    def test_public_urls_are_shown(self, store: MemoryStore) -> None:
        """They are no secret."""
        places = {"users/": {"public_url": "https://cdn.example.com"}}
        store = AddressedStore(store)
        done = run(app_of(store, places=places), "list", "users/1/")
        assert "https://cdn.example.com/users/1/a.png" in done.stdout

    @pytest.mark.parametrize("prefix", ["elsewhere/", "../", "user"])
    def test_other_prefixes_are_wrong_use(self, store: MemoryStore, prefix: str) -> None:
        """The answer names those that there are."""
        done = run(app_of(store), "list", prefix)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("Error: ")


class AddressedStore(MemoryStore):
    """Has addresses for everybody, as S3 gives them to a place with a public URL."""

    def __init__(self, other: MemoryStore) -> None:
        super().__init__(capabilities=Capabilities())
        for key in other.keys():  # noqa: SIM118 - not a dictionary
            put(self, key)

    def url(self, key: str, **_: Any) -> str:
        """Return a place's public address."""
        return f"https://cdn.example.com/{key}"


class TestPurge:
    """What is deleted, and what never is."""

    def test_abandoned_files_go_and_places_stay(self, store: MemoryStore) -> None:
        """Only staging is emptied."""
        done = run(app_of(store), "purge", "--older-than", "0", "--force")
        assert (done.exit_code, done.stdout) == (0, "1 files, 7 B: deleted\n")
        assert sorted(store.keys()) == ["users/1/a.png", "users/10/b.png"]

    def test_what_a_page_may_still_carry_stays(self, store: MemoryStore) -> None:
        """By default nothing younger than the tokens goes."""
        told = json.loads(run(app_of(store), "purge", "--json").stdout)
        assert told == {"found": 0, "bytes": 0, "dry_run": False, "failed": 0, "keys": []}
        assert len(store.keys()) == 3

    def test_a_shorter_age_must_be_meant(self, store: MemoryStore) -> None:
        """Live files would be lost: a slip of the keyboard is not enough."""
        done = run(app_of(store), "purge", "--older-than", "23h")
        assert (done.exit_code, "--force" in done.stderr) == (2, True)
        assert run(app_of(store), "purge", "--older-than", "24h").exit_code == 0
        assert len(store.keys()) == 3

    def test_a_dry_run_deletes_nothing(self, store: MemoryStore) -> None:
        """And names what would go."""
        done = run(app_of(store), "purge", "--older-than", "0s", "--force", "--dry-run")
        assert (done.exit_code, "handoff/20261123/x/c.png" in done.stdout) == (0, True)
        assert len(store.keys()) == 3

    def test_a_refusal_is_told(self, store: MemoryStore) -> None:
        """Once, however many files there are."""
        store.fail_with(Unavailable(verb="delete_object", detail="AccessDenied"), verbs=["delete"])
        put(store, "handoff/20261123/y/d.png")
        done = run(app_of(store), "purge", "--older-than", "0", "--force")
        assert (done.exit_code, done.stdout) == (3, "0 files, 14 B: deleted\n")
        assert done.stderr.count("delete_object is denied") == 1

    @pytest.mark.parametrize("age", ["", "x", "-1", "1w", "1.5h", "1h30m"])
    def test_other_ages_are_wrong_use(self, store: MemoryStore, age: str) -> None:
        """The answer says how to write one."""
        done = run(app_of(store), "purge", "--older-than", age)
        assert (done.exit_code, "36h" in done.stderr) == (2, True)


class TestCheck:
    """The doctor's lines, and his exit codes."""

    def test_all_is_well(self, store: MemoryStore) -> None:
        """Warnings are no failure, unless asked."""
        app = app_of(store)
        done = run(app, "check")
        assert done.exit_code == 0
        assert re.search(
            r"^warning\s+cookie\s+→ S3HANDOFF_COOKIE_SECURE", done.stdout, re.MULTILINE
        )
        assert run(app, "check", "--strict").exit_code == 1
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
        assert run(app, "check", "--strict").exit_code == 0

    def test_a_failure_is_an_exit_code(self, store: MemoryStore) -> None:
        """For a deployment that asks."""
        store.fail_with(Unavailable(verb="put_object", detail="AccessDenied"), verbs=["put"])
        done = run(app_of(store), "check", "--json")
        states = {each["name"]: each["state"] for each in json.loads(done.stdout)["findings"]}
        assert (done.exit_code, states["write and read"]) == (1, "failure")
        assert run(app_of(store), "check", "--no-probe").exit_code == 0

    def test_a_proxy_that_is_known_is_found_inside_too(self, store: MemoryStore) -> None:
        """Whether it was put around before us or after."""
        app = Flask(__name__)
        app.config.update(SECRET_KEY="a key of at least 16 bytes")
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
        S3Handoff(app, store=store)
        assert run(app, "check", "--strict", "--no-probe").exit_code == 0


class TestFolders:
    """The way in, and the way out."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A folder of an app, with two files."""
        folder = tmp_path / "papers"
        folder.mkdir()
        for name in ("a.txt", "b.txt"):
            (folder / name).write_text(name)
        return folder

    def app(self, store: MemoryStore, folder: Path) -> Flask:
        places = {"papers/": {"path": str(folder)}}
        return app_of(store, places=places, work_dir=str(folder.parent / "work"))

    def test_what_lies_there_is_mirrored(self, store: MemoryStore, folder: Path) -> None:
        """Once; a second run finds it done."""
        app = self.app(store, folder)
        done = run(app, "adopt")
        assert (done.exit_code, done.stdout) == (0, "2 files mirrored, 0 as they were\n")
        assert store.bytes_of("papers/a.txt") == b"a.txt"
        told = json.loads(run(app, "adopt", "--json").stdout)
        assert told == {"moved": 0, "unchanged": 2, "left": []}

    def test_what_differs_is_left_and_named(self, store: MemoryStore, folder: Path) -> None:
        """Nobody knows which of the two is right: the exit code says that somebody must look."""
        put(store, "papers/a.txt", b"another")
        done = run(self.app(store, folder), "adopt")
        assert done.exit_code == 1
        assert re.match(rf"left\s+{folder}/a.txt\n1 files mirrored", done.stdout)
        assert store.bytes_of("papers/a.txt") == b"another"

    def test_everything_is_brought_back(self, store: MemoryStore, tmp_path: Path) -> None:
        """Onto a new disk."""
        put(store, "papers/deep/c.txt", b"from there")
        done = run(self.app(store, tmp_path / "new"), "pull")
        assert (done.exit_code, done.stdout) == (0, "1 files brought, 0 as they were\n")
        assert (tmp_path / "new" / "deep" / "c.txt").read_bytes() == b"from there"

    @pytest.mark.parametrize("command", ["adopt", "pull"])
    def test_without_folders_it_is_wrong_use(self, store: MemoryStore, command: str) -> None:
        """The answer says what a folder is."""
        done = run(app_of(store), command)
        assert (done.exit_code, "'path'" in done.stderr) == (2, True)

    def test_a_check_looks_at_the_folder(self, store: MemoryStore, folder: Path) -> None:
        """One that is not there is told, and not made."""
        there = run(self.app(store, folder), "check", "--no-probe").stdout
        assert re.search(rf"ok\s+folder papers/\s+{folder}$", there, re.MULTILINE)
        absent = run(self.app(store, folder / "absent"), "check", "--no-probe").stdout
        assert re.search(r"warning\s+folder papers/\s+.* is not there", absent)
        assert not (folder / "absent").exists()


class TestWrongUse:
    """What cannot be done is told in a line, by an exit code of its own."""

    def test_an_app_without_us(self) -> None:
        """The line says what to write."""
        done = run(Flask(__name__), "check")
        assert (done.exit_code, "S3Handoff(app)" in done.stderr) == (2, True)

    def test_a_wrong_setting(self) -> None:
        """The app cannot be made; its traceback helps nobody."""
        done = run(None, "check")
        assert done.exit_code == 2
        assert done.stderr == "Error: S3HANDOFF_BUCKET must be the name of a bucket.\n"

    @pytest.mark.parametrize("command", ["setup", "policy"])
    def test_a_store_without_a_bucket(self, store: MemoryStore, command: str) -> None:
        """A folder is not set up."""
        done = run(app_of(store), command)
        assert (done.exit_code, "is not S3" in done.stderr) == (2, True)

    def test_a_store_that_does_not_answer(self, store: MemoryStore) -> None:
        """Not our fault, nor the user's."""
        store.fail_with(Unavailable(verb="list_objects_v2", detail="timeout"), verbs=["list"])
        done = run(app_of(store), "list", "users/")
        assert (done.exit_code, done.stderr) == (3, "Error: list_objects_v2 failed: timeout\n")


class TestObserve:
    """What the logs of observe mode mean."""

    LOG = """INFO observe {"what":"upload","at":1,"server":"a","request":"1","path":"/add"}
INFO observe {"what":"write","at":1,"server":"a","request":"1","path":"/add","file":"/srv/a"}
INFO observe {"what":"read","at":2,"server":"b","request":"2","path":"/c","file":"/srv/a","there":false}
"""

    def test_people_get_the_report(self, tmp_path: Path) -> None:
        """Of several logs, without an app that can be made."""
        (tmp_path / "a.log").write_text(self.LOG)
        done = run(None, "observe", str(tmp_path / "a.log"), str(tmp_path / "a.log"))
        assert (done.exit_code, done.stdout[:25]) == (0, "Do we have this bug? YES:")

    def test_machines_get_the_facts(self, tmp_path: Path) -> None:
        """By JSON."""
        (tmp_path / "a.log").write_text(self.LOG)
        facts = json.loads(run(None, "observe", "--json", str(tmp_path / "a.log")).stdout)
        assert (facts["reads"]["failed"], facts["paths"]) == (1, ["/add", "/c"])

    def test_a_log_that_is_not_there_is_wrong_use(self) -> None:
        """And named."""
        done = run(None, "observe", "no.log")
        assert (done.exit_code, "no.log" in done.stderr) == (2, True)


class TestHelp:
    """Help teaches, and the page of commands is whole."""

    @pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
    def test_every_command_and_option_is_documented(self, command: click.Command) -> None:
        """In docs/commands.md, each in its section."""
        section = re.search(
            rf"^## {command.name}\b.*?(?=^## |\Z)", page(), re.DOTALL | re.MULTILINE
        )
        assert section, f"no section for {command.name}"
        options = [o for param in command.params for o in param.opts if o.startswith("--")]
        assert options
        assert [option for option in options if f"`{option}" not in section[0]] == []

    def test_every_exit_code_is_documented(self) -> None:
        """In the table for scripts, and in the help."""
        codes = {OK, NOT_RIGHT, WRONG_USE, NO_ANSWER}
        assert {int(code) for code in re.findall(r"^\| (\d) \|", page(), re.MULTILINE)} == codes
        assert all(f"{code} " in str(face.s3handoff.help) for code in codes)

    @pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
    def test_help_has_examples(self, command: click.Command) -> None:
        """And needs no app, nor one that can be made."""
        done = run(None, str(command.name), "--help")
        assert (done.exit_code, "flask --app app s3handoff" in done.stdout) == (0, True)

    @pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
    def test_every_command_speaks_to_machines(self, command: click.Command) -> None:
        """By JSON."""
        assert "--json" in [option for param in command.params for option in param.opts]

    def test_flask_finds_the_commands(self) -> None:
        """With nothing but the package installed."""
        (found,) = (ep for ep in entry_points(group="flask.commands") if ep.name == "s3handoff")
        assert found.load() is face.s3handoff

    def test_neither_boto3_nor_rich_is_imported_by_it(self) -> None:
        """Flask loads the commands for whatever it is asked, `flask run` too (rule 8)."""
        code = "import flask_s3handoff.cli, sys; print({'boto3', 'botocore', 'rich'} & set(sys.modules))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout == "set()\n"


class TestReport:
    """Tables that line up, with and without rich."""

    ROWS = (("ok", "secret key", "fine"), ("warning", "x", "not [so] fine"))

    @pytest.fixture
    def out(self) -> Iterator[io.StringIO]:
        """Where the table goes."""
        with io.StringIO() as out:
            yield out

    def test_without_rich_the_same_lines_come_plain(
        self, out: io.StringIO, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Their cells separated by tabs."""
        monkeypatch.setitem(sys.modules, "rich", None)
        table(self.ROWS, file=out)
        assert out.getvalue() == "ok\tsecret key\tfine\nwarning\tx\tnot [so] fine\n"

    def test_no_key_commands_the_terminal(self, out: io.StringIO) -> None:
        """Whoever may begin an upload chooses its key."""
        table([("1 B", "handoff/\x1b]0;owned\x07\n\u202ecod.exe")], file=out)
        assert out.getvalue().count("\n") == 1
        assert out.getvalue().rstrip("\n").isprintable() or "\t" in out.getvalue()
        assert "\x1b" not in out.getvalue()

    def test_an_empty_table_is_no_line(self, out: io.StringIO) -> None:
        """Nor an error."""
        table([], file=out)
        assert out.getvalue() == ""

    @pytest.mark.parametrize(
        ("count", "text"),
        [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 50, "5120.0 TiB")],
    )
    def test_sizes_are_read_by_people(self, count: int, text: str) -> None:
        """In the largest unit that leaves a digit."""
        assert size_of(count) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (90_000, "1 d")],
    )
    def test_ages_are_read_by_people(self, seconds: int, text: str) -> None:
        """Also of what another clock has stored in the future."""
        assert age_of(datetime.fromtimestamp(1000, UTC), now=1000 + seconds) == text
