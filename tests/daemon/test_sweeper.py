"""The sweeper: what is lost is found and repaired, once; what is merely under way is left alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.bus.ports import Item
from holdfast.core.entries import (
    AttemptResumed,
    AttemptStarted,
    Offered,
    RunCompleted,
    RunTimedOut,
    StepCompleted,
    Suspended,
)
from holdfast.core.model import ErrorInfo, Run
from holdfast.errors import ConnectError
from holdfast.wire import codec
from holdfast.wire.subjects import Lane, Stream
from holdfast.wire.values import encode_value
from holdfast_daemon.conductor import Conductor
from holdfast_daemon.repairs import Repairs
from holdfast_daemon.sweeper import EVERY, Sweeper
from stage import Stage
from virtual import Daemon, Project, turns

ERROR = ErrorInfo("ValueError", "down")


@pytest.fixture
def project() -> Project:
    return Project()


async def lose(project: Project) -> Item:
    """A worker acknowledges a work item and does nothing: the bug that the sweeper is for."""
    (item,) = await project.items()
    project.bus.settle(item.token)
    return item


async def sweeps(project: Project, count: int) -> None:
    await project.elapse(count * EVERY, steps=count * 10)


async def test_a_queued_run_whose_work_item_is_lost_gets_another_and_it_is_counted(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    async with project.daemon() as daemon:
        run = await project.create()
        await lose(project)
        await sweeps(project, 1)
        assert daemon.repaired == {}
        await sweeps(project, 2)
        assert daemon.repaired == {"item": 1}
        assert f"repaired: item of run {run}" in caplog.text
        (item,) = await project.items()
        assert run in item.subject


async def test_a_work_item_that_is_lost_again_is_made_again(project: Project) -> None:
    async with project.daemon() as daemon:
        await project.create()
        for times in (1, 2, 3):
            await lose(project)
            await sweeps(project, 3)
            assert daemon.repaired == {"item": times}


async def test_two_daemons_make_one_work_item(project: Project) -> None:
    async with project.daemon(), project.daemon():
        run = await project.create()
        await lose(project)
        await sweeps(project, 5)
        assert (await project.names(run)).count("Offered") == 1


async def test_a_compensating_run_whose_work_item_is_lost_gets_another(project: Project) -> None:
    run = await project.create()
    item = (await project.items())[0]
    undoable = StepCompleted("/pay#1", project.now, 0.1, b"\x01", undo=b"\x90")
    await project.start(run, undoable, RunTimedOut(project.now, ERROR, "schedule_to_close"))
    await project.journal.act(await project.load(run))
    project.bus.settle(item.token)
    async with project.daemon() as daemon:
        await lose(project)
        await sweeps(project, 3)
        assert daemon.repaired == {"item": 1}


async def test_of_a_lane_that_has_work_nothing_is_lost(project: Project) -> None:
    async with project.daemon() as daemon:
        for lane in (Lane.AGAIN, Lane.READY):
            await project.bus.ensure_consumer("default", 5, lane=lane)
        for _ in range(3):
            await project.create()
        (held,) = await project.items()
        for _ in range(6):
            project.bus.extend(held.token)
            await project.elapse(8)
        assert daemon.repaired == {}


async def test_in_a_queue_that_nobody_serves_or_that_is_paused_nothing_is_lost(project: Project) -> None:
    async with project.daemon() as daemon:
        await project.create(queue="nobody")
        for lane in (Lane.AGAIN, Lane.READY):
            await project.bus.ensure_consumer("paused", 5, lane=lane)
        await project.bus.pause("paused", paused=True)
        await project.create(queue="paused")
        await sweeps(project, 5)
        assert daemon.repaired == {}


async def test_an_item_that_a_worker_gave_back_for_later_is_not_lost(project: Project) -> None:
    async with project.daemon() as daemon:
        await project.create()
        (item,) = await project.items()
        project.bus.release(item.token, after=60)
        await sweeps(project, 4)
        assert daemon.repaired == {}


async def test_a_run_that_was_claimed_just_before_its_item_was_acknowledged_is_not_touched(project: Project) -> None:
    """The fold lags behind: it shows a queued run whose item is done with, while the journal knows that it ended."""
    daemon = Daemon(project)
    run = await project.create()
    known = await project.load(run)
    daemon.ledger._live[run] = known
    (item,) = await project.items()
    await project.start(run, RunCompleted(project.now, b"\x01"))
    project.bus.settle(item.token)
    for _ in range(3):
        await daemon.sweeper.sweep()
    assert daemon.repaired == {}
    assert await project.names(run) == ["RunCreated", "AttemptStarted", "RunCompleted"]


async def test_an_item_that_is_stored_while_it_is_looked_for_is_not_lost(project: Project) -> None:
    daemon = Daemon(project)
    run = await project.create()
    await lose(project)
    daemon.ledger._live[run] = await project.load(run)
    await daemon.sweeper.sweep()
    consumers = daemon.bus.consumers

    async def offered_meanwhile() -> Any:
        states = await consumers()
        ready = project.bus.subjects.ready(run, "default", 5)
        await project.bus.publish(ready, codec.encode(Offered(run, 1, 0)))
        return states

    daemon.bus.consumers = offered_meanwhile  # type: ignore[method-assign]
    await daemon.sweeper.sweep()
    assert daemon.repaired == {}


async def test_work_that_moves_is_never_repaired(project: Project) -> None:
    """A hundred runs through a worker that takes its time with each step, over many sweeps."""
    async with project.daemon() as daemon:
        await project.beat()
        for _ in range(60):
            run = await project.create()
            (item,) = await project.items()
            begun = AttemptStarted(project.now, 1, "w9", "n9", item.token)
            await project.write(run, begun, Suspended(project.now, (), project.now + 1))
            await project.journal.act(await project.load(run))
            project.bus.settle(item.token)
            await project.elapse(1.4, steps=4)
            (item,) = await project.items()
            await project.write(run, AttemptResumed(project.now, 1, "w9", "n8", item.token), nonce="n8")
            await project.write(run, RunCompleted(project.now, b"\x01"), nonce="n8")
            project.bus.settle(item.token)
        assert daemon.repaired == {}


async def test_what_the_conductor_passes_over_is_done_by_the_sweeper(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def asleep(self: Conductor) -> None:
        await turns(1)

    monkeypatch.setattr(Conductor, "_attend_due", asleep)
    monkeypatch.setattr(Conductor, "_stir", lambda self, at: None)
    async with project.daemon() as daemon:
        unarmed, expiring = await project.create(), await project.create(expires=project.now + 5)
        await project.start(unarmed, Suspended(project.now, (), project.now + 1000))
        await sweeps(project, 4)
        assert (await project.load(unarmed)).armed
        assert (await project.load(expiring)).state == "expired"
        assert daemon.repaired == {"timer": 1}
        assert caplog.text.count("the conductor passed it over") == 2


async def test_a_sweep_that_the_server_does_not_answer_is_made_again(project: Project) -> None:
    async with project.daemon() as daemon:
        await project.create()
        await lose(project)
        consumers, failures = daemon.bus.consumers, 1

        async def flaky() -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise ConnectError("away")
            return await consumers()

        daemon.bus.consumers = flaky  # type: ignore[method-assign]
        await sweeps(project, 4)
        assert daemon.repaired == {"item": 1}


# --- over both buses, in real time


class Swept:
    """Sweeps at will over a ledger that is brought up to date before each."""

    def __init__(self, stage: Stage) -> None:
        self.repairs = Repairs()
        self._stage = stage
        self._live: dict[str, Run] = {}
        self._sweeper = Sweeper(stage.journal, lambda: self._live, lambda: True, self.repairs)

    async def sweep(self, *runs: str) -> dict[str, int]:
        self._live = {run: await self._stage.journal.load(run) for run in runs}
        await self._sweeper.sweep()
        return {kind.value: count for kind, count in self.repairs.by_kind.items()}


async def test_what_the_server_says_of_its_consumers_tells_what_is_lost(stage: Stage) -> None:
    bus, swept = stage.client.bus, Swept(stage)
    came: asyncio.Queue[Item] = asyncio.Queue()
    lanes = [await bus.ensure_consumer("default", 5, lane=lane) for lane in (Lane.AGAIN, Lane.READY)]
    pullers = [await bus.pull(lane, came.put_nowait) for lane in lanes]
    run = (await stage.client.start(stage.client.new_run("ship", encode_value({})))).id
    assert [await swept.sweep(run) for _ in range(3)] == [{}] * 3, "it is stored and not delivered"
    for puller in pullers:
        puller.want(2)
    item = await came.get()
    assert [await swept.sweep(run) for _ in range(3)] == [{}] * 3, "it is delivered and not done with"
    bus.release(item.token, after=60)
    await bus.last_seq(Stream.JOURNAL)
    assert [await swept.sweep(run) for _ in range(3)] == [{}] * 3, "it was given back for later"
    bus.settle(item.token)
    await bus.last_seq(Stream.JOURNAL)
    assert [await swept.sweep(run) for _ in range(2)] == [{}, {"item": 1}]
    async with asyncio.timeout(5):
        assert run in (await came.get()).subject
    assert [await swept.sweep(run) for _ in range(3)] == [{"item": 1}] * 3
    for puller in pullers:
        await puller.stop()
