"""Results of a job: runs of documents, written by reduces and finalize, read by whoever stores them. Pure.

A document's BSON is `{_id, value}`, ready to be stored; its row key is the key that the embedded store files it under
(in a job that fills several collections, with the collection before it). Runs that reduces wrote are sorted by row
key; what finalize gave is in the order in which it gave it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from zarkov.codec import encode
from zarkov.errors import EventRefused, OutputInvalid
from zarkov.event import EVENT_BYTES_MAX, Document
from zarkov.zmr.forms import FormName, collection_of, key_bytes_of
from zarkov.zmr.merge import merged
from zarkov.zmr.runs import BLOCK_ROWS, Columns, RunSource, RunWriter, compressor, runs_in
from zarkov.zmr.shuffle import value_refused
from zarkov.zmr.values import brief, stored_key

#: (row key, the document's BSON)
Rows = list[tuple[bytes, bytes]]

#: Takes the pieces of a run as they are made.
Write = Callable[[bytes], object]

#: Bytes of one stored document; MongoDB's limit.
DOCUMENT_BYTES_MAX = EVENT_BYTES_MAX

_length_at = struct.Struct("<i").unpack_from
_FIRST_AT = 11  # the document's length, the type and name "d" of the array, the array's length


class ResultWriter:
    """Writes one run of documents."""

    def __init__(self, write: Write, compress: int = 0) -> None:
        self._write = write
        self._runs = RunWriter("d", compressor(compress))
        self.count = 0
        self.bytes = 0
        self._put(self._runs.begin())

    def add(self, keys: Sequence[bytes], shown: Sequence[Any], values: Sequence[Any]) -> None:
        """Results, in order. Raises: OutputInvalid: one cannot be stored; its key is named."""
        for at in range(0, len(keys), BLOCK_ROWS):
            part = slice(at, at + BLOCK_ROWS)
            documents = [
                {"_id": stored_key(key), "value": value} for key, value in zip(shown[part], values[part], strict=True)
            ]
            try:
                encoded = _all_encoded(documents)
            except EventRefused as refused:
                raise value_refused(Columns([], [*shown[part]], [*values[part]]), refused) from refused
            self.add_encoded(keys[part], encoded)

    def add_encoded(self, keys: Sequence[bytes], documents: Sequence[bytes]) -> None:
        """Documents as BSON. Raises: OutputInvalid: one is too large."""
        if documents and max(map(len, documents)) > DOCUMENT_BYTES_MAX:
            key = next(key for key, data in zip(keys, documents, strict=True) if len(data) > DOCUMENT_BYTES_MAX)
            raise OutputInvalid(
                f"the result of the key {brief(key)} is larger than {DOCUMENT_BYTES_MAX:,} bytes",
                hint="Keep less in a value: a document of MongoDB has 16 MiB at most.",
            )
        for piece in self._runs.blocks(Columns([*keys], [], [*documents])):
            self._put(piece)
        self.count += len(keys)

    def end(self) -> None:
        """Nothing comes after this."""
        self._put(self._runs.end())

    def _put(self, piece: bytes) -> None:
        self._write(piece)
        self.bytes += len(piece)


def results_in(sources: Iterable[RunSource]) -> Iterator[Rows]:
    """The (row key, document) of several sorted results together, in the order of keys, some at a time.

    Raises: ShuffleCorrupt. Memory: a block of each.
    """
    return merged([run for source in sources for run in runs_in(source)])


def by_collection(form: FormName, rows: Iterable[Rows]) -> Iterator[tuple[str, Rows]]:
    """Rows as from `results_in` with the collection they belong to ("" in mapreduce, whose job names it).

    Gives (collection, [(key as the embedded store files it, document)]), each collection's rows together.
    """
    for some in rows:
        if form == "mapreduce":
            yield "", some
            continue
        start = 0
        names = [collection_of(key) for key, _ in some]
        for at in range(1, len(some) + 1):
            if at == len(some) or names[at] != names[start]:
                yield names[start], [(key_bytes_of(key), data) for key, data in some[start:at]]
                start = at


def _all_encoded(documents: list[Document]) -> list[bytes]:
    """Each document's BSON; encoded together, and cut, which takes half the time. Raises: EventRefused."""
    data = encode({"d": documents})
    found: list[bytes] = []
    at = _FIRST_AT
    for number in range(len(documents)):
        at += 2 + len(str(number))  # type, name, its end
        stop = at + _length_at(data, at)[0]
        found.append(data[at:stop])
        at = stop
    return found
