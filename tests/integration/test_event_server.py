"""The event server with real sockets and a real journal: what comes in, and what is answered."""

from dataclasses import replace
from pathlib import Path

import bson
import pytest
import zmq
from bson import ObjectId

from serving import Dealer, Serving, event
from waiting import wait_until
from zarkov.config import JournalSettings
from zarkov.errors import JournalFailed, JournalFull

MANY = 1_000


def test_events_pushed_as_bson_and_as_json_are_stored(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        serving.push(*[event(extra=n) for n in range(MANY)])
        assert [each["extra"] for each in serving.wait_for_events(MANY)] == list(range(MANY))
        serving.push(b'{"type":"nop"}', b'[{"type":"a"},{"type":"b"}]', name="json_bind_address")
        kinds = [each["type"] for each in serving.wait_for_events(MANY + 3)]
        assert kinds[MANY:] == ["nop", "a", "b"]
        assert serving.metric("events_received") == MANY + 3


def test_refused_events_are_kept_with_the_door_and_the_reason(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        serving.push(b"garbage", event(), bson.encode({"type": 1}))
        serving.push(b"{", name="json_bind_address")
        dealer = serving.dealer()
        dealer.batch(1, bson.encode({}))
        dealer.acknowledged(1)
        wait_until(lambda: len(serving.rejections()) == 4)
        found = {(one.source, one.code, one.data) for one in serving.rejections()}
        assert found == {
            ("bson", "bson_invalid", b"garbage"),
            ("bson", "type_invalid", bson.encode({"type": 1})),
            ("json", "json_invalid", b"{"),
            (f"ack-bson {b'producer'.hex()}", "type_missing", bson.encode({})),
        }
        assert serving.metric("events_rejected") == 4
        serving.wait_for_events(1)


def test_a_message_of_several_frames_is_refused_whole(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        for name in ("bson_bind_address", "json_bind_address"):
            push = serving.connect(zmq.PUSH, name)
            push.send_multipart([b"key", event(), b"more"])
        wait_until(lambda: len(serving.rejections()) == 2)
        assert {one.code for one in serving.rejections()} == {"multipart"}
        assert all(one.data.startswith(b"key") and one.data.endswith(b"more") for one in serving.rejections())
        assert serving.events() == []


def test_a_batch_is_acknowledged_with_the_offsets_of_its_events(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        dealer.batch(1, event(extra=0) + event(extra=1), event(extra=2))
        dealer.batch(2, event(extra=3))
        first, second = dealer.acknowledged(1), dealer.acknowledged(2)
        assert (first["first"], first["count"], first["refused"], first["duplicates"]) == (0, 3, [], [])
        assert (second["first"], second["count"]) == (3, 1)
        assert [each["extra"] for each in serving.events()] == [0, 1, 2, 3]


def test_refused_events_of_a_batch_are_named_and_the_others_stored(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        repeated = event(extra=0)
        dealer.batch(1, repeated + bson.encode({}) + event(extra=1) + repeated, b"garbage")
        answer = dealer.acknowledged(1)
        assert (answer["first"], answer["count"], answer["duplicates"]) == (0, 2, [3])
        assert [(one["index"], one["code"]) for one in answer["refused"]] == [
            (1, "type_missing"),
            (4, "bson_invalid"),
        ]


def test_a_batch_of_which_all_is_refused_is_acknowledged_too_and_again(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        dealer.batch(1, b"garbage")
        answer = dealer.acknowledged(1)
        assert (answer["first"], answer["count"], len(answer["refused"])) == (-1, 0, 1)
        dealer.batch(1, b"garbage")
        assert dealer.acknowledged(1) == answer


def test_json_comes_in_on_the_acknowledging_channel(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        dealer.batch(1, b'{"type":"a"}\n{"type":\n{"type":"b"}', command=b"BATCHJ")
        answer = dealer.acknowledged(1)
        assert (answer["count"], [one["index"] for one in answer["refused"]]) == (2, [1])
        assert serving.rejections()[0].source.startswith("ack-json")


def test_a_welcome_names_the_journal_the_limits_and_the_highest_sequence(tmp_path: Path) -> None:
    with Serving(tmp_path, window_max=16) as serving:
        dealer = serving.dealer()
        dealer.batch(5, event())
        journal = dealer.acknowledged(5)["journal"]
        dealer.send(b"HELLO", dealer.producer)
        kind, body = dealer.answer()
        welcome = bson.decode(body)
        assert (kind, welcome["sequence"], welcome["journal"], welcome["window_max"]) == (b"WELCOME", 5, journal, 16)


def test_a_welcome_announces_no_batch_that_a_frame_cannot_carry(tmp_path: Path) -> None:
    with Serving(tmp_path, event_bytes_max=1_000, batch_bytes_max=100_000, message_bytes_max=5_000) as serving:
        dealer = serving.dealer()
        dealer.send(b"HELLO", dealer.producer)
        _, body = dealer.answer()
        assert bson.decode(body)["batch_bytes_max"] == 5_000


def test_requests_that_make_no_sense_are_answered_and_the_next_one_taken(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        dealer.socket.send_multipart([b"HTTP", b"GET"])
        assert dealer.not_taken(0)["code"] == "bad_frame"
        dealer.send(b"BATCH", b"producer", (7).to_bytes(8, "big"))
        assert dealer.not_taken(7)["code"] == "bad_frame"
        dealer.batch(1, event())
        dealer.acknowledged(1)


def test_a_batch_over_a_limit_is_not_taken_and_does_not_use_up_its_sequence(tmp_path: Path) -> None:
    with Serving(tmp_path, batch_events_max=2, batch_bytes_max=4_096) as serving:
        dealer = serving.dealer()
        three = [event(extra=n) for n in range(3)]
        dealer.batch(1, b"".join(three))
        assert dealer.not_taken(1)["code"] == "batch_too_large"
        dealer.batch(1, event(extra="x" * 5_000))
        assert dealer.not_taken(1)["code"] == "batch_too_large"
        dealer.batch(1, b"".join(three[:2]))
        assert dealer.acknowledged(1)["count"] == 2


def test_a_retry_gets_its_first_answer_again_and_stores_nothing(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        payload = event() + bson.encode({})
        dealer.batch(1, payload)
        answer = dealer.answer()
        for _ in range(3):
            dealer.batch(1, payload)
            assert dealer.answer() == answer
        assert len(serving.events()) == 1
        assert len(serving.rejections()) == 1


def test_retries_get_their_first_answers_after_a_restart(tmp_path: Path) -> None:
    payloads = {sequence: event(extra=sequence) + bson.encode({}) for sequence in range(1, 11)}
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        for sequence, payload in payloads.items():
            dealer.batch(sequence, payload)
        answers = [dealer.answer() for _ in payloads]
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        for sequence, payload in payloads.items():
            dealer.batch(sequence, payload)
        assert [dealer.answer() for _ in payloads] == answers
        assert len(serving.events()) == 10
        dealer.batch(11, event())
        assert dealer.acknowledged(11)["first"] == 10


def test_a_retry_of_a_batch_on_its_way_is_answered_once_and_on_the_new_connection(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        serving.gate.hold()
        old, new = serving.dealer(), serving.dealer()
        payload = event()
        old.batch(1, payload)
        wait_until(lambda: serving.gate.held)
        new.batch(1, payload)
        serving.wait_for_metric("batches_repeated", lambda count: count == 1)
        serving.gate.release()
        assert new.acknowledged(1)["count"] == 1
        assert new.is_silent()
        assert old.is_silent()
        assert len(serving.events()) == 1


def test_a_sequence_behind_the_window_is_refused(tmp_path: Path) -> None:
    with Serving(tmp_path, window_max=4) as serving:
        dealer = serving.dealer()
        dealer.batch(10, event())
        dealer.acknowledged(10)
        dealer.batch(6, event())
        refusal = dealer.not_taken(6)
        assert (refusal["code"], refusal["retryable"]) == ("sequence_too_old", False)
        assert len(serving.events()) == 1


def test_more_batches_than_the_window_are_put_off(tmp_path: Path) -> None:
    with Serving(tmp_path, window_max=4) as serving:
        serving.gate.hold()
        dealer = serving.dealer()
        for sequence in range(1, 6):
            dealer.batch(sequence, event())
        refusal = dealer.not_taken(5)
        assert (refusal["code"], refusal["retryable"]) == ("window_exceeded", True)
        serving.gate.release()
        assert [dealer.acknowledged(sequence)["first"] for sequence in range(1, 5)] == [0, 1, 2, 3]


def test_a_duplicate_of_an_event_on_its_way_is_put_off_until_that_is_stored(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        serving.gate.hold()
        one, other = serving.dealer(), serving.dealer()
        other.producer = b"other"
        payload = event()
        one.batch(1, payload)
        wait_until(lambda: serving.gate.held)
        other.batch(1, payload + event())
        assert other.not_taken(1)["code"] == "server_busy"
        serving.gate.release()
        one.acknowledged(1)
        other.batch(1, payload + event())
        assert other.acknowledged(1)["duplicates"] == [0]
        assert len(serving.events()) == 2


def test_an_event_pushed_twice_is_stored_once_and_a_conflict_is_kept_apart(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        oid = ObjectId()
        serving.push(event(_id=oid), event(_id=oid), event(_id=oid, extra="other"))
        wait_until(lambda: len(serving.rejections()) == 1)
        assert serving.rejections()[0].code == "duplicate_id"
        serving.wait_for_events(1)
        assert serving.metric("events_duplicate") == 1


def test_a_full_journal_refuses_batches_and_keeps_pushed_events_until_there_is_space(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        serving.gate.refusal = JournalFull("no space")
        serving.push(*[event(extra=n) for n in range(100)], b"garbage")
        serving.wait_for_metric("ingest_parked_batches", lambda count: count > 0)
        dealer = serving.dealer()
        payload = event(extra="batch")
        for _ in range(3):
            dealer.batch(1, payload)
            refusal = dealer.not_taken(1)
            assert (refusal["code"], refusal["retryable"]) == ("journal_full", True)
        assert serving.events() == []
        serving.gate.refusal = None
        dealer.batch(1, payload)
        assert dealer.acknowledged(1)["count"] == 1
        extras = [each["extra"] for each in serving.wait_for_events(101)]
        assert [extra for extra in extras if extra != "batch"] == list(range(100))
        wait_until(lambda: [one.data for one in serving.rejections()] == [b"garbage"])
        serving.push(event(extra="after"))
        serving.wait_for_events(102)


def test_what_was_rejected_while_the_journal_is_full_is_kept_at_once_and_once(tmp_path: Path) -> None:
    full = replace(JournalSettings(), free_bytes_min=2**62)
    with Serving(tmp_path, journal=full, settle_s=0.1) as serving:
        serving.push(event(), b"garbage", event())
        serving.wait_for_metric("ingest_parked_batches", lambda count: count > 0)
        refused = serving.metric("commits_refused")
        serving.wait_for_metric("commits_refused", lambda count: count >= refused + 2)
        assert [one.data for one in serving.rejections()] == [b"garbage"]
        assert serving.events() == []


def test_while_the_journal_is_full_pushed_events_wait_outside(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        serving.gate.refusal = JournalFull("no space")
        serving.push(event())
        serving.wait_for_metric("ingest_parked_batches", lambda count: count > 0)
        before = serving.metric("events_received")
        serving.push(*[event() for _ in range(MANY)])
        assert serving.dealer().is_silent()
        assert serving.metric("events_received") == before
        serving.gate.refusal = None
        serving.wait_for_events(MANY + 1)


def test_a_failed_journal_ends_the_server_and_answers_nothing(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        serving.gate.refusal = JournalFailed("fsync failed")
        dealer.batch(1, event())
        wait_until(lambda: serving.server.failed is not None)
        serving.stop()
        assert isinstance(serving.server.failed, JournalFailed)
        assert not dealer.socket.poll(0)
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        dealer.batch(1, event())
        assert dealer.acknowledged(1)["count"] == 1


def test_what_is_pending_is_bounded_while_the_journal_is_slow_and_nothing_is_lost(tmp_path: Path) -> None:
    size, count, bound = 10_000, 3_000, 1_048_576
    with Serving(tmp_path, ingest_pending_bytes_max=bound, receive_hwm=10) as serving:
        serving.gate.hold()
        push = serving.connect(zmq.PUSH, "bson_bind_address", sndhwm=10, sndbuf=65_536, linger=-1)
        sent = 0
        while push.poll(1_000, zmq.POLLOUT):
            push.send(event(extra="x" * size))
            sent += 1
        assert sent < count
        one_drain = 4 * 1024 * 1024
        assert serving.gate.held_bytes_max <= bound + one_drain + size
        serving.gate.release()
        for _ in range(sent, count):
            push.send(event(extra="x" * size))
        serving.wait_for_metric("events_synced", lambda synced: synced == count)
        serving.wait_for_metric("ingest_pending_bytes", lambda pending: pending == 0)


def test_a_client_that_never_reads_costs_a_bounded_queue_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zarkov.ingest.sockets.ANSWERS_HWM", 10)
    with Serving(tmp_path) as serving:
        deaf = serving.dealer(rcvhwm=1, rcvbuf=4_096)
        for _ in range(2_000):
            deaf.send(b"PING", b"x" * 20_000)
        serving.wait_for_metric("answers_dropped", lambda count: count > 0)
        dealer = serving.dealer()
        dealer.batch(1, event())
        assert dealer.acknowledged(1)["count"] == 1


def test_a_client_that_is_gone_does_not_stop_its_batch(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        serving.gate.hold()
        gone = serving.dealer()
        payload = event()
        gone.batch(1, payload)
        wait_until(lambda: serving.gate.held)
        gone.socket.close()
        back = serving.dealer()
        serving.gate.release()
        wait_until(lambda: len(serving.events()) == 1)
        back.batch(1, payload)
        assert back.acknowledged(1)["first"] == 0


def test_stop_answers_what_was_taken_in_and_refuses_what_comes_after(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        dealer = serving.dealer()
        serving.push(*[event() for _ in range(MANY)])
        for sequence in range(1, 33):
            dealer.batch(sequence, event())
        serving.wait_for_metric("events_received", lambda count: count == MANY + 32)
        serving.stop()
        assert serving.settled
        assert {dealer.acknowledged(sequence)["count"] for sequence in range(1, 33)} == {1}
        assert len(serving.events()) == MANY + 32


def test_a_port_in_use_ends_the_start_with_nothing_left_behind(tmp_path: Path) -> None:
    with Serving(tmp_path / "one") as serving:
        taken = serving.server.endpoints["ack_bind_address"]
        second = Serving(tmp_path / "two", ack_bind_address=taken)
        with pytest.raises(zmq.ZMQError):
            second.start()
        assert Dealer(serving.connect(zmq.DEALER, "ack_bind_address")).is_silent()


def test_the_clock_jumping_back_takes_nothing_away(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        times = iter([2_000_000_000.0, 1_000_000_000.0, 1_500_000_000.0])
        serving.server._clock = lambda: next(times, 1.0)
        for sequence in range(1, 4):
            dealer = serving.dealer()
            dealer.batch(sequence, b'{"type":"a"}', command=b"BATCHJ")
            assert dealer.acknowledged(sequence)["first"] == sequence - 1
        assert len({each["_id"] for each in serving.events()}) == 3
