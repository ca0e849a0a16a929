"""Every client against a server with keys: let in, told why not, and let in later without being started again."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
import structlog

from commands import Ran, run
from keyrings import Keyring, new_pair
from serving import Serving
from waiting import wait_until
from zarkov.client import AsyncZarkovClient, Keys, NotAcknowledged, QueueFull
from zarkov.client.logging import ZarkovHandler
from zarkov.client.structlog import ZarkovProcessor

SHORT_S = 0.3


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path)


@pytest.fixture
def server(ring: Keyring, tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path / "data", keys=ring.server) as serving:
        yield serving


def ack(server: Serving) -> str:
    return server.server.endpoints["ack_bind_address"]


def push(server: Serving) -> str:
    return server.server.endpoints["bson_bind_address"]


async def until_refused(server: Serving, more_than: int = 0) -> None:
    await asyncio.to_thread(server.wait_for_metric, "handshakes_refused", lambda count: count > more_than)


async def flush_until_told(client: AsyncZarkovClient, told: str) -> None:
    """Flush in vain until the error has this in it: at first it may not be known why there is no connection."""
    sentence = ""
    while told not in sentence:
        with pytest.raises(NotAcknowledged) as failure:
            await client.flush(SHORT_S)
        sentence = str(failure.value)


# asyncio.


def test_an_asyncio_client_with_a_listed_key_gets_in_over_both_channels(ring: Keyring, server: Serving) -> None:
    keys = ring.client("app")

    async def main() -> None:
        async with AsyncZarkovClient(ack(server), keys=keys) as client:
            for number in range(1000):
                await client.event("nop", {}, number)
            await client.flush()
            assert client.acknowledged == 1000
        async with AsyncZarkovClient(push(server), ack=False, keys=keys) as client:
            await client.event("nop", {}, 1000)

    asyncio.run(main())
    assert [event["extra"] for event in server.wait_for_events(1001)] == list(range(1001))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("no key", "asks for keys"),
        ("a key that is not listed", "does not let this key in"),
        ("the key of another server", "may have another key"),
    ],
)
def test_an_asyncio_client_is_told_why_it_is_not_let_in(
    ring: Keyring, server: Serving, wrong: str, told: str
) -> None:
    stranger = ring.client("stranger", admitted=wrong == "the key of another server")
    keys = {
        "no key": None,
        "a key that is not listed": stranger,
        "the key of another server": Keys(stranger.secret, stranger.public, new_pair().public),
    }[wrong]

    async def main() -> None:
        client = AsyncZarkovClient(ack(server), keys=keys, queue_events_max=1, timeout_s=SHORT_S)
        await client.event("nop")
        await flush_until_told(client, told)
        with pytest.raises(QueueFull, match=told):
            await client.event("one too many")
        with pytest.raises(NotAcknowledged, match=told):
            await client.close(0)

    asyncio.run(asyncio.wait_for(main(), 30))
    assert server.events() == []


def test_an_asyncio_client_outlives_its_key_being_revoked_and_listed_again(ring: Keyring, server: Serving) -> None:
    keys = ring.client("app")

    async def main() -> None:
        async with AsyncZarkovClient(ack(server), keys=keys) as client:
            await client.event("before")
            await client.flush()
            ring.revoke("app")
            await until_refused(server)
            await client.event("revoked")
            await flush_until_told(client, "does not let this key in")
            ring.admit("app", keys)
            await client.flush()

    asyncio.run(main())
    assert [event["type"] for event in server.wait_for_events(2)] == ["before", "revoked"]


def test_over_push_an_asyncio_client_waits_until_its_key_is_listed(ring: Keyring, server: Serving) -> None:
    keys = ring.client("late", admitted=False)

    async def main() -> None:
        async with AsyncZarkovClient(push(server), ack=False, keys=keys, queue_events_max=1) as client:
            await until_refused(server)
            waiting = asyncio.create_task(client.send_encoded([bson.encode({"type": "nop"})] * 5000))
            await until_refused(server, 1)
            ring.admit("late", keys)
            await waiting

    asyncio.run(main())
    # What ZeroMQ had queued when it gave the address up is gone with it: a few events.
    wait_until(lambda: len(server.events()) > 1000)


def test_over_push_an_asyncio_client_that_is_not_let_in_says_so(
    ring: Keyring, server: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ring.client("stranger", admitted=False)

    async def main() -> None:
        client = AsyncZarkovClient(push(server), ack=False, keys=keys, on_full="raise")
        with pytest.raises(QueueFull, match="does not let this key in"):
            await send_without_end(client)
        await client.close()

    asyncio.run(asyncio.wait_for(main(), 30))
    assert "events may be lost" in caplog.text
    assert server.events() == []


async def send_without_end(client: AsyncZarkovClient) -> None:
    """Until ZeroMQ has been told that the key is not let in, it queues what it is given."""
    while True:
        await client.event("nop")
        await asyncio.sleep(0.001)


# logging and structlog.


def files(ring: Keyring, name: str) -> dict[str, Any]:
    """The arguments that name this client's key files."""
    return {
        "client_key_file": str(ring.folder / f"{name}.key_secret"),
        "server_public_key": str(ring.public_file),
    }


def record(message: str) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "app", "msg": message, "levelname": "INFO"})


@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_handler_with_a_listed_key_gets_in(ring: Keyring, server: Serving, acknowledged: bool) -> None:
    ring.client("app")
    handler = ZarkovHandler(
        ack(server) if acknowledged else push(server), ack=acknowledged, timeout_s=20, **files(ring, "app")
    )
    for number in range(500):
        handler.handle(record(f"record {number}"))
    handler.close()
    assert handler.dropped == 0
    messages = [event["extra"]["message"] for event in server.wait_for_events(500)]
    assert messages == [f"record {number}" for number in range(500)]


def test_a_handler_whose_key_is_not_listed_goes_on_says_why_and_sends_when_it_is(
    ring: Keyring, server: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ring.client("late", admitted=False)
    handler = ZarkovHandler(ack(server), timeout_s=SHORT_S, **files(ring, "late"))
    handler.handle(record("early"))
    server.wait_for_metric("handshakes_refused", lambda count: count > 0)
    wait_until(lambda: _flush(handler) or "does not let this key in" in caplog.text)
    assert server.events() == []
    ring.admit("late", keys)
    server.wait_for_events(1)
    ring.revoke("late")
    server.wait_for_metric("connections_cut", lambda count: count > 0)
    handler.handle(record("revoked"))
    handler.close()
    assert handler.dropped == 1
    assert len(server.events()) == 1
    assert keys.secret.decode() not in caplog.text


def _flush(handler: ZarkovHandler) -> bool:
    handler.flush()
    return False


def test_a_handler_without_keys_is_told_that_the_server_asks_for_them(
    ring: Keyring, server: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    handler = ZarkovHandler(ack(server), timeout_s=SHORT_S)
    handler.handle(record("plain"))
    wait_until(lambda: _flush(handler) or "the server asks for keys" in caplog.text)
    handler.close()
    assert handler.dropped == 1
    assert server.events() == []


def test_a_structlog_processor_uses_the_keys_too(ring: Keyring, server: Serving) -> None:
    ring.client("app")
    processor = ZarkovProcessor(ack(server), **files(ring, "app"))
    structlog.wrap_logger(structlog.ReturnLogger(), processors=[processor]).info("seen")
    assert processor.flush()
    processor.close()
    assert server.wait_for_events(1)[0]["extra"] == {"message": "seen"}


# zcmd send.


def send(server: Serving, folder: Path, *arguments: object, **curve: object) -> Ran:
    settings = folder / "client.yaml"
    values = {name: str(value) for name, value in curve.items()}
    settings.write_text(json.dumps({"ack_uri": ack(server), "curve": values} if curve else {"ack_uri": ack(server)}))
    return run("-y", settings, "send", *arguments)


def test_zcmd_send_takes_its_keys_from_the_settings(ring: Keyring, server: Serving, tmp_path: Path) -> None:
    ring.client("app")
    assert send(server, tmp_path, "nop", "a=1", **files(ring, "app")) == Ran(0, "0\n", "")
    as_text = files(ring, "app") | {"server_public_key": ring.server_pair.public.decode()}
    assert send(server, tmp_path, "nop", **as_text) == Ran(0, "1\n", "")
    assert server.events()[0]["context"] == {"a": 1}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("no key", "asks for keys"),
        ("not listed", "does not let this key in"),
        ("revoked", "does not let this key in"),
    ],
)
def test_zcmd_send_says_why_it_is_not_let_in(
    ring: Keyring, server: Serving, tmp_path: Path, wrong: str, told: str
) -> None:
    ring.client("app", admitted=wrong != "not listed")
    if wrong == "revoked":
        ring.revoke("app")
    curve = {} if wrong == "no key" else files(ring, "app")
    ran = send(server, tmp_path, "nop", "--timeout", "6", **curve)
    assert (ran.code, ran.out) == (1, "")
    assert told in ran.err
    assert "nothing was sent" in ran.err
    assert "Compare the keys" in ran.err
    assert server.events() == []


def test_zcmd_send_refuses_a_key_file_that_others_can_read(ring: Keyring, server: Serving, tmp_path: Path) -> None:
    ring.client("app")
    (ring.folder / "app.key_secret").chmod(0o640)
    ran = send(server, tmp_path, "nop", **files(ring, "app"))
    assert (ran.code, ran.out) == (2, "")
    assert "chmod 600" in ran.err
