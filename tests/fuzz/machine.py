"""Two persons, four servers, and whatever may happen: each answer is what a model in plain Python says.

The model knows of each page whose it is, what its token names, when that was uploaded and with which
key it was signed; and of each file on which servers it lies and whether the store still has it. So it
says what each use of a token must yield: these bytes, or this reason. Hypothesis chooses what happens
and which server answers (never the same twice in a row), and makes a failure short.

After every step: nothing under staging was written twice, nothing is there that no page names, the
permanent files are those that were promoted, and no edit copy is left.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from flask import Flask, redirect, request
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flask_s3handoff import S3Handoff
from flask_s3handoff.errors import HandoffError, Unavailable
from flask_s3handoff.handoff import Handoff
from flask_s3handoff.testing import Fleet, MemoryStore
from flask_s3handoff.tokens import CLOCK_SKEW_SECONDS, TokenSigner
from tests.browser_like import Browser, Page, Upload

SERVERS = 4
MAX_AGE = 600
BEGIN = 1_800_000_000
PEOPLE = ("leo", "ada")
KEYS = tuple(f"key number {number} of enough bytes" for number in range(6))
LAST_STEP = 3 * (len(KEYS) - 1) - 1
FORM = '<form method="post" action="/show"><button>go</button></form>'
STATUS = {
    "foreign": 403,
    "expired": 410,
    "missing": 410,
    "corrupt": 502,
    "unavailable": 503,
    "exists": 409,
}
_TOKEN = re.compile(r'name="_s3handoff" value="([^"]+)"')


# The app


def create_app(config: dict[str, Any]) -> Flask:
    """Return one copy: it shows files, edits, redirects, promotes and discards."""
    app = Flask(__name__)
    app.config.from_mapping(S3HANDOFF_PLACES={"users/": {}}, S3HANDOFF_TOKEN_MAX_AGE=MAX_AGE)
    app.config.from_mapping(config)
    handoff = S3Handoff(app)

    def shown() -> str:
        return (
            "".join(f"[{f.read().decode()}]" for f in request.files.values() if f.filename) + FORM
        )

    def edited() -> str:
        if file := handoff.get("f"):
            with open(file.path, "ab") as copy:
                copy.write(request.form["more"].encode())
        return shown()

    def promoted() -> str:
        file = handoff.get("f")
        return f"[{file.promote(request.form['key'])}]" if file else FORM

    def discarded() -> str:
        if file := handoff.get("f"):
            file.discard()
        return FORM

    def moved() -> Any:
        return redirect("/show")

    for view in (edited, promoted, discarded, moved):
        app.add_url_rule(f"/{view.__name__}", view_func=view, methods=["POST"])
    app.add_url_rule("/show", view_func=shown, methods=["GET", "POST"])

    @app.errorhandler(HandoffError)
    def told(error: HandoffError) -> Any:
        answer = error.get_response()
        answer.data, answer.headers["Content-Type"] = error.reason, "text/plain"
        return answer

    return app


# The model


@dataclass(eq=False)
class Revision:
    """One state of a file: its bytes, on which servers it lies, what the store has of it."""

    content: str
    relpath: str
    uploaded_at: int
    local: set[int]
    is_lost: bool = False
    is_damaged: bool = False


@dataclass(eq=False)
class Held:
    """A page or a URL that somebody still has: its token, whose it is, how it was signed."""

    token: str
    revision: Revision
    owner: str
    key: str
    cookie: str
    url: str = ""
    is_thrown_away: bool = False


@dataclass
class World:
    """What the model knows."""

    held: list[Held] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    permanent: dict[str, str] = field(default_factory=dict)
    staged: dict[str, bytes] = field(default_factory=dict)
    skews: list[int] = field(default_factory=lambda: [0] * SERVERS)
    steps: list[int] = field(default_factory=lambda: [0] * SERVERS)
    now: int = BEGIN
    is_down: bool = False
    count: int = 0

    def clock(self, server: int) -> int:
        """Return what a server's clock says."""
        return self.now + self.skews[server]

    def keys(self, server: int) -> tuple[str, ...]:
        """Return a server's keys, newest last: a new one is first known, then signs, then is alone."""
        number, phase = divmod(self.steps[server], 3)
        old, new = KEYS[number], KEYS[number + 1]
        return ((old,), (new, old), (old, new))[phase]

    def refusal(self, held: Held, person: Person, server: int) -> str | None:
        """Return why this person cannot use this token here, or None."""
        if held.key not in self.keys(server):
            return "forged"
        if held.cookie not in person.cookies:
            return "foreign"
        age = self.clock(server) - held.revision.uploaded_at
        return None if -CLOCK_SKEW_SECONDS <= age <= MAX_AGE else "expired"

    def trouble(self, revision: Revision, server: int) -> str | None:
        """Return why a server cannot have these bytes, or None."""
        if server in revision.local:
            return None
        if self.is_down:
            return "unavailable"
        if revision.is_lost:
            return "missing"
        return "corrupt" if revision.is_damaged else None


class Person:
    """A browser, and what the model may ask of it."""

    def __init__(self, fleet: Fleet) -> None:
        self.browser = Browser(fleet)

    @property
    def cookies(self) -> list[str]:
        """The ids of the binding cookies in the jar."""
        return [name.removeprefix("s3handoff-") for name in self.browser.cookies]


class Site:
    """The fleet, made once: what a sequence did to it is undone before the next."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        config = {"S3HANDOFF_SECRET_KEY": list(KEYS)}
        self.fleet = Fleet(create_app, SERVERS, store=self.store, config=config)
        self.where = 0
        self.fleet._choose = lambda _fleet, others: others[self.where % len(others)]
        self.world = World()

    def close(self) -> None:
        """Stop."""
        self.settle()
        self.fleet.close()

    def reset(self) -> World:
        """Begin anew: no files, no faults, every server alive and at the same time."""
        self.store.recover()
        self.store._objects.clear()
        self.store.calls.clear()
        self.fleet.last = None
        self.world = World()
        for server in range(SERVERS):
            self.start(server)
        return self.world

    def settle(self) -> None:
        """Wait for what is still being sent."""
        for server in range(SERVERS):
            self.handoff(server).rooms.mirror.close()

    def handoff(self, server: int) -> Handoff:
        """Return what a copy has wired."""
        found: Handoff = self.fleet.copies[server].app.extensions["s3handoff"].handoff  # type: ignore[union-attr]
        return found

    def start(self, server: int) -> None:
        """Put a server there whose disk is empty."""
        copy = self.fleet.copies[server]
        copy.alive = True
        if os.path.exists(self.work(server)):
            shutil.rmtree(self.work(server))
        handoff = self.handoff(server)
        handoff.rooms.workdir._known.clear()
        handoff.rooms = dataclasses.replace(handoff.rooms, now=lambda: self.world.clock(server))
        self.load_keys(server)

    def load_keys(self, server: int) -> None:
        """Let a server read its keys, as a restart does."""
        handoff = self.handoff(server)
        signer = TokenSigner(lambda: self.world.keys(server))
        handoff.rooms = dataclasses.replace(handoff.rooms, signer=signer)

    def work(self, server: int) -> str:
        """Return the path of a server's work folder."""
        return os.path.join(self.fleet.copies[server].disk, "work")

    @property
    def answered(self) -> int:
        """The server that answered last."""
        assert self.fleet.last is not None
        return self.fleet.last.index

    def towards(self, server: int) -> int:
        """Return the choice by which this server answers, unless it has just answered."""
        others = [copy for copy in self.fleet.copies if copy.alive and copy is not self.fleet.last]
        return next((n for n, copy in enumerate(others) if copy.index == server), 0)

    def fetches(self) -> int:
        """Return how often the store was asked for bytes."""
        return sum(verb == "fetch" for verb, _ in self.store.calls)


# What may happen

anywhere = st.integers(0, SERVERS - 2)
any_one = st.integers(0, 9)  # 0 is the newest
someone = st.sampled_from(PEOPLE)
a_server = st.integers(0, SERVERS - 1)


class Machine(RuleBasedStateMachine):
    """What people do, and what happens to them."""

    site: Site  # set by the test
    sequences = 0
    answers: ClassVar[Counter[str]] = Counter()  # over all sequences

    def __init__(self) -> None:
        super().__init__()
        self.world = self.site.reset()
        self.people = {name: Person(self.site.fleet) for name in PEOPLE}
        self.fetches = self.site.fetches()

    def teardown(self) -> None:
        """Count the sequence."""
        type(self).sequences += 1

    # People

    @initialize(person=someone, where=anywhere)
    def begin(self, person: str, where: int) -> None:
        """Upload something: without a file there is nothing to lose."""
        self.upload(person, where)

    @rule(person=someone, where=anywhere)
    def upload(self, person: str, where: int) -> None:
        """Choose a file."""
        self._upload(person, where, [])

    @rule(which=any_one, where=anywhere)
    def upload_over(self, which: int, where: int) -> None:
        """Choose another file on a page that carries one: the new one counts, whatever the old."""
        if held := self._pick(which):
            self._upload(held.owner, where, [("_s3handoff", held.token)])

    def _upload(self, person: str, where: int, also: list[tuple[str, str | Upload]]) -> None:
        content = f"{person}{self._next()}."
        page = self._post(person, "/show", [*also, ("f", Upload("f.txt", content.encode()))], where)
        if self.world.is_down:
            self._expect(page, "unavailable")
        else:
            self._expect(page, f"[{content}]")
            self._hold(page, person, content, self.world.clock(self.site.answered), None)

    @rule(which=any_one, where=anywhere)
    def use(self, which: int, where: int) -> None:
        """Submit a page: the newest, one that Back led to, one in another tab."""
        if held := self._pick(which):
            self._use(held, where)

    def _use(self, held: Held, where: int) -> None:
        page = self._post(held.owner, "/show", [("_s3handoff", held.token)], where)
        self._see(held, held.owner, page)

    @rule(which=any_one, where=anywhere)
    def steal(self, which: int, where: int) -> None:
        """Submit somebody else's page."""
        if held := self._pick(which):
            thief = next(name for name in PEOPLE if name != held.owner)
            page = self._post(thief, "/show", [("_s3handoff", held.token)], where)
            assert held.revision.content not in page.text, "somebody else sees the bytes"
            self._see(held, thief, page)

    @rule(which=any_one, where=anywhere, twice=st.booleans())
    def edit(self, which: int, where: int, twice: bool) -> None:
        """Edit a file; a double click makes two revisions, and both pages work."""
        if held := self._pick(which):
            self._edit(held, where)
            if twice:
                self._edit(held, where + 1)

    def _edit(self, held: Held, where: int) -> None:
        more = f"e{self._next()}."
        fields = [("_s3handoff", held.token), ("more", more)]
        page = self._post(held.owner, "/edited", fields, where)
        if (said := self._judge(held, held.owner, reads=True)) is not None:
            self._expect(page, said)
        elif self.world.is_down:
            self._expect(page, "unavailable")
        else:
            content = held.revision.content + more
            self._expect(page, f"[{content}]")
            self._hold(page, held.owner, content, held.revision.uploaded_at, None)

    @rule(which=any_one, where=anywhere, then=anywhere)
    def go(self, which: int, where: int, then: int) -> None:
        """Post, redirect, get: the file comes along, and the URL can be kept."""
        if not (held := self._pick(which)):
            return
        fields: list[tuple[str, str | Upload]] = [("_s3handoff", held.token)]
        moved = self._post(held.owner, "/moved", fields, where)
        said = self._judge(held, held.owner, reads=False)
        assert moved.status == 302
        assert ("_s3handoff=" in moved.location) is (said is None)
        if said is None:
            token = moved.location.partition("_s3handoff=")[2]
            there = self._keep(token, held.revision, held.owner, moved.location)
            self._reload(there, then)

    @rule(which=any_one, where=anywhere)
    def reload(self, which: int, where: int) -> None:
        """Ask again for a URL that came by a redirect."""
        if held := self._pick(which, lambda held: held.url != ""):
            self._reload(held, where)

    def _reload(self, held: Held, where: int) -> None:
        self.site.where = where
        page = self.people[held.owner].browser.open(held.url)
        self._see(held, held.owner, page)

    @rule(which=any_one, where=anywhere, name=st.sampled_from("ab"), twice=st.booleans())
    def promote(self, which: int, where: int, name: str, twice: bool) -> None:
        """Save a file for good; a double click is success."""
        if held := self._pick(which):
            self._promote(held, where, f"users/{name}")
            if twice:
                self._promote(held, where + 1, f"users/{name}")

    def _promote(self, held: Held, where: int, key: str) -> None:
        fields = [("_s3handoff", held.token), ("key", key)]
        page = self._post(held.owner, "/promoted", fields, where)
        revision, there = held.revision, self.world.permanent.get(key)
        said = self._judge(held, held.owner, reads=False)
        if said is None and self.world.is_down:
            said = "unavailable"
        elif said is None and revision.is_lost:
            said = "missing"
        elif said is None and revision.is_damaged:
            said = "corrupt"
        elif said is None and there not in (None, revision.content):
            said = "exists"
        if said is None:
            self.world.permanent[key] = revision.content
        self._expect(page, f"[{key}]" if said is None else said)
        assert not page.tokens

    @rule(which=any_one, where=anywhere)
    def discard(self, which: int, where: int) -> None:
        """Give a file up: this answer carries nothing, older pages still do."""
        if held := self._pick(which):
            page = self._post(held.owner, "/discarded", [("_s3handoff", held.token)], where)
            self._judge(held, held.owner, reads=False)
            assert page.status == 200
            assert not page.tokens

    @rule(person=someone)
    def clear_cookies(self, person: str) -> None:
        """Lose all cookies: what was uploaded is nobody's."""
        self.people[person].browser._jar.clear()
        for held in self.world.held:
            held.is_thrown_away |= held.owner == person

    # Faults

    @rule()
    def break_store(self) -> None:
        """S3 goes down, or comes up again."""
        self.world.is_down = not self.world.is_down
        if self.world.is_down:
            self.site.store.fail_with(Unavailable())
        else:
            self.site.store.recover()

    @rule(which=any_one, where=anywhere)
    def lose(self, which: int, where: int) -> None:
        """An object is deleted, by a lifecycle rule or by mistake, and asked for."""
        if held := self._pick(which, _is_stored):
            key = f"handoff/{held.revision.relpath}"
            self.site.store._objects.pop(key)
            del self.world.staged[key]
            held.revision.is_lost = True
            self._use(held, where)

    @rule(which=any_one, where=anywhere)
    def damage(self, which: int, where: int) -> None:
        """An object holds other bytes of the same length, and is asked for."""
        if held := self._pick(which, _is_stored):
            key = f"handoff/{held.revision.relpath}"
            found = self.site.store._objects[key]
            other = dataclasses.replace(found, data=b"!" * len(found.data))
            self.site.store._objects[key] = other
            self.world.staged[key] = other.data
            held.revision.is_damaged = True
            self._use(held, where)

    @rule(which=any_one, server=a_server)
    def damage_local_copy(self, which: int, server: int) -> None:
        """A local copy holds other bytes of the same length: it is fetched again, if asked for."""
        if held := self._pick(which, lambda held: server in held.revision.local):
            path = os.path.join(self.site.work(server), held.revision.relpath)
            os.unlink(path)
            with open(path, "wb") as other:
                other.write(b"?" * len(held.revision.content))
            held.revision.local.discard(server)
            self._use(held, self.site.towards(server))

    @precondition(lambda self: sum(copy.alive for copy in self.site.fleet.copies) > 2)
    @rule(server=a_server)
    def kill(self, server: int) -> None:
        """A server is gone, and what was on its disk."""
        copy = self.site.fleet.copies[server]
        if copy.alive:
            self.site.fleet.kill(copy)
            for revision in self.world.revisions:
                revision.local.discard(server)

    @rule(server=a_server)
    def replace_server(self, server: int) -> None:
        """A new server takes the place of one that was killed."""
        if not self.site.fleet.copies[server].alive:
            self.site.start(server)

    @rule(server=a_server, seconds=st.sampled_from([-120, -61, -30, 0, 30, 61, 120]))
    def skew(self, server: int, seconds: int) -> None:
        """A clock goes wrong, or is set."""
        self.world.skews[server] = seconds

    @rule(seconds=st.sampled_from([1, 60, 300]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.world.now += seconds

    @rule(which=any_one, where=anywhere)
    def expire(self, which: int, where: int) -> None:
        """So much time passes that a file expires, give or take a clock, and is asked for."""
        self.world.now += MAX_AGE + 1
        if held := self._pick(which):
            self._use(held, where)

    @rule(server=a_server, steps=st.sampled_from([1, 1, 2, 3]), everywhere=st.booleans())
    def rotate(self, server: int, steps: int, everywhere: bool) -> None:
        """Servers are given the keys of a later step of a roll-out, one before the others."""
        for each in range(SERVERS) if everywhere else [server]:
            self.world.steps[each] = min(self.world.steps[each] + steps, LAST_STEP)
            self.site.load_keys(each)

    # The rules of the house

    @invariant()
    def nothing_under_staging_is_written_twice(self) -> None:
        """Rule 4; and nothing is there that no page names (rule 1: what failed left nothing)."""
        staged = {
            key: item.data
            for key, item in self.site.store._objects.items()
            if key.startswith("handoff/")
        }
        assert staged == self.world.staged

    @invariant()
    def only_what_was_promoted_is_permanent(self) -> None:
        """Never partial, never twice, never another's."""
        kept = {
            key: item.data.decode()
            for key, item in self.site.store._objects.items()
            if key.startswith("users/")
        }
        assert kept == self.world.permanent

    @invariant()
    def no_edit_copy_is_left(self) -> None:
        """Rule 11."""
        for server in range(SERVERS):
            for folder in ("edit", "part"):
                path = os.path.join(self.site.work(server), folder)
                assert not os.path.isdir(path) or not os.listdir(path)

    @invariant()
    def a_live_file_has_its_cookie(self) -> None:
        """No cookie is taken away whose tokens still work."""
        for held in self.world.held:
            is_live = self.world.now + 120 - held.revision.uploaded_at <= MAX_AGE
            if is_live and not held.is_thrown_away:
                assert held.cookie in self.people[held.owner].cookies

    # Inside

    def _next(self) -> int:
        self.world.count += 1
        return self.world.count

    def _pick(self, which: int, wanted: Callable[[Held], bool] = lambda _: True) -> Held | None:
        found = [held for held in self.world.held if wanted(held)]
        return found[-1 - which % len(found)] if found else None

    def _post(self, person: str, url: str, fields: Any, where: int) -> Page:
        self.site.where = where
        return self.people[person].browser.post(url, fields, follow=False)

    def _judge(self, held: Held, person: str, *, reads: bool) -> str | None:
        """Return what the model says of this use, which has just been answered."""
        server = self.site.answered
        said = self.world.refusal(held, self.people[person], server)
        asked = said is None and reads and server not in held.revision.local
        if said is None and reads:
            said = self.world.trouble(held.revision, server)
            if said is None:
                held.revision.local.add(server)
        assert self.site.fetches() - self.fetches == asked, (
            "one GET where the file is not, else none"
        )
        self.fetches = self.site.fetches()
        return said

    def _see(self, held: Held, person: str, page: Page) -> None:
        said = self._judge(held, person, reads=True)
        self._expect(page, f"[{held.revision.content}]" if said is None else said)
        if said is None:
            self._hold(page, person, "", 0, held.revision)

    def _expect(self, page: Page, what: str) -> None:
        """Compare an answer: a page of files, an empty one, or the reason of an error."""
        self.answers[what if what in STATUS or what == "forged" else "bytes"] += 1
        if what in STATUS:
            assert (page.status, page.text) == (STATUS[what], what)
            assert ("Retry-After" in page.headers) is (what == "unavailable")
        else:
            assert page.status == 200, page.text
            shown = "" if what == "forged" else what
            assert page.text.partition("<")[0] == shown

    def _hold(
        self, page: Page, person: str, content: str, uploaded_at: int, revision: Revision | None
    ) -> None:
        """Keep a page and its token; a new revision is what the store now has."""
        (token,) = _TOKEN.findall(page.text)
        relpath = claim_of(token)[0]
        server = self.site.answered
        if revision is None:
            revision = Revision(content, relpath, uploaded_at, {server})
            self.world.revisions.append(revision)
            key = f"handoff/{relpath}"
            assert key not in self.world.staged, "a revision was overwritten"
            self.world.staged[key] = content.encode()
            self.fetches = self.site.fetches()
        self._keep(token, revision, person)

    def _keep(self, token: str, revision: Revision, person: str, url: str = "") -> Held:
        assert claim_of(token)[0] == revision.relpath, "a page names another revision"
        key = self.world.keys(self.site.answered)[-1]
        held = Held(token, revision, person, key, payload_of(token)[2][0], url)
        assert held.cookie in self.people[person].cookies, "a token without its cookie"
        self.world.held.append(held)
        return held


def _is_stored(held: Held) -> bool:
    return not held.revision.is_lost and not held.revision.is_damaged


def payload_of(token: str) -> list[Any]:
    """Return what a token says, which anybody can read."""
    body = token.partition(".")[0]
    found: list[Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def claim_of(token: str) -> list[Any]:
    """Return the one claim of a token."""
    (claim,) = payload_of(token)[3]
    return list(claim)


def quiet() -> None:
    """Say nothing of each refusal."""
    logging.getLogger("flask_s3handoff").setLevel(logging.CRITICAL)
