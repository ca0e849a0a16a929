"""The load of `perftest`: several clients, each in a thread of its own, at a steady rate.

Each client sends the events that are due, then looks at how many were acknowledged, and sleeps until the next is
due. An event's latency runs from the call of `event` to the look that first sees it acknowledged, so it is up to
LOOK_S too long. Acknowledgements come in the order of sending.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from zarkov.client import Keys, ZarkovClient
from zarkov.metrics import Timer

LOOK_S = 0.0005
EVENTS_BETWEEN_LOOKS = 100
#: Once everything is sent, silence for so long ends the wait; closing the client then says what is missing.
SILENCE_S_MAX = 10.0


@dataclass(slots=True)
class Result:
    """What came of a load. Latencies are empty without acknowledgements."""

    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    elapsed_s: float = 0.0
    latency: Timer = field(default_factory=lambda: Timer("latency", "From the call to the acknowledgement"))
    failures: list[BaseException] = field(default_factory=list)


class Load:
    """`count` events of type perftest over `concurrency` clients, `rate` a second together (0: unbounded)."""

    def __init__(
        self, uri: str, count: int, concurrency: int, rate: float, *, ack: bool, keys: Keys | None = None
    ) -> None:
        self._uri = uri
        self._keys = keys
        self._ack = ack
        shares = [count // concurrency + (index < count % concurrency) for index in range(concurrency)]
        self._senders = [_Sender(index, share, rate / concurrency) for index, share in enumerate(shares)]

    @property
    def sent(self) -> int:
        """Events sent so far, for a progress bar."""
        return sum(sender.sent for sender in self._senders)

    def run(self, progress: Callable[[int], None], *, every_s: float = 0.1) -> Result:
        """Send everything, wait until it is acknowledged (or on the network), and add up.

        Raises: what the first client that failed raised.
        """
        threads = [
            threading.Thread(
                target=sender.run,
                args=(self._uri, self._ack, self._keys),
                name=f"perftest-{sender.index}",
                daemon=True,
            )
            for sender in self._senders
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(every_s)
                progress(self.sent)
        result = Result(elapsed_s=time.perf_counter() - began)
        for sender in self._senders:
            sender.add_to(result)
        if result.failures:
            raise result.failures[0]
        return result


@dataclass(slots=True)
class _Sender:
    index: int
    count: int
    rate: float
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    latency: Timer = field(default_factory=lambda: Timer("latency", ""))
    failure: BaseException | None = None
    _waiting: deque[float] = field(default_factory=deque)

    def run(self, uri: str, ack: bool, keys: Keys | None) -> None:
        try:
            client = ZarkovClient(uri, ack=ack, timeout_s=SILENCE_S_MAX, keys=keys)
            try:
                self._send_all(client, ack)
            finally:
                client.close()
            self._look(client, ack)
        except Exception as error:  # noqa: BLE001  # told to the thread that waits for the result
            self.failure = error

    def _send_all(self, client: ZarkovClient, ack: bool) -> None:
        began = time.perf_counter()
        while self.sent < self.count:
            due = self.count if self.rate <= 0 else int((time.perf_counter() - began) * self.rate) + 1
            for _ in range(min(due, self.count, self.sent + EVENTS_BETWEEN_LOOKS) - self.sent):
                if ack:
                    self._waiting.append(time.perf_counter())
                client.event("perftest", {"client": self.index}, {"number": self.sent})
                self.sent += 1
            self._look(client, ack)
            if self.rate > 0 and self.sent < self.count:
                pause_s = began + self.sent / self.rate - time.perf_counter()
                time.sleep(max(0.0, min(pause_s, LOOK_S) if self._waiting else pause_s))
        heard = time.monotonic()
        while self._waiting and time.monotonic() - heard < SILENCE_S_MAX:
            before = len(self._waiting)
            time.sleep(LOOK_S)
            self._look(client, ack)
            if len(self._waiting) < before:
                heard = time.monotonic()

    def _look(self, client: ZarkovClient, ack: bool) -> None:
        """Note the latency of every event acknowledged since the last look."""
        if not ack:
            return
        stats, now = client.stats, time.perf_counter()
        for _ in range(
            min(stats.acknowledged + stats.refused - self.acknowledged - self.refused, len(self._waiting))
        ):
            self.latency.observe(now - self._waiting.popleft())
        self.acknowledged, self.refused = stats.acknowledged, stats.refused

    def add_to(self, result: Result) -> None:
        result.sent += self.sent
        result.acknowledged += self.acknowledged
        result.refused += self.refused
        merged = result.latency
        merged.count += self.latency.count
        merged.sum_s += self.latency.sum_s
        merged.max_s = max(merged.max_s, self.latency.max_s)
        merged.buckets = [mine + theirs for mine, theirs in zip(merged.buckets, self.latency.buckets, strict=True)]
        if self.failure is not None:
            result.failures.append(self.failure)
