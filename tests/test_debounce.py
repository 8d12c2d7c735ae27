"""Debounced triggers; expectations by hand from BEHAVIOURS "Idempotency, debounce, priority, ttl"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast import task
from holdfast.bus.journal import TIMER
from holdfast.client import Client, RunHandle
from holdfast.core.entries import Offered
from holdfast.task import Task
from holdfast.testing import Harness, harness
from holdfast.triggering import Debounce
from holdfast.wire import codec
from holdfast.wire.values import decode_value
from stage import Stage
from virtual import Project, turns

HOUR = 3600.0


def reindex() -> tuple[Task[..., Any], list[Any]]:
    """A task, and what it was run with."""
    ran: list[Any] = []

    @task
    async def index(n: int) -> int:
        ran.append(n)
        return n

    return index, ran


@asynccontextmanager
async def hours(index: Task[..., Any]) -> AsyncIterator[Harness]:
    async with harness(index) as h:
        yield h


async def test_triggers_of_a_key_become_one_run_after_the_last_of_them_with_its_payload() -> None:
    index, ran = reindex()
    async with hours(index) as h:
        handles = []
        for n in range(5):
            handles.append(await h.trigger(index.options(debounce=("A1", HOUR)), n=n))
            await h.advance(hours=0.9)
        assert ran == []
        await h.advance(hours=0.11)
        assert ran == [4]
        assert len({handle.id for handle in handles}) == 1
        assert [handle.cached for handle in handles] == [False, True, True, True, True]
        found = await h.look(handles[0])
        assert (found.result, found.run.due) == (4, None)
        assert [type(entry).__name__ for entry in found.entries[:6]] == ["RunCreated", *["Postponed"] * 4, "Offered"]
        assert found.run.started_at == pytest.approx(found.run.created_at + (4 * 0.9 + 1) * HOUR, abs=1)


async def test_a_leading_debounce_keeps_the_first_payload_and_still_waits_for_the_last_trigger() -> None:
    index, ran = reindex()
    async with hours(index) as h:
        for n in range(3):
            await h.trigger(index.options(debounce=Debounce("A1", HOUR, mode="leading")), n=n)
            await h.advance(hours=0.9)
        assert ran == []
        await h.advance(hours=0.2)
        assert ran == [0]


async def test_past_its_longest_delay_a_window_is_over_and_the_next_one_begins() -> None:
    index, ran = reindex()
    async with hours(index) as h:
        options = index.options(debounce=Debounce("A1", HOUR, max_delay=2.5 * HOUR))
        handles, began = [], h.now
        for n in range(8):
            handles.append(await h.trigger(options, n=n))
            await h.advance(hours=0.5)
        # at 0, 0.5 .. 2 h put off to 2.5 at the latest; at 2.5 h the next one begins
        ids = [handle.id for handle in handles]
        assert (len(set(ids[:5])), len(set(ids[5:])), len(set(ids))) == (1, 1, 2)
        assert ran == [4]
        first = await h.look(handles[0])
        assert first.run.started_at is not None
        assert first.run.started_at - began.timestamp() == pytest.approx(2.5 * HOUR, abs=1)
        await h.advance(hours=1)
        assert ran == [4, 7]


async def test_a_trigger_only_ever_pushes_later() -> None:
    index, ran = reindex()
    async with hours(index) as h:
        handle = await h.trigger(index.options(debounce=("A1", 2 * HOUR)), n=1)
        due = (await h.look(handle)).run.due
        await h.trigger(index.options(debounce=("A1", 60)), n=2)
        found = await h.look(handle)
        assert (found.run.due, decode_value(found.run.payload)) == (due, {"n": 2})
        await h.advance(hours=1.9)
        assert ran == []
        await h.advance(hours=0.2)
        assert ran == [2]


async def test_a_window_that_is_over_begins_anew_and_other_keys_have_their_own() -> None:
    index, ran = reindex()
    async with hours(index) as h:
        first = await h.trigger(index.options(debounce=("A1", HOUR)), n=1)
        other = await h.trigger(index.options(debounce=("B7", HOUR)), n=2)
        await h.advance(hours=2)
        again = await h.trigger(index.options(debounce=("A1", HOUR)), n=3)
        assert len({first.id, other.id, again.id}) == 3
        assert [other.cached, again.cached] == [False, False]
        assert sorted(ran) == [1, 2]
        await h.advance(hours=2)
        assert sorted(ran) == [1, 2, 3]


async def test_a_run_that_was_cancelled_is_put_off_no_more() -> None:
    index, ran = reindex()
    async with hours(index) as h:
        first = await h.trigger(index.options(debounce=("A1", HOUR)), n=1)
        await first.cancel()
        again = await h.trigger(index.options(debounce=("A1", HOUR)), n=2)
        assert (again.id != first.id, again.cached) == (True, False)
        await h.advance(hours=2)
        assert ran == [2]


async def test_of_an_idempotency_key_and_a_debounce_the_key_decides() -> None:
    index, ran = reindex()
    async with hours(index) as h:
        options = index.options(debounce=("A1", HOUR), idempotency_key="A1")
        first = await h.trigger(options, n=1)
        due = (await h.look(first)).run.created_at + HOUR
        assert (await h.look(first)).run.due == due
        await h.advance(hours=0.5)
        again = await h.trigger(options, n=2)
        assert (again.id, again.cached) == (first.id, True)
        assert (await h.look(first)).run.due == due
        other = await h.trigger(index.options(debounce=("A1", HOUR), idempotency_key="A2"), n=3)
        assert other.id != first.id
        await h.advance(hours=2)
        assert ran == [1, 3]


async def test_the_time_to_live_counts_from_when_it_was_put_off_to() -> None:
    index, _ = reindex()
    async with hours(index) as h:
        options = index.options(debounce=("A1", HOUR), ttl=60)
        handle = await h.trigger(options, n=1)
        await h.advance(hours=0.5)
        await h.trigger(options, n=2)
        found = (await h.look(handle)).run
        assert found.expires == found.created_at + 1.5 * HOUR + 60


# --- timers and races -----------------------------------------------------------------------------------------------


async def test_a_timer_that_fires_between_two_triggers_does_not_start_the_run_early() -> None:
    """The first window's timer fires just when the second trigger has written, and before it set its own timer."""
    project = Project()
    client = Client(project.bus, clock=project.clock)  # type: ignore[arg-type]
    publish_at = project.bus.publish_at
    handle = await client.trigger("ship", {"n": 1}, declared=False, debounce=("A1", 5.0))
    project.clock.advance(4.999)

    async def late(*args: Any, **kwargs: Any) -> int:
        project.clock.advance(0.002)  # the timer of before fires
        await turns()
        return await publish_at(*args, **kwargs)

    project.bus.publish_at = late  # type: ignore[method-assign]
    again = await client.trigger("ship", {"n": 2}, declared=False, debounce=("A1", 5.0))
    project.bus.publish_at = publish_at  # type: ignore[method-assign]
    assert (again.id, again.cached) == (handle.id, True)
    assert await project.names(handle.id) == ["RunCreated", "Postponed", "Offered", "~Offered"]
    run = await project.load(handle.id)
    assert (run.state, run.armed, run.offered, run.due) == ("delayed", True, False, run.created_at + 9.999)
    await project.elapse(4.9)
    assert (await project.load(handle.id)).state == "delayed"
    await project.elapse(0.2)
    found = await project.load(handle.id)
    assert (found.state, decode_value(found.payload)) == ("queued", {"n": 2})


async def test_a_trigger_that_comes_when_the_timer_has_fired_begins_a_new_window() -> None:
    """The timer fires between the trigger's look and what it writes, which its log does not show."""
    project = Project()
    client = Client(project.bus, clock=project.clock)  # type: ignore[arg-type]
    handle = await client.trigger("ship", {"n": 1}, declared=False, debounce=("A1", 5.0))
    append = client.journal.append

    async def late(*args: Any, **kwargs: Any) -> int:
        if args[0] == handle.id and args[1] > 0:
            project.clock.advance(5.001)
            await turns()
        return await append(*args, **kwargs)

    client.journal.append = late  # type: ignore[method-assign]
    again = await client.trigger("ship", {"n": 2}, declared=False, debounce=("A1", 5.0))
    assert (again.id != handle.id, again.cached) == (True, False)
    first, second = await project.load(handle.id), await project.load(again.id)
    assert (first.state, decode_value(first.payload)) == ("queued", {"n": 1})
    assert (second.state, decode_value(second.payload)) == ("delayed", {"n": 2})


async def test_a_timer_set_by_somebody_slow_is_set_again_by_whoever_looks_next() -> None:
    project = Project()
    client = Client(project.bus, clock=project.clock)  # type: ignore[arg-type]
    handle = await client.trigger("ship", {"n": 1}, declared=False, debounce=("A1", 5.0))
    old = (await project.load(handle.id)).last
    project.clock.advance(3)
    await client.trigger("ship", {"n": 2}, declared=False, debounce=("A1", 5.0))
    subjects = project.bus.subjects
    await project.bus.publish_at(  # by the first trigger, which was slow
        subjects.timer(handle.id, TIMER),
        codec.encode(Offered(handle.id, old, old)),
        due=project.now + 2,
        target=subjects.ready(handle.id, "default", 5),
    )
    assert not (await project.load(handle.id)).armed
    async with project.daemon() as daemon:
        await project.elapse(4.0)
        run = await project.load(handle.id)
        assert (run.state, run.armed) == ("delayed", True)
        await project.elapse(2.0)
        assert (await project.load(handle.id)).state == "queued"
        assert daemon.repaired == {"timer": 1}


async def test_triggers_that_race_for_a_window_become_one_run_that_nobody_has_to_mend(stage: Stage) -> None:
    index, ran = reindex()
    clients = [Client(await stage._make(), name=f"c{number}") for number in range(10)]

    async def trigger(client: Client, n: int) -> RunHandle:
        return await client.trigger(index, {"n": n}, debounce=("A1", 0.7))

    handles = await asyncio.gather(*(trigger(client, n) for n, client in enumerate(clients)))
    assert len({handle.id for handle in handles}) == 1
    assert [handle.cached for handle in handles].count(False) == 1
    run = await handles[0].status()
    assert (run.state, run.armed) == ("delayed", True)
    async with stage.worker(index):
        result = await handles[0].result(10)
    assert ran == [result] == [decode_value((await handles[0].status()).payload)["n"]]
    names = await stage.names(handles[0])
    assert (names.count("RunCreated"), names.count("Postponed"), names.count("AttemptStarted")) == (1, 9, 1)


async def test_a_window_on_a_real_server_starts_after_its_last_trigger_with_what_that_gave(stage: Stage) -> None:
    index, ran = reindex()
    async with stage.worker(index):
        handles = [await index.options(debounce=("A1", 0.6)).trigger(n) for n in range(3)]
        last = (await handles[-1].status()).due
        assert await handles[0].result(10) == 2
        assert len({handle.id for handle in handles}) == 1
        started = (await handles[0].status()).started_at
        assert last is not None
        assert started is not None
        assert started >= last
        again = await index.options(debounce=("A1", 0.3)).trigger(7)
        assert again.id != handles[0].id
        assert await again.result(10) == 7
    assert ran == [2, 7]
