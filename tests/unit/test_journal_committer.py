"""The native thread: groups, answers after the sync, back-pressure, errors, calls, stopping."""

import threading

import pytest

from journaling import Clock, entry, numbers_in, small
from waiting import wait_until
from zarkov.batch import Rejection
from zarkov.errors import JournalFailed, JournalFull, ShuttingDown, ZarkovError
from zarkov.journal import Committer, JournalWriter
from zarkov.metrics import Metrics
from zarkov.position import OffsetRange

REJECTION = Rejection(0, "test", "bson_invalid", "it is garbage", b"garbage")


class Rejected:
    """Remembers what was added, and when."""

    def __init__(self, log):
        self.log = log
        self.error = None

    def add(self, rejections):
        if self.error:
            raise self.error
        self.log.append(("rejected", len(rejections)))


class StubWriter:
    """A writer that commits to a list, one group at a time, when it is let."""

    def __init__(self, log):
        self.log = log
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error = None
        self.next_offset = 0
        self.upkeeps = []
        self.takes = lambda: None

    def commit(self, entries):
        self.entered.set()
        self.gate.wait(20)
        self.takes()
        if self.error:
            raise self.error
        self.log.append(("commit", len(entries)))
        ranges = []
        for each in entries:
            ranges.append(OffsetRange(self.next_offset, each.count))
            self.next_offset += each.count
        return ranges

    def upkeep(self, idle):
        self.upkeeps.append(idle)
        return False


class Answers:
    def __init__(self):
        self.got = []

    def __call__(self, offsets, error):
        self.got.append((offsets, error))


@pytest.fixture
def log():
    return []


@pytest.fixture
def writer(log):
    return StubWriter(log)


@pytest.fixture
def rejected(log):
    return Rejected(log)


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def committer(writer, rejected, metrics):
    with Committer(writer, rejected, settings=small(upkeep_idle_s=0.01), metrics=metrics) as made:
        yield made


def test_a_request_is_answered_with_its_offsets(committer):
    answers = Answers()
    committer.submit(entry(range(3)), [], answers)
    committer.submit(entry(range(3, 5)), [], answers)
    wait_until(lambda: len(answers.got) == 2)
    assert answers.got == [(OffsetRange(0, 3), None), (OffsetRange(3, 2), None)]
    wait_until(lambda: committer.pending_bytes == 0)


def test_what_waits_while_the_writer_syncs_becomes_one_group(committer, writer, log):
    writer.gate.clear()
    answers = Answers()
    committer.submit(entry([0]), [], answers)
    assert writer.entered.wait(20)
    for number in range(1, 8):
        committer.submit(entry([number]), [], answers)
    assert committer.pending_bytes > 7 * len(entry([0]).data)
    writer.gate.set()
    wait_until(lambda: len(answers.got) == 8)
    assert log == [("commit", 1), ("commit", 7)]
    assert [offsets.first for offsets, _ in answers.got] == list(range(8))


def test_a_group_is_bounded(writer, rejected, metrics, log):
    settings = small(sync_events_max=10, upkeep_idle_s=0.01)
    made = Committer(writer, rejected, settings=settings, metrics=metrics)
    answers = Answers()
    for start in range(0, 40, 4):
        made.submit(entry(range(start, start + 4)), [], answers)
    made.submit(entry(range(40, 90)), [], answers)
    with made:
        wait_until(lambda: len(answers.got) == 11)
    assert log == [("commit", 2)] * 5 + [("commit", 1)]


def test_rejections_are_kept_before_the_events_of_their_group(committer, log):
    answers = Answers()
    committer.submit(entry([0]), [REJECTION], answers)
    wait_until(lambda: answers.got)
    assert log == [("rejected", 1), ("commit", 1)]


def test_a_request_of_rejections_alone_commits_no_events(committer, log):
    answers = Answers()
    committer.submit(None, [REJECTION, REJECTION], answers)
    wait_until(lambda: answers.got)
    assert log == [("rejected", 2)]
    assert answers.got == [(OffsetRange(-1, 0), None)]


def test_a_full_disk_is_told_to_everyone_and_the_thread_goes_on(committer, writer):
    writer.error = JournalFull("full")
    answers = Answers()
    committer.submit(entry([0]), [], answers)
    wait_until(lambda: answers.got)
    assert answers.got == [(None, writer.error)]
    assert committer.failed is None
    writer.error = None
    committer.submit(entry([0]), [], answers)
    wait_until(lambda: len(answers.got) == 2)
    assert answers.got[1] == (OffsetRange(0, 1), None)


def test_a_full_disk_for_rejections_keeps_the_events_out_too(committer, rejected, log):
    rejected.error = JournalFull("full")
    answers = Answers()
    committer.submit(entry([0]), [REJECTION], answers)
    wait_until(lambda: answers.got)
    assert answers.got == [(None, rejected.error)]
    assert log == []


def test_a_failed_sync_is_told_to_everyone_from_then_on(committer, writer):
    writer.error = JournalFailed("fsync")
    answers = Answers()
    committer.submit(entry([0]), [], answers)
    wait_until(lambda: answers.got)
    assert committer.failed is writer.error
    committer.submit(entry([0]), [], answers)
    assert answers.got == [(None, writer.error)] * 2
    assert committer.try_now(entry([0]), []) is None


def test_an_unexpected_error_is_told_and_the_thread_goes_on(committer, writer):
    writer.error = ZeroDivisionError("bug")
    answers = Answers()
    committer.submit(entry([0]), [], answers)
    wait_until(lambda: answers.got)
    assert type(answers.got[0][1]) is ZarkovError
    writer.error = None
    committer.submit(entry([0]), [], answers)
    wait_until(lambda: len(answers.got) == 2)


def test_a_callback_that_raises_does_not_stop_the_others(committer):
    def bad(offsets, error):
        raise ZeroDivisionError

    answers = Answers()
    committer.submit(entry([0]), [], bad)
    committer.submit(entry([1]), [], answers)
    wait_until(lambda: answers.got)


def test_an_idle_committer_commits_in_the_callers_thread(committer, log):
    assert committer.try_now(entry([0]), [REJECTION]) == OffsetRange(0, 1)
    assert committer.try_now(None, []) == OffsetRange(-1, 0)
    assert log == [("rejected", 1), ("commit", 1)]


def test_a_busy_committer_does_not_commit_in_the_callers_thread(committer, writer):
    writer.gate.clear()
    answers = Answers()
    committer.submit(entry([0]), [], answers)
    assert writer.entered.wait(20)
    assert committer.try_now(entry([1]), []) is None
    writer.gate.set()
    wait_until(lambda: answers.got)


def test_a_large_request_is_not_committed_in_the_callers_thread(writer, rejected, metrics):
    made = Committer(writer, rejected, settings=small(inline_bytes_max=50), metrics=metrics)
    assert made.try_now(entry([0]), []) is None


def test_slow_commits_move_to_the_thread_and_come_back(writer, rejected, metrics):
    clock = Clock()
    writer.takes = lambda: setattr(clock, "at_s", clock.at_s + 0.01)
    made = Committer(writer, rejected, settings=small(), metrics=metrics, now=clock)
    answers = [made.try_now(entry([number]), []) for number in range(40)]
    assert None not in answers[:15]
    assert answers[15:] == [None] * 25
    clock.at_s += 1.01
    assert made.try_now(entry([40]), []) is not None


def test_errors_of_a_commit_in_the_callers_thread_are_raised_there(writer, rejected, metrics):
    made = Committer(writer, rejected, settings=small(), metrics=metrics)
    writer.error = JournalFull("full")
    with pytest.raises(JournalFull):
        made.try_now(entry([0]), [])
    writer.error = JournalFailed("fsync")
    with pytest.raises(JournalFailed):
        made.try_now(entry([0]), [])
    assert made.failed is writer.error


def test_a_call_runs_between_commits_on_the_thread(committer, writer):
    thread = committer.call(lambda found: (found is writer, threading.current_thread().name))
    assert thread == (True, "zarkov-committer")
    with pytest.raises(ZeroDivisionError):
        committer.call(lambda found: 1 // 0)
    assert committer.call(lambda found: 1, timeout_s=20) == 1


def test_stopping_commits_what_is_queued_and_refuses_what_comes_later(writer, rejected, metrics):
    made = Committer(writer, rejected, settings=small(), metrics=metrics)
    answers = Answers()
    for number in range(5):
        made.submit(entry([number]), [], answers)
    made.start()
    made.stop()
    assert made.join(20)
    assert [offsets.first for offsets, _ in answers.got] == list(range(5))
    made.submit(entry([5]), [], answers)
    assert answers.got[-1][1].code == "shutting_down"
    with pytest.raises(ShuttingDown):
        made.call(lambda found: None)


def test_stopping_without_draining_refuses_what_is_queued(writer, rejected, metrics, log):
    made = Committer(writer, rejected, settings=small(), metrics=metrics)
    answers = Answers()
    made.submit(entry([0]), [], answers)
    made.stop(drain=False)
    made.start()
    assert made.join(20)
    assert answers.got[0][1].code == "shutting_down"
    assert log == []


def test_upkeep_runs_after_commits_and_when_idle(committer, writer):
    answers = Answers()
    committer.submit(entry([0]), [], answers)
    wait_until(lambda: writer.upkeeps[-1:] == [True])
    assert False in writer.upkeeps


def test_metrics_count_what_was_synced(committer, metrics):
    answers = Answers()
    committer.submit(entry(range(3)), [], answers)
    wait_until(lambda: answers.got)
    assert committer.try_now(entry([3]), []) is not None
    found = metrics.snapshot()
    assert (found["commits"], found["events_synced"]) == (2, 4)
    assert found["bytes_synced"] == len(entry(range(4)).data)
    assert found["commit_s"]["count"] == 2


def test_many_threads_get_distinct_offsets_from_a_real_journal(tmp_path, rejected, metrics):
    with JournalWriter.open(tmp_path, small(upkeep_idle_s=0.001)) as writer:
        with Committer(writer, rejected, settings=small(upkeep_idle_s=0.001), metrics=metrics) as made:
            answers = Answers()

            def produce(first):
                for number in range(first, first + 50):
                    offsets = made.try_now(entry([number]), [])
                    if offsets is None:
                        made.submit(entry([number]), [], answers)
                    else:
                        answers(offsets, None)

            threads = [threading.Thread(target=produce, args=(first,)) for first in range(0, 200, 50)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            wait_until(lambda: len(answers.got) == 200)
    assert sorted(offsets.first for offsets, _ in answers.got) == list(range(200))
    found = numbers_in(tmp_path)
    assert sorted(found) == list(range(200))
    for first in range(0, 200, 50):
        assert [n for n in found if first <= n < first + 50] == list(range(first, first + 50))
