"""A queue is emptied of what waits and has never started, page by page, and of nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from histories import T0
from holdfast import task
from holdfast.bus.journal import Journal
from holdfast.client import RunHandle
from holdfast.core.entries import AttemptStarted, RunCancelled
from holdfast.core.model import Run, State
from holdfast.errors import Refused
from holdfast.wire import api, codec
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.store import Store
from holdfast_daemon.purger import Purger
from stage import Stage


@task(id="work", queue="bulk")
async def work() -> str:
    return "done"


@asynccontextmanager
async def purging(stage: Stage, path: Path) -> AsyncIterator[Purger]:
    """A history and whoever purges by it, for the time of the block."""
    opened = Store.open(path / "h.duckdb")
    journal = Journal(stage.client.bus)
    projector = Projector(stage.client.bus, opened)
    purger = Purger(journal, opened, projector)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(projector.run)
            await tasks.start(purger.run)
            yield purger
            tasks.cancel_scope.cancel()
    finally:
        opened.close()


async def states(*handles: RunHandle) -> list[State]:
    return [(await handle.status()).state for handle in handles]


async def test_a_purge_cancels_what_is_queued_or_delayed_and_leaves_the_rest(stage: Stage, tmp_path: Path) -> None:
    client = stage.client
    waiting = [await client.trigger(work, {}) for _ in range(3)]
    delayed = await client.trigger(work, {}, delay=3600)
    other = await client.trigger(work, {}, queue="mail")
    begun = await client.trigger(work, {})
    await Journal(client.bus).append(begun.id, 0, "n1", [AttemptStarted(T0, 1, "w1", "n1")])
    client.name = "ana"
    async with purging(stage, tmp_path):
        assert await client.purge_queue("bulk", dry_run=True) == 4
        assert await states(*waiting) == [State.QUEUED] * 3
        assert await client.purge_queue("bulk", reason="hook fixed") == 4
        assert await client.purge_queue("bulk") == 0
        assert await client.purge_queue("none") == 0
    assert await states(*waiting, delayed) == [State.CANCELLED] * 4
    assert await states(other, begun) == [State.QUEUED, State.RUNNING]
    assert (await waiting[0].status()).reason == "queue purged by ana: hook fixed"
    async with stage.worker(work):  # what was cancelled is no work item any more
        assert await other.result(timeout=10) == "done"
    assert await states(*waiting, delayed) == [State.CANCELLED] * 4


async def test_a_purge_goes_page_by_page_and_ends_where_it_began(stage: Stage, tmp_path: Path) -> None:
    handles = [await stage.client.trigger(work, {}) for _ in range(7)]
    async with purging(stage, tmp_path) as purger:
        first = await purger.purge(api.QueuePurge(queue="bulk", limit=3))
        assert (first.cancelled, first.done) == (3, False)
        late = await stage.client.trigger(work, {})
        second = await purger.purge(api.QueuePurge(queue="bulk", limit=3, after=first.after, upto=first.upto))
        third = await purger.purge(api.QueuePurge(queue="bulk", limit=3, after=second.after, upto=first.upto))
        assert (second.cancelled, third.cancelled, third.done) == (3, 1, True)
    assert await states(*handles, late) == [State.CANCELLED] * 7 + [State.QUEUED]


async def test_a_run_that_somebody_takes_meanwhile_goes_on_and_one_that_is_offered_is_cancelled(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, offered = [await stage.client.trigger(work, {}) for _ in range(2)]
    journal = Journal(stage.client.bus)
    move: Callable[..., Awaitable[Run]] = Journal.move
    met: list[str] = []

    async def late(self: Journal, run: Run, *entries: object) -> Run:
        if run.id not in met and isinstance(entries[0], RunCancelled):
            met.append(run.id)
            if run.id == taken.id:
                await journal.append(run.id, run.last, "n1", [AttemptStarted(T0, 1, "w1", "n1")])
            else:
                await journal.append(run.id, run.last, "d", [])
        return await move(self, run, *entries)

    monkeypatch.setattr(Journal, "move", late)
    async with purging(stage, tmp_path):
        assert await stage.client.purge_queue("bulk") == 1
    assert await states(taken, offered) == [State.RUNNING, State.CANCELLED]


async def test_a_purge_that_makes_no_sense_or_comes_too_early_is_refused_in_words(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with purging(stage, tmp_path) as purger:
        with pytest.raises(ValueError, match="limit: expected 1 to 1,000, found 0"):
            await purger.purge(api.QueuePurge(queue="bulk", limit=0))

        async def never(*_: object, **__: object) -> bool:
            return False

        monkeypatch.setattr(Projector, "reach", never)
        with pytest.raises(Refused, match="the history is behind the journal") as refused:
            await stage.client.purge_queue("bulk")
        assert refused.value.code == "unavailable"


async def test_a_client_asks_for_page_after_page_until_there_is_none(stage: Stage) -> None:
    bus = stage.client.bus
    asked: list[api.QueuePurge] = []

    async def page(data: bytes) -> bytes:
        asked.append(query := api.decode(data, api.QueuePurge))
        after = query.after + 10
        return codec.encode(api.QueuePurged(cancelled=4, after=after, upto=30, done=after == 30))

    stop = await bus.serve(bus.subjects.api(api.QUEUES_PURGE), page)
    assert await stage.client.purge_queue("bulk", reason="why") == 12
    await stop()
    assert [(query.after, query.upto) for query in asked] == [(0, None), (10, 30), (20, 30)]
    assert {(query.queue, query.by, query.reason) for query in asked} == {("bulk", stage.client.name, "why")}
