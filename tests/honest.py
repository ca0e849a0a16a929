"""The server's own windows and frames over a list of what is stored: what a client's outbox talks to in its tests."""

from __future__ import annotations

from dataclasses import dataclass

import bson

from zarkov.batch import ProducerRecord
from zarkov.codec import split
from zarkov.errors import BatchTooLarge, ServerBusy, ZarkovError
from zarkov.ingest import protocol
from zarkov.ingest.intake import Refused as RefusedByServer
from zarkov.ingest.intake import Taken
from zarkov.ingest.window import Windows

BIG = 2**30
PRODUCER = b"p"


def event(number: int, padding: int = 0) -> bytes:
    return bson.encode({"n": number, "padding": bytes(padding)})


def number_of(data: bytes) -> int:
    return int(bson.decode(data)["n"])


SIZE = len(event(0))


@dataclass
class Arrived:
    """A batch on its way to the journal."""

    sequence: int
    numbers: list[int]


class HonestServer:
    """The server's own windows and frames over a list of what is stored; it refuses every event that 7 divides."""

    def __init__(self, window_max: int) -> None:
        self.window_max = window_max
        self.events_max = 1000
        self.records: list[ProducerRecord] = []
        self.stored: list[int] = []
        self.restart()

    def restart(self) -> None:
        """What was not synced is gone, what was is known again."""
        self.windows = Windows(self.window_max, 10, self.records)
        self.journaling: list[Arrived] = []

    def welcome(self) -> list[bytes]:
        return protocol.welcome(
            "j",
            self.windows.highest(PRODUCER),
            window_max=self.window_max,
            batch_bytes_max=BIG,
            batch_events_max=self.events_max,
            event_bytes_max=BIG,
        )

    def take(self, frames: list[bytes], *, busy: bool, may_be_too_old: bool = False) -> list[bytes] | None:
        """The answer that goes out at once, if any."""
        request = protocol.parse(frames)
        if isinstance(request, protocol.Hello):
            return self.welcome()
        assert isinstance(request, protocol.Batch)
        numbers = [number_of(one) for one in split(request.payloads[0])]
        try:
            if len(numbers) > self.events_max:
                raise BatchTooLarge("too many")
            begun = self.windows.begin(PRODUCER, request.sequence, b"asker")
            if isinstance(begun, ProducerRecord):
                return protocol.ack("j", begun)
            if begun == "new":
                if busy:
                    self.windows.abandon(PRODUCER, request.sequence)
                    raise ServerBusy("later")
                self.journaling.append(Arrived(request.sequence, numbers))
        except ZarkovError as error:
            may_be = ("batch_too_large", "server_busy", *(["sequence_too_old"] if may_be_too_old else []))
            assert error.code in may_be, error
            return protocol.nack(protocol.sequence_frame(frames), error)
        return None

    def sync(self) -> list[bytes]:
        """Commit the batch that arrived first; its answer."""
        batch = self.journaling.pop(0)
        kept = [number for number in batch.numbers if number % 7]
        bad = [
            RefusedByServer(i, "type_invalid", "divided by 7", b"") for i, n in enumerate(batch.numbers) if not n % 7
        ]
        note = protocol.note_of(Taken(len(batch.numbers), b"", len(kept), None, bad))
        first = len(self.stored) if kept else -1
        record = ProducerRecord(PRODUCER, batch.sequence, first, len(kept), note)
        self.stored += kept
        self.records.append(record)
        self.windows.commit(record)
        return protocol.ack("j", record)
