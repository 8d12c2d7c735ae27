"""Code that takes another way than its run's journal, and code that only seems to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast import Retry, step, task
from holdfast.core.entries import Diverged
from holdfast.core.tree import NodeState
from holdfast.errors import RunStateError
from holdfast.task import TASKS
from mortal import killable, taken
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.01, max_timeout=0.02, jitter=False)

Body = Callable[[], Awaitable[Any]]


class Story:
    """The steps of a run whose code changes while it is under way."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.reached = asyncio.Event()

    async def reserve(self) -> str:
        self.calls.append("reserve")
        return "seat"

    async def charge(self) -> str:
        self.calls.append("charge")
        return "paid"

    async def notify(self) -> str:
        self.calls.append("notify")
        return "told"

    async def hang(self) -> None:
        self.calls.append("hang")
        self.reached.set()
        await asyncio.sleep(60)


def version(body: Body, **options: Any) -> Any:
    """A task of one id, whatever its code."""
    TASKS.pop("books", None)
    return task(id="books", **options)(body)


async def left_at(stage: Stage, story: Story, books: Any) -> Any:
    """A run whose worker died where its first code hangs."""
    async with killable(stage, books, name="w1") as victim:
        handle = await books.trigger()
        await asyncio.wait_for(story.reached.wait(), 5)
        await victim.kill()
    await taken(stage, handle)
    return handle


async def parted(stage: Stage, handle: Any) -> list[Diverged]:
    return [entry for entry in await stage.entries(handle) if isinstance(entry, Diverged)]


def old_code(story: Story, **options: Any) -> Any:
    async def books() -> str:
        await story.reserve()
        await story.charge()
        await story.hang()
        return "old"

    return version(books, **options)


def new_code(story: Story, **options: Any) -> Any:
    async def books() -> str:
        await story.reserve()
        return await story.notify()

    return version(books, **options)


async def test_branch_goes_on_with_the_new_way_and_keeps_the_orphans(stage: Stage) -> None:
    story = Story()
    handle = await left_at(stage, story, old_code(story))
    async with stage.worker(new_code(story), name="w2"):
        assert await handle.result(10) == "told"
    assert story.calls == ["reserve", "charge", "hang", "notify"]
    (entry,) = await parted(stage, handle)
    assert (entry.key, entry.missing) == ("/notify#1", ("/charge#1",))
    nodes = await stage.nodes(handle)
    assert nodes["/charge#1"].state is NodeState.ORPHANED
    assert nodes["/notify#1"].diverged


async def test_a_divergence_is_told_once_however_often_the_run_is_resumed(stage: Stage) -> None:
    story = Story()
    handle = await left_at(stage, story, old_code(story))

    async def books() -> str:
        await story.reserve()
        await story.notify()
        await story.hang()
        return await story.notify()

    again = version(books, retry=ONCE)
    story.reached.clear()
    async with killable(stage, again, name="w2") as victim:
        await asyncio.wait_for(story.reached.wait(), 5)
        await victim.kill()
    await taken(stage, handle)

    async def ends() -> str:
        await story.reserve()
        await story.notify()
        return await story.notify()

    async with stage.worker(version(ends), name="w3"):
        assert await handle.result(10) == "told"
    assert [entry.missing for entry in await parted(stage, handle)] == [("/charge#1",)]


async def test_fail_ends_the_run_dead_before_anything_new_happens(stage: Stage) -> None:
    story = Story()
    handle = await left_at(stage, story, old_code(story, on_divergence="fail"))
    async with stage.worker(new_code(story, on_divergence="fail"), name="w2"):
        ended = await stage.until(handle, "dead", "completed")
    assert (ended.state, ended.reason) == ("dead", "diverged")
    assert ended.error is not None
    assert ended.error.type == "holdfast.errors.CodeDiverged"
    assert "comes to /notify#1, which its journal does not know, and not to /charge#1" in ended.error.message
    assert story.calls == ["reserve", "charge", "hang"]


async def test_fail_ends_the_run_dead_though_its_code_catches_everything(stage: Stage) -> None:
    story = Story()
    handle = await left_at(stage, story, old_code(story, on_divergence="fail"))

    async def books() -> str:
        await story.reserve()
        try:
            await story.notify()
        except Exception:
            story.calls.append("caught")
        try:
            await story.notify()
        except Exception:
            return "swallowed"
        return "unreachable"

    async with stage.worker(version(books, on_divergence="fail"), name="w2"):
        ended = await stage.until(handle, "dead", "completed")
    assert (ended.state, ended.reason) == ("dead", "diverged")
    assert "notify" not in story.calls


async def test_a_diverged_run_may_be_retried_with_the_code_that_fits(stage: Stage) -> None:
    story = Story()
    handle = await left_at(stage, story, old_code(story, on_divergence="fail"))
    async with stage.worker(new_code(story, on_divergence="fail"), name="w2"):
        await stage.until(handle, "dead")

    async def books() -> str:
        await story.reserve()
        await story.charge()
        return await story.notify()

    async with stage.worker(version(books, on_divergence="fail"), name="w3"):
        await handle.retry()
        assert await handle.result(10) == "told"
    assert story.calls == ["reserve", "charge", "hang", "notify"]


async def test_pause_asks_and_accept_goes_on_with_the_new_way_for_good(stage: Stage) -> None:
    story = Story()
    handle = await left_at(stage, story, old_code(story, on_divergence="pause"))
    async with stage.worker(new_code(story, on_divergence="pause"), name="w2"):
        paused = await stage.until(handle, "waiting")
        assert paused.waits == {"pause:/notify#1"}
        assert "comes to /notify#1" in paused.paused
        assert story.calls == ["reserve", "charge", "hang"]
        with pytest.raises(RunStateError, match="code that took another way"):
            await handle.resolve("/notify#1", "done", 1)
        await handle.resolve("/notify#1", "accept")
        assert await handle.result(10) == "told"
    assert story.calls == ["reserve", "charge", "hang", "notify"]


async def test_accept_holds_over_a_restart(stage: Stage) -> None:
    story = Story()
    handle = await left_at(stage, story, old_code(story, on_divergence="pause"))

    async def books() -> str:
        await story.reserve()
        await story.notify()
        await story.hang()
        return "unreachable"

    async def ends() -> str:
        await story.reserve()
        await story.notify()
        return await story.notify()

    paused = version(books, on_divergence="pause")
    story.reached.clear()
    async with stage.worker(paused, name="w2"):
        await stage.until(handle, "waiting")
    await handle.resolve("/notify#1", "accept")
    async with killable(stage, paused, name="w3") as victim:
        await asyncio.wait_for(story.reached.wait(), 5)
        await victim.kill()
    await taken(stage, handle)
    async with stage.worker(version(ends, on_divergence="pause"), name="w4"):
        assert await handle.result(10) == "told"
    assert story.calls.count("notify") == 2


async def test_run_looks_again_with_the_code_of_now(stage: Stage) -> None:
    story = Story()
    handle = await left_at(stage, story, old_code(story, on_divergence="pause"))
    async with stage.worker(new_code(story, on_divergence="pause"), name="w2"):
        await stage.until(handle, "waiting")
        before = (await stage.names(handle)).count("Suspended")
        await handle.resolve("/notify#1", "run")
        await until_count(stage, handle, "Suspended", before + 1)  # the same code comes to the same place
        assert (await stage.until(handle, "waiting")).paused

    async def books() -> str:
        await story.reserve()
        return await story.charge()

    await handle.resolve("/notify#1", "run")
    async with stage.worker(version(books, on_divergence="pause"), name="w3"):
        assert await handle.result(10) == "paid"
    assert story.calls == ["reserve", "charge", "hang"]


async def test_every_branch_waits_for_the_operator(stage: Stage) -> None:
    story = Story()
    handle = await left_at(stage, story, old_code(story, on_divergence="pause"))
    done: list[int] = []

    async def fresh(n: int) -> int:
        done.append(n)
        return n

    async def books() -> int:
        await story.reserve()
        background = asyncio.create_task(fresh(0))
        await story.notify()
        return await background + sum(await asyncio.gather(*[fresh(n) for n in range(1, 4)]))

    async with stage.worker(version(books, on_divergence="pause"), name="w2"):
        paused = await stage.until(handle, "waiting")
        assert done == []
        (question,) = paused.waits
        await handle.resolve(question.removeprefix("pause:"), "accept")
        assert await handle.result(10) == 6


# --- what only seems to be another way ------------------------------------------------------------------------------


@asynccontextmanager
async def connection(seconds: float) -> AsyncIterator[object]:
    """What is no checkpoint and takes its time, each time."""
    await asyncio.sleep(seconds)
    yield object()


@pytest.mark.parametrize("policy", ["fail", "pause", "branch"])
async def test_a_branch_behind_a_slow_connection_only_arrives_later(stage: Stage, policy: Any) -> None:
    calls: list[str] = []
    reached = asyncio.Event()

    async def quick() -> str:
        calls.append("quick")
        if calls.count("quick") == 1:
            await done.wait()
            reached.set()
            await asyncio.sleep(60)
        return "quick"

    async def stored() -> str:
        calls.append("stored")
        return "stored"

    done = asyncio.Event()

    @task(on_divergence=policy)
    async def works() -> list[str]:
        async def slow() -> str:
            async with connection(0.05 if not done.is_set() else 1.5):
                found = await kept()
            done.set()
            return found

        return list(await asyncio.gather(slow(), quick()))

    @step
    async def kept() -> str:
        return await stored()

    async with killable(stage, works) as victim:
        handle = await works.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await victim.kill()
    await taken(stage, handle)
    async with stage.worker(works, name="w2"):
        ended = await stage.until(handle, "completed", "dead", "waiting")
    assert ended.state == "completed"
    assert await parted(stage, handle) == []
    assert calls.count("stored") == 1


@pytest.mark.parametrize("policy", ["fail", "branch"])
async def test_branches_that_take_turns_behind_a_semaphore_are_no_divergence(stage: Stage, policy: Any) -> None:
    calls: list[int] = []
    crashed = asyncio.Event()

    @step
    async def ship(n: int) -> int:
        calls.append(n)
        if n < 2 and not crashed.is_set():
            await asyncio.sleep(60)
        if len(calls) == 20:
            crashed.set()
        return n

    gates: list[asyncio.Semaphore] = []

    @task(on_divergence=policy)
    async def ships() -> int:
        gates.append(asyncio.Semaphore(2 if gates else 20))

        async def one(n: int) -> int:
            async with gates[-1]:
                return await ship(n)

        return sum(await asyncio.gather(*[one(n) for n in range(20)]))

    async with killable(stage, ships) as victim:
        handle = await ships.trigger()
        await asyncio.wait_for(crashed.wait(), 5)
        await until_count(stage, handle, "StepCompleted", 18 * 2)
        await victim.kill()
    await taken(stage, handle)
    async with stage.worker(ships, name="w2"):
        assert await handle.result(10) == sum(range(20))
    assert await parted(stage, handle) == []


@pytest.mark.parametrize("seed", range(3))
async def test_hundreds_of_branches_in_any_order_with_volatile_values_are_no_divergence(
    stage: Stage, seed: int
) -> None:
    drawn = random.Random(seed)
    attempts: list[int] = []
    calls: list[str] = []

    async def opens(n: int) -> Any:
        await asyncio.sleep(drawn.random() * 0.02)
        return lambda: n

    async def works(n: int) -> int:
        calls.append(f"works {n}")
        await asyncio.sleep(drawn.random() * 0.02)
        return n

    async def may_fail(n: int) -> int:
        await asyncio.sleep(drawn.random() * 0.02)
        if len(attempts) < 3 and n == 150:
            raise ValueError("once more")
        return n

    @task
    async def branch(n: int) -> int:
        async with connection(drawn.random() * 0.05):
            opened = await opens(n)
        first = await works(n)
        async with connection(drawn.random() * 0.05):
            return opened() - first + await may_fail(n)

    @task(retry=QUICK, on_divergence="fail")
    async def fans() -> int:
        attempts.append(1)
        return sum(await asyncio.gather(*[branch(n) for n in range(300)]))

    async with stage.worker(fans):
        handle = await fans.trigger()
        ended = await stage.until(handle, "completed", "dead", within=20)
    assert (ended.state, ended.reason) == ("completed", "")
    assert await handle.result(1) == sum(range(300))
    assert len(attempts) == 3
    assert await parted(stage, handle) == []


async def test_what_was_done_about_a_failure_is_no_lost_way_when_the_next_attempt_succeeds(stage: Stage) -> None:
    calls: list[str] = []

    async def flaky() -> None:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")

    async def notify() -> None:
        calls.append("notify")

    async def finish() -> str:
        calls.append("finish")
        return "done"

    @task(retry=QUICK, on_divergence="fail")
    async def careful() -> str:
        try:
            await flaky()
        except ValueError:
            await notify()
            raise
        return await finish()

    async with stage.worker(careful):
        handle = await careful.trigger()
        ended = await stage.until(handle, "completed", "dead")
    assert ended.state == "completed"
    assert calls == ["flaky", "notify", "flaky", "finish"]
    assert await parted(stage, handle) == []


async def test_the_cleanup_of_a_cancelled_run_is_no_lost_way_when_it_is_retried(stage: Stage) -> None:
    calls: list[str] = []
    reached = asyncio.Event()

    async def works() -> str:
        calls.append("works")
        if len(calls) == 1:
            reached.set()
            await asyncio.sleep(60)
        return "done"

    async def tidy(what: str) -> None:
        calls.append(what)

    @task(on_divergence="fail")
    async def careful() -> str:
        try:
            return await works()
        except asyncio.CancelledError:
            await tidy("cancelled")
            raise
        finally:
            await tidy("finally")

    async with stage.worker(careful):
        handle = await careful.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.cancel()
        await stage.until(handle, "cancelled")
        await handle.retry()
        ended = await stage.until(handle, "completed", "dead")
    assert ended.state == "completed"
    assert calls[:4] == ["works", "cancelled", "finally", "works"]


async def test_a_step_whose_error_was_kept_and_raised_later_is_no_other_way(stage: Stage) -> None:
    calls: list[str] = []

    async def flaky() -> str:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")
        return "mended"

    async def between() -> None:
        calls.append("between")

    @task(retry=QUICK, on_divergence="fail")
    async def keeps() -> str:
        kept: Exception | None = None
        found = ""
        try:
            found = await flaky()
        except ValueError as error:
            kept = error
        await between()
        if kept is not None:
            raise kept
        return found

    async with stage.worker(keeps):
        handle = await keeps.trigger()
        ended = await stage.until(handle, "completed", "dead")
    assert ended.state == "completed"
    assert calls == ["flaky", "between", "flaky"]


async def test_a_volatile_value_that_runs_again_is_no_other_way(stage: Stage) -> None:
    calls: list[str] = []

    async def opens() -> Any:
        calls.append("opens")
        return lambda: "opened"

    async def stored() -> None:
        calls.append("stored")

    async def flaky() -> None:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")

    @task(retry=QUICK, on_divergence="fail")
    async def works() -> str:
        opened = await opens()
        await stored()
        await flaky()
        return str(opened())

    async with stage.worker(works):
        handle = await works.trigger()
        assert await handle.result(10) == "opened"
    assert calls == ["opens", "stored", "flaky", "opens", "flaky"]
    assert await parted(stage, handle) == []


async def until_count(stage: Stage, handle: Any, name: str, count: int) -> None:
    """Wait until the journal holds so many entries of a kind."""
    async with asyncio.timeout(5):
        while (await stage.names(handle)).count(name) < count:  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.01)
