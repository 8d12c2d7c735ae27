"""The conductor: it moves what nobody moves, once, and does no harm by being late or there twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import pytest
from msgspec.structs import replace

from holdfast import Retry, task
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Item
from holdfast.client import RunHandle
from holdfast.core.deadlines import GRACE, LATE
from holdfast.core.entries import (
    AttemptFailed,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    ChildTriggered,
    Entry,
    RunCompleted,
    RunDead,
    RunRetried,
    Suspended,
)
from holdfast.core.model import ErrorInfo, Parent, Run
from holdfast.wire import codec
from holdfast.wire.subjects import Lane, Stream
from holdfast.wire.values import encode_value
from holdfast_daemon import conductor as conducting
from holdfast_daemon.conductor import Conductor
from holdfast_daemon.ledger import Ledger
from stage import Stage

ERROR = ErrorInfo("ValueError", "down")
SOON = 3.0
"""Seconds for what must come: well below the ten after which a work item would come again by itself."""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in seconds takes tenths of them here."""
    monkeypatch.setattr(conducting, "GRACE", 0.1)
    monkeypatch.setattr(conducting, "TICK", 0.03)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed at once."""
    monkeypatch.setattr(conducting, "SILENCE", 0.2)


@task(id="conducted-ship")
async def ship() -> str:
    return "shipped"


class House:
    """A journal that is followed, and a conductor over it."""

    def __init__(self, stage: Stage, station: str) -> None:
        self.ledger = Ledger(stage.client.bus, 0, lambda run: 1)
        self.conductor = Conductor(
            Journal(stage.client.bus), lambda: self.ledger.live, lambda: self.ledger.caught_up, station=station
        )

    async def follow(self) -> None:
        async for changes in self.ledger.changes():
            self.conductor.take(changes)


@asynccontextmanager
async def conducted(stage: Stage, *, station: str = "") -> AsyncIterator[House]:
    """A conductor at work for the time of the block, as the daemon has one."""
    house = House(stage, station)
    services = [asyncio.create_task(house.follow()), asyncio.create_task(house.conductor.run())]
    try:
        yield house
        assert not any(service.done() for service in services), [service for service in services if service.done()]
    finally:
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)


class Hand:
    """A worker made by hand: it takes and writes what the test says, and dies by doing nothing more."""

    def __init__(self, stage: Stage, name: str = "w9") -> None:
        self._stage = stage
        self._last: dict[str, int] = {}
        self.name = name

    async def item_of(self, handle: RunHandle) -> Item:
        """The run's work item."""
        bus = self._stage.client.bus
        came: asyncio.Queue[Item] = asyncio.Queue()
        lanes = [await bus.ensure_consumer("default", 5, lane=lane) for lane in (Lane.AGAIN, Lane.READY)]
        pullers = [await bus.pull(lane, came.put_nowait) for lane in lanes]
        for puller in pullers:
            puller.want(1)
        async with asyncio.timeout(SOON):
            item = await came.get()
        for puller in pullers:
            await puller.stop()
        while not came.empty():
            bus.release(came.get_nowait().token)
        assert handle.id in item.subject
        return item

    async def start(self, handle: RunHandle, *entries: Entry, max_interruptions: int = 5) -> None:
        """Take the run and write these entries of its first attempt."""
        item = await self.item_of(handle)
        begun = AttemptStarted(time.time(), 1, self.name, "n9", item.token, max_interruptions=max_interruptions)
        await self.write(handle, begun, *entries)
        if entries and isinstance(entries[-1], Suspended | AttemptFailed | RunDead | RunCompleted):
            self._stage.client.bus.settle(item.token)

    async def write(self, handle: RunHandle, *entries: Entry) -> None:
        expect = self._last.get(handle.id, 0)
        self._last[handle.id] = await self._stage.journal.append(handle.id, expect, "n9", entries)

    async def beat(self, ttl: float) -> None:
        await self._stage.client.bus.put("worker", self.name, b"", ttl=ttl)


async def created(stage: Stage, task_id: str = ship.id, parent: Parent | None = None) -> RunHandle:
    run = stage.client.new_run(task_id, encode_value({}))
    if parent is not None:
        run = type(run)(run=run.run, at=run.at, task=run.task, payload=run.payload, parent=parent)
    return await stage.client.start(run)


async def tell(stage: Stage, handle: RunHandle, entry: Entry) -> None:
    await stage.client.bus.publish(stage.client.bus.subjects.inbox(handle.id), codec.encode(entry))


def ended(child: str) -> ChildEnded:
    return ChildEnded("/await#1", time.time(), child, "completed", encode_value(child))


def suspended(*children: str) -> Suspended:
    return Suspended(time.time(), children)


def resumed(run: Run, hand: Hand) -> AttemptResumed:
    return AttemptResumed(time.time(), run.attempt, hand.name, "n9")


async def count(stage: Stage, handle: RunHandle, name: str) -> int:
    return (await stage.names(handle)).count(name)


async def still(stage: Stage, handle: RunHandle, seconds: float = 0.2) -> Run:
    """The run after a while in which the conductor has looked several times."""
    await asyncio.sleep(seconds)
    return await handle.status()


# --- arrivals


async def test_a_suspended_parent_is_offered_once_when_its_child_has_ended(stage: Stage) -> None:
    parent = await created(stage)
    await Hand(stage).start(parent, suspended("A"))
    async with conducted(stage) as house:
        await tell(stage, parent, ended("A"))
        run = await stage.until(parent, "queued", within=SOON)
        assert run.offered
        await still(stage, parent)
        assert await count(stage, parent, "Offered") == 1
        assert house.conductor.repairs.total == 0


async def test_a_child_that_ended_before_its_parent_suspended_resumes_it_too(stage: Stage) -> None:
    parent = await created(stage)
    await tell(stage, parent, ended("A"))
    await Hand(stage).start(parent, suspended("A"))  # and it died before it offered the run
    async with conducted(stage):
        await stage.until(parent, "queued", within=SOON)
        assert await count(stage, parent, "Offered") == 1


async def test_several_arrivals_at_once_resume_a_run_once_and_later_ones_each_again(stage: Stage) -> None:
    parent, hand = await created(stage), Hand(stage)
    await hand.start(parent, suspended("A", "B", "C"))
    async with conducted(stage):
        await asyncio.gather(tell(stage, parent, ended("A")), tell(stage, parent, ended("B")))
        run = await stage.until(parent, "queued", within=SOON)
        await still(stage, parent)
        assert await count(stage, parent, "Offered") == 1
        item = await hand.item_of(parent)
        await hand.write(parent, resumed(run, hand), suspended("C"))
        stage.client.bus.settle(item.token)
        assert (await still(stage, parent)).state == "waiting"
        await tell(stage, parent, ended("C"))
        await stage.until(parent, "queued", within=SOON)
        assert await count(stage, parent, "Offered") == 2


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_parent_resumes_though_whoever_ended_its_child_died_before_telling_it(stage: Stage, when: str) -> None:
    parent = await created(stage)
    await Hand(stage).item_of(parent)
    child = await created(stage, parent=Parent(parent.id, "/a#1"))
    waiting = ChildTriggered("/a#1", time.time(), child.id, ship.id), suspended(child.id)
    hand = Hand(stage)
    await hand.write(parent, AttemptStarted(time.time(), 1, "w9", "n9"), *waiting)
    if when == "before":
        await Hand(stage).start(child, RunCompleted(time.time(), encode_value(7)))
    async with conducted(stage) as house:
        if when == "after":
            assert (await still(stage, parent)).state == "waiting"
            await Hand(stage).start(child, RunCompleted(time.time(), encode_value(7)))
        await stage.until(parent, "queued", within=SOON)
        assert await count(stage, parent, "ChildEnded") == await count(stage, parent, "Offered") == 1
        assert house.conductor.repairs.total == 1


async def test_a_parent_of_three_children_completes_and_nothing_was_repaired(stage: Stage) -> None:
    @task
    async def leaf(n: int) -> int:
        await asyncio.sleep(0.15 + n / 10)
        return n

    @task
    async def trunk() -> list[int]:
        return list(await asyncio.gather(*(leaf.trigger_and_wait(n=n) for n in range(3))))

    async with stage.worker(leaf, trunk), conducted(stage) as house:
        handle = await trunk.trigger()
        assert await handle.result(10) == [0, 1, 2]
        entries = await stage.names(handle)
        assert 1 <= entries.count("AttemptResumed") <= 3
        assert entries.count("ChildTriggered") == entries.count("ChildEnded") == 3
        assert house.conductor.repairs.total == 0


# --- what others left undone


async def test_a_cancelled_run_whose_canceller_died_is_ended_and_counted(stage: Stage) -> None:
    queued, waiting, hand = await created(stage, "queued"), await created(stage, "waiting"), Hand(stage)
    await hand.item_of(queued)
    await hand.start(waiting, suspended("A"))
    async with conducted(stage) as house:
        for handle in (queued, waiting):
            await tell(stage, handle, CancelRequested(time.time(), "op"))
        for handle in (queued, waiting):
            await stage.until(handle, "cancelled", within=SOON)
            await still(stage, handle)
            assert await count(stage, handle, "RunCancelled") == 1
        assert house.conductor.repairs.total == 2


async def test_a_cancelled_run_whose_canceller_lives_is_left_to_it(stage: Stage) -> None:
    handle = await created(stage)
    async with conducted(stage) as house:
        await handle.cancel()
        assert (await still(stage, handle)).state == "cancelled"
        assert house.conductor.repairs.total == 0


async def test_a_retrying_run_gets_the_timer_that_nobody_armed(stage: Stage) -> None:
    handle = await created(stage)
    await Hand(stage).start(handle, AttemptFailed(time.time(), ERROR, time.time() + 0.6))
    async with conducted(stage) as house, stage.worker(ship):
        assert (await still(stage, handle)).armed
        assert house.conductor.repairs.total == 1
        assert await handle.result(SOON) == "shipped"
        assert house.conductor.repairs.total == 1


async def test_a_retrying_run_whose_timer_stands_is_left_alone(stage: Stage) -> None:
    @task(retry=Retry(max_attempts=2, min_timeout=0.5, jitter=False))
    async def flaky(at: float) -> str:
        if time.time() < at:
            raise ValueError("down")
        return "up"

    async with conducted(stage) as house, stage.worker(flaky):
        handle = await flaky.trigger(at=time.time() + 0.3)
        assert await handle.result(SOON) == "up"
        assert house.conductor.repairs.total == 0


async def test_a_retried_run_that_nobody_offered_is_offered(stage: Stage) -> None:
    handle, hand = await created(stage), Hand(stage)
    await hand.start(handle, RunDead(time.time(), ERROR, "aborted"))
    async with conducted(stage) as house:
        await hand.write(handle, RunRetried(time.time(), "op"))
        assert (await still(stage, handle)).offered
        assert await count(stage, handle, "Offered") == 1
        assert house.conductor.repairs.total == 1


# --- the dead


async def test_a_worker_that_ended_loses_its_runs_at_once_and_no_other_does(stage: Stage) -> None:
    dead, alive = Hand(stage, "w9"), Hand(stage, "w8")
    await alive.beat(60)
    first, second, kept = await created(stage), await created(stage), await created(stage)
    await dead.start(first)
    await dead.start(second)
    await alive.start(kept)
    async with conducted(stage) as house, stage.worker(ship):
        await dead.beat(60)  # what it said last still stands
        house.conductor.worker_gone("w9", "killed by signal 9")
        for handle in (first, second):
            assert await handle.result(SOON) == "shipped"
            run = await handle.status()
            assert (run.attempt, run.spent) == (1, 0)
            assert (await stage.names(handle)).count("AttemptInterrupted") == 1
        run = await kept.status()
        assert run.holder is not None
        assert run.holder.worker == "w8"


async def test_a_claim_that_shows_up_after_its_worker_ended_is_taken_too(stage: Stage) -> None:
    handle, dead = await created(stage), Hand(stage)
    async with conducted(stage) as house:
        await dead.beat(60)
        await asyncio.sleep(0.2)
        house.conductor.worker_gone("w9", "killed by signal 9")
        await asyncio.sleep(0.2)
        await dead.start(handle)
        await stage.until(handle, "queued", within=SOON)


async def test_a_run_that_takes_down_one_worker_too_many_is_dead_with_a_letter(stage: Stage) -> None:
    handle, hand = await created(stage), Hand(stage)
    await hand.start(handle, max_interruptions=0)
    async with conducted(stage) as house:
        house.conductor.worker_gone("w9", "killed by signal 9")
        run = await stage.until(handle, "dead", within=SOON)
        assert run.reason == "poison"
        assert run.error is not None
        assert run.error.message.startswith("interrupted 1 times in attempt 1")
        assert "killed by signal 9" in run.error.message
        bus = stage.client.bus
        await asyncio.sleep(0.2)
        assert await bus.last(Stream.JOURNAL, bus.subjects.letter("default", run.id)) is not None
        assert not any(state.delivered for state in await bus.consumers()), "its work item must be settled"


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_falls_silent_loses_its_runs_and_one_that_beats_keeps_them(stage: Stage) -> None:
    silent, beating = Hand(stage, "silent"), Hand(stage, "beating")
    lost, kept = await created(stage), await created(stage)
    await silent.beat(1)
    await beating.beat(1)
    await silent.start(lost)
    await beating.start(kept)

    async def keep_beating() -> None:
        while True:
            await beating.beat(1)
            await asyncio.sleep(0.2)

    async with conducted(stage):
        heart = asyncio.create_task(keep_beating())
        begun = time.monotonic()
        await stage.until(lost, "queued", within=SOON)
        assert time.monotonic() - begun > 0.8, "it was taken while its presence stood"
        run = await still(stage, kept, 0.6)
        assert run.holder is not None
        assert await count(stage, kept, "AttemptInterrupted") == 0
        heart.cancel()
        with suppress(asyncio.CancelledError):
            await heart


@pytest.mark.usefixtures("impatient")
async def test_a_silent_worker_that_comes_back_keeps_what_it_takes_then(stage: Stage) -> None:
    hand = Hand(stage)
    lost, later = await created(stage, "lost"), None
    await hand.start(lost)
    async with conducted(stage):
        await stage.until(lost, "queued", within=SOON)
        await hand.item_of(lost)
        await hand.beat(60)
        await asyncio.sleep(0.3)
        later = await created(stage, "later")
        await Hand(stage).start(later)
        assert (await still(stage, later)).state == "running"


async def test_runs_of_an_earlier_daemons_workers_are_taken_at_the_start(stage: Stage) -> None:
    old, elsewhere = Hand(stage, "here-old-1"), Hand(stage, "elsewhere")
    await old.beat(60)
    await elsewhere.beat(60)
    orphan, other = await created(stage), await created(stage)
    await old.start(orphan)
    await elsewhere.start(other)
    async with conducted(stage, station="here-new-"):
        await stage.until(orphan, "queued", within=SOON)
        assert (await still(stage, other)).state == "running"


# --- out of time


async def test_a_run_that_ran_out_of_time_is_withdrawn_and_its_slot_is_free(stage: Stage) -> None:
    bus, hand, now = stage.client.bus, Hand(stage), time.time()
    consumer = await bus.ensure_consumer("default", 5)
    runs = [stage.client.new_run(ship.id, encode_value({})) for _ in range(3)]
    runs[0] = replace(runs[0], deadline=now - GRACE - LATE + 0.3)
    runs[1] = replace(runs[1], expires=now + 0.1)
    await hand.beat(60)
    held, expiring, next_one = [await stage.client.start(run) for run in runs]
    await hand.start(held)
    async with conducted(stage) as house:
        await stage.until(expiring, "expired", within=SOON)
        await stage.until(held, "timed_out", within=SOON)
        await hand.item_of(next_one)
        (state,) = [state for state in await bus.consumers() if state.name == consumer]
        assert (state.pending, state.delivered) == (0, 1)
        assert house.conductor.repairs.total == 0


# --- late, twice, and anew


async def test_two_conductors_on_one_journal_do_everything_once(stage: Stage) -> None:
    hand = Hand(stage)
    waiting, held, cancelled = [await created(stage) for _ in range(3)]
    await hand.start(waiting, suspended("A"))
    await hand.start(held)
    await hand.item_of(cancelled)
    async with conducted(stage) as one, conducted(stage) as other:
        await tell(stage, waiting, ended("A"))
        await tell(stage, cancelled, CancelRequested(time.time(), "op"))
        for house in (one, other):
            house.conductor.worker_gone("w9", "killed by signal 9")
        await stage.until(cancelled, "cancelled", within=SOON)
        async with stage.worker(ship):
            assert await waiting.result(SOON) == await held.result(SOON) == "shipped"
        await asyncio.sleep(0.25)
        assert await count(stage, waiting, "AttemptResumed") == await count(stage, held, "AttemptResumed") == 1
        assert await count(stage, held, "AttemptInterrupted") == 1
        assert await count(stage, cancelled, "RunCancelled") == 1


async def test_a_conductor_that_lags_behind_writes_nothing(stage: Stage) -> None:
    handle, hand = await created(stage), Hand(stage)
    await hand.start(handle)
    long_ago = await handle.status()
    await hand.write(handle, RunCompleted(time.time(), encode_value(1)))
    last = await stage.client.bus.last_seq(Stream.JOURNAL)
    async with running(conductor(stage, {handle.id: long_ago})) as late:
        late.worker_gone("w9", "killed by signal 9")
        await asyncio.sleep(0.25)
    assert await stage.client.bus.last_seq(Stream.JOURNAL) == last


async def test_nothing_is_done_before_the_fold_has_caught_up(stage: Stage) -> None:
    handle = await created(stage)
    await Hand(stage).start(handle)
    live, caught_up = {handle.id: await handle.status()}, [False]
    last = await stage.client.bus.last_seq(Stream.JOURNAL)
    async with running(conductor(stage, live, lambda: caught_up[0])) as early:
        early.worker_gone("w9", "killed by signal 9")
        await asyncio.sleep(0.25)
        assert await stage.client.bus.last_seq(Stream.JOURNAL) == last
        caught_up[0] = True
        await stage.until(handle, "queued", within=SOON)


async def test_when_the_following_begins_anew_every_run_is_looked_at_again(stage: Stage) -> None:
    handle = await created(stage)
    await Hand(stage).start(handle, suspended("A"))
    live: dict[str, Run] = {}
    caught_up = [True]
    async with running(conductor(stage, live, lambda: caught_up[0])) as anew:
        await asyncio.sleep(0.1)
        caught_up[0] = False
        anew.restart([], [])
        await tell(stage, handle, ended("A"))
        live[handle.id] = await handle.status()
        await asyncio.sleep(0.1)
        assert (await handle.status()).state == "waiting"
        caught_up[0] = True
        await stage.until(handle, "queued", within=SOON)


def conductor(stage: Stage, live: Mapping[str, Run], caught_up: Callable[[], bool] = lambda: True) -> Conductor:
    return Conductor(Journal(stage.client.bus), lambda: live, caught_up)


@asynccontextmanager
async def running(one: Conductor) -> AsyncIterator[Conductor]:
    service = asyncio.create_task(one.run())
    try:
        yield one
        assert not service.done(), service
    finally:
        service.cancel()
        with suppress(asyncio.CancelledError):
            await service
