"""The timetable: one run for each tick, whoever keeps it, how many do, and wherever they die."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.bus.clock import VirtualClock
from holdfast.bus.journal import Journal
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.bus.ports import Publication
from holdfast.catalogue import Planned
from holdfast.core.entries import RunCreated
from holdfast.core.lifecycle import fold
from holdfast.core.model import Hook, State, Timeouts
from holdfast.core.schedule import SLACK, Schedule, run_id
from holdfast.errors import UnknownRun
from holdfast.history import History
from holdfast.ticks import Cron, Scheduled, after, tell
from holdfast.timetable import Timetable
from holdfast.triggering import Settings
from holdfast.wire import codec
from holdfast.wire.schedules import TICK, Pause, Ticking
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value, encode_value

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC).timestamp()
HOURLY = Schedule(name="sweep", task="sweep", every=3600.0, catch_up=2 * 3600.0)


class Town:
    """A project whose clock is moved; whoever keeps its timetable is made by the test."""

    def __init__(self, now: float = NOON) -> None:
        self.clock = VirtualClock(now)
        self.server = MemoryServer(self.clock)
        self.journal = self.connection()

    def connection(self, bus: type[MemoryBus] = MemoryBus, **options: Any) -> Journal:
        return Journal(bus("shop", self.server, **options), self.clock)

    @property
    def bus(self) -> MemoryBus:
        bus = self.journal.bus
        assert isinstance(bus, MemoryBus)
        return bus

    async def fired(self) -> list[RunCreated]:
        """The first facts that became work items, in order."""
        messages = await self.bus.read(Stream.JOURNAL, self.bus.subjects.journal)
        entries = [codec.decode_entry(message.data) for message in messages if ".ready." in message.subject]
        return [entry for entry in entries if isinstance(entry, RunCreated)]

    async def ticks(self) -> list[float]:
        """The nominal times of the runs that came about, in minutes since noon."""
        return [(run.tick.at - NOON) / 60 for run in await self.fired() if run.tick is not None]

    async def parked(self) -> list[str]:
        """The runs whose timers stand."""
        messages = await self.bus.read(Stream.JOURNAL, f"{self.bus.subjects.root}.j.*.timer.>")
        return [self.bus.subjects.parse(message.subject).run for message in messages]

    async def state(self, name: str = "sweep") -> Ticking:
        state, _ = await Timetable(self.journal).standing(name)
        assert state is not None
        return state

    def advance(self, *, minutes: float = 0.0, seconds: float = 0.0) -> None:
        self.clock.advance(minutes * 60 + seconds)


def planned(schedule: Schedule = HOURLY, **changes: Any) -> Planned:
    paused, since = changes.pop("paused", False), changes.pop("since", None)
    settings, takes_tick = changes.pop("settings", Settings()), changes.pop("takes_tick", False)
    pause = Pause(paused=True, by="me", at=0.0) if paused else None
    return Planned(replace(schedule, **changes), settings, takes_tick, since, "", pause)


async def keep(town: Town, one: Planned, *, minutes: float, table: Timetable | None = None) -> None:
    """Keep the timetable of one schedule for a while, as the daemon does."""
    until = town.clock.now() + minutes * 60
    table = table or Timetable(town.journal)
    at = await table.attend(one)
    while at <= until:
        town.clock.advance(max(0.0, at - town.clock.now()))
        at = await table.attend(one)
    town.clock.advance(until - town.clock.now())


# --- one tick after the other


async def test_the_next_tick_stands_in_the_server_and_fires_with_nobody_there() -> None:
    town = Town()
    assert await Timetable(town.journal).attend(planned()) == NOON + 3600
    assert await town.parked() == [run_id("sweep", NOON + 3600)]
    town.advance(minutes=61)
    (run,) = await town.fired()
    assert (run.run, run.task, run.source) == (run_id("sweep", NOON + 3600), "sweep", "schedule sweep")
    assert (run.at, run.due) == (NOON + 3600, NOON + 3600)
    assert await town.parked() == []


async def test_a_parked_tick_is_no_run_before_it_fires() -> None:
    town = Town()
    await Timetable(town.journal).attend(planned())
    id = run_id("sweep", NOON + 3600)
    with pytest.raises(UnknownRun):
        await town.journal.load(id)
    with pytest.raises(UnknownRun):
        await History.of(town.journal, id)
    town.advance(minutes=60)
    run = await town.journal.load(id)
    assert (run.state, run.scheduled_at, run.offered) == (State.QUEUED, NOON + 3600, True)


async def test_each_tick_names_the_run_before_it() -> None:
    town = Town()
    await keep(town, planned(), minutes=190)
    first, second, third = [run.tick for run in await town.fired()]
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.before, second.before, third.before) == ("", *(run_id("sweep", NOON + n * 3600) for n in (1, 2)))
    assert (second.schedule, second.catch_up, second.overlap) == ("sweep", 7200.0, "skip")
    assert (await town.journal.load(third.before, third.before_first)).tick == second


async def test_where_runs_may_overlap_none_is_named() -> None:
    town = Town()
    await keep(town, planned(overlap="allow"), minutes=190)
    assert [run.tick and run.tick.before for run in await town.fired()] == ["", "", ""]


async def test_jitter_moves_what_is_due_and_not_what_is_told() -> None:
    town = Town()
    one = planned(jitter=600.0)
    at = await Timetable(town.journal).attend(one)
    assert at == NOON + 3600 + one.schedule.offset
    town.clock.advance(at - NOON - 0.001)
    assert await town.fired() == []
    town.clock.advance(0.002)
    (run,) = await town.fired()
    assert run.tick is not None
    assert (run.tick.at, run.due, run.run) == (NOON + 3600, at, run_id("sweep", NOON + 3600))


async def test_a_run_is_made_of_its_task_and_schedule() -> None:
    town = Town()
    settings = Settings(
        queue="slow", priority=7, ttl=60.0, timeouts=Timeouts(schedule_to_close=100), hooks=(Hook("success", "h"),)
    )
    payload = encode_value({"shard": 3})
    await keep(town, planned(settings=settings, payload=payload, jitter=60.0), minutes=65)
    (run,) = await town.fired()
    assert run.due is not None
    assert (run.queue, run.priority, run.hooks, decode_value(run.payload)) == ("slow", 7, settings.hooks, {"shard": 3})
    assert (run.expires, run.timeouts) == (pytest.approx(run.due + 60.0), settings.timeouts)
    folded = await town.journal.load(run.run)
    assert folded.deadline == run.due + 100


async def test_the_projects_time_to_live_counts_from_when_a_tick_is_due() -> None:
    town = Town()
    await keep(town, planned(), minutes=65, table=Timetable(town.journal, ttl=30.0))
    (run,) = await town.fired()
    assert run.expires == NOON + 3630


async def test_a_task_that_takes_the_tick_is_given_it() -> None:
    town = Town()
    one = planned(takes_tick=True, payload=encode_value({"shard": 3}))
    await keep(town, one, minutes=125)
    payloads = [decode_value(run.payload) for run in await town.fired()]
    assert payloads[1] == {
        "shard": 3, "tick": tell(one.schedule, NOON + 7200, NOON + 3600, NOON + 3 * 3600)
    }  # fmt: skip
    assert isinstance(payloads[0]["tick"], Scheduled)
    assert payloads[0]["tick"].previous is None


async def test_a_schedule_that_runs_out_is_over() -> None:
    town = Town()
    leap = replace(Cron("0 0 29 2 MON#5").of("sweep"), name="sweep")  # never within sight, nor an error
    assert await Timetable(town.journal).attend(planned(leap)) > NOON
    only = planned(replace(HOURLY, every=None, cron="0 13 1 1 *"))
    assert await Timetable(town.journal).attend(only) == NOON + 3600


# --- catching up


@pytest.mark.parametrize("overlap", ["skip", "buffer_one", "cancel_other"])
async def test_missed_ticks_run_once_and_older_ones_are_counted(overlap: str) -> None:
    town = Town()
    one = planned(overlap=overlap)
    await keep(town, one, minutes=30)
    town.advance(minutes=6 * 60)  # one tick fires by itself, at 13:00
    await keep(town, one, minutes=1)
    assert await town.ticks() == [60, 360]
    state = await town.state()
    assert (state.missed, state.skipped) == (3, 1)  # 14, 15 and 16 o'clock are older than two hours, 17 is not
    assert await town.parked() == [run_id("sweep", NOON + 7 * 3600)]


@pytest.mark.parametrize("overlap", ["buffer_all", "allow"])
async def test_missed_ticks_run_each_where_each_counts(overlap: str) -> None:
    town = Town()
    one = planned(overlap=overlap)
    await keep(town, one, minutes=30)
    town.advance(minutes=6 * 60)
    await keep(town, one, minutes=1)
    assert await town.ticks() == [60, 300, 360]
    assert ((await town.state()).missed, (await town.state()).skipped) == (3, 0)


async def test_ticks_that_are_caught_up_run_at_once_are_not_late_and_know_their_order() -> None:
    town = Town()
    one = planned(overlap="buffer_all")
    await keep(town, one, minutes=30)
    town.advance(minutes=6 * 60)
    await keep(town, one, minutes=1)
    parked, fifth, sixth = await town.fired()
    assert fifth.tick is not None
    assert sixth.tick is not None
    assert (fifth.due, fifth.tick.catch_up, fifth.at) == (None, None, NOON + 390 * 60)
    assert (fifth.tick.before, sixth.tick.before) == (parked.run, fifth.run)
    assert (await town.journal.load(fifth.run, sixth.tick.before_first)).id == fifth.run


async def test_a_parked_tick_that_fired_late_stands_for_those_missed_behind_it() -> None:
    """The server was away too: what it held fires when it is back, and that is the once."""
    town = Town()
    one = planned()
    await keep(town, one, minutes=30)
    await fire_late(town, minutes=150)  # at 15:00
    await keep(town, one, minutes=1)
    assert await town.ticks() == [60]
    assert ((await town.state()).missed, (await town.state()).skipped) == (0, 2)


async def test_a_parked_tick_that_fired_too_late_does_not() -> None:
    """Nobody will run it, so the last missed one does."""
    town = Town()
    one = planned()
    await keep(town, one, minutes=30)
    await fire_late(town, minutes=270)  # at 17:00, four hours late
    await keep(town, one, minutes=1)
    assert await town.ticks() == [60, 300]
    assert ((await town.state()).missed, (await town.state()).skipped) == (1, 2)


async def fire_late(town: Town, *, minutes: float) -> None:
    """The server is away for a while; then what was due fires at once."""
    subjects = town.bus.subjects
    timers = await town.bus.read(Stream.JOURNAL, f"{subjects.root}.j.*.timer.>")
    for timer in timers:
        await town.bus.purge(Stream.JOURNAL, timer.subject)
    town.advance(minutes=minutes)
    for timer in timers:
        run = codec.decode_entry(timer.data)
        assert isinstance(run, RunCreated)
        target = subjects.ready(run.run, run.queue, run.priority)
        await town.bus.publish_at(timer.subject, timer.data, due=run.due or 0.0, target=target)
    town.clock.advance(0.0)


async def test_a_moment_late_is_not_missed() -> None:
    town = Town()
    one = planned(every=60.0, catch_up=0.0)
    await keep(town, one, minutes=0.5)
    town.advance(seconds=30 + 60 + SLACK - 1)  # the tick of 12:02 was not parked in time
    await keep(town, one, minutes=0)
    assert await town.ticks() == [1, 2]
    assert (await town.state()).missed == 0


async def test_ticks_before_a_schedule_was_known_were_not_missed() -> None:
    town = Town()
    await Timetable(town.journal).attend(planned(every=60.0))
    assert await town.ticks() == []
    assert (await town.state()).missed == 0


async def test_ticks_since_an_operator_created_a_schedule_were_missed_while_nobody_kept_it() -> None:
    town = Town()
    town.advance(minutes=90)
    await Timetable(town.journal).attend(planned(since=NOON))
    assert await town.ticks() == [60]


async def test_a_timer_that_is_gone_is_noticed_and_its_tick_runs_late() -> None:
    town = Town()
    one = planned()
    await keep(town, one, minutes=30)
    await town.bus.purge(Stream.JOURNAL, f"{town.bus.subjects.root}.j.*.timer.>")
    table = Timetable(town.journal)
    town.advance(minutes=30)
    assert await table.attend(one) == pytest.approx(town.clock.now() + 0.1)  # it may be about to fire
    town.advance(seconds=SLACK)
    await table.attend(one)
    assert await town.ticks() == [60]
    assert await town.parked() == [run_id("sweep", NOON + 7200)]


async def test_a_timer_that_is_gone_is_set_again_where_its_time_has_not_come() -> None:
    town = Town()
    one = planned()
    await keep(town, one, minutes=30)
    await town.bus.purge(Stream.JOURNAL, f"{town.bus.subjects.root}.j.*.timer.>")
    await Timetable(town.journal).attend(one)
    assert await town.parked() == [run_id("sweep", NOON + 3600)]


async def test_a_year_of_missed_ticks_is_counted_and_others_have_their_turn() -> None:
    town = Town()
    one = planned(replace(HOURLY, every=None, cron="0 * * * *"))
    await keep(town, one, minutes=30)
    town.advance(minutes=365 * 24 * 60)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(others())
    await Timetable(town.journal).attend(one)
    other.cancel()
    state = await town.state()
    assert state.missed + state.skipped + len(await town.fired()) == 365 * 24
    assert turns >= 365 * 24 // 500


# --- changes


async def test_while_paused_nothing_stands_in_the_server_and_nothing_is_missed() -> None:
    town = Town()
    await keep(town, planned(), minutes=30)
    table = Timetable(town.journal)
    assert await table.attend(planned(paused=True)) == math.inf
    assert await town.parked() == []
    town.advance(minutes=600)
    assert await table.attend(planned(paused=True)) == math.inf
    await table.resume(planned())
    await table.attend(planned())
    assert await town.fired() == []
    state = await town.state()
    assert (state.missed, state.skipped) == (0, 0)
    assert await town.parked() == [run_id("sweep", NOON + 11 * 3600)]


async def test_a_schedule_that_was_resumed_while_nobody_kept_it_misses_only_what_came_since() -> None:
    town = Town()
    await keep(town, planned(), minutes=30)
    await Timetable(town.journal).attend(planned(paused=True))
    town.advance(minutes=300)  # 17:30
    await Timetable(town.journal).resume(planned())
    town.advance(minutes=60)
    await Timetable(town.journal).attend(planned())
    assert await town.ticks() == [360]
    assert (await town.state()).missed == 0


async def test_a_tick_that_fires_as_a_schedule_is_paused_is_known() -> None:
    town = Town()
    await keep(town, planned(), minutes=30)
    town.advance(minutes=31)
    await Timetable(town.journal).attend(planned(paused=True))
    state = await town.state()
    assert state.last is not None
    assert (state.last.at, state.next) == (NOON + 3600, None)


async def test_another_rhythm_takes_the_parked_tick_away_and_catches_nothing_up() -> None:
    town = Town()
    await keep(town, planned(), minutes=30)
    await Timetable(town.journal).attend(planned(every=60.0))
    assert await town.parked() == [run_id("sweep", NOON + 31 * 60)]
    await keep(town, planned(every=60.0), minutes=2.5)
    assert await town.ticks() == [31, 32]
    assert (await town.state()).missed == 0


async def test_another_payload_or_queue_is_that_of_the_parked_tick_at_once() -> None:
    town = Town()
    await keep(town, planned(), minutes=30)
    changed = planned(payload=encode_value({"shard": 9}), settings=Settings(queue="slow"))
    await Timetable(town.journal).attend(changed)
    town.advance(minutes=31)
    (run,) = await town.fired()
    assert (decode_value(run.payload), run.queue) == ({"shard": 9}, "slow")


async def test_a_change_of_queue_while_nobody_kept_it_loses_no_missed_tick() -> None:
    town = Town()
    await keep(town, planned(), minutes=30)
    town.advance(minutes=120)
    await Timetable(town.journal).attend(planned(settings=Settings(queue="slow")))
    assert await town.ticks() == [60, 120]


async def test_what_did_not_change_is_not_parked_again() -> None:
    town = Town()
    await Timetable(town.journal).attend(planned())
    before = await town.bus.last_seq(Stream.JOURNAL)
    for _ in range(3):
        await Timetable(town.journal).attend(planned())
        town.advance(minutes=1)
    assert await town.bus.last_seq(Stream.JOURNAL) == before


async def test_a_schedule_that_is_gone_leaves_nothing_behind() -> None:
    town = Town()
    await Timetable(town.journal).attend(planned())
    await Timetable(town.journal).forget("sweep")
    assert await town.parked() == []
    assert await town.bus.last(Stream.CONTROL, town.bus.subjects.control(TICK, "sweep")) is None
    await Timetable(town.journal).forget("sweep")
    town.advance(minutes=120)
    assert await town.fired() == []


async def test_what_can_not_be_read_begins_anew() -> None:
    town = Town()
    await town.bus.put(TICK, "sweep", b"\xc1 what is this")
    await Timetable(town.journal).attend(planned())
    assert (await town.state()).next is not None


async def test_a_run_is_counted_once() -> None:
    town = Town()
    table = Timetable(town.journal)
    await table.count("sweep", "r1")  # of a schedule that is gone
    await table.attend(planned())
    for run in ("r1", "r2", "r1", "r2"):
        await table.count("sweep", run)
    await table.count("sweep", "r3", missed=True)
    await Timetable(town.journal).count("sweep", "r3", missed=True)
    assert ((await town.state()).skipped, (await town.state()).missed) == (2, 1)


# --- several, and the dead


async def test_two_that_keep_the_timetable_make_one_run_for_each_tick() -> None:
    town = Town()
    one = planned(every=60.0)
    tables = [Timetable(town.connection()) for _ in range(2)]
    await asyncio.gather(*(table.attend(one) for table in tables))
    for _ in range(30):
        town.advance(seconds=60)
        await asyncio.gather(*(table.attend(one) for table in tables))
        assert len(await town.parked()) == 1
    assert await town.ticks() == [n + 1 for n in range(30)]
    assert ((await town.state()).missed, (await town.state()).skipped) == (0, 0)


async def test_two_that_catch_up_at_once_do_so_once() -> None:
    town = Town()
    one = planned(overlap="buffer_all")
    await keep(town, one, minutes=30)
    town.advance(minutes=6 * 60)
    await asyncio.gather(*(Timetable(town.connection()).attend(one) for _ in range(3)))
    assert await town.ticks() == [60, 300, 360]
    assert (await town.state()).missed == 3


async def test_one_who_parks_a_tick_that_has_fired_makes_no_second_run_of_it() -> None:
    """It looked, was stopped for an hour, and goes on: what it writes is refused, and what it set fires at once."""
    town = Town()
    slow = Slow()
    table = Timetable(town.connection(slow.bus))
    late = asyncio.create_task(table.attend(planned()))
    await slow.stopped.wait()
    await Timetable(town.journal).attend(planned())
    town.advance(minutes=61)
    await Timetable(town.journal).attend(planned())
    slow.go_on.set()
    await late
    town.clock.advance(0.0)
    runs = {run.run for run in await town.fired()}
    assert runs == {run_id("sweep", NOON + 3600)}
    folded = await town.journal.load(run_id("sweep", NOON + 3600))
    assert folded.state is State.QUEUED
    assert await town.parked() == [run_id("sweep", NOON + 7200)]


class Slow:
    """Stops somebody before he sets a timer."""

    def __init__(self) -> None:
        self.stopped, self.go_on = asyncio.Event(), asyncio.Event()
        outer = self

        class SlowBus(MemoryBus):
            async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
                if not outer.stopped.is_set() and any(message.timer is not None for message in messages):
                    outer.stopped.set()
                    await outer.go_on.wait()
                return await super().publish_many(messages)

        self.bus = SlowBus


class Dead(BaseException):
    """Somebody was killed."""


def mortal(dies_at: int, *, after_it: bool) -> type[MemoryBus]:
    """A bus whose owner is killed at his n-th write: before it, or after."""
    left = dies_at

    class Mortal(MemoryBus):
        async def _dies(self, write: Callable[[], Any]) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and not after_it:
                raise Dead
            done = await write()
            if left == 0:
                raise Dead
            return done

        async def publish(self, *args: Any, **options: Any) -> int:
            done: int = await self._dies(lambda: super(Mortal, self).publish(*args, **options))
            return done

        async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
            done: list[int | Exception] = []
            for message in messages:
                done += await self._dies(lambda message=message: super(Mortal, self).publish_many([message]))  # type: ignore[misc]
            return done

        async def publish_at(self, *args: Any, **options: Any) -> int:
            done: int = await self._dies(lambda: super(Mortal, self).publish_at(*args, **options))
            return done

        async def purge(self, *args: Any) -> int:
            done: int = await self._dies(lambda: super(Mortal, self).purge(*args))
            return done

    return Mortal


async def die(town: Town, one: Planned, write: int, *, after_it: bool) -> bool:
    """Attend to a schedule and be killed at a write; whether it came to that."""
    try:
        await Timetable(town.connection(mortal(write, after_it=after_it))).attend(one)
    except Dead:
        return True
    return False


@pytest.mark.parametrize("after_it", [True, False])
@pytest.mark.parametrize("overlap", ["skip", "buffer_all"])
async def test_whoever_dies_at_whatever_write_each_tick_has_its_run_once(overlap: str, after_it: bool) -> None:
    write, died = 1, True
    while died:
        town = Town()
        one = planned(overlap=overlap)
        await keep(town, one, minutes=30)
        town.advance(minutes=240)  # 16:30; 13 has fired, 14 is too old, 15 and 16 are to be caught up with
        died = await die(town, one, write, after_it=after_it)
        await keep(town, one, minutes=60)
        expected = [60, 180, 240, 300] if overlap == "buffer_all" else [60, 240, 300]
        assert await town.ticks() == expected, f"killed at write {write}"
        assert len(await town.parked()) == 1
        write += 1
    assert write > 3


@pytest.mark.parametrize("after_it", [True, False])
async def test_whoever_dies_as_he_takes_a_parked_tick_away_leaves_no_other_standing(after_it: bool) -> None:
    for changed in (planned(every=60.0), planned(paused=True)):
        write, died = 1, True
        while died:
            town = Town()
            await keep(town, planned(), minutes=30)
            died = await die(town, changed, write, after_it=after_it)
            await Timetable(town.journal).attend(changed)
            assert await town.parked() == ([] if changed.paused else [run_id("sweep", NOON + 31 * 60)])
            write += 1
        assert write > 2


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_happens_no_tick_is_lost_and_none_runs_twice(seed: int) -> None:
    dice = random.Random(seed)
    overlap = dice.choice(["skip", "buffer_one", "buffer_all", "cancel_other", "allow"])
    every = dice.choice([30.0, 60.0, 450.0])
    one = planned(
        every=every, overlap=overlap, catch_up=dice.choice([0.0, 120.0, 3600.0]), jitter=dice.choice([0, 40.0])
    )
    town = Town(NOON + 0.5)
    await Timetable(town.journal).attend(one)
    for _ in range(40):
        town.advance(seconds=dice.choice([0, 0.3, 5, 31, 60, 200, 2000]))
        match dice.randrange(4):
            case 0:
                await asyncio.gather(*(Timetable(town.connection()).attend(one) for _ in range(2)))
            case 1:
                await die(town, one, dice.randint(1, 4), after_it=dice.random() < 0.5)
            case 2:
                await keep(town, one, minutes=dice.choice([1, 5]))
            case 3:
                await town.bus.purge(Stream.JOURNAL, "hf.shop.nothing")  # nobody looks for a while
    await keep(town, one, minutes=SLACK / 60 + 0.1)
    state = await town.state()
    ticks = []
    for at in after(one.schedule, NOON + 0.5):
        if at > state.since:
            break
        ticks.append(at)
    runs = [run.tick.at for run in await town.fired() if run.tick is not None]
    assert set(runs) <= set(ticks)
    assert len({run.run for run in await town.fired()}) == len(set(runs))
    assert len(set(runs)) + state.missed + state.skipped == len(ticks)
    if overlap in ("buffer_all", "allow"):
        assert state.skipped == 0
    for id in {run.run for run in await town.fired()}:
        assert fold(record for _, record in await town.journal.messages(id)) is not None
