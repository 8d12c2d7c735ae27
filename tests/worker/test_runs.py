"""How runs go through a worker: claimed, ended, failed, cancelled, suspended, given back, lost."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import worlds
from holdfast import Abort, ChildFailed, Retry, RunFailed, Snooze, State, run, step, task
from holdfast.bus.ports import Item
from holdfast.client import encode_payload
from holdfast.core.entries import AttemptInterrupted, StepCompleted
from holdfast.errors import Fenced, PayloadError, RunStateError, RunWasCancelled, UnknownTask
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import encode_value
from holdfast.worker import pool, waits
from stage import Stage

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=2, min_timeout=0.01, jitter=False)


async def nothing() -> None:
    """A step without an effect."""


async def test_a_sync_task_runs_in_a_thread_beside_others(stage: Stage) -> None:
    @task
    def blocking(n: int) -> int:
        time.sleep(0.2)
        return n

    async with stage.worker(blocking):
        begun = time.monotonic()
        handles = [await blocking.trigger(n=n) for n in range(5)]
        assert [await handle.result(10) for handle in handles] == [0, 1, 2, 3, 4]
        assert time.monotonic() - begun < 5 * 0.2


async def test_attempts_used_up_end_in_a_dead_letter_that_holds_everything(stage: Stage) -> None:
    @task(retry=QUICK)
    async def doomed(order_id: str) -> None:
        await nothing()
        raise KeyError("gone")

    async with stage.worker(doomed):
        handle = await doomed.trigger(order_id="A1")
        with pytest.raises(RunFailed, match="KeyError: 'gone'"):
            await handle.result(10)
        run = await stage.until(handle, "dead")
        assert (run.attempt, run.reason) == (2, "attempts used up")
        subject = stage.client.bus.subjects.letter("default", handle.id)
        message = await eventually(lambda: stage.client.bus.last(Stream.JOURNAL, subject))
    letter = api.decode(message.data, api.Letter)
    assert (letter.task, letter.attempts, letter.last_key, letter.reason) == (
        "doomed",
        2,
        "/nothing#1",
        "attempts used up",
    )
    assert letter.error.type == "KeyError"
    assert letter.payload == encode_value({"order_id": "A1"})


async def test_a_retried_dead_letter_goes_on_behind_its_checkpoint_and_the_letter_is_gone(stage: Stage) -> None:
    calls: list[str] = []
    broken = [True]

    async def before() -> None:
        calls.append("before")

    async def depends() -> str:
        calls.append("depends")
        if broken[0]:
            raise ValueError("down")
        return "up"

    @task(retry=ONCE)
    async def mended() -> str:
        await before()
        return await depends()

    async with stage.worker(mended):
        handle = await mended.trigger()
        await stage.until(handle, "dead")
        broken[0] = False
        await handle.retry()
        assert await handle.result(10) == "up"
        subject = stage.client.bus.subjects.letter("default", handle.id)
        assert await stage.client.bus.last(Stream.JOURNAL, subject) is None
    assert calls == ["before", "depends", "depends"]


async def test_the_same_letter_retried_twice_at_once_runs_once(stage: Stage) -> None:
    calls: list[int] = []

    @task(retry=ONCE)
    async def once_more() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("first")
        await nothing()

    async with stage.worker(once_more):
        handle = await once_more.trigger()
        await stage.until(handle, "dead")
        outcomes = await asyncio.gather(handle.retry(), handle.retry(), return_exceptions=True)
        await stage.until(handle, "completed")
        await asyncio.sleep(0.1)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Run", "RunStateError"]
    assert len(calls) == 2


async def test_a_retry_from_the_start_with_a_corrected_payload_forgets_the_checkpoints(stage: Stage) -> None:
    calls: list[int] = []

    async def seen(n: int) -> int:
        calls.append(n)
        return n

    @task(retry=ONCE)
    async def corrected(n: int) -> int:
        if await seen(n) < 0:
            raise ValueError("negative")
        return n

    async with stage.worker(corrected):
        handle = await corrected.trigger(n=-1)
        await stage.until(handle, "dead")
        await handle.retry(from_start=True, payload={"n": 4})
        assert await handle.result(10) == 4
    assert calls == [-1, 4]


async def test_a_payload_that_does_not_fit_is_refused_at_trigger_and_dead_without_a_retry(stage: Stage) -> None:
    @task
    async def strict(n: int) -> int:
        return n

    with pytest.raises(PayloadError, match=r"expected strict\(n: int\) -> .*argument 'n': Expected `int`, got `str`"):
        await strict.trigger(n="four")  # type: ignore[arg-type]
    with pytest.raises(PayloadError, match="missing a required argument: 'n'"):
        await strict.trigger()  # type: ignore[call-arg]
    unchecked = stage.client.new_run("strict", encode_payload({"n": "four"}))
    async with stage.worker(strict):
        with pytest.raises(PayloadError, match="argument 'n'"):
            await stage.client.trigger("strict", {"n": "four"})
        with pytest.raises(UnknownTask, match="did you mean 'strict'"):
            await stage.client.trigger("stricd", {"n": 4})
        run = await stage.until(await stage.client.start(unchecked), "dead")
    assert (run.reason, run.attempt) == ("payload", 1)


async def test_abort_is_not_retried_and_snooze_spends_no_attempt(stage: Stage) -> None:
    snoozes: list[int] = []

    @task
    async def aborting() -> None:
        raise Abort("card stolen")

    @task(retry=ONCE)
    async def snoozing() -> int:
        snoozes.append(1)
        if len(snoozes) < 3:
            raise Snooze(0.01)
        return len(snoozes)

    async with stage.worker(aborting, snoozing):
        run = await stage.until(await aborting.trigger(), "dead")
        assert (run.reason, run.attempt) == ("aborted", 1)
        assert await (await snoozing.trigger()).result(10) == 3


async def test_a_backoff_frees_the_worker_and_a_timer_brings_the_run_back(stage: Stage) -> None:
    begun: list[float] = []

    @task(retry=Retry(max_attempts=2, min_timeout=0.5, jitter=False))
    async def later() -> str:
        begun.append(time.monotonic())
        if len(begun) == 1:
            raise ValueError("once")
        return "done"

    async with stage.worker(later):
        handle = await later.trigger()
        await stage.until(handle, "retrying")
        assert await handle.result(10) == "done"
    assert begun[1] - begun[0] >= 0.5
    assert (await stage.names(handle))[-3:] == ["Offered", "AttemptStarted", "RunCompleted"]


async def test_a_queued_run_that_is_cancelled_never_starts(stage: Stage) -> None:
    calls: list[int] = []

    @task
    async def never() -> None:
        calls.append(1)

    handle = await never.trigger()
    assert (await handle.cancel("wrong order")).state == "cancelled"
    with pytest.raises(RunStateError, match="has ended cancelled"):
        await handle.cancel()
    async with stage.worker(never):
        await asyncio.sleep(0.3)
    assert calls == []
    with pytest.raises(RunWasCancelled):
        await handle.result(1)


async def test_a_running_run_that_is_cancelled_cleans_up_and_ends(stage: Stage) -> None:
    reached = asyncio.Event()
    cleaned: list[str] = []

    async def forever() -> None:
        reached.set()
        await asyncio.sleep(60)

    async def tidy() -> None:
        cleaned.append("tidy")

    @task
    async def cancelled() -> None:
        try:
            await forever()
        finally:
            await tidy()

    async with stage.worker(cancelled):
        handle = await cancelled.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.cancel()
        run = await stage.until(handle, "cancelled")
    assert cleaned == ["tidy"]
    assert run.holder is None


async def test_a_cancelled_run_that_is_retried_completes_without_repeating_its_steps(stage: Stage) -> None:
    calls: list[str] = []
    reached = asyncio.Event()

    async def first() -> None:
        calls.append("first")

    async def last() -> str:
        calls.append("last")
        reached.set()
        if calls.count("last") == 1:
            await asyncio.sleep(60)
        return "done"

    @task
    async def resumed() -> str:
        await first()
        return await last()

    async with stage.worker(resumed):
        handle = await resumed.trigger()
        await asyncio.wait_for(reached.wait(), 5)
        await handle.cancel()
        await stage.until(handle, "cancelled")
        await handle.retry()
        assert await handle.result(10) == "done"
    assert calls == ["first", "last", "last"]


async def test_a_child_that_ends_quickly_needs_no_suspension(stage: Stage) -> None:
    @task
    async def small(n: int) -> int:
        return n * n

    @task
    async def sum_of(upto: int) -> int:
        return sum(await asyncio.gather(*[small.trigger_and_wait(n) for n in range(upto)]))

    async with stage.worker(small, sum_of):
        handle = await sum_of.trigger(upto=20)
        assert await handle.result(10) == sum(n * n for n in range(20))
    names = await stage.names(handle)
    assert names.count("ChildTriggered") == names.count("ChildEnded") == 20
    assert "Suspended" not in names


async def test_a_run_that_waits_for_a_child_gives_its_slot_away_and_resumes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "LINGER", 0.02)
    calls: list[str] = []

    async def before() -> None:
        calls.append("before")

    @task
    async def child() -> str:
        await asyncio.sleep(0.3)
        return "from the child"

    @task
    async def parent() -> str:
        await before()
        return await child.trigger_and_wait()

    async with stage.worker(parent, child, concurrency=1):  # one slot: the child can run only when the parent is out
        handle = await parent.trigger()
        waiting = await stage.until(handle, "waiting")
        assert waiting.holder is None
        assert len(waiting.waits) == 1
        await stage.until(handle, "waiting")
        await eventually(lambda: _resumable(handle))
        await stage.journal.act(await handle.status())  # what the daemon's conductor does
        assert await handle.result(10) == "from the child"
    assert calls == ["before"]


async def test_a_failed_child_raises_in_its_parent(stage: Stage) -> None:
    @task(retry=ONCE)
    async def failing_child() -> None:
        raise ValueError("broken")

    @task(retry=ONCE)
    async def catching_parent() -> str:
        try:
            await failing_child.trigger_and_wait()
        except ChildFailed as error:
            return f"{error.state} {error.error_type}"
        return "unreachable"

    async with stage.worker(failing_child, catching_parent):
        assert await (await catching_parent.trigger()).result(10) == "dead ValueError"


async def test_a_second_delivery_of_a_held_run_starts_nothing(stage: Stage) -> None:
    calls: list[int] = []
    go = asyncio.Event()

    async def work() -> None:
        calls.append(1)
        await go.wait()

    @task
    async def held() -> None:
        await work()

    async with stage.worker(held, name="w1"):
        handle = await held.trigger()
        await eventually(lambda: _true(bool(calls)))
        bus = stage.client.bus
        run = await handle.status()
        assert run.holder is not None
        presence = api.Presence(
            worker="w1", host="", pid=0, started_at=0, at=0, tasks=(), queues=(), concurrency=1, running=1
        )
        await bus.put("worker", "w1", codec.encode(presence), ttl=5)
        async with stage.worker(held, name="w2"):
            bus.release(run.holder.item)
            await asyncio.sleep(0.3)
        go.set()
        await handle.result(10)
    assert calls == [1]


async def test_a_zombie_is_refused_at_its_next_append_and_its_code_is_cancelled(stage: Stage) -> None:
    calls: list[str] = []
    go = asyncio.Event()

    async def slow() -> str:
        me = "zombie" if "zombie" not in calls else "heir"
        calls.append(me)
        if me == "zombie":
            await go.wait()
        return me

    @task
    async def fought_over() -> str:
        return await slow()

    async with stage.worker(fought_over, name="zombie"):
        handle = await fought_over.trigger()
        await eventually(lambda: _true("zombie" in calls))
        run = await handle.status()
        assert run.holder is not None
        moved = await stage.journal.move(run, AttemptInterrupted(time.time(), "it fell silent"))
        with pytest.raises(Fenced):
            await stage.journal.append(
                run.id, run.last, run.holder.nonce, [StepCompleted("/slow#1", 1.0, 1.0, encode_value("late"))]
            )
        async with stage.worker(fought_over, name="heir"):
            stage.client.bus.release(run.holder.item)
            assert await handle.result(10) == "heir"
        go.set()
        await asyncio.sleep(0.1)
    assert moved.state is State.QUEUED
    assert [entry.value for entry in await stage.entries(handle) if isinstance(entry, StepCompleted)] == [
        encode_value("heir")
    ]


async def test_a_run_whose_holder_fell_silent_is_taken_over_without_a_daemon(stage: Stage) -> None:
    @task
    async def orphaned() -> str:
        await nothing()
        return "done"

    handle = await orphaned.trigger()
    run = await handle.status()
    from holdfast.core.entries import AttemptStarted

    await stage.journal.append(run.id, 0, "n", [AttemptStarted(time.time(), 1, "gone", "n", "")])
    consumer = await stage.client.bus.ensure_consumer("default", 5)
    items: list[Item] = []
    puller = await stage.client.bus.pull(consumer, items.append)
    puller.want(1)
    await eventually(lambda: _true(bool(items)))
    stage.client.bus.release(items[0].token)  # delivered once to the dead, so that this is no first delivery
    await puller.stop()
    async with stage.worker(orphaned):
        assert await handle.result(10) == "done"
    assert "AttemptInterrupted" in await stage.names(handle)


async def test_output_belongs_to_its_run_and_step_and_is_silent_while_recalled(stage: Stage) -> None:
    import logging

    lines: list[api.LogLine] = []
    failures: list[int] = []

    async def loud() -> None:
        print("from the step")
        logging.getLogger("shop").warning("careful %s", "now")

    async def flaky() -> None:
        failures.append(1)
        if len(failures) == 1:
            raise ValueError("once")

    @task(retry=QUICK)
    async def talkative() -> None:
        print("at the start")
        await loud()
        print("between")
        await flaky()
        print("to the end", file=sys.stderr)

    stop = await stage.client.bus.listen(
        stage.client.bus.subjects.output("*", "*"),
        lambda _, data: lines.extend(api.decode(data, api.LogBatch).lines),
    )
    async with stage.worker(talkative):
        await (await talkative.trigger()).result(10)
    await eventually(lambda: _true(len(lines) >= 5))
    await stop()
    assert [(line.stream, line.level, line.text, line.key) for line in lines] == [
        ("stdout", 20, "at the start", ""),
        ("stdout", 20, "from the step", "/loud#1"),
        ("shop", 30, "careful now", "/loud#1"),
        ("stdout", 20, "between", ""),
        ("stdout", 20, "between", ""),  # behind the last record: it may not have been written before, so it is again
        ("stderr", 30, "to the end", ""),
    ]


async def test_a_task_that_no_worker_serves_waits_and_starts_when_one_appears(stage: Stage) -> None:
    @task
    async def known() -> str:
        return "known"

    @task
    async def unknown_yet() -> str:
        return "late"

    handle = await unknown_yet.trigger()
    async with stage.worker(known):
        assert await (await known.trigger()).result(10) == "known"
        assert (await handle.status()).state == "queued"
        async with stage.worker(unknown_yet, name="w2"):
            assert await handle.result(30) == "late"


async def test_a_run_in_another_queue_or_priority_is_served_too(stage: Stage) -> None:
    @task
    async def moved(n: int) -> int:
        return n

    early = await moved.options(queue="bulk", priority=9).trigger(n=1)
    async with stage.worker(moved):
        assert await early.result(10) == 1
        late = await moved.options(queue="vip", priority=0).trigger(n=2)
        assert await late.result(10) == 2


async def test_batch_trigger_keeps_order_and_a_wrong_item_is_its_own_error(stage: Stage) -> None:
    @task
    async def item(n: int) -> int:
        return n

    handles = await item.batch_trigger([{"n": 0}, {"n": "x"}, {"n": 2}])
    assert isinstance(handles[1], PayloadError)
    async with stage.worker(item):
        results = [await handle.result(10) for handle in handles if not isinstance(handle, Exception)]
    assert results == [0, 2]


async def test_a_run_triggered_inside_a_step_is_created_once_though_the_step_runs_again(stage: Stage) -> None:
    tries: list[int] = []

    @task
    async def follow_up(n: int) -> int:
        return n

    @step(retry=Retry(max_attempts=2, min_timeout=0.01, jitter=False))
    async def start_and_fail() -> str:
        handle = await follow_up.trigger(n=1)
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("after the trigger")
        return handle.id

    @task
    async def starter() -> str:
        handle = await follow_up.trigger(n=2)
        return f"{await start_and_fail()} {handle.id}"

    async with stage.worker(follow_up, starter):
        handle = await starter.trigger()
        ids = str(await handle.result(10)).split()
    assert len(set(ids)) == 2
    created = await stage.client.bus.read(Stream.JOURNAL, f"{stage.client.bus.subjects.root}.j.*.ready.default.5")
    assert len(created) == 3


async def test_an_unencodable_result_is_dead_with_the_reason(stage: Stage) -> None:
    @task
    async def handle_out() -> Any:
        return lambda: None

    async with stage.worker(handle_out):
        run = await stage.until(await handle_out.trigger(), "dead")
    assert run.reason == "result"
    assert run.error is not None
    assert run.error.type == "holdfast.errors.EncodeError"


async def eventually(look: Callable[[], Awaitable[Any]], within: float = 5.0) -> Any:
    """What `look` finds, once it finds something."""
    async with asyncio.timeout(within):
        while not (found := await look()):  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.01)
        return found


async def _true(holds: bool) -> bool:
    return holds


async def _resumable(handle: Any) -> bool:
    return (await handle.status()).resumable


async def test_a_worker_that_is_cancelled_begins_nothing_that_waited_for_a_slot(stage: Stage) -> None:
    begun: list[int] = []

    async def endless(n: int) -> None:
        begun.append(n)
        await asyncio.Event().wait()

    tasks = [task(endless, id=f"endless-{n}", queue=f"q{n}") for n in range(3)]  # one item of each queue comes
    worker = pool.Worker(await stage.connect(), {each.id: each for each in tasks}, name="w1", concurrency=1)
    serving = asyncio.create_task(worker.run(asyncio.Event()))
    for n, each in enumerate(tasks):
        await each.trigger(n=n)
    await eventually(lambda: _true(len(begun) == 1 and len(worker._waiting) == 2))
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert len(begun) == 1


async def test_what_waits_for_a_slot_here_is_left_to_a_worker_that_has_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker asks for as many runs in each queue as it has slots, so with two queues it may have twice as many."""
    monkeypatch.setattr(pool, "PATIENCE", 0.05)
    monkeypatch.setattr(pool, "LOOK_EVERY", 0.05)
    held: dict[str, list[str]] = {"slow": [], "quick": []}
    gate = asyncio.Event()

    @task(queue="slow")
    async def slow(n: int) -> None:
        held["slow"].append(run.id)
        await gate.wait()

    @task(queue="quick")
    async def quick(n: int) -> int:
        held["quick"].append(run.id)
        return n

    async with stage.worker(slow, quick, name="w1", concurrency=2, connect=stage.connect) as first:
        taken = [await slow.trigger(n=n) for n in range(2)]
        await worlds.eventually(lambda: len(held["slow"]) == 2)
        waiting = [await quick.trigger(n=n) for n in range(2)]
        await worlds.eventually(lambda: len(first._items) == 4)
        async with stage.worker(slow, quick, name="w2", concurrency=2, connect=stage.connect):
            assert [await handle.result(10) for handle in waiting] == [0, 1]
            gate.set()
            for handle in taken:
                await handle.result(10)
    assert sorted(held["quick"]) == sorted(handle.id for handle in waiting)
    assert {(await handle.status()).attempt for handle in (*taken, *waiting)} == {1}
