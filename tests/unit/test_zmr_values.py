"""When two keys of map-reduce are one, and what becomes of a key."""

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex

from zarkov.errors import OutputInvalid
from zarkov.store.keys import KEY_BYTES_MAX
from zarkov.zmr import values
from zarkov.zmr.values import (
    key_of,
    keys_of,
    partition_of,
    shown_key,
    shown_stored,
    stored_key,
    through_bson,
    weight_of,
)


class Pair(NamedTuple):
    project: str
    hour: int


NOON = datetime(2026, 5, 1, 12)
ONE = [
    (1, 1.0),
    (1, Int64(1)),
    (0, -0.0),
    (math.nan, -math.nan),
    (("a", 1), ("a", 1.0)),
    (("a", 1), ["a", 1]),
    (("a", 1), Pair("a", 1)),
    (("a", 1), {"0": "a", "1": 1}),
    (("a", (1, 2)), ("a", [1, 2])),
    ((), {}),
    (NOON, NOON.replace(microsecond=999)),
    (NOON, datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))),
    (NOON.replace(tzinfo=UTC), NOON),
    (b"a", Binary(b"a")),
    ({"a": {"b": 1}}, {"a": {"b": 1.0}}),
]
TWO = [
    (True, 1),
    (False, 0),
    (("a", True), ("a", 1)),
    ("1", 1),
    (b"a", "a"),
    (b"a", Binary(b"a", 128)),
    (None, 0),
    (None, ""),
    (2**53, 2**53 + 1),
    (float(2**53), 2**53 + 1),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (("a", "b"), ("ab",)),
    (("a/b", "c"), ("a", "b/c")),
    (("a\x00", "b"), ("a", "\x00b")),
    ((1, 2), (1, 2, None)),
    (("a", (1, 2)), ("a", {"0": 1, "1": 2})),
    (NOON, NOON.replace(microsecond=1000)),
]


@pytest.mark.parametrize(("one", "other"), ONE, ids=repr)
def test_keys_that_the_store_takes_for_one_are_one(one: Any, other: Any) -> None:
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(("one", "other"), TWO, ids=repr)
def test_keys_that_the_store_tells_apart_are_two(one: Any, other: Any) -> None:
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize(
    "key",
    [
        {1, 2},
        object(),
        2**63,
        ("a", 2**64),
        Decimal128("1"),
        ("a", Decimal128("1")),
        Regex("a"),
        "\ud800",
        ("a", "\ud800"),
        "a" * KEY_BYTES_MAX,
        ("a" * (KEY_BYTES_MAX // 2), "b" * (KEY_BYTES_MAX // 2)),
        {1: 2},
    ],
    ids=lambda key: repr(key)[:20],
)
def test_what_can_be_no_key_is_refused_and_named(key: Any) -> None:
    with pytest.raises(OutputInvalid, match="key"):
        key_of(key)


def test_many_keys_at_once_are_the_same_as_one_by_one() -> None:
    keys = ["a", ("a", 1), ("a", 2.5), 7, None, NOON, ObjectId("0" * 24), b"x", (), ("a",) * 9, math.inf, "a\x00"]
    assert keys_of(keys) == [key_of(key) for key in keys]


@pytest.mark.parametrize(
    ("key", "shown", "stored"),
    [
        ("a", "a", "a"),
        (2.0, 2.0, 2.0),
        (("a", 1), ("a", 1), {"0": "a", "1": 1}),
        (["a", [1, (2,)]], ("a", (1, (2,))), {"0": "a", "1": (1, (2,))}),
        (Pair("a", 1), ("a", 1), {"0": "a", "1": 1}),
        ({"0": "a", "1": 1}, ("a", 1), {"0": "a", "1": 1}),
        ({"1": "a", "0": 1}, {"1": "a", "0": 1}, {"1": "a", "0": 1}),
        ({"p": "a", "tags": ["x"]}, {"p": "a", "tags": ("x",)}, {"p": "a", "tags": ("x",)}),
        ((), {}, {}),
        (NOON.replace(microsecond=1999), NOON.replace(microsecond=1000), NOON.replace(microsecond=1000)),
        (("a", NOON.replace(tzinfo=UTC)), ("a", NOON), {"0": "a", "1": NOON}),
    ],
    ids=repr,
)
def test_a_key_is_shown_as_a_tuple_and_stored_as_a_document(key: Any, shown: Any, stored: Any) -> None:
    found = shown_key(key)
    assert (found, type(found)) == (shown, type(shown))
    assert stored_key(found) == stored
    # However often it travels, it is shown as it was, and stays one key.
    assert shown_stored(through_bson(found)) == shown
    assert shown_stored(through_bson(stored_key(found))) == shown
    assert key_of(found) == key_of(key) == key_of(stored_key(found))


def test_a_partition_is_the_same_in_every_process_and_release() -> None:
    keys = [key_of(key) for key in ("commit", ("allura", 9), 1, None)]
    assert [partition_of(key, 256) for key in keys] == [86, 154, 149, 2]
    assert partition_of(keys[0], 1) == 0


def test_keys_spread_evenly_over_partitions() -> None:
    counts = [0] * 8
    for number in range(8_000):
        counts[partition_of(key_of(("project", number)), 8)] += 1
    assert min(counts) > 850
    assert max(counts) < 1_150


def test_what_is_remembered_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MEMO_MAX", 10)
    for number in range(1_000):
        assert key_of((f"name {number}",)) == key_of([f"name {number}"])
        assert len(values._fields[0]) <= 10


def test_the_weight_of_a_value_follows_its_size() -> None:
    assert weight_of("a" * 10_000) > 10_000
    assert weight_of({"a": ["b" * 1_000] * 50}) > 50_000
    assert weight_of([1] * 100_000) > 40 * 90_000
    assert weight_of(1) < 100
