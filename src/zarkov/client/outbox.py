"""The client's state machine: events in, batches out, answers in, reports out. Pure: the clock is passed in.

Theory of operation. An event that was added is in exactly one place until it is settled:

    open      the batch that still gathers events; sealed when it is full, flushed, `linger_s` old, or when nothing
              is in flight: an idle client sends at once, a busy one gathers while it waits
    backlog   sealed batches that this process has not sent; in memory, or with a spool on disk as well
    window    batches that were sent at least once, in order of their sequences; at most `window_max` wide

It is settled once: acknowledged, or reported as a `Refusal`. A batch leaves the window by the first answer to its
sequence; later answers to the same sequence find nothing and change nothing. A batch in the window is sent again
with the same sequence and the same bytes until it is answered (the server then gives its first answer again), so it
is never stored twice. A batch that is taken back out of the window to be cut in two was answered "not taken" to its
first sending since the greeting, by a server that had not heard of it then, hence may be given new sequences.

Without a spool, sequences start only after the server's WELCOME, behind the highest that it knows of this producer.
The window is counted in sequences from the oldest unanswered one (with a spool: the oldest that the next process
would send again), as the server counts it: a retry is never "too old". Another server may have another `window_max`:
what lies beyond is sent again when the window has come so far.

Time: `due_at` of a batch in the window is when it is sent again: after `answer_s` of silence (doubled each time),
after a pause when the server said "later", at once when the connection is new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Literal

from zarkov.client import frames
from zarkov.client.backlog import NEVER, Backlog, Batch, MemoryBacklog, events_of, halves
from zarkov.client.limits import Limits
from zarkov.client.window import Window

__all__ = ["NEVER", "Counters", "Outbox", "Refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that is not stored (code `not_acknowledged`: not known to be stored), and why.

    `code` is one of `errors.REFUSAL_CODES`, or the code of the error that kept its whole batch out.
    """

    event: bytes
    code: str
    reason: str


@dataclass(slots=True)
class Counters:
    """Events, but for the last three, since the client was made; `restored` were in the spool then."""

    taken: int = 0
    restored: int = 0
    acknowledged: int = 0
    refused: int = 0
    abandoned: int = 0
    batches_sent: int = 0
    retries: int = 0
    answers: int = 0


@dataclass(slots=True)
class Outbox:
    """One producer's unsettled events. Not thread safe.

    `jitter` gives numbers from 0 to 1 that spread the retries of many clients.
    """

    producer: bytes
    limits: Limits
    jitter: Callable[[], float]
    spool: InitVar[Backlog | None] = None
    backlog: Backlog = field(init=False)
    counters: Counters = field(default_factory=Counters)
    #: What was settled as not stored since the owner last took this list.
    reports: list[Refusal] = field(default_factory=list)
    #: Journal -> the offset behind the last acknowledged event.
    position: dict[str, int] = field(default_factory=dict)
    pending_events: int = 0
    pending_bytes: int = 0
    _state: Literal["away", "greeting", "ready"] = "away"
    _hello_at: float = NEVER
    _open: list[bytes] = field(default_factory=list)
    _open_bytes: int = 0
    _open_until: float = NEVER
    _open_keep_at: float = NEVER  # when the open batch must be sealed, sent or not; NEVER without a spool
    _window: Window = field(init=False)
    _paused_until: float = 0.0
    _pauses: int = 0  # in a row
    _batch_events_max: int = 0
    _batch_bytes_max: int = 0
    _server_bytes_max: int = 0

    def __post_init__(self, spool: Backlog | None) -> None:
        self.backlog = spool or MemoryBacklog(self.limits)
        self._window = Window(self.limits)
        self.pending_events = self.counters.restored = self.backlog.pending_events
        self.pending_bytes = self.backlog.pending_bytes
        self._batch_events_max = self.limits.batch_events_max
        self._batch_bytes_max = self.limits.batch_bytes_max

    # Events in.

    def has_room(self, size: int) -> bool:
        """Whether an event of this many bytes fits; an empty outbox takes any event."""
        backlog = self.backlog
        if not self.pending_events:
            return backlog.events_max > 0
        return self.pending_events < backlog.events_max and self.pending_bytes + size <= backlog.bytes_max

    def add(self, event: bytes, now: float) -> bool:
        """Take one event; the caller has asked `has_room`. True when something may be sent now."""
        size = len(event)
        sealed = bool(self._open) and self._open_bytes + size > self._batch_bytes_max
        if sealed:
            self.seal()
        self._opened((event,), size, now)
        return self._seal_if_full() or sealed or (not self._window and self._state == "ready")

    def add_many(self, events: Sequence[bytes], start: int, now: float) -> int:
        """Take events from `start` on, at most what completes one batch, and say how many; 0: there is no room."""
        backlog = self.backlog
        room = int(min(self._batch_events_max - len(self._open), backlog.events_max - self.pending_events))
        if room > 1:
            piece = events[start : start + room]
            size = sum(map(len, piece))
            fits_batch = self._open_bytes + size <= self._batch_bytes_max
            if fits_batch and self.pending_bytes + size <= backlog.bytes_max:
                self._opened(piece, size, now)
                self._seal_if_full()
                return len(piece)
        if not self.has_room(len(events[start])):
            return 0
        self.add(events[start], now)
        return 1

    def seal(self) -> None:
        """End the open batch: it may be sent now."""
        if self._open:
            self.backlog.append(b"".join(self._open), len(self._open), self._open_keep_at)
            self._open, self._open_bytes = [], 0
            self._open_until = self._open_keep_at = NEVER

    def mark(self) -> int:
        """Seal, and name all that was added until now, for `settled` and `is_kept`."""
        self.seal()
        return self.backlog.last_number

    def settled(self, mark: int) -> bool:
        """Whether everything added before this mark was acknowledged or reported."""
        if not self.pending_events:
            return True
        return min(self._window.lowest_number, self.backlog.lowest()) > self.backlog.reach(mark)

    # The spool.

    def is_kept(self, mark: int) -> bool:
        """Whether everything added before this mark is on disk, or settled."""
        return self.backlog.kept_number >= mark or self.settled(mark)

    @property
    def keep_at(self) -> float:
        """When `keep` has something to do; NEVER without a spool."""
        return min(self._open_keep_at, self.backlog.keep_at)

    def keep(self, now: float, *, all_of_it: bool = False) -> None:
        """Bring to the disk what is due, or all that was added until now; whether a server is there or not."""
        if all_of_it or now >= self._open_keep_at:
            self.seal()
        self.backlog.keep(now, all_of_it=all_of_it)

    # The connection, and answers in.

    def connected(self, now: float) -> None:
        """A new connection: nothing is sent before the server's WELCOME."""
        self._state, self._hello_at = "greeting", now

    def disconnected(self) -> None:
        self._state, self._hello_at = "away", NEVER

    def answered(self, answer: frames.Answer, now: float) -> None:
        self.counters.answers += 1
        match answer:
            case frames.Welcome():
                self._welcomed(answer, now)
            case frames.Acknowledged():
                self._acknowledged(answer, now)
            case frames.NotTaken():
                self._not_taken(answer, now)

    # Messages out.

    def next_message(self, now: float) -> list[bytes] | None:
        """The frames to send now, counted as sent; None: nothing is due."""
        if self._state == "greeting" and now >= self._hello_at:
            self._hello_at = now + self.limits.answer_s
            return frames.hello(self.producer)
        if self._state != "ready" or now < self._paused_until:
            return None
        found = self._window.due(now)
        if found is not None:
            self.counters.retries += 1
        else:
            found = self._new(now)
        if found is None:
            return None
        sequence, batch = found
        self.counters.batches_sent += 1
        self._window.sent(batch, now)
        return frames.batch(self.producer, sequence, batch.data)

    def wake_at(self) -> float:
        """When `next_message` may have something, if nothing else happens first; 0.0: at once."""
        keep_at = self.keep_at
        if self._state != "ready":
            return min(self._hello_at, keep_at)
        at = self._window.due_at
        if self._window_is_open():
            at = min(at, 0.0 if self.backlog.is_waiting else self._open_due_at())
        return min(max(at, self._paused_until), keep_at)

    @property
    def in_flight(self) -> int:
        """Batches that were sent and not answered."""
        return len(self._window)

    @property
    def greeted(self) -> bool:
        """Whether a server has said WELCOME on this connection."""
        return self._state == "ready"

    def awaits_answer(self, now: float) -> bool:
        """Whether the server owes one: to the greeting, or to a batch, but not in a pause that it asked for."""
        return self._state != "ready" or (len(self._window) > 0 and now >= self._paused_until)

    def abandon(self, reason: str) -> None:
        """Report everything unsettled as not acknowledged, but for what stays in the spool."""
        self.seal()
        if not self.backlog.is_kept:
            for sequence, batch in list(self._window.batches.items()):
                self._window.remove(sequence)
                self._report_all(batch, "not_acknowledged", f"{reason}; it was sent, and may be stored")
                self.counters.abandoned += batch.count
        for batch in self.backlog.unkept():
            self._report_all(batch, "not_acknowledged", f"{reason}; it was never sent")
            self.counters.abandoned += batch.count

    def validate(self) -> None:
        """Check what is always true; for tests."""
        window, backlog = self._window, self.backlog
        window.validate()
        in_window = sum(batch.count for batch in window.batches.values())
        assert self.pending_events == len(self._open) + backlog.pending_events + in_window
        assert self.pending_bytes == self._open_bytes + backlog.pending_bytes + window.size
        assert self._open_bytes == sum(map(len, self._open))
        assert max(window.batches, default=0) < backlog.first_sequence
        assert self._open_keep_at == NEVER or (backlog.is_kept and self._open)
        done = self.counters.acknowledged + self.counters.refused + self.counters.abandoned
        assert self.counters.taken + self.counters.restored == done + self.pending_events

    def _opened(self, events: Sequence[bytes], size: int, now: float) -> None:
        if not self._open:
            lingers_until = now + self.limits.linger_s
            self._open_until = lingers_until if self._window else now
            if self.backlog.is_kept:
                self._open_keep_at = lingers_until
        self._open.extend(events)
        self._open_bytes += size
        self.pending_bytes += size
        self.pending_events += len(events)
        self.counters.taken += len(events)

    def _seal_if_full(self) -> bool:
        if len(self._open) < self._batch_events_max and self._open_bytes < self._batch_bytes_max:
            return False
        self.seal()
        return True

    def _welcomed(self, welcome: frames.Welcome, now: float) -> None:
        renamed = self.backlog.greeted(welcome.sequence)
        if renamed is not None:
            self.producer = renamed or self.producer
            self._state, self._hello_at = "greeting", now if renamed else now + self.limits.answer_s
            return
        is_first, self._state = self._state != "ready", "ready"
        self._window.greeted(welcome.sequence, welcome.window_max, now, is_first=is_first)
        self._batch_events_max = min(self.limits.batch_events_max, welcome.batch_events_max)
        self._batch_bytes_max = min(self.limits.batch_bytes_max, welcome.batch_bytes_max)
        self._server_bytes_max = welcome.batch_bytes_max
        self._paused_until, self._pauses = 0.0, 0

    def _acknowledged(self, answer: frames.Acknowledged, now: float) -> None:
        batch = self._window.batches.get(answer.sequence)
        if batch is None:
            return
        self._window.remove(answer.sequence)
        self._pauses = 0
        if answer.count:
            end = answer.first + answer.count
            self.position[answer.journal] = max(end, self.position.get(answer.journal, 0))
        refused = {one.index: one for one in answer.refused if 0 <= one.index < batch.count}
        self.counters.acknowledged += batch.count - len(refused)
        self.counters.refused += len(refused)
        self._end_linger()
        if refused:
            events = events_of(batch)
            self.reports.extend(Refusal(events[i], one.code, one.reason) for i, one in sorted(refused.items()))
        self._settle(batch)
        self._forget(answer.sequence, now)

    def _not_taken(self, answer: frames.NotTaken, now: float) -> None:
        batch = self._window.batches.get(answer.sequence)
        if batch is None:
            return
        if answer.retryable:
            if now >= self._paused_until:
                self._pauses += 1
            pause_s = min(self.limits.retry_s_min * 2 ** min(max(self._pauses, 1) - 1, 16), self.limits.retry_s_max)
            self._window.put_off(batch, now + pause_s * (0.5 + 0.5 * self.jitter()))
            self._paused_until = max(self._paused_until, batch.due_at)
            return
        is_new = self._window.is_new(answer.sequence)
        self._window.remove(answer.sequence)
        if answer.code == "batch_too_large" and batch.count > 1 and is_new:
            self.backlog.cut(batch, answer.sequence, halves(batch))
            return
        self._end_linger()
        self._refuse(batch, answer.code, answer.message)
        self._forget(answer.sequence, now)

    def _forget(self, sequence: int, now: float) -> None:
        self.backlog.settled(sequence, now, in_flight=len(self._window), window_max=self._window.width_max)

    def _end_linger(self) -> None:
        """Nothing is in flight that the open batch could wait for."""
        if not self._window and self._open:
            self._open_until = 0.0

    def _new(self, now: float) -> tuple[int, Batch] | None:
        backlog = self.backlog
        while self._window_is_open():
            if not backlog.is_waiting:
                if now < self._open_due_at():
                    return None
                self.seal()
            batch = backlog.first(now)
            if batch is None:
                return None
            size = len(batch.data)
            is_over = batch.count > self._batch_events_max or size > self._batch_bytes_max
            if is_over and batch.count > 1 and backlog.first_sequence > self._window.known:
                backlog.cut(batch, None, halves(batch))
            elif size > self._server_bytes_max:
                # The server would not only refuse it: it may end the connection, again at each retry.
                most = f"the server takes {self._server_bytes_max:,} bytes"
                backlog.drop_first(now)
                self._refuse(batch, "batch_too_large", f"the event has {size:,} bytes; {most}")
            else:
                sequence = backlog.take()
                self._window.add(sequence, batch)
                return sequence, batch
        return None

    def _open_due_at(self) -> float:
        """When the open batch is to be sent; with a spool that cannot be written, nothing new is."""
        return self._open_until if self.backlog.fault is None else NEVER

    def _window_is_open(self) -> bool:
        if self._window.size >= self.limits.queue_bytes_max:
            return False
        backlog = self.backlog
        sequence = backlog.first_sequence
        return sequence - min(self._window.first, backlog.oldest_kept, sequence) < self._window.width_max

    def _refuse(self, batch: Batch, code: str, reason: str) -> None:
        self.counters.refused += batch.count
        self._report_all(batch, code, reason)

    def _report_all(self, batch: Batch, code: str, reason: str) -> None:
        self.reports.extend(Refusal(event, code, reason) for event in events_of(batch))
        self._settle(batch)

    def _settle(self, batch: Batch) -> None:
        self.pending_events -= batch.count
        self.pending_bytes -= len(batch.data)
