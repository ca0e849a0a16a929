"""A log and a store with given events, and jobs driven over them, for tests of map-reduce."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from stored import event_id, write
from zarkov.config import ZmrSettings
from zarkov.journal.journals import Journals
from zarkov.store.sqlite import SqliteStore
from zarkov.zmr.output import JobOutput
from zarkov.zmr.request import JobRequest
from zarkov.zmr.shipping import ship
from zarkov.zmr.site import Site

START = datetime(2024, 5, 1)
CHUNK = 1_000


def page_views(count: int) -> list[dict[str, Any]]:
    """Events of ten projects and seven users, one a minute."""
    return [
        {
            "_id": event_id(number + 1),
            "timestamp": START + timedelta(minutes=number),
            "type": "page_view",
            "context": {"project": f"p{number % 10}", "user": f"u{number % 7}"},
            "extra": number,
        }
        for number in range(count)
    ]


def by_project(events: Any) -> Any:
    for event in events:
        yield event["context"]["project"], 1


def total(key: Any, values: Any) -> Any:
    return sum(values)


@contextmanager
def open_site(folder: Path, events: Sequence[Any], **settings: Any) -> Iterator[Site]:
    """What a job needs, over these events in chunks of CHUNK."""
    write(folder / "journal", [events[at : at + CHUNK] for at in range(0, len(events), CHUNK)])
    chosen = ZmrSettings(job_root=folder / "jobs", **settings)
    with Journals.open([folder / "journal"]) as journals, SqliteStore(journals, folder / "documents.sqlite") as store:
        with Site(store, journals, chosen, partial(JobOutput, store)) as site:
            yield site


def request(map: Callable[..., Any] = by_project, reduce: Callable[..., Any] = total, **more: Any) -> JobRequest:
    """A job of these functions."""
    finalize = more.pop("finalize", None)
    shipped = None if finalize is None else ship(finalize)
    return JobRequest(more.pop("kind", "mapreduce"), map=ship(map), reduce=ship(reduce), finalize=shipped, **more)


def counted(documents: Sequence[Any]) -> dict[Any, Any]:
    """Results as key -> value."""
    return {document["_id"]: document["value"] for document in documents}
