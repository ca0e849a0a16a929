"""What the filter options of find, tail and export mean."""

from datetime import datetime

import pytest

from zarkov.cli.conditions import build, condition, moment, sort_keys, with_dates
from zarkov.errors import FilterInvalid

NOW = datetime(2011, 7, 20, 18, 52, 30)


def test_no_options_match_everything() -> None:
    assert build(now=NOW) == {}


def test_options_are_joined_into_one_flat_filter() -> None:
    found = build(
        text='{"extra": null}', types=["commit"], where=["context.project=redis/redis"], since="2011-07-20", now=NOW
    )
    assert found == {
        "extra": None,
        "type": "commit",
        "timestamp": {"$gte": datetime(2011, 7, 20)},
        "context.project": "redis/redis",
    }


def test_two_conditions_on_one_key_must_both_hold() -> None:
    found = build(where=["extra.files>1", "extra.files<=9"], now=NOW)
    assert found == {"$and": [{"extra.files": {"$gt": 1}}, {"extra.files": {"$lte": 9}}]}


def test_several_types_are_alternatives() -> None:
    assert build(types=["a", "b"], now=NOW) == {"type": {"$in": ["a", "b"]}}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("context.user=rick", {"context.user": "rick"}),
        ("extra=5", {"extra": 5}),
        ('extra="5"', {"extra": "5"}),
        ("extra=null", {"extra": None}),
        ("extra!=true", {"extra": {"$ne": True}}),
        ("extra=a=b", {"extra": "a=b"}),
        ("extra=", {"extra": ""}),
        ("type=~^file_", {"type": {"$regex": "^file_"}}),
        ("type=~5", {"type": {"$regex": "5"}}),
        ("extra >= 1.5", {"extra": {"$gte": 1.5}}),
        ('extra={"$datetime": 0}', {"extra": datetime(1970, 1, 1)}),
        ('extra=[1, "a"]', {"extra": [1, "a"]}),
        ("context.url=http://x/?a=1", {"context.url": "http://x/?a=1"}),
    ],
)
def test_a_condition_compares_a_dotted_key_with_a_json_value_or_text(text: str, wanted: dict[str, object]) -> None:
    assert condition(text) == wanted


@pytest.mark.parametrize("text", ["", "context.user", "=5", "~x"])
def test_what_is_no_condition_is_refused_with_examples(text: str) -> None:
    with pytest.raises(FilterInvalid, match="is not KEY=VALUE") as caught:
        condition(text)
    assert "context.user=rick" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2011-07-20", datetime(2011, 7, 20)),
        ("2011-07-20T18:00:00Z", datetime(2011, 7, 20, 18)),
        ("2011-07-20T18:00:00+02:00", datetime(2011, 7, 20, 16)),
        ("2011-07-20 18:00", datetime(2011, 7, 20, 18)),
        ("today", datetime(2011, 7, 20)),
        ("now", NOW),
        ("30s", datetime(2011, 7, 20, 18, 52, 0)),
        ("2h", datetime(2011, 7, 20, 16, 52, 30)),
        ("7d", datetime(2011, 7, 13, 18, 52, 30)),
    ],
)
def test_a_time_is_a_date_a_moment_or_an_age(text: str, wanted: datetime) -> None:
    assert moment(text, NOW) == wanted


@pytest.mark.parametrize("text", ["", "yesterday", "2011-13-01", "5 parsecs", "99999999999999999999d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(FilterInvalid, match="is not a time"):
        moment(text, NOW)


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1, "a": 2}', "NaN"])
def test_a_filter_that_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(FilterInvalid, match="cannot be read"):
        build(text=text, now=NOW)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("2011-07-20T18:00:00Z", datetime(2011, 7, 20, 18)),
        (
            {"$gte": "2011-07-20", "$lt": "2h"},
            {"$gte": datetime(2011, 7, 20), "$lt": datetime(2011, 7, 20, 16, 52, 30)},
        ),
        ({"$in": ["2011-07-20", None]}, {"$in": [datetime(2011, 7, 20), None]}),
        ({"$not": {"$gt": "now"}}, {"$not": {"$gt": NOW}}),
        ({"$gt": datetime(2011, 7, 20)}, {"$gt": datetime(2011, 7, 20)}),
        ({"$type": "string"}, {"$type": "string"}),
        ({"$regex": "^2011"}, {"$regex": "^2011"}),
        (5, 5),
    ],
)
def test_a_text_that_timestamp_is_compared_with_is_a_time(given: object, wanted: object) -> None:
    assert with_dates({"timestamp": given}, NOW) == {"timestamp": wanted}
    nested = {"$or": [{"timestamp": given}, {"$and": [{"timestamp": given}]}]}
    assert with_dates(nested, NOW) == {"$or": [{"timestamp": wanted}, {"$and": [{"timestamp": wanted}]}]}


def test_other_fields_keep_their_text() -> None:
    asked = {"type": "2011-07-20", "context.timestamp": "2011-07-20", "$or": "nonsense", "$comment": "2h"}
    assert with_dates(asked, NOW) == asked


def test_a_text_beside_timestamp_that_is_no_time_is_refused() -> None:
    with pytest.raises(FilterInvalid, match="'soon' is not a time"):
        with_dates({"$nor": [{"timestamp": {"$lt": "soon"}}]}, NOW)


def test_sort_keys_descend_with_a_minus() -> None:
    assert sort_keys("-timestamp, type") == [("timestamp", -1), ("type", 1)]
    assert sort_keys(None) == []
