"""The Python examples of the documentation run as they stand, against a real server."""

import re
from pathlib import Path

import pytest

from running import RunningServer, zcmd
from waiting import wait_until

ROOT = Path(__file__).parents[2]
BLOCKS = [
    (page, block)
    for page in ("docs/protocol.md", "docs/python.md")
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page}-{n}" for n, (page, _) in enumerate(BLOCKS)])
def test_an_example_of_the_documentation_runs(
    page: str, block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunningServer(tmp_path) as server:
        text = block.replace("tcp://localhost:6543", server.bson).replace("tcp://localhost:6546", server.ack)
        text = text.replace("zarkov-data/journal", str(server.data_dir / "journal"))
        names: dict[str, object] = {"__name__": "__example__"}
        exec(compile(text, page, "exec"), names)  # noqa: S102 - the documentation's own text
        if "event(" in block or "BATCH" in block:
            expected = 10 if "BATCH" in block else 1000 if "ack=True" in block else 1
            wait_until(lambda: zcmd("find", "--count", settings=server.settings).strip() == str(expected))
        printed = capsys.readouterr().out
        assert ("print(" not in block) or printed.strip() or "columns" in block
