"""What is not sent to MongoDB, whatever the server would do with it: code, and pipelines that write over events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zarkov.errors import AppendOnly, FilterInvalid
from zarkov.event import DEPTH_MAX
from zarkov.store.names import check_target

#: Operators that run JavaScript in the server.
JAVASCRIPT = frozenset({"$where", "$function", "$accumulator"})
#: Stages that leave the documents as they are: the hidden `o` may stay until behind them, so that indexes serve them.
KEEPING = frozenset({"$match", "$sort", "$skip", "$limit", "$sample", "$collStats", "$indexStats", "$geoNear"})

Pipeline = Sequence[Mapping[str, Any]]


def without_code(asked: Any, depth: int = 0) -> Any:
    """What was asked, unchanged.

    Raises: FilterInvalid: an operator that runs JavaScript, at any depth, or a nesting beyond DEPTH_MAX levels.
    """
    if depth > DEPTH_MAX:
        raise FilterInvalid(f"what is asked is nested deeper than {DEPTH_MAX} levels")
    if isinstance(asked, Mapping):
        for name, value in asked.items():
            if name in JAVASCRIPT:
                raise FilterInvalid(f"{name} runs code in the server and is not taken")
            without_code(value, depth + 1)
    elif isinstance(asked, list | tuple):
        for value in asked:
            without_code(value, depth + 1)
    return asked


def checked_pipeline(pipeline: Any) -> list[Mapping[str, Any]]:
    """The stages of an aggregation.

    Raises: FilterInvalid: not a list of stages, or code in one; AppendOnly: `$out` or `$merge` into events.
    """
    if not isinstance(pipeline, list | tuple) or not all(isinstance(stage, Mapping) for stage in pipeline):
        raise FilterInvalid("an aggregation takes a list of stages, each a document")
    without_code(pipeline)
    for stage in pipeline:
        for name in ("$out", "$merge"):
            if name in stage:
                _check_written(stage[name])
    return list(pipeline)


def hiding(field: str, pipeline: Pipeline) -> list[Mapping[str, Any]]:
    """The pipeline without a field: removed before the first stage that makes anything of the documents."""
    at = next((at for at, stage in enumerate(pipeline) if not KEEPING.issuperset(stage)), len(pipeline))
    return [*pipeline[:at], {"$unset": field}, *pipeline[at:]]


def _check_written(target: Any) -> None:
    """A collection's name, or where `$out` and `$merge` keep it: `coll`, `into`, `into.coll`."""
    while isinstance(target, Mapping):
        target = target.get("into", target.get("coll"))
    if not isinstance(target, str):
        raise FilterInvalid("$out and $merge take the name of a collection")
    try:
        check_target(target)
    except AppendOnly as refused:
        raise AppendOnly(f"{refused}", hint="Give $out or $merge a collection of another name.") from None
