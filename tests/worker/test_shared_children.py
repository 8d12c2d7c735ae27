"""Child runs that are found by their key: whoever awaits one resumes, whichever run created it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import ChildFailed, Retry, run, task, wait
from holdfast.client import RunHandle
from holdfast.core.entries import Awaited, ChildEnded, ChildTriggered
from holdfast.errors import RunStateError
from holdfast.triggering import Debounce
from holdfast.worker import waits
from stage import Stage

ONCE = Retry(max_attempts=1)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are suspended soon after they only wait."""
    monkeypatch.setattr(waits, "LINGER", 0.02)
    monkeypatch.setattr(waits, "SOON", 0.05)


both_ways = pytest.mark.parametrize(
    ("stage", "warm"),
    [("memory", 100), ("memory", 0), ("jetstream", 0)],
    ids=["memory-warm", "memory-cold", "jetstream-cold"],
    indirect=["stage"],
)
"""`warm`: how many suspended runs stay in memory."""


async def child_of(stage: Stage, handle: RunHandle) -> ChildTriggered:
    """The child that a run has triggered, once it has."""
    async with asyncio.timeout(10):
        while True:
            for entry in await stage.entries(handle):
                if isinstance(entry, ChildTriggered):
                    return entry
            await asyncio.sleep(0.01)


@both_ways
async def test_ten_parents_of_one_key_await_one_child_and_all_get_its_result(stage: Stage, warm: int) -> None:
    ran: list[int] = []

    @task
    async def slow(n: int) -> int:
        ran.append(n)
        await wait.for_(0.3)
        return n

    @task
    async def parent(n: int) -> int:
        return await slow.options(idempotency_key="A1", idempotency_scope="global").trigger_and_wait(n)

    async with stage.conductor(), stage.worker(slow, parent, warm=warm):
        handles = [await parent.trigger(n) for n in range(10)]
        results = {await handle.result(15) for handle in handles}
        late = await parent.trigger(99)  # it has ended by now
        assert {await late.result(10)} == results
    assert len(set(ran)) == 1
    children = [await child_of(stage, handle) for handle in (*handles, late)]
    assert len({child.child for child in children}) == 1
    assert [child.detached for child in children].count(False) == 1
    nodes = await stage.nodes(late)
    assert nodes["/slow#1"].state == "ok"


@both_ways
async def test_parents_are_told_of_a_bad_end_too_and_the_next_one_tries_again(stage: Stage, warm: int) -> None:
    ran: list[str] = []

    @task(retry=ONCE)
    async def bad() -> None:
        ran.append(run.id)
        await wait.for_(0.3)
        raise ValueError("no")

    @task(retry=ONCE)
    async def parent() -> str:
        try:
            await bad.options(idempotency_key="A1", idempotency_scope="global").trigger_and_wait()
        except ChildFailed as failed:
            return failed.run
        return ""

    async with stage.conductor(), stage.worker(bad, parent, warm=warm):
        handles = [await parent.trigger() for _ in range(3)]
        failed = {await handle.result(10) for handle in handles}
        again = await (await parent.trigger()).result(10)
    assert len(failed) == 1
    assert again not in failed
    assert set(ran) == {*failed, again}


@both_ways
async def test_a_parent_awaits_a_run_that_code_outside_triggered(stage: Stage, warm: int) -> None:
    @task
    async def slow(n: int) -> int:
        await wait.for_(0.3)
        return n

    @task
    async def parent() -> int:
        return await slow.options(idempotency_key="A1", idempotency_scope="global").trigger_and_wait(2)

    async with stage.conductor(), stage.worker(slow, parent, warm=warm):
        outside = await slow.options(idempotency_key="A1").trigger(1)
        handle = await parent.trigger()
        assert await handle.result(10) == 1
        assert (await child_of(stage, handle)).child == outside.id
    told = [entry for entry in await stage.entries(outside) if isinstance(entry, Awaited)]
    assert [(entry.run, entry.key) for entry in told] == [(handle.id, "/slow#1")]


async def test_a_run_that_others_await_is_not_cancelled_with_one_of_them(stage: Stage) -> None:
    @task
    async def slow() -> str:
        await wait.for_(0.5)
        return "done"

    @task
    async def parent() -> str:
        return await slow.options(idempotency_key="A1", idempotency_scope="global").trigger_and_wait()

    async with stage.conductor(), stage.worker(slow, parent):
        first = await parent.trigger()
        child = await child_of(stage, first)
        other = await parent.trigger()
        assert (await child_of(stage, other)).child == child.child
        await other.cancel()
        await stage.until(other, "cancelled")
        assert await first.result(10) == "done"


async def test_two_awaits_of_one_run_share_a_child_by_its_key(stage: Stage) -> None:
    ran: list[int] = []

    @task
    async def slow(n: int) -> int:
        ran.append(n)
        await wait.for_(0.2)
        return n

    @task
    async def parent() -> list[int]:
        options = slow.options(idempotency_key="A1")
        both = list(await asyncio.gather(options.trigger_and_wait(1), options.trigger_and_wait(2)))
        return [*both, await options.trigger_and_wait(3)]

    async with stage.conductor(), stage.worker(slow, parent):
        handle = await parent.trigger()
        found = await handle.result(10)
    assert len(set(found)) == 1
    assert ran == found[:1]
    nodes = await stage.nodes(handle)
    shown = [nodes[key].state.value for key in ("/gather#1/slow#1", "/gather#1/slow#2", "/slow#1")]
    assert shown == ["ok"] * 3


async def test_a_batch_of_children_has_keys_and_options_of_its_items(stage: Stage) -> None:
    ran: list[int] = []

    @task
    async def item(n: int) -> int:
        ran.append(n)
        return n

    @task
    async def parent() -> list[Any]:
        found = await item.batch_trigger_and_wait(
            [
                ({"n": 1}, {"idempotency_key": "A"}),
                ({"n": 2}, {"idempotency_key": "A"}),
                {"n": 3},
                ({"n": 4}, {"priority": 77}),
                ({"n": 5}, {"metadata": {"lock": asyncio.Lock()}}),
                ({"n": 6}, {"tags": ["eu"], "priority": 0}),
            ]
        )
        return [one if isinstance(one, int) else type(one).__name__ for one in found]

    async with stage.conductor(), stage.worker(item, parent):
        handle = await parent.trigger()
        assert await handle.result(10) == [1, 1, 3, "ConfigError", "EncodeError", 6]
    assert sorted(ran) == [1, 3, 6]
    triggered = [entry for entry in await stage.entries(handle) if isinstance(entry, ChildTriggered)]
    last = await stage.client.run(triggered[-1].child).status()
    assert (last.tags, last.priority) == (("eu",), 0)


async def test_parents_that_debounce_a_child_await_the_one_run_with_the_last_payload(stage: Stage) -> None:
    ran: list[int] = []

    @task
    async def index(n: int) -> int:
        ran.append(n)
        return n

    @task
    async def parent(n: int) -> int:
        return await index.options(debounce=Debounce("A1", 0.7)).trigger_and_wait(n)

    async with stage.conductor(), stage.worker(index, parent):
        handles = [await parent.trigger(n) for n in range(3)]
        results = {await handle.result(10) for handle in handles}
    assert results == set(ran)
    assert len(ran) == 1


async def test_a_run_that_would_wait_for_itself_is_told_so(stage: Stage) -> None:
    @task(retry=ONCE)
    async def snake() -> str:
        try:
            await snake.options(idempotency_key="A1", idempotency_scope="global").trigger_and_wait()
        except RunStateError as error:
            return str(error)
        return ""

    async with stage.conductor(), stage.worker(snake):
        handle = await snake.options(idempotency_key="A1").trigger()
        said = await handle.result(10)
    assert said == f"run {handle.id} would wait for itself: it has this trigger's key"


async def test_a_parent_that_is_retried_from_the_start_gets_the_child_that_has_ended(stage: Stage) -> None:
    ran: list[str] = []

    @task
    async def child() -> str:
        ran.append(run.id)
        return "done"

    @task(retry=ONCE)
    async def parent() -> str:
        got = await child.options(idempotency_key="A1").trigger_and_wait()
        if len(ran) == 1 and run.attempt == 1:
            raise ValueError("once")
        return got

    async with stage.conductor(), stage.worker(child, parent):
        handle = await parent.trigger()
        await stage.until(handle, "dead")
        await handle.retry(from_start=True)
        assert await handle.result(10) == "done"
    assert len(ran) == 1
    assert [entry.state for entry in await stage.entries(handle) if isinstance(entry, ChildEnded)] == ["completed"] * 2
