"""How long runs, attempts and steps may take, and what becomes of those that take longer."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from holdfast import Retry, RunFailed, Timeouts, run, step, task, wait
from holdfast.core.entries import AttemptFailed
from holdfast.errors import TimedOut
from holdfast.worker import waits
from mortal import killable, taken
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.01, max_timeout=0.02, jitter=False)


async def forever() -> None:
    await asyncio.sleep(60)


# --- of an attempt --------------------------------------------------------------------------------------------------


async def test_start_to_close_cancels_the_attempt_runs_its_finally_and_is_retried(stage: Stage) -> None:
    told: list[str] = []

    async def slow_at_first() -> str:
        if run.attempt == 1:
            try:
                await forever()
            except asyncio.CancelledError:
                told.append("CancelledError in the step")
                raise
        return "done"

    async def tidy() -> None:
        told.append(f"tidied in {run.attempt}")

    @task(retry=QUICK, timeouts=Timeouts(start_to_close=0.3))
    async def bounded() -> str:
        try:
            return await slow_at_first()
        finally:
            await tidy()

    async with stage.worker(bounded):
        handle = await bounded.trigger()
        assert await handle.result(10) == "done"
    assert told[:2] == ["CancelledError in the step", "tidied in 1"]
    failed = [entry for entry in await stage.entries(handle) if isinstance(entry, AttemptFailed)]
    assert [(one.error.type, one.error.message) for one in failed] == [
        ("holdfast.errors.TimedOut", "attempt 1 took longer than 0.3 s (start_to_close)")
    ]
    assert (await handle.status()).spent == 1


async def test_an_attempt_that_takes_too_long_each_time_ends_dead(stage: Stage) -> None:
    @task(retry=Retry(max_attempts=2, min_timeout=0.01, jitter=False), timeouts=Timeouts(start_to_close=0.15))
    async def bounded() -> None:
        await forever()

    async with stage.worker(bounded):
        ended = await stage.until(await bounded.trigger(), "dead")
    assert (ended.reason, ended.attempt) == ("attempts used up", 2)


async def test_except_exception_does_not_keep_a_timed_out_attempt_alive(stage: Stage) -> None:
    swallowed: list[str] = []

    @task(retry=ONCE, timeouts=Timeouts(start_to_close=0.15))
    async def stubborn() -> str:
        try:
            await forever()
        except Exception as error:
            swallowed.append(repr(error))
        return "went on"

    async with stage.worker(stubborn):
        ended = await stage.until(await stubborn.trigger(), "dead", "completed")
    assert (ended.state, swallowed) == ("dead", [])


async def test_waits_that_freed_the_slot_do_not_count_against_start_to_close(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "LINGER", 0.02)
    monkeypatch.setattr(waits, "SOON", 0.1)

    @task(retry=ONCE, timeouts=Timeouts(start_to_close=0.6))
    async def sleeper() -> str:
        await wait.for_(seconds=1.0)
        return "slept"

    async with stage.worker(sleeper):
        handle = await sleeper.trigger()
        await stage.until(handle, "waiting")
        assert await handle.result(10) == "slept"
    assert (await handle.status()).used < 0.6


async def test_what_was_used_before_a_wait_counts_after_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "LINGER", 0.02)
    monkeypatch.setattr(waits, "SOON", 0.1)

    async def work() -> None:
        await asyncio.sleep(0.4)

    @task(retry=ONCE, timeouts=Timeouts(start_to_close=0.7))
    async def works_twice() -> str:
        await work()
        await wait.for_(seconds=0.5)
        await work()
        return "too much"

    async with stage.worker(works_twice):
        handle = await works_twice.trigger()
        ended = await stage.until(handle, "dead", "completed")
    assert ended.state == "dead"
    assert ended.error is not None
    assert ended.error.message == "attempt 1 took longer than 0.7 s (start_to_close)"


async def test_schedule_to_close_ends_a_running_attempt_at_once_and_is_never_retried(stage: Stage) -> None:
    cleaned: list[str] = []

    @task(retry=QUICK, timeouts=Timeouts(schedule_to_close=0.3))
    async def bounded() -> None:
        try:
            await forever()
        finally:
            cleaned.append("cleaned")

    async with stage.worker(bounded):
        ended = await stage.until(await bounded.trigger(), "timed_out")
    assert (ended.attempt, ended.reason, cleaned) == (1, "schedule_to_close", ["cleaned"])
    assert ended.error is not None
    assert ended.error.message == "the run did not end within 0.3 s of its first scheduling"


async def test_schedule_to_close_fails_now_where_the_next_backoff_would_pass_it_and_says_so(stage: Stage) -> None:
    policy = Retry(max_attempts=5, min_timeout=30, max_timeout=30, jitter=False)

    @task(retry=policy, timeouts=Timeouts(schedule_to_close=5))
    async def doomed() -> None:
        raise ValueError("broken")

    async with stage.worker(doomed):
        begun = time.monotonic()
        ended = await stage.until(await doomed.trigger(), "timed_out")
        assert time.monotonic() - begun < 4
    assert ended.reason == "schedule_to_close: the next retry would come after it"
    assert ended.error is not None
    assert ended.error.type == "ValueError"


async def test_schedule_to_close_ends_a_run_in_its_backoff(stage: Stage) -> None:
    calls: list[int] = []

    @task(
        retry=Retry(max_attempts=5, min_timeout=0.8, max_timeout=0.8, jitter=False),
        timeouts=Timeouts(schedule_to_close=1.2),
    )
    async def doomed() -> None:
        calls.append(1)
        if len(calls) == 2:
            await forever()
        raise ValueError("broken")

    async with stage.worker(doomed):
        handle = await doomed.trigger()
        await stage.until(handle, "retrying")
        ended = await stage.until(handle, "timed_out")
    assert (len(calls), ended.reason) == (2, "schedule_to_close")
    assert ended.finished_at is not None
    assert 1.2 <= ended.finished_at - ended.created_at < 2.0


async def test_a_childs_deadline_is_the_sooner_of_its_own_and_its_parents(stage: Stage) -> None:
    @task(timeouts=Timeouts(schedule_to_close=30))
    async def patient_child() -> None:
        await forever()

    @task(timeouts=Timeouts(schedule_to_close=0.4))
    async def hurried_child() -> None:
        await forever()

    @task(retry=ONCE, timeouts=Timeouts(schedule_to_close=0.8))
    async def hurried_parent() -> None:
        await patient_child.trigger_and_wait()

    @task(retry=ONCE, timeouts=Timeouts(schedule_to_close=30))
    async def patient_parent() -> None:
        await hurried_child.trigger_and_wait()

    async with stage.worker(patient_child, hurried_child, hurried_parent, patient_parent):
        first, second = await hurried_parent.trigger(), await patient_parent.trigger()
        of_parent = await child_of(stage, first)
        own = await child_of(stage, second)
        ended = await stage.until(of_parent, "timed_out", within=5)
        assert ended.error is not None
        assert ended.error.message == "the run did not end by its parent's deadline"
        ended = await stage.until(own, "timed_out", within=5)
        assert ended.error is not None
        assert ended.error.message == "the run did not end within 0.4 s of its first scheduling"


async def test_a_child_whose_task_alone_names_the_sooner_deadline_keeps_it(stage: Stage) -> None:
    """Triggered by name, its creator does not know the task's own time-outs."""

    @task(timeouts=Timeouts(schedule_to_close=0.4))
    async def hurried() -> None:
        await forever()

    from holdfast.triggering import Settings, created

    now = time.time()
    made = created(
        "hurried", b"\x80", Settings(), run="01M83XBVJEH24XA8QW77G116FE", at=now, source="child", deadline=now + 30
    )
    async with stage.worker(hurried):
        handle = await stage.client.start(made)
        ended = await stage.until(handle, "timed_out", within=5)
    assert ended.reason == "schedule_to_close"


async def test_schedule_to_start_ends_what_nobody_started_in_time_and_is_never_retried(stage: Stage) -> None:
    calls: list[int] = []

    @task(retry=QUICK, timeouts=Timeouts(schedule_to_start=0.2))
    async def hurried() -> None:
        calls.append(1)

    handle = await hurried.trigger()
    await asyncio.sleep(0.25)  # the time that nobody starts it in
    async with stage.worker(hurried):
        ended = await stage.until(handle, "timed_out")
    assert (calls, ended.attempt, ended.reason) == ([], 0, "schedule_to_start")


async def test_schedule_to_start_says_nothing_of_how_long_an_attempt_takes(stage: Stage) -> None:
    @task(timeouts=Timeouts(schedule_to_start=0.3))
    async def slow() -> str:
        await asyncio.sleep(0.6)
        return "done"

    async with stage.worker(slow):
        assert await (await slow.trigger()).result(10) == "done"


async def test_ttl_ends_what_has_not_started_and_never_what_has(stage: Stage) -> None:
    calls: list[str] = []

    @task(retry=QUICK)
    async def mortal(name: str) -> str:
        calls.append(name)
        if len(calls) == 1:
            await asyncio.sleep(0.5)
            raise ValueError("its second attempt begins after its time to live")
        return name

    late = await mortal.options(ttl=0.2).trigger(name="late")
    for_ever = await mortal.options(ttl=0).trigger(name="for ever")
    await asyncio.sleep(0.25)  # the time that nobody starts it in
    async with stage.worker(mortal):
        ended = await stage.until(late, "expired")
        assert await for_ever.result(10) == "for ever"
        calls.clear()
        started = await mortal.options(ttl=0.3).trigger(name="started")
        assert await started.result(10) == "started"
    assert calls == ["started", "started"]
    assert ended.attempt == 0
    with pytest.raises(RunFailed, match="ended expired"):
        await late.result(1)


# --- heartbeats -----------------------------------------------------------------------------------------------------


async def test_an_attempt_without_heartbeats_is_cancelled_and_its_last_details_are_there_for_the_next(
    stage: Stage,
) -> None:
    found: list[Any] = []

    async def work() -> str:
        found.append(run.last_heartbeat)
        if run.attempt == 1:
            for n in range(4):
                await run.heartbeat({"row": n})
            await forever()
        return "done"

    @task(retry=QUICK, timeouts=Timeouts(heartbeat=0.3))
    async def beating() -> str:
        return await work()

    async with stage.worker(beating):
        handle = await beating.trigger()
        assert await handle.result(10) == "done"
    assert found == [None, {"row": 3}]
    failed = [entry for entry in await stage.entries(handle) if isinstance(entry, AttemptFailed)]
    assert [one.error.message for one in failed] == ["attempt 1 gave no heartbeat for 0.3 s (heartbeat)"]


async def test_heartbeats_keep_an_attempt_alive_however_long_it_takes(stage: Stage) -> None:
    async def work() -> str:
        for n in range(10):
            await asyncio.sleep(0.1)
            await run.heartbeat(n)
        return "done"

    @task(retry=ONCE, timeouts=Timeouts(heartbeat=0.5))
    async def beating() -> str:
        return await work()

    async with stage.worker(beating):
        assert await (await beating.trigger()).result(10) == "done"


# --- sync tasks -----------------------------------------------------------------------------------------------------


async def test_a_sync_task_is_told_and_its_threads_result_discarded(stage: Stage) -> None:
    told = threading.Event()
    left: list[str] = []
    attempts: list[int] = []

    @task(retry=QUICK, timeouts=Timeouts(start_to_close=0.3))
    def blocking() -> str:
        attempts.append(run.attempt)
        if run.attempt > 1:
            return "second attempt"
        while not run.cancelled:
            time.sleep(0.01)
        told.set()
        left.append("told")
        return "too late"

    async with stage.worker(blocking):
        handle = await blocking.trigger()
        assert await handle.result(10) == "second attempt"
        assert await asyncio.to_thread(told.wait, 5)
    assert attempts == [1, 2]
    assert left == ["told"]


async def test_heartbeat_raises_in_the_thread_of_a_task_that_is_out_of_time(stage: Stage) -> None:
    raised: list[str] = []
    ended = threading.Event()

    @task(retry=ONCE, timeouts=Timeouts(start_to_close=0.3))
    def beating() -> None:
        try:
            while True:
                run.heartbeat("row")
                time.sleep(0.01)
        except asyncio.CancelledError as error:
            raised.append(str(error))
            raise
        finally:
            ended.set()

    async with stage.worker(beating):
        handle = await beating.trigger()
        assert (await stage.until(handle, "dead")).attempt == 1
        assert await asyncio.to_thread(ended.wait, 5)
    assert raised == ["the run was told to end"]


# --- of a step ------------------------------------------------------------------------------------------------------


async def test_a_steps_start_to_close_is_of_each_try_and_its_own_policy_repeats_it(stage: Stage) -> None:
    calls: list[str] = []

    @step(retry=QUICK, timeouts=Timeouts(start_to_close=0.15))
    async def slow() -> str:
        calls.append("call")
        if len(calls) < 3:
            try:
                await forever()
            finally:
                calls[-1] = "cleaned"
        return "third"

    @task(retry=ONCE)
    async def bounded() -> str:
        return await slow()

    async with stage.worker(bounded):
        handle = await bounded.trigger()
        assert await handle.result(10) == "third"
    assert calls == ["cleaned", "cleaned", "call"]
    node = (await stage.nodes(handle))["/slow#1"]
    assert [one.error.message for one in node.tries] == ["step slow did not end within 0.15 s (start_to_close)"] * 2


async def test_a_step_out_of_time_raises_timed_out_into_the_tasks_code(stage: Stage) -> None:
    @step(timeouts=Timeouts(start_to_close=0.1))
    async def slow() -> None:
        await forever()

    @task(retry=ONCE)
    async def bounded() -> str:
        try:
            await slow()
        except TimedOut as error:
            return f"caught: {error}"
        return "unreachable"

    async with stage.worker(bounded):
        handle = await bounded.trigger()
        assert await handle.result(10) == "caught: step slow did not end within 0.1 s (start_to_close)"


async def test_a_steps_schedule_to_close_is_over_all_its_tries_and_never_retried(stage: Stage) -> None:
    calls: list[str] = []

    @step(
        retry=Retry(max_attempts=9, min_timeout=0.1, max_timeout=0.1, jitter=False),
        timeouts=Timeouts(schedule_to_close=0.5),
    )
    async def slow() -> None:
        calls.append("call")
        if len(calls) == 1:
            raise ValueError("once")
        await forever()

    @task(retry=ONCE)
    async def bounded() -> str:
        try:
            await slow()
        except TimedOut as error:
            return str(error)
        return "unreachable"

    async with stage.worker(bounded):
        begun = time.monotonic()
        text = await (await bounded.trigger()).result(10)
        assert time.monotonic() - begun < 3
    assert text == "step slow did not end within 0.5 s (schedule_to_close)"
    assert len(calls) == 2


async def test_a_step_fails_now_where_its_next_backoff_would_pass_its_time_and_says_so(stage: Stage) -> None:
    @step(
        retry=Retry(max_attempts=9, min_timeout=20, max_timeout=20, jitter=False),
        timeouts=Timeouts(schedule_to_close=3),
    )
    async def doomed() -> None:
        raise ValueError("broken")

    @task(retry=ONCE)
    async def bounded() -> list[str]:
        try:
            await doomed()
        except TimedOut as error:
            return [str(error), repr(error.__cause__)]
        return []

    async with stage.worker(bounded):
        text, cause = await (await bounded.trigger()).result(10)
    assert text == "step doomed has not ended, and its next try would come after its 3 s (schedule_to_close)"
    assert cause == "ValueError('broken')"


async def test_a_steps_time_runs_on_while_its_worker_is_gone(stage: Stage) -> None:
    calls: list[str] = []

    @step(timeouts=Timeouts(schedule_to_close=0.9))
    async def slow() -> None:
        calls.append("call")
        await forever()

    @task(retry=ONCE)
    async def bounded() -> str:
        try:
            await slow()
        except TimedOut as error:
            return str(error)
        return "unreachable"

    async with killable(stage, bounded) as victim:
        handle = await bounded.trigger()
        await until_named(stage, handle, "StepStarted")  # recorded once it is under way for a while
        await victim.kill()
    await asyncio.sleep(0.9)  # its time passes
    await taken(stage, handle)
    async with stage.worker(bounded, name="w2"):
        assert await handle.result(10) == "step slow did not end within 0.9 s, its tries together"
    assert calls == ["call"]


async def test_a_silent_step_is_cancelled_and_one_with_heartbeats_is_not(stage: Stage) -> None:
    calls: list[str] = []

    @step(retry=QUICK, timeouts=Timeouts(heartbeat=0.3))
    async def copies() -> str:
        calls.append("call")
        if len(calls) == 1:
            await forever()
        for n in range(6):
            await asyncio.sleep(0.1)
            await run.heartbeat(n)
        return "copied"

    @task(retry=ONCE)
    async def beating() -> str:
        return await copies()

    async with stage.worker(beating):
        handle = await beating.trigger()
        assert await handle.result(10) == "copied"
    assert len(calls) == 2
    (tried,) = (await stage.nodes(handle))["/copies#1"].tries
    assert tried.error.message == "step copies gave no heartbeat for 0.3 s"


async def test_a_steps_schedule_to_start_is_for_tries_that_come_too_late(stage: Stage) -> None:
    calls: list[str] = []

    @step(
        retry=Retry(max_attempts=2, min_timeout=0.7, max_timeout=0.7, jitter=False),
        timeouts=Timeouts(schedule_to_start=0.2),
    )
    async def punctual() -> None:
        calls.append("call")
        raise ValueError("once")

    @task(retry=ONCE)
    async def bounded() -> str:
        try:
            await punctual()
        except TimedOut as error:
            return str(error)
        return "unreachable"

    async with stage.worker(bounded, name="w1"):
        handle = await bounded.trigger()
        await until_named(stage, handle, "StepRetried")
    await asyncio.sleep(1.0)  # the try is due and nobody is there
    async with stage.worker(bounded, name="w2"):
        assert await handle.result(10) == "step punctual did not start within 0.2 s"
    assert calls == ["call"]


async def test_a_wait_inside_a_step_that_freed_the_slot_does_not_count_against_its_start_to_close(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "LINGER", 0.02)
    monkeypatch.setattr(waits, "SOON", 0.1)

    @step(timeouts=Timeouts(start_to_close=0.6))
    async def waits_within() -> str:
        await wait.for_(seconds=1.0)
        await asyncio.sleep(0.3)
        return "slept"

    @task(retry=ONCE)
    async def sleeper() -> str:
        return await waits_within()

    async with stage.worker(sleeper):
        handle = await sleeper.trigger()
        await stage.until(handle, "waiting")
        assert await handle.result(10) == "slept"


async def until_named(stage: Stage, handle: Any, name: str) -> None:
    """Wait until the journal holds an entry of a kind."""
    async with asyncio.timeout(5):
        while name not in await stage.names(handle):  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.01)


async def child_of(stage: Stage, handle: Any) -> Any:
    """The first child run of a run."""
    await until_named(stage, handle, "ChildTriggered")
    child = next(entry.child for entry in await stage.entries(handle) if type(entry).__name__ == "ChildTriggered")
    return type(handle).of(stage.client, child)
