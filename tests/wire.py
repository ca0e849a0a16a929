"""The acknowledging channel spoken by hand, as docs/protocol.md describes it; nothing of `zarkov.client` is used."""

from __future__ import annotations

import contextlib
import os
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

import bson
import zmq
from bson import ObjectId


def event(n: int, padding: bytes = b"") -> bytes:
    """Event number n, complete, with an `_id` of its own."""
    return bson.encode(
        {
            "_id": ObjectId(),
            "timestamp": datetime(2026, 11, 24) if n % 2 else datetime(2026, 11, 23, 12),
            "type": "load",
            "context": {"project": f"p{n % 17}", "user": f"u{n % 101}", "ip": "10.0.0.1"},
            "extra": n,
            "padding": padding,
        }
    )


@dataclass
class Producer:
    """Numbers batches, keeps what is not acknowledged, sends it again after a silence, records every answer."""

    address: str
    producer: bytes = field(default_factory=lambda: os.urandom(16))
    in_flight_max: int = 16
    padding_bytes: int = 0
    retry_s: float = 0.5
    sequence: int = 0
    pending: OrderedDict[int, tuple[list[int], bytes]] = field(default_factory=OrderedDict)
    offsets: dict[int, int] = field(default_factory=dict)
    answers: dict[int, bytes] = field(default_factory=dict)
    refusals: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.context = zmq.Context()
        self.next_number = 0
        self.connect()

    def connect(self) -> None:
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.reconnect_ivl = 10
        self.socket.connect(self.address)
        self.heard_at = time.monotonic()
        for sequence in self.pending:
            self.transmit(sequence)

    @property
    def may_send(self) -> bool:
        """Whether the next sequence lies within the window of the oldest one without an answer."""
        return not self.pending or self.sequence - next(iter(self.pending)) + 1 < self.in_flight_max

    def transmit(self, sequence: int) -> None:
        with contextlib.suppress(zmq.Again):
            frames = [b"ZK1", b"BATCH", self.producer, sequence.to_bytes(8, "big"), self.pending[sequence][1]]
            self.socket.send_multipart(frames, zmq.NOBLOCK)

    def send_batch(self, size: int) -> None:
        numbers = list(range(self.next_number, self.next_number + size))
        self.next_number += size
        self.sequence += 1
        self.pending[self.sequence] = (
            numbers,
            b"".join(event(number, os.urandom(self.padding_bytes)) for number in numbers),
        )
        self.transmit(self.sequence)

    def receive(self, timeout_s: float) -> None:
        """Take what answers there are, waiting at most `timeout_s` for the first; reconnect after a silence."""
        wait_ms = int(timeout_s * 1000)
        while self.socket.poll(wait_ms):
            wait_ms = 0
            self.heard_at = time.monotonic()
            magic, kind, sequence, payload = self.socket.recv_multipart()
            assert magic == b"ZK1"
            self.answer(kind, int.from_bytes(sequence, "big"), payload)
        if self.pending and time.monotonic() - self.heard_at > self.retry_s:
            self.socket.close()
            self.connect()

    def answer(self, kind: bytes, sequence: int, payload: bytes) -> None:
        body = bson.decode(payload)
        if kind == b"NACK":
            assert body["retryable"], body
            self.refusals.add(body["code"])
            return
        assert kind == b"ACK"
        assert self.answers.setdefault(sequence, payload) == payload, "a retry was answered differently"
        numbers, _ = self.pending.pop(sequence, ([], b""))
        if numbers:
            assert (body["count"], body["refused"]) == (len(numbers), []), body
            self.offsets.update(zip(numbers, range(body["first"], body["first"] + body["count"]), strict=True))

    def pump(self, batches: int, size: int, deadline_s: float = 60) -> None:
        """Send this many batches, keeping the window full, and return when all are acknowledged."""
        end = time.monotonic() + deadline_s
        while batches or self.pending:
            assert time.monotonic() < end, f"{len(self.pending)} batches were never acknowledged"
            while batches and self.may_send:
                self.send_batch(size)
                batches -= 1
            self.receive(0.05)

    def close(self) -> None:
        self.socket.close()
        self.context.term()
