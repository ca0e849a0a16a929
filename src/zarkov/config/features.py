"""The settings of map-reduce, the gateways and the other databases: nested in the settings file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zarkov.config.fields import GIB, MIB, setting


@dataclass(frozen=True, slots=True)
class ZmrSettings:
    """Map-reduce: the router, its workers, and how much is under way at once (`zmr:`)."""

    req_uri: str = setting("tcp://127.0.0.1:5555", "Where clients of map-reduce connect", kind="uri")
    req_bind: str = setting("tcp://127.0.0.1:5555", "Socket of the router", kind="bind")
    worker_uri: str = setting(
        "tcp://127.0.0.1", "Host of the router as workers reach it, without a port", kind="host"
    )
    src_port: int = setting(0, "Port on which workers get tasks; 0 takes a free one", minimum=0, maximum=65_535)
    sink_port: int = setting(0, "Port on which workers answer; 0 takes a free one", minimum=0, maximum=65_535)
    local_workers: int = setting(2, "Worker processes `serve` runs", unit="processes", minimum=0, maximum=1024)
    processes_per_worker: int | None = setting(
        None, "Processes of one `zmr-worker`; null is one per CPU", minimum=1, maximum=1024
    )
    requests_per_worker_process: int = setting(
        256, "A worker process is replaced after this many tasks", unit="tasks", minimum=1
    )
    worker_memory_bytes_max: int = setting(
        1 * GIB,
        "A worker process above this is replaced after its task",
        unit="bytes",
        minimum=64 * MIB,
    )
    task_timeout_s: float = setting(
        600,
        "A task without an answer by then is given to another worker",
        unit="s",
        minimum=1,
        maximum=7 * 86_400,
    )
    job_root: Path = setting(Path("/tmp/zmr"), "Directory of the jobs' intermediate data")
    map_page_size: int = setting(250_000_000, "Bytes of events read ahead for a job", unit="bytes", minimum=1 * MIB)
    map_job_size: int = setting(10_000, "Events in one map task", unit="events", minimum=1)
    outstanding_maps: int = setting(
        16, "Map tasks of one job under way at once", unit="tasks", minimum=1, maximum=100_000
    )
    outstanding_reduces: int = setting(
        16, "Reduce tasks of one job under way at once", unit="tasks", minimum=1, maximum=100_000
    )
    request_greenlets: int = setting(
        16, "Requests the router handles at once", unit="requests", minimum=1, maximum=10_000
    )
    reduce_count: int = setting(
        256, "Partitions of a job's map output", unit="partitions", minimum=1, maximum=100_000
    )
    event_limit: int | None = setting(
        None, "Events one job reads, at most; null reads them all", unit="events", minimum=1
    )
    compress: int = setting(0, "zstd level of intermediate data; 0 stores it as it is", minimum=0, maximum=19)


@dataclass(frozen=True, slots=True)
class LoadBalance:
    """What `zcmd loadbalance` takes in and sends on (`loadbalance:`)."""

    incoming_bind: str | None = setting(None, "PULL socket of `loadbalance`", kind="bind")
    outgoing_uris: tuple[str, ...] = setting((), "Event servers that get the events in turn", kind="uri")


@dataclass(frozen=True, slots=True)
class WebEvent:
    """Where `zcmd web-event` listens (`webevent:`)."""

    bind: str | None = setting(None, "Address and port of `web-event`, as 127.0.0.1:8082")


@dataclass(frozen=True, slots=True)
class ExtraDatabase:
    """One more MongoDB database that functions can read (`extra_dbs:`)."""

    name: str = setting("", "Name under which it is reached")
    master: str = setting("mongodb://localhost:27017", "Address of its server", secret=True)
    database: str = setting("", "Name of the database")


@dataclass(frozen=True, slots=True)
class Backdoor:
    """A debugging port of one command (`backdoor:`)."""

    command: str = setting("", "Command that opens it")
    port: int = setting(0, "Port on loopback", minimum=1, maximum=65_535)


@dataclass(frozen=True, slots=True)
class LogStream:
    """A TCP port whose lines a plug-in turns into events (`logstream:`)."""

    entry_point: str = setting("", "Plug-in of the entry-point group zarkov.logstream")
    port: int = setting(0, "Port to listen on", minimum=1, maximum=65_535)
