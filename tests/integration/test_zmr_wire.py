"""original.md's requests to the letter, from a REQ socket with BSON: each answer against a plain-Python count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bson
import pytest
import zmq

from journaling import event, fill, small
from zmring import COUNTING, TOTAL, Client, Cluster, counted

EVENTS = 2_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("wire")
    fill(folder / "journal", EVENTS, each=100, settings=small(chunk_events_max=200))
    with Cluster(folder, map_job_size=300) as running:
        yield running


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    client = Client(cluster.uri)
    yield client
    client.close()


def test_echo_gives_the_message_back(client: Client) -> None:
    assert client.ask("echo", message={"any": ["value", 1]}) == {"message": {"any": ["value", 1]}}


def test_config_answers_the_settings_with_the_workers_ports_as_they_are(client: Client, cluster: Cluster) -> None:
    found = client.ask("config")
    assert found["req_uri"] == cluster.uri
    assert found["map_job_size"] == 300
    assert min(found["src_port"], found["sink_port"]) > 1024


def test_mapreduce_replaces_its_output_collection(client: Client, cluster: Cluster) -> None:
    request = {"database": "zarkov", "input_names": ["event", "event.0"], "query": bson.encode({}), **COUNTING}
    answer = client.ask("mapreduce", **request, output_name="replaced", output_type="replace", wait=True)
    assert answer["status"] == {"state": "complete", "traceback": ""}
    assert cluster.result("replaced") == counted(range(EVENTS))
    few = bson.encode({"context.number": {"$lt": 5}})
    client.ask("mapreduce", **{**request, "query": few}, output_name="replaced", output_type="replace", wait=True)
    assert cluster.result("replaced") == counted(range(5))


def test_mapreduce_merges_into_its_output_collection(client: Client, cluster: Cluster) -> None:
    for below in (10, 3):
        query = bson.encode({"context.number": {"$lt": below}})
        client.ask("mapreduce", **COUNTING, query=query, output_name="merged", output_type="merge", wait=True)
    client.ask(
        "mapreduce",
        **COUNTING,
        query=bson.encode({"context.number": {"$in": [4, 14, 24]}}),
        output_name="merged",
        output_type="merge",
        wait=True,
    )
    assert cluster.result("merged") == {**counted(range(10)), 4: 3}


def test_mapreduce_reduces_with_what_its_output_collection_holds(client: Client, cluster: Cluster) -> None:
    for first, last in ((0, 700), (700, 703)):
        query = bson.encode({"context.number": {"$gte": first, "$lt": last}})
        client.ask("mapreduce", **COUNTING, query=query, output_name="reduced", output_type="reduce", wait=True)
    assert cluster.result("reduced") == counted(range(703))


def test_mapreduce_without_a_collection_returns_its_results(client: Client) -> None:
    answer = client.ask("mapreduce", **COUNTING, wait=True)
    assert {document["_id"]: document["value"] for document in answer["result"]} == counted(range(EVENTS))


def test_finalize_has_the_last_word(client: Client, cluster: Cluster) -> None:
    finalize = """
def double(docs):
    for doc in docs:
        if doc['_id'] != 3:
            yield {'_id': doc['_id'], 'value': doc['value'] * 2}
"""
    more = {"finalize_text": finalize, "finalize_name": "double", "output_name": "doubled", "wait": True}
    assert client.ask("mapreduce", **COUNTING, **more)["status"]["state"] == "complete"
    expected = {key: 2 * value for key, value in counted(range(EVENTS)).items() if key != 3}
    assert cluster.result("doubled") == expected


def test_xmapreduce_fills_several_collections_in_one_pass(client: Client, cluster: Cluster) -> None:
    map_text = """
def both(events):
    for event in events:
        number = event['context']['number']
        yield {'c': 'by.two', 'k': number % 2, 'v': 1}
        yield {'c': 'by.three', 'k': number % 3, 'v': number}
"""
    reduce_text = (
        "def total(collection, key, values): return max(values) if collection == 'by.three' else sum(values)"
    )
    functions = {"map_text": map_text, "map_name": "both", "reduce_text": reduce_text, "reduce_name": "total"}
    answer = client.ask("xmapreduce", **functions, output_type="replace", wait=True)
    assert answer["status"]["state"] == "complete"
    assert cluster.result("by.two") == {0: 1000, 1: 1000}
    assert cluster.result("by.three") == {n: max(i for i in range(EVENTS) if i % 3 == n) for n in range(3)}


def test_basic_calls_a_function_and_returns_what_it_gave(client: Client) -> None:
    text = "def area(width, height=1):\n    print('measuring')\n    return width * height"
    answer = client.ask("basic", func_text=text, func_name="area", args=[3], kwargs={"height": 4}, wait=True)
    assert answer["status"] == {"state": "complete", "traceback": ""}
    assert answer["result"] == 12
    assert client.ask("status", job_id=answer["job_id"], full=True)["job"]["printed"] == "measuring\n"


def test_a_collection_of_the_store_can_be_the_input(client: Client, cluster: Cluster) -> None:
    client.ask("mapreduce", **COUNTING, output_name="as_input", wait=True)
    map_text = "def values(docs):\n    for doc in docs: yield doc['value'], 1"
    functions = {"map_text": map_text, "map_name": "values", "reduce_text": TOTAL, "reduce_name": "total"}
    answer = client.ask("mapreduce", **functions, input_names=["as_input"], wait=True)
    assert answer["result"] == [{"_id": 200, "value": 10}]


def test_without_wait_the_answer_is_the_jobs_id_and_status_follows_it(client: Client, cluster: Cluster) -> None:
    answer = client.ask("mapreduce", **COUNTING)
    assert set(answer) == {"job_id", "status"}
    assert set(answer["status"]) == {"state", "traceback"}
    done = client.ask("wait", job_id=answer["job_id"])
    assert done["status"]["state"] == "complete"
    assert client.ask("status", job_id=answer["job_id"]) == done
    assert {document["_id"]: document["value"] for document in done["result"]} == counted(range(EVENTS))


def test_wait_answers_after_its_time_too(client: Client) -> None:
    slow = "import time\ndef nap():\n    time.sleep(60)"
    job_id = client.ask("basic", func_text=slow, func_name="nap")["job_id"]
    answer = client.ask("wait", job_id=job_id, timeout_s=0.05)
    assert answer["status"]["state"] in ("queued", "mapping")
    assert client.ask("cancel", job_id=job_id)["job_id"] == job_id
    assert client.ask("wait", job_id=job_id)["status"]["state"] == "cancelled"


def test_a_job_that_nobody_knows_is_unknown(client: Client) -> None:
    for command in ("status", "wait", "cancel"):
        assert client.ask(command, job_id="nobody")["status"]["state"] == "UNKNOWN"


def test_a_failing_function_ends_the_job_with_the_workers_traceback(client: Client) -> None:
    map_text = "def divide(events):\n    for event in events:\n        yield 1, 1 / 0"
    functions = {"map_text": map_text, "map_name": "divide", "reduce_text": TOTAL, "reduce_name": "total"}
    answer = client.ask("mapreduce", **functions, wait=True)
    assert answer["status"]["state"] == "error"
    assert "yield 1, 1 / 0" in answer["status"]["traceback"]
    assert "ZeroDivisionError" in answer["status"]["traceback"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"$command": "mapreduce", "map_name": "a:b"}, "reduce_name"),
        ({"$command": "mapreduce", **COUNTING, "output": "x"}, "output"),
        ({"$command": "mapreduce", **COUNTING, "output_name": "event"}, "event"),
        ({"$command": "mapreduce", **COUNTING, "query": b"no bson"}, "query"),
        ({"$command": "mapreduce", **COUNTING, "executor": "dask"}, "dask"),
        ({"$command": "mapreduce", **COUNTING, "job_id": "../up"}, "job_id"),
        ({"$command": "status"}, "job_id"),
        ({"$command": "jobs", "limit": 0}, "limit"),
        ({"$command": "wait", "job_id": "x", "timeout_s": "long"}, "timeout_s"),
        ({"$command": "fly"}, "$command"),
        ({}, "$command"),
    ],
)
def test_a_request_that_cannot_be_done_is_answered_with_the_error(
    client: Client, request_: dict[str, Any], said: str
) -> None:
    client.socket.send(bson.encode(request_))
    answer = client.receive()
    assert said in answer["error"]
    assert set(answer) == {"error", "code", "hint", "retryable"}


def test_what_is_no_request_at_all_is_answered_too(client: Client) -> None:
    client.socket.send(b"GET / HTTP/1.1")
    assert client.receive()["code"] == "bad_frame"
    client.socket.send_multipart([b"one", b"two"])
    assert "one frame" in client.receive()["error"]


def test_a_dealer_without_an_empty_frame_is_answered(cluster: Cluster) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger, dealer.rcvtimeo = 0, 10_000
        dealer.connect(cluster.uri)
        dealer.send(bson.encode({"$command": "echo", "message": 1}))
        assert bson.decode(dealer.recv()) == {"message": 1}


def test_an_id_of_the_clients_choosing_makes_a_request_safe_to_send_again(client: Client) -> None:
    for _ in range(2):
        answer = client.ask("mapreduce", **COUNTING, job_id="my-job-1", wait=True)
        assert (answer["job_id"], answer["status"]["state"]) == ("my-job-1", "complete")
        assert len(answer["result"]) == 10
    assert [job["_id"] for job in client.ask("jobs")["jobs"]].count("my-job-1") == 1


def test_jobs_are_listed_newest_first_without_their_functions(client: Client) -> None:
    older = client.ask("basic", func_name="os.path:basename", args=["a/b"], wait=True)["job_id"]
    newer = client.ask("mapreduce", **COUNTING, output_name="listed", wait=True)["job_id"]
    listed = client.ask("jobs", limit=2)["jobs"]
    assert [job["_id"] for job in listed] == [newer, older]
    assert listed[0]["request"]["output_name"] == "listed"
    assert "map_text" not in listed[0]["request"]
    assert listed[0]["counters"]["events_read"] == EVENTS
    assert listed[0]["progress"]["maps_done"] == listed[0]["progress"]["maps_total"] > 1


def test_terminate_with_a_job_ends_the_job_alone(client: Client) -> None:
    text = "import time\ndef nap():\n    time.sleep(60)"
    job_id = client.ask("basic", func_text=text, func_name="nap")["job_id"]
    client.ask("terminate", job_id=job_id)
    assert client.ask("wait", job_id=job_id)["status"]["state"] == "cancelled"
    assert client.ask("echo", message=1) == {"message": 1}


def test_a_request_that_waits_holds_up_nobody(cluster: Cluster, client: Client) -> None:
    text = "import time\ndef nap():\n    time.sleep(60)"
    job_id = client.ask("basic", func_text=text, func_name="nap")["job_id"]
    waiting = [cluster.client() for _ in range(20)]  # more than request_greenlets
    for each in waiting:
        each.send("wait", job_id=job_id)
    assert client.ask("echo", message=1) == {"message": 1}
    assert client.ask("mapreduce", **COUNTING, wait=True)["status"]["state"] == "complete"
    client.ask("cancel", job_id=job_id)
    assert {each.receive()["status"]["state"] for each in waiting} == {"cancelled"}


def test_two_clients_at_once_get_their_own_results(cluster: Cluster) -> None:
    clients = [cluster.client() for _ in range(4)]
    for number, each in enumerate(clients):
        query = bson.encode({"context.number": {"$lt": 100 * (number + 1)}})
        each.send("mapreduce", **COUNTING, query=query, wait=True)
    for number, each in enumerate(clients):
        found = {document["_id"]: document["value"] for document in each.receive()["result"]}
        assert found == counted(range(100 * (number + 1)))


def test_a_poisoned_event_is_named(client: Client) -> None:
    map_text = """
def picky(events):
    for event in events:
        if event['context']['number'] == 1234:
            raise ValueError('not this one')
        yield 1, 1
"""
    functions = {"map_text": map_text, "map_name": "picky", "reduce_text": TOTAL, "reduce_name": "total"}
    job_id = client.ask("mapreduce", **functions, wait=True)["job_id"]
    job = client.ask("status", job_id=job_id, full=True)["job"]
    assert job["event"]["offset"] == 1234
    assert job["event"]["_id"] == event(1234)["_id"]
    assert job["event"]["alone"] is True
    assert "offsets 1,200 to" in job["error"]
    assert "the last of 3 attempts" in job["error"]
    assert job["progress"]["retries"] == 2
