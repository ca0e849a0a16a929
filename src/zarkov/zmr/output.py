"""What becomes of a job's results: documents of the store, once, or the answer itself.

Theory of operation. The job's id is the id of its commit, so that a collection is written once for a job, however
often its end is repeated: by this process, when the store was away, or by the next one, which runs the job again. (A
collection that is committed is skipped; its results are read and counted, no more.) Results are passed on as they
are, in order and some at a time: keys were made and documents encoded where they were reduced.

    replace     store.replace           merge       store.merge
    reduce      the stored documents of the same keys are given out first (`stored`), for a worker to reduce results
                with them (`rereduce.run_rereduce`): a user's function never runs here; then store.merge
    inline      decoded, and returned

Between `stored` and `commit` nobody else may write to the collection: one job at a time fills it, says the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter

from zarkov.codec import decode_all
from zarkov.errors import OutputInvalid, ShuffleCorrupt
from zarkov.event import Document
from zarkov.store.contract import Outputs
from zarkov.store.scan import collector_paused
from zarkov.zmr.forms import FormName, row_prefix
from zarkov.zmr.request import JobRequest
from zarkov.zmr.results import Rows, by_collection, results_in
from zarkov.zmr.runs import Columns, RunSource, RunWriter, runs_in

#: Bytes of results that one job returns, where the caller does not say.
INLINE_BYTES_MAX = 16 * 1024 * 1024

#: What a collection got: how many documents, or the documents themselves where they are returned.
Got = int | list[Document]


class JobOutput:
    """The output of one job; its methods are called one at a time. `inline_bytes_max`: of documents it returns."""

    def __init__(
        self, store: Outputs, job_id: str, request: JobRequest, *, inline_bytes_max: int = INLINE_BYTES_MAX
    ) -> None:
        self._store = store
        self._job_id = job_id
        self._request = request
        self._inline_bytes_max = inline_bytes_max
        self._gave_stored = False
        self._form: FormName = "xmapreduce" if request.kind == "xmapreduce" else "mapreduce"

    @property
    def reduces(self) -> bool:
        """Whether results may have to be reduced with what is stored, before finalize and `commit`."""
        return "reduce" in (self._request.output_type, *self._request.output_types.values())

    def is_committed(self) -> bool:
        """Whether an earlier attempt published all there is to publish; xmapreduce has to be run to know.

        Raises: StoreError.
        """
        name = self._request.output_name
        if self._form == "xmapreduce" or name is None:
            return False
        self._store.settle(self._job_id)
        return self._store.was_committed(self._job_id, name)

    def stored(self, sources: Sequence[RunSource]) -> Iterator[bytes]:
        """The documents that are stored under the keys of these results: the pieces of one run of documents, sorted.

        Args:   sources: what reduces gave, of any partitions; the run may be empty.
        Raises: StoreError; ShuffleCorrupt. Memory: a block of each run, and the stored documents of one.
        """
        self._gave_stored = True
        self._store.settle(self._job_id)
        writer, wanted = RunWriter("d"), dict[str, bool]()
        yield writer.begin()
        for collection, rows in by_collection(self._form, results_in(sources)):
            if collection not in wanted:
                wanted[collection] = self._is_reduced(collection)
            if wanted[collection]:
                prefix = row_prefix(collection) if collection else b""
                found = sorted(self._store.stored(self._name_of(collection), rows))
                keys, documents = [prefix + key for key, _ in found], [data for _, data in found]
                yield from writer.blocks(Columns(keys, [], documents))
        yield writer.end()

    def commit(self, sources: Sequence[RunSource]) -> Got | dict[str, Got]:
        """Publish the results: what reduces gave, or what finalize gave; a second call changes nothing.

        Returns: what the collection got; in xmapreduce by the collection's name.
        Raises: OutputInvalid: more is to be returned than is allowed; DocumentExists: finalize gave two documents
                one `_id`; StoreUnreachable: call again; StoreError, ShuffleCorrupt.
        """
        got: dict[str, Got] = {}
        for collection, parts in groupby(self._parts(sources), key=itemgetter(0)):
            if collection in got:
                raise ShuffleCorrupt(f"the results of {collection!r} do not lie together")
            got[collection] = self._commit_one(collection, (rows for _, rows in parts))
        for collection in self._may_be_empty():
            if collection not in got:
                got[collection] = self._commit_one(collection, ())
        return got if self._form == "xmapreduce" else got[""]

    def _parts(self, sources: Sequence[RunSource]) -> Iterator[tuple[str, Rows]]:
        rows = results_in(sources) if self._request.finalize is None else _as_given(sources)
        return by_collection(self._form, rows)

    def _may_be_empty(self) -> Iterable[str]:
        """The collections that are written also if they got nothing: what they had is to go."""
        if self._form == "mapreduce":
            return ("",)
        return [name for name, kind in self._request.output_types.items() if kind == "replace"]

    def _commit_one(self, collection: str, parts: Iterable[Rows]) -> Got:
        kind = self._request.output_type_of(collection)
        if kind == "inline":
            return self._returned(parts)
        if kind == "reduce" and not self._gave_stored:
            raise RuntimeError("results are to be reduced with what is stored before they are committed")
        counted = _Counted(parts)
        write = self._store.replace if kind == "replace" else self._store.merge
        write(self._name_of(collection), counted.rows(), commit=self._job_id)
        return counted.finish()

    def _returned(self, parts: Iterable[Rows]) -> list[Document]:
        found: list[Document] = []
        size = 0
        for rows in parts:
            data = b"".join(document for _, document in rows)
            size += len(data)
            if size > self._inline_bytes_max:
                raise OutputInvalid(
                    f"the job returns more than {self._inline_bytes_max:,} bytes (inline_bytes_max)",
                    hint="Name a collection for its results.",
                )
            with collector_paused():
                found += decode_all(data)
        return found

    def _is_reduced(self, collection: str) -> bool:
        if self._request.output_type_of(collection) != "reduce":
            return False
        return not self._store.was_committed(self._job_id, self._name_of(collection))

    def _name_of(self, collection: str) -> str:
        return collection or self._request.output_name or ""


class _Counted:
    """The rows of a collection, one after another, and how many there were."""

    def __init__(self, parts: Iterable[Rows]) -> None:
        self._parts = iter(parts)
        self._count = 0

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        return chain.from_iterable(self._counted())

    def finish(self) -> int:
        """All there are, read or not."""
        for _ in self._counted():
            pass
        return self._count

    def _counted(self) -> Iterator[Rows]:
        for rows in self._parts:
            self._count += len(rows)
            yield rows


def _as_given(sources: Sequence[RunSource]) -> Iterator[Rows]:
    """The rows of runs in the order in which they were written."""
    for source in sources:
        for run in runs_in(source):
            for columns in run.blocks():
                yield [*zip(columns.keys, columns.values, strict=True)]
