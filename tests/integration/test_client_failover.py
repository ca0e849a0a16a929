"""A client of several servers: the next one gets what the one before did not answer, under the same ids."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acking import AckServer, nack
from running import RunningServer, free_port
from waiting import wait_until
from zarkov.client import NotAcknowledged, ZarkovClient
from zarkov.errors import ConfigError
from zarkov.journal.reader import Journal


@pytest.fixture
def servers() -> Iterator[tuple[AckServer, AckServer]]:
    with AckServer() as first, AckServer() as second:
        yield first, second


def client_of(*addresses: str, **options: Any) -> ZarkovClient:
    return ZarkovClient(list(addresses), ack=True, **({"failover_s": 0.2, "timeout_s": 20} | options))


def nowhere() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


def restarted(server: AckServer) -> None:
    server.stop()
    server.start()


def ids(server: AckServer) -> set[Any]:
    return {document["_id"] for document in server.documents()}


def test_the_first_server_gets_everything_while_it_answers(servers: tuple[AckServer, AckServer]) -> None:
    first, second = servers
    with client_of(first.address, second.address) as client:
        client.event("nop")
        client.flush()
    assert (first.types(), second.hellos) == (["nop"], [])


def test_a_first_server_that_is_not_there_is_passed_over(servers: tuple[AckServer, AckServer]) -> None:
    with client_of(nowhere(), servers[0].address) as client:
        client.event("nop")
        client.flush()
    assert servers[0].types() == ["nop"]


def test_a_batch_without_an_answer_goes_to_the_next_server_with_the_same_ids(
    servers: tuple[AckServer, AckServer], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = servers
    first.whim = lambda batch: "silent"
    with client_of(first.address, second.address) as client:
        for _ in range(5):
            client.event("nop")
        client.flush()
        assert client.acknowledged == 5
    assert len(ids(second)) == 5
    assert ids(first) <= ids(second)
    assert ids(first), "it stored some, and said nothing"
    assert f"server does not answer address={first.address} next={second.address}" in caplog.text


def test_not_now_is_an_answer(servers: tuple[AckServer, AckServer]) -> None:
    first, second = servers
    busy = time.monotonic() + 0.6
    first.whim = lambda batch: nack("server_busy", retryable=True) if time.monotonic() < busy else None
    with client_of(first.address, second.address) as client:
        client.event("nop")
        client.flush()
    assert (first.types(), second.hellos) == (["nop"], [])


def test_back_at_the_first_server_nothing_is_stored_there_twice(servers: tuple[AckServer, AckServer]) -> None:
    first, second = servers
    with client_of(first.address, second.address, batch_events_max=1) as client:
        for _ in range(10):
            client.event("nop")
        client.flush()
        first.whim = lambda batch: "silent"
        for _ in range(3):
            client.event("nop")
        wait_until(lambda: len(second.stored) == 3)
        client.flush()
        first.whim = lambda batch: None
        second.whim = lambda batch: "silent"
        for _ in range(3):
            client.event("nop")
        client.flush()
        assert client.acknowledged == 16
    assert len(ids(first)) == len(first.stored) == 16
    assert len(ids(second)) == len(second.stored) == 6


def test_a_client_that_both_servers_left_goes_on_when_either_is_back() -> None:
    first, second = AckServer(), AckServer()
    for server in (first, second):
        server.start()
        server.stop()
    with client_of(first.address, second.address) as client:
        client.event("nop")
        with pytest.raises(NotAcknowledged, match=f"{first.address}, {second.address}"):
            client.flush(1.0)
        with second:
            client.flush()
        assert second.types() == ["nop"]
        client.event("again")
        with first:
            client.flush()
        assert first.types() == ["again"]


def test_an_idle_client_whose_server_died_sends_its_next_event_to_the_other(
    servers: tuple[AckServer, AckServer],
) -> None:
    first, second = servers
    with client_of(first.address, second.address) as client:
        client.event("before")
        client.flush()
        first.stop()
        wait_until(lambda: second.hellos)
        client.event("after")
        client.flush()
        first.start()
    assert (first.types(), second.types()) == (["before"], ["after"])


def test_a_server_with_a_narrower_window_gets_what_was_in_flight_in_turn() -> None:
    """More batches are in flight than the next server takes at a time; none becomes too old on the way."""
    with AckServer(window_max=20) as first, AckServer(window_max=3) as second:
        first.whim = lambda batch: "ignore"
        with client_of(first.address, second.address, batch_events_max=1) as client:
            for _ in range(50):
                client.event("nop")
            client.flush()
            assert (client.acknowledged, client.refused) == (50, 0)
        assert len(ids(second)) == len(second.stored) == 50


def test_a_named_producer_of_several_servers_is_no_earlier_one(servers: tuple[AckServer, AckServer]) -> None:
    """What the other server knows under the name is of an earlier process, and must answer nothing of this one's."""
    first, second = servers
    for _ in range(2):
        first.whim = lambda batch: None
        with client_of(first.address, second.address, producer=b"shop") as client:
            client.event("nop")
            client.flush()
            first.whim = lambda batch: "silent"
            client.event("nop")
            client.flush()
    assert len(second.stored) == 2
    assert all(producer.startswith(b"shop.") for producer in first.hellos)


def test_threads_that_flush_and_send_survive_each_turn(servers: tuple[AckServer, AckServer]) -> None:
    first, second = servers
    client = client_of(first.address, second.address, batch_events_max=20, queue_events_max=500)
    done = threading.Event()
    sent = [0, 0, 0]
    failures: list[BaseException] = []

    def work(place: int) -> None:
        try:
            while not done.is_set():
                for _ in range(30):
                    client.event("nop", {}, [place, sent[place]])
                    sent[place] += 1
                client.flush()
        except BaseException as failure:  # noqa: BLE001 - it is raised again in the test's thread
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for round_ in range(4):
        silent, other = (first, second) if round_ % 2 == 0 else (second, first)
        before = len(other.stored)
        silent.whim = lambda batch: "silent"
        wait_until(lambda other=other, before=before: len(other.stored) > before + 100 or failures)
        silent.whim = lambda batch: None
    done.set()
    for thread in threads:
        thread.join(60)
    client.close()
    assert failures == []
    found = {tuple(extra) for server in servers for extra in server.extras()}
    assert found == {(place, number) for place in range(3) for number in range(sent[place])}
    for server in servers:
        assert len(ids(server)) == len(server.stored)


def test_every_address_is_looked_at_before_it_is_needed() -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        client_of(nowhere(), "nonsense")


def test_events_survive_the_kill_of_the_first_real_server_in_mid_stream(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = (RunningServer(tmp_path / name).start() for name in ("first", "second"))
    wanted = 0
    try:
        options = {"batch_events_max": 50, "queue_events_max": 5000, "timeout_s": 60, "failover_s": 0.5}
        with client_of(first.ack, second.ack, **options) as client:
            for dying, left in ((first, second), (second, first)):
                until = time.monotonic() + 0.4
                while time.monotonic() < until:
                    client.event("nop", {}, wanted)
                    wanted += 1
                dying.kill_group()
                until = time.monotonic() + 0.8
                while time.monotonic() < until:
                    client.event("nop", {}, wanted)
                    wanted += 1
                client.flush()
                assert not left.ended()
                dying.start()
            assert client.acknowledged == wanted
            assert len(client.position) == 2
        assert (first.stop(), second.stop()) == (0, 0)
    finally:
        first.put_down()
        second.put_down()
    by_id: dict[Any, int] = {}
    for server in (first, second):
        with Journal.open(server.data_dir / "journal") as journal:
            found = [(document["_id"], document["extra"]) for _, document in journal.read(0)]
        assert len(dict(found)) == len(found), "no server has an event twice"
        by_id |= dict(found)
    assert sorted(by_id.values()) == list(range(wanted)), "a store keyed by _id has each once"
