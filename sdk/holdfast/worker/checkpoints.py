"""Checkpoints: what is known of an await is recalled, what is new is run and recorded, exceptions and all.

A new await while recorded ones are left over is a divergence, once nobody is left who could come to those.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeGuard

from holdfast.bus.clock import sleep
from holdfast.bus.journal import Journal
from holdfast.context import observer
from holdfast.core import ids
from holdfast.core.entries import (
    ChildEnded,
    Diverged,
    Entry,
    EventArrived,
    Resolved,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepVolatile,
    TokenCompleted,
)
from holdfast.core.lifecycle import PAUSE
from holdfast.core.model import ErrorInfo, Seconds
from holdfast.core.recall import Outcome, Recall
from holdfast.errors import (
    ChildFailed,
    CodeDiverged,
    EncodeError,
    RecordedError,
)
from holdfast.task import OnDivergence
from holdfast.wire.values import decode_exception
from holdfast.worker.divergence import Ways
from holdfast.worker.limits import Limit
from holdfast.worker.stored import Stored
from holdfast.worker.waits import Waits
from holdfast.worker.writer import Writer

log = logging.getLogger("holdfast.worker")

SHOWN_AFTER = 0.25
"""Seconds after which a step that is under way is recorded as started, for operators to see."""

CUT = "asyncio.CancelledError"
"""What is recorded of an await that the task's own code cancelled, as `asyncio.timeout` does, and went on after."""

PATIENCE = 5.0
"""Seconds beyond its first time for which a recalled await waits to be cut short again."""

MISSING = 100
"""Recorded awaits that one entry of a divergence names at most."""

REFUSALS = 5
"""How often code that was told to end is told so at once where it goes on."""

current_scope: ContextVar[str] = ContextVar("holdfast_scope", default="")
"""The checkpoint within which the current code creates awaitables."""


class Checkpoints:
    """The awaits of a run in one worker."""

    def __init__(
        self,
        writer: Writer,
        recall: Recall,
        journal: Journal,
        attempt: int,
        *,
        stored: Stored,
        on_divergence: OnDivergence = "branch",
    ) -> None:
        run = writer.run
        self.id = run.id
        self.task = run.task
        self.attempt = attempt
        self.tags = run.tags
        self.now = journal.clock
        self.recalling = not recall.caught_up
        """Whether the code still goes over ground that the journal knows; its output is silent meanwhile."""
        self.ending = False
        """Whether somebody outside cancels this code."""
        self.stopped = False
        """Whether the run was taken from this code: it gets nothing done any more, not even in a `finally`."""
        self.strayed = False
        """Whether the code went on while it was parked: it is not where the journal is any more."""
        self.branches: set[asyncio.Task[Any]] = set()
        """Tasks that run steps of this run."""
        self.shielded: set[asyncio.Task[Any]] = set()
        """Those of them that a cancellation leaves alone."""
        self.open: dict[str, float] = {}
        """Steps under way, with their start."""
        self.steps: set[str] = set()
        """Those of them that have a policy of their own, also between their tries."""
        self.stored = stored
        self.recall = recall
        self.writer = writer
        self.clock = journal.time
        self.waits = Waits(recall, self.open, journal.time)
        self.limits: dict[str, tuple[Limit, Seconds]] = {}
        """Of steps under way that must show signs of life, with how long they may be silent."""
        self._observer = observer.get()
        self._shown: set[str] = set()
        self._journal = journal
        self._raised: dict[int, tuple[BaseException, list[str]]] = {}
        self._cut: dict[str, StepFailed] = {}
        """Steps that were cancelled from within the task's code, until that goes on."""
        self._derived: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._captured: asyncio.Future[None] | None = None
        """Done when all that the code took from outside between its awaits is durable."""
        self._on_divergence = on_divergence
        self.ways = Ways(recall, journal.time)
        self.refused: CodeDiverged | None = None
        """Set once the code has taken another way, and its task says that this is an error."""
        self._verdict: asyncio.Future[None] | None = None
        """Pending while it is decided what becomes of code that has taken another way."""
        self._refusals = 0
        """How often the code came to an await after the run was taken from it."""

    # --- checkpoints ------------------------------------------------------------------------------------------------

    async def checkpoint(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Run an await, or recall it."""
        outcome = await self.known(key)
        if outcome is not None:
            return await self.recalled(key, outcome)
        started = self.now()
        try:
            await self.ready(key)
            started = self.now()
            with self.under_way(key, started):
                value = await make()
        except asyncio.CancelledError as cut:
            self.cut(key, started, cut)
            raise
        except Exception as error:
            await self.failed(key, started, error)
            raise
        await self.completed(key, started, value)
        return value

    async def known(self, key: str) -> Outcome | None:
        """The recorded outcome of an await, if it is to be used; None: run it."""
        self._track(asyncio.current_task())
        await self._slow_down()
        if self.refused is not None:
            raise self.refused
        outcome = self._take(key)
        if outcome is None:
            if not self.recall.caught_up and not self.recall.begun(key):
                await self._doubt(key)
        elif was_cut(outcome):
            await self._cut_again(key, outcome)
            return None
        return outcome

    async def ready(self, key: str) -> None:
        """Before anything new happens: the claim stands, and so does all that the code has taken from outside."""
        self._check_held()
        await self.writer.claimed()
        if (captured := self._captured) is not None:
            await self.writer.until(captured)
            if self._captured is captured:  # till then others wait for it too
                self._captured = None
        self.recalling = False

    def cut(self, key: str, started: float, cut: asyncio.CancelledError) -> None:
        """An await was cancelled: by the task's own code, where nobody ends that."""
        self._note(key, cut)
        if not self.ending:
            now = self.now()
            self._cut[key] = StepFailed(key, now, now - started, ErrorInfo(CUT, "cancelled by the task's own code"))

    @contextmanager
    def cuttable(self, key: str, started: float) -> Iterator[None]:
        """An await in the block may be cancelled by the task's own code: that is an outcome."""
        try:
            yield
        except asyncio.CancelledError as cut:
            self.cut(key, started, cut)
            raise

    async def _cut_again(self, key: str, outcome: StepFailed) -> None:
        """Wait for the cancellation that cut this await short before; where none comes, it runs after all."""
        self.waits.kept += 1
        try:
            await sleep(self.clock, outcome.took + PATIENCE)
        except asyncio.CancelledError as cut:
            self._note(key, cut)
            raise
        finally:
            self.waits.kept -= 1
            self.waits.stir()

    async def _slow_down(self) -> None:
        """Code that swallows its cancellation and comes here again and again must not take the worker with it."""
        if self.stopped:
            self._refusals += 1
            if self._refusals > REFUSALS:
                await asyncio.sleep(min(1.0, 0.01 * (self._refusals - REFUSALS)))

    def _check_held(self) -> None:
        """Raises: CancelledError: the run was taken from this code, or it woke by itself while it was parked."""
        if self.waits.parked:
            self.strayed = True
        if self.stopped or self.waits.parked:
            raise asyncio.CancelledError

    def _take(self, key: str) -> Outcome | None:
        self._check_held()
        outcome = self.recall.take(key)
        if self.recalling and self.recall.caught_up:
            self.recalling = False
        return outcome

    async def recalled(self, key: str, outcome: Outcome) -> Any:
        error: BaseException
        match outcome:
            case StepCompleted():
                return await self.stored.decode(outcome.value)
            case StepFailed():
                error = _recorded(outcome.error)
                for within in self.recall.came_from(key):
                    self._note(within, error)
            case ChildEnded() | TokenCompleted() | EventArrived():
                return await self._arrived(key, outcome)
        self._note(key, error)
        raise error

    async def _arrived(self, key: str, outcome: ChildEnded | TokenCompleted | EventArrived) -> Any:
        info = None if isinstance(outcome, EventArrived) else outcome.error
        if info is None:
            return None if outcome.value is None else await self.stored.decode(outcome.value)
        error = _child_failed(outcome, info) if isinstance(outcome, ChildEnded) else _recorded(info)
        self._note(key, error)
        raise error

    def derived_id(self) -> str:
        """The id of a run that the current step triggers: the same where the step runs again."""
        key = current_scope.get()
        self._derived[key] += 1
        return ids.derive(self.writer.run.created_at, self.id, key, "triggered", str(self._derived[key]))

    @contextmanager
    def under_way(self, key: str, started: float) -> Iterator[None]:
        """What is created in the block lies within the await."""
        if self._observer is not None:
            self._observer.runs(self.id, key)
        token = current_scope.set(key)
        self._derived[key] = 0
        self.open[key] = started
        self.ways.begin(key)
        self.waits.stir()
        self._track(asyncio.current_task())
        try:
            yield
        finally:
            current_scope.reset(token)
            del self.open[key]
            self.ways.end(key)
            self._shown.discard(key)
            self.waits.stir()

    def _track(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None and task not in self.branches:
            self.branches.add(task)
            task.add_done_callback(self.branches.discard)

    async def completed(self, key: str, started: float, value: Any, undo: bytes | None = None) -> None:
        """Record that an await returned. Raises: EncodeError: it has an undo, and its value can't be stored."""
        now = self.now()
        try:
            data = await self.stored.encode(value)
        except EncodeError as error:
            if undo is not None:
                raise
            reason = self.stored.redact(str(error))
            log.warning("%s of run %s is volatile, it runs again on resume: %s", key, self.id, reason)
            await self.record(StepVolatile(key, now, now - started, reason))
        else:
            await self.record(StepCompleted(key, now, now - started, data, undo))

    async def failed(self, key: str, started: float, error: Exception) -> None:
        """Record that an await raised."""
        self._note(key, error)
        now = self.now()
        await self.record(StepFailed(key, now, now - started, self.stored.error(error)))

    async def record(self, entry: StepCompleted | StepFailed | StepVolatile) -> None:
        """Append an outcome, behind the cancellations that the task's code went on after."""
        self._check_held()
        self._cut.pop(entry.key, None)
        self._learn(entry)
        await self.writer.durable(*self.passed_over(), entry)

    def _learn(self, entry: Entry) -> None:
        """Keep an outcome at hand where what it lies within may run again: a step that tries again."""
        if not isinstance(entry, StepCompleted | StepFailed):
            return
        self.recall.settle(entry.key)
        if any(entry.key.startswith(f"{key}/") for key in self.steps):
            self.recall.learn(entry)

    def passed_over(self) -> tuple[Entry, ...]:
        """The cancellations that the task's code went on after, and the time limits that were reached: to be recorded
        with what comes next."""
        cut, self._cut = self._cut, {}
        return (*self.waits.reached(), *cut.values())

    def _note(self, key: str, error: BaseException) -> None:
        self._raised.setdefault(id(error), (error, []))[1].append(key)

    def forget(self) -> None:
        """Its code has ended: let go of the exceptions, which hold the frames that hold this."""
        self._raised.clear()

    def fatal(self, error: BaseException) -> tuple[str, ...]:
        """The checkpoints whose exception this one is, or comes from."""
        seen: set[int] = set()
        pending, keys = [error], list[str]()
        while pending:
            current = pending.pop()
            if id(current) in seen:
                continue
            seen.add(id(current))
            if id(current) in self._raised:
                keys.extend(self._raised[id(current)][1])
                continue
            if isinstance(current, BaseExceptionGroup):
                pending.extend(current.exceptions)
            origin = current.__cause__ or current.__context__
            if origin is not None:
                pending.append(origin)
        return tuple(keys)

    def show_slow(self, now: float) -> None:
        """Record the start of steps that have been under way for a while; nobody waits for it."""
        for key, started in self.open.items():
            if key not in self._shown and now - started > SHOWN_AFTER:
                self._shown.add(key)
                self.writer.write(StepStarted(key, started))

    # --- divergence -------------------------------------------------------------------------------------------------

    async def _doubt(self, key: str) -> None:
        """A new await, while recorded ones are left over: has the code changed, or is another branch not there yet?"""
        if self.recall.volatile(key):
            return  # it was not recorded because it could not be
        self.waits.kept += 1
        try:
            lost = await self.ways.lost()
        finally:
            self.waits.kept -= 1
            self.waits.stir()
        if self._verdict is not None:
            await self._verdict
        elif lost:
            self._verdict = asyncio.get_running_loop().create_future()
            try:
                await self._diverged(key, lost)
            finally:
                verdict, self._verdict = self._verdict, None
                verdict.set_result(None)
        if self.refused is not None:
            raise self.refused

    async def _diverged(self, key: str, lost: tuple[str, ...]) -> None:
        """The code took another way: what its task says about that is done."""
        text = (
            f"run {self.id} comes to {key}, which its journal does not know, and not to {lost[0]}"
            f"{' and others' if len(lost) > 1 else ''}, which it does: the code has changed, or takes its ways by "
            "something that no checkpoint holds"
        )
        await self.ready(key)
        if self._on_divergence == "fail":
            self.refused = CodeDiverged(f'{text}; on_divergence is "fail"')
            return
        if self._on_divergence == "pause":
            while (await self.ask(key, text)).action != "accept":
                pass  # run again, and it has come to the same place
        log.warning("%s; it goes on with what is new (see `holdfast runs tree %s`)", text, self.id)
        now = self.now()
        told = [Diverged(key, now, lost[begin : begin + MISSING]) for begin in range(0, len(lost), MISSING)]
        for entry in told:
            self.recall.add(entry)
        await self.writer.durable(*told)

    async def ask(self, key: str, question: str) -> Resolved:
        """Ask an operator; the run pauses until there is an answer."""
        answer = await self.waits.arrival(
            key, lambda: self.recall.answer(key), wait=lambda: PAUSE + key, paused=self.stored.redact(question)
        )
        assert answer is not None
        self.recall.answered(key)
        await self.writer.claimed()
        return answer


def was_cut(outcome: Outcome) -> TypeGuard[StepFailed]:
    return isinstance(outcome, StepFailed) and outcome.error.type == CUT and outcome.error.value is None


def _recorded(info: ErrorInfo) -> BaseException:
    if info.value is not None:
        return decode_exception(info.value)
    return RecordedError(info.type, info.message)


def _child_failed(ended: ChildEnded, error: ErrorInfo) -> ChildFailed:
    return ChildFailed(
        f"child run {ended.child} ended {ended.state}: {error.type}: {error.message}",
        run=ended.child,
        state=ended.state,
        error_type=error.type,
        traceback=error.traceback,
    )


def in_loop() -> bool:
    """Whether this is code of the event loop, not of a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
