"""The embedded store's documents as bytes, for moving them: a collection in the order of `_id`, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from zarkov import codec
from zarkov.errors import StoreFailed
from zarkov.store.document_file import DocumentFile
from zarkov.store.keys import KeyRange, id_key


class EmbeddedDocuments:
    """The document file of a data directory. Thread-safe; a context manager. Every method raises StoreFailed."""

    def __init__(self, path: Path) -> None:
        self._file = DocumentFile(path)

    def names(self) -> list[str]:
        """The collections that hold documents, sorted; the file is not made for it."""
        return self._file.names() if self._file.path.exists() else []

    def count(self, name: str) -> int:
        """How many documents a collection has."""
        return self._file.count(name) if self._file.path.exists() else 0

    def pages(self, name: str) -> Iterator[list[bytes]]:
        """The documents of a collection as BSON, a page at a time."""
        if self._file.path.exists():
            everything = KeyRange()
            for page in self._file.pages(name, everything.first, everything.stop):
                yield [data for _, data in page]

    def put(self, name: str, documents: Sequence[bytes]) -> None:
        """Insert documents, in place of those with the same `_id`.

        Raises: StoreFailed: also for an `_id` that the embedded store has no order for, such as a Decimal128.
        Durability: one synced transaction.
        """
        with self._file.transaction(name):
            for document in documents:
                self._file.put(name, _key(name, codec.decode(document)["_id"]), document)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> EmbeddedDocuments:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _key(name: str, ident: Any) -> bytes:
    try:
        return id_key(ident)
    except StoreFailed as error:
        raise StoreFailed(
            f"the document {ident!r:.60} in {name!r} cannot be stored: {error}", hint=error.hint
        ) from error
