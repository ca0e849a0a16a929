"""The tasks of a job, as functions of bytes: what a worker runs. Pure.

    run_map         inputs -> for each partition the runs of its pairs
    run_reduce      the runs of a partition, of all maps -> a run of documents
    run_basic       one call

    inputs -> Events -> map -> Combiner -> runs ==> windows -> reduce -> documents (=> finalize)

Reduce is called for every key at least once in `run_reduce`, and besides, by the combiner and in merges, for parts of
the values of a key; it has to be associative and to take what it gives. Values are in the order of the input.

A task depends on nothing but its arguments: run again, it gives the same bytes (if its functions do). The collector
is paused while it runs, since it would walk the events again and again; so a function's cyclic garbage stays until
the end of the task. Standard output is captured, for the whole process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from zarkov.errors import FunctionFailed, OutputInvalid
from zarkov.event import Document
from zarkov.store.parse import Filter
from zarkov.store.scan import collector_paused
from zarkov.zmr.failure import FAULTS, blamed, first_failing, function_failed, iterated
from zarkov.zmr.forms import Form, FormName, form_of
from zarkov.zmr.inputs import Events, Input
from zarkov.zmr.job import Counters
from zarkov.zmr.merge import neighbours, windows
from zarkov.zmr.printed import Printed, capturing
from zarkov.zmr.results import ResultWriter, Write
from zarkov.zmr.runs import Columns, Held, Run, RunSource, RunWriter, compressor, runs_in
from zarkov.zmr.shuffle import Combiner, Spill, pieces
from zarkov.zmr.values import through_bson

#: Takes the pieces of intermediate data, and gives it to be read: from a file, or from memory.
Keep = Callable[[Iterator[bytes]], RunSource]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a task may take.

    memory_bytes    about how much its combiner or its merge holds
    compress        zstd level of what it gives; 0: as it is
    printed_chars   of standard output that are kept; None: it is not captured
    blame_events    when map fails on more than this many events, the one to blame is not looked for
    """

    memory_bytes: int = 256 * 1024 * 1024
    compress: int = 0
    printed_chars: int | None = 64 * 1024
    blame_events: int = 1_000_000


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class MapResult:
    """For each partition its runs, one after another (b"" for none); those that were spilled come before."""

    partitions: list[bytes]
    counters: Counters
    printed: str = ""


@dataclass(frozen=True, slots=True)
class ReduceResult:
    """What there is to say besides the documents."""

    counters: Counters
    printed: str = ""


@dataclass(frozen=True, slots=True)
class BasicResult:
    """What the function gave, as BSON keeps it."""

    value: Any
    printed: str = ""


def run_map(
    inputs: Sequence[Input],
    map: Callable[..., Any],
    reduce: Callable[..., Any],
    partition_count: int,
    *,
    form: FormName = "mapreduce",
    query: Filter | None = None,
    limits: Limits = LIMITS,
    spill: Spill | None = None,
) -> MapResult:
    """Map the events of the inputs that match the query, and combine.

    Args:   spill: called with (partition, run) when memory runs short; without it those runs are kept, encoded.
    Raises: FunctionFailed: with the event that is to blame, where it is found. JournalCorrupt, EventRefused: an
            input cannot be read. FilterInvalid.
    """
    work = _MapWork(inputs, map, reduce, partition_count, form, query, limits)
    events, combiner = work.events(), work.combiner(spill)
    with collector_paused(), capturing(limits.printed_chars) as printed:
        try:
            partitions = work.run(events, iter(events), combiner)
        except FunctionFailed as failed:
            raise telling(work.explained(failed, events.taken), printed) from failed.__cause__
    counters = Counters(
        events_read=events.read,
        events_mapped=events.taken,
        pairs_out=combiner.pairs,
        pairs_combined=combiner.pairs_combined,
        bytes_shuffled=combiner.bytes,
        spills=combiner.spills,
    )
    return MapResult(partitions, counters, printed.text)


def run_reduce(
    sources: Sequence[RunSource],
    reduce: Callable[..., Any],
    write: Write,
    *,
    form: FormName = "mapreduce",
    limits: Limits = LIMITS,
    keep: Keep | None = None,
) -> ReduceResult:
    """Reduce one partition: the pairs of all maps, in the order of the input, to a run of documents.

    Args:   sources: each with any number of runs; write: called with the pieces of the result as they are made;
            keep: where runs are merged to when there are too many for the memory; without it, to memory, encoded.
    Raises: FunctionFailed: names the key. ShuffleCorrupt.
    """
    work = _ReduceWork(form_of(form), reduce, limits)
    with collector_paused(), capturing(limits.printed_chars) as printed:
        try:
            runs = work.narrowed([run for source in sources for run in runs_in(source)], keep or _in_memory)
            writer = ResultWriter(write, limits.compress)
            for rows in work.reduced(runs, 1):
                writer.add(*rows)
            writer.end()
        except (FunctionFailed, OutputInvalid) as error:
            failed = function_failed("reduce", error)
            raise telling(failed, printed) from (failed.__cause__ or error)
    return ReduceResult(Counters(keys_out=writer.count, bytes_out=writer.bytes), printed.text)


def run_basic(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], limits: Limits = LIMITS
) -> BasicResult:
    """Call one function. Raises: FunctionFailed: it raised, or BSON has no type for what it gave."""
    with capturing(limits.printed_chars) as printed:
        try:
            value = through_bson(function(*args, **kwargs))
        except FAULTS as error:
            raise telling(function_failed("basic", error), printed) from error
    return BasicResult(value, printed.text)


@dataclass(frozen=True, slots=True)
class _MapWork:
    inputs: Sequence[Input]
    map: Callable[..., Any]
    reduce: Callable[..., Any]
    partition_count: int
    form: FormName
    query: Filter | None
    limits: Limits

    def events(self) -> Events:
        return Events(self.inputs, self.query)

    def combiner(self, spill: Spill | None) -> Combiner:
        return Combiner(
            form_of(self.form),
            self.reduce,
            self.partition_count,
            memory_bytes=self.limits.memory_bytes,
            compress=self.limits.compress,
            spill=spill,
        )

    def run(self, events: Events, documents: Iterator[Document], combiner: Combiner) -> list[bytes]:
        """Everything that map yields, combined. Raises: FunctionFailed; what goes wrong in reading and spilling."""
        items = self._items(events, documents)
        try:
            while some := self._some(items, events, combiner.batch):
                combiner.add(some)
            return combiner.finish()
        except OutputInvalid as error:
            raise function_failed("map", error) from error

    def explained(self, failed: FunctionFailed, taken: int) -> FunctionFailed:
        """The failure with the event to blame, if there is one; map is run again, in silence."""
        if taken > self.limits.blame_events:
            return failed
        with capturing(0):
            found = first_failing(self._fails, taken)
        return failed if found is None else blamed(failed, *self.events().at(found[0]), alone=found[1])

    def _items(self, events: Events, documents: Iterator[Document]) -> Iterator[Any]:
        try:
            return iterated("map", self.map(documents))
        except FAULTS as error:
            if error is events.error:
                raise
            raise function_failed("map", error) from error

    def _some(self, items: Iterator[Any], events: Events, count: int) -> list[Any]:
        try:
            return [*islice(items, count)]
        except FAULTS as error:
            if error is events.error:
                raise
            raise function_failed("map", error) from error

    def _fails(self, start: int, stop: int) -> bool:
        events = self.events()
        try:
            self.run(events, islice(iter(events), start, stop), self.combiner(lambda partition, run: None))
        except FunctionFailed:
            return True
        return False


@dataclass(frozen=True, slots=True)
class _ReduceWork:
    form: Form
    reduce: Callable[..., Any]
    limits: Limits

    def reduced(self, runs: Sequence[Run], fewest: int) -> Iterator[Columns]:
        """The runs' rows with one value to a key, in order; reduce is called for `fewest` values and more."""
        for groups, shown in windows(runs):
            self.form.reduce_all(self.reduce, groups, shown, fewest)
            keys = sorted(groups)
            yield Columns(keys, [shown[key] for key in keys], [groups[key][0] for key in keys])

    def narrowed(self, runs: list[Run], keep: Keep) -> list[Run]:
        """The same pairs in so few runs that they can be merged within the memory."""
        while len(groups := neighbours(runs, self.limits.memory_bytes)) > 1:
            runs = [
                run for group in groups for run in (group if len(group) == 1 else runs_in(keep(self._merged(group))))
            ]
        return runs

    def _merged(self, runs: Sequence[Run]) -> Iterator[bytes]:
        writer = RunWriter("p", compressor(self.limits.compress))
        yield writer.begin()
        for rows in self.reduced(runs, 2):
            yield from pieces(rows, writer)
        yield writer.end()


def _in_memory(pieces: Iterator[bytes]) -> RunSource:
    return Held(b"".join(pieces))


def telling(failed: FunctionFailed, printed: Printed) -> FunctionFailed:
    """The failure with what was printed before it."""
    failed.printed = printed.text
    return failed
