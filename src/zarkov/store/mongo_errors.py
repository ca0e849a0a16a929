"""pymongo's errors as Zarkov's: whose fault it is, and what to do.

    away                    no answer in time, no primary, a write that no majority confirms      StoreUnreachable
    not let in              wrong or missing credentials, no right to do this                     StoreFailed
    `_id` or name taken                                                                           DocumentExists
    asked wrongly           what BSON cannot hold or the server's parser refuses   FilterInvalid or UpdateInvalid
    anything else           the server's own words                                                StoreFailed

No message holds a password: of an address only hosts are named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidName,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WTimeoutError,
)

from zarkov.errors import DocumentExists, FilterInvalid, StoreError, StoreFailed, StoreUnreachable, UpdateInvalid

#: The server's codes (https://www.mongodb.com/docs/manual/reference/error-codes), by what they mean here.
NOT_LET_IN = frozenset({11, 13, 18, 8000})
NAMESPACE_MISSING, NAMESPACE_EXISTS, INVALID_NAMESPACE = 26, 48, 73
NOT_IMPLEMENTED, IMMUTABLE_FIELD, DUPLICATE_KEY = 238, 66, 11_000
#: Shutting down, not (or no longer) primary, no majority, out of time, cannot be reached from here.
AWAY = frozenset({6, 7, 50, 64, 89, 91, 100, 189, 262, 9001, 10_058, 10_107, 11_600, 11_602, 13_435, 13_436})
#: BadValue, FailedToParse, TypeMismatch, bad or conflicting paths, options and pipelines, NotImplemented ...
ASKED_WRONGLY = frozenset(
    {2, 4, 9, 14, 15, 16, 28, 40, 52, 53, 54, 55, 56, 57, 59, 67, 72, 73, 85, 86, 121, 168, 197, 224, 238, 241}
)
#: Above this number a code is a place in the server's source, most of them in its parsers.
PLACES_FROM = 15_000

_ENCODING = (BSONError, OverflowError, UnicodeError, RecursionError)
_LOG = "Look at MongoDB's log."
_CREDENTIALS = 'Check mongo_username, mongo_password and what that user may do; docs/mongodb.md, "Credentials".'


@contextmanager
def translated(invalid: type[StoreError] = FilterInvalid, *, argument: bool = False) -> Iterator[None]:
    """Raise what pymongo raises inside as a StoreError.

    Args:
        invalid: the error for what was asked wrongly: FilterInvalid, or UpdateInvalid where an update was asked.
        argument: whether a TypeError or ValueError inside is a wrong argument; only around pymongo's own calls.
    """
    try:
        yield
    except PyMongoError as error:
        raise _as_store_error(error, invalid) from error
    except _ENCODING as error:
        raise _unfit(error, invalid) from error
    except (TypeError, ValueError) as error:
        if not argument:
            raise
        raise invalid(f"MongoDB's driver does not take this: {brief(error)}") from error


def brief(error: BaseException) -> str:
    """The first sentence of an error's text; pymongo adds the whole answer to its own."""
    said = str(error).partition(", full error:")[0].partition(" (configured timeouts:")[0].partition(", Timeout:")[0]
    line = " ".join(said.split())
    return line if len(line) <= 300 else f"{line[:300]} ..."


def _as_store_error(error: PyMongoError, invalid: type[StoreError]) -> StoreError:
    if isinstance(error, ServerSelectionTimeoutError):
        return StoreUnreachable(f"MongoDB does not answer: {brief(error)}")
    if isinstance(error, WTimeoutError):
        return StoreUnreachable(
            f"no majority of the replica set confirmed the write in time: {brief(error)}",
            hint="It may have happened all the same; look at the members of the replica set.",
        )
    if isinstance(error, ConnectionFailure | ExecutionTimeout):
        return StoreUnreachable(f"MongoDB does not answer: {brief(error)}")
    if isinstance(error, DocumentTooLarge):
        return StoreFailed(f"the document is too large: {brief(error)}", hint="MongoDB takes 16 MB at most.")
    if isinstance(error, InvalidName):
        return FilterInvalid(f"this is not a collection's name: {brief(error)}")
    if isinstance(error, BulkWriteError):
        return _bulk(error, invalid)
    if isinstance(error, OperationFailure):
        return _failed(error.code or 0, brief(error), invalid, duplicate=isinstance(error, DuplicateKeyError))
    return StoreFailed(f"MongoDB's driver failed: {brief(error)}", hint=_LOG)


def _bulk(error: BulkWriteError, invalid: type[StoreError]) -> StoreError:
    """The first of the failed writes stands for all."""
    details = error.details or {}
    for failed in [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]:
        return _failed(int(failed.get("code", 0)), str(failed.get("errmsg", "")), invalid)
    return StoreFailed(f"MongoDB did not take the documents: {brief(error)}", hint=_LOG)


def _failed(code: int, said: str, invalid: type[StoreError], *, duplicate: bool = False) -> StoreError:
    if duplicate or code == DUPLICATE_KEY:
        return DocumentExists(f"there is a document with this `_id` or unique field already: {said}")
    if code == NAMESPACE_EXISTS:
        return DocumentExists(f"there is a collection of that name already: {said}", hint="Pass drop_target=True.")
    if code in NOT_LET_IN:
        return StoreFailed(f"MongoDB does not let this user in, or not do this: {said}", hint=_CREDENTIALS)
    if code in AWAY:
        return StoreUnreachable(f"MongoDB cannot do this now: {said}")
    if code == IMMUTABLE_FIELD:
        return UpdateInvalid(
            f"a replacement or an update cannot change the `_id`: {said}",
            hint="Insert a new one, delete the old one.",
        )
    if code in ASKED_WRONGLY or code >= PLACES_FROM:
        return invalid(f"MongoDB refuses this: {said}", hint="docs/mongodb.md names what each store takes.")
    return StoreFailed(f"MongoDB failed: {said} (code {code})", hint=_LOG)


def _unfit(error: Exception, invalid: type[StoreError]) -> StoreError:
    """A value that BSON cannot hold; `invalid` is StoreFailed where a document is written."""
    return invalid(f"BSON cannot hold what was given: {brief(error)}", hint="Use values that BSON has a type for.")
