"""ZarkovClient over real sockets: what is taken arrives once, is acknowledged, or is told of."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
import zmq

from acking import AckServer, Seen, Whim, nack
from programs import script
from running import RunningServer, free_port
from serving import Serving
from waiting import wait_until
from zarkov.client import ClientClosed, NotAcknowledged, QueueFull, Refusal, Report, ZarkovClient
from zarkov.errors import BadFrame, ConfigError, EventRefused
from zarkov.journal.reader import Journal


@pytest.fixture
def server() -> Iterator[AckServer]:
    with AckServer() as serving:
        yield serving


@pytest.fixture
def pull() -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.linger = 0
        socket.bind("tcp://127.0.0.1:*")
        yield socket


def endpoint(socket: zmq.Socket[bytes]) -> str:
    return socket.LAST_ENDPOINT.decode()


def received(socket: zmq.Socket[bytes]) -> dict[str, Any]:
    assert socket.poll(20_000), "no event came"
    return bson.decode(socket.recv())


def nowhere() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


# Over PUSH, as the original.


def test_an_event_is_stamped_with_the_time_of_the_call(pull: zmq.Socket[bytes]) -> None:
    before = datetime.now(UTC).replace(tzinfo=None) - timedelta(milliseconds=1)
    with ZarkovClient(endpoint(pull)) as client:
        client.event("nop", {"key": "val"})
        client.event("nop", {}, [1, "two"])
    event = received(pull)
    assert before <= event.pop("timestamp") <= datetime.now(UTC).replace(tzinfo=None)
    assert event == {"type": "nop", "context": {"key": "val"}, "extra": None}
    assert received(pull)["extra"] == [1, "two"]


def test_noval_and_commands_carry_the_command_and_exactly_the_fields_given(pull: zmq.Socket[bytes]) -> None:
    with ZarkovClient(endpoint(pull)) as client:
        client.event_noval("odd", {"a": 1}, 5)
        client._command("anything", x=1, y=[2])
        client.send_encoded([bson.encode({"n": 1}), bson.encode({"n": 2})])
    noval = received(pull)
    assert isinstance(noval.pop("timestamp"), datetime)
    assert noval == {"$command": "event_noval", "type": "odd", "context": {"a": 1}, "extra": 5}
    assert received(pull) == {"$command": "anything", "x": 1, "y": [2]}
    assert [received(pull)["n"], received(pull)["n"]] == [1, 2]


def test_a_push_queue_that_is_full_drops_and_counts_or_raises() -> None:
    dropping = ZarkovClient(nowhere(), queue_events_max=10, on_full="drop")
    for number in range(50):
        dropping.event("nop", {"n": number})
    assert dropping.stats.taken + dropping.dropped == 50
    assert dropping.dropped > 0
    dropping.close(0)
    for on_full in ("raise", "block"):
        refusing = ZarkovClient(nowhere(), queue_events_max=10, on_full=on_full, timeout_s=0.05)
        with pytest.raises(QueueFull):
            refusing.send_encoded([bson.encode({"type": "nop"})] * 50)
        refusing.close(0)


def test_closing_a_push_client_without_a_server_logs_that_events_may_be_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = ZarkovClient(nowhere())
    client.event("nop")
    client.close(0.05)
    assert "events may be lost" in caplog.text
    with pytest.raises(ClientClosed):
        client.event("nop")
    client.close()


def test_push_events_wait_for_a_server_that_comes_later() -> None:
    address = nowhere()
    client = ZarkovClient(address)
    client.event("early")
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.bind(address)
        client.close()
        assert received(socket)["type"] == "early"


# Acknowledged.


def test_flush_returns_when_everything_is_stored(server: AckServer) -> None:
    with ZarkovClient(server.address, ack=True, batch_events_max=7) as client:
        for number in range(100):
            client.event("nop", {"n": number}, number)
        client.flush()
        assert server.extras() == list(range(100))
        assert (client.acknowledged, client.pending, client.refused) == (100, 0, 0)
        assert client.position == {"j": 100}
        client.flush()


def test_leaving_the_context_flushes(server: AckServer) -> None:
    with ZarkovClient(server.address, ack=True, linger_s=60) as client:
        client.event("nop")
        client.event("nop")
    assert len(server.stored) == 2
    with pytest.raises(ClientClosed):
        client.event("nop")
    client.close()


def test_an_exception_in_the_context_is_not_hidden_by_the_close(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        with ZarkovClient(nowhere(), ack=True, timeout_s=0.05) as client:
            client.event("nop")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "closing a client failed code=not_acknowledged" in caplog.text


def test_an_event_is_sent_without_a_flush(server: AckServer) -> None:
    with ZarkovClient(server.address, ack=True) as client:
        client.event("first")
        wait_until(lambda: client.acknowledged == 1)
        for number in range(5):
            client.event("later", {}, number)
        wait_until(lambda: client.acknowledged == 6)


def test_events_gather_into_batches_while_an_answer_is_awaited(server: AckServer) -> None:
    server.whim = lambda batch: "ignore" if batch.sequence == 1 else None
    with ZarkovClient(server.address, ack=True, linger_s=60, timeout_s=1) as client:
        client.event("first")
        wait_until(lambda: server.batches)
        for _ in range(50):
            client.event("more")
        with pytest.raises(NotAcknowledged):
            client.flush(0.1)
        assert len(server.batches) == 2
        server.whim = lambda batch: None
        server.stop()
        server.start()
        client.flush(20)
    assert server.types() == ["first"] + ["more"] * 50 or server.types() == ["more"] * 50 + ["first"]


def test_encoded_events_go_in_full_batches_in_order(server: AckServer) -> None:
    events = [bson.encode({"type": "nop", "extra": number}) for number in range(20_500)]
    with ZarkovClient(server.address, ack=True) as client:
        client.send_encoded(iter(events))
        client.flush()
    assert server.stored == events
    assert len(server.batches) <= 25


def test_a_server_that_answers_slowly_bounds_what_is_in_flight() -> None:
    release = threading.Event()
    with AckServer(window_max=4) as server:
        server.whim = lambda batch: None if release.is_set() else "ignore"
        with ZarkovClient(server.address, ack=True, batch_events_max=1, queue_events_max=50) as client:
            for _ in range(50):
                client.event("nop")
            wait_until(lambda: len(server.batches) == 4)
            assert client.stats.in_flight_batches == 4
            assert client.pending == 50
            release.set()
            server.stop()
            server.start()
            client.flush(20)
        assert len(server.stored) == 50


def test_the_servers_batch_limit_is_kept() -> None:
    with AckServer(batch_events_max=10) as server:
        with ZarkovClient(server.address, ack=True) as client:
            client.send_encoded([bson.encode({"type": "nop", "extra": number}) for number in range(95)])
            client.flush()
        assert server.extras() == list(range(95))
        assert all(seen.data.count(b"nop") <= 10 for seen in server.batches)


# The queue is full.


def test_a_full_queue_blocks_until_there_is_room(server: AckServer) -> None:
    with ZarkovClient(server.address, ack=True, queue_events_max=10, batch_events_max=5) as client:
        for number in range(500):
            client.event("nop", {}, number)
            assert client.pending <= 10
        client.flush()
    assert server.extras() == list(range(500))


def test_a_full_queue_that_nothing_empties_raises_after_the_timeout() -> None:
    client = ZarkovClient(nowhere(), ack=True, queue_events_max=3, timeout_s=0.05)
    for _ in range(3):
        client.event("nop")
    with pytest.raises(QueueFull, match="3 events wait"):
        client.event("nop")
    assert client.pending == 3
    with pytest.raises(NotAcknowledged):
        client.close(0)


def test_a_full_queue_drops_and_counts() -> None:
    client = ZarkovClient(nowhere(), ack=True, queue_events_max=3, on_full="drop")
    for _ in range(5):
        client.event("nop")
    client.send_encoded([bson.encode({"type": "nop"})] * 4)
    assert (client.stats.taken, client.dropped, client.pending) == (3, 6, 3)
    with pytest.raises(NotAcknowledged):
        client.close(0)


def test_a_full_queue_raises_at_once_and_says_what_to_do() -> None:
    client = ZarkovClient(nowhere(), ack=True, queue_events_max=3, on_full="raise")
    with pytest.raises(QueueFull) as full:
        client.send_encoded([bson.encode({"type": "nop"})] * 5)
    assert full.value.retryable
    assert client.pending == 3
    with pytest.raises(NotAcknowledged):
        client.close(0)


def test_a_queue_full_of_bytes_is_full() -> None:
    client = ZarkovClient(nowhere(), ack=True, queue_bytes_max=10_000, on_full="raise")
    with pytest.raises(QueueFull):
        client.send_encoded([bson.encode({"type": "nop", "extra": "x" * 1000})] * 20)
    assert client.stats.pending_bytes <= 10_000
    with pytest.raises(NotAcknowledged):
        client.close(0)


# What is not stored is told of.


def test_flush_says_what_is_missing_and_why_when_no_server_answers() -> None:
    client = ZarkovClient(nowhere(), ack=True)
    client.event("nop")
    with pytest.raises(
        NotAcknowledged, match=r"1 events not acknowledged .* no acknowledging server answers"
    ) as told:
        client.flush(0.05)
    assert told.value.retryable
    with pytest.raises(NotAcknowledged):
        client.close(0)


def test_refused_events_are_reported_and_flush_raises_once(server: AckServer) -> None:
    reports: list[Report] = []
    with ZarkovClient(server.address, ack=True, on_error=reports.append) as client:
        client.event("good")
        client.event("bad", {}, 1)
        client.event("bad", {}, 2)
        client.event("good")
        with pytest.raises(NotAcknowledged, match="2 events were refused") as told:
            client.flush()
        assert not told.value.retryable
        assert [bson.decode(report.event)["extra"] for report in reports if isinstance(report, Refusal)] == [1, 2]
        assert {report.code for report in reports} == {"type_invalid"}
        assert (client.acknowledged, client.refused) == (2, 2)
        client.flush()


def test_refused_events_are_logged_when_there_is_no_callback(
    server: AckServer, caplog: pytest.LogCaptureFixture
) -> None:
    with ZarkovClient(server.address, ack=True) as client:
        client.event("bad")
        with pytest.raises(NotAcknowledged):
            client.flush()
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == "events not stored count=1 first_code=type_invalid reason='it is bad'"


def test_a_callback_that_fails_stops_nothing(server: AckServer, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Report] = []

    def fail(report: Report) -> None:
        seen.append(report)
        raise ZeroDivisionError

    with ZarkovClient(server.address, ack=True, on_error=fail) as client:
        client.send_encoded([bson.encode({"type": "bad"})] * 2)
        with pytest.raises(NotAcknowledged):
            client.flush()
        client.event("good")
        client.flush()
    assert len(seen) == 2
    assert caplog.text.count("on_error failed") == 2


def test_a_callback_may_send_and_flush(server: AckServer) -> None:
    told: list[str] = []

    def again(report: Report) -> None:
        client.event("mended")
        with pytest.raises(NotAcknowledged, match="1 events were refused"):
            client.flush()
        told.append(report.code)

    client = ZarkovClient(server.address, ack=True, on_error=again)
    client.event("bad")
    wait_until(lambda: told)
    assert server.types() == ["mended"]
    client.close()


def test_a_callback_may_close_the_client(server: AckServer) -> None:
    closed = threading.Event()

    def close(report: Report) -> None:
        with pytest.raises(NotAcknowledged):
            client.close()
        closed.set()

    client = ZarkovClient(server.address, ack=True, on_error=close)
    client.event("bad")
    wait_until(closed.is_set)
    wait_until(lambda: not any(thread.name == "zarkov-client" for thread in threading.enumerate()))


def test_what_close_gives_up_is_reported() -> None:
    reports: list[Report] = []
    client = ZarkovClient(nowhere(), ack=True, on_error=reports.append)
    client.event("nop")
    with pytest.raises(NotAcknowledged):
        client.close(0)
    assert [report.code for report in reports] == ["not_acknowledged"]
    assert client.stats.abandoned == 1


def test_an_event_that_bson_cannot_hold_is_refused_at_the_call(server: AckServer) -> None:
    with ZarkovClient(server.address, ack=True) as client:
        for extra in (object(), 2**63, "\ud800", b"x" * 2**24):
            with pytest.raises(EventRefused):
                client.event("nop", {}, extra)
        client.event("good")
    assert server.types() == ["good"]


def test_an_answer_that_cannot_be_read_is_reported_and_the_batch_is_sent_again(server: AckServer) -> None:
    reports: list[Report] = []
    honest = server._answer

    def garbled(frames: list[bytes]) -> list[bytes] | None:
        answer = honest(frames)
        return [b"ACK", b"garbage"] if answer is not None and answer[0] == b"ACK" else answer

    server._answer = garbled  # type: ignore[method-assign]
    with ZarkovClient(server.address, ack=True, on_error=reports.append) as client:
        client.event("nop")
        wait_until(lambda: reports)
        assert isinstance(reports[0], BadFrame)
        server._answer = honest  # type: ignore[method-assign]
        server.stop()
        server.start()
        client.flush(20)
    assert len(server.stored) == 1


# Servers that come, go and refuse.


def test_a_server_that_says_not_now_gets_the_batch_again(server: AckServer) -> None:
    refusals = iter(["server_busy", "journal_full", "window_exceeded"])

    def whim(batch: Seen) -> Whim:
        code = next(refusals, None)
        return nack(code, retryable=True) if code else None

    server.whim = whim
    with ZarkovClient(server.address, ack=True) as client:
        client.event("nop")
        client.flush()
        assert client.stats.retries == 3
    assert len(server.stored) == 1


def test_a_batch_that_is_never_taken_is_reported_and_the_next_is_stored(server: AckServer) -> None:
    server.whim = lambda batch: nack("bad_frame", retryable=False) if batch.sequence == 1 else None
    reports: list[Report] = []
    with ZarkovClient(server.address, ack=True, on_error=reports.append) as client:
        client.event("lost")
        with pytest.raises(NotAcknowledged):
            client.flush()
        client.event("kept")
        client.flush()
    assert [report.code for report in reports] == ["bad_frame"]
    assert server.types() == ["kept"]


def test_an_answer_that_is_lost_with_the_connection_stores_nothing_twice(server: AckServer) -> None:
    server.whim = lambda batch: "silent"
    with ZarkovClient(server.address, ack=True) as client:
        client.event("nop")
        wait_until(lambda: server.stored)
        server.stop()
        server.whim = lambda batch: None
        server.start()
        client.flush(20)
    assert len(server.stored) == 1
    assert len(server.batches) == 2


def test_a_server_killed_again_and_again_in_mid_flight_gets_every_event_once(server: AckServer) -> None:
    sending = threading.Event()

    def send() -> None:
        for number in range(20_000):
            client.event("nop", {}, number)
        sending.set()

    with ZarkovClient(server.address, ack=True, batch_events_max=50, queue_events_max=5000) as client:
        sender = threading.Thread(target=send)
        sender.start()
        while not sending.is_set():
            stored = len(server.stored)
            wait_until(lambda stored=stored: sending.is_set() or len(server.stored) > stored + 2000)
            server.stop()
            server.start()
        sender.join()
        client.flush(60)
        assert client.acknowledged == 20_000
    assert sorted(server.extras()) == list(range(20_000))


def test_a_connection_lost_between_two_frames_of_an_answer_does_not_end_the_program() -> None:
    """In a process of its own, which libzmq would abort."""
    done = script("""
import select
import zmq
from zarkov.client.connection import Connection

context = zmq.Context()
router = context.socket(zmq.ROUTER)
address = f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
connection = Connection(zmq.DEALER, address, send_queue_max=10)
connection.wait_until_up(20)
connection.send([b"request"])
identity, _ = router.recv_multipart()
router.send_multipart([identity, b"first", b"second"])
connection.socket.poll(20_000)
frames = [connection.socket.recv(zmq.NOBLOCK)]
context.destroy(0)
while connection.is_up:
    select.select([connection.monitor_fd], [], [], 20)
    connection.changes()
for _ in range(200):  # libzmq hears of the loss now.
    assert connection.events & zmq.POLLIN
frames.append(connection.socket.recv(zmq.NOBLOCK))
connection.close(0)
print(frames)
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[b'first', b'second']\n", "")


def test_many_threads_share_a_client(server: AckServer) -> None:
    def work(worker: int) -> None:
        for number in range(200):
            client.event("nop", {}, [worker, number])
            if number % 20 == 0:
                client.flush()

    with ZarkovClient(server.address, ack=True, queue_events_max=100) as client:
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(server.extras()) == [[worker, number] for worker in range(5) for number in range(200)]


def test_a_sender_that_waits_for_room_is_told_of_a_close() -> None:
    client = ZarkovClient(nowhere(), ack=True, queue_events_max=1)
    client.event("nop")
    told: list[BaseException] = []

    def send() -> None:
        try:
            client.event("nop")
        except ClientClosed as error:
            told.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    wait_until(lambda: client._link._driving)  # type: ignore[attr-defined]
    with pytest.raises(NotAcknowledged):
        client.close(0)
    sender.join(20)
    assert len(told) == 1


def test_a_named_producer_goes_on_where_it_stopped(server: AckServer) -> None:
    for round_ in range(3):
        with ZarkovClient(server.address, ack=True, producer=b"me") as client:
            client.event("nop", {}, round_)
    assert [(seen.producer, seen.sequence) for seen in server.batches] == [(b"me", 1), (b"me", 2), (b"me", 3)]


def test_a_client_at_rest_does_not_run(server: AckServer) -> None:
    with ZarkovClient(server.address, ack=True) as client:
        client.event("nop")
        client.flush()
        link = client._link
        wait_until(lambda: link._wakes_at == float("inf"))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "options",
    [{"on_full": "wait"}, {"producer": b""}, {"producer": b"x" * 65}, {"batch_events_max": 0}, {"linger_s": -1}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ZarkovClient(nowhere(), ack=True, **options)


@pytest.mark.parametrize("ack", [False, True])
def test_an_address_that_is_none_is_refused(ack: bool) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        ZarkovClient("nonsense", ack=ack)


# Forks, exits, imports.


FORK = """
import os, sys
from zarkov.client import ZarkovClient
client = ZarkovClient(sys.argv[1], ack=True, linger_s=60, producer=b"parent")
for number in range(100):
    client.event("parent", {}, number)
child = os.fork()
for number in range(100, 200):
    client.event("child" if child == 0 else "parent", {}, number)
client.flush()
if child == 0:
    assert client.acknowledged == 100
    {child_exit}
pid, status = os.waitpid(child, 0)
assert status == 0, status
assert client.acknowledged == 200
client.event("parent", {{}}, 200)
"""


@pytest.mark.parametrize("child_exit", ["sys.exit(0)", "os._exit(0)"])
def test_a_fork_in_mid_flight_sends_nothing_twice(server: AckServer, child_exit: str) -> None:
    done = script(FORK.replace("{child_exit}", child_exit).replace("{{}}", "{}"), server.address, forks=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = sorted((document["type"], document["extra"]) for document in server.documents())
    wanted = [("child", number) for number in range(100, 200)] + [("parent", number) for number in range(201)]
    assert found == wanted
    parent, child = sorted({seen.producer for seen in server.batches}, key=len)
    assert parent == b"parent"
    assert child.startswith(b"parent.")


def test_a_child_that_sends_nothing_leaves_the_parents_events_alone(server: AckServer) -> None:
    text = """
import os, sys
from zarkov.client import ZarkovClient
client = ZarkovClient(sys.argv[1], ack=True, linger_s=60)
push = ZarkovClient(sys.argv[1])
client.event("parent")
child = os.fork()
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
client.event("parent")
push.close(0)
"""
    done = script(text, server.address, forks=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert server.types() == ["parent", "parent"]


def test_a_push_client_survives_a_fork(pull: zmq.Socket[bytes]) -> None:
    text = """
import os, sys
from zarkov.client import ZarkovClient
client = ZarkovClient(sys.argv[1])
client.event("before")
if os.fork() == 0:
    client.event("child")
else:
    client.event("parent")
    os.wait()
"""
    done = script(text, endpoint(pull), forks=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(received(pull)["type"] for _ in range(3)) == ["before", "child", "parent"]
    assert not pull.poll(50)


ONE_EVENT = """
import sys
from zarkov.client import ZarkovClient
ZarkovClient(sys.argv[1], ack={ack}).event("only")
"""


def test_a_script_that_sends_one_event_and_ends_loses_nothing_over_push(pull: zmq.Socket[bytes]) -> None:
    done = script(ONE_EVENT.format(ack=False), endpoint(pull))
    assert (done.returncode, done.stderr) == (0, "")
    assert received(pull)["type"] == "only"


def test_a_script_that_sends_one_event_and_ends_loses_nothing_acknowledged(server: AckServer) -> None:
    done = script(ONE_EVENT.format(ack=True), server.address)
    assert (done.returncode, done.stderr) == (0, "")
    assert server.types() == ["only"]


def test_a_script_that_keeps_its_client_and_ends_loses_nothing(server: AckServer) -> None:
    text = """
import sys
from zarkov.client import ZarkovClient
client = ZarkovClient(sys.argv[1], ack=True, linger_s=60)
for number in range(5000):
    client.event("nop", {}, number)
"""
    done = script(text, server.address)
    assert (done.returncode, done.stderr) == (0, "")
    assert server.extras() == list(range(5000))


def test_a_client_that_was_forgotten_sends_what_it_took(server: AckServer) -> None:
    ZarkovClient(server.address, ack=True, linger_s=60).event("forgotten")
    wait_until(lambda: server.types() == ["forgotten"])
    wait_until(lambda: not any(thread.name.startswith("zarkov-client") for thread in threading.enumerate()))


def test_an_exit_without_a_server_says_what_was_lost() -> None:
    text = """
import sys
from zarkov.client import ZarkovClient
ZarkovClient(sys.argv[1], ack=True, timeout_s=0.2).event("lost")
"""
    done = script(text, nowhere())
    assert "events given up count=1" in done.stderr
    assert "1 events not acknowledged" in done.stderr


def test_the_client_needs_nothing_of_the_server() -> None:
    text = """
import sys
EXTRAS = {"gevent", "apsw", "zstandard", "yaml", "typer", "rich", "ming", "IPython", "google_crc32c", "pyarrow"}
STAGES = {"zarkov.ingest", "zarkov.journal", "zarkov.store", "zarkov.config", "zarkov.cli"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in STAGES or name.partition(".")[0] in EXTRAS:
            raise AssertionError(f"the client imports {name}")
sys.meta_path.insert(0, Refuse())
import zarkov.client, zarkov.client.zsend
client = zarkov.client.ZarkovClient("tcp://127.0.0.1:1", ack=True)
client.close()
"""
    done = script(text)
    assert (done.returncode, done.stderr) == (0, "")


# Against the real server.


def test_the_real_server_stores_what_the_client_sends_on_both_ways(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        with ZarkovClient(serving.server.endpoints["ack_bind_address"], ack=True) as client:
            for number in range(500):
                client.event("acknowledged", {"n": number}, number)
            client.event_noval("noval")
            client.event("")
            with pytest.raises(NotAcknowledged, match="1 events were refused"):
                client.flush()
            assert client.acknowledged == 501
            assert list(client.position.values()) == [501]
        with ZarkovClient(serving.server.endpoints["bson_bind_address"]) as client:
            client.event("pushed")
        events = serving.wait_for_events(502)
    assert [event["extra"] for event in events[:500]] == list(range(500))
    assert [event["type"] for event in events[500:]] == ["noval", "pushed"]


def test_events_sent_again_with_their_ids_count_as_acknowledged(tmp_path: Path) -> None:
    events = [bson.encode({"_id": bson.ObjectId(), "type": "nop", "extra": number}) for number in range(10)]
    with Serving(tmp_path) as serving:
        for _ in range(2):
            with ZarkovClient(serving.server.endpoints["ack_bind_address"], ack=True) as client:
                client.send_encoded(events)
                client.flush()
                assert client.acknowledged == 10
        assert len(serving.events()) == 10


def test_a_real_server_killed_in_mid_flight_gets_every_event_once(tmp_path: Path) -> None:
    server = RunningServer(tmp_path).start()
    wanted = 0
    with ZarkovClient(server.ack, ack=True, batch_events_max=20, queue_events_max=2000, timeout_s=60) as client:
        for _ in range(3):
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                client.event("nop", {}, wanted)
                wanted += 1
            server.kill_group()
            server.start()
        client.flush()
        assert client.acknowledged == wanted
    assert server.stop() == 0
    with Journal.open(server.data_dir / "journal") as journal:
        assert sorted(document["extra"] for _, document in journal.read(0)) == list(range(wanted))


def test_a_forked_producer_is_a_producer_of_its_own(server: AckServer) -> None:
    client = ZarkovClient(server.address, ack=True)
    client.event("parent")
    client.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert client.stats.taken == 0
            client.event("child")
            client.flush(20)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    client.event("parent")
    client.close()
    assert server.types() == ["parent", "child", "parent"]
    assert len({seen.producer for seen in server.batches}) == 2
