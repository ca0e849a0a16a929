"""A collection of documents in the document file; see contract.Collection for what each method does.

Documents lie in the order of their `_id`, which is also the natural order here; a filter on `_id` reads only that
part of the file, and a sort by `_id` is none. Everything else is decoded and filtered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from itertools import chain, islice
from typing import Any

from bson import ObjectId

from zarkov import codec
from zarkov.errors import DocumentExists, FilterInvalid, UpdateInvalid
from zarkov.event import Document
from zarkov.store.contract import DeleteResult, InsertResult, UpdateResult
from zarkov.store.cursor import DocumentCursor, Query, as_filter, distinct_values
from zarkov.store.document_file import DocumentFile
from zarkov.store.encoded import encoded
from zarkov.store.filter import Predicate, compile_node
from zarkov.store.keys import id_key, key_range
from zarkov.store.names import check_target
from zarkov.store.nodes import Node, Test, required
from zarkov.store.ordering import NATURAL, Best, Sort, parse_sort
from zarkov.store.parse import Filter, parse
from zarkov.store.projection import Projection, compile_projection
from zarkov.store.scan import collector_paused
from zarkov.store.update import compile_update

Changed = Callable[[Document, bool], Document]


class DocumentCollection:
    """One collection; `new_id` makes the `_id` of documents that come without."""

    def __init__(self, file: DocumentFile, name: str, new_id: Callable[[], ObjectId] = ObjectId) -> None:
        self.name = name
        self._file = file
        self._new_id = new_id

    def find(
        self,
        filter: Filter | None = None,
        projection: Projection | None = None,
        skip: int = 0,
        limit: int = 0,
        sort: Any = None,
    ) -> DocumentCursor:
        """The documents that match, lazily."""
        return DocumentCursor(self, Query(filter, projection, parse_sort(sort), skip, abs(limit)))

    def find_one(
        self, filter: Any = None, projection: Projection | None = None, skip: int = 0, sort: Any = None
    ) -> Document | None:
        """The first document that matches, or None; `filter` may be the `_id` itself."""
        return next(self.run(Query(as_filter(filter), projection, parse_sort(sort), skip, 1)), None)

    def count_documents(self, filter: Filter, skip: int = 0, limit: int = 0) -> int:
        """How many documents match."""
        total = sum(1 for _ in self.run(Query(filter))) if filter else self._file.count(self.name)
        return min(max(total - skip, 0), limit or total)

    def estimated_document_count(self) -> int:
        """How many documents there are (exactly, here)."""
        return self._file.count(self.name)

    def distinct(self, key: str, filter: Filter | None = None) -> list[Any]:
        """The distinct values at a path among the documents that match, in BSON's order."""
        return distinct_values(self.run(Query(filter)), key)

    def run(self, query: Query) -> Iterator[Document]:
        """Read one query."""
        project = compile_projection(query.projection)
        documents = (
            document for _, document in self._found(parse(query.filter), query.sort, query.skip, query.limit)
        )
        return documents if project is None else map(project, documents)

    def insert_one(self, document: Document) -> InsertResult:
        """Insert; the document itself gets its `_id`. Raises: StoreFailed: the `_id` is taken."""
        return self.insert_many([document])

    def insert_many(self, documents: Iterable[Document]) -> InsertResult:
        """Insert all or none. Raises: StoreFailed: an `_id` is taken."""
        with self._file.transaction(self.name):
            return InsertResult(tuple(self._insert(document) for document in documents))

    def replace_one(self, filter: Filter, replacement: Mapping[str, Any], upsert: bool = False) -> UpdateResult:
        """Replace the first that matches; with `upsert` insert if none does."""
        return self._change(filter, _replacing(replacement), upsert, only_first=True)

    def update_one(self, filter: Filter, update: Mapping[str, Any], upsert: bool = False) -> UpdateResult:
        """Change the first that matches; with `upsert` insert if none does."""
        return self._change(filter, compile_update(update), upsert, only_first=True)

    def update_many(self, filter: Filter, update: Mapping[str, Any], upsert: bool = False) -> UpdateResult:
        """Change all that match, or none if one of them cannot be."""
        return self._change(filter, compile_update(update), upsert, only_first=False)

    def delete_one(self, filter: Filter) -> DeleteResult:
        """Delete the first that matches."""
        return self._delete(filter, 1)

    def delete_many(self, filter: Filter) -> DeleteResult:
        """Delete all that match."""
        return self._delete(filter, 0)

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
        return self._take(filter, compile_update(update), projection, sort, upsert, return_document)

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
        return self._take(filter, _replacing(replacement), projection, sort, upsert, return_document)

    def find_one_and_delete(
        self, filter: Filter, projection: Projection | None = None, sort: Any = None
    ) -> Document | None:
        """Delete the first that matches and give it."""
        return self._take(filter, None, projection, sort, False, False)

    def create_index(self, keys: Any, **options: Any) -> str:
        """Accepted; there are no indexes but that on `_id`. Raises: FilterInvalid: `unique`, which would be a lie."""
        if options.get("unique"):
            raise FilterInvalid("the embedded store has no unique indexes", hint="Make the field the `_id`.")
        return str(options.get("name", "_id_"))

    def index_information(self) -> Mapping[str, Any]:
        """The index on `_id`."""
        return {"_id_": {"key": [("_id", 1)]}}

    def drop_indexes(self) -> None:
        """Nothing to drop."""

    def drop(self) -> None:
        """Delete the collection."""
        self._file.drop(self.name)

    def rename(self, new_name: str, *, drop_target: bool = False) -> None:
        """Give the documents to another name, in one transaction; `drop_target`: in place of what is there.

        Raises: DocumentExists: there is a collection of that name and `drop_target` is false; AppendOnly: it is an
        event collection's.
        """
        if check_target(new_name) == self.name:
            return
        self._file.rename(self.name, new_name, drop_target=drop_target)

    def _found(self, node: Node, sort: Sort, skip: int, limit: int) -> Iterator[tuple[bytes, Document]]:
        """The (key, document) of the matches, sorted, skipped and limited."""
        match, keys = compile_node(node), key_range(node)
        by_key = not sort or sort[0][0] in (NATURAL, "_id")
        descending = by_key and bool(sort) and sort[0][1] < 0
        pages = self._file.pages(self.name, keys.first, keys.stop, descending=descending)
        runs = (_matching(page, match) for page in pages)
        if by_key:
            return islice(chain.from_iterable(runs), skip, skip + limit if limit else None)
        best = Best(sort, skip + limit if limit else 0)
        for run in runs:
            best.add(document for _, document in run)
        return ((id_key(document["_id"]), document) for document in islice(best.documents(), skip, None))

    def _insert(self, document: Document) -> Any:
        if "_id" not in document:
            document["_id"] = self._new_id()
        key = id_key(document["_id"])
        if self._file.get(self.name, key) is not None:
            raise DocumentExists(
                f"{self.name!r} has a document with the `_id` {document['_id']!r} already",
                hint="Use replace_one or an update with upsert=True to change it.",
            )
        self._file.put(self.name, key, encoded(document))
        return document["_id"]

    def _change(self, filter: Filter, change: Changed, upsert: bool, *, only_first: bool) -> UpdateResult:
        node, matched, modified = parse(filter), 0, 0
        with self._file.transaction(self.name):
            for key, document in self._found(node, (), 0, 1 if only_first else 0):
                matched += 1
                modified += self._store(key, document, change(document, False))
            if matched or not upsert:
                return UpdateResult(matched, modified)
            return UpdateResult(0, 0, self._insert(self._upserted(node, change)))

    def _store(self, key: bytes, before: Document, after: Document) -> bool:
        data = encoded(after)
        if data == codec.encode(before):
            return False
        self._file.put(self.name, key, data)
        return True

    def _upserted(self, node: Node, change: Changed) -> Document:
        """A new document: what the filter says must be equal, changed."""
        start: Document = {}
        for test in required(node):
            if isinstance(test, Test) and test.operator == "$eq":
                holder: MutableMapping[str, Any] = start
                for part in test.path[:-1]:
                    holder = holder.setdefault(part, {})
                holder[test.path[-1]] = test.operand
        return change(start, True)

    def _delete(self, filter: Filter, limit: int) -> DeleteResult:
        deleted = 0
        with self._file.transaction(self.name):
            for key, _ in self._found(parse(filter), (), 0, limit):
                self._file.remove(self.name, key)
                deleted += 1
        return DeleteResult(deleted)

    def _take(
        self,
        filter: Filter,
        change: Changed | None,
        projection: Projection | None,
        sort: Any,
        upsert: bool,
        new: bool,
    ) -> Document | None:
        node, project = parse(filter), compile_projection(projection)
        with self._file.transaction(self.name):
            for key, document in self._found(node, parse_sort(sort), 0, 1):
                after = document if change is None else change(document, False)
                if change is None:
                    self._file.remove(self.name, key)
                else:
                    self._store(key, document, after)
                taken: Document | None = after if new else document
                break
            else:
                inserted = self._upserted(node, change) if upsert and change is not None else None
                if inserted is not None:
                    self._insert(inserted)
                taken = inserted if new else None
        return taken if project is None or taken is None else project(taken)


def _matching(page: list[tuple[bytes, bytes]], match: Predicate) -> list[tuple[bytes, Document]]:
    with collector_paused():
        documents = codec.decode_all(b"".join(data for _, data in page))
        return [(key, document) for (key, _), document in zip(page, documents, strict=True) if match(document)]


def _replacing(replacement: Mapping[str, Any]) -> Changed:
    """A replacement as a change: the `_id` stays. Raises: FilterInvalid: it holds update operators."""
    if any(str(name).startswith("$") for name in replacement):
        raise UpdateInvalid("a replacement takes no operators such as $set", hint="Use update_one.")

    def change(document: Document, inserting: bool) -> Document:
        changed = dict(replacement)
        if "_id" in document:
            if id_key(changed.setdefault("_id", document["_id"])) != id_key(document["_id"]):
                raise UpdateInvalid("a replacement cannot change the `_id`", hint="Insert it and delete the old one.")
            changed = {"_id": document["_id"], **{name: changed[name] for name in changed if name != "_id"}}
        return changed

    return change
