"""Whose turn it is among several servers, and how their addresses are written."""

from __future__ import annotations

import bson
import pytest

from zarkov.client.failover import NEVER, Failover, addresses_of
from zarkov.client.ids import identified
from zarkov.errors import ConfigError
from zarkov.event import EVENT_BYTES_MAX


def turns(count: int = 3) -> Failover:
    return Failover(tuple("abc"[:count]), 5.0)


def test_a_server_that_greets_too_late_loses_its_turn_and_the_list_goes_round() -> None:
    who = turns()
    assert who.address == "a"
    assert not who.look(0.0, owes=True, answers=0)
    assert who.due_at == 5.0
    assert not who.look(4.9, owes=True, answers=0)
    found = []
    for now in (5.0, 10.0, 15.0):
        assert who.look(now, owes=True, answers=0)
        assert not who.look(now, owes=True, answers=0)
        found.append(who.address)
    assert found == ["b", "c", "a"]


def test_any_answer_begins_the_wait_anew() -> None:
    who = turns()
    for now in range(0, 100, 4):
        assert not who.look(float(now), owes=True, answers=now)
    assert who.look(101.0, owes=True, answers=96)


def test_a_server_that_owes_nothing_keeps_its_turn_and_is_given_time_when_it_does_again() -> None:
    who = turns()
    assert not who.look(0.0, owes=False, answers=1)
    assert who.due_at == NEVER
    assert not who.look(1000.0, owes=True, answers=1)
    assert who.due_at == 1005.0
    assert who.look(1005.0, owes=True, answers=1)


def test_a_single_server_keeps_its_turn() -> None:
    who = turns(1)
    assert not who.look(0.0, owes=True, answers=0)
    assert not who.look(1e9, owes=True, answers=0)
    assert who.due_at == NEVER


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("tcp://a:1", ("tcp://a:1",)),
        ("tcp://a:1,tcp://b:2", ("tcp://a:1", "tcp://b:2")),
        (" tcp://a:1 , ipc:///x,y ", ("tcp://a:1", "ipc:///x,y")),
        (["tcp://a:1", "ipc:///x,y"], ("tcp://a:1", "ipc:///x,y")),
    ],
)
def test_addresses_are_a_list_or_stand_between_commas(given: str | list[str], found: tuple[str, ...]) -> None:
    assert addresses_of(given) == found


@pytest.mark.parametrize("given", ["", [], ["tcp://a:1", ""], "tcp://a:1,tcp://a:1"])
def test_addresses_that_are_none_are_refused(given: str | list[str]) -> None:
    with pytest.raises(ConfigError):
        addresses_of(given)


def test_an_event_without_an_id_gets_one_in_front_and_keeps_the_rest() -> None:
    event = {"type": "x", "context": {"user_id": 1, "_id": 2}}
    first, second = (bson.decode(identified(bson.encode(event))) for _ in range(2))
    assert next(iter(first)) == "_id"
    assert first.pop("_id") != second.pop("_id")
    assert first == second == event


@pytest.mark.parametrize(
    "event",
    [
        bson.encode({"_id": bson.ObjectId("4e2723eeb240217416000001"), "type": "x"}),
        bson.encode({"type": "x", "_id": 5}),
        bson.encode({"type": "x", "_id": bson.ObjectId("4e2723eeb240217416000001")})[:-1] + b"\x01",
        bson.encode({"type": "x", "extra": bytes(EVENT_BYTES_MAX - 40)}),
    ],
)
def test_an_event_with_an_id_or_without_room_for_one_stays_as_it_is(event: bytes) -> None:
    assert identified(event) == event
