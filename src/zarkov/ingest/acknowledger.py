"""The ROUTER socket: numbered batches of events, each answered after its sync.

Theory of operation. One greenlet reads requests; the journal's answers arrive in the hub and are sent from there,
without waiting: an answer to a client that does not read, or is gone, is dropped and counted. Nothing is lost by
that: its producer sends the batch again and gets the same answer (`Windows`). Every batch that is "new" ends in
exactly one of: an ACK after its commit, or a NACK after which nothing of it is stored. After a fatal error of the
journal it is not known which of both is true, so no answer is sent: the producer asks again when the server is
back.

A request that is alone is committed in this greenlet when the journal is idle and quick: two changes of threads less.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import gevent
import zmq

from zarkov.batch import Entry, ProducerBatch, ProducerRecord
from zarkov.config import IngestSettings
from zarkov.errors import BatchTooLarge, ProtocolError, ServerBusy, ShuttingDown, ZarkovError
from zarkov.ingest import protocol
from zarkov.ingest.handoff import Handoff
from zarkov.ingest.intake import Intake, Taken
from zarkov.ingest.readiness import WAIT_S_MAX, Readiness
from zarkov.ingest.receiver import Stored, rejections_of
from zarkov.ingest.window import Route, Windows
from zarkov.metrics import Metrics
from zarkov.position import OffsetRange

logger = logging.getLogger(__name__)

_NOBLOCK = int(zmq.NOBLOCK)
#: Requests, and their bytes, taken from the socket at one go: answers wait for that long.
REQUESTS_MAX = 256
REQUESTS_BYTES_MAX = 1024 * 1024

Frames = list[bytes]


class Acknowledger:
    """The acknowledging channel's greenlet."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        journal_id: str,
        windows: Windows,
        intake: Intake,
        handoff: Handoff,
        *,
        settings: IngestSettings,
        metrics: Metrics,
        now_ms: Callable[[], int],
        stored: Stored,
    ) -> None:
        self._socket = socket
        self._journal_id = journal_id
        self._windows = windows
        self._intake = intake
        self._handoff = handoff
        self._settings = settings
        self._now_ms = now_ms
        self._stored = stored
        self._readiness = Readiness(socket)
        self._is_stopping = False
        self._received = metrics.counter("events_received", "events that came in, whatever became of them")
        self._rejected = metrics.counter("events_rejected", "events refused, and kept in `rejected`")
        self._duplicates = metrics.counter("events_duplicate", "retries of events that were stored already")
        self._bytes = metrics.counter("bytes_received", "bytes of events that came in")
        self._batches = metrics.counter("batches_received", "batches that came in on the acknowledging channel")
        self._repeated = metrics.counter("batches_repeated", "batches that were answered or begun already")
        self._nacked = metrics.counter("batches_not_taken", "requests answered NACK")
        self._dropped = metrics.counter("answers_dropped", "answers dropped: the client is gone or does not read")
        self._latency = metrics.timer("acknowledge_s", "time from a batch's validation to its answer, in seconds")

    def run(self) -> None:
        """The greenlet's body: returns after `stop`."""
        while not self._is_stopping:
            if not self._handoff.has_room:
                self._handoff.wait_for_change(WAIT_S_MAX)
            elif self.take_once():
                gevent.sleep(0)
            else:
                self._readiness.wait()

    def stop(self) -> None:
        """Take no more batches in; answers still go out."""
        self._is_stopping = True
        self._readiness.poke()

    def close(self) -> None:
        self._readiness.close()
        self._socket.close()

    def take_once(self) -> bool:
        """Deal with the requests that are there; False when there is none."""
        requests = self._drain()
        for request in requests:
            route, frames = protocol.routed(request)
            self._deal_with(route, frames, is_alone=len(requests) == 1)
        return bool(requests)

    def refuse_rest(self) -> None:
        """Answer the requests that are there with NACK shutting_down."""
        while requests := self._drain():
            for request in requests:
                route, frames = protocol.routed(request)
                error = ShuttingDown("the event server is stopping")
                self._nack(route, protocol.sequence_frame(frames), error)

    def _drain(self) -> list[Frames]:
        requests: list[Frames] = []
        left = REQUESTS_BYTES_MAX
        try:
            while len(requests) < REQUESTS_MAX and left > 0:
                frames = self._socket.recv_multipart(_NOBLOCK)
                left -= sum(map(len, frames))
                requests.append(frames)
        except zmq.Again:
            pass
        return requests

    def _deal_with(self, route: Route, frames: Frames, is_alone: bool) -> None:
        try:
            request = protocol.parse(frames)
            if isinstance(request, protocol.Batch):
                self._batches.add()
                self._take(route, request, is_alone)
            elif isinstance(request, protocol.Hello):
                self._send(route, self._welcome(request))
            else:
                self._send(route, protocol.pong(request.data))
        except ZarkovError as error:
            self._nack(route, protocol.sequence_frame(frames), error)

    def _welcome(self, hello: protocol.Hello) -> Frames:
        settings = self._settings
        return protocol.welcome(
            self._journal_id,
            self._windows.highest(hello.producer),
            window_max=settings.window_max,
            batch_bytes_max=min(settings.batch_bytes_max, settings.message_bytes_max),  # it may come in one frame
            batch_events_max=settings.batch_events_max,
            event_bytes_max=settings.event_bytes_max,
        )

    def _take(self, route: Route, batch: protocol.Batch, is_alone: bool) -> None:
        """Begin a batch, or answer it again. Raises: ZarkovError: nothing of it is taken."""
        size = sum(map(len, batch.payloads))
        if size > self._settings.batch_bytes_max:
            raise BatchTooLarge(f"the batch has {size:,} bytes, of at most {self._settings.batch_bytes_max:,}")
        begun = self._windows.begin(batch.producer, batch.sequence, route)
        if begun != "new":
            self._repeated.add()
            if isinstance(begun, ProducerRecord):
                self._send(route, protocol.ack(self._journal_id, begun))
            return
        try:
            intake = self._intake
            taken = intake.take_json(batch.payloads) if batch.is_json else intake.take_bson(batch.payloads)
            self._check(taken)
            numbered = ProducerBatch(batch.producer, batch.sequence, protocol.note_of(taken))
        except ZarkovError:
            self._windows.abandon(batch.producer, batch.sequence)
            raise
        except Exception as error:  # One batch's fault must neither end the server nor come back for ever.
            logger.exception("batch failed producer=%s sequence=%d", batch.producer.hex(), batch.sequence)
            self._windows.abandon(batch.producer, batch.sequence)
            raise ZarkovError("the batch could not be read because of a fault in the server") from error
        self._count(taken, size)
        source = f"{'ack-json' if batch.is_json else 'ack-bson'} {batch.producer.hex()}"
        self._handoff.reject(rejections_of(taken.refused, source, self._now_ms()))
        self._commit(Entry(taken.data, taken.count, taken.summary, numbered), taken, is_alone)

    def _check(self, taken: Taken) -> None:
        """Raises: BatchTooLarge, ServerBusy: the batch cannot be taken, now or ever; its ids are forgotten."""
        error: ProtocolError
        if taken.received > self._settings.batch_events_max:
            most = self._settings.batch_events_max
            error = BatchTooLarge(f"the batch has {taken.received:,} events, of at most {most:,}")
        elif taken.unsettled:
            error = ServerBusy("an event of the batch is a retry of one that is just being stored")
        else:
            return
        self._intake.recent.forget(taken.oids)
        raise error

    def _count(self, taken: Taken, size: int) -> None:
        self._bytes.add(size)
        self._received.add(taken.received)
        self._rejected.add(len(taken.refused))
        self._duplicates.add(len(taken.duplicates))

    def _commit(self, entry: Entry, taken: Taken, is_alone: bool) -> None:
        started_s = time.perf_counter()

        def done(offsets: OffsetRange | None, error: ZarkovError | None) -> None:
            self._answer(entry, taken, offsets, error)
            self._latency.observe(time.perf_counter() - started_s)

        if is_alone and entry.count and not taken.refused:
            try:
                offsets = self._handoff.try_now(entry)
            except ZarkovError as error:
                done(None, error)
                return
            if offsets is not None:
                done(offsets, None)
                return
        self._handoff.submit(entry, done)

    def _answer(self, entry: Entry, taken: Taken, offsets: OffsetRange | None, error: ZarkovError | None) -> None:
        batch = entry.producer
        if batch is None or (error is not None and not error.retryable):
            return
        if error is not None:
            self._intake.recent.forget(taken.oids)
            asker = self._windows.abandon(batch.producer, batch.sequence)
            self._nack(asker, batch.sequence.to_bytes(protocol.SEQUENCE_BYTES, "big"), error)
            return
        self._intake.recent.settle(taken.oids)
        first = offsets.first if offsets is not None and entry.count else -1
        record = ProducerRecord(batch.producer, batch.sequence, first, entry.count, batch.note)
        self._send(self._windows.commit(record), protocol.ack(self._journal_id, record))
        if entry.summary is not None:
            self._stored(entry.data, entry.summary)

    def _nack(self, route: Route, sequence: bytes, error: ZarkovError) -> None:
        self._nacked.add()
        self._send(route, protocol.nack(sequence, error))

    def _send(self, route: Route, frames: Sequence[bytes]) -> None:
        try:
            self._socket.send_multipart([*route, *frames], _NOBLOCK)
        except zmq.ZMQError:  # EAGAIN: its queue is full; EHOSTUNREACH: it is gone.
            self._dropped.add()
        self._readiness.poke()
