"""The results of a job, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pprint import pformat
from typing import Any

from zarkov.event import Document
from zarkov.store.contract import Collection
from zarkov.zmr.values import shown_stored

#: Documents that are printed when a person looks at results.
SHOWN_MAX = 20


class Results:
    """Documents `{_id, value}`: returned ones, or a collection, which is read anew each time.

    for document in results: ...        len(results)        results.to_dict()["allura"]
    """

    def __init__(self, source: Sequence[Document] | Collection) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Document]:
        if isinstance(self._source, Sequence):
            return iter(self._source)
        return iter(self._source.find())

    def __len__(self) -> int:
        if isinstance(self._source, Sequence):
            return len(self._source)
        return self._source.estimated_document_count()

    def to_dict(self) -> dict[Any, Any]:
        """Key -> value; a key that was a tuple is one again, one that is a document is a tuple of its pairs."""
        return {_hashable(shown_stored(document["_id"])): document.get("value") for document in self}

    def __repr__(self) -> str:
        found: Iterable[Document] = islice(self, SHOWN_MAX + 1)
        shown = list(found)
        text = pformat(shown[:SHOWN_MAX], sort_dicts=False, width=118)
        return text if len(shown) <= SHOWN_MAX else f"{text[:-1]},\n ... {len(self):,} in all]"


def _hashable(key: Any) -> Any:
    if isinstance(key, Mapping):
        return tuple((name, _hashable(part)) for name, part in key.items())
    if isinstance(key, tuple | list):
        return tuple(_hashable(part) for part in key)
    return key
