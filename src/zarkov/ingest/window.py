"""Each producer's numbered batches: which were answered and how, and which are on their way. Pure.

Theory of operation. A sequence of a producer is in one of these states:

    unknown     never seen, or given up (`abandon`): the batch is new
    in flight   handed to the journal, not synced: a retry changes only who gets the answer
    answered    synced: a retry gets the record of the first answer
    forgotten   `window_max` or more behind the highest answered one, and not answered within the window

The journal keeps the same records and writes them in the commit of their events, so after a crash `Windows` is what
it was, less what was in flight; and nothing in flight was answered. That makes every retry within the window safe:
what is unknown here was not stored. What is forgotten may have been, so it is refused.

Bounds: `window_max` records a producer and as many in flight; `producers_max` producers and `notes_bytes_max` bytes
of notes in all. Beyond those the longest idle producers leave, as in the journal; never one with a batch in flight.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from zarkov.batch import ProducerRecord
from zarkov.errors import SequenceTooOld, WindowExceeded

NOTES_BYTES_MAX = 64 * 1024 * 1024

#: Whom an answer is for: the frames before those of the protocol, kept as they came.
Route = tuple[bytes, ...]


@dataclass(slots=True)
class _Producer:
    answered: dict[int, ProducerRecord] = field(default_factory=dict)
    in_flight: dict[int, Route] = field(default_factory=dict)
    highest: int = 0
    notes_bytes: int = 0


class Windows:
    """The windows of all producers. Askers are the routes that answers are sent on.

    Args:   records: what the journal has kept, in any order.
    """

    def __init__(
        self,
        window_max: int,
        producers_max: int,
        records: Iterable[ProducerRecord] = (),
        *,
        notes_bytes_max: int = NOTES_BYTES_MAX,
    ) -> None:
        self._window_max = window_max
        self._producers_max = producers_max
        self._notes_bytes_max = notes_bytes_max
        self._notes_bytes = 0
        self._producers: OrderedDict[bytes, _Producer] = OrderedDict()
        for record in records:
            self._keep(record)
        self._let_go()

    def __len__(self) -> int:
        return len(self._producers)

    def highest(self, producer: bytes) -> int:
        """The highest sequence of the producer that is answered or in flight; 0 if none is."""
        known = self._producers.get(producer)
        return 0 if known is None else max(known.highest, max(known.in_flight, default=0))

    def begin(self, producer: bytes, sequence: int, asker: Route) -> ProducerRecord | Literal["new", "in flight"]:
        """What to do with a batch: answer it again, take it in, or wait for its answer, which now goes to `asker`.

        A batch that is "new" is in flight from here on: `commit` or `abandon` it.

        Raises: SequenceTooOld: it is forgotten; WindowExceeded: too many are in flight.
        """
        known = self._producers.get(producer)
        if known is None:
            known = self._producers[producer] = _Producer()
        record = known.answered.get(sequence)
        if record is not None:
            return record
        if sequence in known.in_flight:
            known.in_flight[sequence] = asker
            return "in flight"
        if sequence <= known.highest - self._window_max:
            raise SequenceTooOld(f"sequence {sequence} lies {known.highest - sequence} behind the highest one stored")
        if len(known.in_flight) >= self._window_max:
            raise WindowExceeded(f"{len(known.in_flight)} batches of this producer wait for their answer")
        known.in_flight[sequence] = asker
        return "new"

    def commit(self, record: ProducerRecord) -> Route:
        """The batch is synced; its answer is known from now on. Returns: the asker."""
        asker = self._producers[record.producer].in_flight.pop(record.sequence)
        self._keep(record)
        self._let_go()
        return asker

    def abandon(self, producer: bytes, sequence: int) -> Route:
        """Nothing of the batch was stored; sent again it is new. Returns: the asker."""
        known = self._producers[producer]
        asker = known.in_flight.pop(sequence)
        if not known.in_flight and not known.answered:
            del self._producers[producer]
        return asker

    def _keep(self, record: ProducerRecord) -> None:
        known = self._producers.setdefault(record.producer, _Producer())
        self._producers.move_to_end(record.producer)
        known.answered[record.sequence] = record
        known.highest = max(known.highest, record.sequence)
        self._count(known, len(record.note))
        while len(known.answered) > self._window_max:
            self._count(known, -len(known.answered.pop(min(known.answered)).note))

    def _let_go(self) -> None:
        """Forget the longest idle producers beyond the bounds."""
        excess = len(self._producers) - self._producers_max
        if excess <= 0 and self._notes_bytes <= self._notes_bytes_max:
            return
        for producer, known in list(self._producers.items()):
            if excess <= 0 and self._notes_bytes <= self._notes_bytes_max:
                return
            if not known.in_flight:
                self._count(known, -known.notes_bytes)
                del self._producers[producer]
                excess -= 1

    def _count(self, known: _Producer, note_bytes: int) -> None:
        known.notes_bytes += note_bytes
        self._notes_bytes += note_bytes
