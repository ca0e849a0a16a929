"""The documentation against the code: what is named exists, and what exists is named."""

import re
import sys
from pathlib import Path

import pytest

from zarkov.errors import REFUSAL_CODES, error_codes

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
METRIC = re.compile(r"\.(?:counter|gauge|timer)\(\s*\"([a-z_]+)\"")


def test_the_generated_pages_are_up_to_date() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import make_docs
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    for name, make in make_docs.PAGES.items():
        page = ROOT / "docs" / name
        assert make_docs.updated(page, make()) == page.read_text(), "run scripts/make_docs.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_error_code_is_explained_to_operators() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [code for code in error_codes() if f"`{code}`" not in text] == []


def test_every_refusal_code_is_in_the_protocol() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text()
    assert [code for code in REFUSAL_CODES if f"| `{code}` |" not in text] == []


def test_every_metric_is_explained_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    table = (ROOT / "docs" / "operations.md").read_text().split("## Metrics")[1].split("## Errors")[0]
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.M))))
    assert named == set(METRIC.findall(sources))


def test_every_test_that_a_guarantee_names_exists() -> None:
    named = set(re.findall(r"`(tests/[^`]+)`", (ROOT / "docs" / "guarantees.md").read_text()))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
