"""What a collection may be called, and which names are the events'."""

from __future__ import annotations

from zarkov.errors import AppendOnly, FilterInvalid
from zarkov.store.contract import COMMIT_BYTES_MAX
from zarkov.store.generations import is_generation

#: Bytes of a collection's name; MongoDB's limit.
NAME_BYTES_MAX = 255
#: How the names of Zarkov's own collections begin, and MongoDB's.
INTERNAL = ("zarkov.", "system.")


def check_name(name: str) -> str:
    """The name. Raises: FilterInvalid: no collection can have it."""
    if not name or len(name.encode("utf-8", "replace")) > NAME_BYTES_MAX or "$" in name or "\x00" in name:
        raise FilterInvalid(f"{name[:40]!r} is not a collection's name", hint="Use 1 to 255 bytes without '$'.")
    return name


def check_target(name: str) -> str:
    """The name, of a collection that documents are to be moved or written to. Raises: FilterInvalid, AppendOnly."""
    if is_generation(check_name(name)):
        raise AppendOnly(f"{name!r} holds the events of the journal: nothing else can be put there")
    return name


def check_commit(commit: str, name: str) -> None:
    """The id of a commit, and the collection it writes. Raises: FilterInvalid, AppendOnly: one cannot be."""
    if not 0 < len(commit.encode("utf-8", "replace")) <= COMMIT_BYTES_MAX or "\x00" in commit:
        raise FilterInvalid(f"{commit[:40]!r} is not a commit's id", hint=f"It has 1 to {COMMIT_BYTES_MAX} bytes.")
    if check_target(name).startswith(INTERNAL):
        raise FilterInvalid(f"{name[:40]!r} is Zarkov's or MongoDB's own", hint="Take another name.")
