"""Having the loader pass a generation's end: the running one, or one in this process where none runs."""

from __future__ import annotations

import threading
import time

from zarkov.cli.load_source import JournalSource, Target, open_sources
from zarkov.cli.loader import pass_now
from zarkov.cli.loader_lock import StatusFile
from zarkov.config import Settings
from zarkov.errors import StoreBehind, StoreUnreachable
from zarkov.store.load_checkpoint import Checkpoints, utc_now
from zarkov.store.load_status import LoadStatus, State
from zarkov.store.mongo_errors import translated

LOOK_S = 0.1


def newest_generation(settings: Settings) -> int:
    """The ordinal of the newest generation of all journals; 0 before the first."""
    with open_sources(settings) as sources:
        return max((source.generations()[0].ordinal for source in sources), default=0)


def wait_passed(settings: Settings, ordinal: int) -> None:
    """Until every event before the generation `ordinal` is in MongoDB, and `event` there is that one.

    That takes as long as there is a backlog.
    Raises: StoreUnreachable: MongoDB has been away for `mongo_timeout_s`. StoreBehind: it does not fit the journal.
    """
    while not _pass_here(settings, ordinal):
        # Another loader runs. It may end at any time: then it is this process's turn.
        if _has_passed(settings, ordinal):
            return
        said = StatusFile(settings).read()
        if said:
            _refuse(settings, str(said["state"]), int(said["since_ms"]), str(said["reason"]))
        time.sleep(LOOK_S)


def _pass_here(settings: Settings, ordinal: int) -> bool:
    """Load here; false where another loader runs."""
    stop = threading.Event()
    last = LoadStatus()

    def report(status: LoadStatus) -> None:
        nonlocal last
        if status.state is not State.STOPPED:
            last = status
        if status.state is State.BEHIND or (
            status.state is State.WAITING and _is_long_ago(settings, status.since_ms)
        ):
            stop.set()

    mine = pass_now(settings, lambda loader: loader.has_passed(ordinal), stop, report)
    if mine and stop.is_set():
        _refuse(settings, last.state, last.since_ms, last.reason)
    return mine


def _has_passed(settings: Settings, ordinal: int) -> bool:
    with Target(settings) as target, translated(), open_sources(settings) as sources:
        checkpoints = Checkpoints(target.database(), utc_now)
        rotation = checkpoints.rotation()
        if rotation is None or rotation["ordinal"] < ordinal or "renaming" in rotation:
            return False
        return all(_is_past(checkpoints, source, ordinal) for source in sources)


def _is_past(checkpoints: Checkpoints, source: JournalSource, ordinal: int) -> bool:
    found = checkpoints.read(source.journal_id)
    return found is not None and found.next_offset is not None and found.next_offset >= source.first_of(ordinal)


def _refuse(settings: Settings, state: str, since_ms: int, reason: str) -> None:
    """Raise what keeps the loader from going on, if anything does."""
    if state == State.BEHIND:
        raise StoreBehind(f"the journal is done, and MongoDB cannot follow: {reason}")
    if state == State.WAITING and _is_long_ago(settings, since_ms):
        raise StoreUnreachable(
            f"the journal is done, and MongoDB is away: {reason}",
            hint="The loader follows when MongoDB is back; then run the command again.",
        )


def _is_long_ago(settings: Settings, since_ms: int) -> bool:
    return time.time() * 1000 - since_ms >= settings.loader.mongo_timeout_s * 1000
