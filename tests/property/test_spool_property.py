"""A client with a spool, servers, and kills of both: nothing that was on disk is lost, no server has it twice."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from honest import PRODUCER, SIZE, HonestServer, event, number_of
from spools import DictFile, disk_full
from zarkov.client import spooled
from zarkov.client.frames import parse
from zarkov.client.limits import Limits
from zarkov.client.outbox import NEVER, Outbox
from zarkov.client.spooled import SpooledBacklog
from zarkov.codec import split


class SpoolAndServers(RuleBasedStateMachine):
    """The client is killed at any moment, and goes on from what is on its disk, at either server."""

    @initialize(
        widths=st.lists(st.integers(1, 5), min_size=1, max_size=2),
        events_max=st.integers(1, 4),
        linger_s=st.sampled_from([0.0, 0.5, 1000.0]),
        in_memory=st.integers(0, 3),
    )
    def start(self, widths: list[int], events_max: int, linger_s: float, in_memory: int) -> None:
        self.now = 1.0
        self.added = 0
        self.servers = [HonestServer(width) for width in widths]
        self.same_width = len(set(widths)) == 1
        self.limits = Limits(batch_events_max=events_max, linger_s=linger_s)
        self.kept_bytes = in_memory * SIZE
        self.file = DictFile(PRODUCER)
        self.safe: set[int] = set()
        self.told: set[int] = set()
        self.at: HonestServer | None = None
        self.requests: list[list[bytes]] = []
        self.answers: list[list[bytes]] = []
        self.begin()

    def begin(self) -> None:
        self.backlog = SpooledBacklog(self.file, self.limits, lambda failure: None)
        self.box = Outbox(self.file.producer, self.limits, lambda: 0.5, self.backlog)
        self.marks: list[tuple[int, set[int]]] = []
        self.in_life: set[int] = self.on_disk()

    def on_disk(self) -> set[int]:
        return {number_of(one) for row in self.file.rows.values() for one in split(row.events)}

    def with_bounds(self, work: object) -> None:
        before = spooled.KEPT_BYTES_MAX, spooled._READ_BYTES_MAX
        spooled.KEPT_BYTES_MAX, spooled._READ_BYTES_MAX = self.kept_bytes, self.kept_bytes
        try:
            work()  # type: ignore[operator]
        finally:
            spooled.KEPT_BYTES_MAX, spooled._READ_BYTES_MAX = before

    @rule(count=st.integers(1, 9))
    def add(self, count: int) -> None:
        events = [event(self.added + n) for n in range(count)]
        taken = 0
        while taken < count and (step := self.box.add_many(events, taken, self.now)):
            taken += step
        self.in_life |= set(range(self.added, self.added + taken))
        self.added += taken

    @rule()
    def flush(self) -> None:
        self.marks.append((self.box.mark(), set(self.in_life)))

    @rule()
    def sync(self) -> None:
        mark = self.box.mark()
        self.with_bounds(lambda: self.box.keep(self.now, all_of_it=True))
        if self.box.is_kept(mark):
            self.safe |= self.in_life

    @rule(passed_s=st.sampled_from([0.01, 0.6, 3.0, 70.0]))
    def time_passes(self, passed_s: float) -> None:
        self.now += passed_s

    @rule()
    def fill_the_disk(self) -> None:
        self.file.failure = disk_full()

    @precondition(lambda self: self.file.failure)
    @rule()
    def free_the_disk(self) -> None:
        self.file.failure = None

    @precondition(lambda self: self.at is None)
    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        self.at = data.draw(st.sampled_from(self.servers))
        self.box.connected(self.now)

    @precondition(lambda self: self.at is not None)
    @rule()
    def lose_the_connection(self) -> None:
        self.at, self.requests, self.answers = None, [], []
        self.box.disconnected()

    @precondition(lambda self: self.at is not None)
    @rule()
    def kill_and_restart_the_server(self) -> None:
        server = self.at
        self.lose_the_connection()
        assert server is not None
        server.restart()

    @rule(loses_the_connection_later=st.booleans())
    def kill_and_restart_the_client(self, loses_the_connection_later: bool) -> None:
        """What it sent may arrive all the same, before or after its successor is there."""
        late, server = self.requests, self.at
        if self.at is not None:
            self.lose_the_connection()
        self.file = self.file.reopened()
        self.begin()
        if loses_the_connection_later and server is not None:
            for request in late:
                server.take(request, busy=False)

    @precondition(lambda self: len(self.servers) == 1)
    @rule(events_max=st.integers(1, 4))
    def restart_the_server_with_another_limit(self, events_max: int) -> None:
        if self.at is not None:
            self.kill_and_restart_the_server()
        self.servers[0].events_max = events_max

    @rule()
    def client_sends(self) -> None:
        self.with_bounds(self._send)

    def _send(self) -> None:
        if self.box.keep_at <= self.now:
            self.box.keep(self.now)
        while (message := self.box.next_message(self.now)) is not None:
            if message[1] == b"BATCH":
                numbers = {number_of(one) for one in split(message[4])}
                assert numbers <= self.on_disk(), "it is on disk before it is sent"
                self.safe |= numbers
            if self.at is not None:
                self.requests.append(message)
        assert self.box.wake_at() > self.now or self.at is None or self.box.keep_at <= self.now

    @precondition(lambda self: self.requests)
    @rule(busy=st.booleans())
    def server_takes(self, busy: bool) -> None:
        assert self.at is not None
        answer = self.at.take(self.requests.pop(0), busy=busy, may_be_too_old=not self.same_width)
        if answer is not None:
            self.answers.append(answer)

    @rule(data=st.data())
    def server_syncs(self, data: st.DataObject) -> None:
        server = data.draw(st.sampled_from(self.servers))
        if server.journaling:
            answer = server.sync()
            if self.at is server:
                self.answers.append(answer)

    @precondition(lambda self: self.answers)
    @rule(again=st.booleans())
    def client_hears(self, again: bool) -> None:
        self.box.answered(parse(self.answers[0] if again else self.answers.pop(0)), self.now)
        self.note_reports()

    @precondition(lambda self: self.at is not None)
    @rule(taken=st.integers(1, 9), heard=st.integers(0, 9))
    def all_goes_well_for_a_while(self, taken: int, heard: int) -> None:
        self.client_sends()
        for _ in self.requests[:taken]:
            self.server_takes(busy=False)
        while self.at is not None and self.at.journaling:
            self.answers.append(self.at.sync())
        for _ in self.answers[:heard]:
            self.client_hears(again=False)

    def note_reports(self) -> None:
        self.told |= {number_of(report.event) for report in self.box.reports}
        self.box.reports = []

    def stored(self) -> set[int]:
        return {number for server in self.servers for number in server.stored}

    @invariant()
    def no_server_has_anything_twice(self) -> None:
        if hasattr(self, "box"):
            self.box.validate()
            for server in self.servers:
                assert len(server.stored) == len(set(server.stored))

    @invariant()
    def what_was_safe_stays_so(self) -> None:
        if hasattr(self, "box"):
            assert self.safe <= self.on_disk() | self.stored() | self.told

    @invariant()
    def what_a_flush_waited_for_is_stored_or_told_of(self) -> None:
        for mark, before in getattr(self, "marks", ()):
            if self.box.settled(mark):
                assert before <= self.stored() | self.told

    def teardown(self) -> None:
        """A kind network and a disk with space at last: everything is settled, and the disk is empty."""
        if not hasattr(self, "box"):
            return
        self.file.failure = None
        if self.at is None:
            self.at = self.servers[0]
            self.box.connected(self.now)
        for _ in range(500):
            self.now = max(self.now, min(self.box.wake_at(), self.now + 1e6))
            self.client_sends()
            while self.requests:
                self.server_takes(busy=False)
            while self.at.journaling:
                self.answers.append(self.at.sync())
            while self.answers:
                self.client_hears(again=False)
            if not self.box.pending_events and self.box.keep_at == NEVER:
                break
        assert (self.box.pending_events, self.file.rows) == (0, {})
        assert self.safe | self.in_life <= self.stored() | self.told
        for server in self.servers:
            assert len(server.stored) == len(set(server.stored))


TestSpoolAndServers = SpoolAndServers.TestCase
