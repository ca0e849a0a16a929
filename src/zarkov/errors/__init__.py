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

from zarkov.errors.client import (
    ClientClosed,
    ClientError,
    NotAcknowledged,
    QueueFull,
    SpoolFailed,
)
from zarkov.errors.journal import (
    JournalCorrupt,
    JournalError,
    JournalFailed,
    JournalFull,
    JournalLocked,
    JournalVersion,
    PositionBeyondEnd,
    PositionExpired,
)
from zarkov.errors.map_reduce import (
    ClusterUnreachable,
    FunctionFailed,
    FunctionUnshippable,
    JobCancelled,
    JobFailed,
    JobInvalid,
    JobsFull,
    JobUnfinished,
    JobUnknown,
    MapReduceError,
    OutputInvalid,
    RouterUnreachable,
    ShuffleCorrupt,
    TaskLost,
)
from zarkov.errors.protocol import (
    BadFrame,
    BatchTooLarge,
    ProtocolError,
    SequenceTooOld,
    ServerBusy,
    ShuttingDown,
    WindowExceeded,
)
from zarkov.errors.refusal import (
    REFUSAL_CODES,
    EventRefused,
)
from zarkov.errors.root import (
    ConfigError,
    KeyInvalid,
    ServerUnreachable,
    ZarkovError,
)
from zarkov.errors.store import (
    AppendOnly,
    DocumentExists,
    FilterInvalid,
    StoreBehind,
    StoreError,
    StoreFailed,
    StoreUnreachable,
    UpdateInvalid,
)

__all__ = [
    "REFUSAL_CODES",
    "AppendOnly",
    "BadFrame",
    "BatchTooLarge",
    "ClientClosed",
    "ClientError",
    "ClusterUnreachable",
    "ConfigError",
    "DocumentExists",
    "EventRefused",
    "FilterInvalid",
    "FunctionFailed",
    "FunctionUnshippable",
    "JobCancelled",
    "JobFailed",
    "JobInvalid",
    "JobUnfinished",
    "JobUnknown",
    "JobsFull",
    "JournalCorrupt",
    "JournalError",
    "JournalFailed",
    "JournalFull",
    "JournalLocked",
    "JournalVersion",
    "KeyInvalid",
    "MapReduceError",
    "NotAcknowledged",
    "OutputInvalid",
    "PositionBeyondEnd",
    "PositionExpired",
    "ProtocolError",
    "QueueFull",
    "RouterUnreachable",
    "SequenceTooOld",
    "ServerBusy",
    "ServerUnreachable",
    "ShuffleCorrupt",
    "ShuttingDown",
    "SpoolFailed",
    "StoreBehind",
    "StoreError",
    "StoreFailed",
    "StoreUnreachable",
    "TaskLost",
    "UpdateInvalid",
    "WindowExceeded",
    "ZarkovError",
    "error_codes",
]


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
