"""One at a time: threads and processes wait for each other, and never for ever."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path

import pytest

from flask_s3handoff.errors import Unavailable
from flask_s3handoff.paths import new_relpath
from flask_s3handoff.workdir import WorkDir

SECONDS = 20.0
CONTEXTS = [multiprocessing.get_context("spawn"), multiprocessing.get_context("fork")]
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "s3handoff"


def make(root: Path) -> WorkDir:
    return WorkDir(str(root), max_bytes=1 << 30, max_age_seconds=86_400)


def soon() -> float:
    return time.monotonic() + SECONDS


def wait_until(path: Path) -> None:
    """Wait for a file that another process makes."""
    until = soon()
    while not path.exists():
        assert time.monotonic() < until, f"{path} never came"
        time.sleep(0.005)


def test_t21_threads_go_one_at_a_time(root: Path) -> None:
    """Of 16 threads that want one file, never two are inside, and all get their turn."""
    workdir, relpath = make(root), new_relpath("a")
    inside: list[int] = []
    most: list[int] = []

    def fly() -> None:
        with workdir.flight(relpath, until=soon()):
            inside.append(1)
            most.append(len(inside))
            os.stat(root)  # let others run
            inside.pop()

    threads = [threading.Thread(target=fly) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert most == [1] * 16
    assert list((root / "lock").iterdir()) == []


def test_t21_files_do_not_wait_for_each_other(root: Path) -> None:
    """A flight for one file does not hold up another."""
    workdir = make(root)
    now = time.monotonic()
    with workdir.flight(new_relpath("a"), until=now), workdir.flight(new_relpath("b"), until=now):
        assert len(list((root / "lock").iterdir())) == 2
    assert list((root / "lock").iterdir()) == []


def test_a_flight_ends_with_its_error(root: Path) -> None:
    """An error inside comes through as it is, and the next may go at once."""
    workdir, relpath = make(root), new_relpath("a")
    for _ in range(2):
        with pytest.raises(KeyError), workdir.flight(relpath, until=time.monotonic()):
            raise KeyError
    with pytest.raises(OSError, match="mine"), workdir.flight(relpath):
        raise OSError("mine")


def die_in_time() -> None:
    """Let a forked child not outlive its test, even where it hangs on a lock."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(SECONDS))


def count(root: str, relpath: str, rounds: int) -> None:
    """Add to a number in a file, which is lost when two do it at once."""
    workdir, number = make(Path(root)), Path(root).with_name("number")
    for _ in range(rounds):
        with workdir.flight(relpath, until=soon()):
            number.write_text(str(int(number.read_text()) + 1))


@forks
@pytest.mark.parametrize("context", CONTEXTS, ids=["spawn", "fork"])
def test_t21_processes_go_one_at_a_time(root: Path, context: SpawnContext | ForkContext) -> None:
    """Two processes that count in one file lose nothing, started afresh or forked."""
    root.with_name("number").write_text("0")
    relpath = new_relpath("a")
    processes = [context.Process(target=count, args=(str(root), relpath, 60)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    assert [process.exitcode for process in processes] == [0, 0]
    assert root.with_name("number").read_text() == "120"
    assert list((root / "lock").iterdir()) == []


HOLDER = """
import sys, pathlib
from flask_s3handoff.workdir import WorkDir
with WorkDir(sys.argv[1], max_bytes=1, max_age_seconds=1).flight(sys.argv[2]):
    pathlib.Path(sys.argv[3]).touch()
    sys.stdin.read()
"""


def hold(root: Path, relpath: str) -> subprocess.Popen[bytes]:
    """Start a process that holds the flight until its input ends."""
    held = root.with_name("held")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), relpath, str(held)], stdin=subprocess.PIPE
    )
    wait_until(held)
    return holder


def test_rule_10_nobody_waits_longer_than_they_can(root: Path) -> None:
    """Whoever holds the flight, a thread or a process: after `until` it is `Unavailable`."""
    workdir, relpath = make(root), new_relpath("a")
    with hold(root, relpath) as holder:
        began = time.monotonic()
        with pytest.raises(Unavailable), workdir.flight(relpath, until=began + 0.1):
            pytest.fail("two are inside")
        assert 0.1 <= time.monotonic() - began < 30
    assert holder.returncode == 0
    with workdir.flight(relpath, until=soon()):
        waiter = threading.Thread(target=refused_at_once, args=(workdir, relpath))
        waiter.start()
        waiter.join(SECONDS)
    assert workdir._turns._locks == {}


def refused_at_once(workdir: WorkDir, relpath: str) -> None:
    with pytest.raises(Unavailable), workdir.flight(relpath, until=time.monotonic()):
        pytest.fail("two are inside")


def test_f17_the_flight_of_a_killed_process_is_over(root: Path) -> None:
    """The kernel lets go of what a killed process held."""
    relpath = new_relpath("a")
    with hold(root, relpath) as holder:
        holder.send_signal(signal.SIGKILL)
        with make(root).flight(relpath, until=soon()):
            pass
    assert list((root / "lock").iterdir()) == []


@forks
def test_rule_12_a_child_forked_during_a_flight_does_not_prolong_it(root: Path) -> None:
    """A child has its parent's descriptors: the lock is given back, not only closed."""
    relpath, (awake, wake), flown = new_relpath("a"), os.pipe(), threading.Event()

    def fly() -> None:
        with make(root).flight(relpath, until=soon()):  # another worker: it waits for the file
            flown.set()

    waiter = threading.Thread(target=fly)
    with make(root).flight(relpath):
        child = os.fork()
        if child == 0:
            die_in_time()
            os.close(wake)
            os.read(awake, 1)  # until the parent is done
            os._exit(0)
        waiter.start()
        until = soon()
        while len(openers(root / "lock")) < 2:
            assert time.monotonic() < until
            time.sleep(0.001)
    is_prompt = flown.wait(3)
    os.close(wake)
    os.close(awake)
    os.waitpid(child, 0)
    waiter.join(SECONDS)
    assert is_prompt


def openers(folder: Path) -> list[str]:
    """List the descriptors of this process that are open below a folder."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(str(folder))]


@forks
def test_rule_12_a_child_does_not_wait_for_threads_of_its_parent(root: Path) -> None:
    """A child forked while threads of the parent fly flies itself, once the file is free."""
    workdir, relpath, other = make(root), new_relpath("a"), new_relpath("b")
    inside, leave = threading.Event(), threading.Event()

    def fly() -> None:
        with workdir.flight(relpath):
            inside.set()
            leave.wait(SECONDS)

    thread = threading.Thread(target=fly)
    thread.start()
    assert inside.wait(SECONDS)
    workdir._turns._guard.acquire()  # as if another thread were just asking for its turn
    child = os.fork()
    if child == 0:
        die_in_time()
        with workdir.flight(other, until=time.monotonic() + 5):
            os._exit(7)
        os._exit(1)
    workdir._turns._guard.release()
    leave.set()
    thread.join(SECONDS)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_f36_a_disk_without_locks_lets_everybody_go(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `flock` is not known, two fetches do no harm, and a request must not fail for it."""

    def unknown(*_args: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with make(root).flight(new_relpath("a"), until=time.monotonic()):
        pass
