"""Idempotency keys; expectations by hand from BEHAVIOURS "Idempotency, debounce, priority, ttl"."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Retry, run, task
from holdfast.bus.clock import VirtualClock
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.client import Client, RunHandle
from holdfast.core.entries import AttemptStarted, Entry, LetterDropped, RunCancelled, RunCompleted, RunDead, RunExpired
from holdfast.core.entries import RunTimedOut as TimedOut
from holdfast.core.model import ErrorInfo, State
from holdfast.errors import ConfigError
from holdfast.wire.values import decode_value
from stage import Stage

DAY = 86_400.0
ERROR = ErrorInfo("E", "no")


async def test_twenty_callers_that_race_with_one_key_get_one_run(stage: Stage) -> None:
    effects: list[str] = []

    @task
    async def ship(order_id: str) -> str:
        effects.append(order_id)
        return order_id

    clients = [Client(await stage._make(), name=f"c{number}") for number in range(20)]
    async with stage.worker(ship):
        handles = await asyncio.gather(
            *(client.trigger(ship, {"order_id": f"from {client.name}"}, idempotency_key="A1") for client in clients)
        )
        results = {await handle.result(10) for handle in handles}
    assert len({handle.id for handle in handles}) == 1
    assert [handle.cached for handle in handles].count(False) == 1
    assert results == set(effects)
    assert len(effects) == 1
    names = await stage.names(handles[0])
    assert (names.count("RunCreated"), names.count("AttemptStarted")) == (1, 1)


async def test_another_payload_with_the_key_gets_the_run_that_is_there_and_is_told_so(stage: Stage) -> None:
    @task
    async def ship(order_id: str) -> str:
        return order_id

    async with stage.worker(ship):
        first = await ship.options(idempotency_key="A1").trigger(order_id="A1")
        assert (await first.result(10), first.cached) == ("A1", False)
        again = await ship.options(idempotency_key="A1").trigger(order_id="B7")
        assert (again.id, again.first, again.cached) == (first.id, first.first, True)
        assert await again.result(10) == "A1"
        other = await ship.options(idempotency_key="A2").trigger(order_id="B7")
        assert (other.id != first.id, other.cached) == (True, False)


async def test_keys_are_of_their_task(stage: Stage) -> None:
    @task
    async def ship() -> None: ...

    @task
    async def bill() -> None: ...

    one = await ship.options(idempotency_key="A1").trigger()
    other = await bill.options(idempotency_key="A1").trigger()
    assert (one.id != other.id, other.cached) == (True, False)


async def test_a_run_with_a_key_and_a_delay_starts_when_it_is_due(stage: Stage) -> None:
    @task
    async def ship() -> str:
        return "shipped"

    options = ship.options(idempotency_key="A1", delay=0.5)
    first, again = await options.trigger(), await options.trigger()
    assert (again.id, again.cached) == (first.id, True)
    delayed = await first.status()
    assert (delayed.state, delayed.armed) == ("delayed", True)
    assert delayed.due == delayed.created_at + 0.5
    async with stage.worker(ship):
        assert await again.result(10) == "shipped"
    started = await first.status()
    assert started.started_at is not None
    assert started.started_at >= delayed.due
    assert (await stage.names(first)).count("AttemptStarted") == 1


# --- what frees a key -----------------------------------------------------------------------------------------------


class Shop:
    """A client in memory at a time that a test moves, and runs that end as it says."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.client = Client(MemoryBus("shop", MemoryServer(self.clock)), clock=self.clock)  # type: ignore[arg-type]

    async def trigger(self, key: str = "A1", **options: Any) -> RunHandle:
        return await self.client.trigger("ship", {}, declared=False, idempotency_key=key, **options)

    async def end(self, handle: RunHandle, *entries: Entry, started: bool = True) -> State:
        at = self.clock.now()
        run = await handle.status()
        begun = [AttemptStarted(at, run.attempt + 1, "w", "n")] if started else []
        for entry in (*begun, *entries):
            run = await handle.status()
            await self.client.journal.append(run.id, run.last, "n", [entry])
        await self.client.journal.act(await handle.status())
        return (await handle.status()).state


ENDS = [
    # how it ended, from where, whether the key is held: within its time, and after
    ("completed", (RunCompleted(0, b"\xc0"),), True, True, False),
    ("cancelled", (RunCancelled(0, "stop"),), True, True, False),
    ("cancelled", (RunCancelled(0, "stop"),), False, True, False),
    ("dead", (RunDead(0, ERROR, "attempts used up"),), True, False, False),
    ("failed", (RunDead(0, ERROR, "attempts used up"), LetterDropped(0)), True, False, False),
    ("timed_out", (TimedOut(0, ERROR, "schedule_to_close"),), True, False, False),
    ("expired", (RunExpired(0, "too late"),), False, False, False),
]


@pytest.mark.parametrize(("state", "ends", "started", "within", "after"), ENDS)
async def test_a_key_is_free_again_as_its_run_ended_and_its_time_went_by(
    state: str, ends: tuple[Entry, ...], started: bool, within: bool, after: bool
) -> None:
    for ttl, waits, held in (
        (None, 30 * DAY - 1, within),
        (None, 30 * DAY, after),
        (60, 59.0, within),
        (60, 60.0, after),
        (0, 0.0, after),
    ):
        shop = Shop()
        first = await shop.trigger(idempotency_ttl=ttl)
        shop.clock.advance(waits)
        assert (await shop.trigger(idempotency_ttl=ttl)).id == first.id  # it lives
        assert await shop.end(first, *ends, started=started) == state
        again = await shop.trigger(idempotency_ttl=ttl)
        assert again.cached is held, (ttl, waits)
        assert (again.id == first.id) is held
        assert (await first.status()).state == state


async def test_a_key_that_was_free_often_is_found_in_its_newest_run() -> None:
    shop = Shop()
    made = []
    for _ in range(21):
        made.append(await shop.trigger())
        assert (await shop.trigger()).id == made[-1].id
        await shop.end(made[-1], RunDead(0, ERROR, "aborted"))
    assert len({handle.id for handle in made}) == 21
    assert not any(handle.cached for handle in made)
    last = await made[-1].status()
    assert last.key is not None
    assert (last.key.text, last.key.generation) == ("A1", 20)


async def test_callers_that_race_for_a_key_that_is_free_again_get_one_run(stage: Stage) -> None:
    @task
    async def ship() -> None: ...

    first = await ship.options(idempotency_key="A1").trigger()
    await stage.journal.kill(first.id)
    dead = await ship.options(idempotency_key="A1", idempotency_ttl=0).trigger()
    assert dead.id == first.id  # cancelled, and its own time counts, not that of the next trigger
    other = ship.options(idempotency_key="A2", idempotency_ttl=0)
    ended = await other.trigger()
    await stage.journal.kill(ended.id)
    handles = await asyncio.gather(*(other.trigger() for _ in range(20)))
    assert len({handle.id for handle in handles} | {ended.id}) == 2
    assert [handle.cached for handle in handles].count(False) == 1


# --- scope ----------------------------------------------------------------------------------------------------------


async def test_a_key_used_inside_a_run_is_that_runs_own_unless_it_is_global(stage: Stage) -> None:
    @task
    async def ship(n: int) -> int:
        return n

    @task
    async def order(scope: Any) -> list[tuple[str, bool]]:
        options = ship.options(idempotency_key="A1", idempotency_scope=scope)
        handles = [await options.trigger(n) for n in range(2)]
        return [(handle.id, handle.cached) for handle in handles]

    async with stage.worker(ship, order):
        own = [await (await order.trigger(None)).result(10) for _ in range(2)]
        shared = [await (await order.trigger("global")).result(10) for _ in range(2)]
        outside = await ship.options(idempotency_key="A1").trigger(5)
    for (first, _), (second, _) in own:
        assert first == second
    assert [[cached for _, cached in handles] for handles in own] == [[False, True], [False, True]]
    assert own[0][0][0] != own[1][0][0]
    assert {id for handles in shared for id, _ in handles} == {outside.id}
    assert [cached for handles in shared for _, cached in handles] == [False, True, True, True]
    assert outside.cached
    assert outside.id not in {id for handles in own for id, _ in handles}


async def test_a_step_that_runs_again_triggers_its_key_once(stage: Stage) -> None:
    @task
    async def ship() -> str:
        return run.id

    @task
    async def order() -> str:
        handle = await ship.options(idempotency_key="A1").trigger()
        if run.attempt == 1:
            raise ValueError("again")
        assert isinstance(handle, RunHandle)
        return handle.id

    async with stage.worker(ship, order):
        handle = await order.options(retry=Retry(min_timeout=0.01, jitter=False)).trigger()
        child = await handle.result(10)
        assert await stage.client.run(child).result(10) == child


# --- what can't be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"idempotency_key": ""}, "idempotency_key: expected a text of 1 to 256 characters, found ''"),
        ({"idempotency_key": 7}, "idempotency_key: expected a text of 1 to 256 characters, found 7"),
        ({"idempotency_key": "\udc80"}, "idempotency_key: expected a text that can be written as UTF-8"),
        ({"idempotency_ttl": 60}, "idempotency_ttl: expected an idempotency_key beside it"),
        ({"idempotency_scope": "global"}, "idempotency_scope: expected an idempotency_key beside it"),
        ({"idempotency_key": "a", "idempotency_ttl": -1}, "idempotency_ttl: expected seconds from 0 on"),
        ({"idempotency_key": "a", "idempotency_scope": "task"}, "idempotency_scope is 'run' or 'global', found 'task'"),
        ({"debounce": 5}, 'debounce: expected a key and a delay like ("A1", 5.0), or a Debounce, found 5'),
        ({"debounce": ("A1", "soon")}, "debounce: delay: expected seconds from 0 on or a timedelta, found 'soon'"),
        ({"prioritiy": 5}, "no option 'prioritiy' of a trigger: did you mean 'priority'?"),
        ({"priority": "high"}, "priority: found 'high', of the wrong type"),
        ({"tags": 5}, "tags: found 5, of the wrong type"),
        ({"metadata": [1]}, "metadata: found [1], of the wrong type"),
    ],
)
def test_an_option_that_can_not_be_is_refused_in_words(options: dict[str, Any], says: str) -> None:
    @task
    async def ship() -> None: ...

    with pytest.raises(ConfigError) as caught:
        ship.options(**options)
    assert str(caught.value).startswith(says)


async def test_a_run_with_a_key_has_no_id_of_ones_own(stage: Stage) -> None:
    with pytest.raises(ConfigError, match="id: expected none beside a key"):
        await stage.client.trigger("ship", {}, declared=False, id="01KDZ0A1B2C3D4E5F6G7H80001", idempotency_key="A1")


async def test_a_replay_does_not_take_its_origins_key(stage: Stage) -> None:
    @task
    async def ship() -> None: ...

    first = await ship.options(idempotency_key="A1").trigger()
    replayed = await stage.client.replay(first.id)
    assert (await replayed.status()).key is None
    assert (await ship.options(idempotency_key="A1").trigger()).id == first.id
    assert decode_value((await replayed.status()).payload) == {}
