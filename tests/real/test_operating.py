"""The commands of an operator on real servers: set up, check, list, purge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo

from flask_s3handoff import S3Handoff
from flask_s3handoff.cli import s3handoff
from flask_s3handoff.config import HandoffConfig
from flask_s3handoff.policies import for_operator, for_servers, tls_only
from flask_s3handoff.s3admin import PUBLIC_ACCESS_FLAGS, admins
from tests.real.conftest import abort_uploads
from tests.real.site import AVATAR, environment
from tests.servers import ROOT, S3Server, bucket, keys

LOGS = {
    "ID": "logs",
    "Status": "Enabled",
    "Filter": {"Prefix": "logs/"},
    "Expiration": {"Days": 30},
}
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command of an app on a server, with credentials by the SDK's chain."""

    def command(server: S3Server, settings: dict[str, Any], *words: str) -> Result:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        app = Flask(__name__, instance_path=str(tmp_path))
        app.config.from_mapping(settings_of(server, **settings))
        S3Handoff(app)
        info = ScriptInfo(create_app=lambda *_: app)
        return CliRunner().invoke(s3handoff, words, obj=info)

    return command


def settings_of(server: S3Server, **more: Any) -> dict[str, Any]:
    given = {"ENDPOINT_URL": server.url, "PLACES": {"users/": {}}, "COOKIE_SECURE": True, **more}
    return {"SECRET_KEY": "x" * 32, **{f"S3HANDOFF_{name}": value for name, value in given.items()}}


def known_to_ceph(actions: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out what Ceph 16 has no word for: it takes no policy with a word that it does not know."""
    return tuple(action for action in actions if "OwnershipControls" not in action)


def told(result: Result, list_of: str, name: str) -> dict[str, str]:
    """What `--json` says, by the name of each step or line."""
    return {each[name]: each["state"] for each in json.loads(result.stdout)[list_of]}


@pytest.fixture(params=["weed", "rgw"])
def real(request: pytest.FixtureRequest) -> S3Server:
    """The two servers that mean what they say."""
    server: S3Server = request.getfixturevalue(request.param)
    return server


def test_a_bucket_is_made_set_up_and_found_to_be_right(real: S3Server, run: Run) -> None:
    """From nothing to a clean bill of health; the second run has nothing to do."""
    settings = {"BUCKET": f"{bucket(real)}-new"}
    before = run(real, settings, "setup", "--dry-run")
    assert (before.exit_code, '+    "ID": "s3handoff-staging",' in before.stdout) == (1, True)
    first = told(run(real, settings, "setup", "--json"), "steps", "step")
    assert (first["bucket"], first["lifecycle"]) == ("changed", "changed")
    again = run(real, settings, "setup")
    assert (again.exit_code, again.stdout.splitlines()[-1]) == (0, "Nothing to do.")
    states = told(run(real, settings, "check", "--json"), "findings", "name")
    assert "failure" not in states.values(), run(real, settings, "check").stdout
    assert states["lifecycle"] == states["staging"] == states["presigned URL"] == "ok"
    assert keys(real, settings["BUCKET"]) == []


def test_rules_and_statements_of_others_stay(real: S3Server, run: Run) -> None:
    """What was there is there afterwards, on a server that replaces all rules at once."""
    name = bucket(real)
    rules = {"Rules": [LOGS]}
    real.client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=rules)
    assert run(real, {"BUCKET": name}, "setup").exit_code == 0
    there = real.client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert {rule["ID"] for rule in there} == {"logs", "s3handoff-staging"}
    assert LOGS in there
    assert "Nothing to do." in run(real, {"BUCKET": name}, "setup").stdout


def test_what_servers_lack_is_skipped(weed: S3Server, rgw: S3Server, run: Run) -> None:
    """SeaweedFS has no Public Access Block, Ceph no ownership; neither fails."""
    steps = {
        server.name: told(
            run(server, {"BUCKET": bucket(server)}, "setup", "--json"), "steps", "step"
        )
        for server in (weed, rgw)
    }
    assert (steps["weed"]["public access"], steps["weed"]["ownership"]) == ("skipped", "ok")
    assert (steps["rgw"]["public access"], steps["rgw"]["ownership"]) == ("changed", "skipped")


def test_ceph_refuses_every_put_with_one_switch_on(rgw: S3Server, run: Run) -> None:
    """Else the exception is out of date (docs/decisions/0087); a check says which switch it is."""
    name = bucket(rgw)
    rgw.client.put_public_access_block(
        Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(PUBLIC_ACCESS_FLAGS, True)
    )
    done = run(rgw, {"BUCKET": name}, "check")
    assert (done.exit_code, "put_object is denied" in done.stdout) == (1, True)
    assert "BlockPublicAcls is on" in done.stdout


def test_the_policy_of_a_bucket_is_taken_and_given_back(rgw: S3Server, run: Run) -> None:
    """The statement that refuses plain HTTP is one that a real server understands."""
    config = HandoffConfig.from_mapping(settings_of(rgw, BUCKET=bucket(rgw)))
    (admin,) = admins(config, factory=lambda *_, **__: rgw.client)
    policy = {"Version": "2012-10-17", "Statement": [tls_only(admin.holding)]}
    admin.set_policy(policy)
    assert admin.policy() == policy


def test_a_check_finds_what_is_wrong(weed: S3Server, run: Run) -> None:
    """A bucket policy that opens everything is a failure, by its text and by a probe."""
    name = bucket(weed)
    opened = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
    opened |= {"Sid": "Site", "Resource": f"arn:aws:s3:::{name}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [opened]})
    weed.client.put_bucket_policy(Bucket=name, Policy=policy)
    done = run(weed, {"BUCKET": name}, "check")
    assert done.exit_code == 1
    assert "opens it to everybody: statement Site" in done.stdout
    assert "anybody can read it without a signature" in done.stdout


def test_a_check_of_a_bucket_that_is_not_there_makes_none(weed: S3Server, run: Run) -> None:
    """SeaweedFS makes a bucket for whoever writes: a probe would."""
    name = f"{bucket(weed)}-absent"
    assert run(weed, {"BUCKET": name}, "check").exit_code == 1
    assert name not in {each["Name"] for each in weed.client.list_buckets()["Buckets"]}


def test_the_servers_themselves_can_check(rgw: S3Server, run: Run, allow: Any) -> None:
    """With the least policy nothing fails; what they may not see is a warning."""
    settings = {"BUCKET": bucket(rgw)}
    allow(for_servers(HandoffConfig.from_mapping(settings_of(rgw, **settings))))
    done = run(rgw.guest, settings, "check", "--json")
    states = told(done, "findings", "name")
    assert (done.exit_code, "failure" in states.values()) == (0, False)
    assert (states["lifecycle"], states["users/"]) == ("warning", "ok")


def test_the_operators_policy_is_enough(rgw: S3Server, run: Run, allow: Any) -> None:
    """To set up, to check without a warning for want of rights, to purge."""
    settings = {"BUCKET": bucket(rgw)}
    wanted = for_operator(HandoffConfig.from_mapping(settings_of(rgw, **settings)))
    allow([replace(each, actions=known_to_ceph(each.actions)) for each in wanted])
    assert run(rgw.guest, settings, "setup").exit_code == 0
    done = run(rgw.guest, settings, "check")
    assert (done.exit_code, "denied" in done.stdout) == (0, False)
    rgw.client.put_object(Bucket=settings["BUCKET"], Key="handoff/old", Body=b"x")
    purge = ("purge", "--older-than", "0", "--force")
    assert run(rgw.guest, settings, *purge).stdout == "1 files, 1 B: deleted\n"


def test_a_purge_takes_files_and_unfinished_uploads(real: S3Server, run: Run) -> None:
    """Of staging; what lies in a place or was only just begun stays."""
    name = bucket(real)
    client = real.client
    for key in ("handoff/a", "handoff/b", "users/1/a"):
        client.put_object(Bucket=name, Key=key, Body=b"x")
    for key in ("handoff/large", "users/1/large"):
        client.create_multipart_upload(Bucket=name, Key=key)
    assert run(real, {"BUCKET": name}, "purge").stdout == "0 files, 0 B: deleted\n"
    done = run(real, {"BUCKET": name}, "purge", "--older-than", "0", "--force", "--json")
    assert json.loads(done.stdout)["found"] == 3
    assert keys(real, name) == ["users/1/a"]
    assert abort_uploads(real, name) == ["users/1/large"]


def test_a_list_shows_what_is_stored(real: S3Server, run: Run) -> None:
    """With an address for each, if asked for; whoever has it reads the file."""
    name = bucket(real)
    real.client.put_object(Bucket=name, Key="users/1/a.png", Body=b"picture")
    done = run(real, {"BUCKET": name}, "list", "users/1", "--urls", "--json")
    (file,) = json.loads(done.stdout)["files"]
    assert (file["key"], file["size"]) == ("users/1/a.png", 7)
    assert "X-Amz-Signature=" in file["url"]
    assert "X-Amz" not in run(real, {"BUCKET": name}, "list", "users/1").stdout


def test_folders_move_in_and_out_with_the_least_policy(
    rgw: S3Server, run: Run, allow: Any, tmp_path: Path
) -> None:
    """Adopted on one server, pulled on the next: a folder needs what a place does."""
    name, old, new = bucket(rgw), tmp_path / "old", tmp_path / "new"
    (old / "deep").mkdir(parents=True)
    (old / "deep" / "a.txt").write_bytes(b"text")
    (old / "large.bin").write_bytes(bytes(9 << 20))

    def settings(path: Path) -> dict[str, Any]:
        own = {"BUCKET": name, "WORK_DIR": str(tmp_path / f"work-{path.name}")}
        return {**own, "PLACES": {"papers/": {"path": str(path)}}}

    allow(for_servers(HandoffConfig.from_mapping(settings_of(rgw, **settings(old)))))
    assert run(rgw.guest, settings(old), "adopt").stdout == "2 files mirrored, 0 as they were\n"
    assert run(rgw.guest, settings(new), "pull").stdout == "2 files brought, 0 as they were\n"
    assert (new / "deep" / "a.txt").read_bytes() == b"text"
    assert (new / "large.bin").stat().st_size == 9 << 20


def test_flask_runs_the_commands(weed: S3Server, tmp_path: Path) -> None:
    """In a process of its own, as an operator does it; a dry run is a test for drift."""
    settings = {"S3HANDOFF_BUCKET": bucket(weed), "S3HANDOFF_ENDPOINT_URL": weed.url}
    settings["S3HANDOFF_WORK_DIR"] = str(tmp_path / "work")
    env = environment(weed, {"SECRET_KEY": "x" * 32, **settings})

    def flask(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flask", "--app", AVATAR, "s3handoff", *words]
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    codes = [flask("setup", *dry).returncode for dry in (["--dry-run"], [])]
    assert codes == [1, 0]
    checked = flask("check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "fingerprint" in checked.stdout
    assert weed.secret_key not in checked.stdout
    assert "Signature" not in checked.stdout
