"""Suspended runs go on, warm (their code stayed in memory) or cold (it is executed again): nobody can tell which."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast import Retry, State, run, step, task, wait
from holdfast.bus.ports import Item
from holdfast.client import RunHandle
from holdfast.core.entries import (
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    Entry,
    Offered,
    StepCompleted,
    StepStarted,
    Suspended,
    WaitStarted,
)
from holdfast.wire.values import encode_value
from holdfast.worker import pool, waits
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.01, jitter=False)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are suspended soon after they only wait."""
    monkeypatch.setattr(waits, "LINGER", 0.02)
    monkeypatch.setattr(waits, "SOON", 0.05)


class Thing:
    """Something that no checkpoint can hold."""


async def tokens(stage: Stage, handle: RunHandle, count: int = 1) -> list[str]:
    """The ids of the tokens that a run has made, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            entries = await stage.entries(handle)
            found = [entry.wait for entry in entries if isinstance(entry, WaitStarted) and entry.kind == "issued"]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something of this process is so."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.01)


# --- warm -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [100, 0], ids=["warm", "cold"])
async def test_parked_code_goes_on_where_it_was_and_other_code_is_executed_again(stage: Stage, warm: int) -> None:
    begun: list[Thing] = []
    calls: list[str] = []

    async def before() -> str:
        calls.append("before")
        return "b"

    @task
    async def keeping() -> bool:
        thing = Thing()
        begun.append(thing)
        await before()
        await wait.token()
        await wait.for_(0.1)
        return thing is begun[0]

    async with stage.worker(keeping, warm=warm):
        handle = await keeping.trigger()
        await stage.until(handle, "waiting")
        await stage.client.complete((await tokens(stage, handle))[0])
        kept = await handle.result(5)
    assert kept or not warm
    assert len(begun) == (1 if warm else 3)
    assert calls == ["before"]
    assert (await handle.status()).attempt == 1


async def test_beyond_what_may_stay_the_oldest_code_is_let_go_and_goes_on_all_the_same(stage: Stage) -> None:
    things: dict[int, list[weakref.ref[Thing]]] = {}

    @task
    async def parked(n: int) -> int:
        thing = Thing()
        things.setdefault(n, []).append(weakref.ref(thing))
        await wait.token()
        del thing
        return n

    async with stage.worker(parked, warm=1):
        handles = []
        for n in range(3):
            handles.append(await parked.trigger(n=n))
            await stage.until(handles[-1], "waiting")
        gc.disable()  # it goes at once: it is not the collector that finds it
        try:
            await until(lambda: [things[n][0]() is not None for n in range(3)] == [False, False, True])
        finally:
            gc.enable()
        for n, handle in enumerate(handles):
            await stage.client.complete((await tokens(stage, handle))[0])
            assert await handle.result(5) == n
    assert [len(things[n]) for n in range(3)] == [2, 2, 1]


async def test_code_is_let_go_after_a_while(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "WARM_FOR", 0.1)
    monkeypatch.setattr(pool, "LOOK_EVERY", 0.05)
    begun: list[weakref.ref[Thing]] = []

    @task
    async def forgotten() -> str:
        thing = Thing()
        begun.append(weakref.ref(thing))
        await wait.token()
        del thing
        return "on"

    async with stage.worker(forgotten):
        handle = await forgotten.trigger()
        await stage.until(handle, "waiting")
        await until(lambda: begun[0]() is None)
        await stage.client.complete((await tokens(stage, handle))[0])
        assert await handle.result(5) == "on"
    assert len(begun) == 2


async def test_many_parked_runs_are_let_go_at_once_without_harm(stage: Stage) -> None:
    """Each that is parked lets go of others: they must not trip over one another."""

    @task
    async def crowd(n: int) -> int:
        await wait.for_(0.4)
        return n

    async with stage.worker(crowd, warm=3):
        handles = await crowd.batch_trigger([{"n": n} for n in range(60)])
        found = [await handle.result(10) for handle in handles if isinstance(handle, RunHandle)]
    assert found == list(range(60))


async def test_parked_code_of_a_cancelled_run_gets_nothing_done_any_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "WARM_FOR", 0.1)
    monkeypatch.setattr(pool, "LOOK_EVERY", 0.05)
    calls: list[str] = []

    async def tidy() -> None:
        calls.append("tidy")

    @task
    async def undone() -> None:
        try:
            await wait.for_(days=1)
        finally:
            calls.append("finally")
            await tidy()

    async with stage.worker(undone):
        handle = await undone.trigger()
        await stage.until(handle, "waiting")
        assert (await handle.cancel()).state is State.CANCELLED
        await until(lambda: "finally" in calls)
    assert calls == ["finally"]
    assert (await stage.names(handle))[-1] == "RunCancelled"


async def test_parked_code_of_a_run_that_was_retried_meanwhile_is_not_gone_on_with(stage: Stage) -> None:
    begun: list[int] = []

    @task
    async def repeated() -> int:
        begun.append(1)
        turn = len(begun)
        await wait.token()
        return turn

    async with stage.worker(repeated):
        handle = await repeated.trigger()
        await stage.until(handle, "waiting")
        await handle.cancel()
        await handle.retry(from_start=True)
        await stage.until(handle, "waiting")
        await stage.client.complete((await tokens(stage, handle))[0])
        assert await handle.result(5) == 2
    assert (await handle.status()).attempt == 2


async def test_parked_code_of_a_run_that_another_worker_moved_on_is_not_gone_on_with(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """w1 has parked it; w2 takes it further; then w1 gets it again, and must not go on where it was."""
    monkeypatch.setattr(pool, "PATIENCE", 0.05)  # how long w1, which is busy, keeps it from w2
    monkeypatch.setattr(pool, "LOOK_EVERY", 0.05)
    begun: list[str] = []
    occupied, go = asyncio.Event(), asyncio.Event()

    async def middle() -> str:
        return "middle"

    @task
    async def wandering() -> list[Any]:
        begun.append("")
        first = await wait.token()
        second = await middle()
        return [first, second, await wait.token()]

    @task
    async def blocking() -> None:
        occupied.set()
        await go.wait()

    async with stage.worker(wandering, blocking, name="w1", concurrency=1):
        handle = await wandering.trigger()
        await stage.until(handle, "waiting")
        await blocking.trigger()
        await asyncio.wait_for(occupied.wait(), 5)
        async with stage.worker(wandering, blocking, name="w2", connect=stage.connect):
            await stage.client.complete((await tokens(stage, handle))[0], 1)
            second = (await tokens(stage, handle, 2))[1]
            await stage.until(handle, "waiting")
        go.set()
        await stage.client.complete(second, 2)
        assert await handle.result(20) == [1, "middle", 2]
    workers = [one.worker for one in await stage.entries(handle) if isinstance(one, AttemptStarted | AttemptResumed)]
    assert workers[0] == workers[-1] == "w1"
    assert "w2" in workers
    keys = [entry.key for entry in await stage.entries(handle) if isinstance(entry, StepCompleted)]
    assert keys == ["/middle#1"]


async def test_code_that_wakes_by_itself_while_parked_gets_nothing_recorded(stage: Stage) -> None:
    """A timer that nothing was rewritten for, in a helper: the journal never hears of what it does meanwhile."""
    calls: list[str] = []
    strayed = asyncio.Event()

    async def effect() -> str:
        calls.append("effect")
        return "effect"

    @step
    async def stepped() -> str:
        calls.append("stepped")
        return "stepped"

    @task
    async def sub() -> list[str]:
        return [await effect(), await stepped()]

    async def stray() -> Any:
        await asyncio.sleep(0.15)
        calls.append("woke")
        strayed.set()
        return await sub()

    async def helper() -> list[Any]:
        inner = asyncio.ensure_future(stray())
        token = await wait.token()
        return [token, await inner]

    @task(retry=ONCE)
    async def restless() -> list[Any]:
        return await helper()

    async with stage.worker(restless):
        handle = await restless.trigger()
        await stage.until(handle, "waiting")
        parked = await stage.names(handle)
        await asyncio.wait_for(strayed.wait(), 5)
        await asyncio.sleep(0.05)
        assert await stage.names(handle) == parked
        assert calls == ["woke"]
        await stage.client.complete((await tokens(stage, handle))[0], "in")
        assert await handle.result(5) == ["in", ["effect", "stepped"]]
    assert calls == ["woke", "woke", "effect", "stepped"]
    assert "Diverged" not in await stage.names(handle)


async def test_what_a_run_says_of_itself_is_kept_over_a_warm_resume(stage: Stage) -> None:
    @task
    async def talking() -> list[Any]:
        run.metadata["phase"] = "before"
        await run.progress(1, 2)
        await run.heartbeat({"row": 1})
        await wait.token()
        run.metadata["phase"] = "after"
        await run.progress(2, 2)
        return [run.last_heartbeat, run.metadata["phase"]]

    async with stage.worker(talking):
        handle = await talking.trigger()
        waiting = await stage.until(handle, "waiting")
        assert waiting.metadata == {"phase": encode_value("before")}
        await stage.client.complete((await tokens(stage, handle))[0])
        assert await handle.result(5) == [{"row": 1}, "after"]
    ended = await handle.status()
    assert ended.metadata == {"phase": encode_value("after")}
    assert ended.progress is not None
    assert ended.progress.done == 2


# --- the same entries, warm and cold ----------------------------------------------------------------------------------


async def _work(n: int) -> int:
    await asyncio.sleep(0)
    return n


async def _fail(text: str) -> None:
    raise ValueError(text)


async def _sequence() -> list[Any]:
    found: list[Any] = []
    for n in range(3):
        found.append(await _work(n))
        await wait.for_(0.1)
    return found


async def _gathered() -> list[Any]:
    async def branch(n: int) -> int:
        await wait.for_(0.1 * n)
        return n

    return list(await asyncio.gather(*[branch(n) for n in range(1, 4)], return_exceptions=True))


async def _raced() -> list[Any]:
    first = asyncio.create_task(wait.for_(0.1))
    second = asyncio.create_task(wait.for_(30))
    done, pending = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    for one in pending:
        one.cancel()
    await wait.for_(0.1)
    return [first in done, second in pending]


async def _limited() -> list[Any]:
    found: list[Any] = []
    for limit in (0.1, 30):
        try:
            async with asyncio.timeout(limit):
                await wait.for_(0.3)
                found.append("slept")
        except TimeoutError:
            found.append("late")
    try:
        await asyncio.wait_for(wait.for_(30), 0.1)
    except TimeoutError:
        found.append("late too")
    return found


async def _grouped() -> list[Any]:
    found: list[Any] = []
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait.for_(30))
            await wait.for_(0.1)
            group.create_task(_fail("group"))
    except* ValueError as errors:
        found.extend(str(error) for error in errors.exceptions)
    await wait.for_(0.1)
    return found


async def _caught() -> list[Any]:
    found: list[Any] = []
    for turn in range(2):
        try:
            await _fail(f"turn {turn}")
        except ValueError as error:
            await wait.for_(0.1)
            found.append(str(error))
    return found


async def _captured() -> list[Any]:
    values = [run.random(), run.uuid(), run.now()]
    await wait.for_(0.1)
    run.metadata["values"] = len(values)
    again = [*values, run.random()]
    await wait.for_(0.1)
    return [len(set(again)), dict(run.metadata)]


async def _completed() -> list[Any]:
    async def branch(n: int) -> int:
        await wait.for_(0.15 * (3 - n))
        return n

    return [await turn for turn in asyncio.as_completed([branch(n) for n in range(3)])]


SCENARIOS: dict[str, tuple[Callable[[], Awaitable[list[Any]]], list[Any]]] = {
    "sequence": (_sequence, [0, 1, 2]),
    "gathered": (_gathered, [1, 2, 3]),
    "raced": (_raced, [True, True]),
    "limited": (_limited, ["late", "slept", "late too"]),
    "grouped": (_grouped, ["group"]),
    "caught": (_caught, ["turn 0", "turn 1"]),
    "captured": (_captured, [4, {"values": 3}]),
    "completed": (_completed, [2, 1, 0]),
}


def shape(entries: list[Entry]) -> list[tuple[Any, ...]]:
    """What entries say, without times and ids; those that only say when or by whom are left out."""
    left_out = AttemptResumed | Offered | StepStarted | Suspended
    return sorted((type(one).__name__, getattr(one, "key", "")) for one in entries if not isinstance(one, left_out))


async def test_warm_and_cold_write_the_same_entries_and_end_the_same(stage: Stage) -> None:
    scenarios = {name: task(id=name, retry=ONCE)(code) for name, (code, _) in SCENARIOS.items()}
    shapes: list[dict[str, list[tuple[Any, ...]]]] = []
    for warm in (100, 0):
        async with stage.worker(*scenarios.values(), name=f"w{warm}", warm=warm):
            handles = {name: await scenario.trigger() for name, scenario in scenarios.items()}
            found = {name: await handle.result(60) for name, handle in handles.items()}
        assert found == {name: expected for name, (_, expected) in SCENARIOS.items()}
        entries = {name: await stage.entries(handle) for name, handle in handles.items()}
        assert all(any(isinstance(entry, Suspended) for entry in each) for each in entries.values())
        shapes.append({name: shape(each) for name, each in entries.items()})
    assert shapes[0] == shapes[1]
    assert not [kind for each in shapes[1].values() for kind, _ in each if kind == "Diverged"]


# --- workers that go --------------------------------------------------------------------------------------------------


async def test_whatever_a_draining_worker_leaves_goes_on_elsewhere_and_spends_no_attempt(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []
    lingering = asyncio.Event()

    @step(retry=Retry(max_attempts=2, min_timeout=0.8, max_timeout=0.8, jitter=False))
    async def flaky() -> str:
        tries.append(time.time())
        if len(tries) == 1:
            raise ValueError("once")
        return "second try"

    @task(retry=ONCE)
    async def between_tries() -> str:
        return await flaky()

    @task(retry=ONCE)
    async def parked() -> str:
        await wait.for_(0.8)
        return "slept"

    @task(retry=ONCE)
    async def lingers() -> Any:
        token = wait.token()
        lingering.set()
        return [await token, await _work(1)]

    served = (between_tries, parked, lingers)
    async with stage.worker(*served, name="w1", drain=0.01):
        slept = await parked.trigger()
        tried = await between_tries.trigger()
        await stage.until(slept, "waiting")
        await until(lambda: bool(tries))
        monkeypatch.setattr(waits, "LINGER", 5.0)
        lingered = await lingers.trigger()
        await asyncio.wait_for(lingering.wait(), 5)
        (token,) = await tokens(stage, lingered)
    for handle in (tried, lingered, slept):
        assert (await handle.status()).holder is None
    async with stage.worker(*served, name="w2"):
        await stage.client.complete(token, "told")
        assert await tried.result(10) == "second try"
        assert await slept.result(10) == "slept"
        assert await lingered.result(10) == ["told", 1]
    assert len(tries) == 2
    assert tries[1] - tries[0] >= 0.8
    for handle in (tried, lingered, slept):
        ended = await handle.status()
        assert (ended.attempt, ended.spent, ended.interruptions) == (1, 0, 0)


async def test_a_resume_that_comes_while_the_suspension_is_still_carried_out_is_not_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The item of the resume is delivered to the very worker that has not yet acknowledged the one before."""
    act = stage.journal.act.__func__  # type: ignore[attr-defined]

    async def slow(self: Any, moved: Any) -> None:
        if moved.state is State.WAITING and self is not stage.client.journal and self is not stage.journal:
            await asyncio.sleep(0.2)
        await act(self, moved)

    @task
    async def raced() -> Any:
        return await wait.token(timeout=60)

    monkeypatch.setattr(type(stage.journal), "act", slow)
    async with stage.worker(raced):
        handle = await raced.trigger()
        await stage.until(handle, "waiting")
        await stage.client.complete((await tokens(stage, handle))[0], "quick")
        assert await handle.result(3) == "quick"


# --- large ------------------------------------------------------------------------------------------------------------


async def test_a_gather_of_a_thousand_steps_with_a_wait_among_them(stage: Stage) -> None:
    calls: list[int] = []

    async def work(n: int) -> int:
        calls.append(n)
        return n

    @task
    async def wide() -> int:
        first = await asyncio.gather(*[work(n) for n in range(1000)], wait.for_(0.3))
        await wait.for_(0.1)
        return sum(one or 0 for one in first)

    async with stage.worker(wide, warm=0):
        handle = await wide.trigger()
        assert await handle.result(20) == sum(range(1000))
    assert sorted(calls) == list(range(1000))


async def test_a_body_of_ten_thousand_awaits_is_resumed_without_running_one_of_them_again(stage: Stage) -> None:
    count = 10_000
    calls: list[int] = []

    async def work(n: int) -> int:
        calls.append(n)
        return n

    @task
    async def long() -> int:
        total = 0
        for n in range(count):
            total += await work(n)
        return total

    handle = await long.trigger()
    made = await handle.status()
    item = await delivered_to_the_dead(stage)
    last = await stage.journal.append(made.id, 0, "n", [AttemptStarted(time.time(), 1, "gone", "n", item)])
    for begin in range(0, count - 1, 500):
        entries = [
            StepCompleted(f"/work#{n + 1}", 1.0, 0.0, encode_value(n))
            for n in range(begin, min(begin + 500, count - 1))
        ]
        last = await stage.journal.append(made.id, last, "n", entries)
    await stage.journal.append(made.id, last, "x", [AttemptInterrupted(time.time(), "it fell silent")])
    began = time.monotonic()
    async with stage.worker(long):
        stage.client.bus.release(item)
        assert await handle.result(60) == sum(range(count))
    print(f"resumed over {count} awaits in {time.monotonic() - began:.2f} s")
    assert calls == [count - 1]


async def delivered_to_the_dead(stage: Stage) -> str:
    """Where the work item is acknowledged that a worker got and died of."""
    consumer = await stage.client.bus.ensure_consumer("default", 5)
    items: list[Item] = []
    puller = await stage.client.bus.pull(consumer, items.append)
    puller.want(1)
    await until(lambda: bool(items))
    await puller.stop()
    return items[0].token
