"""The native thread that commits, and natural group commit.

Requests queue in memory. The thread takes all that wait (up to `sync_events_max`, `sync_bytes_max`), commits them
in one transaction, and tells each requester after the sync; what arrives meanwhile is the next group. So an idle
journal commits at once and a busy one in large groups, without a timer.

Who holds `_using` may use the writer: the thread, or a caller of `try_now` who found the thread idle (that saves a
single small request two changes of threads). `done` callbacks run on the thread that committed, after the sync;
they must be quick and must not raise.

The rejections of a group are stored before its events: when a requester hears of its batch, what was refused of it
can be looked up. A crash in between keeps rejections of a batch that will be sent again.

When the disk is full every requester of the group gets JournalFull and the thread goes on. After JournalFailed
`failed` is set, and every request gets that error.
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeVar

from zarkov.batch import Entry, Rejection
from zarkov.config.journal import JournalSettings
from zarkov.errors import JournalFailed, JournalFull, ShuttingDown, ZarkovError
from zarkov.journal.writer import JournalWriter
from zarkov.metrics import Metrics
from zarkov.position import OffsetRange

_log = logging.getLogger(__name__)
T = TypeVar("T")

#: Done(offsets, None) after the sync, or Done(None, error): nothing of the request was acknowledged.
Done = Callable[[OffsetRange | None, ZarkovError | None], None]
NOTHING = OffsetRange(-1, 0)
#: Commits in callers' threads whose median decides, and for how long there are none when they are slow.
INLINE_COMMITS = 15
INLINE_PAUSE_S = 1.0
#: What one queued request costs beside its data, for `pending_bytes`.
REQUEST_BYTES = 256
#: An idle writer without upkeep looks again after this time, for retention.
REST_S = 10.0


class RejectedPort(Protocol):
    """Where rejections are kept; `add` is one synced commit."""

    def add(self, rejections: Sequence[Rejection]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Request:
    entry: Entry | None
    rejections: Sequence[Rejection]
    done: Done
    bytes: int


_Call = tuple[Callable[[JournalWriter], Any], Future[Any]]


class Committer:
    """Owns the writer between `start` and `join`. Every method may be called from any thread."""

    def __init__(
        self,
        writer: JournalWriter,
        rejected: RejectedPort,
        *,
        settings: JournalSettings,
        metrics: Metrics,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.failed: ZarkovError | None = None
        self._writer = writer
        self._rejected = rejected
        self._settings = settings
        self._now = now
        self._using = threading.Lock()
        self._changed = threading.Condition()
        self._queue: deque[_Request] = deque()
        self._calls: deque[_Call] = deque()
        self._pending_bytes = 0
        self._stopping = False
        self._draining = True
        self._rejections_kept = False
        self._inline_from_s = float("-inf")
        self._inline_at_s = float("-inf")
        self._inline_s: deque[float] = deque(maxlen=INLINE_COMMITS)
        self._thread = threading.Thread(target=self._run, name="zarkov-committer", daemon=True)
        self._commits = metrics.counter("commits", "Commits synced to the journal")
        self._events = metrics.counter("events_synced", "Events synced to the journal")
        self._bytes = metrics.counter("bytes_synced", "Bytes of BSON synced to the journal")
        self._full = metrics.counter("commits_refused", "Commits that found no space on the disk")
        self._commit_s = metrics.timer("commit_s", "Time of a commit, its sync included, in seconds")
        metrics.gauge("pending_bytes", "Bytes that wait for their commit", lambda: self.pending_bytes)

    @property
    def pending_bytes(self) -> int:
        """Bytes submitted and not answered yet."""
        return self._pending_bytes

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, drain: bool = True) -> None:
        """Refuse new requests (ShuttingDown); commit what is queued, or refuse that too. `join` waits for it."""
        with self._changed:
            self._stopping = True
            self._draining = drain
            self._changed.notify()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the thread's end; returns whether it ended. The writer stays open."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def __enter__(self) -> Committer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.join()

    def submit(self, entry: Entry | None, rejections: Sequence[Rejection], done: Done) -> None:
        """Queue a request; `done` is called once, from the thread that commits it.

        `done` gets the offsets (`OffsetRange(-1, 0)` without events), or the error. When the committer is
        stopping or failed, it is called at once, in the calling thread.
        """
        size = REQUEST_BYTES + (len(entry.data) if entry else 0) + sum(len(each.data) for each in rejections)
        with self._changed:
            refusal = self._refusal()
            if refusal is None:
                self._queue.append(_Request(entry, rejections, done, size))
                self._pending_bytes += size
                self._changed.notify()
        if refusal is not None:
            done(None, refusal)

    def try_now(self, entry: Entry | None, rejections: Sequence[Rejection]) -> OffsetRange | None:
        """Commit in the calling thread if nothing else is going on; None: use `submit`.

        Only for requests of up to `inline_bytes_max` bytes, and while such commits take no longer than
        `inline_commit_s_max` in the median.
        Raises: JournalFull, JournalFailed: as `done` would have been told.
        """
        if entry is not None and len(entry.data) > self._settings.inline_bytes_max:
            return None
        if self._now() < self._inline_from_s:
            return None
        times = self._inline_s
        if len(times) == INLINE_COMMITS and statistics.median(times) > self._settings.inline_commit_s_max:
            # The disk may be slow for a moment only: try again later.
            self._inline_from_s = self._now() + INLINE_PAUSE_S
            times.clear()
            return None
        if self._queue or self._refusal() is not None or not self._using.acquire(blocking=False):
            return None
        try:
            if self._queue:
                return None
            began = self._now()
            offsets = self._commit([entry] if entry else [], rejections)
            self._inline_at_s = self._now()
            times.append(self._inline_at_s - began)
            return offsets[0] if offsets else NOTHING
        finally:
            self._using.release()

    def call(self, function: Callable[[JournalWriter], T], timeout_s: float | None = None) -> T:
        """Run `function(writer)` on the thread, between commits; returns or raises what it does.

        It blocks: a greenlet calls it through the hub's threadpool. Raises: ShuttingDown; TimeoutError.
        """
        result: Future[T] = Future()
        with self._changed:
            if self._stopping or not self._thread.is_alive():
                raise ShuttingDown("the journal's writer is not running")
            self._calls.append((function, result))
            self._changed.notify()
        return result.result(timeout_s)

    def _refusal(self) -> ZarkovError | None:
        if self.failed is not None:
            return self.failed
        return ShuttingDown("the event server is stopping") if self._stopping else None

    def _run(self) -> None:
        patience_s = self._settings.upkeep_idle_s
        while True:
            with self._changed:
                due = self._changed.wait_for(self._has_work, patience_s)
                if due and self._settings.sync_gather_s and not self._stopping:
                    self._changed.wait_for(lambda: self._stopping, self._settings.sync_gather_s)
            # Taken only by who may use the writer, so that `try_now` cannot overtake a request that was taken.
            with self._using:
                group, calls = self._take()
                for function, result in calls:
                    _run_call(function, result, self._writer)
                if group:
                    self._commit_group(group)
                if self._stopping and not self._queue and not self._calls:
                    return
                rested_s = self._now() - self._inline_at_s
                patience_s = self._keep_up(idle=not (group or calls) and rested_s >= self._settings.upkeep_idle_s)

    def _has_work(self) -> bool:
        return bool(self._queue or self._calls or self._stopping)

    def _take(self) -> tuple[list[_Request], list[_Call]]:
        """The next group and the calls that wait."""
        group: list[_Request] = []
        events = size = 0
        with self._changed:
            while self._queue:
                request = self._queue[0]
                count = request.entry.count if request.entry else 0
                events += count
                size += request.bytes
                if group and (events > self._settings.sync_events_max or size > self._settings.sync_bytes_max):
                    break
                group.append(self._queue.popleft())
            calls = list(self._calls)
            self._calls.clear()
        return group, calls

    def _commit_group(self, group: list[_Request]) -> None:
        self._rejections_kept = False
        error: ZarkovError | None = self._refused_group()
        failure: ZarkovError | None
        offsets: list[OffsetRange] = []
        if error is None:
            entries = [request.entry for request in group if request.entry is not None]
            rejections = [rejection for request in group for rejection in request.rejections]
            try:
                offsets = self._commit(entries, rejections)
            except ZarkovError as refusal:
                error = refusal
            except Exception:  # noqa: BLE001 - one request's fault must not end the thread
                _log.exception("commit failed requests=%d", len(group))
                error = ZarkovError("the commit failed inside Zarkov")
        answers = iter(offsets)
        for request in group:
            given = NOTHING if request.entry is None else next(answers, None)
            # Who only had rejections to keep has its answer before the events are tried, full or not.
            failure = None if request.entry is None and self._rejections_kept else error
            try:
                request.done(None if failure else given, failure)
            except Exception:  # noqa: BLE001 - nor a callback's
                _log.exception("a callback of a commit raised")
        with self._changed:
            self._pending_bytes -= sum(request.bytes for request in group)

    def _refused_group(self) -> ZarkovError | None:
        if self._stopping and not self._draining:
            return ShuttingDown("the event server is stopping")
        return self.failed

    def _commit(self, entries: list[Entry], rejections: Sequence[Rejection]) -> list[OffsetRange]:
        try:
            if rejections:
                self._rejected.add(rejections)
            self._rejections_kept = True
            if not entries:
                return []
            began = self._now()
            offsets = self._writer.commit(entries)
        except JournalFull:
            self._full.add()
            raise
        except JournalFailed as failure:
            self.failed = failure
            _log.critical("journal stopped reason=%s", failure)
            raise
        self._commit_s.observe(self._now() - began)
        self._commits.add()
        self._events.add(sum(entry.count for entry in entries))
        self._bytes.add(sum(len(entry.data) for entry in entries))
        return offsets

    def _keep_up(self, idle: bool) -> float:
        """A piece of upkeep; returns how long to wait for work before the next one, in seconds."""
        if self.failed is not None:
            return REST_S
        try:
            more = self._writer.upkeep(idle)
        except JournalFailed as failure:
            self.failed = failure
            _log.critical("journal stopped reason=%s", failure)
            return REST_S
        except Exception:  # noqa: BLE001 - commits go on without upkeep
            _log.exception("upkeep failed")
            return REST_S
        if not idle:
            return self._settings.upkeep_idle_s
        return 0.0 if more else REST_S


def _run_call(function: Callable[[JournalWriter], Any], result: Future[Any], writer: JournalWriter) -> None:
    if not result.set_running_or_notify_cancel():
        return
    try:
        result.set_result(function(writer))
    except BaseException as error:  # noqa: BLE001 - it is raised again where the result is asked for
        result.set_exception(error)
