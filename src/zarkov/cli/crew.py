"""A crew of worker processes: forked, watched, replaced.

Theory of operation. The parent has imported everything and opened nothing, so that a child is there at once and
shares the memory of what was imported. It never has a socket, a thread or a function of a user. Each child writes the
time into its place of a shared page at every sign of life; one that does not for long (it is stopped, or a function
holds the interpreter) is killed. A child that ended is replaced, at once if it had lived; its successor tells the
router what became of it, so that its task is given away without a wait. Children end with the parent, however that
ends.
"""

from __future__ import annotations

import logging
import mmap
import os
import random
import secrets
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from zarkov.cli.parent import end_with_parent
from zarkov.config import ZmrSettings
from zarkov.zmr.worker import Worker

# The module may be run under another name.
log = logging.getLogger("zarkov.cli.crew")

#: How often the children are looked at.
LOOK_S = 1.0
#: A child has so many times `worker_silence_s` to show life: the router gives its task away after one.
PATIENCE = 2.0
#: A child that lived for less is replaced after a pause, doubled each time.
HEALTHY_S = 1.0
PAUSE_S_MIN, PAUSE_S_MAX = 0.1, 5.0
#: Time that children have to end when they are told to.
STOP_S = 3.0

_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_stamp = struct.Struct("d")


@dataclass(slots=True)
class _Member:
    """A place in the crew, and the child that has it; pid is 0 while there is none."""

    place: int
    name: str = ""
    pid: int = 0
    born_at: float = 0.0
    due_at: float = 0.0
    quick_deaths: int = 0
    reason: str = ""
    count: int = 0


class Crew:
    """Runs `size` worker processes until a signal ends it.

    Args:   secure: with keys, what puts them on a worker's sockets; on_ready: called when all were started.
    """

    def __init__(
        self,
        settings: ZmrSettings,
        size: int,
        *,
        secure: Callable[[Any], object] | None = None,
        on_ready: Callable[[], object] = lambda: None,
    ) -> None:
        self._settings = settings
        self._secure = secure
        self._on_ready = on_ready
        self._members = [_Member(place) for place in range(size)]
        self._stamps = mmap.mmap(-1, max(1, size) * _stamp.size)
        self._name = f"{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(4)}"

    def run(self) -> None:
        """Return when a signal said to stop and every child has ended."""
        caught = {number for number in _STOPPING if signal.getsignal(number) is not signal.SIG_IGN}
        heard = {*caught, signal.SIGCHLD}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, heard)
        try:
            for member in self._members:
                self._start(member)
            self._on_ready()
            while True:
                found = signal.sigtimedwait(heard, self._pause_s())
                if found is not None and found.si_signo in caught:
                    return
                self._look()
        finally:
            self._stop()
            for number in caught:  # More of them change nothing.
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _pause_s(self) -> float:
        now = time.monotonic()
        return max(0.0, min([LOOK_S, *(member.due_at - now for member in self._members if not member.pid)]))

    def _look(self) -> None:
        """Bury the dead, kill the lifeless, start what is due."""
        self._bury()
        now = time.monotonic()
        for member in self._members:
            if member.pid and now - self._stamped_at(member) > PATIENCE * self._settings.worker_silence_s:
                member.reason = "it showed no life"
                os.kill(member.pid, signal.SIGKILL)
            elif not member.pid and member.due_at <= now:
                self._start(member)

    def _bury(self) -> None:
        for member in self._members:
            pid, status = os.waitpid(member.pid, os.WNOHANG) if member.pid else (0, 0)
            if pid == 0:
                continue
            now = time.monotonic()
            member.reason = member.reason or told(status)
            log.log(
                logging.DEBUG if status == 0 else logging.WARNING,
                "worker ended id=%s pid=%d reason=%s",
                member.name,
                pid,
                member.reason,
            )
            member.quick_deaths = member.quick_deaths + 1 if now - member.born_at < HEALTHY_S else 0
            member.due_at = now + pause_s(member.quick_deaths)
            member.pid = 0

    def _start(self, member: _Member) -> None:
        before = member.name or None
        member.count += 1
        member.name = f"{self._name}-{member.place}-{member.count}"
        member.born_at = time.monotonic()
        self._stamp(member)
        pid = os.fork()
        if pid == 0:
            self._be(member, before)
        member.pid, member.reason = pid, ""

    def _be(self, member: _Member, before: str | None) -> NoReturn:
        """The child: a worker, to its end."""
        code = 1
        try:
            worker = Worker(
                self._settings,
                member.name,
                replaces=before,
                reason=member.reason,
                stamp=lambda: self._stamp(member),
                end=_end,
                secure=self._secure,
            )

            def leave(number: int, frame: FrameType | None) -> None:
                worker.leave("it was told to stop")

            signal.signal(signal.SIGTERM, leave)
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # The parent hears them, and tells.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_STOPPING, signal.SIGCHLD})
            end_with_parent(os.getppid())
            random.seed()
            worker.run()
            code = 0
        except BaseException:
            log.exception("worker failed id=%s", member.name)
        finally:
            logging.shutdown()
            os._exit(code)

    def _stop(self) -> None:
        for member in self._members:
            if member.pid:
                os.kill(member.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while any(member.pid for member in self._members):
            if time.monotonic() > deadline:
                for member in self._members:
                    if member.pid:
                        os.kill(member.pid, signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, LOOK_S / 10)
            self._bury()

    def _stamp(self, member: _Member) -> None:
        _stamp.pack_into(self._stamps, member.place * _stamp.size, time.monotonic())

    def _stamped_at(self, member: _Member) -> float:
        at: float = _stamp.unpack_from(self._stamps, member.place * _stamp.size)[0]
        return at


def _end(reason: str) -> None:
    """End this process now, from any thread."""
    log.debug("worker ends reason=%s", reason)
    os._exit(0)


def told(status: int) -> str:
    """How a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"the process was killed by {signal.Signals(-code).name}"
    return f"the process ended with {code}"


def pause_s(quick_deaths: int) -> float:
    """The pause before a child is replaced, after so many in a row that lived for less than HEALTHY_S."""
    return 0.0 if quick_deaths == 0 else min(PAUSE_S_MAX, PAUSE_S_MIN * 2.0 ** min(quick_deaths - 1, 30))
