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
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zarkov.zmr import Zmr

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
    print(f"Commits and changed lines per project and month: {count} of {len(documents):,}\n")
    print(f"{'project':<30}{'month':<9}{'commits':>8}{'lines':>10}")
    busiest = sorted(documents, key=lambda document: (-document["value"]["commits"], *document["_id"].values()))
    for document in busiest[:count]:
        (project, month), value = document["_id"].values(), document["value"]
        print(f"{project:<30}{month:<9}{value['commits']:>8,}{value['lines']:>10,}")


def show_extensions(documents: list[Document]) -> None:
    """The extensions of each year with how many changes they have."""
    print("\nMost changed file extensions by year\n")
    for document in sorted(documents, key=lambda document: document["_id"]):
        ranked = [f"{each['extension'] or 'none'} {each['changes']:,}" for each in document["value"]]
        print(document["_id"], "".join(f"{each:>14}" for each in ranked))


def main(zmr: Zmr) -> None:
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
    main(zmr)  # noqa: F821  # `zcmd script` has it at hand
