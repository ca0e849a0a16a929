"""kill -9 of a client with a spool: what it took, but for the last moment, is stored once by its successor."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from running import RunningServer
from waiting import wait_until
from zarkov.client import ZarkovClient
from zarkov.journal import Journal

ROUNDS = int(os.environ.get("ZARKOV_TEST_ROUNDS", "50" if os.environ.get("CI") else "10"))

#: Sends numbered events, and prints the number behind the last that it knows to be on disk or acknowledged.
CLIENT = """
import sys
from zarkov.client import ZarkovClient
address, path, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = ZarkovClient(address, ack=True, spool=path, batch_events_max=20)
while True:
    for _ in range(50):
        client.event("nop", {}, number)
        number += 1
    client.sync()
    print(number, flush=True)
"""


def stored(server: RunningServer) -> list[int]:
    with Journal.open(server.data_dir / "journal", on_corrupt="raise") as journal:
        return [document["extra"] for _, document in journal.read(journal.first_offset)]


def test_spooled_events_survive_kills_of_the_client_and_of_the_server(tmp_path: Path) -> None:
    rng = random.Random(20261125)
    server = RunningServer(tmp_path, segment_bytes_max=1 << 20).start()
    path = tmp_path / "spool"
    safe: set[int] = set()
    next_number = 0
    is_there = True
    try:
        for round_ in range(ROUNDS):
            command = [sys.executable, "-c", CLIENT, server.ack, str(path), str(next_number)]
            with (tmp_path / "said").open("w+") as said:
                client = subprocess.Popen(command, stdout=said)
                wait_until(lambda: (tmp_path / "said").stat().st_size, 60)
                time.sleep(rng.uniform(0.0, 0.3))
                if round_ % 3 == 1 and is_there:
                    server.kill_group()
                    is_there = False
                    time.sleep(rng.uniform(0.0, 0.1))
                client.send_signal(signal.SIGKILL)
                assert client.wait(30) == -signal.SIGKILL
                said.seek(0)
                whole = said.read().rpartition("\n")[0]
            known = int(whole.splitlines()[-1])
            safe |= set(range(next_number, known))
            next_number = known + 1_000_000  # What was taken behind `known` may be stored or not.
            if round_ % 3 == 2 and not is_there:
                server.start()
                is_there = True
        if not is_there:
            server.start()
        with ZarkovClient(server.ack, ack=True, spool=path, timeout_s=120) as last:
            last.flush()
            assert last.refused == 0
        assert server.stop() == 0
        found = stored(server)
        assert len(found) == len(set(found)), "nothing is stored twice"
        assert safe - set(found) == set(), "nothing that was safe is lost"
    finally:
        server.put_down()
