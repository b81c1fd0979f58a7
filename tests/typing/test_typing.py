"""A user's type checker sees our types, and finds a user's mistakes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tree import PACKAGE, ROOT

HERE = Path(__file__).parent
USERS_FILES = ("flask_app.py", "wsgi_app.py")


@dataclass(frozen=True)
class Project:
    """A user's project: two files, none of our settings, and an environment with the package."""

    folder: Path
    python: Path
    package: Path

    def mypy(self, *names: str) -> str:
        """Run mypy as strictly as a user may, and return what it says."""
        cache = ROOT / ".mypy_cache" / "as-a-user"
        command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *names]
        command += [f"--python-executable={self.python}", f"--cache-dir={cache}"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Install the package beside our own libraries, as the files that are in the wheel.

    Our own environment has it in editable mode, which mypy does not see.
    """
    venv.create(tmp_path / "env", with_pip=False)
    (site,) = (tmp_path / "env").glob("lib/python3*/site-packages")
    shutil.copytree(PACKAGE, site / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name in USERS_FILES:
        shutil.copy(HERE / name, tmp_path)
    return Project(tmp_path, tmp_path / "env" / "bin" / "python", site / PACKAGE.name)


def test_the_public_api_has_the_types_that_it_promises(project: Project) -> None:
    """Every ``assert_type`` holds, and every mistake that is marked as one is found."""
    assert project.mypy(*USERS_FILES) == ""


def test_the_types_come_from_the_package_and_not_from_guesses(project: Project) -> None:
    """A name that is not there is an error; without ``py.typed`` the package is not believed."""
    (project.folder / "probe.py").write_text(
        "from flask_s3handoff import S3Handoff, S3Handof\nreveal_type(S3Handoff().token)\n"
    )
    said = project.mypy("probe.py")
    assert 'Revealed type is "def () -> str"' in said
    assert 'has no attribute "S3Handof"' in said

    (project.package / "py.typed").unlink()
    assert "import-untyped" in project.mypy("probe.py")
