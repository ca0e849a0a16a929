"""The original's session, to the letter, with its settings file of 2011, on a server that speaks as MongoDB does."""

import gzip
import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest

from commands import ok, run
from mongod import MongoServer
from running import LISTENING, ZCMD, RunningServer, free_port
from waiting import wait_until
from zarkov.client import ZarkovClient
from zarkov.codec import from_json

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "events.ndjson.gz"
ZSEND = ZCMD.with_name("zsend.py")

#: Every key of the original's settings, each port a free one.
SETTINGS_OF_2011 = """\
bson_bind_address: {bson_bind_address}
json_bind_address: {json_bind_address}
publish_bind_address: {publish_bind_address}
bson_uri: {bson_bind_address}
json_uri: {json_bind_address}
web_port: {web_port}
mongo_uri: {mongo_uri}
mongo_database: {mongo_database}
mongo_username: null
mongo_password: null
verbose: true
incremental: 0
extra: {{}}
extra_dbs:
- {{name: other, master: '{mongo_uri}', database: {other}}}
journal: journal
journal_file_size: 134217728
journal_min_files: 2
flush_mmap: false
num_event_servers: 1
num_event_logs: 2
backdoor:
- {{command: serve, port: {backdoor_port}}}
logstream:
- {{entry_point: apache, port: {logstream_port}}}
loadbalance:
  incoming_bind: tcp://127.0.0.1:{loadbalance_port}
  outgoing_uris: ['{bson_bind_address}']
webevent:
  bind: 127.0.0.1:{webevent_port}
zmr:
  req_uri: tcp://127.0.0.1:{zmr_port}
  req_bind: tcp://127.0.0.1:{zmr_port}
  worker_uri: tcp://127.0.0.1
  local_workers: 2
  job_root: {folder}/zmr
  map_page_size: 250000000
  map_job_size: 10000
  outstanding_maps: 16
  outstanding_reduces: 16
  request_greenlets: 16
  compress: 0
  src_port: 0
  sink_port: 0
  processes_per_worker: null
  reduce_count: 256
  event_limit: null
  max_chunk_timeout: 600
  requests_per_worker_process: 256
  suicide_level: 500
  map_chunk_size: 1000
  map_chunks_per_page: 10
  outstanding_chunks: 16
data_dir: {folder}/data
ack_bind_address: {ack_bind_address}
"""

#: How a person counts in a script: by queries, and by going through the events once.
COUNTING = """\
import collections, json

find = ZM.event.m.find
sent = {"context.project": {"$exists": True}}
counted = {
    "type": {type: find({"type": type}).count() for type in ("commit", "file_change")},
    "project": collections.Counter(event.context["project"] for event in find(sent)),
    "year": collections.Counter(event["timestamp"].year for event in ZM.db["event"].find(sent)),
}
print(json.dumps(counted))
"""

STORED = re.compile(
    r"\[\{'_id': ObjectId\('[0-9a-f]{24}'\),\s+'aggregates': \[\],\s+'context': \{\},\s+'jobs': \[\],\s+"
    r"'timestamp': datetime\.datetime\(20\d\d, [\d, ]+\),\s+'type': 'nop'\}\]"
)


class Server2011(RunningServer):
    """`zcmd -y development.yaml serve` with a settings file of 2011."""

    def __init__(self, folder: Path, mongo: MongoServer) -> None:
        super().__init__(folder, "serve")
        self.mongo = mongo
        self.database, self.other = mongo.database(), mongo.database()
        self.settings = folder / "development.yaml"
        ports = ("web", "backdoor", "logstream", "loadbalance", "webevent", "zmr")
        self.settings.write_text(
            SETTINGS_OF_2011.format(
                **{name: self.addresses[name] for name in LISTENING},
                **{f"{name}_port": free_port() for name in ports},
                mongo_uri=mongo.uri,
                mongo_database=self.database,
                other=self.other,
                folder=folder,
            )
        )

    def zcmd(self, *arguments: object, **more: Any) -> str:
        return ok("-y", self.settings, *arguments, **more).out

    def have_one(self) -> None:
        """See that there is an event of type nop."""
        with ZarkovClient(self.ack, ack=True) as client:
            client.event("nop", {})
        wait_until(lambda: self.count("--type", "nop") > 0, 60)

    def count(self, *arguments: object) -> int:
        return int(self.zcmd("find", "--count", *arguments))


@pytest.fixture(scope="module")
def server(mongo: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server2011]:
    with Server2011(tmp_path_factory.mktemp("2011"), mongo) as running:
        yield running


def test_the_original_session_works_to_the_letter_on_mongodb(server: Server2011) -> None:
    subprocess.run([ZSEND, server.bson], input='{"type":"nop"}\n', text=True, check=True, timeout=60)
    wait_until(lambda: server.count() == 1, 60)
    session = (
        "ZM.event.m.find().all()\n"
        "from zarkov import client\n"
        f"conn = client.ZarkovClient('{server.bson}')\n"
        "conn.event('nop', {'sample_context_key': 'sample_context_val'})\n"
        "import time\n"
        "while ZM.event.m.find().count() < 2: time.sleep(0.01)\n"
        "\n"
        "ZM.event.m.find().all()\n"
    )
    shown = server.zcmd("shell", stdin=session)
    outputs = dict(re.findall(r"Out\[(\d+)\]:\s*(.*?)(?=\n\nIn \[)", shown, re.DOTALL))
    first, last = (outputs[number] for number in sorted(outputs, key=int))
    assert STORED.fullmatch(first), first
    assert "'context': {'sample_context_key': 'sample_context_val'}" in last
    assert "'extra': None" in last
    assert last.count("'_id'") == 2
    with server.mongo.client() as client:
        assert client[server.database]["event"].count_documents({}) == 2, "they are in MongoDB"


def test_the_settings_of_2011_are_loaded_with_a_warning_for_each_key_without_a_meaning(server: Server2011) -> None:
    ran = ok("-y", server.settings, "check-config", "--json")
    warned = {line.split()[1] for line in ran.err.splitlines() if line.startswith("warning: ")}
    assert warned == {
        *("journal_file_size", "journal_min_files", "flush_mmap"),
        *(f"zmr.{key}" for key in ("max_chunk_timeout", "suicide_level", "map_chunk_size", "map_chunks_per_page")),
        "zmr.outstanding_chunks",
    }


def test_what_the_shell_prints_can_be_typed_in_again(server: Server2011) -> None:
    server.have_one()
    session = (
        "first = ZM.event.m.find({'type': 'nop'}).first()\n"
        "again = eval(repr(dict(first)))\n"
        "print('again', again == dict(first), ZM.event.m.get(_id=ObjectId(str(first._id))) is not None)\n"
        "print('later', ZM.event.m.find({'timestamp': {'$lt': datetime.datetime(2011, 7, 20)}}).count())\n"
    )
    shown = server.zcmd("shell", stdin=session)
    assert "again True True" in shown
    assert "later 0" in shown


def test_an_extra_database_is_reached_by_its_name(server: Server2011) -> None:
    session = (
        "ZM.extra\n"
        "ZM.extra['other'].people.insert_one({'_id': 1, 'name': 'rick'}) is not None\n"
        "print(ZM.extra['other'].people.find_one({'name': 'rick'}), 'nobody' in ZM.extra)\n"
        "ZM.extra['nobody']\n"
    )
    ran = ok("-y", server.settings, "shell", stdin=session)
    assert "<extra databases: other>" in ran.out
    assert "{'_id': 1, 'name': 'rick'} False" in ran.out
    assert "there is no extra database 'nobody'" in ran.err
    with server.mongo.client() as client:
        assert client[server.other]["people"].count_documents({}) == 1


def test_find_count_stats_export_rotate_and_init_on_mongodb(server: Server2011, tmp_path: Path) -> None:
    before = server.count("--in", "all")
    subprocess.run(f"zcat {SAMPLE} | {ZSEND} {server.bson}", shell=True, check=True, timeout=120)
    with gzip.open(SAMPLE, "rt") as file:
        events = [json.loads(line) for line in file]
    wait_until(lambda: server.count("--in", "all") == before + len(events), 120)

    script = tmp_path / "count.py"
    script.write_text(COUNTING)
    counted = json.loads(server.zcmd("script", script))
    assert counted["type"] == Counter(event["type"] for event in events)
    assert counted["project"] == Counter(event["context"]["project"] for event in events)
    assert counted["year"] == Counter(event["timestamp"][:4] for event in events)
    assert server.count("--type", "commit") == counted["type"]["commit"]
    assert server.count("--where", "context.project=discoproject/disco") == counted["project"]["discoproject/disco"]
    assert server.count('{"timestamp": {"$lt": "2009-01-01T00:00:00Z"}}') == counted["year"]["2008"]

    newest = from_json(server.zcmd("find", "--sort=-timestamp", "--type", "commit", "--limit", "1", "--json"))
    assert newest["timestamp"].isoformat() + "Z" == max(e["timestamp"] for e in events if e["type"] == "commit")
    assert "o" not in newest

    wait_until(lambda: json.loads(server.zcmd("stats", "--json"))["loader_behind_events"] == 0)
    facts = json.loads(server.zcmd("stats", "--json"))
    assert (facts["server"], facts["mongo"]) == ("running", "reachable")
    assert facts["mongo_events"] == before + len(events)
    assert "loader_behind_events" in server.zcmd("stats")

    server.zcmd("rotate", tmp_path)
    wait_until(lambda: server.count() == 0)
    assert server.count("--in", "event.0") == server.count("--in", "all") == before + len(events)
    with ZarkovClient(server.ack, ack=True) as client:
        client.event("after", {})
    wait_until(lambda: server.count() == 1)
    assert server.count("--in", "all", "--sort=-timestamp") == before + len(events) + 1
    lines = server.zcmd("find", "--in", "all", "--json", "--limit", "0", "--sort=-_id").splitlines()
    assert len(lines) == before + len(events) + 1

    server.zcmd("export", tmp_path / "all.bson.gz")
    exported = bson.decode_all(gzip.decompress((tmp_path / "all.bson.gz").read_bytes()))
    assert len(exported) == before + len(events) + 1
    assert not [event for event in exported if "o" in event]
    sent = [event for event in exported if "project" in event["context"]]
    assert [event["extra"] for event in sent] == [event["extra"] for event in events], "in the order of arrival"
    assert len(server.zcmd("export", "-", "--in", "event").splitlines()) == 1
    assert run("-y", server.settings, "export", "-", "--in", "event.7").code == 2

    server.zcmd("init", "--yes")
    assert server.count("--in", "all") == 0
    with ZarkovClient(server.ack, ack=True) as client:
        client.event("anew", {})
    wait_until(lambda: server.count("--in", "all") == 1)


def test_tail_reads_the_journal_here_and_elsewhere_says_what_to_follow(server: Server2011, tmp_path: Path) -> None:
    server.have_one()
    assert len(server.zcmd("tail", "-F", "--json").splitlines()) >= 1
    elsewhere = [
        "--data-dir",
        tmp_path,
        f"--set=mongo_uri={server.mongo.uri}",
        f"--set=mongo_database={server.database}",
    ]
    ran = run(*elsewhere, "tail")
    assert ran.code == 1
    assert "zcmd tail --uri" in ran.err
    assert len(ok(*elsewhere, "tail", "-F", "--json", "--uri", server.publish).lines) >= 1
    seen = tmp_path / "seen"
    with seen.open("wb") as out, ZarkovClient(server.ack, ack=True) as client:
        follow = ["tail", "-n", "0", "--type", "wanted", "--json", "--uri", server.publish]
        with subprocess.Popen([ZCMD, *elsewhere, *follow], stdout=out) as process:
            try:

                def sent_and_seen() -> bool:
                    client.event("wanted", {})
                    client.event("unwanted", {})
                    client.flush()
                    return seen.stat().st_size > 0

                wait_until(sent_and_seen, 60)
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 0
            finally:
                process.kill()
    assert {from_json(line)["type"] for line in seen.read_text().splitlines()} == {"wanted"}


def test_commands_say_that_mongodb_is_away_and_what_waits(tmp_path: Path) -> None:
    away = [f"--set=mongo_uri=mongodb://127.0.0.1:{free_port()}", "--set=mongo_timeout_s=0.5"]
    ran = run("--data-dir", tmp_path, *away, "find")
    assert ran.code == 1
    assert "[store_unreachable]" in ran.err
    facts = json.loads(ok("--data-dir", tmp_path, *away, "stats", "--json").out)
    assert facts["server"] == "elsewhere"
    assert facts["mongo"] != "reachable"
