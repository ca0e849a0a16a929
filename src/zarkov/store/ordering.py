"""Sorting documents by BSON's order, in bounded memory.

Ties keep the natural order (an event's offset), whatever the direction. With a limit only the best so many
documents are held; without one all of them are, up to SORT_COUNT_MAX.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from zarkov.errors import FilterInvalid, StoreFailed
from zarkov.event import Document
from zarkov.store.compare import order_key
from zarkov.store.paths import parts_of, values_at

Sort = tuple[tuple[str, int], ...]
SortKey = Callable[[Document], Any]

#: Documents that one sort may hold.
SORT_COUNT_MAX = 1_000_000

NATURAL = "$natural"


class _Descending:
    """A key that orders the other way round: for sorts that go both ways."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.key < self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(self.key == other.key)

    __hash__ = None  # type: ignore[assignment]  # a key is only ever ordered


def parse_sort(key: Any, direction: int | None = None) -> Sort:
    """What pymongo's `sort` takes: a name and a direction, a list of names or pairs, or a document; None: no sort.

    Raises: FilterInvalid: a direction that is neither 1 nor -1, or $natural beside other keys.
    """
    if key is None:
        return ()
    if isinstance(key, str):
        pairs: list[Any] = [(key, 1 if direction is None else direction)]
    elif isinstance(key, Mapping):
        pairs = list(key.items())
    else:
        pairs = [(item, 1) if isinstance(item, str) else tuple(item) for item in key]
    for pair in pairs:
        if len(pair) != 2 or not isinstance(pair[0], str) or pair[1] not in (1, -1):
            raise FilterInvalid(f"a sort takes names with 1 or -1, not {pair!r}")
    if len(pairs) > 1 and any(name == NATURAL for name, _ in pairs):
        raise FilterInvalid("$natural sorts alone")
    return tuple((name, int(way)) for name, way in pairs)


def sort_key_of(sort: Sort) -> tuple[SortKey, bool]:
    """A function from a document to the key that it is sorted by, and whether the highest key comes first."""
    fields = [(parts_of(name), way < 0) for name, way in sort]
    reverse = all(descending for _, descending in fields)
    if len(fields) == 1:
        path, _ = fields[0]
        return lambda document: _key_at(document, path, reverse), reverse

    def key(document: Document) -> Any:
        keys = [(_key_at(document, path, descending), descending) for path, descending in fields]
        return tuple(_Descending(key) if descending and not reverse else key for key, descending in keys)

    return key, reverse


def _key_at(document: Document, path: tuple[str, ...], descending: bool) -> Any:
    return order_key(values_at(document, path, elements=False), descending=descending)


class Best:
    """The best `count` documents so far, in order; the whole of them when `count` is 0.

    Give runs of documents to `add` (or `add_before`, when they come before all earlier ones in natural order).
    """

    def __init__(self, sort: Sort, count: int) -> None:
        self._key_of, self._reverse = sort_key_of(sort)
        self._count = count
        self._kept: list[tuple[Any, Document]] = []
        if count > SORT_COUNT_MAX:
            raise FilterInvalid(f"a sort holds at most {SORT_COUNT_MAX:,} documents; skip and limit ask for more")

    def add(self, documents: Iterable[Document]) -> None:
        """Documents that come after all earlier ones in natural order."""
        self._kept.extend(self._keyed(documents))
        self._trim()

    def add_before(self, documents: Iterable[Document]) -> None:
        """Documents that come before all earlier ones in natural order."""
        self._kept[:0] = self._keyed(documents)
        self._trim()

    @property
    def worst(self) -> Document | None:
        """The last one kept, if there is no room for another: what a new document must beat."""
        return self._kept[-1][1] if self._count and len(self._kept) == self._count else None

    def documents(self) -> Iterator[Document]:
        """What was kept, best first."""
        if not self._count:
            self._kept.sort(key=itemgetter(0), reverse=self._reverse)
        return (document for _, document in self._kept)

    def _keyed(self, documents: Iterable[Document]) -> list[tuple[Any, Document]]:
        return [(self._key_of(document), document) for document in documents]

    def _trim(self) -> None:
        if self._count:
            best = heapq.nlargest if self._reverse else heapq.nsmallest
            self._kept = best(self._count, self._kept, key=itemgetter(0))
        elif len(self._kept) > SORT_COUNT_MAX:
            raise StoreFailed(
                f"the sort would hold more than {SORT_COUNT_MAX:,} documents",
                hint="Add a limit, or a filter that matches less.",
            )
