"""Workers that die, freeze, fill memory, never end or answer twice; jobs that are cancelled; a router that stops."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import psutil
import pytest
import zmq

from journaling import fill, small
from keyrings import Keyring
from running import free_port, zcmd
from waiting import wait_until
from zarkov.zmr.results import ResultWriter
from zarkov.zmr.wire import message, read_message
from zmring import COUNTING, TOTAL, Cluster, counted

EVENTS = 1_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "journal", EVENTS, each=100, settings=small(chunk_events_max=100))
    return tmp_path


def first_attempt(folder: Path, do: str) -> dict[str, Any]:
    """COUNTING, where the first attempt at a split writes its process id to `folder/pid` and then does something."""
    text = f"""
import os, time

def count(events):
    numbers = [event['context']['number'] for event in events]
    try:
        file = os.open({str(folder / "pid")!r}, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        pass
    else:
        os.write(file, str(os.getpid()).encode())
        os.close(file)
        {do}
    for number in numbers:
        yield number % 10, 1
"""
    return {**COUNTING, "map_text": text}


def pid_of_first_attempt(folder: Path) -> int:
    wait_until(lambda: (folder / "pid").exists() and (folder / "pid").read_text())
    return int((folder / "pid").read_text())


def values(answer: dict[str, Any]) -> dict[Any, Any]:
    assert answer["status"] == {"state": "complete", "traceback": ""}
    return {document["_id"]: document["value"] for document in answer["result"]}


def basic(text: str) -> dict[str, Any]:
    return {"func_text": text, "func_name": text.partition("def ")[2].partition("(")[0]}


def test_a_worker_killed_in_mid_task_costs_the_job_nothing_but_a_retry(folder: Path) -> None:
    with Cluster(folder, map_job_size=200) as cluster:
        job_id = cluster.ask("mapreduce", **first_attempt(folder, "time.sleep(600)"))["job_id"]
        os.kill(pid_of_first_attempt(folder), signal.SIGKILL)
        assert values(cluster.ask("wait", job_id=job_id)) == counted(range(EVENTS))
        assert cluster.job(job_id)["progress"]["retries"] == 1
        wait_until(lambda: len(cluster.worker_pids()) == 2)


def test_a_frozen_worker_loses_its_task_and_is_replaced(folder: Path) -> None:
    with Cluster(folder, map_job_size=200, worker_silence_s=0.5) as cluster:
        job_id = cluster.ask("mapreduce", **first_attempt(folder, "time.sleep(600)"))["job_id"]
        frozen = pid_of_first_attempt(folder)
        os.kill(frozen, signal.SIGSTOP)
        assert values(cluster.ask("wait", job_id=job_id)) == counted(range(EVENTS))
        assert cluster.job(job_id)["progress"]["retries"] == 1
        wait_until(lambda: frozen not in cluster.worker_pids() and len(cluster.worker_pids()) == 2)


def test_a_task_that_never_ends_is_given_to_another_when_its_time_is_over(folder: Path) -> None:
    with Cluster(folder, map_job_size=200, task_timeout_s=1) as cluster:
        job_id = cluster.ask("mapreduce", **first_attempt(folder, "time.sleep(600)"))["job_id"]
        slow = pid_of_first_attempt(folder)
        assert values(cluster.ask("wait", job_id=job_id)) == counted(range(EVENTS))
        wait_until(lambda: slow not in cluster.worker_pids())


def test_a_function_that_computes_for_ever_is_stopped_where_it_is(folder: Path) -> None:
    with Cluster(folder, workers=1, task_timeout_s=1, task_attempts_max=1) as cluster:
        job_id = cluster.ask("basic", **basic("def spin():\n    while True: pass"))["job_id"]
        assert cluster.ask("wait", job_id=job_id)["status"]["state"] == "error"
        answer = cluster.ask("basic", **basic("def fine(): return 1"), wait=True)
        assert answer["result"] == 1


def test_a_function_that_wants_too_much_memory_fails_and_nobody_else(folder: Path) -> None:
    with Cluster(folder, workers=1, task_memory_bytes_max=400 << 20, task_attempts_max=1) as cluster:
        answer = cluster.ask("basic", **basic("def hog(): return len(bytearray(1 << 30))"), wait=True)
        assert answer["status"]["state"] == "error"
        assert "MemoryError" in answer["status"]["traceback"]
        assert values(cluster.ask("mapreduce", **COUNTING, wait=True)) == counted(range(EVENTS))


def test_a_task_that_kills_every_worker_fails_its_job_with_the_reason_and_the_split(folder: Path) -> None:
    text = "import os\ndef die(events):\n    os._exit(3)\n    yield"
    functions = {"map_text": text, "map_name": "die", "reduce_text": TOTAL, "reduce_name": "total"}
    with Cluster(folder) as cluster:
        job = cluster.job(cluster.ask("mapreduce", **functions, wait=True)["job_id"])
        assert job["state"] == "error"
        assert "the process ended with 3" in job["error"]
        assert f"offsets 0 to {EVENTS - 1}" in job["error"]
        assert "the last of 3 attempts" in job["error"]
        assert values(cluster.ask("mapreduce", **COUNTING, wait=True)) == counted(range(EVENTS))


def test_a_worker_is_replaced_after_so_many_tasks_without_losing_one(folder: Path) -> None:
    with Cluster(folder, map_job_size=100, requests_per_worker_process=3) as cluster:
        before = set(cluster.worker_pids())
        answer = cluster.ask("mapreduce", **COUNTING, wait=True)
        assert values(answer) == counted(range(EVENTS))
        assert cluster.job(answer["job_id"])["progress"]["retries"] == 0
        wait_until(lambda: before.isdisjoint(cluster.worker_pids()))


def test_a_worker_that_has_grown_too_large_is_replaced_after_its_task(folder: Path) -> None:
    with Cluster(folder, workers=1, worker_memory_bytes_max=100 << 20) as cluster:
        (before,) = cluster.worker_pids()
        text = "def grow():\n    global kept\n    kept = b'x' * (150 << 20)\n    return len(kept)"
        answer = cluster.ask("basic", **basic(text), wait=True)
        assert answer["result"] == 150 << 20
        assert (
            cluster.ask("basic", **basic("import os\ndef pid(): return os.getpid()"), wait=True)["result"] != before
        )


def test_a_cancelled_job_frees_its_worker(folder: Path) -> None:
    with Cluster(folder, workers=1) as cluster:
        job_id = cluster.ask("mapreduce", **first_attempt(folder, "time.sleep(600)"), output_name="out")["job_id"]
        pid_of_first_attempt(folder)
        cluster.ask("cancel", job_id=job_id)
        assert cluster.ended(job_id)["state"] == "cancelled"
        assert values(cluster.ask("mapreduce", **COUNTING, wait=True)) == counted(range(EVENTS))
        assert cluster.documents("out") == []


def test_a_job_that_waits_can_be_cancelled_too(folder: Path) -> None:
    with Cluster(folder, workers=1, jobs_running_max=1) as cluster:
        running = cluster.ask("mapreduce", **first_attempt(folder, "time.sleep(600)"))["job_id"]
        waiting = cluster.ask("mapreduce", **COUNTING)["job_id"]
        assert cluster.job(waiting)["state"] == "queued"
        cluster.ask("cancel", job_id=waiting)
        assert cluster.ended(waiting)["state"] == "cancelled"
        assert cluster.job(running)["state"] == "mapping"


def test_jobs_that_fill_the_same_collection_take_turns(folder: Path) -> None:
    with Cluster(folder, map_job_size=100) as cluster:
        clients = [cluster.client() for _ in range(4)]
        for each in clients:
            each.send("mapreduce", **COUNTING, output_name="shared", output_type="reduce", wait=True)
        assert {each.receive()["status"]["state"] for each in clients} == {"complete"}
        assert cluster.result("shared") == {key: 4 * value for key, value in counted(range(EVENTS)).items()}


def test_a_job_without_workers_fails_when_its_time_is_over(folder: Path) -> None:
    cluster = Cluster(folder, job_timeout_s=1)
    try:
        cluster.start_router()
        answer = cluster.ask("mapreduce", **COUNTING, wait=True)
        assert answer["status"]["state"] == "error"
        assert "job_timeout_s" in answer["status"]["traceback"]
    finally:
        cluster.__exit__(None, None, None)


def test_too_many_jobs_are_refused(folder: Path) -> None:
    cluster = Cluster(folder, jobs_queued_max=2)
    try:
        cluster.start_router()
        for _ in range(2):
            assert "job_id" in cluster.ask("mapreduce", **COUNTING)
        answer = cluster.ask("mapreduce", **COUNTING)
        assert (answer["code"], answer["retryable"]) == ("jobs_full", True)
    finally:
        cluster.__exit__(None, None, None)


def test_only_the_newest_jobs_are_remembered(folder: Path) -> None:
    with Cluster(folder, workers=1, jobs_max=2) as cluster:
        done = [cluster.ask("basic", func_name="os:getpid", wait=True)["job_id"] for _ in range(4)]
        wait_until(lambda: cluster.ask("status", job_id=done[1])["status"]["state"] == "UNKNOWN")
        assert [job["_id"] for job in cluster.ask("jobs")["jobs"]] == [done[3], done[2]]


def test_intermediate_data_beyond_the_memory_lies_in_files_and_is_gone_in_the_end(folder: Path) -> None:
    text = """
import hashlib

def wide(events):
    for event in events:
        number = event['context']['number']
        yield number % 10, [hashlib.sha256(str((number, i)).encode()).digest() for i in range(300)]
"""
    reduce = "def gathered(key, values): return [each for value in values for each in value]"
    finalize = "def counted(docs):\n    for doc in docs: yield {'_id': doc['_id'], 'value': len(doc['value'])}"
    functions = {"map_text": text, "map_name": "wide", "reduce_text": reduce, "reduce_name": "gathered"}
    functions |= {"finalize_text": finalize, "finalize_name": "counted"}
    small_memory = {"memory_bytes_max": 0, "task_memory_bytes": 1 << 20, "map_job_size": 100}
    with Cluster(folder, **small_memory) as cluster:
        answer = cluster.ask("mapreduce", **functions, reduce_count=1, wait=True)
        assert values(answer) == {key: 300 * value for key, value in counted(range(EVENTS)).items()}
        counters = cluster.job(answer["job_id"])["counters"]
        assert counters["spills"] > 0
        assert counters["bytes_shuffled"] > 8 << 20  # So the reduce's source came in more than two pieces.
        wait_until(lambda: not list((folder / "root").glob("job-*")))


class FakeWorker:
    """Speaks the worker's protocol by hand."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        config = cluster.ask("config")
        self.name = name
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.source, self.sink = self.context.socket(zmq.DEALER), self.context.socket(zmq.PUSH)
        self.source.routing_id = name.encode()
        self.source.rcvtimeo = 20_000
        self.source.connect(f"tcp://127.0.0.1:{config['src_port']}")
        self.sink.connect(f"tcp://127.0.0.1:{config['sink_port']}")
        self.source.send_multipart(message("hello", {"worker": name, "replaces": None, "reason": ""}))
        assert read_message(self.source.recv_multipart()).what == "welcome"

    def task(self) -> dict[str, Any]:
        said = read_message(self.source.recv_multipart())
        assert said.what == "task"
        return {"worker": self.name, "task": said.head["task"], "attempt": said.head["attempt"]}

    def beat(self, given: dict[str, Any]) -> bool:
        """Whether it is told to end."""
        self.source.send_multipart(message("beat", given))
        while (said := read_message(self.source.recv_multipart())).what != "pulse":
            pass
        return bool(said.head["stop"])

    def done(self, given: dict[str, Any], piece: bytes) -> None:
        head = {**given, "partitions": [0], "counters": {"events_read": 7}, "printed": "", "leaves": False}
        self.sink.send_multipart(message("done", head, [piece]))

    def close(self) -> None:
        self.context.destroy(linger=1000)


def value(of: Any) -> bytes:
    return bson.encode({"value": of})


@pytest.fixture
def router(folder: Path) -> Iterator[Cluster]:
    cluster = Cluster(folder, task_timeout_s=1, worker_silence_s=600)
    try:
        cluster.start_router()
        yield cluster
    finally:
        cluster.__exit__(None, None, None)


def test_a_result_that_comes_late_or_twice_counts_for_nothing(router: Cluster) -> None:
    job_id = router.ask("basic", func_name="os:getpid")["job_id"]
    late, prompt = FakeWorker(router, "late"), FakeWorker(router, "prompt")
    try:
        old = late.task()
        new = prompt.task()  # when the first one's lease is over
        assert (old["task"], old["attempt"], new["attempt"]) == (new["task"], 1, 2)
        late.done(old, value("late"))
        wait_until(lambda: not late.beat(old))  # it is heard, and is not held against the worker
        prompt.done({**new, "attempt": 1}, value("of another attempt"))
        prompt.done({**new, "worker": "late"}, value("of another worker"))
        prompt.done(new, value("prompt"))
        prompt.done(new, value("again"))
        assert router.ask("wait", job_id=job_id)["result"] == "prompt"
        assert router.job(job_id)["counters"]["events_read"] == 7
    finally:
        late.close()
        prompt.close()


def test_a_worker_is_told_to_end_when_its_task_is_not_wanted_any_more(router: Cluster) -> None:
    worker = FakeWorker(router, "one")
    try:
        job_id = router.ask("basic", func_name="os:getpid")["job_id"]
        given = worker.task()
        assert not worker.beat(given)
        router.ask("cancel", job_id=job_id)
        wait_until(lambda: worker.beat(given))
        worker.name = "nobody"
        assert worker.beat({**given, "worker": "nobody"})
    finally:
        worker.close()


def test_nonsense_from_a_worker_does_no_harm(router: Cluster) -> None:
    worker = FakeWorker(router, "one")
    try:
        for frames in ([b"nonsense"], message("fly", {}), message("beat", {"worker": 1}), message("fetch", {})):
            worker.source.send_multipart(frames)
        head = {"worker": "one", "task": {"job": "x", "stage": "map", "index": 0}, "attempt": 1}
        for frames in (
            [b"nonsense"],
            message("done", {}),
            message("done", {**head, "partitions": [1]}),
            message("part", {**head, "partitions": [-1]}, [b"x"]),
            message("failed", {**head, "failure": {}}),
            message("done", {**head, "partitions": [0], "counters": 1, "printed": 2}, [b"x"]),
        ):
            worker.sink.send_multipart(frames)
        job_id = router.ask("basic", func_name="os:getpid")["job_id"]
        worker.done(worker.task(), value("fine"))
        assert router.ask("wait", job_id=job_id)["result"] == "fine"
    finally:
        worker.close()


def test_a_result_that_is_not_what_was_written_fails_the_job_and_not_the_router(router: Cluster) -> None:
    worker = FakeWorker(router, "one")
    try:
        job_id = router.ask("mapreduce", **COUNTING, reduce_count=1, output_name="out")["job_id"]
        worker.done(worker.task(), b"no run at all")
        pieces: list[bytes] = []
        writer = ResultWriter(pieces.append)
        writer.end()
        worker.done(worker.task(), b"".join(pieces)[:-3])
        job = router.ended(job_id)
        assert (job["state"], "run" in job["error"]) == ("error", True)
        assert router.documents("out") == []
    finally:
        worker.close()


def test_workers_of_a_router_that_stops_wait_for_the_next(folder: Path) -> None:
    with Cluster(folder) as cluster:
        assert cluster.ask("terminate") == {"message": "the router stops"}
        assert cluster.router is not None
        assert cluster.router.wait(30) == 0
        cluster.start_router()
        assert values(cluster.ask("mapreduce", **COUNTING, wait=True)) == counted(range(EVENTS))


def test_a_crew_ends_with_all_its_workers(folder: Path) -> None:
    with Cluster(folder) as cluster:
        cluster.ask("mapreduce", **first_attempt(folder, "time.sleep(600)"))
        pid_of_first_attempt(folder)
        children = cluster.worker_pids()
        assert cluster.crew is not None
        cluster.crew.terminate()
        assert cluster.crew.wait(30) == 0
        assert not any(map(psutil.pid_exists, children))


def test_a_second_router_on_the_same_data_is_refused(folder: Path) -> None:
    with Cluster(folder) as cluster:
        other = Cluster(folder)
        with pytest.raises(AssertionError, match="another router runs"):
            other.start_router()
        assert cluster.ask("echo", message=1) == {"message": 1}


def test_a_router_that_waits_for_its_event_servers_can_be_stopped(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "zarkov.cli.zmr_router",
        "--data-dir",
        tmp_path,
        "--parent",
        str(os.getpid()),
    ]
    sets = ("num_event_servers=2", f"zmr.req_bind=tcp://127.0.0.1:{free_port()}")
    waiting = subprocess.Popen([*command, *(part for each in sets for part in ("--set", each))])
    try:
        wait_until(lambda: caught_signals(waiting.pid) >= GEVENT_HANDLES)
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(60) == 0
    finally:
        waiting.kill()


#: What the router listens to once it runs.
GEVENT_HANDLES = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def caught_signals(pid: int) -> set[int]:
    """The signals for which a process has a handler."""
    (line,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    mask = int(line, 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_what_a_killed_router_left_behind_is_cleaned_away(folder: Path) -> None:
    root = folder / "root"
    with Cluster(folder, memory_bytes_max=0, map_job_size=100) as cluster:
        cluster.ask("mapreduce", **first_attempt(folder, "time.sleep(600)"))
        wait_until(lambda: list(root.glob("job-*")))
        clean = ("--set", f"zmr.job_root={root}", "zmr-clean")
        assert "0 jobs" in zcmd(*clean)
        cluster.kill_router()
        assert "1 job " in zcmd(*clean)
        assert list(root.glob("job-*")) == []


def test_with_keys_nobody_without_one_gets_in(folder: Path) -> None:
    ring = Keyring(folder)
    me, stranger = ring.client("me"), ring.client("stranger", admitted=False)
    ring.client("worker")
    curve = {
        "curve.server_key_file": ring.secret_file,
        "curve.allow": ring.allow,
        "curve.client_key_file": ring.folder / "worker.key_secret",
        "curve.server_public_key": ring.public_file,
    }
    with Cluster(folder, more=curve) as cluster:
        client = cluster.client(keys=me)
        assert values(client.ask("mapreduce", **COUNTING, wait=True)) == counted(range(EVENTS))
        config = client.ask("config")
        for keys in (None, stranger):
            outside = cluster.client(keys=keys, answer_s=0.5)
            with pytest.raises(zmq.Again):
                outside.ask("echo", message=1)
            with zmq.Context() as context, context.socket(zmq.DEALER) as worker:
                worker.linger, worker.rcvtimeo = 0, 500
                if keys is not None:
                    keys.secure(worker)
                worker.connect(f"tcp://127.0.0.1:{config['src_port']}")
                worker.send_multipart(message("hello", {"worker": "spy", "replaces": None, "reason": ""}))
                with pytest.raises(zmq.Again):
                    worker.recv_multipart()
