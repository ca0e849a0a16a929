"""The client's state machine, example by example; tests/property/test_outbox_property.py goes through the rest."""

from __future__ import annotations

from typing import Any

import bson
import pytest

from honest import BIG, SIZE, event, number_of
from zarkov.client.frames import Acknowledged, NotTaken, Refused, Welcome, parse
from zarkov.client.limits import Limits
from zarkov.client.outbox import NEVER, Outbox
from zarkov.codec import split
from zarkov.errors import BadFrame, ConfigError, ZarkovError


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


def too_large(sequence: int) -> NotTaken:
    return NotTaken(sequence, "batch_too_large", "too large", retryable=False)


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


@pytest.mark.parametrize("name", ["batch_events_max", "batch_bytes_max", "queue_events_max", "queue_bytes_max"])
def test_a_limit_of_none_is_refused_by_name(name: str) -> None:
    with pytest.raises(ZarkovError, match=name):
        Limits(**{name: 0})
