"""Tasks in a harness: no time but what the test lets go by, and what a daemon does is done."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from itertools import pairwise

import anyio
import pytest

from holdfast import (
    Abort,
    Ended,
    Retry,
    RunFailed,
    Snooze,
    State,
    Timeouts,
    WaitTimeout,
    run,
    step,
    task,
    wait,
)
from holdfast.core.entries import AttemptInterrupted, StepCompleted, Suspended
from holdfast.errors import HoldfastError, RunStateError, RunStuck
from holdfast.secrets import secrets
from holdfast.testing import RunResult, harness


async def nothing() -> None:
    """A step without an effect."""


# --- time -------------------------------------------------------------------------------------------------------------


async def test_a_week_of_waits_takes_milliseconds_and_ends_on_the_second() -> None:
    @task
    async def weekly() -> tuple[datetime, datetime]:
        begun = run.now()
        await wait.for_(days=7)
        return begun, run.now()

    async with harness(weekly, start=datetime(2027, 1, 1, tzinfo=UTC)) as h:
        before = time.monotonic()
        found = await h.run(weekly)
        assert time.monotonic() - before < 2.0
    assert found.result == (datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 8, tzinfo=UTC))


async def test_time_goes_by_as_fast_when_a_worker_was_killed_in_a_short_wait() -> None:
    """Nothing of it asks the clock for more: a year would be millions of its looks."""

    @task
    async def short() -> None:
        await asyncio.gather(wait.for_(0.3), asyncio.sleep(0.2))

    async with harness(short) as h:
        handle = await h.trigger(short)
        await h.kill_worker()
        await h.ended(handle)
        before = time.monotonic()
        await h.advance(days=1)
        assert time.monotonic() - before < 2.0


async def test_time_stands_still_until_it_is_advanced_and_each_wait_ends_at_its_own_instant() -> None:
    ends: list[datetime] = []

    async def note(now: datetime) -> None:
        ends.append(now)

    @task
    async def three_days() -> None:
        for _ in range(3):
            await wait.for_(days=1)
            await note(run.now())

    async with harness(three_days, start=datetime(2027, 1, 1, tzinfo=UTC)) as h:
        handle = await h.trigger(three_days)
        assert (await h.look(handle)).state is State.WAITING
        await h.advance(hours=47)
        assert [end.day for end in ends] == [2]
        await h.advance(days=7)
        assert (await h.look(handle)).state is State.COMPLETED
        assert h.now == datetime(2027, 1, 9, 23, tzinfo=UTC)
    assert ends == [datetime(2027, 1, day, tzinfo=UTC) for day in (2, 3, 4)]


async def test_an_hour_of_asyncio_sleep_in_a_step_is_an_hour_of_the_harness() -> None:
    async def slow() -> str:
        await asyncio.sleep(3600)
        await anyio.sleep(60)
        return "slept"

    @task
    async def sleeper() -> str:
        await asyncio.sleep(600)
        return await slow()

    async with harness(sleeper) as h:
        begun = h.now
        found = await h.run(sleeper)
        assert found.result == "slept"
        assert (h.now - begun).total_seconds() == 600 + 3600 + 60


async def test_the_time_of_the_test_itself_stays_real() -> None:
    async with harness() as h:
        loop, begun = asyncio.get_running_loop(), h.now
        before = loop.time()
        await asyncio.sleep(0.01)
        assert 0.005 < loop.time() - before < 5.0
        assert h.now == begun


async def test_retries_an_hour_apart_need_no_hour() -> None:
    tries: list[float] = []

    @task(retry=Retry(max_attempts=4, min_timeout=3600, max_timeout=86400, factor=2, jitter=False))
    async def stubborn() -> int:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 4:
            raise ConnectionError("down")
        return len(tries)

    async with harness(stubborn) as h:
        assert (await h.run(stubborn)).result == 4
    hours = [(later - earlier) / 3600 for earlier, later in pairwise(tries)]
    assert hours == [1, 2, 4]


async def test_a_steps_own_retries_and_time_limits_are_on_the_same_clock() -> None:
    tries: list[float] = []

    @step(
        retry=Retry(max_attempts=2, min_timeout=100, max_timeout=100, jitter=False),
        timeouts=Timeouts(start_to_close=30),
    )
    async def hangs() -> None:
        tries.append(asyncio.get_running_loop().time())
        await asyncio.sleep(10_000)

    @task(retry=Retry(max_attempts=1))
    async def limited() -> str:
        try:
            await hangs()
        except TimeoutError:
            return "gave up"
        return "unreachable"

    async with harness(limited) as h:
        begun = h.now
        assert (await h.run(limited)).result == "gave up"
        assert (h.now - begun).total_seconds() == 30 + 100 + 30
    assert tries[1] - tries[0] == 130


async def test_a_time_out_of_the_users_own_ends_what_it_is_about() -> None:
    async def forever() -> None:
        await asyncio.sleep(1e9)

    @task
    async def patient() -> str:
        try:
            async with asyncio.timeout(50):
                await forever()
        except TimeoutError:
            return "timed out"
        return "unreachable"

    async with harness(patient) as h:
        begun = h.now
        assert (await h.run(patient)).result == "timed out"
        assert (h.now - begun).total_seconds() == pytest.approx(50, abs=1)


async def test_a_task_that_runs_out_of_time_is_timed_out() -> None:
    @task(timeouts=Timeouts(schedule_to_close=100))
    async def slow() -> None:
        await wait.for_(days=1)

    @task(ttl=60)
    async def waiting_its_turn() -> None: ...

    @task(queue="busy")
    async def hog() -> None:
        await asyncio.sleep(500)

    async with harness(slow, waiting_its_turn, hog, limits={"busy": 1}) as h:
        assert (await h.run(slow)).state is State.TIMED_OUT
        await h.trigger(hog)
        queued = await h.trigger(waiting_its_turn.options(queue="busy"))
        assert (await h.ended(queued)).state is State.EXPIRED


async def test_a_delayed_run_starts_when_it_is_due() -> None:
    @task
    async def later() -> datetime:
        return run.now()

    async with harness(later) as h:
        begun = h.now
        handle = await h.trigger(later.options(delay=300, priority=0, queue="other"))
        assert (await h.look(handle)).state is State.DELAYED
        found = await h.ended(handle)
        assert (found.result - begun).total_seconds() == 300


async def test_a_snooze_comes_back_and_an_abort_is_dead() -> None:
    @task
    async def snoozing() -> int:
        if run.attempt < 3:
            raise Snooze(3600)
        return run.attempt

    @task
    async def aborting() -> None:
        raise Abort("stolen")

    async with harness(snoozing, aborting) as h:
        assert (await h.run(snoozing)).result == 3
        dead = await h.run(aborting)
        assert (dead.state, dead.error) == (State.DEAD, "holdfast.errors.Abort: stolen")
        with pytest.raises(RunFailed, match="stolen"):
            _ = dead.result


# --- what a daemon does -----------------------------------------------------------------------------------------------


async def test_a_parent_resumes_with_its_children() -> None:
    @task
    async def child(n: int) -> int:
        await wait.for_(hours=n)
        if n == 3:
            raise Abort("three")
        return n * 10

    @task
    async def parent() -> list[object]:
        first = await child.trigger_and_wait(n=1)
        more = await child.batch_trigger_and_wait([{"n": 2}, {"n": 3}])
        return [first, more[0], type(more[1]).__name__]

    async with harness(parent, child) as h:
        found = await h.run(parent)
        assert found.result == [10, 20, "ChildFailed"]
        assert sorted(one.task for one in h.runs) == ["child", "child", "child", "parent"]


async def test_a_token_a_signal_and_an_event_come_when_the_test_says_so() -> None:
    @task
    async def waiting() -> list[object]:
        token = wait.token()
        got: list[object] = [await token]
        async for value in run.signals("go"):
            got.append(value)
            break
        got.append(await wait.event("orders.*", match={"id": 7}))
        return got

    async with harness(waiting) as h:
        handle = await h.trigger(waiting)
        await h.advance(days=3)
        nodes = (await h.look(handle)).checkpoints
        await h.complete(nodes["/token#1"].wait, {"yes": True})
        await h.advance(days=3)
        await h.signal(handle, "go", 5)
        await h.advance(days=3)
        await h.emit("orders.paid", {"id": 6})
        await h.emit("orders.paid", {"id": 7, "by": "card"})
        assert (await h.ended(handle)).result == [{"yes": True}, 5, {"id": 7, "by": "card"}]


async def test_an_event_shortly_before_the_wait_counts_and_one_long_before_does_not() -> None:
    @task
    async def looks_back(seconds: float) -> object:
        await wait.for_(100)
        return await wait.event("paid", lookback=seconds, timeout=10)

    async with harness(looks_back) as h:
        early, late = await h.trigger(looks_back, seconds=50.0), await h.trigger(looks_back, seconds=10.0)
        await h.advance(70)
        await h.emit("paid", {"n": 1})
        assert (await h.ended(early)).result == {"n": 1}
        await h.advance(200)
        error = (await h.look(late)).checkpoints["/event#1"].error
        assert error is not None
        assert error.type == "holdfast.errors.WaitTimeout"


async def test_a_wait_that_nobody_ends_times_out() -> None:
    @task
    async def impatient() -> str:
        try:
            await wait.event("never", timeout=3600)
        except WaitTimeout:
            return "gave up"
        return "unreachable"

    async with harness(impatient) as h:
        assert (await h.run(impatient)).result == "gave up"


async def test_an_event_starts_the_tasks_that_listen_for_it() -> None:
    seen: list[object] = []

    @task(on=["orders.created", "orders.changed"])
    async def on_order(id: int) -> None:
        seen.append(id)

    @task(on="other.>")
    async def on_other(event: str) -> None:
        seen.append(event)

    async with harness(on_order, on_other) as h:
        await h.emit("orders.created", {"id": 1})
        await h.emit("orders.deleted", {"id": 2})
        await h.emit("other.thing", "text")
        assert seen == [1, "text"]
        assert [one.state for one in h.runs] == [State.COMPLETED, State.COMPLETED]


async def test_hooks_follow_a_run_however_it_ended() -> None:
    told: list[tuple[str, str]] = []

    async def note(ended: Ended) -> None:
        told.append((ended.task, ended.state))

    @task(on_success=note, on_failure=note, on_cancel=note, retry=Retry(max_attempts=1))
    async def followed(how: str) -> None:
        if how == "fail":
            raise ValueError("no")
        if how == "wait":
            await wait.for_(days=1)

    async with harness(followed) as h:
        await h.run(followed, how="go")
        await h.run(followed, how="fail")
        handle = await h.trigger(followed, how="wait")
        await h.cancel(handle)
    assert [state for _, state in told] == ["completed", "dead", "cancelled"]


# --- what is done to runs ---------------------------------------------------------------------------------------------


async def test_a_cancelled_run_cleans_up_and_a_killed_one_does_not() -> None:
    cleaned: list[str] = []

    @task
    async def careful(name: str) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cleaned.append(name)

    async with harness(careful) as h:
        asked, killed = await h.trigger(careful, name="asked"), await h.trigger(careful, name="killed")
        await h.cancel(asked)
        assert (await h.look(asked)).state is State.CANCELLED
        assert cleaned == ["asked"]
        await h.kill(killed)
        assert (await h.look(killed)).state is State.CANCELLED
        with pytest.raises(RunStateError):
            await h.cancel(killed)


async def test_a_dead_run_is_retried_behind_its_last_checkpoint() -> None:
    broken, ran = [True], list[str]()

    async def before() -> None:
        ran.append("before")

    @task(retry=Retry(max_attempts=1))
    async def mended() -> str:
        await before()
        if broken:
            raise ValueError("down")
        return "up"

    async with harness(mended) as h:
        dead = await h.run(mended)
        assert dead.state is State.DEAD
        broken.clear()
        await h.retry(dead.id)
        assert (await h.ended(dead.id)).result == "up"
    assert ran == ["before"]


async def test_a_query_is_answered_by_the_code_that_runs() -> None:
    @task
    async def counting() -> None:
        run.expose("count", lambda: 41 + 1)
        await asyncio.sleep(100)

    async with harness(counting) as h:
        handle = await h.trigger(counting)
        assert await h.query(handle, "count") == 42


async def test_awaiting_a_handles_result_moves_the_clock() -> None:
    @task
    async def slow() -> str:
        await wait.for_(days=30)
        return "done"

    async with harness(slow) as h:
        begun = h.now
        handle = await slow.trigger()
        assert await handle.result() == "done"
        assert (h.now - begun).days == 30


async def test_a_def_task_runs_in_a_real_thread_and_is_waited_for() -> None:
    @task
    def blocking(n: int) -> int:
        time.sleep(0.05)
        return n + 1

    async with harness(blocking) as h:
        assert (await h.run(blocking, n=1)).result == 2


async def test_a_def_task_that_never_ends_is_left_to_its_time_out() -> None:
    @task(timeouts=Timeouts(start_to_close=3600), retry=Retry(max_attempts=1))
    def endless() -> None:
        while not run.cancelled:
            time.sleep(0.005)

    async with harness(endless, patience=0.05) as h:
        assert "TimedOut" in (await h.run(endless)).error


async def test_a_step_that_talks_to_a_socket_has_its_answer_before_time_goes_on() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        await asyncio.sleep(0.05)
        writer.write(line.upper())
        writer.close()

    async def asked() -> str:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello\n")
            line = await reader.readline()
            writer.close()
        return line.decode().strip()

    @task
    async def asking() -> str:
        await wait.for_(days=1)
        return await asked()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, harness(asking) as h:
        assert (await h.run(asking)).result == "HELLO"


async def test_a_run_reads_the_secrets_that_the_test_gives() -> None:
    @task
    async def secretive() -> int:
        return len(secrets["API_KEY"])

    async with harness(secretive, secrets={"API_KEY": "0123456789"}) as h:
        assert (await h.run(secretive)).result == 10


# --- the death of a worker --------------------------------------------------------------------------------------------


async def test_a_killed_worker_writes_nothing_more_and_its_run_goes_on_with_another() -> None:
    done: list[str] = []

    async def slow(name: str) -> str:
        try:
            await asyncio.sleep(10)
            done.append(name)
        finally:
            done.append(f"cleanup {name}")
        return name

    @task
    async def two() -> list[str]:
        return [await slow("a"), await slow("b")]

    async with harness(two) as h:
        handle = await h.trigger(two)
        await h.advance(15)
        assert done == ["a", "cleanup a"]
        await h.kill_worker()
        assert done == ["a", "cleanup a"]
        found = await h.ended(handle)
        assert found.result == ["a", "b"]
        assert done == ["a", "cleanup a", "b", "cleanup b"]
        assert [type(one) for one in found.entries].count(AttemptInterrupted) == 1
        assert [one.key for one in found.entries if isinstance(one, StepCompleted)] == ["/slow#1", "/slow#2"]


async def test_the_dead_do_not_hear_what_wakes_their_code() -> None:
    gate = asyncio.Event()
    passed: list[str] = []

    async def guarded() -> None:
        await gate.wait()
        passed.append("through")

    @task
    async def gated() -> None:
        await guarded()

    async with harness(gated) as h:
        handle = await h.trigger(gated)
        await h.kill_worker()
        gate.set()
        assert (await h.ended(handle)).state is State.COMPLETED
        assert passed == ["through"]


async def test_a_run_whose_worker_is_killed_too_often_is_dead() -> None:
    @task(max_interruptions=2)
    async def poison() -> None:
        await asyncio.sleep(10)

    async with harness(poison) as h:
        handle = await h.trigger(poison)
        for _ in range(3):
            await h.kill_worker()
        assert (await h.look(handle)).run.reason == "poison"


# --- what does not end ------------------------------------------------------------------------------------------------


async def test_a_run_that_waits_for_somebody_says_for_whom() -> None:
    @task
    async def asks() -> None:
        await asyncio.gather(wait.token(), wait.event("orders.paid"), _signal())

    async def _signal() -> None: ...

    async with harness(asks) as h:
        with pytest.raises(
            RunStuck, match=r"waits for .*token .*await h\.complete\(.*event orders\.paid .*await h\.emit"
        ):
            await h.run(asks)


async def test_a_run_that_nobody_serves_says_so() -> None:
    @task
    async def elsewhere() -> None: ...

    @task
    async def parent() -> None:
        await elsewhere.trigger_and_wait()

    async with harness(parent) as h:
        with pytest.raises(RunStuck, match="waits for child run"):
            await h.run(parent)
        (child,) = [one for one in h.runs if one.task == "elsewhere"]
        with pytest.raises(RunStuck, match=r"no worker here has task 'elsewhere': give it to harness"):
            await h.ended(child.id)


async def test_code_that_waits_for_nothing_that_comes_says_where() -> None:
    async def blocked() -> None:
        await asyncio.Event().wait()

    @task
    async def hangs() -> None:
        await nothing()
        await blocked()

    async with harness(hangs) as h:
        with pytest.raises(RunStuck, match="its code runs, behind /nothing#1, and nothing here wakes it"):
            await h.run(hangs)


async def test_time_does_not_go_back() -> None:
    async with harness() as h:
        with pytest.raises(HoldfastError, match="time does not go back"):
            await h.advance(-1)


# --- the same every time, everywhere ----------------------------------------------------------------------------------


@step(retry=Retry(max_attempts=3, min_timeout=5))
async def flaky() -> int:
    if asyncio.get_running_loop().time() % 100 < 8:
        raise ConnectionError("busy")
    return 1


async def _story(**options: object) -> list[object]:
    @task
    async def child(n: int) -> int:
        await wait.for_(minutes=n)
        return n

    @task
    async def mixed() -> list[object]:
        return [
            await flaky(),
            await asyncio.gather(child.trigger_and_wait(n=1), child.trigger_and_wait(n=5), flaky()),
            await wait.for_(days=2),
            run.now(),
        ]

    async with harness(mixed, child, **options) as h:  # type: ignore[arg-type]
        found = await h.run(mixed)
        assert isinstance(found, RunResult)
        assert any(isinstance(entry, Suspended) for entry in found.entries)
        return [found.id, found.result, *((key, node.value) for key, node in sorted(found.checkpoints.items()))]


async def test_two_harnesses_tell_the_same_story_to_the_second() -> None:
    assert await _story() == await _story()


async def test_code_that_stayed_in_memory_and_code_that_was_resumed_tell_the_same_story() -> None:
    assert await _story() == await _story(warm=0)


def test_it_needs_nothing_but_a_loop() -> None:
    assert len(asyncio.run(_story())) > 5


def test_it_works_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    assert uvloop.run(_story()) == asyncio.run(_story())


def test_it_works_under_anyio() -> None:
    assert len(anyio.run(_story)) > 5


async def test_nothing_is_left_behind_in_the_loop() -> None:
    loop = asyncio.get_running_loop()
    before = dict(vars(loop)), asyncio.all_tasks()

    async def stubborn() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                continue

    @task
    async def left() -> None:
        await stubborn()

    async with harness(left) as h:
        await h.trigger(left)
        await h.kill_worker()
    after = vars(loop)
    assert [name for name in ("time", "call_soon", "call_later", "call_at", "create_task") if name in after] == [
        name for name in ("time", "call_soon", "call_later", "call_at", "create_task") if name in before[0]
    ]
    assert asyncio.all_tasks() == before[1]


# --- events, filtered and mapped


async def test_events_are_filtered_and_mapped_as_by_the_daemon() -> None:
    got: list[object] = []

    @task(on="orders.*", filter="event.amount > 10", map="{'order': event.id, 'what': tokens[1]}")
    async def by_text(order: str, what: str) -> None:
        got.append((order, what))

    @task(on="orders.*", filter=lambda event: event.data["amount"] < 10, map=lambda event: {"order": event.data["id"]})
    async def by_function(order: str) -> None:
        got.append(order)

    async with harness(by_text, by_function) as h:
        await h.emit("orders.created", {"id": "A1", "amount": 50})
        await h.emit("orders.created", {"id": "A2", "amount": 5})
        assert sorted(map(str, got)) == ["('A1', 'created')", "A2"]


async def test_an_event_that_cannot_be_read_is_a_dead_run_that_can_be_retried() -> None:
    got: list[str] = []

    @task(on="orders.*", map="{'order': event.id}")
    async def ship(order: str) -> None:
        got.append(order)

    async with harness(ship) as h:
        await h.emit("orders.created", "no object")
        (dead,) = h.runs
        assert (dead.state, dead.reason) == (State.DEAD, "event")
        await h.retry(dead.id, payload={"order": "A1"})
        assert (await h.ended(dead.id)).state is State.COMPLETED
    assert got == ["A1"]
