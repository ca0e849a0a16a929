"""The loader: takes every event from the journals to MongoDB, once.

Theory of operation. The journal is the write-ahead log; the loader is one of its readers. One thread inserts, another
reads ahead (`load_feed`). A *session* begins with checking that journal and database belong together (`load_check`),
finishes a rotation that was begun (`load_rotation`), and then takes batch after batch, in this order:

    insert, unordered, keyed by _id     (load_insert)       a crash before or after: the batch comes again, and
                                                            what is stored already is recognised
    keep what was refused in `rejected`                     the same
    move the checkpoint in MongoDB      (load_checkpoint)   a crash after: the next start begins behind the batch
    move the journal's reader                               retention may drop the events

so a checkpoint never covers an event that is not stored or rejected, and the journal's reader is never beyond
MongoDB's checkpoint: when it is, the database is not what it was. Any error ends the session. MongoDB away, not
primary, full, slow, refusing the password: the loader waits, longer each time up to `loader_backoff_s_max`, and
begins a new session, for as long as it takes. Journal and database that do not fit: the same, but it says what to
do. Only an error of the journal itself, or a fault of ours, ends the loader.

An insert that was not answered may still be carried out later. It changes nothing where it was to go, but after a
rotation it would make an event twice: hence no rotation within `timeout_s` of such a failure.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pymongo import ReadPreference
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from zarkov.batch import epoch_ms
from zarkov.config.mongo import LoaderSettings
from zarkov.crash import crash_point
from zarkov.errors import PositionBeyondEnd, StoreBehind, StoreFailed, StoreUnreachable, ZarkovError
from zarkov.store.load_batch import Batch
from zarkov.store.load_check import begin
from zarkov.store.load_checkpoint import Checkpoints, Last, utc_now
from zarkov.store.load_errors import is_cut_off, is_unanswered
from zarkov.store.load_feed import POLL_S, Feed
from zarkov.store.load_indexes import Indexes
from zarkov.store.load_insert import Inserter
from zarkov.store.load_ports import LoadSource, MongoDatabase, MongoTarget
from zarkov.store.load_rotation import Rotation, collection_of
from zarkov.store.load_status import LoadStatus, Rate, State
from zarkov.store.mongo_errors import brief

BACKOFF_S_MIN = 0.1
#: Batches are halved down to this part of their limits while the server does not answer in time, and doubled again.
SHARE_MIN = 2.0**-14
#: Times that one batch may have the connection closed before each of its events is tried by itself.
CUT_OFF_MAX = 3

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Session:
    """What one session has open."""

    checkpoints: Checkpoints
    rotation: Rotation
    indexes: Indexes
    inserter: Inserter


class Loader:
    """Runs in its caller's thread until told to stop; `status` may be read by any.

    Args:
        jitter: random, from 0 to 1, so that several loaders do not come back at once.
        clock: seconds that only grow. report: told of each new status.
    """

    def __init__(
        self,
        target: MongoTarget,
        sources: Sequence[LoadSource],
        settings: LoaderSettings,
        *,
        jitter: Callable[[], float],
        clock: Callable[[], float],
        report: Callable[[LoadStatus], None] = lambda status: None,
    ) -> None:
        self.status = LoadStatus(since_ms=_now_ms())
        self._target = target
        self._sources = {source.journal_id: source for source in sources}
        self._settings = settings
        self._jitter = jitter
        self._clock = clock
        self._report = report
        self._rate = Rate(clock())
        self._positions: dict[str, int] = {}
        self._ordinal = -1
        self._attempts = 0
        self._cut_off: tuple[str, int, int] = ("", 0, 0)
        self._rotate_from_s = 0.0
        self._share = 1.0

    def run(self, stop: threading.Event, until: Callable[[Loader], bool] | None = None) -> None:
        """Load until `stop` is set, or `until(self)` is true when there is nothing to do.

        Raises: JournalError: a journal cannot be read.
        """
        for source in self._sources.values():
            if source.loaded_to() is None:
                source.hold()
        while not stop.is_set():
            try:
                self._run_session(stop, until)
                break
            except (StoreBehind, PositionBeyondEnd) as error:
                self._enter(State.BEHIND, error)
            except (PyMongoError, ZarkovError) as error:
                if isinstance(error, ZarkovError) and not (error.retryable or isinstance(error, StoreFailed)):
                    raise
                if is_unanswered(error):
                    self._rotate_from_s = self._clock() + self._target.timeout_s
                    self._share = max(SHARE_MIN, self._share / 2)
                self._enter(State.WAITING, error)
            stop.wait(self._pause_s())
        self._enter(State.STOPPED)

    def has_passed(self, ordinal: int) -> bool:
        """Whether every event before the generation `ordinal` is loaded, and `event` is that one or a newer one."""
        return self._ordinal >= ordinal and all(
            self._positions.get(name, -1) >= _first_of(source, ordinal) for name, source in self._sources.items()
        )

    def _run_session(self, stop: threading.Event, until: Callable[[Loader], bool] | None) -> None:
        session = self._begin()
        limits = self._settings
        with Feed(
            list(self._sources.values()),
            self._positions,
            events_max=limits.loader_batch_events_max,
            bytes_max=limits.loader_batch_bytes_max,
            share=self._share,
        ) as feed:
            self._enter(State.LOADING)
            while not stop.is_set():
                feed.share = self._share
                batch = feed.take(2 * POLL_S)
                self._rotate(session, stop)
                if stop.is_set():
                    return
                if batch is not None:
                    self._load(session, batch)
                elif until is not None and until(self):
                    return
                self._count(0)

    def _begin(self) -> _Session:
        """Check everything, and see that collections and indexes are as they should be."""
        database = _confirming(self._target.database())
        checkpoints = Checkpoints(database, utc_now)
        self._positions = {name: begin(source, checkpoints, database) for name, source in self._sources.items()}
        for name, source in self._sources.items():
            source.advance(self._positions[name])
        indexes = Indexes(database)
        rotation = Rotation(database, checkpoints, indexes)
        rotation.resume(self._newest())
        self._ordinal = rotation.ordinal
        indexes.make(collection_of(0))
        return _Session(checkpoints, rotation, indexes, Inserter(database, checkpoints.probe, _now_ms))

    def _newest(self) -> int:
        return max((source.generations()[0].ordinal for source in self._sources.values()), default=0)

    def _rotate(self, session: _Session, stop: threading.Event) -> None:
        newest = self._newest()
        if newest <= session.rotation.ordinal:
            return
        if stop.wait(max(0.0, self._rotate_from_s - self._clock())):
            return
        session.indexes.settle()
        session.rotation.shift_to(newest)
        session.indexes.make(collection_of(0))
        self._ordinal = session.rotation.ordinal
        log.info("collections rotated ordinal=%d", newest)

    def _load(self, session: _Session, batch: Batch) -> None:
        source, last = self._sources[batch.journal_id], None
        if batch.documents:
            name = collection_of(max(0, session.rotation.ordinal - batch.ordinal))
            session.indexes.make(name)
            crash_point("before_insert")
            try:
                outcome = session.inserter.insert(batch, name, wary=self._is_wary(batch))
            except PyMongoError as error:
                if is_cut_off(error):
                    self._note_cut_off(batch)
                raise
            crash_point("after_insert")
            if outcome.rejections:
                source.keep_rejected(outcome.rejections)
                log.warning("events rejected count=%d journal=%s", len(outcome.rejections), batch.journal_id)
            last = Last(*outcome.last) if outcome.last else None
            self.status = replace(
                self.status,
                loaded=self.status.loaded + outcome.stored,
                retried=self.status.retried + outcome.retried,
                repeated=self.status.repeated + outcome.repeated,
                rejected=self.status.rejected + len(outcome.rejections),
            )
        session.checkpoints.move(batch.journal_id, batch.start, batch.stop, last)
        crash_point("after_checkpoint")
        source.advance(batch.stop)
        self._positions[batch.journal_id] = batch.stop
        self._attempts = 0
        self._share = min(1.0, self._share * 2)
        self._count(len(batch.documents))

    def _is_wary(self, batch: Batch) -> bool:
        return self._cut_off == (batch.journal_id, batch.start, CUT_OFF_MAX)

    def _note_cut_off(self, batch: Batch) -> None:
        name, start, times = self._cut_off
        again = (name, start) == (batch.journal_id, batch.start)
        self._cut_off = (batch.journal_id, batch.start, min(CUT_OFF_MAX, times + 1) if again else 1)

    def _count(self, events: int) -> None:
        rate = self._rate.add(events, self._clock())
        self.status = replace(self.status, rate=rate, next_offsets=dict(self._positions))
        self._report(self.status)

    def _pause_s(self) -> float:
        """Doubled with each failure in a row, and then between half of that and all of it."""
        longest: float = min(self._settings.loader_backoff_s_max, BACKOFF_S_MIN * 2.0 ** min(self._attempts, 30))
        self._attempts += 1
        return longest * (0.5 + 0.5 * self._jitter())

    def _enter(self, state: State, error: Exception | None = None) -> None:
        """Take note of a state; say so in the log when it is a new one."""
        before = self.status
        why = "" if error is None else brief(error)
        known = error if isinstance(error, ZarkovError) else StoreUnreachable(why)
        code, hint = ("", "") if error is None else (known.code, known.hint)
        since_ms = before.since_ms if state == before.state else _now_ms()
        self.status = replace(before, state=state, since_ms=since_ms, reason=why, code=code, hint=hint)
        if state != before.state:
            if state is State.BEHIND:
                log.error("loader is behind reason=%s hint=%s", why, hint)
            elif state is State.WAITING:
                log.warning("loader waits reason=%s", why)
            elif state is State.LOADING:
                log.info("loader loads journals=%s", ",".join(self._sources))
        self._report(self.status)


def _confirming(database: MongoDatabase) -> MongoDatabase:
    """The database with writes confirmed by a majority where there is a replica set, whatever the address says.

    They need not be journaled yet: the checkpoint is, and a server's journal keeps the order.
    """
    return database.client.get_database(
        database.name, write_concern=WriteConcern(w="majority"), read_preference=ReadPreference.PRIMARY
    )


def _first_of(source: LoadSource, ordinal: int) -> int:
    """The first offset of a generation; the journal's end where it has none so new."""
    for each in source.generations():
        if each.ordinal == ordinal:
            return each.first_offset
    return source.next_offset


def _now_ms() -> int:
    return epoch_ms(utc_now())
