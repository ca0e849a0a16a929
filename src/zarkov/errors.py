"""Every error of Zarkov, as one tree.

    ZarkovError
    ├── ConfigError              config_invalid
    │   └── KeyInvalid           key_invalid
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
    │   ├── StoreFailed          store_failed
    │   ├── StoreUnreachable     store_unreachable     retry
    │   └── StoreBehind          store_behind
    ├── ProtocolError
    │   ├── BadFrame             bad_frame
    │   ├── BatchTooLarge        batch_too_large
    │   ├── SequenceTooOld       sequence_too_old
    │   ├── WindowExceeded       window_exceeded       retry
    │   ├── ServerBusy           server_busy           retry
    │   └── ShuttingDown         shutting_down         retry
    ├── ClientError
    │   ├── QueueFull            queue_full            retry
    │   ├── SpoolFailed          spool_failed
    │   ├── NotAcknowledged      not_acknowledged      retry
    │   └── ClientClosed         client_closed
    ├── MapReduceError
    │   ├── FunctionUnshippable  function_unshippable
    │   ├── FunctionFailed       function_failed
    │   ├── OutputInvalid        output_invalid
    │   ├── JobInvalid           job_invalid
    │   ├── JobFailed            job_failed
    │   ├── JobCancelled         job_cancelled
    │   ├── JobUnfinished        job_unfinished        retry
    │   ├── JobUnknown           job_unknown
    │   ├── JobsFull             jobs_full             retry
    │   ├── TaskLost             task_lost             retry
    │   ├── RouterUnreachable    router_unreachable    retry
    │   ├── ClusterUnreachable   cluster_unreachable   retry
    │   └── ShuffleCorrupt       shuffle_corrupt       retry
    └── ServerUnreachable        server_unreachable    retry

`code` is stable: it stands on the wire, in JSON and in logs. `retryable` says whether the same request may
succeed later. `hint` says what the person who reads it can do.
"""

from __future__ import annotations

from typing import Any


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


class KeyInvalid(ConfigError):
    """A key file is missing, malformed, or readable by others than its owner."""

    code = "key_invalid"
    hint = "Make keys with `zcmd keygen`; a secret key file must be readable by its owner alone (chmod 600)."


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
    "store_refused": "MongoDB does not take the event: a name or value it has no room for",
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


class StoreUnreachable(StoreError):
    """MongoDB does not answer, or takes no writes now; events wait in the journal."""

    code = "store_unreachable"
    retryable = True
    hint = "Check that MongoDB runs at `mongo_uri`; what waits is loaded when it is back."


class StoreBehind(StoreError):
    """The store holds less than the loader's checkpoint says: it was restored from a backup, emptied or exchanged."""

    code = "store_behind"
    hint = "Run `zcmd loader status` to see what is missing, and `zcmd loader rewind` to load it again."


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


class MapReduceError(ZarkovError):
    """A job of map-reduce cannot be done."""

    code = "map_reduce_error"
    hint = "docs/map-reduce.md explains how a job is written."


class FunctionUnshippable(MapReduceError):
    """A function depends on something that cannot be sent to a worker as text."""

    code = "function_unshippable"
    hint = "Use only modules, plain values and functions of these; or name the function as `module:function`."


class FunctionFailed(MapReduceError):
    """A function of a job raised, or gave what cannot be taken.

    `stage` is map, reduce, finalize or basic; `traceback` shows the function's own frames; `event` is the one at
    which it failed, if one is to blame: `{journal, offset, _id, event, alone}` (see zmr.failure); `printed` is what
    the functions of the task had written to standard output.
    """

    code = "function_failed"
    hint = "Mend the function; `executor='inline'` runs it in your own process, where a debugger reaches it."

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        stage: str = "",
        traceback: str = "",
        event: dict[str, Any] | None = None,
        printed: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.traceback = traceback
        self.event = event
        self.printed = printed


class OutputInvalid(MapReduceError):
    """A function of a job gave a key or a value that cannot be stored."""

    code = "output_invalid"
    hint = "Keys and values are what BSON has a type for."


class JobInvalid(MapReduceError):
    """A request for a job names an unknown field, lacks one, or has one of the wrong type."""

    code = "job_invalid"
    hint = "docs/protocol.md lists the fields of a request."


class JobFailed(MapReduceError):
    """A job ended with an error that is no function's."""

    code = "job_failed"
    hint = "`zcmd jobs show ID` tells what happened."


class JobCancelled(MapReduceError):
    """A job was cancelled; nothing of it was stored."""

    code = "job_cancelled"
    hint = "Run it again."


class JobUnfinished(MapReduceError):
    """A job has not ended within the time that it was waited for; it runs on."""

    code = "job_unfinished"
    retryable = True
    hint = "Wait again, or cancel it with `zcmd jobs cancel ID`."


class JobUnknown(MapReduceError):
    """There is no job with this id."""

    code = "job_unknown"
    hint = "`zcmd jobs` lists the jobs that are remembered (`jobs_max`)."


class JobsFull(MapReduceError):
    """The router has as many jobs, or clients that wait for one, as it takes."""

    code = "jobs_full"
    retryable = True
    hint = "Submit the job again when others have ended, or raise `zmr.jobs_queued_max`."


class TaskLost(MapReduceError):
    """A task was given to a worker, and nothing that can be used came back."""

    code = "task_lost"
    retryable = True
    hint = "Look at the log of the worker."


class RouterUnreachable(MapReduceError):
    """The router of map-reduce does not answer."""

    code = "router_unreachable"
    retryable = True
    hint = "Start one with `zcmd serve`, check `zmr.req_uri`, or take `executor='inline'`."


class ClusterUnreachable(MapReduceError):
    """The Dask cluster, or all of its workers, does not answer."""

    code = "cluster_unreachable"
    retryable = True
    hint = "Check `zmr.dask_address`, and that the cluster has workers."


class ShuffleCorrupt(MapReduceError):
    """Intermediate data is not what was written."""

    code = "shuffle_corrupt"
    retryable = True
    hint = "Run the job again; look at the disk of `job_root` if it happens twice."


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
