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
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from holdfast.bus.journal import Journal
from holdfast.core import ids
from holdfast.core.entries import (
    ChildEnded,
    ChildTriggered,
    Entry,
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
from holdfast.worker.errors import error_info
from holdfast.worker.writer import Writer

log = logging.getLogger("holdfast.worker")

SHOWN_AFTER = 0.25
"""Seconds after which a step that is under way is recorded as started, for operators to see."""

LARGEST = 4 << 20
"""Bytes of the largest value that a checkpoint holds."""

_scope: ContextVar[str] = ContextVar("holdfast_scope", default="")
"""The checkpoint within which the current code creates awaitables."""

_FANS: frozenset[Any] = frozenset({asyncio.gather, asyncio.wait_for, asyncio.shield, asyncio.as_completed})
_PROCESS_OWN = (asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Semaphore, asyncio.Queue, asyncio.Barrier)


class Call(Coroutine[Any, Any, Any]):
    """A step or inline task that was called and not yet awaited: whoever awaits it gives it its key."""

    def __init__(self, name: str, make: Callable[[str], Coroutine[Any, Any, Any]], default: Callable[[], str]) -> None:
        self.__name__ = name
        self._make = make
        self._default = default
        self._coroutine: Coroutine[Any, Any, Any] | None = None

    def under(self, key: str) -> Coroutine[Any, Any, Any]:
        """The coroutine that runs it as the checkpoint `key`."""
        return self._make(key)

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._coroutine is None:
            self._coroutine = self._make(self._default())
        return self._coroutine

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        return self._begun().throw(*error)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._begun().__await__()


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
        self.stopped = False
        """Whether the run was taken from this code: it gets nothing done any more, not even in a `finally`."""
        self.branches: set[asyncio.Task[Any]] = set()
        """Tasks that run branches."""
        self.on_quiet: Callable[[], None] = lambda: None
        """Called when nothing is under way but waits."""
        self.open: dict[str, float] = {}
        """Steps under way, with their start."""
        self._shown: set[str] = set()
        self._writer = writer
        self._recall = recall
        self._journal = journal
        self._clock = clock
        self._raised: dict[int, tuple[BaseException, list[str]]] = {}
        self._waiting: dict[str, asyncio.Future[ChildEnded]] = {}
        self._moves = 0
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
        if isinstance(awaitable, asyncio.Future):
            return awaitable  # a task or future of this process: its branch is the checkpoint
        if isinstance(awaitable, Call):
            return awaitable.under(self._new_key(awaitable.__name__))
        if inspect.iscoroutine(awaitable):
            return self._branch(self._new_key(awaitable.__name__), awaitable)
        return self._checkpoint(self._new_key(site.name), lambda: awaitable)

    def spawn(self, site: Site, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        scope = self._new_key(site.name) if _hashable(f) and f in _FANS else _scope.get()
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

    def _starter(self, scope: str, f: Callable[..., Any]) -> Callable[..., Any]:
        key = self._recall.key(scope, getattr(f, "__name__", "call"))

        @functools.wraps(f)
        async def start(*args: Any, **kwargs: Any) -> Any:
            called = f(*args, **kwargs)
            return await (called.under(key) if isinstance(called, Call) else self._branch(key, called))

        return start

    async def _branch(self, key: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.current_task()
        if task is not None:
            self.branches.add(task)
            task.add_done_callback(self.branches.discard)
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
        if outcome is not None:
            return self._recalled(key, outcome)
        await self._writer.claimed()
        self.recalling = False
        while True:
            if step is not None:
                await self._due(key)
            started = self._clock()
            try:
                with self._under_way(key, started):
                    value = await make()
            except Exception as error:
                if step is not None and await self._again(key, step, started, error):
                    continue
                await self._failed(key, started, error)
                raise
            await self._completed(key, started, value)
            return value

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
        self._moves += 1
        try:
            yield
        finally:
            _scope.reset(token)
            del self.open[key]
            self._shown.discard(key)
            self._moves += 1
            self._watch_quiet()

    async def _completed(self, key: str, started: float, value: Any) -> None:
        now = self._clock()
        try:
            data = encode_value(value)
            if len(data) > LARGEST:
                raise EncodeError(f"{len(data):,} bytes: a checkpoint holds at most {LARGEST:,}")
        except EncodeError as error:
            log.warning("%s of run %s is volatile, it runs again on resume: %s", key, self.id, error)
            await self._writer.durable(StepVolatile(key, now, now - started, str(error)))
        else:
            await self._writer.durable(StepCompleted(key, now, now - started, data))

    async def _failed(self, key: str, started: float, error: Exception) -> None:
        self._note(key, error)
        now = self._clock()
        await self._writer.durable(StepFailed(key, now, now - started, error_info(error)))

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
            outcome = await self._arrival(key)
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

    async def _arrival(self, key: str) -> Outcome:
        arrived = self._recall.take(key)
        if arrived is not None:
            return arrived
        future: asyncio.Future[ChildEnded] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        self._moves += 1
        self._watch_quiet()
        try:
            return await future
        finally:
            self._waiting.pop(key, None)
            self._moves += 1

    def hear(self, entry: Entry) -> None:
        """Take in what somebody told the run."""
        self._recall.add(entry)
        if isinstance(entry, ChildEnded) and (future := self._waiting.get(entry.key)) is not None and not future.done():
            future.set_result(entry)

    @property
    def waits(self) -> tuple[str, ...]:
        """The keys that it waits for."""
        return tuple(self._waiting)

    def _watch_quiet(self) -> None:
        if self._waiting:
            asyncio.get_running_loop().call_later(LINGER, self._check_quiet, self._moves)

    def _check_quiet(self, moves: int) -> None:
        if moves == self._moves and self._waiting and all(self._blocked(key) for key in self.open):
            self.on_quiet()

    def _blocked(self, key: str) -> bool:
        """Whether a step that is under way does nothing but wait, in an await below it."""
        return any(wait.startswith(key + "/") for wait in self._waiting)


LINGER = 0.1
"""Seconds for which a run that only waits stays with its worker: what comes quickly needs no resume."""


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
