"""The half of a store that writes many documents at once, handed on to what does it; see contract.Outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zarkov.event import Document
from zarkov.store.contract import Outputs, Row


class ThroughOutputs:
    """A store whose outputs are written by a part of its own."""

    _outputs: Outputs

    def replace(self, name: str, documents: Iterable[Document | Row], *, commit: str) -> bool:
        """Make these documents the whole content of a collection, once for each `commit`."""
        return self._outputs.replace(name, documents, commit=commit)

    def merge(self, name: str, documents: Iterable[Document | Row], *, commit: str) -> bool:
        """Write whole documents by their `_id`, once for each `commit`."""
        return self._outputs.merge(name, documents, commit=commit)

    def was_committed(self, commit: str, name: str) -> bool:
        """Whether `replace` or `merge` wrote this, and it is not forgotten."""
        return self._outputs.was_committed(commit, name)

    def stored(self, name: str, rows: Sequence[Row]) -> Sequence[Row]:
        """The documents that a collection has under the keys of these."""
        return self._outputs.stored(name, rows)

    def unsettled(self) -> Sequence[str]:
        """The commits whose attempts ended, or show no life, and left something behind."""
        return self._outputs.unsettled()

    def settle(self, commit: str) -> None:
        """Finish what attempts at a commit decided, remove the rest."""
        self._outputs.settle(commit)
