"""The client library: light (pyzmq and bson only), thread safe, without gevent.

    zarkov_client   ZarkovClient: event, event_noval, flush, close
    push            fire and forget over PUSH, as the original
    channel         the acknowledging link: one lock, one thread, whoever waits drives the socket
    outbox          its state machine, pure: queue, batches, window, retries, reports
    frames          the acknowledging channel's requests and answers, pure
    pump            messages between outbox and socket, without waiting
    connection      one ZeroMQ socket and what becomes of its connection
    reporter        on_error, or the log
    lifecycle       exit, fork, forgotten clients
    zsend           the zsend.py command

What ZarkovClient promises is in docs/guarantees.md.
"""

from zarkov.client.limits import Limits, OnFull
from zarkov.client.outbox import Refusal
from zarkov.client.reporter import Report
from zarkov.client.stats import ClientStats
from zarkov.client.zarkov_client import ZarkovClient
from zarkov.errors import ClientClosed, ClientError, NotAcknowledged, QueueFull

__all__ = [
    "ClientClosed",
    "ClientError",
    "ClientStats",
    "Limits",
    "NotAcknowledged",
    "OnFull",
    "QueueFull",
    "Refusal",
    "Report",
    "ZarkovClient",
]
