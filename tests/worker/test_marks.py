"""What a run's code says of itself and takes from outside between its awaits."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from holdfast import Retry, RunFailed, run, step, task, wait
from holdfast.core.entries import Heartbeat, MetadataChanged, Progressed, StepCompleted
from holdfast.core.model import Progress
from holdfast.errors import HoldfastError
from holdfast.wire.values import decode_value
from holdfast.worker import waits
from mortal import killable, taken
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.01, max_timeout=0.02, jitter=False)


async def nothing() -> None:
    """A step without an effect."""


async def forever() -> None:
    await asyncio.sleep(60)


def folded(encoded: dict[str, bytes]) -> dict[str, Any]:
    return {name: decode_value(value) for name, value in encoded.items()}


# --- heartbeats and progress ----------------------------------------------------------------------------------------


async def test_heartbeats_are_throttled_and_a_failure_keeps_the_last_one(stage: Stage) -> None:
    found: list[Any] = []

    @task(retry=QUICK)
    async def copies() -> str:
        found.append(run.last_heartbeat)
        if run.attempt == 1:
            for row in range(5000):
                await run.heartbeat({"row": row})
            raise ValueError("broken")
        return "done"

    async with stage.worker(copies):
        handle = await copies.trigger()
        assert await handle.result(10) == "done"
    assert found == [None, {"row": 4999}]
    beats = [entry for entry in await stage.entries(handle) if isinstance(entry, Heartbeat)]
    assert len(beats) < 20


async def test_after_a_crash_the_details_are_those_that_were_written(stage: Stage) -> None:
    found: list[Any] = []
    reached = asyncio.Event()

    async def copy() -> str:
        found.append(run.last_heartbeat)
        if len(found) == 1:
            await run.heartbeat("first")
            await run.heartbeat("second")  # written within a moment
            reached.set()
            await forever()
        return "done"

    @task
    async def copies() -> str:
        return await copy()

    async with killable(stage, copies) as victim:
        handle = await copies.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await until_entries(stage, handle, Heartbeat, 2)
        await victim.kill()
    await taken(stage, handle)
    async with stage.worker(copies, name="w2"):
        assert await handle.result(10) == "done"
    assert found == [None, "second"]


async def test_what_was_said_last_before_a_suspension_is_written_with_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "LINGER", 0.02)

    @task
    async def copies() -> None:
        for row in range(10):
            await run.heartbeat(row)
            await run.progress(row, total=10, text=f"row {row}")
        await wait.for_(hours=1)

    async with stage.worker(copies):
        handle = await copies.trigger()
        waiting = await stage.until(handle, "waiting")
        beats = [entry for entry in await stage.entries(handle) if isinstance(entry, Heartbeat)]
        assert beats[-1].details is not None
        assert decode_value(beats[-1].details) == 9
        assert waiting.progress == Progress(9.0, 10.0, "row 9")
        await handle.cancel()


async def test_progress_is_there_while_the_run_goes_on_and_the_last_one_stays(stage: Stage) -> None:
    go = asyncio.Event()

    async def works() -> None:
        await run.progress(3, total=10, text="resizing")
        await go.wait()
        for done in range(4, 11):
            await run.progress(done, total=10)

    @task
    async def resizes() -> None:
        await works()

    async with stage.worker(resizes):
        handle = await resizes.trigger()
        await until_entries(stage, handle, Progressed, 1)
        assert (await handle.status()).progress == Progress(3.0, 10.0, "resizing")
        go.set()
        await handle.result(10)
    assert (await handle.status()).progress == Progress(10.0, 10.0, "")


async def test_details_that_cannot_be_stored_are_refused_where_they_are_given(stage: Stage) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)

    @task(retry=QUICK)
    async def copies() -> list[str]:
        refused = []
        for details in (open, cycle):
            try:
                await run.heartbeat(details)
            except HoldfastError as error:
                refused.append(type(error).__name__)
        return refused

    async with stage.worker(copies):
        assert await (await copies.trigger()).result(10) == ["EncodeError", "EncodeError"]


# --- metadata -------------------------------------------------------------------------------------------------------


async def test_metadata_of_the_trigger_is_there_and_changes_are_recorded(stage: Stage) -> None:
    @task
    async def works() -> dict[str, Any]:
        run.metadata["step"] = ("two", 2)
        del run.metadata["draft"]
        await nothing()
        run.metadata.update(region="eu", step="three")
        return dict(run.metadata)

    async with stage.worker(works):
        handle = await works.options(metadata={"tenant": "acme", "draft": True}).trigger()
        expected = {"tenant": "acme", "step": "three", "region": "eu"}
        assert await handle.result(10) == expected
    assert folded((await handle.status()).metadata) == expected


async def test_metadata_is_there_after_a_resume_and_not_written_again(stage: Stage) -> None:
    reached = asyncio.Event()
    seen: list[dict[str, Any]] = []

    async def works() -> str:
        seen.append(dict(run.metadata))
        if len(seen) == 1:
            run.metadata["inner"] = 1
            reached.set()
            await forever()
        return "done"

    @task
    async def marks() -> str:
        run.metadata["cursor"] = 7
        run.metadata.pop("draft", None)
        if "gone" in run.metadata:
            del run.metadata["gone"]
        return await works()

    async with killable(stage, marks) as victim:
        handle = await marks.options(metadata={"draft": 1, "gone": 1}).trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await until_entries(stage, handle, MetadataChanged, 4)
        await victim.kill()
    await taken(stage, handle)
    async with stage.worker(marks, name="w2"):
        assert await handle.result(10) == "done"
    assert seen == [{"cursor": 7}, {"cursor": 7, "inner": 1}]
    assert [type(one) for one in await stage.entries(handle)].count(MetadataChanged) == 4


async def test_a_deletion_that_was_recorded_is_no_error_when_the_code_comes_to_it_again(stage: Stage) -> None:
    calls: list[str] = []

    async def flaky() -> None:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")

    @task(retry=QUICK)
    async def marks() -> str:
        del run.metadata["draft"]
        await flaky()
        try:
            del run.metadata["never there"]
        except KeyError as error:
            return f"no {error}"
        return "unreachable"

    async with stage.worker(marks):
        assert await (await marks.options(metadata={"draft": 1}).trigger()).result(10) == "no 'never there'"
    assert calls == ["flaky", "flaky"]


async def test_metadata_that_cannot_be_stored_is_refused_and_changes_nothing(stage: Stage) -> None:
    @task
    async def marks() -> list[str]:
        refused = []
        for name, value in (("conn", open), (7, "name is no text")):
            try:
                run.metadata[name] = value  # type: ignore[index]
            except (HoldfastError, TypeError) as error:
                refused.append(type(error).__name__)
        return [*refused, *run.metadata]

    async with stage.worker(marks):
        assert await (await marks.trigger()).result(10) == ["EncodeError", "TypeError"]


# --- from threads ---------------------------------------------------------------------------------------------------


async def test_a_sync_task_says_all_of_it_from_its_thread(stage: Stage) -> None:
    seen: list[Any] = []

    @task(retry=QUICK)
    def copies() -> dict[str, Any]:
        seen.append(run.last_heartbeat)
        run.heartbeat({"row": 1})
        run.progress(1, total=2, text="half")
        run.metadata["thread"] = threading.current_thread() is not threading.main_thread()
        run.metadata["gone"] = 1
        del run.metadata["gone"]
        if len(seen) == 1:
            raise ValueError("once")
        return dict(run.metadata)

    async with stage.worker(copies):
        handle = await copies.trigger()
        assert await handle.result(10) == {"thread": True}
    ended = await handle.status()
    assert (seen, folded(ended.metadata)) == ([None, {"row": 1}], {"thread": True})
    assert ended.progress == Progress(1.0, 2.0, "half")


async def test_a_thread_that_a_step_began_says_it_too(stage: Stage) -> None:
    def blocking() -> str:
        for row in range(3):
            run.heartbeat(row)
            run.metadata["row"] = row
        return run.id

    @step
    async def copies() -> str:
        return await asyncio.to_thread(blocking)

    @task
    async def copying() -> str:
        return await copies()

    async with stage.worker(copying):
        handle = await copying.trigger()
        assert await handle.result(10) == handle.id
    assert folded((await handle.status()).metadata) == {"row": 2}


async def test_what_a_thread_says_after_its_run_has_ended_is_of_no_effect(stage: Stage) -> None:
    go, said = threading.Event(), threading.Event()

    @task
    def lingers() -> None:
        go.wait(5)
        run.metadata["late"] = True
        said.set()

    async with stage.worker(lingers):
        handle = await lingers.trigger()
        await stage.until(handle, "running")
        await handle.kill()
        go.set()
        assert await asyncio.to_thread(said.wait, 5)
        await asyncio.sleep(0.05)
    assert folded((await handle.status()).metadata) == {}


# --- captured values ------------------------------------------------------------------------------------------------


async def test_now_random_and_uuid_are_the_same_after_a_resume(stage: Stage) -> None:
    seen: list[tuple[Any, ...]] = []

    async def flaky() -> None:
        if len(seen) == 1:
            raise ValueError("once")

    @task(retry=QUICK)
    async def draws() -> bool:
        drawn = (run.now(), run.random(), run.uuid(), run.random())
        await nothing()
        seen.append((*drawn, run.now()))
        await flaky()
        return drawn[1] != drawn[3]

    async with stage.worker(draws):
        assert await (await draws.trigger()).result(10) is True
    first, second = seen
    assert first == second
    assert abs(first[0].timestamp() - time.time()) < 60
    assert first[0].tzinfo is not None


async def test_what_was_captured_is_durable_before_the_next_effect_of_any_branch(stage: Stage) -> None:
    held: list[tuple[str, bool]] = []

    async def effect(name: str) -> None:
        entries = [entry for _, record in await stage.journal.messages(run.id) for entry in record.entries]
        held.append((name, any(isinstance(one, StepCompleted) and one.key == "/uuid#1" for one in entries)))

    @task
    async def draws() -> None:
        run.uuid()
        await asyncio.gather(*[effect(name) for name in "abc"])

    async with stage.worker(draws):
        await (await draws.trigger()).result(10)
    assert sorted(held) == [("a", True), ("b", True), ("c", True)]


async def test_a_value_captured_in_a_step_is_the_same_over_its_tries_and_a_crash(stage: Stage) -> None:
    drawn: list[Any] = []
    reached = asyncio.Event()

    @step(retry=QUICK)
    async def draws() -> str:
        drawn.append(run.uuid())
        if len(drawn) < 3:
            raise ValueError("again")
        if len(drawn) == 3:
            reached.set()
            await forever()
        return str(drawn[-1])

    @task(retry=ONCE)
    async def drawing() -> str:
        return await draws()

    async with killable(stage, drawing) as victim:
        handle = await drawing.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await victim.kill()
    await taken(stage, handle)
    async with stage.worker(drawing, name="w2"):
        await handle.result(10)
    assert len(drawn) == 4
    assert len(set(drawn)) == 1


# --- queries --------------------------------------------------------------------------------------------------------


async def test_an_exposed_function_is_asked_for_as_long_as_the_run_is_here(stage: Stage) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def works() -> None:
        reached.set()
        await go.wait()

    @task
    async def states() -> str:
        state = {"row": 1}
        run.expose("state", lambda: state)
        run.expose("times", lambda n: state["row"] * n)
        state["row"] = 2
        await works()
        return "done"

    async with stage.worker(states):
        handle = await states.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        assert await handle.query("state") == {"row": 2}
        assert await handle.query("times", 21) == 42
        with pytest.raises(HoldfastError, match="exposes no 'other'"):
            await handle.query("other")
        with pytest.raises(HoldfastError, match="times raised TypeError"):
            await handle.query("times")
        go.set()
        assert await handle.result(10) == "done"


async def test_outside_a_run_every_mark_is_an_error_that_says_so() -> None:
    for mark in (run.now, run.random, run.uuid, run.heartbeat, lambda: run.metadata, lambda: run.id):
        with pytest.raises(HoldfastError, match="only inside a run"):
            mark()


async def test_a_result_that_contains_itself_is_dead_with_a_clear_error(stage: Stage) -> None:
    @task(retry=QUICK)
    async def cyclic() -> Any:
        result: list[Any] = [1]
        result.append(result)
        return result

    async with stage.worker(cyclic):
        handle = await cyclic.trigger()
        ended = await stage.until(handle, "dead")
        with pytest.raises(RunFailed, match=r"the result can't be stored: .*contains itself"):
            await handle.result(1)
    assert (ended.attempt, ended.reason) == (1, "result")


async def until_entries(stage: Stage, handle: Any, kind: type, count: int) -> None:
    """Wait until the journal holds so many entries of a kind."""
    async with asyncio.timeout(5):
        while sum(isinstance(entry, kind) for entry in await stage.entries(handle)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
