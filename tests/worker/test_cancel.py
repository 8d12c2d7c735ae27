"""Runs that are told to end: wherever they stand, and whatever their code makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest

from holdfast import Retry, run, step, task, wait
from holdfast.core.lifecycle import Kind
from holdfast.errors import RunStateError, RunWasCancelled
from holdfast.worker import waits
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.01, max_timeout=0.02, jitter=False)


async def forever() -> None:
    await asyncio.sleep(60)


async def test_a_running_runs_finally_may_await_and_what_it_awaits_is_recorded(stage: Stage) -> None:
    reached = asyncio.Event()
    told: list[str] = []

    async def works() -> None:
        reached.set()
        await forever()

    async def releases(what: str) -> str:
        await asyncio.sleep(0.05)
        told.append(what)
        return what

    @task
    async def holds() -> None:
        try:
            await works()
        except asyncio.CancelledError:
            told.append("cancelled")
            await releases("lock")
            raise
        finally:
            await releases("file")

    async with stage.worker(holds):
        handle = await holds.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.cancel("not wanted")
        await stage.until(handle, "cancelled")
    assert told == ["cancelled", "lock", "file"]
    names = await stage.names(handle)
    assert names.count("StepCompleted") == 2
    assert names[-1] == "RunCancelled"
    with pytest.raises(RunWasCancelled):
        await handle.result(1)


@pytest.mark.parametrize("state", ["delayed", "queued", "retrying", "waiting"])
async def test_a_run_that_nobody_holds_is_cancelled_at_once_and_never_runs_again(
    stage: Stage, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "LINGER", 0.02)
    calls: list[str] = []

    @task(retry=Retry(max_attempts=3, min_timeout=0.6, max_timeout=0.6, jitter=False))
    async def works() -> None:
        calls.append("begun")
        if state == "retrying":
            raise ValueError("once")
        await wait.for_(hours=1)

    if state in ("delayed", "queued"):
        handle = await works.options(delay=0.3 if state == "delayed" else None).trigger()
        assert (await handle.cancel()).state == "cancelled"
    async with stage.worker(works):
        if state in ("retrying", "waiting"):
            handle = await works.trigger()
            await stage.until(handle, state)
            assert (await handle.cancel()).state == "cancelled"
        with pytest.raises(RunStateError, match="has ended cancelled"):
            await handle.cancel()
        await asyncio.sleep(0.8)  # beyond its delay and its backoff
    assert len(calls) == (1 if state in ("retrying", "waiting") else 0)
    assert (await handle.status()).state == "cancelled"


async def test_a_cancel_during_the_last_step_wins_and_a_retry_runs_nothing_again(stage: Stage) -> None:
    calls: list[str] = []
    reached, go = asyncio.Event(), asyncio.Event()

    @step
    async def last() -> str:
        calls.append("last")
        reached.set()
        while not go.is_set():  # it takes no notice
            try:
                await go.wait()
            except asyncio.CancelledError:
                calls.append("told")
        return "done"

    @task
    async def finishes() -> str:
        return await last()

    async with stage.worker(finishes):
        handle = await finishes.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.cancel()
        await until(lambda: "told" in calls)
        go.set()
        ended = await stage.until(handle, "cancelled", "completed")
        assert (ended.state, ended.result) == ("cancelled", None)
        await handle.retry()
        assert await handle.result(10) == "done"
    assert calls == ["last", "told"]


async def test_except_exception_does_not_swallow_a_cancellation(stage: Stage) -> None:
    reached = asyncio.Event()
    swallowed: list[str] = []

    async def works() -> None:
        reached.set()
        await forever()

    @task
    async def careless() -> str:
        while True:
            try:
                await works()
            except Exception as error:
                swallowed.append(repr(error))

    async with stage.worker(careless):
        handle = await careless.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.cancel()
        await stage.until(handle, "cancelled")
    assert swallowed == []


async def test_code_that_refuses_to_end_is_left_behind_and_the_worker_goes_on(stage: Stage) -> None:
    reached, released = asyncio.Event(), asyncio.Event()
    refused: list[BaseException] = []

    async def works() -> None:
        reached.set()
        await forever()

    @task(id="refuses")
    async def refuses() -> str:
        while not released.is_set():
            try:
                await works()
            except BaseException as error:
                refused.append(error)
        return "never told to anybody"

    @task
    async def other() -> str:
        return "served"

    async with stage.worker(refuses, other, concurrency=1, grace=0.3):
        handle = await refuses.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        begun = time.monotonic()
        await handle.cancel()
        ended = await stage.until(handle, "cancelled", within=5)
        assert 0.25 <= time.monotonic() - begun < 3
        assert await (await other.trigger()).result(5) == "served"
        before = len(refused)
        await asyncio.sleep(0.5)  # how often it is bothered meanwhile: not in a loop that takes the worker with it
        assert len(refused) - before < 50
        released.set()
        await asyncio.sleep(0.6)
    assert ended.reason == "its code did not end within 0.3 s and was left behind"
    assert (await handle.status()).state == "cancelled"


async def test_code_that_refuses_to_end_when_its_time_is_over_is_tried_again_elsewhere(stage: Stage) -> None:
    from holdfast import Timeouts

    released = asyncio.Event()

    @task(retry=QUICK, timeouts=Timeouts(start_to_close=0.2))
    async def refuses() -> str:
        while run.attempt == 1 and not released.is_set():
            with contextlib.suppress(BaseException):
                await forever()
        return f"attempt {run.attempt}"

    async with stage.worker(refuses, grace=0.2):
        assert await (await refuses.trigger()).result(10) == "attempt 2"
        released.set()
        await asyncio.sleep(0.3)


async def test_shield_is_honoured_and_what_it_shields_is_recorded(stage: Stage) -> None:
    reached = asyncio.Event()
    calls: list[str] = []

    async def commits() -> str:
        reached.set()
        await asyncio.sleep(0.4)
        calls.append("committed")
        return "committed"

    @task
    async def careful() -> str:
        return await asyncio.shield(commits())

    async with stage.worker(careful):
        handle = await careful.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.cancel()
        await stage.until(handle, "cancelled")
        assert calls == ["committed"]
        await handle.retry()
        assert await handle.result(10) == "committed"
    assert calls == ["committed"]


async def test_a_shielded_step_that_takes_longer_than_the_grace_is_left(stage: Stage) -> None:
    reached = asyncio.Event()

    async def commits() -> None:
        reached.set()
        await forever()

    @task
    async def careful() -> None:
        await asyncio.shield(commits())

    async with stage.worker(careful, grace=0.2):
        handle = await careful.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.cancel()
        await stage.until(handle, "cancelled", within=3)
    assert "StepCompleted" not in await stage.names(handle)


async def test_children_follow_their_parent_unless_they_are_detached(stage: Stage) -> None:
    cleaned: list[str] = []
    begun: list[str] = []

    async def works(name: str) -> None:
        begun.append(name)
        try:
            await asyncio.sleep(60 if name == "follows" else 1.2)
        except asyncio.CancelledError:
            cleaned.append(name)
            raise

    @task
    async def child(name: str) -> str:
        await works(name)
        return name

    @task
    async def parent() -> None:
        await asyncio.gather(
            child.trigger_and_wait("follows"), child.options(detached=True).trigger_and_wait("detached")
        )

    async with stage.worker(parent, child):
        handle = await parent.trigger()
        await until(lambda: len(begun) == 2)
        await handle.cancel()
        await stage.until(handle, "cancelled")
        follows, detached = await children(stage, handle)
        await stage.until(follows, "cancelled")
        assert await detached.result(5) == "detached"
    assert cleaned == ["follows"]


async def test_a_killed_run_is_lost_at_once_and_neither_cleans_up_nor_records(stage: Stage) -> None:
    reached = asyncio.Event()
    told: list[str] = []

    async def works() -> None:
        reached.set()
        await forever()

    async def tidies() -> None:
        told.append("tidied")

    @task
    async def killed() -> None:
        try:
            await works()
        finally:
            told.append("finally")
            await tidies()

    async with stage.worker(killed):
        handle = await killed.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        ended = await handle.kill("enough")
        assert (ended.state, ended.holder) == ("cancelled", None)
        await until(lambda: "finally" in told)
    assert told == ["finally"]
    assert "StepCompleted" not in await stage.names(handle)


async def test_a_sync_task_is_told_of_its_cancellation(stage: Stage) -> None:
    reached, ended = threading.Event(), threading.Event()

    @task
    def blocking() -> str:
        reached.set()
        while not run.cancelled:
            time.sleep(0.01)
        ended.set()
        return "too late"

    async with stage.worker(blocking):
        handle = await blocking.trigger()
        assert await asyncio.to_thread(reached.wait, 5)
        await handle.cancel()
        await stage.until(handle, "cancelled")
        assert await asyncio.to_thread(ended.wait, 5)
    assert (await handle.status()).state == "cancelled"


async def test_a_cleanup_that_raises_leaves_the_run_cancelled_and_says_so(stage: Stage) -> None:
    reached = asyncio.Event()

    async def works() -> None:
        reached.set()
        await forever()

    @task(retry=QUICK)
    async def clumsy() -> None:
        try:
            await works()
        finally:
            raise ValueError("the cleanup broke")

    async with stage.worker(clumsy):
        handle = await clumsy.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.cancel()
        ended = await stage.until(handle, "cancelled", "dead", "retrying")
    assert (ended.state, ended.attempt) == ("cancelled", 1)
    assert "the cleanup broke" in ended.reason


async def test_every_branch_of_a_cancelled_run_ends(stage: Stage) -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def branch(n: int) -> None:
        begun.append(n)
        try:
            await forever()
        finally:
            ended.append(n)

    @task
    async def fans() -> None:
        background = asyncio.create_task(branch(0))
        await asyncio.gather(*[branch(n) for n in range(1, 4)])
        await background

    async with stage.worker(fans):
        handle = await fans.trigger()
        await until(lambda: len(begun) == 4)
        await handle.cancel()
        await stage.until(handle, "cancelled")
        await until(lambda: len(ended) == 4)
    assert sorted(ended) == [0, 1, 2, 3]


async def until(holds: Any, within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.01)


async def children(stage: Stage, handle: Any) -> list[Any]:
    """The child runs of a run, in the order of their keys."""
    found = [entry for entry in await stage.entries(handle) if type(entry).__name__ == "ChildTriggered"]
    return [type(handle).of(stage.client, entry.child) for entry in sorted(found, key=lambda entry: entry.key)]


async def test_a_cancel_from_before_a_retry_that_is_heard_late_ends_nothing(stage: Stage) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def works() -> str:
        started.set()
        await go.wait()
        return "done"

    @task(retry=ONCE)
    async def retried() -> str:
        return await works()

    handle = await retried.trigger()
    await handle.cancel()
    assert (await handle.status()).state == "cancelled"
    await stage.client.retry(handle.id)
    messages = await stage.journal.messages(handle.id)
    (cancel,) = [message for message, record in messages if record.kind is Kind.IN]
    async with stage.worker(retried) as worker:
        await asyncio.wait_for(started.wait(), 5)
        worker._heard(cancel)
        go.set()
        assert await handle.result(5) == "done"
