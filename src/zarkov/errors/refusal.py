"""Why a single event is not taken."""

from __future__ import annotations

from zarkov.errors.root import ZarkovError

#: Why an event can be refused: code -> meaning. A refused event is kept in `rejected` under this code.
REFUSAL_CODES: dict[str, str] = {
    "bson_invalid": "the bytes are not one or more well-formed BSON documents",
    "json_invalid": "the text is not JSON",
    "not_an_object": "the JSON value is not an object",
    "type_missing": "the event has no `type`",
    "type_invalid": "`type` is not a string of 1 to 1,024 bytes",
    "timestamp_invalid": "`timestamp` is neither a date of the years 1 to 9999 nor an RFC 3339 string",
    "context_invalid": "`context` is not an object",
    "id_invalid": "`_id` is not an ObjectId",
    "duplicate_id": "an event with this `_id` and other content is stored already",
    "too_large": "the event is larger than `event_bytes_max`",
    "too_deep": "the event is nested deeper than `depth_max` levels",
    "number_out_of_range": "an integer does not fit into 64 bits",
    "not_finite": "a number in JSON is NaN, infinite or too large for a double",
    "text_invalid": "a string is not valid Unicode (a lone surrogate, or bytes that are not UTF-8)",
    "duplicate_key": "a JSON object has the same key twice",
    "command_unknown": "`$command` names no command of the event server",
    "multipart": "a message of several frames came where one frame is expected",
    "store_refused": "MongoDB does not take the event: a name or value it has no room for",
}


class EventRefused(ZarkovError):
    """An event that cannot be taken; `code` is one of REFUSAL_CODES."""

    hint = "Mend the event and send it again; `zcmd rejected list` shows what was kept."

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code
