"""What becomes of a task's awaits: recorded once, recalled on resume."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from holdfast import Retry, RunFailed, run, step, task
from holdfast.core.tree import NodeState
from stage import Stage

QUICK = Retry(max_attempts=3, min_timeout=0.01, max_timeout=0.02, jitter=False)


@dataclass
class Charge:
    order: str
    cents: int


async def test_every_await_is_a_checkpoint_and_the_result_comes_back(stage: Stage) -> None:
    async def charge(order: str) -> Charge:
        return Charge(order, 100)

    async def ship(order: str, *, express: bool) -> tuple[str, bool]:
        return order, express

    @task
    async def order(order_id: str) -> list[Any]:
        paid = await charge(order_id)
        return [paid, *[await ship(order_id, express=n == 1) for n in range(2)]]

    async with stage.worker(order):
        handle = await order.trigger(order_id="A1")
        assert await handle.result(10) == [Charge("A1", 100), ("A1", False), ("A1", True)]
    nodes = await stage.nodes(handle)
    assert list(nodes) == ["/charge#1", "/ship#1", "/ship#2"]
    assert all(node.state is NodeState.OK for node in nodes.values())


async def test_what_ran_before_a_drain_is_recalled_by_the_next_worker(stage: Stage) -> None:
    calls: list[str] = []
    reached, go = asyncio.Event(), asyncio.Event()

    async def first() -> str:
        calls.append("first")
        return "one"

    async def second() -> str:
        calls.append("second")
        reached.set()
        await go.wait()
        return "two"

    @task
    async def drained() -> str:
        return await first() + await second()

    async with stage.worker(drained, name="w1", drain=0.05):
        handle = await drained.trigger()
        await asyncio.wait_for(reached.wait(), 5)
    assert (await handle.status()).state == "queued"
    go.set()
    async with stage.worker(drained, name="w2"):
        assert await handle.result(10) == "onetwo"
    assert calls == ["first", "second", "second"]
    names = await stage.names(handle)
    assert names == [
        "RunCreated",
        "AttemptStarted",
        "StepCompleted",
        "AttemptInterrupted",
        "AttemptResumed",
        "StepCompleted",
        "RunCompleted",
    ]
    assert (await handle.status()).spent == 0


async def test_a_retry_goes_on_at_the_step_that_failed(stage: Stage) -> None:
    calls: list[str] = []

    async def before() -> int:
        calls.append("before")
        return 1

    async def flaky() -> int:
        calls.append("flaky")
        if calls.count("flaky") < 3:
            raise ValueError("not yet")
        return 2

    @task(retry=QUICK)
    async def retried() -> int:
        return await before() + await flaky()

    async with stage.worker(retried):
        handle = await retried.trigger()
        assert await handle.result(10) == 3
    assert calls == ["before", "flaky", "flaky", "flaky"]
    assert (await handle.status()).attempt == 3


async def test_a_caught_exception_is_an_outcome_and_raised_again_on_resume(stage: Stage) -> None:
    calls: list[str] = []

    async def declined() -> None:
        calls.append("declined")
        raise ValueError("card declined")

    async def fallback() -> str:
        calls.append("fallback")
        if calls.count("fallback") == 1:
            raise RuntimeError("try again")
        return "invoice"

    @task(retry=QUICK)
    async def pay() -> str:
        try:
            await declined()
        except ValueError as error:
            return f"{await fallback()} because {error}"
        return "paid"

    async with stage.worker(pay):
        handle = await pay.trigger()
        assert await handle.result(10) == "invoice because card declined"
    assert calls == ["declined", "fallback", "fallback"]


async def test_a_step_that_caused_another_error_runs_again(stage: Stage) -> None:
    calls: list[str] = []

    async def charge() -> str:
        calls.append("charge")
        if len(calls) == 1:
            raise ValueError("gateway")
        return "ok"

    @task(retry=QUICK)
    async def wrapped() -> str:
        try:
            return await charge()
        except ValueError as error:
            raise RuntimeError("payment failed") from error

    async with stage.worker(wrapped):
        assert await (await wrapped.trigger()).result(10) == "ok"
    assert calls == ["charge", "charge"]


async def test_branches_of_a_gather_are_checkpoints_of_their_own(stage: Stage) -> None:
    calls: list[str] = []

    async def ship(parcel: int) -> int:
        calls.append(f"ship {parcel}")
        await asyncio.sleep(0.01 * (3 - parcel))
        return parcel

    async def fail_once() -> str:
        calls.append("fail")
        await asyncio.sleep(0.05)
        if calls.count("fail") == 1:
            raise ValueError("once")
        return "ok"

    @task(retry=QUICK)
    async def fan() -> list[Any]:
        return await asyncio.gather(*[ship(n) for n in range(3)], fail_once())

    async with stage.worker(fan):
        handle = await fan.trigger()
        assert await handle.result(10) == [0, 1, 2, "ok"]
    assert sorted(calls) == ["fail", "fail", "ship 0", "ship 1", "ship 2"]
    nodes = await stage.nodes(handle)
    assert {"/gather#1/ship#1", "/gather#1/ship#2", "/gather#1/ship#3", "/gather#1/fail_once#1"} <= set(nodes)


async def test_task_groups_and_created_tasks_are_branches(stage: Stage) -> None:
    async def double(n: int) -> int:
        await asyncio.sleep(0.001)
        return 2 * n

    @task
    async def groups() -> list[int]:
        single = asyncio.create_task(double(1))
        async with asyncio.TaskGroup() as group:
            pair = [group.create_task(double(n)) for n in (2, 3)]
        found: list[int] = []

        async def keep(n: int) -> None:
            found.append(await double(n))

        async with anyio.create_task_group() as anyio_group:
            anyio_group.start_soon(keep, 4)
        return [await single, *[one.result() for one in pair], *found]

    async with stage.worker(groups):
        handle = await groups.trigger()
        assert await handle.result(10) == [2, 4, 6, 8]
    assert set(await stage.nodes(handle)) == {"/double#1", "/double#2", "/double#3", "/keep#1"}


async def test_a_wait_for_that_timed_out_times_out_again_on_resume(stage: Stage) -> None:
    calls: list[str] = []

    async def slow() -> str:
        calls.append("slow")
        await asyncio.sleep(30)
        return "late"

    async def flaky() -> str:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")
        return "in time"

    @task(retry=QUICK)
    async def bounded() -> str:
        try:
            return await asyncio.wait_for(slow(), 0.02)
        except TimeoutError:
            return await flaky()

    async with stage.worker(bounded):
        assert await (await bounded.trigger()).result(10) == "in time"
    assert calls == ["slow", "flaky", "flaky"]


async def test_a_step_cut_short_by_a_timeout_is_cut_short_again_and_not_run_again(stage: Stage) -> None:
    calls: list[str] = []

    async def slow() -> str:
        calls.append("slow")
        await asyncio.sleep(30)
        return "late"

    async def flaky() -> str:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")
        return "in time"

    @task(retry=QUICK)
    async def cut_short() -> str:
        try:
            async with asyncio.timeout(0.02):
                return await slow()
        except TimeoutError:
            return await flaky()

    async with stage.worker(cut_short):
        assert await (await cut_short.trigger()).result(10) == "in time"
    assert calls == ["slow", "flaky", "flaky"]


async def test_a_timeout_that_ends_the_attempt_runs_the_step_again(stage: Stage) -> None:
    calls: list[str] = []

    async def slow_at_first() -> str:
        calls.append("slow")
        if len(calls) == 1:
            await asyncio.sleep(30)
        return "in time"

    @task(retry=QUICK)
    async def bounded_attempt() -> str:
        async with asyncio.timeout(0.05):
            return await slow_at_first()

    async with stage.worker(bounded_attempt):
        assert await (await bounded_attempt.trigger()).result(10) == "in time"
    assert calls == ["slow", "slow"]


async def test_the_order_of_as_completed_is_the_same_on_resume(stage: Stage) -> None:
    calls: list[str] = []
    orders: list[list[int]] = []

    async def work(n: int) -> int:
        calls.append(f"work {n}")
        await asyncio.sleep(0.03 * (3 - n))
        return n

    async def flaky() -> None:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")

    @task(retry=QUICK)
    async def ordered() -> list[int]:
        found: list[int] = []
        for turn in asyncio.as_completed([work(n) for n in range(3)]):
            found.append(await turn)  # noqa: PERF401 - as users write it
        orders.append(list(found))
        await flaky()
        return found

    async with stage.worker(ordered):
        assert await (await ordered.trigger()).result(10) == [2, 1, 0]
    assert orders == [[2, 1, 0], [2, 1, 0]]
    assert sorted(calls) == ["flaky", "flaky", "work 0", "work 1", "work 2"]


async def test_a_value_without_a_round_trip_is_volatile_and_runs_again(stage: Stage) -> None:
    opened: list[object] = []

    async def connect() -> Any:
        opened.append(object())
        return lambda: len(opened)

    async def flaky() -> int:
        if len(opened) == 1:
            raise ValueError("once")
        return 5

    @task(retry=QUICK)
    async def volatile() -> int:
        connection = await connect()
        return await flaky() + int(connection())

    async with stage.worker(volatile):
        handle = await volatile.trigger()
        assert await handle.result(10) == 7
    assert (await stage.nodes(handle))["/connect#1"].state is NodeState.VOLATILE


async def test_locks_of_the_process_are_no_checkpoints(stage: Stage) -> None:
    lock = asyncio.Lock()

    async def work() -> int:
        return 1

    @task
    async def locked() -> int:
        await lock.acquire()
        try:
            return await work()
        finally:
            lock.release()

    async with stage.worker(locked):
        handle = await locked.trigger()
        assert await handle.result(10) == 1
    assert list(await stage.nodes(handle)) == ["/work#1"]


async def test_a_steps_own_retries_are_branches_of_its_node(stage: Stage) -> None:
    calls: list[str] = []

    @step(retry=Retry(max_attempts=3, min_timeout=0.01, jitter=False))
    async def flaky() -> str:
        calls.append(run.idempotency_key)
        if len(calls) < 3:
            raise ValueError(f"try {len(calls)}")
        return "third"

    @task
    async def stepped() -> str:
        return await flaky()

    async with stage.worker(stepped):
        handle = await stepped.trigger()
        assert await handle.result(10) == "third"
    assert calls == [f"{handle.id}:/flaky#1"] * 3
    node = (await stage.nodes(handle))["/flaky#1"]
    assert node.state is NodeState.OK
    assert [(one.number, one.error.message) for one in node.tries] == [(1, "try 1"), (2, "try 2")]
    assert (await handle.status()).attempt == 1


async def test_a_task_called_plainly_runs_inline_as_a_sub_tree(stage: Stage) -> None:
    async def leaf(n: int) -> int:
        return n

    @task
    async def inner(n: int) -> int:
        return await leaf(n) + await leaf(n)

    @task
    async def outer() -> list[int]:
        return [await inner(1), *await asyncio.gather(inner(2), inner(3))]

    async with stage.worker(outer):
        handle = await outer.trigger()
        assert await handle.result(10) == [2, 4, 6]
    assert set(await stage.nodes(handle)) == {
        "/inner#1",
        "/inner#1/leaf#1",
        "/inner#1/leaf#2",
        "/gather#1",
        "/gather#1/inner#1",
        "/gather#1/inner#1/leaf#1",
        "/gather#1/inner#1/leaf#2",
        "/gather#1/inner#2",
        "/gather#1/inner#2/leaf#1",
        "/gather#1/inner#2/leaf#2",
    }


async def test_with_checkpoint_steps_only_steps_are_checkpoints(stage: Stage) -> None:
    @step
    async def kept() -> int:
        return 1

    async def plain() -> int:
        return 2

    @task(checkpoint="steps")
    async def selective() -> int:
        return await kept() + await plain()

    async with stage.worker(selective):
        handle = await selective.trigger()
        assert await handle.result(10) == 3
    assert list(await stage.nodes(handle)) == ["/kept#1"]


async def test_the_traceback_shows_the_users_own_lines_only(stage: Stage) -> None:
    async def broken() -> None:
        raise LookupError("no such order")

    @task(retry=Retry(max_attempts=1))
    async def failing() -> None:
        await broken()

    async with stage.worker(failing):
        with pytest.raises(RunFailed) as raised:
            await (await failing.trigger()).result(10)
    assert "LookupError: no such order" in raised.value.traceback
    assert "await broken()" in raised.value.traceback
    assert 'raise LookupError("no such order")' in raised.value.traceback
    assert "holdfast/worker" not in raised.value.traceback
