"""A small server of the acknowledging channel, in memory: honest, and as unkind as a test wants it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import bson
import zmq

from zarkov import codec

#: What a test may want done with a batch: a NACK with this body; store it and say nothing; ignore it.
Whim = dict[str, Any] | Literal["silent", "ignore"] | None


def nack(code: str, *, retryable: bool) -> dict[str, Any]:
    return {"code": code, "message": f"because of {code}", "retryable": retryable, "hint": ""}


@dataclass(frozen=True)
class Seen:
    producer: bytes
    sequence: int
    data: bytes


class AckServer:
    """Keeps what it stored, and every answer it gave, over `stop` and `start`; refuses events of type "bad"."""

    def __init__(self, **limits: int) -> None:
        self.limits = {"window_max": 64, "batch_events_max": 100_000, "batch_bytes_max": 2**24} | limits
        self.stored: list[bytes] = []
        self.answers: dict[tuple[bytes, int], list[bytes]] = {}
        self.batches: list[Seen] = []
        self.hellos: list[bytes] = []
        self.faults: list[str] = []
        self.whim: Callable[[Seen], Whim] = lambda batch: None
        self.address = "tcp://127.0.0.1:*"

    def start(self) -> AckServer:
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 0
        self._router.bind(self.address)
        self.address = self._router.LAST_ENDPOINT.decode()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def stop(self) -> None:
        """As a kill: connections break, nothing more is answered."""
        self._stopping.set()
        self._thread.join(20)
        self._context.destroy(linger=0)

    def __enter__(self) -> AckServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert self.faults == []

    def documents(self) -> list[dict[str, Any]]:
        return [bson.decode(event) for event in list(self.stored)]

    def types(self) -> list[str]:
        return [document["type"] for document in self.documents()]

    def extras(self) -> list[Any]:
        return [document["extra"] for document in self.documents()]

    def _serve(self) -> None:
        while not self._stopping.is_set():
            if self._router.poll(10):
                identity, *frames = self._router.recv_multipart()
                answer = self._answer(frames)
                if answer is not None:
                    self._router.send_multipart([identity, b"ZK1", *answer])

    def _answer(self, frames: list[bytes]) -> list[bytes] | None:
        if frames[:2] == [b"ZK1", b"HELLO"]:
            self.hellos.append(frames[2])
            body = {"version": 1, "journal": "j", "event_bytes_max": 2**24, **self.limits}
            return [b"WELCOME", bson.encode(body | {"sequence": self._highest(frames[2])})]
        if frames[:2] != [b"ZK1", b"BATCH"] or len(frames) != 5 or len(frames[3]) != 8:
            self.faults.append(f"no request: {frames!r}")
            return None
        return self._take(Seen(frames[2], int.from_bytes(frames[3], "big"), frames[4]))

    def _take(self, batch: Seen) -> list[bytes] | None:
        key = (batch.producer, batch.sequence)
        earlier = [seen for seen in self.batches if (seen.producer, seen.sequence) == key]
        if any(seen.data != batch.data for seen in earlier):
            self.faults.append(f"another content was sent under sequence {batch.sequence}")
        if key not in self.answers and batch.sequence <= self._highest(batch.producer) - self.limits["window_max"]:
            self.faults.append(f"sequence {batch.sequence} is too old")
        self.batches.append(batch)
        whim = self.whim(batch)
        if isinstance(whim, dict):
            return [b"NACK", batch.sequence.to_bytes(8, "big"), bson.encode(whim)]
        if whim == "ignore":
            return None
        if key not in self.answers:
            self.answers[key] = self._store(batch)
        return None if whim == "silent" else self.answers[key]

    def _store(self, batch: Seen) -> list[bytes]:
        first, refused = len(self.stored), []
        for index, event in enumerate(codec.split(batch.data)):
            if bson.decode(event).get("type") == "bad":
                refused.append({"index": index, "code": "type_invalid", "reason": "it is bad"})
            else:
                self.stored.append(event)
        count = len(self.stored) - first
        body = {"journal": "j", "first": first if count else -1, "count": count, "refused": refused, "duplicates": []}
        return [b"ACK", batch.sequence.to_bytes(8, "big"), bson.encode(body)]

    def _highest(self, producer: bytes) -> int:
        return max((sequence for sender, sequence in self.answers if sender == producer), default=0)
