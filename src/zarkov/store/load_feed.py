"""Reading ahead: one thread reads the journals and prepares batches, while the loader inserts the one before.

The thread takes the journals in turn, a batch of each at a time, and looks for new events every POLL_S when there are
none. READY batches wait, at most: with the one being made and the one being inserted that is all the memory it takes,
however far behind the loader is. Decompressing and splicing release the interpreter seldom, but the insert waits for
the server most of its time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

from zarkov.store.load_batch import Batch, Splicer, batches, next_span
from zarkov.store.load_ports import LoadSource

POLL_S = 0.05
READY = 1


class Feed:
    """Batches of several journals, from the given offsets on. A context manager; `take` is for one thread.

    `share`: the part of the limits that batches are made to from the next span on; 0 to 1.
    """

    def __init__(
        self,
        sources: Sequence[LoadSource],
        positions: Mapping[str, int],
        *,
        events_max: int,
        bytes_max: int,
        share: float = 1.0,
    ) -> None:
        self.share = share
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._batches = [self._read(source, positions[source.journal_id]) for source in sources]
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(READY)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loader feed", daemon=True)

    def take(self, timeout_s: float) -> Batch | None:
        """The next batch; None when there is none within that time.

        Raises: JournalError: a journal cannot be read.
        """
        try:
            taken = self._ready.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(taken, BaseException):
            raise taken
        return taken

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        while self._thread.is_alive():
            self._discard()
            self._thread.join(POLL_S)

    def _discard(self) -> None:
        try:
            self._ready.get_nowait()
        except queue.Empty:
            return

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                found = False
                for each in self._batches:
                    batch = next(each)
                    if batch is not None:
                        found = True
                        self._ready.put(batch)
                    if self._stopping.is_set():
                        return
                if not found:
                    self._stopping.wait(POLL_S)
        except Exception as error:  # noqa: BLE001  # raised by `take`, in the loader's thread
            self._ready.put(error)

    def _read(self, source: LoadSource, at: int) -> Iterator[Batch | None]:
        """The batches of one journal, without an end; None when there is nothing new."""
        splicer = Splicer(source.journal_id)
        while True:
            end = source.next_offset
            span = next_span(at, end, source.generations())
            if span is None:
                yield None
                continue
            if span.dropped:
                yield Batch(source.journal_id, span.start, span.stop, span.ordinal)
            else:
                yield from batches(
                    span,
                    source.chunks(span.start, span.stop),
                    splicer,
                    events_max=max(1, int(self._events_max * self.share)),
                    bytes_max=int(self._bytes_max * self.share),
                )
            at = span.stop
