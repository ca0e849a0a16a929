"""A job as ZM.job keeps it: its state, what it counted, what it took, how it ended. Pure.

queued -> mapping -> reducing -> finalizing -> committing -> complete
                                                             error, cancelled (from any of them)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from zarkov.errors import JobInvalid
from zarkov.event import Document


class JobState(StrEnum):
    """Where a job is; `complete` and `error` are the original's names of its ends."""

    QUEUED = "queued"
    MAPPING = "mapping"
    REDUCING = "reducing"
    FINALIZING = "finalizing"
    COMMITTING = "committing"
    COMPLETE = "complete"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        return self in (JobState.COMPLETE, JobState.ERROR, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Counters:
    """What was counted, of a task or a job; the sum of two counts both.

    events_read        in the splits that were read                events_mapped   of them, that matched the query
    pairs_out          that map yielded                            pairs_combined  of them, after the combiners
    bytes_shuffled     of runs, from maps to reduces               spills          of combiners that ran out of memory
    keys_out           that were reduced                           documents_out   that finalize gave
    bytes_out          of results
    """

    events_read: int = 0
    events_mapped: int = 0
    pairs_out: int = 0
    pairs_combined: int = 0
    bytes_shuffled: int = 0
    spills: int = 0
    keys_out: int = 0
    documents_out: int = 0
    bytes_out: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(*[getattr(self, name) + getattr(other, name) for name in _COUNTED])

    def to_document(self) -> Document:
        return {name: getattr(self, name) for name in _COUNTED}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Counters:
        """Counts that an older version did not have are 0."""
        return cls(**{name: int(document.get(name, 0)) for name in _COUNTED})


_COUNTED = tuple(each.name for each in fields(Counters))


@dataclass(frozen=True, slots=True)
class Timings:
    """When a job came to each state, in UTC; None for those it did not come to."""

    submitted_at: datetime | None = None
    mapping_at: datetime | None = None
    reducing_at: datetime | None = None
    finalizing_at: datetime | None = None
    committing_at: datetime | None = None
    ended_at: datetime | None = None

    def to_document(self) -> Document:
        return {name: getattr(self, name) for name in _TIMED}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Timings:
        return cls(**{name: document.get(name) for name in _TIMED})


_TIMED = tuple(each.name for each in fields(Timings))


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    id          of the client's or the router's making
    request     as it came (`request.JobRequest.to_wire`)
    position    the journals' ends at its submission: it reads up to there
    parts       what it reads, in order: {journal, start, stop} or {collection}; so that it can be run again
    runs        how often it was begun: more than once if the router was killed while it ran
    progress    what the executor says of it: splits mapped, partitions reduced, retries
    error       one sentence; `traceback`, `event` and `printed` as FunctionFailed has them
    """

    id: str
    state: JobState
    request: Mapping[str, Any]
    position: Mapping[str, int] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    counters: Counters = Counters()
    timings: Timings = Timings()
    error: str = ""
    traceback: str = ""
    event: Mapping[str, Any] | None = None
    printed: str = ""
    parts: Sequence[Mapping[str, Any]] = ()
    runs: int = 0

    def status(self) -> Document:
        """What the original's `status` answers: `{job_id, status: {state, traceback}}`."""
        return {"job_id": self.id, "status": {"state": str(self.state), "traceback": self.traceback or self.error}}

    def to_document(self) -> Document:
        """The job as a document of ZM.job."""
        return {
            "_id": self.id,
            "state": str(self.state),
            "request": dict(self.request),
            "position": dict(self.position),
            "progress": dict(self.progress),
            "counters": self.counters.to_document(),
            "timings": self.timings.to_document(),
            "error": self.error,
            "traceback": self.traceback,
            "event": None if self.event is None else dict(self.event),
            "printed": self.printed,
            "parts": [dict(part) for part in self.parts],
            "runs": self.runs,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Job:
        """Raises: JobInvalid: the document is no job's."""
        try:
            return cls(
                id=str(document["_id"]),
                state=JobState(document["state"]),
                request=document["request"],
                position=document.get("position", {}),
                progress=document.get("progress", {}),
                counters=Counters.from_document(document.get("counters", {})),
                timings=Timings.from_document(document.get("timings", {})),
                error=document.get("error", ""),
                traceback=document.get("traceback", ""),
                event=document.get("event"),
                printed=document.get("printed", ""),
                parts=document.get("parts", ()),
                runs=int(document.get("runs", 0)),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise JobInvalid(f"the document {document.get('_id')!r} is no job: {error!r}") from error
