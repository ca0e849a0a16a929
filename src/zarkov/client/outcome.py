"""What the program is told: counts, and why a flush or an event failed. Pure."""

from __future__ import annotations

from zarkov.client.keys import HINT_REFUSED
from zarkov.client.outbox import Outbox
from zarkov.client.stats import ClientStats
from zarkov.errors import NotAcknowledged, QueueFull


def stats_of(outbox: Outbox, dropped: int) -> ClientStats:
    counters = outbox.counters
    return ClientStats(
        taken=counters.taken,
        restored=counters.restored,
        dropped=dropped,
        pending=outbox.pending_events,
        pending_bytes=outbox.pending_bytes,
        acknowledged=counters.acknowledged,
        refused=counters.refused,
        abandoned=counters.abandoned,
        in_flight_batches=outbox.in_flight,
        batches_sent=counters.batches_sent,
        retries=counters.retries,
    )


def unacknowledged(
    outbox: Outbox, address: str, fault: str, *, done: bool, refused: int, waited_s: float
) -> NotAcknowledged | None:
    """The error of a flush that was not done within `waited_s`, or that `refused` events were refused before.

    Args:   fault: why the connection fails, where that is known; else "".
    Returns: None: all of it is acknowledged.
    """
    if not done:
        count = outbox.pending_events + outbox.counters.abandoned
        when = "before the client was closed" if outbox.counters.abandoned else f"within {waited_s:g} s"
        met = "" if outbox.greeted and not fault else f"; {fault or 'no acknowledging server answers there'}"
        text = f"{count:,} events not acknowledged by {address} {when}{met}"
        hint = HINT_REFUSED if fault else None
        return NotAcknowledged(text + (f"; {refused:,} refused" if refused else ""), hint=hint)
    if not refused:
        return None
    failure = NotAcknowledged(
        f"{refused:,} events were refused by {address}; the others are stored",
        hint="on_error, or the log, tells of each; `zcmd rejected list` shows them.",
    )
    failure.retryable = False
    return failure


def full(outbox: Outbox, address: str, waited_s: float, fault: str = "") -> QueueFull:
    """The error of an event that found no room within `waited_s`; fault: as for `unacknowledged`."""
    spool_fault = outbox.backlog.fault
    if spool_fault is not None:
        return QueueFull(f"no event is taken now: {spool_fault}", hint=spool_fault.hint)
    text = f"{outbox.pending_events:,} events wait for acknowledgement by {address} (waited {waited_s:g} s)"
    if fault:
        return QueueFull(f"{text}; {fault}", hint=HINT_REFUSED)
    if not outbox.backlog.is_kept:
        return QueueFull(text)
    most = f"the spool is full, with {outbox.pending_bytes:,} of {outbox.backlog.bytes_max:,} bytes"
    return QueueFull(f"{text}; {most}", hint="Start the server, or raise `spool_bytes_max`.")
