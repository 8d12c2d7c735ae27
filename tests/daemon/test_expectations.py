"""Waits found by the event that they are for: as one by one would find them, without asking one by one."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from holdfast.core.model import Expected
from holdfast.core.routing import agrees
from holdfast.wire.events import value_of
from holdfast_daemon import expectations as expecting
from holdfast_daemon.expectations import Expectations, Place


def wait(subject: str, match: dict[str, Any] | None = None) -> Expected:
    return Expected("w", subject, msgspec.msgpack.encode(match) if match else b"")


def random_wait(chance: random.Random) -> Expected:
    tokens = [chance.choice(["a", "b", "*"]) for _ in range(chance.randint(1, 3))] + chance.choice([[], [], [">"]])
    fields = chance.sample(["id", "state", "deep.id"], chance.randint(0, 2))
    return wait(".".join(tokens), {name: chance.choice([1, True, "x", None, [1]]) for name in fields})


def random_data(chance: random.Random) -> object:
    value = lambda: chance.choice([1, 1.0, True, "x", None, [1], [True]])  # noqa: E731
    return chance.choice([{}, "text", {"id": value(), "state": value()}, {"id": value(), "deep": {"id": value()}}])


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_asking_one_by_one_finds(seed: int) -> None:
    chance, all_of, table = random.Random(seed), Expectations(), dict[Place, Expected]()
    for number in range(400):
        place = Place(f"r{number}", "w")
        table[place] = random_wait(chance)
        all_of.add(place, table[place])
        if chance.random() < 0.4:
            gone = chance.choice(list(table))
            all_of.remove(gone, table.pop(gone))
        subject = ".".join(chance.choice("ab") for _ in range(chance.randint(1, 4)))
        data = msgspec.json.encode(random_data(chance))
        one_by_one = {at for at, each in table.items() if agrees(each, subject, value_of(data))}
        found = all_of.satisfied(subject, data)
        assert set(found) == one_by_one
        assert len(found) == len(one_by_one)
    assert len(all_of) == len(table)
    for place, each in table.items():
        all_of.remove(place, each)
    assert not all_of
    assert not all_of._root.below, "nothing is left of what was removed"


def test_of_ten_thousand_waits_only_those_are_compared_that_want_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of, compared = Expectations(), list[Expected]()
    for number in range(10_000):
        all_of.add(Place(f"r{number}", "w"), wait("payments.settled", {"order_id": number}))
    monkeypatch.setattr(expecting, "agrees", lambda each, *event: compared.append(each) or agrees(each, *event))
    assert all_of.satisfied("payments.settled", b'{"order_id": 777}') == [Place("r777", "w")]
    assert all_of.satisfied("payments.settled", b'{"order_id": -1}') == []
    assert len(compared) == 1


def test_data_that_nobody_waits_for_are_not_even_read() -> None:
    all_of = Expectations()
    all_of.add(Place("r", "w"), wait("payments.settled"))
    assert all_of.satisfied("payments.failed", b"no json {") == []


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"", None),
        (b"null", None),
        (b'{"a": 1}', {"a": 1}),
        (b"[1]", [1]),
        (b"no json {", "no json {"),
        (b"\xff", b"\xff"),
    ],
)
def test_an_event_is_json_or_else_text(data: bytes, value: object) -> None:
    assert value_of(data) == value
