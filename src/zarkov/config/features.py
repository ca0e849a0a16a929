"""The settings of map-reduce, keys, the gateways and the other databases: nested in the settings file."""

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
    task_attempts_max: int = setting(
        3, "A task that failed so often fails its job", unit="attempts", minimum=1, maximum=100
    )
    task_memory_bytes: int = setting(
        256 * MIB,
        "What the groups of one task may take before they are combined and spilled",
        unit="bytes",
        minimum=1 * MIB,
    )
    task_memory_bytes_max: int = setting(
        2 * GIB,
        "Memory one worker process may ask for; a function that wants more fails",
        unit="bytes",
        minimum=256 * MIB,
    )
    memory_bytes_max: int = setting(
        256 * MIB, "Intermediate data the router holds in memory; more goes to `job_root`", unit="bytes", minimum=0
    )
    printed_chars_max: int = setting(
        65_536, "Characters of a task's standard output that are kept", unit="characters", minimum=0
    )
    worker_silence_s: float = setting(
        15, "A worker not heard of for this long has died, for the router", unit="s", minimum=0.5, maximum=3_600
    )
    job_timeout_s: float = setting(
        86_400, "A job not done by then has failed", unit="s", minimum=1, maximum=365 * 86_400
    )
    jobs_queued_max: int = setting(
        1_000, "Jobs under way or waiting; more are refused", unit="jobs", minimum=1, maximum=100_000
    )
    jobs_running_max: int = setting(8, "Jobs that run at the same time; others wait", unit="jobs", minimum=1)
    jobs_max: int = setting(1_000, "Jobs that have ended and are remembered", unit="jobs", minimum=1)
    job_attempts_max: int = setting(
        3, "A job is run so often, when the router is killed while it runs", unit="attempts", minimum=1
    )
    request_bytes_max: int = setting(
        32 * MIB, "Bytes of one request to the router", unit="bytes", minimum=64 * 1024, maximum=1 * GIB
    )
    inline_bytes_max: int = setting(
        16 * MIB, "Bytes of results that are returned and not stored", unit="bytes", minimum=1024, maximum=1 * GIB
    )
    request_timeout_s: float = setting(
        30, "Clients wait so long for the router's answer to a request", unit="s", minimum=0.1, maximum=3600
    )
    executor: str = setting(
        "zmr",
        "Where jobs run that do not say: in the calling process, on the router's workers, on Dask",
        choices=("inline", "zmr", "dask"),
    )
    dask_address: str | None = setting(None, "Scheduler of a Dask cluster, as tcp://host:8786 or tls://host:8786")
    dask_tls_ca_file: Path | None = setting(None, "Certificates that the cluster's are signed with (PEM)")
    dask_tls_cert_file: Path | None = setting(None, "Certificate that this side shows the cluster (PEM)")
    dask_tls_key_file: Path | None = setting(None, "Secret key of that certificate (PEM)")
    dask_timeout_s: float = setting(
        30, "The cluster and its first worker have to answer within this", unit="s", minimum=0.1, maximum=3600
    )


@dataclass(frozen=True, slots=True)
class CurveSettings:
    """Keys on every socket (`curve:`); without `server_key_file` sockets are plain."""

    server_key_file: Path | None = setting(
        None, "Secret key file of the server; with it every socket asks for keys; `zcmd keygen` makes one"
    )
    server_public_key: str | None = setting(
        None, "The server's public key as its clients know it: 40 characters, or a file that holds it"
    )
    client_key_file: Path | None = setting(None, "Secret key file of clients of these settings, zcmd's own included")
    allow: Path | None = setting(
        None,
        "Public keys that are let in: a folder of key files, or one file with a key a line; read again on change",
    )


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
