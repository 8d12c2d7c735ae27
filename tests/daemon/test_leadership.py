"""Of several daemons one conducts: the first, then another when that one is gone; never two that the server hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from anyio.abc import TaskStatus

from holdfast.bus.journal import Journal
from holdfast.bus.ports import Bus
from holdfast.errors import Fenced
from holdfast.wire import api
from holdfast.wire.subjects import Stream
from holdfast_daemon.leadership import Leadership, Led, Reign
from stage import Stage

SOON = 10.0


class Candidate:
    """A daemon, as far as it wants to conduct; killed by doing nothing more."""

    def __init__(self, bus: Bus, name: str) -> None:
        self.bus = bus
        self.leadership = Leadership(Journal(bus), name, station=name.partition("-")[0], position=lambda: 1 << 60)
        self._running = asyncio.create_task(self.leadership.run())

    async def kill(self) -> None:
        """Gone without a word."""
        self.leadership._leave = _silently  # type: ignore[method-assign]
        await self.leave()

    async def leave(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])


async def _silently() -> None:
    pass


@asynccontextmanager
async def candidates(stage: Stage, *names: str) -> AsyncIterator[list[Candidate]]:
    found = []
    try:
        for name in names:
            found.append(Candidate(await stage._make(), name))
            await eventually(lambda: any(one.leadership.leads for one in found))
        yield found
    finally:
        for one in found:
            await one.leave()


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110  it is looked at from outside
            await asyncio.sleep(0.01)


async def test_the_first_conducts_at_once_and_the_second_waits(stage: Stage) -> None:
    async with candidates(stage, "a-1", "b-1") as (first, second):
        await asyncio.wait_for(first.leadership.gained(), SOON)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.leadership.gained(), 2.5)
        assert first.leadership.leads


async def test_another_takes_over_from_one_that_is_silent(stage: Stage) -> None:
    async with candidates(stage, "a-1", "b-1", "c-1") as (first, second, third):
        await first.kill()
        # One that stalls longer than a term is overtaken in turn, and is refused until it hears of that.
        await eventually(lambda: second.leadership.leads != third.leadership.leads)


async def test_one_that_leaves_need_not_be_waited_for(stage: Stage) -> None:
    async with candidates(stage, "a-1") as (first,):
        await first.leave()
        record = await stage.client.bus.last(Stream.JOURNAL, stage.client.bus.subjects.lead)
        assert record is not None
        assert api.decode(record.data, Reign) == Reign("a-1", vacant=True)
        async with candidates(stage, "b-1") as (second,):
            assert second.leadership.leads


async def test_a_daemon_that_lives_anew_does_not_wait_for_its_former_life(stage: Stage) -> None:
    async with candidates(stage, "a-1") as (first,):
        await first.kill()
        async with candidates(stage, "a-2") as (second,):
            assert second.leadership.leads


async def test_who_was_stopped_and_comes_back_is_refused_and_steps_down(stage: Stage) -> None:
    async with candidates(stage, "a-1") as (first,):
        fence, subjects = first.leadership.fence, first.bus.subjects
        hear = first.leadership._step
        stopped = asyncio.Event()

        async def stands_still(*, first: bool = False) -> None:
            await stopped.wait()
            await hear(first=first)

        first.leadership._step = stands_still  # type: ignore[method-assign]
        second = Candidate(await stage._make(), "b-1")
        await eventually(lambda: second.leadership.leads)
        assert first.leadership.leads, "it does not know"
        with pytest.raises(Fenced):
            await first.bus.publish(subjects.go("R", "q"), b"x", fence=fence, dedupe="x")
        await second.bus.publish(subjects.go("R", "q"), b"x", fence=second.leadership.fence, dedupe="x")
        stopped.set()
        await asyncio.wait_for(first.leadership.lost(), SOON)
        await second.leave()


async def test_who_takes_over_knows_first_all_that_was_done_before(stage: Stage) -> None:
    position = 0
    bus = await stage._make()
    leadership = Leadership(Journal(bus), "a-1", station="a", position=lambda: position)
    running = asyncio.create_task(leadership.run())
    await eventually(lambda: bool(leadership._term))
    assert not leadership.leads
    position = leadership._term
    await asyncio.wait_for(leadership.gained(), SOON)
    running.cancel()
    await asyncio.wait([running])


class Duty:
    """A service that says when it runs."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    async def run(self, *, task_status: TaskStatus[None] | None = None) -> None:
        self.begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


async def test_a_led_service_runs_while_its_daemon_conducts(stage: Stage) -> None:
    async with candidates(stage, "a-1") as (first,):
        duty = Duty()
        led = asyncio.create_task(Led(first.leadership, duty).run())
        await eventually(lambda: duty.begun == 1)
        first.leadership.depose()
        await eventually(lambda: duty.ended == 1)
        await eventually(lambda: duty.begun == 2)
        led.cancel()
        await asyncio.wait([led])
        assert duty.ended == 2
