"""Child runs that a run awaits: however one ends, its parent resumes; by hand from BEHAVIOURS "Waits and messages"."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from holdfast import Abort, ChildFailed, Retry, State, Timeouts, run, task, wait
from holdfast.bus.journal import Journal
from holdfast.client import RunHandle
from holdfast.core.entries import ChildTriggered, RunCreated, Suspended
from holdfast.errors import PayloadError, TooLarge
from holdfast.worker import waits
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.01, jitter=False)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are suspended soon after they only wait."""
    monkeypatch.setattr(waits, "LINGER", 0.02)
    monkeypatch.setattr(waits, "SOON", 0.05)


both_ways = pytest.mark.parametrize(
    ("stage", "warm"),
    [("memory", 100), ("memory", 0), ("jetstream", 0)],
    ids=["memory-warm", "memory-cold", "jetstream-cold"],
    indirect=["stage"],
)
"""`warm`: how many suspended runs stay in memory."""


async def children(stage: Stage, handle: RunHandle, count: int = 1) -> list[RunHandle]:
    """The children that a run has triggered, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            found = [entry for entry in await stage.entries(handle) if isinstance(entry, ChildTriggered)]
            if len(found) >= count:
                return [stage.client.run(entry.child) for entry in found]
            await asyncio.sleep(0.01)


@both_ways
async def test_a_parent_gives_its_slot_to_its_child_and_gets_its_result(stage: Stage, warm: int) -> None:
    calls: list[str] = []

    async def before() -> None:
        calls.append("before")

    @task
    async def child(n: int) -> int:
        await asyncio.sleep(0.1)
        return n * n

    @task
    async def parent() -> int:
        await before()
        return await child.trigger_and_wait(7)

    async with stage.conductor(), stage.worker(parent, child, concurrency=1, warm=warm):
        handle = await parent.trigger()
        (its,) = await children(stage, handle)
        waiting = await stage.until(handle, "waiting")
        assert (waiting.waits, waiting.holder) == ({its.id}, None)
        assert await handle.result(10) == 49
    assert calls == ["before"]
    assert (await handle.status()).children == frozenset()


async def test_a_child_that_ends_while_its_parent_is_being_suspended_resumes_it_without_a_daemon(stage: Stage) -> None:
    @task
    async def quick_child() -> str:
        await asyncio.sleep(0.02)  # about as long as its parent lingers
        return "quick"

    @task
    async def racing_parent() -> list[str]:
        return [await quick_child.trigger_and_wait() for _ in range(5)]

    async with stage.conductor(), stage.worker(racing_parent, quick_child):
        handles = [await racing_parent.trigger() for _ in range(5)]
        for handle in handles:
            assert await handle.result(10) == ["quick"] * 5


async def test_five_hundred_children_give_their_results_and_failures_in_order(stage: Stage) -> None:
    @task(retry=ONCE)
    async def item(n: int) -> int:
        if n % 50 == 7:
            raise ValueError(f"item {n}")
        return n

    @task(retry=ONCE)
    async def batch() -> list[Any]:
        payloads: list[dict[str, Any]] = [{"n": n} for n in range(500)]
        payloads[13] = {"n": "thirteen"}
        payloads[14] = {"m": 1}
        found = await item.batch_trigger_and_wait(payloads)
        return [one if isinstance(one, int) else type(one).__name__ for one in found]

    async with stage.conductor(), stage.worker(batch, item):
        handle = await batch.trigger()
        found = await handle.result(30)
    expected: list[Any] = ["ChildFailed" if n % 50 == 7 else n for n in range(500)]
    expected[13] = expected[14] = "PayloadError"
    assert found == expected
    assert len([one for one in await stage.entries(handle) if isinstance(one, ChildTriggered)]) == 498
    assert "Diverged" not in await stage.names(handle)


@both_ways
async def test_a_batch_is_the_same_after_a_resume(stage: Stage, warm: int) -> None:
    seen: list[list[str]] = []

    @task(retry=ONCE)
    async def part(n: int) -> int:
        if n == 1:
            raise ValueError("one")
        await wait.for_(0.15)
        return n

    @task(retry=ONCE)
    async def whole() -> list[str]:
        found = await part.batch_trigger_and_wait([{"n": 0}, {"n": 1}, {"n": "x"}, {"n": 3}])
        seen.append([repr(one)[:12] for one in found])
        await wait.for_(0.15)
        return seen[-1]

    async with stage.conductor(), stage.worker(whole, part, warm=warm):
        handle = await whole.trigger()
        assert await handle.result(10) == ["0", "ChildFailed(", "PayloadError", "3"]
    assert len(seen) == (1 if warm else 2)
    assert all(one == seen[0] for one in seen)
    assert "Diverged" not in await stage.names(handle)


async def test_a_child_that_can_not_be_created_is_a_failure_at_its_index_and_the_others_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Journal.create_many

    async def refusing(self: Journal, runs: list[RunCreated]) -> list[int | Exception]:
        outcomes = await create(self, [one for one in runs if b"three" not in one.payload])
        left = iter(outcomes)
        return [TooLarge("no room for three") if b"three" in one.payload else next(left) for one in runs]

    @task(retry=ONCE)
    async def echo(text: str) -> str:
        return text

    @task(retry=ONCE)
    async def parent() -> list[str]:
        found = await echo.batch_trigger_and_wait([{"text": "one"}, {"text": "three"}, {"text": "two"}])
        try:
            await echo.trigger_and_wait("three")
        except TooLarge as error:
            found.append(f"caught: {error}")
        return [str(one) for one in found]

    monkeypatch.setattr(Journal, "create_many", refusing)
    async with stage.conductor(), stage.worker(parent, echo):
        handle = await parent.trigger()
        assert await handle.result(10) == ["one", "no room for three", "two", "caught: no room for three"]


async def test_an_empty_batch_is_an_empty_list(stage: Stage) -> None:
    @task
    async def none() -> None: ...

    @task
    async def parent() -> list[Any]:
        return await none.batch_trigger_and_wait([])

    async with stage.worker(parent):
        assert await (await parent.trigger()).result(5) == []


@pytest.mark.parametrize("how", ["failed", "aborted", "cancelled", "killed", "expired", "timed out", "dropped"])
async def test_however_a_child_ends_its_parent_resumes_with_that(stage: Stage, how: str) -> None:
    begun = asyncio.Event()

    @task(retry=ONCE)
    async def child() -> None:
        begun.set()
        if how in ("failed", "dropped"):
            raise ValueError("broken")
        if how == "aborted":
            raise Abort("no")
        await asyncio.sleep(30)

    @task(retry=ONCE)
    async def parent() -> list[str]:
        asked = child.options(
            ttl=0.1 if how == "expired" else None,
            queue="nobodys" if how == "expired" else None,
            timeouts=Timeouts(schedule_to_close=0.3) if how == "timed out" else None,
        )
        try:
            await asked.trigger_and_wait()
        except ChildFailed as error:
            return [error.state, error.error_type]
        return ["unreachable"]

    served = (parent,) if how == "expired" else (parent, child)
    async with stage.conductor(), stage.worker(*served):
        handle = await parent.trigger()
        (its,) = await children(stage, handle)
        if how != "expired":
            await asyncio.wait_for(begun.wait(), 5)
        await stage.until(handle, "waiting", "completed")
        if how == "cancelled":
            await its.cancel("not needed")
        elif how == "killed":
            await its.kill()
        elif how == "dropped":
            await stage.until(its, "dead")
            await stage.client.drop_letter(its.id)
        elif how == "expired":  # the daemon's conductor ends it
            from holdfast.core.deadlines import overdue

            entry = overdue(await its.status(), time.time() + 1)
            assert entry is not None
            await stage.journal.end(await its.status(), entry)  # type: ignore[arg-type]
        found = await handle.result(10)
    assert (
        found
        == {
            "failed": ["dead", "ValueError"],
            "aborted": ["dead", "holdfast.errors.Abort"],
            "dropped": ["dead", "ValueError"],
            "cancelled": ["cancelled", "holdfast.cancelled"],
            "killed": ["cancelled", "holdfast.cancelled"],
            "expired": ["expired", "holdfast.expired"],
            "timed out": ["timed_out", "holdfast.errors.TimedOut"],
        }[how]
    )


async def test_a_child_in_a_queue_that_nobody_serves_keeps_its_parent_waiting_for_free(stage: Stage) -> None:
    @task
    async def child() -> str:
        return "served"

    @task
    async def parent() -> str:
        return await child.trigger_and_wait()

    async with stage.conductor(), stage.worker(parent, concurrency=1):
        handle = await parent.trigger()
        waiting = await stage.until(handle, "waiting")
        assert (waiting.holder, len(waiting.waits)) == (None, 1)
        async with stage.worker(child, name="w2"):
            assert await handle.result(20) == "served"


async def test_children_of_a_cancelled_parent_follow_it_unless_they_are_detached(stage: Stage) -> None:
    @task
    async def follows() -> None:
        await wait.for_(days=1)

    @task
    async def stays() -> None:
        await wait.for_(days=1)

    @task
    async def parent() -> None:
        await asyncio.gather(follows.trigger_and_wait(), stays.options(detached=True).trigger_and_wait())

    async with stage.conductor(), stage.worker(parent, follows, stays):
        handle = await parent.trigger()
        one, other = await children(stage, handle, 2)
        for each in (handle, one, other):
            await stage.until(each, "waiting")
        await handle.cancel()
        cancelled = await stage.until(one, "cancelled")
        assert handle.id in cancelled.reason or cancelled.cancel_requested
        assert (await other.status()).state is State.WAITING


async def test_the_finished_children_of_a_retried_parent_are_not_made_again(stage: Stage) -> None:
    made: list[str] = []
    failures: list[int] = []

    @task(retry=ONCE)
    async def child(name: str) -> str:
        made.append(name)
        if name == "fails at first" and made.count(name) == 1:
            raise ValueError("once")
        return name

    async def flaky() -> None:
        failures.append(1)
        if len(failures) == 1:
            raise RuntimeError("once")

    @task(retry=QUICK)
    async def parent() -> list[Any]:
        first = await child.trigger_and_wait("single")
        batch = await child.batch_trigger_and_wait([{"name": "a"}, {"name": "b"}])
        await flaky()
        return [first, *batch, await child.trigger_and_wait("fails at first")]

    async with stage.conductor(), stage.worker(parent, child):
        handle = await parent.trigger()
        assert await handle.result(10) == ["single", "a", "b", "fails at first"]
    assert sorted(made) == ["a", "b", "fails at first", "fails at first", "single"]
    assert (await handle.status()).attempt == 3


async def test_a_parent_that_crashed_behind_the_creation_takes_the_child_that_is_there(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child was created, and the worker died before its parent's journal said so."""
    made: list[str] = []
    create = Journal.create_many
    died = asyncio.Event()

    async def dying(self: Journal, runs: list[RunCreated]) -> list[int | Exception]:
        outcomes = await create(self, runs)
        if not died.is_set():
            died.set()
            await asyncio.sleep(30)
        return outcomes

    @task
    async def child() -> str:
        made.append(run.id)
        return "once"

    @task
    async def parent() -> str:
        return await child.trigger_and_wait()

    handle = await parent.trigger()
    monkeypatch.setattr(Journal, "create_many", dying)
    async with stage.worker(parent, name="w1", drain=0.0, grace=0.1):
        await asyncio.wait_for(died.wait(), 5)
    async with stage.conductor(), stage.worker(parent, child, name="w2"):
        assert await handle.result(10) == "once"
    assert len(made) == 1
    assert (await stage.names(handle)).count("ChildTriggered") == 1


async def test_a_child_inherits_its_parents_deadline_where_that_is_sooner(stage: Stage) -> None:
    @task
    async def child() -> float | None:
        return None

    @task(timeouts=Timeouts(schedule_to_close=60))
    async def parent() -> None:
        later = child.options(timeouts=Timeouts(schedule_to_close=600))
        sooner = child.options(timeouts=Timeouts(schedule_to_close=6))
        await asyncio.gather(later.trigger_and_wait(), sooner.trigger_and_wait())

    async with stage.conductor(), stage.worker(parent, child):
        handle = await parent.trigger()
        await handle.result(10)
    deadline = (await handle.status()).deadline
    later, sooner = [await one.status() for one in await children(stage, handle, 2)]
    assert deadline is not None
    assert later.deadline == deadline
    assert sooner.deadline == pytest.approx(sooner.created_at + 6)


@both_ways
async def test_an_await_of_a_child_that_was_cut_short_is_so_again_though_the_child_ended_since(
    stage: Stage, warm: int
) -> None:
    @task
    async def slow_child(n: int) -> str:
        await wait.for_(0.3)
        return "too late"

    @task(retry=ONCE)
    async def parent() -> list[Any]:
        found: list[Any] = []
        for batch in (False, True):
            try:
                async with asyncio.timeout(0.1):
                    if batch:
                        found += await slow_child.batch_trigger_and_wait([{"n": 1}, {"n": 2}])
                    else:
                        found.append(await slow_child.trigger_and_wait(0))
            except TimeoutError:
                found.append("gave up")
        await wait.for_(0.6)
        return found

    async with stage.conductor(), stage.worker(parent, slow_child, warm=warm):
        handle = await parent.trigger()
        assert await handle.result(10) == ["gave up", "gave up"]
    assert (await stage.names(handle)).count("ChildEnded") == 3
    assert "Diverged" not in await stage.names(handle)


async def test_a_payload_that_does_not_fit_is_refused_in_the_parent_before_anything_is_made(stage: Stage) -> None:
    @task
    async def strict(n: int) -> int:
        return n

    @task(retry=ONCE)
    async def parent() -> str:
        try:
            await strict.trigger_and_wait("x")  # type: ignore[arg-type]
        except PayloadError:
            return "refused"
        return "unreachable"

    async with stage.worker(parent, strict):
        handle = await parent.trigger()
        assert await handle.result(5) == "refused"
    assert "ChildTriggered" not in await stage.names(handle)


async def test_a_batch_is_suspended_for_all_and_not_for_each(stage: Stage) -> None:
    @task
    async def part(n: int) -> int:
        await asyncio.sleep(0.03)
        return n

    @task
    async def whole() -> int:
        return sum(await part.batch_trigger_and_wait([{"n": n} for n in range(10)]))

    async with stage.conductor(), stage.worker(whole, part, concurrency=1):
        handle = await whole.trigger()
        assert await handle.result(10) == 45
    assert len([one for one in await stage.entries(handle) if isinstance(one, Suspended)]) == 1
