"""The client's state machine: whatever is answered in whatever order, each event is settled once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import bson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zarkov.client.frames import Acknowledged, Answer, NotTaken, Refused, Welcome, parse
from zarkov.client.limits import Limits
from zarkov.client.outbox import NEVER, Outbox
from zarkov.codec import split
from zarkov.errors import BadFrame, ConfigError

BIG = 2**30


def event(number: int) -> bytes:
    return bson.encode({"n": number})


SIZE = len(event(0))


def outbox(**limits: Any) -> Outbox:
    return Outbox(b"p", Limits(**limits), lambda: 1.0)


def ready(
    sequence: int = 0, window_max: int = 64, events_max: int = BIG, bytes_max: int = BIG, **limits: Any
) -> Outbox:
    """An outbox whose connection was greeted at time 0."""
    made = outbox(**limits)
    made.connected(0.0)
    assert made.next_message(0.0) == [b"ZK1", b"HELLO", b"p"]
    made.answered(Welcome(sequence, window_max, events_max, bytes_max), 0.0)
    return made


def sent(box: Outbox, now: float) -> list[tuple[int, list[int]]]:
    """Every message due now: its sequence and the numbers of its events."""
    found = []
    while (message := box.next_message(now)) is not None:
        magic, command, producer, sequence, data = message
        assert (magic, command, producer) == (b"ZK1", b"BATCH", box.producer)
        found.append((int.from_bytes(sequence, "big"), [bson.decode(one)["n"] for one in split(data)]))
    box.validate()
    return found


def ack(sequence: int, count: int, first: int = 0, refused: tuple[Refused, ...] = ()) -> Acknowledged:
    return Acknowledged(sequence, "j", first, count, refused)


def later(sequence: int) -> NotTaken:
    return NotTaken(sequence, "server_busy", "not now", retryable=True)


def reported(box: Outbox) -> list[tuple[int, str]]:
    return [(bson.decode(report.event)["n"], report.code) for report in box.reports]


def test_nothing_is_sent_before_the_server_has_greeted() -> None:
    box = outbox()
    box.add(event(1), 0.0)
    assert box.next_message(0.0) is None
    assert box.wake_at() == NEVER
    box.connected(1.0)
    assert box.wake_at() == 1.0
    assert box.next_message(1.0) == [b"ZK1", b"HELLO", b"p"]
    assert box.next_message(1.0) is None
    assert box.next_message(1.0 + box.limits.answer_s) == [b"ZK1", b"HELLO", b"p"]
    box.answered(Welcome(0, 64, BIG, BIG), 7.0)
    assert sent(box, 7.0) == [(1, [1])]


def test_an_idle_client_sends_at_once_and_a_busy_one_gathers_for_the_linger_time() -> None:
    box = ready(linger_s=0.5)
    assert box.add(event(1), 10.0)
    assert sent(box, 10.0) == [(1, [1])]
    assert not box.add(event(2), 10.0)
    box.add(event(3), 10.2)
    assert sent(box, 10.4) == []
    assert box.wake_at() == 10.5
    assert sent(box, 10.5) == [(2, [2, 3])]


def test_what_gathered_is_sent_when_the_last_answer_comes() -> None:
    box = ready(linger_s=0.5)
    box.add(event(1), 10.0)
    assert sent(box, 10.0) == [(1, [1])]
    box.add(event(2), 10.0)
    box.answered(ack(1, 1), 10.1)
    assert sent(box, 10.1) == [(2, [2])]


def test_a_batch_is_sealed_by_its_count_and_by_its_bytes() -> None:
    box = ready(batch_events_max=3, linger_s=9)
    events = [event(n) for n in range(7)]
    taken = 0
    while taken < 7:
        taken += box.add_many(events, taken, 0.0)
    assert sent(box, 0.0) == [(1, [0, 1, 2]), (2, [3, 4, 5]), (3, [6])]
    box = ready(batch_bytes_max=2 * SIZE, linger_s=9)
    assert [box.add_many(events, at, 0.0) for at in range(4)] == [1, 1, 1, 1]
    assert sent(box, 0.0) == [(1, [0, 1]), (2, [2, 3])]


def test_an_event_larger_than_a_batch_goes_alone() -> None:
    box = ready(batch_bytes_max=SIZE, linger_s=0)
    large = bson.encode({"n": 1, "x": "x" * 500})
    box.add(event(0), 0.0)
    box.add(large, 0.0)
    box.add(event(2), 0.0)
    assert sent(box, 0.0) == [(1, [0]), (2, [1]), (3, [2])]


def test_the_queue_is_bounded_in_events_and_in_bytes_but_takes_any_single_event() -> None:
    box = outbox(queue_events_max=2)
    assert box.add_many([event(n) for n in range(5)], 0, 0.0) == 2
    assert not box.has_room(1)
    assert box.add_many([event(9)], 0, 0.0) == 0
    box = outbox(queue_bytes_max=3 * SIZE)
    assert box.has_room(99 * SIZE)
    box.add(event(0), 0.0)
    assert box.has_room(2 * SIZE)
    assert not box.has_room(2 * SIZE + 1)
    assert [box.add_many([event(n) for n in range(5)], 0, 0.0) for _ in range(3)] == [1, 1, 0]


def test_the_window_is_counted_from_the_oldest_unanswered_sequence() -> None:
    box = ready(window_max=3, batch_events_max=1)
    for number in range(5):
        box.add(event(number), 0.0)
    assert [sequence for sequence, _ in sent(box, 0.0)] == [1, 2, 3]
    box.answered(ack(2, 1), 0.0)
    box.answered(ack(3, 1), 0.0)
    assert sent(box, 0.0) == [], "sequence 4 would make 1 too old"
    box.answered(ack(1, 1), 0.0)
    assert [sequence for sequence, _ in sent(box, 0.0)] == [4, 5]


def test_a_known_producer_goes_on_behind_its_highest_sequence() -> None:
    box = ready(sequence=41)
    box.add(event(1), 0.0)
    assert sent(box, 0.0) == [(42, [1])]


def test_silence_sends_the_same_batch_again_after_twice_the_time_each() -> None:
    box = ready(answer_s=5.0, answer_s_max=15.0)
    box.add(event(1), 0.0)
    times = []
    now = 0.0
    for _ in range(5):
        assert sent(box, now) == [(1, [1])]
        times.append(now)
        now = box.wake_at()
    assert times == [0.0, 5.0, 15.0, 30.0, 45.0]
    assert box.counters.retries == 4


def test_a_new_connection_sends_everything_unanswered_again_in_order() -> None:
    box = ready(batch_events_max=1)
    for number in range(4):
        box.add(event(number), 0.0)
    sent(box, 0.0)
    box.answered(ack(2, 1), 0.0)
    box.disconnected()
    assert box.wake_at() == NEVER
    assert box.next_message(0.5) is None
    box.connected(1.0)
    assert box.next_message(1.0) == [b"ZK1", b"HELLO", b"p"]
    assert box.next_message(1.0) is None
    box.answered(Welcome(2, 64, BIG, BIG), 1.0)
    assert sent(box, 1.0) == [(1, [0]), (3, [2]), (4, [3])]


def test_not_now_pauses_everything_and_longer_each_time() -> None:
    box = ready(batch_events_max=1, retry_s_min=1.0, retry_s_max=3.0)
    box.add(event(0), 0.0)
    box.add(event(1), 0.0)
    sent(box, 0.0)
    box.add(event(2), 0.0)
    pauses, now = [], 0.0
    for _ in range(4):
        box.answered(later(1), now)
        box.answered(later(2), now)
        assert sent(box, now) == []
        pauses.append(box.wake_at() - now)
        now = box.wake_at()
        assert [sequence for sequence, _ in sent(box, now)][:2] == [1, 2]
    assert pauses == [1.0, 2.0, 3.0, 3.0]


def test_a_refused_event_is_reported_once_and_the_others_count_as_acknowledged() -> None:
    box = ready()
    box.add_many([event(n) for n in range(4)], 0, 0.0)
    sent(box, 0.0)
    refused = (Refused(2, "type_invalid", "no"), Refused(99, "x", "beyond the batch"))
    for _ in range(2):
        box.answered(ack(1, 3, first=10, refused=refused), 0.0)
    assert reported(box) == [(2, "type_invalid")]
    assert (box.counters.acknowledged, box.counters.refused, box.pending_events) == (3, 1, 0)
    assert box.position == {"j": 13}


def test_a_batch_the_server_will_never_take_is_reported_event_by_event() -> None:
    box = ready()
    box.add_many([event(n) for n in range(2)], 0, 0.0)
    sent(box, 0.0)
    box.answered(NotTaken(1, "bad_frame", "what is this", retryable=False), 0.0)
    assert reported(box) == [(0, "bad_frame"), (1, "bad_frame")]
    assert box.pending_events == 0


def test_a_batch_that_is_too_large_is_halved_under_new_sequences() -> None:
    box = ready(batch_events_max=4)
    mark_before = box.mark()
    box.add_many([event(n) for n in range(3)], 0, 0.0)
    mark = box.mark()
    assert sent(box, 0.0) == [(1, [0, 1, 2])]
    box.answered(NotTaken(1, "batch_too_large", "", retryable=False), 0.0)
    assert sent(box, 0.0) == [(2, [0]), (3, [1, 2])]
    assert box.settled(mark_before)
    assert not box.settled(mark)
    box.answered(NotTaken(2, "batch_too_large", "", retryable=False), 0.0)
    box.answered(ack(3, 2), 0.0)
    assert reported(box) == [(0, "batch_too_large")]
    assert box.settled(mark)


def test_a_batch_that_may_be_stored_already_is_not_cut_in_two() -> None:
    box = ready(answer_s=1.0)
    box.add_many([event(n) for n in range(2)], 0, 0.0)
    sent(box, 0.0)
    sent(box, 1.0)
    box.answered(NotTaken(1, "batch_too_large", "", retryable=False), 1.0)
    assert [code for _, code in reported(box)] == ["batch_too_large"] * 2


def test_batches_made_before_the_greeting_are_cut_to_the_servers_limits() -> None:
    box = outbox()
    box.add_many([event(n) for n in range(5)], 0, 0.0)
    box.seal()
    box.connected(0.0)
    box.next_message(0.0)
    box.answered(Welcome(0, 64, 2, BIG), 0.0)
    assert sent(box, 0.0) == [(1, [0, 1]), (2, [2]), (3, [3, 4])]


def test_a_mark_covers_what_was_added_before_it_and_nothing_after() -> None:
    box = ready(batch_events_max=1)
    empty = box.mark()
    assert box.settled(empty)
    box.add(event(0), 0.0)
    first = box.mark()
    box.add(event(1), 0.0)
    second = box.mark()
    sent(box, 0.0)
    box.answered(ack(2, 1), 0.0)
    assert (box.settled(first), box.settled(second)) == (False, False)
    box.answered(ack(1, 1), 0.0)
    assert (box.settled(first), box.settled(second)) == (True, True)


def test_what_is_given_up_says_whether_it_may_be_stored() -> None:
    box = ready(batch_events_max=1, window_max=1)
    box.add(event(0), 0.0)
    box.add(event(1), 0.0)
    sent(box, 0.0)
    box.abandon("closed")
    assert reported(box) == [(0, "not_acknowledged"), (1, "not_acknowledged")]
    assert ["may be stored" in report.reason for report in box.reports] == [True, False]
    box.validate()


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_events_max"):
        Limits(batch_events_max=0)
    with pytest.raises(ConfigError, match="linger_s"):
        Limits(linger_s=-1)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"ZK1", b"ACK"],
        [b"ZK2", b"ACK", bytes(8), bson.encode({})],
        [b"ZK1", b"ACK", bytes(7), bson.encode({})],
        [b"ZK1", b"ACK", bytes(8)],
        [b"ZK1", b"ACK", bytes(8), b"garbage"],
        [b"ZK1", b"ACK", bytes(8), bson.encode({"journal": "j", "first": "x", "count": 1})],
        [b"ZK1", b"ACK", bytes(8), bson.encode({"journal": "j", "first": 1, "count": 1, "refused": [1]})],
        [b"ZK1", b"NACK", bytes(8), bson.encode({"code": "x"})],
        [b"ZK1", b"WELCOME", bson.encode({"sequence": 1})],
        [b"ZK1", b"SOMETHING", b"x"],
    ],
)
def test_what_is_no_answer_is_a_bad_frame(frames: list[bytes]) -> None:
    with pytest.raises(BadFrame):
        parse(frames)


@dataclass
class ModelServer:
    """What an honest server knows: the first answer to each sequence."""

    window_max: int
    answered: dict[int, Answer] = field(default_factory=dict)
    stored: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    content: dict[int, list[int]] = field(default_factory=dict)

    def take(self, sequence: int, numbers: list[int], *, refuse: bool) -> Answer:
        assert self.content.setdefault(sequence, numbers) == numbers, "another content under a known sequence"
        if sequence not in self.answered:
            highest = max(self.answered, default=0)
            assert sequence > highest - self.window_max, "too old"
            kept = numbers[1:] if refuse else numbers
            lost = (Refused(0, "type_invalid", ""),) if refuse else ()
            self.answered[sequence] = ack(sequence, len(kept), len(self.stored), lost)
            self.stored += kept
            self.refused += numbers[:1] if refuse else []
        return self.answered[sequence]


class AnyOrder(RuleBasedStateMachine):
    """Answers lost, late, twice, in any order; connections lost; every event is settled exactly once."""

    @initialize(window_max=st.integers(1, 5), events_max=st.integers(1, 4), server_max=st.integers(1, 4))
    def start(self, window_max: int, events_max: int, server_max: int) -> None:
        self.now = 0.0
        self.added = 0
        self.not_taken: list[int] = []
        self.up = False
        self.welcome = Welcome(0, window_max, server_max, BIG)
        self.server = ModelServer(window_max)
        self.network: list[tuple[int, list[int]]] = []
        self.box = outbox(batch_events_max=events_max, linger_s=0.5, queue_events_max=12)

    @rule(count=st.integers(1, 6))
    def add(self, count: int) -> None:
        events = [event(self.added + n) for n in range(count)]
        start = 0
        while start < count and (taken := self.box.add_many(events, start, self.now)):
            start += taken
        self.added += start

    @rule(passed_s=st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0]))
    def time_passes(self, passed_s: float) -> None:
        self.now += passed_s

    @rule()
    def flush(self) -> None:
        mark = self.box.mark()
        assert self.box.settled(mark) == (self.box.pending_events == 0)

    @precondition(lambda self: not self.up)
    @rule()
    def connect(self) -> None:
        self.up = True
        self.box.connected(self.now)
        assert self.box.next_message(self.now) == [b"ZK1", b"HELLO", b"p"]
        highest = max(self.server.answered, default=0)
        limits = self.welcome
        self.box.answered(Welcome(highest, limits.window_max, limits.batch_events_max, BIG), self.now)

    @precondition(lambda self: self.up)
    @rule()
    def lose_the_connection(self) -> None:
        self.up = False
        self.network = []
        self.box.disconnected()

    @rule()
    def send(self) -> None:
        self.network += sent(self.box, self.now)

    @precondition(lambda self: self.network)
    @rule(data=st.data(), refuse=st.booleans(), keep=st.booleans(), lose_answer=st.booleans())
    def serve(self, data: st.DataObject, refuse: bool, keep: bool, lose_answer: bool) -> None:
        at = data.draw(st.integers(0, len(self.network) - 1))
        sequence, numbers = self.network[at] if keep else self.network.pop(at)
        answer = self.server.take(sequence, numbers, refuse=refuse)
        if not lose_answer:
            self.box.answered(answer, self.now)

    @precondition(lambda self: self.network)
    @rule(data=st.data(), code=st.sampled_from(["server_busy", "bad_frame", "batch_too_large"]))
    def not_taken_(self, data: st.DataObject, code: str) -> None:
        at = data.draw(st.integers(0, len(self.network) - 1))
        sequence, _ = self.network.pop(at)
        fresh = sequence not in self.server.answered and all(other != sequence for other, _ in self.network)
        if code == "server_busy" or fresh:
            self.box.answered(NotTaken(sequence, code, "", retryable=code == "server_busy"), self.now)

    @invariant()
    def nothing_is_lost_or_counted_twice(self) -> None:
        if not hasattr(self, "box"):
            return
        self.box.validate()
        numbers = [number for number, _ in reported(self.box)]
        assert len(numbers) == len(set(numbers))
        assert len(self.server.stored) == len(set(self.server.stored))

    def teardown(self) -> None:
        """With a kind network everything is settled, and stored or reported but never both."""
        if not hasattr(self, "box"):
            return
        if not self.up:
            self.connect()
        for _ in range(200):
            if not self.box.pending_events:
                break
            self.now += 100.0
            for sequence, numbers in self.network + sent(self.box, self.now):
                self.box.answered(self.server.take(sequence, numbers, refuse=False), self.now)
            self.network = []
        self.box.validate()
        assert self.box.pending_events == 0
        lost = [number for number, _ in reported(self.box)]
        assert sorted(self.server.stored + lost) == list(range(self.added))
        assert self.box.counters.acknowledged == len(self.server.stored)


TestAnyOrder = AnyOrder.TestCase
