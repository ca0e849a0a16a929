"""Which neighbouring chunks become one: a pure choice over their headers."""

from __future__ import annotations

from collections.abc import Sequence

from zarkov.journal.format import CODEC_GONE, ChunkHeader

#: Chunks merged in one step, at most.
MERGE_ROWS_MAX = 512


def plan_merge(
    headers: Sequence[ChunkHeader], *, events_max: int, bytes_max: int, fan_in: int
) -> Sequence[ChunkHeader] | None:
    """The first run of neighbours worth replacing by one chunk; None when there is none.

    Args:
        headers: chunks in order of their offsets.
        events_max, bytes_max: of the merged chunk, before compression.
        fan_in: how many chunks a merge must replace, at least (2 or more).

    A merge at least doubles the largest chunk of its run, so that an event is rewritten log2(events_max) times at
    most, however slowly events trickle in.
    """
    for first in range(len(headers) - fan_in + 1):
        run = _run_from(headers, first, events_max, bytes_max)
        if len(run) >= fan_in and sum(chunk.count for chunk in run) >= 2 * max(chunk.count for chunk in run):
            return run
    return None


def _run_from(headers: Sequence[ChunkHeader], first: int, events_max: int, bytes_max: int) -> Sequence[ChunkHeader]:
    events = size = 0
    at = first
    while at < len(headers) and at - first < MERGE_ROWS_MAX:
        chunk = headers[at]
        if at > first and chunk.first_offset != headers[at - 1].stop:
            break
        if chunk.codec == CODEC_GONE or events + chunk.count > events_max or size + chunk.raw_bytes > bytes_max:
            break
        events += chunk.count
        size += chunk.raw_bytes
        at += 1
    return headers[first:at]
