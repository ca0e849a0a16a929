"""What bounds the client: every queue, batch, wait and retry, with its default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zarkov.errors import ConfigError

#: What `event` does when the queue is full: wait, count the event as dropped, or raise QueueFull.
OnFull = Literal["block", "drop", "raise"]


@dataclass(frozen=True, slots=True)
class Limits:
    batch_events_max: int = 1000
    batch_bytes_max: int = 1024 * 1024
    #: How long an event may wait for others to share its batch while another batch is in flight.
    linger_s: float = 0.005
    #: Events and bytes that are taken and not yet acknowledged.
    queue_events_max: int = 100_000
    queue_bytes_max: int = 64 * 1024 * 1024
    #: A batch without an answer for this long is sent again, then after twice as long, up to the maximum.
    answer_s: float = 5.0
    answer_s_max: float = 60.0
    #: The pause after "not now" from the server: the first, doubled up to the maximum.
    retry_s_min: float = 0.02
    retry_s_max: float = 2.0
    #: Bytes of events that a spool may hold; the file is a few percent larger.
    spool_bytes_max: int = 1024 * 1024 * 1024
    #: With several addresses: a server that does not answer for this long loses its turn to the next one.
    failover_s: float = 5.0

    def __post_init__(self) -> None:
        names = ("batch_events_max", "batch_bytes_max", "queue_events_max", "queue_bytes_max", "spool_bytes_max")
        for name in names:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1", hint="Pass a positive number to ZarkovClient.")
        if self.linger_s < 0:
            raise ConfigError("linger_s must not be negative", hint="0 sends every event at once.")
        if self.failover_s <= 0:
            raise ConfigError("failover_s must be more than 0", hint="The default is 5 seconds.")
