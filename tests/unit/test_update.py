"""Update operators on one document."""

import re
from typing import Any

import pytest
from bson import Int64

from zarkov.errors import FilterInvalid, UpdateInvalid
from zarkov.store.update import compile_update


def updated(document: dict[str, Any], update: dict[str, Any], inserting: bool = False) -> dict[str, Any]:
    return compile_update(update)(document, inserting)


@pytest.mark.parametrize(
    ("before", "update", "after"),
    [
        ({}, {"$set": {"a.b": 1, "c": 2}}, {"a": {"b": 1}, "c": 2}),
        ({"a": [1, 2]}, {"$set": {"a.1": 5, "a.3": 7}}, {"a": [1, 5, None, 7]}),
        ({"a": {"b": 1, "c": 2}}, {"$unset": {"a.b": "", "x.y": ""}}, {"a": {"c": 2}}),
        ({"a": [1, 2]}, {"$unset": {"a.0": "", "a.9": ""}}, {"a": [None, 2]}),
        ({"n": 1}, {"$inc": {"n": 2, "m.k": 5}}, {"n": 3, "m": {"k": 5}}),
        ({"n": 1}, {"$inc": {"n": 0.5}}, {"n": 1.5}),
        ({"n": 3}, {"$mul": {"n": 2, "m": 2, "f": 2.5}}, {"n": 6, "m": 0, "f": 0.0}),
        ({"n": 3, "m": 3}, {"$min": {"n": 1, "new": 7}, "$max": {"m": 1}}, {"n": 1, "m": 3, "new": 7}),
        ({"n": 3}, {"$max": {"n": "x"}}, {"n": "x"}),
        ({"a": {"b": 1}, "c": 2}, {"$rename": {"a.b": "d.e", "missing": "z"}}, {"a": {}, "c": 2, "d": {"e": 1}}),
        ({"a": [1]}, {"$push": {"a": [2], "b": 1}}, {"a": [1, [2]], "b": [1]}),
        ({"a": [1]}, {"$push": {"a": {"$each": [2, 3, 4], "$slice": -3}}}, {"a": [2, 3, 4]}),
        ({"a": [1]}, {"$push": {"a": {"$each": [2, 3], "$position": 0, "$slice": 2}}}, {"a": [2, 3]}),
        ({"a": [1]}, {"$addToSet": {"a": 1.0, "b": {"$each": ["x", "x", True, 1]}}}, {"a": [1], "b": ["x", True, 1]}),
        ({"a": [1, 5, 9]}, {"$pull": {"a": {"$gte": 5}}}, {"a": [1]}),
        ({"a": [{"b": 1, "c": 2}, {"b": 2}, 1]}, {"$pull": {"a": {"b": 1}}}, {"a": [{"b": 2}, 1]}),
        ({"a": ["x", "y"]}, {"$pull": {"a": re.compile("^x"), "missing": 1}}, {"a": ["y"]}),
        ({"a": [1, 2, 1]}, {"$pullAll": {"a": [1, 3]}}, {"a": [2]}),
        (
            {"a": [1, 2, 3], "b": [1, 2], "c": []},
            {"$pop": {"a": 1, "b": -1, "c": 1}},
            {"a": [1, 2], "b": [2], "c": []},
        ),
        ({"a": 1}, {"$setOnInsert": {"a": 2}}, {"a": 1}),
    ],
)
def test_an_update_makes(before: dict[str, Any], update: dict[str, Any], after: dict[str, Any]) -> None:
    original = repr(before)
    assert updated(before, update) == after
    assert repr(before) == original


def test_set_on_insert_is_for_inserts() -> None:
    assert updated({}, {"$setOnInsert": {"a": 2}}, inserting=True) == {"a": 2}


def test_one_operand_is_not_shared_by_the_documents_it_is_set_in() -> None:
    update = compile_update({"$set": {"a": []}})
    first, second = update({}, False), update({}, False)
    first["a"].append(1)
    assert second == {"a": []}


@pytest.mark.parametrize(
    ("update", "named"),
    [
        ({}, "operators"),
        ({"a": 1}, "operators"),
        ({"$set": {"a": 1}, "b": 2}, "operators"),
        ({"$currentDate": {"a": True}}, "$currentDate"),
        ({"$set": 5}, "$set takes a document"),
        ({"$set": {"a.$": 1}}, "positional"),
        ({"$set": {"a.$[]": 1}}, "positional"),
        ({"$rename": {"a": 5}}, "must be a string"),
        ({"$set": {"a": 1}, "$inc": {"a.b": 1}}, "at once"),
        ({"$set": {"a": 2**64}}, "64 bits"),
        ({"$inc": {"a": "x"}}, "$inc takes"),
        ({"$inc": {"a": True}}, "$inc takes"),
        ({"$push": {"a": {"$each": 5}}}, "$each"),
        ({"$push": {"a": {"$each": [], "$sort": 1}}}, "$sort"),
        ({"$push": {"a": {"$each": [], "$slice": "x"}}}, "whole numbers"),
        ({"$pullAll": {"a": 1}}, "$pullAll"),
        ({"$pop": {"a": 2}}, "$pop"),
        ({"$pull": {"a": {"$near": 1}}}, "$near"),
    ],
)
def test_an_update_is_refused_and_what_is_wrong_is_named(update: dict[str, Any], named: str) -> None:
    with pytest.raises((FilterInvalid, UpdateInvalid), match=re.escape(named)):
        compile_update(update)


@pytest.mark.parametrize(
    ("document", "update"),
    [
        ({"a": "x"}, {"$inc": {"a": 1}}),
        ({"a": True}, {"$mul": {"a": 1}}),
        ({"a": Int64(2**63 - 1)}, {"$inc": {"a": 1}}),
        ({"a": 5}, {"$push": {"a": 1}}),
        ({"a": 5}, {"$pull": {"a": 1}}),
        ({"a": 5}, {"$set": {"a.b": 1}}),
        ({"a": [1]}, {"$set": {"a.b": 1}}),
        ({"a": [1]}, {"$set": {"a.9999999": 1}}),
        ({"_id": 1}, {"$set": {"_id": 2}}),
        ({"_id": 1}, {"$unset": {"_id": ""}}),
    ],
)
def test_an_update_that_does_not_fit_the_document_fails(document: dict[str, Any], update: dict[str, Any]) -> None:
    with pytest.raises(UpdateInvalid):
        updated(document, update)


def test_the_same_id_may_be_set_again() -> None:
    assert updated({"_id": 1}, {"$set": {"_id": 1, "a": 2}}) == {"_id": 1, "a": 2}
