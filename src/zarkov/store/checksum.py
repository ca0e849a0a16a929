"""A checksum of a set of documents that does not depend on their order.

Each document counts as the BLAKE2b-128 of its BSON with `_id` as its first field (MongoDB moves it there); the sum of
these modulo 2^128, and their number, are the checksum of the set. So one that is missing, doubled, changed by a bit
or of another type (int32 for int64) makes a difference, whatever the order; that a damage goes unseen has a chance of
1 in 2^128. It is no protection from somebody who forges documents on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from zarkov import codec

_BYTES = 16
_MODULUS = 1 << (8 * _BYTES)
_ID_FIRST = slice(5, 9)
_ID = b"_id\x00"


@dataclass(frozen=True, slots=True)
class Checksum:
    """How many documents, and the sum of their hashes."""

    count: int = 0
    sum: int = 0

    def __add__(self, other: Checksum) -> Checksum:
        """The checksum of both sets together."""
        return Checksum(self.count + other.count, (self.sum + other.sum) % _MODULUS)

    def __str__(self) -> str:
        return f"{self.sum:032x}"


def checksum_of(documents: Iterable[bytes]) -> Checksum:
    """The checksum of BSON documents, each given as its bytes. Raises: EventRefused: one is no BSON."""
    count = total = 0
    for document in documents:
        if document[_ID_FIRST] != _ID:
            document = _with_id_first(document)
        total += int.from_bytes(blake2b(document, digest_size=_BYTES).digest(), "big")
        count += 1
    return Checksum(count, total % _MODULUS)


def _with_id_first(data: bytes) -> bytes:
    document = codec.decode(data)
    return codec.encode({"_id": document.pop("_id"), **document}) if "_id" in document else data
