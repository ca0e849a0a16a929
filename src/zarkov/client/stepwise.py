"""A producer that sends one batch at a time and tells its answer: offsets, refusals, duplicates.

For programs that have to know what became of each event and wait for it anyway, as `zcmd send` does. A batch is sent
again, under its sequence, until it is answered or its time is over: the server stores it once. After NotAcknowledged
it is not known whether the batch was stored.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import zmq

from zarkov.client import frames
from zarkov.client.connection import POLLIN, POLLOUT, Connection
from zarkov.client.keys import HINT_REFUSED, Keys
from zarkov.errors import BatchTooLarge, NotAcknowledged, ServerUnreachable, ZarkovError, error_codes

_SEND_QUEUE_MAX = 16  # messages; one is under way at a time
#: A batch without an answer for this long is sent again; one that the server could not take now, after the pause.
ANSWER_S, PAUSE_S = 5.0, 0.2
_BLOCKED_S = 0.05
_LOOK_S_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of `count` events from index `start` on: the server's acknowledgement, its indexes from `start`."""

    start: int
    count: int
    answer: frames.Acknowledged


class StepwiseSender:
    """Not thread safe. A context manager.

    Args:   address: the server's ack_bind_address; timeout_s: the longest wait for the answer to a batch.
    Raises: ConfigError.
    """

    def __init__(self, address: str, *, timeout_s: float, keys: Keys | None = None) -> None:
        self._address, self._timeout_s = address, timeout_s
        self._connection = Connection(zmq.DEALER, address, send_queue_max=_SEND_QUEUE_MAX, keys=keys)
        self._poller = zmq.Poller()
        for descriptor in (self._connection.socket_fd, self._connection.monitor_fd):
            self._poller.register(descriptor, zmq.POLLIN)
        self._producer = os.urandom(16)
        self._sequence = 0
        self._greeted = False  # on this connection
        self._limits: frames.Welcome | None = None

    def send(self, events: Sequence[bytes]) -> Iterator[Answered]:
        """Send a batch and give its answer; of a batch that is too large for the server, those of its parts.

        Raises: ServerUnreachable: nothing was sent; NotAcknowledged: no answer in time; EventRefused: an element is
        no BSON document; another ZarkovError: the server does not take the batch, nothing of it was stored.
        Durability: what is acknowledged survives a power loss of the server.
        """
        frames.require_whole(events)
        waiting = [(0, events)]
        while waiting:
            start, part = waiting.pop()
            try:
                yield Answered(start, len(part), self._send(b"".join(part), len(part)))
            except BatchTooLarge:
                if len(part) == 1:
                    raise
                middle = len(part) // 2
                waiting += [(start + middle, part[middle:]), (start, part[:middle])]

    def close(self) -> None:
        """End the connection; nothing is under way."""
        self._connection.close(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, data: bytes, count: int) -> frames.Acknowledged:
        self._sequence += 1
        deadline = time.monotonic() + self._timeout_s
        not_before = 0.0
        while True:
            answer = self._ask(data, count, not_before, deadline)
            if isinstance(answer, frames.Acknowledged):
                return answer
            error = error_codes().get(answer.code, ZarkovError)(answer.message)
            not_before = time.monotonic() + PAUSE_S
            if not answer.retryable or not_before >= deadline:
                raise error

    def _ask(
        self, data: bytes, count: int, not_before: float, deadline: float
    ) -> frames.Acknowledged | frames.NotTaken:
        """Greet the server where that is needed, send the batch, and wait for its answer."""
        request, connection = frames.batch(self._producer, self._sequence, data), self._connection
        due_at, sent = not_before, False
        while True:
            now = time.monotonic()
            if connection.changes():
                self._greeted, due_at = False, 0.0  # a new connection, or none: whatever was sent is lost
            if connection.is_up and now >= due_at:
                if not sent:
                    self._check_size(data, count)
                sent, due_at = self._offer(request, sent, now)
            for answer in self._answers():
                if isinstance(answer, frames.Welcome):
                    self._greeted, self._limits = True, answer
                    due_at = not_before
                elif answer.sequence == self._sequence:
                    return answer
            if now >= deadline:
                raise self._silence(sent)
            if not self._greeted or due_at > now:
                wait_until = min(deadline, max(due_at, now) if connection.is_up else math.inf, now + _LOOK_S_MAX)
                self._poller.poll(math.ceil((wait_until - now) * 1000))

    def _check_size(self, data: bytes, count: int) -> None:
        """Raises: BatchTooLarge: the server has said so; it would end the connection rather than answer."""
        limits = self._limits
        if limits is not None and (len(data) > limits.batch_bytes_max or count > limits.batch_events_max):
            what = "the event has" if count == 1 else f"{count:,} events have"
            raise BatchTooLarge(f"{what} {len(data):,} bytes; the server takes {limits.batch_bytes_max:,}")

    def _offer(self, request: list[bytes], sent: bool, now: float) -> tuple[bool, float]:
        """Whether the batch was ever sent, and when to send again."""
        try:
            if not self._connection.events & POLLOUT:
                return sent, now + _BLOCKED_S
            self._connection.send(request if self._greeted else frames.hello(self._producer))
        except zmq.Again:
            return sent, now + _BLOCKED_S
        return sent or self._greeted, now + ANSWER_S

    def _answers(self) -> Iterator[frames.Answer]:
        while self._connection.events & POLLIN:
            try:
                received = self._connection.receive()
            except zmq.Again:  # The connection was lost in between, and the message with it.
                return
            yield frames.parse(received)

    def _silence(self, sent: bool) -> ZarkovError:
        if sent:
            hint = "It may be stored: look for it before you send it again."
            return NotAcknowledged(f"{self._address} acknowledged nothing within {self._timeout_s:g} s", hint=hint)
        fault = self._connection.fault
        why = fault or f"no acknowledging server answers within {self._timeout_s:g} s"
        left = "nothing was sent" if self._sequence == 1 else "the rest was not sent"
        return ServerUnreachable(f"{self._address}: {why}; {left}", hint=HINT_REFUSED if fault else None)
