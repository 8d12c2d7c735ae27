"""What follows a run's end: its hooks, as runs of their own, once for each ending."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from holdfast import Abort, Retry, Timeouts, step, task, wait
from holdfast.client import RunHandle
from holdfast.core.entries import HookTriggered
from holdfast.errors import DefinitionError
from holdfast.task import TASKS
from holdfast.wire.ended import Ended
from holdfast.worker import waits
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=2, min_timeout=0.01, jitter=False)


class Told:
    """What hooks were told."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, Ended]] = []

    async def success(self, ended: Ended) -> None:
        self.ended.append(("success", ended))

    async def failure(self, ended: Ended) -> None:
        self.ended.append(("failure", ended))

    async def cancel(self, ended: Ended) -> None:
        self.ended.append(("cancel", ended))


def hooked(told: Told) -> dict[str, Any]:
    """The three hooks, as functions."""

    async def on_success(ended: Ended) -> None:
        await told.success(ended)

    async def on_failure(ended: Ended) -> None:
        await told.failure(ended)

    async def on_cancel(ended: Ended) -> None:
        await told.cancel(ended)

    return {"on_success": on_success, "on_failure": on_failure, "on_cancel": on_cancel}


def all_of(made: Any) -> list[Any]:
    """The task and the tasks that its hooks became."""
    return [each for id, each in TASKS.items() if id == made.id or id.startswith(f"{made.id}--on-")]


async def hook_runs(stage: Stage, handle: RunHandle, count: int = 1) -> list[RunHandle]:
    """The runs of a run's hooks, once there are so many."""
    async with asyncio.timeout(5):
        while True:
            found = [entry for entry in await stage.entries(handle) if isinstance(entry, HookTriggered)]
            if len(found) >= count:
                return [RunHandle.of(stage.client, entry.run) for entry in found]
            await asyncio.sleep(0.01)


async def test_on_success_is_told_payload_and_result_once(stage: Stage) -> None:
    told = Told()

    @task(**hooked(told))
    async def works(n: int) -> dict[str, int]:
        return {"twice": 2 * n}

    async with stage.worker(*all_of(works)):
        handle = await works.options(tags=["eu"]).trigger(n=4)
        await handle.result(10)
        (hook,) = await hook_runs(stage, handle)
        await hook.result(10)
    ((on, ended),) = told.ended
    assert (on, ended.run, ended.task, ended.state, ended.attempts, ended.tags) == (
        "success",
        handle.id,
        "works",
        "completed",
        1,
        ("eu",),
    )
    assert (ended.payload, ended.result, ended.error) == ({"n": 4}, {"twice": 8}, "")
    assert (await hook.status()).source == f"hook success of {handle.id}"


async def test_on_failure_is_told_the_error_once_however_many_attempts_there_were(stage: Stage) -> None:
    told = Told()

    @task(retry=QUICK, **hooked(told))
    async def fails(order: str) -> None:
        raise LookupError(f"no order {order}")

    async with stage.worker(*all_of(fails)):
        handle = await fails.trigger(order="A1")
        await stage.until(handle, "dead")
        (hook,) = await hook_runs(stage, handle)
        await hook.result(10)
    ((on, ended),) = told.ended
    assert (on, ended.state, ended.attempts, ended.reason) == ("failure", "dead", 2, "attempts used up")
    assert (ended.error_type, ended.error) == ("LookupError", "no order A1")
    assert "raise LookupError" in ended.traceback
    assert (ended.payload, ended.result) == ({"order": "A1"}, None)


@pytest.mark.parametrize("how", ["timed out", "expired", "aborted", "payload"])
async def test_on_failure_follows_every_bad_end(stage: Stage, how: str) -> None:
    told = Told()

    @task(timeouts=Timeouts(schedule_to_close=0.5 if how == "timed out" else 30), **hooked(told))
    async def fails(n: int = 1) -> None:
        if how == "aborted":
            raise Abort("no")
        await asyncio.sleep(60)

    if how == "payload":
        from holdfast.client import encode_payload

        handle = await stage.client.start(stage.client.new_run("fails", encode_payload({"n": "four"})))
    else:
        handle = await fails.options(ttl=0.1 if how == "expired" else None).trigger()
    await asyncio.sleep(0.15)  # the time to live of the one that expires
    async with stage.worker(*all_of(fails)):
        ended = await stage.until(handle, "timed_out", "expired", "dead")
        (hook,) = await hook_runs(stage, handle)
        await hook.result(10)
    assert [(on, one.state) for on, one in told.ended] == [("failure", ended.state)]


@pytest.mark.parametrize("state", ["queued", "waiting", "running", "killed"])
async def test_on_cancel_follows_wherever_the_run_stood(
    stage: Stage, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "LINGER", 0.02)
    told = Told()
    reached = asyncio.Event()

    @task(**hooked(told))
    async def works() -> None:
        reached.set()
        if state == "waiting":
            await wait.for_(hours=1)
        await asyncio.sleep(60)

    if state == "queued":
        handle = await works.trigger()
        assert (await handle.cancel("no need")).state == "cancelled"
    async with stage.worker(*all_of(works)):
        if state != "queued":
            handle = await works.trigger()
            await asyncio.wait_for(reached.wait(), 5)
            if state == "waiting":
                await stage.until(handle, "waiting")
            await (handle.kill() if state == "killed" else handle.cancel())
        await stage.until(handle, "cancelled")
        (hook,) = await hook_runs(stage, handle)
        await hook.result(10)
    assert [(on, one.state) for on, one in told.ended] == [("cancel", "cancelled")]


async def test_a_hook_is_tried_again_like_any_run_and_what_it_awaits_is_recorded(stage: Stage) -> None:
    calls: list[str] = []

    async def notify() -> None:
        calls.append("notify")

    async def flaky() -> None:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ValueError("once")

    async def on_success(ended: Ended) -> str:
        await notify()
        await flaky()
        return ended.run

    @task(on_success=on_success)
    async def works() -> None: ...

    async with stage.worker(*all_of(works)):
        handle = await works.trigger()
        (hook,) = await hook_runs(stage, handle)
        assert await hook.result(10) == handle.id
    assert calls == ["notify", "flaky", "flaky"]
    assert (await hook.status()).attempt == 2


async def test_a_hook_that_fails_for_good_changes_nothing_of_the_run(stage: Stage) -> None:
    async def on_success(ended: Ended) -> None:
        raise Abort("the hook is broken")

    @task(on_success=on_success)
    async def works() -> str:
        return "done"

    async with stage.worker(*all_of(works)):
        handle = await works.trigger()
        (hook,) = await hook_runs(stage, handle)
        await stage.until(hook, "dead")
        assert await handle.result(1) == "done"
    assert (await handle.status()).state == "completed"


async def test_a_hook_may_be_a_task_of_its_own(stage: Stage) -> None:
    seen: list[Any] = []

    @task(retry=QUICK, queue="alerts")
    async def alert(ended: Ended) -> str:
        seen.append(ended.error)
        return "alerted"

    @task(retry=ONCE, on_failure=alert)
    async def fails() -> None:
        raise ValueError("broken")

    async with stage.worker(fails, alert):
        handle = await fails.trigger()
        (hook,) = await hook_runs(stage, handle)
        assert await hook.result(10) == "alerted"
    run = await hook.status()
    assert (run.task, run.queue, seen) == ("alert", "alerts", ["broken"])


async def test_a_hook_may_be_sync_and_may_take_nothing(stage: Stage) -> None:
    threads: list[bool] = []
    calls: list[str] = []

    def on_success(ended: Ended) -> str:
        time.sleep(0.01)
        threads.append(threading.current_thread() is threading.main_thread())
        return ended.state

    async def on_cancel() -> str:
        calls.append("cancelled")
        return "nothing to say"

    @task(on_success=on_success, on_cancel=on_cancel)
    async def works() -> None: ...

    cancelled = await works.trigger()
    await cancelled.cancel()
    async with stage.worker(*all_of(works)):
        handle = await works.trigger()
        (success,) = await hook_runs(stage, handle)
        assert await success.result(10) == "completed"
        (cancel,) = await hook_runs(stage, cancelled)
        assert await cancel.result(10) == "nothing to say"
    assert (threads, calls) == ([False], ["cancelled"])


async def test_a_run_that_is_retried_and_ends_again_is_followed_again(stage: Stage) -> None:
    told = Told()
    broken = [True]

    @task(retry=ONCE, **hooked(told))
    async def works() -> None:
        if broken[0]:
            raise ValueError("broken")

    async with stage.worker(*all_of(works)):
        handle = await works.trigger()
        await stage.until(handle, "dead")
        await hook_runs(stage, handle)
        broken[0] = False
        await handle.retry()
        hooks = await hook_runs(stage, handle, 2)
        for hook in hooks:
            await hook.result(10)
    assert [on for on, _ in told.ended] == ["failure", "success"]


async def test_what_follows_is_done_once_however_often_it_is_derived(stage: Stage) -> None:
    told = Told()

    @task(**hooked(told))
    async def works() -> None: ...

    async with stage.worker(*all_of(works)):
        handle = await works.trigger()
        await handle.result(10)
        (hook,) = await hook_runs(stage, handle)
        ended = await handle.status()
        stale = type(ended)(**{name: getattr(ended, name) for name in ended.__struct_fields__} | {"followed": False})
        await asyncio.gather(*[stage.journal.act(stale) for _ in range(3)])
        await hook.result(10)
        await (await works.trigger()).result(10)
    assert len(await hook_runs(stage, handle)) == 1
    assert [one.run for _, one in told.ended].count(handle.id) == 1


async def test_the_hook_of_a_compensated_run_comes_after_its_undos(stage: Stage) -> None:
    ORDER.clear()

    async def on_failure(ended: Ended) -> None:
        ORDER.append(f"hook {ended.state}")

    @task(retry=ONCE, on_failure=on_failure)
    async def works() -> None:
        await reserves()
        raise ValueError("broken")

    async with stage.worker(*all_of(works)):
        handle = await works.trigger()
        (hook,) = await hook_runs(stage, handle)
        await hook.result(10)
    assert ORDER == ["reserved", "released", "hook dead"]


ORDER: list[str] = []


async def releases() -> None:
    ORDER.append("released")


@step(undo=releases)
async def reserves() -> None:
    ORDER.append("reserved")


def test_a_hook_with_too_many_arguments_is_refused_where_it_is_declared() -> None:
    async def hook(ended: Ended, more: int) -> None: ...

    with pytest.raises(DefinitionError, match="on_success: expected a function of one argument"):

        @task(on_success=hook)
        async def works() -> None: ...


def test_a_hook_that_is_no_function_is_refused() -> None:
    with pytest.raises(DefinitionError, match="on_cancel='later': expected a function or a task"):

        @task(on_cancel="later")  # type: ignore[call-overload]
        async def works() -> None: ...


@pytest.mark.parametrize("takes", ["nothing", "another name", "more"])
def test_a_task_that_cannot_be_called_with_ended_is_refused_as_a_hook(takes: str) -> None:
    if takes == "nothing":

        @task
        async def alert() -> None: ...

    elif takes == "another name":

        @task  # type: ignore[no-redef]
        async def alert(e: Ended) -> None: ...

    else:

        @task  # type: ignore[no-redef]
        async def alert(ended: Ended, channel: str) -> None: ...

    with pytest.raises(DefinitionError, match="task works: on_failure=<task alert>: expected a task of `ended`"):

        @task(on_failure=alert)
        async def works() -> None: ...
