"""The store on MongoDB: events as the loader brought them, documents in collections of their own.

The address (`mongo_uri`) says where the server is and how to talk to it: one server, the members of a replica set,
the routers of a sharded cluster, TLS, and any other option of MongoDB's connection strings; what it says wins over
the defaults here. Every wait is bounded by `timeout_s`: for a connection, for a server to choose, for an answer, for
a majority. A write is confirmed by a majority where there is a replica set, and journaled by the server.

Nothing is connected before the first query. Collections named `zarkov.*` are Zarkov's own (the loader's checkpoint,
the progress of a migration): they are not listed, and `drop_database` leaves them, as it leaves the events.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, InvalidName, InvalidURI

from zarkov.codec import CODEC_OPTIONS
from zarkov.errors import ConfigError, FilterInvalid
from zarkov.event import Document
from zarkov.store.generations import is_generation
from zarkov.store.mongo_documents import MongoDocuments
from zarkov.store.mongo_errors import brief, translated
from zarkov.store.mongo_events import MongoEvents
from zarkov.store.mongo_output import MongoOutput
from zarkov.store.names import INTERNAL, check_name
from zarkov.store.through_outputs import ThroughOutputs


class MongoStore(ThroughOutputs):
    """A store in one database of MongoDB; see contract.Store. Thread-safe; a context manager; not to be forked.

    `client` and `database` are pymongo's own, for what goes beyond the contract: nothing is hidden or refused there.
    """

    def __init__(
        self,
        uri: str,
        database: str,
        *,
        username: str | None = None,
        password: str | None = None,
        timeout_s: float = 30,
        new_id: Callable[[], ObjectId] = ObjectId,
    ) -> None:
        """Raises: ConfigError: not an address or a database's name that MongoDB can have."""
        try:
            self.client = connect(uri, username=username, password=password, timeout_s=timeout_s)
            self.database = self.client.get_database(database, codec_options=CODEC_OPTIONS)
        except InvalidName as error:
            raise ConfigError(f"{database!r} is not a database's name: {brief(error)}") from error
        self._outputs = MongoOutput(self.database, new_id)
        self._new_id = new_id

    def collection(self, name: str) -> MongoEvents | MongoDocuments:
        """A collection; nothing is made before the first write. Raises: FilterInvalid: not a possible name."""
        try:
            found = self.database[check_name(name)]
        except InvalidName as error:
            raise FilterInvalid(f"{name[:40]!r} is not a collection's name: {brief(error)}") from error
        return MongoEvents(found) if is_generation(name) else MongoDocuments(found, self._new_id)

    def collection_names(self) -> list[str]:
        """`event` and the collections there are, sorted; not the internal ones."""
        with translated():
            names = self.database.list_collection_names()
        return sorted({"event", *(name for name in names if not name.startswith(INTERNAL))})

    def drop_database(self) -> None:
        """Drop every collection of documents; events and internal collections stay."""
        for name in self.collection_names():
            if not is_generation(name):
                with translated():
                    self.database.drop_collection(name)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def __enter__(self) -> MongoStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(
    uri: str, *, username: str | None = None, password: str | None = None, timeout_s: float = 30
) -> MongoClient[Document]:
    """A client, not yet connected; options of the address win over those here.

    Retried writes need no switch: the driver asks the server what it has, and does without where it has none.
    Raises: ConfigError: the address cannot be used.
    """
    wait_ms = max(1, int(timeout_s * 1000))
    wanted: dict[str, Any] = {
        "appname": "zarkov",
        "serverSelectionTimeoutMS": wait_ms,
        "connectTimeoutMS": wait_ms,
        "socketTimeoutMS": wait_ms,
        "wTimeoutMS": wait_ms,
        "w": "majority",
        "journal": True,
    }
    said = {option.partition("=")[0].lower() for option in uri.partition("?")[2].replace(";", "&").split("&")}
    options = {name: value for name, value in wanted.items() if name.lower() not in said}
    if username is not None:
        options |= {"username": username, "password": password}
    try:
        return MongoClient(uri, connect=False, document_class=dict, **options)
    except (ConfigurationError, InvalidURI, ValueError) as error:
        # The driver's words may quote the address, and so a password in it.
        why = "" if "@" in uri else f": {brief(error)}"
        raise ConfigError(
            f"mongo_uri cannot be used{why}",
            hint="It begins with mongodb:// or mongodb+srv://. A user name and a password with other characters than "
            "letters and digits stand better in mongo_username and mongo_password, as they are.",
        ) from (None if "@" in uri else error)
