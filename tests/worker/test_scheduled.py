"""Runs of schedules in a worker: begun once however often they fire, left unstarted where they may not start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest

from holdfast import Every, task
from holdfast.bus.journal import Journal
from holdfast.client import RunHandle
from holdfast.core import ids
from holdfast.core.entries import RunCreated
from holdfast.core.model import Run, State, Tick
from holdfast.core.schedule import run_id
from holdfast.errors import UnknownRun
from holdfast.task import Task
from holdfast.timetable import Timetable
from holdfast.wire import codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import encode_value
from holdfast_daemon.ledger import Ledger
from holdfast_daemon.overlap import Overlaps
from holdfast_daemon.scheduler import Scheduler
from stage import Stage
from worlds import eventually


def first_fact(at: float, *, before: str = "", catch_up: float | None = 60.0, overlap: str = "skip") -> RunCreated:
    """Of the run of a tick, as it is parked."""
    tick = Tick("timely", at, before, 1, catch_up, overlap)
    return RunCreated(run_id("timely", at), at, "timely", encode_value({}), due=at, tick=tick)


async def fire(stage: Stage, run: RunCreated, *, due: float | None = None) -> RunHandle:
    """What the server does when a tick is due."""
    bus = stage.client.bus
    await stage.journal.announce([run])
    await bus.publish_at(
        bus.subjects.timer(run.run, "ready"),
        codec.encode(run),
        due=due or time.time(),
        target=bus.subjects.ready(run.run, run.queue, run.priority),
    )
    return stage.client.run(run.run)


async def until(run: RunHandle, holds: Callable[[Run], bool]) -> Run:
    """The run, once it is there and something holds of it."""
    async with asyncio.timeout(10):
        while True:
            with suppress(UnknownRun):
                if holds(found := await run.status()):
                    return found
            await asyncio.sleep(0.01)


def ended(run: Run) -> bool:
    return run.final


def held(run: Run) -> bool:
    return bool(run.held)


def timely(work: Callable[[], Any], **options: Any) -> Task[..., Any]:
    @task(id="timely", checkpoint="steps", **options)
    async def made() -> Any:
        return await work()

    return made


async def test_a_tick_that_fires_twice_runs_once(stage: Stage) -> None:
    ran: list[int] = []

    async def work() -> None:
        ran.append(1)

    run = first_fact(time.time())
    async with stage.worker(timely(work)):
        handle = await fire(stage, run)
        await until(handle, ended)
        await fire(stage, run)  # parked once more by somebody slow, after it had ended
        again = stage.client.new_run("timely", encode_value({}))
        await stage.client.start(again)
        await until(stage.client.run(again.run), ended)
    assert len(ran) == 2
    assert (await stage.names(handle)).count("AttemptStarted") == 1
    assert (await handle.status()).state is State.COMPLETED


async def test_a_tick_that_fires_too_late_is_left_unstarted(stage: Stage) -> None:
    ran: list[int] = []

    async def work() -> None:
        ran.append(1)

    async with stage.worker(timely(work)):
        late = await fire(stage, first_fact(time.time() - 3600))
        found = await until(late, held)
        assert (found.held, found.state, found.offered) == ("late", State.QUEUED, False)
        in_time = await fire(stage, first_fact(time.time() - 30))
        await until(in_time, ended)
    assert len(ran) == 1


async def test_a_run_that_only_waited_for_a_worker_is_not_late(stage: Stage) -> None:
    """It was made in time: what counts is when its tick fired."""

    async def work() -> None: ...

    handle = await fire(stage, first_fact(time.time(), catch_up=0.0))
    await until(handle, lambda found: found.offered)
    async with stage.worker(timely(work)):
        assert (await until(handle, ended)).state is State.COMPLETED


async def test_a_tick_is_left_unstarted_while_the_one_before_runs(stage: Stage) -> None:
    go_on = asyncio.Event()

    async def work() -> None:
        await go_on.wait()

    now = time.time()
    async with stage.worker(timely(work)):
        first = await fire(stage, first_fact(now - 2))
        await until(first, lambda found: found.state is State.RUNNING)
        second = await fire(stage, first_fact(now - 1, before=first.id))
        found = await until(second, held)
        assert (found.held, found.attempt) == ("overlap", 0)
        go_on.set()
        await until(first, ended)
        third = await fire(stage, first_fact(now, before=first.id))
        await until(third, ended)


async def test_a_run_that_a_lagging_replica_does_not_show_yet_begins_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None: ...

    whole, lagged = Journal.messages, []

    async def lagging(self: Journal, run: str, first: int = 1) -> list[Any]:
        if self.bus is stage.client.bus or lagged:
            return await whole(self, run, first)
        lagged.append(run)
        return []

    async with stage.worker(timely(work)):
        monkeypatch.setattr(Journal, "messages", lagging)
        handle = await fire(stage, first_fact(time.time()))
        await until(handle, ended)
    assert lagged == [handle.id]


async def test_a_tick_whose_predecessor_is_unknown_runs(stage: Stage) -> None:
    async def work() -> None: ...

    async with stage.worker(timely(work)):
        handle = await fire(stage, first_fact(time.time(), before=ids.make(time.time(), bytes(10))))
        assert (await until(handle, ended)).state is State.COMPLETED


@asynccontextmanager
async def daemon(stage: Stage) -> AsyncIterator[None]:
    """What of the daemon has to do with schedules, on a connection of its own; gone then as by a kill."""
    journal = Journal(await stage._make())
    timetable = Timetable(journal)
    ledger = Ledger(journal.bus, 0, lambda run: 1)
    overlaps = Overlaps(journal, timetable, lambda: ledger.live, lambda: ledger.caught_up)

    async def follow() -> None:
        async for changes in ledger.changes():
            overlaps.take(changes)

    services = [asyncio.create_task(each) for each in (follow(), overlaps.run(), Scheduler(journal, timetable).run())]
    try:
        yield
        assert not any(service.done() for service in services), services
    finally:
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)


async def scheduled(stage: Stage) -> list[Run]:
    """The runs of ticks that came about, in the order of their ticks."""
    messages = await stage.client.bus.read(Stream.JOURNAL, stage.client.bus.subjects.journal)
    subjects = stage.client.bus.subjects
    found = {subjects.parse(message.subject).run for message in messages if ".ready." in message.subject}
    runs = [await stage.journal.load(run) for run in found]
    return sorted((run for run in runs if run.tick), key=lambda run: run.tick.at if run.tick else 0)


async def test_a_schedule_ticks_every_second_over_two_daemons_that_come_and_go(stage: Stage) -> None:
    ran: list[int] = []
    enough = asyncio.Event()

    async def work() -> None:
        ran.append(1)
        if len(ran) >= 4:
            enough.set()

    async with stage.worker(timely(work, schedule=Every(1))), asyncio.timeout(20):
        while not enough.is_set():
            async with daemon(stage), daemon(stage):
                before = len(ran)
                await eventually(lambda before=before: len(ran) > before)  # type: ignore[misc]
        runs = await scheduled(stage)
        for run in runs:
            await until(stage.client.run(run.id), lambda found: found.final or held(found))
        ticks = [run.tick.at for run in runs if run.tick]
    assert len(ticks) == len(set(ticks))
    assert len(ran) == sum(run.attempt == 1 for run in [await stage.journal.load(run.id) for run in runs])


async def test_a_buffered_tick_begins_when_the_one_before_has_ended(stage: Stage) -> None:
    spans: list[tuple[float, float]] = []
    enough = asyncio.Event()

    async def work() -> None:
        begun = time.time()
        await asyncio.sleep(1.3)
        spans.append((begun, time.time()))
        if len(spans) == 3:
            enough.set()

    async with stage.worker(timely(work, schedule=Every(1, overlap="buffer_all"))), daemon(stage), asyncio.timeout(20):
        await enough.wait()
    assert all(later >= ended for (_, ended), (later, _) in pairwise(spans))
