"""The list of what the stores do not all do alike, against the contract suite and docs/mongodb.md."""

from pathlib import Path

from promises import PROMISES, table

ROOT = Path(__file__).parents[2]


def test_the_page_on_mongodb_shows_the_list_as_it_is() -> None:
    assert table() in (ROOT / "docs" / "mongodb.md").read_text(), f"put this into docs/mongodb.md:\n{table()}"


def test_each_difference_is_looked_at_by_the_contract_suite() -> None:
    suite = "".join(path.read_text() for path in sorted((ROOT / "tests" / "contract").glob("test_*.py")))
    assert [name for name in PROMISES if f'"{name}"' not in suite] == []
