"""The original's session, to the letter, on a real server; and the shell, scripts and the empty start around it."""

import re
import subprocess
from pathlib import Path

import pytest

from commands import ok, run
from running import ZCMD, RunningServer
from waiting import wait_until

ZSEND = ZCMD.with_name("zsend.py")

FIRST = re.compile(
    r"\[\{'_id': ObjectId\('[0-9a-f]{24}'\),\s+'aggregates': \[\],\s+'context': \{\},\s+'jobs': \[\],\s+"
    r"'timestamp': datetime\.datetime\(20\d\d, [\d, ]+\),\s+'type': 'nop'\}\]"
)


def test_the_original_session_works_to_the_letter(tmp_path: Path) -> None:
    with RunningServer(tmp_path, "serve") as server:
        subprocess.run([ZSEND, server.bson], input='{"type":"nop"}\n', text=True, check=True, timeout=60)
        wait_until(lambda: ok("-y", server.settings, "find", "--count").out == "1\n")
        session = (
            "ZM.event.m.find().all()\n"
            "from zarkov import client\n"
            f"conn = client.ZarkovClient('{server.bson}')\n"
            "conn.event('nop', {'sample_context_key': 'sample_context_val'})\n"
            "import time\n"
            "while ZM.event.m.find().count() < 2: time.sleep(0.01)\n"
            "\n"
            "ZM.event.m.find().all()\n"
        )
        shown = ok("-y", server.settings, "shell", stdin=session).out
    outputs = dict(re.findall(r"Out\[(\d+)\]:\s*(.*?)(?=\n\nIn \[)", shown, re.DOTALL))
    first, last = (outputs[number] for number in sorted(outputs, key=int))
    assert FIRST.fullmatch(first), first
    assert "'context': {'sample_context_key': 'sample_context_val'}" in last
    assert "'extra': None" in last
    assert last.count("'_id'") == 2


def test_without_a_command_zcmd_opens_the_shell_on_an_empty_store(tmp_path: Path) -> None:
    ran = ok("--data-dir", tmp_path / "new", stdin="ZM.event.m.find().all()\nZM.doc_session.db\nsettings.web_port\n")
    assert "Out[1]: []" in ran.out
    assert "Out[2]: <database zarkov>" in ran.out
    assert "Out[3]: 8081" in ran.out


def test_an_error_in_the_shell_is_one_sentence_and_the_session_goes_on(tmp_path: Path) -> None:
    session = 'ZM.event.m.find({"a": {"$bad": 1}}).all()\n1/0\nprint(6 * 7)\n'
    ran = ok("--data-dir", tmp_path / "new", stdin=session)
    assert "error: the store has no operator '$bad'. [filter_invalid]" in ran.err
    assert "parse.py" not in ran.out
    assert "ZeroDivisionError: division by zero" in ran.out
    assert "42" in ran.out


def test_a_script_has_the_names_of_the_shell_and_its_own_arguments(tmp_path: Path) -> None:
    script = tmp_path / "count.py"
    script.write_text(
        "import sys\nfrom beside import word\n"
        "print(word, ZM.event.m.find().count(), sys.argv[1:], client.__name__, settings.web_port)\n"
    )
    (tmp_path / "beside.py").write_text("word = 'hello'\n")
    ran = ok("--data-dir", tmp_path / "data", "script", script, "a", "--b")
    assert ran.out == "hello 0 ['a', '--b'] zarkov.client 8081\n"


def test_a_script_that_fails_shows_its_traceback_and_ends_with_one(tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text("def f():\n    raise RuntimeError('no')\nf()\n")
    ran = run("--data-dir", tmp_path / "data", "script", script)
    assert ran.code == 1
    assert "in f" in ran.err
    assert "RuntimeError: no" in ran.err


@pytest.mark.parametrize("code", [0, 3])
def test_a_script_chooses_its_exit_code(tmp_path: Path, code: int) -> None:
    script = tmp_path / "leave.py"
    script.write_text(f"raise SystemExit({code})\n")
    assert run("--data-dir", tmp_path / "data", "script", script).code == code
