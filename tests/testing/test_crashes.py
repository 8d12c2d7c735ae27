"""Crashes at every boundary: right tasks come out the same, wrong ones are told of, with what to do."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import Abort, Done, NotDone, Retry, RunHandle, State, run, step, task, wait
from holdfast.core.model import Seconds
from holdfast.demo import outside as world
from holdfast.demo import tasks as demo
from holdfast.errors import RunStuck
from holdfast.task import Task
from holdfast.testing import Boundary, CrashReport, Harness, What, harness
from holdfast.testing.line import Moment
from holdfast.worker.execution import Execution


class Outside:
    """The world outside: what was done, and what was done to it by idempotency key."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.by_key: dict[str, str] = {}

    async def do(self, what: str, takes: Seconds = 5.0) -> str:
        await asyncio.sleep(takes)
        self.calls.append(what)
        self.by_key.setdefault(run.idempotency_key, what)
        return f"did {what}"

    def clear(self) -> None:
        self.calls.clear()
        self.by_key.clear()

    def seen(self) -> list[str]:
        return list(self.calls)

    def once(self) -> list[str]:
        """As an outside world sees it that goes by idempotency keys."""
        return sorted(self.by_key.values())


outside = Outside()
tries: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    outside.clear()
    tries.clear()
    yield
    outside.clear()


def forget() -> None:
    outside.clear()
    tries.clear()


async def crashed(made: Task[..., object], *more: Task[..., object], **options: object) -> CrashReport:
    async with harness(made, *more) as h:
        return await h.crash_at_every_boundary(made, effects=outside.once, reset=forget, **options)  # type: ignore[arg-type]


# --- right tasks ------------------------------------------------------------------------------------------------------


async def test_steps_side_by_side_come_out_the_same_wherever_the_worker_dies() -> None:
    @task
    async def parallel() -> list[str]:
        both = await asyncio.gather(outside.do("a", 1), outside.do("b", 2), outside.do("c", 3))
        return [*both, await outside.do("d")]

    report = await crashed(parallel)
    assert report.differences == ()
    assert report.classes == {"claim": 1, "outcome": 4, "end": 1}
    assert report.crashes == 12
    assert {note.key: note.text for note in report.notes} == dict.fromkeys(
        ("/gather#1/do#1", "/gather#1/do#2", "/gather#1/do#3", "/do#1"),
        "ran twice when killed between its effect and its record",
    )


async def test_waits_children_and_retries_come_out_the_same() -> None:
    @step(retry=Retry(max_attempts=3, min_timeout=60, jitter=False))
    async def flaky(n: int) -> int:
        tries["flaky"] += 1
        await outside.do(f"flaky {n}")
        if tries["flaky"] < 3:
            raise ConnectionError("busy")
        return n

    @task
    async def child(n: int) -> int:
        await wait.for_(hours=1)
        await outside.do(f"child {n}")
        return n * 10

    @task(retry=Retry(max_attempts=3, min_timeout=3600, max_timeout=3600, jitter=False))
    async def mixed() -> list[object]:
        first = await flaky(1)
        await wait.for_(days=7)
        children = await child.batch_trigger_and_wait([{"n": 2}, {"n": 3}])
        tries["mixed"] += 1
        if tries["mixed"] < 2:
            raise ValueError("once")
        return [first, children, await child.trigger_and_wait(n=4), run.random(), run.uuid(), run.now()]

    report = await crashed(mixed, child)
    assert report.differences == (), report
    assert {"creation", "suspension", "timer", "try of a step", "failed attempt", "end", "word to a run"} <= set(
        report.classes
    )


async def test_a_run_that_ends_badly_undoes_the_same_and_leaves_its_letter() -> None:
    report = await crashed(_saga())
    assert report.differences == (), report
    assert "letter" in report.classes


async def take(n: int) -> str:
    return await outside.do(f"take {n}")


async def give_back(n: int, result: str) -> None:
    await outside.do(f"give back {n} of {result}")


taking = step(undo=give_back)(take)


def _saga() -> Task[..., object]:
    @task(retry=Retry(max_attempts=1))
    async def saga() -> None:
        await taking(1)
        await taking(2)
        raise Abort("no")

    return saga


async def test_at_most_once_with_a_verify_happens_once_wherever_the_worker_dies() -> None:
    async def happened() -> Done | NotDone:
        return Done("did wire") if "wire" in outside.calls else NotDone()

    @step(at_most_once=True, verify=happened)
    async def wire() -> str:
        return await outside.do("wire")

    @task
    async def paying() -> str:
        return await wire()

    async with harness(paying) as h:
        report = await h.crash_at_every_boundary(paying, effects=outside.seen, reset=forget)
    assert report.differences == (), report


async def test_at_most_once_without_a_verify_pauses_which_is_told_and_is_no_difference() -> None:
    @step(at_most_once=True)
    async def wire() -> str:
        return await outside.do("wire")

    @task
    async def paying() -> str:
        return await wire()

    async with harness(paying) as h:
        report = await h.crash_at_every_boundary(paying, effects=outside.seen, reset=forget)
    assert report.differences == ()
    assert [note.key for note in report.notes] == ["/wire#1"]
    assert "pauses for an operator" in report.notes[0].text


async def test_what_others_do_meanwhile_is_said_by_the_test() -> None:
    @task
    async def approved() -> object:
        token = wait.token()
        first = await token
        async for value in run.signals("more"):
            return [first, value, await outside.do("ship")]
        return None

    async def meanwhile(h: Harness, handle: RunHandle) -> None:
        nodes = (await h.look(handle)).checkpoints
        if nodes["/token#1"].wait and "/completion#1" in nodes and nodes["/completion#1"].ended_at is None:
            await h.complete(nodes["/token#1"].wait, "yes")
        else:
            await h.signal(handle, "more", 7)

    report = await crashed(approved, meanwhile=meanwhile)
    assert report.differences == (), report
    async with harness(approved) as h:
        with pytest.raises(RunStuck, match=r"waits for token .*meanwhile="):
            await h.crash_at_every_boundary(approved)


async def test_a_steps_own_random_value_is_no_difference() -> None:
    async def token() -> str:
        await asyncio.sleep(1)
        return f"{random.random()} {time.time()}"

    @task
    async def tokens() -> list[str]:
        return [await token(), await token()]

    assert (await crashed(tokens)).differences == ()


async def test_a_failed_branch_is_tried_again_also_where_the_worker_dies_before_the_attempt_has_failed() -> None:
    async def flaky() -> str:
        if run.attempt == 1:
            raise ConnectionError("down")
        return await outside.do("flaky")

    within = step(name="within")(flaky)

    async def helper() -> str:
        return await within()

    @task(retry=Retry(max_attempts=2, min_timeout=10, jitter=False))
    async def branches() -> list[str]:
        return await asyncio.gather(outside.do("a", 1), flaky())

    @task(retry=Retry(max_attempts=2, min_timeout=10, jitter=False))
    async def nested() -> str:
        return await helper()

    @task(retry=Retry(max_attempts=1))
    async def child(attempt: int) -> str:
        if attempt == 1:
            raise ConnectionError("down")
        return "up"

    @task(retry=Retry(max_attempts=2, min_timeout=10, jitter=False))
    async def parent() -> list[object]:
        return await asyncio.gather(outside.do("a", 1), child.trigger_and_wait(run.attempt))

    for made in (branches, nested, parent):
        report = await crashed(made, child)
        assert report.differences == (), report


async def test_a_branch_that_the_code_cancels_before_it_began_leaves_no_trace() -> None:
    @task
    async def cancels() -> str:
        long = asyncio.create_task(outside.do("long", 100))
        await outside.do("short")
        long.cancel()
        await wait.for_(hours=2)
        return await outside.do("end")

    report = await crashed(cancels)
    gc.collect()
    assert report.differences == (), report


async def test_a_later_attempt_that_takes_another_way_on_purpose_is_no_difference() -> None:
    async def fails() -> None:
        await asyncio.sleep(2)
        raise ConnectionError("down")

    @task(retry=Retry(max_attempts=2, min_timeout=10, jitter=False))
    async def second_try() -> str:
        if run.attempt == 1:
            await asyncio.gather(outside.do("once", 1), fails())
        return await outside.do("otherwise")

    report = await crashed(second_try)
    assert report.differences == (), report
    assert "/do#1" in [note.key for note in report.notes if "another way" in note.text]


async def test_a_def_task_is_run_again_as_a_whole() -> None:
    @task
    def blocking(n: int = 3) -> int:
        tries["blocking"] += 1
        return n

    report = await crashed(blocking)
    assert report.differences == ()
    assert report.classes == {"claim": 1, "end": 1}


# --- wrong tasks ------------------------------------------------------------------------------------------------------


async def test_an_effect_that_is_done_twice_is_a_difference_with_advice() -> None:
    @task
    async def paying() -> str:
        return await outside.do("charge")

    async with harness(paying) as h:
        report = await h.crash_at_every_boundary(paying, effects=outside.seen, reset=forget)
    (difference,) = report.differences
    assert difference.what is What.EFFECTS
    assert (difference.expected, difference.found) == ("['charge']", "['charge', 'charge']")
    assert "run.idempotency_key" in difference.advice
    (at,) = difference.boundaries
    assert (at.moment, str(at.write)) == (Moment.BEFORE, "StepCompleted /do#1")
    assert "effects: expected ['charge'], found ['charge', 'charge']" in str(report)


async def test_randomness_that_no_checkpoint_holds_is_told_where_it_goes_on() -> None:
    @task
    async def lottery() -> None:
        number = random.random()
        await outside.do("draw")
        await outside.do(f"pay {number}")

    report = await crashed(lottery)
    arguments = [one for one in report.differences if one.what is What.ARGUMENTS]
    assert [one.key for one in arguments] == ["/do#2"]
    assert "run.random()" in arguments[0].advice


async def test_a_way_that_is_taken_by_chance_is_told() -> None:
    ways: Iterator[bool] = iter([])

    async def heads() -> str:
        return "heads"

    async def tails() -> str:
        return "tails"

    @task
    async def flips() -> str:
        first = next(ways)
        before = await (heads() if first else tails())
        return before + await heads()

    def reset() -> None:
        nonlocal ways
        forget()
        ways = iter([True, False, False])

    async with harness(flips) as h:
        report = await h.crash_at_every_boundary(flips, reset=reset)
    diverged = [one for one in report.differences if one.what is What.DIVERGED]
    assert diverged
    assert "run.random()" in diverged[0].advice
    assert any(one.what is What.END for one in report.differences)


async def test_time_in_the_result_that_no_checkpoint_holds_is_told_without_any_crash() -> None:
    @task
    async def stamped() -> float:
        await outside.do("work")
        return time.perf_counter()

    report = await crashed(stamped)
    (difference,) = report.differences
    assert (difference.what, difference.boundaries) == (What.VARIES, ())
    assert "run.now()" in difference.advice


async def test_state_that_lives_beside_the_journal_is_a_difference() -> None:
    @task
    async def counting() -> int:
        await outside.do("a")
        tries["counting"] += 1
        await outside.do("b")
        return tries["counting"]

    report = await crashed(counting)
    ends = [one for one in report.differences if one.what is What.END]
    assert [(one.expected, one.found) for one in ends] == [("1", "2")]


async def test_a_worker_that_runs_a_finished_step_again_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Execution._take

    def forgetful(self: Execution, key: str) -> object:
        return None if key == "/do#1" else taken(self, key)

    @task
    async def steps() -> str:
        await outside.do("a")
        return await outside.do("b")

    monkeypatch.setattr(Execution, "_take", forgetful)
    report = await crashed(steps)
    repeated = [one for one in report.differences if one.what is What.REPEATED]
    assert [one.key for one in repeated] == ["/do#1"]


# --- the report -------------------------------------------------------------------------------------------------------


async def test_progress_is_told_after_each_crash_up_to_the_last() -> None:
    told: list[tuple[int, int, Boundary]] = []

    @task
    async def short() -> None:
        await outside.do("a")

    report = await crashed(short, progress=lambda done, total, at: told.append((done, total, at)))
    assert [done for done, _, _ in told] == list(range(1, report.crashes + 1))
    assert {total for _, total, _ in told} == {report.crashes}
    assert [at.moment for _, _, at in told[:2]] == [Moment.BEFORE, Moment.AFTER]
    assert str(told[0][2]).startswith("killed before write 1 (AttemptStarted")


async def test_the_harness_that_asks_is_left_as_it_is() -> None:
    @task
    async def short() -> str:
        return await outside.do("a")

    async with harness(short) as h:
        mine = await h.trigger(short)
        await h.crash_at_every_boundary(short, effects=outside.once, reset=forget)
        assert [one.id for one in h.runs] == [mine.id]
        assert (await h.ended(mine)).state is State.COMPLETED


# --- the demo ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("process-order", {"order": "A-1", "items": ["keyboard", "mouse"]}),
        ("ship", {"order": "A-1"}),
        ("restock", {"item": "lamp", "wanted": 5}),
    ],
)
@pytest.mark.parametrize("closed", [False, True])
async def test_the_demos_tasks_stand_every_crash(
    name: str, payload: dict[str, object], closed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if closed:
        (tmp_path / world.CLOSED).touch()
    made = {each.id: each for each in (demo.process_order, demo.ship, demo.restock)}
    async with harness(*made.values()) as h:
        report = await h.crash_at_every_boundary(
            made[name],
            payload,
            effects=lambda: sorted(key for _, key in world.counted(tmp_path)),
            reset=lambda: (tmp_path / world.CALLS).unlink(missing_ok=True),
        )
    assert report.differences == (), report


async def test_children_and_triggers_with_keys_come_about_once_wherever_the_worker_dies() -> None:
    @task
    async def ship(order: str) -> str:
        return await outside.do(f"ship {order}")

    @task
    async def ordering() -> list[object]:
        shipped = await ship.options(idempotency_key="A1", idempotency_scope="global").trigger_and_wait("A1")
        again = await ship.options(idempotency_key="A1", idempotency_scope="global").trigger_and_wait("B7")
        many = await ship.batch_trigger_and_wait([({"order": "C"}, {"idempotency_key": "C"}) for _ in range(2)])
        handle = await ship.options(idempotency_key="D").trigger("D")
        return [shipped, again, *many, handle.id]

    report = await crashed(ordering, ship)
    assert report.differences == (), report
