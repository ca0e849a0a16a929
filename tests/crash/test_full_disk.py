"""A real event server on a disk that fills up: nothing acknowledged is lost, and it goes on when there is space."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from running import RunningServer, zcmd
from waiting import wait_until
from wire import Producer
from zarkov.journal import Journal

DISK_BYTES = 24 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = f"a small disk needs the right to mount a tmpfs: {done.stderr.strip()}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_answered_with_its_code_and_writing_resumes(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with RunningServer(small_disk, free_bytes_min=1 << 20, segment_bytes_max=1 << 20) as server:
        producer = Producer(server.ack)
        try:
            producer.pump(10, 100)
            filler.write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize - (1 << 19)))
            before = dict(producer.offsets)
            while "journal_full" not in producer.refusals:
                producer.receive(0.05)
                if producer.may_send:
                    producer.send_batch(100)
            assert producer.offsets == before, "nothing is acknowledged that could not be stored"
            assert "1000" in zcmd("find", "--count", settings=server.settings).replace(",", "")
            filler.unlink()
            producer.pump(5, 100, deadline_s=60)
            wait_until(lambda: len(producer.offsets) == producer.next_number)
            assert server.stop() == 0
        finally:
            producer.close()
        with Journal.open(server.data_dir / "journal", on_corrupt="raise") as journal:
            stored = {document["extra"]: offset for offset, document in journal.read(0)}
        assert stored == producer.offsets
