"""Workers that operators tell to drain, to take up runs again, and to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast import Retry, task, wait
from holdfast.client import RunHandle
from holdfast.core.entries import AttemptStarted
from holdfast.errors import UnknownWorker
from holdfast.task import Task
from holdfast.wire.api import Presence
from holdfast.worker import presence, waits
from holdfast.worker.pool import Worker
from stage import Stage


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts beat quickly, and runs are suspended soon after they only wait."""
    monkeypatch.setattr(presence, "BEAT", 0.05)
    monkeypatch.setattr(waits, "LINGER", 0.02)
    monkeypatch.setattr(waits, "SOON", 0.05)


async def shown(stage: Stage, worker: str, holds: Callable[[Presence], bool]) -> Presence:
    """The worker's heartbeat, once it says so."""
    async with asyncio.timeout(10):
        while True:
            for beat in await stage.client.workers():
                if beat.worker == worker and holds(beat):
                    return beat
            await asyncio.sleep(0.02)


def serving(stage: Stage, *tasks: Task[..., Any], name: str = "w1", **options: Any) -> Any:
    """A worker with a heartbeat, that is known."""

    @asynccontextmanager
    async def served() -> AsyncIterator[Worker]:
        async with stage.worker(*tasks, name=name, connect=stage.connect, **options) as worker:
            await shown(stage, name, lambda beat: not beat.draining)
            yield worker

    return served()


async def by(stage: Stage, handle: RunHandle) -> list[str]:
    """The workers that began the run."""
    return [entry.worker for entry in await stage.entries(handle) if isinstance(entry, AttemptStarted)]


async def test_a_drained_worker_ends_what_it_has_gives_back_what_waits_and_takes_nothing(stage: Stage) -> None:
    go = asyncio.Event()

    @task(retry=Retry(max_attempts=1))
    async def job(held: bool) -> str:
        if held:
            await go.wait()
        return "done"

    async with serving(stage, job, concurrency=1):
        held = await job.trigger(held=True)
        await stage.until(held, "running")
        behind = [await job.trigger(held=False) for _ in range(3)]
        told = await stage.client.drain_worker("w1")
        assert (told.worker, told.concurrency) == ("w1", 1)
        assert (await shown(stage, "w1", lambda beat: beat.draining)).running == 1
        async with serving(stage, job, name="w2"):
            for handle in behind:
                assert await handle.result(10) == "done"
                assert await by(stage, handle) == ["w2"]
            assert (await held.status()).state == "running"
            go.set()
            assert await held.result(10) == "done"
            assert await by(stage, held) == ["w1"]
            ended = await held.status()
            assert (ended.attempt, ended.interruptions) == (1, 0)
            assert (await shown(stage, "w1", lambda beat: not beat.running)).draining


async def test_a_drained_worker_stays_so_until_it_is_resumed(stage: Stage) -> None:
    @task
    async def job() -> str:
        return "done"

    async with serving(stage, job, concurrency=2):
        await stage.client.drain_worker("w1")
        await stage.client.drain_worker("w1")  # once more changes nothing
        await shown(stage, "w1", lambda beat: beat.draining)
        waiting = [await job.trigger() for _ in range(5)]
        beat = await shown(stage, "w1", lambda beat: beat.draining)
        assert await shown(stage, "w1", lambda later: later.at > beat.at + 0.2)
        assert [(await handle.status()).state for handle in waiting] == ["queued"] * 5
        await stage.client.resume_worker("w1")
        for handle in waiting:
            assert await handle.result(10) == "done"
        assert not (await shown(stage, "w1", lambda beat: not beat.draining)).draining
        again = [await job.trigger() for _ in range(7)]
        assert [await handle.result(10) for handle in again] == ["done"] * 7


async def test_a_worker_that_is_drained_and_resumed_while_it_works_has_its_slots_again(stage: Stage) -> None:
    gates = [asyncio.Event() for _ in range(3)]

    @task
    async def job(number: int) -> int:
        await gates[number].wait()
        return number

    async with serving(stage, job, concurrency=2):
        first = await job.trigger(number=0)
        await stage.until(first, "running")
        await stage.client.drain_worker("w1")
        await shown(stage, "w1", lambda beat: beat.draining)
        await stage.client.resume_worker("w1")
        second, third = await job.trigger(number=1), await job.trigger(number=2)
        await stage.until(second, "running")
        assert (await third.status()).state == "queued"
        gates[0].set()
        assert await first.result(10) == 0
        await stage.until(third, "running")
        gates[1].set()
        gates[2].set()
        assert [await second.result(10), await third.result(10)] == [1, 2]


async def test_runs_that_are_suspended_go_on_elsewhere_when_their_worker_is_drained(stage: Stage) -> None:
    @task
    async def sleepy() -> str:
        await wait.for_(0.6)
        return "slept"

    async with serving(stage, sleepy):
        handle = await sleepy.trigger()
        await stage.until(handle, "waiting")
        await stage.client.drain_worker("w1")
        await shown(stage, "w1", lambda beat: beat.draining)
        async with serving(stage, sleepy, name="w2"):
            assert await handle.result(10) == "slept"


async def test_a_queue_that_a_task_came_to_meanwhile_is_served_after_the_resume(stage: Stage) -> None:
    @task
    async def job() -> str:
        return "done"

    async with serving(stage, job):
        await stage.client.drain_worker("w1")
        await shown(stage, "w1", lambda beat: beat.draining)
        handle = await stage.client.trigger("job", {}, queue="other", priority=2)
        await stage.client.resume_worker("w1")
        assert await handle.result(10) == "done"


async def stopped(stage: Stage, *tasks: Task[..., Any], drain: float, name: str = "w1") -> asyncio.Task[None]:
    """A worker that goes on until it is told to stop."""
    bus = await stage.connect()
    ready = asyncio.Event()
    worker = Worker(bus, {one.id: one for one in tasks}, name=name, drain=drain, connect=stage.connect)
    running = asyncio.get_running_loop().create_task(worker.run(asyncio.Event(), ready=ready.set))
    await ready.wait()
    await shown(stage, name, lambda beat: not beat.draining)
    return running


async def test_a_worker_that_is_told_to_stop_drains_within_its_time_and_ends(stage: Stage) -> None:
    go = asyncio.Event()

    @task(retry=Retry(max_attempts=1))
    async def endless() -> None:
        await asyncio.sleep(3600)

    @task
    async def brief() -> str:
        await go.wait()
        return "done"

    running = await stopped(stage, endless, brief, drain=0.5)
    long, short = await endless.trigger(), await brief.trigger()
    await stage.until(long, "running")
    await stage.until(short, "running")
    await stage.client.stop_worker("w1")
    await shown(stage, "w1", lambda beat: beat.draining)
    go.set()
    async with asyncio.timeout(10):
        await running
    assert (await short.status()).state == "completed"
    left = await long.status()
    assert (left.holder, left.spent, left.interruptions) == (None, 0, 0)


async def test_a_drained_worker_can_be_stopped(stage: Stage) -> None:
    @task
    async def job() -> str:
        return "done"

    running = await stopped(stage, job, drain=5)
    await stage.client.drain_worker("w1")
    await shown(stage, "w1", lambda beat: beat.draining)
    await stage.client.stop_worker("w1")
    async with asyncio.timeout(10):
        await running


async def test_an_order_is_for_the_worker_that_was_there_and_for_no_later_one_of_its_name(stage: Stage) -> None:
    @task
    async def job() -> str:
        return "done"

    running = await stopped(stage, job, drain=0.1)
    await stage.client.stop_worker("w1")
    async with asyncio.timeout(10):
        await running
    async with serving(stage, job):
        assert await (await job.trigger()).result(10) == "done"


async def test_a_worker_that_is_not_there_is_said_with_those_that_are(stage: Stage) -> None:
    @task
    async def job() -> None: ...

    with pytest.raises(UnknownWorker, match="no worker 'w1' is there: there is none just now"):
        await stage.client.drain_worker("w1")
    async with serving(stage, job, name="mill-7"):
        for tell in (stage.client.drain_worker, stage.client.resume_worker, stage.client.stop_worker):
            with pytest.raises(
                UnknownWorker, match=r"no worker 'mil-7' is there: there are mill-7 \(`holdfast workers list`\)"
            ):
                await tell("mil-7")


async def test_a_heartbeat_tells_memory_processor_and_the_runs_that_ended(stage: Stage) -> None:
    @task
    async def job() -> str:
        return "done"

    async with serving(stage, job):
        for handle in [await job.trigger() for _ in range(6)]:
            await handle.result(10)
        beat = await shown(stage, "w1", lambda beat: beat.done_rate > 0)
        assert beat.rss > 1 << 20
        assert 0.0 <= beat.cpu < 64
        assert 6 / 11 <= (await shown(stage, "w1", lambda beat: beat.done_rate >= 6 / 11)).done_rate <= 6.0
