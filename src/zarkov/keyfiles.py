"""Key files: the CURVE keys of servers and clients, and the list of those that are let in.

A key is 32 bytes, written as 40 characters of Z85 (rfc.zeromq.org/spec/32) everywhere in Zarkov. A pair stands in two
files, in the format of pyzmq's `zmq.auth` (ZPL, rfc.zeromq.org/spec/4), so that its tools read ours and ours its:

    NAME.key            metadata
                        curve
                            public-key = "..."
    NAME.key_secret     the same, and secret-key = "..."

A public key is also taken from a file that holds nothing but its 40 characters. A secret file is read only when its
owner alone can read it; a list of those that are let in only when not everybody can write it. No error names a key.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from zarkov.errors import KeyInvalid

KEY_CHARACTERS = 40
#: A key file is a few lines, and so is each line of a list.
KEY_FILE_BYTES_MAX = 16 * 1024
ALLOW_FILE_BYTES_MAX = 4 * 1024 * 1024
#: Keys that are let in, at most.
ALLOW_KEYS_MAX = 10_000
PUBLIC_SUFFIX, SECRET_SUFFIX = ".key", ".key_secret"

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_DIGITS = {character: value for value, character in enumerate(_ALPHABET)}
_GROUP = 5  # characters, for 4 bytes
_FIELD = re.compile(r"""^\s*(public-key|secret-key)\s*=\s*["']?([^"'\s]+)["']?\s*$""")

_SECRET_TEXT = """\
#   ZeroMQ CURVE **Secret** Certificate
#   DO NOT PROVIDE THIS FILE TO OTHER USERS nor change its permissions.

metadata
curve
    public-key = "{public}"
    secret-key = "{secret}"
"""
_PUBLIC_TEXT = """\
#   ZeroMQ CURVE Public Certificate
#   Not a secret; but whoever can replace it chooses who is trusted.

metadata
curve
    public-key = "{public}"
"""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A public key and its secret one, both as 40 characters of Z85."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """What a server's sockets need: its pair, and the folder or file of the public keys that are let in."""

    pair: KeyPair
    allow: Path

    @classmethod
    def load(cls, server_key_file: Path, allow: Path) -> Self:
        """Read the server's pair, and see that the list can be read.

        Raises: KeyInvalid: as `read_secret` and `read_allowed`, or an entry of the list is no key.
        """
        for fault in read_allowed(allow).faults:
            raise fault
        return cls(read_secret(server_key_file), allow)


@dataclass(frozen=True, slots=True)
class Allowed:
    """The public keys that are let in -> their names, for the log; and why other entries let nobody in."""

    names: dict[bytes, str] = field(default_factory=dict)
    faults: list[KeyInvalid] = field(default_factory=list)


def is_key(text: str) -> bool:
    """Whether this is a key in Z85: 40 characters of its alphabet that stand for 32 bytes."""
    if len(text) != KEY_CHARACTERS or any(character not in _DIGITS for character in text):
        return False
    groups = (text[start : start + _GROUP] for start in range(0, KEY_CHARACTERS, _GROUP))
    return all(_number(group) < 2**32 for group in groups)


def _number(group: str) -> int:
    value = 0
    for character in group:
        value = value * len(_ALPHABET) + _DIGITS[character]
    return value


def read_secret(path: Path) -> KeyPair:
    """The pair in a secret key file.

    Raises: KeyInvalid: it cannot be read, others than its owner can read it, or it holds no pair.
    """
    if is_key(path.name) and not path.exists():
        # Its own text must not come into the sentence, and so into a log.
        raise KeyInvalid(
            "a key is given where the name of a secret key file is needed",
            hint="Name the NAME.key_secret file; a key that stood elsewhere is to be replaced by a new one.",
        )
    text = _read(path, KEY_FILE_BYTES_MAX, forbidden=stat.S_IRWXG | stat.S_IRWXO)
    found = _fields(text)
    if "public-key" in found and "secret-key" not in found:
        secret = path.with_suffix(SECRET_SUFFIX)
        raise KeyInvalid(
            f"{path} is a public key file, and a secret one is needed", hint=f"Name the secret file, as {secret}."
        )
    if not all(is_key(found.get(name, "")) for name in ("public-key", "secret-key")):
        raise KeyInvalid(f"{path} holds no pair of keys", hint=_HINT_FORMAT)
    return KeyPair(found["public-key"].encode(), found["secret-key"].encode())


def read_public(path: Path) -> bytes:
    """The key in a public key file, or in a file of the key's 40 characters alone.

    Raises: KeyInvalid: it cannot be read, holds no public key, or a secret one with it.
    """
    return _public_of(path, _read(path, KEY_FILE_BYTES_MAX))


def public_key(text: str) -> bytes:
    """A public key as a setting gives it: the key itself, or the file that holds it.

    Raises: KeyInvalid: it is neither.
    """
    path = Path(text).expanduser()
    if not path.exists() and is_key(text):
        return text.encode()
    if not path.exists():
        raise KeyInvalid(
            f"{text!r:.80} is neither a key of {KEY_CHARACTERS} characters nor a file that holds one",
            hint="Give the server's public key, or its NAME.key file; `zcmd keygen` printed and wrote both.",
        )
    return read_public(path)


def read_allowed(path: Path) -> Allowed:
    """The public keys that are let in, of a folder or a file.

    A folder gives the keys of its NAME.key files. A file gives a key a line; what follows it there is its name, and a
    line that does not begin with a key must be empty or a comment (#).

    Raises: KeyInvalid: the list cannot be read, everybody can write it, or it is too long: nobody is let in.
    """
    if not path.is_dir():
        return _listed(path, _read(path, ALLOW_FILE_BYTES_MAX, forbidden=stat.S_IWOTH))
    files = allow_files(path)
    if path.stat().st_mode & stat.S_IWOTH:
        raise _open_to_all(path)
    allowed = Allowed()
    for file in files:
        try:
            key = _public_of(file, _read(file, KEY_FILE_BYTES_MAX, forbidden=stat.S_IWOTH))
            allowed.names.setdefault(key, file.stem)
        except KeyInvalid as fault:
            allowed.faults.append(fault)
    return allowed


def allow_files(folder: Path) -> list[Path]:
    """The public key files of a folder, in the order of their names.

    Raises: KeyInvalid: it cannot be listed, or holds more than ALLOW_KEYS_MAX.
    """
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix == PUBLIC_SUFFIX)
    except OSError as error:
        raise _unreadable(folder, error) from None
    if len(files) > ALLOW_KEYS_MAX:
        raise _too_many(folder)
    return files


def write_pair(folder: Path, name: str, pair: KeyPair) -> tuple[Path, Path]:
    """Write NAME.key and NAME.key_secret (mode 0600), and return their paths.

    Raises: KeyInvalid: one of them is there already (neither is written then), or the folder cannot be written.
    """
    public, secret = folder / f"{name}{PUBLIC_SUFFIX}", folder / f"{name}{SECRET_SUFFIX}"
    _write(secret, _SECRET_TEXT.format(public=pair.public.decode(), secret=pair.secret.decode()), 0o600)
    try:
        write_public(public, pair.public)
    except KeyInvalid:
        secret.unlink()
        raise
    return public, secret


def write_public(path: Path, key: bytes) -> None:
    """Write a public key file. Raises: KeyInvalid: it is there already, or cannot be written."""
    _write(path, _PUBLIC_TEXT.format(public=key.decode()), 0o644)


_HINT_FORMAT = "`zcmd keygen` writes key files; so does pyzmq's `zmq.auth.create_certificates`."


def _listed(path: Path, text: str) -> Allowed:
    allowed = Allowed()
    if "secret-key" in _fields(text):
        raise _secret_given(path)
    for number, line in enumerate(text.splitlines(), 1):
        first, *rest = line.split(None, 1) or [""]
        # No key begins with "#": five characters from there on stand for more than 32 bits.
        if is_key(first):
            name = rest[0].lstrip("#").strip() if rest else ""
            allowed.names.setdefault(first.encode(), name or f"line {number}")
        elif first and not first.startswith("#"):
            sentence = f"line {number} of {path} is no public key"
            allowed.faults.append(KeyInvalid(sentence, hint="Write one key a line, and comments behind a #."))
    if len(allowed.names) > ALLOW_KEYS_MAX:
        raise _too_many(path)
    return allowed


def _public_of(path: Path, text: str) -> bytes:
    found = _fields(text)
    if "secret-key" in found:
        raise _secret_given(path)
    key = found.get("public-key", text.strip())
    if not is_key(key):
        raise KeyInvalid(f"{path} holds no public key", hint=_HINT_FORMAT)
    return key.encode()


def _fields(text: str) -> dict[str, str]:
    return {found[1]: found[2] for line in text.splitlines() if (found := _FIELD.match(line))}


def _secret_given(path: Path) -> KeyInvalid:
    return KeyInvalid(
        f"{path} holds a secret key, and a public one is needed",
        hint="Name the NAME.key file; keep the secret apart.",
    )


def _too_many(path: Path) -> KeyInvalid:
    return KeyInvalid(f"{path} holds more than {ALLOW_KEYS_MAX:,} keys", hint="Let several clients share one.")


def _unreadable(path: Path, error: OSError) -> KeyInvalid:
    return KeyInvalid(
        f"{path} cannot be read: {error.strerror or error}",
        hint="Name a file that the user of this process can read; `zcmd keygen` makes keys.",
    )


def _open_to_all(path: Path) -> KeyInvalid:
    return KeyInvalid(f"everybody can write {path}, and so let themselves in", hint=f"Run `chmod o-w {path}`.")


def _read(path: Path, bytes_max: int, *, forbidden: int = 0) -> str:
    """The text of a file whose mode has none of these bits; looked at through the descriptor that is read."""
    try:
        # O_NONBLOCK: a FIFO in the file's place must not hold the process up.
        descriptor = os.open(path.expanduser(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise KeyInvalid(f"{path} is no file", hint=_HINT_FORMAT)
            if status.st_mode & forbidden & stat.S_IWOTH and not forbidden & stat.S_IROTH:
                raise _open_to_all(path)
            if status.st_mode & forbidden:
                raise KeyInvalid(
                    f"{path} holds a secret key, and its mode {stat.S_IMODE(status.st_mode):04o} lets others at it",
                    hint=f"Run `chmod 600 {path}`; where others may have read it, make a new key.",
                )
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > bytes_max:
        raise KeyInvalid(f"{path} is larger than {bytes_max:,} bytes", hint=_HINT_FORMAT)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise KeyInvalid(f"{path} is no key file: it is not text", hint=_HINT_FORMAT) from None


def _write(path: Path, text: str, mode: int) -> None:
    made = False
    try:
        # O_EXCL: a key is never overwritten, nor is a symbolic link followed. The mode comes before the text.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        made = True
        with open(descriptor, "w") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise KeyInvalid(
            f"{path} is there already, and keys are never overwritten", hint="Choose another name, or move it away."
        ) from None
    except OSError as error:
        if made:
            path.unlink()
        raise KeyInvalid(
            f"{path} cannot be written: {error.strerror or error}", hint="Check the folder and its rights."
        ) from None
