"""What an error of MongoDB means for the loader: a retry of ours, a bad event, or a reason to wait.

Only the codes listed here are an event's own fault; whatever else goes wrong, known or not, is waited out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson.errors import BSONError
from pymongo.errors import (
    AutoReconnect,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

DUPLICATE_CODES = frozenset({11000, 11001, 12582})

#: Codes by which a server refuses a document for what is in it.
#: Source: https://github.com/mongodb/mongo, src/mongo/base/error_codes.yml
DOCUMENT_CODES: Mapping[int, str] = {
    2: "BadValue",
    9: "FailedToParse",
    14: "TypeMismatch",
    15: "Overflow",
    16: "InvalidLength",
    22: "InvalidBSON",
    28: "PathNotViable",
    52: "DollarPrefixedFieldName",
    53: "InvalidIdField",
    54: "NotSingleValueField",
    55: "InvalidDBRef",
    56: "EmptyFieldName",
    57: "DottedFieldName",
    121: "DocumentValidationFailure",
    171: "CannotIndexParallelArrays",
    10334: "BSONObjectTooLarge",
    16755: "a value that an index on places has no room for",
    17280: "KeyTooLong",
    17419: "a document beyond the largest",
    17420: "a document beyond the largest",
}


def is_document_fault(error: BaseException) -> bool:
    """Whether a whole insert failed because of some event in it."""
    return isinstance(error, BSONError) or (isinstance(error, OperationFailure) and error.code in DOCUMENT_CODES)


def is_cut_off(error: BaseException) -> bool:
    """Whether the server closed the connection, as some do on a value they do not know."""
    other = NetworkTimeout | NotPrimaryError | ServerSelectionTimeoutError
    return isinstance(error, AutoReconnect) and not isinstance(error, other)


def is_unanswered(error: BaseException) -> bool:
    """Whether a request may still be carried out by the server, long after this."""
    return isinstance(error, NetworkTimeout)


def describe(failure: Mapping[str, Any]) -> str:
    """One entry of `writeErrors` as the reason of a rejection."""
    return f"MongoDB does not take it: {str(failure.get('errmsg', ''))[:300]} (code {failure.get('code')})"
