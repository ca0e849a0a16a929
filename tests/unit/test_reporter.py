"""on_error: each report once, in order, from whichever thread; the client's own thread waits for no callback."""

from __future__ import annotations

import logging
import threading

import pytest

from zarkov.client.outbox import Refusal
from zarkov.client.reporter import Report, Reporter
from zarkov.errors import BadFrame


def refusal(number: int) -> Refusal:
    return Refusal(b"", "too_deep", str(number))


def test_reports_are_delivered_once_in_order() -> None:
    told: list[Report] = []
    reporter = Reporter(told.append)
    reporter.queue([refusal(1), refusal(2)])
    reporter.queue([refusal(3)])
    reporter.deliver()
    reporter.deliver()
    reporter.deliver_if_free()
    assert told == [refusal(1), refusal(2), refusal(3)]


def test_a_thread_does_not_wait_for_the_callback_of_another_and_its_reports_are_delivered_all_the_same() -> None:
    told: list[Report] = []

    def callback(report: Report) -> None:
        told.append(report)
        if report == refusal(1):
            reporter.queue([refusal(2)])
            other = threading.Thread(target=reporter.deliver_if_free)
            other.start()
            other.join(20)
            assert not other.is_alive(), "it waits for this callback"
            assert told == [refusal(1)]

    reporter = Reporter(callback)
    reporter.queue([refusal(1)])
    reporter.deliver()
    assert told == [refusal(1), refusal(2)]


def test_deliver_returns_after_the_callback_that_another_thread_is_in() -> None:
    entered, may_leave = threading.Event(), threading.Event()
    told: list[Report] = []

    def callback(report: Report) -> None:
        entered.set()
        assert may_leave.wait(20)
        told.append(report)

    reporter = Reporter(callback)
    reporter.queue([refusal(1)])
    other = threading.Thread(target=reporter.deliver)
    other.start()
    assert entered.wait(20)
    may_leave.set()
    reporter.deliver()
    assert told == [refusal(1)]
    other.join()


def test_a_callback_may_cause_reports_of_its_own() -> None:
    told: list[Report] = []

    def callback(report: Report) -> None:
        told.append(report)
        if len(told) < 4:
            reporter.queue([refusal(len(told) + 1)])
            reporter.deliver()

    reporter = Reporter(callback)
    reporter.queue([refusal(1)])
    reporter.deliver()
    assert told == [refusal(number) for number in (1, 2, 3, 4)]


def test_a_callback_that_fails_is_logged_and_the_next_report_is_delivered(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Report] = []

    def callback(report: Report) -> None:
        told.append(report)
        raise ZeroDivisionError

    reporter = Reporter(callback)
    reporter.queue([refusal(1), BadFrame("what is this")])
    reporter.deliver()
    assert len(told) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "on_error failed report='1'",
        "on_error failed report='what is this'",
    ]


def test_without_a_callback_reports_are_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(None)
    reporter.deliver()
    assert caplog.records == []
    reporter.queue([refusal(1), refusal(2)])
    reporter.deliver()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "events not stored count=2 first_code=too_deep reason='1'"
