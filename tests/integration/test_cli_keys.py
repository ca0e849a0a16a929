"""`zcmd keygen`, the `curve:` settings at the start of a server, and zcmd's own clients with keys."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
import zmq.auth

from commands import ok, run
from keyrings import Keyring, new_pair
from running import RunningServer
from waiting import wait_until
from zarkov.client import Keys
from zarkov.keyfiles import read_allowed, read_secret

ZSEND = Path(sys.executable).with_name("zsend.py")


def zsend(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ZSEND, *map(str, arguments)],
        input='{"type":"nop"}\n',
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def curve(**values: object) -> str:
    """The settings under `curve:`, as the value of one key of RunningServer."""
    return json.dumps({key: str(value) for key, value in values.items()})


def test_keygen_makes_what_a_server_and_a_client_need_and_prints_their_settings(tmp_path: Path) -> None:
    ran = ok("keygen", tmp_path / "keys", "--client", "app")
    server, client = (yaml.safe_load(part.split("\n\n")[0])["curve"] for part in _blocks(ran.out))
    allowed = read_allowed(Path(server["allow"]))
    pair = read_secret(Path(client["client_key_file"]))
    assert allowed.names == {pair.public: "app"}
    assert read_secret(Path(server["server_key_file"])).public.decode() == client["server_public_key"]
    keys = Keys.load(client["client_key_file"], client["server_public_key"])
    assert (keys.secret, keys.public) == (pair.secret, pair.public)
    assert zmq.auth.load_certificates(server["allow"]) == {pair.public: True}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def _blocks(text: str) -> list[str]:
    return ["curve:" + part for part in text.split("curve:")[1:]]


def test_keygen_makes_further_clients_and_never_overwrites(tmp_path: Path) -> None:
    first = json.loads(ok("keygen", tmp_path / "keys", "--client", "one", "--json").out)
    before = {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*") if path.is_file()}
    second = json.loads(ok("keygen", tmp_path / "keys", "--client", "two", "--json").out)
    assert (first["server_is_new"], second["server_is_new"]) == (True, False)
    assert first["server_public_key"] == second["server_public_key"]
    assert set(read_allowed(Path(second["allow"])).names.values()) == {"one", "two"}
    again = run("keygen", tmp_path / "keys", "--client", "two")
    assert again.code == 2
    assert "never overwritten" in again.err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", ["server", "../x", "a/b", "", ".hidden", "x" * 65, "a b"])
def test_keygen_refuses_names_that_are_none(tmp_path: Path, name: str) -> None:
    ran = run("keygen", tmp_path / "keys", "--client", name)
    assert ran.code == 2
    assert "cannot be a client's name" in ran.err
    assert not (tmp_path / "keys").exists()


def test_no_command_prints_a_secret(tmp_path: Path) -> None:
    out = ok("keygen", tmp_path / "keys").out + ok("keygen", tmp_path / "keys", "--client", "b", "--json").out
    secrets = [read_secret(path).secret.decode() for path in (tmp_path / "keys").glob("*.key_secret")]
    assert len(secrets) == 3
    assert [secret for secret in secrets if secret in out] == []


def test_check_config_does_not_show_a_secret_that_stands_in_the_place_of_its_files_name(tmp_path: Path) -> None:
    secret = next(key for key in iter(lambda: new_pair().secret.decode(), "") if "/" not in key)
    settings = tmp_path / "zarkov.yaml"
    settings.write_text(json.dumps({"curve": {"client_key_file": secret, "server_key_file": str(tmp_path / secret)}}))
    shown = ok("-y", settings, "check-config", "--changed").out + ok("-y", settings, "check-config", "--json").out
    assert secret not in shown
    ran = run("-y", settings, "send", "nop")
    assert ran.code == 2
    assert secret not in ran.err


@pytest.mark.parametrize("command", ["serve", "eventlog"])
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("no allow", "every client would be let in"),
        ("no server key", "would ask nobody for a key"),
        ("world-readable", "chmod 600"),
        ("missing", "cannot be read"),
        ("public", "a secret one is needed"),
        ("malformed", "holds no pair of keys"),
        ("allow missing", "cannot be read"),
        ("allow malformed", "holds no public key"),
    ],
)
def test_keys_that_cannot_be_used_end_the_start_with_one_sentence(
    tmp_path: Path, command: str, fault: str, sentence: str
) -> None:
    ring = Keyring(tmp_path)
    values: dict[str, object] = {"server_key_file": ring.secret_file, "allow": ring.allow}
    if fault == "no allow":
        del values["allow"]
    elif fault == "no server key":
        del values["server_key_file"]
    elif fault == "world-readable":
        ring.secret_file.chmod(0o644)
    elif fault == "missing":
        ring.secret_file.unlink()
    elif fault == "public":
        ring.public_file.chmod(0o600)
        values["server_key_file"] = ring.public_file
    elif fault == "malformed":
        ring.secret_file.write_text("secret")
    elif fault == "allow missing":
        ring.allow.rmdir()
    else:
        (ring.allow / "half.key").write_text("half")
    server = RunningServer(tmp_path, command, curve=curve(**values))
    ran = run("-y", server.settings, command)
    assert ran.code == 2
    assert sentence in ran.err
    assert "[key_invalid]" in ran.err
    assert "Traceback" not in ran.err
    assert not server.data_dir.exists()


def test_a_wide_bind_serves_with_keys_and_zcmds_own_clients_use_theirs(tmp_path: Path) -> None:
    made = json.loads(ok("keygen", tmp_path / "keys", "--json").out)
    keys = {name: made[name] for name in ("server_key_file", "allow", "client_key_file", "server_public_key")}
    server = RunningServer(tmp_path, "serve", curve=curve(**keys))
    server.settings.write_text(server.settings.read_text().replace("tcp://127.0.0.1:", "tcp://0.0.0.0:"))
    with server:
        result = json.loads(ok("-y", server.settings, "perftest", server.ack, 100, 2, 0, "--ack", "--json").out)
        assert result["acknowledged"] == 100
        ok("-y", server.settings, "perftest", server.bson, 100, 1, 0)
        sent = zsend(server.bson, "--client-key", made["client_key_file"], "--server-key", made["server_public_key"])
        assert (sent.returncode, sent.stderr) == (0, "")
        refused = zsend(server.bson)
        assert refused.returncode == 1
        assert "asks for keys" in refused.stderr
        assert server.stop() == 0
    assert ok("-y", server.settings, "find", "--count").out.strip() == "201"


def test_a_client_of_a_server_with_keys_is_told_which_of_its_own_are_missing(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.client("app")
    settings = tmp_path / "zarkov.yaml"
    for values, sentence in (
        ({"server_key_file": ring.secret_file, "allow": ring.allow}, "they name none of a client"),
        ({"client_key_file": ring.folder / "app.key_secret"}, "go together"),
        ({"server_public_key": ring.public_file}, "go together"),
    ):
        settings.write_text(f"curve: {curve(**values)}\n")
        ran = run("-y", settings, "perftest", "tcp://127.0.0.1:1", 1, 1, 0)
        assert ran.code == 2
        assert sentence in ran.err


def test_zsend_refuses_half_of_its_keys_and_keys_that_are_none(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.client("app")
    secret = ring.folder / "app.key_secret"
    assert "go together" in zsend("tcp://127.0.0.1:1", "--client-key", secret).stderr
    secret.chmod(0o644)
    done = zsend("tcp://127.0.0.1:1", "--client-key", secret, "--server-key", ring.public_file)
    assert done.returncode == 2
    assert "chmod 600" in done.stderr


def test_in_front_of_several_event_servers_the_balancer_asks_for_keys(tmp_path: Path) -> None:
    made = json.loads(ok("keygen", tmp_path / "keys", "--json").out)
    keys = {name: made[name] for name in ("server_key_file", "allow", "client_key_file", "server_public_key")}
    server = RunningServer(tmp_path, "serve", num_event_servers=2, curve=curve(**keys))
    with server:
        result = json.loads(ok("-y", server.settings, "perftest", server.ack, 100, 2, 0, "--ack", "--json").out)
        assert result["acknowledged"] == 100
        assert zsend(server.bson).returncode == 1
        (Path(made["allow"]) / "client.key").unlink()
        wait_until(lambda: "key revoked" in server.log.read_text())
        listed = ("--client-key", made["client_key_file"], "--server-key", made["server_public_key"])
        assert "does not let this key in" in zsend(server.bson, *listed).stderr
        assert server.stop() == 0
    assert ok("-y", server.settings, "find", "--count").out.strip() == "100"
