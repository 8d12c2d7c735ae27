"""Batches: order, options of each item, and items that can't be created; BEHAVIOURS "Idempotency, ..., batch"."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Retry, Timeouts, task
from holdfast.bus.ports import Publication
from holdfast.client import Client, RunHandle
from holdfast.core.model import Run
from holdfast.errors import ConfigError, EncodeError, PayloadError, UnknownTask
from holdfast.task import Task
from holdfast.triggering import Debounce
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value
from stage import Stage


def ship() -> Task[..., Any]:
    @task(id="ship", queue="orders", priority=4)
    async def ship(order_id: str, n: int = 0) -> str:
        return order_id

    return ship


async def runs(handles: list[RunHandle | Exception]) -> list[Run]:
    return [await handle.status() for handle in handles if isinstance(handle, RunHandle)]


async def test_items_have_options_of_their_own_that_go_before_those_of_the_batch(stage: Stage) -> None:
    batch = ship().options(tags=["eu"], priority=2)
    handles = await batch.batch_trigger(
        [
            {"order_id": "A1"},
            ({"order_id": "A2"}, {"priority": 0, "tags": [], "queue": "bulk"}),
            ({"order_id": "A3"}, {"delay": timedelta(minutes=1), "metadata": {"who": "ann"}}),
            ({"order_id": "A4"}, {"retry": Retry(max_attempts=7), "timeouts": Timeouts(heartbeat=9), "ttl": 30}),
            ({"order_id": "A5"}, {"concurrency_key": "acme"}),
        ]
    )
    first, second, third, fourth, fifth = await runs(handles)
    assert [decode_value(run.payload)["order_id"] for run in (first, second, third, fourth, fifth)] == [
        "A1", "A2", "A3", "A4", "A5",
    ]  # fmt: skip
    assert (first.queue, first.priority, first.tags) == ("orders", 2, ("eu",))
    assert (second.queue, second.priority, second.tags) == ("bulk", 0, ())
    assert (third.state, third.due, third.armed) == ("delayed", third.created_at + 60, True)
    assert decode_value(third.metadata["who"]) == "ann"
    assert fourth.retry is not None
    assert (fourth.retry.max_attempts, fourth.timeouts, fourth.expires) == (
        7,
        Timeouts(heartbeat=9),
        fourth.created_at + 30,
    )
    assert (fifth.concurrency_key, fifth.tags) == ("acme", ("eu",))


BAD: list[tuple[Any, type[Exception], str]] = [
    ({"order": "A1"}, PayloadError, "payload of task ship: expected ship"),
    ({"order_id": "A1", "n": "seven"}, PayloadError, "argument 'n'"),
    ({"order_id": "A1", "n": None}, PayloadError, "argument 'n'"),
    (7, PayloadError, "an item of a batch is a payload, or a payload and options"),
    (({"order_id": "A1"}, {}, {}), PayloadError, "an item of a batch is a payload, or a payload and options"),
    (({"order_id": "A1"}, 3), PayloadError, "an item of a batch is a payload, or a payload and options"),
    (({"order_id": "A1"}, {"priority": 77}), ConfigError, "priority is from 0 (first) to 9 (last), found 77"),
    (({"order_id": "A1"}, {"prio": 7}), ConfigError, "no option 'prio' of a trigger: did you mean 'priority'?"),
    (({"order_id": "A1"}, {"queue": "a.b"}), ConfigError, "queue 'a.b': expected letters"),
    (({"order_id": "A1"}, {"metadata": {"lock": object()}}), EncodeError, ""),
    (({"order_id": "A1"}, {"idempotency_ttl": 7}), ConfigError, "idempotency_ttl: expected an idempotency_key"),
]


async def test_an_item_that_can_not_be_created_is_its_error_and_the_others_go_on(stage: Stage) -> None:
    items: list[Any] = []
    for number, (bad, _, _) in enumerate(BAD):
        items += [{"order_id": f"good {number}"}, bad]
    outcomes = await ship().batch_trigger(items)
    assert len(outcomes) == 2 * len(BAD)
    for outcome, (_, kind, says) in zip(outcomes[1::2], BAD, strict=True):
        assert type(outcome) is kind
        assert says in str(outcome)
    assert [decode_value(run.payload)["order_id"] for run in await runs(outcomes[::2])] == [
        f"good {number}" for number in range(len(BAD))
    ]
    ready = stage.client.bus.subjects.items("orders", 4)
    assert len(await stage.client.bus.read(Stream.JOURNAL, ready)) == len(BAD)


@pytest.mark.parametrize(
    ("stage", "count"), [("memory", 1_000), ("jetstream", 10_000)], ids=["memory", "jetstream"], indirect=["stage"]
)
async def test_ten_thousand_items_good_and_bad_keep_their_places(stage: Stage, count: int) -> None:
    def item(n: int) -> Any:
        match n % 5:
            case 0:
                return {"order_id": n}
            case 1:
                return ({"order_id": str(n)}, {"idempotency_key": f"k{n // 10}"})
            case 2:
                return ({"order_id": str(n)}, {"delay": 3600})
            case 3:
                return ({"order_id": str(n)}, {"priority": n % 10, "tags": [str(n)]})
        return {"order_id": str(n)}

    outcomes = await ship().batch_trigger(item(n) for n in range(count))
    assert len(outcomes) == count
    assert all(isinstance(one, PayloadError) for one in outcomes[::5])
    handles = {n: one for n, one in enumerate(outcomes) if isinstance(one, RunHandle)}
    assert len(handles) == count * 8 // 10
    assert [handles[n].cached for n in range(1, count, 5)] == [False, True] * (count // 10)
    assert all(handles[n].id == handles[n + 5].id for n in range(1, count, 10))
    assert len({handle.id for handle in handles.values()}) == count * 7 // 10
    for n in (4, 13, 502, count // 2 + 1, count - 2, count - 1):
        run = await handles[n].status()
        assert decode_value(run.payload) == {"order_id": str(n)}
        assert run.state == ("delayed" if n % 5 == 2 else "queued")
        assert run.priority == (n % 10 if n % 5 == 3 else 4)


async def test_a_batch_with_keys_takes_two_round_trips(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    trips: list[int] = []
    bus = stage.client.bus
    publish_many = bus.publish_many

    async def counted(messages: list[Publication]) -> list[int | Exception]:
        trips.append(len(messages))
        return await publish_many(messages)

    monkeypatch.setattr(bus, "publish_many", counted)
    batch = ship()
    first = await batch.batch_trigger(({"order_id": str(n)}, {"idempotency_key": str(n)}) for n in range(200))
    assert trips == [200, 200]
    again = await batch.batch_trigger(({"order_id": "other"}, {"idempotency_key": str(n)}) for n in range(200))
    assert [one.id for one in again if isinstance(one, RunHandle) and one.cached] == [
        one.id for one in first if isinstance(one, RunHandle)
    ]


async def test_the_debounced_items_of_a_batch_count_in_their_order(stage: Stage) -> None:
    handles = await ship().batch_trigger(
        ({"order_id": f"{key}{n}"}, {"debounce": Debounce(key, 60)}) for n in range(5) for key in ("a", "b")
    )
    found = [handle for handle in handles if isinstance(handle, RunHandle)]
    assert len({handle.id for handle in found}) == 2
    assert [handle.cached for handle in found] == [False] * 2 + [True] * 8
    first, second = [await handle.status() for handle in found[:2]]
    assert [decode_value(run.payload) for run in (first, second)] == [{"order_id": "a4"}, {"order_id": "b4"}]
    assert (first.armed, second.armed) == (True, True)


# --- by name --------------------------------------------------------------------------------------------------------


async def test_every_option_goes_by_name_without_importing_the_task(stage: Stage) -> None:
    async with stage.worker(ship()):
        handle = await stage.client.trigger(
            "ship",
            {"order_id": "A1"},
            queue="bulk",
            delay=60,
            priority=0,
            retry=Retry(max_attempts=2),
            timeouts=Timeouts(schedule_to_close=90),
            ttl=timedelta(seconds=30),
            tags=["eu"],
            metadata={"who": "ann"},
            concurrency_key="acme",
            idempotency_key="A1",
            idempotency_ttl=3600,
            idempotency_scope="global",
        )
        again = await stage.client.trigger("ship", {"order_id": "B7"}, idempotency_key="A1")
        put_off = [await stage.client.trigger("ship", {"order_id": str(n)}, debounce=("x", 60)) for n in range(2)]
    run = await handle.status()
    assert run.retry is not None
    assert run.key is not None
    assert (again.id, again.cached) == (handle.id, True)
    assert (run.queue, run.priority, run.tags, run.concurrency_key) == ("bulk", 0, ("eu",), "acme")
    assert (run.due, run.expires, run.deadline) == (
        run.created_at + 60,
        run.created_at + 90,
        run.created_at + 150,
    )
    assert (run.retry.max_attempts, run.key.until, decode_value(run.metadata["who"])) == (
        2,
        run.created_at + 3600,
        "ann",
    )
    assert (put_off[0].id, [one.cached for one in put_off]) == (put_off[1].id, [False, True])


async def test_a_batch_by_name_is_checked_by_a_worker_item_by_item(stage: Stage) -> None:
    async with stage.worker(ship()):
        outcomes = await stage.client.batch_trigger(
            "ship",
            [{"order_id": "A1"}, {"order_id": 7}, ({"order_id": "A3"}, {"priority": 0}), {"n": 1}, {"order_id": "A5"}],
            tags=["eu"],
        )
        results = [await one.result(10) for one in outcomes if isinstance(one, RunHandle)]
    assert [type(one).__name__ for one in outcomes] == [
        "RunHandle", "PayloadError", "RunHandle", "PayloadError", "RunHandle",
    ]  # fmt: skip
    assert results == ["A1", "A3", "A5"]
    assert [(run.tags, run.priority) for run in await runs(outcomes)] == [(("eu",), 4), (("eu",), 0), (("eu",), 4)]


async def test_a_batch_by_name_of_a_task_that_nobody_declared_starts_nothing_unless_asked(stage: Stage) -> None:
    with pytest.raises(UnknownTask):
        await stage.client.batch_trigger("nobody", [{}])
    outcomes = await stage.client.batch_trigger("nobody", [{"a": 1}, {"a": 2}], declared=False)
    assert [decode_value(run.payload) for run in await runs(outcomes)] == [{"a": 1}, {"a": 2}]


async def test_a_task_object_is_triggered_by_a_client_of_its_own(stage: Stage) -> None:
    batch = ship()
    client = Client(await stage._make(), name="other")
    one = await client.trigger(batch, {"order_id": "A1"}, tags=["eu"])
    two = await client.trigger(batch.options(priority=0), {"order_id": "A2"}, tags=["us"])
    many = await client.batch_trigger(batch.options(priority=1), [{"order_id": "A3"}, {"order": 1}])
    assert isinstance(many[1], PayloadError)
    found = [await one.status(), await two.status(), *await runs(many)]
    assert [(run.priority, run.tags, run.source) for run in found] == [
        (4, ("eu",), "other"),
        (0, ("us",), "other"),
        (1, (), "other"),
    ]
    with pytest.raises(PayloadError):
        await client.trigger(batch, {"order": 1})
    assert {handle.client for handle in (one, two)} == {client}
    assert asyncio.get_running_loop().is_running()
