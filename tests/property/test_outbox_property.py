"""The client's state machine against servers: whatever happens between them, each event is settled once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from honest import BIG, PRODUCER, SIZE, HonestServer, event, number_of
from zarkov.client.frames import Acknowledged, Answer, NotTaken, Refused, Welcome, parse
from zarkov.client.limits import Limits
from zarkov.client.outbox import NEVER, Outbox
from zarkov.codec import split


class ClientAndServer(RuleBasedStateMachine):
    """The network keeps the order and may stop at any point; the server may be slow, busy, killed, reconfigured."""

    @initialize(
        window_max=st.integers(1, 5), events_max=st.integers(1, 6), linger_s=st.sampled_from([0.0, 0.5, 1000.0])
    )
    def start(self, window_max: int, events_max: int, linger_s: float) -> None:
        self.now = 1.0
        self.added = 0
        self.server = HonestServer(window_max)
        limits = Limits(batch_events_max=events_max, linger_s=linger_s, queue_events_max=20)
        self.box = Outbox(PRODUCER, limits, lambda: 0.5)
        self.requests: list[list[bytes]] = []
        self.answers: list[list[bytes]] = []
        self.is_up = False
        self.marks: list[tuple[int, int]] = []

    @rule(count=st.integers(1, 9), one_by_one=st.booleans())
    def add(self, count: int, one_by_one: bool) -> None:
        events = [event(self.added + n) for n in range(count)]
        taken = 0
        while taken < count:
            if one_by_one:
                step = int(self.box.has_room(SIZE))
                if step:
                    self.box.add(events[taken], self.now)
            else:
                step = self.box.add_many(events, taken, self.now)
            if not step:
                break
            taken += step
        self.added += taken

    @rule()
    def flush(self) -> None:
        self.marks.append((self.box.mark(), self.added))

    @rule(passed_s=st.sampled_from([0.01, 0.6, 3.0, 70.0]))
    def time_passes(self, passed_s: float) -> None:
        self.now += passed_s

    @precondition(lambda self: not self.is_up)
    @rule()
    def connect(self) -> None:
        self.is_up = True
        self.box.connected(self.now)

    @precondition(lambda self: self.is_up)
    @rule()
    def lose_the_connection(self) -> None:
        self.is_up = False
        self.requests, self.answers = [], []
        self.box.disconnected()

    @rule()
    def kill_and_restart_the_server(self) -> None:
        if self.is_up:
            self.lose_the_connection()
        self.server.restart()

    @rule(events_max=st.integers(1, 6))
    def reconfigure_the_server_silently(self, events_max: int) -> None:
        self.server.events_max = events_max

    @rule()
    def client_sends(self) -> None:
        while (message := self.box.next_message(self.now)) is not None:
            if self.is_up:
                self.requests.append(message)
        assert self.box.wake_at() > self.now or not self.is_up

    @precondition(lambda self: self.requests)
    @rule(busy=st.booleans())
    def server_takes(self, busy: bool) -> None:
        answer = self.server.take(self.requests.pop(0), busy=busy)
        if answer is not None:
            self.answers.append(answer)

    @precondition(lambda self: self.server.journaling)
    @rule()
    def server_syncs(self) -> None:
        answer = self.server.sync()
        if self.is_up:
            self.answers.append(answer)

    @precondition(lambda self: self.answers)
    @rule(again=st.booleans())
    def client_hears(self, again: bool) -> None:
        answer = parse(self.answers[0] if again else self.answers.pop(0))
        self.box.answered(answer, self.now)

    def reported(self) -> Counter[int]:
        return Counter(number_of(report.event) for report in self.box.reports)

    @invariant()
    def each_is_settled_at_most_once(self) -> None:
        if not hasattr(self, "box"):
            return
        self.box.validate()
        assert all(count == 1 for count in self.reported().values())
        assert len(self.server.stored) == len(set(self.server.stored))
        assert self.box.counters.acknowledged <= len(self.server.stored)

    @invariant()
    def what_a_flush_waited_for_is_stored_or_reported(self) -> None:
        for mark, before in getattr(self, "marks", ()):
            if self.box.settled(mark):
                known = set(self.server.stored) | set(self.reported())
                assert known.issuperset(range(before))

    def teardown(self) -> None:
        """A kind network at last: everything is settled, without another flush."""
        if not hasattr(self, "box"):
            return
        for _ in self.rounds_of_kindness():
            if not self.box.pending_events:
                break
        assert self.box.pending_events == 0
        assert self.box.wake_at() == NEVER
        lost = self.reported()
        assert sorted(set(self.server.stored) | set(lost)) == list(range(self.added))
        # Only what was sent more than once, then refused whole, may be both stored and reported.
        for report in self.box.reports:
            assert report.code == "batch_too_large" or number_of(report.event) not in self.server.stored
        assert self.box.counters.acknowledged + self.box.counters.refused == self.added
        assert sum(lost.values()) == self.box.counters.refused
        for mark, _ in self.marks:
            assert self.box.settled(mark)

    def rounds_of_kindness(self) -> Iterator[None]:
        if not self.is_up:
            self.connect()
        for _ in range(300):
            self.now = max(self.now, min(self.box.wake_at(), self.now + 1e6))
            self.client_sends()
            while self.requests:
                self.server_takes(busy=False)
            while self.server.journaling:
                self.server_syncs()
            while self.answers:
                self.client_hears(again=False)
            yield


TestClientAndServer = ClientAndServer.TestCase


def sent(box: Outbox, now: float) -> list[tuple[int, list[int]]]:
    """Every batch due now: its sequence and the numbers of its events."""
    found = []
    while (message := box.next_message(now)) is not None:
        found.append((int.from_bytes(message[3], "big"), [number_of(one) for one in split(message[4])]))
    box.validate()
    return found


@dataclass
class ModelServer:
    """What an honest server knows: the first answer to each sequence."""

    window_max: int
    answered: dict[int, Answer] = field(default_factory=dict)
    stored: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    content: dict[int, list[int]] = field(default_factory=dict)

    def take(self, sequence: int, numbers: list[int], *, refuse: bool) -> Answer:
        assert self.content.setdefault(sequence, numbers) == numbers, "another content under a known sequence"
        if sequence not in self.answered:
            highest = max(self.answered, default=0)
            assert sequence > highest - self.window_max, "too old"
            kept = numbers[1:] if refuse else numbers
            lost = (Refused(0, "type_invalid", ""),) if refuse else ()
            self.answered[sequence] = Acknowledged(sequence, "j", len(self.stored), len(kept), lost)
            self.stored += kept
            self.refused += numbers[:1] if refuse else []
        return self.answered[sequence]


class AnyOrder(RuleBasedStateMachine):
    """Answers lost, late, twice, in any order; connections lost; every event is settled exactly once."""

    @initialize(window_max=st.integers(1, 5), events_max=st.integers(1, 4), server_max=st.integers(1, 4))
    def start(self, window_max: int, events_max: int, server_max: int) -> None:
        self.now = 0.0
        self.added = 0
        self.not_taken: list[int] = []
        self.up = False
        self.welcome = Welcome(0, window_max, server_max, BIG)
        self.server = ModelServer(window_max)
        self.network: list[tuple[int, list[int]]] = []
        limits = Limits(batch_events_max=events_max, linger_s=0.5, queue_events_max=12)
        self.box = Outbox(PRODUCER, limits, lambda: 1.0)

    @rule(count=st.integers(1, 6))
    def add(self, count: int) -> None:
        events = [event(self.added + n) for n in range(count)]
        start = 0
        while start < count and (taken := self.box.add_many(events, start, self.now)):
            start += taken
        self.added += start

    @rule(passed_s=st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0]))
    def time_passes(self, passed_s: float) -> None:
        self.now += passed_s

    @rule()
    def flush(self) -> None:
        mark = self.box.mark()
        assert self.box.settled(mark) == (self.box.pending_events == 0)

    @precondition(lambda self: not self.up)
    @rule()
    def connect(self) -> None:
        self.up = True
        self.box.connected(self.now)
        assert self.box.next_message(self.now) == [b"ZK1", b"HELLO", b"p"]
        highest = max(self.server.answered, default=0)
        limits = self.welcome
        self.box.answered(Welcome(highest, limits.window_max, limits.batch_events_max, BIG), self.now)

    @precondition(lambda self: self.up)
    @rule()
    def lose_the_connection(self) -> None:
        self.up = False
        self.network = []
        self.box.disconnected()

    @rule()
    def send(self) -> None:
        self.network += sent(self.box, self.now)

    @precondition(lambda self: self.network)
    @rule(data=st.data(), refuse=st.booleans(), keep=st.booleans(), lose_answer=st.booleans())
    def serve(self, data: st.DataObject, refuse: bool, keep: bool, lose_answer: bool) -> None:
        at = data.draw(st.integers(0, len(self.network) - 1))
        sequence, numbers = self.network[at] if keep else self.network.pop(at)
        answer = self.server.take(sequence, numbers, refuse=refuse)
        if not lose_answer:
            self.box.answered(answer, self.now)

    @precondition(lambda self: self.network)
    @rule(data=st.data(), code=st.sampled_from(["server_busy", "bad_frame", "batch_too_large"]))
    def not_taken_(self, data: st.DataObject, code: str) -> None:
        at = data.draw(st.integers(0, len(self.network) - 1))
        sequence, _ = self.network.pop(at)
        fresh = sequence not in self.server.answered and all(other != sequence for other, _ in self.network)
        if code == "server_busy" or fresh:
            self.box.answered(NotTaken(sequence, code, "", retryable=code == "server_busy"), self.now)

    @invariant()
    def nothing_is_lost_or_counted_twice(self) -> None:
        if not hasattr(self, "box"):
            return
        self.box.validate()
        numbers = [number_of(report.event) for report in self.box.reports]
        assert len(numbers) == len(set(numbers))
        assert len(self.server.stored) == len(set(self.server.stored))

    def teardown(self) -> None:
        """With a kind network everything is settled, and stored or reported but never both."""
        if not hasattr(self, "box"):
            return
        if not self.up:
            self.connect()
        for _ in range(200):
            if not self.box.pending_events:
                break
            self.now += 100.0
            for sequence, numbers in self.network + sent(self.box, self.now):
                self.box.answered(self.server.take(sequence, numbers, refuse=False), self.now)
            self.network = []
        self.box.validate()
        assert self.box.pending_events == 0
        lost = [number_of(report.event) for report in self.box.reports]
        assert sorted(self.server.stored + lost) == list(range(self.added))
        assert self.box.counters.acknowledged == len(self.server.stored)


TestAnyOrder = AnyOrder.TestCase
