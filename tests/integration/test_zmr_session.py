"""Map-reduce as a person uses it on a running server: the shell, zcmd, and a program with an address alone."""

import json
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Ran, ok, run
from keyrings import Keyring
from running import ZCMD, RunningServer, zcmd
from sites import by_project, page_views, total
from stored import write
from waiting import wait_until
from zarkov.errors import FunctionFailed, JobCancelled, JobInvalid, JobUnknown, RouterUnreachable
from zarkov.journal.reader import Journal
from zarkov.zmr import Job, Zmr
from zarkov.zmr.job import JobState

ROOT = Path(__file__).parents[2]
EVENTS = page_views(3_000)
EXPECTED = {f"p{number}": 300 for number in range(10)}
JOB = """\
def map(events):
    for e in events: yield e['context']['project'], 1
def reduce(key, values): return sum(values)
"""
SLOW = JOB.replace("    for", "    import time\n    time.sleep(0.3)\n    for")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("serve")
    write(folder / "data" / "journal", [EVENTS[at : at + 1_000] for at in range(0, 3_000, 1_000)])
    with RunningServer(folder, "serve", zmr={"local_workers": 2, "map_job_size": 100}) as running:
        (folder / "my_job.py").write_text(JOB)
        (folder / "slow.py").write_text(SLOW)
        yield running


@pytest.fixture
def zmr(server: RunningServer) -> Iterator[Zmr]:
    with Zmr.connect(str(server.zmr["req_uri"])) as opened:
        wait_until(lambda: answers(opened))
        yield opened


def answers(zmr: Zmr) -> bool:
    try:
        return bool(zmr.jobs() is not None)
    except RouterUnreachable:
        return False


def at(server: RunningServer, *arguments: object, stdin: str = "") -> Ran:
    return ok("-y", server.settings, *arguments, stdin=stdin, folder=server.settings.parent)


def documents(ran: Ran) -> dict[Any, Any]:
    return {document["_id"]: document["value"] for document in map(json.loads, ran.lines)}


def test_the_session_of_the_issue_runs_in_the_shell(server: RunningServer, zmr: Zmr) -> None:
    session = (
        "def by_project(events):\n    for e in events: yield e['context']['project'], 1\n\n"
        "job = zmr.mapreduce(by_project, lambda key, values: sum(values), query={'type': 'page_view'},\n"
        "    output='counts')\n"
        "job.wait()\n"
        "job.result().to_dict()['p3']\n"
        "ZM.db['counts'].find_one({'_id': 'p4'})\n"
        "zmr.mapreduce(lambda events: ((e['no'], 1) for e in events), lambda key, values: 1).wait()\n"
        "print('still', 'here')\n"
    )
    ran = at(server, "shell", stdin=session)
    assert "-> counts, complete, 3,000 events, 10 keys" in ran.out
    assert ": 300\n" in ran.out
    assert "{'_id': 'p4', 'value': 300}" in ran.out
    assert "KeyError: 'no'" in ran.err
    assert "still here" in ran.out


def test_a_program_with_the_address_alone_gets_what_is_returned(zmr: Zmr) -> None:
    job = zmr.mapreduce(by_project, total)
    assert job.result().to_dict() == EXPECTED
    assert job.status().counters.events_read == 3_000
    assert job.status().progress["maps_done"] == 30
    assert zmr.basic(lambda a, b: a * b, (6,), {"b": 7}).result() == 42
    assert job.id in [each.id for each in zmr.jobs()]


def test_a_program_with_the_address_alone_is_told_where_stored_results_lie(zmr: Zmr) -> None:
    job = zmr.mapreduce(by_project, total, output="kept_there")
    job.wait()
    with pytest.raises(JobInvalid, match="collection kept_there, and no store is open here"):
        job.result()


def test_a_worker_s_failure_names_the_event_and_shows_the_traceback(zmr: Zmr) -> None:
    def poisoned(events: Any) -> Any:
        print("mapping")
        for event in events:
            if event["extra"] == 1_717:
                raise ValueError("no such thing")
            yield 1, 1

    job = zmr.mapreduce(poisoned, total)
    with pytest.raises(FunctionFailed, match="offset 1,717") as raised:
        job.wait()
    assert "raise ValueError('no such thing')" in raised.value.__notes__[0]
    assert raised.value.event is not None
    assert raised.value.event["event"]["extra"] == 1_717
    assert "mapping\n" in job.printed


def test_a_job_is_found_again_by_its_id_and_cancelled(zmr: Zmr) -> None:
    def slow(events: Any) -> Any:
        import time

        time.sleep(0.3)
        yield 1, 1

    job = zmr.mapreduce(slow, total)
    again = zmr.job(job.id)
    again.cancel()
    with pytest.raises(JobCancelled):
        job.wait()
    assert again.state == JobState.CANCELLED
    with pytest.raises(JobUnknown):
        zmr.job("no_such_job")


def test_a_refused_request_is_the_router_s_error_with_its_hint(zmr: Zmr) -> None:
    with pytest.raises(JobInvalid, match="runs no jobs on"):
        zmr._router.submit("x", _request("dask"))  # type: ignore[union-attr]


def test_a_file_runs_on_the_workers(server: RunningServer, zmr: Zmr) -> None:
    ran = at(server, "mapreduce", "my_job.py")
    assert documents(ran) == EXPECTED
    at(server, "mapreduce", "my_job.py", "--output", "from_file", "--type", "reduce")
    at(server, "mapreduce", "my_job.py", "--output", "from_file", "--type", "reduce")
    stored = documents(at(server, "find", "--in", "from_file", "--json"))
    assert stored == {key: 2 * count for key, count in EXPECTED.items()}
    shown = at(server, "jobs", "show", json.loads(at(server, "jobs", "--json").out)[0]["_id"]).out
    assert "output         from_file (reduce)" in shown


def test_a_detached_job_is_listed_while_it_runs_and_cancelled_by_its_id(server: RunningServer, zmr: Zmr) -> None:
    job_id = at(server, "mapreduce", "slow.py", "--output", "never", "--detach").out.strip()
    wait_until(lambda: "mapping" in at(server, "jobs").out)
    assert "cancelled" in at(server, "jobs", "cancel", job_id).out
    assert json.loads(at(server, "jobs", "show", job_id, "--json").out)["state"] == "cancelled"
    assert run("-y", server.settings, "find", "--in", "never", "--count").code != 0
    assert "knows no job" in run("-y", server.settings, "jobs", "cancel", "no_such_job").err


def test_ctrl_c_cancels_the_job_that_is_waited_for(server: RunningServer, zmr: Zmr) -> None:
    known = {job.id for job in zmr.jobs()}
    command = [ZCMD, "-y", server.settings, "mapreduce", "slow.py", "--output", "never"]
    with subprocess.Popen(command, cwd=server.settings.parent, stderr=subprocess.PIPE, text=True) as waiting:
        wait_until(lambda: any(job.id not in known and job.state == "mapping" for job in zmr.jobs()))
        waiting.send_signal(signal.SIGINT)
        _, errors = waiting.communicate(timeout=60)
    assert "Cancelling the job" in errors
    assert "[job_cancelled]" in errors
    assert waiting.returncode == 1


def test_without_a_router_submission_fails_at_once_and_names_the_ways_out(tmp_path: Path) -> None:
    (tmp_path / "my_job.py").write_text(JOB)
    write(tmp_path / "data" / "journal", [EVENTS[:10]])
    options = ["--data-dir", tmp_path / "data", "--set", "zmr.req_uri=tcp://127.0.0.1:1"]
    ran = run(*options, "mapreduce", tmp_path / "my_job.py")
    assert ran.code == 1
    assert "error: no router of map-reduce listens at tcp://127.0.0.1:1. [router_unreachable]" in ran.err
    assert "executor='inline'" in ran.err


def test_a_router_that_is_restarted_is_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "data" / "journal", [EVENTS])
    with RunningServer(tmp_path, "serve", zmr={"map_job_size": 100}) as server:
        with Zmr.connect(str(server.zmr["req_uri"])) as zmr:
            wait_until(lambda: answers(zmr))

            def slow(events: Any) -> Any:
                import time

                time.sleep(0.05)
                for event in events:
                    yield event["context"]["project"], 1

            job: Job = zmr.mapreduce(slow, total)
            wait_until(lambda: job.status().progress.get("maps_done", 0) >= 2)
            _router_of(server).kill()
            assert job.result().to_dict() == EXPECTED
            assert job.status().runs == 2


def test_with_keys_only_clients_that_are_let_in_submit(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    client = ring.client("app")
    write(tmp_path / "data" / "journal", [EVENTS])
    curve = {
        "server_key_file": str(ring.secret_file),
        "allow": str(ring.allow),
        "server_public_key": str(ring.public_file),
        "client_key_file": str(ring.folder / "app.key_secret"),
    }
    with RunningServer(tmp_path, "serve", curve=curve) as server:
        uri = str(server.zmr["req_uri"])
        with Zmr.connect(uri, secure=client.secure) as zmr:
            wait_until(lambda: answers(zmr), 60)
            assert zmr.mapreduce(by_project, total).result().to_dict() == EXPECTED
        stranger = ring.client("stranger", admitted=False)
        for secure in (None, stranger.secure):
            with Zmr.connect(uri, timeout_s=1.5, secure=secure) as refused:
                with pytest.raises(RouterUnreachable, match="did not answer within"):
                    refused.mapreduce(by_project, total)
        (tmp_path / "my_job.py").write_text(JOB)
        assert documents(at(server, "mapreduce", "my_job.py")) == EXPECTED


PERFTEST = """\
def map(events):
    for event in events:
        at = event['timestamp']
        keys = {
            'sum_by_second': f'{at:%S}', 'sum_by_minute': f'{at:%M}', 'sum_by_hour': f'{at:%H}',
            'sum_by_second_ts': f'{at:%Y-%m-%dT%H:%M:%S}', 'sum_by_date': f'{at:%Y-%m-%d}',
            'sum_by_month': f'{at:%Y-%m-01}', 'sum_by_year': f'{at:%Y}',
        }
        for collection, key in keys.items():
            yield {'c': 'perftest.' + collection, 'k': key, 'v': {'v': 1}}


def reduce(collection, key, values):
    return {'v': sum(value['v'] for value in values)}
"""
SEVEN = {
    "sum_by_second": "%S",
    "sum_by_minute": "%M",
    "sum_by_hour": "%H",
    "sum_by_second_ts": "%Y-%m-%dT%H:%M:%S",
    "sum_by_date": "%Y-%m-%d",
    "sum_by_month": "%Y-%m-01",
    "sum_by_year": "%Y",
}


def test_perftest_s_seven_collections_are_filled_in_one_pass_and_reduced_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "perftest.py").write_text(PERFTEST)
    with RunningServer(tmp_path, "serve") as server:
        with Zmr.connect(str(server.zmr["req_uri"])) as zmr:
            wait_until(lambda: answers(zmr))
        zcmd("perftest", server.bson, 1_000, 1, 0, settings=server.settings)
        wait_until(lambda: zcmd("find", "--count", settings=server.settings).strip() == "1000")
        for _ in range(2):
            ran = at(server, "mapreduce", "perftest.py", "--query", '{"type": "perftest"}', "--type", "reduce")
        assert sorted(line.partition(":")[0] for line in ran.lines) == sorted(f"perftest.{name}" for name in SEVEN)
        expected: dict[str, Counter[str]] = defaultdict(Counter)
        with Journal.open(server.data_dir / "journal") as journal:
            for _, event in journal.read(0):
                for name, form in SEVEN.items():
                    expected[name][f"{event['timestamp']:{form}}"] += 2
        for name in SEVEN:
            found = documents(at(server, "find", "--in", f"perftest.{name}", "--json"))
            assert {key: value["v"] for key, value in found.items()} == expected[name]


def _request(executor: Any) -> Any:
    from sites import request

    return request(executor=executor)


def _router_of(server: RunningServer) -> Any:
    import psutil

    assert server.process is not None
    children = psutil.Process(server.process.pid).children()
    (router,) = [child for child in children if "zarkov.cli.zmr_router" in child.cmdline()]
    return router
