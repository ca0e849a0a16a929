"""Two questions to the commit histories that `make run` sends, answered by map-reduce.

    zcmd script examples/mapreduce_commits.py                    # on the workers of a running server
    zcmd script examples/mapreduce_commits.py --executor inline  # in this process, without a server

1. How many commits has each project in each month, and how many lines did they change?
2. Which file extensions changed most in each year?

The answers are also collections of their own: `zcmd find --in commits_by_month`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from zarkov.zmr import Zmr

    zmr: Zmr  # `zcmd script` and the shell have it at hand

Document = dict[str, Any]
TOP = 3


def by_month(events: Iterator[Document]) -> Iterator[tuple[Any, Document]]:
    """Each commit as one of its project and month."""
    for event in events:
        changed = event["extra"]["insertions"] + event["extra"]["deletions"]
        yield (event["context"]["project"], f"{event['timestamp']:%Y-%m}"), {"commits": 1, "lines": changed}


def by_extension(events: Iterator[Document]) -> Iterator[tuple[Any, Document]]:
    """Each changed file as one of its year and extension."""
    for event in events:
        changed = event["extra"]["insertions"] + event["extra"]["deletions"]
        yield (event["timestamp"].year, event["context"]["extension"]), {"changes": 1, "lines": changed}


def add(key: Any, values: list[Document]) -> Document:
    """The sum of documents of numbers, field by field."""
    return {name: sum(value[name] for value in values) for name in values[0]}


def most_changed(documents: Iterator[Document]) -> Iterator[Document]:
    """Of the extensions of each year the TOP ones; the documents come in the order of their keys."""
    for year, of_year in groupby(documents, key=lambda document: document["_id"]["0"]):
        ranked = sorted(of_year, key=lambda document: (-document["value"]["changes"], document["_id"]["1"]))
        yield {"_id": year, "value": [{"extension": each["_id"]["1"], **each["value"]} for each in ranked[:TOP]]}


def show_months(documents: list[Document], count: int) -> None:
    """The months with the most commits."""
    table = Table(title=f"Commits and changed lines per project and month, the busiest {count} of {len(documents):,}")
    for name in ("project", "month", "commits", "lines"):
        table.add_column(name, justify="right" if name in ("commits", "lines") else "left")
    busiest = sorted(documents, key=lambda document: (-document["value"]["commits"], *document["_id"].values()))
    for document in islice(busiest, count):
        value = document["value"]
        table.add_row(*document["_id"].values(), f"{value['commits']:,}", f"{value['lines']:,}")
    Console(width=100).print(table)


def show_extensions(documents: list[Document]) -> None:
    """The extensions of each year with how many changes they have."""
    table = Table(title="Most changed file extensions by year")
    for name in ("year", *map(str, range(1, TOP + 1))):
        table.add_column(name)
    for document in sorted(documents, key=lambda document: document["_id"]):
        cells = [f"{each['extension'] or 'none'} {each['changes']:,}" for each in document["value"]]
        table.add_row(str(document["_id"]), *cells)
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", choices=("inline", "zmr", "dask"), help="where to run (default: zmr.executor)")
    executor = parser.parse_args().executor

    months = zmr.mapreduce(
        by_month, add, query={"type": "commit"}, output="commits_by_month", executor=executor, wait=True
    )
    extensions = zmr.mapreduce(
        by_extension,
        add,
        most_changed,
        query={"type": "file_change"},
        output="extensions_by_year",
        executor=executor,
        wait=True,
    )
    show_months(list(months.result()), 10)
    show_extensions(list(extensions.result()))


if __name__ == "__main__":
    main()
