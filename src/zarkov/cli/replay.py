"""Giving rejected events another try, after a limit was raised or a fault was mended.

Each is taken in as if it had just been sent. One that is stored now (or was stored already, by its `_id`) leaves
`rejected`; one that is refused again stays. A crash in between leaves an event both stored and rejected: replayed
again, it is stored twice unless it carries its `_id`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from bson import ObjectId

from zarkov.batch import Rejection
from zarkov.codec import decode_all, documents_from_json, split
from zarkov.errors import EventRefused
from zarkov.journal.rejected import Kept, RejectedStore

PAGE = 500

#: Takes events in: (bytes, "bson" or "json") -> {count, refused: [{code, reason, ...}], duplicates}.
Take = Callable[[bytes, str], dict[str, Any]]


@dataclass(slots=True)
class Replayed:
    """`stored` events came in; `known` were stored before; `refused` stay, `codes` says why (code -> how many)."""

    stored: int = 0
    known: int = 0
    refused: int = 0
    codes: dict[str, int] = field(default_factory=dict)


def replay(
    rejected: RejectedStore,
    ids: Iterable[int] | None,
    take: Take,
    is_stored: Callable[[bytes], bool],
    progress: Callable[[int], None],
    *,
    until_ms: int,
) -> Replayed:
    """Try the rejections with these ids again, or all that were kept until then.

    Args: is_stored: tells whether an event with this `_id` (12 bytes) is in the journal.
    """
    result = Replayed()
    for page in _pages(rejected, ids, until_ms):
        gone: list[int] = []
        for kept in page:
            if _try(kept, rejected, take, is_stored, result):
                gone.append(kept.id)
            progress(1)
        rejected.delete(gone)
    return result


def form_of(rejection: Rejection) -> str:
    """Whether the bytes came as BSON or as JSON."""
    return "json" if "json" in rejection.source else "bson"


def _pages(rejected: RejectedStore, ids: Iterable[int] | None, until_ms: int) -> Iterator[list[Kept]]:
    if ids is not None:
        yield [kept for each in ids if (kept := rejected.get(each)) is not None]
        return
    after = 0
    while page := rejected.list(PAGE, after):
        yield [kept for kept in page if kept.rejection.at_ms <= until_ms]
        after = page[-1].id


def _try(
    kept: Kept, rejected: RejectedStore, take: Take, is_stored: Callable[[bytes], bool], result: Replayed
) -> bool:
    """One rejection; True when it may leave. Of several events in one, those refused again are kept by themselves."""
    form = form_of(kept.rejection)
    parts = _events_of(kept.rejection.data, form)
    again: list[Rejection] = []
    for data in parts:
        if any(is_stored(oid) for oid in _ids_of(data, form)):
            result.known += 1
            continue
        answer = take(data, form)
        result.stored += answer["count"]
        for one in answer["refused"]:
            again.append(replace(kept.rejection, code=str(one["code"]), reason=str(one["reason"]), data=data))
    for one in again:
        result.refused += 1
        result.codes[one.code] = result.codes.get(one.code, 0) + 1
    if again and len(again) < len(parts):
        rejected.add(again)
        return True
    return not again


def _events_of(data: bytes, form: str) -> list[bytes]:
    """The single events in the bytes; the bytes as they are where they cannot be told apart."""
    try:
        return [text for _, text in documents_from_json(data)] if form == "json" else split(data) or [data]
    except EventRefused:
        return [data]


def _ids_of(data: bytes, form: str) -> list[bytes]:
    """The `_id`s of the events in the bytes, as far as they can be read."""
    try:
        if form == "json":
            documents = [found for found, _ in documents_from_json(data) if isinstance(found, dict)]
        else:
            documents = decode_all(data)
    except EventRefused:
        return []
    return [found.binary for document in documents if isinstance(found := document.get("_id"), ObjectId)]
