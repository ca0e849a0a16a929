"""What the stores do not all do alike: the one list, which the contract suite and docs/mongodb.md follow.

Everything that has no entry here is the same on every store. FerretDB stands in for MongoDB in the tests; where it
does less than MongoDB, its entry is the only reason for which a test of the contract may expect less.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from mongod import MongoServer


@dataclass(frozen=True)
class Promise:
    """`what` is kept by the stores named in `by`; `why` says what holds on the others, and why."""

    what: str
    by: frozenset[str]
    why: str


STORES = ("embedded", "MongoDB", "FerretDB")


def _promise(what: str, by: str, why: str) -> Promise:
    return Promise(what, frozenset(by.split()), why)


PROMISES = {
    "arrival": _promise(
        "Events without a sort come in the order of arrival",
        "embedded",
        "MongoDB gives them as they were loaded, the same unless a load was interrupted; `$natural` is exact",
    ),
    "ties": _promise(
        "Ties of a sort keep the natural order",
        "embedded",
        "MongoDB's sort is not stable: add `_id` to the sort where the order of equals matters",
    ),
    "id order": _promise(
        "Documents without a sort come in the order of `_id`",
        "embedded",
        "elsewhere in the server's own order, in general that of insertion: sort by `_id`",
    ),
    "all or none": _promise(
        "A method that writes several documents writes all of them or none",
        "embedded",
        "MongoDB writes each document on its own; those before one that fails stay written",
    ),
    "plain ids": _promise(
        "An `_id` of a rare type (Decimal128) or of more than 8,192 bytes is refused",
        "embedded",
        "MongoDB takes it; `zcmd migrate` names such a document",
    ),
    "own operators": _promise(
        "What docs/querying.md does not list is refused",
        "embedded",
        "MongoDB gets it (`$expr`, `$text`, operators in projections ...), except JavaScript",
    ),
    "aggregate": _promise(
        "`aggregate` (pipelines)",
        "MongoDB FerretDB",
        "the embedded store has none; FerretDB has some of the stages",
    ),
    "indexes": _promise(
        "`create_index` makes an index, also a unique one",
        "MongoDB FerretDB",
        "the embedded store refuses a unique one and needs no other",
    ),
    "rename in one step": _promise(
        "`rename` is one step: no reader sees both names or none",
        "embedded MongoDB",
        "FerretDB has neither `dropTarget` nor dots in new names: dropped, copied without its indexes, dropped",
    ),
    "merge in one step": _promise(
        "A merge of map-reduce is one step: readers see all of its documents or none",
        "embedded",
        "elsewhere they see some before others, and in those a field `zarkov_commit` until all are there",
    ),
    "infinity": _promise(
        "Infinite numbers are stored",
        "embedded MongoDB",
        "FerretDB refuses them",
    ),
    "nan": _promise(
        "A filter may compare with NaN",
        "embedded MongoDB",
        "FerretDB closes the connection",
    ),
    "decimals": _promise(
        "Decimal128 is stored, other than as an `_id`",
        "embedded MongoDB",
        "FerretDB closes the connection",
    ),
    "unchanged": _promise(
        "`modified_count` of a replacement leaves out a document that was the same already",
        "embedded MongoDB",
        "FerretDB counts it",
    ),
}


@cache
def _said(uri: str, server: MongoServer) -> dict[str, Any]:
    with server.client() as client:
        return client.admin.command("buildInfo")


def store_on(server: MongoServer) -> str:
    """Which of STORES a server makes."""
    return "FerretDB" if "ferretdbVersion" in _said(server.uri, server) else "MongoDB"


def table() -> str:
    """The list as the table of docs/mongodb.md."""
    lines = ["| what | " + " | ".join(STORES) + " | otherwise |", "|---|" + "---|" * (len(STORES) + 1)]
    for promise in PROMISES.values():
        kept = " | ".join("yes" if store in promise.by else "no" for store in STORES)
        lines.append(f"| {promise.what} | {kept} | {promise.why} |")
    return "\n".join(lines)
