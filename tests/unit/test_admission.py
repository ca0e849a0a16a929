"""Who is let in: answers to ZAP requests, and what becomes of the list while the server runs."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from zmq.utils import z85

from keyrings import new_pair
from zarkov.errors import KeyInvalid
from zarkov.ingest import admission
from zarkov.ingest.admission import EVERYWHERE, Admission
from zarkov.keyfiles import write_public
from zarkov.metrics import Metrics


class Case:
    """An Admission on a folder, with a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.allow = folder / "allow"
        self.allow.mkdir()
        self.seconds = 0.0
        self.reads = 0
        self.metrics = Metrics()
        self.wall_s = 1e12  # long after the files were written: they count as settled
        self.admission = Admission(
            self.allow, self.metrics, monotonic_s=lambda: self.seconds, wall_s=lambda: self.wall_s
        )

    def admit(self, name: str) -> bytes:
        key = new_pair().public
        write_public(self.allow / f"{name}.key", key)
        return key

    def ask(self, key: bytes, address: bytes = b"10.0.0.1") -> list[bytes]:
        request = [b"1.0", b"7", b"zarkov", address, b"", b"CURVE", z85.decode(key)]
        answer = self.admission.answer(request)
        assert answer[:2] == [b"1.0", b"7"]
        return answer[2:]

    def status(self, key: bytes, address: bytes = b"10.0.0.1") -> bytes:
        return self.ask(key, address)[0]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_key_on_the_list_is_let_in_under_its_name(case: Case) -> None:
    key = case.admit("ada")
    assert case.ask(key) == [b"200", b"OK", b"ada", b""]
    assert case.metrics.snapshot() == {"handshakes_refused": 0, "keys_allowed": 1}


def test_any_other_key_is_refused_counted_and_logged_with_its_address(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.admit("ada")
    stranger = new_pair().public
    assert case.status(stranger, b"192.0.2.7") == b"400"
    assert case.metrics.snapshot()["handshakes_refused"] == 1
    assert "address=192.0.2.7" in caplog.text
    assert stranger.decode() in caplog.text


@pytest.mark.parametrize(
    "request_frames",
    [
        [],
        [b"1.0"],
        [b"1.0", b"7", b"", b"a", b"", b"CURVE"],
        [b"1.0", b"7", b"", b"a", b"", b"NULL"],
        [b"1.0", b"7", b"", b"a", b"", b"PLAIN", b"user", b"password"],
        [b"1.0", b"7", b"", b"a", b"", b"CURVE", b"short"],
        [b"1.0", b"7", b"", b"a", b"", b"CURVE", b"k" * 32, b"more"],
        [b"2.0", b"7", b"", b"a", b"", b"CURVE", b"k" * 32],
    ],
)
def test_what_is_no_request_about_one_key_is_refused(case: Case, request_frames: list[bytes]) -> None:
    assert case.admission.answer(request_frames)[2] == b"400"


def test_a_key_is_let_in_once_it_is_listed_and_refused_once_it_is_not(case: Case) -> None:
    stranger = new_pair().public
    assert case.status(stranger) == b"400"
    write_public(case.allow / "new.key", stranger)
    assert case.status(stranger) == b"200"
    (case.allow / "new.key").unlink()
    assert case.status(stranger) == b"400"


def test_a_file_that_changes_in_place_is_read_again(tmp_path: Path, case: Case) -> None:
    old, new = case.admit("ada"), new_pair().public
    path = case.allow / "ada.key"
    assert case.status(old) == b"200"
    before = path.stat()
    path.write_text(path.read_text().replace(old.decode(), new.decode()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert (case.status(old), case.status(new)) == (b"400", b"200")


def test_a_list_that_changed_just_now_is_read_again_until_its_time_tells_changes_apart(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    real = admission.read_allowed
    monkeypatch.setattr(admission, "read_allowed", lambda path: reads.append(path) or real(path))
    key = case.admit("ada")
    case.wall_s = case.allow.stat().st_mtime
    for _ in range(3):
        case.status(key)
    assert len(reads) == 3
    case.wall_s += 60
    for _ in range(3):
        case.status(key)
    assert len(reads) == 4


def test_looking_at_a_long_list_takes_a_bounded_share_of_the_time(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    real = admission.allow_files

    def slow(path: Path) -> list[Path]:
        looks.append(path)
        case.seconds += 0.1
        return real(path)

    monkeypatch.setattr(admission, "allow_files", slow)
    key = case.admit("ada")
    for _ in range(100):
        case.status(key)
    assert len(looks) == 6  # what was saved up is spent
    for _ in range(10):
        case.seconds += 2
        for _ in range(10):
            case.status(key)
    assert 15 <= len(looks) <= 17  # two seconds are worth a look of a tenth
    case.seconds += 3600
    for _ in range(100):
        case.status(key)
    assert len(looks) <= 23


def test_a_key_that_may_be_new_is_told_to_try_again_while_the_list_is_not_looked_at(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = admission.allow_files

    def slow(path: Path) -> list[Path]:
        case.seconds += 0.6
        return real(path)

    monkeypatch.setattr(admission, "allow_files", slow)
    assert case.status(new_pair().public) == b"400"
    key = case.admit("ada")
    assert case.status(key) == b"300"
    case.seconds += admission.LOOK_PAUSE_S_MAX
    assert case.status(key) == b"200"


def test_an_entry_that_becomes_no_key_locks_out_itself_alone(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    ada, bob = case.admit("ada"), case.admit("bob")
    (case.allow / "bob.key").write_text("half a k")
    assert (case.status(ada), case.status(bob)) == (b"200", b"400")
    case.status(ada)
    assert [record.levelno for record in caplog.records if "faulty" in record.message] == [logging.ERROR]


def test_a_list_that_is_gone_lets_nobody_in_until_it_is_back(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    ada = case.admit("ada")
    assert case.status(ada) == b"200"
    case.allow.rename(case.allow.with_name("moved"))
    assert case.status(ada) == b"300"  # "try again": the key may be right
    assert "nobody is let in" in caplog.text
    case.allow.with_name("moved").rename(case.allow)
    assert case.status(ada) == b"200"


def test_a_list_that_everybody_can_write_lets_nobody_in_while_the_server_runs(case: Case) -> None:
    ada = case.admit("ada")
    case.allow.chmod(0o777)
    assert case.status(ada) == b"300"
    case.allow.chmod(0o755)
    assert case.status(ada) == b"200"


def test_a_revoked_key_is_told_once_with_the_addresses_it_came_from(case: Case) -> None:
    ada, bob = case.admit("ada"), case.admit("bob")
    for address in (b"10.0.0.1", b"10.0.0.2", b"10.0.0.1"):
        case.status(ada, address)
    case.status(bob, b"10.0.0.3")
    assert case.admission.look() == set()
    (case.allow / "ada.key").unlink()
    assert case.admission.look() == {"10.0.0.1", "10.0.0.2"}
    assert case.admission.look() == set()


def test_a_key_that_never_came_is_revoked_without_cutting_anything(case: Case) -> None:
    case.admit("ada")
    case.admission.look()
    (case.allow / "ada.key").unlink()
    assert case.admission.look() == set()


def test_a_renamed_key_is_not_revoked(case: Case) -> None:
    ada = case.admit("ada")
    case.status(ada)
    (case.allow / "ada.key").rename(case.allow / "ada-laptop.key")
    assert case.admission.look() == set()
    assert case.ask(ada)[2] == b"ada-laptop"


def test_of_a_key_used_everywhere_all_connections_are_cut(case: Case) -> None:
    ada = case.admit("ada")
    for number in range(admission.ADDRESSES_MAX + 1):
        case.status(ada, f"10.0.{number // 256}.{number % 256}".encode())
    (case.allow / "ada.key").unlink()
    revoked = case.admission.look()
    assert EVERYWHERE in revoked
    assert len(revoked) == admission.ADDRESSES_MAX + 1


def test_refusals_are_logged_at_a_bounded_rate_and_all_are_counted(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1000):
        case.status(new_pair().public)
    assert [record.args[0] for record in caplog.records] == [1]  # type: ignore[index]
    case.seconds += admission.LOG_EVERY_S
    case.admission.look()
    assert [record.args[0] for record in caplog.records] == [1, 999]  # type: ignore[index]
    assert case.metrics.snapshot()["handshakes_refused"] == 1000


def test_a_list_that_cannot_be_read_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(KeyInvalid):
        Admission(tmp_path / "missing", Metrics())
