"""What the process does with files, as watchers hear it: by tables, with real files."""

from __future__ import annotations

import contextlib
import gc
import inspect
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from werkzeug.datastructures import FileStorage

from flask_s3handoff import audit
from flask_s3handoff.audit import Touch
from flask_s3handoff.errors import Unavailable

BUILTINS = {name: getattr(os, name) for name in ("stat", "lstat", "access")}
Act = Callable[[Path], object]


class Ear:
    """A watcher that remembers what it is told, and says `error` to it if there is one."""

    def __init__(self, *roots: Path | str) -> None:
        self.roots = tuple(str(root) for root in roots)
        self.touches: list[Touch] = []
        self.error: Exception | None = None

    def touched(self, touch: Touch) -> None:
        """Remember."""
        self.touches.append(touch)
        if self.error is not None and len(self.touches) < 20:  # a mistake may echo, not for ever
            raise self.error

    def told(self, *verbs: str) -> list[str]:
        """Return what was heard of these verbs, in words, with paths below the first root."""
        return [self._in_words(touch) for touch in self.touches if touch.verb in verbs]

    def _in_words(self, touch: Touch) -> str:
        marks = ("+" if touch.keeps else "") + ("!" if touch.is_new else "")
        names = [
            os.path.relpath(name, self.roots[0]) for name in (touch.path, touch.target) if name
        ]
        return f"{touch.verb}{marks} {' > '.join(names)}"


TEMPORARY = re.compile(r"tmp[a-z0-9_]{8}")
CHANGES = ("write", "rename", "link", "remove", "clear")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file and a folder in it, and others outside."""
    for folder in ("uploads/sub", "uploads_evil", "elsewhere/deep"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("uploads/old", "uploads/sub/old", "elsewhere/new", "elsewhere/deep/new"):
        (tmp_path / file).write_bytes(b"bytes")
    return tmp_path / "uploads"


@pytest.fixture(autouse=True)
def nobody_else_watches() -> None:
    """Let apps of other tests be gone."""
    gc.collect()


@pytest.fixture
def ear(root: Path) -> Iterator[Ear]:
    """Who hears all of it, until the test is over."""
    ear = Ear(root)
    audit.watch(ear, stats=True)
    yield ear
    audit.unwatch(ear)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Give a folder's descriptor."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def by_open(mode: str, name: str = "old") -> Act:
    return lambda root: open(root / name, mode).close()


def by_os_open(flags: int, name: str = "old") -> Act:
    return lambda root: os.close(os.open(root / name, flags))


def make_temporary(root: Path) -> None:
    descriptor, path = tempfile.mkstemp(dir=root)
    os.close(descriptor)
    os.replace(path, root / "made")


def name_temporary(root: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=root, delete=False) as file:
        file.write(b"1")
    os.replace(file.name, root / "made")


def use_nameless(root: Path) -> None:
    tempfile.TemporaryFile(dir=root).close()


def save(root: Path) -> None:
    FileStorage(BytesIO(b"1"), "a.png").save(root / "a.png")


def rename_by_descriptors(root: Path) -> None:
    with opened(root / "sub") as here, opened(root.parent / "elsewhere") as there:
        os.rename("old", "new2", src_dir_fd=here, dst_dir_fd=there)
        os.replace(b"new2", b"new3", src_dir_fd=there, dst_dir_fd=here)
        os.link("new3", "new4", src_dir_fd=here, dst_dir_fd=here)
        os.unlink("new3", dir_fd=here)


def use_descriptor(root: Path) -> None:
    descriptor = os.open(root / "old", os.O_RDWR)
    os.ftruncate(descriptor, 0)
    os.truncate(descriptor, 0)
    with open(descriptor, "wb") as file:
        file.write(b"1")


# --- what changes something ----------------------------------------------------------------------
# `+` keeps what is there, `!` wants nothing to be there; a temporary name is written `tmp`.

WRITERS: dict[str, tuple[Act, list[str]]] = {
    "w": (by_open("w", "a"), ["write a"]),
    "wb": (by_open("wb", "a"), ["write a"]),
    "wb+": (by_open("wb+", "a"), ["write a"]),
    "x": (by_open("x", "a"), ["write+! a"]),
    "a": (by_open("a"), ["write+ old"]),
    "a+b": (by_open("a+b"), ["write+ old"]),
    "r+": (by_open("r+"), ["write+ old"]),
    "rb": (by_open("rb"), []),
    "O_WRONLY": (by_os_open(os.O_WRONLY), ["write+ old"]),
    "O_RDWR": (by_os_open(os.O_RDWR), ["write+ old"]),
    "O_CREAT": (by_os_open(os.O_WRONLY | os.O_CREAT, "a"), ["write+ a"]),
    "O_EXCL": (by_os_open(os.O_WRONLY | os.O_CREAT | os.O_EXCL, "a"), ["write+! a"]),
    "O_TRUNC": (by_os_open(os.O_WRONLY | os.O_TRUNC), ["write old"]),
    "O_APPEND": (by_os_open(os.O_WRONLY | os.O_APPEND), ["write+ old"]),
    "O_RDONLY": (by_os_open(os.O_RDONLY), []),
    "O_TMPFILE": (use_nameless, []),
    "FileStorage.save": (save, ["write a.png"]),
    "mkstemp": (make_temporary, ["write+! tmp", "rename tmp > made"]),
    "NamedTemporaryFile": (name_temporary, ["write+! tmp", "rename tmp > made"]),
    "Path.write_bytes": (lambda root: (root / "a").write_bytes(b"1"), ["write a"]),
    "Path.write_text": (lambda root: (root / "a").write_text("1"), ["write a"]),
    "Path.touch": (lambda root: (root / "a").touch(), ["write+ a"]),
    "Path.rename": (lambda root: (root / "old").rename(root / "a"), ["rename old > a"]),
    "Path.replace": (lambda root: (root / "old").replace(root / "a"), ["rename old > a"]),
    "Path.unlink": (lambda root: (root / "old").unlink(), ["remove old"]),
    "Path.hardlink_to": (lambda root: (root / "a").hardlink_to(root / "old"), ["link old > a"]),
    "os.truncate": (lambda root: os.truncate(root / "old", 2), ["write+ old"]),
    "a folder renamed": (lambda root: os.rename(root / "sub", root / "b"), ["rename sub > b"]),
    "shutil.move in": (
        lambda root: shutil.move(root.parent / "elsewhere/new", root / "a"),
        ["rename ../elsewhere/new > a"],
    ),
    "shutil.move out": (
        lambda root: shutil.move(root / "old", root.parent / "elsewhere/a"),
        ["rename old > ../elsewhere/a"],
    ),
    "shutil.copyfile": (lambda root: shutil.copyfile(root / "old", root / "a"), ["write a"]),
    "shutil.copytree": (
        lambda root: shutil.copytree(root.parent / "elsewhere", root / "tree"),
        ["write tree/deep/new", "write tree/new"],
    ),
    "shutil.rmtree": (lambda root: shutil.rmtree(root / "sub"), ["clear sub", "remove sub/old"]),
    "bytes": (lambda root: open(os.fsencode(root / "a"), "wb").close(), ["write a"]),
    "no utf-8": (
        lambda root: open(os.fsencode(root) + b"/\xff", "wb").close(),
        ["write \udcff"],
    ),
    "descriptors of folders": (
        rename_by_descriptors,
        [
            "rename sub/old > ../elsewhere/new2",
            "rename ../elsewhere/new2 > sub/new3",
            "link sub/new3 > sub/new4",
            "remove sub/new3",
        ],
    ),
    "a descriptor": (use_descriptor, ["write+ old"]),
    "outside": (lambda root: (root.parent / "a").write_bytes(b"1"), []),
    "a sibling": (lambda root: (root.parent / "uploads_evil/a").write_bytes(b"1"), []),
    "a sibling renamed": (
        lambda root: os.rename(root.parent / "uploads_evil", root.parent / "uploads2"),
        [],
    ),
}


@pytest.mark.parametrize(("act", "told"), WRITERS.values(), ids=WRITERS)
def test_what_writes_is_told(act: Act, told: list[str], root: Path, ear: Ear) -> None:
    """Every way in which an app writes, names, or takes away a file below a folder."""
    act(root)

    heard = [TEMPORARY.sub("tmp", said) for said in ear.told(*CHANGES)]
    assert sorted(heard) == sorted(told)


# --- what only looks ------------------------------------------------------------------------------

LOOKS: dict[str, tuple[Act, list[str]]] = {
    "open": (by_open("rb"), ["read old"]),
    "a folder opened": (
        lambda root: os.close(os.open(root, os.O_RDONLY | os.O_DIRECTORY)),
        [],
    ),
    "os.path.exists": (lambda root: os.path.exists(root / "no"), ["stat no"]),
    "os.path.isfile": (lambda root: os.path.isfile(root / "old"), ["stat old"]),
    "os.path.getsize": (lambda root: os.path.getsize(root / "old"), ["stat old"]),
    "os.access": (lambda root: os.access(root / "old", os.R_OK), ["stat old"]),
    "os.lstat": (lambda root: os.lstat(root / "old"), ["stat old"]),
    "by keyword": (lambda root: os.stat(path=str(root / "old")), ["stat old"]),
    "Path.exists": (lambda root: (root / "old").exists(), ["stat old"]),
    "bytes": (lambda root: os.path.exists(os.fsencode(root / "old")), ["stat old"]),
    "the folder": (lambda root: os.path.isdir(root), ["stat ."]),
    "the folder/": (lambda root: os.path.isdir(f"{root}/"), ["stat ."]),
    "a descriptor": (lambda _: os.stat(0), []),
    "a sibling": (lambda root: os.path.exists(f"{root}_evil"), []),
    "outside": (lambda root: os.path.exists(root.parent), []),
    "a NUL byte": (lambda root: os.path.exists(f"{root}/\0"), []),
}


@pytest.mark.parametrize(("act", "told"), LOOKS.values(), ids=LOOKS)
def test_what_looks_is_told(act: Act, told: list[str], root: Path, ear: Ear) -> None:
    """`open` for reading, and what raises no audit event."""
    act(root)

    assert ear.told("read", "stat") == told
    assert all(touch.path == os.path.normpath(touch.path) for touch in ear.touches)


def test_who_does_not_want_stats_hears_of_none(root: Path, ear: Ear) -> None:
    """They are many, and most watchers need none of them."""
    other = Ear(root)
    audit.watch(other)
    os.stat(root / "old")
    with open(root / "old"):
        pass

    assert (other.told("stat", "read"), ear.told("stat")) == (["read old"], ["stat old"])


SPELLINGS = ("{0}/old", "{0}//old", "{0}/./old", "{0}/sub/../old", "/{0}/old", "//{0}/old")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_name_is_told_in_its_one_spelling(spelling: str, root: Path, ear: Ear) -> None:
    """`..`, `.`, doubled slashes, in the middle and in front."""
    name = spelling.format(root)
    os.stat(name)
    with open(name):
        pass

    assert ear.told("read", "stat") == ["stat old", "read old"]
    assert {touch.path for touch in ear.touches} == {f"{root}/old"}


@pytest.mark.parametrize("spelling", ["{0}/../uploads_evil/a", "{0}/sub/../../a"])
def test_what_only_begins_like_it_is_not_below_it(spelling: str, root: Path, ear: Ear) -> None:
    """A path that climbs out is outside."""
    with open(spelling.format(root), "w"):
        pass

    assert ear.touches == []


def test_a_relative_path_counts_from_where_the_process_is(
    root: Path, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after `chdir`, also from below."""
    monkeypatch.chdir(root / "sub")
    with open("a", "w"), open("../b", "w"):
        os.stat("old")

    assert ear.told("write", "stat") == ["write sub/a", "write b", "stat sub/old"]


def test_where_the_process_is_may_be_gone(
    root: Path, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a relative path names nothing, and the app gets its own error."""
    gone = root / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError):
        open("a", "w").close()
    monkeypatch.chdir(root)  # pytest asks where it is

    assert ear.told(*CHANGES) == []


def test_a_folder_may_be_a_symlink(root: Path) -> None:
    """Below what it points to is below it; its own name is the one that is told."""
    link = root.parent / "current"
    link.symlink_to(root)
    ear = Ear(link)
    audit.watch(ear, stats=True)
    for name in (link / "a", root / "b"):
        name.write_bytes(b"1")
        name.stat()

    assert ear.told("write", "stat") == ["write a", "stat a", "write b", "stat b"]
    assert ear.touches[-1].path == f"{link}/b"


def test_everything_may_be_watched(root: Path) -> None:
    """The root of all is a folder too."""
    ear = Ear("/")
    audit.watch(ear)
    (root / "a").write_bytes(b"1")

    assert Touch("write", f"{root}/a") in ear.touches


def test_an_unknown_descriptor_is_left_alone(root: Path, ear: Ear) -> None:
    """The app gets the error that it would have got."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.unlink("old", dir_fd=987_654)

    assert ear.told(*CHANGES) == []


# --- who hears -------------------------------------------------------------------------------------


def test_a_watcher_that_is_gone_hears_nothing(root: Path) -> None:
    """Nobody has to say goodbye: with the last one `os.stat` is Python's own again."""
    ear = Ear(root)
    touches = ear.touches
    audit.watch(ear, stats=True)
    assert os.stat is not BUILTINS["stat"]
    del ear
    gc.collect()
    (root / "a").write_bytes(b"1")

    assert touches == []
    assert {name: getattr(os, name) for name in BUILTINS} == BUILTINS


def test_unwatch_is_final_and_may_be_said_twice(root: Path, ear: Ear) -> None:
    """Another watcher still hears."""
    other = Ear(root)
    audit.watch(other)
    for _ in range(2):
        audit.unwatch(ear)
    (root / "a").write_bytes(b"1")

    assert (ear.touches, other.told("write")) == ([], ["write a"])


def test_who_watches_twice_hears_once(root: Path, ear: Ear) -> None:
    """As an app whose `init_app` is called again."""
    audit.watch(ear, stats=True)
    (root / "a").write_bytes(b"1")

    assert ear.told("write") == ["write a"]


def test_a_folder_inside_another_is_told_to_both(root: Path, ear: Ear) -> None:
    """Each by the names below its own."""
    inner = Ear(root / "sub")
    audit.watch(inner)
    (root / "sub/a").write_bytes(b"1")
    os.rename(root / "old", root / "sub/b")

    assert ear.told(*CHANGES) == ["write sub/a", "rename old > sub/b"]
    assert inner.told(*CHANGES) == ["write a", "rename ../old > b"]


def test_what_watchers_do_is_told_to_nobody(root: Path, ear: Ear) -> None:
    """Else they would hear themselves."""
    with audit.unwatched():
        (root / "a").write_bytes(b"1")
        os.rename(root / "a", root / "b")
        os.stat(root / "b")
    (root / "c").write_bytes(b"1")

    assert [touch.path for touch in ear.touches] == [f"{root}/c"]


def test_threads_are_heard(root: Path, ear: Ear) -> None:
    """A hook hears the whole process."""
    thread = threading.Thread(target=(root / "a").write_bytes, args=(b"1",))
    thread.start()
    thread.join()

    assert ear.told("write") == ["write a"]


# --- what a watcher says -----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [FileNotFoundError("no"), Unavailable()])
def test_a_watcher_can_say_no(error: Exception, root: Path, ear: Ear) -> None:
    """To `open` and to `stat`."""
    ear.error = error
    for act in (by_open("rb"), lambda root: os.stat(root / "old")):
        with pytest.raises(type(error)):
            act(root)


def test_a_mistake_of_a_watcher_is_not_the_apps(
    root: Path, ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the call goes on."""
    ear.error = KeyError("a mistake")
    for act in (by_open("rb"), by_open("w", "a"), lambda root: os.stat(root / "old")):
        act(root)

    assert [record.exc_info is not None for record in caplog.records] == [True] * 3


def test_a_mistake_of_one_who_hears_everything_is_logged_once(root: Path, tmp_path: Path) -> None:
    """Writing the log is opening files, too."""
    ear = Ear("/")
    ear.error = KeyError("a mistake")
    handler = logging.FileHandler(tmp_path / "log", delay=True)
    audit.log.addHandler(handler)
    audit.watch(ear)
    by_open("rb")(root)
    audit.unwatch(ear)
    audit.log.removeHandler(handler)
    handler.close()

    assert (tmp_path / "log").read_text().count("could not be judged") == 1


# --- os.stat stays what it was ------------------------------------------------------------------------


def test_what_stat_can_do_is_still_known(root: Path, ear: Ear) -> None:
    """`shutil.rmtree` is safe from symlinks only where `os.stat` says that it takes `dir_fd`."""
    known = [
        {name for name in BUILTINS if getattr(os, name) in getattr(os, supports)}
        for supports in ("supports_dir_fd", "supports_follow_symlinks", "supports_effective_ids")
    ]
    code = "import shutil; print(shutil._use_fd_functions)"

    assert known == [{"stat", "access"}, {"stat", "access"}, {"access"}]
    assert watched_process(f"watch(ear, stats=True)\n{code}") == "True"


def test_a_wrapped_stat_looks_like_the_one_it_wraps(ear: Ear) -> None:
    """To those who introspect, and to `pickle`, which sends it to another process."""
    assert inspect.signature(os.stat) == inspect.signature(BUILTINS["stat"])
    assert pickle.loads(pickle.dumps(os.stat)) is os.stat  # noqa: S301 - our own bytes
    assert os.stat.__doc__ == BUILTINS["stat"].__doc__


def test_who_wrapped_stat_after_us_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test tool's own wrapper is not lost when the last watcher goes."""
    ear = Ear(root)
    audit.watch(ear, stats=True)
    ours = os.stat

    def theirs(path: str) -> os.stat_result:
        return ours(path)

    vars(theirs).update(vars(ours))
    monkeypatch.setattr(os, "stat", theirs)
    audit.unwatch(ear)
    assert os.stat is theirs
    monkeypatch.undo()
    audit.watch(ear, stats=True)
    audit.unwatch(ear)

    assert os.stat is BUILTINS["stat"]


# --- nothing without need ----------------------------------------------------------------------------

PROCESS = """
import os, sys
hooks = []
sys.addaudithook(lambda event, _: event == "sys.addaudithook" and hooks.append(event))
before = os.stat
"""
WATCHED = """
from flask_s3handoff.audit import watch
class Ear:
    roots = ("/srv/uploads",)
    def touched(self, touch): pass
ear = Ear()
"""


def watched_process(code: str) -> str:
    """Return what a fresh Python prints that has a watcher at hand."""
    return in_process(PROCESS + WATCHED + code)


def in_process(code: str) -> str:
    """Return what a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_a_watcher_nothing_is_installed() -> None:
    """An app without folders has no hook in its process, and Python's own `os.stat`."""
    code = """
from flask import Flask
from flask_s3handoff import S3Handoff, HandoffMiddleware
import flask_s3handoff.audit
app = Flask("app")
app.config.from_mapping(S3HANDOFF_STORE="memory", SECRET_KEY="k" * 32)
S3Handoff(app)
app.test_client().get("/")
print(hooks, os.stat is before)
"""
    assert in_process(PROCESS + code) == "[] True"


def test_there_is_one_hook_for_all() -> None:
    """A hook cannot be taken out again."""
    code = "for _ in range(3): watch(ear); watch(Ear(), stats=True)\nprint(len(hooks))"

    assert watched_process(code) == "1"
