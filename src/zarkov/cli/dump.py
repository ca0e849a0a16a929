"""Writing events to a file: NDJSON or concatenated BSON, compressed when the name ends with .gz.

The file appears under its name complete and synced, or not at all.
"""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

from zarkov.codec import decode_all, split, to_json

Format = Literal["ndjson", "bson"]
GZIP_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Dump:
    """How many events were written, and the size of the file (0 for standard output)."""

    events: int
    bytes: int


def format_of(name: str) -> Format:
    """The format that a file name asks for: bson for .bson and .bson.gz, else ndjson."""
    return "bson" if name.removesuffix(".gz").endswith(".bson") else "ndjson"


def write(path: Path, form: Format, runs: Iterable[bytes]) -> Dump:
    """Write runs of concatenated BSON events to a file.

    Durability: the file and its name survive power loss once this returns.
    """
    building = path.with_name(path.name + ".part")
    try:
        with building.open("wb") as file:
            with _compressed(file, path.name) as out:
                events = _write_runs(out, form, runs)
            file.flush()
            os.fsync(file.fileno())
        building.rename(path)
    finally:
        building.unlink(missing_ok=True)
    _sync_directory(path.parent)
    return Dump(events, path.stat().st_size)


def write_stdout(form: Format, runs: Iterable[bytes]) -> Dump:
    """Write runs of concatenated BSON events to standard output."""
    events = _write_runs(sys.stdout.buffer, form, runs)
    sys.stdout.buffer.flush()
    return Dump(events, 0)


def _write_runs(out: IO[bytes], form: Format, runs: Iterable[bytes]) -> int:
    events = 0
    for run in runs:
        if form == "bson":
            events += len(split(run))
            out.write(run)
        else:
            documents = decode_all(run)
            events += len(documents)
            out.write("".join(to_json(document) + "\n" for document in documents).encode("utf-8", "surrogatepass"))
    return events


@contextmanager
def _compressed(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    if not name.endswith(".gz"):
        yield file
        return
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=GZIP_LEVEL) as out:
        yield cast("IO[bytes]", out)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
