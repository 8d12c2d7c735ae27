"""What the awaits of a task become: recalled where the journal knows them, else run and recorded.

    known      -> the recorded value, or the recorded exception raised again
    unknown    -> run, append the outcome, wait until it is durable, go on
    volatile   -> run again (a value without an exact round trip; locks, queues and events of the process itself)

Fan-outs (`gather`, `wait_for`, `shield`, task groups) are no checkpoints of their own when they succeed: their branches
are. One that raises is recorded, so that it raises the same on resume whatever the branches' timing.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeGuard

from holdfast.bus.journal import Journal
from holdfast.core import ids
from holdfast.core.entries import (
    ChildEnded,
    ChildTriggered,
    RunCreated,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
)
from holdfast.core.model import ErrorInfo, Parent
from holdfast.core.recall import Outcome, Recall
from holdfast.core.retry import Again, decide
from holdfast.errors import ChildFailed, EncodeError, RecordedError
from holdfast.rewrite import Site
from holdfast.task import Step, Task
from holdfast.wire.values import decode_exception, decode_value, encode_value
from holdfast.worker.calls import Call
from holdfast.worker.completions import Completions, Next
from holdfast.worker.errors import error_info
from holdfast.worker.waits import Waits
from holdfast.worker.writer import Writer

log = logging.getLogger("holdfast.worker")

SHOWN_AFTER = 0.25
"""Seconds after which a step that is under way is recorded as started, for operators to see."""

LARGEST = 4 << 20
"""Bytes of the largest value that a checkpoint holds."""

CUT = "asyncio.CancelledError"
"""What is recorded of an await that the task's own code cancelled, as `asyncio.timeout` does, and went on after."""

PATIENCE = 5.0
"""Seconds beyond its first time for which a recalled await waits to be cut short again."""

_scope: ContextVar[str] = ContextVar("holdfast_scope", default="")
"""The checkpoint within which the current code creates awaitables."""

_FANS: frozenset[Any] = frozenset({asyncio.gather, asyncio.wait_for, asyncio.shield, asyncio.as_completed})
_PROCESS_OWN = (asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Semaphore, asyncio.Queue, asyncio.Barrier)


class Execution:
    """One claim of a run, as the code inside it sees it. Implements `context.Execution`."""

    def __init__(
        self,
        writer: Writer,
        recall: Recall,
        journal: Journal,
        attempt: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        run = writer.run
        self.id = run.id
        self.task = run.task
        self.attempt = attempt
        self.tags = run.tags
        self.recalling = not recall.caught_up
        """Whether the code still goes over ground that the journal knows; its output is silent meanwhile."""
        self.ending = False
        """Whether somebody outside cancels this code."""
        self.stopped = False
        """Whether the run was taken from this code: it gets nothing done any more, not even in a `finally`."""
        self.branches: set[asyncio.Task[Any]] = set()
        """Tasks that run steps of this claim."""
        self.open: dict[str, float] = {}
        """Steps under way, with their start."""
        self._shown: set[str] = set()
        self._writer = writer
        self._recall = recall
        self._journal = journal
        self._clock = clock
        self._raised: dict[int, tuple[BaseException, list[str]]] = {}
        self.waits = Waits(recall, self.open)
        self._cut: dict[str, StepFailed] = {}
        """Steps that were cancelled from within the task's code, until that goes on."""
        self._derived: Counter[str] = Counter()

    # --- called by the seam ---------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        return _scope.get()

    def call(self, site: Site, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        bound = getattr(f, "__self__", None)
        if isinstance(bound, _PROCESS_OWN) or f is asyncio.wait:
            return f(*args, **kwargs)  # type: ignore[no-any-return]
        if _hashable(f) and f in _FANS:
            return self._fan(self._new_key(site.name), f, args, kwargs)
        if isinstance(f, Step | Task) or (isinstance(bound, Task) and f.__name__ == "trigger_and_wait"):
            called = f(*args, **kwargs)
            return called.under(self._new_key(called.__name__)) if isinstance(called, Call) else called
        return self._checkpoint(self._new_key(site.name), lambda: f(*args, **kwargs))

    def value(self, site: Site, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        if isinstance(awaitable, asyncio.Future | Next):
            return awaitable  # a task or future of this process: its branch is the checkpoint
        if isinstance(awaitable, Call):
            return awaitable.under(self._new_key(awaitable.__name__))
        if inspect.iscoroutine(awaitable):
            return self._branch(self._new_key(awaitable.__name__), awaitable)
        return self._checkpoint(self._new_key(site.name), lambda: awaitable)

    def spawn(self, site: Site, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        scope = self._new_key(site.name) if _hashable(f) and f in _FANS else _scope.get()
        if f is asyncio.as_completed:
            return self._as_completed(scope, *args, **kwargs)
        if (args and inspect.iscoroutinefunction(args[0])) or (args and isinstance(args[0], Step | Task)):
            return f(self._starter(scope, args[0]), *args[1:], **kwargs)  # anyio's start_soon(function, *args)
        return f(*(self._as_branch(scope, arg) for arg in args), **kwargs)

    def step(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        return Call(
            step.name,
            lambda key: self._checkpoint(key, lambda: step.fn(*args, **kwargs), step),
            lambda: self._new_key(step.name),
        )

    def inline(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        return Call(
            task.name,
            lambda key: self._checkpoint(key, lambda: task.fn(*args, **kwargs)),
            lambda: self._new_key(task.name),
        )

    def child(self, task: str, queue: str, payload: bytes) -> Call:
        return Call(task, lambda key: self._child(key, task, queue, payload), lambda: self._new_key(task))

    # --- keys and branches ----------------------------------------------------------------------------------------

    def _new_key(self, name: str) -> str:
        return self._recall.key(_scope.get(), name)

    def _as_branch(self, scope: str, argument: Any) -> Any:
        if isinstance(argument, Call):
            return argument.under(self._recall.key(scope, argument.__name__))
        if inspect.iscoroutine(argument):
            return self._branch(self._recall.key(scope, argument.__name__), argument)
        return argument

    def _as_completed(self, scope: str, awaitables: Iterable[Any], *, timeout: float | None = None) -> Completions:
        branches = [self._as_branch(scope, awaitable) for awaitable in awaitables]
        return Completions(scope, branches, timeout, self._checkpoint)

    def _starter(self, scope: str, f: Callable[..., Any]) -> Callable[..., Any]:
        key = self._recall.key(scope, getattr(f, "__name__", "call"))

        @functools.wraps(f)
        async def start(*args: Any, **kwargs: Any) -> Any:
            called = f(*args, **kwargs)
            return await (called.under(key) if isinstance(called, Call) else self._branch(key, called))

        return start

    async def _branch(self, key: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await self._checkpoint(key, lambda: coroutine)
        finally:
            coroutine.close()  # where its outcome was recalled it never ran

    async def _fan(self, key: str, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        branches = [self._as_branch(key, arg) for arg in args]
        outcome = self._take(key)
        if outcome is not None:
            for branch in branches:
                if inspect.iscoroutine(branch):
                    branch.close()
            for coroutine in args:
                if inspect.iscoroutine(coroutine):
                    coroutine.close()
            return self._recalled(key, outcome)
        started = self._clock()
        try:
            return await f(*branches, **kwargs)
        except Exception as error:
            await self._failed(key, started, error)
            raise

    # --- checkpoints ------------------------------------------------------------------------------------------------

    async def _checkpoint(
        self, key: str, make: Callable[[], Awaitable[Any]], step: Step[..., Any] | None = None
    ) -> Any:
        outcome = self._take(key)
        if outcome is not None and not _was_cut(outcome):
            return self._recalled(key, outcome)
        if outcome is not None:
            await self._cut_again(key, outcome)
        while True:
            started = self._clock()
            try:
                await self._writer.claimed()
                self.recalling = False
                if step is not None:
                    await self._due(key)
                started = self._clock()
                with self._under_way(key, started):
                    value = await make()
            except asyncio.CancelledError as cut:
                self._note(key, cut)
                if not self.ending:
                    now = self._clock()
                    info = ErrorInfo(CUT, "cancelled by the task's own code")
                    self._cut[key] = StepFailed(key, now, now - started, info)
                raise
            except Exception as error:
                if step is not None and await self._again(key, step, started, error):
                    continue
                await self._failed(key, started, error)
                raise
            await self._completed(key, started, value)
            return value

    async def _cut_again(self, key: str, outcome: StepFailed) -> None:
        """Wait for the cancellation that cut this await short before; where none comes, it runs after all."""
        try:
            await asyncio.sleep(outcome.took + PATIENCE)
        except asyncio.CancelledError as cut:
            self._note(key, cut)
            raise

    def _take(self, key: str) -> Outcome | None:
        if self.stopped:
            raise asyncio.CancelledError
        outcome = self._recall.take(key)
        if self.recalling and self._recall.caught_up:
            self.recalling = False
        return outcome

    def _recalled(self, key: str, outcome: Outcome) -> Any:
        match outcome:
            case StepCompleted():
                return decode_value(outcome.value)
            case StepFailed():
                error: BaseException = _recorded(outcome.error)
            case ChildEnded():
                if outcome.error is None:
                    return decode_value(outcome.value) if outcome.value is not None else None
                error = _child_failed(outcome)
        self._note(key, error)
        raise error

    def derived_id(self) -> str:
        """The id of a run that the current step triggers: the same where the step runs again."""
        key = _scope.get()
        self._derived[key] += 1
        return ids.derive(self._writer.run.created_at, self.id, key, "triggered", str(self._derived[key]))

    @contextmanager
    def _under_way(self, key: str, started: float) -> Iterator[None]:
        token = _scope.set(key)
        self._derived[key] = 0
        self.open[key] = started
        self.waits.stir()
        self._track(asyncio.current_task())
        try:
            yield
        finally:
            _scope.reset(token)
            del self.open[key]
            self._shown.discard(key)
            self.waits.stir()

    def _track(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None and task not in self.branches:
            self.branches.add(task)
            task.add_done_callback(self.branches.discard)

    async def _completed(self, key: str, started: float, value: Any) -> None:
        now = self._clock()
        try:
            data = encode_value(value)
            if len(data) > LARGEST:
                raise EncodeError(f"{len(data):,} bytes: a checkpoint holds at most {LARGEST:,}")
        except EncodeError as error:
            log.warning("%s of run %s is volatile, it runs again on resume: %s", key, self.id, error)
            await self._record(StepVolatile(key, now, now - started, str(error)))
        else:
            await self._record(StepCompleted(key, now, now - started, data))

    async def _failed(self, key: str, started: float, error: Exception) -> None:
        self._note(key, error)
        now = self._clock()
        await self._record(StepFailed(key, now, now - started, error_info(error)))

    async def _record(self, entry: StepCompleted | StepFailed | StepVolatile) -> None:
        """Append an outcome, behind the cancellations that the task's code went on after."""
        cut, self._cut = self._cut, {}
        cut.pop(entry.key, None)
        await self._writer.durable(*cut.values(), entry)

    async def _due(self, key: str) -> None:
        """Wait until the step's next try is due, also where the tries before were another worker's."""
        wait = self._recall.tried(key).due - self._clock()
        if wait > 0:
            await asyncio.sleep(wait)

    async def _again(self, key: str, step: Step[..., Any], started: float, error: Exception) -> bool:
        """Record a failed try where the step's own policy tries again."""
        number = self._recall.tried(key).failed + 1
        decision = decide(error, policy=step.retry, failed=number, seed=f"{self.id}{key}")
        if not isinstance(decision, Again):
            return False
        now = self._clock()
        entry = StepRetried(key, now, now - started, error_info(error), number, now + decision.after)
        self._recall.add(entry)
        await self._writer.durable(entry)
        return True

    def _note(self, key: str, error: BaseException) -> None:
        self._raised.setdefault(id(error), (error, []))[1].append(key)

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
                self._writer.write(StepStarted(key, started))

    # --- waits ------------------------------------------------------------------------------------------------------

    async def _child(self, key: str, task: str, queue: str, payload: bytes) -> Any:
        outcome = self._take(key)
        if outcome is None:
            await self._writer.claimed()
            self.recalling = False
            if self._recall.child(key) is None:
                await self._trigger_child(key, task, queue, payload)
            outcome = await self.waits.arrival(key)
        return self._recalled(key, outcome)

    async def _trigger_child(self, key: str, task: str, queue: str, payload: bytes) -> None:
        run = self._writer.run
        now = self._clock()
        child = ids.derive(run.created_at, run.id, key, str(run.attempt))
        created = RunCreated(
            run=child,
            at=now,
            task=task,
            payload=payload,
            queue=queue,
            priority=run.priority,
            parent=Parent(run.id, key),
            source="child",
        )
        await self._journal.insist(lambda: self._journal.create(created))
        entry = ChildTriggered(key, now, child, task)
        self._recall.add(entry)
        await self._writer.durable(entry)


def _was_cut(outcome: Outcome) -> TypeGuard[StepFailed]:
    return isinstance(outcome, StepFailed) and outcome.error.type == CUT and outcome.error.value is None


def _recorded(info: ErrorInfo) -> BaseException:
    if info.value is not None:
        return decode_exception(info.value)
    return RecordedError(info.type, info.message)


def _child_failed(ended: ChildEnded) -> ChildFailed:
    error = ended.error
    assert error is not None
    return ChildFailed(
        f"child run {ended.child} ended {ended.state}: {error.type}: {error.message}",
        run=ended.child,
        state=ended.state,
        error_type=error.type,
        traceback=error.traceback,
    )


def _hashable(f: object) -> bool:
    return type(f).__hash__ is not None
