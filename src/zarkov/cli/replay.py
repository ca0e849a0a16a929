"""Giving rejected events another try, after a limit was raised or a fault was mended.

Each is taken in as if it had just been sent. One that is stored now (or was stored already, by its `_id`) leaves
`rejected`; one that is refused again stays. A crash in between leaves an event both stored and rejected: replayed
again, it is stored twice unless it carries its `_id`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from zarkov.codec import decode_all, documents_from_json
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


def pages(rejected: RejectedStore, ids: Iterable[int] | None) -> Iterator[list[Kept]]:
    """The rejected events with these ids, or all that are there now, in pages."""
    if ids is not None:
        yield [kept for each in ids if (kept := rejected.get(each)) is not None]
        return
    after = 0
    newest = _newest_id(rejected)
    while page := [kept for kept in rejected.list(PAGE, after) if kept.id <= newest]:
        yield page
        after = page[-1].id


def replay(
    rejected: RejectedStore,
    ids: Iterable[int] | None,
    take: Take,
    is_stored: Callable[[bytes], bool],
    progress: Callable[[int], None],
) -> Replayed:
    """Try again; `is_stored` tells whether an event with this `_id` (12 bytes) is in the journal."""
    result = Replayed()
    for page in pages(rejected, ids):
        gone: list[int] = []
        for kept in page:
            if _try(kept, take, is_stored, result):
                gone.append(kept.id)
            progress(1)
        rejected.delete(gone)
    return result


def _try(kept: Kept, take: Take, is_stored: Callable[[bytes], bool], result: Replayed) -> bool:
    """One rejection; True when it may leave."""
    data, form = kept.rejection.data, form_of(kept)
    if any(is_stored(oid) for oid in _ids_of(data, form)):
        result.known += 1
        return True
    answer = take(data, form)
    result.stored += answer["count"]
    refused = answer["refused"]
    if not refused:
        return True
    result.refused += 1
    code = str(refused[0]["code"])
    result.codes[code] = result.codes.get(code, 0) + 1
    return False


def form_of(kept: Kept) -> str:
    """Whether the bytes came as BSON or as JSON."""
    return "json" if "json" in kept.rejection.source else "bson"


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


def _newest_id(rejected: RejectedStore) -> int:
    """An id that every rejection of this moment is not beyond; those that come later are left alone."""
    newest = after = 0
    while page := rejected.list(PAGE, after):
        newest = after = page[-1].id
    return newest
