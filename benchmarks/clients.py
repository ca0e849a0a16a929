"""The clients for asyncio and for `logging`: a real server process, and this process as their program."""

import asyncio
import logging
import queue
import time
from logging.handlers import QueueHandler

from benchmarks import dataset
from benchmarks.eventserver import EventServer
from benchmarks.sizes import Sizes
from benchmarks.timing import Sample, timed
from zarkov.client import AsyncZarkovClient
from zarkov.client.logging import ZarkovHandler

FLUSH_S_MAX = 600.0
CALLS_PER_BURST = 5_000


def async_batched(sizes: Sizes) -> Sample:
    """AsyncZarkovClient with its defaults on asyncio's own loop; the clock stops when all are acknowledged.

    rate: `send_encoded`. event_rate: the same count through `await event()`, one call an event.
    """
    first, *events = dataset.encoded(sizes.events + 1)

    async def run(address: str) -> tuple[float, float]:
        async with AsyncZarkovClient(address) as client:
            await client.send_encoded([first])
            await client.flush(FLUSH_S_MAX)
            began = time.perf_counter()
            await client.send_encoded(events)
            await client.flush(FLUSH_S_MAX)
            encoded_s = time.perf_counter() - began
            began = time.perf_counter()
            for number in range(len(events)):
                await client.event("page_view", {"project": "p1", "user": "u1"}, number)
            await client.flush(FLUSH_S_MAX)
            return encoded_s, time.perf_counter() - began

    with EventServer() as server:
        spans: list[float] = []

        def measured() -> float:
            spans.extend(asyncio.run(run(server.address["ack_bind_address"])))
            return spans[0]

        sample = timed(len(events), measured, servers=[server.pid])
        if (stored := server.next_offset()) != 1 + 2 * len(events):
            raise AssertionError(f"{stored} events are in the journal, and not {1 + 2 * len(events)}")
    values = {**sample.values, "event_rate": len(events) / spans[1]}
    return Sample(values, sample.pace_ms, sample.other_cores, sample.client_cores, sample.server_cores)


def log_handler(sizes: Sizes) -> Sample:
    """`logger.info` with three extra fields through ZarkovHandler, beside the same call through a NullHandler.

    call_us: what the handler adds to the call. queue_us: what the standard library's QueueHandler adds, whose records
    nobody takes. emit_us: the handler's `emit` alone. All are means over bursts, in the calling thread, while the
    sending thread and a server work on the same cores.
    """
    bursts = max(1, sizes.single // 300)
    count = bursts * CALLS_PER_BURST
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    with EventServer() as server:
        handler = ZarkovHandler(server.address["ack_bind_address"], timeout_s=FLUSH_S_MAX)
        handlers = {"plain": logging.NullHandler(), "queue": QueueHandler(waiting), "call": handler}
        spans = dict.fromkeys((*handlers, "emit"), 0.0)

        def run() -> None:
            for _ in range(bursts):
                for name, each in handlers.items():
                    spans[name] += _calls(_logger(name, each))
                    handler.flush()  # the next burst is not to be measured beside this one's sending
                while not waiting.empty():
                    waiting.get()
                spans["emit"] += _emits(handler)
                handler.flush()

        sample = timed(count, run, servers=[server.pid])
        handler.close()
        if handler.dropped or (stored := server.next_offset()) != 2 * count:
            raise AssertionError(
                f"{stored} events are in the journal, and not {2 * count}; dropped {handler.dropped}"
            )
    values = {
        "call_us": (spans["call"] - spans["plain"]) / count * 1e6,
        "queue_us": (spans["queue"] - spans["plain"]) / count * 1e6,
        "plain_us": spans["plain"] / count * 1e6,
        "emit_us": spans["emit"] / count * 1e6,
    }
    return Sample(values, sample.pace_ms, sample.other_cores, sample.client_cores, sample.server_cores)


def _logger(name: str, handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger(f"bench.{name}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    return logger


def _calls(logger: logging.Logger) -> float:
    began = time.perf_counter()
    for number in range(CALLS_PER_BURST):
        logger.info(
            "user %s logged in from %s", "ada", "10.0.0.7", extra={"user": "ada", "request": number, "tool": "wiki"}
        )
    return time.perf_counter() - began


def _emits(handler: logging.Handler) -> float:
    extra = {"user": "ada", "request": 1, "tool": "wiki"}
    message, arguments = "user %s logged in from %s", ("ada", "10.0.0.7")
    make, info = logging.getLogger("bench.emit").makeRecord, logging.INFO
    records = [
        make("bench.emit", info, __file__, 1, message, arguments, None, extra=extra) for _ in range(CALLS_PER_BURST)
    ]
    began = time.perf_counter()
    for record in records:
        handler.emit(record)
    return time.perf_counter() - began
