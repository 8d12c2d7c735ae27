"""Undos: of completed steps, last first, once the run has ended badly; each a durable step of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from holdfast import Retry, RunFailed, Timeouts, step, task
from holdfast.core.entries import StepCompleted
from holdfast.core.tree import NodeState
from holdfast.errors import RunStateError
from mortal import killable, taken
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.01, max_timeout=0.02, jitter=False)

CALLS: list[str] = []
UNDONE: dict[str, Callable[[], Awaitable[None]]] = {}
"""By step: what its undo does besides."""


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    CALLS.clear()
    UNDONE.clear()
    yield
    CALLS.clear()
    UNDONE.clear()


async def undo(name: str) -> None:
    CALLS.append(f"undo {name}")
    if name in UNDONE:
        await UNDONE[name]()


async def release(seat: str, result: dict[str, str], *, reason: str = "none given") -> None:
    await undo(f"reserve {seat} {result['ticket']} {reason}")


@step(undo=release)
async def reserve(seat: str, *, window: bool = False) -> dict[str, str]:
    CALLS.append(f"reserve {seat}")
    return {"ticket": f"T-{seat}"}


@step(retry=QUICK)
async def refund(order: str) -> None:
    await undo(f"charge {order}")


@step(undo=refund)
async def charge(order: str) -> str:
    CALLS.append(f"charge {order}")
    return "charged"


async def recall_parcel(**told: Any) -> None:
    await undo(f"ship {sorted(told)}")


@step(undo=recall_parcel)
async def ship(order: str) -> str:
    CALLS.append("ship")
    if order == "broken":
        raise ValueError("no such street")
    return "shipped"


async def fails() -> None:
    raise ValueError("broken")


async def forever() -> None:
    await asyncio.sleep(60)


async def test_undos_run_last_first_with_the_steps_arguments_and_result(stage: Stage) -> None:
    @task(retry=ONCE)
    async def books() -> None:
        await reserve("1A", window=True)
        await charge("A1")
        await ship("A1")
        await fails()

    async with stage.worker(books):
        handle = await books.trigger()
        ended = await stage.until(handle, "dead")
    assert CALLS == [
        "reserve 1A",
        "charge A1",
        "ship",
        "undo ship ['order', 'result']",
        "undo charge A1",
        "undo reserve 1A T-1A none given",
    ]
    assert (ended.reason, ended.undos, ended.ending) == ("attempts used up", (), None)
    nodes = await stage.nodes(handle)
    assert [nodes[key].state for key in ("/reserve#1", "/charge#1", "/ship#1")] == [NodeState.UNDONE] * 3
    with pytest.raises(RunFailed, match="ValueError: broken"):
        await handle.result(1)


async def test_a_step_that_failed_is_not_undone(stage: Stage) -> None:
    @task(retry=ONCE)
    async def books() -> None:
        await charge("A1")
        await ship("broken")

    async with stage.worker(books):
        await stage.until(await books.trigger(), "dead")
    assert CALLS == ["charge A1", "ship", "undo charge A1"]


async def test_steps_are_not_undone_while_the_run_is_retried(stage: Stage) -> None:
    attempts: list[list[str]] = []

    @task(retry=QUICK)
    async def books() -> str:
        await charge("A1")
        attempts.append(list(CALLS))
        if len(attempts) < 3:
            raise ValueError("once more")
        return "booked"

    async with stage.worker(books):
        assert await (await books.trigger()).result(10) == "booked"
    assert attempts == [["charge A1"]] * 3
    assert CALLS == ["charge A1"]


async def test_a_run_that_succeeds_undoes_nothing(stage: Stage) -> None:
    @task
    async def books() -> str:
        return await charge("A1")

    async with stage.worker(books):
        handle = await books.trigger()
        assert await handle.result(10) == "charged"
    assert CALLS == ["charge A1"]


async def test_a_cancelled_run_is_undone_behind_its_cleanup(stage: Stage) -> None:
    reached = asyncio.Event()

    async def works() -> None:
        reached.set()
        await forever()

    @task
    async def books() -> None:
        await charge("A1")
        try:
            await works()
        finally:
            CALLS.append("cleanup")

    async with stage.worker(books):
        handle = await books.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.cancel()
        await stage.until(handle, "cancelled")
    assert CALLS == ["charge A1", "cleanup", "undo charge A1"]


async def test_a_run_that_waits_is_undone_when_it_is_cancelled(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast import wait
    from holdfast.worker import waits

    monkeypatch.setattr(waits, "LINGER", 0.02)

    @task
    async def books() -> None:
        await charge("A1")
        await wait.for_(hours=1)

    async with stage.worker(books):
        handle = await books.trigger()
        await stage.until(handle, "waiting")
        assert (await handle.cancel()).state == "compensating"
        await stage.until(handle, "cancelled")
    assert CALLS == ["charge A1", "undo charge A1"]


async def test_a_run_out_of_time_is_undone(stage: Stage) -> None:
    @task(timeouts=Timeouts(schedule_to_close=0.3))
    async def books() -> None:
        await charge("A1")
        await forever()

    async with stage.worker(books):
        ended = await stage.until(await books.trigger(), "timed_out")
    assert CALLS == ["charge A1", "undo charge A1"]
    assert ended.reason == "schedule_to_close"


async def test_a_killed_run_is_not_undone(stage: Stage) -> None:
    reached = asyncio.Event()

    @task
    async def books() -> None:
        await charge("A1")
        reached.set()
        await forever()

    async with stage.worker(books):
        handle = await books.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.kill()
        assert (await stage.until(handle, "cancelled")).undos == ("/charge#1",)
    assert CALLS == ["charge A1"]


async def test_a_run_that_compensates_is_killed_between_its_undos(stage: Stage) -> None:
    reached = asyncio.Event()

    async def hangs() -> None:
        reached.set()
        await forever()

    UNDONE["charge A1"] = hangs

    @task(retry=ONCE)
    async def books() -> None:
        await reserve("1A")
        await charge("A1")
        await fails()

    async with stage.worker(books):
        handle = await books.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        with pytest.raises(RunStateError, match="compensates"):
            await handle.cancel()
        await handle.kill()
        await stage.until(handle, "cancelled")
    assert CALLS == ["reserve 1A", "charge A1", "undo charge A1"]


async def test_an_undo_is_tried_again_by_its_own_policy(stage: Stage) -> None:
    async def once() -> None:
        if CALLS.count("undo charge A1") < 3:
            raise ValueError("gateway")

    UNDONE["charge A1"] = once

    @task(retry=ONCE)
    async def books() -> None:
        await charge("A1")
        await fails()

    async with stage.worker(books):
        handle = await books.trigger()
        await stage.until(handle, "dead")
    assert ["charge A1", *["undo charge A1"] * 3] == CALLS
    assert len((await stage.nodes(handle))["/charge#1/undo"].tries) == 2


async def test_a_worker_that_dies_between_two_undos_leaves_the_rest_to_the_next(stage: Stage) -> None:
    reached = asyncio.Event()

    async def dies() -> None:
        if CALLS.count("undo charge A1") == 1:
            victim.cut()
            reached.set()
            await forever()

    UNDONE["charge A1"] = dies

    @task(retry=ONCE)
    async def books() -> None:
        await reserve("1A")
        await charge("A1")
        await ship("A1")
        await fails()

    async with killable(stage, books) as victim:
        handle = await books.trigger()
        await asyncio.wait_for(reached.wait(), 5)
    moved = await taken(stage, handle)
    assert (moved.state, moved.undos) == ("compensating", ("/reserve#1", "/charge#1"))
    async with stage.worker(books, name="w2"):
        await stage.until(handle, "dead")
    assert CALLS[3:] == [
        "undo ship ['order', 'result']",
        "undo charge A1",  # its outcome was not recorded: it runs again
        "undo charge A1",
        "undo reserve 1A T-1A none given",
    ]


async def test_a_drained_worker_gives_the_undos_back(stage: Stage) -> None:
    reached = asyncio.Event()

    async def hangs_once() -> None:
        reached.set()
        if CALLS.count("undo charge A1") == 1:
            await forever()

    UNDONE["charge A1"] = hangs_once

    @task(retry=ONCE)
    async def books() -> None:
        await charge("A1")
        await fails()

    async with stage.worker(books, name="w1"):
        handle = await books.trigger()
        await asyncio.wait_for(reached.wait(), 5)
    assert (await handle.status()).state == "compensating"
    async with stage.worker(books, name="w2"):
        await stage.until(handle, "dead")
    assert CALLS == ["charge A1", "undo charge A1", "undo charge A1"]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("action", ["run", "skip"])
async def test_an_undo_that_finally_fails_asks_an_operator_before_anything_else_is_undone(
    stage: Stage, action: str, restarted: bool
) -> None:
    broken = [True]

    async def gateway() -> None:
        if broken[0]:
            raise ValueError("gateway down")

    UNDONE["charge A1"] = gateway

    @task(retry=ONCE)
    async def books() -> None:
        await reserve("1A")
        await charge("A1")
        await fails()

    async with stage.worker(books, name="w1") as _:
        handle = await books.trigger()
        paused = await until_paused(stage, handle)
        assert ["reserve 1A", "charge A1", *["undo charge A1"] * 3] == CALLS
        assert (paused.state, paused.waits) == ("compensating", {"pause:/charge#1/undo"})
        assert paused.paused.startswith("the undo of /charge#1 failed")
        assert "gateway down" in paused.paused
        if not restarted:
            broken[0] = False
            await handle.resolve("/charge#1/undo", action)
            ended = await stage.until(handle, "dead")
    if restarted:
        broken[0] = False
        await handle.resolve("/charge#1/undo", action)
        async with stage.worker(books, name="w2"):
            ended = await stage.until(handle, "dead")
    again = ["undo charge A1"] if action == "run" else []
    assert CALLS[5:] == [*again, "undo reserve 1A T-1A none given"]
    assert ended.undos == ()


async def test_an_undo_that_fails_again_asks_again_with_all_its_tries(stage: Stage) -> None:
    async def gateway() -> None:
        raise ValueError("gateway down")

    UNDONE["charge A1"] = gateway

    @task(retry=ONCE)
    async def books() -> None:
        await charge("A1")
        await fails()

    async with stage.worker(books):
        handle = await books.trigger()
        for asked in (1, 2, 3):
            await until_asked(stage, handle, asked)
            assert CALLS.count("undo charge A1") == 3 * asked
            await handle.resolve("/charge#1/undo", "run" if asked < 3 else "skip")
        await stage.until(handle, "dead")
    assert CALLS.count("undo charge A1") == 9


async def test_a_retry_after_compensation_runs_the_undone_steps_again_and_not_the_others(stage: Stage) -> None:
    broken = [True]

    async def looks_up() -> str:
        CALLS.append("look up")
        return "address"

    async def may_fail() -> None:
        if broken[0]:
            raise ValueError("broken")

    @task(retry=ONCE)
    async def books() -> str:
        await looks_up()
        await charge("A1")
        await may_fail()
        return "booked"

    async with stage.worker(books):
        handle = await books.trigger()
        await stage.until(handle, "dead")
        broken[0] = False
        await handle.retry()
        assert await handle.result(10) == "booked"
    assert CALLS == ["look up", "charge A1", "undo charge A1", "charge A1"]


async def test_a_run_that_fails_again_after_a_retry_is_undone_again(stage: Stage) -> None:
    @task(retry=ONCE)
    async def books() -> None:
        await charge("A1")
        await fails()

    async with stage.worker(books):
        handle = await books.trigger()
        await stage.until(handle, "dead")
        await handle.retry()
        await until_count(handle, lambda: CALLS.count("undo charge A1") == 2)
        await stage.until(handle, "dead")
    assert CALLS == ["charge A1", "undo charge A1"] * 2


async def test_parallel_steps_are_undone_in_the_reverse_order_of_their_completion(stage: Stage) -> None:
    @task(retry=ONCE)
    async def books() -> None:
        await asyncio.gather(*[charge(f"A{n}") for n in range(20)])
        await fails()

    async with stage.worker(books):
        handle = await books.trigger()
        await stage.until(handle, "dead")
    entries = [entry for entry in await stage.entries(handle) if isinstance(entry, StepCompleted)]
    done = [entry.key for entry in entries if entry.undo is not None]
    undone = [entry.key.removesuffix("/undo") for entry in entries if entry.key.endswith("/undo")]
    assert len(done) == 20
    assert undone == done[::-1]


async def test_steps_of_an_inline_sub_task_are_undone_too(stage: Stage) -> None:
    @task
    async def inner(order: str) -> str:
        return await charge(order)

    @task(retry=ONCE)
    async def outer() -> None:
        await inner("A1")
        await inner("A2")
        await fails()

    async with stage.worker(outer):
        handle = await outer.trigger()
        await stage.until(handle, "dead")
        await handle.retry()
        await until_count(handle, lambda: CALLS.count("undo charge A1") == 2)
        await stage.until(handle, "dead")
    assert CALLS == ["charge A1", "charge A2", "undo charge A2", "undo charge A1"] * 2


async def test_a_step_of_a_child_run_is_its_childs_to_undo(stage: Stage) -> None:
    @task
    async def child() -> str:
        return await charge("A1")

    @task(retry=ONCE)
    async def parent() -> None:
        await child.trigger_and_wait()
        await fails()

    async with stage.worker(parent, child):
        await stage.until(await parent.trigger(), "dead")
    assert CALLS == ["charge A1"]


class Unstorable:
    """Has no stored form."""


@step(undo=refund)
async def takes_anything(order: Any) -> Any:
    CALLS.append("taken")
    return order


@step(undo=refund)
async def returns_anything(order: str) -> Any:
    CALLS.append("returned")
    return Unstorable()


async def test_an_argument_that_cannot_be_stored_is_refused_before_the_step_runs(stage: Stage) -> None:
    @task(retry=QUICK)
    async def books() -> None:
        await takes_anything(Unstorable())

    async with stage.worker(books):
        with pytest.raises(
            RunFailed, match=r"step takes_anything has an undo, which needs its arguments: .*\[.order.\]"
        ):
            await (await books.trigger()).result(10)
    assert CALLS == []


async def test_a_result_that_cannot_be_stored_is_an_error_of_the_step(stage: Stage) -> None:
    @task(retry=QUICK)
    async def books() -> str:
        try:
            await returns_anything("A1")
        except Exception as error:
            return str(error)
        return "unreachable"

    async with stage.worker(books):
        text = await (await books.trigger()).result(10)
    assert text.startswith("step returns_anything has an undo, which needs its result: ")
    assert CALLS == ["returned"]


@step(undo=refund)
async def refund_with_a_fee(order: str) -> Any:
    CALLS.append(f"refund {order}")
    return Unstorable()


@step(undo=refund_with_a_fee)
async def charge_with_a_fee(order: str) -> str:
    CALLS.append(f"charge {order}")
    return "charged"


async def test_a_step_as_an_undo_is_not_undone_itself_and_may_return_anything(stage: Stage) -> None:
    @task(retry=ONCE)
    async def books() -> None:
        await charge_with_a_fee("A1")
        await fails()

    async with stage.worker(books):
        handle = await books.trigger()
        await stage.until(handle, "dead")
        await handle.retry()
        await until_count(handle, lambda: CALLS.count("refund A1") == 2)
        ended = await stage.until(handle, "dead")
    assert CALLS == ["charge A1", "refund A1"] * 2
    assert ended.undos == ()


class Shop:
    @step(undo=refund)
    async def charge(self, order: str) -> str:
        CALLS.append(f"method {order}")
        return "charged"


async def test_a_method_is_undone_with_its_arguments(stage: Stage) -> None:
    @task(retry=ONCE)
    async def books() -> None:
        await Shop().charge("A1")
        await fails()

    async with stage.worker(books):
        await stage.until(await books.trigger(), "dead")
    assert CALLS == ["method A1", "undo charge A1"]


async def test_an_undo_that_the_code_does_not_have_any_more_asks_an_operator(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.step import STEPS

    @task(retry=ONCE)
    async def books() -> None:
        await charge("A1")
        STEPS.pop(charge.ref)
        await fails()

    async with stage.worker(books):
        handle = await books.trigger()
        try:
            paused = await until_paused(stage, handle)
        finally:
            STEPS[charge.ref] = charge
        assert "this worker's code has no step" in paused.paused
        assert "deploy it, then run it again" in paused.paused
        await handle.resolve("/charge#1/undo", "run")
        await stage.until(handle, "dead")
    assert CALLS == ["charge A1", "undo charge A1"]


async def until_paused(stage: Stage, handle: Any) -> Any:
    async with asyncio.timeout(5):
        while not (found := await handle.status()).paused:  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.01)
        return found


async def until_asked(stage: Stage, handle: Any, times: int) -> None:
    """Wait until the run has been suspended so often."""
    async with asyncio.timeout(5):
        while (await stage.names(handle)).count("Suspended") < times:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_count(handle: Any, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.01)


async def test_the_undos_of_a_cancelled_run_go_on_when_their_worker_falls_silent(stage: Stage) -> None:
    """And whoever gets the work item takes the run over: its cancellation is over, its undos are not."""
    cancelled, undoing = asyncio.Event(), asyncio.Event()

    async def stays() -> None:
        cancelled.set()
        await asyncio.sleep(60)

    async def hangs() -> None:
        if not undoing.is_set():
            undoing.set()
            await asyncio.sleep(60)

    @task(retry=ONCE)
    async def books() -> None:
        await reserve("1A")
        await stays()

    UNDONE["reserve 1A T-1A none given"] = hangs
    async with killable(stage, books) as victim:
        handle = await books.trigger()
        await asyncio.wait_for(cancelled.wait(), 5)
        await handle.cancel()
        await asyncio.wait_for(undoing.wait(), 5)
        victim.cut()
    run = await handle.status()
    assert run.holder is not None
    async with stage.worker(books, name="w2"):
        stage.client.bus.release(run.holder.item)
        await stage.until(handle, "cancelled")
    assert ["reserve 1A", *["undo reserve 1A T-1A none given"] * 2] == CALLS
