"""What jobs that are driven from this process have in common: the log, the store, and a place for what they keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zarkov.config import ZmrSettings
from zarkov.store.contract import Store
from zarkov.zmr.driver import JobDriver, Output
from zarkov.zmr.execute import Keep
from zarkov.zmr.kept import KeptSource, keep_pieces
from zarkov.zmr.reading import JobInput, PageLimits
from zarkov.zmr.request import JobRequest
from zarkov.zmr.runs import RunSource
from zarkov.zmr.spill import Spill

if TYPE_CHECKING:
    from zarkov.journal.journals import Journals

#: Makes the output of a job.
OpenOutput = Callable[[str, JobRequest], Output]


def utc_now() -> datetime:
    """Now, as it is stored: naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


class Site:
    """A context manager; the store and the journals stay their owner's.

    Args:   journals: None where this machine has no log: then generations are read from the store.
    """

    def __init__(
        self,
        store: Store,
        journals: Journals | None,
        settings: ZmrSettings,
        open_output: OpenOutput,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.settings = settings
        self.store = store
        self._journals = journals
        self._open_output = open_output
        self._now = now
        self._spill = Spill(settings.job_root, memory_bytes_max=settings.memory_bytes_max)

    def driver(
        self,
        job_id: str,
        request: JobRequest,
        *,
        workers: int,
        captured: bool,
        parts: Sequence[Mapping[str, Any]] = (),
    ) -> JobDriver:
        """A job that is ready to be driven, over the log as it is now; its `close` lets go of what it kept.

        Args:   parts: what an earlier run of the job read (`Job.parts`), to be read again.
        Raises: JournalError, StoreError: its input cannot be opened.
        """
        is_basic = request.kind == "basic"
        limits = PageLimits.of(self.settings, request)
        return JobDriver(
            job_id,
            request,
            source=None if is_basic else JobInput(request, self._journals, self.store, limits, parts),
            output=None if is_basic else self._open_output(job_id, request),
            spill=self._spill,
            settings=self.settings,
            workers=workers,
            now=self._now,
            captured=captured,
        )

    def keep_merged(self, job_id: str) -> Keep:
        """Where a reduce in this process keeps what it merges on the way."""

        def keep(pieces: Iterator[bytes]) -> RunSource:
            parts = [keep_pieces(self._spill, job_id, [(0, piece)]) for piece in pieces]
            return KeptSource(self._spill, [place for part in parts for _, place in part.slices()])

        return keep

    def settle(self) -> None:
        """Put in order what killed processes left of outputs: what was decided is finished. Raises: StoreError."""
        for commit in self.store.unsettled():
            self.store.settle(commit)

    def close(self) -> None:
        """Let go of what jobs kept."""
        self._spill.close()

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
