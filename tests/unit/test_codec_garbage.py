"""Reading JSON must not leave cycles behind: each would keep a whole message alive until the collector comes."""

import gc

import pytest

from zarkov.codec import documents_from_json

LINES = b"\n".join(b'{"type": "a", "context": {"number": %d}}' % number for number in range(50))


@pytest.mark.parametrize("message", [LINES, b"{bad", LINES + b"\n{bad", b"[1, {}]", b"\xff"])
def test_reading_a_message_leaves_no_cycles(message: bytes) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in documents_from_json(message):
            pass
        assert gc.collect() == 0
    finally:
        gc.enable()
