"""EventServer: the event server's sockets and greenlets, started and stopped together.

Theory of operation. `start` binds every socket before it takes anything from one, so that a port in use ends the
start with nothing done. `stop` first stops taking batches in, then takes what libzmq has already received on the
PULL sockets (for at most `drain_s`: nobody else will), then waits until the journal has answered for everything,
sends those answers, and closes. The journal is not the server's: it is open before `start` and closed after `stop`.

A fatal error of the journal, or a greenlet that ends in an error, ends `join` with `failed` set: the process is to
end, and to be started again. What clients were told is true at any moment, whichever way the server ends.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import gevent
import zmq
from gevent.event import AsyncResult, Event

import zarkov
from zarkov.batch import Entry, ProducerRecord
from zarkov.config import IngestSettings
from zarkov.errors import ProtocolError, ServerBusy, ZarkovError
from zarkov.ingest import sockets
from zarkov.ingest.acknowledger import Acknowledger
from zarkov.ingest.control import Arguments, Command, ControlServer
from zarkov.ingest.doorkeeper import Doorkeeper
from zarkov.ingest.feeders import Feeders
from zarkov.ingest.handoff import Handoff
from zarkov.ingest.intake import Intake
from zarkov.ingest.newid import NewIds
from zarkov.ingest.ports import CommitPort
from zarkov.ingest.publisher import Publisher
from zarkov.ingest.receiver import Receiver, Source
from zarkov.ingest.recent import RecentIds
from zarkov.ingest.window import Windows
from zarkov.ingest.zap import ZapHandler, ports_of
from zarkov.keyfiles import ServerKeys
from zarkov.metrics import Metrics
from zarkov.position import OffsetRange

logger = logging.getLogger(__name__)

DRAIN_S = 5.0
#: Time the journal has to answer for everything that was handed to it, when the server stops.
SETTLE_S = 60.0
_FEEDERS_LOOK_S = 0.01


class EventServer:
    """Takes events in on four sockets and hands them to the journal; a context manager.

    Args:   log: the journal's committer, started; producers: the answers it has kept; clock: seconds since 1970;
            control_path: where to listen for commands, if anywhere; commands: those besides `ping`, `stats`,
            `publish` and `take`; is_fed: a balancer brings the events (see `outlast_feeders`);
            keys: with them every socket lets in only peers whose key is on the list.
    """

    def __init__(
        self,
        settings: IngestSettings,
        log: CommitPort,
        *,
        journal_id: str,
        producers: Iterable[ProducerRecord],
        producers_max: int,
        metrics: Metrics,
        control_path: Path | None = None,
        commands: Mapping[str, Command] | None = None,
        clock: Callable[[], float] = time.time,
        is_fed: bool = False,
        keys: ServerKeys | None = None,
    ) -> None:
        self.failed: ZarkovError | None = None
        #: Name of a socket's setting -> the address it is bound to, with the port it was given.
        self.endpoints: dict[str, str] = {}
        self._settings = settings
        self._log = log
        self._journal_id = journal_id
        self._windows = Windows(settings.window_max, producers_max, producers)
        self._metrics = metrics
        self._clock = clock
        self._control = None if control_path is None else ControlServer(control_path, self._all(commands or {}))
        self._ended = Event()
        self._is_fed = is_fed
        self._keys = keys
        self._doorkeeper: Doorkeeper | None = None
        self._feeders: list[Feeders] = []
        self._greenlets: list[gevent.Greenlet] = []
        self._context: sockets.Context | None = None

    def start(self) -> None:
        """Bind and begin to take events in.

        Raises: KeyInvalid: the keys cannot be used; ZarkovError, OSError: an address cannot be bound.
        """
        settings, keys = self._settings, self._keys
        self._context = zmq.Context()
        try:
            if keys is not None:  # Before any socket: without a handler libzmq has nobody to ask.
                handler = ZapHandler(self._context, keys, self._metrics, lambda: ports_of(self.endpoints.values()))
                self._doorkeeper = Doorkeeper(handler)
            watch = (lambda socket: self._feeders.append(Feeders(socket))) if self._is_fed else None
            pull_bson = sockets.bind_pull(self._context, settings.bson_bind_address, settings, keys=keys, watch=watch)
            pull_json = sockets.bind_pull(self._context, settings.json_bind_address, settings, keys=keys, watch=watch)
            publish = sockets.bind_publish(self._context, settings.publish_bind_address, settings, keys=keys)
            router = sockets.bind_router(self._context, settings.ack_bind_address, settings, keys=keys)
            if self._control is not None:
                self._control.start()
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self.endpoints = {
            "bson_bind_address": _endpoint(pull_bson),
            "json_bind_address": _endpoint(pull_json),
            "publish_bind_address": _endpoint(publish),
            "ack_bind_address": _endpoint(router),
        }
        self._assemble(pull_bson, pull_json, publish, router)
        logger.info("listening %s", " ".join(f"{name}={address}" for name, address in self.endpoints.items()))

    def _assemble(
        self,
        pull_bson: sockets.Socket,
        pull_json: sockets.Socket,
        publish: sockets.Socket,
        router: sockets.Socket,
    ) -> None:
        settings, metrics = self._settings, self._metrics
        self._publisher = Publisher(publish, metrics)
        self._handoff = Handoff(self._log, bytes_max=settings.ingest_pending_bytes_max, on_failed=self._fail)
        self._intake = Intake(
            RecentIds(settings.ids_window_max),
            event_bytes_max=settings.event_bytes_max,
            depth_max=settings.depth_max,
            now=self._now,
            new_id=NewIds(self._clock, secrets.token_bytes(5), secrets.randbelow(2**24)),
        )
        stored, now_ms = self._publisher.offer, self._now_ms
        self._acknowledger = Acknowledger(
            router,
            self._journal_id,
            self._windows,
            self._intake,
            self._handoff,
            settings=settings,
            metrics=metrics,
            now_ms=now_ms,
            stored=stored,
        )
        doors: tuple[tuple[zmq.Socket[bytes], Source], ...] = ((pull_bson, "bson"), (pull_json, "json"))
        self._receivers = [
            Receiver(
                socket,
                source,
                self._intake,
                self._handoff,
                messages_max=settings.drain_messages_max,
                metrics=metrics,
                now_ms=now_ms,
                stored=stored,
            )
            for socket, source in doors
        ]
        handoff, publisher = self._handoff, self._publisher
        metrics.gauge("ingest_pending_bytes", "bytes taken in and not yet synced", lambda: handoff.pending_bytes)
        metrics.gauge(
            "ingest_parked_batches", "batches that wait for space in the journal", lambda: handoff.parked_entries
        )
        metrics.gauge("subscribed_topics", "topics somebody listens to", lambda: publisher.topic_count)
        self._spawn(self._publisher.watch, self._publisher.publish)
        if self._doorkeeper is not None:
            self._spawn(self._doorkeeper.run)
        self._taking = self._spawn(self._acknowledger.run, *(receiver.run for receiver in self._receivers))

    def _spawn(self, *bodies: Callable[[], None]) -> list[gevent.Greenlet]:
        greenlets = [gevent.spawn(body) for body in bodies]
        for greenlet in greenlets:
            greenlet.link_exception(self._died)
        self._greenlets += greenlets
        return greenlets

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the server has stopped or failed; False when it still runs after the time."""
        return bool(self._ended.wait(timeout_s))

    def outlast_feeders(self, timeout_s: float) -> bool:
        """Serve until nobody is connected to the PULL sockets any more; False when somebody still is after the time.

        A balancer that is told to stop together with its servers still has events for them.
        """
        deadline_s = time.monotonic() + timeout_s
        while any(feeders.count > 0 for feeders in self._feeders):
            if time.monotonic() >= deadline_s or self._ended.wait(_FEEDERS_LOOK_S):
                return False
        return True

    def stop(self, *, drain_s: float = DRAIN_S, settle_s: float = SETTLE_S) -> bool:
        """Take in what has arrived, have it synced, answer, and close everything.

        Returns: True when nothing that was taken in is left unanswered for.
        """
        if self._context is None:
            return True
        logger.info("stopping pending_bytes=%d", self._handoff.pending_bytes)
        self._acknowledger.stop()
        for receiver in self._receivers:
            receiver.stop()
        gevent.joinall(self._taking, timeout=drain_s)
        if self.failed is None:
            self._drain(time.monotonic() + drain_s)
        is_settled = self._handoff.wait_until_empty(settle_s)
        if self.failed is None:
            self._acknowledger.refuse_rest()
        gevent.killall(self._greenlets)
        if self._control is not None:
            self._control.stop()
        self._handoff.close()
        for feeders in self._feeders:
            feeders.close()
        for receiver in self._receivers:
            receiver.close()
        self._acknowledger.close()
        self._publisher.close()
        if self._doorkeeper is not None:
            self._doorkeeper.close()
        self._context.term()
        self._context = None
        self._ended.set()
        logger.info("stopped settled=%s", is_settled)
        return is_settled

    def __enter__(self) -> EventServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _drain(self, deadline_s: float) -> None:
        busy = True
        while busy and time.monotonic() < deadline_s and not self._handoff.is_full:
            busy = False
            for receiver in self._receivers:
                busy = receiver.take_once() or busy
            while not self._handoff.has_room and time.monotonic() < deadline_s:
                self._handoff.wait_for_change(0.1)
            gevent.sleep(0)

    def _died(self, greenlet: gevent.Greenlet) -> None:
        logger.critical("greenlet ended in an error error=%r", greenlet.exception)
        self._fail(ZarkovError(f"the event server has a fault: {greenlet.exception!r}"))

    def _fail(self, error: ZarkovError) -> None:
        if self.failed is None:
            self.failed = error
        self._ended.set()

    def _now(self) -> datetime:
        moment = datetime.fromtimestamp(self._clock(), UTC).replace(tzinfo=None)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _all(self, commands: Mapping[str, Command]) -> dict[str, Command]:
        return {
            "ping": Command(lambda _: {"pid": os.getpid(), "version": zarkov.__version__}),
            "stats": Command(lambda _: {"metrics": self._metrics.snapshot(), "endpoints": self.endpoints}),
            "publish": Command(self._publish, in_hub=True),
            "take": Command(self._take, in_hub=True),
            **commands,
        }

    def _publish(self, arguments: Arguments) -> dict[str, Any]:
        """`topic` as text, `data` in Base64: sent to the PUB socket's subscribers."""
        self._publisher.send(str(arguments.get("topic", "")).encode(), _bytes_of(arguments))
        return {}

    def _take(self, arguments: Arguments) -> dict[str, Any]:
        """`data` in Base64, of the `format` bson or json: stored as if it had come in on a socket, and answered
        `{journal, first, count, refused, duplicates}` after the sync. What is refused is not kept again.
        """
        data = [_bytes_of(arguments)]
        taken = self._intake.take_json(data) if arguments.get("format") == "json" else self._intake.take_bson(data)
        answer: AsyncResult[OffsetRange | None] = AsyncResult()

        def done(offsets: OffsetRange | None, error: ZarkovError | None) -> None:
            if error is None:
                self._intake.recent.settle(taken.oids)
                answer.set(offsets)
            else:
                self._intake.recent.forget(taken.oids)
                answer.set_exception(error)

        if taken.unsettled:
            self._intake.recent.forget(taken.oids)
            raise ServerBusy("an event is a retry of one that is just being stored")
        offsets: OffsetRange | None = None
        if taken.summary is not None:
            self._handoff.submit(Entry(taken.data, taken.count, taken.summary), done)
            offsets = answer.get()
            self._publisher.offer(taken.data, taken.summary)
        return {
            "journal": self._journal_id,
            "first": -1 if offsets is None else offsets.first,
            "count": taken.count,
            "refused": [{"index": one.index, "code": one.code, "reason": one.reason} for one in taken.refused],
            "duplicates": list(taken.duplicates),
        }


def _bytes_of(arguments: Arguments) -> bytes:
    try:
        return base64.b64decode(arguments["data"], validate=True)
    except (KeyError, TypeError, binascii.Error):
        raise ProtocolError("`data` must be there, in Base64") from None


def _endpoint(socket: sockets.Socket) -> str:
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))
