"""Build the wheel and the sdist, and use the wheel as a stranger would: without this checkout.

python -m tests.wheel_check
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

from tests.tree import ROOT, tracked

PACKAGE = "flask_s3handoff"
META = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Run in the clean environment: everything that users import, without the dev dependencies.
STRANGER = f"""
import importlib.metadata, importlib.util, pathlib, pkgutil, sys
import {PACKAGE}
here = pathlib.Path({PACKAGE}.__file__).parent
assert here.is_relative_to(sys.prefix), here
for room in pkgutil.walk_packages([str(here)], "{PACKAGE}."):
    importlib.import_module(room.name)
assert (here / "py.typed").is_file()
assert not importlib.util.find_spec("pytest"), "a dev dependency is here"
print(importlib.metadata.version("{PACKAGE}"))
"""


def main() -> None:
    """Build, look inside, install, import."""
    with tempfile.TemporaryDirectory(prefix="s3h-wheel-") as folder:
        wheel, sdist = check(Path(folder))
    print(f"wheel: {wheel.name} and {sdist.name} are good")


def check(folder: Path) -> tuple[Path, Path]:
    """Do it all in this folder, and leave there what was built and the clean environment."""
    wheel, sdist = build(folder)
    check_wheel(wheel)
    check_sdist(sdist)
    version = import_as_stranger(wheel, folder)
    expect(version == META["version"], f"the wheel says version {version}")
    return wheel, sdist


def build(folder: Path) -> tuple[Path, Path]:
    """Build from a clean copy, so that nothing left over in the tree gets in."""
    source = folder / "source"
    source.mkdir()
    for path in tracked():
        goal = source / path.relative_to(ROOT)
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, goal)
    # The locked setuptools builds; nothing unlocked is fetched.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source)
    (wheel,), (sdist,) = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
    return wheel, sdist


def check_wheel(wheel: Path) -> None:
    """The package and its metadata are inside; tests, docs and the example are not."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    expect(tops == {PACKAGE, f"{PACKAGE}-{META['version']}.dist-info"}, f"in the wheel: {tops}")
    for room in sorted((ROOT / PACKAGE).rglob("*.py")):
        expect(str(room.relative_to(ROOT)) in names, f"{room.name} is missing")
    expect(f"{PACKAGE}/py.typed" in names, "py.typed is missing")
    expect(any(name.endswith("/licenses/LICENSE") for name in names), "LICENSE is missing")


def check_sdist(sdist: Path) -> None:
    """Whoever builds from the source gets the licence, the readme and the metadata."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"LICENSE", "README.md", "pyproject.toml", "setup.cfg", f"{PACKAGE}/py.typed"}
    expect(wanted <= names, f"missing in the sdist: {wanted - names}")


def import_as_stranger(wheel: Path, folder: Path) -> str:
    """Install with the run-time dependencies alone, import every room, return the version."""
    run(sys.executable, "-m", "venv", folder / "clean")
    python = clean_python(folder)
    pinned = constraints(ROOT / "requirements" / "demo.txt", folder)
    run(python, "-m", "pip", "install", "--quiet", *pinned, *META["dependencies"])
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    return run(python, "-W", "error", "-c", STRANGER, cwd=folder).strip()


def clean_python(folder: Path) -> Path:
    """Return the interpreter of the environment that has the wheel and nothing of ours."""
    return folder / "clean" / ("Scripts" if os.name == "nt" else "bin") / "python"


def constraints(lock: Path, folder: Path) -> list[str | Path]:
    """Make constraints of a lock: the versions, without the hashes (pip refuses those here)."""
    pins = [line.split(" \\")[0] for line in lock.read_text().splitlines() if "==" in line[:60]]
    (folder / "constraints.txt").write_text("\n".join(pins) + "\n")
    return ["--constraint", folder / "constraints.txt"]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command and return its output; print it all when it fails."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=env, check=False, stdout=subprocess.PIPE, text=True)
    expect(done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def expect(truth: bool, message: str) -> None:
    """Give up with a message."""
    if not truth:
        sys.exit(f"wheel: {message}")


if __name__ == "__main__":
    main()
