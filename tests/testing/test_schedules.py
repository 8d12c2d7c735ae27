"""Schedules in a harness: days of ticks in milliseconds, over changes of the clocks, and what overlaps lead to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from holdfast import Cron, Every, State, context, run, step, task, wait
from holdfast.core.model import Run
from holdfast.errors import RunStuck
from holdfast.testing import Harness, harness
from holdfast.ticks import Scheduled

PARIS = ZoneInfo("Europe/Paris")
START = datetime(2027, 1, 1, tzinfo=UTC)


def at(*parts: int, zone: ZoneInfo | None = None, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=zone or UTC, fold=fold)  # type: ignore[arg-type, misc]


def of(h: Harness, task_id: str) -> list[Run]:
    """The runs of a task, in the order of their ticks."""
    runs = [run for run in h.runs if run.task == task_id]
    return sorted(runs, key=lambda run: run.tick.at if run.tick else run.created_at)


def states(h: Harness, task_id: str) -> list[str]:
    return [run.state.value for run in of(h, task_id)]


# --- ticks


async def test_a_week_of_hourly_ticks_runs_on_the_hour() -> None:
    begun: list[datetime] = []

    @task(schedule=Cron("0 * * * *"))
    async def hourly() -> None:
        begun.append(run.now())

    async with harness(hourly, start=at(2027, 1, 1, 0, 30)) as h:
        await h.advance(days=7)
        assert {run.source for run in h.runs} == {"schedule hourly"}
    assert begun == [at(2027, 1, 1) + timedelta(hours=n) for n in range(1, 7 * 24 + 1)]


async def test_clocks_are_set_ahead_and_back_under_a_schedule() -> None:
    """The demonstration: half past two does not exist in March, and comes twice in October."""
    seen: list[tuple[datetime, int]] = []

    @task(schedule=Cron("30 2 * * *", tz="Europe/Paris"))
    async def nightly(tick: Scheduled) -> None:
        seen.append((tick.at, tick.at.fold))

    async with harness(nightly, start=at(2027, 3, 27)) as h:
        await h.advance(days=3)
    assert [f"{when:%m-%d %H:%M %z}" for when, _ in seen] == ["03-27 02:30 +0100", "03-29 02:30 +0200"]
    seen.clear()
    async with harness(nightly, start=at(2027, 10, 30)) as h:
        await h.advance(days=3)
        assert len({run.id for run in h.runs}) == 4
    assert [(f"{when:%m-%d %H:%M %z}", fold) for when, fold in seen] == [
        ("10-30 02:30 +0200", 0), ("10-31 02:30 +0200", 0), ("10-31 02:30 +0100", 1), ("11-01 02:30 +0100", 0),
    ]  # fmt: skip


async def test_a_task_is_told_its_tick_the_one_before_and_the_next() -> None:
    told: list[Scheduled] = []

    @task(schedule=Cron("0 9 * * MON-FRI", tz="Europe/Paris"))
    async def report(tick: Scheduled, verbose: bool = False) -> None:
        told.append(tick)

    async with harness(report, start=at(2027, 1, 7, 20)) as h:  # a Thursday
        await h.advance(days=5)
    friday, monday, tuesday = (datetime(2027, 1, day, 9, tzinfo=PARIS) for day in (8, 11, 12))
    assert told[0] == Scheduled(schedule="report", at=friday, previous=None, next=monday)
    assert told[1] == Scheduled(schedule="report", at=monday, previous=friday, next=tuesday)
    assert [tick.at.tzinfo for tick in told] == [PARIS] * 3


async def test_a_tick_keeps_its_nominal_time_however_late_its_run_begins() -> None:
    lags: list[float] = []

    @task(schedule=Every(3600, jitter=1800))
    async def jittered(tick: Scheduled) -> None:
        lags.append((run.now() - tick.at).total_seconds())

    async with harness(jittered, start=START) as h:
        await h.advance(hours=5.9)
    assert len(lags) == 5
    assert len(set(lags)) == 1
    assert 0 < lags[0] < 1800


async def test_several_schedules_of_a_task_have_names_and_tick_apart() -> None:
    seen: list[str] = []

    @task(schedule=[Every(7200, name="often"), Cron("0 5 * * *", name="early")])
    async def sweep(tick: Scheduled) -> None:
        seen.append(tick.schedule)

    async with harness(sweep, start=START) as h:
        await h.advance(hours=6.5)
    assert seen == ["sweep--often", "sweep--often", "sweep--early", "sweep--often"]


async def test_a_def_task_and_a_retry_work_as_ever() -> None:
    tries: list[int] = []

    @task(schedule=Every(3600))
    def flaky() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("down")

    async with harness(flaky, start=START) as h:
        await h.advance(hours=1.5)
        assert states(h, "flaky") == ["completed"]
        assert of(h, "flaky")[0].attempt == 2


async def test_nothing_runs_of_itself_before_time_goes_by() -> None:
    @task(schedule=Every(60))
    async def often() -> None: ...

    async with harness(often, start=START) as h:
        await h.settle()
        assert h.runs == ()
        await h.advance(59.9)
        assert h.runs == ()
        await h.advance(0.1)
        assert states(h, "often") == ["completed"]


async def test_schedules_go_on_while_a_run_is_waited_for() -> None:
    seen: list[int] = []

    @task(schedule=Every(3600))
    async def hourly() -> None:
        seen.append(1)

    @task
    async def patient() -> None:
        await wait.for_(hours=10)

    async with harness(hourly, patient, start=START) as h:
        await h.run(patient)
    assert len(seen) == 10


async def test_a_run_that_waits_for_nobody_is_stuck_although_schedules_tick() -> None:
    @task(schedule=Every(3600))
    async def hourly() -> None: ...

    @task
    async def forlorn() -> None:
        await wait.event("never")

    async with harness(hourly, forlorn, start=START) as h:
        with pytest.raises(RunStuck, match="never"):
            await h.run(forlorn)


async def test_schedules_stand_still_where_a_task_is_killed_at_every_boundary() -> None:
    ticks: list[int] = []

    @step
    async def work() -> int:
        return 1

    @task(schedule=Every(1))
    async def ticking() -> None:
        ticks.append(1)
        await work()
        await wait.for_(60)

    async with harness(ticking, start=START) as h:
        report = await h.crash_at_every_boundary(ticking)
    assert report.differences == (), report
    assert report.crashes > 0


# --- overlap


async def test_a_tick_is_skipped_while_the_run_before_has_not_ended_and_fires_no_hook() -> None:
    followed: list[str] = []

    async def note() -> None:
        followed.append("cancelled")

    @task(schedule=Every(3600), on_cancel=note)
    async def long() -> None:
        await wait.for_(hours=2.5)

    async with harness(long, start=START) as h:
        await h.advance(hours=7.9)
        runs = of(h, "long")
    assert [run.state.value for run in runs] == ["completed", "cancelled", "cancelled"] * 2 + ["waiting"]
    assert runs[1].reason == f"skipped: run {runs[0].id} of a tick before has not ended"
    assert runs[2].reason == f"skipped: run {runs[0].id} of a tick before has not ended"
    assert runs[4].reason == f"skipped: run {runs[3].id} of a tick before has not ended"
    assert followed == []


async def test_one_tick_waits_for_its_turn_and_those_after_it_are_skipped() -> None:
    ends: list[datetime] = []

    @task(schedule=Every(3600, overlap="buffer_one"))
    async def long() -> None:
        await wait.for_(hours=3.5)
        ends.append(run.now())

    async with harness(long, start=START) as h:
        await h.advance(hours=4.4)
        assert states(h, "long") == ["waiting", "queued", "cancelled", "cancelled"]
        await h.advance(hours=0.2)  # the first has ended at 4:30, the buffered one begins
        assert states(h, "long") == ["completed", "waiting", "cancelled", "cancelled"]
        await h.advance(hours=3.3)
        assert states(h, "long") == [
            "completed",
            "waiting",
            "cancelled",
            "cancelled",
            "queued",
            "cancelled",
            "cancelled",
        ]
        await h.advance(hours=0.2)
    assert ends == [at(2027, 1, 1, 4, 30), at(2027, 1, 1, 8)]


async def test_every_tick_waits_for_its_turn() -> None:
    spans: list[tuple[datetime, datetime, datetime]] = []

    @task(schedule=Every(3600, overlap="buffer_all"))
    async def long(tick: Scheduled) -> None:
        begun = run.now()
        await wait.for_(minutes=90)
        spans.append((tick.at, begun, run.now()))

    async with harness(long, start=START) as h:
        await h.advance(hours=9.9)
        assert states(h, "long") == ["completed"] * 5 + ["waiting"] + ["queued"] * 3
    assert [(tick.hour, begun.hour * 60 + begun.minute) for tick, begun, _ in spans] == [
        (1, 60), (2, 150), (3, 240), (4, 330), (5, 420)
    ]  # fmt: skip


async def test_a_tick_has_the_run_before_cancelled_and_begins_when_that_has_ended() -> None:
    log: list[str] = []

    @task(schedule=Every(3600, overlap="cancel_other"))
    async def long(tick: Scheduled) -> None:
        log.append(f"{tick.at.hour} begins")
        try:
            await asyncio.sleep(5 * 3600)
        finally:
            log.append(f"{tick.at.hour} ends")

    async with harness(long, start=START) as h:
        await h.advance(hours=3.5)
        runs = of(h, "long")
        assert [run.state.value for run in runs] == ["cancelled", "cancelled", "running"]
        assert runs[0].reason == "the tick of 2027-01-01 02:00:00 UTC takes its place"
    assert log[:5] == ["1 begins", "1 ends", "2 begins", "2 ends", "3 begins"]


async def test_the_newest_tick_wins_while_the_cancelled_run_takes_its_time() -> None:
    @task(schedule=Every(10, overlap="cancel_other"))
    async def slow_to_end(tick: Scheduled) -> str:
        try:
            await asyncio.sleep(15)
        finally:
            await asyncio.sleep(25)
        return f"{tick.at:%S}"

    async with harness(slow_to_end, start=START) as h:
        await h.advance(seconds=46)
        runs = of(h, "slow-to-end")
    assert [run.state.value for run in runs] == ["cancelled", "cancelled", "cancelled", "running"]
    assert [run.attempt for run in runs] == [1, 0, 0, 1]
    assert runs[1].reason == f"skipped: run {runs[2].id} of a later tick takes its place"


async def test_where_it_is_allowed_runs_overlap() -> None:
    @task(schedule=Every(3600, overlap="allow"))
    async def long() -> None:
        await wait.for_(hours=2.5)

    async with harness(long, start=START) as h:
        await h.advance(hours=3.4)
        assert states(h, "long") == ["waiting"] * 3


async def test_a_run_that_failed_holds_nobody_up() -> None:
    @task(schedule=Every(3600, overlap="buffer_one"))
    async def broken() -> None:
        raise ValueError("no")

    async with harness(broken, start=START) as h:
        await h.advance(hours=3.5)
        assert states(h, "broken") == ["dead"] * 3


async def test_a_skipped_tick_that_an_operator_retries_runs_although_the_other_one_goes_on() -> None:
    @task(schedule=Every(3600))
    async def long() -> None:
        await wait.for_(hours=1.5)

    async with harness(long, start=START) as h:
        await h.advance(hours=2.1)
        first, skipped = of(h, "long")
        assert (first.state, skipped.state) == (State.WAITING, State.CANCELLED)
        await h.retry(skipped.id)
        assert states(h, "long") == ["waiting", "waiting"]
        await h.advance(hours=1.6)
        assert states(h, "long")[:2] == ["completed", "completed"]


async def test_a_worker_that_dies_changes_nothing_about_ticks() -> None:
    @task(schedule=Every(3600, overlap="buffer_one"))
    async def long() -> None:
        await wait.for_(hours=1.5)

    async with harness(long, start=START) as h:
        for _ in range(8):
            await h.kill_worker()
            await h.advance(minutes=31)
        assert states(h, "long") == ["completed", "completed", "waiting", "queued"]


# --- schedules of operators


async def test_an_operators_schedule_ticks_is_paused_resumed_run_by_hand_and_deleted() -> None:
    seen: list[tuple[str, datetime]] = []

    @task
    async def sweep(tick: Scheduled, shard: str) -> None:
        seen.append((shard, tick.at))

    async with harness(sweep, start=START) as h:
        hf = context.client()
        await hf.create_schedule("sweep-eu", "sweep", Every(3600), {"shard": "eu"})
        await h.advance(hours=2.5)
        await hf.pause_schedule("sweep-eu")
        await h.advance(hours=3)
        assert [when.hour for _, when in seen] == [1, 2]
        await hf.run_schedule("sweep-eu")
        await h.settle()
        assert [(when.hour, when.minute) for _, when in seen[2:]] == [(5, 30)]
        await hf.resume_schedule("sweep-eu")
        await h.advance(hours=1)
        assert [when.hour for _, when in seen[3:]] == [6]
        (row,) = await hf.schedules()
        assert (row.state, row.missed, row.skipped, row.last_state) == ("active", 0, 0, State.COMPLETED)
        await hf.delete_schedule("sweep-eu")
        await h.advance(days=1)
        assert len(seen) == 4
        assert {shard for shard, _ in seen} == {"eu"}
        assert await hf.schedules() == []
