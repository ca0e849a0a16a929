"""Copying the active segment's WAL into its file, off the writer.

One native thread with a connection of its own runs passive checkpoints, which wait for nobody and block nobody.
While commits keep coming it may never copy the very last page, and SQLite restarts the WAL only once all of it is
copied: past WAL_PAGES_MAX the writer itself copies the short rest between two commits.

A failed sync of the file is fatal: SQLite would keep the WAL, but the kernel may report the next sync as good
although it lost the pages. `failed` then holds the error, the writer stops, and the WAL is copied anew at the
next start.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import apsw

from zarkov.errors import JournalError
from zarkov.journal.database import connect, translate

#: The WAL pages (4 KiB each) from which a checkpoint is asked for, and from which the writer helps.
CHECKPOINT_PAGES = 2_000
WAL_PAGES_MAX = 16_000

_log = logging.getLogger(__name__)


class Checkpointer:
    """Thread-safe. `request` returns at once; at most one checkpoint is waiting."""

    def __init__(self, vfs: str | None = None) -> None:
        self.failed: JournalError | None = None
        self._vfs = vfs
        self._changed = threading.Condition()
        self._wanted: Path | None = None
        self._stopped = False
        self._busy = False
        self._thread: threading.Thread | None = None

    def request(self, path: Path) -> None:
        """Ask for a checkpoint of this segment."""
        with self._changed:
            if self._busy or self._stopped:
                return
            self._wanted = path
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="zarkov-checkpoints", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self) -> None:
        """Finish the checkpoint that runs, then end the thread; a second call does nothing."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.wait_for(lambda: self._wanted is not None or self._stopped)
                if self._stopped:
                    return
                path, self._wanted, self._busy = self._wanted, None, True
            if path is not None:
                self._checkpoint(path)

    def _checkpoint(self, path: Path) -> None:
        connection: apsw.Connection | None = None
        try:
            connection = connect(path, "write", self._vfs)
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.BusyError, apsw.LockedError, apsw.CantOpenError):
            return
        except apsw.Error as error:
            if not path.exists():
                return  # Retention removed the segment meanwhile: there is nothing to copy any more.
            failure = translate(error, path.name, connection)
            if failure.retryable:
                _log.warning("checkpoint postponed segment=%s reason=%s", path.name, failure)
                return
            self.failed = failure
            _log.error("checkpoint failed segment=%s reason=%s", path.name, failure)
        finally:
            if connection is not None:
                connection.close()
