"""What the filter options of `find`, `tail` and `export` mean, as a MongoDB filter. Pure.

`--type commit --where context.project=redis/redis --where extra.files>10 --from 2011-07-20 --to 2011-07-21` is
`{"type": "commit", "context.project": "redis/redis", "extra.files": {"$gt": 10},
"timestamp": {"$gte": ..., "$lt": ...}}`.

An event's `timestamp` is a date, and a text beside it would match nothing: `with_dates` reads such a text as the time
it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from zarkov.codec import from_json
from zarkov.errors import EventRefused, FilterInvalid
from zarkov.event import parse_rfc3339

Filter = dict[str, Any]

_CONDITION = re.compile(r"^(?P<key>[^=<>!~\s]+)\s*(?P<operator>>=|<=|!=|=~|=|>|<)\s*(?P<value>.*)$", re.DOTALL)
_OPERATORS = {"!=": "$ne", ">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte", "=~": "$regex"}
_AGO = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|min|h|d|w)$")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")
_BRANCHES = ("$and", "$or", "$nor")
_COMPARISONS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$not")


def build(
    *,
    text: str | None = None,
    types: Sequence[str] = (),
    where: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
    now: datetime,
) -> Filter:
    """One filter of all options; every one must hold.

    Args: text: a filter as (extended) JSON; since: included, until: excluded, see `moment`.
    Raises: FilterInvalid: an option cannot be read.
    """
    parts: list[Filter] = []
    if text is not None:
        parts.append(from_text(text))
    if types:
        parts.append({"type": types[0] if len(types) == 1 else {"$in": list(types)}})
    bounds = {name: moment(given, now) for name, given in (("$gte", since), ("$lt", until)) if given is not None}
    if bounds:
        parts.append({"timestamp": bounds})
    parts += [condition(given) for given in where]
    return _all_of([part for part in parts if part])


def from_text(text: str) -> Filter:
    """A filter written as JSON.

    Raises: FilterInvalid.
    """
    try:
        return dict(from_json(text))
    except EventRefused as refused:
        raise FilterInvalid(
            f"the filter {_shown(text)} cannot be read: {refused}",
            hint="""Write it as JSON in quotes: '{"context.project": "redis/redis"}'.""",
        ) from None


def condition(text: str) -> Filter:
    """`KEY=VALUE`, or with != > >= < <= =~ (a regular expression) instead of =.

    A value is read as JSON where it is JSON (a number, true, null, "text", an object), else it is text as it stands.

    Raises: FilterInvalid.
    """
    found = _CONDITION.match(text)
    if found is None:
        raise FilterInvalid(
            f"the condition {_shown(text)} is not KEY=VALUE",
            hint="Examples: context.user=rick, extra.files>=10, type=~^file_, extra!=null.",
        )
    key, operator = found["key"], found["operator"]
    value: Any = found["value"] if operator == "=~" else value_of(found["value"])
    return {key: value} if operator == "=" else {key: {_OPERATORS[operator]: value}}


def value_of(text: str) -> Any:
    """The JSON value that `text` is, else the text itself."""
    try:
        return from_json(f'{{"value": {text}}}')["value"]
    except EventRefused:
        return text


def moment(text: str, now: datetime) -> datetime:
    """A time in UTC: RFC 3339, a date (its midnight), `now`, `today`, or an age such as `2h`, `30min`, `7d`.

    Raises: FilterInvalid.
    """
    given = text.strip()
    if given == "now":
        return now
    if given == "today":
        return datetime(now.year, now.month, now.day)
    try:
        if found := _AGO.match(given):
            return now - timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
        return parse_rfc3339(f"{given}T00:00:00Z" if _DATE.match(given) else given)
    except (EventRefused, OverflowError):
        raise FilterInvalid(
            f"{_shown(text)} is not a time",
            hint="Write 2011-07-20, 2011-07-20T18:52:30Z, 2h (ago), 7d, today or now; all in UTC.",
        ) from None


def with_dates(filter: Filter, now: datetime) -> Filter:
    """The filter with each text that `timestamp` is compared with read as a time, as `moment` reads it.

    Other operators, such as $regex and $type, keep their text. What has not the form of a filter stays as it is.
    Raises: FilterInvalid: a text that is no time.
    """
    found: Filter = {}
    for key, value in filter.items():
        if key in _BRANCHES and isinstance(value, list):
            found[key] = [with_dates(each, now) if isinstance(each, dict) else each for each in value]
        else:
            found[key] = _compared(value, now) if key == "timestamp" else value
    return found


def _compared(value: Any, now: datetime) -> Any:
    """What `timestamp` is compared with: a value, a list of them, or operators."""
    if isinstance(value, str):
        return moment(value, now)
    if isinstance(value, list):
        return [_compared(item, now) for item in value]
    if isinstance(value, dict):
        return {name: _compared(item, now) if name in _COMPARISONS else item for name, item in value.items()}
    return value


def sort_keys(text: str | None) -> list[tuple[str, int]]:
    """`-timestamp,type` as [("timestamp", -1), ("type", 1)]."""
    keys = [part.strip() for part in (text or "").split(",") if part.strip()]
    return [(key[1:], -1) if key.startswith("-") else (key, 1) for key in keys]


def _all_of(parts: Sequence[Filter]) -> Filter:
    """The parts as one flat filter, where no key stands twice."""
    keys = [key for part in parts for key in part]
    if len(set(keys)) < len(keys):
        return {"$and": list(parts)}
    return {key: value for part in parts for key, value in part.items()}


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
