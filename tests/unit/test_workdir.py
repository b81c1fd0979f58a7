"""The work folder: nothing half, nothing foreign, nothing left behind, whatever the disk does."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flask_s3handoff import workdir as workdir_module
from flask_s3handoff.errors import ConfigError, InvalidKey, Unavailable
from flask_s3handoff.paths import new_relpath
from flask_s3handoff.workdir import WorkDir

DATA = b"the bytes of a picture" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
SIZE = len(DATA)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "instance" / "s3handoff"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(root: Path, clock: Clock | None = None, **options: Any) -> WorkDir:
    limits = {"max_bytes": 1 << 30, "max_age_seconds": 86_400.0, **options}
    return WorkDir(str(root), now=clock or time.time, **limits)


def refuse(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, when: Callable[..., bool]
) -> None:
    """Make a function of `os` fail where `when` says so."""
    real = getattr(os, name)

    def refusing(*args: Any, **options: Any) -> Any:
        if when(*args, **options):
            raise OSError(number, os.strerror(number))
        return real(*args, **options)

    monkeypatch.setattr(os, name, refusing)


def without_tmpfile(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_nameless(_path: str, flags: int, *_rest: Any, **_options: Any) -> bool:
        return flags & os.O_TMPFILE == os.O_TMPFILE

    refuse(monkeypatch, "open", errno.EOPNOTSUPP, is_nameless)


@pytest.fixture(params=["O_TMPFILE", "no-O_TMPFILE", "no-proc", "no-hard-links"])
def workdir(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> WorkDir:
    """A work folder on each kind of file system."""
    if request.param == "no-proc":
        real = os.path.exists
        monkeypatch.setattr(os.path, "exists", lambda path: path != "/proc/self/fd" and real(path))
    elif request.param != "O_TMPFILE":
        without_tmpfile(monkeypatch)
    if request.param == "no-hard-links":
        refuse(monkeypatch, "link", errno.EPERM, lambda *_args, **_options: True)
    return make(root)


def publish(workdir: WorkDir, data: bytes = DATA, relpath: str | None = None) -> tuple[str, str]:
    """Publish bytes; return relative path and path."""
    relpath = relpath or new_relpath("leo.jpg")
    with workdir.begin() as draft:
        draft.write(data)
        return relpath, draft.publish(relpath)


def files_below(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir())


# --- the folder --------------------------------------------------------------------------------


def test_nothing_is_made_before_it_is_needed(root: Path) -> None:
    """Making a `WorkDir` touches no disk (rule 8)."""
    make(root)
    assert not root.parent.exists()


def test_t22_all_that_is_made_is_for_us_alone(root: Path) -> None:
    """Whatever the umask: folders 0700, local copies 0400, edit copies 0600."""
    before = os.umask(0)
    try:
        workdir = make(root)
        relpath, path = publish(workdir)
        edit = workdir.edit_copy(path, "leo.jpg")
        with workdir.flight(relpath):
            modes = {p: stat.S_IMODE(p.stat().st_mode) for p in [root, *root.rglob("*")]}
    finally:
        os.umask(before)
    assert {mode for p, mode in modes.items() if p.is_dir()} == {0o700}
    assert (modes[Path(path)], modes[Path(edit)]) == (0o400, 0o600)
    assert all(mode & 0o077 == 0 for mode in modes.values())
    assert str(root / relpath) == path


def plant(mode: int) -> Callable[[Path], None]:
    def plant_folder(root: Path) -> None:
        root.mkdir()
        root.chmod(mode)

    return plant_folder


def plant_symlink(root: Path) -> None:
    (root.parent / "elsewhere").mkdir()
    root.symlink_to(root.parent / "elsewhere")


PLANTED: dict[str, Callable[[Path], object]] = {
    "symlink": plant_symlink,
    "dangling-symlink": lambda root: root.symlink_to(root.parent / "nowhere"),
    "file": lambda root: root.write_text("x"),
    "world-writable": plant(0o777),
    "sticky": plant(0o1777),
    "group-writable": plant(0o770),
}


@pytest.mark.parametrize("plant_in", PLANTED.values(), ids=PLANTED)
def test_t22_a_folder_that_is_not_ours_alone_is_refused(
    root: Path, plant_in: Callable[[Path], object]
) -> None:
    """The error names the setting; nothing is written into the folder or through the link."""
    root.parent.mkdir()
    plant_in(root)
    workdir = make(root)
    for use in (
        workdir.begin,
        workdir.evict,
        lambda: workdir.find(new_relpath("a"), size=1, sha256=SHA256),
        lambda: workdir.edit_copy(__file__, "a"),
        lambda: workdir.flight(new_relpath("a")).__enter__(),
    ):
        with pytest.raises(ConfigError, match="S3HANDOFF_WORK_DIR"):
            use()
    assert files_below(root.parent) in ([], ["s3handoff"])


def test_t22_a_folder_of_another_user_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns the folder can swap files under us, or read them."""
    root.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: root.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="belongs to the user"):
        make(root).begin()


def test_t22_the_folder_is_judged_each_time(root: Path) -> None:
    """A folder that a cleaner removed and somebody else made again is refused (F35)."""
    workdir = make(root)
    relpath, _ = publish(workdir)
    shutil.rmtree(root)
    (root.parent / "elsewhere").mkdir()
    root.symlink_to(root.parent / "elsewhere")
    with pytest.raises(ConfigError):
        workdir.find(relpath, size=SIZE, sha256=SHA256)


def test_f35_a_folder_that_was_removed_is_made_again(root: Path) -> None:
    """Cleaners of temporary files may take everything, at any time."""
    workdir = make(root)
    relpath, _ = publish(workdir)
    shutil.rmtree(root)
    assert workdir.find(relpath, size=SIZE, sha256=SHA256) is None
    shutil.rmtree(root)
    _, path = publish(workdir)
    assert Path(path).read_bytes() == DATA
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_f37_a_read_only_instance_folder_has_a_temporary_stand_in(
    root: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It is private, and the same one for all processes of the app; another app has another."""
    refuse(monkeypatch, "mkdir", number, lambda path, *_: path.startswith(str(root.parent)))
    one, same, other = (make(root, fallback=name) for name in ("/srv/a", "/srv/a", "/srv/b"))
    relpath, path = publish(one)
    assert Path(path).is_relative_to(temporary)
    assert str(os.geteuid()) in Path(path).relative_to(temporary).parts[0]
    assert same.find(relpath, size=SIZE, sha256=SHA256) == path
    assert other.find(relpath, size=SIZE, sha256=SHA256) is None
    assert {stat.S_IMODE(p.stat().st_mode) for p in temporary.iterdir()} == {0o700}


def test_f37_a_folder_that_became_read_only_has_a_stand_in(
    root: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is there but cannot be written is found out before it is used."""
    root.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "access", lambda path, _mode: path != str(root))
    _, path = publish(make(root, fallback="/srv/a"))
    assert Path(path).is_relative_to(temporary)


def test_f16_a_folder_that_was_named_has_no_stand_in(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `S3HANDOFF_WORK_DIR` names is used or is an error, a 503 that passes."""
    refuse(monkeypatch, "mkdir", errno.EROFS, lambda path, *_: path.startswith(str(root.parent)))
    with pytest.raises(Unavailable) as refused:
        make(root).begin()
    assert refused.value.facts["errno"] == errno.EROFS
    assert refused.value.facts["detail"] == "EROFS"


def test_t22_the_stand_in_is_judged_too(root: Path, temporary: Path) -> None:
    """Somebody who made our temporary folder before us gains nothing."""
    name = hashlib.sha256(b"/srv/a").hexdigest()[:16]
    (temporary / f"s3handoff-{os.geteuid()}-{name}").symlink_to(root.parent)
    with pytest.raises(ConfigError):
        WorkDir(None, fallback="/srv/a", max_bytes=1, max_age_seconds=1).begin()


# --- drafts and local copies -------------------------------------------------------------------


def test_a_draft_is_hashed_as_it_is_written(workdir: WorkDir) -> None:
    """Size and sha256 are those of what was written, however it was cut."""
    with workdir.begin() as draft:
        assert (draft.size, draft.sha256) == (0, hashlib.sha256().hexdigest())
        for n in range(0, SIZE, 7):
            assert draft.write(DATA[n : n + 7]) == len(DATA[n : n + 7])
        assert (draft.size, draft.sha256) == (SIZE, SHA256)
        assert draft.holds(size=SIZE, sha256=SHA256)


def test_nothing_is_seen_of_a_draft_until_it_is_published(workdir: WorkDir, root: Path) -> None:
    """A local copy appears in one step, whole (rule 3)."""
    relpath = new_relpath("leo.jpg")
    with workdir.begin() as draft:
        draft.write(DATA)
        assert not (root / relpath).exists()
        path = draft.publish(relpath)
        assert Path(path).read_bytes() == DATA
    assert files_below(root) == [relpath]


def test_rule_11_a_draft_that_is_given_up_leaves_nothing(workdir: WorkDir, root: Path) -> None:
    """Closing an unpublished draft removes it; closing twice does no harm."""
    with workdir.begin() as draft:
        draft.write(DATA)
    draft.close()
    assert files_below(root) == []


@pytest.mark.parametrize(
    ("written", "size", "is_held"),
    [(DATA, SIZE, True), (DATA[:-1], SIZE, False), (DATA + b"!", SIZE, False), (b"", 0, False)],
    ids=["exact", "short", "long", "other-bytes"],
)
def test_rule_2_what_others_wrote_into_a_draft_is_judged(
    workdir: WorkDir, written: bytes, size: int, is_held: bool
) -> None:
    """Bytes that a store wrote by `pwrite` count only if size and sha256 are those of the claim."""
    with workdir.begin() as draft:
        os.pwrite(draft.fd, written[100:], 100)
        os.pwrite(draft.fd, written[:100], 0)
        draft.absorb(50)
        draft.absorb(min(70, size))
        assert draft.holds(size=size, sha256=SHA256) is is_held


def test_absorbed_bytes_are_hashed_in_order(workdir: WorkDir) -> None:
    """However far `absorb` is told to go at a time, the digest is that of the whole."""
    data = random.Random(7).randbytes(1_000_003)
    with workdir.begin() as draft:
        os.pwrite(draft.fd, data, 0)
        for end in (0, 1, 300_000, 300_000, 999_999, len(data)):
            draft.absorb(end)
            assert draft.size == end
        assert draft.sha256 == hashlib.sha256(data).hexdigest()


def test_rule_4_the_first_to_publish_wins(workdir: WorkDir) -> None:
    """Two fetches of one revision end with one file; the path of the first stays good."""
    relpath, path = publish(workdir)
    inode = os.stat(path).st_ino
    assert publish(workdir, relpath=relpath) == (relpath, path)
    assert os.stat(path).st_ino == inode
    assert Path(path).read_bytes() == DATA


def test_rule_2_publishing_replaces_a_damaged_copy(root: Path) -> None:
    """What stands in the place of a revision and is not it is removed, not trusted."""
    workdir = make(root)
    relpath, path = publish(workdir)
    os.chmod(path, 0o600)
    Path(path).write_bytes(DATA[:-1] + b"?")
    publish(workdir, relpath=relpath)
    assert Path(path).read_bytes() == DATA


def test_a_place_that_cannot_be_freed_is_unavailable(root: Path) -> None:
    """A folder where the local copy should be is told, not looped over."""
    workdir = make(root)
    relpath = new_relpath("leo.jpg")
    (root / relpath / "x").mkdir(parents=True)
    root.chmod(0o700)
    with pytest.raises(Unavailable):
        publish(workdir, relpath=relpath)


@pytest.mark.parametrize("relpath", ["../../x", "/etc/passwd", "", "a\0b", "20261123/x/y", None])
def test_b31_a_relative_path_is_judged_though_it_was_signed(root: Path, relpath: Any) -> None:
    """No verb of the folder takes a path that we did not make."""
    workdir = make(root)
    with pytest.raises(InvalidKey):
        workdir.find(relpath, size=1, sha256=SHA256)
    with pytest.raises(InvalidKey), workdir.begin() as draft:
        draft.publish(relpath)
    with pytest.raises(InvalidKey), workdir.flight(relpath):
        pass


def test_a_local_copy_is_found_by_every_process(workdir: WorkDir, root: Path) -> None:
    """What one process published, another finds; what is not there is `None`."""
    relpath, path = publish(workdir)
    assert make(root).find(relpath, size=SIZE, sha256=SHA256) == path
    assert make(root).find(new_relpath("leo.jpg"), size=SIZE, sha256=SHA256) is None


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file that is hashed as a whole."""
    seen: list[str] = []
    real = hashlib.file_digest

    def digest(file: Any, algorithm: Any) -> Any:
        seen.append(file.name)
        return real(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", digest)
    return seen


def test_a_local_copy_is_hashed_once_by_each_process(root: Path, hashed: list[str]) -> None:
    """Who wrote it need not hash it; who finds it does so once; then a `stat` is enough."""
    workdir, another = make(root), make(root)
    relpath, path = publish(workdir)
    for _ in range(3):
        assert workdir.find(relpath, size=SIZE, sha256=SHA256) == path
    assert hashed == []
    for _ in range(3):
        assert another.find(relpath, size=SIZE, sha256=SHA256) == path
    assert hashed == [path]


def test_what_is_remembered_is_bounded(
    root: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that sees many files forgets some, and hashes them again."""
    monkeypatch.setattr(workdir_module, "_MEMO_LENGTH", 2)
    workdir = make(root)
    relpaths = [publish(workdir)[0] for _ in range(5)]
    for relpath in relpaths * 2:
        assert workdir.find(relpath, size=SIZE, sha256=SHA256)
    assert len(workdir._known) <= 2
    assert hashed


def overwrite(path: Path, data: bytes) -> None:
    """Change a file behind our back, with its old times."""
    seen = path.stat()
    path.chmod(0o600)
    path.write_bytes(data)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_link(path: Path) -> None:
    twin = path.with_name("twin")
    path.rename(twin)
    path.symlink_to(twin)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "one-bit": lambda path: overwrite(path, bytes([DATA[0] ^ 1]) + DATA[1:]),
    "truncated": lambda path: overwrite(path, DATA[:-1]),
    "longer": lambda path: overwrite(path, DATA + b"\0"),
    "empty": lambda path: overwrite(path, b""),
    "link": become_link,
    "folder": become_folder,
}


@pytest.mark.parametrize("is_fresh", [True, False], ids=["another-process", "same-process"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_rule_2_a_damaged_local_copy_is_not_found(
    root: Path, damage: Callable[[Path], object], is_fresh: bool
) -> None:
    """Whatever became of the file, it is not shown, and its place is free for the right bytes."""
    workdir = make(root)
    relpath, path = publish(workdir)
    damage(Path(path))
    finder = make(root) if is_fresh else workdir
    assert finder.find(relpath, size=SIZE, sha256=SHA256) is None
    if not Path(path).is_dir():
        assert not os.path.lexists(path)
        assert Path(publish(workdir, relpath=relpath)[1]).read_bytes() == DATA


def test_rule_2_another_size_or_digest_is_not_found(root: Path) -> None:
    """The claim decides what the file must be, not the file."""
    for size, sha256 in ((SIZE - 1, SHA256), (SIZE, "0" * 64)):
        workdir = make(root)
        relpath, _ = publish(workdir)
        assert workdir.find(relpath, size=size, sha256=sha256) is None


def test_f36_a_stale_handle_is_a_miss(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network disk a file can go stale: it is fetched again."""
    workdir = make(root)
    relpath, path = publish(workdir)
    refuse(monkeypatch, "lstat", errno.ESTALE, lambda p, **_: p == path)
    assert workdir.find(relpath, size=SIZE, sha256=SHA256) is None


# --- the disk refuses --------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(most: int) -> Iterator[None]:
    """Let files grow to so many bytes, as on a disk that is full (F15).

    Not a fixture: pytest reports before it tears down, and its own output may be a longer file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_f15_a_full_disk_is_unavailable_and_leaves_nothing(workdir: WorkDir, root: Path) -> None:
    """A write that is cut short by the disk is an error, never half a file."""
    with workdir.begin() as draft, small_disk(65_536):
        draft.write(bytes(60_000))
        with pytest.raises(Unavailable) as refused:
            draft.write(bytes(10_000))
    assert refused.value.facts["errno"] == errno.EFBIG
    assert files_below(root) == []


def test_f15_an_edit_copy_on_a_full_disk_leaves_nothing(root: Path, tmp_path: Path) -> None:
    """Not even its folder."""
    source = tmp_path / "source"
    source.write_bytes(b"")
    os.truncate(source, 65_536)
    workdir = make(root)
    with small_disk(1000), pytest.raises(Unavailable):
        workdir.edit_copy(str(source), "leo.jpg")
    assert list((root / "edit").iterdir()) == []


REFUSALS = {
    "ENOSPC-open": ("open", errno.ENOSPC),
    "EMFILE-open": ("open", errno.EMFILE),
    "ENOSPC-mkdir": ("mkdir", errno.ENOSPC),
    "EDQUOT-mkdir": ("mkdir", errno.EDQUOT),
    "ENOSPC-link": ("link", errno.ENOSPC),
    "EROFS-link": ("link", errno.EROFS),
    "EACCES-link": ("link", errno.EACCES),
}


@pytest.mark.parametrize(("name", "number"), REFUSALS.values(), ids=REFUSALS)
def test_f16_whatever_the_disk_refuses_is_unavailable(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    """The answer is a 503 that says nothing, the facts say which error, and nothing is left."""
    workdir = make(root)
    workdir.evict()
    refuse(monkeypatch, name, number, lambda path, *_a, **_o: str(root) in f"{path} {_a}")
    with pytest.raises(Unavailable) as refused:
        publish(workdir)
    assert refused.value.facts == {"errno": number, "detail": errno.errorcode[number]}
    assert str(root) not in refused.value.get_description()
    monkeypatch.undo()
    assert files_below(root) == []


def test_f16_a_good_copy_survives_a_moment_without_descriptors(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EMFILE while looking at a file says nothing about the file: it stays."""
    relpath, path = publish(make(root))
    refuse(monkeypatch, "open", errno.EMFILE, lambda p, *_a, **_o: p == path)
    with pytest.raises(Unavailable):
        make(root).find(relpath, size=SIZE, sha256=SHA256)
    with pytest.raises(Unavailable):
        make(root).edit_copy(path, "leo.jpg")
    monkeypatch.undo()
    assert make(root).find(relpath, size=SIZE, sha256=SHA256) == path


KILLED = """
import os, signal, sys
from flask_s3handoff.workdir import WorkDir
if sys.argv[2] == "part":
    del os.O_TMPFILE
draft = WorkDir(sys.argv[1], max_bytes=1, max_age_seconds=1).begin()
draft.write(b"x" * 100_000)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.leaves_parts
@pytest.mark.parametrize("kind", ["O_TMPFILE", "part"])
def test_f17_a_killed_process_leaves_nothing_visible(root: Path, clock: Clock, kind: str) -> None:
    """Nothing is left where the file system can; elsewhere a part, which a sweep takes."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root), kind], check=False)
    assert killed.returncode == -9
    left = files_below(root)
    assert [Path(name).suffix for name in left] == ([".part"] if kind == "part" else [])
    clock.now += 7 * 3600
    make(root, clock).evict()
    assert files_below(root) == []


# --- edit copies -------------------------------------------------------------------------------


def test_rule_4_an_edit_does_not_reach_the_local_copy(root: Path) -> None:
    """What is written to an edit copy, or over it, leaves the revision as it is."""
    workdir = make(root)
    relpath, path = publish(workdir)
    edit = workdir.edit_copy(path, "leo.jpg")
    assert Path(edit).read_bytes() == DATA
    with open(edit, "r+b") as stream:
        stream.write(b"edited")
    os.truncate(edit, 6)
    assert workdir.find(relpath, size=SIZE, sha256=SHA256) == path
    assert Path(path).read_bytes() == DATA


def test_edit_copies_have_the_name_and_a_folder_of_their_own(root: Path) -> None:
    """Code that picks formats by suffix finds it; two requests never meet."""
    workdir = make(root)
    _, path = publish(workdir)
    one, two = (workdir.edit_copy(path, "../Leo im Sommer.JPG") for _ in range(2))
    assert Path(one).name == Path(two).name == "Leo_im_Sommer.JPG"
    assert Path(one).parent != Path(two).parent
    assert Path(one).parent.parent == root / "edit"


def test_dropping_an_edit_copy_takes_what_lies_beside_it(root: Path) -> None:
    """Libraries write `leo.jpg.tmp` and the like; dropping twice does no harm."""
    workdir = make(root)
    _, path = publish(workdir)
    edit = workdir.edit_copy(path, "leo.jpg")
    Path(edit + ".tmp").write_text("x")
    workdir.drop_edit_copy(edit)
    workdir.drop_edit_copy(edit)
    assert list((root / "edit").iterdir()) == []
    assert Path(path).exists()


def test_only_edit_copies_can_be_dropped(root: Path, tmp_path: Path) -> None:
    """A path that we did not hand out is refused, and its folder stays."""
    workdir = make(root)
    _, path = publish(workdir)
    for wrong in (path, str(tmp_path / "x"), str(root / "edit" / "x"), "/"):
        with pytest.raises(ValueError, match="no edit copy"):
            workdir.drop_edit_copy(wrong)
    assert Path(path).exists()


def test_an_edit_copy_of_what_is_gone_says_so(root: Path) -> None:
    """`FileNotFoundError` tells the caller to rehydrate again; nothing is left."""
    workdir = make(root)
    with pytest.raises(FileNotFoundError):
        workdir.edit_copy(str(root / "gone"), "leo.jpg")
    assert not root.exists()


# --- eviction ----------------------------------------------------------------------------------


def aged(workdir: WorkDir, clock: Clock, seconds: float, data: bytes = DATA) -> str:
    """Publish a file that is so old by the clock."""
    relpath, path = publish(workdir, data)
    os.utime(path, (clock.now - seconds, clock.now - seconds))
    return relpath


def test_t19_the_oldest_go_first_until_the_limit_is_kept(root: Path, clock: Clock) -> None:
    """Beyond `max_bytes` the oldest local copies go, and their folders with them."""
    workdir = make(root, clock)
    ages = random.Random(1).sample(range(400, 1000), 12)
    relpaths = {age: aged(workdir, clock, age) for age in ages}
    make(root, clock, max_bytes=6 * SIZE).evict()
    assert files_below(root) == sorted(relpaths[age] for age in sorted(ages)[:6])
    assert len([p for p in root.rglob("*") if p.is_dir()]) == 1 + 6


def test_a_file_that_somebody_is_about_to_open_stays(root: Path, clock: Clock) -> None:
    """Even over the limit a file that was just published is not pulled away."""
    workdir = make(root, clock)
    old, new = aged(workdir, clock, 60), aged(workdir, clock, 1)
    make(root, clock, max_bytes=1).evict()
    assert files_below(root) == [new]
    assert old != new


def test_no_local_copy_outlives_its_claim(root: Path, clock: Clock) -> None:
    """What is older than the token age goes; what is younger than some minutes never does."""
    workdir = make(root, clock, max_age_seconds=3600)
    old, young = aged(workdir, clock, 3700), aged(workdir, clock, 3500)
    workdir.evict()
    assert files_below(root) == [young]
    assert old != young
    short = make(root, clock, max_age_seconds=1)
    fresh = aged(short, clock, 200)
    short.evict()
    assert files_below(root) == [fresh]


def test_a_late_copy_of_an_early_upload_goes_with_its_day(root: Path, clock: Clock) -> None:
    """A server that fetched a file hours after its upload does not keep it for a day more."""
    workdir = make(root, clock, max_age_seconds=3600)
    early = new_relpath("leo.jpg", now=clock.now - 3 * 86_400)
    _, path = publish(workdir, relpath=early)
    os.utime(path, (clock.now - 1000, clock.now - 1000))
    late = aged(workdir, clock, 1000)
    workdir.evict()
    assert files_below(root) == [late]


def test_what_a_kill_left_is_swept(root: Path, clock: Clock) -> None:
    """Edit copies, locks and parts of processes that are gone do not stay; those in use do."""
    workdir = make(root, clock)
    _, path = publish(workdir)
    fresh = workdir.edit_copy(path, "leo.jpg")
    stale = workdir.edit_copy(path, "leo.jpg")
    old = clock.now - 7 * 3600
    os.utime(os.path.dirname(stale), (old, old))
    for folder in ("lock", "part"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "x").write_text("")
        os.utime(root / folder / "x", (old, old))
    workdir.evict()
    assert sorted(files_below(root)) == sorted(os.path.relpath(p, root) for p in (path, fresh))


def test_sweeping_is_cheap(root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing sweeps at once, then once a minute, and sooner when much was written."""
    sweeps: list[float] = []
    monkeypatch.setattr(workdir_module, "sweep", lambda *_a, now, **_o: sweeps.append(now))
    workdir = make(root, clock, max_bytes=100 * SIZE)
    for _ in range(5):
        publish(workdir)
    assert len(sweeps) == 1
    clock.now += 61
    publish(workdir)
    assert len(sweeps) == 2
    for _ in range(14):
        publish(workdir)
    assert len(sweeps) == 3
    clock.now -= 10_000  # the clock was set back: sweeps go on
    publish(workdir)
    assert len(sweeps) == 4


def test_a_sweep_leaves_what_is_not_ours(root: Path, clock: Clock) -> None:
    """Files that somebody put into the folder are not touched."""
    workdir = make(root, clock, max_bytes=1)
    workdir.evict()
    (root / "README").write_text("x")
    (root / "other").mkdir()
    (root / "other" / "x").write_text("x")
    (root / "20261123").write_text("x")
    clock.now += 10**7
    workdir.evict()
    assert files_below(root) == ["20261123", "README", "other/x"]


def test_f35_everything_may_vanish_at_any_time(root: Path) -> None:
    """Under a cleaner that removes at random, every verb does its work or finds nothing."""
    workdir, done = make(root, max_bytes=20 * SIZE), threading.Event()
    failures: list[BaseException] = []

    def clean() -> None:
        while not done.wait(0.001):
            folders = [root, *root.glob("*"), *root.glob("*/*")]
            shutil.rmtree(random.choice(folders), ignore_errors=True)

    def work() -> None:
        try:
            for _ in range(100):
                use(workdir)
        except BaseException as failure:  # noqa: BLE001 - for the assertion below
            failures.append(failure)

    cleaner = threading.Thread(target=clean)
    workers = [threading.Thread(target=work) for _ in range(4)]
    for thread in (cleaner, *workers):
        thread.start()
    for thread in workers:
        thread.join(60)
    done.set()
    cleaner.join(60)
    assert failures == []


def use(workdir: WorkDir) -> None:
    """Use every verb as a request does, over a disk that forgets."""
    relpath = new_relpath("leo.jpg")
    with workdir.flight(relpath):
        _, path = publish(workdir, relpath=relpath)
    if found := workdir.find(relpath, size=SIZE, sha256=SHA256):
        try:
            edit = workdir.edit_copy(found, "leo.jpg")
        except FileNotFoundError:
            return
        workdir.drop_edit_copy(edit)
    workdir.evict()
    assert path


def fill_disk(
    monkeypatch: pytest.MonkeyPatch, free: Callable[[], int], total: int = 1 << 40
) -> None:
    """Say how many bytes are free on a disk of this size."""

    def statvfs(path: str) -> SimpleNamespace:
        assert os.path.isdir(path)
        return SimpleNamespace(f_blocks=total >> 9, f_frsize=512, f_bavail=free() >> 9)

    monkeypatch.setattr(os, "statvfs", statvfs)


@pytest.mark.parametrize(
    ("total", "free", "size", "is_enough"),
    [
        (1 << 40, 64 << 20, 0, True),
        (1 << 40, (64 << 20) - 512, 0, False),
        (1 << 40, 64 << 20, 512, False),
        (1 << 40, 65 << 20, 1 << 20, True),
        (8 << 20, 1 << 20, 0, True),
        (8 << 20, 256 << 10, 0, False),
        (0, 0, 1 << 30, True),
    ],
    ids=["just", "too-little", "not-for-this", "for-this", "small", "small-full", "unknown"],
)
def test_t19_a_floor_of_free_space_stays(
    total: int, free: int, size: int, is_enough: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else writes to this disk goes on when uploads no longer can."""
    workdir = make(root)
    fill_disk(monkeypatch, lambda: free, total)
    if is_enough:
        workdir.begin(size).close()
        return
    with pytest.raises(Unavailable) as refused:
        workdir.begin(size)
    assert refused.value.facts["errno"] == errno.ENOSPC
    assert files_below(root) == []


def size_of(paths: list[str]) -> int:
    return sum(os.path.getsize(path) for path in paths if os.path.exists(path))


def test_t19_local_copies_make_room(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be fetched again goes before anybody is refused, and no more of it than is needed."""
    workdir = make(root, clock)
    paths = [publish(workdir, bytes([n]) * 4096)[1] for n in range(3)]
    for age, path in zip((300, 200, 100), paths, strict=True):
        os.utime(path, (clock.now - age, clock.now - age))
    fill_disk(monkeypatch, lambda: (64 << 20) - 5120 + 4096 * len(paths) - size_of(paths))
    workdir.begin().close()
    assert [os.path.exists(path) for path in paths] == [False, False, True]
