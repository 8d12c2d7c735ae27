"""Queues with limits, with real workers: as many run as may, measured by the tasks themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from holdfast import Rate, task, wait
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Fence
from holdfast.client import RunHandle
from holdfast.core.admission import Cause, QueueLimits
from holdfast.wire import codec
from holdfast.wire.api import Presence
from holdfast.wire.subjects import Stream
from holdfast_daemon.admitter import Admitter, Alone, Lead
from holdfast_daemon.conductor import Conductor
from holdfast_daemon.ledger import Ledger
from stage import Stage

SOON = 20.0


class Meter:
    """What tasks say of themselves."""

    def __init__(self) -> None:
        self.running: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.starts: list[float] = []
        self.order: list[str] = []

    def enter(self, key: str) -> None:
        self.starts.append(time.monotonic())
        self.order.append(key)
        self.running[key] = self.running.get(key, 0) + 1
        self.most[key] = max(self.most.get(key, 0), self.running[key])

    def leave(self, key: str) -> None:
        self.running[key] -= 1

    def in_any_window(self, per: float) -> int:
        return max(sum(begin <= at < begin + per for at in self.starts) for begin in self.starts)


METER = Meter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    METER.__init__()  # type: ignore[misc]


async def measured(key: str, length: float) -> None:
    METER.enter(key)
    try:
        await asyncio.sleep(length)
    finally:
        METER.leave(key)


@task(id="admitted-plain", queue="few")
async def plain(length: float = 0.01) -> None:
    await measured("all", length)


@task(id="admitted-keyed", queue="few", concurrency=1, concurrency_key="customer.id")
async def keyed(customer: dict[str, str], length: float = 0.01) -> None:
    await measured(customer["id"], length)


@task(id="admitted-rated", queue="few", rate=Rate(5, 0.5))
async def rated() -> None:
    await measured("all", 0.0)


@task(id="admitted-waiting", queue="few")
async def waiting() -> None:
    await measured("before", 0.01)
    await wait.for_(1.5)
    await measured("after", 0.01)


@task(id="admitted-failing", queue="few")
async def failing(length: float = 0.01) -> None:
    await measured("all", length)
    raise RuntimeError("no")


class House:
    """The services of a daemon that move runs, over one ledger."""

    def __init__(self, stage: Stage, limits: dict[str, QueueLimits] | None, lead: Lead) -> None:
        self.bus = stage.client.bus
        self.ledger = Ledger(self.bus, 0, lambda run: 1)
        view: tuple[Callable[[], object], Callable[[], bool]] = (
            lambda: self.ledger.live,
            lambda: self.ledger.caught_up,
        )
        self.conductor = Conductor(Journal(self.bus), *view)  # type: ignore[arg-type]
        self.admitter = Admitter(Journal(self.bus), *view, configured=limits, lead=lead)  # type: ignore[arg-type]

    async def follow(self) -> None:
        async for changes in self.ledger.changes():
            self.conductor.take(changes)
            self.admitter.take(changes)

    def why(self, handle: RunHandle) -> Cause | None:
        """What holds a run back."""
        run = self.ledger.live.get(handle.id)
        hold = None if run is None else self.admitter.why(run)
        return None if hold is None else hold.cause

    def services(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(one) for one in (self.follow(), self.conductor.run(), self.admitter.run())]


@asynccontextmanager
async def governed(
    stage: Stage, limits: dict[str, QueueLimits] | None = None, *, lead: Lead | None = None
) -> AsyncIterator[House]:
    house = House(stage, limits, lead or Alone())
    services = house.services()
    try:
        await eventually(lambda: house.admitter.rules.governed >= (limits or {}).keys())
        yield house
        assert not any(service.done() for service in services), [one for one in services if one.done()]
    finally:
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)


async def serve(stage: Stage, *tasks: object, worker: str = "w1") -> None:
    """Say that a worker serves them."""
    beat = Presence(
        worker=worker,
        host="h",
        pid=1,
        started_at=0.0,
        at=0.0,
        tasks=tuple(each.id for each in tasks),  # type: ignore[attr-defined]
        queues=("few",),
        concurrency=100,
        running=0,
    )
    await stage.client.bus.put("worker", worker, codec.encode(beat), ttl=3600)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110  it is looked at from outside
            await asyncio.sleep(0.01)


async def ended(handles: list[RunHandle]) -> None:
    async with asyncio.timeout(SOON):
        for handle in handles:
            await handle.result()


FEW = {"few": QueueLimits(concurrency=3)}


async def test_never_more_run_at_once_than_may_over_all_workers_and_priorities(stage: Stage) -> None:
    await serve(stage, plain)
    async with governed(stage, FEW), stage.worker(plain), stage.worker(plain, name="w2"):
        handles = [await plain.options(priority=n % 3 * 4).trigger() for n in range(40)]
        await ended(handles)
    assert METER.most == {"all": 3}


async def test_what_was_triggered_before_there_was_a_daemon_is_admitted_when_there_is(stage: Stage) -> None:
    await serve(stage, plain)
    async with governed(stage, FEW):
        pass
    handles = [await plain.trigger() for _ in range(10)]
    async with stage.worker(plain), governed(stage, FEW):
        await ended(handles)
    assert METER.most["all"] <= 3


async def test_a_key_with_a_backlog_does_not_hold_up_the_others(stage: Stage) -> None:
    await serve(stage, keyed)
    hog = [await keyed.options(concurrency_key="hog").trigger({"id": "hog"}) for _ in range(40)]
    others = [await keyed.trigger(customer={"id": f"c{n}"}) for n in range(20)]
    async with governed(stage), stage.worker(keyed):
        await ended(others)
        assert METER.order.count("hog") < 40
        await ended(hog)
    assert set(METER.most.values()) == {1}


async def test_a_rate_holds_in_every_sliding_window(stage: Stage) -> None:
    await serve(stage, rated)
    async with governed(stage), stage.worker(rated), stage.worker(rated, name="w2"):
        await ended([await rated.trigger() for _ in range(17)])
    assert METER.in_any_window(0.5) <= 5
    assert METER.starts[-1] - METER.starts[0] < 3.0, "it is not slower than need be"


async def test_a_waiting_run_holds_no_slot_and_gets_one_again_when_it_goes_on(stage: Stage) -> None:
    await serve(stage, waiting, plain)
    async with governed(stage, {"few": QueueLimits(concurrency=1)}), stage.worker(waiting, plain, warm=0):
        first = await waiting.trigger()
        await stage.until(first, "waiting")
        hog = await plain.trigger(length=3.0)
        await stage.until(hog, "running")
        await stage.until(first, "queued")
        await ended([hog, first])
    assert METER.order == ["before", "all", "after"]


async def test_a_run_that_fails_gives_its_slot_back(stage: Stage) -> None:
    await serve(stage, failing, plain)
    async with governed(stage, {"few": QueueLimits(concurrency=1)}), stage.worker(failing, plain):
        bad = await failing.options(retry=None).trigger()
        good = await plain.trigger()
        await ended([good])
        await stage.until(bad, "retrying", "dead", "queued")


async def test_pausing_and_limits_act_live(stage: Stage) -> None:
    client = stage.client
    await serve(stage, plain)
    async with governed(stage, FEW) as house, stage.worker(plain):
        await client.pause("few")
        handles = [await plain.trigger(length=0.05) for _ in range(12)]
        await eventually(lambda: house.admitter.holds_back("few") is not None)
        assert METER.order == []
        await client.limit("few", QueueLimits(concurrency=1))
        await eventually(lambda: house.admitter.rules.limits("few").concurrency == 1)
        await client.pause("few", paused=False)
        await ended(handles[:3])
        assert METER.most == {"all": 1}
        await client.limit("few", None)
        await ended(handles)
    assert METER.most["all"] in (2, 3)


async def test_a_queue_that_gets_its_first_limit_while_it_works_is_governed_from_then_on(stage: Stage) -> None:
    await serve(stage, plain)
    async with governed(stage) as house, stage.worker(plain, concurrency=2):
        handles = [await plain.trigger(length=0.02) for _ in range(30)]
        await stage.until(handles[0], "completed")
        await stage.client.limit("few", QueueLimits(concurrency=1))
        await eventually(lambda: "few" in house.admitter.rules.governed)
        await stage.until(handles[8], "completed")
        METER.most.clear()
        await ended(handles)
    assert METER.most == {"all": 1}


async def test_what_no_worker_serves_is_told_and_starts_when_one_comes(stage: Stage) -> None:
    async with governed(stage, FEW) as house:
        handle = await plain.trigger()
        await eventually(lambda: house.why(handle) is Cause.UNSERVED)
        await serve(stage, plain)
        async with stage.worker(plain):
            await ended([handle])


async def test_a_conductor_that_is_killed_and_begins_anew_keeps_to_the_limit(stage: Stage) -> None:
    await serve(stage, plain)
    await stage.client.bus.govern("few")
    async with stage.worker(plain), stage.worker(plain, name="w2"):
        handles = [await plain.trigger(length=0.03) for _ in range(40)]
        for number in range(4):
            async with governed(stage, FEW):
                await stage.until(handles[8 * number + 4], "completed")
        async with governed(stage, FEW):
            await ended(handles)
    assert METER.most["all"] <= 3


async def test_a_rate_counts_what_started_before_a_restart(stage: Stage) -> None:
    slow = {"few": QueueLimits(rate=Rate(3, 1.5))}
    await serve(stage, plain)
    await stage.client.bus.govern("few")
    async with stage.worker(plain):
        handles = [await plain.trigger(length=0.0) for _ in range(7)]
        async with governed(stage, slow):
            await ended(handles[:3])
        async with governed(stage, slow):
            await ended(handles)
    assert METER.in_any_window(1.5) <= 3


class Deposed:
    """Somebody else conducts, and this one does not know it."""

    def __init__(self, lead: str) -> None:
        self.leads, self.fence = True, Fence(lead, 1)

    def depose(self) -> None:
        self.leads = False


async def test_who_conducts_no_more_admits_nobody(stage: Stage) -> None:
    bus = stage.client.bus
    await serve(stage, plain)
    await bus.publish(bus.subjects.lead, b"another")
    lead = Deposed(bus.subjects.lead)
    lead.fence = Fence(bus.subjects.lead, await bus.last_seq(Stream.JOURNAL) + 1000)
    handle = await plain.trigger()
    async with governed(stage, FEW, lead=lead) as house:
        await eventually(lambda: not lead.leads)
        assert house.admitter.admitted == 0
        assert not (await handle.status()).admitted
