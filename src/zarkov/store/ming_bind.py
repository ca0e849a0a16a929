"""A store as the database that Ming expects: the one place where Ming, which is untyped, meets typed code.

Ming asks its engine for a client, the client for a database by name, the database for collections by name, and
calls those as pymongo's. So does a person in the shell: `ZM.db.perftest.sum_by_second.find()`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from zarkov.store.contract import Collection, Store

_ming: Any = import_module("ming")

#: Ming's field types: Anything, ObjectId, DateTime ...
schema: Any = import_module("ming.schema")


class NamedCollection:
    """A collection whose attributes are its methods and, beyond them, the collections below its name."""

    def __init__(self, database: Database, collection: Collection) -> None:
        self._database = database
        self._collection = collection

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._collection, name, None)
        return self[name] if found is None else found

    def __getitem__(self, name: str) -> NamedCollection:
        return self._database[f"{self._collection.name}.{name}"]

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        raise TypeError(f"the store has no method {self._collection.name.rpartition('.')[2]!r}")

    def __repr__(self) -> str:
        return f"<collection {self._collection.name}>"


class Database:
    """A store under pymongo's names: collections by item or by attribute."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store

    def __getitem__(self, name: str) -> NamedCollection:
        return NamedCollection(self, self._store.collection(name))

    def __getattr__(self, name: str) -> NamedCollection:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def list_collection_names(self) -> list[str]:
        """The collections that hold something, sorted."""
        return list(self._store.collection_names())

    def drop_collection(self, name: str) -> None:
        """Drop one collection."""
        self._store.collection(name).drop()

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self.list_collection_names() if name.isidentifier())]

    def __repr__(self) -> str:
        return f"<database {self.name}>"


class Client:
    """What Ming takes for a connection: databases by name, all of them the one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, name: str) -> Database:
        return Database(self._store, name)

    def close(self) -> None:
        """The store stays its owner's."""


def session_on(store: Store, database: str) -> Any:
    """A `ming.Session` on a store; it is registered nowhere."""
    engine = _ming.create_engine(use_class=lambda *arguments, **options: Client(store))
    return _ming.Session(_ming.create_datastore(database, bind=engine))


def mapping(name: str, session: Any, *fields: Any) -> Any:
    """A Ming document class for a collection; its `.m` finds and saves."""
    return _ming.collection(name, session, *fields)


def field(name: str, kind: Any, **options: Any) -> Any:
    """A field of a mapping; `kind` is a Python type, a type of `schema`, or a list or dict of them."""
    return _ming.Field(name, kind, **options)
