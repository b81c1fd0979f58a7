"""The doctor: what is wrong is told, with what mends it; what is right is said to be."""

from __future__ import annotations

import hashlib
import json
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from flask_s3handoff.bucketcheck import bucket_findings
from flask_s3handoff.config import HandoffConfig
from flask_s3handoff.doctor import Surroundings, _clock, _credentials, examine
from flask_s3handoff.errors import Unavailable
from flask_s3handoff.handoff import Handoff
from flask_s3handoff.probe import Finding, Probe
from flask_s3handoff.provision import set_up
from flask_s3handoff.store import Capabilities
from flask_s3handoff.testing import MemoryStore
from tests.operator_account import Account, Refused, admins_of, config_of
from tests.scripted import Answer, ScriptedS3, Step

KEY = "a secret key of 32 random bytes!"
SAFE = Surroundings(behind_proxy_fix=True)


def handoff_of(folder: Path, store: Any = None, **settings: Any) -> Handoff:
    given = {"store": store or MemoryStore(), "work_dir": str(folder / "work"), **settings}
    mapping = {f"S3HANDOFF_{name.upper()}": value for name, value in given.items()}
    return Handoff.from_mapping({"SECRET_KEY": KEY, **mapping})


def findings(handoff: Handoff, around: Surroundings = SAFE, **options: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(handoff, around, **options)}


def judged(
    account: Account, *, host: str | None = "eu-west-1", **settings: Any
) -> dict[str, Finding]:
    """What is found of the first bucket."""
    config = config_of(**settings)
    admin = admins_of(account, config)[0]
    return {finding.name: finding for finding in bucket_findings(admin, config, lambda: host)}


class TestHost:
    """Settings, cookies, keys, the local disk."""

    def test_all_is_well(self, tmp_path: Path) -> None:
        """A store that keeps its promises, a folder of our own, a proxy that is known."""
        store = MemoryStore()
        found = findings(handoff_of(tmp_path, store, places={"users/": {}}))
        assert {finding.state for finding in found.values()} == {"ok"}
        assert {"secret key", "cookie", "work folder", "conditional writes", "users/"} <= set(found)
        assert store.keys() == []

    def test_the_fingerprint_tells_servers_apart_and_no_key(self, tmp_path: Path) -> None:
        """The same on every server with the same key; another with another."""
        first, again = findings(handoff_of(tmp_path)), findings(handoff_of(tmp_path))
        other = findings(
            handoff_of(tmp_path, secret_key=["an older key of 32 bytes. . . . .", KEY[::-1]])
        )
        assert first["secret key"] == again["secret key"]
        assert first["secret key"].text != other["secret key"].text
        assert "also verified" in other["secret key"].text
        assert KEY not in first["secret key"].text

    def test_a_missing_key_is_a_failure(self, tmp_path: Path) -> None:
        """It is judged before the first upload meets it."""
        handoff = Handoff.from_mapping(
            {"S3HANDOFF_STORE": "memory", "S3HANDOFF_WORK_DIR": str(tmp_path)}
        )
        assert findings(handoff, write=False)["secret key"].state == "failure"

    @pytest.mark.parametrize(
        ("settings", "around", "state"),
        [
            ({}, SAFE, "ok"),
            ({}, Surroundings(), "warning"),
            ({"cookie_secure": True}, Surroundings(), "ok"),
            ({"bind": "off"}, SAFE, "warning"),
        ],
    )
    def test_a_cookie_that_may_travel_openly_is_told(
        self, tmp_path: Path, settings: dict[str, Any], around: Surroundings, state: str
    ) -> None:
        """Behind a proxy that ends TLS every request looks plain."""
        found = findings(handoff_of(tmp_path, **settings), around, write=False)["cookie"]
        assert (found.state, bool(found.mend)) == (state, state != "ok")

    def test_looking_at_the_work_folder_makes_nothing(self, tmp_path: Path) -> None:
        """Who looks may be root: what root made, the server could not use."""
        found = findings(handoff_of(tmp_path), write=False)["work folder"]
        assert (found.state, "made on first use" in found.text) == ("ok", True)
        assert list(tmp_path.iterdir()) == []

    def test_a_work_folder_that_others_can_write_is_a_failure(self, tmp_path: Path) -> None:
        """They could swap files under us (T22)."""
        (tmp_path / "work").mkdir(mode=0o700)
        (tmp_path / "work").chmod(0o777)
        assert findings(handoff_of(tmp_path), write=False)["work folder"].state == "failure"

    def test_a_work_folder_that_cannot_be_made_is_a_failure(self, tmp_path: Path) -> None:
        """Told before the first upload."""
        (tmp_path / "file").touch()
        handoff = handoff_of(tmp_path, work_dir=str(tmp_path / "file" / "work"))
        assert findings(handoff, write=False)["work folder"].state == "failure"

    def test_a_small_disk_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is full before our own limit is reached."""
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 5 << 20}))
        assert findings(handoff_of(tmp_path), write=False)["work folder"].state == "warning"

    @pytest.mark.parametrize("store", ["memory", "dir"])
    def test_a_store_for_development_is_told(self, tmp_path: Path, store: str) -> None:
        """No other server has it."""
        name = "memory" if store == "memory" else f"dir:{tmp_path / 'store'}"
        assert findings(handoff_of(tmp_path, name), write=False)["store"].state == "warning"

    def test_without_probes_nothing_is_written(self, tmp_path: Path) -> None:
        """The store is not even made."""
        store = MemoryStore()
        store.fail_with(Unavailable(verb="put", detail="asked"))
        findings(handoff_of(tmp_path, store), write=False)


class TestProbe:
    """What the store does, found out by doing it."""

    def found(self, store: MemoryStore, **settings: Any) -> dict[str, Finding]:
        config = HandoffConfig.from_mapping(
            {"S3HANDOFF_STORE": store, **{f"S3HANDOFF_{k.upper()}": v for k, v in settings.items()}}
        )
        return {finding.name: finding for finding in Probe(store, config).findings()}

    def test_a_store_that_refuses_is_one_failure(self) -> None:
        """And says what it takes."""
        store = MemoryStore()
        store.fail_with(Unavailable(verb="put_object", detail="AccessDenied"), verbs=["put"])
        found = self.found(store)["write and read"]
        assert (found.state, "put_object is denied" in found.text) == ("failure", True)

    def test_a_place_that_refuses_is_a_failure_of_its_own(self) -> None:
        """The other lines are told all the same."""
        store = MemoryStore()
        store.fail_with(Unavailable(verb="copy_object", detail="AccessDenied"), verbs=["copy"])
        found = self.found(store, places={"users/": {}})
        assert found["users/"].state == "failure"
        assert found["conditional writes"].state == "ok"

    def test_probes_that_may_not_be_deleted_are_left_to_the_rule(self) -> None:
        """The least policy lets servers delete nothing in staging."""
        store = MemoryStore()
        store.fail_with(Unavailable(verb="delete_object", detail="AccessDenied"), verbs=["delete"])
        found = self.found(store)["delete"]
        assert (found.state, "lifecycle rule" in found.text) == ("ok", True)
        kept = store.keys()
        assert kept
        assert all(key.startswith("handoff/") for key in kept)

    @pytest.mark.parametrize(
        ("name", "lack"), [("conditional writes", "_if_absent"), ("checksums", "_sha256")]
    )
    def test_what_an_endpoint_does_not_do_is_told(self, name: str, lack: str) -> None:
        """A warning, with what is done instead."""
        found = self.found(Careless(lack))[name]
        assert (found.state, bool(found.mend)) == ("warning", True)

    @pytest.mark.parametrize(
        ("signed", "plain", "states"),
        [
            ("it", "403", ("ok", "ok")),
            ("it", "it", ("ok", "failure")),
            ("403", "403", ("failure", "ok")),
            ("another", "403", ("failure", "ok")),
        ],
    )
    def test_staging_is_opened_by_a_signature_and_by_nothing_else(
        self, signed: str, plain: str, states: tuple[str, str]
    ) -> None:
        """Anything else is a failure: staging is never public."""
        with ScriptedS3().running() as server:
            store = Addressed(server.url)
            answers: dict[str, Step] = {
                "it": lambda asked: Answer(body=store.bytes_of(asked.path[1:])),
                "403": Answer(403),
                "another": Answer(body=b"another file"),
            }
            server.will(answers[signed], answers[plain])
            found = self.found(store)
            assert [asked.query for asked in server.asked] == [{"signature": ["x"]}, {}]
        assert (found["presigned URL"].state, found["staging"].state) == states
        assert "signature=x" not in str(found)


class Addressed(MemoryStore):
    """Gives addresses of a server of ours."""

    def __init__(self, url: str) -> None:
        super().__init__(capabilities=Capabilities())
        self._url = url

    def url(self, key: str, **_: Any) -> str:
        """Return an address that is signed, so to speak."""
        return f"{self._url}/{key}?signature=x"


class Careless(MemoryStore):
    """Takes what it should refuse."""

    def __init__(self, lack: str) -> None:
        super().__init__()
        self._lack = lack

    def put(self, key: str, body: Any, **options: Any) -> str:
        """Forget to look."""
        if self._lack == "_if_absent":
            options["if_absent"] = False
        else:
            options["sha256"] = hashlib.sha256(body.read()).hexdigest()
            body.seek(0)
        return super().put(key, body, **options)


class TestBucket:
    """How it is set up."""

    @pytest.fixture
    def account(self) -> Account:
        """A bucket as `setup` leaves it."""
        account, config = Account(), config_of()
        for admin in admins_of(account, config):
            list(set_up(admin, config, dry_run=False))
        return account

    def test_what_setup_leaves_is_right(self, account: Account) -> None:
        """The two commands agree."""
        assert {finding.state for finding in judged(account).values()} == {"ok"}

    def test_a_bucket_that_is_not_there_is_a_failure(self) -> None:
        """And nothing more is asked of it."""
        (found,) = judged(Account()).values()
        assert (found.state, found.mend) == ("failure", "flask s3handoff setup")

    def test_a_bucket_of_somebody_else_is_a_failure(self, account: Account) -> None:
        """Denied is not absent."""
        account.refusing["list_objects_v2"] = Refused("AccessDenied", 403)
        (found,) = judged(account).values()
        assert (found.state, "S3HANDOFF_BUCKET_OWNER" in found.mend) == ("failure", True)

    @pytest.mark.parametrize(
        ("said", "mend"),
        [
            ("SignatureDoesNotMatch", "the credentials"),
            ("InvalidAccessKeyId", "the credentials"),
            ("RequestTimeoutError", "the network"),
        ],
    )
    def test_what_mends_it_is_not_the_bucket_if_that_is_not_wrong(
        self, account: Account, said: str, mend: str
    ) -> None:
        """Wrong keys, or nobody there."""
        account.refusing["list_objects_v2"] = Refused(said, 403)
        (found,) = judged(account).values()
        assert (found.state, mend in found.mend) == ("failure", True)

    @pytest.mark.parametrize(
        ("region", "host", "wrong"),
        [
            ("eu-west-1", "eu-west-1", None),
            ("eu-west-1", None, None),
            ("eu-west-1", "us-east-1", "a bucket in us-east-1"),
            ("us-west-2", "us-west-2", "S3HANDOFF_REGION = 'us-west-2'"),
            (None, "us-east-1", "S3HANDOFF_REGION = 'us-east-1'"),
            ("EU", "eu-west-1", None),
        ],
    )
    def test_a_bucket_far_away_is_told(
        self, account: Account, region: str | None, host: str | None, wrong: str | None
    ) -> None:
        """From the settings, or from this host."""
        account.buckets["acme-uploads"]["region"] = region
        found = judged(account, host=host)["region"]
        assert (found.state, found.mend) == (("warning", wrong) if wrong else ("ok", ""))

    @pytest.mark.parametrize(
        ("ownership", "acl", "state"),
        [
            ("BucketOwnerEnforced", None, "ok"),
            ("BucketOwnerEnforced", "private", "failure"),
            ("ObjectWriter", None, "warning"),
            ("BucketOwnerPreferred", "private", "warning"),
        ],
    )
    def test_acls_and_owner_must_fit(
        self, account: Account, ownership: str, acl: str | None, state: str
    ) -> None:
        """With an enforced owner an ACL is refused (P1)."""
        owned = {"Rules": [{"ObjectOwnership": ownership}]}
        account.buckets["acme-uploads"]["bucket_ownership_controls"] = owned
        assert judged(account, places={"p/": {"acl": acl}})["ownership"].state == state

    def test_a_bucket_that_may_become_public_is_told(self, account: Account) -> None:
        """One switch that is off is enough."""
        account.buckets["acme-uploads"]["public_access_block"]["BlockPublicPolicy"] = False
        found = judged(account)["public access"]
        assert (found.state, "BlockPublicPolicy" in found.text) == ("warning", True)

    def test_a_switch_that_shuts_ceph_for_us_too_is_told(self) -> None:
        """It looks safe, and no upload gets through (docs/decisions/0087)."""
        account = Account(url="https://s3.example.com")
        account.buckets["acme-uploads"] = {"public_access_block": {"BlockPublicAcls": True}}
        found = judged(account)["public access"]
        assert (found.state, "refuses every PUT" in found.text) == ("warning", True)

    def test_a_public_place_beside_staging_is_told(self, account: Account) -> None:
        """A bucket of its own keeps what is on its way behind another wall."""
        places = {"public/": {"acl": "public-read"}}
        assert judged(account, places=places)["public access"].state == "warning"

    def test_a_policy_that_opens_staging_is_a_failure(self, account: Account) -> None:
        """Whatever a place is meant to show."""
        opened = {
            "Sid": "Site",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::acme-uploads/*",
        }
        account.buckets["acme-uploads"]["bucket_policy"] = json.dumps({"Statement": [opened]})
        found = judged(account)
        assert (found["staging"].state, "Site" in found["staging"].text) == ("failure", True)
        assert found["TLS only"].state == "warning"

    def test_a_rule_that_comes_too_early_is_a_failure(self, account: Account) -> None:
        """Tokens outlive their files."""
        found = judged(account, token_max_age=5 * 86_400)["lifecycle"]
        assert (found.state, found.mend) == ("failure", "flask s3handoff setup")

    def test_what_these_credentials_may_not_see_is_a_warning(self, account: Account) -> None:
        """Servers may not read how a bucket is set up; the operator may."""
        account.refusing["get_bucket_policy"] = Refused("AccessDenied", 403)
        found = judged(account)
        assert (found["TLS only"].state, "operator" in found["TLS only"].mend) == ("warning", True)
        assert found["lifecycle"].state == "ok"

    def test_a_lack_is_no_fault(self, account: Account) -> None:
        """SeaweedFS has no Public Access Block."""
        account.refusing["get_public_access_block"] = Refused("NotImplemented", 501)
        assert judged(account)["public access"].state == "ok"


@pytest.mark.parametrize(
    ("method", "url", "state"),
    [
        ("iam-role", "https://s3.eu-west-1.amazonaws.com", "ok"),
        ("env", "https://s3.eu-west-1.amazonaws.com", "warning"),
        ("env", "https://s3.example.com", "ok"),
        (None, "https://s3.example.com", "failure"),
    ],
)
def test_credentials_are_told_by_their_kind_alone(method: str | None, url: str, state: str) -> None:
    """A role is best at Amazon; no key is printed (T38, P4)."""
    (admin,) = admins_of(Account(url=url), config_of())
    (found,) = _credentials(admin, lambda: method)
    assert found.state == state


def test_credentials_that_cannot_be_read_are_a_failure() -> None:
    """A profile that is not there."""

    def broken() -> str:
        raise ValueError("no profile")

    (found,) = _credentials(admins_of(Account(), config_of())[0], broken)
    assert (found.state, "no profile" in found.text) == ("failure", False)


@pytest.mark.parametrize(
    ("skew", "state"), [(0, "ok"), (50, "ok"), (-50, "ok"), (400, "failure"), (-400, "failure")]
)
def test_a_clock_that_is_wrong_is_a_failure(skew: int, state: str) -> None:
    """Signatures are refused after 15 minutes, and tokens expire at the wrong time."""
    (admin,) = admins_of(Account(), config_of())
    (found,) = _clock(admin, lambda _: formatdate(1_000_000, usegmt=True), lambda: 1_000_000 + skew)
    assert found.state == state


@pytest.mark.parametrize("date", [None, "None", "yesterday"])
def test_a_store_without_a_date_is_a_warning(date: str | None) -> None:
    """Nobody can tell."""
    (admin,) = admins_of(Account(), config_of())
    (found,) = _clock(admin, lambda _: date)
    assert found.state == "warning"
