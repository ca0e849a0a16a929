"""Results reduced with what was stored before: the step that `output_type: reduce` needs. Pure.

It comes between reduce and finalize. A worker gets the stored documents of the keys of some results (from
`output.JobOutput.stored`) and these results, both as runs of documents; the stored value of a key comes first. What
was stored by a job with a finalize is what that finalize gave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zarkov.codec import decode_all
from zarkov.errors import FunctionFailed, OutputInvalid
from zarkov.store.scan import collector_paused
from zarkov.zmr.execute import LIMITS, Limits, ReduceResult, telling
from zarkov.zmr.failure import function_failed
from zarkov.zmr.forms import FormName, form_of
from zarkov.zmr.job import Counters
from zarkov.zmr.merge import windows
from zarkov.zmr.printed import capturing
from zarkov.zmr.results import ResultWriter, Write
from zarkov.zmr.runs import Columns, Run, RunSource, runs_in
from zarkov.zmr.values import brief


def run_rereduce(
    sources: Sequence[RunSource],
    reduce: Callable[..., Any],
    write: Write,
    *,
    form: FormName = "mapreduce",
    limits: Limits = LIMITS,
) -> ReduceResult:
    """Reduce the stored and the new value of each key to one; a key that has one of them alone keeps it.

    Args:   sources: runs of documents, the stored ones first; write: called with the pieces of the result.
    Raises: FunctionFailed: names the key, or the stored document that has no `value`. ShuffleCorrupt.
    Memory: a block of each run: results of one partition, or of a few.
    """
    maker = form_of(form)
    with collector_paused(), capturing(limits.printed_chars) as printed:
        try:
            writer = ResultWriter(write, limits.compress)
            for groups, shown in windows([_pairs(run) for source in sources for run in runs_in(source)]):
                maker.reduce_all(reduce, groups, shown, 2)
                keys = sorted(groups)
                writer.add(keys, [shown[key] for key in keys], [groups[key][0] for key in keys])
            writer.end()
        except (FunctionFailed, OutputInvalid) as error:
            failed = function_failed("reduce", error)
            raise telling(failed, printed) from (failed.__cause__ or error)
    return ReduceResult(Counters(keys_out=writer.count, bytes_out=writer.bytes), printed.text)


class _Pairs(Run):
    """A run of documents, read as one of pairs."""

    __slots__ = ()

    def block(self, at: int) -> tuple[Columns, int]:
        rows, after = Run.block(self, at)
        documents = decode_all(b"".join(rows.values))
        try:
            values = [document["value"] for document in documents]
        except KeyError:
            lacking = next(document["_id"] for document in documents if "value" not in document)
            raise OutputInvalid(
                f"the document {brief(lacking)} in the output collection has no `value` to reduce with",
                hint="Write to a collection that map-reduce filled, or take output_type merge or replace.",
            ) from None
        return Columns(rows.keys, [document["_id"] for document in documents], values), after


def _pairs(run: Run) -> Run:
    return _Pairs(run.source, run.kind, run.start, run.stop, run.largest) if run.kind == "d" else run
