"""The checksum by which a migration is verified: blind to order, and to nothing else."""

import bson
import pytest
from bson import Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from zarkov.store.checksum import Checksum, checksum_of

ONE, TWO = ({"_id": ObjectId(f"{number:024x}"), "n": number, "list": [1, {"a": None}]} for number in (1, 2))


def of(*documents: dict[str, object]) -> Checksum:
    return checksum_of(map(bson.encode, documents))


@given(st.lists(st.dictionaries(st.text("ab", max_size=2), st.integers(0, 3)), max_size=6), st.randoms())
def test_order_makes_no_difference_and_sets_can_be_added(documents: list[dict[str, object]], random: object) -> None:
    shuffled = documents[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert of(*documents) == of(*shuffled)
    assert of(*documents[:2]) + of(*documents[2:]) == of(*documents)


def test_where_the_id_stands_makes_no_difference() -> None:
    assert of({"n": 1, "_id": ONE["_id"], "m": 2}) == of({"_id": ONE["_id"], "n": 1, "m": 2})


@pytest.mark.parametrize(
    "other",
    [
        [ONE],
        [ONE, TWO, TWO],
        [ONE, ONE],
        [ONE, {**TWO, "n": 3}],
        [ONE, {**TWO, "n": Int64(2)}],
        [ONE, {**TWO, "n": 2.0}],
        [ONE, {"_id": TWO["_id"], "list": TWO["list"], "n": 2}],
        [],
    ],
)
def test_what_is_missing_doubled_or_different_makes_a_difference(other: list[dict[str, object]]) -> None:
    assert of(ONE, TWO) != of(*other)


def test_a_checksum_is_shown_as_32_digits() -> None:
    assert (str(of()), of().count) == ("0" * 32, 0)
    assert len(str(of(ONE))) == 32
