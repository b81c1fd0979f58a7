"""Logs of several servers → do we have this bug, and where? By tables of what happened."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from flask_s3handoff.config import HandoffConfig
from flask_s3handoff.facts import Fact, fact_of, facts_of, line_of
from flask_s3handoff.findings import Verdict, survey_of
from flask_s3handoff.proposal import folders_of, paths_of, settings_of
from flask_s3handoff.survey import main, report_of, summary_of

LEO = "/srv/up/leo.png"
UPLOAD = {"method": "POST", "path": "/add", "rule": "/add", "endpoint": "add"}
LOOK = {"method": "GET", "path": "/show/leo", "rule": "/show/<name>", "endpoint": "show"}


class Story:
    """Facts in the order in which they happen, a second apart."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def say(
        self, what: str, server: str, request: str, where: dict[str, str], **more: Any
    ) -> Story:
        """Add any fact."""
        fact = Fact(what, 1000.0 + len(self.facts), server, 7, request, more=more, **where)
        self.facts.append(fact)
        return self

    def upload(self, server: str, *files: str, request: str = "", new: bool = True) -> Story:
        """Take an upload and keep these files."""
        request = request or f"u{len(self.facts)}"
        self.say("upload", server, request, UPLOAD, field="a", filename="leo.png", size=9)
        for file in files:
            self.say("write", server, request, UPLOAD, file=file, new=new)
        return self

    def write(self, server: str, *files: str, request: str = "w", new: bool = True) -> Story:
        """Write without an upload."""
        for file in files:
            self.say("write", server, request, LOOK, file=file, new=new)
        return self

    def read(
        self, server: str, file: str, *, there: bool, request: str = "", known: bool = False
    ) -> Story:
        """Look for a file."""
        request = request or f"r{len(self.facts)}"
        more = {"file": file, "there": there, "by": "open", "known": known}
        return self.say("read", server, request, LOOK, **more)

    def remove(self, server: str, file: str) -> Story:
        """Take a file away."""
        return self.say("remove", server, f"d{len(self.facts)}", LOOK, file=file)

    @property
    def lines(self) -> list[str]:
        """The log of it."""
        return [f"INFO:flask_s3handoff.observe:{line_of(fact)}\n" for fact in self.facts]


# --- lines ---------------------------------------------------------------------------------------


def test_a_fact_survives_any_log() -> None:
    """Whatever a format puts before and behind it, whatever bytes a file name has."""
    fact = Fact("write", 1.25, "web1", 7, "ab", "GET", "/é", "/é", "e", {"file": "/srv/\udcff\n"})
    line = f'192.0.2.1 - {{"a": 1}} {line_of(fact)} [in observe.py:12] {{"b": 2}}\n'

    assert line.isascii()
    assert fact_of(line) == fact


@pytest.mark.parametrize(
    "line",
    [
        "",
        "we observe {that} nothing",
        'observe {"what":"read"}',
        'observe {"what":"read","at":"now","server":"a"}',
        'observe {"what":"read","at":1,"server":"a","file":"/srv/up/le',
        'observe {"at":1,"server":"a"}',
    ],
)
def test_what_is_no_fact_is_passed_over(line: str) -> None:
    """Logs are rotated in the middle of a line, and hold much else."""
    assert list(facts_of([line])) == []


# --- verdicts --------------------------------------------------------------------------------------

VERDICTS: dict[str, tuple[Story, list[Verdict]]] = {
    "another server's": (Story().upload("a", LEO).read("b", LEO, there=False), [Verdict.FAILED]),
    "the same server": (Story().upload("a", LEO).read("a", LEO, there=True), [Verdict.LUCKY]),
    "the log before was lost": (
        Story().upload("b", LEO).read("a", LEO, there=True, known=True),
        [Verdict.LUCKY],
    ),
    "a shared disk": (Story().upload("a", LEO).read("b", LEO, there=True), [Verdict.SHARED]),
    "removed there": (
        Story().upload("a", LEO).remove("a", LEO).read("b", LEO, there=False),
        [Verdict.GONE],
    ),
    "removed, and written again": (
        Story().upload("a", LEO).remove("a", LEO).upload("a", LEO).read("b", LEO, there=False),
        [Verdict.FAILED],
    ),
    "gone here": (Story().upload("a", LEO).read("a", LEO, there=False), [Verdict.GONE]),
    "nobody's": (Story().upload("a", LEO).read("b", "/srv/up/x", there=False), [Verdict.UNKNOWN]),
    "asked long before": (
        Story().read("b", LEO, there=False).read("c", "", there=False).read("c", "", there=False)
        .read("c", "", there=False).read("c", "", there=False).read("c", "", there=False)
        .upload("a", LEO),
        [Verdict.UNKNOWN] * 6,
    ),
    "another release": (
        Story().upload("a", "/r7/up/leo.png").read("b", "/r8/up/leo.png", there=False),
        [Verdict.FAILED],
    ),
    "another release here": (
        Story().upload("a", "/r7/up/leo.png").read("a", "/r8/up/leo.png", there=False),
        [Verdict.UNKNOWN],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("story", "verdicts"), VERDICTS.values(), ids=VERDICTS)
def test_a_read_is_judged_by_who_wrote_before(story: Story, verdicts: list[Verdict]) -> None:
    """In whatever order the logs are read."""
    survey = survey_of(reversed(story.facts))

    assert [verdict for _, verdict in survey.verdicts] == verdicts


def test_what_is_made_of_an_upload_counts_like_one() -> None:
    """A crop of it, and a crop of the crop, each by a request of its own."""
    story = Story().upload("a", LEO).read("a", LEO, there=True, request="1")
    story.write("a", "/srv/small/1", request="1")
    story.read("a", "/srv/small/1", there=True, request="2").write("a", "/srv/tiny/1", request="2")
    story.write("a", "/srv/cache/1", request="3").read("b", "/srv/cache/1", there=False)
    survey = survey_of(story.facts)

    assert survey.tainted == {LEO, "/srv/small/1", "/srv/tiny/1"}
    assert (survey.count(Verdict.LUCKY), survey.count(Verdict.FAILED)) == (2, 0)


# --- answers -------------------------------------------------------------------------------------------

ANSWERS: dict[str, tuple[Story, str]] = {
    "yes": (VERDICTS["another server's"][0], "YES: 1 read of another server's upload found nothing."),
    "luck": (VERDICTS["the same server"][0], "NOT SEEN, BUT IT WAITS: 1 read of an upload worked only"),
    "shared": (VERDICTS["a shared disk"][0], "NO: each server finds what the others write"),
    "one name twice": (Story().upload("a", LEO).upload("b", LEO), f"YES: two servers each made their own {LEO}"),
    "overwritten": (Story().upload("a", LEO).upload("b", LEO, new=False), "NOT SEEN: no later request"),
    "no upload": (Story().write("a", LEO).read("b", LEO, there=False), "NOT SEEN: these logs tell of no upload."),
    "kept": (Story().upload("a", LEO), "NOT SEEN: no later request needed"),
    "carried": (Story().upload("a").say("page", "a", "u0", UPLOAD, forms=1, targets=["/crop"]), "NOT ON DISK"),
}  # fmt: skip


@pytest.mark.parametrize(("story", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_the_report_begins_with_the_answer(story: Story, answer: str) -> None:
    """Do we have this bug?"""
    assert report_of(story.lines).startswith(f"Do we have this bug? {answer}")


def test_the_report_says_where() -> None:
    """Each view with what happened there, those that failed first."""
    story = Story().upload("web1", LEO).read("web2", LEO, there=False).read("web1", LEO, there=True)
    report = report_of(story.lines)
    where = report[report.index("Where:") : report.index("Settings")]

    assert where.splitlines()[1:] == [
        "  GET /show/<name>  [show]",
        "    1 read of another server's file failed",
        "    1 read found it only because the same server had written it",
        "  POST /add  [add]",
        "    1 upload, which would be mirrored",
        "    1 file kept on this server's disk",
        "",
    ]
    assert "Heard of: web1 (1 process), web2 (1 process); 1970-01-01 00:16:40" in report


def test_without_a_rule_what_varies_in_a_path_is_left_out() -> None:
    """Frameworks that we do not know tell paths only."""
    paths = ["/photos/4711/crop", "/photos/5dce0aeef2c1/crop", "/photos/of-leo/crop"]
    routes = [Fact("read", 0.0, "a", path=path).route for path in paths]

    assert routes == ["/photos/*/crop", "/photos/*/crop", "/photos/of-leo/crop"]


def test_logs_without_a_fact_say_what_to_set() -> None:
    """The first thing that goes wrong."""
    assert "S3HANDOFF_OBSERVE = True" in report_of(["GET / 200\n"])


# --- proposals ------------------------------------------------------------------------------------------


def kept(*files: str) -> Story:
    """Uploads that are read again on the same server."""
    story = Story()
    for file in files:
        story.upload("a", file).read("a", file, there=True)
    return story


FOLDERS: dict[str, tuple[Story, list[tuple[str, bool]]]] = {
    "one": (kept("/srv/up/1.png", "/srv/up/2.png"), [("/srv/up", True)]),
    "a name twice": (kept("/srv/up/1.png", "/srv/up/1.png"), [("/srv/up", False)]),
    "one per user": (kept("/srv/up/1/a", "/srv/up/2/a", "/srv/up/17/a"), [("/srv/up", True)]),
    "one per person": (kept(*(f"/srv/up/{n}/a" for n in ("ada", "leo", "mia"))), [("/srv/up", True)]),
    "two purposes": (kept("/srv/a/1.png", "/srv/a/2.png", "/srv/b/1.png"), [("/srv/a", True), ("/srv/b", True)]),
    "one inside": (kept("/srv/up/1.png", "/srv/up/small/1.png"), [("/srv/up", True)]),
    "a day": (kept("/srv/up/2026/11/27/1.png"), [("/srv/up", True)]),
    "not the top": (kept("/1/a", "/2/a", "/3/a"), [("/1", True), ("/2", True), ("/3", True)]),
}  # fmt: skip


@pytest.mark.parametrize(("story", "folders"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_is_what_the_files_have_in_common(
    story: Story, folders: list[tuple[str, bool]]
) -> None:
    """Immutable is one in which each name was written once."""
    found = [(folder.path, folder.is_immutable) for folder in folders_of(survey_of(story.facts))]

    assert sorted(found) == folders


def test_a_folder_with_another_path_on_each_server_is_one() -> None:
    """As with a folder per release."""
    story = Story()
    for here, there in (("1", "2"), ("2", "3"), ("3", "1")):
        story.upload(here, f"/r{here}/up/{here}.png")
        story.read(there, f"/r{there}/up/{here}.png", there=False)
    (folder,) = folders_of(survey_of(story.facts))

    assert (folder.path, folder.elsewhere) == ("/r1/up", ["/r2/up", "/r3/up"])
    assert (len(folder.files), folder.read_later) == (3, 3)


PATHS: dict[str, tuple[Iterable[str], list[str]]] = {
    "one": (["/add"], ["/add"]),
    "a flow": (["/profile/add", "/profile/crop"], ["/profile/"]),
    "two flows": (["/profile/add", "/profile/crop", "/import"], ["/import", "/profile/"]),
    "what varies": (["/photos/<path:name>"], ["/photos/"]),
    "the top": (["/", "/crop"], ["/"]),
    "all of it": (["/<name>"], ["/"]),
}


@pytest.mark.parametrize(("rules", "paths"), PATHS.values(), ids=PATHS)
def test_a_flow_is_named_by_its_first_segment(rules: Iterable[str], paths: list[str]) -> None:
    """Or by its one path."""
    story = Story()
    for rule in rules:
        where = {"method": "POST", "path": rule, "rule": rule}
        story.say("upload", "a", "u", where, field="a", filename="b", size=1)

    assert paths_of(survey_of(story.facts)) == paths


def test_where_an_answer_would_send_a_token_belongs_to_the_flow() -> None:
    """The targets of its forms and of its redirect."""
    story = Story().say("page", "a", "u", UPLOAD, forms=2, targets=["/crop", "/drop"])
    story.say("redirect", "a", "v", UPLOAD, target="/done", status=302)

    assert paths_of(survey_of(story.facts)) == ["/add", "/crop", "/done", "/drop"]


def test_the_settings_are_python_that_the_config_takes() -> None:
    """Pasted as they are, odd names included."""
    story = kept('/srv/My "Up"löads/1.png', "/mnt/b/1.png", "/var/b/1.png", "/var/b/1.png")
    block = ast.parse(settings_of(survey_of(story.facts)))
    settings = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in block.body
        if isinstance(node, ast.Assign)
    }
    config = HandoffConfig.from_mapping({**settings, "S3HANDOFF_BUCKET": "uploads"})

    assert {(folder.path, folder.immutable) for folder in config.folders} == {
        ('/srv/My "Up"löads', True),
        ("/mnt/b", True),
        ("/var/b", False),
    }
    assert config.paths == ("/add", "/show/")


def test_what_is_not_proposed_is_said_with_its_reason() -> None:
    """Sessions, and what a web server hands out by itself."""
    story = kept(LEO).upload("a", "/srv/session/1", "/srv/archive/1")
    story.write("a", "/srv/session/2", "/srv/session/3")
    settings = settings_of(survey_of(story.facts))

    assert "# not /srv/session: most of it was written without an upload" in settings
    assert "# not /srv/archive: no later request read what was written there" in settings
    assert '"up/": {"path": "/srv/up", "immutable": True}' in settings


def test_machines_are_told_the_same() -> None:
    """In what JSON can hold."""
    story = Story().upload("a", LEO).read("b", LEO, there=False).read("a", LEO, there=True)
    summary = json.loads(json.dumps(summary_of(story.lines)))
    (folder,) = summary.pop("folders")

    assert summary == {
        "reads": {"failed": 1, "lucky": 1, "shared": 0, "gone": 0, "unknown": 0},
        "collisions": [],
        "servers": ["a", "b"],
        "uploads": 1,
        "paths": ["/add", "/show/"],
    }
    assert (folder["path"], folder["files"], folder["read_later"]) == ("/srv/up", [LEO], 1)


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_reads_all_logs(tmp_path: Path) -> None:
    """One per server, or all of them by a pipe; broken bytes are no matter."""
    story = Story().upload("a", LEO).read("b", LEO, there=False)
    (tmp_path / "a.log").write_text("".join(story.lines[:2]))
    (tmp_path / "b.log").write_bytes(b"\xff\n" + "".join(story.lines[2:]).encode())
    command = [sys.executable, "-W", "error", "-m", "flask_s3handoff.survey"]
    done = subprocess.run(
        [*command, "-", tmp_path / "b.log"],
        input=(tmp_path / "a.log").read_bytes(),
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.startswith(b"Do we have this bug? YES: 1 read of")


def test_without_a_log_the_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    """And fails, unless that was asked for."""
    assert (main([]), main(["--help"])) == (2, 0)
    assert capsys.readouterr().out.count("usage: ") == 2


def test_a_log_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its name, without a traceback."""
    assert main([str(tmp_path / "no.log")]) == 2
    assert "no.log" in capsys.readouterr().err
