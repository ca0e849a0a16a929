"""AsyncZarkovClient over real sockets, on asyncio's loop and on uvloop's."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
import uvloop
import zmq

from acking import AckServer
from programs import script
from running import RunningServer, free_port
from serving import Serving
from zarkov.client import AsyncZarkovClient, ClientClosed, ClientError, NotAcknowledged, QueueFull, Refusal, Report
from zarkov.errors import ConfigError, EventRefused
from zarkov.journal.reader import Journal

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def server() -> Iterator[AckServer]:
    with AckServer() as serving:
        yield serving


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return asyncio.run if request.param == "asyncio" else uvloop.run


def nowhere() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


async def until(holds: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "the condition was not met in time"
        await asyncio.sleep(0.005)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_events_arrive_once_and_in_order(server: AckServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncZarkovClient(server.address) as client:
            for number in range(5000):
                await client.event("nop", {"a": 1}, number)
            await client.event_noval("odd", None, 5000)
            await client.send_encoded(bson.encode({"type": "raw", "extra": n}) for n in range(5001, 9000))
            await client.flush()
            assert (client.acknowledged, client.pending, client.dropped, client.refused) == (9000, 0, 0, 0)
            assert client.position == {"j": 9000}
            assert client.stats.batches_sent < 1000

    run(main())
    assert server.extras() == list(range(9000))
    assert server.documents()[5000]["$command"] == "event_noval"


def test_an_idle_client_sends_at_once_without_a_flush(server: AckServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncZarkovClient(server.address, linger_s=60) as client:
            await client.event("first")
            await until(lambda: client.acknowledged == 1)
            await client.event("second")
            await until(lambda: client.acknowledged == 2)

    run(main())


def test_a_batch_that_gathers_leaves_when_its_time_is_over(server: AckServer, run: Run) -> None:
    server.whim = lambda seen: "ignore" if seen.sequence == 1 else None

    async def main() -> None:
        client = AsyncZarkovClient(server.address, linger_s=0.01)
        await client.event("ignored")
        await until(lambda: client.stats.in_flight_batches == 1)
        await client.event("gathers")
        await until(lambda: client.acknowledged == 1)
        with pytest.raises(NotAcknowledged):
            await client.close(0)

    run(main())
    assert server.types() == ["gathers"]


def test_tasks_that_flush_together_share_batches(server: AckServer, run: Run) -> None:
    async def one(client: AsyncZarkovClient, number: int) -> None:
        await client.event("nop", {}, number)
        await client.flush()
        assert number in server.extras()

    async def main() -> None:
        async with AsyncZarkovClient(server.address) as client:
            await client.event("nop", {}, -1)
            await client.flush()
            await asyncio.gather(*(one(client, number) for number in range(200)))
            assert client.stats.batches_sent < 20

    run(main())
    assert sorted(server.extras()) == list(range(-1, 200))


def test_refused_events_are_told_to_on_error_and_by_the_next_flush(server: AckServer, run: Run) -> None:
    told: list[Report] = []

    async def main() -> None:
        async with AsyncZarkovClient(server.address, on_error=told.append) as client:
            for kind in ("good", "bad", "good"):
                await client.event(kind)
            with pytest.raises(NotAcknowledged, match="1 events were refused") as failure:
                await client.flush()
            assert not failure.value.retryable
            await client.flush()
            assert (client.acknowledged, client.refused) == (2, 1)

    run(main())
    assert [(type(one), one.code) for one in told] == [(Refusal, "type_invalid")]


def test_what_bson_cannot_hold_is_refused_by_the_call(server: AckServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncZarkovClient(server.address) as client:
            with pytest.raises(EventRefused):
                await client.event("nop", {"a": object()})
            with pytest.raises(EventRefused):
                await client.send_encoded([bson.encode({"type": "nop"}), b"short"])
            assert client.stats.taken == 0

    run(main())


# Back-pressure and cancellation.


def test_senders_wait_while_the_queue_is_full_and_go_on_in_turn(server: AckServer, run: Run) -> None:
    answering = False
    server.whim = lambda seen: None if answering else {"code": "server_busy", "message": "", "retryable": True}

    async def main() -> None:
        nonlocal answering
        async with AsyncZarkovClient(server.address, queue_events_max=10) as client:
            senders = [asyncio.create_task(client.event("nop", {}, number)) for number in range(100)]
            encoded = [bson.encode({"type": "raw", "extra": number}) for number in range(100, 200)]
            senders.append(asyncio.create_task(client.send_encoded(encoded)))
            await until(lambda: client.stats.retries > 0)
            assert client.pending == 10
            assert sum(task.done() for task in senders) == 10
            answering = True
            await asyncio.gather(*senders)

    run(main())
    assert sorted(server.extras()) == list(range(200))
    assert [number for number in server.extras() if number < 100] == list(range(100))


def test_a_full_queue_drops_and_counts_or_raises_as_told(run: Run) -> None:
    async def main() -> None:
        dropping = AsyncZarkovClient(nowhere(), queue_events_max=3, on_full="drop")
        for number in range(10):
            await dropping.event("nop", {}, number)
        assert (dropping.stats.taken, dropping.dropped) == (3, 7)
        for on_full in ("raise", "block"):
            full = AsyncZarkovClient(nowhere(), queue_events_max=3, on_full=on_full, timeout_s=0.05)
            with pytest.raises(QueueFull, match="3 events wait"):
                await full.send_encoded([bson.encode({"type": "nop"})] * 10)
            assert full.stats.taken == 3
            with pytest.raises(NotAcknowledged):
                await full.close(0)
        with pytest.raises(NotAcknowledged, match="3 events not acknowledged"):
            await dropping.close(0)

    run(main())


def test_a_cancelled_call_has_not_taken_its_event_and_one_that_returned_has(server: AckServer, run: Run) -> None:
    rng = random.Random(7)
    server.whim = lambda seen: (
        {"code": "server_busy", "message": "", "retryable": True} if rng.random() < 0.3 else None
    )
    taken: set[int] = set()

    async def main() -> None:
        async with AsyncZarkovClient(
            server.address, queue_events_max=5, batch_events_max=3, linger_s=0.001
        ) as client:

            async def one(number: int) -> None:
                await client.event("nop", {}, number)
                taken.add(number)

            tasks = [asyncio.create_task(one(number)) for number in range(300)]
            while not all(task.done() for task in tasks):
                waiting = [task for task in tasks if not task.done()]
                rng.choice(waiting).cancel()
                await asyncio.sleep(0.001)
            assert client.stats.taken == len(taken)

    run(main())
    assert 0 < len(taken) < 300
    assert sorted(server.extras()) == sorted(taken)


def test_room_that_a_cancelled_waiter_was_given_goes_to_the_next(server: AckServer, run: Run) -> None:
    held = True
    server.whim = lambda seen: {"code": "server_busy", "message": "", "retryable": True} if held else None

    async def main() -> None:
        nonlocal held
        client = AsyncZarkovClient(server.address, queue_events_max=1)
        link: Any = client._link
        await client.event("first")
        waiting = [asyncio.create_task(client.event(f"waiter{n}")) for n in range(2)]
        await turns()
        _, waiter = link._room[0]
        let_go = link._let_go

        def let_go_and_cancel() -> None:
            let_go()
            if waiter.done():
                waiting[0].cancel()  # it is told, and has not run yet

        link._let_go = let_go_and_cancel
        held = False
        await waiting[1]
        await client.close()
        assert waiting[0].cancelled()

    run(main())
    assert server.types() == ["first", "waiter1"]


def test_a_cancelled_flush_leaves_the_events_queued(server: AckServer, run: Run) -> None:
    held = True
    server.whim = lambda seen: {"code": "server_busy", "message": "", "retryable": True} if held else None

    async def main() -> None:
        nonlocal held
        async with AsyncZarkovClient(server.address) as client:
            await client.event("nop")
            flush = asyncio.create_task(client.flush())
            await until(lambda: client.stats.retries > 0)
            flush.cancel()
            await asyncio.gather(flush, return_exceptions=True)
            assert flush.cancelled()
            assert client.pending == 1
            held = False
            await client.flush()

    run(main())
    assert server.types() == ["nop"]


def test_a_task_that_sends_without_end_lets_the_others_run(server: AckServer, run: Run) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with AsyncZarkovClient(server.address, batch_events_max=100) as client:
            ticking = asyncio.create_task(tick())
            for number in range(2000):
                await client.event("nop", {}, number)
            ticking.cancel()
            assert ticks >= 19

    run(main())


def test_a_client_at_rest_has_no_timer(server: AckServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncZarkovClient(server.address) as client:
            link: Any = client._link
            await client.event("nop")
            await client.flush()
            if link._timer is not None:
                link._timer.cancel()
            link._on_timer()  # what is armed now would fire at rest, again and again
            assert link._timer is None

    run(main())


# The connection, and the end.


def test_a_client_may_start_before_its_server(run: Run) -> None:
    server = AckServer()
    server.address = nowhere()

    async def main() -> None:
        async with AsyncZarkovClient(server.address) as client:
            await client.event("early")
            with pytest.raises(NotAcknowledged, match="no acknowledging server answers there"):
                await client.flush(0.05)
            server.start()
            await client.flush()

    try:
        run(main())
    finally:
        server.stop()
    assert server.types() == ["early"]


def test_a_real_server_killed_in_mid_flight_gets_every_event_once(tmp_path: Path, run: Run) -> None:
    server = RunningServer(tmp_path).start()
    sent = 0

    async def main() -> None:
        nonlocal sent
        async with AsyncZarkovClient(server.ack, batch_events_max=20, queue_events_max=2000, timeout_s=60) as client:
            for _ in range(2):
                until_s = time.monotonic() + 0.5
                while time.monotonic() < until_s:
                    await client.event("nop", {}, sent)
                    sent += 1
                server.kill_group()
                await asyncio.to_thread(server.start)
            await client.flush()
            assert client.acknowledged == sent

    try:
        run(main())
        assert server.stop() == 0
    finally:
        server.put_down()
    with Journal.open(server.data_dir / "journal") as journal:
        assert sorted(document["extra"] for _, document in journal.read(0)) == list(range(sent))


def test_several_clients_share_a_loop(tmp_path: Path, run: Run) -> None:
    async def one(address: str, number: int) -> None:
        async with AsyncZarkovClient(address, queue_events_max=50) as client:
            for part in range(200):
                await client.event("nop", {"client": number}, part)

    async def main(address: str) -> None:
        await asyncio.gather(*(one(address, number) for number in range(8)))

    with Serving(tmp_path) as serving:
        run(main(serving.server.endpoints["ack_bind_address"]))
        events = serving.wait_for_events(1600)
    for number in range(8):
        assert [each["extra"] for each in events if each["context"]["client"] == number] == list(range(200))


def test_closing_reports_what_is_pending_and_tells_those_who_wait(run: Run) -> None:
    told: list[Report] = []

    async def main() -> None:
        client = AsyncZarkovClient(nowhere(), queue_events_max=1, on_error=told.append)
        await client.event("taken")
        sender = asyncio.create_task(client.event("waits"))
        flush = asyncio.create_task(client.flush())
        await turns()
        with pytest.raises(NotAcknowledged, match="1 events not acknowledged"):
            await client.close(0)
        with pytest.raises(ClientClosed):
            await sender
        with pytest.raises(NotAcknowledged, match="before the client was closed"):
            await flush
        await client.close()
        for call in (client.event("late"), client.flush(), client.send_encoded([bson.encode({})])):
            with pytest.raises(ClientClosed):
                await call

    run(main())
    assert [one.code for one in told] == ["not_acknowledged"]


def test_an_error_inside_the_with_block_comes_out_and_the_events_are_sent(server: AckServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncZarkovClient(server.address) as client:
            await client.event("before")
            raise ValueError("the program's own")

    with pytest.raises(ValueError, match="the program's own"):
        run(main())
    assert server.types() == ["before"]


def test_a_close_that_is_cancelled_closes(run: Run) -> None:
    async def main() -> None:
        client = AsyncZarkovClient(nowhere())
        await client.event("nop")
        closing = asyncio.create_task(client.close())
        await turns()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        with pytest.raises(ClientClosed):
            await client.event("late")
        assert client.stats.abandoned == 1

    run(main())


def test_use_outside_of_its_loop_is_told_plainly(server: AckServer) -> None:
    client = AsyncZarkovClient(server.address)
    faults: list[str] = []

    async def use() -> None:
        try:
            await client.event("elsewhere")
        except ClientError as fault:
            faults.append(str(fault))

    async def main() -> None:
        await client.event("here")
        elsewhere = threading.Thread(target=lambda: asyncio.run(use()))
        elsewhere.start()
        await asyncio.to_thread(elsewhere.join)
        call: Awaitable[None] = client.flush()
        without_loop = threading.Thread(target=lambda: _step(call, faults))
        without_loop.start()
        await asyncio.to_thread(without_loop.join)

    asyncio.run(main())
    assert ["in another event loop" in faults[0], "no event loop runs" in faults[1]] == [True, True]

    async def again() -> None:
        await client.event("again")
        await client.close()

    asyncio.run(again())
    assert server.types() == ["here", "again"]


def test_over_push_too_use_outside_of_its_loop_is_told_plainly(pull: zmq.Socket[bytes]) -> None:
    pull.bind("tcp://127.0.0.1:*")
    client = AsyncZarkovClient(pull.LAST_ENDPOINT.decode(), ack=False)
    faults: list[str] = []

    async def use() -> None:
        for call in (client.event("elsewhere"), client.close()):
            try:
                await call
            except ClientError as fault:
                faults.append(str(fault))

    async def main() -> None:
        await client.event("here")
        await asyncio.to_thread(lambda: asyncio.run(use()))

    asyncio.run(main())
    asyncio.run(client.event("again"))
    asyncio.run(client.close())
    assert ["in another event loop" in fault for fault in faults] == [True, True]
    assert [bson.decode(pull.recv())["type"] for _ in range(2)] == ["here", "again"]


def test_a_close_in_another_loop_closes_nothing(server: AckServer) -> None:
    text = """
import asyncio, sys
from zarkov.client import AsyncZarkovClient, ClientError
client = AsyncZarkovClient(sys.argv[1])
async def close():
    try:
        await client.close()
    except ClientError as fault:
        print(fault)
async def main():
    await client.event("taken")
    await asyncio.to_thread(lambda: asyncio.run(close()))
asyncio.run(main())
"""
    done = script(text, server.address)
    assert done.returncode == 0
    assert "in another event loop" in done.stdout
    assert "ResourceWarning: unclosed" in done.stderr
    assert server.types() == ["taken"]


def _step(call: Any, faults: list[str]) -> None:
    try:
        call.send(None)
    except ClientError as fault:
        faults.append(str(fault))


async def _nothing(report: Report) -> None:
    del report


@pytest.mark.parametrize(
    "options",
    [{"on_full": "wait"}, {"producer": b""}, {"batch_events_max": 0}, {"on_error": _nothing}, {"addr": "nonsense"}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        AsyncZarkovClient(**{"addr": nowhere(), **options})


def test_a_client_that_was_not_closed_is_warned_of_and_sends_what_it_took(server: AckServer) -> None:
    text = """
import asyncio, sys
from zarkov.client import AsyncZarkovClient
async def main():
    client = AsyncZarkovClient(sys.argv[1])
    for number in range(500):
        await client.event("nop", {}, number)
asyncio.run(main())
"""
    done = script(text, server.address)
    assert done.returncode == 0
    assert "ResourceWarning: unclosed <zarkov.client.asynchronous.AsyncZarkovClient" in done.stderr
    assert server.extras() == list(range(500))


def test_a_fork_sends_nothing_twice(server: AckServer) -> None:
    text = """
import asyncio, os, sys
from zarkov.client import AsyncZarkovClient
client = AsyncZarkovClient(sys.argv[1], producer=b"parent")
async def first():
    await client.event("parent", {}, 0)
async def then(kind):
    await client.event(kind, {}, 1)
    await client.close()
asyncio.run(first())
child = os.fork()
asyncio.run(then("child" if child == 0 else "parent"))
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    done = script(text, server.address, forks=True)
    assert (done.returncode, done.stderr) == (0, "")
    found = sorted((document["type"], document["extra"]) for document in server.documents())
    assert found == [("child", 1), ("parent", 0), ("parent", 1)]
    assert {seen.producer.partition(b".")[0] for seen in server.batches} == {b"parent"}
    assert len({seen.producer for seen in server.batches}) == 2


# Over PUSH.


@pytest.fixture
def pull() -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.linger = 0
        socket.rcvhwm = 1
        yield socket


def test_over_push_events_wait_in_line_for_a_server_that_is_slow(pull: zmq.Socket[bytes], run: Run) -> None:
    address = nowhere()

    async def main() -> None:
        async with AsyncZarkovClient(address, ack=False, queue_events_max=10) as client:
            senders = [asyncio.create_task(client.event("nop", {}, number)) for number in range(100)]
            await turns()
            assert client.stats.taken < 50
            pull.bind(address)
            received = await asyncio.to_thread(lambda: [bson.decode(pull.recv())["extra"] for _ in range(100)])
            await asyncio.gather(*senders)
            await client.flush()
            assert (client.stats.taken, client.position) == (100, {})
            assert sorted(received) == list(range(100))

    run(main())


def test_over_push_too_a_task_that_sends_without_end_lets_the_others_run(pull: zmq.Socket[bytes], run: Run) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with AsyncZarkovClient(nowhere(), ack=False, batch_events_max=100, timeout_s=0) as client:
            ticking = asyncio.create_task(tick())
            for number in range(2000):
                await client.event("nop", {}, number)
            ticking.cancel()
            assert ticks >= 19

    run(main())


def test_over_push_a_full_queue_drops_or_raises_and_close_tells_of_a_loss(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        dropping = AsyncZarkovClient(nowhere(), ack=False, queue_events_max=10, on_full="drop")
        await dropping.send_encoded([bson.encode({"type": "nop"})] * 50)
        assert dropping.stats.taken + dropping.dropped == 50
        assert dropping.dropped > 0
        await dropping.close(0.02)
        for on_full in ("raise", "block"):
            full = AsyncZarkovClient(nowhere(), ack=False, queue_events_max=1, on_full=on_full, timeout_s=0.02)
            with pytest.raises(QueueFull):
                await full.send_encoded([bson.encode({"type": "nop"})] * 50)
            waits = asyncio.create_task(full.send_encoded([bson.encode({"type": "nop"})] * 50))
            await turns()
            await full.close(0)
            with pytest.raises((QueueFull, ClientClosed)):
                await waits
            with pytest.raises(ClientClosed):
                await full.event("late")

    run(main())
    assert "events may be lost" in caplog.text
