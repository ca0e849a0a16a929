"""The documentation against the code: what is named exists, and what exists is named."""

import importlib.util
import inspect
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from zarkov.cli.app import app
from zarkov.client import AsyncZarkovClient, ZarkovClient
from zarkov.client.logging import ZarkovHandler
from zarkov.client.structlog import ZarkovProcessor
from zarkov.config import RETIRED, table
from zarkov.errors import REFUSAL_CODES, FilterInvalid, UpdateInvalid, error_codes
from zarkov.journal import Journal
from zarkov.store.filter import compile_filter
from zarkov.store.update import compile_update

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
METRIC = re.compile(r"\.(?:counter|gauge|timer)\(\s*\"([a-z_]+)\"")


def _make_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_docs = _make_docs()
COMMANDS: dict[str, Any] = {
    " ".join(path): command for path, command in make_docs.leaves(typer.main.get_command(app), ("zcmd",))
}


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(name: str, title: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*)", page(name), re.M | re.S)
    assert found, f"{name} has no section {title}"
    return re.split(rf"^#{{1,{len(found[1])}}} ", found[2], flags=re.M)[0]


def code_in_first_column(text: str) -> list[str]:
    cells = re.findall(r"^\|([^|]*)\|", text, re.M)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("name", make_docs.PAGES)
def test_the_generated_part_of_a_page_is_up_to_date(name: str) -> None:
    assert make_docs.updated(DOCS / name, make_docs.PAGES[name]()) == page(name), "run scripts/make_docs.py"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_is_long_or_names_a_place_on_one_machine(path: Path) -> None:
    text = path.read_text()
    most = 600 if path.name in make_docs.PAGES else 300  # a reference is looked up, not read
    assert len(text.splitlines()) < most
    assert re.findall(r"/(?:work|root|home)/\S*", text) == []


def test_the_readme_leads_to_every_page() -> None:
    linked = re.findall(r"\]\(docs/([^)]+)\)", (ROOT / "README.md").read_text())
    assert [path.name for path in DOCS.glob("*.md") if path.name not in linked] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented_with_an_example_and_all_its_options(command: str) -> None:
    text = section("commands.md", command)
    options = [option for each in COMMANDS[command].params for option in each.opts if option.startswith("-")]
    examples = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))
    assert re.search(rf"\bzcmd (?:-\S+ \S+ )*{command.removeprefix('zcmd ')}\b", examples)
    assert [option for option in options if f"`{option}`" not in text] == []


def test_every_command_and_option_that_a_page_shows_exists() -> None:
    unknown = []
    for path in PAGES:
        for line in re.findall(r"`(zcmd [^`\n]*)`|^(?:\$ )?(zcmd [^\n]*)", path.read_text(), re.M):
            words = shlex.split("".join(line).replace("...", ""), comments=True)
            if not _exists([word for word in words if word not in ("|", "&", ";")]):
                unknown.append(f"{path.name}: {words}")
    assert unknown == []


#: Commands of later versions that a page mentions as such.
LATER = {"proxy"}


def _exists(words: list[str]) -> bool:
    words = words[1:]
    while words and (words[0].startswith("-") or words[0] in ("OPTIONS", "COMMAND")):
        words = words[2:] if words[0] in ("-y", "--data-dir", "--set") else words[1:]
    if not words or words[0] in LATER or words[0] == "script":  # What follows is the script's.
        return True
    if len(words) == 1 and any(command.startswith(f"zcmd {words[0]} ") for command in COMMANDS):
        return True  # a family of commands
    for length in (1, 2):
        command = COMMANDS.get(" ".join(["zcmd", *words[:length]]))
        if command is not None:
            options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
            given = [word.partition("=")[0] for word in words[length:] if word.startswith("-") and word != "-"]
            return set(given) <= options
    return False


def test_every_setting_is_documented_and_no_other() -> None:
    text = page("configuration.md")
    named = code_in_first_column(text.split("### General")[1])
    assert sorted(named) == sorted([*table(), *RETIRED])


def test_what_is_documented_as_not_used_yet_is_not_used() -> None:
    sources = [path for path in (ROOT / "src" / "zarkov").rglob("*.py") if "config" not in path.parts]
    code = "".join(path.read_text() for path in sources)
    # `extra` is also a field of events.
    names = [*(key for key in make_docs.LATER if key != "extra"), "loadbalance", "webevent"]
    assert [name for name in names if re.search(rf"settings\.{name}\b", code)] == []


def test_every_key_in_prose_that_looks_like_a_limit_is_a_setting_or_an_argument() -> None:
    client = (ROOT / "src" / "zarkov" / "client" / "zarkov_client.py").read_text()
    known = {key.rpartition(".")[2] for key in table()} | set(RETIRED) | set(re.findall(r"(\w+): ", client))
    for path in PAGES:
        named = set(re.findall(r"`([a-z_]+_(?:max|min|hwm|s_max|bind_address))`", path.read_text()))
        assert named - known == set(), path.name


def test_every_error_code_is_explained_to_operators_with_whether_to_retry() -> None:
    rows = re.findall(r"^\| ([^|]*) \| (yes|no) \|", section("operations.md", "Errors"), re.M)
    said = {code: retry == "yes" for codes, retry in rows for code in re.findall(r"`(\w+)`", codes)}
    assert said == {code: kind.retryable for code, kind in error_codes().items()}


def test_the_refusals_of_a_whole_batch_are_in_the_protocol_as_they_are_in_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", page("protocol.md"), re.M)
    assert rows
    for code, retry in rows:
        assert error_codes()[code].retryable is (retry == "yes"), code


def test_every_refusal_code_is_in_the_protocol() -> None:
    text = page("protocol.md")
    assert [code for code in REFUSAL_CODES if f"| `{code}` |" not in text] == []


def test_every_metric_is_explained_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    named = code_in_first_column(section("operations.md", "Metrics"))
    assert sorted(named) == sorted(set(METRIC.findall(sources)))


def test_every_operator_of_filters_and_updates_is_explained() -> None:
    with pytest.raises(FilterInvalid) as filters:
        compile_filter({"a": {"$nope": 1}})
    with pytest.raises(UpdateInvalid) as updates:
        compile_update({"$nope": {"a": 1}})
    known = set(re.findall(r"\$\w+", filters.value.hint + updates.value.hint))
    assert len(known) > 25
    assert known - set(re.findall(r"`(\$\w+)`", page("querying.md"))) == set()


def test_every_test_that_a_page_names_exists() -> None:
    named = {name for path in PAGES for name in re.findall(r"`(tests/[^`]+)`", path.read_text())}
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_guarantee_names_a_test() -> None:
    rows = re.findall(r"^\| (.*) \|$", page("guarantees.md").split("## What is not promised")[0], re.M)
    assert [row for row in rows[2:] if "`tests/" not in row] == []


def test_the_page_on_python_names_every_argument_and_method_of_the_client() -> None:
    arguments = set(inspect.signature(ZarkovClient).parameters) - {"addr"}
    methods = {name for name in dir(ZarkovClient) if not name.startswith("_")}
    named = {name.partition("(")[0] for name in code_in_first_column(section("python.md", "Sending"))}
    assert named == arguments | methods


def test_the_page_on_clients_names_every_argument_of_the_handler_with_its_default() -> None:
    text = section("clients.md", "logging").split("| argument |")[1].split("\n\n")[0]
    assert set(code_in_first_column(text)) == set(inspect.signature(ZarkovHandler).parameters) - {"level"}


@pytest.mark.parametrize("kind", [AsyncZarkovClient, ZarkovProcessor])
def test_a_client_takes_the_arguments_of_the_one_that_the_pages_explain(kind: type) -> None:
    explained = ZarkovClient if kind is AsyncZarkovClient else ZarkovHandler
    own = {"tee"} if kind is ZarkovProcessor else set()
    assert set(inspect.signature(kind).parameters) - own <= set(inspect.signature(explained).parameters)


def test_the_page_on_python_names_only_methods_that_the_journal_has() -> None:
    named = {name.partition("(")[0] for name in code_in_first_column(section("python.md", "Reading the journal"))}
    assert len(named) > 8
    assert [name for name in named if not hasattr(Journal, name)] == []
