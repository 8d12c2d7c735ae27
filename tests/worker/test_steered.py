"""What somebody outside does to runs that real workers run: tokens, signals, questions, queries, forks, replays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Retry, run, step, task, wait
from holdfast.client import RunHandle
from holdfast.core.diff import diff
from holdfast.core.entries import AttemptResumed, Inherited
from holdfast.core.lifecycle import Record
from holdfast.errors import ChildFailed, RunStateError, TokenFailed, TokenTaken
from stage import Stage


async def only_token(stage: Stage, handle: RunHandle) -> str:
    """The token that a waiting run asks for."""
    return next(iter((await stage.until(handle, "waiting")).waits))


async def test_a_token_completed_from_outside_resumes_its_run(stage: Stage) -> None:
    @task
    async def approve() -> Any:
        token = wait.token()
        try:
            return await token
        except TokenFailed as error:
            return f"refused: {error}"

    async with stage.worker(approve):
        yes, no = await approve.trigger(), await approve.trigger()
        token = await only_token(stage, yes)
        await stage.client.complete(token, {"by": "ann"})
        await stage.client.complete(await only_token(stage, no), error="too dear")
        assert await yes.result(10) == {"by": "ann"}
        assert await no.result(10) == "refused: too dear"
        with pytest.raises(TokenTaken):
            await stage.client.complete(token, 2)


async def test_signals_reach_the_code_in_order_whether_it_waits_or_not(stage: Stage) -> None:
    @task
    async def collect() -> list[int]:
        found: list[int] = []
        async for value in run.signals("number"):
            found.append(value)
            if len(found) == 3:
                return found
        return found

    async with stage.worker(collect):
        handle = await collect.trigger()
        await stage.until(handle, "waiting")
        for number in (1, 2, 3):
            await handle.signal("number", number)
        assert await handle.result(10) == [1, 2, 3]
        with pytest.raises(RunStateError, match="has ended completed"):
            await handle.signal("number", 4)


async def test_a_query_is_answered_while_a_worker_has_the_run(stage: Stage) -> None:
    @task
    async def count() -> None:
        run.expose("add", lambda one, other: one + other)
        async for _ in run.signals("stop"):
            return

    async with stage.worker(count):
        handle = await count.trigger()
        await stage.until(handle, "waiting")
        assert await handle.query("add", 1, 2) == 3
        await handle.signal("stop")
        await handle.result(10)
    with pytest.raises(RunStateError, match="no worker has it in memory"):
        await handle.query("add", 1, 2)


async def test_a_query_is_answered_by_the_code_that_has_the_run_now_not_by_what_another_worker_remembers(
    stage: Stage,
) -> None:
    @task
    async def collect() -> None:
        found: list[int] = []
        run.expose("found", lambda: found)
        async for value in run.signals("number"):
            found.append(value)  # noqa: PERF401

    async with stage.worker(collect), stage.worker(collect, name="w2"):
        handle = await collect.trigger()
        await stage.until(handle, "waiting")
        for number in range(10):
            await handle.signal("number", number)
            await stage.until(handle, "waiting")
            assert await handle.query("found") == list(range(number + 1))
        resumed = [entry for entry in await stage.entries(handle) if isinstance(entry, AttemptResumed)]
        await handle.cancel()
    assert {entry.worker for entry in resumed} == {"w1", "w2"}


async def test_a_step_of_unknown_outcome_goes_on_as_the_operator_says(stage: Stage) -> None:
    tries: list[str] = []

    @step(at_most_once=True)
    async def pay(order: str) -> str:
        tries.append(order)
        raise ConnectionError("no answer")

    @task(retry=Retry(min_timeout=0.01, max_timeout=0.01))
    async def buy(order: str) -> str:
        return await pay(order)

    async with stage.worker(buy):
        handle = await buy.trigger("A1")
        waiting = await stage.until(handle, "waiting")
        (key,) = (each.removeprefix("pause:") for each in waiting.waits)
        await handle.resolve(key, "done", "receipt")
        assert await handle.result(10) == "receipt"
    assert tries == ["A1"]


async def test_a_fork_runs_only_what_comes_after_with_the_edited_results(stage: Stage) -> None:
    ran: list[str] = []

    async def reserve() -> dict[str, int]:
        ran.append("reserve")
        return {"units": 2}

    async def price(units: int) -> int:
        ran.append("price")
        return units * 10

    async def charge(amount: int) -> str:
        ran.append("charge")
        return f"charged {amount}"

    @task
    async def order() -> str:
        held = await reserve()
        amount = await price(held["units"])
        return await charge(amount)

    async with stage.worker(order):
        origin = await order.trigger()
        assert await origin.result(10) == "charged 20"
        ran.clear()
        plain = await origin.fork("/charge#1")
        assert await plain.result(10) == "charged 20"
        assert ran == ["charge"]
        ran.clear()
        edited = await origin.fork("/price#1", {"/reserve#1.units": 5})
        assert await edited.result(10) == "charged 50"
        assert ran == ["price", "charge"]
    assert [entry.key for entry in await stage.entries(plain) if isinstance(entry, Inherited)] == [
        "/reserve#1",
        "/price#1",
    ]
    assert diff(await records(stage, origin), await records(stage, plain)).parting is None
    parting = diff(await records(stage, origin), await records(stage, edited)).parting
    assert parting is not None
    assert parting.key == "/reserve#1"


async def records(stage: Stage, handle: RunHandle) -> list[Record]:
    return [record for _, record in await stage.journal.messages(handle.id)]


async def test_a_fork_has_the_results_and_failures_of_its_origins_children(stage: Stage) -> None:
    @task
    async def good() -> int:
        return 7

    @task(retry=Retry(max_attempts=1))
    async def bad() -> int:
        raise LookupError("gone")

    @task
    async def parent() -> str:
        value = await good.trigger_and_wait()
        try:
            await bad.trigger_and_wait()
        except ChildFailed as error:
            text = error.error_type
        await asyncio.sleep(0)
        return f"{value} {text}"

    async with stage.worker(good, bad, parent):
        origin = await parent.trigger()
        await resolve_children(stage, origin)
        assert await origin.result(10) == "7 LookupError"
        made = await origin.fork("/sleep#1")
        assert await made.result(10) == "7 LookupError"
    assert "ChildTriggered" not in await stage.names(made)


async def resolve_children(stage: Stage, handle: RunHandle) -> None:
    """Do what the conductor does: look at the parent when a child has ended."""
    async with asyncio.timeout(10):
        while not (await handle.status()).final:
            await stage.journal.resume(handle.id)
            await asyncio.sleep(0.05)


async def test_a_replay_runs_everything_again(stage: Stage) -> None:
    ran: list[int] = []

    @task
    async def double(n: int) -> int:
        ran.append(n)
        return n * 2

    async with stage.worker(double):
        origin = await double.trigger(4)
        assert await origin.result(10) == 8
        assert await (await origin.replay()).result(10) == 8
    assert ran == [4, 4]
