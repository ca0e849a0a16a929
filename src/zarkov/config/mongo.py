"""The settings of the loader, which takes events from the journal to MongoDB."""

from __future__ import annotations

from dataclasses import dataclass

from zarkov.config.fields import KIB, MIB, setting


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """How much the loader sends at once, and how it waits. Every key is flat in the settings file."""

    loader_batch_events_max: int = setting(
        10_000, "Events in one insert into MongoDB, at most", unit="events", minimum=1, maximum=100_000
    )
    loader_batch_bytes_max: int = setting(
        8 * MIB, "Bytes in one insert into MongoDB, at most", unit="bytes", minimum=64 * KIB, maximum=40 * MIB
    )
    loader_backoff_s_max: float = setting(
        30, "Longest pause between two attempts while MongoDB is away", unit="s", minimum=0.1, maximum=3600
    )
    mongo_timeout_s: float = setting(
        30, "An answer of MongoDB that takes longer counts as none", unit="s", minimum=0.1, maximum=3600
    )
