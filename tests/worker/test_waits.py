"""Waits of a run: durable sleeps, tokens, events and signals, alone and several at once; by hand from BEHAVIOURS "Waits
and messages".

Where a test takes `warm`, it holds for code that stays in memory while the run is suspended and for code that is
executed again over its checkpoints.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from holdfast import Retry, State, run, task, wait
from holdfast.bus.journal import Journal
from holdfast.client import RunHandle
from holdfast.core.entries import Entry, EventArrived, StepCompleted, Suspended, TokenCompleted, WaitStarted
from holdfast.errors import HoldfastError, RunStateError, TokenTaken, WaitTimeout
from holdfast.wire.values import encode_value
from holdfast.worker import waits
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.01, jitter=False)
LONG = 3600.0


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are suspended soon after they only wait, for short waits too."""
    monkeypatch.setattr(waits, "LINGER", 0.02)
    monkeypatch.setattr(waits, "SOON", 0.05)


both_ways = pytest.mark.parametrize(
    ("stage", "warm"),
    [("memory", 100), ("memory", 0), ("jetstream", 0)],
    ids=["memory-warm", "memory-cold", "jetstream-cold"],
    indirect=["stage"],
)
"""`warm`: how many suspended runs stay in memory."""


async def started(stage: Stage, handle: RunHandle, kind: str, count: int = 1) -> list[WaitStarted]:
    """The waits of a kind that the run has begun, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            found = [one for one in await stage.entries(handle) if isinstance(one, WaitStarted) and one.kind == kind]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


async def token_of(stage: Stage, handle: RunHandle) -> str:
    """The id of the first token that a run has made."""
    return (await started(stage, handle, "issued"))[0].wait


def kinds(entries: list[Any], *kinds: type) -> list[Any]:
    return [entry for entry in entries if isinstance(entry, kinds)]


# --- sleeps -----------------------------------------------------------------------------------------------------------


@both_ways
async def test_a_sleeping_run_is_waiting_and_its_slot_is_free_meanwhile(stage: Stage, warm: int) -> None:
    woken: list[float] = []

    @task
    async def sleeper() -> str:
        await wait.for_(0.7)
        woken.append(time.time())
        return "slept"

    @task
    async def other() -> str:
        return "through"

    async with stage.worker(sleeper, other, concurrency=1, warm=warm):
        began = time.time()
        handle = await sleeper.trigger()
        waiting = await stage.until(handle, "waiting")
        assert (waiting.holder, waiting.waits) == (None, frozenset())
        assert waiting.due == pytest.approx(began + 0.7, abs=0.3)
        assert await (await other.trigger()).result(5) == "through"
        assert (await handle.status()).state is State.WAITING
        assert await handle.result(10) == "slept"
    assert woken[0] - began >= 0.7
    assert (await handle.status()).attempt == 1


async def test_a_sleep_is_measured_from_its_first_start_not_from_the_restart(stage: Stage) -> None:
    @task
    async def long_sleeper() -> float:
        began = run.now().timestamp()
        await wait.for_(seconds=1.0)
        return time.time() - began

    async with stage.worker(long_sleeper, name="w1"):
        handle = await long_sleeper.trigger()
        first = await stage.until(handle, "waiting")
    async with stage.worker(long_sleeper, name="w2"):
        assert (await handle.status()).due == first.due
        assert 1.0 <= await handle.result(10) < 1.9
    assert len(kinds(await stage.entries(handle), WaitStarted)) == 1


async def test_a_sleep_whose_end_has_passed_while_no_worker_was_there_is_over_at_once(stage: Stage) -> None:
    @task
    async def overslept() -> str:
        await wait.for_(0.3)
        return "awake"

    async with stage.worker(overslept, name="w1"):
        handle = await overslept.trigger()
        await stage.until(handle, "waiting")
    await stage.until(handle, "queued")
    async with stage.worker(overslept, name="w2"):
        assert await handle.result(5) == "awake"
    assert len(kinds(await stage.entries(handle), Suspended)) == 1


async def test_until_a_time_of_the_past_needs_no_suspension(stage: Stage) -> None:
    @task
    async def belated() -> str:
        await wait.until(datetime.now(UTC) - timedelta(days=1))
        await wait.until(0)
        await wait.for_()
        return "at once"

    async with stage.worker(belated):
        handle = await belated.trigger()
        assert await handle.result(5) == "at once"
    assert "Suspended" not in await stage.names(handle)
    assert len(kinds(await stage.entries(handle), StepCompleted)) == 3


async def test_until_a_time_with_a_zone_suspends_until_then(stage: Stage) -> None:
    @task
    async def appointment() -> float:
        when = datetime.fromtimestamp(run.now().timestamp() + 0.5).astimezone()
        await wait.until(when)
        return time.time() - when.timestamp()

    async with stage.worker(appointment):
        handle = await appointment.trigger()
        await stage.until(handle, "waiting")
        assert 0 <= await handle.result(10) < 1


async def test_a_short_sleep_stays_in_the_process(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "SOON", 0.6)

    @task
    async def nap() -> str:
        await wait.for_(0.2)
        await asyncio.gather(wait.for_(0.1), wait.for_(timedelta(milliseconds=200)))
        return "rested"

    async with stage.worker(nap):
        handle = await nap.trigger()
        assert await handle.result(5) == "rested"
    assert "Suspended" not in await stage.names(handle)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: wait.for_(-1),
        lambda: wait.for_(float("nan")),
        lambda: wait.for_(float("inf")),
        lambda: wait.for_(minutes=-5),
        lambda: wait.for_(10, minutes=-5),
        lambda: wait.for_(hours=float("nan")),
        lambda: wait.for_(days=float("inf")),
        lambda: wait.for_("10"),  # type: ignore[arg-type]
        lambda: wait.for_(timedelta(seconds=-1)),
        lambda: wait.until(datetime(2030, 1, 1)),
        lambda: wait.until(float("nan")),
        lambda: wait.until("tomorrow"),  # type: ignore[arg-type]
        lambda: wait.until(timedelta(1)),  # type: ignore[arg-type]
    ],
)
def test_a_time_that_can_not_be_is_refused_and_named(bad: Any) -> None:
    with pytest.raises(HoldfastError, match=r"wait\.(for_|until).*: expected .*, found "):
        bad()


async def test_outside_a_run_a_sleep_is_a_plain_one_and_the_other_waits_are_refused() -> None:
    began = time.monotonic()
    await wait.for_(0.05)
    await wait.until(time.time() + 0.05)
    assert time.monotonic() - began >= 0.09
    with pytest.raises(HoldfastError, match="inside a run"):
        wait.token()
    with pytest.raises(HoldfastError, match="inside a run"):
        wait.event("orders.paid")


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_that_is_completed_before_anybody_waits_for_it_is_remembered(stage: Stage) -> None:
    go = asyncio.Event()

    async def elsewhere() -> None:
        await go.wait()

    @task
    async def early() -> Any:
        token = wait.token()
        await elsewhere()
        return await token

    async with stage.worker(early):
        handle = await early.trigger()
        await stage.client.complete(await token_of(stage, handle), {"ok": True})
        go.set()
        assert await handle.result(5) == {"ok": True}
    assert "Suspended" not in await stage.names(handle)
    assert "Diverged" not in await stage.names(handle)


@both_ways
async def test_a_token_that_is_completed_while_the_run_is_suspended_resumes_it(stage: Stage, warm: int) -> None:
    ids: list[str] = []

    async def after() -> str:
        return "after"

    @task
    async def approval() -> list[Any]:
        token = wait.token(timeout=LONG)
        ids.append(token.id)
        return [await token, await after()]

    async with stage.worker(approval, warm=warm):
        handle = await approval.trigger()
        waiting = await stage.until(handle, "waiting")
        assert waiting.waits == {ids[0]}
        await stage.client.complete(ids[0], "yes")
        assert await handle.result(5) == ["yes", "after"]
    assert len(set(ids)) == 1
    assert len(ids) == (1 if warm else 2)
    assert "Diverged" not in await stage.names(handle)


async def test_a_token_that_is_completed_while_its_run_lingers_needs_no_suspension(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "LINGER", 5.0)

    @task
    async def quick() -> Any:
        return await wait.token()

    async with stage.worker(quick):
        handle = await quick.trigger()
        await started(stage, handle, "token")
        await stage.client.complete(await token_of(stage, handle), 1)
        assert await handle.result(3) == 1
    assert "Suspended" not in await stage.names(handle)


@both_ways
async def test_many_awaits_of_one_token_all_get_its_value(stage: Stage, warm: int) -> None:
    @task
    async def many() -> list[Any]:
        token = wait.token()
        both = await asyncio.gather(token, token.wait())
        return [*both, await token]

    async with stage.worker(many, warm=warm):
        handle = await many.trigger()
        await stage.until(handle, "waiting")
        await stage.client.complete(await token_of(stage, handle), 7)
        assert await handle.result(5) == [7, 7, 7]


@both_ways
async def test_a_token_completed_with_an_error_raises_it_where_it_is_awaited(stage: Stage, warm: int) -> None:
    @task(retry=ONCE)
    async def refused() -> str:
        try:
            await wait.token()
        except ValueError as error:
            return f"caught {error}"
        return "unreachable"

    async with stage.worker(refused, warm=warm):
        handle = await refused.trigger()
        await stage.until(handle, "waiting")
        await stage.client.complete(await token_of(stage, handle), error=ValueError("not today"))
        assert await handle.result(5) == "caught not today"


@both_ways
async def test_a_token_that_is_not_completed_in_time_raises_and_does_so_again_on_resume(
    stage: Stage, warm: int
) -> None:
    caught: list[str] = []

    @task(retry=ONCE)
    async def impatient() -> str:
        token = wait.token(timeout=0.3)
        for _ in range(2):
            try:
                await token
            except WaitTimeout as error:
                caught.append(str(error))
        await wait.for_(0.3)
        return "went on"

    async with stage.worker(impatient, warm=warm):
        handle = await impatient.trigger()
        await stage.until(handle, "waiting")
        assert await handle.result(10) == "went on"
    assert caught[0] == f"token {await token_of(stage, handle)} did not come within 0.3 s"
    assert len(caught) == (2 if warm else 4)
    assert set(caught[2:]) <= set(caught[:2])


async def test_a_second_completion_changes_nothing_and_says_so(stage: Stage) -> None:
    go = asyncio.Event()

    async def elsewhere() -> None:
        await go.wait()

    @task
    async def once() -> Any:
        token = wait.token()
        await elsewhere()
        return await token

    async with stage.worker(once):
        handle = await once.trigger()
        token = await token_of(stage, handle)
        await stage.client.complete(token, "first")
        with pytest.raises(TokenTaken):
            await stage.client.complete(token, "second")
        await stage.journal.tell(handle.id, TokenCompleted(token, time.time(), "raw", encode_value("third")))
        go.set()
        assert await handle.result(5) == "first"
        with pytest.raises((TokenTaken, RunStateError)):
            await stage.client.complete(token, "fourth")


async def test_a_token_keeps_its_id_and_its_time_where_the_code_runs_again(stage: Stage) -> None:
    made: list[tuple[str, float | None]] = []
    failures: list[int] = []

    async def flaky() -> None:
        failures.append(1)
        if len(failures) == 1:
            raise ValueError("once")

    @task(retry=QUICK)
    async def again() -> Any:
        token = wait.token(timeout=LONG)
        other = wait.token()
        made.append((token.id, token.due))
        assert token.id != other.id
        await flaky()
        return await token

    async with stage.worker(again):
        handle = await again.trigger()
        await stage.until(handle, "waiting")
        await stage.client.complete(made[0][0], 3)
        assert await handle.result(5) == 3
    assert len(made) == 2
    assert made[0] == made[1]


async def test_a_completion_between_the_last_look_and_the_suspension_is_not_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever completes it found the run running, and so did nothing; the worker that suspends it sees it."""
    park = waits.Waits.park
    told: list[asyncio.Task[int]] = []

    @task
    async def raced() -> Any:
        return await wait.token()

    def tell_and_park(self: waits.Waits) -> None:
        (token,) = self.standing(0.0).waits
        run_id = token.rpartition("-")[0]
        entry = TokenCompleted(token, time.time(), "test", encode_value("in time"))
        told.append(asyncio.ensure_future(stage.journal.tell(run_id, entry)))
        park(self)

    monkeypatch.setattr(waits.Waits, "park", tell_and_park)
    async with stage.worker(raced):
        handle = await raced.trigger()
        assert await handle.result(5) == "in time"
    assert len(told) == 1
    assert "Suspended" in await stage.names(handle)


# --- events -----------------------------------------------------------------------------------------------------------


async def arrive(stage: Stage, handle: RunHandle, started: WaitStarted, value: Any) -> None:
    """What the daemon does when an event comes that a wait is for."""
    entry = EventArrived(started.wait, time.time(), 1, "orders.paid", encode_value(value))
    await stage.journal.tell(handle.id, entry)
    await stage.journal.resume(handle.id)


@both_ways
async def test_an_event_that_arrives_resumes_the_run_and_is_expected_no_more(stage: Stage, warm: int) -> None:
    @task
    async def paid(order: str) -> Any:
        return await wait.event("orders.*", match={"order.id": order}, timeout=LONG, lookback=0)

    async with stage.worker(paid, warm=warm):
        handle = await paid.trigger(order="A1")
        waiting = await stage.until(handle, "waiting")
        (expected,) = waiting.expected
        (begun,) = await started(stage, handle, "event")
        assert (expected.wait, expected.subject) == (begun.wait, "orders.*") == (*waiting.waits, begun.subject)
        assert expected.since == waiting.created_at or expected.since == pytest.approx(begun.at, abs=0.1)
        await arrive(stage, handle, begun, {"order": {"id": "A1"}, "cents": 5})
        assert await handle.result(5) == {"order": {"id": "A1"}, "cents": 5}
    assert (await handle.status()).expected == ()
    assert len(await started(stage, handle, "event")) == 1


@both_ways
async def test_an_event_that_does_not_come_in_time_raises_and_is_expected_no_more(stage: Stage, warm: int) -> None:
    @task(retry=ONCE)
    async def unpaid() -> Any:
        try:
            await wait.event("orders.paid", timeout=0.3)
        except WaitTimeout:
            await wait.token()
        return "reminded"

    async with stage.worker(unpaid, warm=warm):
        handle = await unpaid.trigger()
        first = await stage.until(handle, "waiting")
        assert len(first.expected) == 1
        await started(stage, handle, "token")
        second = await stage.until(handle, "waiting")
        assert second.expected == ()
        (begun,) = await started(stage, handle, "event")
        await arrive(stage, handle, begun, "too late")
        await stage.client.complete(await token_of(stage, handle))
        assert await handle.result(5) == "reminded"
    assert "Diverged" not in await stage.names(handle)


async def test_an_event_awaited_since_an_earlier_attempt_is_still_the_same_wait(stage: Stage) -> None:
    failures: list[int] = []

    async def flaky() -> str:
        failures.append(1)
        if len(failures) == 1:
            await asyncio.sleep(0.1)
            raise ValueError("once")
        return "ok"

    @task(retry=QUICK)
    async def patient() -> list[Any]:
        return list(await asyncio.gather(wait.event("orders.paid"), flaky()))

    async with stage.worker(patient):
        handle = await patient.trigger()
        await stage.until(handle, "waiting")
        (begun,) = await started(stage, handle, "event")
        await arrive(stage, handle, begun, "paid")
        assert await handle.result(5) == ["paid", "ok"]


# --- signals ----------------------------------------------------------------------------------------------------------


@both_ways
async def test_signals_are_taken_in_order_each_once_over_suspensions(stage: Stage, warm: int) -> None:
    @task
    async def listener() -> list[Any]:
        found = []
        async for value in run.signals("say"):
            found.append(value)
            if value == "stop":
                break
        return found

    async with stage.worker(listener, warm=warm):
        handle = await listener.trigger()
        await handle.signal("say", 1)
        await handle.signal("say", 2)
        await stage.until(handle, "waiting")
        await handle.signal("say", 3)
        await handle.signal("other", "not for us")
        await handle.signal("say", 4)
        await handle.signal("say", "stop")
        assert await handle.result(5) == [1, 2, 3, 4, "stop"]


async def test_signals_are_taken_once_over_a_crash(stage: Stage) -> None:
    failures: list[int] = []
    sent = asyncio.Event()

    async def flaky() -> None:
        failures.append(1)
        if len(failures) == 1:
            raise ValueError("once")

    async def all_sent() -> None:
        await sent.wait()  # a signal for a run that has ended is refused

    @task(retry=QUICK)
    async def resilient() -> list[Any]:
        found = []
        async for value in run.signals("say"):
            found.append(value)
            if len(found) == 2:
                await flaky()
            if len(found) == 4:
                break
        await all_sent()
        return found

    async with stage.worker(resilient):
        handle = await resilient.trigger()
        for value in range(6):
            await handle.signal("say", value)
        sent.set()
        assert await handle.result(5) == [0, 1, 2, 3]
    with pytest.raises(RunStateError, match="has ended completed"):
        await handle.signal("say", "late")


@both_ways
async def test_signals_of_two_names_and_two_takers_of_one(stage: Stage, warm: int) -> None:
    async def one(name: str) -> Any:
        async for value in run.signals(name):
            return value
        return None

    @task
    async def takers() -> list[Any]:
        first = list(await asyncio.gather(one("a"), one("a"), one("b")))
        last = await one("a")
        await one("end")
        return [*first, last]

    async with stage.worker(takers, warm=warm):
        handle = await takers.trigger()
        await stage.until(handle, "waiting")
        await handle.signal("b", "b1")
        await handle.signal("a", "a1")
        await stage.until(handle, "waiting")
        for value in ("a2", "a3", "nobody takes it"):
            await handle.signal("a", value)
        await handle.signal("end")
        assert await handle.result(5) == ["a1", "a2", "b1", "a3"]


@both_ways
async def test_no_signal_is_lost_between_suspension_and_resume(stage: Stage, warm: int) -> None:
    count = 25

    @task
    async def counter() -> list[int]:
        found: list[int] = []
        async for value in run.signals("n"):
            found.append(value)
            if len(found) == count:
                break
        return found

    async with stage.worker(counter, warm=warm):
        handle = await counter.trigger()
        for number in range(count):
            await handle.signal("n", number)
            if number % 5 == 0:
                await asyncio.sleep(0.02)  # as long as the run lingers: some come just as it is suspended
        assert await handle.result(10) == list(range(count))


# --- several at once --------------------------------------------------------------------------------------------------


@both_ways
async def test_gathered_waits_are_resolved_once_each(stage: Stage, warm: int) -> None:
    @task
    async def several() -> list[Any]:
        tokens = [wait.token() for _ in range(3)]
        return list(await asyncio.gather(*tokens, wait.for_(0.3)))

    async with stage.worker(several, warm=warm):
        handle = await several.trigger()
        waiting = await stage.until(handle, "waiting")
        ids = [one.wait for one in await started(stage, handle, "issued", 3)]
        assert waiting.waits == set(ids)
        for number in (2, 0, 1):
            await stage.client.complete(ids[number], number)
        assert await handle.result(10) == [0, 1, 2, None]
    outcomes = [entry.key for entry in kinds(await stage.entries(handle), StepCompleted)]
    assert len(outcomes) == len(set(outcomes))


@both_ways
@pytest.mark.parametrize("as_set", [False, True], ids=["list", "set"])
async def test_after_a_resume_the_same_waits_are_done_and_the_losers_still_cancelled(
    stage: Stage, warm: int, as_set: bool
) -> None:
    seen: list[list[str]] = []

    @task
    async def race() -> list[str]:
        tokens = [wait.token() for _ in range(3)]
        tasks = [asyncio.create_task(token.wait()) for token in tokens]
        done, pending = await asyncio.wait(set(tasks) if as_set else tasks, return_when=asyncio.FIRST_COMPLETED)
        for loser in pending:
            loser.cancel()
        await asyncio.sleep(0)
        last = wait.token()
        states = ["done" if one in done else "cancelled" if one.cancelled() else "open" for one in tasks]
        seen.append(states)
        await last
        return states

    async with stage.worker(race, warm=warm):
        handle = await race.trigger()
        await stage.until(handle, "waiting")
        ids = [one.wait for one in await started(stage, handle, "issued", 3)]
        await stage.client.complete(ids[1], "winner")
        last = (await started(stage, handle, "issued", 4))[-1].wait
        second = await stage.until(handle, "waiting")
        assert second.waits == {last}
        await stage.client.complete(ids[0], "loses")
        await stage.client.complete(last)
        assert await handle.result(10) == ["cancelled", "done", "cancelled"]
    assert all(states == ["cancelled", "done", "cancelled"] for states in seen)
    assert "Diverged" not in await stage.names(handle)


@both_ways
async def test_a_wait_for_fires_although_its_run_was_suspended(stage: Stage, warm: int) -> None:
    """Its time is not the process's: it begins once, and outlives the suspension."""
    times: list[float] = []

    @task(retry=ONCE)
    async def bounded() -> str:
        began = run.now().timestamp()
        try:
            await asyncio.wait_for(wait.token(), 0.4)
        except TimeoutError:
            times.append(time.time() - began)
        await wait.for_(0.2)
        return "in vain"

    async with stage.worker(bounded, warm=warm):
        handle = await bounded.trigger()
        waiting = await stage.until(handle, "waiting")
        assert waiting.due is not None
        assert await handle.result(10) == "in vain"
    assert 0.4 <= times[0] < 1.5
    assert "Diverged" not in await stage.names(handle)


@both_ways
async def test_a_block_with_a_time_limit_fires_although_its_run_was_suspended(stage: Stage, warm: int) -> None:
    calls: list[str] = []

    async def before() -> None:
        calls.append("before")

    @task(retry=ONCE)
    async def limited(form: str) -> str:
        try:
            if form == "timeout":
                async with asyncio.timeout(0.4):
                    await before()
                    await wait.token()
            elif form == "keyword":
                async with asyncio.timeout(delay=0.4):
                    await wait.token()
            elif form == "timeout_at":
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + 0.4):
                    await wait.token()
            else:
                with anyio.fail_after(0.4):
                    await wait.token()
        except TimeoutError:
            await wait.for_(0.2)
            return "in vain"
        return "came"

    async with stage.worker(limited, warm=warm):
        for handle in [await limited.trigger(form) for form in ("timeout", "keyword", "timeout_at", "fail_after")]:
            assert await handle.result(10) == "in vain"
            assert "Diverged" not in await stage.names(handle)
    assert calls == ["before"]


async def test_what_came_in_time_wins_against_a_limit_that_passed_while_no_worker_was_there(stage: Stage) -> None:
    @task(retry=ONCE)
    async def lucky() -> Any:
        async with asyncio.timeout(0.4):
            return await wait.token()

    async with stage.worker(lucky, name="w1"):
        handle = await lucky.trigger()
        waiting = await stage.until(handle, "waiting")
        assert waiting.due is not None
    await stage.client.complete(await token_of(stage, handle), "in time")
    await asyncio.sleep(max(0.0, waiting.due - time.time()) + 0.05)
    async with stage.worker(lucky, name="w2"):
        assert await handle.result(5) == "in time"


async def test_of_a_sleep_and_a_limit_that_both_passed_the_earlier_one_counts(stage: Stage) -> None:
    @task(retry=ONCE)
    async def ordered() -> str:
        try:
            async with asyncio.timeout(0.2):
                await wait.for_(0.3)
        except TimeoutError:
            return "limit"
        return "sleep"

    async with stage.worker(ordered, name="w1"):
        handle = await ordered.trigger()
        waiting = await stage.until(handle, "waiting")
    await asyncio.sleep(max(0.0, waiting.created_at + 0.4 - time.time()))
    async with stage.worker(ordered, name="w2"):
        assert await handle.result(5) == "limit"


async def test_a_block_that_was_cut_short_is_cut_short_again_without_waiting_as_long(stage: Stage) -> None:
    calls: list[str] = []

    async def slow() -> None:
        calls.append("slow")
        await asyncio.sleep(60)

    @task(retry=ONCE)
    async def cut() -> float:
        try:
            async with asyncio.timeout(1.0):
                await slow()
        except TimeoutError:
            pass
        await wait.for_(0.2)
        return time.time()

    async with stage.worker(cut, warm=0):
        handle = await cut.trigger()
        waiting = await stage.until(handle, "waiting", "completed")
        assert waiting.due is not None
        assert await handle.result(10) - waiting.due < 0.8
    assert calls == ["slow"]


@both_ways
async def test_a_task_group_with_a_failing_branch_cancels_its_waits_the_same_on_resume(stage: Stage, warm: int) -> None:
    calls: list[str] = []

    async def failing() -> None:
        calls.append("failing")
        await asyncio.sleep(0.1)
        raise ValueError("broken")

    @task(retry=ONCE)
    async def grouped() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait.for_(days=1))
                group.create_task(wait.token().wait())
                group.create_task(failing())
        except* ValueError:
            calls.append("caught")
        await wait.for_(0.3)
        return "went on"

    async with stage.worker(grouped, warm=warm):
        handle = await grouped.trigger()
        waiting = await stage.until(handle, "waiting")
        assert waiting.waits == frozenset()
        assert await handle.result(10) == "went on"
    assert calls == (["failing", "caught"] if warm else ["failing", "caught", "caught"])
    assert "Diverged" not in await stage.names(handle)


@both_ways
async def test_as_completed_over_waits_suspends_and_keeps_its_order(stage: Stage, warm: int) -> None:
    @task
    async def ordered() -> list[Any]:
        tokens = [wait.token() for _ in range(3)]
        found = []
        for turn in asyncio.as_completed(tokens):
            found.append(await turn)  # noqa: PERF401 - as users write it
        return found

    async with stage.worker(ordered, warm=warm):
        handle = await ordered.trigger()
        await stage.until(handle, "waiting")
        ids = [one.wait for one in await started(stage, handle, "issued", 3)]
        for number in (2, 0, 1):
            await stage.until(handle, "waiting")
            await stage.client.complete(ids[number], number)
        assert await handle.result(10) == [2, 0, 1]


@both_ways
async def test_the_time_limit_of_as_completed_outlives_a_suspension(stage: Stage, warm: int) -> None:
    @task(retry=ONCE)
    async def bounded() -> list[Any]:
        found: list[Any] = []
        try:
            for turn in asyncio.as_completed([wait.for_(0.15), wait.token().wait()], timeout=0.6):
                found.append(await turn)  # noqa: PERF401 - as users write it
        except TimeoutError:
            found.append("late")
        return found

    async with stage.worker(bounded, warm=warm):
        handle = await bounded.trigger()
        await stage.until(handle, "waiting")
        assert await handle.result(10) == [None, "late"]


@both_ways
async def test_a_wait_deep_in_the_branches_suspends_the_run(stage: Stage, warm: int) -> None:
    calls: list[str] = []

    async def leaf(name: str) -> str:
        calls.append(name)
        return name

    @task
    async def inner(name: str) -> str:
        first = await leaf(name)
        await wait.for_(0.3)
        return first + await leaf(f"{name}'")

    async def helper() -> str:
        return str(await inner("c"))

    @task
    async def outer() -> list[Any]:
        return list(await asyncio.gather(inner("a"), inner("b"), helper()))

    async with stage.worker(outer, warm=warm):
        handle = await outer.trigger()
        await stage.until(handle, "waiting")
        assert await handle.result(10) == ["aa'", "bb'", "cc'"]
    assert sorted(calls) == ["a", "a'", "b", "b'", "c", "c'"]


async def test_a_step_that_runs_keeps_a_run_with_waits_from_being_suspended(stage: Stage) -> None:
    async def working() -> str:
        await asyncio.sleep(0.3)
        return "worked"

    @task
    async def busy() -> list[Any]:
        return list(await asyncio.gather(wait.for_(0.2), working()))

    async with stage.worker(busy):
        handle = await busy.trigger()
        assert await handle.result(10) == [None, "worked"]
    assert "Suspended" not in await stage.names(handle)


@both_ways
async def test_anyios_limits_around_a_wait_are_kept(stage: Stage, warm: int) -> None:
    @task(retry=ONCE)
    async def anyios() -> list[Any]:
        with anyio.move_on_after(0.3) as scope:
            await wait.token()
        with anyio.move_on_after(LONG) as kept:
            await wait.for_(0.1)
        await wait.for_(0.2)
        return [scope.cancelled_caught, kept.cancelled_caught]

    async with stage.worker(anyios, warm=warm):
        handle = await anyios.trigger()
        assert await handle.result(10) == [True, False]
    assert "Diverged" not in await stage.names(handle)


@both_ways
async def test_exceptions_of_waits_are_values_where_a_gather_returns_them(stage: Stage, warm: int) -> None:
    @task(retry=ONCE)
    async def collected() -> list[str]:
        found = await asyncio.gather(
            wait.token(timeout=0.2), wait.for_(0.3), wait.event("never", timeout=0.25), return_exceptions=True
        )
        return [type(one).__name__ for one in found]

    async with stage.worker(collected, warm=warm):
        handle = await collected.trigger()
        await stage.until(handle, "waiting")
        assert await handle.result(10) == ["WaitTimeout", "NoneType", "WaitTimeout"]


@both_ways
async def test_a_shielded_wait_outlives_the_limit_around_it(stage: Stage, warm: int) -> None:
    @task(retry=ONCE)
    async def shielded() -> list[Any]:
        token = wait.token()
        inner = asyncio.create_task(token.wait())
        try:
            async with asyncio.timeout(0.2):
                await asyncio.shield(inner)
        except TimeoutError:
            return ["late", await inner]
        return ["early"]

    async with stage.worker(shielded, warm=warm):
        handle = await shielded.trigger()
        async with asyncio.timeout(5):
            while "timeout" not in [one.kind for one in kinds(await stage.entries(handle), WaitStarted)]:
                await stage.until(handle, "waiting")
        await asyncio.sleep(0.4)
        await stage.until(handle, "waiting")
        await stage.client.complete(await token_of(stage, handle), "after all")
        assert await handle.result(10) == ["late", "after all"]


async def test_a_wait_that_a_failed_gather_left_behind_ends_with_the_run(stage: Stage) -> None:
    """Else it would wake in memory, long after, and write into the journal of a run that has ended."""

    async def failing() -> None:
        raise ValueError("broken")

    @task(retry=ONCE)
    async def leaving() -> str:
        try:
            await asyncio.gather(wait.for_(0.5), failing())
        except ValueError:
            return "left"
        return "unreachable"

    async with stage.worker(leaving):
        before = len(asyncio.all_tasks())
        handle = await leaving.trigger()
        assert await handle.result(5) == "left"
        async with asyncio.timeout(0.4):
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - what is waited for knows no events
                await asyncio.sleep(0.01)
    assert (await stage.names(handle))[-1] == "RunCompleted"


async def test_a_run_whose_outcome_is_slow_to_be_stored_is_not_suspended_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code goes on as soon as that is durable, whatever else it waits for by then."""
    append = Journal.append

    async def slow(self: Journal, run: str, expect: int, writer: str, entries: Sequence[Entry]) -> int:
        if any(isinstance(entry, StepCompleted) and entry.key.endswith("/quick#1") for entry in entries):
            await asyncio.sleep(10 * waits.LINGER)
        return await append(self, run, expect, writer, entries)

    async def quick() -> str:
        await asyncio.sleep(0.02)
        return "quick"

    @task
    async def races() -> str:
        first = asyncio.create_task(quick())
        day = asyncio.create_task(wait.for_(days=1))
        done, _ = await asyncio.wait([first, day], return_when=asyncio.FIRST_COMPLETED)
        day.cancel()
        return "".join([each.result() for each in done])

    monkeypatch.setattr(Journal, "append", slow)
    async with stage.worker(races):
        handle = await races.trigger()
        assert await handle.result(5) == "quick"
    assert "Suspended" not in await stage.names(handle)
