"""Outputs written by a process of its own, for tests that kill it: `python outputs.py STORE HOW COUNT FIRST LAST`.

STORE is a data directory, or the address of a server and a database, with a space between. Commits FIRST to LAST are
written one after another into the collection `out`, each with the documents of `numbered`; the done ones are printed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zarkov.store.contract import Store
from zarkov.store.mongo import MongoStore
from zarkov.store.sqlite import SqliteStore

OUT = "out"


class NoEvents:
    """A journal without events."""

    def generation_names(self) -> list[str]:
        return ["event"]

    def ranges(self, name: str) -> list[Any]:
        return []


def open_outputs(place: str) -> SqliteStore | MongoStore:
    if place.startswith("mongodb"):
        return MongoStore(*place.split())
    return SqliteStore(NoEvents(), Path(place) / "documents.sqlite")


def numbered(commit: int, count: int) -> Iterator[dict[str, Any]]:
    """The documents of a commit: their number is known by what is in them."""
    return ({"_id": number, "n": commit} for number in range(count))


def content(store: Store) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for each in store.collection(OUT).find():
        found[each["_id"]] = each["n"]
        assert set(each) <= {"_id", "n", "zarkov_commit"}
    return found


def write(store: Store, how: str, commit: int, count: int) -> bool:
    return bool(getattr(store, how)(OUT, numbered(commit, count), commit=f"job {commit}"))


def start(place: str, how: str, count: int, first: int, last: int, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, place, how, str(count), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def was_killed(place: str, how: str, count: int, commit: int, point: str) -> bool:
    """Write one commit in a process that kills itself at a point, if it comes there."""
    with start(place, how, count, commit, commit, ZARKOV_CRASH_AT=point) as process:
        code = process.wait(60)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def main() -> None:
    place, how, count, first, last = sys.argv[1:]
    batch = os.environ.get("BATCH")
    if batch:
        make_batches(int(batch))
    with open_outputs(place) as store:
        for commit in range(int(first), int(last) + 1):
            write(store, how, commit, int(count))
            print(commit, flush=True)


def make_batches(count: int) -> None:
    """Batches of so many documents, so that a few make many; also in this process, if it calls this."""
    from zarkov.store import document_table, encoded, mongo_stage, sqlite_output

    encoded.BATCH_COUNT = sqlite_output.BATCH_COUNT = count
    sqlite_output.SHARED_MAX = 4 * count
    document_table.PAGE_COUNT = count + 1
    mongo_stage.COPIED_COUNT = count


if __name__ == "__main__":
    main()
