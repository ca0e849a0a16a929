"""The supervisor of `serve`: starts the children, restarts what dies, and stops them in order.

Theory of operation. One thread waits for three things at once: signals (through a wake-up descriptor), children that
say they are ready (each through a pipe of its own) and the next restart that is due. Always true:

- A child belongs to the supervisor's process group and asks the kernel for a SIGTERM when the supervisor dies
  (`parent.end_with_parent`), so no child outlives the server, whichever way it ends.
- SIGTERM, SIGINT or SIGHUP begin the stop, once; more of them change nothing. A signal sent to the whole group
  reaches the children as well: they stop on the first and bear the others. Signals are looked at before deaths, so
  a child that stops together with the group is not taken for a crash.
- Until every child has been ready once, a death ends the server with the child's exit code: what cannot start is a
  mistake to be read, not to be retried. After that, a death is followed by a restart: the first at once, then after
  0.1 s, doubling up to `restart_s_max`; a child that lived HEALTHY_S starts from the beginning again.
- At the stop the children get SIGTERM, the last started first, have `drain_s` to sync, and are then killed.

The supervisor keeps nothing on disk: a crash of it leaves nothing behind.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

HEALTHY_S = 10.0
RESTART_S_MIN = 0.1
LOOK_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child: its name, and the module that is run with these arguments."""

    name: str
    module: str
    arguments: tuple[str, ...]


@dataclass
class _Child:
    spec: ChildSpec
    process: subprocess.Popen[bytes]
    ready_pipe: int | None
    started_at: float
    ready: bool = False
    restart_at: float | None = None
    quick_deaths: int = 0


def restart_delay_s(quick_deaths: int, delay_s_max: float) -> float:
    """The pause before a restart, after so many deaths in a row that each came within HEALTHY_S of the start."""
    if quick_deaths <= 1:
        return 0.0
    return min(delay_s_max, RESTART_S_MIN * 2.0 ** min(quick_deaths - 2, 30))


@dataclass
class Supervisor:
    """Runs the children until a signal ends it: `run()` returns the exit code."""

    specs: Sequence[ChildSpec]
    restart_s_max: float
    drain_s: float
    on_ready: Callable[[], None] = lambda: None
    on_stopping: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    _children: list[_Child] = field(default_factory=list)
    _asked_to_stop: bool = False
    _was_ready: bool = False

    def run(self) -> int:
        """Start everything, wait, stop everything.

        Returns: 0 after an orderly stop; the exit code of a child that could not start; 1 when a child did not
            drain in time or failed while it did.
        """
        with selectors.DefaultSelector() as self._selector, _Signals(self._selector):
            try:
                for spec in self.specs:
                    self._children.append(self._spawn(spec))
                failed = self._watch()
                self.on_stopping()
            finally:
                drained = self._stop()
        return failed or (0 if drained else 1)

    def _watch(self) -> int:
        """Look after the children until a stop is asked for (0) or one of them cannot start (its code)."""
        while True:
            self._wait(self._next_restart_s())
            if self._asked_to_stop:
                return 0
            for child in self._children:
                code = child.process.poll()
                if code is not None and child.restart_at is None:
                    if not self._was_ready:
                        return code if code > 0 else 1
                    self._plan_restart(child, code)
                if child.restart_at is not None and child.restart_at <= self.clock():
                    self._restart(child)
            if not self._was_ready and all(child.ready for child in self._children):
                self._was_ready = True
                self.on_ready()

    def _next_restart_s(self) -> float:
        due = [child.restart_at - self.clock() for child in self._children if child.restart_at is not None]
        return max(0.0, min([LOOK_S, *due]))

    def _wait(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                taken = os.read(key.fd, 1024)
                self._asked_to_stop |= any(number != signal.SIGCHLD for number in taken)
            else:
                self._hear(key.data)

    def _hear(self, child: _Child) -> None:
        """A child's pipe says `ready`, or closes without a word because the child is gone."""
        assert child.ready_pipe is not None
        child.ready |= os.read(child.ready_pipe, 64) != b""
        self._close_pipe(child)

    def _plan_restart(self, child: _Child, code: int) -> None:
        lived_s = self.clock() - child.started_at
        child.quick_deaths = child.quick_deaths + 1 if lived_s < HEALTHY_S else 1
        delay_s = restart_delay_s(child.quick_deaths, self.restart_s_max)
        child.restart_at = self.clock() + delay_s
        log.error(
            "child died name=%s pid=%d exit=%d restart_in_s=%.1f", child.spec.name, child.process.pid, code, delay_s
        )

    def _restart(self, child: _Child) -> None:
        self._close_pipe(child)
        new = self._spawn(child.spec)
        new.quick_deaths = child.quick_deaths
        self._children[self._children.index(child)] = new

    def _spawn(self, spec: ChildSpec) -> _Child:
        read_end, write_end = os.pipe()
        # -P: the working directory must not supply modules of the child.
        argv = [sys.executable, "-P", "-m", spec.module, *spec.arguments]
        argv += ["--parent", str(os.getpid()), "--ready-fd", str(write_end)]
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=(write_end,))
        finally:
            os.close(write_end)
        child = _Child(spec, process, read_end, self.clock())
        self._selector.register(read_end, selectors.EVENT_READ, child)
        log.info("child started name=%s pid=%d", spec.name, process.pid)
        return child

    def _close_pipe(self, child: _Child) -> None:
        if child.ready_pipe is not None:
            self._selector.unregister(child.ready_pipe)
            os.close(child.ready_pipe)
            child.ready_pipe = None

    def _stop(self) -> bool:
        """Stop every child; True when each of them ended by itself and in order."""
        deadline = self.clock() + self.drain_s
        for child in reversed(self._children):
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        drained = True
        for child in reversed(self._children):
            try:
                code = child.process.wait(max(0.0, deadline - self.clock()))
            except subprocess.TimeoutExpired:
                log.error(
                    "child killed name=%s pid=%d drain_s=%.1f", child.spec.name, child.process.pid, self.drain_s
                )
                child.process.kill()
                code = child.process.wait()
            # A child that was only starting has nothing to drain, and may not hear the signal yet.
            unheard = not child.ready and code == -signal.SIGTERM
            drained &= code == 0 or unheard or child.restart_at is not None
            self._close_pipe(child)
        return drained


class _Signals:
    """Signals as bytes on a descriptor that the selector watches; the handlers before it are restored."""

    CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector

    def __enter__(self) -> None:
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._write_end.setblocking(False)
        self._selector.register(self._read_end, selectors.EVENT_READ, None)
        self._before = {number: signal.getsignal(number) for number in self.CAUGHT}
        for number, handler in self._before.items():
            # A SIGHUP ignored by nohup stays ignored.
            if handler is not signal.SIG_IGN:
                signal.signal(number, _noticed)
        self._wakeup_before = signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._selector.unregister(self._read_end)
        self._read_end.close()
        self._write_end.close()


def _noticed(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor carries the signal; the handler only keeps it from ending the process."""
