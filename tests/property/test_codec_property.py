"""Round trips of any document through BSON and through JSON."""

import string
from datetime import UTC, datetime

import bson
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from zarkov import codec
from zarkov.batch import Summary, epoch_ms
from zarkov.errors import REFUSAL_CODES, EventRefused

moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(
    lambda m: m.replace(microsecond=m.microsecond // 1000 * 1000)
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | moments
    | st.binary(min_size=12, max_size=12).map(ObjectId)
    | st.binary(max_size=20)
)
keys = st.text(string.ascii_letters + "._-é", min_size=1, max_size=8)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(keys, v, max_size=4), max_leaves=12
)
documents = st.dictionaries(keys, values, max_size=6)


@given(documents)
def test_bson_gives_back_what_it_was_given(document: dict) -> None:
    assert codec.decode(codec.encode(document)) == document


@given(documents)
def test_json_gives_back_what_it_was_given(document: dict) -> None:
    text = codec.to_json(document)
    assert "\n" not in text
    assert codec.from_json(text) == document


@given(st.lists(documents, max_size=6))
def test_lines_and_arrays_give_back_every_document(many: list[dict]) -> None:
    lines = [codec.to_json(document) for document in many]
    array = ("[" + ",\n".join(lines) + "]").encode()
    assert [item for item, _ in codec.documents_from_json(array)] == many
    if many:
        assert [item for item, _ in codec.documents_from_json("\n".join(lines).encode())] == many


@given(st.lists(documents.map(bson.encode), max_size=8))
def test_splitting_undoes_joining(many: list[bytes]) -> None:
    assert codec.split(b"".join(many)) == many


@given(st.binary(max_size=300))
def test_random_bytes_are_documents_or_refused_with_a_known_code(data: bytes) -> None:
    for read in (codec.decode, codec.decode_all, codec.split, codec.from_json):
        try:
            read(data)
        except EventRefused as refused:
            assert refused.code in REFUSAL_CODES
    for item, _ in codec.documents_from_json(data):
        assert isinstance(item, dict) or item.code in REFUSAL_CODES


@given(st.lists(st.tuples(moments, st.binary(min_size=12, max_size=12), st.text("abc", max_size=2)), min_size=1))
def test_the_summary_of_two_runs_is_the_summary_of_both(events: list[tuple[datetime, bytes, str]]) -> None:
    run = [{"_id": ObjectId(oid), "timestamp": stamp, "type": kind} for stamp, oid, kind in events]
    whole = Summary.of(run)
    assert whole.ts_min_ms == min(round(stamp.replace(tzinfo=UTC).timestamp() * 1000) for stamp, _, _ in events)
    assert whole.ts_max_ms == max(epoch_ms(stamp) for stamp, _, _ in events)
    assert whole.types == {kind for _, _, kind in events}
    for cut in range(1, len(run)):
        assert Summary.of(run[:cut]).merge(Summary.of(run[cut:])) == whole
