"""Which of the jobs that wait may begin: one job at a time fills a collection. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zarkov.zmr.request import JobRequest

#: Stands for the collections that an xmapreduce's map will name.
ANY_COLLECTION = "*"


def outputs_of(request: JobRequest) -> frozenset[str]:
    """The collections that a job may fill."""
    if request.kind == "xmapreduce":
        return frozenset({ANY_COLLECTION})
    return frozenset() if request.output_name is None else frozenset({request.output_name})


def conflict(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two jobs may fill the same collection."""
    if ANY_COLLECTION in one | other:
        return bool(one) and bool(other)
    return not one.isdisjoint(other)


def may_begin(
    running: Iterable[JobRequest], waiting: Iterable[tuple[str, JobRequest]], running_max: int
) -> Iterator[str]:
    """The ids of those that may begin now, in the order in which they came.

    One that has to wait for a collection keeps its place before those that came later and fill the same.
    """
    filled = [outputs_of(request) for request in running]
    room = running_max - len(filled)
    for job_id, request in waiting:
        if room <= 0:
            return
        outputs = outputs_of(request)
        if not any(conflict(outputs, others) for others in filled):
            room -= 1
            yield job_id
        filled.append(outputs)
