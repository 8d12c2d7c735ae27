"""The router: one run for each event and task that wants it, whoever published it, however often it is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast import task
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Bus, Publication
from holdfast.core.entries import RunCreated
from holdfast.errors import TooLarge
from holdfast.wire import api, codec
from holdfast.wire.events import payload_of
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value
from holdfast_daemon.router import Router
from stage import Stage
from worlds import eventually


async def declare(stage: Stage, *on: str, task_id: str = "ship", queue: str = "default") -> None:
    """Say that a worker has a task that wants these events."""
    card = api.TaskCard(id=task_id, queue=queue, on=on, doc="", parameters="", module="m", code="")
    await stage.client.bus.put("task", task_id, codec.encode(card))


async def publish(stage: Stage, name: str, data: bytes = b"{}") -> int:
    """What any NATS client can do."""
    return await stage.client.bus.publish(f"{stage.client.bus.subjects.root}.evt.{name}", data)


@asynccontextmanager
async def routing(stage: Stage, bus: Bus | None = None) -> AsyncIterator[Router]:
    """A router at work for the time of the block, then gone as by a kill."""
    router = Router(Journal(bus or stage.client.bus))
    service = asyncio.create_task(router.run())
    try:
        yield router
        assert not service.done(), service
    finally:
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)


async def created(stage: Stage) -> list[RunCreated]:
    """All runs that were created, in order."""
    bus = stage.client.bus
    messages = await bus.read(Stream.JOURNAL, bus.subjects.journal)
    entries = [codec.decode_entry(message.data) for message in messages if ".ready." in message.subject]
    return [entry for entry in entries if isinstance(entry, RunCreated)]


async def cursor(stage: Stage) -> int:
    kept = await stage.client.bus.last(Stream.CONTROL, stage.client.bus.subjects.control("cursor", "router"))
    return 0 if kept is None else int(kept.data)


async def routed(stage: Stage, upto: int) -> list[RunCreated]:
    """The runs, once all events up to this one have been looked at."""
    async with asyncio.timeout(5):
        while await cursor(stage) < upto:  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.01)
    return await created(stage)


def payload(run: RunCreated) -> Any:
    return decode_value(run.payload)


async def test_an_event_of_any_publisher_becomes_a_run_of_the_task_that_wants_it(stage: Stage) -> None:
    await declare(stage, "orders.created", queue="mail")
    async with routing(stage):
        last = await publish(stage, "orders.created", b'{"order_id": "A1", "amount": 3}')
        (run,) = await routed(stage, last)
    assert (run.task, run.queue, run.source) == ("ship", "mail", "event orders.created")
    assert payload(run) == {"order_id": "A1", "amount": 3}


async def test_a_worker_runs_what_an_event_asks_for(stage: Stage) -> None:
    got: asyncio.Queue[int] = asyncio.Queue()

    @task(on="stock.*")
    async def restock(n: int) -> None:
        got.put_nowait(n)

    async with stage.worker(restock), routing(stage):
        await publish(stage, "stock.low", b'{"n": 4}')
        async with asyncio.timeout(5):
            assert await got.get() == 4


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("orders.created", {"exact", "star", "tail", "all"}),
        ("orders.created.eu", {"tail", "all"}),
        ("orders", {"all"}),
        ("stock.low", {"all"}),
    ],
)
async def test_wildcards_take_in_what_nats_would(stage: Stage, name: str, wanted: set[str]) -> None:
    for task_id, pattern in {"exact": "orders.created", "star": "orders.*", "tail": "orders.>", "all": ">"}.items():
        await declare(stage, pattern, task_id=task_id)
    async with routing(stage):
        runs = await routed(stage, await publish(stage, name))
    assert {run.task for run in runs} == wanted
    assert len(runs) == len(wanted)


async def test_a_task_that_wants_an_event_by_two_patterns_runs_once(stage: Stage) -> None:
    await declare(stage, "orders.*", "orders.created")
    async with routing(stage):
        assert len(await routed(stage, await publish(stage, "orders.created"))) == 1


async def test_events_that_nobody_wants_are_counted_and_passed(stage: Stage) -> None:
    await declare(stage, "orders.created")
    async with routing(stage) as router:
        await publish(stage, "orders.deleted")
        await publish(stage, "orders.deleted")
        assert len(await routed(stage, await publish(stage, "orders.created"))) == 1
        assert (router.counts.unwanted, router.counts.routed) == (2, 1)


async def test_a_task_that_is_declared_later_gets_later_events(stage: Stage) -> None:
    async with routing(stage) as router:
        await routed(stage, await publish(stage, "orders.created"))
        await declare(stage, "orders.created")
        async with asyncio.timeout(5):
            while not router.counts.routed:
                await routed(stage, await publish(stage, "orders.created"))


# --- once


async def test_a_restarted_router_goes_on_behind_its_cursor(stage: Stage) -> None:
    await declare(stage, ">")
    async with routing(stage):
        await routed(stage, await publish(stage, "a"))
    last = await publish(stage, "b")
    async with routing(stage) as router:
        assert [run.source for run in await routed(stage, last)] == ["event a", "event b"]
        assert router.counts.routed == 1


class Killed(Exception):
    """The daemon died here."""


class DiesBeforeItsCursor:
    """A bus on which the router dies between the runs it creates and the cursor."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.died = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def put(self, what: str, name: str, data: bytes, *, ttl: float | None = None) -> int:
        if what != "cursor":
            return await self._bus.put(what, name, data, ttl=ttl)
        self.died.set()
        raise Killed


async def test_a_router_killed_between_runs_and_cursor_creates_nothing_twice(stage: Stage) -> None:
    await declare(stage, ">", task_id="first")
    await declare(stage, ">", task_id="second")
    last = [await publish(stage, name) for name in ("a", "b", "c")][-1]
    for _ in range(3):
        dies = DiesBeforeItsCursor(stage.client.bus)
        with pytest.raises(BaseExceptionGroup, match="unhandled"):
            await Router(Journal(dies)).run()  # type: ignore[arg-type]
        assert len(await created(stage)) == 6
    assert await cursor(stage) == 0
    async with routing(stage):
        runs = await routed(stage, last)
    assert len(runs) == 6
    assert {(run.source, run.task) for run in runs} == {
        (f"event {name}", task_id) for name in "abc" for task_id in ("first", "second")
    }


async def test_two_routers_at_once_create_one_run_for_each_event(stage: Stage) -> None:
    await declare(stage, ">")
    async with routing(stage), routing(stage):
        last = [await publish(stage, f"e{n}") for n in range(30)][-1]
        await routed(stage, last)
        await asyncio.sleep(0.2)
    assert sorted(run.source for run in await created(stage)) == sorted(f"event e{n}" for n in range(30))


async def test_a_cursor_beyond_the_stream_does_not_swallow_new_events(stage: Stage) -> None:
    await declare(stage, ">")
    await stage.client.bus.put("cursor", "router", b"1000")  # the event stream was lost, or made anew
    async with routing(stage) as router:
        await asyncio.sleep(0.1)
        await publish(stage, "orders.created")
        await eventually(lambda: router.counts.routed == 1)
        assert len(await created(stage)) == 1


# --- what is no object


DEEP = b"[" * 500 + b"]" * 500


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", {}),
        (b"null", {"event": None}),
        (b"[1, 2]", {"event": [1, 2]}),
        (b'"text"', {"event": "text"}),
        (b"17", {"event": 17}),
        (b'{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
        (b"no json {", {"event": "no json {"}),
        (b"\xff\xfe\x00", {"event": b"\xff\xfe\x00"}),
        (b'{"a": "\\ud800"}', None),
        (DEEP, {"event": DEEP.decode()}),
        (b'{"a": ' + DEEP + b"}", {"event": '{"a": ' + DEEP.decode() + "}"}),
        (b"[" * 100_000, {"event": "[" * 100_000}),
    ],
)
def test_whatever_an_event_holds_becomes_a_payload(data: bytes, expected: dict[str, object] | None) -> None:
    found = decode_value(payload_of(data))
    assert isinstance(found, dict)
    assert expected is None or found == expected


class RefusesLarge:
    """A bus whose server refuses runs of more than so many bytes."""

    def __init__(self, bus: Bus, most: int) -> None:
        self._bus = bus
        self._most = most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
        return [
            TooLarge("refused") if len(message.data) > self._most else (await self._bus.publish_many([message]))[0]
            for message in messages
        ]


async def test_an_event_whose_run_is_too_large_is_passed_over_and_told(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await declare(stage, ">")
    async with routing(stage, RefusesLarge(stage.client.bus, 1000)) as router:  # type: ignore[arg-type]
        await publish(stage, "large", b"x" * 2000)
        runs = await routed(stage, await publish(stage, "small"))
        assert [run.source for run in runs] == ["event small"]
        assert (router.counts.routed, router.counts.refused) == (1, 1)
    assert "event large" in caplog.text


async def test_a_card_that_is_none_is_passed_over(stage: Stage) -> None:
    await stage.client.bus.put("task", "odd", b"no card")
    await declare(stage, ">")
    async with routing(stage):
        assert len(await routed(stage, await publish(stage, "a"))) == 1
