"""The `_id` that a client gives an event that more than one server may get, so that a store has it once. Pure."""

from __future__ import annotations

import re

from bson import ObjectId

from zarkov import codec
from zarkov.errors import EventRefused
from zarkov.event import EVENT_BYTES_MAX

#: A field `_id`, here or deeper: a type of BSON, then the name.
_some_id = re.compile(rb"[\x01-\x13\x7f\xff]_id\x00")
_ID_BYTES = 17


def identified(event: bytes) -> bytes:
    """The event with a new `_id` in front; as it is where it has one, or is none that a server takes."""
    if _some_id.search(event) is not None:
        try:
            if "_id" in codec.decode(event):
                return event
        except EventRefused:
            return event
    if len(event) + _ID_BYTES > EVENT_BYTES_MAX:
        return event
    return codec.with_id(event, ObjectId().binary)
