"""An intake with a clock that stands still, and what to ask of what it took."""

from datetime import datetime
from typing import Any

import bson
from bson import ObjectId

from zarkov.ingest.intake import Intake, Taken
from zarkov.ingest.newid import NewIds
from zarkov.ingest.recent import RecentIds

NOW = datetime(2026, 11, 24, 10, 0, 0, 123000)
THEN = datetime(2020, 1, 2, 3, 4, 5)
ID = ObjectId("4e2723eeb240217416000001")


def an_intake(ids_window_max: int = 1_000, event_bytes_max: int = 16 * 1024 * 1024, depth_max: int = 100) -> Intake:
    return Intake(
        RecentIds(ids_window_max),
        event_bytes_max=event_bytes_max,
        depth_max=depth_max,
        now=lambda: NOW,
        new_id=NewIds(NOW.timestamp, b"abcde", 0),
    )


def event(**fields: Any) -> dict[str, Any]:
    return {"_id": ObjectId(), "timestamp": THEN, "type": "nop", "context": {}, **fields}


def encoded(*documents: dict[str, Any]) -> list[bytes]:
    return [bson.encode(document) for document in documents]


def documents_of(taken: Taken) -> list[dict[str, Any]]:
    return bson.decode_all(taken.data, bson.CodecOptions(datetime_conversion=bson.DatetimeConversion.DATETIME_AUTO))


def codes_of(taken: Taken) -> dict[int, str]:
    return {one.index: one.code for one in taken.refused}
