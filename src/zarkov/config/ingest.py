"""The settings of the event server: its sockets and its limits."""

from __future__ import annotations

from dataclasses import dataclass

from zarkov.config.fields import GIB, KIB, MIB, setting
from zarkov.config.journal import window_max_setting


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """Where events come in, and how much of them at once. Every key is flat in the file."""

    bson_bind_address: str = setting("tcp://127.0.0.1:6543", "PULL socket for events as BSON", kind="bind")
    json_bind_address: str = setting("tcp://127.0.0.1:6544", "PULL socket for events as JSON", kind="bind")
    publish_bind_address: str = setting(
        "tcp://127.0.0.1:6545", "PUB socket: stored events and finished aggregates", kind="bind"
    )
    ack_bind_address: str = setting("tcp://127.0.0.1:6546", "ROUTER socket of the acknowledging channel", kind="bind")
    allow_plain: bool = setting(False, "Allow sockets without keys on other addresses than loopback")
    event_bytes_max: int = setting(
        16 * MIB, "A larger event is refused (too_large)", unit="bytes", minimum=64, maximum=16 * MIB
    )
    depth_max: int = setting(100, "A more deeply nested event is refused (too_deep)", minimum=1, maximum=100)
    message_bytes_max: int = setting(
        17 * MIB,
        "A client that sends a larger frame is disconnected",
        unit="bytes",
        minimum=1 * KIB,
        maximum=2 * GIB - 1,
    )
    batch_events_max: int = setting(
        100_000,
        "Events in one acknowledged batch, at most",
        unit="events",
        minimum=1,
        maximum=10_000_000,
    )
    batch_bytes_max: int = setting(
        16 * MIB + 64 * KIB,
        "Bytes in one acknowledged batch, at most",
        unit="bytes",
        minimum=1 * KIB,
        maximum=1 * GIB,
    )
    window_max: int = window_max_setting()
    ingest_pending_bytes_max: int = setting(
        64 * MIB,
        "Bytes taken but not yet synced; beyond it the sockets push back on their clients",
        unit="bytes",
        minimum=1 * MIB,
    )
    drain_messages_max: int = setting(
        5_000, "Messages taken from a socket at one go", unit="messages", minimum=1, maximum=1_000_000
    )
    receive_hwm: int = setting(
        10_000,
        "Messages a receiving socket queues for one peer, at most",
        unit="messages",
        minimum=1,
        maximum=2**31 - 1,
    )
    publish_hwm: int = setting(
        10_000,
        "Messages queued for one subscriber; a slower one misses events",
        unit="messages",
        minimum=1,
        maximum=2**31 - 1,
    )
    ids_window_max: int = setting(
        100_000,
        "Latest `_id`s remembered, to tell a retry from a conflict",
        unit="events",
        minimum=0,
        maximum=100_000_000,
    )
    handshake_s: float = setting(
        5, "A peer that has not shaken hands by then is cut off", unit="s", minimum=0.1, maximum=300
    )
    heartbeat_s: float = setting(
        10, "Time between heartbeats to each peer; 0 sends none", unit="s", minimum=0, maximum=3600
    )
