"""What changes the journal besides events: done by whoever holds its writer.

While a server runs that is the server, which is asked over its control socket (`eventlog` answers with these very
functions, on the writer's thread). When none runs, the command takes the journal's lock and does it itself.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from zarkov.batch import Entry
from zarkov.cli.control import ask, is_running
from zarkov.config import Settings
from zarkov.errors import JournalLocked, ProtocolError
from zarkov.ingest.intake import Intake, Taken
from zarkov.ingest.recent import RecentIds
from zarkov.journal.catalog import Generation
from zarkov.journal.rejected import RejectedStore
from zarkov.journal.writer import JournalWriter

Arguments = dict[str, Any]

#: How long a command or a new server waits for one that still holds the journal, such as the orphan of a killed
#: supervisor that is syncing its last events.
PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Held:
    """The journal's writer and the rejected events, held by this process."""

    writer: JournalWriter
    rejected: RejectedStore
    settings: Settings


def perform(settings: Settings, name: str, **arguments: object) -> Arguments:
    """Run one of OPERATIONS, in the running server or here; returns its answer.

    Raises: JournalLocked: a server is starting or stopping; what the operation raises.
    """
    if is_running(settings.control_path):
        return ask(settings.control_path, name, timeout_s=600.0, **arguments)
    with hold(settings) as held:
        return OPERATIONS[name](held, dict(arguments))


@contextmanager
def taker(settings: Settings) -> Iterator[Callable[[Arguments], Arguments]]:
    """The operation `take`, ready to be called many times: by the running server, or here."""
    if is_running(settings.control_path):
        yield lambda arguments: ask(settings.control_path, "take", timeout_s=600.0, **arguments)
        return
    with hold(settings) as held:
        yield lambda arguments: take(held, arguments)


@contextmanager
def hold(settings: Settings) -> Iterator[Held]:
    """The journal for writing; a server that is just stopping is waited for, up to PATIENCE_S.

    Raises: JournalLocked: a server, or another command, holds it.
    """
    if not settings.data_dir.exists():
        settings.data_dir.mkdir(mode=0o700, parents=True)  # Who else may read it is for its owner to say.
    with (
        _patiently_opened(settings) as writer,
        RejectedStore.open(settings.rejected_path, settings.log) as rejected,
    ):
        yield Held(writer, rejected, settings)


def _patiently_opened(settings: Settings) -> JournalWriter:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return JournalWriter.open(settings.journal_dir, settings.log)
        except JournalLocked:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(PATIENCE_S / 100)


def rotate(held: Held, arguments: Arguments) -> Arguments:
    """End the generation `event`, which is `event.0` from now on, and begin the next.

    With `ordinal`: end as many as it takes to make that one the current one, to catch up with other journals.
    """
    ended = _rotate(held, arguments)
    return {"ordinal": ended.ordinal, "first_offset": ended.first_offset, "stop_offset": ended.stop_offset}


def drop_generation(held: Held, arguments: Arguments) -> Arguments:
    """Drop the ended generation `ordinal` and all before it; `removed` is false while a reader still needs them."""
    return {"removed": held.writer.drop_generation(_number(arguments, "ordinal"))}


def drop_all(held: Held, arguments: Arguments) -> Arguments:
    """Drop every event and every rejected event; offsets go on. `ordinal`: as for `rotate`."""
    ended = _rotate(held, arguments)
    removed = held.writer.drop_generation(ended.ordinal)
    return {"removed": removed, "rejected": held.rejected.purge()}


def take(held: Held, arguments: Arguments) -> Arguments:
    """Store events as if they had come in on a socket: `data` in Base64, of the `format` bson or json.

    A running server has a command of this name with the same answer: `{count, refused, duplicates, ...}`.
    """
    taken = _take_in(held.settings, arguments)
    if taken.summary is not None:
        held.writer.commit([Entry(taken.data, taken.count, taken.summary)])
    refused = [{"index": one.index, "code": one.code, "reason": one.reason} for one in taken.refused]
    return {"count": taken.count, "refused": refused, "duplicates": list(taken.duplicates)}


OPERATIONS: dict[str, Callable[[Held, Arguments], Arguments]] = {
    "rotate": rotate,
    "drop_generation": drop_generation,
    "init": drop_all,
}


def _rotate(held: Held, arguments: Arguments) -> Generation:
    """End the current generation, or several; returns the last one that ended."""
    ended = held.writer.rotate()
    while "ordinal" in arguments and ended.ordinal + 1 < _number(arguments, "ordinal"):
        ended = held.writer.rotate()
    return ended


def _take_in(settings: Settings, arguments: Arguments) -> Taken:
    limits = settings.ingest
    intake = Intake(
        RecentIds(0),
        event_bytes_max=limits.event_bytes_max,
        depth_max=limits.depth_max,
        now=lambda: datetime.now(UTC).replace(tzinfo=None),
        new_id=lambda: ObjectId().binary,
    )
    data = [base64.b64decode(arguments["data"])]
    return intake.take_json(data) if arguments["format"] == "json" else intake.take_bson(data)


def _number(arguments: Arguments, name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProtocolError(f"{name} must be a whole number, not {value!r:.40}")
    return value
