"""What both directions of `migrate` share: the locks, the progress, and the comparison at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from zarkov import codec
from zarkov.cli.loader_lock import lock_path, try_lock
from zarkov.config import Settings
from zarkov.errors import JournalLocked
from zarkov.journal.journals import Journals
from zarkov.store.checksum import Checksum, checksum_of

#: Begins a bar for a collection of so many documents; what it gives is told how many more are done.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True)
class Move:
    """A collection or generation on both sides."""

    name: str
    source: Checksum
    target: Checksum

    @property
    def is_equal(self) -> bool:
        """Whether both sides hold the same documents."""
        return self.source == self.target


def compare(name: str, source: Iterable[list[bytes]], target: Iterable[list[bytes]], progress: Progress) -> Move:
    """The checksums of both sides of a collection, which are read for it."""
    with progress(f"verifying {name}", 0) as done:
        return Move(name, checksum_of_pages(source, done), checksum_of_pages(target, done))


def checksum_of_pages(pages: Iterable[list[bytes]], done: Callable[[int], None] = lambda count: None) -> Checksum:
    """The checksum of all documents; `done` is told of each page."""
    found = Checksum()
    for page in pages:
        found += checksum_of(page)
        done(len(page))
    return found


def stored_events(journals: Journals, generation: str) -> Iterator[list[bytes]]:
    """A generation's events in the journals, a chunk at a time."""
    for journal, span in journals.ranges(generation):
        for chunk in journal.chunks(span.first, span.stop):
            yield codec.split(chunk.documents_bytes())


@contextmanager
def no_loader(settings: Settings) -> Iterator[None]:
    """Hold the loader's lock. Raises: JournalLocked: a loader runs on this data directory."""
    with try_lock(lock_path(settings)) as mine:
        if not mine:
            raise JournalLocked(
                f"a loader runs on {settings.data_dir}", hint="Stop `zcmd serve` or `zcmd loader` first."
            )
        yield


@contextmanager
def bars() -> Iterator[Progress]:
    """Progress bars on standard error, on a terminal; one at a time."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from zarkov.cli.output import console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:

        @contextmanager
        def begin(name: str, total: int) -> Iterator[Callable[[int], None]]:
            task = bar.add_task(name, total=total or None)
            try:
                yield lambda count: bar.advance(task, count)
            finally:
                bar.remove_task(task)

        yield begin
