"""What the client library cannot do."""

from __future__ import annotations

from zarkov.errors.root import ZarkovError


class ClientError(ZarkovError):
    """The client library cannot do what was asked."""

    code = "client_error"


class QueueFull(ClientError):
    """The client's queue is full and `on_full` says not to wait."""

    code = "queue_full"
    retryable = True
    hint = "Send slower, raise `queue_events_max`, or use on_full='block'."


class SpoolFailed(ClientError):
    """The client's spool file cannot be read, written, or is in use by another client."""

    code = "spool_failed"
    hint = "Give each client a spool file of its own, on a disk with space."


class NotAcknowledged(ClientError):
    """Events were not acknowledged in time; they stay queued."""

    code = "not_acknowledged"
    retryable = True
    hint = "Check that the server runs and that the address is its `ack_bind_address`; flush again."


class ClientClosed(ClientError):
    """The client was closed."""

    code = "client_closed"
    hint = "Open a new client."
