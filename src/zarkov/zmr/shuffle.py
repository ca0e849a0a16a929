"""From what a map yields to sorted runs, one for each partition: the combiner. Pure.

Theory of operation. Values are gathered by key. When the memory they are reckoned to take exceeds the budget, the
values of each key are reduced to one (reduce is associative, so it may be called on any values that follow each
other); if that does not halve it, all is *spilled*: sorted, encoded and let go. `finish` does so with the rest.
What is always true:

- The values of a key are reduced in the order in which map yielded them; runs of a partition are in that order too.
- A key is in one partition, whichever task yields it, and in a run once.
- Reduce is called with a list of two or more values, the first of which may be a result of it.

Keys are gathered under their bytes. Those are looked up, not made, for a key that was seen since the last spill: by
the key itself where all keys at hand hash as they should, and else by its BSON.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, cast
from zlib import crc32

from zarkov.codec import encode
from zarkov.errors import EventRefused, OutputInvalid
from zarkov.zmr.forms import Form, Groups
from zarkov.zmr.runs import Columns, RunWriter, compressor
from zarkov.zmr.values import are_hashed, brief, hide_bools, reason_of, shown_key, shown_keys, weight_of

#: Called with a partition and a run of it, in order; a spill goes to disk, or wherever it leaves memory.
Spill = Callable[[int, bytes], object]

#: Pairs added at a time, at most: a map is asked for so many before their memory is reckoned. The budget may thus be
#: exceeded by so many times the largest value, where values suddenly grow.
BATCH_MAX = 256
_BATCH_FIRST = 64
#: One of so many values is weighed.
_WEIGHED = 32
#: Keys whose values are weighed after a reduction.
_WEIGHED_KEYS = 1_000
#: Bytes of memory that a key takes beside its value.
_KEY_BYTES = 500


#: Keys known by themselves or by their BSON: more are forgotten when they are many names of few (as NaN has).
KNOWN_MAX = 10_000


class Combiner:
    """Takes what map yields; gives runs. Not thread-safe.

    Args:   reduce: as the form calls it; memory_bytes: about what it may hold; compress: zstd level of runs, 0 for
            none; spill: where runs go before the end; None keeps them for `finish`.
    """

    def __init__(
        self,
        form: Form,
        reduce: Callable[..., Any],
        partition_count: int,
        *,
        memory_bytes: int,
        compress: int = 0,
        spill: Spill | None = None,
    ) -> None:
        self._form = form
        self._reduce = reduce
        self._memory_bytes = memory_bytes
        self._writer = RunWriter("p", compressor(compress))
        self._kept: list[list[bytes]] = [[] for _ in range(partition_count)]
        self._spill: Spill = spill or (lambda partition, run: self._kept[partition].append(run))
        self._groups: Groups = defaultdict(list)
        self._keys = _Keys(form)
        self._weight = 0
        self.batch = _BATCH_FIRST
        self.pairs = 0
        self.pairs_combined = 0
        self.bytes = 0
        self.spills = 0

    def add(self, items: Sequence[Any]) -> None:
        """Gather what map yielded: at most `batch` items, so that the memory bound holds.

        Raises: OutputInvalid: an item is none, or its key can be none. FunctionFailed: reduce raised.
        """
        form, groups = self._form, self._groups
        before = len(groups)
        keys, values = form.keys(items), form.values(items)
        for key, value in zip(self._keys.row_keys(keys), values, strict=True):
            groups[key].append(value)
        self.pairs += len(items)
        self._weigh(values, len(groups) - before)

    def finish(self) -> list[bytes]:
        """The runs of each partition that were not spilled, one after another; b"" where there are none.

        Raises: OutputInvalid: BSON has no type for a value. FunctionFailed: reduce raised.
        """
        self._let_go(lambda partition, run: self._kept[partition].append(run))
        return [b"".join(runs) for runs in self._kept]

    def _weigh(self, values: Sequence[Any], keys_new: int) -> None:
        if not values:
            return
        sample = values[self.pairs % _WEIGHED :: _WEIGHED] or values[:1]
        mean = sum(map(weight_of, sample)) // len(sample) + 8
        self._weight += mean * len(values) + _KEY_BYTES * keys_new
        self.batch = min(max(self._memory_bytes // 16 // mean, 1), BATCH_MAX, self.batch * 4)
        if self._weight > self._memory_bytes:
            self._relieve()

    def _relieve(self) -> None:
        self._combine()
        step = len(self._groups) // _WEIGHED_KEYS + 1
        weights = [weight_of(values[0]) for values in islice(self._groups.values(), 0, None, step)]
        self._weight = sum(weights) * step + _KEY_BYTES * len(self._groups)
        if self._weight > self._memory_bytes // 2:
            self._let_go(self._spill)
            self.spills += 1

    def _combine(self) -> None:
        self._form.reduce_all(self._reduce, self._groups, self._keys.shown, 2)

    def _let_go(self, spill: Spill) -> None:
        self._combine()
        groups, shown, count = self._groups, self._keys.shown, len(self._kept)
        partitions: list[list[bytes]] = [[] for _ in range(count)]
        for key in sorted(groups):
            partitions[crc32(key) % count].append(key)
        for partition, keys in enumerate(partitions):
            if keys:
                columns = Columns(keys, [shown[key] for key in keys], [groups[key][0] for key in keys])
                run = b"".join([self._writer.begin(), *pieces(columns, self._writer), self._writer.end()])
                self.bytes += len(run)
                spill(partition, run)
        self.pairs_combined += len(groups)
        self._groups, self._keys, self._weight = defaultdict(list), _Keys(self._form), 0


class _Keys:
    """The row keys of what map yielded since the last spill, and each as it is shown.

    Theory of operation. A key that was seen is looked up by itself, which is right only for keys that are one exactly
    if they are equal in Python. `1` and `True` are equal, and are not one. So keys with bools in them, among others,
    are never kept to be looked up by themselves but by their BSON; and once a key with a 0 or a 1 in it is kept, for
    which one with a bool could be mistaken, the types of all keys are looked at before.
    """

    def __init__(self, form: Form) -> None:
        self.shown: dict[bytes, Any] = {}
        self._form = form
        self._by_value: dict[Any, bytes] = {}
        self._by_token: dict[Any, bytes] = {}
        self._hides_bools = False

    def row_keys(self, keys: Sequence[Any]) -> Sequence[bytes]:
        """The row key of each. Raises: OutputInvalid."""
        for known in (self._by_value, self._by_token):
            if len(known) > max(2 * len(self.shown), KNOWN_MAX):
                known.clear()
        try:
            found = self._looked_up(keys)
        except TypeError:  # one has no hash
            found = None
        return [self._by_bson(key) for key in keys] if found is None else found

    def _looked_up(self, keys: Sequence[Any]) -> Sequence[bytes] | None:
        """The row keys, by the keys themselves; None if one may not be looked up so."""
        form, known = self._form, self._by_value
        if self._hides_bools and not are_hashed(form.inner(keys)):
            return None
        found = [*map(known.get, keys)]
        if None in found:
            new = [key for key, row_key in zip(keys, found, strict=True) if row_key is None]
            inner = form.inner(new)
            if not are_hashed(inner):
                return None
            self._hides_bools = self._hides_bools or hide_bools(inner)
            row_keys = form.row_keys(new)
            known.update(zip(new, row_keys, strict=True))
            for row_key, shown in zip(row_keys, shown_keys(inner), strict=True):
                self.shown.setdefault(row_key, shown)
            found = [*map(known.__getitem__, keys)]
        return cast("list[bytes]", found)

    def _by_bson(self, key: Any) -> bytes:
        token = self._form.token(key)
        found = self._by_token.get(token)
        if found is None:
            found = self._by_token[token] = self._form.row_key(key)
            if found not in self.shown:
                self.shown[found] = shown_key(self._form.inner([key])[0])
        return found


def pieces(columns: Columns, writer: RunWriter) -> Iterator[bytes]:
    """The pairs as blocks of a run. Raises: OutputInvalid: names the key of a value that BSON has no type for."""
    try:
        yield from writer.blocks(columns)
    except EventRefused as refused:
        raise value_refused(columns, refused) from refused


def value_refused(columns: Columns, refused: EventRefused) -> OutputInvalid:
    """The error of rows that could not be encoded: which of them it is."""
    for shown, value in zip(columns.shown, columns.values, strict=True):
        try:
            encode({"": value})
        except EventRefused as reason:
            return OutputInvalid(
                f"the value {brief(value)} of the key {brief(shown)} cannot be kept: {reason_of(reason)}"
            )
    return OutputInvalid(f"values cannot be kept: {reason_of(refused)}")
