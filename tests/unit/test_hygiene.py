"""What the tree may not contain, and how long its functions may be."""

from __future__ import annotations

import ast
import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run_mutants import load
from tests.tree import PACKAGE, ROOT, body_lines, functions, modules, sources, tracked

LONGEST_ROOM = 350
LONGEST_BODY = 45
USUAL_BODY, USUAL_SHARE = 20, 0.9

BANNED_MODULES = {"pickle", "marshal", "shelve", "dill", "cPickle"}  # code from bytes (T5)
BANNED_CALLS = {
    "eval",
    "exec",
    "yaml.load",
    "os.umask",  # one for the whole process: a race between threads (T23)
    "os.system",
    "tempfile.mktemp",
    "fcntl.lockf",  # gone as soon as anybody closes the file
}
ACL_ROOMS = {"config", "s3", "s3bucket", "s3client", "store"}

# Addresses of package indexes; paths of somebody's machine; keys that open something.
FOREIGN = [
    re.compile(
        r"https?://[\w.-]*(?:pypi|pythonhosted|npmjs|registry|artifactory|nexus)[\w.-]*", re.I
    ),
    re.compile(r"--(?:index-url|extra-index-url|find-links|trusted-host)\b"),
    re.compile(r"(?<![\w.~/-])/(?:work|root|opt|home|Users|tmp)/[\w.]"),
    re.compile(r"file:///\w"),
    re.compile(r"\b(?:AKIA|ASIA)(?!IOSFODNN7EXAMPLE)[0-9A-Z]{16}\b"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
]
ADDRESS = re.compile(r"(?<![\w.=-])(?:\d{1,3}\.){3}\d{1,3}(?![\w.-])")
# Loopback, "all interfaces", the cloud's metadata service, and the ranges kept for documentation.
HARMLESS = [
    ipaddress.ip_network(block)
    for block in (
        "127.0.0.0/8",
        "0.0.0.0/32",
        "169.254.169.254/32",
        "192.168.1.1/32",  # what S3's rules say no bucket may be called
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
    )
]
ROOMS = modules()


def called(node: ast.Call) -> str:
    """The dotted name of what is called."""
    return ast.unparse(node.func)


def banned(module: ast.Module) -> Iterator[str]:
    """Everything in a module that may not be there."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in BANNED_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "") in BANNED_MODULES:
            yield node.module or ""
        elif isinstance(node, ast.Call) and called(node) in BANNED_CALLS:
            yield called(node)


def sends_an_acl(module: ast.Module) -> bool:
    """Is there an `ACL` argument or key?"""
    return any(
        (isinstance(node, ast.keyword) and node.arg == "ACL")
        or (isinstance(node, ast.Constant) and node.value == "ACL")
        for node in ast.walk(module)
    )


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_uses_what_is_banned(room: str) -> None:
    """Nothing that comes from outside is ever run, and nothing is changed for the whole process."""
    assert list(banned(ROOMS[room])) == []


@pytest.mark.parametrize("room", sorted(set(ROOMS) - ACL_ROOMS))
def test_only_the_store_speaks_of_acls(room: str) -> None:
    """What becomes public is decided in one place."""
    assert not sends_an_acl(ROOMS[room])


def test_the_ban_can_bite() -> None:
    """Each way of writing it is seen."""
    source = "import pickle.x\nfrom marshal import loads\nos.umask(0)\neval('1')\nput(ACL='x')"
    assert sorted(banned(ast.parse(source))) == ["eval", "marshal", "os.umask", "pickle.x"]
    assert sends_an_acl(ast.parse(source))
    assert sends_an_acl(ast.parse("{'ACL': 'public-read'}"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_a_room_is_one_idea(path: Path) -> None:
    """A room beyond 350 lines is two ideas."""
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_ROOM


def test_functions_read_aloud() -> None:
    """No body is longer than 45 lines, and nine of ten are not longer than 20."""
    lengths = {
        f"{room}.{function.name}": body_lines(function)
        for room, module in ROOMS.items()
        for function in functions(module)
    }
    assert [name for name, length in lengths.items() if length > LONGEST_BODY] == []
    usual = sum(length <= USUAL_BODY for length in lengths.values())
    assert usual >= USUAL_SHARE * len(lengths)


def foreign(text: str) -> Iterator[str]:
    """Everything in a text that belongs to somebody's machine."""
    for pattern in FOREIGN:
        yield from pattern.findall(text)
    yield from (found for found in ADDRESS.findall(text) if not is_harmless(found))


def is_harmless(text: str) -> bool:
    """Is it an address that means the same everywhere, or none at all (a version number)?"""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return True
    return any(address in block for block in HARMLESS)


def test_no_file_names_a_machine() -> None:
    """The tree works anywhere: no index address, no private path, no credential in it."""
    texts = {str(path.relative_to(ROOT)): _text(path) for path in tracked()}
    found = {name: sorted(set(foreign(text))) for name, text in texts.items()}
    assert {name: hits for name, hits in found.items() if hits} == {}


def _text(path: Path) -> str:
    content = path.read_bytes()
    text = "" if b"\0" in content else content.decode("utf-8", "replace")
    # Some versions in a lock have four numbers.
    return re.sub(r"==[\d.]+", "==", text) if path.parent.name == "requirements" else text


@pytest.mark.parametrize(
    "sample",
    [
        "https://{pypi}.org/simple",
        "/{root}/x",
        "{ten}.0.0.7",
        "--{index}-url",
        "{akia}ABCDEFGHIJKLMNOP",
    ],
)
def test_the_search_for_machines_can_bite(sample: str) -> None:
    """Each kind is found; written so that this file passes its own test."""
    words = {"pypi": "pypi", "root": "root", "ten": "10", "index": "index", "akia": "AKIA"}
    assert len(list(foreign(f"see {sample.format(**words)} there"))) == 1


def test_the_search_for_machines_knows_what_is_harmless() -> None:
    """Loopback, documentation addresses, version numbers and paths of URLs are nobody's."""
    assert (
        list(foreign("127.0.0.1 192.0.2.7 1.2.3.999 1.2.3.4.5 example.com/home/x a/root/b")) == []
    )


def test_every_sabotage_still_applies_and_stands_once_in_the_list() -> None:
    """What was moved or renamed is told at once, not by the long run of all mutants."""
    mutants = load(ROOT / "tests" / "mutants.toml")
    assert [m for m in mutants if (PACKAGE / m.file).read_text().count(m.old) != 1] == []
    assert [m.test for m in mutants if not _is_there(m.test)] == []
    listed = Counter((m.file, m.old, m.new, m.test) for m in mutants)
    assert [mutant for mutant, times in listed.items() if times > 1] == []


def _is_there(test: str) -> bool:
    """Tell whether a file has what a test id names, whatever its parameters are."""
    file, *names = test.partition("[")[0].split("::")
    source = (ROOT / file).read_text() if (ROOT / file).is_file() else ""
    return bool(source) and all(re.search(rf"\b(def|class) {name}\b", source) for name in names)
