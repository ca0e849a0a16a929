"""What is said when a function of a job fails: its own frames, and the event at which it did. Pure."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from zarkov.codec import encode
from zarkov.errors import EventRefused, FunctionFailed, OutputInvalid, ZarkovError
from zarkov.event import Document
from zarkov.zmr.values import brief

#: What a function may raise that fails its job and not its worker. `exit()` is a SystemExit.
FAULTS: Final = (Exception, SystemExit)

#: Characters of a traceback; of a longer one the middle is left out.
TRACEBACK_CHARS_MAX = 16_000
#: Bytes of a poisoned event that is shown; of a larger one its `_id` alone is.
EVENT_BYTES_SHOWN_MAX = 16_000

_HERE = str(Path(__file__).parent)
_NOTHING: Final = object()


def function_failed(
    stage: str, error: BaseException, *, key: Any = _NOTHING, collection: str | None = None
) -> FunctionFailed:
    """What failed as an error that can travel; `raise ... from error` keeps the original for a debugger."""
    if isinstance(error, FunctionFailed):
        return error
    said = _said(stage, error)
    if key is not _NOTHING:
        said = f"{said} (key {brief(key)}{f' of {collection}' if collection else ''})"
    hint = error.hint if isinstance(error, ZarkovError) else None
    return FunctionFailed(said, hint=hint, stage=stage, traceback=user_traceback(error))


def blamed(failed: FunctionFailed, journal: str, offset: int, event: Document, *, alone: bool) -> FunctionFailed:
    """The failure with the event that is to blame for it.

    Args:   offset: in its journal, or the number of the document in its task's input where `journal` is "";
            alone: the event fails by itself; otherwise all events of the task up to this one are needed.
    """
    place = f"offset {offset:,} of journal {journal}" if journal else f"document {offset:,} of the task"
    how = "at" if alone else "after the events before it, at"
    found = FunctionFailed(
        f"{failed}, {how} the event with {place} (_id {brief(event.get('_id'))})",
        hint=failed.hint,
        stage=failed.stage,
        traceback=failed.traceback,
        event={"journal": journal, "offset": offset, "_id": event.get("_id"), "event": _shown(event), "alone": alone},
    )
    found.__cause__ = failed.__cause__
    return found


def iterated(stage: str, yielded: Any) -> Iterator[Any]:
    """What a map or a finalize yields. Raises: OutputInvalid: it yields nothing, and is no generator."""
    if not hasattr(type(yielded), "__iter__"):
        raise OutputInvalid(f"{stage} gave {brief(yielded)} instead of yielding", hint="Write `yield` in it.")
    return iter(yielded)


def user_traceback(error: BaseException) -> str:
    """The traceback as the author of the functions needs it: without the frames of the machinery around them."""
    found = traceback.TracebackException.from_exception(error, compact=True)
    pending: list[traceback.TracebackException | None] = [found]
    while pending:
        part = pending.pop()
        if part is not None:
            _cut(part.stack)
            pending += [part.__cause__, part.__context__]
    text = "".join(found.format())
    if len(text) <= TRACEBACK_CHARS_MAX:
        return text
    half = TRACEBACK_CHARS_MAX // 2
    return f"{text[:half]}\n    ... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"


def first_failing(fails: Callable[[int, int], bool], count: int) -> tuple[int, bool] | None:
    """The event that makes a function fail on the first `count`, of which the last was being read when it failed.

    Args:   fails: whether the function fails on the events from one number to another (excluded), called anew.
    Returns: its number and whether it fails alone; None if no event is to blame: the function fails without any, or
            did not fail again. Takes about log2(count) calls.
    """
    if count == 0 or fails(0, 0):
        return None
    if fails(count - 1, count):
        return count - 1, True
    passing, failing = 0, count
    if not fails(0, count):
        return None
    while failing - passing > 1:
        middle = (passing + failing) // 2
        if fails(0, middle):
            failing = middle
        else:
            passing = middle
    return failing - 1, fails(failing - 1, failing)


def to_document(failed: FunctionFailed) -> Document:
    """The failure as it travels from a worker."""
    return {
        "message": str(failed),
        "hint": failed.hint,
        "stage": failed.stage,
        "traceback": failed.traceback,
        "event": failed.event,
        "printed": failed.printed,
    }


def from_document(document: Document) -> FunctionFailed:
    """The failure that a worker sent."""
    return FunctionFailed(
        document["message"],
        hint=document["hint"],
        stage=document["stage"],
        traceback=document["traceback"],
        event=document["event"],
        printed=document["printed"],
    )


def _said(stage: str, error: BaseException) -> str:
    if isinstance(error, ZarkovError):
        return str(error) if str(error).startswith(f"{stage} ") else f"{stage}: {error}"
    first = next(iter(str(error).splitlines()), "")[:500]
    return f"{stage} raised {type(error).__name__}" + (f": {first}" if first else "")


def _cut(stack: traceback.StackSummary) -> None:
    """Leave out this package's frames before the first of another."""
    while stack and stack[0].filename.startswith(_HERE):
        del stack[0]


def _shown(event: Document) -> Document | None:
    """The event as it can be sent and shown; None when it is too large."""
    try:
        return event if len(encode(event)) <= EVENT_BYTES_SHOWN_MAX else None
    except EventRefused:
        return None
