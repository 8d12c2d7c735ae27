"""What `@step` accepts, and what it refuses where it is written rather than where it is too late."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast import Retry, Timeouts, step
from holdfast.errors import DefinitionError
from holdfast.step import STEPS, Done, NotDone, Step, call_named


async def takes_order(order: str) -> None: ...


async def takes_order_and_result(order: str, result: Any) -> None: ...


async def takes_everything(**told: Any) -> None: ...


async def takes_amount(order: str, amount: int) -> None: ...


async def positional_only(order: str, /) -> None: ...


async def with_defaults(order: str, amount: int = 0, *, note: str = "") -> None: ...


def not_async(order: str) -> None: ...


async def charge(order: str) -> str:
    return f"charged {order}"


async def test_a_bare_step_is_the_plain_function_outside_a_run() -> None:
    made = step(charge)
    assert isinstance(made, Step)
    assert await made("A1") == "charged A1"
    assert (made.name, made.__doc__, made.policy.retry.max_attempts) == ("charge", charge.__doc__, 1)


async def test_a_step_keeps_its_defaults_and_signature() -> None:
    @step(retry=Retry(max_attempts=4), name="pays")
    async def pay(order: str, *, express: bool = True) -> tuple[str, bool]:
        return order, express

    assert await pay("A1") == ("A1", True)
    assert (pay.name, pay.__name__) == ("pays", "pay")
    assert pay.named(("A1",), {}) == {"order": "A1", "express": True}
    with pytest.raises(TypeError):
        pay.named((), {})


@pytest.mark.parametrize("undo", [takes_order, takes_order_and_result, takes_everything, with_defaults])
def test_an_undo_that_can_be_called_with_the_steps_arguments_is_taken(undo: Any) -> None:
    made = step(undo=undo)(charge)
    assert STEPS[made.ref] is made
    assert made.ref == f"{__name__}:charge"


@pytest.mark.parametrize(
    ("undo", "why"),
    [
        (takes_amount, "undo takes_amount asks for 'amount', but it is called by name with: order, result"),
        (positional_only, "undo positional_only asks for 'order'"),
        (not_async, "undo=.*not_async.*: expected an async function"),
        ("refund", "undo='refund': expected an async function"),
    ],
)
def test_an_undo_that_cannot_take_the_steps_arguments_is_refused(undo: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=f"@step charge: {why}"):
        step(undo=undo)(charge)


def test_a_step_may_be_an_undo_and_is_checked_the_same() -> None:
    assert step(undo=step(takes_order))(charge).policy.undo is not None
    with pytest.raises(DefinitionError, match="asks for 'amount'"):
        step(undo=step(takes_amount))(charge)


def test_a_step_inside_a_function_can_have_no_undo_because_no_other_process_finds_it() -> None:
    async def local(order: str) -> None: ...

    with pytest.raises(DefinitionError, match="@step local: undo= needs a step of a module"):
        step(undo=takes_order)(local)


def test_an_undo_does_not_get_the_instance_of_a_method() -> None:
    async def refund(self: Any, order: str) -> None: ...

    with pytest.raises(DefinitionError, match="undo refund asks for 'self', but it is called by name with: order"):
        step(undo=refund)(Shop.charge)


class Shop:
    async def charge(self, order: str) -> str:
        return order


async def test_a_method_is_a_step_of_its_instance() -> None:
    class Till:
        def __init__(self, name: str) -> None:
            self.name = name

        @step
        async def charge(self, order: str) -> str:
            return f"{self.name} {order}"

    assert await Till("corner").charge("A1") == "corner A1"
    assert Till("corner").charge.named(("A1",), {}) == {"order": "A1"}
    assert isinstance(Till.charge, Step)


def test_at_most_once_excludes_a_retry_that_nobody_verifies() -> None:
    async def verify(order: str) -> Done | NotDone:
        return NotDone()

    with pytest.raises(DefinitionError, match="at_most_once=True excludes a retry of its own unless verify="):
        step(at_most_once=True, retry=Retry())(charge)
    assert step(at_most_once=True, retry=Retry(), verify=verify)(charge).policy.verify is verify
    assert step(at_most_once=True)(charge).policy.at_most_once


def test_verify_is_for_at_most_once_and_takes_the_steps_arguments() -> None:
    with pytest.raises(DefinitionError, match="verify is asked for at_most_once=True only"):
        step(verify=takes_order)(charge)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="verify takes_order_and_result asks for 'result'"):
        step(at_most_once=True, verify=takes_order_and_result)(charge)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="expected an async function"):
        step(at_most_once=True, verify=not_async)(charge)  # type: ignore[arg-type]


@pytest.mark.parametrize("fn", [not_async, 7, Shop, lambda: None])
def test_only_async_functions_are_steps(fn: Any) -> None:
    with pytest.raises(DefinitionError, match="expected an async function"):
        step(fn)


@pytest.mark.parametrize("label", ["a/b", "a#1", ""])
def test_names_and_keys_without_the_characters_of_structure(label: str) -> None:
    with pytest.raises(DefinitionError, match="expected a text without '/' and '#'"):
        step(key=label)(charge)
    if label:
        with pytest.raises(DefinitionError, match="expected a text without '/' and '#'"):
            step(name=label)(charge)


def test_timeouts_and_retries_are_checked_where_they_are_made() -> None:
    assert Timeouts(start_to_close=timedelta(minutes=1)).start_to_close == 60.0
    for wrong in (0, -1, float("inf"), "5", True):
        with pytest.raises(ValueError, match="Timeouts: heartbeat"):
            Timeouts(heartbeat=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_attempts is from 1"):
        Retry(max_attempts=0)


async def test_a_function_is_called_with_those_of_the_names_that_it_takes() -> None:
    def some(a: int, *, c: int = 0) -> tuple[int, int]:
        return a, c

    def every(**named: int) -> dict[str, int]:
        return named

    named = {"a": 1, "b": 2, "c": 3}
    assert call_named(some, named) == (1, 3)
    assert call_named(every, named) == named
    assert call_named(lambda: "nothing", named) == "nothing"
