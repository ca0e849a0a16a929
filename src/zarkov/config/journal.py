"""The settings of the journal: how events are committed, laid out, kept and dropped."""

from __future__ import annotations

from dataclasses import dataclass

from zarkov.config.fields import GIB, KIB, MIB, setting

TIB = 1024 * GIB
YEAR_S = 366 * 86_400


def window_max_setting() -> int:
    """Declare `window_max`, which the journal keeps and the acknowledging channel announces."""
    return setting(
        64,
        "Batches kept per producer, whose retries get their first answer again",
        unit="batches",
        minimum=1,
        maximum=10_000,
    )


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """How the journal writes, compacts and forgets. Every key is flat in the settings file."""

    segment_bytes_max: int = setting(
        128 * MIB,
        "A segment of this size is sealed and the next one begins",
        unit="bytes",
        minimum=1 * MIB,
        maximum=1 * TIB,
    )
    segment_events_max: int = setting(
        100_000_000,
        "A segment with this many events is sealed; also the step in offsets over a lost segment",
        unit="events",
        minimum=1,
        maximum=10**12,
    )
    chunk_events_max: int = setting(
        10_000, "Events in one chunk, at most", unit="events", minimum=1, maximum=1_000_000
    )
    chunk_bytes_max: int = setting(
        4 * MIB,
        "Bytes of events in one chunk before compression; one larger event has a chunk of its own",
        unit="bytes",
        minimum=4 * KIB,
        maximum=256 * MIB,
    )
    compress_level: int = setting(1, "zstd level of new chunks; 0 stores them as they are", minimum=0, maximum=19)
    compact_level: int = setting(6, "zstd level of merged chunks and of sealed segments", minimum=0, maximum=19)
    window_max: int = window_max_setting()
    producers_max: int = setting(
        1_000,
        "Producers remembered; the longest idle leave first",
        unit="producers",
        minimum=1,
        maximum=1_000_000,
    )
    sync_events_max: int = setting(50_000, "Events gathered into one commit, at most", unit="events", minimum=1)
    sync_bytes_max: int = setting(16 * MIB, "Bytes gathered into one commit, at most", unit="bytes", minimum=4 * KIB)
    sync_gather_s: float = setting(
        0.0,
        "Time an idle writer waits for more before it commits; 0 commits at once",
        unit="s",
        minimum=0,
        maximum=1,
    )
    inline_bytes_max: int = setting(
        64 * KIB,
        "Batches up to this size are committed without a change of threads when the writer is idle",
        unit="bytes",
        minimum=0,
        maximum=16 * MIB,
    )
    inline_commit_s_max: float = setting(
        0.002,
        "No such commits while the median commit takes longer than this",
        unit="s",
        minimum=0,
        maximum=1,
    )
    upkeep_idle_s: float = setting(
        0.2,
        "An idle writer begins to merge and recompress after this time",
        unit="s",
        minimum=0.001,
        maximum=3600,
    )
    small_chunks_max: int = setting(
        256,
        "Under load, neighbouring small chunks are merged when there are this many",
        unit="chunks",
        minimum=2,
        maximum=100_000,
    )
    retention_age_s: float = setting(
        0,
        "Segments that ended longer ago are dropped, behind every reader; 0 keeps them",
        unit="s",
        minimum=0,
        maximum=1000 * YEAR_S,
    )
    retention_bytes: int = setting(
        0,
        "The oldest segments beyond this total are dropped, behind every reader; 0 keeps them",
        unit="bytes",
        minimum=0,
    )
    free_bytes_min: int = setting(
        16 * MIB,
        "With less free space than this, events are refused (journal_full) until there is more",
        unit="bytes",
        minimum=0,
    )
    rejected_count_max: int = setting(
        100_000, "Rejected events kept; the oldest leave first", unit="events", minimum=0
    )
    rejected_bytes_max: int = setting(
        64 * MIB,
        "Bytes of rejected events kept; the oldest leave first",
        unit="bytes",
        minimum=0,
        maximum=1 * TIB,
    )
    num_event_logs: int = setting(
        5,
        "Generations `rotate` keeps besides `event`; older ones are dumped and dropped",
        unit="generations",
        minimum=1,
        maximum=10_000,
    )
