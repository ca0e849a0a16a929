"""A client with a spool: whatever is away or dies, what it took is stored once, and its memory stays as it is."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest

from acking import AckServer, nack
from running import free_port
from spools import disk_full
from waiting import wait_until
from zarkov.client import NotAcknowledged, QueueFull, Report, ZarkovClient
from zarkov.client.spool import Row, Spool
from zarkov.errors import ConfigError, SpoolFailed


@pytest.fixture
def server() -> Iterator[AckServer]:
    with AckServer() as serving:
        yield serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def nowhere() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


def client_of(address: str, path: Path, **options: Any) -> ZarkovClient:
    return ZarkovClient(address, ack=True, spool=path, **({"failover_s": 0.2} | options))


def batches_in(path: Path) -> list[Row]:
    spool = Spool.open(path)
    rows, _ = spool.read(0, 2**40)
    spool.close()
    return rows


def test_what_the_server_acknowledged_leaves_the_spool(server: AckServer, path: Path) -> None:
    with client_of(server.address, path) as client:
        for number in range(50):
            client.event("nop", {}, number)
        client.flush()
        assert (client.acknowledged, client.pending) == (50, 0)
    assert server.extras() == list(range(50))
    assert batches_in(path) == []


def test_events_get_their_ids_from_the_client_unless_they_have_one(server: AckServer, path: Path) -> None:
    own = bson.ObjectId()
    events = [{"type": "a"}, {"type": "b", "_id": own}, {"type": "c", "extra": {"_id": 1, "user_id": 2}}]
    with client_of(server.address, path) as client:
        client.send_encoded([bson.encode(event) for event in events])
    found = server.documents()
    assert all(isinstance(event.pop("_id"), bson.ObjectId) for event in (found[0], found[2]))
    assert found == events


def test_closing_without_a_server_gives_nothing_up_and_the_next_client_sends_it_first(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reports: list[Report] = []
    with client_of(nowhere(), path, on_error=reports.append) as client:
        for number in range(10):
            client.event("nop", {}, number)
    assert (reports, client.stats.abandoned, client.pending) == ([], 0, 10)
    assert f"events stay in the spool count=10 path={path}" in caplog.text
    with AckServer() as server:
        with client_of(server.address, path) as later:
            later.event("nop", {}, 10)
            assert later.stats.restored == 10
            later.flush()
            assert later.acknowledged == 11
        assert server.extras() == list(range(11))
        assert len({seen.producer for seen in server.batches}) == 1


def test_a_batch_that_was_stored_before_the_end_is_not_stored_again(server: AckServer, path: Path) -> None:
    server.whim = lambda batch: "silent"
    with client_of(server.address, path, timeout_s=0.1) as client:
        client.event("nop")
        wait_until(lambda: server.stored)
    assert len(batches_in(path)) == 1
    server.whim = lambda batch: None
    with client_of(server.address, path) as later:
        later.flush()
        assert later.acknowledged == 1
    assert len(server.stored) == 1
    assert [seen.sequence for seen in server.batches] == [1, 1]


def test_sync_returns_when_everything_is_on_disk_whether_a_server_is_there_or_not(path: Path) -> None:
    client = client_of(nowhere(), path, linger_s=1000)
    client.event("nop")
    client.sync()
    assert (client.pending, client.acknowledged) == (1, 0)
    client.event("nop")
    client.close(0)
    assert sum(row.count for row in batches_in(path)) == 2


def test_sync_without_a_spool_waits_for_the_acknowledgement(server: AckServer) -> None:
    with ZarkovClient(server.address, ack=True, linger_s=1000) as client:
        client.event("nop")
        client.sync()
        assert client.acknowledged == 1
    with ZarkovClient(nowhere(), ack=True) as lonely:
        lonely.event("nop")
        with pytest.raises(NotAcknowledged):
            lonely.sync(0.05)
        with pytest.raises(NotAcknowledged):
            lonely.close(0)


def test_what_lingers_is_on_disk_soon_though_no_server_is_there(path: Path) -> None:
    client = client_of(nowhere(), path)
    client.event("nop")
    backlog = client._link._outbox.backlog  # type: ignore[attr-defined]
    wait_until(lambda: backlog.kept_number == 1 and not backlog._fresh)
    client.close(0)


def test_refused_events_are_told_of_and_leave_the_spool(server: AckServer, path: Path) -> None:
    reports: list[Report] = []
    with client_of(server.address, path, on_error=reports.append) as client:
        client.event("good")
        client.event("bad")
        with pytest.raises(NotAcknowledged, match="1 events were refused"):
            client.flush()
    assert [report.code for report in reports] == ["type_invalid"]
    assert batches_in(path) == []


def test_a_sequence_the_server_has_forgotten_is_told_of_and_holds_nothing_up(server: AckServer, path: Path) -> None:
    server.whim = lambda batch: nack("sequence_too_old", retryable=False) if batch.sequence == 1 else None
    reports: list[Report] = []
    with client_of(server.address, path, on_error=reports.append) as client:
        client.event("first")
        with pytest.raises(NotAcknowledged, match="refused"):
            client.flush()
        client.event("second")
        client.flush()
    assert [report.code for report in reports] == ["sequence_too_old"]
    assert server.types() == ["second"]
    assert batches_in(path) == []


def test_an_older_copy_of_a_spool_loses_nothing(
    server: AckServer, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server has other events under the sequences that the copy gives: it goes on as another producer."""
    with client_of(server.address, path) as client:
        client.event("first")
    old = tmp_path / "copy"
    old.write_bytes(path.read_bytes())
    with client_of(server.address, path) as client:
        for _ in range(3):
            client.event("original")
            client.flush()
    with client_of(server.address, old) as client:
        for _ in range(3):
            client.event("copy")
        client.flush()
    assert sorted(server.types()) == ["copy"] * 3 + ["first"] + ["original"] * 3
    assert "spool is older than what the server knows" in caplog.text


# The spool is full, or cannot be used.


def event(number: int) -> bytes:
    return bson.encode({"type": "nop", "extra": number, "padding": bytes(1000)})


def test_a_full_spool_drops_and_counts_or_raises_or_waits(path: Path) -> None:
    dropping = client_of(nowhere(), path, spool_bytes_max=10_000, on_full="drop")
    dropping.send_encoded([event(number) for number in range(20)])
    taken = dropping.stats.taken
    assert 5 < taken < 10
    assert dropping.dropped == 20 - taken
    dropping.close(0)
    for on_full in ("raise", "block"):
        client = client_of(nowhere(), path, spool_bytes_max=10_000, on_full=on_full, timeout_s=0.1)
        with pytest.raises(QueueFull, match="the spool is full") as told:
            client.send_encoded([event(number) for number in range(20)])
        assert "spool_bytes_max" in told.value.hint
        assert client.stats.restored == taken
        client.close(0)
    assert sum(row.count for row in batches_in(path)) == taken


def test_a_full_spool_takes_events_again_when_the_server_is_back(path: Path) -> None:
    with AckServer() as server:
        server.stop()
        with client_of(server.address, path, spool_bytes_max=10_000, timeout_s=20) as client:
            with pytest.raises(QueueFull):
                client_full(client)
            server.start()
            client.send_encoded([event(number) for number in range(100)])
            client.flush()
        assert server.extras()[-100:] == list(range(100))


def client_full(client: ZarkovClient) -> None:
    client._link._on_full = "raise"  # type: ignore[attr-defined]
    try:
        client.send_encoded([event(-1)] * 20)
    finally:
        client._link._on_full = "block"  # type: ignore[attr-defined]


def test_a_disk_that_is_full_takes_nothing_and_loses_nothing(
    server: AckServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[Report] = []
    write, is_full = Spool.write, [True]

    def fails(spool: Spool, added: list[Row], removed: list[int]) -> None:
        if is_full:
            raise disk_full()
        write(spool, added, removed)

    monkeypatch.setattr(Spool, "write", fails)
    client = client_of(server.address, path, on_error=reports.append, on_full="raise")
    client.event("nop")
    with pytest.raises(SpoolFailed, match="disk is full"):
        client.sync(0.1)
    with pytest.raises(QueueFull, match="disk is full"):
        client.event("nop")
    with pytest.raises(NotAcknowledged):
        client.flush(0.1)
    assert server.stored == [], "nothing is sent that a kill would make another batch of"
    assert [report.code for report in reports] == ["spool_failed"]
    is_full.clear()
    client.flush(20)
    client.event("nop")
    client.close()
    assert len(server.stored) == 2


def test_what_never_reached_a_failed_disk_is_told_of_at_the_close(
    server: AckServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[Report] = []

    def fails(spool: Spool, added: list[Row], removed: list[int]) -> None:
        raise SpoolFailed("the disk is broken")

    monkeypatch.setattr(Spool, "write", fails)
    client = client_of(server.address, path, on_error=reports.append)
    client.event("nop")
    with pytest.raises(SpoolFailed, match="the disk is broken"):
        client.sync()
    with pytest.raises(NotAcknowledged):
        client.close(0)
    assert [report.code for report in reports] == ["spool_failed", "not_acknowledged"]
    assert client.stats.abandoned == 1


def test_a_second_client_on_the_same_spool_is_refused_and_leaves_nothing_open(server: AckServer, path: Path) -> None:
    with client_of(server.address, path) as client:
        with pytest.raises(SpoolFailed, match="in use by another client"):
            client_of(server.address, path)
        client.event("nop")
        client.flush()
    with pytest.raises(ConfigError, match="nonsense"):
        client_of("nonsense", path)
    with client_of(server.address, path):
        assert len(server.stored) == 1


def test_a_spool_needs_the_acknowledging_channel(path: Path) -> None:
    with pytest.raises(ConfigError, match="acknowledging channel"):
        ZarkovClient(nowhere(), spool=path)
    with pytest.raises(ConfigError, match="acknowledging channel"):
        ZarkovClient("tcp://127.0.0.1:1,tcp://127.0.0.1:2")


# Memory, and forks.

MEMORY = """
import resource, sys
import bson
from zarkov.client import ZarkovClient

def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

client = ZarkovClient(sys.argv[1], ack=True, spool=sys.argv[2], failover_s=0.1, queue_bytes_max=2**23)
events = [bson.encode({"type": "nop", "extra": bytes(2000)}) for _ in range(1000)]
client.send_encoded(events)
before = resident()
for _ in range(50):
    client.send_encoded(events)
client.close()
print(client.stats.pending_bytes // 2**20, resident() - before)
"""


def run(text: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", text, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_the_memory_of_a_client_is_bounded_whatever_its_spool_holds(server: AckServer, path: Path) -> None:
    spooled_mib, grown_mib = map(int, run(MEMORY, nowhere(), path).stdout.split())
    assert spooled_mib > 90
    assert grown_mib < 40
    drain = (
        MEMORY[: MEMORY.index("events = ")] + "before = resident()\nclient.flush(100)\nprint(resident() - before)\n"
    )
    # What is in flight is in memory, too: `queue_bytes_max`, and what ZeroMQ has of it.
    assert int(run(drain, server.address, path).stdout) < 60
    assert len(server.stored) == 51_000
    assert batches_in(path) == []


FORK = """
import os, sys
from zarkov.client import ZarkovClient
client = ZarkovClient(sys.argv[1], ack=True, spool=sys.argv[2], linger_s=60, failover_s=0.2)
for number in range(100):
    client.event("parent", {}, number)
child = os.fork()
for number in range(100, 200):
    client.event("child" if child == 0 else "parent", {}, number)
client.flush()
if child == 0:
    own = ZarkovClient(sys.argv[1], ack=True, spool=sys.argv[2] + ".child")
    own.event("child", {}, 200)
    own.close()
    try:
        ZarkovClient(sys.argv[1], ack=True, spool=sys.argv[2])
    except Exception as error:
        assert error.code == "spool_failed"
        sys.exit(0)
    sys.exit(1)
assert os.waitpid(child, 0)[1] == 0
client.event("parent", {}, 200)
client.close()
assert client.stats.acknowledged == 201
"""


def test_a_forked_child_has_no_spool_unless_it_opens_its_own(server: AckServer, path: Path) -> None:
    run(FORK, server.address, path)
    found = sorted((document["type"], document["extra"]) for document in server.documents())
    wanted = [("child", number) for number in range(100, 201)] + [("parent", number) for number in range(201)]
    assert found == wanted
    assert batches_in(path) == batches_in(Path(f"{path}.child")) == []


def test_a_child_that_ends_while_its_parent_writes_leaves_the_spool_whole(server: AckServer, path: Path) -> None:
    text = """
import os, sys, threading
from zarkov.client import ZarkovClient
client = ZarkovClient(sys.argv[1], ack=True, spool=sys.argv[2])
def send():
    for number in range(300):
        client.event("nop", {}, number)
        client.sync()
sending = threading.Thread(target=send)
sending.start()
children = []
while sending.is_alive() and len(children) < 40:
    child = os.fork()
    if child == 0:
        sys.exit(0)
    children.append(child)
    os.waitpid(child, 0)
sending.join()
client.close()
"""
    run(text, server.address, path)
    assert sorted(server.extras()) == list(range(300))
    assert batches_in(path) == []


def test_clients_with_spools_leave_no_descriptor_behind(server: AckServer, path: Path) -> None:
    def use() -> int:
        with client_of(server.address, path) as client:
            client.event("nop")
        return len(os.listdir("/proc/self/fd"))

    before = use()
    for _ in range(5):
        use()
    wait_until(lambda: use() <= before)


def test_a_spool_that_is_served_again_logs_nothing(
    server: AckServer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        with client_of(server.address, path) as client:
            client.event("nop")
    assert caplog.text == ""
