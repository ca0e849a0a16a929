"""Databases beside Zarkov's own (`extra_dbs:`), for the shell, scripts and tasks: `ZM.extra["crm"].users.find()`.

They are pymongo's databases as they are, for reading and writing: what lies there is not Zarkov's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zarkov.codec import CODEC_OPTIONS
from zarkov.errors import ConfigError

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database


@dataclass(frozen=True, slots=True)
class ExtraDatabase:
    """Where one lies: `uri` names its server, with credentials where it asks for them."""

    name: str
    uri: str
    database: str


class ExtraDatabases:
    """Databases by name: `extra["crm"]`, `"crm" in extra`, `list(extra)`. A context manager.

    A client is made at the first use, and connects at the first query.
    """

    def __init__(self, databases: Iterable[ExtraDatabase] = (), *, timeout_s: float = 30) -> None:
        self._databases = {each.name: each for each in databases}
        self._timeout_s = timeout_s
        self._clients: dict[str, MongoClient[dict[str, Any]]] = {}

    def __getitem__(self, name: str) -> Database[dict[str, Any]]:
        from zarkov.store.mongo import connect

        found = self._databases.get(name)
        if found is None:
            known = ", ".join(self._databases) or "none"
            raise ConfigError(
                f"there is no extra database {name!r}", hint=f"`extra_dbs` in the settings has {known}."
            )
        client = self._clients.get(name)
        if client is None:
            try:
                client = connect(found.uri, timeout_s=self._timeout_s)
            except ConfigError as error:
                raise ConfigError(
                    f"the address of the extra database {name!r} cannot be used", hint=error.hint
                ) from None
            self._clients[name] = client
        return client.get_database(found.database, codec_options=CODEC_OPTIONS)

    def __contains__(self, name: object) -> bool:
        return name in self._databases

    def __iter__(self) -> Iterator[str]:
        return iter(self._databases)

    def __len__(self) -> int:
        return len(self._databases)

    def __repr__(self) -> str:
        return f"<extra databases: {', '.join(self._databases) or 'none'}>"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._databases)

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def __enter__(self) -> ExtraDatabases:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
