"""What nobody can do with the events of a store, whichever it is: every writing method raises AppendOnly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from zarkov.errors import AppendOnly

_SEND = "Events come in through the event server: zsend.py, zarkov.client or the sockets of docs/protocol.md."
_OLD = "Old events leave by retention and `zcmd rotate`; `zcmd init` removes all of them."


def _refused(action: str, hint: str | None = None) -> Callable[..., NoReturn]:
    def method(self: AppendOnlyWrites, *arguments: Any, **options: Any) -> NoReturn:
        raise AppendOnly(f"{action} is not possible in {self.name!r}: the event journal is append-only", hint=hint)

    return method


class AppendOnlyWrites:
    """The writing half of a collection of events."""

    def __init__(self, name: str) -> None:
        self.name = name

    insert_one = _refused("insert", _SEND)
    insert_many = _refused("insert", _SEND)
    replace_one = _refused("save")
    update_one = _refused("update")
    update_many = _refused("update")
    find_one_and_update = _refused("update")
    find_one_and_replace = _refused("save")
    delete_one = _refused("delete", _OLD)
    delete_many = _refused("delete", _OLD)
    find_one_and_delete = _refused("delete", _OLD)
    drop = _refused("drop", _OLD)
    rename = _refused("rename", "`zcmd rotate` makes `event` to `event.0`.")
