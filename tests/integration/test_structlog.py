"""ZarkovProcessor within structlog itself: last in the chain, or a tee."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog

from acking import AckServer
from programs import script
from running import free_port
from zarkov.client import QueueFull
from zarkov.client.structlog import ZarkovProcessor
from zarkov.errors import ConfigError


@pytest.fixture
def server() -> Iterator[AckServer]:
    with AckServer() as serving:
        yield serving


def logger_of(*processors: Any, wrapped: Any = None) -> Any:
    return structlog.wrap_logger(wrapped or structlog.ReturnLogger(), processors=processors)


def test_an_event_dict_is_an_event(server: AckServer) -> None:
    processor = ZarkovProcessor(server.address, type="shop.log", host="web1")
    log = logger_of(structlog.processors.add_log_level, processor).bind(user="ada")
    assert log.warning("logged in", attempts=3) is None
    processor.close()
    (event,) = server.documents()
    assert event["type"] == "shop.log"
    assert event["extra"] == {"message": "logged in"}
    assert {"level": "WARNING", "host": "web1", "user": "ada", "attempts": 3}.items() <= event["context"].items()


def test_the_time_and_the_logger_of_earlier_processors_are_the_events(server: AckServer) -> None:
    processor = ZarkovProcessor(server.address)
    log = logger_of(processor, wrapped=logging.getLogger("app.structlog"))
    log.info("text", timestamp="2011-07-20T18:52:30.272Z")
    log.info("seconds", timestamp=1311187950.272)
    log.info("date", timestamp=datetime(2011, 7, 20, 18, 52, 30, 272000), logger="other")
    log.info("odd", timestamp="tomorrow")
    assert processor.flush()
    *events, odd = server.documents()
    assert [event["timestamp"] for event in events] == [datetime(2011, 7, 20, 18, 52, 30, 272000)] * 3
    assert [event["context"]["logger"] for event in events] == ["app.structlog", "app.structlog", "other"]
    assert odd["context"]["timestamp"] == "tomorrow"
    processor.close()


def test_exceptions_become_tracebacks_however_they_are_given(server: AckServer) -> None:
    processor = ZarkovProcessor(server.address)
    log = logger_of(processor)
    try:
        raise ValueError("the reason")
    except ValueError as error:
        log.exception("current")
        log.error("given", exc_info=error)
        log.error("current too", exc_info=True)
    log.error("none", exc_info=True)
    log.error("rendered", exception="Traceback, rendered before", stack="Stack")
    processor.close()
    *raised, none, rendered = (event["extra"] for event in server.documents())
    assert all("ValueError: the reason" in extra["traceback"] for extra in raised)
    assert none == {"message": "none"}
    assert (rendered["traceback"], rendered["stack"]) == ("Traceback, rendered before", "Stack")


def test_a_tee_hands_the_event_dict_on_unchanged(server: AckServer) -> None:
    processor = ZarkovProcessor(server.address, tee=True)
    log = logger_of(processor, structlog.processors.KeyValueRenderer(sort_keys=True))
    assert log.info("seen", user="ada", value=object) == "event='seen' user='ada' value=<class 'object'>"
    processor.close()
    assert server.documents()[0]["context"]["value"] == "<class 'object'>"


class Talkative:
    """A value that logs itself while it is made into text."""

    def __init__(self, log: Any) -> None:
        self.log = log

    def __repr__(self) -> str:
        self.log.info("from within", value=self)
        return "talkative"


def test_a_value_that_logs_while_it_is_logged_does_not_recurse(server: AckServer) -> None:
    processor = ZarkovProcessor(server.address)
    log = logger_of(processor)
    log.info("value", field=Talkative(log))
    processor.close()
    (event,) = server.documents()
    assert (event["extra"]["message"], event["context"]["field"]) == ("value", "talkative")


def test_a_full_queue_drops_or_raises_as_told(server: AckServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zarkov.client.log_sender.CLIENT_EVENTS_MAX", 10)
    monkeypatch.setattr("zarkov.client.log_sender.LOOK_UP_S", 0.05)
    for on_full in ("drop", "raise"):
        processor = ZarkovProcessor(
            f"tcp://127.0.0.1:{free_port()}", on_full=on_full, queue_events_max=10, timeout_s=0
        )
        log = logger_of(processor)

        def fill(log: Any = log) -> None:
            for number in range(500):
                log.info("event", number=number)

        if on_full == "raise":
            with pytest.raises(QueueFull):
                fill()
        else:
            fill()
        assert processor.dropped > 0
        processor.close()


def test_options_that_make_no_sense_are_refused(server: AckServer) -> None:
    with pytest.raises(ConfigError):
        ZarkovProcessor(server.address, on_full="wait")  # type: ignore[arg-type]


def test_a_script_that_ends_loses_nothing(server: AckServer) -> None:
    text = """
import sys, structlog
from zarkov.client.structlog import ZarkovProcessor
structlog.configure(processors=[structlog.contextvars.merge_contextvars, ZarkovProcessor(sys.argv[1])])
structlog.contextvars.bind_contextvars(request=7)
for number in range(2000):
    structlog.get_logger().info("event", number=number)
"""
    done = script(text, server.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [event["context"]["number"] for event in server.documents()] == list(range(2000))
    assert {event["context"]["request"] for event in server.documents()} == {7}
