"""What a filter says about time, type and `_id`: never too narrow, exact where it claims to be."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from zarkov import codec
from zarkov.batch import Summary
from zarkov.store.bounds import Bounds, bounds_of
from zarkov.store.filter import compile_filter
from zarkov.store.parse import parse

DAY = datetime(1970, 1, 2)
MS = 86_400_000
LOW, HIGH = ObjectId("0" * 23 + "1"), ObjectId("0" * 23 + "9")


def bounds(filter: dict[str, Any]) -> Bounds:
    return bounds_of(parse(filter))


def test_the_empty_filter_is_everything() -> None:
    assert bounds({}).everything
    assert not bounds({"type": "nop"}).everything
    assert not bounds({"a": {"$gt": 1}}).everything


def test_a_range_of_time_is_in_milliseconds_both_included() -> None:
    found = bounds({"timestamp": {"$gt": DAY, "$lt": DAY + timedelta(seconds=1)}})
    assert (found.ts_from_ms, found.ts_to_ms, found.exact) == (MS + 1, MS + 999, True)


def test_conjunctions_narrow_and_alternatives_widen() -> None:
    found = bounds({"$and": [{"timestamp": {"$gte": DAY}}, {"type": {"$in": ["a", "b"]}}, {"type": "b"}]})
    assert (found.ts_from_ms, found.types, found.exact) == (MS, frozenset("b"), True)
    found = bounds({"$or": [{"type": "a", "_id": LOW}, {"type": "b", "_id": {"$gte": HIGH}}]})
    assert (found.types, found.id_from, found.id_to, found.exact) == (frozenset("ab"), LOW.binary, None, False)
    assert bounds({"$or": [{"type": "a"}, {"x": 1}]}).types is None


def test_what_is_negated_or_of_another_type_bounds_nothing() -> None:
    for filter in ({"type": {"$ne": "a"}}, {"$nor": [{"type": "a"}]}, {"timestamp": {"$gt": 5}}, {"type": 5}):
        assert bounds(filter) == Bounds()


def test_every_match_holds_the_needles() -> None:
    found = bounds({"context.project": "allura", "extra": {"$elemMatch": {"name": "rick"}}, "a": "x"})
    assert set(found.needles) == {b"allura\x00", b"rick\x00"}
    assert bounds({"$or": [{"a": "allura"}, {"b": "allura"}]}).needles == ()


def test_a_summary_of_unchecked_events_is_never_covered() -> None:
    unchecked = Summary.of([{"_id": LOW, "timestamp": "yesterday", "type": 5}])
    assert not bounds({"timestamp": {"$gte": datetime(1, 1, 1)}}).covers(unchecked)
    assert not bounds({"timestamp": {"$lte": datetime(9999, 1, 1)}}).covers(unchecked)
    assert not bounds({"type": {"$in": ["a"]}}).covers(unchecked)
    assert bounds({}).covers(unchecked)


stamps = st.integers(0, 5).map(lambda days: DAY + timedelta(days=days))
idents = st.integers(1, 9).map(lambda digit: ObjectId("0" * 23 + str(digit)))
events = st.fixed_dictionaries(
    {"_id": idents, "timestamp": stamps | st.just("never"), "type": st.sampled_from(["abc", "abd", "b"]) | st.just(5)}
)
ordered = st.sampled_from(["$eq", "$gt", "$gte", "$lt", "$lte"])
tests = st.one_of(
    st.tuples(ordered, stamps).map(lambda p: {"timestamp": {p[0]: p[1]}}),
    st.tuples(ordered, idents).map(lambda p: {"_id": {p[0]: p[1]}}),
    st.sampled_from(["abc", "abd"]).map(lambda kind: {"type": kind}),
    st.lists(st.sampled_from(["abc", "b"]), min_size=1).map(lambda kinds: {"type": {"$in": kinds}}),
    st.lists(idents, min_size=1, max_size=3).map(lambda ids: {"_id": {"$in": ids}}),
)
combined = st.recursive(
    tests,
    lambda inner: st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=3)).map(
        lambda p: {p[0]: p[1]}
    ),
    max_leaves=5,
)


@given(combined, st.lists(events, min_size=1, max_size=4))
def test_bounds_leave_out_no_match_and_cover_no_miss(filter: dict[str, Any], run: list[dict[str, Any]]) -> None:
    found, summary, match = bounds(filter), Summary.of(run), compile_filter(filter)
    for event in run:
        if not match(event):
            assert not found.covers(summary)
            continue
        alone = Summary.of([event])
        assert found.ts_from_ms is None or alone.ts_max_ms >= found.ts_from_ms
        assert found.ts_to_ms is None or alone.ts_min_ms <= found.ts_to_ms
        assert found.types is None or alone.types is None or alone.types & found.types
        assert (found.id_from or b"") <= alone.id_max
        assert (found.id_to or b"\xff" * 12) >= alone.id_min
        assert all(needle in codec.encode(event) for needle in found.needles)


@pytest.mark.parametrize("filter", [{"a": "rare"}, {"a": "rare", "b": {"$gt": 300}}, {"a": "common"}])
def test_needles_change_how_a_run_is_read_and_not_what_is_found(filter: dict[str, Any]) -> None:
    from zarkov.store.scan import matching

    documents = [{"_id": n, "a": "rare" if n % 100 == 7 else "common", "b": n} for n in range(2000)]
    data = b"".join(map(codec.encode, documents))
    match = compile_filter(filter)
    found = [document for run in matching(data, 2000, match, bounds(filter).needles) for document in run]
    assert found == [document for document in documents if match(document)]
    assert found
