"""The thread that copies WALs into their segments."""

from pathlib import Path

import apsw
import pytest

from waiting import wait_until
from zarkov.journal import checkpoints
from zarkov.journal.checkpoints import Checkpointer


@pytest.mark.parametrize("is_removed", [True, False])
def test_an_error_is_fatal_unless_the_segment_was_removed_meanwhile(
    is_removed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = tmp_path / "00000000000000000000.segment"
    segment.touch()
    tried: list[Path] = []

    def connect(path: Path, *_: object) -> apsw.Connection:
        if is_removed:
            path.unlink()
        tried.append(path)
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr(checkpoints, "connect", connect)
    checkpointer = Checkpointer()
    checkpointer.request(segment)
    wait_until(lambda: tried == [segment])
    checkpointer.stop()
    assert (checkpointer.failed is None) is is_removed
