"""The last step of a job that has a `finalize`: all its documents through one generator. Pure.

Finalize is called once for all documents (in xmapreduce once for those of each collection, with its name first), in
the order of their keys, so that what it gives does not depend on the number of partitions. It may change, leave out
and add documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, TypeVar

from zarkov.codec import decode_all, encode
from zarkov.errors import EventRefused, FunctionFailed, OutputInvalid
from zarkov.event import Document
from zarkov.store.scan import collector_paused
from zarkov.zmr.execute import LIMITS, Limits, ReduceResult, telling
from zarkov.zmr.failure import FAULTS, function_failed, iterated
from zarkov.zmr.forms import FormName, row_prefix
from zarkov.zmr.job import Counters
from zarkov.zmr.printed import capturing
from zarkov.zmr.results import ResultWriter, Rows, Write, by_collection, results_in
from zarkov.zmr.runs import RunSource
from zarkov.zmr.values import brief, key_of, reason_of, shown_key, stored_key

#: Documents taken from finalize at a time.
BATCH = 256
_T = TypeVar("_T")


def run_finalize(
    sources: Sequence[RunSource],
    finalize: Callable[..., Any],
    write: Write,
    *,
    form: FormName = "mapreduce",
    limits: Limits = LIMITS,
) -> ReduceResult:
    """Finalize the documents of all partitions: a generator of documents, each with an `_id`, into one run.

    The documents are in the order in which it gives them; two with one `_id` are refused where they are stored.
    Raises: FunctionFailed. ShuffleCorrupt.
    """
    work = _FinalizeWork(finalize)
    with collector_paused(), capturing(limits.printed_chars) as printed:
        try:
            writer = ResultWriter(write, limits.compress)
            for collection, rows in _collections(form, sources):
                for keys, documents in work.finalized(collection, rows):
                    writer.add_encoded(keys, documents)
            writer.end()
        except (FunctionFailed, OutputInvalid) as error:
            failed = function_failed("finalize", error)
            raise telling(failed, printed) from (failed.__cause__ or error)
    return ReduceResult(Counters(documents_out=writer.count, bytes_out=writer.bytes), printed.text)


class _FinalizeWork:
    def __init__(self, finalize: Callable[..., Any]) -> None:
        self._finalize = finalize
        self._reading: Exception | None = None

    def finalized(self, collection: str, rows: Iterable[Rows]) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """The row keys and the BSON of the documents that finalize gives, some at a time."""
        prefix = row_prefix(collection) if collection else b""
        documents = self._documents(rows)
        arguments = (collection, documents) if collection else (documents,)
        items = self._called(lambda: iterated("finalize", self._finalize(*arguments)))
        while some := self._called(lambda: [*islice(items, BATCH)]):
            yield [prefix + key_of(_id_of(document)) for document in some], [*map(_stored, some)]

    def _documents(self, rows: Iterable[Rows]) -> Iterator[Document]:
        try:
            for some in rows:
                yield from decode_all(b"".join(data for _, data in some))
        except Exception as error:
            self._reading = error
            raise

    def _called(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except FAULTS as error:
            if error is self._reading:
                raise
            raise function_failed("finalize", error) from error


def _collections(form: FormName, sources: Sequence[RunSource]) -> Iterator[tuple[str, Iterable[Rows]]]:
    """Each collection with its rows; in mapreduce one without a name, even if it has none."""
    if form == "mapreduce":
        yield "", results_in(sources)
        return
    for collection, parts in groupby(by_collection(form, results_in(sources)), key=itemgetter(0)):
        yield collection, (rows for _, rows in parts)


def _id_of(document: Any) -> Any:
    if not isinstance(document, Mapping) or "_id" not in document:
        raise OutputInvalid(
            f"finalize gave {brief(document)}, which is no document with an _id",
            hint="Yield the documents that it takes, changed or not: `{'_id': ..., 'value': ...}`.",
        )
    return document["_id"]


def _stored(document: Mapping[str, Any]) -> bytes:
    try:
        return encode({**document, "_id": stored_key(shown_key(document["_id"]))})
    except EventRefused as refused:
        what = f"what finalize gave for {brief(document['_id'])}"
        raise OutputInvalid(f"{what} cannot be kept: {reason_of(refused)}") from refused
