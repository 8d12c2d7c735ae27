"""Steps that are never repeated on their own: what is known when it is not known whether they happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import Retry, RunFailed, step, task
from holdfast.core.entries import StepStarted
from holdfast.errors import RunStateError
from holdfast.step import Done, NotDone, Unknown
from mortal import killable, taken
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.01, max_timeout=0.02, jitter=False)


class World:
    """What a bank holds."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.asked: list[str] = []
        self.reached = asyncio.Event()
        self.fails: Callable[[], Any] = lambda: None

    async def transfer(self, order: str) -> str:
        self.calls.append(order)
        await asyncio.sleep(0)
        self.fails()
        if len(self.calls) == 1:
            self.reached.set()
            await asyncio.sleep(60)
        return f"transferred {order}"


async def crashed(stage: Stage, world: World, pays: Any) -> Any:
    """A run whose worker died while the step was under way."""
    async with killable(stage, pays, name="w1") as victim:
        handle = await pays.trigger()
        await asyncio.wait_for(world.reached.wait(), 5)
        victim.cut()
    await taken(stage, handle)
    return handle


async def test_its_beginning_is_durable_before_it_is_called(stage: Stage) -> None:
    seen: list[bool] = []

    @step(at_most_once=True)
    async def transfer() -> str:
        handle = stage.client.journal
        entries = [entry for _, record in await handle.messages(seen_of[0]) for entry in record.entries]
        seen.append(any(isinstance(entry, StepStarted) and entry.once for entry in entries))
        return "done"

    @task
    async def pays() -> str:
        from holdfast import run

        seen_of.append(run.id)
        return await transfer()

    seen_of: list[str] = []
    async with stage.worker(pays):
        handle = await pays.trigger()
        assert await handle.result(10) == "done"
    assert seen == [True]
    assert (await stage.nodes(handle))["/transfer#1"].once


async def test_after_a_crash_verify_says_done_and_its_value_is_the_outcome(stage: Stage) -> None:
    world = World()

    async def verify(order: str) -> Done:
        world.asked.append(order)
        return Done(f"found {order}")

    @step(at_most_once=True, verify=verify)
    async def transfer(order: str) -> str:
        return await world.transfer(order)

    @task
    async def pays() -> str:
        return await transfer("A1")

    handle = await crashed(stage, world, pays)
    async with stage.worker(pays, name="w2"):
        assert await handle.result(10) == "found A1"
    assert (world.calls, world.asked) == (["A1"], ["A1"])


async def test_after_a_crash_verify_says_not_done_and_it_runs(stage: Stage) -> None:
    world = World()

    async def verify() -> NotDone:
        world.asked.append("asked")
        return NotDone()

    @step(at_most_once=True, verify=verify)
    async def transfer(order: str) -> str:
        return await world.transfer(order)

    @task
    async def pays() -> str:
        return await transfer("A1")

    handle = await crashed(stage, world, pays)
    async with stage.worker(pays, name="w2"):
        assert await handle.result(10) == "transferred A1"
    assert (world.calls, world.asked) == (["A1", "A1"], ["asked"])


async def unknown(order: str) -> Unknown:
    return Unknown("the bank is closed")


async def raising(order: str) -> Done:
    raise ConnectionError("no bank")


async def garbage(order: str) -> Any:
    return "yes"


@pytest.mark.parametrize(
    ("verify", "why"),
    [
        (None, "step transfer began and its outcome is not known"),
        (unknown, "not known: the bank is closed"),
        (raising, "not known: its verify raised ConnectionError('no bank')"),
        (garbage, "not known: its verify returned 'yes', expected Done(value), NotDone() or Unknown(why)"),
    ],
)
async def test_where_nobody_knows_the_run_pauses_for_an_operator_who_may_say_done(
    stage: Stage, verify: Any, why: str
) -> None:
    world = World()

    @step(at_most_once=True, verify=verify)
    async def transfer(order: str) -> str:
        return await world.transfer(order)

    @task
    async def pays() -> str:
        return f"{await transfer('A1')}!"

    handle = await crashed(stage, world, pays)
    async with stage.worker(pays, name="w2"):
        paused = await stage.until(handle, "waiting")
        assert paused.paused.endswith(why)
        assert (paused.waits, paused.holder) == ({"pause:/transfer#1"}, None)
        with pytest.raises(RunStateError, match="whose outcome is not known"):
            await handle.resolve("/transfer#1", "accept")
        with pytest.raises(RunStateError, match="not paused at /other#1"):
            await handle.resolve("/other#1", "done")
        await handle.resolve("/transfer#1", "done", "told by the bank")
        assert await handle.result(10) == "told by the bank!"
    assert world.calls == ["A1"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_operator_may_say_that_it_did_not_happen(stage: Stage, restarted: bool) -> None:
    world = World()

    @step(at_most_once=True)
    async def transfer(order: str) -> str:
        return await world.transfer(order)

    @task
    async def pays() -> str:
        return await transfer("A1")

    handle = await crashed(stage, world, pays)
    async with stage.worker(pays, name="w2"):
        await stage.until(handle, "waiting")
        if not restarted:
            await handle.resolve("/transfer#1", "run")
            assert await handle.result(10) == "transferred A1"
    if restarted:
        await handle.resolve("/transfer#1", "run")
        async with stage.worker(pays, name="w3"):
            assert await handle.result(10) == "transferred A1"
    assert world.calls == ["A1", "A1"]


async def test_an_answer_counts_once_so_a_second_crash_asks_again(stage: Stage) -> None:
    world = World()

    @step(at_most_once=True)
    async def transfer(order: str) -> str:
        world.calls.append(order)
        world.reached.set()
        await asyncio.sleep(60)
        return "never"

    @task
    async def pays() -> str:
        return await transfer("A1")

    handle = await crashed(stage, world, pays)
    world.reached.clear()
    async with killable(stage, pays, name="w2") as victim:
        await stage.until(handle, "waiting")
        await handle.resolve("/transfer#1", "run")
        await asyncio.wait_for(world.reached.wait(), 5)
        victim.cut()
    await taken(stage, handle)
    async with stage.worker(pays, name="w3"):
        assert (await stage.until(handle, "waiting")).waits == {"pause:/transfer#1"}
    assert world.calls == ["A1", "A1"]


async def test_an_operators_answer_is_not_put_to_verify_again(stage: Stage) -> None:
    world = World()
    answers = iter([Unknown("the bank is closed"), NotDone(), NotDone()])

    async def verify(order: str) -> Any:
        world.asked.append(order)
        return next(answers)

    @step(at_most_once=True, verify=verify)
    async def transfer(order: str) -> str:
        return await world.transfer(order)

    @task
    async def pays() -> str:
        return await transfer("A1")

    handle = await crashed(stage, world, pays)
    async with stage.worker(pays, name="w2"):
        await stage.until(handle, "waiting")
    await handle.resolve("/transfer#1", "done", "it did happen")
    async with stage.worker(pays, name="w3"):
        assert await handle.result(10) == "it did happen"
    assert (world.calls, world.asked) == (["A1"], ["A1"])


async def test_an_exception_goes_to_the_task_and_where_it_fails_the_attempt_the_next_one_asks(stage: Stage) -> None:
    calls: list[str] = []

    @step(at_most_once=True)
    async def transfer() -> None:
        calls.append("transfer")
        raise ConnectionError("cut off in mid-transfer")

    @task(retry=QUICK)
    async def pays() -> None:
        await transfer()

    async with stage.worker(pays):
        handle = await pays.trigger()
        paused = await stage.until(handle, "waiting")
        assert (paused.attempt, paused.waits) == (2, {"pause:/transfer#1"})
        await handle.resolve("/transfer#1", "done")
        assert await handle.result(10) is None
    assert calls == ["transfer"]


async def test_an_exception_that_is_caught_is_its_outcome(stage: Stage) -> None:
    calls: list[str] = []

    @step(at_most_once=True)
    async def transfer() -> None:
        calls.append("transfer")
        raise ConnectionError("cut off")

    async def flaky() -> None:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")

    @task(retry=QUICK)
    async def pays() -> str:
        try:
            await transfer()
        except ConnectionError as error:
            await flaky()
            return str(error)
        return "unreachable"

    async with stage.worker(pays):
        assert await (await pays.trigger()).result(10) == "cut off"
    assert calls == ["transfer", "flaky", "flaky"]


async def test_its_own_retry_asks_verify_before_each_further_try(stage: Stage) -> None:
    log: list[str] = []
    answers: list[Any] = [NotDone(), NotDone(), Done("found")]

    async def verify() -> Any:
        log.append("verify")
        return answers.pop(0)

    @step(at_most_once=True, verify=verify, retry=Retry(max_attempts=9, min_timeout=0.01, jitter=False))
    async def transfer() -> str:
        log.append("transfer")
        raise ConnectionError("cut off")

    @task(retry=ONCE)
    async def pays() -> str:
        return await transfer()

    async with stage.worker(pays):
        assert await (await pays.trigger()).result(10) == "found"
    assert log == ["transfer", "verify", "transfer", "verify", "transfer", "verify"]


async def test_a_cancelled_run_that_is_retried_asks_too(stage: Stage) -> None:
    world = World()

    @step(at_most_once=True)
    async def transfer(order: str) -> str:
        return await world.transfer(order)

    @task
    async def pays() -> str:
        return await transfer("A1")

    async with stage.worker(pays):
        handle = await pays.trigger()
        await asyncio.wait_for(world.reached.wait(), 5)
        await handle.cancel()
        await stage.until(handle, "cancelled")
        await handle.retry()
        assert (await stage.until(handle, "waiting")).waits == {"pause:/transfer#1"}
        await handle.cancel()
    assert world.calls == ["A1"]


async def test_a_retry_from_the_start_forgets_that_it_began(stage: Stage) -> None:
    world = World()

    @step(at_most_once=True)
    async def transfer(order: str) -> str:
        return await world.transfer(order)

    @task
    async def pays() -> str:
        return await transfer("A1")

    async with stage.worker(pays):
        handle = await pays.trigger()
        await asyncio.wait_for(world.reached.wait(), 5)
        await handle.cancel()
        await stage.until(handle, "cancelled")
        await handle.retry(from_start=True)
        assert await handle.result(10) == "transferred A1"
    assert world.calls == ["A1", "A1"]


async def test_a_value_that_cannot_be_stored_is_not_repeated_on_resume_either(stage: Stage) -> None:
    calls: list[str] = []

    @step(at_most_once=True)
    async def opens() -> Any:
        calls.append("opens")
        return open

    async def flaky() -> None:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")

    @task(retry=QUICK)
    async def uses() -> str:
        opened = await opens()
        await flaky()
        return repr(opened)

    async with stage.worker(uses):
        handle = await uses.trigger()
        await stage.until(handle, "waiting")
        await handle.resolve("/opens#1", "done", "a handle")
        assert await handle.result(10) == "'a handle'"
    assert calls == ["opens", "flaky", "flaky"]


async def test_an_operators_done_of_a_big_value_comes_whole(stage: Stage) -> None:
    world = World()

    @step(at_most_once=True)
    async def transfer(order: str) -> str:
        return await world.transfer(order)

    @task
    async def pays() -> int:
        return len(await transfer("A1"))

    handle = await crashed(stage, world, pays)
    async with stage.worker(pays, name="w2"):
        await stage.until(handle, "waiting")
        await handle.resolve("/transfer#1", "done", "x" * 600_000)
        assert await handle.result(10) == 600_000


async def test_the_run_that_asks_may_be_cancelled(stage: Stage) -> None:
    world = World()

    @step(at_most_once=True)
    async def transfer(order: str) -> str:
        return await world.transfer(order)

    @task
    async def pays() -> str:
        return await transfer("A1")

    handle = await crashed(stage, world, pays)
    async with stage.worker(pays, name="w2"):
        await stage.until(handle, "waiting")
        assert (await handle.cancel()).state == "cancelled"
    with pytest.raises(RunFailed, match="ended cancelled"):
        await handle.result(1)
