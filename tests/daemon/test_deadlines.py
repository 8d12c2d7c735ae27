"""Runs that run out of time while nobody moves them: the conductor ends them, at their time, once."""

from __future__ import annotations

import pytest

from holdfast.core.deadlines import GRACE, LATE
from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    CancelRequested,
    Compensated,
    RunTimedOut,
    StepCompleted,
    Suspended,
)
from holdfast.core.model import ErrorInfo, Parent, Timeouts
from holdfast.wire.subjects import Stream
from virtual import Project, turns

ERROR = ErrorInfo("ValueError", "down")


@pytest.fixture
def project() -> Project:
    return Project()


def undoable(project: Project) -> StepCompleted:
    return StepCompleted("/charge#1", project.now, 0.1, b"\x01", undo=b"\x90")


# --- time to live


async def test_a_queued_run_expires_at_its_time_and_its_work_item_is_gone(project: Project) -> None:
    run = await project.create(expires=project.now + 60)
    async with project.daemon():
        await project.elapse(59)
        assert (await project.load(run)).state == "queued"
        await project.elapse(1.5)
        expired = await project.load(run)
        assert (expired.state, expired.finished_at) == ("expired", pytest.approx(expired.created_at + 60, abs=0.6))
        assert expired.reason.startswith("it had to start by ")
        assert await project.items() == []


async def test_a_run_that_has_started_does_not_expire(project: Project) -> None:
    run = await project.create(expires=project.now + 60)
    await project.beat()
    await project.start(run)
    async with project.daemon():
        await project.write(run, AttemptInterrupted(project.now, "it drains", polite=True))
        await project.elapse(300)
        assert (await project.load(run)).state == "queued"


async def test_a_run_that_was_overdue_when_the_daemon_came_expires_at_once(project: Project) -> None:
    run = await project.create(expires=project.now + 60)
    await project.elapse(3600)
    async with project.daemon():
        assert (await project.load(run)).state == "expired"


async def test_of_many_queued_runs_only_those_are_read_whose_time_is_over(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(500):
        await project.create(expires=project.now + 1000 + number)
    async with project.daemon() as daemon:
        read: list[str] = []
        load = daemon.conductor._journal.load

        async def counted(run: str, first: int = 1) -> object:
            read.append(run)
            return await load(run, first)

        monkeypatch.setattr(daemon.conductor._journal, "load", counted)
        await project.elapse(990)
        assert read == []
        await project.elapse(12.2)
        assert len(read) == len(set(read)) == 3


# --- deadlines of the whole


async def test_a_run_that_nobody_starts_in_time_is_timed_out_and_not_retried(project: Project) -> None:
    run = await project.create(timeouts=Timeouts(schedule_to_start=10))
    async with project.daemon():
        await project.elapse(12)
        ended = await project.load(run)
        assert (ended.state, ended.reason) == ("timed_out", "schedule_to_start")
        assert ended.error is not None
        assert ended.error.message == "attempt 1 did not start within 10 s"
        assert await project.items() == []


async def test_the_time_to_start_begins_anew_with_each_attempt(project: Project) -> None:
    run = await project.create(timeouts=Timeouts(schedule_to_start=10))
    await project.beat()
    (item,) = await project.items()
    await project.start(run)
    project.bus.settle(item.token)
    async with project.daemon():
        await project.elapse(100)
        assert (await project.load(run)).state == "running"
        await project.write(run, AttemptFailed(project.now, ERROR, project.now + 30))
        await project.elapse(38)
        assert (await project.load(run)).state == "queued"
        await project.elapse(4)
        ended = await project.load(run)
        assert (ended.state, ended.attempt, ended.reason) == ("timed_out", 1, "schedule_to_start")


@pytest.mark.parametrize("how", ["retrying", "waiting", "queued", "delayed"])
async def test_a_deadline_ends_a_run_at_once_wherever_it_rests(project: Project, how: str) -> None:
    due = project.now + 1000 if how == "delayed" else None
    parent = await project.create("parent")
    run = await project.create(
        deadline=project.now + 60, timeouts=Timeouts(schedule_to_close=5000), due=due, parent=Parent(parent, "/a#1")
    )
    await project.beat()
    match how:
        case "retrying":
            await project.start(run, AttemptFailed(project.now, ERROR, project.now + 1000))
        case "waiting":
            await project.start(run, Suspended(project.now, ("token",), project.now + 1000))
    async with project.daemon():
        await project.elapse(59)
        assert (await project.load(run)).state == how
        await project.elapse(2)
        ended = await project.load(run)
        assert (ended.state, ended.reason) == ("timed_out", "schedule_to_close")
        assert await project.names(parent) == ["RunCreated", "ChildEnded"]
        await project.elapse(2000)
        assert (await project.load(run)).state == "timed_out", "no timer of it is left"
        assert (await project.names(run)).count("RunTimedOut") == 1


# --- those that are held


async def test_a_holder_that_lives_has_the_first_say_and_loses_the_run_when_it_says_nothing(project: Project) -> None:
    run = await project.create(deadline=project.now + 60)
    other = await project.create()
    await project.beat()
    (item,) = await project.items()
    await project.start(run, item=item.token)
    async with project.daemon():
        for _ in range(60):
            project.bus.extend(item.token)
            await project.elapse(1, steps=2)
        await project.elapse(GRACE + LATE - 1)
        assert (await project.load(run)).state == "running"
        await project.elapse(2)
        ended = await project.load(run)
        assert (ended.state, ended.holder) == ("timed_out", None)
        ready = next(state for state in await project.bus.consumers() if state.name == "ready-default-5")
        assert (ready.pending, ready.delivered) == (1, 0), "its item is done with"
        (next_one,) = await project.items()
        assert other in next_one.subject
        told = [entry for _, record in await project.journal.messages(run) for entry in record.entries][-1]
        assert isinstance(told, CancelRequested)
        assert told.kill


async def test_a_task_that_refuses_to_be_cancelled_loses_its_run_after_the_grace(project: Project) -> None:
    run = await project.create()
    await project.beat()
    await project.start(run)
    async with project.daemon():
        await project.journal.cancel(run, by="op")
        await project.elapse(GRACE + LATE - 1)
        assert (await project.load(run)).state == "running"
        await project.elapse(2)
        ended = await project.load(run)
        assert ended.state == "cancelled"
        assert ended.reason == "its task did not end within 30 s of being cancelled"


async def test_a_run_with_undos_goes_to_another_worker_for_them_and_frees_its_slot(project: Project) -> None:
    run = await project.create(deadline=project.now + 60)
    await project.beat()
    (item,) = await project.items()
    await project.start(run, undoable(project), item=item.token)
    async with project.daemon() as daemon:
        for _ in range(20):
            project.bus.extend(item.token)
            await project.elapse((60 + GRACE + LATE + 1) / 20, steps=2)
        ended = await project.load(run)
        assert (ended.state, ended.ending, ended.holder, ended.offered) == ("compensating", "timed_out", None, True)
        (offer,) = await project.items()
        assert offer.token != item.token
        assert daemon.repaired == {}


async def test_what_a_holder_writes_in_that_very_moment_stands(project: Project) -> None:
    run = await project.create(deadline=project.now + 60)
    await project.beat(ttl=10_000)
    await project.start(run)
    async with project.daemon() as daemon:
        move = daemon.conductor._journal.move

        async def raced(*args: object) -> object:
            daemon.conductor._journal.move = move  # type: ignore[method-assign]
            await project.write(run, StepCompleted("/last#1", project.now, 0.1, b"\x01"))
            return await move(*args)  # type: ignore[arg-type]

        daemon.conductor._journal.move = raced  # type: ignore[assignment]
        await project.elapse(60 + GRACE + LATE + 5, steps=100)
        names = await project.names(run)
        assert names == ["RunCreated", "AttemptStarted", "StepCompleted", "RunTimedOut", "CancelRequested"]


async def test_two_daemons_end_a_run_once(project: Project) -> None:
    runs = [await project.create(expires=project.now + 60) for _ in range(20)]
    async with project.daemon(), project.daemon():
        await project.elapse(70)
        for run in runs:
            assert await project.names(run) == ["RunExpired"], "its work item is gone"


async def test_a_thousand_runs_that_end_at_one_instant_all_end(project: Project) -> None:
    for _ in range(1500):
        await project.create(expires=project.now + 60)
    async with project.daemon() as daemon:
        await project.elapse(60)
        for _ in range(100):
            await turns()
        assert not daemon.ledger.live
        assert await project.bus.read(Stream.JOURNAL, project.bus.subjects.items("default", 5)) == []


# --- compensating


async def test_a_compensating_run_is_taken_from_a_holder_that_fell_silent(project: Project) -> None:
    run = await compensating(project, hold=True)
    await project.beat(ttl=5)
    async with project.daemon():
        await project.elapse(4)
        assert (await project.load(run)).holder is not None
        await project.elapse(8)
        taken = await project.load(run)
        assert (taken.state, taken.holder, taken.interruptions, taken.offered) == ("compensating", None, 1, True)


async def test_a_compensating_run_that_nobody_offered_is_offered_and_counted(project: Project) -> None:
    run = await compensating(project)
    async with project.daemon() as daemon:
        await project.elapse(3)
        assert (await project.load(run)).offered
        assert daemon.repaired == {"offer": 1}
        await project.elapse(5)
        assert (await project.names(run)).count("Offered") == 1


async def test_a_compensating_run_has_no_deadline(project: Project) -> None:
    run = await compensating(project, hold=True)
    await project.beat()
    async with project.daemon():
        await project.elapse(1000)
        assert (await project.load(run)).state == "compensating"
        await project.write(run, Compensated(project.now), nonce="n2")
        assert (await project.load(run)).state == "timed_out"


async def compensating(project: Project, *, hold: bool = False) -> str:
    """A run that timed out and whose undos have not run; nobody offered it."""
    run = await project.create(deadline=project.now + 60)
    await project.start(run, undoable(project), RunTimedOut(project.now, ERROR, "schedule_to_close"))
    if hold:
        await project.write(run, AttemptResumed(project.now, 1, "w9", "n2"), nonce="n2")
    return run
