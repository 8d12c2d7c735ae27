"""What waits for a worker, by queue and task; and what a pool is told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from histories import ERROR, T0, run_id
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.core.entries import (
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    Entry,
    Offered,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    StepCompleted,
    Suspended,
)
from holdfast.core.lifecycle import Kind, Record, apply
from holdfast.core.model import Run
from holdfast.wire import codec
from holdfast.wire.api import Presence, QueueRow, Queues
from holdfast_daemon.backlogs import Backlogs, Line
from holdfast_daemon.ledger import Change
from holdfast_daemon.lookout import Lookout
from holdfast_daemon.scaling import Backlog, Demand


class Journal:
    """Tells backlogs what happens."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.backlogs = Backlogs(lambda: self.live, clock=lambda: T0 + 50)
        self.seq = 0

    @property
    def live(self) -> dict[str, Run]:
        return {id: run for id, run in self.runs.items() if not run.final}

    def say(self, number: int, at: float, *entries: Entry, kind: Kind = Kind.LOG, writer: str = "n1") -> None:
        self.seq += 1
        run, record = run_id(number), Record(self.seq, kind, writer, entries)
        before = self.runs.get(run)
        after = apply(before, record)
        assert after is not None
        self.runs[run] = after
        self.backlogs.take([Change(run, record, T0 + at, before, after)])

    def create(self, number: int, at: float, *, task: str = "ship", queue: str = "default") -> None:
        self.say(number, at, RunCreated(run_id(number), T0 + at, task, b"", queue), kind=Kind.READY, writer="")

    def start(self, number: int, at: float) -> None:
        self.say(number, at, AttemptStarted(T0 + at, self.runs[run_id(number)].attempt + 1, "w1", "n1"))


def test_runs_are_ready_until_they_are_taken_up() -> None:
    journal = Journal()
    assert journal.backlogs.empty
    journal.create(1, 0)
    journal.create(2, 1)
    assert not journal.backlogs.empty
    assert journal.backlogs.lines(None) == {"default": Line(2, T0, 0)}
    journal.start(1, 2)
    assert journal.backlogs.lines(None) == {"default": Line(1, T0 + 1, 1)}
    journal.start(2, 2)
    journal.say(2, 3, RunCompleted(T0 + 3, b""))
    assert journal.backlogs.lines(None) == {"default": Line(0, None, 2)}
    assert journal.backlogs.empty


def test_a_run_that_is_given_back_is_ready_from_then_on() -> None:
    journal = Journal()
    journal.create(1, 0)
    journal.start(1, 1)
    journal.say(1, 9, AttemptInterrupted(T0 + 9, "drains", polite=True))
    assert journal.backlogs.lines(None) == {"default": Line(1, T0 + 9, 1)}


def test_a_run_that_waits_for_something_else_is_not_ready() -> None:
    journal = Journal()
    journal.create(1, 0)
    journal.start(1, 1)
    journal.say(1, 2, Suspended(T0 + 2, (), T0 + 9))
    assert journal.backlogs.empty
    journal.say(1, 9, Offered(run_id(1), 1), kind=Kind.READY, writer="")
    assert journal.backlogs.lines(None) == {"default": Line(1, T0 + 9, 1)}


def test_a_run_whose_undos_nobody_runs_is_ready() -> None:
    journal = Journal()
    journal.create(1, 0)
    journal.start(1, 1)
    journal.say(1, 2, StepCompleted("/a#1", T0 + 2, 0.1, b"", undo=b"u"))
    journal.say(1, 3, RunDead(T0 + 3, ERROR, "aborted"))
    assert journal.backlogs.lines(None) == {"default": Line(1, T0 + 3, 1)}
    journal.say(1, 4, AttemptResumed(T0 + 4, 1, "w1", "n2"), writer="n2")
    assert journal.backlogs.lines(None) == {"default": Line(0, None, 2)}
    journal.say(1, 5, Suspended(T0 + 5, ("pause:/a#1",)), writer="n2")
    assert journal.backlogs.empty


def test_a_run_that_is_cancelled_was_not_taken_up() -> None:
    journal = Journal()
    journal.create(1, 0)
    journal.say(1, 1, RunCancelled(T0 + 1, "asked"), writer="")
    assert journal.backlogs.lines(None) == {"default": Line(0, None, 0)}


def test_only_runs_of_the_tasks_that_are_asked_for_count() -> None:
    journal = Journal()
    journal.create(1, 0, task="ship")
    journal.create(2, 1, task="bill")
    journal.create(3, 2, task="bill", queue="slow")
    assert journal.backlogs.lines({"bill"}) == {"default": Line(1, T0 + 1, 0), "slow": Line(1, T0 + 2, 0)}
    assert journal.backlogs.lines(set()) == {}
    assert journal.backlogs.lines(None)["default"] == Line(2, T0, 0)


def test_what_was_ready_before_the_following_began_is_ready_since_then() -> None:
    journal = Journal()
    journal.create(1, 0)
    journal.backlogs.restart([], [])
    assert journal.backlogs.lines(None) == {"default": Line(1, T0 + 50, 0)}
    journal.start(1, 51)
    assert journal.backlogs.lines(None) == {"default": Line(0, None, 1)}


# --- the lookout ------------------------------------------------------------------------------------------------------


def presence(worker: str, running: int, *tasks: str) -> Presence:
    return Presence(
        worker=worker, host="h", pid=1, started_at=T0, at=T0, tasks=tasks, queues=("default",), concurrency=10,
        running=running,
    )  # fmt: skip


class Place:
    """A lookout over a journal, rows and heartbeats."""

    def __init__(self, least: int = 1) -> None:
        self.journal = Journal()
        self.bus = MemoryBus("shop", MemoryServer())
        self.rows: list[QueueRow] = []
        self.asked = 0
        self.lookout = Lookout(self.bus, self.journal.backlogs, self._queues, least=least, clock=lambda: T0 + 60)

    async def _queues(self) -> Queues:
        self.asked += 1
        return Queues(tuple(self.rows), T0 + 60)

    async def beat(self, *workers: Presence) -> None:
        for worker in workers:
            await self.bus.put("worker", worker.worker, codec.encode(worker))


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    yield place
    await place.bus.close()


async def test_where_nothing_waits_and_nobody_can_go_nobody_is_asked(place: Place) -> None:
    assert await place.lookout.look(["a"]) == Demand(runs={"a": 0})
    assert place.asked == 0
    await place.lookout.look(["a", "b"])
    assert place.asked == 1


async def test_the_demand_is_what_waits_with_what_holds_it_back_and_who_is_busy(place: Place) -> None:
    place.journal.create(1, 10)
    place.journal.create(2, 20)
    place.journal.create(3, 30, queue="slow")
    place.rows = [QueueRow(name="default", paused=True), QueueRow(name="slow", limit=4, running=3)]
    await place.beat(presence("a", 7, "ship"), presence("other", 3, "bill"))
    assert await place.lookout.look(["a", "new"]) == Demand(
        backlogs=(
            Backlog(queue="default", ready=2, age=50.0, paused=True),
            Backlog(queue="slow", ready=1, age=30.0, room=1),
        ),
        runs={"a": 7, "new": 0},
    )


async def test_runs_of_tasks_that_the_pool_does_not_serve_do_not_count_once_that_is_known(place: Place) -> None:
    place.journal.create(1, 0, task="bill")
    assert (await place.lookout.look([])).workable == 1
    await place.beat(presence("a", 0, "ship"))
    assert (await place.lookout.look(["a"])).workable == 0
    assert (await place.lookout.look([])).workable == 0  # it remembers


async def test_others_that_serve_the_tasks_are_seen_unless_they_drain(place: Place) -> None:
    place.journal.create(1, 0)
    await place.beat(presence("a", 0, "ship"), replace(presence("b", 0, "ship"), draining=True))
    assert not (await place.lookout.look(["a"])).elsewhere
    await place.beat(presence("c", 0, "bill"))
    assert not (await place.lookout.look(["a"])).elsewhere
    await place.beat(presence("d", 0, "bill", "ship"))
    assert (await place.lookout.look(["a"])).elsewhere
