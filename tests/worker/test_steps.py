"""A step's own policy: its tries, its backoffs, its key, and what its code may ask of the run."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from holdfast import Abort, Retry, RetryAfter, RunFailed, Snooze, run, step, task
from holdfast.core.entries import StepCompleted, StepFailed, StepRetried
from holdfast.core.tree import NodeState
from holdfast.errors import RecordedError
from mortal import killable, taken
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.01, max_timeout=0.02, jitter=False)
SLOW = Retry(max_attempts=3, min_timeout=0.9, max_timeout=0.9, jitter=False)


class Flaky(Exception):
    """Of a class that comes back from the journal."""


async def nothing() -> None:
    """A step without an effect."""


async def test_a_step_that_gives_up_gives_its_error_to_the_task_which_may_catch_it_for_good(stage: Stage) -> None:
    calls: list[str] = []

    @step(retry=Retry(max_attempts=2, min_timeout=0.01, jitter=False))
    async def charge() -> None:
        calls.append("charge")
        raise Flaky(f"try {calls.count('charge')}")

    async def invoice() -> None:
        calls.append("invoice")
        if calls.count("invoice") == 1:
            raise ValueError("once")

    @task(retry=QUICK)
    async def pay() -> str:
        try:
            await charge()
        except Flaky as error:
            await invoice()
            return str(error)
        return "paid"

    async with stage.worker(pay):
        handle = await pay.trigger()
        assert await handle.result(10) == "try 2"
    assert calls == ["charge", "charge", "invoice", "invoice"]
    node = (await stage.nodes(handle))["/charge#1"]
    assert node.state is NodeState.FAILED
    assert [(one.number, one.error.message) for one in node.tries] == [(1, "try 1")]
    assert node.error is not None
    assert (node.error.message, node.error.type.rpartition(".")[2]) == ("try 2", "Flaky")


async def test_an_uncaught_step_fails_the_attempt_and_the_next_one_resumes_there_with_all_its_tries(
    stage: Stage,
) -> None:
    calls: list[str] = []

    async def before() -> None:
        calls.append("before")

    @step(retry=Retry(max_attempts=2, min_timeout=0.01, jitter=False))
    async def charge() -> str:
        calls.append(f"charge in {run.attempt}")
        if len(calls) < 5:
            raise Flaky(f"call {len(calls)}")
        return "paid"

    @task(retry=QUICK)
    async def pay() -> str:
        await before()
        return await charge()

    async with stage.worker(pay):
        handle = await pay.trigger()
        assert await handle.result(10) == "paid"
    assert calls == ["before", "charge in 1", "charge in 1", "charge in 2", "charge in 2"]
    assert (await handle.status()).attempt == 2


async def test_retry_after_of_a_step_is_kept_whatever_the_cap_and_counts(stage: Stage) -> None:
    calls: list[float] = []

    @step(retry=Retry(max_attempts=2, min_timeout=0.01, max_timeout=0.02, jitter=False))
    async def limited() -> str:
        calls.append(time.monotonic())
        if len(calls) < 3:
            raise RetryAfter(0.2)
        return "never reached in this attempt"

    @task(retry=ONCE)
    async def pay() -> str:
        try:
            return await limited()
        except RetryAfter as error:
            return f"gave up: {error}"

    async with stage.worker(pay):
        handle = await pay.trigger()
        assert await handle.result(10) == "gave up: retry after 0.2 s"
    assert len(calls) == 2
    assert calls[1] - calls[0] >= 0.2


async def test_snooze_of_a_step_spends_no_try(stage: Stage) -> None:
    calls: list[str] = []

    @step(retry=Retry(max_attempts=2, min_timeout=0.01, jitter=False))
    async def patient() -> str:
        calls.append("call")
        if len(calls) <= 3:
            raise Snooze(0.01)
        if len(calls) == 4:
            raise Flaky("the first failure")
        return "second try"

    @task(retry=ONCE)
    async def pay() -> str:
        return await patient()

    async with stage.worker(pay):
        handle = await pay.trigger()
        assert await handle.result(10) == "second try"
    assert len(calls) == 5
    assert (await handle.status()).attempt == 1
    assert [entry.number for entry in await stage.entries(handle) if isinstance(entry, StepRetried)] == [0, 0, 0, 1]


async def test_a_snoozed_step_without_a_retry_of_its_own_comes_back_too(stage: Stage) -> None:
    calls: list[str] = []

    @step
    async def patient() -> str:
        calls.append("call")
        if len(calls) == 1:
            raise Snooze(0.01)
        return "awake"

    @task(retry=ONCE)
    async def sleeper() -> str:
        return await patient()

    async with stage.worker(sleeper):
        handle = await sleeper.trigger()
        assert await handle.result(10) == "awake"
    assert (await handle.status()).attempt == 1


async def test_abort_in_a_step_is_tried_again_neither_by_the_step_nor_by_the_task(stage: Stage) -> None:
    calls: list[str] = []

    @step(retry=QUICK)
    async def charge() -> None:
        calls.append("charge")
        raise Abort("card stolen")

    @task(retry=QUICK)
    async def pay() -> None:
        await charge()

    async with stage.worker(pay):
        ended = await stage.until(await pay.trigger(), "dead")
    assert (calls, ended.reason, ended.attempt) == (["charge"], "aborted", 1)


async def test_retry_if_is_asked_before_retry_after_and_abort_before_retry_if(stage: Stage) -> None:
    calls: list[str] = []
    asked: list[BaseException] = []

    def mendable(error: BaseException) -> bool:
        asked.append(error)
        return not isinstance(error, RetryAfter)

    @step(retry=Retry(max_attempts=5, min_timeout=0.01, jitter=False, retry_if=mendable))
    async def picky(kind: str) -> None:
        calls.append(kind)
        raise {"after": RetryAfter(0), "abort": Abort("no"), "plain": Flaky("yes")}[kind]

    @task(retry=ONCE)
    async def asks() -> list[str]:
        caught = []
        for kind in ("after", "abort", "plain"):
            try:
                await picky(kind)
            except Exception as error:
                caught.append(type(error).__name__)
        return caught

    async with stage.worker(asks):
        assert await (await asks.trigger()).result(10) == ["RetryAfter", "Abort", "Flaky"]
    assert calls == ["after", "abort", *["plain"] * 5]
    assert [type(error).__name__ for error in asked] == ["RetryAfter", *["Flaky"] * 5]


async def test_a_task_decides_in_the_same_order(stage: Stage) -> None:
    tries: list[str] = []

    def mendable(error: BaseException) -> bool:
        return not isinstance(error, RetryAfter)

    policy = Retry(max_attempts=2, min_timeout=0.01, jitter=False, retry_if=mendable)

    @task(retry=policy)
    async def decides(kind: str) -> None:
        tries.append(kind)
        raise {"after": RetryAfter(0), "abort": Abort("no"), "plain": Flaky("yes")}[kind]

    async with stage.worker(decides):
        ended = [await stage.until(await decides.trigger(kind=kind), "dead") for kind in ("after", "abort", "plain")]
    assert [(one.reason, one.attempt) for one in ended] == [
        ("not retried", 1),
        ("aborted", 1),
        ("attempts used up", 2),
    ]


async def test_retry_after_of_a_task_is_kept_whatever_the_cap(stage: Stage) -> None:
    begun: list[float] = []

    @task(retry=Retry(max_attempts=2, min_timeout=0.01, max_timeout=0.02, jitter=False))
    async def limited() -> str:
        begun.append(time.monotonic())
        if len(begun) == 1:
            raise RetryAfter(0.25)
        return "in"

    async with stage.worker(limited):
        handle = await limited.trigger()
        assert await handle.result(10) == "in"
    assert begun[1] - begun[0] >= 0.25
    assert (await handle.status()).spent == 1


async def test_a_retry_if_that_raises_is_the_steps_failure_and_says_so(stage: Stage) -> None:
    calls: list[str] = []

    def broken(error: BaseException) -> bool:
        raise LookupError("the policy is broken")

    @step(retry=Retry(max_attempts=3, min_timeout=0.01, jitter=False, retry_if=broken))
    async def charge() -> None:
        calls.append("charge")
        raise Flaky("first")

    async def flaky() -> None:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")

    @task(retry=QUICK)
    async def pay() -> str:
        try:
            await charge()
        except LookupError as error:
            await flaky()
            return f"{error}, while it was asked about {type(error.__cause__).__name__}"
        return "unreachable"

    async with stage.worker(pay):
        handle = await pay.trigger()
        assert await handle.result(10) == "the policy is broken, while it was asked about Flaky"
    assert calls == ["charge", "flaky", "flaky"]


async def test_a_long_backoff_of_a_step_frees_the_slot(stage: Stage) -> None:
    order: list[str] = []

    @step(retry=SLOW)
    async def flaky() -> str:
        order.append("flaky")
        if order.count("flaky") == 1:
            raise Flaky("once")
        return "mended"

    @task
    async def patient() -> str:
        return await flaky()

    @task
    async def other() -> None:
        order.append("other")

    async with stage.worker(patient, other, concurrency=1):
        handle = await patient.trigger()
        assert (await stage.until(handle, "waiting")).holder is None
        await (await other.trigger()).result(10)
        assert await handle.result(10) == "mended"
    assert order == ["flaky", "other", "flaky"]
    assert (await handle.status()).attempt == 1


async def test_a_long_backoff_goes_on_after_a_restart_at_its_own_time(stage: Stage) -> None:
    calls: list[float] = []

    @step(retry=Retry(max_attempts=2, min_timeout=1.0, max_timeout=1.0, jitter=False))
    async def flaky() -> str:
        calls.append(time.time())
        raise Flaky(f"try {len(calls)}")

    @task(retry=ONCE)
    async def patient() -> str:
        try:
            return await flaky()
        except Flaky as error:
            return str(error)

    async with stage.worker(patient, name="w1"):
        handle = await patient.trigger()
        await stage.until(handle, "waiting")
    async with stage.worker(patient, name="w2"):
        assert await handle.result(10) == "try 2"
    assert len(calls) == 2
    assert 1.0 <= calls[1] - calls[0] < 2.0


async def test_a_worker_that_dies_in_a_backoff_costs_no_try(stage: Stage) -> None:
    calls: list[str] = []

    @step(retry=Retry(max_attempts=2, min_timeout=0.4, max_timeout=0.4, jitter=False))
    async def flaky() -> str:
        calls.append("flaky")
        raise Flaky(f"try {len(calls)}")

    @task(retry=ONCE)
    async def patient() -> str:
        try:
            return await flaky()
        except Flaky as error:
            return str(error)

    async with killable(stage, patient) as victim:
        handle = await patient.trigger()
        await until_entry(stage, handle, StepRetried)
        await victim.kill()
    await taken(stage, handle)
    async with stage.worker(patient, name="w2"):
        assert await handle.result(10) == "try 2"
    assert calls == ["flaky", "flaky"]


async def test_a_backoff_that_the_task_cuts_short_is_cut_short_on_resume_and_not_tried(stage: Stage) -> None:
    calls: list[str] = []

    @step(retry=Retry(max_attempts=2, min_timeout=0.5, max_timeout=0.5, jitter=False))
    async def flaky() -> None:
        calls.append("flaky")
        raise Flaky("always")

    async def fallback() -> str:
        calls.append("fallback")
        if calls.count("fallback") == 1:
            raise ValueError("once")
        return "fallback"

    @task(retry=QUICK)
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0.1):
                await flaky()
        except TimeoutError:
            pass
        return await fallback()

    async with stage.worker(impatient):
        assert await (await impatient.trigger()).result(10) == "fallback"
    assert calls == ["flaky", "fallback", "fallback"]


async def test_a_key_as_text_names_the_checkpoint(stage: Stage) -> None:
    @step(key="primary")
    async def charge() -> str:
        return run.idempotency_key

    @task
    async def pay() -> str:
        return await charge()

    async with stage.worker(pay):
        handle = await pay.trigger()
        assert await handle.result(10) == f"{handle.id}:/charge:primary#1"
    assert list(await stage.nodes(handle)) == ["/charge:primary#1"]


async def test_a_key_of_the_arguments_keeps_what_was_done_when_the_order_changes(stage: Stage) -> None:
    calls: list[str] = []
    orders = iter([["a", "b", "c"], ["c", "a", "b"]])

    @step(key=lambda item: f"item-{item}")
    async def ship(item: str) -> str:
        calls.append(item)
        if item == "c" and calls.count("c") == 1:
            raise Flaky("once")
        return item.upper()

    @task(retry=QUICK, checkpoint="steps")
    async def ships() -> dict[str, str]:
        return {item: await ship(item) for item in next(orders)}

    async with stage.worker(ships):
        handle = await ships.trigger()
        assert await handle.result(10) == {"c": "C", "a": "A", "b": "B"}
    assert calls == ["a", "b", "c", "c"]
    assert set(await stage.nodes(handle)) == {"/ship:item-a#1", "/ship:item-b#1", "/ship:item-c#1"}


async def test_a_key_used_twice_in_a_scope_is_an_error_that_names_it(stage: Stage) -> None:
    calls: list[str] = []

    @step(key=lambda item: "same")
    async def ship(item: str) -> None:
        calls.append(item)

    @task(retry=ONCE)
    async def ships() -> None:
        await ship("a")
        await ship("b")

    @task(retry=ONCE)
    async def ships_at_once() -> None:
        await asyncio.gather(ship("c"), ship("d"))

    async with stage.worker(ships, ships_at_once):
        handles = [await ships.trigger(), await ships_at_once.trigger()]
        for handle in handles:
            with pytest.raises(RunFailed, match="step ship: key 'same' is used a second time within") as raised:
                await handle.result(10)
            assert raised.value.error_type == "holdfast.errors.KeyTaken"
    assert calls[0] == "a"
    assert "b" not in calls


async def test_one_key_in_two_scopes_is_two_checkpoints(stage: Stage) -> None:
    @step(key="only")
    async def ship() -> str:
        return run.idempotency_key

    @task
    async def inner() -> str:
        return await ship()

    @task
    async def outer() -> list[str]:
        return [await ship(), await inner()]

    async with stage.worker(outer):
        handle = await outer.trigger()
        assert await handle.result(10) == [f"{handle.id}:/ship:only#1", f"{handle.id}:/inner#1/ship:only#1"]


@pytest.mark.parametrize("bad", ["a/b", "a#1", "", 7])
async def test_a_key_that_is_no_label_is_refused_where_the_step_is_called(stage: Stage, bad: Any) -> None:
    @step(key=lambda: bad)
    async def ship() -> None: ...

    @task(retry=ONCE)
    async def ships() -> None:
        await ship()

    async with stage.worker(ships):
        with pytest.raises(RunFailed, match=r"step ship: key .* expected a text without '/' and '#'"):
            await (await ships.trigger()).result(10)


async def test_methods_can_be_steps(stage: Stage) -> None:
    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name
            self.tries = 0

        @step(retry=QUICK)
        async def charge(self, order: str) -> str:
            self.tries += 1
            if self.tries == 1:
                raise Flaky("once")
            return f"{self.name} {order}"

    shop = Shop("corner")

    @task(retry=ONCE)
    async def pays() -> str:
        return await shop.charge("A1")

    async with stage.worker(pays):
        handle = await pays.trigger()
        assert await handle.result(10) == "corner A1"
    node = (await stage.nodes(handle))["/charge#1"]
    assert len(node.tries) == 1
    assert await shop.charge("A2") == "corner A2"


async def test_a_step_called_in_a_helper_that_is_not_rewritten_is_a_checkpoint_all_the_same(stage: Stage) -> None:
    calls: list[str] = []

    @step
    async def charge(order: str) -> str:
        calls.append(order)
        return run.idempotency_key

    async def helper() -> list[str]:
        return [await charge("A1"), *await asyncio.gather(charge("A2"), charge("A3"))]

    async def flaky() -> None:
        if calls.count("flaky") == 0:
            calls.append("flaky")
            raise Flaky("once")

    @task(retry=QUICK, checkpoint="steps")
    async def helped() -> list[str]:
        keys = await helper()
        await flaky()
        return keys

    async with stage.worker(helped):
        handle = await helped.trigger()
        keys = await handle.result(10)
    assert keys == [f"{handle.id}:/charge#{n}" for n in (1, 2, 3)]
    assert calls == ["A1", "A2", "A3", "flaky"]
    assert (await handle.status()).attempt == 2


async def test_an_idempotency_key_is_the_same_over_tries_attempts_and_crashes_and_differs_between_steps(
    stage: Stage,
) -> None:
    keys: list[str] = []
    reached = asyncio.Event()

    @step(retry=Retry(max_attempts=2, min_timeout=0.01, jitter=False))
    async def charge() -> str:
        keys.append(run.idempotency_key)
        if len(keys) == 4:
            reached.set()
            await asyncio.sleep(60)
        if len(keys) < 5:
            raise Flaky(f"call {len(keys)}")
        return "paid"

    @step
    async def ship() -> str:
        return run.idempotency_key

    @task(retry=QUICK)
    async def pay() -> list[str]:
        return [run.idempotency_key, await charge(), await ship()]

    async with killable(stage, pay) as victim:
        handle = await pay.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await victim.kill()
    await taken(stage, handle)
    async with stage.worker(pay, name="w2"):
        assert await handle.result(10) == [f"{handle.id}:/", "paid", f"{handle.id}:/ship#1"]
    assert keys == [f"{handle.id}:/charge#1"] * 5


async def test_a_step_that_tries_again_recalls_the_steps_within_it_that_were_done(stage: Stage) -> None:
    calls: list[str] = []

    @step
    async def reserve() -> str:
        calls.append("reserve")
        return f"seat {calls.count('reserve')}"

    @step
    async def pay() -> str:
        calls.append("pay")
        if calls.count("pay") < 3:
            raise Flaky("not yet")
        return "paid"

    @step(retry=QUICK)
    async def book() -> list[str]:
        calls.append("book")
        return [await reserve(), await pay()]

    @task(retry=ONCE)
    async def books() -> list[str]:
        return await book()

    async with stage.worker(books):
        handle = await books.trigger()
        assert await handle.result(10) == ["seat 1", "paid"]
    assert calls == ["book", "reserve", "pay", "book", "pay", "book", "pay"]
    assert set(await stage.nodes(handle)) == {"/book#1", "/book#1/reserve#1", "/book#1/pay#1"}


async def test_a_step_that_tries_again_after_a_crash_recalls_the_steps_within_it_too(stage: Stage) -> None:
    calls: list[str] = []

    @step
    async def reserve() -> str:
        calls.append("reserve")
        return "seat"

    @step
    async def pay() -> str:
        calls.append("pay")
        if calls.count("pay") == 1:
            raise Flaky("not yet")
        return "paid"

    @step(retry=Retry(max_attempts=2, min_timeout=0.4, max_timeout=0.4, jitter=False))
    async def book() -> list[str]:
        calls.append("book")
        return [await reserve(), await pay()]

    @task(retry=ONCE)
    async def books() -> list[str]:
        return await book()

    async with killable(stage, books) as victim:
        handle = await books.trigger()
        await until_entry(stage, handle, StepRetried)
        await victim.kill()
    await taken(stage, handle)
    async with stage.worker(books, name="w2"):
        assert await handle.result(10) == ["seat", "paid"]
    assert calls == ["book", "reserve", "pay", "book", "pay"]


async def test_a_step_whose_value_cannot_be_stored_is_volatile_and_says_where(stage: Stage) -> None:
    loop: list[Any] = []
    loop.append(loop)

    @step
    async def cyclic() -> Any:
        return loop

    @step
    async def opens() -> Any:
        return {"conn": [open]}

    @task
    async def volatile() -> int:
        return len(await cyclic()) + len(await opens())

    async with stage.worker(volatile):
        handle = await volatile.trigger()
        assert await handle.result(10) == 2
    nodes = await stage.nodes(handle)
    assert nodes["/cyclic#1"].state is NodeState.VOLATILE
    assert "contains itself" in nodes["/cyclic#1"].note


async def test_an_exception_that_cannot_be_stored_is_told_by_its_text(stage: Stage) -> None:
    class Local(Exception):
        def __init__(self, connection: object) -> None:
            super().__init__("no way back")
            self.connection = connection

    calls: list[str] = []

    @step
    async def breaks() -> None:
        calls.append("breaks")
        raise Local(open)

    async def flaky() -> None:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")

    @task(retry=QUICK)
    async def catches() -> list[str]:
        seen = []
        try:
            await breaks()
        except Local:
            seen.append("its own class where it was raised")
        except RecordedError as error:
            seen.append(error.message)
        await flaky()
        return seen

    async with stage.worker(catches):
        assert await (await catches.trigger()).result(10) == ["no way back"]
    assert calls == ["breaks", "flaky", "flaky"]


async def test_outcomes_of_one_step_are_recorded_once(stage: Stage) -> None:
    @step(retry=QUICK)
    async def charge(n: int) -> int:
        return n

    @task
    async def pays() -> int:
        return sum(await asyncio.gather(*[charge(n) for n in range(50)]))

    async with stage.worker(pays):
        handle = await pays.trigger()
        assert await handle.result(10) == sum(range(50))
    keys = [entry.key for entry in await stage.entries(handle) if isinstance(entry, StepCompleted | StepFailed)]
    assert sorted(keys) == sorted(f"/gather#1/charge#{n}" for n in range(1, 51))


async def until_entry(stage: Stage, handle: Any, kind: type) -> None:
    """Wait until the journal holds an entry of a kind."""
    async with asyncio.timeout(5):
        while not any(isinstance(entry, kind) for entry in await stage.entries(handle)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
