"""The keys of 2011 that have no meaning any more, and what took their place.

A settings file of that time loads: each of these keys is accepted with one warning.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retired:
    """A key that is accepted and not used; `taken_by` is the key that takes its value, if any."""

    instead: str
    taken_by: str | None = None


RETIRED: dict[str, Retired] = {
    "journal_file_size": Retired("segment_bytes_max", taken_by="segment_bytes_max"),
    "journal_min_files": Retired(
        "segments are made as they are needed; retention_bytes and retention_age_s bound them"
    ),
    "flush_mmap": Retired("every commit is synced; sync_gather_s and sync_events_max tune it"),
    "zmr.max_chunk_timeout": Retired("zmr.task_timeout_s"),
    "zmr.suicide_level": Retired("zmr.worker_memory_bytes_max"),
    "zmr.map_chunk_size": Retired("zmr.map_job_size"),
    "zmr.map_chunks_per_page": Retired("zmr.map_page_size"),
    "zmr.outstanding_chunks": Retired("zmr.outstanding_maps"),
}
