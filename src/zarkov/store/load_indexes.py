"""The indexes of the collections of events: `timestamp`, `type`, and `o` by journal and offset.

`o` is an array, and an index on the field itself would have an entry for each of its two elements: useless for a
range of offsets. One on the two positions, `o.0` and `o.1`, answers `{"o.0": journal, "o.1": {"$gte": a, "$lt": b}}`.

On an empty collection they are made at once; on one that holds events by a thread, while loading goes on: the server
builds them without keeping writes out. A user who may not make indexes is warned once, and loaded for all the same.
"""

from __future__ import annotations

import logging
import threading

from pymongo.errors import OperationFailure, PyMongoError

from zarkov.store.load_ports import MongoDatabase
from zarkov.store.mongo_errors import brief

KEYS = ([("timestamp", 1)], [("type", 1)], [("o.0", 1), ("o.1", 1)])
NAMES = ("timestamp_1", "type_1", "o.0_1_o.1_1")

_log = logging.getLogger(__name__)


class Indexes:
    """One thread calls; its own builds in the background. What fails is logged, and tried at the next start."""

    def __init__(self, database: MongoDatabase) -> None:
        self._database = database
        self._building: dict[str, threading.Thread] = {}
        self._done: set[str] = set()

    def make(self, name: str) -> None:
        """See to the indexes of a collection, which is made if it is not there. Raises: PyMongoError: not reached."""
        if name in self._done:
            return
        self._done.add(name)
        collection = self._database[name]
        try:
            if set(NAMES) <= set(collection.index_information()):
                return
            if collection.find_one({}, {"_id": 1}) is None:
                self._create(name)
                return
        except OperationFailure as error:
            _log.warning("indexes not made collection=%s reason=%s", name, brief(error))
            return
        _log.info("indexes being made collection=%s", name)
        thread = threading.Thread(target=self._build, args=(name,), name=f"indexes of {name}", daemon=True)
        self._building[name] = thread
        thread.start()

    def settle(self) -> None:
        """Wait for what is being built, so that collections can be renamed; they are looked at anew afterwards."""
        for thread in self._building.values():
            thread.join()
        self._building.clear()
        self._done.clear()

    def _build(self, name: str) -> None:
        try:
            self._create(name)
        except PyMongoError as error:
            _log.warning("indexes not made collection=%s reason=%s", name, brief(error))
        else:
            _log.info("indexes made collection=%s", name)

    def _create(self, name: str) -> None:
        for keys in KEYS:
            self._database[name].create_index(keys)
