"""Jobs on a real Dask cluster: a scheduler and workers in processes of their own, some of them killed."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dask_cluster import DaskCluster
from sites import by_project, open_site, page_views, total
from waiting import wait_until
from zarkov.errors import ClusterUnreachable, FunctionFailed, JobFailed, JobInvalid
from zarkov.zmr import Zmr
from zarkov.zmr.job import JobState
from zarkov.zmr.site import Site

pytest.importorskip("distributed")
EVENTS = page_views(4_000)
EXPECTED = {f"p{number}": 400 for number in range(10)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with DaskCluster(tmp_path_factory.mktemp("dask")) as running:
        yield running


@pytest.fixture
def zmr(tmp_path: Path, cluster: DaskCluster) -> Iterator[Zmr]:
    with open_site(tmp_path, EVENTS, executor="dask", dask_address=cluster.address, map_job_size=500) as site:
        with _zmr(site) as opened:
            yield opened


def _zmr(site: Site) -> Zmr:
    return Zmr(site.settings, site=site, store=site.store)


def test_a_job_gives_what_it_gives_everywhere(zmr: Zmr) -> None:
    offset = 7

    def shifted(events: Any) -> Any:
        for key, count in by_project(events):
            yield (key, offset), count

    job = zmr.mapreduce(shifted, total, output="by_project", reduce_count=3)
    assert job.result().to_dict() == {(key, 7): count for key, count in EXPECTED.items()}
    assert job.status().progress["maps_done"] == 8
    assert job.status().progress["workers_lost"] == 0


def test_finalize_and_several_collections_and_single_calls_run_there_too(zmr: Zmr) -> None:
    def doubled(documents: Any) -> Any:
        for document in documents:
            yield {"_id": document["_id"], "value": 2 * document["value"]}

    finalized = zmr.mapreduce(by_project, total, doubled).result().to_dict()
    assert finalized == {key: 2 * count for key, count in EXPECTED.items()}
    found = zmr.xmapreduce(
        lambda events: ({"c": event["type"], "k": event["context"]["user"], "v": 1} for event in events),
        lambda collection, key, values: sum(values),
    ).result()
    assert sum(found["page_view"].to_dict().values()) == 4_000
    assert zmr.basic(lambda a: [a, a + 1], (1,)).result() == [1, 2]


def test_results_are_reduced_with_what_is_stored(zmr: Zmr) -> None:
    for times in (1, 2):
        found = zmr.mapreduce(by_project, total, output="kept", output_type="reduce").result().to_dict()
        assert found == {key: times * count for key, count in EXPECTED.items()}


def test_a_failing_function_fails_the_job_with_its_traceback_its_event_and_what_it_printed(zmr: Zmr) -> None:
    def poisoned(events: Any) -> Any:
        print("mapping")
        for event in events:
            if event["extra"] == 777:
                raise ValueError("no such thing")
            yield 1, 1

    job = zmr.mapreduce(poisoned, total)
    with pytest.raises(FunctionFailed, match=r"(?s)offset 777 .*of 3 attempts") as raised:
        job.wait()
    assert "raise ValueError('no such thing')" in raised.value.traceback
    assert "On the worker" in raised.value.__notes__[0]
    assert "mapping\n" in job.printed


def test_a_job_is_cancelled(zmr: Zmr) -> None:
    def slow(events: Any) -> Any:
        import time

        time.sleep(0.2)
        yield 1, 1

    job = zmr.mapreduce(slow, total)
    wait_until(lambda: job.state == JobState.MAPPING)
    job.cancel()
    wait_until(lambda: job.state == JobState.CANCELLED)


def test_a_killed_worker_is_survived_and_counted_and_its_tasks_are_done_by_others(tmp_path: Path) -> None:
    def slow(events: Any) -> Any:
        import time

        time.sleep(0.1)
        yield from by_project(events)

    with DaskCluster(tmp_path) as cluster:
        with open_site(tmp_path, EVENTS, executor="dask", dask_address=cluster.address, map_job_size=100) as site:
            with _zmr(site) as zmr:
                job = zmr.mapreduce(slow, total, output="by_project")
                wait_until(lambda: job.status().progress.get("maps_done", 0) >= 4)
                cluster.kill_worker()
                assert job.result().to_dict() == EXPECTED
                record = job.status()
    assert record.progress["workers_lost"] == 1
    assert (record.counters.events_read, record.counters.pairs_out) == (4_000, 4_000)


def test_a_killed_scheduler_fails_the_job_within_the_time_that_is_set(tmp_path: Path) -> None:
    def slow(events: Any) -> Any:
        import time

        time.sleep(0.1)
        yield 1, 1

    with DaskCluster(tmp_path, 1) as cluster:
        chosen = {"dask_address": cluster.address, "dask_timeout_s": 3, "map_job_size": 100}
        with open_site(tmp_path, EVENTS, executor="dask", **chosen) as site, _zmr(site) as zmr:
            job = zmr.mapreduce(slow, total)
            wait_until(lambda: job.status().progress.get("maps_done", 0) >= 1)
            cluster.kill_scheduler()
            with pytest.raises(JobFailed, match="Dask"):
                job.wait(60)


def test_no_scheduler_and_no_worker_are_said_within_the_time_that_is_set(tmp_path: Path) -> None:
    with open_site(tmp_path, EVENTS, executor="dask", dask_address="tcp://127.0.0.1:1", dask_timeout_s=0.5) as site:
        with pytest.raises(ClusterUnreachable, match="no Dask scheduler answers"):
            _zmr(site).mapreduce(by_project, total).wait(30)
    (tmp_path / "empty").mkdir()
    with DaskCluster(tmp_path / "empty", 0) as cluster:
        chosen = {"dask_address": cluster.address, "dask_timeout_s": 1}
        with open_site(tmp_path / "empty", EVENTS, executor="dask", **chosen) as site:
            with pytest.raises(ClusterUnreachable, match="no worker"):
                _zmr(site).mapreduce(by_project, total).wait(30)


def test_a_process_that_gevent_has_patched_is_refused_with_the_reason() -> None:
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "from zarkov.config import ZmrSettings\n"
        "from zarkov.zmr.dask import connected\n"
        "with connected(ZmrSettings(dask_address='tcp://127.0.0.1:1')): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "JobInvalid: Dask cannot be driven from a process that gevent has patched" in done.stderr


def test_certificates_are_used_and_half_of_them_are_refused(tmp_path: Path) -> None:
    ca, cert, key = _certificates(tmp_path)
    tls = ["--tls-ca-file", str(ca), "--tls-cert", str(cert), "--tls-key", str(key)]
    with DaskCluster(tmp_path, 1, tls=tls) as cluster:
        files = {"dask_tls_ca_file": ca, "dask_tls_cert_file": cert, "dask_tls_key_file": key}
        chosen = {"executor": "dask", "dask_address": cluster.address, "dask_timeout_s": 20}
        with open_site(tmp_path, EVENTS, **chosen, **files) as site:
            assert _zmr(site).mapreduce(by_project, total).result().to_dict() == EXPECTED
        with open_site(tmp_path / "half", EVENTS, **chosen, dask_tls_ca_file=ca) as site:
            with pytest.raises(JobInvalid, match="belong together"):
                _zmr(site).mapreduce(by_project, total).wait(30)


def test_no_thread_of_a_job_is_left_when_it_has_ended(zmr: Zmr) -> None:
    job = zmr.mapreduce(by_project, total, wait=True)
    wait_until(lambda: not any(thread.name == f"job {job.id}" for thread in threading.enumerate()))


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A certificate that is its own authority, for 127.0.0.1."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, cert, key
