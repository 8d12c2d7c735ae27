"""What a task declares of the events that it takes in, and what its functions may answer."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import task
from holdfast.errors import DefinitionError, EventError
from holdfast.events import Event
from holdfast.expressions import Facts
from holdfast.intake import Intake
from holdfast.wire.values import decode_value


def facts(raw: bytes = b'{"id": "A1", "amount": 3}') -> Facts:
    return Facts(Event.of("orders.created", raw, b"", 1_767_355_418.0, 7))


def test_without_filter_and_map_every_event_is_taken_in_as_it_is() -> None:
    intake = Intake()
    assert intake.plain
    assert not intake.asks
    found = intake.payload(facts())
    assert found is not None
    assert decode_value(found) == {"id": "A1", "amount": 3}


@pytest.mark.parametrize(
    ("filter", "map", "expected"),
    [
        ("event.amount > 2", None, {"id": "A1", "amount": 3}),
        ("event.amount > 3", None, None),
        (lambda event: event.data["amount"] > 2, "{'id': event.id}", {"id": "A1"}),
        (
            "event.amount > 2",
            lambda event: {"order": event.data["id"], "raw": event.raw[:4]},
            {"order": "A1", "raw": b'{"id'},
        ),
        (lambda event: False, lambda event: 1 / 0, None),
    ],
)
def test_texts_and_functions_go_together(filter: Any, map: Any, expected: object) -> None:
    found = Intake(filter, map).payload(facts())
    assert (None if found is None else decode_value(found)) == expected


@pytest.mark.parametrize(
    ("filter", "map", "said"),
    [
        (lambda event: 1, None, "expected True or False, found 1"),
        (lambda event: None, None, "expected True or False, found None"),
        (lambda event: event.data["none"], None, "KeyError: 'none'"),
        (None, lambda event: [1], "expected arguments by name, found [1]"),
        (None, lambda event: {1: 2}, "expected arguments by name, found {1: 2}"),
        (None, lambda event: {"a": object()}, "<lambda>: "),
    ],
)
def test_what_a_function_cannot_answer_says_which_and_why(filter: Any, map: Any, said: str) -> None:
    with pytest.raises(EventError) as caught:
        Intake(filter, map).payload(facts())
    assert said in str(caught.value)
    assert "<lambda>" in str(caught.value)


def test_only_functions_need_a_worker() -> None:
    assert not Intake("true", "{'a': 1}").asks
    assert Intake(lambda event: True).asks
    assert Intake("true", lambda event: {}).asks


async def later(event: Event) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"filter": "true"}, "task ship: filter= is about events, and it asks for none: give it on="),
        ({"on": "a", "filter": "event.a =="}, "task ship: filter: expected an expression that can be read (line 1"),
        ({"on": "a", "map": "{'a': zork}"}, "task ship: map: expected an expression of event, subject"),
        ({"on": "a", "filter": 3}, "task ship: filter=3: expected an expression, or a plain function"),
        ({"on": "a", "map": later}, "expected an expression, or a plain function of an Event"),
    ],
)
def test_a_filter_or_map_that_cannot_be_is_refused_at_import(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError) as caught:

        @task(**options)
        async def ship() -> None: ...

    assert said in str(caught.value)
