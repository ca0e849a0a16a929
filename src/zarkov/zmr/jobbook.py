"""The jobs that are known: ZM.job, and the results of those that return them. Every method blocks."""

from __future__ import annotations

from collections import deque
from typing import Any

from zarkov.errors import JobInvalid
from zarkov.store.contract import Store
from zarkov.zmr.job import Job, JobState

JOBS = "job"
#: Results that jobs return; removed with their job.
RESULTS = "job.result"

_ENDED = [str(state) for state in JobState if state.has_ended]


class JobBook:
    """Remembers jobs, and of those that have ended the newest `jobs_max`. For one thread at a time.

    Raises: StoreError: from every method.
    """

    def __init__(self, store: Store, jobs_max: int) -> None:
        self._jobs = store.collection(JOBS)
        self._results = store.collection(RESULTS)
        self._jobs_max = jobs_max
        self._ended: deque[Any] | None = None

    def put(self, job: Job) -> None:
        """Write a job down, in place of what was known of it."""
        self._jobs.replace_one({"_id": job.id}, job.to_document(), upsert=True)

    def end(self, job: Job, result: Any = None) -> None:
        """Write down a job that has ended, and what it returns, if anything; forget the oldest."""
        if result is not None:
            self._results.replace_one({"_id": job.id}, {"_id": job.id, "result": result}, upsert=True)
        self.put(job)
        if self._ended is None:
            found = self._jobs.find({"state": {"$in": _ENDED}}, {"_id": 1}, sort=[("timings.ended_at", 1)])
            self._ended = deque(document["_id"] for document in found)
        else:
            self._ended.append(job.id)
        while len(self._ended) > self._jobs_max:
            oldest = self._ended.popleft()
            self._results.delete_one({"_id": oldest})
            self._jobs.delete_one({"_id": oldest})

    def get(self, job_id: str) -> Job | None:
        """A job."""
        document = self._jobs.find_one({"_id": job_id})
        return None if document is None else Job.from_document(document)

    def result(self, job_id: str) -> Any:
        """What a job returned; None if it stored its results, or has none."""
        document = self._results.find_one({"_id": job_id})
        return None if document is None else document["result"]

    def newest(self, limit: int) -> list[Job]:
        """The jobs submitted last, newest first; a document that is no job's is left out."""
        return self._read(self._jobs.find({}, sort=[("timings.submitted_at", -1)], limit=limit))

    def unfinished(self) -> list[Job]:
        """The jobs that have not ended, oldest first."""
        return self._read(self._jobs.find({"state": {"$nin": _ENDED}}, sort=[("timings.submitted_at", 1)]))

    def _read(self, documents: Any) -> list[Job]:
        found: list[Job] = []
        for document in documents:
            try:
                found.append(Job.from_document(document))
            except JobInvalid:
                continue
        return found
