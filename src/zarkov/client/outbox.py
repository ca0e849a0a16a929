"""The client's state machine: events in, batches out, answers in, reports out. Pure: the clock is passed in.

Theory of operation. An event that was added is in exactly one place until it is settled:

    open      the batch that still gathers events; sealed when it is full, flushed, `linger_s` old, or when nothing
              is in flight: an idle client sends at once, a busy one gathers while it waits
    queued    sealed batches without a sequence: nothing of them was ever sent
    window    batches with a sequence, sent at least once, in order of their sequences; at most `window_max` wide

It is settled once: acknowledged, or reported as a `Refusal`. A batch leaves the window by the first answer to its
sequence; later answers to the same sequence find nothing and change nothing. A batch in the window is sent again
with the same sequence and the same bytes until it is answered (the server then gives its first answer again), so it
is never stored twice. A batch that is taken back out of the window to be cut in two was answered "not taken" to its
first and only sending, hence may be given new sequences.

Sequences start only after the server's WELCOME, behind the highest that it knows of this producer. The window is
counted in sequences from the oldest unanswered one, as the server counts it: a retry is never "too old".

Time: `due_at` of a batch in the window is when it is sent again: after `answer_s` of silence (doubled each time),
after a pause when the server said "later", at once when the connection is new.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from zarkov.client import frames
from zarkov.client.limits import Limits
from zarkov.codec import split
from zarkov.errors import EventRefused

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that is not stored (code `not_acknowledged`: not known to be stored), and why.

    `code` is one of `errors.REFUSAL_CODES`, or the code of the error that kept its whole batch out.
    """

    event: bytes
    code: str
    reason: str


@dataclass(slots=True)
class Batch:
    data: bytes
    count: int
    epoch: int
    sent_count: int = 0
    due_at: float = NEVER


@dataclass(slots=True)
class Counters:
    """Events, but for `batches_sent` and `retries`, since the client was made."""

    taken: int = 0
    acknowledged: int = 0
    refused: int = 0
    abandoned: int = 0
    batches_sent: int = 0
    retries: int = 0


@dataclass(slots=True)
class Outbox:
    """One producer's unsettled events. Not thread safe.

    `jitter` gives numbers from 0 to 1 that spread the retries of many clients.
    """

    producer: bytes
    limits: Limits
    jitter: Callable[[], float]
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
    _queued: deque[Batch] = field(default_factory=deque)
    _window: dict[int, Batch] = field(default_factory=dict)
    _window_max: int = 0
    _next_sequence: int = 1
    _again_at: float = NEVER  # no batch of the window is due before
    _paused_until: float = 0.0
    _pauses: int = 0  # in a row
    _epoch: int = 0
    _unsettled: dict[int, int] = field(default_factory=dict)  # epoch -> batches, oldest epoch first
    _batch_events_max: int = 0
    _batch_bytes_max: int = 0
    _server_bytes_max: int = 0

    def __post_init__(self) -> None:
        self._batch_events_max = self.limits.batch_events_max
        self._batch_bytes_max = self.limits.batch_bytes_max

    # Events in.

    def has_room(self, size: int) -> bool:
        """Whether an event of this many bytes fits; an empty outbox takes any event."""
        return not self.pending_events or (
            self.pending_events < self.limits.queue_events_max
            and self.pending_bytes + size <= self.limits.queue_bytes_max
        )

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
        limits = self.limits
        room = min(self._batch_events_max - len(self._open), limits.queue_events_max - self.pending_events)
        if room > 1:
            piece = events[start : start + room]
            size = sum(map(len, piece))
            fits_batch = self._open_bytes + size <= self._batch_bytes_max
            if fits_batch and self.pending_bytes + size <= limits.queue_bytes_max:
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
            self._queued.append(Batch(b"".join(self._open), len(self._open), self._epoch))
            self._unsettled[self._epoch] = self._unsettled.get(self._epoch, 0) + 1
            self._open, self._open_bytes, self._open_until = [], 0, NEVER

    def mark(self) -> int:
        """Seal, and name all that was added until now, for `settled`."""
        self.seal()
        if self._epoch in self._unsettled:
            self._epoch += 1
        return self._epoch - 1  # What is added from now on has a later epoch, and nobody waits for it.

    def settled(self, mark: int) -> bool:
        """Whether everything added before this mark was acknowledged or reported."""
        return not self._unsettled or next(iter(self._unsettled)) > mark

    # The connection, and answers in.

    def connected(self, now: float) -> None:
        """A new connection: nothing is sent before the server's WELCOME."""
        self._state, self._hello_at = "greeting", now

    def disconnected(self) -> None:
        self._state, self._hello_at = "away", NEVER

    def answered(self, answer: frames.Answer, now: float) -> None:
        match answer:
            case frames.Welcome():
                self._welcomed(answer, now)
            case frames.Acknowledged():
                self._acknowledged(answer)
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
        found = self._due_again(now) or self._new(now)
        if found is None:
            return None
        sequence, batch = found
        batch.sent_count += 1
        self.counters.batches_sent += 1
        wait_s = self.limits.answer_s * 2 ** min(batch.sent_count - 1, 6)
        batch.due_at = now + min(wait_s, self.limits.answer_s_max)
        self._again_at = min(self._again_at, batch.due_at)
        return frames.batch(self.producer, sequence, batch.data)

    def wake_at(self) -> float:
        """When `next_message` may have something, if nothing else happens first; 0.0: at once."""
        if self._state != "ready":
            return self._hello_at
        at = self._again_at if self._window else NEVER
        if self._window_is_open():
            at = min(at, 0.0 if self._queued else self._open_until)
        return max(at, self._paused_until)

    @property
    def in_flight(self) -> int:
        """Batches that were sent and not answered."""
        return len(self._window)

    @property
    def greeted(self) -> bool:
        """Whether a server has said WELCOME on this connection."""
        return self._state == "ready"

    def abandon(self, reason: str) -> None:
        """Report everything unsettled as not acknowledged."""
        self.seal()
        while self._window:
            batch = self._window.pop(next(iter(self._window)))
            self._report_all(batch, "not_acknowledged", f"{reason}; it was sent, and may be stored")
            self.counters.abandoned += batch.count
        while self._queued:
            batch = self._queued.popleft()
            self._report_all(batch, "not_acknowledged", f"{reason}; it was never sent")
            self.counters.abandoned += batch.count

    def validate(self) -> None:
        """Check what is always true; for tests."""
        batches = [*self._window.values(), *self._queued]
        assert self.pending_events == len(self._open) + sum(batch.count for batch in batches)
        assert self.pending_bytes == self._open_bytes + sum(len(batch.data) for batch in batches)
        assert self._open_bytes == sum(map(len, self._open))
        assert sum(self._unsettled.values()) == len(batches)
        assert list(self._unsettled) == sorted(self._unsettled)
        assert all(self._unsettled.values())
        assert list(self._window) == sorted(self._window)
        assert not self._window or max(self._window) < self._next_sequence
        assert all(batch.sent_count for batch in self._window.values())
        assert not any(batch.sent_count for batch in self._queued)
        assert self._again_at <= min((batch.due_at for batch in self._window.values()), default=NEVER)
        done = self.counters.acknowledged + self.counters.refused + self.counters.abandoned
        assert self.counters.taken == done + self.pending_events

    def _opened(self, events: Sequence[bytes], size: int, now: float) -> None:
        if not self._open:
            self._open_until = now + self.limits.linger_s if self._window else now
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
        self._state = "ready"
        self._window_max = welcome.window_max
        self._batch_events_max = min(self.limits.batch_events_max, welcome.batch_events_max)
        self._batch_bytes_max = min(self.limits.batch_bytes_max, welcome.batch_bytes_max)
        self._server_bytes_max = welcome.batch_bytes_max
        self._next_sequence = max(self._next_sequence, welcome.sequence + 1)
        self._paused_until, self._pauses = 0.0, 0
        for batch in self._window.values():
            batch.due_at = self._again_at = now

    def _acknowledged(self, answer: frames.Acknowledged) -> None:
        batch = self._window.pop(answer.sequence, None)
        if batch is None:
            return
        self._pauses = 0
        if answer.count:
            end = answer.first + answer.count
            self.position[answer.journal] = max(end, self.position.get(answer.journal, 0))
        refused = {one.index: one for one in answer.refused if 0 <= one.index < batch.count}
        self.counters.acknowledged += batch.count - len(refused)
        self.counters.refused += len(refused)
        self._end_linger()
        if refused:
            events = _events_of(batch)
            self.reports.extend(Refusal(events[i], one.code, one.reason) for i, one in sorted(refused.items()))
        self._settle(batch)

    def _not_taken(self, answer: frames.NotTaken, now: float) -> None:
        batch = self._window.get(answer.sequence)
        if batch is None:
            return
        if answer.retryable:
            if now >= self._paused_until:
                self._pauses += 1
            pause_s = min(self.limits.retry_s_min * 2 ** min(max(self._pauses, 1) - 1, 16), self.limits.retry_s_max)
            batch.due_at = now + pause_s * (0.5 + 0.5 * self.jitter())
            self._paused_until = max(self._paused_until, batch.due_at)
            self._again_at = min(self._again_at, batch.due_at)
            return
        del self._window[answer.sequence]
        if answer.code == "batch_too_large" and batch.count > 1 and batch.sent_count == 1:
            batch.sent_count, batch.due_at = 0, NEVER
            self._queued.appendleft(batch)
            self._halve_first()
            return
        self._end_linger()
        self._refuse(batch, answer.code, answer.message)

    def _end_linger(self) -> None:
        """Nothing is in flight that the open batch could wait for."""
        if not self._window and self._open:
            self._open_until = 0.0

    def _due_again(self, now: float) -> tuple[int, Batch] | None:
        if now < self._again_at:
            return None
        for sequence, batch in self._window.items():
            if batch.due_at <= now:
                self.counters.retries += 1
                return sequence, batch
        self._again_at = min((batch.due_at for batch in self._window.values()), default=NEVER)
        return None

    def _new(self, now: float) -> tuple[int, Batch] | None:
        if not self._window_is_open():
            return None
        if not self._queued:
            if now < self._open_until:
                return None
            self.seal()
        while self._too_large(self._queued[0]):
            self._halve_first()
        batch = self._queued.popleft()
        if len(batch.data) > self._server_bytes_max:
            # The server would not only refuse it: it may end the connection, again at each retry.
            most = f"the server takes {self._server_bytes_max:,} bytes"
            self._refuse(batch, "batch_too_large", f"the event has {len(batch.data):,} bytes; {most}")
            return self._new(now) if self._queued or self._open else None
        sequence, self._next_sequence = self._next_sequence, self._next_sequence + 1
        self._window[sequence] = batch
        return sequence, batch

    def _window_is_open(self) -> bool:
        return not self._window or self._next_sequence - next(iter(self._window)) < self._window_max

    def _too_large(self, batch: Batch) -> bool:
        over = batch.count > self._batch_events_max or len(batch.data) > self._batch_bytes_max
        return over and batch.count > 1

    def _halve_first(self) -> None:
        batch = self._queued.popleft()
        events = _events_of(batch)
        middle = len(events) // 2
        for half in (events[middle:], events[:middle]):
            self._queued.appendleft(Batch(b"".join(half), len(half), batch.epoch))
        self._unsettled[batch.epoch] += 1

    def _refuse(self, batch: Batch, code: str, reason: str) -> None:
        self.counters.refused += batch.count
        self._report_all(batch, code, reason)

    def _report_all(self, batch: Batch, code: str, reason: str) -> None:
        self.reports.extend(Refusal(event, code, reason) for event in _events_of(batch))
        self._settle(batch)

    def _settle(self, batch: Batch) -> None:
        self.pending_events -= batch.count
        self.pending_bytes -= len(batch.data)
        self._unsettled[batch.epoch] -= 1
        if not self._unsettled[batch.epoch]:
            del self._unsettled[batch.epoch]


def _events_of(batch: Batch) -> list[bytes]:
    """The batch's events as they were added; what was no BSON document comes back as one piece and padding."""
    try:
        events = split(batch.data)
    except EventRefused:
        events = []
    if len(events) != batch.count:
        return [batch.data] + [b""] * (batch.count - 1)
    return events
