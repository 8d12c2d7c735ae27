"""Past events routed once more: idempotent, by today's routes, page by page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec.structs
import pytest

from holdfast import task
from holdfast.bus.journal import Journal
from holdfast.config import Route
from holdfast.core.lifecycle import Record, fold
from holdfast.core.model import Run
from holdfast.errors import Refused
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value
from holdfast_daemon.registrar import Registrar
from holdfast_daemon.replays import Replays
from holdfast_daemon.routebook import Routebook
from holdfast_daemon.router import Router
from stage import Stage


@asynccontextmanager
async def daemon(stage: Stage, *routes: Route) -> AsyncIterator[Router]:
    """Router and replays for the time of the block."""
    journal = Journal(stage.client.bus)
    book, registrar = Routebook(routes), Registrar(journal)
    router, replays = Router(journal, book, registrar), Replays(journal, book, registrar)
    async with asyncio.TaskGroup() as tasks:
        services = [tasks.create_task(router.run()), tasks.create_task(replays.run())]
        yield router
        for service in services:
            service.cancel()


async def declare(stage: Stage, *on: str, task_id: str = "ship", **card: Any) -> None:
    await stage.client.bus.put("task", task_id, codec.encode(api.TaskCard(id=task_id, queue="default", on=on, **card)))


async def caught_up(stage: Stage) -> None:
    bus = stage.client.bus
    upto = await bus.last_seq(Stream.EVENTS)
    async with asyncio.timeout(10):
        while True:
            kept = await bus.last(Stream.CONTROL, bus.subjects.control("cursor", "router"))
            if kept is not None and int(kept.data) >= upto:
                return
            await asyncio.sleep(0.01)


async def replay(stage: Stage, **asked: Any) -> api.EventsReplayed:
    """All pages together."""
    settings = {"first": 1, "last": await stage.client.bus.last_seq(Stream.EVENTS), "at": time.time(), **asked}
    total: dict[str, Any] = {}
    while True:
        page = await stage.client.replay_events(api.EventsReplay(**settings))
        for name, value in msgspec.structs.asdict(page).items():
            total[name] = value if name in ("next", "done") else total.get(name, 0) + value
        if page.done:
            return api.EventsReplayed(**total)
        settings["first"] = page.next


async def until_refused(stage: Stage) -> None:
    """Replay until the daemon knows of a task that can't be asked."""
    async with asyncio.timeout(10):
        while True:
            await replay(stage)


async def runs(stage: Stage) -> list[Run]:
    bus = stage.client.bus
    records: dict[str, list[Record]] = {}
    for message in await bus.read(Stream.JOURNAL, bus.subjects.journal):
        run, record = codec.record(bus.subjects, message.subject, message.seq, message.data)
        records.setdefault(run, []).append(record)
    return sorted((run for each in records.values() if (run := fold(each)) is not None), key=lambda run: run.first)


async def published(stage: Stage, count: int = 5, name: str = "orders.created") -> None:
    for n in range(count):
        await stage.client.emit(name, {"n": n})


async def test_events_that_were_routed_start_nothing_a_second_time(stage: Stage) -> None:
    await declare(stage, "orders.*")
    async with daemon(stage):
        await published(stage)
        await caught_up(stage)
        found = await replay(stage, limit=2)
    assert (found.events, found.created, found.existed, found.unwanted) == (5, 0, 5, 0)
    assert len(await runs(stage)) == 5


async def test_a_task_that_was_declared_since_gets_past_events(stage: Stage) -> None:
    async with daemon(stage) as router:
        await published(stage)
        await stage.client.emit("stock.low", {})
        await caught_up(stage)
        await declare(stage, "orders.*", filter="event.n > 1", ttl=60.0)
        before = time.time()
        async with asyncio.timeout(10):
            while (found := await replay(stage)).created + found.existed < 3:
                pass
        assert (found.events, found.unwanted) == (6, 3)
        assert router.counts.routed == 3
    made = await runs(stage)
    assert [decode_value(run.payload)["n"] for run in made] == [2, 3, 4]
    assert all(run.created_at >= before and (run.expires or 0) >= before + 60 for run in made), "it begins to age now"


async def test_the_live_run_and_the_replayed_one_are_one(stage: Stage) -> None:
    await declare(stage, "orders.*")
    async with daemon(stage):
        await published(stage)
        await asyncio.gather(replay(stage), replay(stage))
        await caught_up(stage)
    assert len(await runs(stage)) == 5


async def test_again_makes_another_run_once_for_each_asking(stage: Stage) -> None:
    await declare(stage, "orders.*")
    async with daemon(stage):
        await published(stage)
        await caught_up(stage)
        at = time.time()
        first = await replay(stage, again="aa", at=at)
        repeated = await replay(stage, again="aa", at=at)
        second = await replay(stage, again="bb", at=at)
    assert [(found.created, found.existed) for found in (first, repeated, second)] == [(5, 0), (0, 5), (5, 0)]
    assert len({run.id for run in await runs(stage)}) == 15


async def test_a_dry_run_says_what_would_be_and_does_nothing(stage: Stage) -> None:
    async with daemon(stage):
        await published(stage, 3)
        await stage.client.emit("orders.created", {"n": "text"})
        await caught_up(stage)
        await declare(stage, "orders.*", filter="event.n > 0")
        async with asyncio.timeout(10):
            while not (found := await replay(stage, dry_run=True)).created:
                pass
        assert (found.created, found.existed, found.unwanted, found.unmapped) == (2, 0, 1, 1)
    assert await runs(stage) == []


async def test_only_what_is_meant_is_routed(stage: Stage) -> None:
    await declare(stage, "orders.*", "stock.*")
    named = Route(subject="orders.*", task="audit", name="audits")
    async with daemon(stage, named):
        await published(stage, 2)
        await published(stage, 2, "stock.low")
        await caught_up(stage)
        at = time.time()
        assert (await replay(stage, again="a", at=at, subject="stock.*")).created == 2
        assert (await replay(stage, again="b", at=at, task="audit")).created == 2
        assert (await replay(stage, again="c", at=at, route="audits")).created == 2
        assert (await replay(stage, again="d", at=at, first=2, last=3)).created == 3
        assert (await replay(stage, again="e", at=at, task="none")).unwanted == 4


async def test_what_cannot_be_is_refused_with_the_reason(stage: Stage) -> None:
    await declare(stage, "orders.*", asks=True)
    async with daemon(stage):
        await published(stage, 1)
        with pytest.raises(Refused, match="no route is named nowhere"):
            await replay(stage, route="nowhere")
        with pytest.raises(Refused, match="expected 1 to 1000 events, found 5000"):
            await replay(stage, limit=5000)
        with pytest.raises(Refused, match="no worker says what ship makes of events"):
            await until_refused(stage)
        assert (await replay(stage, task="other")).events == 1


async def test_a_task_that_is_asked_is_asked_about_past_events(stage: Stage) -> None:
    @task(on="orders.*", filter=lambda event: event.data["n"] > 2)
    async def ship(n: int) -> None: ...

    async with daemon(stage):
        await published(stage)
        await caught_up(stage)
        async with stage.worker(ship), asyncio.timeout(10):
            while (found := await replay(stage)).created + found.existed < 2:
                pass
    assert found.unwanted == 3


async def test_a_dead_event_is_not_buried_twice(stage: Stage) -> None:
    await declare(stage, "orders.*", filter="event.none")
    async with daemon(stage):
        await published(stage, 2)
        await caught_up(stage)
        found = await replay(stage)
        assert (found.unmapped, found.existed) == (0, 2)
        assert (await replay(stage, again="a")).unmapped == 2


async def test_of_no_events_nothing_becomes(stage: Stage) -> None:
    async with daemon(stage):
        found = await replay(stage, last=10)
        assert (found.done, found.events) == (True, 0)
