"""What the journal cannot do."""

from __future__ import annotations

from zarkov.errors.root import ZarkovError


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
