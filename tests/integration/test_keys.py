"""A server with keys, over real sockets: who gets in, what never gets in, and what becomes of a revoked key."""

from __future__ import annotations

import logging
import os
import socket as tcp
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import bson
import pytest
import zmq

from keyrings import Keyring, new_pair
from serving import Dealer, Serving, event
from waiting import wait_until
from zarkov.client import ClientError, Keys, NotAcknowledged, ZarkovClient
from zarkov.errors import KeyInvalid
from zarkov.ingest.zap import cut_connections
from zarkov.keyfiles import KeyPair, ServerKeys

DOORS = ("bson_bind_address", "json_bind_address", "publish_bind_address", "ack_bind_address")
KIND = {"bson_bind_address": zmq.PUSH, "json_bind_address": zmq.PUSH, "publish_bind_address": zmq.SUB}
PATIENCE_S = 20.0
SHORT_S = 0.5


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path)


@contextmanager
def serving(ring: Keyring, folder: Path, **settings: object) -> Iterator[Serving]:
    with Serving(folder / "data", keys=ring.server, **settings) as server:
        yield server


def connect(server: Serving, door: str, keys: Keys | None) -> zmq.Socket[bytes]:
    socket = server._context.socket(KIND.get(door, zmq.DEALER))
    server._sockets.append(socket)
    socket.linger = 0
    socket.reconnect_ivl = 20
    if keys is not None:
        keys.secure(socket)
    if door == "publish_bind_address":
        socket.subscribe(b"")
    socket.connect(server.server.endpoints[door])
    return socket


def acknowledged(server: Serving, keys: Keys | None, timeout_s: float = PATIENCE_S) -> None:
    """Send one event and have it acknowledged. Raises: NotAcknowledged."""
    client = ZarkovClient(server.server.endpoints["ack_bind_address"], ack=True, keys=keys, timeout_s=timeout_s)
    client.event("nop")
    client.close()


def fill(socket: zmq.Socket[bytes]) -> None:
    """Send events until the socket takes none."""
    with suppress(zmq.Again):
        while True:
            socket.send(event(), zmq.NOBLOCK)


def test_a_listed_key_gets_in_through_every_door(ring: Keyring, tmp_path: Path) -> None:
    keys = ring.client("app")
    with serving(ring, tmp_path) as server:
        subscriber = connect(server, "publish_bind_address", keys)
        server.wait_for_metric("subscribed_topics", lambda topics: topics == 1)
        connect(server, "bson_bind_address", keys).send(event(extra="bson"))
        connect(server, "json_bind_address", keys).send(b'{"type": "nop", "extra": "json"}')
        server.wait_for_events(2)
        dealer = Dealer(connect(server, "ack_bind_address", keys))
        dealer.batch(1, event(extra="ack"))
        assert dealer.acknowledged(1)["count"] == 1
        assert {one["extra"] for one in server.wait_for_events(3)} == {"bson", "json", "ack"}
        received = set()
        for _ in range(3):
            assert subscriber.poll(PATIENCE_S * 1000)
            received.add(bson.decode(subscriber.recv_multipart()[1])["extra"])
        assert received == {"bson", "json", "ack"}
        assert server.metric("handshakes_refused") == 0


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("wrong", ["no key", "a key that is not listed", "the key of another server"])
def test_without_a_listed_key_nothing_gets_in_through_any_door(
    ring: Keyring, tmp_path: Path, door: str, wrong: str
) -> None:
    good = ring.client("good")
    stranger = ring.client("stranger", admitted=False)
    keys = {
        "no key": None,
        "a key that is not listed": stranger,
        "the key of another server": Keys(good.secret, good.public, new_pair().public),
    }[wrong]
    with serving(ring, tmp_path) as server:
        socket = connect(server, door, keys)
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        # The handshake may have been over before anybody watched: then nothing is told until there is a new one.
        socket.disconnect(server.server.endpoints[door])
        socket.connect(server.server.endpoints[door])
        assert monitor.poll(PATIENCE_S * 1000)
        event_number = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
        assert event_number == zmq.EVENT_DISCONNECTED
        if door != "publish_bind_address":
            fill(socket)
        acknowledged(server, good)
        assert len(server.wait_for_events(1)) == 1
        assert server.metric("events_received") == 1
        assert server.metric("subscribed_topics") == 0
        assert server.rejections() == []
        assert (server.metric("handshakes_refused") > 0) == (wrong == "a key that is not listed")
        socket.disable_monitor()
        monitor.close()


@pytest.mark.parametrize("door", DOORS)
def test_no_garbage_ever_reaches_a_socket_with_keys(ring: Keyring, tmp_path: Path, door: str) -> None:
    keys = ring.client("app")
    unversioned = b"\x01\x00" + b"\x20\x00" + event()
    null_greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 1 + 31)
    curve_greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15 + 1 + 31)
    hello = b"\x04\xc8\x05HELLO\x01\x00" + os.urandom(192)
    garbage = [
        b"GET / HTTP/1.1\r\nHost: zarkov\r\n\r\n",
        os.urandom(100_000),
        bytes(100_000),
        event(),
        unversioned,
        null_greeting + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH" + b"\x00\x20" + event(),
        curve_greeting + hello + b"\x00\x20" + event() * 100,
        curve_greeting + b"\x00\x20" + event() * 100,
    ]
    with serving(ring, tmp_path, handshake_s=0.2) as server:
        for data in garbage:
            with tcp.create_connection(("127.0.0.1", server.port(door))) as raw:
                raw.settimeout(PATIENCE_S)
                try:
                    raw.sendall(data)
                    while raw.recv(65536):
                        pass
                except ConnectionError:
                    pass
        acknowledged(server, keys)
        assert server.metric("events_received") == 1
        assert server.metric("subscribed_topics") == 0
        assert server.rejections() == []


def test_a_revoked_key_is_cut_off_and_refused_and_the_others_go_on(
    ring: Keyring, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keys, revoked = ring.client("stays"), ring.client("leaves")
    with serving(ring, tmp_path) as server:
        address = server.server.endpoints["ack_bind_address"]
        with ZarkovClient(address, ack=True, keys=keys) as stays:
            leaves = ZarkovClient(address, ack=True, keys=revoked, timeout_s=SHORT_S)
            spy = connect(server, "publish_bind_address", revoked)
            server.wait_for_metric("subscribed_topics", lambda topics: topics == 1)
            for client in (stays, leaves):
                client.event("before")
                client.flush(PATIENCE_S)
            assert spy.poll(PATIENCE_S * 1000)
            ring.revoke("leaves")
            server.wait_for_metric("connections_cut", lambda count: count >= 3)
            server.wait_for_metric("subscribed_topics", lambda topics: topics == 0)
            server.wait_for_metric("handshakes_refused", lambda count: count > 0)
            leaves.event("after")
            with pytest.raises(NotAcknowledged, match="does not let this key in"):
                leaves.flush(SHORT_S)
            stays.event("after")
            stays.flush(PATIENCE_S)
            with pytest.raises(NotAcknowledged):
                leaves.close()
        assert [one["type"] for one in server.wait_for_events(3)] == ["before", "before", "after"]
    assert "key revoked name=leaves" in caplog.text
    assert "key revoked name=stays" not in caplog.text


def test_a_client_whose_key_is_listed_while_it_waits_gets_in_by_itself(ring: Keyring, tmp_path: Path) -> None:
    keys = ring.client("late", admitted=False)
    with serving(ring, tmp_path) as server:
        with ZarkovClient(server.server.endpoints["ack_bind_address"], ack=True, keys=keys) as client:
            client.event("early")
            server.wait_for_metric("handshakes_refused", lambda count: count > 0)
            ring.admit("late", keys)
            client.flush(PATIENCE_S)
        assert len(server.wait_for_events(1)) == 1


def test_clients_come_back_after_a_list_was_gone_for_a_while(ring: Keyring, tmp_path: Path) -> None:
    keys = ring.client("app")
    with serving(ring, tmp_path, handshake_s=0.3) as server:
        ring.allow.rename(ring.folder / "moved")
        server.wait_for_metric("keys_allowed", lambda count: count == 0)
        with ZarkovClient(server.server.endpoints["ack_bind_address"], ack=True, keys=keys) as client:
            client.event("nop")
            server.wait_for_metric("handshakes_refused", lambda count: count > 0)
            (ring.folder / "moved").rename(ring.allow)
            client.flush(PATIENCE_S)
        assert len(server.wait_for_events(1)) == 1


def test_a_client_outlives_a_server_that_is_started_with_keys_and_again_without(
    ring: Keyring, tmp_path: Path
) -> None:
    plain_again = {}
    with Serving(tmp_path / "data") as server:
        address = server.server.endpoints["ack_bind_address"]
        client = ZarkovClient(address, ack=True, timeout_s=PATIENCE_S)
        client.event("plain")
        client.flush()
        plain_again["ack_bind_address"] = address
        server.stop()
    with serving(ring, tmp_path, **plain_again) as server:
        client.event("during")
        with pytest.raises(NotAcknowledged, match="asks for keys"):
            client.flush(2)
        server.stop()
    with Serving(tmp_path / "data", **plain_again) as server:
        client.close()
        assert [one["type"] for one in server.wait_for_events(2)] == ["plain", "during"]


def test_a_client_with_keys_says_that_a_plain_server_asks_for_none(ring: Keyring, tmp_path: Path) -> None:
    with Serving(tmp_path / "data") as server, pytest.raises(NotAcknowledged, match="asks for no keys"):
        acknowledged(server, ring.client("app"), timeout_s=3)


def test_a_push_client_that_is_not_let_in_says_what_it_lost(
    ring: Keyring, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(ring, tmp_path) as server:
        keys = ring.client("stranger", admitted=False)
        client = ZarkovClient(server.server.endpoints["bson_bind_address"], keys=keys, timeout_s=SHORT_S)
        with pytest.raises(ClientError, match="does not let this key in"):
            wait_until(lambda: client.event("nop"))  # Until ZeroMQ has been told, it queues what it is given.
        client.close()
    assert "events may be lost" in caplog.text


FORKING = """
import os, sys
from zarkov.client import Keys, ZarkovClient
client = ZarkovClient(sys.argv[1], ack=True, keys=Keys.load(sys.argv[2], sys.argv[3]))
client.event("parent")
client.flush()
child = os.fork()
if not child:
    client.event("child")
    client.close()
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_client_uses_the_keys_too(ring: Keyring, tmp_path: Path) -> None:
    ring.client("app")
    with serving(ring, tmp_path) as server:
        arguments = [server.server.endpoints["ack_bind_address"], ring.folder / "app.key_secret", ring.public_file]
        subprocess.run([sys.executable, "-c", FORKING, *arguments], check=True, timeout=60)
        assert [one["type"] for one in server.wait_for_events(2)] == ["parent", "child"]


def test_a_server_key_that_is_no_pair_ends_the_start(ring: Keyring, tmp_path: Path) -> None:
    mixed = ServerKeys(KeyPair(new_pair().public, new_pair().secret), ring.allow)
    with pytest.raises(KeyInvalid, match="does not belong"):
        Serving(tmp_path / "data", keys=mixed).start()


def test_cutting_touches_only_connections_of_these_ports_and_addresses() -> None:
    with tcp.create_server(("127.0.0.1", 0)) as ours, tcp.create_server(("127.0.0.1", 0)) as other:
        pairs = []
        for listener in (ours, other):
            client = tcp.create_connection(listener.getsockname())
            pairs.append((client, listener.accept()[0]))
        port = ours.getsockname()[1]
        assert cut_connections({port}, {"192.0.2.1"}) == 0
        assert cut_connections({port}, {"127.0.0.1", "192.0.2.1"}) == 1
        (cut, cut_inside), (kept, kept_inside) = pairs
        cut.settimeout(PATIENCE_S)
        assert cut.recv(1) == b""
        kept_inside.sendall(b"x")
        assert kept.recv(1) == b"x"
        assert cut_connections({other.getsockname()[1]}, {"::ffff:127.0.0.1"}) == 1
        for each in (cut, cut_inside, kept, kept_inside):
            each.close()


def test_many_clients_that_come_at_once_all_get_in(ring: Keyring, tmp_path: Path) -> None:
    keys = ring.client("app")
    with serving(ring, tmp_path) as server:
        sockets = [connect(server, "bson_bind_address", keys) for _ in range(200)]
        for number, socket in enumerate(sockets):
            socket.send(event(extra=number))
        wait_until(lambda: server.metric("events_received") == len(sockets))
        assert {one["extra"] for one in server.wait_for_events(len(sockets))} == set(range(len(sockets)))
