"""Giving rejected events another try, after a limit was raised or a fault was mended.

Each is taken in as if it had just been sent. One that is stored now, or was stored before with the same `_id` and
content, leaves `rejected`; one that is refused again stays. A crash in between leaves an event both stored and
rejected: replayed again, it is stored twice unless it carries its `_id`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from bson import ObjectId

from zarkov.batch import Rejection
from zarkov.codec import decode, documents_from_json, from_json, split
from zarkov.errors import EventRefused
from zarkov.journal.rejected import Kept, RejectedStore

PAGE = 500

#: Takes events in: (bytes, "bson" or "json") -> {count, refused: [{code, reason, ...}], duplicates}.
Take = Callable[[bytes, str], dict[str, Any]]
#: The BSON of the event with this `_id` (12 bytes) in the journal, or None.
Stored = Callable[[bytes], bytes | None]


@dataclass(slots=True)
class Replayed:
    """`stored` events came in; `known` were stored before; `refused` stay, `codes` says why (code -> how many)."""

    stored: int = 0
    known: int = 0
    refused: int = 0
    codes: dict[str, int] = field(default_factory=dict)

    def add(self, other: Replayed) -> None:
        """Add up."""
        self.stored += other.stored
        self.known += other.known
        self.refused += other.refused
        for code, count in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count


def replay(
    rejected: RejectedStore,
    ids: Iterable[int] | None,
    take: Take,
    stored: Stored,
    progress: Callable[[int], None],
    *,
    until_ms: int,
) -> Replayed:
    """Try the rejections with these ids again, or all that were kept until then.

    Args: stored: the event in the journal with this `_id` (12 bytes), or None.
    """
    result = Replayed()
    for page in _pages(rejected, ids, until_ms):
        gone: list[int] = []
        for kept in page:
            if _try(kept, rejected, take, stored, result):
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


def _try(kept: Kept, rejected: RejectedStore, take: Take, stored: Stored, result: Replayed) -> bool:
    """One rejection; True when it may leave. Of several events in one, those refused again are kept by themselves."""
    if kept.rejection.source.startswith("loader "):
        # It is in the journal, and only MongoDB has no room for it: `zcmd loader rewind` is its other try.
        result.refused += 1
        result.codes[kept.rejection.code] = result.codes.get(kept.rejection.code, 0) + 1
        return False
    form = form_of(kept.rejection)
    parts = _events_of(kept.rejection.data, form)
    again: list[Rejection] = []
    for data in parts:
        before = _stored_before(data, form, stored)
        if before is True:
            result.known += 1
        elif before is False:
            again.append(replace(kept.rejection, code="duplicate_id", data=data))
        else:
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


def _stored_before(data: bytes, form: str, stored: Stored) -> bool | None:
    """True: this very event is stored; False: another one with its `_id`; None: neither."""
    document = _document_of(data, form)
    oid = None if document is None else document.get("_id")
    found = stored(oid.binary) if isinstance(oid, ObjectId) else None
    if document is None or found is None:
        return None
    kept = decode(found)
    return all(key in kept and kept[key] == value for key, value in document.items() if key != "$command")


def _events_of(data: bytes, form: str) -> list[bytes]:
    """The single events in the bytes; the bytes as they are where they cannot be told apart."""
    try:
        return [text for _, text in documents_from_json(data)] if form == "json" else split(data) or [data]
    except EventRefused:
        return [data]


def _document_of(data: bytes, form: str) -> dict[str, Any] | None:
    """The single event in the bytes, if it can be read."""
    try:
        return from_json(data) if form == "json" else decode(data)
    except EventRefused:
        return None
