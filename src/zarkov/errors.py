"""Every error of Zarkov, as one tree.

    ZarkovError
    ├── ConfigError              config_invalid
    ├── EventRefused             one of REFUSAL_CODES
    ├── JournalError
    │   ├── JournalLocked        journal_locked
    │   ├── JournalFull          journal_full          retry
    │   ├── JournalFailed        journal_failed
    │   ├── JournalCorrupt       journal_corrupt
    │   ├── JournalVersion       journal_version
    │   ├── PositionBeyondEnd    position_beyond_end
    │   └── PositionExpired      position_expired
    ├── StoreError
    │   ├── FilterInvalid        filter_invalid
    │   ├── UpdateInvalid        update_invalid
    │   ├── DocumentExists       document_exists
    │   ├── AppendOnly           append_only
    │   └── StoreFailed          store_failed
    ├── ProtocolError
    │   ├── BadFrame             bad_frame
    │   ├── BatchTooLarge        batch_too_large
    │   ├── SequenceTooOld       sequence_too_old
    │   ├── WindowExceeded       window_exceeded       retry
    │   ├── ServerBusy           server_busy           retry
    │   └── ShuttingDown         shutting_down         retry
    ├── ClientError
    │   ├── QueueFull            queue_full            retry
    │   ├── NotAcknowledged      not_acknowledged      retry
    │   └── ClientClosed         client_closed
    └── ServerUnreachable        server_unreachable    retry

`code` is stable: it stands on the wire, in JSON and in logs. `retryable` says whether the same request may
succeed later. `hint` says what the person who reads it can do.
"""

from __future__ import annotations


class ZarkovError(Exception):
    """The root: one sentence that names the thing at fault, a stable code and the way out."""

    code: str = "internal"
    retryable: bool = False
    hint: str = "Look at the server's log; this is a fault in Zarkov."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint

    def to_dict(self) -> dict[str, str | bool]:
        """The error as it stands on the wire: `{code, message, retryable, hint}`."""
        return {"code": self.code, "message": str(self), "retryable": self.retryable, "hint": self.hint}


class ConfigError(ZarkovError):
    """A setting is unknown, of the wrong type or out of range."""

    code = "config_invalid"
    hint = "Run `zcmd check-config` to see each setting and where it came from."


#: Why an event can be refused: code -> meaning. A refused event is kept in `rejected` under this code.
REFUSAL_CODES: dict[str, str] = {
    "bson_invalid": "the bytes are not one or more well-formed BSON documents",
    "json_invalid": "the text is not JSON",
    "not_an_object": "the JSON value is not an object",
    "type_missing": "the event has no `type`",
    "type_invalid": "`type` is not a string of 1 to 1,024 bytes",
    "timestamp_invalid": "`timestamp` is neither a date of the years 1 to 9999 nor an RFC 3339 string",
    "context_invalid": "`context` is not an object",
    "id_invalid": "`_id` is not an ObjectId",
    "duplicate_id": "an event with this `_id` and other content is stored already",
    "too_large": "the event is larger than `event_bytes_max`",
    "too_deep": "the event is nested deeper than `depth_max` levels",
    "number_out_of_range": "an integer does not fit into 64 bits",
    "not_finite": "a number in JSON is NaN, infinite or too large for a double",
    "text_invalid": "a string is not valid Unicode (a lone surrogate, or bytes that are not UTF-8)",
    "duplicate_key": "a JSON object has the same key twice",
    "command_unknown": "`$command` names no command of the event server",
    "multipart": "a message of several frames came where one frame is expected",
}


class EventRefused(ZarkovError):
    """An event that cannot be taken; `code` is one of REFUSAL_CODES."""

    hint = "Mend the event and send it again; `zcmd rejected list` shows what was kept."

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class JournalError(ZarkovError):
    """The journal cannot do what was asked."""

    code = "journal_error"


class JournalLocked(JournalError):
    """Another process holds the data directory."""

    code = "journal_locked"
    hint = "Stop the other server, or give this one its own `data_dir`."


class JournalFull(JournalError):
    """There is no space for the write; nothing of it was stored, and the journal stays usable."""

    code = "journal_full"
    retryable = True
    hint = "Free space on the disk of `data_dir`, or set `retention_bytes` or `retention_age_s`."


class JournalFailed(JournalError):
    """A write or sync failed in a way that must not be retried on the same file."""

    code = "journal_failed"
    hint = "Check the disk and the kernel's log, then restart the event server."


class JournalCorrupt(JournalError):
    """Stored bytes are not what was written."""

    code = "journal_corrupt"
    hint = "Run `zcmd journal verify`, then `zcmd journal repair`."


class JournalVersion(JournalError):
    """The format or the SQLite library is one this version must not use."""

    code = "journal_version"
    hint = "Upgrade Zarkov (format) or apsw (SQLite 3.51.3 or newer)."


class PositionBeyondEnd(JournalError):
    """A position lies beyond the journal's end: the journal is not the one that was read before."""

    code = "position_beyond_end"
    hint = "Restore the journal this position belongs to, or start the reader from the beginning."


class PositionExpired(JournalError):
    """The events at a position were removed by retention."""

    code = "position_expired"
    hint = "Start from the journal's first offset; `zcmd journal info` shows it."


class StoreError(ZarkovError):
    """The store cannot do what was asked."""

    code = "store_error"


class FilterInvalid(StoreError):
    """A filter has an operator or a value that the store does not know."""

    code = "filter_invalid"
    hint = "docs/querying.md lists the operators."


class UpdateInvalid(StoreError):
    """An update has an operator or a value that does not fit the document it is for."""

    code = "update_invalid"
    hint = "docs/querying.md lists the update operators."


class DocumentExists(StoreError):
    """A document or a collection with this name is there already."""

    code = "document_exists"
    hint = "Use replace_one with upsert, or another `_id`."


class AppendOnly(StoreError):
    """An event cannot be changed or deleted: the journal is append-only."""

    code = "append_only"
    hint = "Send a new event that corrects the old one; `rotate` and retention remove old events."


class StoreFailed(StoreError):
    """The document file could not be read or written."""

    code = "store_failed"
    hint = "Check the disk and the rights on `data_dir`."


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


class ClientError(ZarkovError):
    """The client library cannot do what was asked."""

    code = "client_error"


class QueueFull(ClientError):
    """The client's queue is full and `on_full` says not to wait."""

    code = "queue_full"
    retryable = True
    hint = "Send slower, raise `queue_events_max`, or use on_full='block'."


class NotAcknowledged(ClientError):
    """Events were not acknowledged in time; they stay queued."""

    code = "not_acknowledged"
    retryable = True
    hint = "Check that the server runs and that the address is its `ack_bind_address`; flush again."


class ClientClosed(ClientError):
    """The client was closed."""

    code = "client_closed"
    hint = "Open a new client."


class ServerUnreachable(ZarkovError):
    """No server answers."""

    code = "server_unreachable"
    retryable = True
    hint = "Start one with `zcmd serve`."


def error_codes() -> dict[str, type[ZarkovError]]:
    """Every code of an error class (not of refusals) -> its class."""
    found: dict[str, type[ZarkovError]] = {}
    pending: list[type[ZarkovError]] = [ZarkovError]
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        if cls is not EventRefused:
            found[cls.code] = cls
    return found
