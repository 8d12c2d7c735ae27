"""A project behind the HTTP interface, with real client and history: what is asked, and what an error becomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from holdfast.bus.journal import Journal
from holdfast.bus.memory import MemoryBus
from holdfast.bus.ports import Message
from holdfast.core.model import State
from holdfast.errors import BusError, ConfigError, Refused, UnknownTask
from holdfast.wire import codec
from holdfast.wire.api import RunRef, RunsQuery, TaskCard
from holdfast.wire.subjects import Stream
from holdfast_daemon.front import Front, Knowing
from holdfast_daemon.gauges import Gauges
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.store import Store, Unavailable
from holdfast_daemon.query.service import QueryService
from holdfast_daemon.roster import Roster
from holdfast_daemon.router import Router
from worlds import eventually


class Stood(MemoryBus):
    """A bus that counts how often it is asked for a last value."""

    asked = 0

    async def last(self, stream: Stream, subject: str) -> Message | None:
        self.asked += 1
        return await super().last(stream, subject)


@asynccontextmanager
async def front(bus: Stood, path: Path) -> AsyncIterator[tuple[Front, QueryService]]:
    store, gauges, roster = Store.open(path / "h.duckdb"), Gauges(), Roster(bus)
    projector = Projector(bus, store, [gauges])
    queries = QueryService(bus, store, projector, gauges)
    try:
        async with anyio.create_task_group() as tasks:
            for service in (projector, queries, roster):
                await tasks.start(service.run)
            client, router = Knowing(bus, roster, name="http"), Router(Journal(bus))
            yield Front(client, queries, projector=projector, gauges=gauges, router=router, roster=roster), queries
            tasks.cancel_scope.cancel()
    finally:
        store.close()


def card(id: str = "ship") -> bytes:
    return codec.encode(TaskCard(id=id, queue="orders"))


async def test_a_declared_task_is_triggered_without_asking_for_its_card(tmp_path: Path) -> None:
    bus = Stood("shop")
    await bus.put("task", "ship", card())
    async with front(bus, tmp_path) as (project, _):
        asked = bus.asked
        made = await project.trigger("ship", {"a": 1}, {"tags": ["eu"]})
        assert bus.asked == asked
        view = await project.view(RunRef(made.run))
        assert (view.row.queue, view.row.tags, view.row.source, made.cached) == ("orders", ("eu",), "http", False)


async def test_a_task_that_was_declared_a_moment_ago_is_asked_for(tmp_path: Path) -> None:
    bus = Stood("shop")
    async with front(bus, tmp_path) as (project, _):
        with pytest.raises(UnknownTask):
            await project.trigger("ship", {}, {})
        await bus.put("task", "ship", card())
        assert (await project.trigger("ship", {}, {})).run
        await eventually(lambda: [one.id for one in project.cards()] == ["ship"])


async def test_an_option_that_this_version_does_not_take_is_refused_and_triggers_nothing(tmp_path: Path) -> None:
    bus = Stood("shop")
    await bus.put("task", "ship", card())
    async with front(bus, tmp_path) as (project, _):
        with pytest.raises(ConfigError, match="no option 'wait_for_moon' of a trigger"):
            await project.trigger("ship", {}, {"wait_for_moon": True})  # type: ignore[typeddict-unknown-key]
    async with Stood("shop", bus.server) as again:
        assert await again.last_seq(Stream.JOURNAL) == 0


async def test_measures_count_what_there_is(tmp_path: Path) -> None:
    bus = Stood("shop")
    await bus.put("task", "ship", card())
    async with front(bus, tmp_path) as (project, _):
        for _ in range(3):
            await project.trigger("ship", {}, {})
        await project.page(RunsQuery())
        found = await project.measures()
    assert {key: count for key, count in found.runs.items() if count} == {("orders", State.QUEUED): 3}
    assert found.health.journal == found.health.projected == 3
    assert (found.routed, found.workers) == (0, 0)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("limit"), "bad_request"),
        (Unavailable("disk full"), "unavailable"),
        (BusError("away"), "unavailable"),
    ],
)
async def test_what_the_history_can_not_answer_is_a_refusal_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    async def fails(*_: object) -> None:
        raise error

    async with front(Stood("shop"), tmp_path) as (project, queries):
        monkeypatch.setattr(queries, "runs", fails)
        with pytest.raises(Refused, match=str(error)) as refused:
            await project.page(RunsQuery())
        assert refused.value.code == code


async def test_a_project_that_is_not_connected_is_not_ready(tmp_path: Path) -> None:
    bus = Stood("shop")
    async with front(bus, tmp_path) as (project, _):
        assert await project.readiness() in ("", "the history catches up with the journal")
        await bus.close()
        assert await project.readiness() == "the server does not answer"
