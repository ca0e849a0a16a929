"""The server as a group of processes: it starts, restarts, refuses, ends, and stays small."""

import json
import os
import signal
import socket
from pathlib import Path

import psutil
import pytest

from commands import ok, run
from keyrings import Keyring
from running import RunningServer
from waiting import wait_until
from zarkov.client import ZarkovClient
from zmring import Client


def child_of(server: RunningServer) -> psutil.Process:
    """The event server below the supervisor."""
    assert server.process is not None
    return event_servers(server)[0]


def event_servers(server: RunningServer) -> list[psutil.Process]:
    """Its children that are event servers: one, or none yet."""
    assert server.process is not None
    children = psutil.Process(server.process.pid).children()
    return [each for each in children if "zarkov.cli.eventlog" in command_of(each)]


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def send(server: RunningServer, count: int) -> None:
    with ZarkovClient(server.ack, ack=True) as client:
        for number in range(count):
            client.event("tick", {"number": number})


def count(server: RunningServer) -> int:
    return int(ok("-y", server.settings, "find", "--count").out)


def test_a_stop_syncs_what_was_sent_and_ends_with_zero(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, "serve").start()
    client = ZarkovClient(server.bson)
    for number in range(5000):
        client.event("tick", {"number": number})
    client.close()
    wait_until(lambda: "events_received" in ok("-y", server.settings, "stats").out)
    assert server.stop() == 0
    assert count(server) == 5000
    assert not (server.data_dir / "control.sock").exists()


def test_a_child_that_is_killed_is_started_again_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with RunningServer(tmp_path, "serve") as server:
        for round_ in range(1, 4):
            send(server, 100)
            child = child_of(server)
            child.kill()
            wait_until(lambda killed=child: [each for each in event_servers(server) if each != killed])
            send(server, 100)
            assert count(server) == round_ * 200
        assert server.stop() == 0
    assert server.log.read_text().count("child died name=eventlog") == 3


def test_the_child_ends_when_the_supervisor_is_killed_and_the_next_server_starts_at_once(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, "serve").start()
    send(server, 100)
    child = child_of(server)
    assert server.process is not None
    server.process.kill()
    server.process.wait(30)
    server.start()
    send(server, 100)
    assert server.stop() == 0
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert count(server) == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_whole_group_stops_the_server_in_order(tmp_path: Path, number: int) -> None:
    server = RunningServer(tmp_path, "serve").start()
    send(server, 100)
    assert server.process is not None
    wait_until(lambda: "ready bson=" in server.log.read_text())
    for _ in range(3):
        os.killpg(server.process.pid, number)
    assert server.process.wait(60) == 0
    log = server.log.read_text()
    assert "child died" not in log
    assert log.count("child started") == 3
    assert count(server) == 100


def test_supervisor_and_children_share_a_process_group(tmp_path: Path) -> None:
    with RunningServer(tmp_path, "serve") as server:
        assert server.process is not None
        wait_until(lambda: "ready bson=" in server.log.read_text())
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert len(children) == 4  # the event server, the router, a crew and its worker
        assert {os.getpgid(child.pid) for child in children} == {os.getpgid(server.process.pid)}


def test_the_idle_server_takes_less_than_150_megabytes(tmp_path: Path) -> None:
    with RunningServer(tmp_path, "serve") as server:
        send(server, 1000)
        assert server.process is not None
        supervisor = psutil.Process(server.process.pid)
        shares = [each.memory_full_info().pss for each in (supervisor, *supervisor.children(recursive=True))]
        assert sum(shares) < 150 * 2**20
        assert shares[0] < 30 * 2**20


def test_a_second_server_on_the_same_data_refuses_and_the_first_goes_on(tmp_path: Path) -> None:
    with RunningServer(tmp_path, "serve") as server:
        ports = {f"ZARKOV_{name.upper()}": "tcp://127.0.0.1:*" for name in server.addresses}
        ran = run("--data-dir", server.data_dir, "serve", **ports)
        assert ran.code == 1
        assert "[journal_locked]" in ran.err
        assert "Traceback" not in ran.err
        send(server, 10)
        assert count(server) == 10


def test_an_address_in_use_ends_the_start_with_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = RunningServer(tmp_path, "serve")
        server.settings.write_text(server.settings.read_text().replace(server.ack, f"tcp://127.0.0.1:{port}"))
        ran = run("-y", server.settings, "serve")
    assert ran.code == 2
    assert f"an address cannot be bound: Address already in use (addr='tcp://127.0.0.1:{port}')" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("command", ["serve", "eventlog"])
@pytest.mark.parametrize("address", ["tcp://0.0.0.0:16543", "tcp://*:16543", "tcp://[::]:16543"])
def test_a_wide_bind_is_refused_with_the_three_ways_out(tmp_path: Path, command: str, address: str) -> None:
    ran = run("--data-dir", tmp_path / "data", "--set", f"bson_bind_address={address}", command)
    assert ran.code == 2
    assert f"bson_bind_address in the command line is {address}" in ran.err
    for way in ("tcp://127.0.0.1:16543", "zcmd keygen", "allow_plain: true"):
        assert way in ran.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["serve", "zmr-router"])
def test_a_router_of_map_reduce_that_anybody_could_reach_is_refused(tmp_path: Path, command: str) -> None:
    ran = run("--data-dir", tmp_path / "data", "--set", "zmr.req_bind=tcp://0.0.0.0:15555", command)
    assert ran.code == 2
    assert "zmr.req_bind in the command line is tcp://0.0.0.0:15555: other machines could run programs" in ran.err
    for way in ("tcp://127.0.0.1:15555", "zcmd keygen", "allow_plain: true"):
        assert way in ran.err


def test_serve_runs_the_router_and_its_workers(tmp_path: Path) -> None:
    with RunningServer(tmp_path, "serve", zmr={"local_workers": 2}) as server:
        send(server, 50)
        client = Client(server.zmr["req_uri"])
        try:
            text = "def tens(events):\n    for event in events: yield event['context']['number'] // 10, 1"
            reduce = {"reduce_text": "def total(key, values): return sum(values)", "reduce_name": "total"}
            answer = client.ask("mapreduce", map_text=text, map_name="tens", **reduce, wait=True)
        finally:
            client.close()
        assert answer["result"] == [{"_id": ten, "value": 10} for ten in range(5)]


def test_with_a_servers_keys_alone_no_workers_are_run_and_the_log_says_so(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    curve = {"server_key_file": str(ring.secret_file), "allow": str(ring.allow)}
    with RunningServer(tmp_path, "serve", curve=curve) as server:
        wait_until(lambda: "ready bson=" in server.log.read_text())
    assert "no workers of map-reduce are run" in server.log.read_text()
    assert "name=zmr-worker" not in server.log.read_text()


def test_a_wide_bind_serves_when_plain_is_allowed(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, "serve", allow_plain="true")
    text = server.settings.read_text().replace("tcp://127.0.0.1:", "tcp://0.0.0.0:")
    server.settings.write_text(text)
    with server:
        send(server, 10)
        assert count(server) == 10


def test_systemd_is_told_when_the_server_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(30)
        server = RunningServer(tmp_path, "serve").start(NOTIFY_SOCKET=address)
        assert systemd.recv(1024).startswith(b"READY=1")
        assert server.stop() == 0
        assert systemd.recv(1024).startswith(b"STOPPING=1")


def test_eventlog_runs_alone_and_stops_in_order(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, "eventlog").start()
    send(server, 10)
    assert server.process is not None
    assert psutil.Process(server.process.pid).children() == []
    assert server.stop() == 0
    assert count(server) == 10


def test_log_lines_are_json_when_asked(tmp_path: Path) -> None:
    with RunningServer(tmp_path, "serve", log_format="json") as server:
        wait_until(lambda: '"ready bson=' in server.log.read_text())
    entries = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {entry["process"] for entry in entries} == {"serve", "eventlog", "zmr-router"}
    assert {entry["level"] for entry in entries} == {"info"}


def test_modules_in_the_working_directory_do_not_get_into_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bson", "yaml", "logging", "gevent"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working directory')\n")
    monkeypatch.chdir(tmp_path)
    with RunningServer(tmp_path, "serve") as server:
        send(server, 1)


def test_a_new_data_directory_is_its_owners_alone(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        assert server.data_dir.stat().st_mode & 0o777 == 0o700
