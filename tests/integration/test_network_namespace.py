"""A server on an interface that other machines reach, with keys: two network namespaces and a cable between them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import ok
from running import ZCMD
from waiting import wait_until

SERVER_IP, CLIENT_IP = "10.99.0.1", "10.99.0.2"
PORTS = {"bson_bind_address": 6543, "json_bind_address": 6544, "publish_bind_address": 6545, "ack_bind_address": 6546}
ZSEND = Path(sys.executable).with_name("zsend.py")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Cable:
    """Two namespaces, `here` and `there`, that see each other and nothing else."""

    def __init__(self) -> None:
        self.here, self.there = (f"zarkov-{os.getpid()}-{side}" for side in ("here", "there"))

    def lay(self) -> None:
        for space in (self.here, self.there):
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", self.here, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", self.there)
        for space, address in ((self.here, SERVER_IP), (self.there, CLIENT_IP)):
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", "cable")
            _ip("-n", space, "link", "set", "cable", "up")

    def cut(self) -> None:
        for space in (self.here, self.there):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, timeout=30, check=False)


@pytest.fixture
def cable() -> Iterator[Cable]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    found = Cable()
    try:
        if shutil.which("ip") is None:
            raise OSError("the command ip is not installed")
        found.lay()
    except OSError as error:
        found.cut()
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no network namespace can be made here: {error}")
    yield found
    found.cut()


def test_across_a_network_a_client_with_a_key_gets_in_and_one_without_does_not(cable: Cable, tmp_path: Path) -> None:
    made = json.loads(ok("keygen", tmp_path / "keys", "--client", "app", "--json").out)
    stranger = json.loads(ok("keygen", tmp_path / "others", "--client", "stranger", "--json").out)
    settings, client = tmp_path / "server.yaml", tmp_path / "client.yaml"
    addresses = {name: f"tcp://{SERVER_IP}:{port}" for name, port in PORTS.items()}
    server_keys = {"server_key_file": made["server_key_file"], "allow": made["allow"]}
    client_keys = {"client_key_file": made["client_key_file"], "server_public_key": made["server_public_key"]}
    settings.write_text(json.dumps({"data_dir": str(tmp_path / "data"), **addresses, "curve": server_keys}))
    client.write_text(json.dumps({"curve": client_keys}))

    def there(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", cable.there, *map(str, arguments)],
            input='{"type": "nop"}\n',
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    log = (tmp_path / "log").open("w+")
    serve = subprocess.Popen(
        ["ip", "netns", "exec", cable.here, ZCMD, "-y", settings, "serve"], stdout=log, stderr=log
    )
    try:
        wait_until(lambda: "ready bson=" in (tmp_path / "log").read_text() or serve.poll() is not None, 60)
        assert serve.poll() is None, (tmp_path / "log").read_text()
        sent = there(ZCMD, "-y", client, "perftest", addresses["ack_bind_address"], 100, 1, 0, "--ack", "--json")
        assert sent.returncode == 0, sent.stderr
        assert json.loads(sent.stdout)["acknowledged"] == 100

        bson, server_key = addresses["bson_bind_address"], ("--server-key", made["server_public_key"])
        keyed = there(ZSEND, bson, "--client-key", made["client_key_file"], *server_key)
        assert (keyed.returncode, keyed.stderr) == (0, "")
        plain = there(ZSEND, bson)
        assert plain.returncode == 1
        assert "asks for keys" in plain.stderr
        unlisted = there(ZSEND, bson, "--client-key", stranger["client_key_file"], *server_key)
        assert unlisted.returncode == 1
        assert "does not let this key in" in unlisted.stderr
        assert f"address={CLIENT_IP}" in (tmp_path / "log").read_text()
    finally:
        serve.terminate()
        serve.wait(60)
        log.close()
    assert ok("-y", settings, "find", "--count").out.strip() == "101"
