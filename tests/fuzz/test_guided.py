"""The committed inputs again, and some seconds of coverage-guided fuzzing (for hours: `make fuzz`)."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import fuzz_refill
from tests.fuzz.__main__ import guided
from tests.fuzz.guided import CORPUS, TARGETS

SECONDS = 4
INPUTS = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
has_atheris = importlib.util.find_spec("atheris") is not None


@pytest.fixture(scope="module", autouse=True)
def stage() -> Iterator[None]:
    """Take down the middleware of the last input."""
    yield
    fuzz_refill.close()


@pytest.mark.parametrize("target", TARGETS)
def test_every_committed_input_still_holds(target: str) -> None:
    """What once reached a new line, or failed, without atheris."""
    check = importlib.import_module(f"tests.fuzz.fuzz_{target}").check
    inputs = [path for path in INPUTS if path.parent.name == target]
    assert len(inputs) > 20
    for path in inputs:
        check(path.read_bytes())


def test_the_corpus_stays_small() -> None:
    """It is committed: less than 200 KB."""
    assert sum(path.stat().st_size for path in INPUTS) < 200_000


@pytest.mark.skipif(not has_atheris, reason="atheris has no wheel: this platform lacks it")
@pytest.mark.parametrize("target", TARGETS)
def test_some_seconds_of_fuzzing_find_nothing(target: str, tmp_path: Path) -> None:
    """A find is shown with its input, in base64 and as a file of libFuzzer's."""
    ended = guided(target, SECONDS, tmp_path, capture=True)
    assert ended.returncode == 0, ended.stderr[-4000:]
    runs = [line for line in ended.stderr.splitlines() if line.startswith("Done ")]
    print(f"{target}: {runs}")
    assert int(runs[0].split()[1]) >= len([path for path in INPUTS if path.parent.name == target])
