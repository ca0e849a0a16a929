"""The spool's file: what is in it survives, who may have it, and what becomes of one that is damaged or full."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zarkov.client.spool import Row, Spool
from zarkov.errors import SpoolFailed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    opened = Spool.open(path)
    yield opened
    opened.close()


def row(sequence: int, size: int = 10) -> Row:
    return Row(sequence, 2, bytes([sequence % 256]) * size)


def fill(path: Path, *rows: Row) -> None:
    opened = Spool.open(path)
    opened.write(rows, [])
    opened.close()


def test_what_was_written_is_there_for_the_next_process_and_so_is_the_producer(path: Path) -> None:
    first = Spool.open(path, name=b"shop")
    first.write([row(1), row(2), row(3)], [])
    first.write([row(4)], [2])
    first.close()
    second = Spool.open(path, name=b"another name")
    assert second.producer == first.producer
    assert second.producer.startswith(b"shop.")
    assert (second.batch_count, second.event_count, second.byte_count) == (3, 6, 30)
    assert (second.oldest, second.next_sequence) == (1, 5)
    assert second.read(2, 10**6) == ([row(3), row(4)], None)
    second.close()


def test_a_sequence_is_not_given_again_when_all_batches_are_gone(path: Path) -> None:
    fill(path, row(1), row(2))
    again = Spool.open(path)
    again.write([], [1, 2])
    again.close()
    empty = Spool.open(path)
    assert (empty.batch_count, empty.next_sequence, empty.oldest) == (0, 3, 3)
    empty.close()


def test_a_read_is_bounded_but_gives_at_least_one_and_names_the_next(spool: Spool) -> None:
    spool.write([row(1), row(3), row(7)], [])
    assert spool.read(1, 20) == ([row(1), row(3)], 7)
    assert spool.read(2, 1) == ([row(3)], 7)
    assert spool.read(8, 100) == ([], None)


def test_only_the_owner_may_read_it(spool: Spool, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_write_that_fails_changes_nothing(spool: Spool) -> None:
    spool.write([row(1)], [])
    with pytest.raises(SpoolFailed, match="cannot be written"):
        spool.write([row(2), row(2)], [1])
    assert spool.read(0, 100) == ([row(1)], None)
    assert spool.next_sequence == 2
    spool.write([row(2)], [1])
    assert spool.read(0, 100) == ([row(2)], None)


def test_a_second_client_of_this_process_is_told_that_it_is_in_use(spool: Spool, path: Path) -> None:
    with pytest.raises(SpoolFailed, match="in use by another client") as told:
        Spool.open(path)
    assert "a spool file of its own" in told.value.hint
    spool.write([row(1)], [])


def test_a_second_process_is_told_that_it_is_in_use_until_the_first_is_gone(spool: Spool, path: Path) -> None:
    text = "import sys; from zarkov.client.spool import Spool; Spool.open(sys.argv[1]).close()"

    def another() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", text, str(path)], capture_output=True, text=True, check=False)

    assert "in use by another client" in another().stderr
    spool.close()
    again = Spool.open(path)
    assert "in use by another client" in another().stderr
    again.close()
    assert another().returncode == 0


def test_the_space_of_what_is_gone_is_given_back_when_nothing_is_left(path: Path) -> None:
    fill(path, *[row(n, 100_000) for n in range(1, 20)])
    large = path.stat().st_size
    again = Spool.open(path)
    again.write([], range(1, 20))
    again.close()
    assert path.stat().st_size < large / 10


def test_a_new_name_keeps_batches_and_sequences(path: Path) -> None:
    opened = Spool.open(path, name=b"shop")
    opened.write([row(1)], [])
    before = opened.producer
    renamed = opened.rename()
    opened.close()
    assert renamed != before
    assert renamed.startswith(b"shop.")
    again = Spool.open(path)
    assert (again.producer, again.next_sequence, again.batch_count) == (renamed, 2, 1)
    again.close()


# Damage.


def overwrite(path: Path) -> None:
    path.write_bytes(b"these are no batches " * 1000)


def flip_a_byte_of_an_event(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.rindex(b"\x07" * 100) + 50] ^= 0xFF
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8192])


def blank_the_tables(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes(len(data) - 100))


def lose_the_producer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM about")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "damage", [overwrite, flip_a_byte_of_an_event, cut_short, blank_the_tables, lose_the_producer]
)
def test_a_damaged_file_is_refused_with_the_way_out_and_left_as_it_is(
    path: Path, damage: Callable[[Path], None]
) -> None:
    fill(path, *[row(n, 50_000) for n in range(1, 10)])
    damage(path)
    before = path.read_bytes()
    with pytest.raises(SpoolFailed, match="damaged") as told:
        Spool.open(path)
    assert str(path) in str(told.value)
    assert "Move it away" in told.value.hint
    assert path.read_bytes() == before


def test_a_file_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SpoolFailed, match="no spool of this version"):
        Spool.open(path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpoolFailed, match="missing") as told:
        Spool.open(tmp_path / "missing" / "spool")
    assert "folder" in told.value.hint


def test_a_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpoolFailed, match="cannot be opened"):
        Spool.open(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/usr/bin/setpriv"), reason="root may read everything")
def test_a_file_that_may_not_be_written_is_refused(path: Path) -> None:
    fill(path, row(1))
    os.chmod(path, 0o400)
    os.chmod(path.parent, 0o755)
    text = """
import sys
from zarkov.client.spool import Spool
from zarkov.errors import SpoolFailed
try:
    Spool.open(sys.argv[1])
except SpoolFailed as error:
    print(error, error.hint)
"""
    command = [sys.executable, "-c", text, str(path)]
    if os.geteuid() == 0:
        command = ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "cannot be opened" in done.stdout, done
    assert "rights" in done.stdout


FULL_DISK = """
import resource, signal, sys
from zarkov.client.spool import Row, Spool
from zarkov.errors import SpoolFailed
spool = Spool.open(sys.argv[1])
spool.write([Row(1, 1, b"a" * 10_000)], [])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
try:
    spool.write([Row(2, 1, b"b" * 100_000)], [])
except SpoolFailed as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.write([Row(2, 1, b"c" * 100_000)], [1])
spool.close()
"""


def test_a_write_that_the_disk_has_no_room_for_can_be_tried_again(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cannot be written" in done.stdout
    again = Spool.open(path)
    assert again.read(0, 10**6) == ([Row(2, 1, b"c" * 100_000)], None)
    again.close()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
