"""From bytes to events: what can be taken, as it will be stored, and why the rest cannot. Pure.

Theory of operation. A drain of a socket is cut into events by their length prefixes, joined, decoded once, and looked
at once. An event that is complete as it came (`_id` first, `timestamp`, `type`, `context`, not large, no `$command`)
keeps its bytes; only the others are looked at closely, each on its own: mended (a missing field filled in, a date in
text made a date), or refused. When nothing was mended or refused, the bytes to store are the very bytes that came.

Always true of what is taken: it decodes, it is at most `event_bytes_max` bytes and `depth_max` levels, and it begins
with an ObjectId as `_id`. Unless it asked not to be validated, it is also complete as `zarkov.event` says.

A duplicate `_id` among the latest events: the same content as sent is a retry and is not stored again; other content
is refused. The decoded documents are dropped before anything waits; only bytes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from bson import ObjectId

from zarkov.batch import Summary, bounded_types, epoch_ms
from zarkov.codec import decode, decode_all, documents_from_json, encode, split, with_id
from zarkov.errors import EventRefused
from zarkov.event import BYTES_PER_LEVEL_MIN, TYPE_BYTES_MAX, Document, complete, fill
from zarkov.ingest.nesting import is_deeper_than
from zarkov.ingest.recent import RecentIds

_ID_FIELD = b"\x07_id\x00"
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
    `prints` are the ids now open in the window of recent ids: settle or forget them.
    """

    received: int
    data: bytes
    count: int
    summary: Summary | None
    refused: Sequence[Refused] = ()
    duplicates: Sequence[int] = ()
    unsettled: bool = False
    prints: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Run:
    """Events on their way, in the order they came.

    `documents[i]` is `events[i]` decoded; None when the event is not to be stored. `refused` has the reason, unless
    it is a duplicate. `events` are the bytes to store, `sent` those that came (as BSON), `texts` as JSON.
    """

    sent: Sequence[bytes]
    documents: list[Document | None]
    refused: dict[int, EventRefused] = field(default_factory=dict)
    texts: Sequence[bytes] | None = None
    events: list[bytes] = field(init=False)
    unchecked: bool = False

    def refuse(self, index: int, refused: EventRefused) -> None:
        self.documents[index] = None
        self.refused[index] = refused

    def refusals(self) -> list[Refused]:
        came = self.sent if self.texts is None else self.texts
        return [Refused(i, error.code, str(error), came[i]) for i, error in sorted(self.refused.items())]


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
        if sound:
            data = messages[0] if len(messages) == 1 else b"".join(messages)
            try:
                return self._take(_Run(events, [*decode_all(data)]), data)
            except EventRefused:
                pass  # Which of them it is, the next lines find out.
        run = _Run(events, [None] * len(events))
        for index, event in enumerate(events):
            try:
                run.documents[index] = decode(event)
            except EventRefused as refused:
                run.refuse(index, refused)
        return self._take(run, None)

    def take_json(self, messages: Iterable[bytes]) -> Taken:
        """Take messages of one JSON object, an array of them, or NDJSON each. Never raises for what the bytes are."""
        items = [item for message in messages for item in documents_from_json(message)]
        texts = [text for _, text in items]
        sent = list(texts)
        run = _Run(sent, [None] * len(items), texts=texts)
        for index, (item, _) in enumerate(items):
            try:
                if isinstance(item, EventRefused):
                    raise item
                sent[index] = encode(item)
                run.documents[index] = item
            except EventRefused as refused:
                run.refuse(index, refused)
        return self._take(run, None)

    def _take(self, run: _Run, data: bytes | None) -> Taken:
        """Settle what becomes of a run; `data` is all that was sent, joined, if that is at hand."""
        odd = self._odd(run)
        run.events = [*run.sent]
        for index in odd:
            document = run.documents[index]
            if document is not None:
                try:
                    run.events[index], run.documents[index] = self._mend(run, run.sent[index], document)
                except EventRefused as refused:
                    run.refuse(index, refused)
        prints, duplicates, unsettled = self._unique(run, bool(odd))
        documents = [document for document in run.documents if document is not None]
        if odd or data is None or len(documents) < len(run.sent):
            both = zip(run.events, run.documents, strict=True)
            data = b"".join([event for event, document in both if document is not None])
        self.recent.add(prints)
        summary = _summary(documents, prints, run.unchecked) if documents else None
        return Taken(len(run.sent), data, len(documents), summary, run.refusals(), duplicates, unsettled, prints)

    def _odd(self, run: _Run) -> list[int]:
        """The places of the events that cannot be stored as they are without a closer look."""
        odd: list[int] = []
        plain_bytes = self._plain_bytes
        documents = cast("list[Document]", run.documents)  # None raises the TypeError that is caught.
        for index, (event, document) in enumerate(zip(run.sent, documents, strict=True)):
            try:
                if not (
                    type(document["timestamp"]) is datetime
                    and type(document["context"]) is dict
                    and 0 < len(document["type"]) <= _TYPE_LENGTH_PLAIN
                    and type(document["type"]) is str
                    and event[4:9] == _ID_FIELD
                    and document["_id"].binary == event[9:21]
                    and len(event) < plain_bytes
                    and "$command" not in document
                ):
                    odd.append(index)
            except (KeyError, TypeError, AttributeError):
                odd.append(index)
        return odd

    def _mend(self, run: _Run, sent: bytes, document: Document) -> tuple[bytes, Document]:
        """One event as it is to be stored. Raises: EventRefused."""
        self._check_size(sent)
        if len(sent) >= self._plain_bytes and is_deeper_than(self._depth_max, sent):
            raise EventRefused("too_deep", f"the event is nested deeper than {self._depth_max} levels")
        now, new_id = self._now(), ObjectId(self._new_id())
        has_command = "$command" in document
        command = document.pop("$command", "event")
        if command == "event":
            whole = complete(document, now=now, new_id=new_id)
        elif command == "event_noval":
            whole = fill(document, now=now, new_id=new_id)
            run.unchecked = True
        else:
            name = str(command)[:40]
            raise EventRefused("command_unknown", f"`$command` {name!r} is neither event nor event_noval")
        event = encode({"_id": whole["_id"], **whole}) if has_command else _stored(sent, document, whole)
        self._check_size(event)
        return event, whole

    def _check_size(self, event: bytes) -> None:
        if len(event) > self._event_bytes_max:
            raise EventRefused("too_large", f"the event has {len(event):,} of {self._event_bytes_max:,} bytes")

    def _unique(self, run: _Run, is_mended: bool) -> tuple[dict[bytes, int], list[int], bool]:
        """The prints of the events to store, the places of retries, and whether one of those is not synced yet."""
        recent = self.recent
        if not is_mended:
            prints = {event[9:21]: hash(event) for event in run.sent}
            if len(prints) == len(run.sent) and recent.has_none_of(prints):
                return prints, [], False
        prints, duplicates, unsettled = {}, [], False
        for index, (sent, event) in enumerate(zip(run.sent, run.events, strict=True)):
            if run.documents[index] is None:
                continue
            oid, now = event[9:21], hash(sent)
            before = prints.get(oid, recent.print_of(oid))
            if before is None:
                prints[oid] = now
            elif before == now:
                duplicates.append(index)
                run.documents[index] = None
                unsettled = unsettled or recent.is_open(oid)
            else:
                message = f"an event with the _id {oid.hex()} and other content is stored already"
                run.refuse(index, EventRefused("duplicate_id", message))
        return prints, duplicates, unsettled


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


def _stored(sent: bytes, document: Document, whole: Document) -> bytes:
    """The bytes of a mended event: those sent, where they serve, for they cost nothing."""
    oid: bytes = whole["_id"].binary
    if whole is document:
        if sent[4:9] == _ID_FIELD and sent[9:21] == oid:
            return sent
    elif "_id" not in document and "context" in document and document.get("timestamp") is whole["timestamp"]:
        return with_id(sent, oid)
    return encode({"_id": whole["_id"], **whole})


def _summary(documents: Sequence[Document], prints: Mapping[bytes, int], unchecked: bool) -> Summary:
    if unchecked:
        return Summary.of(documents)
    stamps = [document["timestamp"] for document in documents]
    kinds = {document["type"] for document in documents}
    return Summary(epoch_ms(min(stamps)), epoch_ms(max(stamps)), min(prints), max(prints), bounded_types(kinds))
