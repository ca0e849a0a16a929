"""The greenlet that answers who is let in."""

from __future__ import annotations

import gevent

from zarkov.ingest.readiness import Readiness
from zarkov.ingest.zap import LOOK_S, ZapHandler


class Doorkeeper:
    """Runs a `ZapHandler` in a greenlet, and closes it."""

    def __init__(self, handler: ZapHandler) -> None:
        self._handler = handler
        self._readiness = Readiness(handler.socket)

    def run(self) -> None:
        """The greenlet's body; runs until it is killed."""
        while True:
            if self._handler.turn():
                gevent.sleep(0)
            else:
                self._readiness.wait(LOOK_S)

    def close(self) -> None:
        self._readiness.close()
        self._handler.close()
