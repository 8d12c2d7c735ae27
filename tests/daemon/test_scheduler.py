"""The scheduler: it follows what tasks declare and operators say, and may come, go, and be there twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from holdfast.bus.clock import VirtualClock
from holdfast.bus.journal import Journal
from holdfast.bus.memory import MemoryBus
from holdfast.bus.ports import Publication
from holdfast.client import Client
from holdfast.core.entries import RunCreated
from holdfast.core.schedule import Schedule, run_id
from holdfast.errors import BusError
from holdfast.ticks import Cron, Every
from holdfast.timetable import Timetable
from holdfast.wire import api, codec
from holdfast.wire.schedules import SCHEDULE
from holdfast.wire.subjects import Stream
from holdfast_daemon.scheduler import Scheduler
from virtual import Project, turns

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC).timestamp()
HOURLY = Every(3600).of("sweep")


@pytest.fixture
def project() -> Project:
    return Project(VirtualClock(NOON))


async def declare(project: Project, *schedules: Schedule, task: str = "sweep", **options: Any) -> None:
    """What a worker says of its task."""
    card = api.TaskCard(id=task, queue="default", schedules=schedules, **options)
    await project.bus.put("task", task, codec.encode(card))
    await turns()


@asynccontextmanager
async def scheduling(project: Project, bus: MemoryBus | None = None) -> AsyncIterator[Scheduler]:
    """A scheduler at work for the time of the block, then gone as by a kill."""
    journal = Journal(bus or MemoryBus("shop", project.server), project.clock)
    scheduler = Scheduler(journal, Timetable(journal))
    service = asyncio.create_task(scheduler.run())
    try:
        await turns()
        yield scheduler
        await turns()
        assert not service.done(), service
    finally:
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)


async def elapse(project: Project, minutes: float) -> None:
    """Let time go by from one thing that is due to the next."""
    until = project.now + minutes * 60
    await turns()
    while (due := project.clock.next_due) is not None and due <= until:
        project.clock.advance(max(0.0, due - project.now))
        await turns()
    project.clock.advance(until - project.now)
    await turns()


async def ticks(project: Project) -> list[float]:
    """The nominal times of the runs that came about, in minutes since noon."""
    messages = await project.bus.read(Stream.JOURNAL, project.bus.subjects.journal)
    entries = [codec.decode_entry(message.data) for message in messages if ".ready." in message.subject]
    return [(run.tick.at - NOON) / 60 for run in entries if isinstance(run, RunCreated) and run.tick is not None]


async def parked(project: Project) -> list[str]:
    messages = await project.bus.read(Stream.JOURNAL, "hf.shop.j.*.timer.>")
    return [project.bus.subjects.parse(message.subject).run for message in messages]


async def test_what_a_task_declares_ticks(project: Project) -> None:
    async with scheduling(project):
        await declare(project, HOURLY)
        assert await parked(project) == [run_id("sweep", NOON + 3600)]
        await elapse(project, 185)
    assert await ticks(project) == [60, 120, 180]


async def test_a_schedule_over_a_change_of_the_clocks() -> None:
    zone = ZoneInfo("Europe/Paris")
    project = Project(VirtualClock(datetime(2027, 10, 30, 12, tzinfo=zone).timestamp()))
    await declare(project, Cron("30 2 * * *", tz="Europe/Paris").of("sweep"))
    async with scheduling(project):
        await elapse(project, 2 * 24 * 60)
    found = [datetime.fromtimestamp(NOON + minutes * 60, zone) for minutes in await ticks(project)]
    assert [f"{at:%d %H:%M %z}" for at in found] == ["31 02:30 +0200", "31 02:30 +0100", "01 02:30 +0100"]


async def test_schedules_that_were_there_before_it_are_found(project: Project) -> None:
    await declare(project, HOURLY, Every(1800, name="half").of("sweep"))
    await declare(project, Every(7200).of("rare"), task="rare")
    async with scheduling(project):
        assert len(await parked(project)) == 3
        await elapse(project, 125)
    assert await ticks(project) == [30, 60, 60, 90, 120, 120, 120]


async def test_the_same_card_again_changes_nothing(project: Project) -> None:
    await declare(project, HOURLY)
    async with scheduling(project):
        before = await project.bus.last_seq(Stream.JOURNAL)
        await declare(project, HOURLY)
        assert await project.bus.last_seq(Stream.JOURNAL) == before


async def test_a_schedule_that_the_code_declares_no_more_is_taken_out_of_the_server(project: Project) -> None:
    await declare(project, HOURLY)
    async with scheduling(project):
        await declare(project)
        assert await parked(project) == []
        await elapse(project, 120)
    assert await ticks(project) == []


async def test_one_that_vanished_while_it_was_away_is_taken_out_too(project: Project) -> None:
    await declare(project, HOURLY)
    async with scheduling(project):
        pass
    await declare(project)
    assert len(await parked(project)) == 1
    async with scheduling(project):
        assert await parked(project) == []
    assert await Timetable(project.journal).names() == []


async def test_a_deploy_with_another_rhythm_takes_the_place_of_the_one_before(project: Project) -> None:
    await declare(project, HOURLY)
    async with scheduling(project):
        await elapse(project, 30)
        await declare(project, Every(600).of("sweep"))
        await elapse(project, 31)
    assert await ticks(project) == [40, 50, 60]


async def test_a_tick_fires_while_it_is_away_and_the_others_are_caught_up_with(project: Project) -> None:
    await declare(project, Every(3600, overlap="buffer_all", catch_up=7200).of("sweep"))
    async with scheduling(project):
        await elapse(project, 30)
    await elapse(project, 300)  # 17:30
    assert await ticks(project) == [60]
    async with scheduling(project):
        assert await ticks(project) == [60, 240, 300]
        state, _ = await Timetable(project.journal).standing("sweep")
        assert state is not None
        assert (state.missed, state.skipped) == (2, 0)
        await elapse(project, 40)
    assert await ticks(project) == [60, 240, 300, 360]


async def test_two_at_once_make_one_run_for_each_tick(project: Project) -> None:
    await declare(project, Every(600).of("sweep"))
    async with scheduling(project), scheduling(project):
        await elapse(project, 61)
        assert len(await parked(project)) == 1
    assert await ticks(project) == [10, 20, 30, 40, 50, 60]


async def test_it_may_be_stopped_and_run_again_at_any_moment(project: Project) -> None:
    """As whoever leads does: for a few turns of the loop, now and then."""
    await declare(project, Every(600).of("sweep"))
    async with scheduling(project):
        pass
    journal = Journal(project.bus, project.clock)
    scheduler = Scheduler(journal, Timetable(journal))
    for count in range(60):
        service = asyncio.create_task(scheduler.run())
        await turns(count)
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)
        project.clock.advance(60)
    async with scheduling(project):
        await elapse(project, 1)
    assert await ticks(project) == [10, 20, 30, 40, 50, 60]


async def test_what_an_operator_does_is_heard(project: Project) -> None:
    client = Client(project.bus, name="me", clock=project.clock)
    await declare(project)
    async with scheduling(project):
        await client.create_schedule("mine", "sweep", Every(600))
        await elapse(project, 25)
        await client.pause_schedule("mine")
        await elapse(project, 30)
        await client.resume_schedule("mine")
        await elapse(project, 10)
        await client.create_schedule("mine", "sweep", Every(300), replace=True)
        await elapse(project, 11)
        await client.delete_schedule("mine")
        await elapse(project, 60)
        assert await parked(project) == []
    assert await ticks(project) == [10, 20, 60, 70, 75]


async def test_an_operators_words_hold_while_it_is_away(project: Project) -> None:
    client = Client(project.bus, name="me", clock=project.clock)
    await declare(project, HOURLY)
    async with scheduling(project):
        pass
    await client.pause_schedule("sweep")
    assert await parked(project) == []
    await elapse(project, 150)
    await client.resume_schedule("sweep")
    assert await parked(project) == [run_id("sweep", NOON + 3 * 3600)]
    await client.create_schedule("mine", "sweep", Every(600))
    await elapse(project, 35)
    assert await ticks(project) == [160, 180]
    await client.delete_schedule("mine")
    async with scheduling(project):
        await elapse(project, 60)
    assert await ticks(project) == [160, 180, 240]


async def test_what_a_task_declares_hides_what_an_operator_created(project: Project) -> None:
    client = Client(project.bus, name="me", clock=project.clock)
    await declare(project)
    async with scheduling(project):
        await client.create_schedule("sweep", "sweep", Every(60))
        await declare(project, HOURLY)
        await elapse(project, 65)
        assert await ticks(project) == [60]
        await client.delete_schedule("sweep")  # the hidden one goes, the other stays
        await elapse(project, 60)
    assert await ticks(project) == [60, 120]


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",
        codec.encode({"schedule": 1}),
        *(
            codec.encode({"schedule": {"name": "odd", "task": "sweep", **odd}, "by": "", "at": 1.0})
            for odd in (
                {},
                {"cron": "61 * * * *"},
                {"cron": "* * * * *", "tz": "Mars/Phobos"},
                {"every": 60.0, "priority": 77},
                {"every": 0.0},
                {"every": 60.0, "cron": "* * * * *"},
            )
        ),
    ],
)
async def test_a_schedule_that_it_does_not_understand_stops_no_other_one(project: Project, data: bytes) -> None:
    await project.bus.put(SCHEDULE, "odd", data)
    async with scheduling(project):
        await declare(project, HOURLY)
        await project.bus.put(SCHEDULE, "odder", data)
        await elapse(project, 65)
    assert await ticks(project) == [60]


async def test_a_server_that_refuses_for_a_while_is_asked_again(project: Project) -> None:
    refusing = True

    class Refusing(MemoryBus):
        async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
            if refusing:
                return [BusError("not now") for _ in messages]
            return await super().publish_many(messages)

    await declare(project, HOURLY)
    async with scheduling(project, Refusing("shop", project.server)):
        await elapse(project, 1)
        assert await parked(project) == []
        refusing = False
        await elapse(project, 0.1)
        assert len(await parked(project)) == 1


async def test_hundreds_of_schedules_are_attended_to(project: Project) -> None:
    await declare(project, *(Every(60, name=f"n{number}").of("sweep") for number in range(300)))
    async with scheduling(project):
        await turns(3000)
        assert len(await parked(project)) == 300
