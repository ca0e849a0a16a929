"""Who is let in: ZAP requests in, answers out (rfc.zeromq.org/spec/27), against a list of keys that may change.

Theory of operation. libzmq has checked by then that the peer owns the secret of the key it shows; here it is decided
whether that key is on the list. The list is looked at before every answer and once a second, and read again when a
file of it changed. What cannot be read lets nobody in: a line or a file of the list that is no key grants nothing,
and a list that is gone, unreadable or open for everybody to write refuses all, until it is mended; they are told to
try again (300), and not that their key is wrong (400), after which ZeroMQ's own clients would not, and would drop
what they have queued. So is a key that is not listed when there was no time to look at the list for this answer.
A key that was let in and is no longer on the list is told by `look`, with the addresses it came from, so that its
connections can be cut: ZeroMQ shakes hands once a connection.

No socket and no greenlet here: any loop that has a ZAP socket can use it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from zmq.utils import z85

from zarkov.errors import KeyInvalid
from zarkov.keyfiles import Allowed, allow_files, read_allowed
from zarkov.metrics import Metrics

logger = logging.getLogger(__name__)

#: Of the time, at most this share is spent on looking whether the list changed, however long it is and however many
#: clients come; so much may be saved up, and one look, however long it took, costs at most a pause of a second.
LOOK_SHARE_MAX, LOOK_SAVED_S_MAX, LOOK_PAUSE_S_MAX = 0.05, 0.5, 1.0
#: A file that changed less than this before it was read may change again within the same tick of the clock.
_SETTLED_S = 2.0
#: Refusals are logged at most this often, with their count since.
LOG_EVERY_S = 10.0
#: Addresses remembered of one key; a key with more has all connections cut when it is revoked.
ADDRESSES_MAX = 1000
EVERYWHERE = "*"

_VERSION = b"1.0"
_USER_BYTES_MAX = 255

_Stamp = tuple[tuple[object, ...], ...]


class Admission:
    """Answers ZAP requests from the list at `allow`. Not thread safe.

    Args:   monotonic_s, wall_s: clocks; the second one is compared with times of files.
    Raises: KeyInvalid: the list cannot be read.
    """

    def __init__(
        self,
        allow: Path,
        metrics: Metrics,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._path = allow
        self._monotonic_s, self._wall_s = monotonic_s, wall_s
        self._allowed = read_allowed(allow)
        self._is_closed = False
        self._stamp: _Stamp | None = None
        self._saved_s = LOOK_SAVED_S_MAX  # time that may be spent on looking, as it was then:
        self._saved_at = monotonic_s()
        self._fault = ""
        self._seen: dict[bytes, set[str]] = {}
        self._revoked: set[str] = set()
        self._unlogged = 0
        self._log_again_at = 0.0
        self._last_refused = ("", "")
        self._refused = metrics.counter("handshakes_refused", "connections refused: their key is not let in")
        metrics.gauge("keys_allowed", "client keys that are let in", lambda: self.allowed_count)

    @property
    def allowed_count(self) -> int:
        """How many keys are let in."""
        return len(self._allowed.names)

    def answer(self, request: Sequence[bytes]) -> list[bytes]:
        """The answer's frames to a ZAP request's frames."""
        is_current = self._refresh()
        padding = [b""] * (6 - len(request))
        version, request_id, _domain, address, _identity, mechanism, *credentials = [*request, *padding]
        if version != _VERSION or mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
            return self._refuse(request_id, address, "", b"400")
        key = z85.encode(credentials[0])
        name = self._allowed.names.get(key)
        if name is None:
            is_known_wrong = is_current and not self._is_closed
            return self._refuse(request_id, address, key.decode(), b"400" if is_known_wrong else b"300")
        came_from = self._seen.setdefault(key, set())
        came_from.add(address.decode("latin-1") if len(came_from) < ADDRESSES_MAX else EVERYWHERE)
        logger.debug("handshake accepted name=%s address=%s", name, address.decode("latin-1"))
        return [_VERSION, request_id, b"200", b"OK", name.encode()[:_USER_BYTES_MAX], b""]

    def look(self) -> set[str]:
        """Read the list again if it changed; to be called about once a second, and after every answer.

        Returns: the addresses from which keys came that were revoked since the last call; EVERYWHERE among them: all.
        """
        self._refresh()
        self._log_refusals()
        revoked, self._revoked = self._revoked, set()
        return revoked

    def _refuse(self, request_id: bytes, address: bytes, key: str, status: bytes) -> list[bytes]:
        self._refused.add()
        self._unlogged += 1
        self._last_refused = address.decode("latin-1"), key
        self._log_refusals()
        return [_VERSION, request_id, status, b"the key is not let in", b"", b""]

    def _log_refusals(self) -> None:
        now = self._monotonic_s()
        if self._unlogged and now >= self._log_again_at:
            address, key = self._last_refused
            logger.warning("handshakes refused count=%d address=%s key=%s", self._unlogged, address, key)
            self._unlogged = 0
            self._log_again_at = now + LOG_EVERY_S

    def _refresh(self) -> bool:
        """Look whether the list changed; False: too much time was spent on that just now."""
        began = self._monotonic_s()
        self._saved_s = min(self._saved_s + (began - self._saved_at) * LOOK_SHARE_MAX, LOOK_SAVED_S_MAX)
        self._saved_at = began
        if self._saved_s < 0:
            return False
        stamp = self._look_at_files()
        if stamp is None or stamp != self._stamp:
            self._read()
            self._stamp = stamp
        spent_s = self._monotonic_s() - began
        self._saved_s = max(self._saved_s - spent_s, -LOOK_PAUSE_S_MAX * LOOK_SHARE_MAX)
        return True

    def _look_at_files(self) -> _Stamp | None:
        """What tells one state of the list from another; None when it is too young to, or cannot be looked at."""
        try:
            files = [self._path, *(allow_files(self._path) if self._path.is_dir() else ())]
            found = [(file, os.stat(file)) for file in files]
        except (OSError, KeyInvalid):
            return None
        settled_ns = int((self._wall_s() - _SETTLED_S) * 1e9)
        if any(max(status.st_mtime_ns, status.st_ctime_ns) > settled_ns for _, status in found):
            return None
        return tuple(
            (file.name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            for file, status in found
        )

    def _read(self) -> None:
        before = self._allowed.names
        try:
            self._allowed, self._is_closed = read_allowed(self._path), False
            faults = self._allowed.faults
        except KeyInvalid as fault:
            self._allowed, self._is_closed = Allowed(), True
            faults = [fault]
        self._log_faults(faults)
        names = self._allowed.names
        if names.keys() == before.keys():
            return
        logger.info("keys changed allowed=%d path=%s", len(names), self._path)
        for key in [key for key in self._seen if key not in names]:
            logger.warning("key revoked name=%s", before.get(key, "?"))
            self._revoked |= self._seen.pop(key)

    def _log_faults(self, faults: Sequence[KeyInvalid]) -> None:
        """Each state of the list that is not as it should be is logged once."""
        sentence = "; ".join(map(str, faults))
        if sentence and sentence != self._fault:
            nobody = "" if self._allowed.names else " nobody is let in:"
            logger.error("list of keys is faulty:%s %s", nobody, sentence)
        self._fault = sentence
