"""Overlaps: what becomes of runs that workers left unstarted, by each rule, whoever decides and wherever he dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast.bus.clock import VirtualClock
from holdfast.bus.journal import Journal
from holdfast.bus.memory import MemoryBus
from holdfast.core.entries import Held, RunCompleted, RunCreated, RunDead, Suspended
from holdfast.core.model import ErrorInfo, Hook, State, Tick
from holdfast.core.schedule import run_id
from holdfast.timetable import Timetable
from holdfast.wire import codec
from holdfast.wire.schedules import TICK, Ticking
from holdfast.wire.subjects import Stream
from holdfast.wire.values import encode_value
from holdfast_daemon.ledger import Ledger
from holdfast_daemon.overlap import Overlaps
from virtual import Project, turns

NOON = 1_798_804_800.0
PAYLOAD = encode_value({"shard": 1})


class Line:
    """The runs of one schedule's ticks, a minute apart."""

    def __init__(self, overlap: str) -> None:
        self.project = Project(VirtualClock(NOON))
        self._overlap = overlap
        self._count = 0

    async def tick(self, **options: Any) -> str:
        """The next tick's run comes about; its id."""
        at, count = NOON + self._count * 60, self._count
        self._count += 1
        before = "" if count == 0 else run_id("sweep", at - 60)
        tick = Tick("sweep", at, before, 1, 3600.0, self._overlap)
        run = RunCreated(run_id("sweep", at), at, "sweep", PAYLOAD, source="schedule sweep", tick=tick, **options)
        await self.project.journal.create(run)
        return run.run

    async def held(self, why: str = "overlap", **options: Any) -> str:
        """The next tick's run comes about, and a worker leaves it unstarted."""
        run = await self.tick(**options)
        await self.project.write(run, Held(self.project.now, why))
        await turns()
        return run

    async def running(self) -> str:
        """The next tick's run comes about and begins."""
        run = await self.tick()
        await self.project.start(run)
        await turns()
        return run

    async def end(self, run: str) -> None:
        await self.project.write(run, RunCompleted(self.project.now, b"\xc0"))
        await self.project.elapse(0.5)

    async def states(self) -> list[str]:
        """Of the runs, in the order of their ticks; `offered` where one waits for a worker."""
        runs = [await self.project.load(run_id("sweep", NOON + n * 60)) for n in range(self._count)]
        return ["offered" if run.state is State.QUEUED and run.offered else run.state.value for run in runs]

    async def counts(self) -> tuple[int, int]:
        """Missed and skipped."""
        state, _ = await Timetable(self.project.journal).standing("sweep")
        assert state is not None
        return state.missed, state.skipped

    async def offers(self, run: str) -> int:
        return (await self.project.names(run)).count("Offered")

    @asynccontextmanager
    async def decided(self, bus: MemoryBus | None = None) -> AsyncIterator[Overlaps]:
        """Somebody decides for the time of the block, and is gone then as by a kill."""
        journal = Journal(bus or MemoryBus("shop", self.project.server), self.project.clock)
        ledger = Ledger(journal.bus, 0, lambda run: 1)
        overlaps = Overlaps(journal, Timetable(journal), lambda: ledger.live, lambda: ledger.caught_up)

        async def follow() -> None:
            async for changes in ledger.changes():
                overlaps.take(changes)

        services = [asyncio.create_task(follow()), asyncio.create_task(overlaps.run())]
        try:
            await self.project.elapse(0.5)
            yield overlaps
            await self.project.elapse(0.5)
            assert not any(service.done() for service in services), services
        finally:
            for service in services:
                service.cancel()
            await asyncio.gather(*services, return_exceptions=True)


async def line(overlap: str) -> Line:
    made = Line(overlap)
    standing = Ticking(since=NOON, rhythm="r", digest="d")
    await made.project.bus.put(TICK, "sweep", codec.encode(standing))
    return made


# --- each rule


async def test_a_tick_is_skipped_while_the_one_before_runs() -> None:
    sweep = await line("skip")
    async with sweep.decided():
        await sweep.running()
        skipped = await sweep.held(hooks=(Hook("cancel", "note"),))
        await sweep.project.elapse(0.5)
        assert await sweep.states() == ["running", "cancelled"]
        run = await sweep.project.load(skipped)
        assert (run.payload, run.source, run.followed) == (PAYLOAD, "schedule sweep", True)
        assert run.reason == f"skipped: run {run_id('sweep', NOON)} of a tick before has not ended"
        assert await sweep.counts() == (0, 1)
    messages = await sweep.project.bus.read(Stream.JOURNAL, f"hf.shop.j.{skipped}.ready.>")
    assert messages == []


async def test_ticks_behind_a_skipped_one_see_the_one_that_runs() -> None:
    sweep = await line("skip")
    async with sweep.decided():
        first = await sweep.running()
        for _ in range(5):
            last = await sweep.held()
            await sweep.project.elapse(0.5)
        assert await sweep.states() == ["running"] + ["cancelled"] * 5
        run = await sweep.project.load(last)
        assert run.tick is not None
        assert run.tick.before == first  # not by way of the others: the way would grow with every tick
        await sweep.end(first)
        await sweep.held()
        await sweep.project.elapse(0.5)
        assert await sweep.states() == ["completed"] + ["cancelled"] * 5 + ["offered"]


async def test_a_tick_that_came_too_late_is_missed_whatever_runs() -> None:
    for overlap in ("skip", "buffer_one", "buffer_all", "cancel_other", "allow"):
        sweep = await line(overlap)
        async with sweep.decided():
            await sweep.running()
            await sweep.held("late")
            await sweep.project.elapse(0.5)
            assert await sweep.states() == ["running", "cancelled"]
            assert await sweep.counts() == (1, 0)
            assert (await sweep.project.load(run_id("sweep", NOON + 60))).reason == (
                "its tick of 2027-01-01 12:01:00 UTC came too late"
            )


async def test_one_waits_and_the_others_are_skipped() -> None:
    sweep = await line("buffer_one")
    async with sweep.decided():
        first = await sweep.running()
        buffered = await sweep.held()
        await sweep.held()
        await sweep.held()
        await sweep.project.elapse(0.5)
        assert await sweep.states() == ["running", "queued", "cancelled", "cancelled"]
        await sweep.end(first)
        assert await sweep.states() == ["completed", "offered", "cancelled", "cancelled"]
        await sweep.project.start(buffered)
        await sweep.held()
        await sweep.held()
        await sweep.project.elapse(0.5)
        assert (await sweep.states())[1:] == ["running", "cancelled", "cancelled", "queued", "cancelled"]
    assert await sweep.counts() == (0, 3)


async def test_all_wait_and_come_in_their_order() -> None:
    sweep = await line("buffer_all")
    async with sweep.decided():
        last = await sweep.running()
        waiting = [await sweep.held() for _ in range(3)]
        for run in waiting:
            await sweep.end(last)
            assert (await sweep.states()).count("offered") == 1
            assert (await sweep.project.load(run)).offered
            await sweep.project.start(run)
            last = run
        assert await sweep.states() == ["completed"] * 3 + ["running"]
        assert await sweep.counts() == (0, 0)


async def test_the_run_before_is_asked_to_end_and_then_the_next_one_comes() -> None:
    sweep = await line("cancel_other")
    async with sweep.decided():
        first = await sweep.running()
        await sweep.held()
        await sweep.project.elapse(0.5)
        run = await sweep.project.load(first)
        assert (run.state, run.cancel_requested) == (State.RUNNING, True)
        assert run.reason == "the tick of 2027-01-01 12:01:00 UTC takes its place"
        assert (await sweep.project.names(first)).count("CancelRequested") == 1
        await sweep.end(first)
        assert await sweep.states() == ["cancelled", "offered"]


async def test_a_later_tick_takes_the_place_of_one_that_waits() -> None:
    sweep = await line("cancel_other")
    async with sweep.decided():
        first = await sweep.running()
        for _ in range(3):
            await sweep.held()
        await sweep.project.elapse(0.5)
        assert await sweep.states() == ["running", "cancelled", "cancelled", "queued"]
        await sweep.end(first)
        assert await sweep.states() == ["cancelled", "cancelled", "cancelled", "offered"]
    assert await sweep.counts() == (0, 2)


async def test_a_run_that_waits_or_compensates_has_not_ended() -> None:
    sweep = await line("skip")
    async with sweep.decided():
        run = await sweep.tick()
        await sweep.project.start(run, Suspended(NOON, (), NOON + 3600))
        await sweep.held()
        await sweep.project.elapse(0.5)
        assert await sweep.states() == ["waiting", "cancelled"]


async def test_a_run_that_failed_has_ended() -> None:
    sweep = await line("skip")
    async with sweep.decided():
        run = await sweep.tick()
        await sweep.project.start(run, RunDead(NOON, ErrorInfo("E", "no"), "aborted"))
        await sweep.held()
        await sweep.project.elapse(0.5)
        assert await sweep.states() == ["dead", "offered"]


async def test_a_run_whose_predecessor_nobody_knows_is_offered() -> None:
    sweep = await line("skip")
    sweep._count = 1  # the first one is not in the journal
    async with sweep.decided():
        run = await sweep.held()
        await sweep.project.elapse(0.5)
        assert (await sweep.project.load(run)).offered


# --- being away, being two, dying


async def test_what_was_held_while_it_was_away_is_decided_when_it_is_back() -> None:
    sweep = await line("skip")
    await sweep.running()
    await sweep.held()
    await sweep.held("late")
    async with sweep.decided():
        assert await sweep.states() == ["running", "cancelled", "cancelled"]
    assert await sweep.counts() == (1, 1)


async def test_a_run_that_waited_is_offered_although_the_end_was_not_heard() -> None:
    sweep = await line("buffer_one")
    async with sweep.decided():
        first = await sweep.running()
        waiting = await sweep.held()
    await sweep.end(first)
    assert await sweep.states() == ["completed", "queued"]
    async with sweep.decided():
        assert await sweep.states() == ["completed", "offered"]
    async with sweep.decided():
        pass
    assert await sweep.offers(waiting) == 1


async def test_two_decide_once() -> None:
    sweep = await line("buffer_one")
    async with sweep.decided(), sweep.decided():
        first = await sweep.running()
        waiting = await sweep.held()
        await sweep.held()
        await sweep.project.elapse(1.5)
        await sweep.end(first)
        await sweep.project.elapse(1.5)
        assert await sweep.states() == ["completed", "offered", "cancelled"]
    assert await sweep.offers(waiting) == 1
    assert await sweep.counts() == (0, 1)


@pytest.mark.parametrize("overlap", ["skip", "buffer_one", "cancel_other"])
@pytest.mark.parametrize("write", range(1, 8))
async def test_a_death_at_any_write_is_made_good_by_whoever_comes_next(overlap: str, write: int) -> None:
    sweep = await line(overlap)
    first = await sweep.running()
    await sweep.held()
    await sweep.held()
    dying = Dying("shop", sweep.project.server)
    dying.left = write
    async with sweep.decided(dying):
        await sweep.project.elapse(0.5)
    async with sweep.decided():
        await sweep.end(first)
    expected = {
        "skip": ["completed", "cancelled", "cancelled"],
        "buffer_one": ["completed", "offered", "cancelled"],
        "cancel_other": ["cancelled", "cancelled", "offered"],
    }
    assert await sweep.states() == expected[overlap]
    assert await sweep.counts() == (0, 2 if overlap == "skip" else 1)


class Dying(MemoryBus):
    """A bus that takes no more after so many messages, nor says anything."""

    left = 0

    async def publish(self, *args: Any, **options: Any) -> int:
        if self.left <= 0:
            await asyncio.Event().wait()
        self.left -= 1
        return await super().publish(*args, **options)

    async def purge(self, *args: Any) -> int:
        if self.left <= 0:
            await asyncio.Event().wait()
        self.left -= 1
        return await super().purge(*args)
