"""ZarkovHandler over real sockets: every record arrives, and nothing it meets gets into the program's way."""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
import queue
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acking import AckServer
from programs import script
from running import RunningServer, free_port
from serving import Serving
from waiting import wait_until
from zarkov.client import QueueFull
from zarkov.client.logging import ZarkovHandler
from zarkov.errors import ConfigError, KeyInvalid
from zarkov.journal.reader import Journal


@pytest.fixture
def server() -> Iterator[AckServer]:
    with AckServer() as serving:
        yield serving


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of the test alone; what is added to it is closed."""
    found = logging.getLogger("app.test")
    found.setLevel(logging.DEBUG)
    found.propagate = False
    yield found
    for handler in list(found.handlers):
        found.removeHandler(handler)
        handler.close()


def nowhere() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def small_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers whose client holds little, so that the handler's own queue fills."""
    monkeypatch.setattr("zarkov.client.log_sender.CLIENT_EVENTS_MAX", 10)
    monkeypatch.setattr("zarkov.client.log_sender.LOOK_UP_S", 0.05)


def record(message: str, *args: Any, **extra: Any) -> logging.LogRecord:
    """For a test whose records only the handler can bear, and not pytest's own."""
    return logging.getLogger("app.test").makeRecord(
        "app.test", logging.INFO, "app.py", 1, message, args, None, None, extra
    )


def messages(server: AckServer) -> list[str]:
    return [document["extra"]["message"] for document in server.documents()]


def test_a_record_is_an_event(server: AckServer, logger: logging.Logger) -> None:
    handler = ZarkovHandler(server.address, type="shop.log", host="web1")
    logger.addHandler(handler)
    logger.warning("user %s logged in", "ada", extra={"user": "ada"})
    handler.flush()
    (event,) = server.documents()
    assert event["type"] == "shop.log"
    assert event["extra"]["message"] == "user ada logged in"
    assert event["extra"]["function"] == "test_a_record_is_an_event"
    assert {"logger": "app.test", "level": "WARNING", "host": "web1", "user": "ada"}.items() <= event[
        "context"
    ].items()
    assert (handler.dropped, handler.pending) == (0, 0)


def test_records_leave_by_themselves(server: AckServer, logger: logging.Logger) -> None:
    logger.addHandler(ZarkovHandler(server.address))
    for number in range(3):
        logger.info("record %d", number)
        wait_until(lambda: len(server.stored) == number + 1)  # noqa: B023


def test_fifty_threads_lose_nothing(tmp_path: Path, logger: logging.Logger) -> None:
    server = RunningServer(tmp_path)
    with server:
        handler = ZarkovHandler(server.ack, timeout_s=60)
        logger.addHandler(handler)

        def work(thread: int) -> None:
            for number in range(400):
                logger.info("record", extra={"place": [thread, number]})

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        handler.flush()
        assert (handler.pending, handler.dropped) == (0, 0)
    with Journal.open(server.data_dir / "journal") as journal:
        places = [document["context"]["place"] for _, document in journal.read(0)]
    assert sorted(places) == [[thread, number] for thread in range(50) for number in range(400)]
    for thread in range(50):
        assert [number for who, number in places if who == thread] == list(range(400))


def test_a_real_server_killed_in_mid_flight_gets_every_record_once(tmp_path: Path, logger: logging.Logger) -> None:
    server = RunningServer(tmp_path).start()
    handler = ZarkovHandler(server.ack, timeout_s=30)
    logger.addHandler(handler)
    sent = 0
    try:
        for _ in range(2):
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                logger.info("record", extra={"number": sent})
                sent += 1
            server.kill_group()
            logger.info("record", extra={"number": sent})
            sent += 1
            server.start()
        handler.flush()
        assert handler.dropped == 0
        assert server.stop() == 0
    finally:
        server.put_down()
    with Journal.open(server.data_dir / "journal") as journal:
        assert sorted(document["context"]["number"] for _, document in journal.read(0)) == list(range(sent))


# A full queue.


def test_a_full_queue_drops_counts_and_tells_of_it_in_the_log_and_in_an_event(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, small_client: None
) -> None:
    server = AckServer()
    server.address = nowhere()
    handler = ZarkovHandler(server.address, queue_events_max=20, timeout_s=30)
    logger.addHandler(handler)
    for number in range(500):
        logger.info("record", extra={"number": number})
    wait_until(lambda: "log records dropped count=" in caplog.text)
    with server:
        wait_until(lambda: handler.pending == 0)
        logger.info("after", extra={"number": 500})
        handler.close()
    events = server.documents()
    numbers = [event["context"]["number"] for event in events if event["extra"]["message"] in ("record", "after")]
    told = sum(event["context"].get("dropped", 0) for event in events)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 500
    assert len(numbers) + handler.dropped == 501
    assert told == handler.dropped


def test_a_full_queue_raises_or_waits_as_told(server: AckServer, small_client: None) -> None:
    raising = ZarkovHandler(nowhere(), on_full="raise", queue_events_max=20, timeout_s=0)

    def fill() -> None:
        for number in range(500):
            raising.handle(record("record %d", number))

    with pytest.raises(QueueFull):
        fill()
    raising.close()

    waiting = ZarkovHandler(server.address, on_full="block", queue_events_max=5, timeout_s=30)
    for number in range(200):
        waiting.handle(record("record %d", number))
    waiting.close()
    assert messages(server) == [f"record {number}" for number in range(200)]
    assert waiting.dropped == 0

    giving_up = ZarkovHandler(nowhere(), on_full="block", queue_events_max=5, timeout_s=0.01)
    for number in range(100):
        giving_up.handle(record("record %d", number))
    assert giving_up.dropped > 0
    giving_up.close()


def test_a_server_that_is_away_holds_up_neither_the_program_nor_its_end_for_long(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    handler = ZarkovHandler(nowhere(), timeout_s=0.05)
    logger.addHandler(handler)
    logger.info("record")
    handler.flush()
    assert "log records not acknowledged" in caplog.text
    handler.close()
    assert "log records given up" in caplog.text
    assert (handler.dropped, handler.pending) == (1, 0)
    logger.info("too late")
    handler.flush()
    handler.close()
    assert (handler.dropped, handler.pending) == (2, 0)


def test_all_that_is_given_up_at_the_end_is_counted_wherever_it_waited(small_client: None) -> None:
    handler = ZarkovHandler(nowhere(), timeout_s=0.05)
    for number in range(3000):
        handler.handle(record("record %d", number))
    handler.close()
    assert 3000 <= handler.dropped <= 3002  # with the events that were to tell of the drops
    assert handler.pending == 0


def test_a_queue_that_is_cleared_while_the_thread_empties_it_ends_no_thread(small_client: None) -> None:
    """`close` clears the queue between the thread's look at it and its taking."""
    handler = ZarkovHandler(nowhere(), timeout_s=0)
    sender: Any = handler._sender
    gather = sender._gather

    def gather_and_be_closed(me: threading.Thread) -> bool:
        found = bool(gather(me))
        if found:
            sender._queue.clear()
        return found

    sender._gather = gather_and_be_closed
    handler.handle(record("cleared"))
    wait_until(lambda: not sender._queue)
    handler.close()


def test_a_fault_of_the_system_while_sending_does_not_end_the_thread(
    server: AckServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = ZarkovHandler(server.address)
    client = handler._sender._client
    with monkeypatch.context() as patched:
        patched.setattr(client, "send_encoded", _out_of_files)
        handler.handle(record("lost"))
        wait_until(lambda: handler.dropped == 1)
    assert "Too many open files" in caplog.text
    handler.handle(record("sent"))
    handler.close()
    assert (messages(server)[0], handler.dropped) == ("sent", 1)


def _out_of_files(events: list[bytes]) -> None:
    raise OSError(24, "Too many open files")


def test_records_are_sent_although_no_thread_can_be_started(
    server: AckServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from Python 3.12 on, once the interpreter has begun to end."""
    for end in ("flush", "close"):
        handler = ZarkovHandler(server.address)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _no_more_threads)
            for number in range(2500):
                handler.handle(record("%s %d", end, number))
            getattr(handler, end)()
        assert (handler.dropped, handler.pending) == (0, 0)
        handler.close()
    assert messages(server) == [f"{end} {number}" for end in ("flush", "close") for number in range(2500)]


def _no_more_threads(thread: threading.Thread) -> None:
    raise RuntimeError("can't create new thread at interpreter shutdown")


# What must not come back in, or out.


def test_records_of_zarkov_itself_are_not_sent(server: AckServer, logger: logging.Logger) -> None:
    handler = ZarkovHandler(server.address)
    logger.addHandler(handler)
    for name in ("zarkov", "zarkov.client.reporter"):
        handler.handle(logging.LogRecord(name, logging.ERROR, "x.py", 1, "own", None, None))
    handler.handle(logging.LogRecord("zarkovian", logging.ERROR, "x.py", 1, "not own", None, None))
    handler.flush()
    assert messages(server) == ["not own"]


def test_records_of_zarkov_itself_go_to_standard_error_where_no_other_handler_gets_them(
    server: AckServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("propagate", False), ("handlers", [])):
        monkeypatch.setattr(logging.getLogger("zarkov"), name, value)
    logger = logging.getLogger("zarkov.client.log_sender")
    others: list[str] = []
    other = logging.Handler()
    monkeypatch.setattr(other, "emit", lambda record: others.append(record.getMessage()))
    handlers = [ZarkovHandler(server.address), ZarkovHandler(server.address), other]
    for count, wanted in ((1, "lost\n"), (2, "lost\n"), (3, "")):
        for handler in handlers[:count]:
            logger.addHandler(handler)
        try:
            logger.debug("nothing")
            logger.warning("lost")
        finally:
            for handler in handlers[:count]:
                logger.removeHandler(handler)
        assert capsys.readouterr().err == wanted
    assert others == ["lost"]
    for handler in handlers:
        handler.close()
    assert server.stored == []


def test_a_refused_record_does_not_make_another(server: AckServer) -> None:
    root = logging.getLogger()
    handler = ZarkovHandler(server.address, type="bad")
    root.addHandler(handler)
    try:
        logging.getLogger("app").warning("refused by the server")
        handler.flush()
        handler.flush()
        assert server.batches
        assert sum(len(seen.data) > 0 for seen in server.batches) == 1
    finally:
        root.removeHandler(handler)
        handler.close()


class Talkative:
    """A value that logs while it is made into text, through the handler that asked for it."""

    def __init__(self, handler: logging.Handler) -> None:
        self.handler = handler

    def __repr__(self) -> str:
        self.handler.handle(record("from within %r", self))
        return "talkative"


def test_a_value_that_logs_while_it_is_logged_does_not_recurse(server: AckServer) -> None:
    handler = ZarkovHandler(server.address)
    value = Talkative(handler)
    handler.handle(record("value %r", value, field=value))
    handler.close()
    assert messages(server) == ["value talkative"]
    assert server.documents()[0]["context"]["field"] == "talkative"


def test_records_of_the_sending_thread_are_not_sent(server: AckServer, logger: logging.Logger) -> None:
    handler = ZarkovHandler(server.address)
    logger.addHandler(handler)
    sender: Any = handler._sender
    hand_over = sender._hand_over

    def hand_over_talking(piece: list[bytes]) -> int:
        logger.info("from the sending thread")
        return int(hand_over(piece))

    sender._hand_over = hand_over_talking
    logger.info("record")
    handler.flush()
    logger.info("record")
    handler.flush()
    assert messages(server) == ["record", "record"]


def test_a_fault_in_the_call_is_told_as_logging_tells_it_and_never_raised(
    server: AckServer, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = ZarkovHandler(server.address)
    handler.handle(record("%d", "no number"))
    assert "--- Logging error ---" in capsys.readouterr().err
    handler.handle(record("good", value=object(), huge=2**100))
    handler.close()
    assert messages(server) == ["good"]


def test_filters_and_levels_apply(server: AckServer, logger: logging.Logger) -> None:
    handler = ZarkovHandler(server.address, "WARNING")
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    logger.addHandler(handler)
    logger.info("too low")
    logger.warning("a secret")
    logger.warning("seen")
    handler.flush()
    assert messages(server) == ["seen"]


# Configuration.


def test_it_is_configured_with_plain_values(server: AckServer) -> None:
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "%(levelname)s %(message)s"}},
        "handlers": {
            "zarkov": {
                "class": "zarkov.client.logging.ZarkovHandler",
                "level": "INFO",
                "formatter": "short",
                "address": server.address,
                "type": "configured",
                "queue_events_max": 1000,
            }
        },
        "loggers": {"app.configured": {"handlers": ["zarkov"], "level": "DEBUG", "propagate": False}},
    }
    logging.config.dictConfig(config)
    logger = logging.getLogger("app.configured")
    logger.info("hello")
    handler = logger.handlers[0]
    assert isinstance(handler, ZarkovHandler)
    handler.flush()
    logger.removeHandler(handler)
    handler.close()
    assert [(event["type"], event["extra"]["message"]) for event in server.documents()] == [
        ("configured", "INFO hello")
    ]


def test_it_works_behind_a_queue_handler(server: AckServer, logger: logging.Logger) -> None:
    handler = ZarkovHandler(server.address)
    waiting: queue.Queue[logging.LogRecord] = queue.Queue()
    logger.addHandler(logging.handlers.QueueHandler(waiting))
    listener = logging.handlers.QueueListener(waiting, handler)
    listener.start()
    logger.info("record %d", 1, extra={"user": "ada"})
    listener.stop()
    handler.close()
    (event,) = server.documents()
    assert (event["extra"]["message"], event["context"]["user"]) == ("record 1", "ada")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"address": "nonsense"}, ConfigError),
        ({"on_full": "wait"}, ConfigError),
        ({"type": ""}, ConfigError),
        ({"client_key_file": "app.key_secret"}, ConfigError),
        ({"client_key_file": "missing.key_secret", "server_public_key": "missing.key"}, KeyInvalid),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ZarkovHandler(**{"address": nowhere(), **options})


def test_over_push_nothing_is_acknowledged_and_records_arrive(tmp_path: Path, logger: logging.Logger) -> None:
    with Serving(tmp_path) as serving:
        handler = ZarkovHandler(serving.server.endpoints["bson_bind_address"], ack=False)
        logger.addHandler(handler)
        logger.info("pushed")
        handler.close()
        (event,) = serving.wait_for_events(1)
    assert event["extra"]["message"] == "pushed"


# Whole programs.


def test_a_script_that_ends_loses_nothing_not_even_what_exit_hooks_log(server: AckServer) -> None:
    text = """
import atexit, logging, sys
atexit.register(lambda: logging.getLogger("app").info("from the last exit hook"))
from zarkov.client.logging import ZarkovHandler
logging.basicConfig(level=logging.INFO, handlers=[ZarkovHandler(sys.argv[1])])
for number in range(3000):
    logging.info("record %d", number)
"""
    done = script(text, server.address)
    assert (done.returncode, done.stderr) == (0, "")
    assert messages(server) == [*(f"record {number}" for number in range(3000)), "from the last exit hook"]


def test_a_script_ends_although_the_server_is_away_and_tells_what_is_lost() -> None:
    text = """
import logging, sys
from zarkov.client.logging import ZarkovHandler
logging.basicConfig(level=logging.INFO, handlers=[ZarkovHandler(sys.argv[1], timeout_s=0.2)])
for number in range(30_000):
    logging.info("record %d", number)
"""
    done = script(text, nowhere())
    assert done.returncode == 0
    told = [int(count) for count in re.findall(r"(?:dropped count|given up count)=(\d+)", done.stderr)]
    assert sum(told) >= 30_000, done.stderr
    assert "Traceback" not in done.stderr


def test_in_a_program_with_gevents_patches_no_greenlet_waits_for_the_network(server: AckServer) -> None:
    text = """
from gevent import monkey
monkey.patch_all()
import gevent, logging, sys
from zarkov.client.logging import ZarkovHandler
handler = ZarkovHandler(sys.argv[1], timeout_s=30)
logging.basicConfig(level=logging.INFO, handlers=[handler])
def work(name):
    for number in range(100):
        logging.info("%d %d", name, number)
        gevent.sleep(0)
gevent.joinall([gevent.spawn(work, name) for name in range(10)])
handler.flush()
assert (handler.pending, handler.dropped) == (0, 0)
away = ZarkovHandler(sys.argv[2], timeout_s=0.5)
away.handle(logging.makeLogRecord({"name": "app", "msg": "kept"}))
turns = 0
def count():
    global turns
    while True:
        turns += 1
        gevent.sleep(0.01)
gevent.spawn(count)
away.flush()
assert turns > 2, turns
logging.getLogger("zarkov").setLevel("CRITICAL")
away.close()
"""
    done = script(text, server.address, nowhere())
    assert done.returncode == 0, done.stderr
    assert sorted(messages(server)) == sorted(f"{name} {number}" for name in range(10) for number in range(100))


def test_with_a_spool_what_was_logged_without_a_server_is_sent_by_the_next_run(
    server: AckServer, tmp_path: Path
) -> None:
    text = """
import logging, sys
from zarkov.client.logging import ZarkovHandler
logging.basicConfig(level=logging.INFO, handlers=[ZarkovHandler(sys.argv[1], spool=sys.argv[2], timeout_s=10)])
for number in range(500):
    logging.info("%s %d", sys.argv[3], number)
"""
    spool = str(tmp_path / "log.spool")
    for run, address in (("first", nowhere()), ("second", server.address)):
        done = script(text, address, spool, run)
        assert done.returncode == 0, done.stderr
    assert messages(server) == [f"{run} {number}" for run in ("first", "second") for number in range(500)]


def test_a_handler_that_was_forgotten_sends_what_it_took(server: AckServer) -> None:
    logger = logging.getLogger("app.forgotten")
    logger.propagate = False
    logger.addHandler(ZarkovHandler(server.address))
    logger.warning("record")
    logger.handlers.clear()
    wait_until(lambda: messages(server) == ["record"])
    wait_until(lambda: not any(thread.name.startswith("zarkov") for thread in threading.enumerate()))


FORK = """
import logging, os, sys, threading
from zarkov.client.logging import ZarkovHandler
handler = ZarkovHandler(sys.argv[1], timeout_s=30)
logging.basicConfig(level=logging.INFO, handlers=[handler])
def work(name):
    for number in range(300):
        logging.info("%s", name, extra={"number": number})
{before}
children = []
busy = threading.Thread(target=work, args=("parent",))
{busy}
for each in range(4):
    child = os.fork()
    if child == 0:
        work("child%d" % each)
        sys.exit(0)
    children.append(child)
{join}
for child in children:
    assert os.waitpid(child, 0)[1] == 0
"""


def with_parts(**parts: str) -> str:
    text = FORK
    for name, part in parts.items():
        text = text.replace("{" + name + "}", part)
    return text


@pytest.mark.parametrize("loaded", ["before the first record", "while others log"])
def test_forked_workers_log_on_and_send_nothing_twice(server: AckServer, loaded: str) -> None:
    if loaded == "before the first record":
        text = with_parts(before="", busy="", join="work('parent')")
    else:
        before = "logging.info('first', extra={'number': 0})"
        text = with_parts(before=before, busy="busy.start()", join="busy.join()")
    done = script(text, server.address, forks=True)
    assert (done.returncode, done.stderr) == (0, "")
    found = sorted((event["extra"]["message"], event["context"]["number"]) for event in server.documents())
    wanted = [(f"child{each}", number) for each in range(4) for number in range(300)]
    wanted += [("parent", number) for number in range(300)]
    if loaded != "before the first record":
        wanted.append(("first", 0))
    assert found == sorted(wanted)
    processes = {event["extra"]["message"]: event["context"]["process"] for event in server.documents()}
    assert len({processes[f"child{each}"] for each in range(4)} | {processes["parent"]}) == 5
