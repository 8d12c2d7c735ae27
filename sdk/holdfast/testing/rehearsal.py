"""A recorded history against the code of now: does the code still come to everything that was recorded?

The task's code runs over its history and gets nothing done: what the journal knows is given out, and an await that it
does not know blocks for ever, so no step, no child and no wait begins. When all is quiet, the code stands where the run
would go on. Recorded outcomes that it has not come to by then are a divergence. (That it comes to something new is none
by itself: another branch may be on its way, or the run simply goes on there.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from holdfast import context
from holdfast.bus.blobs import Blobs
from holdfast.bus.clock import VirtualClock
from holdfast.bus.journal import Journal
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.core.diff import END
from holdfast.core.entries import Entry, StepCompleted, StepFailed, StepVolatile
from holdfast.core.lifecycle import UNDO, Record, fold, story
from holdfast.core.model import Run, State
from holdfast.core.outcomes import Outcomes
from holdfast.core.recall import Outcome, Recall
from holdfast.errors import HistoryError, UnknownSecret, UnknownTask
from holdfast.history import History
from holdfast.task import TASKS, Task
from holdfast.testing.life import Life, lived_in, quiet
from holdfast.triggering import Order
from holdfast.vault import Vault
from holdfast.wire.ended import Ended
from holdfast.wire.values import decode_value
from holdfast.worker.calls import Call
from holdfast.worker.execution import Execution
from holdfast.worker.stored import Stored
from holdfast.worker.writer import Writer

MOST_MOVES = 1000
"""Moves of the clock while the code comes to what it once cut short."""


class Verdict(StrEnum):
    """What a rehearsal says."""

    OK = "ok"
    """The code comes to everything that was recorded."""
    DIVERGES = "diverges"
    """It does not."""
    UNSURE = "can't say"
    """That could only be known by running something."""


class Replay(msgspec.Struct, frozen=True):
    """What came of a rehearsal."""

    run: str
    task: str
    verdict: Verdict
    key: str = ""
    """The first recorded checkpoint that the code does not come to, `end`, or where nothing can be said."""
    recorded: str = ""
    """What the journal holds there."""
    code: str = ""
    """What the code does instead."""
    why: str = ""

    @property
    def diverges(self) -> bool:
        """Whether the code takes another way than the journal."""
        return self.verdict is Verdict.DIVERGES

    def __str__(self) -> str:
        match self.verdict:
            case Verdict.DIVERGES:
                return f"{self.verdict} at {self.key} (recorded: {self.recorded}, code: {self.code})"
            case Verdict.UNSURE:
                return f"{self.verdict} ({self.why})"
        return str(self.verdict)


async def replay(history: History | str | Path, task: Task[..., Any] | None = None) -> Replay:
    """Hold a history (`h.history(run)`, or a file of `holdfast runs export`) against today's code; nothing is executed.

    Args:
        task: default: the declared task of the run's task id.

    Raises:
        UnknownTask: there is none.
        HistoryError: the file holds no history.
    """
    kept = history if isinstance(history, History) else History.load(history)
    records = kept.records()
    run = fold(records)
    if run is None:
        raise HistoryError(f"the history of {kept.run} does not say how the run was created")
    if task is None and run.task not in TASKS:
        raise UnknownTask(f"no task {run.task!r} is declared here: import its module, or give it to replay")
    bus = MemoryBus("replayed", MemoryServer(VirtualClock()))
    blobs = Blobs(bus)
    for value in kept.values:
        await blobs.keep(value)
    vault = Vault()
    await vault.load(bus, None)
    return await rehearse(records, task or TASKS[run.task], Stored(blobs, vault))


async def rehearse(records: Sequence[Record], task: Task[..., Any], stored: Stored) -> Replay:
    """As `replay`, for a run whose big values and secrets are to be had from `stored`."""
    run = fold(records)
    assert run is not None
    if not task.is_async:
        return Replay(run.id, run.task, Verdict.OK)  # nothing in a thread is a checkpoint
    if task.checkpoint == "steps":
        why = "its plain awaits are no checkpoints, they would run"
        return Replay(run.id, run.task, Verdict.UNSURE, why=why)
    entries = list(story(records))
    clock = VirtualClock(max((getattr(entry, "at", 0.0) for entry in entries), default=run.created_at))
    with lived_in():
        life = Life(clock)
        life.context.run(context.observer.set, None)
        try:
            rehearsed = life.context.run(_Rehearsal, run, entries, clock, stored)
            body = asyncio.get_running_loop().create_task(rehearsed.perform(task), context=life.context)
            await _until_quiet(rehearsed, body, life)
            return await _judged(rehearsed, body, run, Outcomes(entries))
        finally:
            await life.bury()


async def _until_quiet(rehearsed: _Rehearsal, body: asyncio.Task[Any], life: Life) -> None:
    """Let the code come as far as it can; what it once cut short it cuts short again, so time moves meanwhile."""
    clock = rehearsed.virtual
    for _ in range(MOST_MOVES):
        await quiet(lambda: life.threads, 1.0)
        due = clock.next_due
        if body.done() or not rehearsed.left or due is None:
            return
        clock.advance(max(0.0, due - clock.now()))


async def _judged(rehearsed: _Rehearsal, body: asyncio.Task[Any], run: Run, outcomes: Outcomes) -> Replay:
    def says(verdict: Verdict, **more: str) -> Replay:
        return Replay(run.id, run.task, verdict, **more)

    error = body.exception() if body.done() and not body.cancelled() else None
    if isinstance(error, UnknownSecret):
        return says(Verdict.UNSURE, why=str(error))
    if left := rehearsed.left:
        if rehearsed.volatile:
            key = rehearsed.volatile[0]
            return says(Verdict.UNSURE, key=key, why=f"volatile at {key}: it would have to run again")
        first = min(left, key=lambda key: (outcomes.place(key), key))
        return says(Verdict.DIVERGES, key=first, recorded=_recorded(first, outcomes), code=_stands(rehearsed, body))
    if run.state is State.COMPLETED and body.done():
        same = error is None and body.result() == await rehearsed.recorded_result(run)
        if not same:
            recorded = f"{await rehearsed.recorded_result(run)!r:.80}"
            return says(Verdict.DIVERGES, key=END, recorded=recorded, code=_stands(rehearsed, body))
    if run.state is State.COMPLETED and not body.done() and not rehearsed.volatile:
        return says(Verdict.DIVERGES, key=END, recorded="the run's end", code=_stands(rehearsed, body))
    return says(Verdict.OK)


def _stands(rehearsed: _Rehearsal, body: asyncio.Task[Any]) -> str:
    """Where the code has come to."""
    if not body.done():
        return ", ".join(rehearsed.new[:3]) or "waits for something of its own"
    if body.cancelled():
        return "cancels itself"
    error = body.exception()
    return f"returns {body.result()!r:.80}" if error is None else f"raises {error!r:.120}"


def _recorded(key: str, outcomes: Outcomes) -> str:
    mark = outcomes.standing.get(key)
    match mark.entry if mark is not None else None:
        case StepCompleted(value=value):
            return f"{_shown(value)}"
        case StepFailed(error=error):
            return f"{error.type}: {error.message:.80}"
        case StepVolatile():
            return "a volatile value"
    return "that it came about"


def _shown(data: bytes) -> str:
    try:
        return f"{decode_value(data)!r:.80}"
    except Exception:  # a class that is gone
        return "a value"


class _Rehearsal(Execution):
    """A run whose code gets nothing done."""

    def __init__(self, run: Run, entries: Sequence[Entry], clock: VirtualClock, stored: Stored) -> None:
        recall = Recall.of(entries)
        journal = Journal(MemoryBus("rehearsed", MemoryServer(clock)), clock)
        super().__init__(Writer(journal, run, (), ""), recall, journal, max(run.attempt, 1), stored=stored)
        self.virtual = clock
        self.new: list[str] = []
        """The awaits at which the code stands that have no outcome, in the order in which it came to them."""
        self.volatile: list[str] = []
        """Those of them that ran before, and whose values were not kept."""
        self.recalling = True
        self._run = run

    @property
    def left(self) -> set[str]:
        """Recorded outcomes that the code did not come to; what lies within an await where it stands may yet come."""
        return {
            key
            for key in self.recall.unseen
            if not key.endswith(UNDO) and not any(key.startswith(f"{new}/") for new in self.new)
        }

    async def perform(self, task: Task[..., Any]) -> Any:
        """The task's code."""
        context.execution.set(self)
        arguments = task.signature.decode(await self.stored.fetch(self._run.payload))
        for name, argument in arguments.items():
            if isinstance(argument, Ended):
                arguments[name] = await self.stored.at_hand(argument)
        return await task.fn(**arguments)

    async def recorded_result(self, run: Run) -> Any:
        return None if run.result is None else await self.stored.decode(run.result)

    async def known(self, key: str) -> Outcome | None:
        outcome = self._take(key)
        if outcome is None:
            if self.recall.volatile(key):
                self.volatile.append(key)
            await self._stand(key)
        if isinstance(outcome, StepFailed) and (await super().known(key)) is None:
            await self._stand(key)  # it was cut short, and is not any more
        return outcome

    async def _stand(self, key: str) -> NoReturn:
        """Go no further: what comes would have to be run."""
        self.new.append(key)
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nothing comes of it")

    async def record(self, entry: StepCompleted | StepFailed | StepVolatile) -> None:
        """What follows from recorded outcomes alone, like the end of a `gather`, need not be recorded."""

    async def ready(self, key: str) -> None:
        await self._stand(key)

    async def _trigger(self, orders: Mapping[str, Order], task: str) -> dict[str, Exception]:
        await self._stand(next(iter(orders)))

    def _capture(self, entry: Any) -> None:
        """What the code takes from outside between its awaits is made anew where it was not recorded."""

    def _say(self, entry: Entry) -> None:
        """Nobody hears of progress."""

    def secret(self, name: str) -> str:
        return self.stored.vault.value(name, self.recall.pins.get(name))

    def expose(self, name: str, answer: Any) -> None:
        """Nobody asks."""

    def inline(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        def make(key: str) -> Coroutine[Any, Any, Any]:
            return self._inlined(key, task, args, kwargs)

        return Call(task.name, make, lambda: self._new_key(task.name))

    async def _inlined(self, key: str, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A task that is part of this run: its own awaits are checkpoints too."""
        outcome = self._take(key)
        if outcome is not None:
            return await self.recalled(key, outcome)
        if task.checkpoint == "steps":
            await self._stand(key)
        with self.under_way(key, self.now()):
            return await task.fn(*args, **kwargs)
