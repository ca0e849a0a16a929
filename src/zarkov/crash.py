"""Named points at which a test can kill this process.

`ZARKOV_CRASH_AT=name` kills the process with SIGKILL the first time it reaches `crash_point("name")`;
`name:3` does so the third time. Without the variable a point costs one comparison.
"""

from __future__ import annotations

import os
import signal

CRASH_POINTS = (
    "before_write",  # a group is gathered, nothing is written
    "before_commit",  # the rows are written, the transaction is open
    "after_commit",  # synced, nobody was told
    "in_merge",  # small chunks are being replaced by one
    "in_roll",  # the new segment's file exists, it holds no event
    "in_rotate",  # a new generation is about to be recorded
    "in_retention",  # some of the segments that go are removed
    "before_insert",  # the loader has read a run of events, MongoDB has none of them
    "after_insert",  # MongoDB has confirmed them, the checkpoint is where it was
    "after_checkpoint",  # MongoDB has the checkpoint, the journal's reader is where it was
    "in_rename",  # some of the collections of a rotation are renamed
)

#: Of the outputs of map-reduce, in the order in which they are reached; not each is in each kind of commit.
OUTPUT_POINTS = (
    "in_stage",  # some of an output is written apart
    "after_stage",  # all of it is; nothing is decided
    "before_publish",  # MongoDB: it is decided; nothing can be seen
    "in_publish",  # embedded: the transaction is open; MongoDB: some documents are copied
    "after_publish",  # it can be seen; what it took the place of is not removed, MongoDB has not noted it
)

_name, _, _count = os.environ.get("ZARKOV_CRASH_AT", "").partition(":")
_left = int(_count or 1)


def crash_point(name: str) -> None:
    """Kill this process if `ZARKOV_CRASH_AT` names this point and its count is reached."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
