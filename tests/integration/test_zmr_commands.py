"""`zcmd mapreduce` and `zcmd jobs`, and `zmr` in the shell and in scripts: in the process, without a router."""

import gzip
import json
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from commands import Ran, ok, run
from stored import event_id, write
from zarkov.event import parse_rfc3339

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "events.ndjson.gz"
JOB = """\
def map(events):
    for event in events:
        yield event["context"]["project"], 1


def reduce(key, values):
    return sum(values)
"""
FINALIZE = """

def finalize(documents):
    for document in documents:
        if document["value"] > 50:
            yield document
"""


def sample() -> list[dict[str, Any]]:
    with gzip.open(SAMPLE, "rt") as lines:
        found = [json.loads(line) for line in lines]
    return [
        {"_id": event_id(number), **event, "timestamp": parse_rfc3339(event["timestamp"])}
        for number, event in enumerate(found)
    ]


EVENTS = sample()
COMMITS = Counter(event["context"]["project"] for event in EVENTS if event["type"] == "commit")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with the sample, and a settings file that has jobs run in the process."""
    write(tmp_path / "data" / "journal", [EVENTS])
    (tmp_path / "zarkov.yaml").write_text(
        f"data_dir: {tmp_path / 'data'}\nzmr: {{executor: inline, job_root: {tmp_path / 'jobs'}}}\n"
    )
    (tmp_path / "my_job.py").write_text(JOB)
    return tmp_path


def zcmd(data: Path, *arguments: object, stdin: str = "") -> Ran:
    return ok("-y", data / "zarkov.yaml", *arguments, stdin=stdin, folder=data)


def documents(ran: Ran) -> dict[Any, Any]:
    return {document["_id"]: document["value"] for document in map(json.loads, ran.lines)}


def test_a_file_is_a_job_and_its_results_are_printed(data: Path) -> None:
    ran = zcmd(data, "mapreduce", "my_job.py", "--query", '{"type": "commit"}')
    assert documents(ran) == COMMITS
    assert "complete: 1,176 events, 31 keys" in ran.err


def test_results_go_into_a_collection_and_are_found_there(data: Path) -> None:
    ran = zcmd(data, "mapreduce", "my_job.py", "-q", '{"type": "commit"}', "--output", "commits_by_project")
    assert ran.out == ""
    assert "map -> commits_by_project complete" in ran.err
    assert documents(zcmd(data, "find", "--in", "commits_by_project", "--json")) == COMMITS


@pytest.mark.parametrize("kind", ["replace", "merge", "reduce"])
def test_what_is_stored_is_replaced_merged_or_reduced_with(data: Path, kind: str) -> None:
    stored = {"celery/kombu": 1_000, "of/another": 7}
    script = data / "before.py"
    lines = [f"ZM.db['out'].replace_one({{'_id': {k!r}}}, {{'value': {v}}}, upsert=True)" for k, v in stored.items()]
    script.write_text("\n".join(lines) + "\n")
    zcmd(data, "script", script)
    zcmd(data, "mapreduce", "my_job.py", "-q", '{"type": "commit"}', "--output", "out", "--type", kind)
    expected = {
        "replace": dict(COMMITS),
        "merge": {**stored, **COMMITS},
        "reduce": {**COMMITS, "of/another": 7, "celery/kombu": 1_000 + COMMITS["celery/kombu"]},
    }[kind]
    assert documents(zcmd(data, "find", "--in", "out", "--json")) == expected


def test_a_time_range_a_condition_and_inputs_choose_what_is_read(data: Path) -> None:
    chosen = ["--from", "2016-01-01", "--to", "2018-01-01", "--where", "extra.insertions>10", "--input", "event"]
    first, last = datetime(2016, 1, 1), datetime(2018, 1, 1)
    expected = Counter(
        event["context"]["project"]
        for event in EVENTS
        if first <= event["timestamp"] < last and event["extra"]["insertions"] > 10
    )
    assert documents(zcmd(data, "mapreduce", "my_job.py", *chosen)) == expected


def test_finalize_and_modules_beside_the_file_are_used(data: Path) -> None:
    (data / "beside.py").write_text("def name(event):\n    return event['context']['project'].upper()\n")
    text = JOB.replace('event["context"]["project"]', "name(event)")
    (data / "my_job.py").write_text("from beside import name\n\n" + text + FINALIZE)
    ran = zcmd(data, "mapreduce", "my_job.py", "-q", '{"type": "commit"}')
    assert documents(ran) == {key.upper(): count for key, count in COMMITS.items() if count > 50}


def test_a_reduce_that_takes_the_collection_fills_several(data: Path) -> None:
    (data / "my_job.py").write_text(
        "def map(events):\n"
        "    for event in events:\n"
        "        yield {'c': 'by_' + event['type'], 'k': event['context']['project'], 'v': 1}\n\n\n"
        "def reduce(collection, key, values):\n    return sum(values)\n"
    )
    ran = zcmd(data, "mapreduce", "my_job.py")
    assert ran.lines == ["by_commit: 31 documents", "by_file_change: 31 documents"]
    assert documents(zcmd(data, "find", "--in", "by_commit", "--json")) == COMMITS


def test_a_failing_job_ends_with_one_its_traceback_and_one_sentence(data: Path) -> None:
    (data / "my_job.py").write_text(JOB.replace("project", "nothing"))
    ran = run("-y", data / "zarkov.yaml", "mapreduce", "my_job.py", folder=data)
    assert ran.code == 1
    assert 'my_job.py", line 3, in map' in ran.err
    assert "error: map raised KeyError: 'nothing', at the event with offset 0" in ran.err
    assert "[function_failed]" in ran.err


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("def map(events): ...\n", [], "defines no reduce"),
        ("1/0\n", [], "cannot be run: division by zero"),
        (JOB, ["--type", "merge"], "--type merge needs --output"),
        (JOB, ["--type", "inline", "--output", "x"], "--type inline prints"),
        (JOB, ["--query", "{"], "cannot be read"),
        (JOB, ["--detach"], "runs in this process"),
        (JOB.replace("key, values", "collection, key, values"), ["--output", "x"], "--output is for one"),
    ],
)
def test_wrong_usage_ends_with_two_and_says_what_is_wrong(
    data: Path, text: str, arguments: list[str], said: str
) -> None:
    (data / "my_job.py").write_text(text)
    ran = run("-y", data / "zarkov.yaml", "mapreduce", "my_job.py", *arguments, folder=data)
    assert ran.code == 2
    assert said in ran.err


def test_jobs_are_listed_and_shown_for_people_and_for_programs(data: Path) -> None:
    assert zcmd(data, "jobs").out == "No jobs yet.\n"
    zcmd(data, "mapreduce", "my_job.py", "-q", '{"type": "commit"}', "--output", "commits_by_project")
    (data / "my_job.py").write_text(JOB.replace("project", "nothing"))
    run("-y", data / "zarkov.yaml", "mapreduce", "my_job.py", folder=data)
    listed = json.loads(zcmd(data, "jobs", "--json").out)
    assert [job["state"] for job in listed] == ["error", "complete"]
    failed, complete = (job["_id"] for job in listed)
    table = zcmd(data, "jobs", "list", "--limit", "1").out
    assert failed in table
    assert complete not in table
    shown = zcmd(data, "jobs", "show", complete).out
    assert 'query          {"type": "commit"}' in shown
    assert "output         commits_by_project (replace)" in shown
    assert "events mapped  1,176" in shown
    broken = zcmd(data, "jobs", "show", failed).out
    assert "KeyError: 'nothing'" in broken
    assert "The event at which it failed:" in broken
    assert json.loads(zcmd(data, "jobs", "show", complete, "--json").out)["counters"]["keys_out"] == 31
    assert "there is no job nope" in run("-y", data / "zarkov.yaml", "jobs", "show", "nope").err


def test_the_shell_survives_a_failing_job_and_shows_the_functions_traceback(data: Path) -> None:
    session = (
        "def by_project(events):\n    for e in events: yield e['context']['project'], 1\n\n"
        "job = zmr.mapreduce(by_project, lambda key, values: sum(values), query={'type': 'commit'}, output='out')\n"
        "job.wait()\n"
        "sum(document['value'] for document in job.result())\n"
        "ZM.db['out'].count_documents({})\n"
        "broken = zmr.mapreduce(lambda events: ((e['nothing'], 1) for e in events), lambda key, values: 1)\n"
        "broken.wait()\n"
        "print(6 * 7)\n"
    )
    ran = zcmd(data, "shell", stdin=session)
    assert "out, complete, 1,176 events, 31 keys" in ran.out.replace("-> ", "")
    assert "1176" in ran.out
    assert ": 31\n" in ran.out
    assert "KeyError: 'nothing'" in ran.err
    assert "[function_failed]" in ran.err
    assert "42" in ran.out


def test_a_scripts_failing_job_shows_the_line_of_the_script(data: Path) -> None:
    script = data / "fails.py"
    script.write_text(
        "def broken(events):\n    for event in events:\n        yield event['nothing'], 1\n\n"
        "zmr.mapreduce(broken, lambda key, values: 1).result()\n"
    )
    ran = run("-y", data / "zarkov.yaml", "script", script)
    assert ran.code == 1
    assert f'File "{script}", line 3, in broken' in ran.err
    assert "FunctionFailed: map raised KeyError" in ran.err


def test_the_example_counts_what_a_plain_loop_counts(data: Path) -> None:
    months: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    extensions: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for event in EVENTS:
        changed = event["extra"]["insertions"] + event["extra"]["deletions"]
        if event["type"] == "commit":
            row = months[event["context"]["project"], f"{event['timestamp']:%Y-%m}"]
        else:
            row = extensions[event["timestamp"].year][event["context"]["extension"]]
        row[0] += 1
        row[1] += changed
    shown = zcmd(data, "script", ROOT / "examples" / "mapreduce_commits.py").out
    found = map(json.loads, zcmd(data, "find", "--in", "commits_by_month", "--json").lines)
    assert {tuple(each["_id"].values()): [*each["value"].values()] for each in found} == months
    found = map(json.loads, zcmd(data, "find", "--in", "extensions_by_year", "--json").lines)
    ranked = {
        year: [
            {"extension": name, "changes": count, "lines": lines}
            for name, (count, lines) in sorted(each.items(), key=lambda item: (-item[1][0], item[0]))[:3]
        ]
        for year, each in extensions.items()
    }
    assert {each["_id"]: each["value"] for each in found} == ranked
    assert f"month: 10 of {len(months):,}" in shown
    tutorial = (ROOT / "docs" / "tutorial.md").read_text()
    assert shown in tutorial
