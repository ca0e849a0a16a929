"""All generations of events as one collection, for reading: `find --in all`.

Without a sort the generations follow each other, oldest first, each in its natural order: the order of arrival. With
one, each generation sorts, and the sorted runs are merged by BSON's order, so memory is bounded by what one
generation's sort needs. A tie keeps the order of the generations.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from zarkov.event import Document
from zarkov.store.contract import Collection, Store
from zarkov.store.ordering import NATURAL, parse_sort, sort_key_of
from zarkov.store.parse import Filter

_events = re.compile(r"event(?:\.(\d+))?")


def is_generation(name: str) -> bool:
    """Whether a collection of this name holds events: `event`, `event.0` ..."""
    return _events.fullmatch(name) is not None


def generation_names(names: Iterable[str]) -> list[str]:
    """The generations among the names of collections, oldest first; `event` is always one."""
    found = {int(match[1]) for name in names if (match := _events.fullmatch(name)) and match[1]}
    return [*(f"event.{number}" for number in sorted(found, reverse=True)), "event"]


class AllGenerations:
    """The events of every generation of a store, as they are when they are asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(
        self, filter: Filter | None = None, *, sort: Any = None, skip: int = 0, limit: int = 0
    ) -> Iterator[Document]:
        """The events that match, lazily; a `limit` of 0 is none. Raises: FilterInvalid."""
        order = parse_sort(sort)
        most = skip + limit if limit else 0
        found = [each.find(filter, sort=list(order) or None, limit=most) for each in self._collections()]
        stop = most or None
        if not order:
            return islice(chain.from_iterable(found), skip, stop)
        if order[0][0] == NATURAL:
            return islice(chain.from_iterable(found if order[0][1] > 0 else reversed(found)), skip, stop)
        key, reverse = sort_key_of(order)
        return islice(heapq.merge(*found, key=key, reverse=reverse), skip, stop)

    def count_documents(self, filter: Filter) -> int:
        """How many events match. Raises: FilterInvalid."""
        return sum(each.count_documents(filter) for each in self._collections())

    def _collections(self) -> list[Collection]:
        return [self._store.collection(name) for name in generation_names(self._store.collection_names())]
