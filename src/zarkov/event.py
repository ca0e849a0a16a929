"""An event: one immutable fact.

    _id        ObjectId    given by the server unless the client sent one
    timestamp  datetime    when it happened, UTC to the millisecond; naive, as pymongo's; years 1 to 9999
    type       str         what happened; 1 to TYPE_BYTES_MAX bytes of UTF-8
    context    dict        who and where: project, user, address ...
    extra      anything    stored only if it was sent

`complete` is the one place that decides whether a decoded document is an event. It is pure: the time and the new
id are passed in.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from zarkov.errors import EventRefused

#: Levels of nesting, the event itself being the first; MongoDB's limit.
DEPTH_MAX = 100
#: Bytes of one encoded event; MongoDB's limit.
EVENT_BYTES_MAX = 16 * 1024 * 1024
#: Bytes of `type` in UTF-8.
TYPE_BYTES_MAX = 1024
#: A level of nesting takes at least 7 bytes of BSON (type, key, its end, length, end): no shorter event is too deep.
BYTES_PER_LEVEL_MIN = 7

Document = dict[str, Any]


def complete(document: Document, *, now: datetime, new_id: ObjectId) -> Document:
    """A validated event with every field it is stored with; the same object when nothing was missing.

    Args:   document: as decoded, without `$command`; now: naive UTC; new_id: used when `_id` is missing.
    Raises: EventRefused: type_missing, type_invalid, timestamp_invalid, context_invalid or id_invalid.
    """
    if "type" not in document:
        raise EventRefused("type_missing", "the event has no `type`")
    kind = document["type"]
    if not isinstance(kind, str) or not 0 < len(kind.encode("utf-8", "surrogatepass")) <= TYPE_BYTES_MAX:
        raise EventRefused("type_invalid", f"`type` must be a string of 1 to {TYPE_BYTES_MAX:,} bytes")
    if type(document.get("context", {})) is not dict:
        raise EventRefused("context_invalid", "`context` must be an object")
    if not isinstance(document.get("_id", new_id), ObjectId):
        raise EventRefused("id_invalid", "`_id` must be an ObjectId, or left out")
    stamp = document.get("timestamp", now)
    if isinstance(stamp, str):
        stamp = parse_rfc3339(stamp)
    if not isinstance(stamp, datetime):
        raise EventRefused("timestamp_invalid", "`timestamp` must be a date of the years 1 to 9999")
    if "_id" in document and document.get("timestamp") is stamp and "context" in document:
        return document
    head: Document = {"_id": document.get("_id", new_id), "timestamp": stamp, "type": kind}
    head["context"] = document.get("context", {})
    return {**head, **{key: value for key, value in document.items() if key not in head}}


def fill(document: Document, *, now: datetime, new_id: ObjectId) -> Document:
    """An event that asked not to be validated, with the `_id` and `timestamp` a reader needs.

    Raises: EventRefused: id_invalid, since events are found by an ObjectId.
    """
    if not isinstance(document.get("_id", new_id), ObjectId):
        raise EventRefused("id_invalid", "`_id` must be an ObjectId, or left out")
    if "_id" in document and "timestamp" in document:
        return document
    return {"_id": new_id, "timestamp": now, **document}


def parse_rfc3339(text: str) -> datetime:
    """A date and time with its offset, as naive UTC to the millisecond.

    A time without an offset is taken as UTC. Source: RFC 3339, section 5.6.
    Raises: EventRefused: timestamp_invalid.
    """
    try:
        moment = datetime.fromisoformat(text.upper()) if len(text) > 10 else None
        if moment is not None and moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise EventRefused("timestamp_invalid", f"{text[:40]!r} is not an RFC 3339 date and time")
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def depth_of(value: object, stop_at: int = DEPTH_MAX + 1) -> int:
    """Levels of nesting of documents and arrays; 0 for a scalar. Stops counting at `stop_at`."""
    level, layer = 0, [value]
    while layer and level < stop_at:
        inner: list[object] = []
        nested = False
        for item in layer:
            if isinstance(item, dict):
                nested = True
                inner.extend(item.values())
            elif isinstance(item, list):
                nested = True
                inner.extend(item)
        if not nested:
            break
        level, layer = level + 1, inner
    return level
