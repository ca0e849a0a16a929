"""The event server's other doors: subscribers, the control socket, and whoever sends garbage to any of them."""

import base64
import json
import os
import random
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
import zmq

from serving import Serving, event
from waiting import wait_until
from zarkov.errors import JournalFull, ServerBusy
from zarkov.ingest.control import Command

ADDRESSES = ("bson_bind_address", "json_bind_address", "publish_bind_address", "ack_bind_address")


# ------------------------------------------------------------------------------------------------- garbage


def garbage(count: int) -> Iterator[bytes]:
    """Random bytes, BSON with random bytes in it, and text that looks like JSON."""
    chance = random.Random(7)
    for number in range(count):
        kind = number % 4
        if kind == 0:
            yield chance.randbytes(chance.randrange(80))
        elif kind == 1:
            data = bytearray(event(extra=number))
            data[chance.randrange(len(data))] ^= 1 + chance.randrange(255)
            yield bytes(data[: chance.randrange(len(data))])
        elif kind == 2:
            yield b'{"type": "a", "extra": [' * chance.randrange(1, 20)
        else:
            yield bson.encode({"extra": number})


@pytest.mark.parametrize(("name", "count"), [("bson_bind_address", 100_000), ("json_bind_address", 20_000)])
def test_malformed_messages_are_all_refused_and_every_good_one_among_them_stored(
    tmp_path: Path, name: str, count: int
) -> None:
    good = event if name == "bson_bind_address" else lambda extra: b'{"type":"nop","extra":%d}' % extra
    messages: list[bytes] = []
    for number, bad in enumerate(garbage(count)):
        messages.append(bad)
        if number % 1_000 == 0:
            messages.append(good(extra=number))
    with Serving(tmp_path) as serving:
        serving.push(*messages, name=name)
        serving.wait_for_metric("events_received", lambda received: received >= len(messages))
        serving.wait_for_metric("ingest_pending_bytes", lambda pending: pending == 0)
        assert serving.metric("events_rejected") == serving.metric("events_received") - count // 1_000
        assert [each["extra"] for each in serving.events()] == list(range(0, count, 1_000))


def test_malformed_requests_on_the_acknowledging_channel_are_all_answered(tmp_path: Path) -> None:
    chance = random.Random(7)
    with Serving(tmp_path) as serving:
        dealer = serving.dealer(rcvhwm=100_000)
        sequence = 0
        for number, bad in enumerate(garbage(5_000)):
            kind = number % 3
            if kind == 0:
                dealer.socket.send_multipart([bad, chance.randbytes(8)])
                answered = dealer.answer()[0] == b"NACK"
            elif kind == 1:
                dealer.send(b"BATCH", *[chance.randbytes(chance.randrange(12)) for _ in range(chance.randrange(4))])
                answered = dealer.answer()[0] in (b"ACK", b"NACK")
            else:
                sequence += 1
                dealer.batch(sequence, bad, event(), command=chance.choice([b"BATCH", b"BATCHJ"]))
                answered = dealer.answer()[0] == b"ACK"
            assert answered
        assert dealer.is_silent()


@pytest.mark.parametrize("name", ADDRESSES)
def test_raw_tcp_garbage_on_any_socket_harms_nobody(tmp_path: Path, name: str) -> None:
    greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + bytes(48)
    chance = random.Random(7)
    with Serving(tmp_path) as serving:
        for opening in (b"GET / HTTP/1.1\r\n\r\n", b"", greeting, greeting + b"\x04\x19\x05READY", b"\x01\x00"):
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", serving.port(name))) as raw:
                    try:
                        raw.sendall(opening + chance.randbytes(chance.randrange(2_000)))
                    except OSError:
                        continue  # Cut off: as it should be.
        dealer = serving.dealer()
        dealer.batch(1, event(extra="good"))
        dealer.acknowledged(1)
        serving.push(event(extra="good"))
        serving.push(b'{"type":"a","extra":"good"}', name="json_bind_address")
        wait_until(lambda: len([each for each in serving.events() if each.get("extra") == "good"]) == 3)
        assert serving.server.failed is None


def test_a_frame_larger_than_the_limit_disconnects_its_sender_only(tmp_path: Path) -> None:
    with Serving(tmp_path, message_bytes_max=10_000) as serving:
        serving.connect(zmq.PUSH, "bson_bind_address").send(event(extra="x" * 20_000))
        serving.push(event(extra=1))
        assert [each["extra"] for each in serving.wait_for_events(1)] == [1]


# ---------------------------------------------------------------------------------------------- subscribers


def subscriber(serving: Serving, *topics: bytes) -> zmq.Socket[bytes]:
    """A SUB socket whose subscriptions have arrived."""
    found = serving.connect(zmq.SUB, "publish_bind_address")
    before = serving.metric("subscribed_topics")
    for topic in topics:
        found.subscribe(topic)
    serving.wait_for_metric("subscribed_topics", lambda count: count == before + len(topics))
    return found


def received(sub: "zmq.Socket[bytes]") -> list[bytes]:
    assert sub.poll(20_000)
    return sub.recv_multipart()


def test_a_subscriber_gets_stored_events_as_they_are_stored(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        sub = subscriber(serving, b"")
        serving.push(bson.encode({"type": "a"}))
        topic, data = received(sub)
        assert topic == b"a"
        assert bson.decode(data) == serving.events()[0]
        dealer = serving.dealer()
        dealer.batch(1, event(type="b"))
        assert received(sub)[0] == b"b"


def test_a_subscriber_gets_only_the_types_it_asked_for(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        sub = subscriber(serving, b"web")
        serving.push(event(type="other"), event(type="web.page"), event(type="other"), event(type="web"))
        assert [received(sub)[0] for _ in range(2)] == [b"web.page", b"web"]
        assert not sub.poll(0)


def test_events_are_published_after_they_are_synced_and_not_if_they_are_not(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        sub = subscriber(serving, b"")
        serving.gate.hold()
        serving.push(event(type="held"))
        wait_until(lambda: serving.gate.held)
        assert not sub.poll(50)
        serving.gate.release()
        assert received(sub)[0] == b"held"
        serving.gate.refusal = JournalFull("no space")
        dealer = serving.dealer()
        dealer.batch(1, event(type="refused"))
        dealer.not_taken(1)
        serving.gate.refusal = None
        serving.push(event(type="next"))
        assert received(sub)[0] == b"next"


def test_without_a_subscriber_nothing_is_published(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        sub = subscriber(serving, b"")
        sub.unsubscribe(b"")
        serving.wait_for_metric("subscribed_topics", lambda count: count == 0)
        serving.push(event(), event())
        serving.wait_for_events(2)
        assert serving.metric("events_published") == 0


def test_a_subscriber_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with Serving(tmp_path, publish_hwm=10) as serving:
        deaf = serving.connect(zmq.SUB, "publish_bind_address", rcvhwm=1, rcvbuf=4_096)
        deaf.subscribe(b"")
        serving.wait_for_metric("subscribed_topics", lambda count: count == 1)
        serving.push(*[event(extra="x" * 5_000) for _ in range(3_000)])
        serving.wait_for_metric("events_published", lambda count: count == 3_000)
        assert len(serving.events()) == 3_000


# ------------------------------------------------------------------------------------------ the control socket


def asked(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    """The answers to these lines, over one connection."""
    folder = os.open(path.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(20)
            peer.connect(f"/proc/self/fd/{folder}/{path.name}")
            peer.sendall(b"".join(line + b"\n" for line in lines))
            with peer.makefile("rb") as answers:
                return [json.loads(answers.readline()) for _ in lines]
    finally:
        os.close(folder)


def request(command: str, **arguments: Any) -> bytes:
    return json.dumps({"command": command, **arguments}).encode()


@pytest.fixture(params=["short", "a-very-long-name" * 8])
def control_path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / request.param
    folder.mkdir()
    return folder / "control.sock"


def test_the_control_socket_answers_and_is_for_its_owner_only(tmp_path: Path, control_path: Path) -> None:
    with Serving(tmp_path, control_path=control_path) as serving:
        assert stat.S_IMODE(control_path.stat().st_mode) == 0o600
        serving.push(event())
        serving.wait_for_events(1)
        pong, stats = asked(control_path, request("ping"), request("stats"))
        assert pong["pid"] == os.getpid()
        assert stats["metrics"]["events_received"] == 1
        assert stats["endpoints"] == serving.server.endpoints
    assert not control_path.exists()


def test_a_socket_left_by_a_killed_server_is_replaced(tmp_path: Path, control_path: Path) -> None:
    control_path.touch()
    with Serving(tmp_path, control_path=control_path):
        assert "pid" in asked(control_path, request("ping"))[0]


def test_commands_are_run_and_their_errors_answered(tmp_path: Path, control_path: Path) -> None:
    def busy(arguments: dict[str, Any]) -> dict[str, Any]:
        raise ServerBusy("later")

    def broken(arguments: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("secret detail")

    commands = {"echo": Command(lambda arguments: arguments), "busy": Command(busy), "broken": Command(broken)}
    with Serving(tmp_path, control_path=control_path, commands=commands):
        answers = asked(
            control_path,
            request("echo", a=[1]),
            request("busy"),
            request("broken"),
            request("unheard of"),
            b"",
            b"{",
            b"[]",
            b'{"command": []}',
            b"[" * 100_000,
            b"\xff\xfe",
            request("echo", a=2),
        )
    assert answers[0] == {"a": [1]}
    assert answers[1] == {"error": ServerBusy("later").to_dict()}
    assert answers[2]["error"]["code"] == "internal"
    assert "secret" not in str(answers[2])
    assert {each["error"]["code"] for each in answers[3:-1]} == {"protocol_error"}
    assert answers[-1] == {"a": 2}


def test_take_stores_events_and_names_what_it_refused_without_keeping_it(tmp_path: Path, control_path: Path) -> None:
    one, bad = event(extra=1), bson.encode({})
    with Serving(tmp_path, control_path=control_path) as serving:
        data = base64.b64encode(one + bad + one).decode()
        text = base64.b64encode(b'{"type":"a"}').decode()
        first, second, third, fourth = asked(
            control_path,
            request("take", format="bson", data=data),
            request("take", format="json", data=text),
            request("take", format="bson", data=base64.b64encode(bad).decode()),
            request("take", data="!"),
        )
        assert (first["first"], first["count"], first["duplicates"]) == (0, 1, [2])
        assert [(each["index"], each["code"]) for each in first["refused"]] == [(1, "type_missing")]
        assert (second["first"], second["count"]) == (1, 1)
        assert (third["first"], third["count"]) == (-1, 0)
        assert fourth["error"]["code"] == "protocol_error"
        assert len(serving.events()) == 2
        assert serving.rejections() == []


def test_take_tells_when_the_journal_is_full(tmp_path: Path, control_path: Path) -> None:
    with Serving(tmp_path, control_path=control_path) as serving:
        line = request("take", format="bson", data=base64.b64encode(event()).decode())
        serving.gate.refusal = JournalFull("no space")
        assert asked(control_path, line)[0]["error"]["code"] == "journal_full"
        serving.gate.refusal = None
        assert asked(control_path, line)[0]["count"] == 1


def test_what_is_published_over_the_control_socket_reaches_subscribers(tmp_path: Path, control_path: Path) -> None:
    with Serving(tmp_path, control_path=control_path) as serving:
        sub = subscriber(serving, b"agg")
        payload = bson.encode({"$command": "agg_complete", "name": "perftest", "docs": 3})
        line = request("publish", topic="agg_complete", data=base64.b64encode(payload).decode())
        assert asked(control_path, line) == [{}]
        assert received(sub) == [b"agg_complete", payload]
