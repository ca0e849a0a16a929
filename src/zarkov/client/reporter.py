"""Tells the program which events were not stored: its `on_error` callback, or one line in the log."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable

from zarkov.client.outbox import Refusal
from zarkov.errors import ZarkovError

Report = Refusal | ZarkovError
OnError = Callable[[Report], None]

logger = logging.getLogger(__name__)


class Reporter:
    """Thread safe. Reports are queued where the client's lock is held, and delivered where it is not.

    A report is delivered once, in the order of the answers, by whichever thread comes first; when `deliver` returns,
    every report queued before is delivered, also those that another thread had taken. A callback may use the client,
    and close it.
    """

    def __init__(self, on_error: OnError | None) -> None:
        self.on_error = on_error
        self._waiting: deque[Report] = deque()
        self._delivering = threading.RLock()

    def queue(self, reports: Iterable[Report]) -> None:
        self._waiting.extend(reports)

    def deliver(self) -> None:
        with self._delivering:
            self._deliver_waiting()
        self.deliver_if_free()

    def deliver_if_free(self) -> None:
        """Deliver, or leave it to the thread that is delivering; for a thread that a callback may wait for."""
        while self._waiting and self._delivering.acquire(blocking=False):
            try:
                self._deliver_waiting()
            finally:
                self._delivering.release()

    def _deliver_waiting(self) -> None:
        reports = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if self.on_error is None:
            if reports:
                self._log(reports)
            return
        for report in reports:
            try:
                self.on_error(report)
            except Exception:
                # The callback's fault must stop neither the I/O thread nor the reports that follow.
                logger.exception("on_error failed report=%r", _reason(report))

    def _log(self, reports: list[Report]) -> None:
        first = reports[0]
        logger.warning("events not stored count=%d first_code=%s reason=%r", len(reports), first.code, _reason(first))


def _reason(report: Report) -> str:
    return report.reason if isinstance(report, Refusal) else str(report)
