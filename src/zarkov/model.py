"""ZM: the Ming mappings of what Zarkov stores.

    ZM.event.m.find({"type": "commit"}).sort("timestamp", -1).limit(10).all()
    ZM.event.m.get(_id=...), ZM.event.m.find({...}).count(), ZM.event.m.find({...}).first()
    ZM.db["event.0"].find({...})
    ZM.AggDef.make({"name": "perftest", "task_name": "zarkov.aggregate.PerfTest"}).m.save()
    ZM.extra["crm"].users.find_one({...})

The mappings are made for one store by `open_model`; there is no global session. Reading checks nothing, so an event
that was sent without validation does not stop a query. Ming gives the fields of a document in alphabetical order and
leaves out fields that are not mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zarkov.store.contract import Store
from zarkov.store.extra import ExtraDatabases
from zarkov.store.ming_bind import field, mapping, schema, session_on

#: The generations that an aggregate or a map-reduce reads when it names none.
DEFAULT_INPUTS = ["event", "event.0"]


@dataclass(frozen=True, slots=True)
class ZM:
    """A store's mappings. `event`, `AggDef` and `job` are Ming document classes, untyped as Ming is.

    `event` is read only: saving, changing or deleting one raises AppendOnly. `extra` holds the databases of
    `extra_dbs` by name, as pymongo's.
    """

    doc_session: Any
    event: Any
    AggDef: Any
    job: Any
    extra: ExtraDatabases

    @property
    def db(self) -> Any:
        """The database: collections by item (`ZM.db["event.0"]`) or by attribute."""
        return self.doc_session.db

    def __repr__(self) -> str:
        return f"<ZM {self.db.name}: event, AggDef, job, db, extra>"


def open_model(store: Store, *, database: str = "zarkov", extra: ExtraDatabases | None = None) -> ZM:
    """The mappings on a store.

    Nothing is opened or read before the first query; the store and `extra` stay their owner's to close.
    """
    session = session_on(store, database)
    return ZM(
        doc_session=session,
        event=mapping("event", session, *_event_fields()),
        AggDef=mapping("agg_def", session, *_agg_def_fields()),
        job=mapping("job", session, *_job_fields()),
        extra=extra or ExtraDatabases(),
    )


def _event_fields() -> list[Any]:
    """`aggregates` and `jobs` are what the original stored with each event; here they are always empty."""
    anything = schema.Anything
    return [
        field("_id", anything),
        field("timestamp", anything),
        field("type", anything),
        field("context", anything),
        field("extra", anything),
        field("aggregates", [anything]),
        field("jobs", [anything]),
    ]


def _agg_def_fields() -> list[Any]:
    """A definition of an aggregate, and the position up to which it has read: `{journal id: next offset}`."""
    return [
        field("_id", schema.ObjectId),
        field("name", str),
        field("inputs", [str], if_missing=lambda: list(DEFAULT_INPUTS)),
        field("task_name", str),
        field("realtime", bool, if_missing=False),
        field("position", {str: int}),
    ]


def _job_fields() -> list[Any]:
    """A map-reduce job, as `zarkov.zmr.job.Job` makes its document; `complete`, `error` and `cancelled` are final."""
    anything = schema.Anything
    return [
        field("_id", str),
        field("state", str),
        field("error", str),
        field("traceback", str),
        field("event", anything),
        field("printed", str),
        field("request", anything, if_missing=dict),
        field("position", {str: int}),
        field("parts", [anything]),
        field("runs", int),
        field("progress", anything),
        field("counters", anything),
        field("timings", anything),
    ]
