"""A collection of documents in MongoDB; see contract.Collection for what each method does.

Each document is written on its own: when one of several cannot be, those before it stay as they were written. (The
embedded store writes all or none.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from pymongo.errors import OperationFailure

from zarkov.errors import DocumentExists, StoreFailed, UpdateInvalid
from zarkov.event import Document
from zarkov.store.contract import DeleteResult, InsertResult, UpdateResult
from zarkov.store.mongo_errors import INVALID_NAMESPACE, NAMESPACE_MISSING, NOT_IMPLEMENTED, translated
from zarkov.store.mongo_guard import without_code
from zarkov.store.mongo_reading import MongoReading
from zarkov.store.names import check_target
from zarkov.store.ordering import parse_sort
from zarkov.store.parse import Filter
from zarkov.store.projection import Projection, compile_projection

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.results import UpdateResult as ServerResult

#: Documents that one message to the server carries when many are inserted; pymongo cuts by bytes itself.
INSERT_DOCUMENTS_MAX = 10_000


class MongoDocuments(MongoReading):
    """One collection; `new_id` makes the `_id` of documents that come without. Thread-safe."""

    def __init__(self, collection: Collection[Document], new_id: Callable[[], ObjectId] = ObjectId) -> None:
        super().__init__(collection)
        self._new_id = new_id

    def insert_one(self, document: Document) -> InsertResult:
        """Insert; the document itself gets its `_id`. Raises: DocumentExists: the `_id` is taken."""
        document.setdefault("_id", self._new_id())
        with translated(StoreFailed, argument=True):
            self._collection.insert_one(document)
        return InsertResult((document["_id"],))

    def insert_many(self, documents: Iterable[Document]) -> InsertResult:
        """Insert in order, up to the first that cannot be. Raises: DocumentExists: an `_id` is taken."""
        inserted: list[Any] = []
        waiting: list[Document] = []
        for document in documents:
            document.setdefault("_id", self._new_id())
            waiting.append(document)
            if len(waiting) == INSERT_DOCUMENTS_MAX:
                inserted += self._insert(waiting)
                waiting = []
        return InsertResult((*inserted, *self._insert(waiting)))

    def replace_one(self, filter: Filter, replacement: Mapping[str, Any], upsert: bool = False) -> UpdateResult:
        """Replace the first that matches; with `upsert` insert if none does."""
        _no_operators(replacement)
        with translated(UpdateInvalid, argument=True):
            return _result(self._collection.replace_one(without_code(filter), replacement, upsert=upsert))

    def update_one(self, filter: Filter, update: Mapping[str, Any], upsert: bool = False) -> UpdateResult:
        """Change the first that matches; with `upsert` insert if none does."""
        with translated(UpdateInvalid, argument=True):
            return _result(self._collection.update_one(without_code(filter), without_code(update), upsert=upsert))

    def update_many(self, filter: Filter, update: Mapping[str, Any], upsert: bool = False) -> UpdateResult:
        """Change all that match, up to the first that cannot be."""
        with translated(UpdateInvalid, argument=True):
            return _result(self._collection.update_many(without_code(filter), without_code(update), upsert=upsert))

    def delete_one(self, filter: Filter) -> DeleteResult:
        """Delete the first that matches."""
        with translated(argument=True):
            return DeleteResult(self._collection.delete_one(without_code(filter)).deleted_count)

    def delete_many(self, filter: Filter) -> DeleteResult:
        """Delete all that match."""
        with translated(argument=True):
            return DeleteResult(self._collection.delete_many(without_code(filter)).deleted_count)

    def find_one_and_update(
        self,
        filter: Filter,
        update: Mapping[str, Any],
        projection: Projection | None = None,
        sort: Any = None,
        upsert: bool = False,
        return_document: bool = False,
    ) -> Document | None:
        """Change the first that matches; gives it as it was, or as it is (`return_document=True`)."""
        with translated(UpdateInvalid, argument=True):
            return self._take(
                lambda fields: self._collection.find_one_and_update(
                    without_code(filter),
                    without_code(update),
                    projection=fields,
                    sort=self._sort(parse_sort(sort)) or None,
                    upsert=upsert,
                    return_document=return_document,
                ),
                projection,
            )

    def find_one_and_replace(
        self,
        filter: Filter,
        replacement: Mapping[str, Any],
        projection: Projection | None = None,
        sort: Any = None,
        upsert: bool = False,
        return_document: bool = False,
    ) -> Document | None:
        """Replace the first that matches; gives it as it was, or as it is (`return_document=True`)."""
        _no_operators(replacement)
        with translated(UpdateInvalid, argument=True):
            return self._take(
                lambda fields: self._collection.find_one_and_replace(
                    without_code(filter),
                    replacement,
                    projection=fields,
                    sort=self._sort(parse_sort(sort)) or None,
                    upsert=upsert,
                    return_document=return_document,
                ),
                projection,
            )

    def find_one_and_delete(
        self, filter: Filter, projection: Projection | None = None, sort: Any = None
    ) -> Document | None:
        """Delete the first that matches and give it."""
        with translated(argument=True):
            return self._take(
                lambda fields: self._collection.find_one_and_delete(
                    without_code(filter),
                    projection=fields,
                    sort=self._sort(parse_sort(sort)) or None,
                ),
                projection,
            )

    def drop(self) -> None:
        """Delete the collection."""
        with translated():
            self._collection.drop()

    def rename(self, new_name: str, *, drop_target: bool = False) -> None:
        """Give the documents to another name; `drop_target`: in place of what is there.

        One step where the server has it. Where it has not (FerretDB: no `dropTarget`, no dots in names), the target
        is dropped, the documents are copied and their old collection is dropped: readers see some of them under the
        new name meanwhile, and a crash leaves all of them under the old one, to be renamed again.
        Raises: DocumentExists: there is a collection of that name and `drop_target` is false; AppendOnly: it is an
        event collection's.
        """
        if check_target(new_name) == self.name:
            return
        with translated():
            try:
                self._collection.rename(new_name, dropTarget=drop_target)
            except OperationFailure as error:
                if error.code not in (NAMESPACE_MISSING, INVALID_NAMESPACE, NOT_IMPLEMENTED):
                    raise
                self._rename_by_copying(self._collection.database[new_name], drop_target)

    def _rename_by_copying(self, target: Collection[Document], drop_target: bool) -> None:
        """Also for a collection that is not there, which the server cannot rename and the contract takes as empty."""
        if drop_target:
            target.drop()
        elif target.find_one({}, {"_id": 1}) is not None:
            raise DocumentExists(f"there is a collection {target.name!r} already", hint="Pass drop_target=True.")
        with self._collection.find() as found:
            while documents := list(islice(found, INSERT_DOCUMENTS_MAX)):
                target.insert_many(documents)
        self._collection.drop()

    def _take(
        self, take: Callable[[Mapping[str, Any] | None], Document | None], projection: Projection | None
    ) -> Document | None:
        """What findAndModify gives; where the server cannot project (FerretDB), it is projected here."""
        fields = self._projection(projection)
        try:
            return take(fields)
        except OperationFailure as error:
            if error.code != NOT_IMPLEMENTED or not fields:
                raise
        project, taken = compile_projection(projection), take(None)
        return taken if project is None or taken is None else project(taken)

    def _insert(self, documents: list[Document]) -> list[Any]:
        if documents:
            with translated(StoreFailed, argument=True):
                self._collection.insert_many(documents)
        return [document["_id"] for document in documents]


def _result(result: ServerResult) -> UpdateResult:
    return UpdateResult(result.matched_count, result.modified_count or 0, result.upserted_id)


def _no_operators(replacement: Mapping[str, Any]) -> None:
    if any(str(name).startswith("$") for name in replacement):
        raise UpdateInvalid("a replacement takes no operators such as $set", hint="Use update_one.")
