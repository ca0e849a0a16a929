"""What the event server asks of the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from zarkov.batch import Entry, Rejection
from zarkov.errors import ZarkovError
from zarkov.position import OffsetRange

#: Called once with the offsets, or with the error that kept the whole entry out. Offsets are None for no events.
Done = Callable[[OffsetRange | None, ZarkovError | None], None]


class CommitPort(Protocol):
    """The journal's committer: durable group commits, in the order of submission."""

    @property
    def failed(self) -> ZarkovError | None:
        """The error after which nothing can be committed any more."""

    def submit(self, entry: Entry | None, rejections: Sequence[Rejection], done: Done) -> None:
        """Queue an entry and what was rejected with it. `done` is called from any thread, after the sync."""

    def try_now(self, entry: Entry, rejections: Sequence[Rejection]) -> OffsetRange | None:
        """Commit at once in this thread, if nothing waits and it is quick; None, with nothing done, otherwise.

        Raises: JournalFull, JournalFailed: as `done` would be told.
        """
