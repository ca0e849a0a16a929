"""Signals for the children that run on gevent's hub."""

from __future__ import annotations

import gevent
from gevent.event import Event

from zarkov.cli.child import heard


def stopped_by_signals() -> Event:
    """An event that a signal to end sets, in the hub."""
    stopped = Event()
    for number in heard():
        gevent.signal_handler(number, stopped.set)
    return stopped
