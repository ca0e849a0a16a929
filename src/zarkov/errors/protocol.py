"""What the acknowledging channel does not take."""

from __future__ import annotations

from zarkov.errors.root import ZarkovError


class ProtocolError(ZarkovError):
    """A request on the acknowledging channel was not taken; nothing of it was stored."""

    code = "protocol_error"
    hint = "docs/protocol.md describes the acknowledging channel."


class BadFrame(ProtocolError):
    """The frames are not a request of the protocol."""

    code = "bad_frame"


class BatchTooLarge(ProtocolError):
    """The batch is over `batch_events_max` or `batch_bytes_max`."""

    code = "batch_too_large"
    hint = "Send smaller batches; the answer to HELLO names the limits."


class SequenceTooOld(ProtocolError):
    """The sequence lies behind the producer's window: whether it was stored is no longer known."""

    code = "sequence_too_old"
    hint = "Keep at most `window_max` batches unacknowledged."


class WindowExceeded(ProtocolError):
    """The producer has more than `window_max` batches without an answer."""

    code = "window_exceeded"
    retryable = True
    hint = "Wait for answers before sending more."


class ServerBusy(ProtocolError):
    """The server's queue is full."""

    code = "server_busy"
    retryable = True
    hint = "Send again after a pause."


class ShuttingDown(ProtocolError):
    """The server is stopping."""

    code = "shutting_down"
    retryable = True
    hint = "Send again when the server is back."
