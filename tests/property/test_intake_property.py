"""Whatever bytes come: no exception, every event taken or refused with a known code, its bytes kept."""

import json
from typing import Any

import bson
from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from intakes import THEN, an_intake
from zarkov.batch import Summary
from zarkov.codec import CODEC_OPTIONS
from zarkov.errors import REFUSAL_CODES
from zarkov.ingest import protocol
from zarkov.ingest.intake import Taken
from zarkov.ingest.nesting import is_deeper_than


def no_nul(text: str) -> bool:
    return "\x00" not in text


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5).filter(no_nul), inner, max_size=3)
    ),
    max_leaves=8,
)


EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "_id": st.builds(lambda raw: ObjectId(raw), st.binary(min_size=12, max_size=12)) | VALUES,
        "timestamp": st.datetimes() | st.just("2020-01-02T03:04:05Z") | VALUES,
        "type": st.text(max_size=8) | VALUES,
        "context": st.dictionaries(st.text(max_size=5).filter(no_nul), VALUES, max_size=3) | VALUES,
        "extra": VALUES,
        "$command": st.sampled_from(["event", "event_noval", "drop", None, 7]),
    },
)
GOOD = st.builds(
    lambda kind, extra: bson.encode(
        {"_id": ObjectId(), "timestamp": THEN, "type": kind, "context": {}, "extra": extra}
    ),
    st.text(min_size=1, max_size=8),
    VALUES,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An event's bytes with some overwritten, cut out or doubled."""
    data = bytearray(draw(GOOD))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["set", "cut", "double"]))
        size = draw(st.integers(1, 8))
        if kind == "set":
            data[at : at + size] = draw(st.binary(min_size=size, max_size=size))
        elif kind == "cut":
            del data[at : at + size]
        else:
            data[at:at] = data[at : at + size]
    return bytes(data)


MESSAGES = st.lists(
    st.binary(max_size=60) | mutated() | GOOD | st.lists(GOOD, max_size=3).map(b"".join) | EVENTS.map(bson.encode),
    max_size=6,
)


def check(taken: Taken) -> list[dict[str, Any]]:
    """What must hold of anything that was taken; returns the stored documents."""
    documents = bson.decode_all(taken.data, CODEC_OPTIONS)
    assert len(documents) == taken.count
    assert taken.received == taken.count + len(taken.refused) + len(taken.duplicates)
    assert {one.code for one in taken.refused} <= REFUSAL_CODES.keys()
    places = [one.index for one in taken.refused] + list(taken.duplicates)
    assert len(set(places)) == len(places)
    assert all(0 <= place < taken.received for place in places)
    assert taken.summary == (Summary.of(documents) if documents else None)
    at = 0
    for document in documents:
        size = int.from_bytes(taken.data[at : at + 4], "little")
        event = taken.data[at : at + size]
        assert event[4:9] == b"\x07_id\x00"
        assert event[9:21] == document["_id"].binary
        assert not is_deeper_than(100, event)
        assert "$command" not in document
        at += size
    assert at == len(taken.data)
    return documents


@settings(max_examples=400, deadline=None)
@given(MESSAGES)
def test_any_messages_on_the_bson_door_are_taken_or_refused_with_their_bytes(messages: list[bytes]) -> None:
    taken = an_intake().take_bson(messages)
    check(taken)
    whole = b"\x00".join(messages)
    assert all(one.data in whole for one in taken.refused)


@settings(max_examples=200, deadline=None)
@given(st.lists(GOOD, min_size=1, max_size=5), st.lists(st.binary(max_size=60) | mutated(), max_size=5), st.randoms())
def test_every_good_event_among_bad_ones_is_stored_as_it_was_sent(
    good: list[bytes], bad: list[bytes], random
) -> None:
    messages = [*good, *bad]
    random.shuffle(messages)
    taken = an_intake().take_bson(messages)
    check(taken)
    for event in good:
        assert event in taken.data


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=6))
def test_a_batch_and_the_same_events_one_by_one_have_the_same_fate(documents: list[dict[str, Any]]) -> None:
    messages = [bson.encode(document) for document in documents]
    together = an_intake().take_bson(messages)
    joined = an_intake().take_bson([b"".join(messages)]) if messages else together
    intake = an_intake()
    alone = [intake.take_bson([message]) for message in messages]
    assert together == joined
    assert together.data == b"".join(taken.data for taken in alone)
    fates = [[one.code for one in taken.refused] for taken in alone]
    assert [one.code for one in together.refused] == [code for fate in fates for code in fate]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.binary(max_size=40)
        | st.text(alphabet='{}[]":,\\ \n0123456789.eE+-tyepnulratfsNI$dcom_é', max_size=40).map(str.encode)
        | st.dictionaries(
            st.sampled_from(["type", "timestamp", "$date", "$oid", "_id", "a"]), st.floats() | st.text()
        )
        .map(json.dumps)
        .map(str.encode),
        max_size=5,
    )
)
def test_any_messages_on_the_json_door_are_taken_or_refused(messages: list[bytes]) -> None:
    check(an_intake().take_json(messages))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([b"ZK1", b"BATCH", b"BATCHJ", b"HELLO", b"PING", bytes(8)]) | st.binary(), max_size=8)
)
def test_any_frames_make_a_request_or_are_refused(frames: list[bytes]) -> None:
    try:
        request = protocol.parse(frames)
    except protocol.BadFrame:
        assert len(protocol.sequence_frame(frames)) == 8
    else:
        assert isinstance(request, protocol.Hello | protocol.Batch | protocol.Ping)
