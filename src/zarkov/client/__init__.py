"""The client library: light (pyzmq and bson only), thread safe, without gevent.

    zarkov_client   ZarkovClient: event, event_noval, flush, close
    asynchronous    AsyncZarkovClient: the same for asyncio
    logging         ZarkovHandler for Python's logging
    structlog       ZarkovProcessor for structlog
    push            fire and forget over PUSH, as the original; async_push for asyncio
    channel         the acknowledging link: one lock, one thread, whoever waits drives the socket
    async_channel   the same, moved by an event loop; async_waiting: who waits in it
    stepwise        one batch at a time, each answer told; for zcmd send
    log_sender      the queue and the thread of the logging handlers; log_event: how their events look
    line            the server whose turn it is, and what the link's threads wait for
    failover        whose turn it is among several servers, pure
    outbox          its state machine, pure: batches, retries, reports
    window          batches in flight, pure
    backlog         batches that were not sent yet, pure
    spooled         the same, on disk as well
    spool           the file: one client's batches until they are answered
    ids             the `_id`s that the client gives, pure
    frames          the acknowledging channel's requests and answers, pure
    pump            messages between outbox and socket, without waiting
    keys            the client's keys and the server's
    connection      one ZeroMQ socket and what becomes of its connection
    reporter        on_error, or the log; outcome: what a flush raises
    lifecycle       exit, fork, forgotten clients
    zsend           the zsend.py command

What ZarkovClient promises is in docs/guarantees.md.
"""

from zarkov.client.asynchronous import AsyncZarkovClient
from zarkov.client.keys import Keys
from zarkov.client.limits import Limits, OnFull
from zarkov.client.outbox import Refusal
from zarkov.client.reporter import Report
from zarkov.client.stats import ClientStats
from zarkov.client.zarkov_client import ZarkovClient
from zarkov.errors import ClientClosed, ClientError, NotAcknowledged, QueueFull

__all__ = [
    "AsyncZarkovClient",
    "ClientClosed",
    "ClientError",
    "ClientStats",
    "Keys",
    "Limits",
    "NotAcknowledged",
    "OnFull",
    "QueueFull",
    "Refusal",
    "Report",
    "ZarkovClient",
]
