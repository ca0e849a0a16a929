"""The tasks of a job as values: what an executor hands to a worker, and what is done there with it. Pure.

    MapTask        inputs                  gives pieces of each partition: whole runs of pairs
    ReduceTask     a partition's runs      gives pieces of one run of documents, partition 0
    RereduceTask   stored and new results  likewise: what is stored is reduced with what is new
    FinalizeTask   the reduces' runs       likewise
    BasicTask      arguments               gives one piece: the BSON of {value}

A task is a document on the wire (`to_document`), but for the source of a reduce or of finalize: that may be larger
than memory, and is left to the executor (`from_document` is given one).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from zarkov.codec import decode, encode
from zarkov.errors import FunctionFailed, JobInvalid
from zarkov.event import Document
from zarkov.zmr.execute import Keep, Limits, run_basic, run_map, run_reduce
from zarkov.zmr.failure import FAULTS, function_failed
from zarkov.zmr.finalize import run_finalize
from zarkov.zmr.forms import FormName
from zarkov.zmr.inputs import Input, input_from
from zarkov.zmr.job import Counters
from zarkov.zmr.request import JobRequest
from zarkov.zmr.rereduce import run_rereduce
from zarkov.zmr.runs import Held, RunSource
from zarkov.zmr.shipping import FunctionSource, load

#: Takes a piece of what a task gives, and its partition.
Emit = Callable[[int, bytes], object]
Load = Callable[[FunctionSource], Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Code:
    """What all tasks of a job have in common. `function` is that of `basic`."""

    form: FormName
    query: Document
    limits: Limits
    map: FunctionSource | None = None
    reduce: FunctionSource | None = None
    finalize: FunctionSource | None = None
    function: FunctionSource | None = None

    @classmethod
    def of(cls, request: JobRequest, limits: Limits) -> Code:
        form: FormName = "xmapreduce" if request.kind == "xmapreduce" else "mapreduce"
        query = {} if request.kind == "basic" else request.filter
        return cls(form, query, limits, request.map, request.reduce, request.finalize, request.function)

    def to_document(self) -> Document:
        sources = {name: getattr(self, name) for name in _FUNCTIONS}
        found = {name: None if source is None else source.to_document() for name, source in sources.items()}
        return {"form": self.form, "query": encode(self.query), "limits": asdict(self.limits), **found}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Code:
        """Raises: KeyError, TypeError, ZarkovError: it is none."""
        functions = {
            name: None if document[name] is None else FunctionSource.from_document(document[name])
            for name in _FUNCTIONS
        }
        form: FormName = "xmapreduce" if document["form"] == "xmapreduce" else "mapreduce"
        return cls(form, decode(document["query"]), Limits(**document["limits"]), **functions)


_FUNCTIONS = ("map", "reduce", "finalize", "function")


@dataclass(frozen=True, slots=True)
class MapTask:
    code: Code
    inputs: tuple[Input, ...]
    partition_count: int


@dataclass(frozen=True, slots=True)
class ReduceTask:
    code: Code
    source: RunSource


@dataclass(frozen=True, slots=True)
class RereduceTask:
    code: Code
    source: RunSource


@dataclass(frozen=True, slots=True)
class FinalizeTask:
    code: Code
    source: RunSource


@dataclass(frozen=True, slots=True)
class BasicTask:
    code: Code
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


_WITH_SOURCE: dict[str, type[ReduceTask | RereduceTask | FinalizeTask]] = {
    "reduce": ReduceTask,
    "rereduce": RereduceTask,
    "finalize": FinalizeTask,
}

Task = MapTask | ReduceTask | RereduceTask | FinalizeTask | BasicTask


@dataclass(frozen=True, slots=True)
class Report:
    """What a task says besides its pieces."""

    counters: Counters = Counters()
    printed: str = ""


def run_task(task: Task, emit: Emit, keep: Keep | None = None, *, load: Load = load) -> Report:
    """Do a task; its pieces are emitted as they are made, those of a partition in order.

    Args:   keep: where a reduce keeps what it merges on the way; without it in memory; load: makes a function of
            its source.
    Raises: FunctionFailed: a function failed. What reading the input raises: JournalCorrupt, ShuffleCorrupt.
    """
    code = task.code
    if isinstance(task, MapTask):
        map_, reduce = _loaded("map", code.map, load), _loaded("reduce", code.reduce, load)
        result = run_map(
            task.inputs,
            map_,
            reduce,
            task.partition_count,
            form=code.form,
            query=code.query,
            limits=code.limits,
            spill=emit,
        )
        for partition, runs in enumerate(result.partitions):
            if runs:
                emit(partition, runs)
        return Report(result.counters, result.printed)
    write = partial(emit, 0)
    if isinstance(task, ReduceTask):
        reduce = _loaded("reduce", code.reduce, load)
        reduced = run_reduce([task.source], reduce, write, form=code.form, limits=code.limits, keep=keep)
        return Report(reduced.counters, reduced.printed)
    if isinstance(task, RereduceTask):
        reduce = _loaded("reduce", code.reduce, load)
        reduced = run_rereduce([task.source], reduce, write, form=code.form, limits=code.limits)
        return Report(printed=reduced.printed)
    if isinstance(task, FinalizeTask):
        finalize = _loaded("finalize", code.finalize, load)
        reduced = run_finalize([task.source], finalize, write, form=code.form, limits=code.limits)
        return Report(reduced.counters, reduced.printed)
    called = run_basic(_loaded("basic", code.function, load), task.args, task.kwargs, code.limits)
    write(encode({"value": called.value}))
    return Report(printed=called.printed)


def to_document(task: Task) -> Document:
    """The task without its source, as it travels."""
    found: Document = {"code": task.code.to_document()}
    if isinstance(task, MapTask):
        inputs = [each.to_document() for each in task.inputs]
        return {**found, "stage": "map", "inputs": inputs, "partition_count": task.partition_count}
    if isinstance(task, BasicTask):
        return {**found, "stage": "basic", "args": list(task.args), "kwargs": dict(task.kwargs)}
    return {**found, "stage": next(stage for stage, kind in _WITH_SOURCE.items() if isinstance(task, kind))}


def from_document(document: Mapping[str, Any], source: RunSource | None = None) -> Task:
    """The task that `to_document` wrote, with its source. Raises: JobInvalid: it is none."""
    try:
        code, stage = Code.from_document(document["code"]), document["stage"]
        if stage == "map":
            inputs = tuple(map(input_from, document["inputs"]))
            return MapTask(code, inputs, int(document["partition_count"]))
        if stage == "basic":
            return BasicTask(code, tuple(document["args"]), document["kwargs"])
        return _WITH_SOURCE[stage](code, source or Held(b""))
    except (KeyError, TypeError, ValueError) as error:
        raise JobInvalid(f"a task is not what was sent: {error!r}") from error


def source_of(task: Task) -> RunSource | None:
    """What a task reads besides its document."""
    return task.source if isinstance(task, ReduceTask | RereduceTask | FinalizeTask) else None


def _loaded(stage: str, source: FunctionSource | None, load: Load) -> Callable[..., Any]:
    if source is None:
        raise FunctionFailed(f"{stage}: the job has no such function", stage=stage)
    try:
        return load(source)
    except FAULTS as error:
        raise function_failed(stage, error) from error
