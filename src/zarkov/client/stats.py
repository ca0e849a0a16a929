"""What a client has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientStats:
    """Counts of events, but for the last three, since the client was made (in a forked child: since the fork).

    taken + restored = acknowledged + refused + abandoned + pending on the acknowledging channel; `restored` were in
    the spool when it was opened. Over PUSH nothing is known of
    the events behind `taken`: they were handed to ZeroMQ.
    """

    taken: int = 0
    restored: int = 0
    dropped: int = 0
    pending: int = 0
    pending_bytes: int = 0
    acknowledged: int = 0
    refused: int = 0
    abandoned: int = 0
    in_flight_batches: int = 0
    batches_sent: int = 0
    retries: int = 0
