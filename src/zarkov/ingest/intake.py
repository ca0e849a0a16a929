"""From bytes to events: what can be taken, as it will be stored, and why the rest cannot. Pure.

Theory of operation. A drain of a socket is cut into events by their length prefixes; block by block they are
joined, decoded once, and looked at once: without their `_id`s where all begin with one, for its bytes are all that
is needed of it, and an object for each would cost as much as the rest of the look. An event that is complete as it
came (`_id` first, `timestamp`, `type`, `context`, not large, no `$command`) keeps its bytes; only the others are
looked at closely, each on its own: mended (a missing field filled in, a date in text made a date), or refused. When
nothing of a payload was mended or refused, the bytes to store are the very bytes that came.

Always true of what is taken: it decodes, it is at most `event_bytes_max` bytes and `depth_max` levels, and it begins
with an ObjectId as `_id`. Unless it asked not to be validated, it is also complete as `zarkov.event` says.

A duplicate `_id` among the latest events: the same content as sent is a retry and is not stored again; other content
is refused. The decoded documents are dropped before anything waits; only bytes do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from itertools import islice
from typing import cast

from bson import ObjectId

from zarkov.batch import Summary, bounded_types, epoch_ms
from zarkov.codec import decode, decode_all, documents_from_json, encode, split, with_id
from zarkov.errors import EventRefused
from zarkov.event import BYTES_PER_LEVEL_MIN, TYPE_BYTES_MAX, Document, complete, fill
from zarkov.ingest.nesting import is_deeper_than
from zarkov.ingest.recent import RecentIds

_ID_FIELD = b"\x07_id\x00"
_ID_BYTES = len(_ID_FIELD) + 12
#: Of an event that begins with its `_id`: the field, its name, its value, and what follows it.
_ID, _ID_NAME, _OID, _REST = slice(4, 21), slice(4, 9), slice(9, 21), slice(21, None)
_WITH_ID_BYTES_MIN = 4 + _ID_BYTES + 1
#: Events decoded and looked at together: few enough that their documents stay in the processor's cache.
_BLOCK_EVENTS = 250
#: A type of so many characters needs no count of its bytes.
_TYPE_LENGTH_PLAIN = TYPE_BYTES_MAX // 4


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that was not taken: its place among the events that came, why, and its bytes as they came."""

    index: int
    code: str
    reason: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of `received` events.

    `data` is `count` events as they are to be stored; `summary` is None exactly when there is none. `duplicates` are
    the places of retries of events that are stored already; `unsettled` says that one of those is not synced yet.
    `oids` are the `_id`s now open in the window of recent ids: settle or forget them.
    """

    received: int
    data: bytes
    count: int
    summary: Summary | None
    refused: Sequence[Refused] = ()
    duplicates: Sequence[int] = ()
    unsettled: bool = False
    oids: Collection[bytes] = ()


@dataclass(slots=True)
class _Run:
    """Events on their way, in the order they came; every list has one item an event.

    `sent` are the bytes that came (as BSON), `events` those to store, `texts` those that came as JSON; `oids`,
    `stamps` and `kinds` the `_id`s, timestamps and types. `stamps` and `kinds` are None for an event that is refused,
    and for one without a common type or timestamp, whose summary is in `apart`. `named` are the places of events that
    came without an `_id`.
    """

    sent: list[bytes] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    texts: list[bytes] | None = None
    oids: list[bytes] = field(default_factory=list)
    stamps: list[datetime | None] = field(default_factory=list)
    kinds: list[str | None] = field(default_factory=list)
    refused: dict[int, EventRefused] = field(default_factory=dict)
    apart: dict[int, Summary] = field(default_factory=dict)
    named: set[int] = field(default_factory=set)

    def refusals(self) -> list[Refused]:
        came = self.sent if self.texts is None else self.texts
        return [Refused(i, error.code, str(error), came[i]) for i, error in sorted(self.refused.items())]

    def summary(self, places: Sequence[int]) -> Summary:
        """The summary of the events at these places."""
        is_all = len(places) == len(self.events)
        oids = self.oids if is_all else [self.oids[i] for i in places]
        if is_all and not self.apart:
            stamps, kinds = cast("list[datetime]", self.stamps), set(cast("list[str]", self.kinds))
        else:
            stamps = [stamp for i in places if (stamp := self.stamps[i]) is not None]
            kinds = {kind for i in places if (kind := self.kinds[i]) is not None}
        parts = [self.apart[i] for i in places if i in self.apart] if self.apart else []
        if stamps:
            low, high = epoch_ms(min(stamps)), epoch_ms(max(stamps))
            parts.append(Summary(low, high, min(oids), max(oids), bounded_types(kinds)))
        return reduce(Summary.merge, parts)


class Intake:
    """Takes events in. Not thread safe.

    Args:   recent: the window of ids, shared by every door; now: the time as naive UTC; new_id: gives 12 new bytes.
    """

    def __init__(
        self,
        recent: RecentIds,
        *,
        event_bytes_max: int,
        depth_max: int,
        now: Callable[[], datetime],
        new_id: Callable[[], bytes],
    ) -> None:
        self.recent = recent
        self._event_bytes_max = event_bytes_max
        self._depth_max = depth_max
        self._plain_bytes = min(event_bytes_max + 1, depth_max * BYTES_PER_LEVEL_MIN)
        self._now = now
        self._new_id = new_id

    def take_bson(self, messages: Sequence[bytes], *, exact: bool = False) -> Taken:
        """Take messages of one or more concatenated BSON events each.

        A message whose lengths do not add up is one event, refused. Never raises for what the bytes are.

        Args:   exact: every message is known to be as long as its length prefix says (so it is one event).
        """
        events, sound = (messages, True) if exact else _cut(messages)
        run = _Run()
        for start in range(0, len(events), _BLOCK_EVENTS):
            block = events[start : start + _BLOCK_EVENTS]
            if not (sound and self._look_without_ids(run, block)):
                self._look(run, block, _decoded(run, block, sound))
        return self._settle(run, messages[0] if len(messages) == 1 else None)

    def take_json(self, messages: Iterable[bytes]) -> Taken:
        """Take messages of one JSON object, an array of them, or NDJSON each. Never raises for what the bytes are."""
        run = _Run(texts=[])
        items = (item for message in messages for item in documents_from_json(message))
        while block := list(islice(items, _BLOCK_EVENTS)):
            self._look(run, *_encoded(run, block))
        return self._settle(run, None)

    def _look(self, run: _Run, sent: Sequence[bytes], documents: Sequence[Document | None]) -> None:
        """Add a block to the run: check every event of it, and mend what can be mended.

        Args:   documents: the events decoded; None for those that the run has refused already.
        """
        start, plain_bytes = len(run.sent), self._plain_bytes
        run.sent += sent
        run.events += sent
        odd: list[int] = []
        add_oid, add_stamp, add_kind = run.oids.append, run.stamps.append, run.kinds.append
        decoded = cast("Sequence[Document]", documents)  # None raises the TypeError that is caught.
        for place, (event, document) in enumerate(zip(sent, decoded, strict=True), start):
            try:
                stamp, kind, oid = document["timestamp"], document["type"], document["_id"].binary
                if (
                    type(stamp) is datetime
                    and type(kind) is str
                    and 0 < len(kind) <= _TYPE_LENGTH_PLAIN
                    and type(document["context"]) is dict
                    and event[_ID] == _ID_FIELD + oid
                    and len(event) < plain_bytes
                    and "$command" not in document
                ):
                    add_oid(oid)
                    add_stamp(stamp)
                    add_kind(kind)
                    continue
            except (KeyError, TypeError, AttributeError):
                pass
            odd.append(place)
            add_oid(b"")
            add_stamp(None)
            add_kind(None)
        if odd:
            now = self._now()
            for place in odd:
                found = documents[place - start]
                if found is not None:
                    self._mend(run, place, found, now)

    def _look_without_ids(self, run: _Run, sent: Sequence[bytes]) -> bool:
        """Add a block of which every event can be stored as it came; False, with nothing done, for any other.

        The checks are those of `_look`, a field at a time. A document that still has an `_id` had two.
        """
        if {event[_ID_NAME] for event in sent} != {_ID_FIELD} or min(map(len, sent)) < _WITH_ID_BYTES_MIN:
            return False
        try:
            bare = [(len(event) - _ID_BYTES).to_bytes(4, "little") + event[_REST] for event in sent]
            decoded = decode_all(b"".join(bare))
            stamps = [document["timestamp"] for document in decoded]
            kinds = [document["type"] for document in decoded]
            contexts = {type(document["context"]) for document in decoded}
        except (EventRefused, KeyError):
            return False
        if not (
            len(decoded) == len(sent)
            and set(map(type, stamps)) == {datetime}
            and set(map(type, kinds)) == {str}
            and contexts == {dict}
            and all(0 < len(kind) <= _TYPE_LENGTH_PLAIN for kind in set(kinds))
            and max(map(len, sent)) < self._plain_bytes
            and not any(["$command" in document or "_id" in document for document in decoded])
        ):
            return False
        run.sent += sent
        run.events += sent
        run.oids += [event[_OID] for event in sent]
        run.stamps += stamps
        run.kinds += kinds
        return True

    def _settle(self, run: _Run, payload: bytes | None) -> Taken:
        """What becomes of a whole run; `payload` are the bytes that came, if they came as one."""
        oids, duplicates, unsettled = self._unique(run)
        received = len(run.events)
        places: Sequence[int] = range(received)
        if run.refused or duplicates:
            out = run.refused.keys() | set(duplicates)
            places = [i for i in places if i not in out]
        events = run.events if len(places) == received else [run.events[i] for i in places]
        data = (
            payload
            if payload is not None and run.events == run.sent and len(places) == received
            else b"".join(events)
        )
        summary = run.summary(places) if events else None
        return Taken(received, data, len(events), summary, run.refusals(), duplicates, unsettled, oids)

    def _mend(self, run: _Run, place: int, document: Document, now: datetime) -> None:
        """Make one event of the run what is to be stored, or refuse it."""
        sent, has_id = run.sent[place], "_id" in document
        try:
            if not has_id and _is_complete(document) and len(sent) + _ID_BYTES < self._plain_bytes:
                event, whole = with_id(sent, self._new_id()), document
            else:
                event, whole = self._completed(sent, document, now)
        except EventRefused as refused:
            run.refused[place] = refused
            return
        run.events[place] = event
        run.oids[place] = event[_OID]
        if not has_id:
            run.named.add(place)
        if _is_complete(whole):
            run.stamps[place], run.kinds[place] = whole["timestamp"], whole["type"]
        else:
            run.apart[place] = Summary.of([whole])

    def _completed(self, sent: bytes, document: Document, now: datetime) -> tuple[bytes, Document]:
        """One event as it is to be stored, as bytes and decoded. Raises: EventRefused."""
        self._check_size(sent)
        if len(sent) >= self._plain_bytes and is_deeper_than(self._depth_max, sent):
            raise EventRefused("too_deep", f"the event is nested deeper than {self._depth_max} levels")
        new_id = ObjectId(self._new_id())
        has_command = "$command" in document
        command = document.pop("$command", "event")
        if command == "event":
            whole = complete(document, now=now, new_id=new_id)
        elif command == "event_noval":
            whole = fill(document, now=now, new_id=new_id)
        else:
            name = str(command)[:40]
            raise EventRefused("command_unknown", f"`$command` {name!r} is neither event nor event_noval")
        event = encode({"_id": whole["_id"], **whole}) if has_command else _stored(sent, document, whole)
        self._check_size(event)
        return event, whole

    def _check_size(self, event: bytes) -> None:
        if len(event) > self._event_bytes_max:
            raise EventRefused("too_large", f"the event has {len(event):,} of {self._event_bytes_max:,} bytes")

    def _unique(self, run: _Run) -> tuple[Collection[bytes], list[int], bool]:
        """The ids that came with events to store, now open; the places of retries; whether one is not synced yet.

        An event is printed as it was sent: what was filled in differs from one try to the next. An `_id` given here
        is nobody's retry, and does not push others out of the window.
        """
        recent, out = self.recent, run.refused.keys() | run.named
        if not out and recent.add_new(run.oids, map(hash, run.sent)):
            return run.oids, [], False
        prints: dict[bytes, int] = {}
        duplicates: list[int] = []
        for index, (sent, oid) in enumerate(zip(run.sent, run.oids, strict=True)):
            if index in out:
                continue
            now = hash(sent)
            before = prints.get(oid, recent.print_of(oid))
            if before is None:
                prints[oid] = now
            elif before == now:
                duplicates.append(index)
            else:
                message = f"an event with the _id {oid.hex()} and other content is stored already"
                run.refused[index] = EventRefused("duplicate_id", message)
        is_unsettled = recent.any_open([run.oids[index] for index in duplicates])
        recent.add(prints)
        return prints, duplicates, is_unsettled


def _decoded(run: _Run, block: Sequence[bytes], sound: bool) -> list[Document | None]:
    """A block decoded, at once if that is possible; `sound`: each event is as long as its length prefix says."""
    if sound:
        try:
            return [*decode_all(b"".join(block))]
        except EventRefused:
            pass  # Which of them it is, the next lines find out.
    documents: list[Document | None] = []
    for place, event in enumerate(block, len(run.events)):
        try:
            documents.append(decode(event))
        except EventRefused as refused:
            documents.append(None)
            run.refused[place] = refused
    return documents


def _encoded(
    run: _Run, block: Sequence[tuple[Document | EventRefused, bytes]]
) -> tuple[list[bytes], list[Document | None]]:
    """A block of JSON objects as BSON, and as documents."""
    sent: list[bytes] = []
    documents: list[Document | None] = []
    for place, (item, text) in enumerate(block, len(run.events)):
        try:
            if isinstance(item, EventRefused):
                raise item
            sent.append(encode(item))
            documents.append(item)
        except EventRefused as refused:
            sent.append(text)
            documents.append(None)
            run.refused[place] = refused
    if run.texts is not None:
        run.texts += [text for _, text in block]
    return sent, documents


def _cut(messages: Sequence[bytes]) -> tuple[list[bytes], bool]:
    """The events of the messages, and whether every message could be cut by its lengths."""
    events: list[bytes] = []
    sound = True
    for message in messages:
        try:
            events += split(message)
        except EventRefused:
            sound = False
            events.append(message)
        else:
            if not message:
                sound = False
                events.append(message)
    return events, sound


def _is_complete(document: Document) -> bool:
    """Whether an event has all that most events have, but for the `_id`, in its common form."""
    kind = document.get("type")
    return (
        type(document.get("timestamp")) is datetime
        and type(document.get("context")) is dict
        and type(kind) is str
        and 0 < len(kind) <= _TYPE_LENGTH_PLAIN
        and "$command" not in document
    )


def _stored(sent: bytes, document: Document, whole: Document) -> bytes:
    """The bytes of a mended event: those sent, where they serve, for they cost nothing."""
    oid: bytes = whole["_id"].binary
    if whole is document:
        if sent[_ID] == _ID_FIELD + oid:
            return sent
    elif "_id" not in document and "context" in document and document.get("timestamp") is whole["timestamp"]:
        return with_id(sent, oid)  # A large one, or one with a long type.
    return encode({"_id": whole["_id"], **whole})
