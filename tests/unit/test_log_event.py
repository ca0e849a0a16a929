"""A log record as an event: what stands where, and that every value ends as something BSON holds."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import ObjectId

from zarkov.client.log_event import REPR_CHARS_MAX, TEXT_CHARS_MAX, Shape, plain
from zarkov.errors import ConfigError
from zarkov.event import EVENT_BYTES_MAX


class Unkind:
    """A value of the program's own, whose repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def record(message: Any = "hello", *args: Any, exc_info: Any = None, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("app.web").makeRecord(
        "app.web", logging.WARNING, "web.py", 12, message, args, exc_info, "login", extra
    )


def event_of(made: logging.LogRecord, formatter: logging.Formatter | None = None, **shape: Any) -> dict[str, Any]:
    return bson.decode(Shape(**{"type": "log", "host": "web1", **shape}).of_record(made, formatter))


def test_a_record_has_its_parts_in_context_and_extra() -> None:
    made = record("user %s logged in", "ada", user="ada", request={"id": 7})
    event = event_of(made)
    assert event["type"] == "log"
    assert abs(event["timestamp"].replace(tzinfo=UTC).timestamp() - made.created) < 0.002
    assert event["context"] == {
        "logger": "app.web",
        "level": "WARNING",
        "host": "web1",
        "process": os.getpid(),
        "thread": "MainThread",
        "user": "ada",
        "request": {"id": 7},
    }
    assert event["extra"] == {
        "message": "user ada logged in",
        "template": "user %s logged in",
        "path": "web.py",
        "line": 12,
        "function": "login",
    }


def test_type_and_host_are_as_told() -> None:
    event = event_of(record(), type="shop.log", host="")
    assert event["type"] == "shop.log"
    assert "host" not in event["context"]
    assert "template" not in event["extra"]
    assert event_of(record(), host=None)["context"]["host"]
    for bad in ("", "x" * 1025):
        with pytest.raises(ConfigError):
            Shape(bad, None)


def test_an_exception_and_a_stack_are_kept_as_text() -> None:
    try:
        raise ValueError("the reason")
    except ValueError:
        made = record("failed", exc_info=sys.exc_info())
    made.stack_info = "Stack (most recent call last): ..."
    extra = event_of(made)["extra"]
    assert extra["message"] == "failed"
    assert extra["traceback"].startswith("Traceback (most recent call last)")
    assert "ValueError: the reason" in extra["traceback"]
    assert extra["stack"].startswith("Stack")


def test_a_formatter_makes_the_message() -> None:
    event = event_of(record("user %s", "ada"), logging.Formatter("%(levelname)s %(message)s"))
    assert event["extra"]["message"] == "WARNING user ada"
    assert event["context"].keys() == {"logger", "level", "host", "process", "thread"}


def test_a_field_named_as_one_of_the_handlers_own_is_kept_beside_it() -> None:
    context = event_of(record(level="low", host="other", logger="mine"))["context"]
    assert (context["level"], context["level_"]) == ("WARNING", "low")
    assert (context["host"], context["host_"], context["logger_"]) == ("web1", "other", "mine")


def test_values_are_those_of_the_call() -> None:
    basket, fields = ["tea"], {"open": True}
    data = Shape("log", "web1").of_record(record("basket %s", basket, fields=fields))
    basket.append("milk")
    fields.clear()
    event = bson.decode(data)
    assert event["extra"]["message"] == "basket ['tea']"
    assert event["context"]["fields"] == {"open": True}


def test_what_bson_has_no_room_for_becomes_its_repr() -> None:
    oid, when = ObjectId(), datetime(2011, 7, 20)
    context = event_of(
        record(
            oid=oid,
            when=when,
            huge=2**70,
            lone="a\ud800b",
            unkind=Unkind(),
            nested={"set": {1}, "tuple": (1, object), 5: "five", "nul\0key": 1, "deep": [{"unkind": Unkind()}]},
        )
    )["context"]
    assert (context["oid"], context["when"], context["huge"], context["lone"]) == (oid, when, str(2**70), "a\\ud800b")
    assert context["unkind"] == "<Unkind, whose repr failed: RuntimeError>"
    assert context["nested"] == {
        "set": [1],
        "tuple": [1, "<class 'object'>"],
        "5": "five",
        "nul\\0key": 1,
        "deep": [{"unkind": "<Unkind, whose repr failed: RuntimeError>"}],
    }


def test_a_value_that_holds_itself_ends() -> None:
    endless: list[Any] = []
    endless.append(endless)
    looping: dict[str, Any] = {}
    looping["self"] = looping
    context = event_of(record(endless=endless, looping=looping))["context"]
    assert "[[...]]" in str(context["endless"])
    assert "{...}" in str(context["looping"])


def test_a_repr_is_cut() -> None:
    assert len(plain(type("Long", (), {"__repr__": lambda self: "x" * 5000})())) == REPR_CHARS_MAX


def test_an_event_that_would_be_too_large_loses_its_fields_and_keeps_the_beginning_of_its_texts() -> None:
    data = Shape("log", "web1").of_record(record("m" * (EVENT_BYTES_MAX + 1), blob=b"x" * 1000))
    event = bson.decode(data)
    assert event["extra"]["message"] == "m" * TEXT_CHARS_MAX
    assert event["extra"]["cut"] is True
    assert "blob" not in event["context"]
    assert event["context"]["logger"] == "app.web"


def test_drops_have_an_event_of_their_own() -> None:
    event = bson.decode(Shape("log", "web1").of_drops(1234))
    assert event["extra"] == {"message": "1,234 log records dropped"}
    assert event["context"]["dropped"] == 1234
    assert event["context"]["level"] == "WARNING"
