"""The client's state machine against the server's windows: whatever happens between them, each event is settled once.

tests/unit/test_client_outbox.py goes through it example by example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zarkov.batch import ProducerRecord
from zarkov.client.frames import Acknowledged, NotTaken, Refused, Welcome, parse
from zarkov.client.limits import Limits
from zarkov.client.outbox import NEVER, Outbox
from zarkov.codec import split
from zarkov.errors import BatchTooLarge, ServerBusy, ZarkovError
from zarkov.ingest import protocol
from zarkov.ingest.intake import Refused as RefusedByServer
from zarkov.ingest.intake import Taken
from zarkov.ingest.window import Windows

BIG = 2**30
PRODUCER = b"p"


def event(number: int, padding: int = 0) -> bytes:
    return bson.encode({"n": number, "padding": bytes(padding)})


def number_of(data: bytes) -> int:
    return int(bson.decode(data)["n"])


SIZE = len(event(0))


def ready(*, window_max: int = 64, events_max: int = BIG, bytes_max: int = BIG, **limits: Any) -> Outbox:
    """An outbox whose connection was greeted at time 0."""
    box = Outbox(PRODUCER, Limits(**limits), lambda: 1.0)
    box.connected(0.0)
    assert box.next_message(0.0) == [b"ZK1", b"HELLO", PRODUCER]
    box.answered(Welcome(0, window_max, events_max, bytes_max), 0.0)
    return box


def sent(box: Outbox, now: float) -> list[tuple[int, list[int]]]:
    """Every batch due now: its sequence and the numbers of its events."""
    found = []
    while (message := box.next_message(now)) is not None:
        found.append((int.from_bytes(message[3], "big"), [number_of(one) for one in split(message[4])]))
    box.validate()
    return found


def ack(sequence: int, count: int) -> Acknowledged:
    return Acknowledged(sequence, "j", 0, count, ())


def too_large(sequence: int) -> NotTaken:
    return NotTaken(sequence, "batch_too_large", "too large", retryable=False)


def test_a_flush_does_not_wait_for_what_others_add_after_it() -> None:
    box = ready(batch_events_max=1)
    box.add(event(0), 0.0)
    box.mark()
    second = box.mark()
    box.add(event(1), 0.0)
    assert sent(box, 0.0) == [(1, [0]), (2, [1])]
    assert not box.settled(second)
    box.answered(ack(1, 1), 0.0)
    assert box.settled(second), "event 1 came after the mark"
    assert box.pending_events == 1


def test_a_mark_with_nothing_before_it_is_settled_whatever_follows() -> None:
    box = ready()
    mark = box.mark()
    box.add(event(0), 0.0)
    assert box.settled(mark)


def test_the_linger_ends_when_the_only_batch_in_flight_is_refused() -> None:
    box = ready(linger_s=100.0)
    box.add(event(0), 0.0)
    assert sent(box, 0.0) == [(1, [0])]
    box.add(event(1), 0.0)
    assert sent(box, 0.0) == []
    box.answered(NotTaken(1, "bad_frame", "no", retryable=False), 1.0)
    assert box.wake_at() <= 1.0
    assert sent(box, 1.0) == [(2, [1])]


def test_the_linger_goes_on_while_another_batch_is_in_flight() -> None:
    box = ready(linger_s=100.0, batch_events_max=2, answer_s=1000.0, answer_s_max=1000.0)
    box.add_many([event(n) for n in range(5)], 0, 0.0)
    box.add_many([event(n) for n in range(5)], 2, 0.0)
    assert [sequence for sequence, _ in sent(box, 0.0)] == [1, 2]
    box.add(event(4), 0.0)
    box.answered(ack(1, 2), 0.0)
    assert sent(box, 99.0) == []
    assert sent(box, 100.0) == [(3, [4])]


def test_an_event_that_no_batch_of_the_server_can_hold_is_refused_here_and_holds_nothing_up() -> None:
    box = ready(bytes_max=2 * SIZE, linger_s=100.0)
    box.add(event(0), 0.0)
    box.add(event(1, padding=2 * SIZE), 0.0)
    box.add(event(2), 0.0)
    assert sent(box, 0.0) == [(1, [0]), (2, [2])]
    assert [(number_of(report.event), report.code) for report in box.reports] == [(1, "batch_too_large")]
    assert box.counters.refused == 1


def test_the_last_event_of_all_may_be_one_that_is_refused_here() -> None:
    box = ready(bytes_max=SIZE)
    box.add(event(0, padding=SIZE), 0.0)
    mark = box.mark()
    assert sent(box, 0.0) == []
    assert box.settled(mark)
    assert box.wake_at() == NEVER


def test_halving_ends_at_single_events() -> None:
    box = ready(batch_events_max=8, window_max=100)
    box.add_many([event(n) for n in range(8)], 0, 0.0)
    tried: list[list[int]] = []
    while batches := sent(box, 0.0):
        for sequence, numbers in batches:
            tried.append(numbers)
            box.answered(too_large(sequence), 0.0)
            box.validate()
    assert tried[0] == list(range(8))
    assert sorted(numbers for numbers in tried if len(numbers) == 1) == [[n] for n in range(8)]
    assert sorted(number_of(report.event) for report in box.reports) == list(range(8))
    assert box.counters.refused == 8


def test_late_and_repeated_answers_change_nothing() -> None:
    box = ready(batch_events_max=1)
    box.add(event(0), 0.0)
    assert sent(box, 0.0) == [(1, [0])]
    refused = Acknowledged(1, "j", -1, 0, (Refused(0, "type_missing", "no"),))
    box.answered(refused, 0.0)
    for answer in (refused, ack(1, 1), too_large(1), NotTaken(1, "server_busy", "", retryable=True), ack(77, 1)):
        box.answered(answer, 0.0)
        box.validate()
    assert (box.counters.refused, box.counters.acknowledged, len(box.reports)) == (1, 0, 1)
    assert sent(box, 1e9) == []


@dataclass
class Arrived:
    """A batch on its way to the journal."""

    sequence: int
    numbers: list[int]


class HonestServer:
    """The server's own windows and frames over a list of what is stored; it refuses every event that 7 divides."""

    def __init__(self, window_max: int) -> None:
        self.window_max = window_max
        self.events_max = 1000
        self.records: list[ProducerRecord] = []
        self.stored: list[int] = []
        self.restart()

    def restart(self) -> None:
        """What was not synced is gone, what was is known again."""
        self.windows = Windows(self.window_max, 10, self.records)
        self.journaling: list[Arrived] = []

    def welcome(self) -> list[bytes]:
        return protocol.welcome(
            "j",
            self.windows.highest(PRODUCER),
            window_max=self.window_max,
            batch_bytes_max=BIG,
            batch_events_max=self.events_max,
            event_bytes_max=BIG,
        )

    def take(self, frames: list[bytes], *, busy: bool) -> list[bytes] | None:
        """The answer that goes out at once, if any."""
        request = protocol.parse(frames)
        if isinstance(request, protocol.Hello):
            return self.welcome()
        assert isinstance(request, protocol.Batch)
        numbers = [number_of(one) for one in split(request.payloads[0])]
        try:
            if len(numbers) > self.events_max:
                raise BatchTooLarge("too many")
            begun = self.windows.begin(PRODUCER, request.sequence, b"asker")
            if isinstance(begun, ProducerRecord):
                return protocol.ack("j", begun)
            if begun == "new":
                if busy:
                    self.windows.abandon(PRODUCER, request.sequence)
                    raise ServerBusy("later")
                self.journaling.append(Arrived(request.sequence, numbers))
        except ZarkovError as error:
            assert error.code in ("batch_too_large", "server_busy"), error
            return protocol.nack(protocol.sequence_frame(frames), error)
        return None

    def sync(self) -> list[bytes]:
        """Commit the batch that arrived first; its answer."""
        batch = self.journaling.pop(0)
        kept = [number for number in batch.numbers if number % 7]
        bad = [
            RefusedByServer(i, "type_invalid", "divided by 7", b"") for i, n in enumerate(batch.numbers) if not n % 7
        ]
        note = protocol.note_of(Taken(len(batch.numbers), b"", len(kept), None, bad))
        first = len(self.stored) if kept else -1
        record = ProducerRecord(PRODUCER, batch.sequence, first, len(kept), note)
        self.stored += kept
        self.records.append(record)
        self.windows.commit(record)
        return protocol.ack("j", record)


class ClientAndServer(RuleBasedStateMachine):
    """The network keeps the order and may stop at any point; the server may be slow, busy, killed, reconfigured."""

    @initialize(
        window_max=st.integers(1, 5), events_max=st.integers(1, 6), linger_s=st.sampled_from([0.0, 0.5, 1000.0])
    )
    def start(self, window_max: int, events_max: int, linger_s: float) -> None:
        self.now = 1.0
        self.added = 0
        self.server = HonestServer(window_max)
        limits = Limits(batch_events_max=events_max, linger_s=linger_s, queue_events_max=20)
        self.box = Outbox(PRODUCER, limits, lambda: 0.5)
        self.requests: list[list[bytes]] = []
        self.answers: list[list[bytes]] = []
        self.is_up = False
        self.marks: list[tuple[int, int]] = []

    @rule(count=st.integers(1, 9), one_by_one=st.booleans())
    def add(self, count: int, one_by_one: bool) -> None:
        events = [event(self.added + n) for n in range(count)]
        taken = 0
        while taken < count:
            if one_by_one:
                step = int(self.box.has_room(SIZE))
                if step:
                    self.box.add(events[taken], self.now)
            else:
                step = self.box.add_many(events, taken, self.now)
            if not step:
                break
            taken += step
        self.added += taken

    @rule()
    def flush(self) -> None:
        self.marks.append((self.box.mark(), self.added))

    @rule(passed_s=st.sampled_from([0.01, 0.6, 3.0, 70.0]))
    def time_passes(self, passed_s: float) -> None:
        self.now += passed_s

    @precondition(lambda self: not self.is_up)
    @rule()
    def connect(self) -> None:
        self.is_up = True
        self.box.connected(self.now)

    @precondition(lambda self: self.is_up)
    @rule()
    def lose_the_connection(self) -> None:
        self.is_up = False
        self.requests, self.answers = [], []
        self.box.disconnected()

    @rule()
    def kill_and_restart_the_server(self) -> None:
        if self.is_up:
            self.lose_the_connection()
        self.server.restart()

    @rule(events_max=st.integers(1, 6))
    def reconfigure_the_server_silently(self, events_max: int) -> None:
        self.server.events_max = events_max

    @rule()
    def client_sends(self) -> None:
        while (message := self.box.next_message(self.now)) is not None:
            if self.is_up:
                self.requests.append(message)
        assert self.box.wake_at() > self.now or not self.is_up

    @precondition(lambda self: self.requests)
    @rule(busy=st.booleans())
    def server_takes(self, busy: bool) -> None:
        answer = self.server.take(self.requests.pop(0), busy=busy)
        if answer is not None:
            self.answers.append(answer)

    @precondition(lambda self: self.server.journaling)
    @rule()
    def server_syncs(self) -> None:
        answer = self.server.sync()
        if self.is_up:
            self.answers.append(answer)

    @precondition(lambda self: self.answers)
    @rule(again=st.booleans())
    def client_hears(self, again: bool) -> None:
        answer = parse(self.answers[0] if again else self.answers.pop(0))
        self.box.answered(answer, self.now)

    def reported(self) -> Counter[int]:
        return Counter(number_of(report.event) for report in self.box.reports)

    @invariant()
    def each_is_settled_at_most_once(self) -> None:
        if not hasattr(self, "box"):
            return
        self.box.validate()
        assert all(count == 1 for count in self.reported().values())
        assert len(self.server.stored) == len(set(self.server.stored))
        assert self.box.counters.acknowledged <= len(self.server.stored)

    @invariant()
    def what_a_flush_waited_for_is_stored_or_reported(self) -> None:
        for mark, before in getattr(self, "marks", ()):
            if self.box.settled(mark):
                known = set(self.server.stored) | set(self.reported())
                assert known.issuperset(range(before))

    def teardown(self) -> None:
        """A kind network at last: everything is settled, without another flush."""
        if not hasattr(self, "box"):
            return
        for _ in self.rounds_of_kindness():
            if not self.box.pending_events:
                break
        assert self.box.pending_events == 0
        assert self.box.wake_at() == NEVER
        lost = self.reported()
        assert sorted(set(self.server.stored) | set(lost)) == list(range(self.added))
        # Only what was sent more than once, then refused whole, may be both stored and reported.
        for report in self.box.reports:
            assert report.code == "batch_too_large" or number_of(report.event) not in self.server.stored
        assert self.box.counters.acknowledged + self.box.counters.refused == self.added
        assert sum(lost.values()) == self.box.counters.refused
        for mark, _ in self.marks:
            assert self.box.settled(mark)

    def rounds_of_kindness(self) -> Iterator[None]:
        if not self.is_up:
            self.connect()
        for _ in range(300):
            self.now = max(self.now, min(self.box.wake_at(), self.now + 1e6))
            self.client_sends()
            while self.requests:
                self.server_takes(busy=False)
            while self.server.journaling:
                self.server_syncs()
            while self.answers:
                self.client_hears(again=False)
            yield


TestClientAndServer = ClientAndServer.TestCase


@pytest.mark.parametrize("name", ["batch_events_max", "batch_bytes_max", "queue_events_max", "queue_bytes_max"])
def test_a_limit_of_none_is_refused_by_name(name: str) -> None:
    with pytest.raises(ZarkovError, match=name):
        Limits(**{name: 0})
