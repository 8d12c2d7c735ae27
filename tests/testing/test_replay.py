"""Recorded histories against the code of now: divergence is named, and nothing is executed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import Retry, run, step, task, wait
from holdfast.cli import entries
from holdfast.errors import UnknownTask
from holdfast.history import History
from holdfast.task import TASKS, Task
from holdfast.testing import Harness, Verdict, harness, replay

ran: list[str] = []


@pytest.fixture(autouse=True)
def clean() -> None:
    ran.clear()


async def a(n: int = 1) -> int:
    ran.append("a")
    return n


async def b(n: int = 2) -> int:
    ran.append("b")
    return n


async def c() -> int:
    ran.append("c")
    return 3


def order(body: Callable[[], Awaitable[Any]], **options: Any) -> Task[..., Any]:
    """The task `order`, with another body than before."""
    TASKS.clear()
    return task(id="order", **options)(body)


async def recorded(made: Task[..., Any], *more: Task[..., Any], days: float = 0) -> History:
    """The history of a run of it, as far as it comes in so many days."""
    async with harness(made, *more) as h:
        handle = await h.trigger(made)
        await h.advance(days=days)
        found = await h.history(handle)
    ran.clear()
    return found


async def waiting() -> int:
    first = await a()
    second = await b()
    await wait.for_(days=30)
    return first + second


async def test_the_code_that_made_a_history_fits_it_and_nothing_runs() -> None:
    made = order(waiting)
    for days in (0, 31):
        found = await replay(await recorded(made, days=days))
        assert (found.verdict, str(found)) == (Verdict.OK, "ok")
    assert ran == []


async def test_new_awaits_behind_what_is_recorded_are_no_divergence() -> None:
    history = await recorded(order(waiting))

    async def longer() -> int:
        first = await a()
        second = await b()
        await wait.for_(days=30)
        return first + second + await c()

    assert (await replay(history, order(longer))).verdict is Verdict.OK
    assert ran == []


async def test_an_await_that_was_put_in_between_is_where_the_code_stands() -> None:
    history = await recorded(order(waiting))

    async def other() -> int:
        first = await a()
        await c()
        return first + await b()

    found = await replay(history, order(other))
    assert found.diverges
    assert (found.key, found.recorded, found.code) == ("/b#1", "2", "/c#1")
    assert str(found) == "diverges at /b#1 (recorded: 2, code: /c#1)"
    assert ran == []


async def test_an_await_that_was_put_beside_is_none() -> None:
    history = await recorded(order(waiting))

    async def other() -> int:
        beside = asyncio.create_task(c())
        first = await a()
        second = await b()
        await wait.for_(days=30)
        return first + second + await beside

    assert (await replay(history, order(other))).verdict is Verdict.OK
    assert ran == []


async def test_code_that_returns_before_what_is_recorded_says_what_it_returns() -> None:
    history = await recorded(order(waiting))

    async def short() -> int:
        return await a() + 40

    found = await replay(history, order(short))
    assert (found.key, found.code) == ("/b#1", "returns 41")


async def test_code_that_raises_says_so() -> None:
    history = await recorded(order(waiting))

    async def broken() -> int:
        await a()
        raise KeyError("gone")

    assert (await replay(history, order(broken))).code == "raises KeyError('gone')"


async def test_a_finished_run_with_another_result_diverges_at_its_end() -> None:
    history = await recorded(order(waiting), days=31)

    async def other() -> int:
        first = await a()
        second = await b()
        await wait.for_(days=30)
        return first * 100 + second

    found = await replay(history, order(other))
    assert (found.verdict, found.key, found.recorded, found.code) == (Verdict.DIVERGES, "end", "3", "returns 102")


async def test_branches_may_come_to_what_is_recorded_in_any_order() -> None:
    async def fans() -> list[int]:
        async def chain() -> int:
            return await a() + await b()

        both = await asyncio.gather(a(5), b(6), chain(), a(7))
        await wait.for_(days=1)
        return both

    made = order(fans)
    for days in (0, 2):
        assert (await replay(await recorded(made, days=days))).verdict is Verdict.OK
    assert ran == []


async def test_children_tokens_signals_retries_and_limits_fit_at_every_moment() -> None:
    @step(retry=Retry(max_attempts=2, min_timeout=60, jitter=False))
    async def flaky() -> int:
        ran.append("flaky")
        if ran.count("flaky") == 1:
            raise ConnectionError("busy")
        return 1

    async def slow() -> None:
        await asyncio.sleep(1000)

    async def everything() -> list[object]:
        found: list[object] = [await flaky()]
        try:
            async with asyncio.timeout(100):
                await slow()
        except TimeoutError:
            found.append("late")
        found += await child.batch_trigger_and_wait([{"n": 1}, {"n": 2}])
        token = wait.token()
        found += await asyncio.gather(inner(3), token)
        async for value in run.signals("go"):
            found.append(value)
            break
        done, _ = await asyncio.wait(
            [asyncio.create_task(a(9)), asyncio.create_task(slow())], return_when="FIRST_COMPLETED"
        )
        return [*found, len(done), run.random()]

    made = order(everything)

    @task
    async def child(n: int) -> int:
        await wait.for_(hours=n)
        return n

    @task
    async def inner(n: int) -> int:
        return await a(n) + await b(n)

    async with harness(made, child) as h:
        handle = await h.trigger(made)
        for _ in range(30):
            await _fits(h, handle.id, made)
            await h.advance(minutes=11)
        await h.complete((await h.look(handle)).checkpoints["/token#1"].wait, 4)
        await _fits(h, handle.id, made)
        await h.signal(handle, "go", 5)
        found = await h.ended(handle)
        assert found.result[:-1] == [1, "late", 1, 2, 6, 4, 5, 1]
        await _fits(h, handle.id, made)


async def _fits(h: Harness, run_id: str, made: Task[..., Any]) -> None:
    before = list(ran)
    found = await replay(await h.history(run_id), made)
    assert found.verdict is Verdict.OK, found
    assert ran == before


async def test_a_run_that_failed_fits_up_to_where_it_failed() -> None:
    async def failing() -> None:
        await a()
        raise ValueError("no")

    made = order(failing, retry=Retry(max_attempts=2, min_timeout=60, jitter=False))
    for days in (0, 1):
        assert (await replay(await recorded(made, days=days))).verdict is Verdict.OK


async def test_what_ran_and_was_not_kept_says_nothing() -> None:
    async def connection() -> object:
        ran.append("connection")
        return object()

    async def holding() -> int:
        await connection()
        first = await a()
        await wait.for_(days=1)
        return first

    found = await replay(await recorded(order(holding)))
    assert (found.verdict, found.key) == (Verdict.UNSURE, "/connection#1")
    assert "volatile at /connection#1" in str(found)
    assert ran == []


async def test_a_task_whose_awaits_are_no_checkpoints_is_not_run() -> None:
    @step
    async def kept() -> int:
        return 1

    async def plain() -> int:
        await a()
        return await kept()

    found = await replay(await recorded(order(plain, checkpoint="steps")))
    assert (found.verdict, ran) == (Verdict.UNSURE, [])


async def test_an_exported_file_is_replayed(tmp_path: Path) -> None:
    made = order(waiting)
    history = await recorded(made)
    (tmp_path / "run.jsonl").write_text("\n".join(history.lines(entries.record)))
    assert (await replay(tmp_path / "run.jsonl")).verdict is Verdict.OK
    TASKS.clear()
    with pytest.raises(UnknownTask, match="no task 'order' is declared here"):
        await replay(str(tmp_path / "run.jsonl"))
