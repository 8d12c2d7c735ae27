"""What must follow and nobody does: the conductor offers, arms, tells and triggers it; each such repair is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.core.entries import (
    AttemptFailed,
    AttemptResumed,
    ChildEnded,
    ChildTriggered,
    Entry,
    EventArrived,
    Resolved,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunTimedOut,
    Signalled,
    StepCompleted,
    Suspended,
    TokenCompleted,
)
from holdfast.core.ids import make
from holdfast.core.model import ErrorInfo, Hook
from holdfast.wire import codec
from holdfast.wire.subjects import Stream
from virtual import Project, turns

ERROR = ErrorInfo("ValueError", "down")
CHILD = make(1_800_000_000.0, b"0123456789")


@pytest.fixture
def project() -> Project:
    return Project()


async def tell(project: Project, run: str, entry: Entry) -> None:
    await project.bus.publish(project.bus.subjects.inbox(run), codec.encode(entry))


# --- arrivals

ARRIVALS: dict[str, tuple[str, Callable[[float], Entry]]] = {
    "child": (CHILD, lambda at: ChildEnded("/a#1", at, CHILD, "completed", b"\x01")),
    "token": ("T1", lambda at: TokenCompleted("T1", at)),
    "signal": ("signal:go#1", lambda at: Signalled("s1", at, "go", b"\x01")),
    "event": ("/event#1", lambda at: EventArrived("/event#1", at, 7, "paid", b"\x01")),
    "answer": ("pause:/pay#1", lambda at: Resolved("/pay#1", at, "done", "op", b"\x01")),
}


@pytest.mark.parametrize("what", ARRIVALS)
async def test_whatever_arrives_for_a_waiting_run_it_is_offered_at_once_and_that_is_no_repair(
    project: Project, what: str
) -> None:
    wait, arrival = ARRIVALS[what]
    run = await project.create()
    await project.start(run, Suspended(project.now, (wait,), paused="why" if what == "answer" else ""))
    async with project.daemon() as daemon:
        await project.elapse(60)
        assert (await project.load(run)).state == "waiting"
        await tell(project, run, arrival(project.now))
        await turns()
        assert (await project.load(run)).state == "queued"
        await project.elapse(5)
        assert (await project.names(run)).count("Offered") == 1
        assert daemon.repaired == {}


@pytest.mark.parametrize("what", ARRIVALS)
async def test_what_arrived_while_no_daemon_ran_counts_when_one_comes(project: Project, what: str) -> None:
    wait, arrival = ARRIVALS[what]
    run = await project.create()
    await tell(project, run, arrival(project.now))
    await project.start(run, Suspended(project.now, (wait,)))
    if what == "answer":  # to an earlier question
        await tell(project, run, arrival(project.now))
    async with project.daemon():
        assert (await project.load(run)).state == "queued"


async def test_a_run_that_waits_and_what_it_waits_for_cost_no_reading(project: Project) -> None:
    async with project.daemon() as daemon:
        read: list[str] = []
        load = daemon.conductor._journal.load

        async def counted(run: str, first: int = 1) -> object:
            read.append(run)
            return await load(run, first)

        daemon.conductor._journal.load = counted  # type: ignore[assignment]
        runs = [await project.create() for _ in range(20)]
        for run in runs:
            await project.start(run, Suspended(project.now, ("T1",), project.now + 1000))
            await project.journal.act(await project.load(run))
        await project.elapse(30)
        for run in runs:
            await tell(project, run, TokenCompleted("T1", project.now))
        await turns()
        assert {(await project.load(run)).state for run in runs} == {"queued"}
        assert read == []


async def test_what_nobody_waits_for_offers_nothing(project: Project) -> None:
    run = await project.create()
    await project.start(run, Suspended(project.now, ("T1",)))
    async with project.daemon():
        await tell(project, run, TokenCompleted("T2", project.now))
        await project.elapse(5)
        assert (await project.load(run)).state == "waiting"


async def test_a_paused_compensation_goes_on_when_an_operator_answers(project: Project) -> None:
    run = await project.create()
    undoable = StepCompleted("/pay#1", project.now, 0.1, b"\x01", undo=b"\x90")
    await project.start(run, undoable, RunTimedOut(project.now, ERROR, "schedule_to_close"))
    await project.write(run, AttemptResumed(project.now, 1, "w9", "n2"), nonce="n2")
    await project.write(run, Suspended(project.now, ("pause:/pay#1/undo",), paused="its undo failed"), nonce="n2")
    async with project.daemon() as daemon:
        await project.elapse(60)
        assert not (await project.load(run)).offered
        await tell(project, run, Resolved("/pay#1/undo", project.now, "run", "op"))
        await turns()
        offered = await project.load(run)
        assert (offered.state, offered.offered, offered.paused) == ("compensating", True, "")
        assert daemon.repaired == {}


# --- timers


async def test_a_sleeper_whose_timer_nobody_armed_gets_it(project: Project) -> None:
    run = await project.create()
    await project.start(run, Suspended(project.now, (), project.now + 100))
    async with project.daemon() as daemon:
        await project.elapse(1)
        assert not (await project.load(run)).armed
        await project.elapse(2)
        assert (await project.load(run)).armed
        assert daemon.repaired == {"timer": 1}
        await project.elapse(98)
        assert (await project.load(run)).state == "queued"
        await project.elapse(8)
        assert daemon.repaired == {"timer": 1}
        assert (await project.names(run)).count("Offered") == 1


def break_timers(project: Project) -> None:
    """The server forgets to fire what it holds."""
    for cancel in project.server.project("shop").streams[Stream.JOURNAL]._ends.values():
        cancel()


SLEEPERS: dict[str, Callable[[float], Entry]] = {
    "waiting": lambda at: Suspended(at, ("T1",), at + 100),
    "retrying": lambda at: AttemptFailed(at, ERROR, at + 100),
}


@pytest.mark.parametrize("state", SLEEPERS)
async def test_a_run_whose_timer_does_not_fire_is_offered_some_seconds_later(project: Project, state: str) -> None:
    run = await project.create()
    await project.start(run, SLEEPERS[state](project.now))
    await project.journal.act(await project.load(run))
    async with project.daemon() as daemon:
        assert (await project.load(run)).armed
        break_timers(project)
        await project.elapse(103)
        assert (await project.load(run)).state == state
        await project.elapse(4)
        assert (await project.load(run)).state == "queued"
        assert daemon.repaired == {"late timer": 1}
        assert run in (await project.items(2))[-1].subject


async def test_a_timer_that_is_gone_is_armed_again(project: Project) -> None:
    run = await project.create()
    await project.start(run, SLEEPERS["waiting"](project.now))
    await project.journal.act(await project.load(run))
    await project.bus.purge(Stream.JOURNAL, project.bus.subjects.timer(run, ">"))
    async with project.daemon() as daemon:
        await project.elapse(3)
        assert daemon.repaired == {"timer": 1}
        await project.elapse(98)
        assert (await project.load(run)).state == "queued"


async def test_a_delayed_run_whose_timer_does_not_fire_is_started_some_seconds_later(project: Project) -> None:
    run = await project.create(due=project.now + 100)
    async with project.daemon() as daemon:
        break_timers(project)
        await project.elapse(103)
        assert (await project.load(run)).state == "delayed"
        await project.elapse(4)
        started = await project.load(run)
        assert (started.state, started.attempt, daemon.repaired) == ("queued", 0, {"late timer": 1})
        (item,) = await project.items()
        assert isinstance(codec.decode_entry(item.data), RunCreated)


async def test_timers_that_fire_are_no_business_of_the_conductor(project: Project) -> None:
    run = await project.create(due=project.now + 100)
    async with project.daemon() as daemon:
        await project.elapse(120)
        assert (await project.load(run)).state == "queued"
        assert daemon.repaired == {}


# --- endings

HOOKS = (Hook("success", "thank"), Hook("failure", "page"), Hook("cancel", "clean"))
ENDINGS: dict[str, Callable[[float], Entry]] = {
    "thank": lambda at: RunCompleted(at, b"\x01"),
    "page": lambda at: RunDead(at, ERROR, "aborted"),
    "clean": lambda at: RunCancelled(at),
}


async def followers(project: Project) -> list[str]:
    """The tasks of the runs that hooks made."""
    messages = await project.bus.read(Stream.JOURNAL, project.bus.subjects.items("default", 5))
    made = [codec.decode_entry(message.data) for message in messages]
    return [entry.task for entry in made if isinstance(entry, RunCreated) and entry.source.startswith("hook")]


@pytest.mark.parametrize("task", ENDINGS)
async def test_the_hook_of_an_ending_that_nobody_followed_up_is_triggered_once(project: Project, task: str) -> None:
    async with project.daemon() as daemon, project.daemon():
        run = await project.create(hooks=HOOKS)
        await project.start(run, ENDINGS[task](project.now))
        await project.elapse(1)
        assert await followers(project) == []
        await project.elapse(5)
        assert await followers(project) == [task]
        assert (await project.load(run)).followed
        assert daemon.repaired == {"hook": 1}


async def test_a_hook_that_was_triggered_is_not_triggered_again(project: Project) -> None:
    async with project.daemon() as daemon:
        run = await project.create(hooks=HOOKS)
        await project.start(run, RunCompleted(project.now, b"\x01"))
        await project.journal.act(await project.load(run))
        await project.elapse(60)
        assert await followers(project) == ["thank"]
        assert daemon.repaired == {}


async def test_a_run_that_ended_while_no_daemon_ran_is_followed_up_when_one_comes(project: Project) -> None:
    run = await project.create(hooks=HOOKS)
    await project.start(run, RunCompleted(project.now, b"\x01"))
    async with project.daemon():
        await project.elapse(3)
        assert await followers(project) == ["thank"]


@pytest.mark.parametrize("ending", ["cancelled", "timed_out", "compensating"])
async def test_the_children_of_a_parent_that_ended_are_told_when_nobody_did(project: Project, ending: str) -> None:
    parent, child, detached = [await project.create() for _ in range(3)]
    undoable = StepCompleted("/pay#1", project.now, 0.1, b"\x01", undo=b"\x90")
    await project.beat()
    await project.start(child)
    await project.start(
        parent,
        ChildTriggered("/a#1", project.now, child, "ship"),
        ChildTriggered("/b#1", project.now, detached, "ship", detached=True),
        *([undoable] if ending == "compensating" else []),
    )
    async with project.daemon() as daemon:
        end = RunTimedOut(project.now, ERROR, "schedule_to_close")
        await project.write(parent, RunCancelled(project.now) if ending == "cancelled" else end)
        await project.elapse(1)
        assert not (await project.load(child)).cancel_requested
        await project.elapse(3)
        assert (await project.load(child)).cancel_requested
        assert not (await project.load(detached)).cancel_requested
        expected = {"child": 1, "offer": 1} if ending == "compensating" else {"child": 1}
        assert daemon.repaired == expected
        await project.elapse(20)
        assert daemon.repaired == expected
        assert (await project.names(child)).count("CancelRequested") == 1


async def test_children_that_were_told_and_take_their_time_are_no_repair(project: Project) -> None:
    parent, child = await project.create(), await project.create()
    await project.beat()
    await project.start(child)
    await project.start(parent, ChildTriggered("/a#1", project.now, child, "ship"))
    async with project.daemon() as daemon:
        await project.write(parent, RunCancelled(project.now))
        await project.journal.act(await project.load(parent))
        await project.elapse(25)
        assert (await project.load(child)).state == "running"
        assert daemon.repaired == {}
