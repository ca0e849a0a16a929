"""The router's two protocols, as bytes and values. Pure.

Clients, REQ to `req_bind`: one BSON document there, one back (docs/protocol.md).

    echo       message                          -> message
    config                                      -> the zmr settings, with src_port and sink_port as they are
    mapreduce, xmapreduce, basic                -> job_id, status (see `request`); `job_id` may be the client's own
    status     job_id [full]                    -> job_id, status; with `full` also `job`, the document of ZM.job
    wait       job_id [timeout_s]               -> the same, when the job has ended or the time is over
    cancel     job_id                           -> the same
    jobs       [limit]                          -> jobs: the newest first
    terminate  [job_id]                         -> as cancel; without a job the router stops

`status` is {state, traceback}, and an ended job that returns its results has them in `result`. A job that is not
known has the state UNKNOWN. A request that cannot be done is answered {error, code, hint, retryable}.

Workers: a DEALER to `src_port` (tasks) and another (beats), a PUSH to `sink_port` (answers). Each message is a head,
a BSON document whose `w` says what it is, and frames of bytes.

    to src      hello {worker, replaces, reason}      a process can take tasks
                fetch {task, attempt, start}          more of a task's source
                beat  {worker, task, attempt}         every so often, on the second socket
                bye   {worker, reason}                it takes no more
    from src    welcome {}
                task  {task, attempt, body, size}     and a frame: the source, where it is short
                data  {start}                         and a frame
                pulse {stop}                          answers a beat; stop: the process is to end
                released {}                           the answer of a worker that leaves has come
    to sink     part  {worker, task, attempt, partitions}                    and a frame for each partition named
                done  {worker, task, attempt, partitions, counters, printed, leaves}    likewise
                failed {worker, task, attempt, failure, leaves}

`task` is {job, stage, index}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from zarkov.codec import decode, encode
from zarkov.errors import BadFrame, EventRefused, JobInvalid, ZarkovError
from zarkov.event import Document
from zarkov.zmr.job import Job
from zarkov.zmr.scheduler import Stage, TaskId

COMMANDS: Final = frozenset(
    {"echo", "config", "mapreduce", "xmapreduce", "basic", "status", "wait", "cancel", "jobs", "terminate"}
)
SUBMISSIONS: Final = frozenset({"mapreduce", "xmapreduce", "basic"})

#: Bytes of one frame between router and worker, and about those of one message; a longer piece is cut.
FRAME_BYTES_MAX = 4 * 1024 * 1024
#: Bytes of one message from a worker, its head included.
MESSAGE_BYTES_MAX = 2 * FRAME_BYTES_MAX
#: Frames of one message from a worker.
FRAMES_MAX = 4_096
#: Jobs that one answer to `jobs` lists.
JOBS_LISTED_MAX = 1_000
_JOBS_LISTED = 50

_job_id = re.compile(r"[0-9A-Za-z_-]{1,64}")
_STAGES = get_args(Stage)


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request: its command, and the other fields."""

    command: str
    fields: Mapping[str, Any]

    @property
    def job_id(self) -> str:
        """The job that it names. Raises: JobInvalid: none, or none that can be."""
        found = self.fields.get("job_id")
        return checked_job_id(str(found) if found is not None else "")

    @property
    def limit(self) -> int:
        """How many jobs it asks for. Raises: JobInvalid."""
        limit = self.fields.get("limit", _JOBS_LISTED)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= JOBS_LISTED_MAX:
            raise JobInvalid(f"limit must be an integer from 1 to {JOBS_LISTED_MAX:,}")
        return limit

    @property
    def timeout_s(self) -> float | None:
        """How long it waits; None: until the job has ended. Raises: JobInvalid."""
        timeout = self.fields.get("timeout_s")
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout < 0):
            raise JobInvalid("timeout_s must be a number of seconds")
        return timeout


def checked_job_id(job_id: str) -> str:
    """The id. Raises: JobInvalid: no job can have it."""
    if not _job_id.fullmatch(job_id):
        raise JobInvalid("job_id must be 1 to 64 letters, digits, '-' or '_'")
    return job_id


def read_request(body: bytes) -> Request:
    """A client's message. Raises: BadFrame: it is no BSON document, or names no command."""
    try:
        document = decode(body)
    except EventRefused as refused:
        raise BadFrame(f"the request is no BSON document: {refused}") from refused
    command = document.pop("$command", None)
    if not isinstance(command, str) or command not in COMMANDS:
        raise BadFrame(f"$command must be one of {', '.join(sorted(COMMANDS))}, not {repr(command)[:60]}")
    return Request(command, document)


def split_envelope(frames: Sequence[bytes]) -> tuple[list[bytes], bytes]:
    """What an answer has to be sent behind, and the request's body. Raises: BadFrame: there is not one body."""
    envelope, body = list(frames[:-1]), frames[-1]
    if not envelope or (len(envelope) > 1 and envelope[-1] != b""):
        raise BadFrame("a request is one frame")
    return envelope, body


def error_reply(error: ZarkovError) -> Document:
    """What a request that failed is answered."""
    told = error.to_dict()
    return {"error": str(error), "code": told["code"], "hint": told["hint"], "retryable": told["retryable"]}


def status_reply(job: Job, result: Any = None, *, full: bool = False) -> Document:
    """What a job's state is answered; `result` is given by jobs that return theirs."""
    found = job.status()
    if result is not None:
        found["result"] = result
    if full:
        found["job"] = job.to_document()
    return found


def unknown_reply(job_id: str) -> Document:
    """What is answered about a job that nobody knows."""
    return {"job_id": job_id, "status": {"state": "UNKNOWN", "traceback": ""}}


def summary_of(job: Job) -> Document:
    """A job in a list: without its functions."""
    kept = ("$command", "input_names", "output_name", "output_type")
    found = job.to_document()
    del found["traceback"], found["event"], found["printed"]
    return {**found, "request": {name: job.request[name] for name in kept if name in job.request}}


@dataclass(frozen=True, slots=True)
class Message:
    """What a worker and the router say to each other."""

    what: str
    head: Mapping[str, Any]
    frames: Sequence[bytes] = ()

    @property
    def worker(self) -> str:
        """Raises: BadFrame: no worker is named."""
        return self.text("worker")

    @property
    def task(self) -> TaskId:
        """Raises: BadFrame: no task is named."""
        found = task_of(self.head.get("task"))
        if found is None:
            raise BadFrame(f"{self.what} names no task")
        return found

    @property
    def attempt(self) -> int:
        """Raises: BadFrame."""
        return self.number("attempt")

    @property
    def pieces(self) -> list[tuple[int, bytes]]:
        """The frames with the partition of each. Raises: BadFrame."""
        partitions = self.head.get("partitions", [])
        if not isinstance(partitions, list) or len(partitions) != len(self.frames):
            raise BadFrame(f"{self.what} has {len(self.frames)} frames, and not as many partitions")
        if not all(type(each) is int and each >= 0 for each in partitions):
            raise BadFrame(f"{self.what} names a partition that is none")
        return list(zip(partitions, self.frames, strict=True))

    def text(self, name: str) -> str:
        """A field. Raises: BadFrame: it is no string."""
        found = self.head.get(name)
        if not isinstance(found, str):
            raise BadFrame(f"{self.what} lacks {name}")
        return found

    def number(self, name: str) -> int:
        """A field. Raises: BadFrame: it is no integer from 0 on."""
        found = self.head.get(name)
        if isinstance(found, bool) or not isinstance(found, int) or found < 0:
            raise BadFrame(f"{self.what} lacks {name}")
        return found


def message(what: str, head: Mapping[str, Any], frames: Sequence[bytes] = ()) -> list[bytes]:
    """The frames of a message."""
    return [encode({"w": what, **head}), *frames]


def read_message(frames: Sequence[bytes]) -> Message:
    """The message that `message` made. Raises: BadFrame: the frames are none."""
    if not frames or len(frames) > FRAMES_MAX + 1:
        raise BadFrame(f"a message of {len(frames):,} frames")
    try:
        head = decode(frames[0])
    except EventRefused as refused:
        raise BadFrame(f"a message's head is no BSON document: {refused}") from refused
    what = head.pop("w", None)
    if not isinstance(what, str):
        raise BadFrame("a message does not say what it is")
    return Message(what, head, frames[1:])


def task_document(task: TaskId) -> Document:
    """A task's name as it stands in heads."""
    return {"job": task.job, "stage": task.stage, "index": task.index}


def task_of(document: Any) -> TaskId | None:
    """The task that a head names, if it names one."""
    if not isinstance(document, Mapping):
        return None
    job, stage, index = (document.get(name) for name in ("job", "stage", "index"))
    if not isinstance(job, str) or stage not in _STAGES or not isinstance(index, int):
        return None
    return TaskId(job, cast("Stage", stage), index)


class Packing:
    """Gathers a task's pieces into messages of about FRAME_BYTES_MAX; a long piece is cut."""

    def __init__(self) -> None:
        self.partitions: list[int] = []
        self.frames: list[bytes] = []
        self._size = 0

    def add(self, partition: int, piece: bytes) -> Sequence[tuple[list[int], list[bytes]]]:
        """Add a piece; gives (partitions, frames) of the messages that are full."""
        full = []
        for start in range(0, len(piece), FRAME_BYTES_MAX):
            part = piece[start : start + FRAME_BYTES_MAX] if len(piece) > FRAME_BYTES_MAX else piece
            if self.frames and (self._size + len(part) > FRAME_BYTES_MAX or len(self.frames) >= FRAMES_MAX):
                full.append(self.take())
            self.partitions.append(partition)
            self.frames.append(part)
            self._size += len(part)
        return full

    def take(self) -> tuple[list[int], list[bytes]]:
        """What was gathered and not given yet."""
        taken = self.partitions, self.frames
        self.partitions, self.frames, self._size = [], [], 0
        return taken
