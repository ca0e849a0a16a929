"""Events as Arrow columns."""

from datetime import UTC, datetime

import pyarrow
import pytest
from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from journaling import START, entry, small
from zarkov.batch import Entry, Summary
from zarkov.codec import encode
from zarkov.errors import PositionBeyondEnd
from zarkov.journal import Journal, JournalWriter, Selection
from zarkov.journal.columns import column

OID = ObjectId()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None, Int64(2)], pyarrow.int64(), [1, None, 2]),
        ([1, 2.5], pyarrow.float64(), [1.0, 2.5]),
        (["a", None], pyarrow.string(), ["a", None]),
        ([True, False], pyarrow.bool_(), [True, False]),
        ([b"x"], pyarrow.binary(), [b"x"]),
        ([OID, None], pyarrow.binary(12), [OID.binary, None]),
        ([None, None], pyarrow.null(), [None, None]),
        ([], pyarrow.null(), []),
        ([True, 1], pyarrow.string(), ["true", "1"]),
        (["a", 1], pyarrow.string(), ["a", "1"]),
        ([{"a": [1]}, None], pyarrow.string(), ['{"a": [1]}', None]),
        ([[1, "x"]], pyarrow.string(), ['[1, "x"]']),
    ],
)
def test_a_column_has_the_type_of_its_values(values, kind, expected):
    made = column(values)
    assert made.type == kind
    assert made.to_pylist() == expected


def test_dates_are_utc_milliseconds_whatever_their_year():
    made = column([START, DatetimeMS(-(10**15)), None])
    assert made.type == pyarrow.timestamp("ms", tz="UTC")
    assert made.cast(pyarrow.int64()).to_pylist() == [1714521600000, -(10**15), None]
    assert made[0].as_py() == datetime(2024, 5, 1, tzinfo=UTC)


def test_columns_name_offsets_and_dotted_paths(tmp_path):
    with JournalWriter.open(tmp_path, small()) as writer:
        writer.commit([entry(range(150))])
    with Journal.open(tmp_path) as journal:
        start, stop = {journal.journal_id: 20}, {journal.journal_id: 120}
        batches = list(journal.columns(["type", "context.number", "context.none.deeper", "type.x"], start, stop))
        table = pyarrow.Table.from_batches(batches)
        assert table.column("offset").to_pylist() == list(range(20, 120))
        assert table.column("context.number").to_pylist() == list(range(20, 120))
        assert set(table.column("type").to_pylist()) == {"tick"}
        assert table.column("context.none.deeper").null_count == table.column("type.x").null_count == 100
        assert sum(batch.num_rows for batch in journal.columns([], {})) == 150
        with pytest.raises(PositionBeyondEnd):
            journal.columns(["type"], {journal.journal_id: 151})


def test_columns_skip_chunks_outside_the_bounds(tmp_path):
    with JournalWriter.open(tmp_path, small()) as writer:
        writer.commit([entry(range(100), kind="a")])
        writer.commit([entry(range(100, 200), kind="b")])
    with Journal.open(tmp_path) as journal:
        (batch,) = journal.columns(["type"], {}, where=Selection(types=frozenset({"b"})))
        assert batch.column(0).to_pylist() == list(range(100, 200))


def test_text_that_looks_odd_is_kept(tmp_path):
    documents = [{"_id": ObjectId(), "timestamp": START, "type": "ü\u0000☃", "extra": {"$x": 1}}]
    with JournalWriter.open(tmp_path, small()) as writer:
        writer.commit([Entry(encode(documents[0]), 1, Summary.of(documents))])
    with Journal.open(tmp_path) as journal:
        (batch,) = journal.columns(["type", "extra"], {})
        assert batch.column(1).to_pylist() == ["ü\u0000☃"]
        assert batch.column(2).to_pylist() == ['{"$x": 1}']
