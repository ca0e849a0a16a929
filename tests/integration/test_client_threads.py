"""ZarkovClient where threads, forks and ends meet: no wake-up is lost, nobody hangs, nothing is left open."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
import zmq

from acking import AckServer, Seen, Whim, nack
from running import free_port
from serving import Serving
from waiting import wait_until
from zarkov.client import ClientClosed, NotAcknowledged, QueueFull, Refusal, Report, ZarkovClient, channel, zsend
from zarkov.client.channel import AckLink
from zarkov.client.limits import Limits
from zarkov.client.push import PushLink
from zarkov.client.reporter import Reporter
from zarkov.errors import EventRefused

FOR_EVER_S = 1e6
PATIENCE_S = 20.0  # what a lost wake-up would cost: the test fails then, by NotAcknowledged


def event(**fields: Any) -> bytes:
    return bson.encode({"type": "nop", **fields})


def nowhere() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def server() -> Iterator[AckServer]:
    with AckServer() as serving:
        yield serving


@pytest.fixture(autouse=True)
def _no_safety_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that misses a wake-up sleeps until the test's patience ends."""
    monkeypatch.setattr(channel, "_DRIVE_S_MAX", FOR_EVER_S)


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """No thread of a client outlives its test."""
    yield
    wait_until(lambda: not any(thread.name.startswith("zarkov-client") for thread in threading.enumerate()))


def ack_link(address: str, **limits: Any) -> AckLink:
    """A link that hears of a silent server only through its answers: nothing is sent again for lack of one."""
    patient = Limits(answer_s=FOR_EVER_S, answer_s_max=FOR_EVER_S, **limits)
    return AckLink(
        address, producer=None, limits=patient, on_full="block", timeout_s=PATIENCE_S, reporter=Reporter(None)
    )


class Watched:
    """Counts the waits of a driver that ended without any wake-up; may hold a driver back before it waits."""

    def __init__(self, link: AckLink) -> None:
        self.link, self.poller, self.in_vain = link, link._line.driver, 0
        self.may_wait, self.is_there = threading.Event(), threading.Event()
        self.may_wait.set()
        link._line.driver = self  # type: ignore[assignment]

    def hold_back(self) -> None:
        self.may_wait.clear()
        self.is_there.clear()

    def poll(self, wait_ms: int) -> list[tuple[Any, int]]:
        self.is_there.set()
        assert self.may_wait.wait(PATIENCE_S)
        found = self.poller.poll(wait_ms)
        self.in_vain += not found and wait_ms > 1000
        return found


def together(*works: Callable[[], None]) -> None:
    """Run each in a thread of its own; raise what the first of them raised."""
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001 - it is raised again in the test's thread
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * PATIENCE_S)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


# Wake-ups.


def test_thousands_of_single_events_are_flushed_without_one_lost_wake_up(server: AckServer) -> None:
    link = ack_link(server.address)
    watched = Watched(link)
    for number in range(3000):
        link.send(event(extra=number))
        link.flush(None)
    link.close(None)
    assert server.extras() == list(range(3000))
    assert (watched.in_vain, link.stats.retries) == (0, 0)


def test_flushing_threads_and_sending_threads_lose_no_wake_up(server: AckServer) -> None:
    link = ack_link(server.address, batch_events_max=5, queue_events_max=40)
    watched = Watched(link)

    def flush_each() -> None:
        for _ in range(300):
            link.send(event())
            link.flush(None)

    def only_send() -> None:
        for _ in range(3000):
            link.send(event())

    together(flush_each, flush_each, flush_each, only_send, only_send)
    link.close(None)
    assert len(server.stored) == 3 * 300 + 2 * 3000
    assert (watched.in_vain, link.stats.retries) == (0, 0)


def test_a_driver_is_woken_when_another_thread_took_its_answer(server: AckServer) -> None:
    """The answer comes after the driver let the lock go and before it waits: what announced it is gone by then."""
    link = ack_link(server.address, batch_events_max=2)
    watched = Watched(link)
    link.send(event())
    link.flush(None)
    watched.hold_back()
    may_answer = threading.Event()
    server.whim = lambda batch: None if may_answer.wait(PATIENCE_S) else "ignore"
    link.send(event())

    def answered() -> bool:
        with link._lock:
            link._exchange(0.0)
            return not link._outbox.pending_events

    def take_the_answer() -> None:
        assert watched.is_there.wait(PATIENCE_S)
        may_answer.set()
        wait_until(answered)
        watched.may_wait.set()

    together(lambda: link.flush(None), take_the_answer)
    link.close(None)
    assert (watched.in_vain, link.stats.acknowledged) == (0, 2)


def test_a_flush_ends_while_other_threads_never_stop_sending(server: AckServer) -> None:
    link = ack_link(server.address, batch_events_max=50, queue_events_max=2000)
    done = threading.Event()

    def send() -> None:
        while not done.is_set():
            link.send(event())

    def flush() -> None:
        try:
            for _ in range(50):
                link.flush(None)
        finally:
            done.set()

    together(send, flush, send)
    link.close(None)
    assert len(server.stored) == link.stats.acknowledged


def test_answers_are_taken_without_any_flush(server: AckServer) -> None:
    link = ack_link(server.address, batch_events_max=3, queue_events_max=10)
    for number in range(2000):
        link.send(event(extra=number))
    wait_until(lambda: link.stats.pending == 0)
    link.close(0)
    assert server.extras() == list(range(2000))
    assert link.stats.retries == 0


# Ends.


def test_a_flush_that_a_close_ends_says_that_nothing_was_acknowledged() -> None:
    client = ZarkovClient(nowhere(), ack=True)
    client.event("nop")
    told: list[str] = []

    def flush() -> None:
        with pytest.raises(NotAcknowledged) as failure:
            client.flush(FOR_EVER_S)
        told.append(str(failure.value))

    flushing = [threading.Thread(target=flush) for _ in range(3)]
    for thread in flushing:
        thread.start()
    link = client._link
    wait_until(lambda: link._driving and link._waiters == 2)  # type: ignore[attr-defined]
    with pytest.raises(NotAcknowledged):
        client.close(0)
    for thread in flushing:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert len(told) == 3
    assert all("1 events not acknowledged" in text and "before the client was closed" in text for text in told)


def test_a_close_waits_for_the_driver_and_is_woken_by_it() -> None:
    client = ZarkovClient(nowhere(), ack=True)
    client.event("nop")
    link: Any = client._link
    watched = Watched(link)
    watched.hold_back()

    def flush() -> None:
        with pytest.raises(NotAcknowledged, match="before the client was closed"):
            client.flush(FOR_EVER_S)

    def close() -> None:
        assert watched.is_there.wait(PATIENCE_S)
        with pytest.raises(NotAcknowledged):
            client.close(0)

    def let_go() -> None:
        wait_until(lambda: link._stopped and not link._thread.is_alive() and link._changed._waiters)
        watched.may_wait.set()

    together(flush, close, let_go)
    with link._lock:
        assert not link._wait_until(lambda: False, 0), "whoever still waits leaves the closed socket alone"


def test_senders_that_wait_for_room_are_told_of_a_close() -> None:
    client = ZarkovClient(nowhere(), ack=True, queue_events_max=1, timeout_s=FOR_EVER_S)
    client.event("nop")

    def send() -> None:
        with pytest.raises(ClientClosed):
            client.event("nop")

    def close() -> None:
        link = client._link
        wait_until(lambda: link._driving and link._waiters == 2)  # type: ignore[attr-defined]
        with pytest.raises(NotAcknowledged):
            client.close(0)

    together(send, send, send, close)
    assert (client.stats.taken, client.stats.abandoned) == (1, 1)


def test_two_threads_may_close_at_once(server: AckServer) -> None:
    for _ in range(20):
        client = ZarkovClient(server.address, ack=True)
        client.event("nop")
        together(client.close, client.close, client.close)
    assert len(server.stored) == 20


def test_a_callback_that_closes_does_not_wait_for_the_thread_that_waits_for_it(server: AckServer) -> None:
    """The client's thread has a report of its own to deliver while the callback of another closes the client."""
    entered, closed = threading.Event(), threading.Event()

    def close(report: Report) -> None:
        if entered.is_set():
            return
        entered.set()
        client.event("bad")
        with contextlib.suppress(NotAcknowledged):
            if threading.current_thread().name == "zarkov-client":
                client.flush()
            wait_until(lambda: client.refused == 2)
            client.close()
        closed.set()

    client = ZarkovClient(server.address, ack=True, on_error=close)
    client.event("bad")
    with contextlib.suppress(NotAcknowledged, ClientClosed):
        client.flush()
    assert closed.wait(PATIENCE_S)
    client.close()


def test_clients_leave_no_descriptor_and_no_thread_behind(server: AckServer) -> None:
    def open_descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def use(number: int) -> None:
        with ZarkovClient(server.address, ack=True) as client:
            client.event("nop", {}, number)
        ZarkovClient(nowhere(), ack=True).close()
        ZarkovClient(server.address).close(0)

    use(0)
    before = open_descriptors()
    for number in range(1, 20):
        use(number)
    wait_until(lambda: open_descriptors() <= before)
    assert server.extras() == list(range(20))


FORK_WHILE_CLOSING = """
import os, sys, threading
from zarkov.client import ClientClosed, NotAcknowledged, ZarkovClient
client = ZarkovClient(sys.argv[1], ack=True)
client.event("nop")
def close():
    try:
        client.close(0.5)
    except NotAcknowledged:
        return
closing = threading.Thread(target=close)
closing.start()
while not client._link._driving or not client._link._closing:
    pass
child = os.fork()
if child == 0:
    for use in (client.flush, lambda: client.event("nop")):
        try:
            use()
        except ClientClosed:
            continue
        os._exit(1)
    client.close()
    os._exit(client.stats.taken - 1)
assert os.waitpid(child, 0)[1] == 0
closing.join()
"""


def test_a_client_that_is_forked_while_it_closes_is_closed_in_the_child() -> None:
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORK_WHILE_CLOSING, nowhere()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = [line.partition("=")[0] for line in done.stderr.splitlines()]
    assert told == ["events given up count", "events not stored count"], "only the parent tells of its event"


# What no server should be sent.


@pytest.mark.parametrize("element", [b"garbage", b"", event() + event(), event()[:-1]])
def test_an_element_that_is_no_whole_document_is_refused_before_any_is_taken(
    server: AckServer, element: bytes
) -> None:
    with ZarkovClient(server.address, ack=True) as client:
        with pytest.raises(EventRefused, match="element 1 of 3"):
            client.send_encoded([event(), element, event()])
        assert client.stats.taken == 0
        client.send_encoded([event()])
    assert len(server.stored) == 1


def test_an_element_whose_content_is_broken_is_refused_alone(tmp_path: Path) -> None:
    broken = bytearray(event(extra="text"))
    broken[4] = 0x7E  # no type of BSON
    reports: list[Report] = []
    with Serving(tmp_path) as serving:
        with ZarkovClient(serving.server.endpoints["ack_bind_address"], ack=True, on_error=reports.append) as client:
            client.send_encoded([event(extra=1), bytes(broken), event(extra=2)])
            with pytest.raises(NotAcknowledged, match="1 events were refused"):
                client.flush()
            assert (client.acknowledged, client.refused) == (2, 1)
        assert [document["extra"] for document in serving.wait_for_events(2)] == [1, 2]
    assert [report for report in reports if isinstance(report, Refusal)] == reports
    assert [(report.code, report.event) for report in reports] == [("bson_invalid", bytes(broken))]  # type: ignore[union-attr]


def test_an_event_that_the_server_would_break_the_connection_for_holds_nothing_up(tmp_path: Path) -> None:
    limits = dict.fromkeys(("event_bytes_max", "message_bytes_max", "batch_bytes_max"), 20_000)
    reports: list[Report] = []
    with Serving(tmp_path, **limits) as serving:
        address = serving.server.endpoints["ack_bind_address"]
        with ZarkovClient(address, ack=True, on_error=reports.append, timeout_s=PATIENCE_S) as client:
            client.event("nop", {}, 1)
            client.event("nop", {"padding": bytes(30_000)}, 2)
            client.event("nop", {}, 3)
            with pytest.raises(NotAcknowledged, match="1 events were refused"):
                client.flush()
            assert client.acknowledged == 2
        assert [document["extra"] for document in serving.wait_for_events(2)] == [1, 3]
    assert [report.code for report in reports] == ["batch_too_large"]


def test_a_server_that_takes_only_single_events_gets_them_by_halving(server: AckServer) -> None:
    """Its WELCOME promises more than it takes."""

    def whim(batch: Seen) -> Whim:
        size = int.from_bytes(batch.data[:4], "little")
        return nack("batch_too_large", retryable=False) if len(batch.data) > size else None

    server.whim = whim
    with ZarkovClient(server.address, ack=True, timeout_s=PATIENCE_S) as client:
        client.send_encoded([event(extra=number) for number in range(100)])
        client.flush()
        assert (client.acknowledged, client.refused) == (100, 0)
    assert sorted(server.extras()) == list(range(100))


# PUSH.


def test_threads_share_a_push_client() -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        pull.bind("tcp://127.0.0.1:*")
        client = ZarkovClient(pull.LAST_ENDPOINT.decode())

        def send() -> None:
            for _ in range(500):
                client.event("nop")

        together(send, send, send, send)
        client.close()
        for _ in range(2000):
            assert pull.poll(20_000)
            assert bson.decode(pull.recv())["type"] == "nop"
        assert not pull.poll(0)


def test_waiting_for_a_connection_outlasts_one_that_fails() -> None:
    """What answers first ends each connection at once, as a proxy without its server does."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    link = PushLink(f"tcp://127.0.0.1:{port}", limits=Limits(), on_full="block", timeout_s=PATIENCE_S)
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(link.wait_until_up(PATIENCE_S)))
    waiting.start()
    for _ in range(2):
        listener.accept()[0].close()
    listener.close()
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        wait_until(lambda: bound(pull, port))
        waiting.join(2 * PATIENCE_S)
        assert found == [True]
        link.close(0)


def bound(pull: zmq.Socket[bytes], port: int) -> bool:
    try:
        pull.bind(f"tcp://127.0.0.1:{port}")
    except zmq.ZMQError:
        return False
    return True


def test_zsend_ends_with_one_when_the_server_stops_taking_events(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zsend, "SEND_S_MAX", 0.2)
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        pull.rcvhwm = 1
        pull.linger = 0
        pull.bind("tcp://127.0.0.1:*")
        line = b'{"type":"nop","extra":"' + b"x" * 1_000_000 + b'"}\n'
        monkeypatch.setattr("sys.stdin", Stdin(line * 30))
        assert zsend.main([pull.LAST_ENDPOINT.decode()]) == 1
    assert "zsend.py: " in capsys.readouterr().err


class Stdin:
    """Standard input with these bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def test_a_push_client_of_a_server_that_takes_nothing_is_bounded() -> None:
    client = ZarkovClient(nowhere(), queue_events_max=5, on_full="raise")
    with pytest.raises(QueueFull, match="5 events wait"):
        client.send_encoded([event()] * 6)
    assert client.stats.taken == 5
    client.close(0)
