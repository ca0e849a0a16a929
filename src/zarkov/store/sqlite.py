"""The embedded store: events are the journal itself, documents lie in a file of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from bson import ObjectId

from zarkov.store.contract import EventReader
from zarkov.store.document_file import DocumentFile
from zarkov.store.documents import DocumentCollection
from zarkov.store.events import EventCollection
from zarkov.store.generations import is_generation
from zarkov.store.names import check_name
from zarkov.store.sqlite_output import SqliteOutput
from zarkov.store.through_outputs import ThroughOutputs

#: The document file's name in the data directory.
DOCUMENTS_NAME = "documents.sqlite"


class SqliteStore(ThroughOutputs):
    """A store on a journal and a document file; see contract.Store. Thread-safe; a context manager.

    The reader stays its owner's: closing the store does not close it.
    """

    def __init__(self, events: EventReader, documents: Path, *, new_id: Callable[[], ObjectId] = ObjectId) -> None:
        self._events = events
        self._documents = DocumentFile(documents)
        self._outputs = SqliteOutput(self._documents, new_id)
        self._new_id = new_id

    def collection(self, name: str) -> EventCollection | DocumentCollection:
        """A collection; nothing is made before the first write. Raises: FilterInvalid: not a possible name."""
        if is_generation(check_name(name)):
            return EventCollection(self._events, name)
        return DocumentCollection(self._documents, name, self._new_id)

    def collection_names(self) -> list[str]:
        """The generations of the journal and the collections that hold documents, sorted."""
        documents = self._documents.names() if self._documents.path.exists() else []
        return sorted({*self._events.generation_names(), *documents})

    def drop_database(self) -> None:
        """Drop every collection of documents; events stay."""
        if self._documents.path.exists():
            self._documents.drop()

    def close(self) -> None:
        """Close the document file."""
        self._documents.close()

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
