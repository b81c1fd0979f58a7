"""What the processor is asked for: the pass over an upload, and a token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from werkzeug.formparser import FormDataParser

from benchmarks.families.steps import handoff_of
from benchmarks.figures import Figure
from benchmarks.ground import MIB, Ground
from benchmarks.rivals import Site, bare, fields_of, ours
from benchmarks.rounds import busy, contest
from benchmarks.wire import MULTIPART, Zeros, call, environ_of
from flask_s3handoff.body import parse
from flask_s3handoff.mirror import Inflow, Mirror

SIZE = 64 * MIB
_OPTIONS = {"boundary": MULTIPART.partition("boundary=")[2]}


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure by processor time, which other processes disturb less."""
    yield _tee(ground)
    yield _token(ground)


def _tee(ground: Ground) -> Figure:
    mirror = handoff_of(ours(ground)).rooms.mirror
    path, block = ground.new_folder("tee") / "plain", bytes(65_536)

    def apart() -> None:
        """Parse into a plain file; and hash as many bytes, all of them in the processor's cache."""
        _parse_plainly(path)
        digest = hashlib.sha256()
        for _ in range(SIZE // len(block)):
            digest.update(block)

    runs = {"base": busy(apart), "ours": busy(lambda: _parse_ours(mirror))}
    result = contest(ground.rounds(31, 7), runs)
    return Figure(
        id="tee-cpu",
        measure="64 MiB parsed, hashed and written in one pass",
        base="parsed and written, and one sha256",
        ours=result.ratio("ours"),
        target=1.05,
        gate=1.25,
        scale=f"{1000 * result.typical():.0f} ms",
    )


def _parse_plainly(path: Path) -> None:
    body = Zeros(SIZE)

    def open_file(*_args: Any, **_options: Any) -> IO[bytes]:
        return path.open("wb+", buffering=0)

    parser = FormDataParser(stream_factory=open_file, silent=False)
    _, _, files = parser.parse(body, "multipart/form-data", body.length, _OPTIONS)  # type: ignore[arg-type]
    files["file"].close()
    path.unlink()


def _parse_ours(mirror: Mirror) -> None:
    """Parse as a request is parsed, into a sink that sends nothing."""
    body = Zeros(SIZE)
    parsed = parse(
        FormDataParser(),
        body,  # type: ignore[arg-type]
        "multipart/form-data",
        body.length,
        _OPTIONS,
        receive=lambda name, kind, content_length: Inflow(mirror, name, kind, 1 << 40),  # noqa: ARG005
        max_files=1,
        content_length_header=str(body.length),
        terminated=False,
    )
    parsed.abort()


def _token(ground: Ground) -> Figure:
    app, plain = ours(ground), bare(ground)
    text = fields_of(Site([app]).upload())["_s3handoff"]
    signer = handoff_of(app).rooms.signer
    runs = {
        "base": busy(lambda: call(plain, environ_of("GET", "/hello")), times=100),
        "ours": busy(lambda: signer.mint(signer.read(text)), times=100),
    }
    result = contest(ground.rounds(201, 41), runs)
    handoff_of(app).rooms.mirror.close()
    return Figure(
        id="token",
        measure="a token of one file read and signed",
        base="a Flask hello",
        ours=result.ratio("ours"),
        target=0.60,
        gate=0.90,
        scale=f"{1e6 * result.typical():.0f} µs",
    )
