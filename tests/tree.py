"""The files of this checkout, and the modules of the package as syntax trees."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "flask_s3handoff"
WASTE = {"build", "dist", "node_modules"}
HIDDEN_BUT_OURS = {".ci", ".gitignore", ".github"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def tracked() -> tuple[Path, ...]:
    """List every file that git has, or would take; without git, all that is not waste."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        names = listed.stdout.split("\0")[:-1]
    except (FileNotFoundError, subprocess.CalledProcessError):  # an unpacked archive
        names = list(_walk())
    return tuple(sorted(ROOT / name for name in names if (ROOT / name).is_file()))


def _walk() -> Iterator[str]:
    for folder, inner, files in os.walk(ROOT):
        inner[:] = [name for name in inner if _is_ours(name)]
        yield from (os.path.join(folder, name) for name in files if _is_ours(name))


def _is_ours(name: str) -> bool:
    if name.startswith("."):
        return name in HIDDEN_BUT_OURS
    return name not in WASTE and not name.endswith((".egg-info", "__pycache__", ".pyc"))


def modules(folder: Path = PACKAGE) -> dict[str, ast.Module]:
    """Parse each module of a folder: `paths`, `testing` (a package's own), `testing.fleet`."""
    return {_name(path, folder): ast.parse(path.read_bytes()) for path in sources(folder)}


def sources(folder: Path = PACKAGE) -> list[Path]:
    """List the source files of a folder."""
    return sorted(folder.rglob("*.py"))


def _name(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and parts[1:] else parts)


def functions(module: ast.Module) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    return (node for node in ast.walk(module) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    """Count the lines of a body, without signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
