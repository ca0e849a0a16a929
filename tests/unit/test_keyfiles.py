"""Key files: pyzmq's format both ways, and everything that is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq.auth
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from keyrings import new_pair
from zarkov.client import Keys
from zarkov.errors import KeyInvalid
from zarkov.keyfiles import (
    ALLOW_KEYS_MAX,
    KEY_FILE_BYTES_MAX,
    KeyPair,
    ServerKeys,
    is_key,
    public_key,
    read_allowed,
    read_public,
    read_secret,
    write_pair,
    write_public,
)

NOBODY = 65534


def refused(call: object, *arguments: object) -> str:
    """The sentence and the way out of the KeyInvalid that the call raises."""
    with pytest.raises(KeyInvalid) as caught:
        call(*arguments)  # type: ignore[operator]
    assert caught.value.hint
    return f"{caught.value} | {caught.value.hint}"


@given(st.binary(min_size=32, max_size=32))
def test_every_32_bytes_are_a_key_in_z85(raw: bytes) -> None:
    assert is_key(z85.encode(raw).decode())


@given(st.text(st.sampled_from(z85.Z85CHARS.decode() + "\"'\\_ é"), min_size=39, max_size=41))
def test_only_what_stands_for_32_bytes_is_a_key(text: str) -> None:
    known = set(z85.Z85CHARS.decode())
    groups = [text[start : start + 5] for start in range(0, 40, 5)]
    values = [sum(z85.Z85CHARS.decode().find(c) * 85 ** (4 - i) for i, c in enumerate(group)) for group in groups]
    assert is_key(text) == (len(text) == 40 and set(text) <= known and max(values) < 2**32)


def test_what_we_write_pyzmq_reads(tmp_path: Path) -> None:
    pair = new_pair()
    public, secret = write_pair(tmp_path, "app", pair)
    assert zmq.auth.load_certificate(public) == (pair.public, None)
    assert zmq.auth.load_certificate(secret) == (pair.public, pair.secret)
    assert zmq.auth.load_certificates(tmp_path) == {pair.public: True}


def test_what_pyzmq_writes_we_read_once_others_cannot(tmp_path: Path) -> None:
    public, secret = map(Path, zmq.auth.create_certificates(tmp_path, "app", {"owner": "ada"}))
    secret.chmod(0o600)
    assert (read_public(public), None) == zmq.auth.load_certificate(public)
    pair = read_secret(secret)
    assert (pair.public, pair.secret) == zmq.auth.load_certificate(secret)


def test_only_the_owner_can_read_a_new_secret_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        public, secret = write_pair(tmp_path, "app", new_pair())
    finally:
        os.umask(before)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644


@pytest.mark.parametrize("taken", ["app.key", "app.key_secret"])
def test_a_key_is_never_overwritten_and_no_half_of_a_pair_is_left(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    assert "never overwritten" in refused(write_pair, tmp_path, "app", new_pair())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {taken: "precious"}


def test_a_symbolic_link_in_a_keys_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "app.key_secret").symlink_to(tmp_path / "elsewhere")
    refused(write_pair, tmp_path, "app", new_pair())
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666, 0o610])
def test_a_secret_that_others_can_get_at_is_refused(tmp_path: Path, mode: int) -> None:
    _, secret = write_pair(tmp_path, "app", new_pair())
    secret.chmod(mode)
    sentence = refused(read_secret, secret)
    assert f"{mode:04o}" in sentence
    assert f"chmod 600 {secret}" in sentence


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_secret_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    pair = new_pair()
    _, secret = write_pair(tmp_path, "app", pair)
    secret.chmod(mode)
    assert read_secret(secret) == pair


def test_no_error_and_no_repr_shows_a_secret(tmp_path: Path) -> None:
    pair = new_pair()
    _, secret = write_pair(tmp_path, "app", pair)
    assert pair.secret.decode() not in repr(pair)
    assert pair.secret.decode() not in repr(Keys(pair.secret, pair.public, new_pair().public))
    secret.write_text(secret.read_text().replace(pair.public.decode(), "short"))
    for sentence in (refused(read_secret, secret), refused(read_public, secret), refused(read_allowed, secret)):
        assert pair.secret.decode() not in sentence


def test_a_secret_given_in_the_place_of_its_files_name_is_not_shown() -> None:
    pair = new_pair()
    sentence = refused(read_secret, Path(pair.secret.decode().replace("/", "x")))
    assert pair.secret.decode()[:8] not in sentence
    assert "a key is given where the name" in sentence


def test_a_key_that_could_not_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in refused(write_pair, tmp_path, "app", new_pair())
    assert list(tmp_path.iterdir()) == []


def test_a_public_file_where_a_secret_is_needed_is_named_as_such(tmp_path: Path) -> None:
    public, secret = write_pair(tmp_path, "app", new_pair())
    public.chmod(0o600)
    sentence = refused(read_secret, public)
    assert "public key file" in sentence
    assert str(secret) in sentence


def test_a_secret_file_where_a_public_one_is_needed_is_refused(tmp_path: Path) -> None:
    _, secret = write_pair(tmp_path, "app", new_pair())
    assert "holds a secret key" in refused(read_public, secret)
    assert "holds a secret key" in refused(public_key, str(secret))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"curve\n", b'public-key = "short"\nsecret-key = "short"\n', b"\xff\xfe\x00", b"x" * 40_000],
    ids=["empty", "blank", "no keys", "short keys", "no text", "large"],
)
def test_a_malformed_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "app.key_secret"
    path.write_bytes(content)
    path.chmod(0o600)
    assert str(path) in refused(read_secret, path)
    assert str(path) in refused(read_public, path)
    assert len(content) <= KEY_FILE_BYTES_MAX or "larger" in refused(read_public, path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is no file" in refused(read_secret, tmp_path / "pipe")
    assert "cannot be read" in refused(read_secret, tmp_path / "missing")
    assert str(tmp_path) in refused(read_secret, tmp_path)


def test_a_file_without_the_right_to_read_it_is_refused(tmp_path: Path) -> None:
    _, secret = write_pair(tmp_path, "app", new_pair())
    secret.chmod(0)
    before = os.geteuid()
    if before == 0:  # Root reads every file.
        os.seteuid(NOBODY)
    try:
        sentence = refused(read_secret, secret)
    finally:
        os.seteuid(before)
    assert "Permission denied" in sentence


def test_a_public_key_is_given_as_itself_or_as_a_file(tmp_path: Path) -> None:
    pair = new_pair()
    public, _ = write_pair(tmp_path, "app", pair)
    bare = tmp_path / "bare"
    bare.write_bytes(pair.public + b"\n")
    assert {public_key(pair.public.decode()), public_key(str(public)), public_key(str(bare))} == {pair.public}
    assert "neither a key" in refused(public_key, pair.public.decode()[:-1])
    assert "holds no public key" in refused(public_key, __file__)


def test_keys_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one, other = new_pair(), new_pair()
    assert "does not belong" in refused(Keys, one.secret, other.public, other.public)
    _, secret = write_pair(tmp_path, "app", one)
    assert "client's own key" in refused(Keys.load, secret, one.public.decode())
    assert "no key" in refused(Keys, one.secret, one.public, b"x" * 39)


def test_a_folder_lets_in_the_keys_of_its_key_files_and_no_others(tmp_path: Path) -> None:
    pairs = {name: new_pair() for name in ("ada", "bob")}
    for name, pair in pairs.items():
        write_public(tmp_path / f"{name}.key", pair.public)
    (tmp_path / "README").write_text("not a key")
    (tmp_path / "cy.key.disabled").write_bytes(new_pair().public)
    allowed = read_allowed(tmp_path)
    assert allowed.names == {pair.public: name for name, pair in pairs.items()}
    assert allowed.faults == []


def test_a_file_lets_in_a_key_a_line(tmp_path: Path) -> None:
    ada, bob, off = new_pair().public, new_pair().public, new_pair().public
    path = tmp_path / "allow"
    lines = [b"# clients", b"", ada + b"  # ada's laptop", b"  " + bob, b"#" + off, b"# " + off]
    path.write_bytes(b"\n".join(lines))
    assert read_allowed(path).names == {ada: "ada's laptop", bob: "line 4"}


def test_an_entry_that_is_no_key_lets_nobody_in_and_the_others_do(tmp_path: Path) -> None:
    ada, bob = new_pair(), new_pair()
    folder = tmp_path / "allow"
    folder.mkdir()
    write_public(folder / "ada.key", ada.public)
    (folder / "half.key").write_bytes(bob.public[:20])
    write_pair(folder, "careless", bob)
    (folder / "careless.key_secret").rename(folder / "careless.key")
    (folder / "open.key").write_bytes(bob.public)
    (folder / "open.key").chmod(0o666)
    allowed = read_allowed(folder)
    assert allowed.names == {ada.public: "ada"}
    assert [str(fault).split(str(folder) + "/")[1].split()[0].rstrip(",") for fault in allowed.faults] == [
        "careless.key",
        "half.key",
        "open.key",
    ]
    listed = tmp_path / "list"
    listed.write_bytes(ada.public + b"\n" + bob.public[:-1] + b"\n")
    assert read_allowed(listed).names == {ada.public: "line 1"}
    assert "line 2" in str(read_allowed(listed).faults[0])


def test_a_list_that_everybody_can_write_lets_nobody_in(tmp_path: Path) -> None:
    folder, listed = tmp_path / "allow", tmp_path / "list"
    folder.mkdir()
    write_public(folder / "ada.key", new_pair().public)
    folder.chmod(0o777)
    listed.write_bytes(new_pair().public)
    listed.chmod(0o666)
    for path in (folder, listed):
        assert f"chmod o-w {path}" in refused(read_allowed, path)


def test_a_list_without_end_is_refused(tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_text("".join(z85.encode(n.to_bytes(32, "big")).decode() + "\n" for n in range(ALLOW_KEYS_MAX + 1)))
    assert "more than" in refused(read_allowed, listed)


def test_a_server_starts_with_no_faulty_list(tmp_path: Path) -> None:
    pair = new_pair()
    _, secret = write_pair(tmp_path, "server", pair)
    folder = tmp_path / "allow"
    assert "cannot be read" in refused(ServerKeys.load, secret, folder)
    folder.mkdir()
    assert ServerKeys.load(secret, folder).pair == KeyPair(pair.public, pair.secret)
    (folder / "half.key").write_text("half")
    assert "half.key" in refused(ServerKeys.load, secret, folder)
