"""What is asked of map-reduce, as it stands on the wire and in a job's document. Pure.

A request has the original's names, and some more:

    $command                 mapreduce, xmapreduce or basic
    database                 kept, and of no effect: a server has one
    input_names              generations of events and collections, read in this order; default event, event.0
    query                    a filter: its BSON as bytes, or the document itself
    time_from, time_to       dates: events from the one (included) to the other (excluded)
    map_text, map_name       source text, and the name in it of the function; without a text `package.module:function`
    reduce_..., finalize_... likewise; finalize may be left out
    output_name              collection of the results (mapreduce); without it they are returned: output_type inline
    output_type              replace (the default), merge, reduce or inline
    output_types             {collection: output_type}, where they differ from it (xmapreduce)
    reduce_count, event_limit, map_job_size, executor    this job's own, in place of the settings
    wait                     answer when the job has ended
    func_text, func_name, args, kwargs                   the call of `basic`

A field that is not known is refused, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast, get_args

from zarkov.codec import decode, encode
from zarkov.errors import AppendOnly, EventRefused, FilterInvalid, JobInvalid
from zarkov.event import Document
from zarkov.store.names import check_name, check_target
from zarkov.store.parse import parse
from zarkov.zmr.shipping import FunctionSource, ship

Kind = Literal["mapreduce", "xmapreduce", "basic"]
OutputType = Literal["replace", "merge", "reduce", "inline"]
ExecutorName = Literal["inline", "zmr", "dask"]

INPUT_NAMES = ("event", "event.0")
#: Collections that one job may read.
INPUTS_MAX = 1_000

_KINDS, _OUTPUT_TYPES, _EXECUTORS = get_args(Kind), get_args(OutputType), get_args(ExecutorName)
_COUNTS = ("reduce_count", "event_limit", "map_job_size")
_FUNCTIONS = {"map": "map", "reduce": "reduce", "finalize": "finalize", "function": "func"}
_BASIC_FIELDS = frozenset({"$command", "database", "func_text", "func_name", "args", "kwargs", "executor", "wait"})
_JOB_FIELDS = frozenset(
    {"$command", "database", "input_names", "query", "time_from", "time_to", "executor", "wait", *_COUNTS}
    | {"output_name", "output_type", "output_types"}
    | {f"{name}_{part}" for name in ("map", "reduce", "finalize") for part in ("text", "name")}
)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A request, checked. `map` and `reduce` are None in `basic` alone, `function` is None in the others.

    Raises: JobInvalid: parts of it contradict each other, or a limit is not positive.
    """

    kind: Kind
    map: FunctionSource | None = None
    reduce: FunctionSource | None = None
    finalize: FunctionSource | None = None
    inputs: tuple[str, ...] = INPUT_NAMES
    query: Mapping[str, Any] = field(default_factory=dict)
    time_from: datetime | None = None
    time_to: datetime | None = None
    output_name: str | None = None
    output_type: OutputType = "inline"
    output_types: Mapping[str, OutputType] = field(default_factory=dict)
    reduce_count: int | None = None
    event_limit: int | None = None
    map_job_size: int | None = None
    executor: ExecutorName | None = None
    wait: bool = False
    database: str = ""
    function: FunctionSource | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind == "basic":
            _need(self.function is not None, "func_name", "the function to call")
            return
        _need(self.map is not None, "map_name", "the function that maps")
        _need(self.reduce is not None, "reduce_name", "the function that reduces")
        if not 0 < len(self.inputs) <= INPUTS_MAX:
            raise JobInvalid(f"input_names has {len(self.inputs):,} names; 1 to {INPUTS_MAX:,} are taken")
        for name in _COUNTS:
            if (count := getattr(self, name)) is not None and count < 1:
                raise JobInvalid(f"{name} is {count}; it must be 1 or more")
        if self.kind == "mapreduce":
            self._check_one_output()
        elif self.output_name is not None:
            raise JobInvalid("output_name is for mapreduce; in xmapreduce map names the collections (`c`)")
        try:
            parse(self.filter)
            for name in self.inputs:
                check_name(name)
            for name in (*self.output_types, *([] if self.output_name is None else [self.output_name])):
                check_target(name)
        except (FilterInvalid, AppendOnly) as error:
            raise JobInvalid(str(error), hint=error.hint) from error

    @property
    def filter(self) -> Document:
        """The query and the time range as one filter."""
        span: Document = {}
        if self.time_from is not None:
            span["$gte"] = self.time_from
        if self.time_to is not None:
            span["$lt"] = self.time_to
        if not span:
            return dict(self.query)
        return {"$and": [dict(self.query), {"timestamp": span}]} if self.query else {"timestamp": span}

    def output_type_of(self, collection: str) -> OutputType:
        """How the results of a collection are stored."""
        return self.output_types.get(collection, self.output_type)

    def to_wire(self) -> Document:
        """The request as a document with the names above; `from_wire` reads it."""
        found: Document = {"$command": self.kind, "database": self.database, "wait": self.wait}
        for name, short in _FUNCTIONS.items():
            source: FunctionSource | None = getattr(self, name)
            if source is not None:
                found[f"{short}_name"] = source.name
                if source.kind == "text":
                    found[f"{short}_text"] = source.text
        if self.executor is not None:
            found["executor"] = self.executor
        if self.kind == "basic":
            return {**found, "args": list(self.args), "kwargs": dict(self.kwargs)}
        found |= {"input_names": list(self.inputs), "query": encode(dict(self.query))}
        found |= {"output_type": self.output_type}
        for name in ("time_from", "time_to", "output_name", *_COUNTS):
            if (value := getattr(self, name)) is not None:
                found[name] = value
        if self.output_types:
            found["output_types"] = dict(self.output_types)
        return found

    @classmethod
    def from_wire(cls, document: Mapping[str, Any]) -> JobRequest:
        """The request that a document makes. Raises: JobInvalid: names the field at fault."""
        read = _Reader(document)
        kind = cast("Kind", read.one_of("$command", _KINDS))
        unknown = sorted(document.keys() - (_BASIC_FIELDS if kind == "basic" else _JOB_FIELDS))
        if unknown:
            raise JobInvalid(f"{kind} has no field {unknown[0][:60]!r}")
        common: dict[str, Any] = {
            "database": read.text("database") or "",
            "executor": read.one_of("executor", _EXECUTORS, optional=True),
            "wait": bool(document.get("wait", False)),
        }
        if kind == "basic":
            args, kwargs = document.get("args") or [], document.get("kwargs") or {}
            if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
                raise JobInvalid("args is an array and kwargs a document")
            return cls(kind, function=read.function("func"), args=tuple(args), kwargs=kwargs, **common)
        output_name = read.text("output_name")
        is_inline = kind == "mapreduce" and output_name is None
        default = "inline" if is_inline else "replace"
        return cls(
            kind,
            map=read.function("map"),
            reduce=read.function("reduce"),
            finalize=read.function("finalize"),
            inputs=read.names("input_names", INPUT_NAMES),
            query=read.filter("query"),
            time_from=read.date("time_from"),
            time_to=read.date("time_to"),
            output_name=output_name,
            output_type=cast("OutputType", read.one_of("output_type", _OUTPUT_TYPES, optional=True) or default),
            output_types=read.output_types(),
            reduce_count=read.count("reduce_count"),
            event_limit=read.count("event_limit"),
            map_job_size=read.count("map_job_size"),
            **common,
        )

    def _check_one_output(self) -> None:
        if self.output_types:
            raise JobInvalid("output_types is for xmapreduce; mapreduce has output_name and output_type")
        if (self.output_name is None) != (self.output_type == "inline"):
            raise JobInvalid(
                f"output_type {self.output_type} and output_name {self.output_name} contradict each other",
                hint="Name the collection, or take `inline` and get the results returned.",
            )


class _Reader:
    """The fields of a request, each of its type; JobInvalid says which is not. None stands for one left out."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def text(self, name: str) -> str | None:
        value = self._document.get(name)
        if value is not None and not isinstance(value, str):
            raise _wrong(name, "a string", value)
        return value

    def one_of(self, name: str, choices: tuple[str, ...], *, optional: bool = False) -> str | None:
        value = self._document.get(name)
        if value in choices or (value is None and optional):
            return cast("str | None", value)
        raise _wrong(name, "one of " + ", ".join(choices), value)

    def count(self, name: str) -> int | None:
        value = self._document.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise _wrong(name, "an integer", value)
        return value

    def date(self, name: str) -> datetime | None:
        value = self._document.get(name)
        if value is not None and not isinstance(value, datetime):
            raise _wrong(name, "a date", value)
        return value

    def names(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        value = self._document.get(name)
        if value is None:
            return default
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise _wrong(name, "an array of strings", value)
        return tuple(value)

    def filter(self, name: str) -> Document:
        value = self._document.get(name)
        if value is None:
            return {}
        if isinstance(value, bytes):
            try:
                return decode(value)
            except EventRefused as refused:
                raise JobInvalid(f"{name} is no BSON-encoded filter: {refused}") from refused
        if not isinstance(value, Mapping):
            raise _wrong(name, "a filter: a document, or its BSON", value)
        return dict(value)

    def output_types(self) -> dict[str, OutputType]:
        value = self._document.get("output_types") or {}
        if not isinstance(value, Mapping) or not all(each in _OUTPUT_TYPES for each in value.values()):
            raise _wrong("output_types", f"a document of {', '.join(_OUTPUT_TYPES)}", value)
        return dict(value)

    def function(self, short: str) -> FunctionSource | None:
        name, text = self.text(f"{short}_name"), self.text(f"{short}_text")
        if name is None:
            _need(text is None, f"{short}_name", f"the name of the function in {short}_text")
            return None
        return ship(name) if text is None else ship((text, name))


def _need(is_there: bool, name: str, what: str) -> None:
    if not is_there:
        raise JobInvalid(f"the request lacks {name}: {what}")


def _wrong(name: str, wanted: str, value: object) -> JobInvalid:
    return JobInvalid(f"{name} must be {wanted}, not {repr(value)[:60]}")
