"""How deep a BSON document is nested, told from its bytes.

The decoded document does not tell: a field that stands twice hides the first, and the classes for references and
code hide what is in them, yet a reader's decoder has to go down there.
"""

from __future__ import annotations

import struct

_int32 = struct.Struct("<i").unpack_from

# Bytes of the value after the field's name, by type; https://bsonspec.org/spec.html, version 1.1.
_FIXED = {
    0x01: 8,  # double
    0x06: 0,  # undefined
    0x07: 12,  # ObjectId
    0x08: 1,  # boolean
    0x09: 8,  # date
    0x0A: 0,  # null
    0x10: 4,  # int32
    0x11: 8,  # timestamp
    0x12: 8,  # int64
    0x13: 16,  # decimal128
    0x7F: 0,  # maximum key
    0xFF: 0,  # minimum key
}
# A length comes first; what it does not count.
_COUNTED = {0x02: 4, 0x05: 5, 0x0C: 16, 0x0D: 4, 0x0E: 4}
_DOCUMENT, _ARRAY, _REGEX, _CODE_WITH_SCOPE = 0x03, 0x04, 0x0B, 0x0F
_NESTING = (b"\x03", b"\x04", b"\x0f")


def is_deeper_than(depth_max: int, data: bytes) -> bool:
    """Tell whether a document has more than `depth_max` levels, itself being the first.

    Args:   data: one BSON document that a decoder has accepted.
    """
    if sum(map(data.count, _NESTING)) < depth_max:
        return False
    depth, at = 1, 4
    while depth:
        kind = data[at]
        at += 1
        if kind == 0:
            depth -= 1
            continue
        at = data.index(0, at) + 1
        if kind in (_DOCUMENT, _ARRAY):
            depth, at = depth + 1, at + 4
        elif kind == _CODE_WITH_SCOPE:  # length, the code as a string, the scope as a document
            depth, at = depth + 1, at + 8 + _int32(data, at + 4)[0] + 4
        elif kind == _REGEX:
            at = data.index(0, data.index(0, at) + 1) + 1
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            at += _COUNTED[kind] + _int32(data, at)[0]
        if depth > depth_max:
            return True
    return False
