"""What is measured, beside what, and what it has to reach."""

from dataclasses import dataclass

from benchmarks.report import Target


@dataclass(frozen=True, slots=True)
class Peer:
    """One variant of one script of benchmarks/peers; `needs`: a command, `module`: a package of the peers' Python."""

    label: str
    script: str
    variant: str
    needs: str | None
    module: str | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report: `key` is the value that the measurement prints.

    floor_key: where the measurement itself prints the floor's value, in the same process.
    """

    name: str
    work: str
    unit: str
    key: str
    target: Target
    floor_key: str | None = None
    floor_label: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement of Zarkov and what stands beside it in each of its rounds.

    rounds_max: the most rounds that are worth their time (a size on disk does not vary).
    """

    name: str
    measure: str
    figures: tuple[Figure, ...]
    floor: str | None = None
    peers: tuple[Peer, ...] = ()
    limits: tuple[Peer, ...] = ()
    rounds_max: int = 99


def redis(variant: str, label: str) -> Peer:
    return Peer(f"Redis, {label}", "ingest_redis", f"always, {variant}", "redis-server")


def postgres(variant: str, label: str) -> Peer:
    return Peer(f"PostgreSQL, {label}", "ingest_postgres", variant, "postgres")


def rabbitmq(variant: str, label: str) -> Peer:
    return Peer(f"RabbitMQ quorum, {label}", "ingest_rabbitmq", f"quorum queue, {variant}", "rabbitmq-server")


RATE = "events/s"

DASK = Peer(
    "Dask bag, distributed, 2 workers, collector off",
    "mr_dask",
    "distributed LocalCluster, 2 workers, gc off",
    None,
    "distributed",
)
SPARK = Peer("PySpark RDD, local[2]", "mr_spark", "RDD local[2], flatMap + reduceByKey", "java", "pyspark")
RAY = Peer("Ray tasks, 2 CPUs, collector off", "mr_ray", "2 CPUs, the same, gc off", None, "ray")
MRJOB = Peer("mrjob, 2 processes, JSON lines", "mr_mrjob", "-r local, 2 processes, JSON lines", None, "mrjob")
FOLD = Peer("one process, a fold by hand, collector off", "mr_python", "hand-written fold, gc off", None, "polars")

ROWS = (
    Row(
        "push",
        "push",
        (
            Figure(
                "push",
                "PUSH, one event a message, validated, synced",
                RATE,
                "rate",
                Target(ratio_min=0.65, above_peers=True),
                floor_label="pyzmq, bson.decode of each, no answer",
            ),
        ),
        floor="floor_decode_1",
        peers=(
            redis("pipeline of 1000 XADD", "fsync always, pipelined"),
            postgres("COPY of 1000 per commit", "COPY of 1,000"),
            rabbitmq("one event, window of 1000", "window of 1,000"),
        ),
    ),
    Row(
        "ack-batched",
        "ack_batched",
        (
            Figure(
                "ack-batched",
                "acknowledging client, batched by the client",
                RATE,
                "rate",
                Target(ratio_min=0.6),
                floor_label="pyzmq, decode, 100 a message, no answer",
            ),
        ),
        floor="floor_decode_100",
        peers=(
            redis("XADD of 100 events joined, pipeline of 10", "fsync always, 100 joined, opaque bytes"),
            postgres("COPY of 10000 per commit", "COPY of 10,000"),
            rabbitmq("100 events per message, window of 50", "100 joined, opaque bytes"),
        ),
    ),
    Row(
        "push-keys",
        "push_keys",
        (
            Figure(
                "push-keys",
                "PUSH with keys, one event a message",
                RATE,
                "rate",
                Target(ratio_min=0.6),
                floor_label="Zarkov without keys",
            ),
        ),
        floor="push",
    ),
    Row(
        "ack-keys",
        "ack_keys",
        (
            Figure(
                "ack-keys",
                "acknowledging client with keys, batched",
                RATE,
                "rate",
                Target(ratio_min=0.6),
                floor_label="Zarkov without keys",
            ),
        ),
        floor="ack_batched",
    ),
    Row(
        "ack-single",
        "ack_single",
        (
            Figure(
                "ack-single",
                "acknowledging client, one at a time, awaiting each",
                RATE,
                "rate",
                Target(value_min=1500),
                floor_label="plain zmq and a thread, no sync",
            ),
        ),
        floor="floor_echo",
        peers=(
            redis("one XADD per round trip", "fsync always"),
            postgres("one INSERT, one commit", "single INSERT"),
            rabbitmq("one event, one confirm at a time", "confirm each"),
        ),
        limits=(Peer("the disk: write and fdatasync of each", "ingest_file", "batch 1", None),),
    ),
    Row(
        "async-batched",
        "async_batched",
        (
            Figure(
                "async-batched",
                "asyncio client, acknowledged batched",
                RATE,
                "rate",
                Target(value_min=100_000),
                floor_label="pyzmq, decode, 100 a message, no answer",
            ),
            Figure(
                "async-events",
                "asyncio client, `await event()` each",
                RATE,
                "event_rate",
                Target(value_min=50_000),
            ),
        ),
        floor="floor_decode_100",
    ),
    Row(
        "log-handler",
        "log_handler",
        (
            Figure(
                "log-handler",
                "logging handler, per call",
                "us",
                "call_us",
                Target(value_max=15),
                floor_key="queue_us",
                floor_label="logging's QueueHandler, its records taken by nobody",
            ),
            Figure("log-emit", "logging handler, its `emit` alone", "us", "emit_us", Target(value_max=15)),
        ),
    ),
    Row(
        "latency",
        "latency",
        (
            Figure(
                "latency-p50", "acknowledged latency at 10,000 events/s, p50", "ms", "p50_ms", Target(value_max=3)
            ),
            Figure(
                "latency-p99", "acknowledged latency at 10,000 events/s, p99", "ms", "p99_ms", Target(value_max=15)
            ),
        ),
    ),
    Row(
        "read",
        "read",
        (
            Figure(
                "read",
                "read and decode from the journal",
                RATE,
                "rate",
                Target(ratio_min=0.75),
                floor_key="floor_rate",
                floor_label="bson.decode of each in a loop",
            ),
        ),
    ),
    Row(
        "disk",
        "disk_shape",
        (
            Figure(
                "disk",
                "disk per stored event, benchmark shape",
                "bytes",
                "bytes_per_event",
                Target(value_max=36),
                floor_key="raw_bytes_per_event",
                floor_label="raw BSON",
            ),
        ),
        rounds_max=1,
    ),
    Row(
        "disk-real",
        "disk_real",
        (
            Figure(
                "disk-real",
                "disk per stored event, real events",
                "bytes",
                "bytes_per_event",
                Target(value_max=20),
                floor_key="raw_bytes_per_event",
                floor_label="raw BSON",
            ),
        ),
        rounds_max=1,
    ),
    Row(
        "memory-idle",
        "memory_idle",
        (
            Figure(
                "memory-idle", "memory of all processes of an idle serve, PSS", "MB", "pss_mb", Target(value_max=150)
            ),
        ),
    ),
    Row(
        "memory-growth",
        "memory_growth",
        (
            Figure(
                "memory-growth",
                "growth of PSS during a long ingest (see the note)",
                "MB",
                "growth_mb",
                Target(value_max=10),
            ),
        ),
        rounds_max=1,
    ),
    Row(
        "loader",
        "load",
        (
            Figure(
                "loader",
                "the loader into MongoDB",
                RATE,
                "rate",
                Target(ratio_min=0.7),
                floor_label="insert_many of RawBSONDocument into the same server",
            ),
        ),
        floor="floor_insert",
    ),
    Row(
        "ingest-loading",
        "ingest_while_loading",
        (
            Figure(
                "ingest-loading",
                "acknowledging client, batched, while the loader runs",
                RATE,
                "rate",
                Target(ratio_min=0.8),
                floor_key="alone_rate",
                floor_label="without a loader, in the same run",
            ),
        ),
    ),
    Row(
        "servers-push",
        "servers_push",
        (
            Figure(
                "servers-push",
                "two event servers: PUSH, one event a message",
                RATE,
                "rate",
                Target(ratio_min=1.5),
                floor_key="one_rate",
                floor_label="one event server, in the same run",
            ),
        ),
    ),
    Row(
        "servers-ack",
        "servers_ack",
        (
            Figure(
                "servers-ack",
                "two event servers: acknowledging clients, batched",
                RATE,
                "rate",
                Target(ratio_min=1.5),
                floor_key="one_rate",
                floor_label="one event server, in the same run",
            ),
        ),
    ),
    Row(
        "mapreduce",
        "mapreduce",
        (
            Figure(
                "mapreduce",
                "map-reduce on 2 workers, to the committed collection, warm",
                RATE,
                "rate",
                Target(ratio_min=0.9, peer_ratios=((DASK.label, 2.0), (SPARK.label, 2.0))),
                floor_label="multiprocessing.Pool(2) by hand, collector off, the result in memory",
            ),
            Figure(
                "mapreduce-cold", "the same, the first job after the start", RATE, "cold_rate", Target(ratio_min=0.7)
            ),
        ),
        floor="floor_pool",
        peers=(DASK, SPARK, RAY, MRJOB),
        limits=(FOLD,),
    ),
    Row(
        "mapreduce-dask",
        "mapreduce_dask",
        (
            Figure(
                "mapreduce-dask",
                "map-reduce on a Dask cluster of 2 workers, to the committed collection",
                RATE,
                "rate",
                Target(peer_ratios=((DASK.label, 1.0),)),
            ),
        ),
        peers=(DASK,),
    ),
    Row(
        "mapreduce-small",
        "mapreduce_small",
        (
            Figure(
                "mapreduce-small",
                "a job over 1,000 events on 2 workers, submission to result, warm",
                "ms",
                "zmr_ms",
                Target(value_max=150),
                floor_key="dask_ms",
                floor_label="Dask bag, distributed, the same events",
            ),
            Figure("mapreduce-inline", "the same, inline", "ms", "inline_ms", Target(value_max=150)),
        ),
    ),
    Row(
        "scheduler",
        "scheduler",
        (
            Figure(
                "scheduler", "map-reduce's scheduler alone, no-op tasks", "tasks/s", "rate", Target(value_min=5_000)
            ),
        ),
    ),
)

NAMES = tuple(row.name for row in ROWS)
