"""Tasks and steps: what the decorators make of a function."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import types
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

from holdfast import context
from holdfast.client import RunHandle
from holdfast.core.entries import RunCreated
from holdfast.core.model import MAX_INTERRUPTIONS, Retry
from holdfast.errors import DefinitionError, DuplicateTask, EncodeError, PayloadError
from holdfast.payload import Signature
from holdfast.rewrite import rewrite
from holdfast.wire.subjects import TOKEN

P = ParamSpec("P")
R = TypeVar("R")

Checkpoint = Literal["await", "steps"]

TASKS: dict[str, Task[..., Any]] = {}
"""Every task declared in this process, by id."""

EVENT = re.compile(r"(?:[A-Za-z0-9_-]+|\*)(?:\.(?:[A-Za-z0-9_-]+|\*))*(?:\.>)?\Z|>\Z")
"""An event subject with NATS wildcards."""


class Task(Generic[P, R]):
    """A durable task. Called plainly it just runs; `trigger` makes it a run of its own.

    Inside another task's run a plain call runs inline, as a sub-tree of that run.
    """

    def __init__(
        self,
        fn: Callable[P, Any],
        *,
        id: str,
        queue: str,
        retry: Retry,
        checkpoint: Checkpoint,
        on: tuple[str, ...],
        max_interruptions: int,
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.id = id
        self.queue = queue
        self.retry = retry
        self.checkpoint = checkpoint
        self.on = on
        self.max_interruptions = max_interruptions
        self.signature = Signature(id, fn)
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(fn))
        self.code = _fingerprint(fn)
        """Changes with the task's own source."""

    def __repr__(self) -> str:
        return f"<task {self.id}>"

    @property
    def name(self) -> str:
        """The function's name: what its checkpoints are called."""
        return getattr(self.fn, "__name__", self.id)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run it here and now: the function's own result, a coroutine for an `async def`."""
        current = context.execution.get()
        if current is None or not self.is_async:
            return self.fn(*args, **kwargs)
        return current.inline(self, args, kwargs)

    async def trigger(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle:
        """Start a run; durable when this returns.

        Raises:
            PayloadError: the arguments do not fit the signature; nothing was started.
            ConnectError: no client is current (see `holdfast.connect`), or it is not connected.
        """
        return await self.options().trigger(*args, **kwargs)

    async def batch_trigger(self, payloads: Iterable[Mapping[str, Any]]) -> list[RunHandle | Exception]:
        """Start a run for each payload, in order, in few round trips; an item that can't be started is its error."""
        return await self.options().batch_trigger(payloads)

    def trigger_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Inside a run: start a child run and await its result; the parent's slot is free meanwhile.

        Raises:
            ChildFailed: the child ended without a result.
        """
        current = context.execution.get()
        if current is None:
            return self._triggered_result(*args, **kwargs)
        return current.child(self.id, self.queue, self.signature.encode(args, kwargs))

    async def _triggered_result(self, *args: P.args, **kwargs: P.kwargs) -> R:
        handle = await self.trigger(*args, **kwargs)
        return typing.cast(R, await handle.result())

    def options(
        self,
        *,
        queue: str | None = None,
        delay: float = 0.0,
        priority: int | None = None,
        retry: Retry | None = None,
        tags: Iterable[str] = (),
    ) -> Options[P, R]:
        """The same task, triggered with other settings."""
        settings: dict[str, Any] = {"queue": queue or self.queue, "delay": delay, "retry": retry, "tags": tuple(tags)}
        if priority is not None:
            settings["priority"] = priority
        return Options(self, settings)


class Options(Generic[P, R]):
    """A task with trigger settings of its own."""

    def __init__(self, task: Task[P, R], settings: dict[str, Any]) -> None:
        self._task = task
        self._settings = settings

    async def trigger(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle:
        """As `Task.trigger`."""
        return await context.client().start(self._created(self._task.signature.encode(args, kwargs)))

    async def batch_trigger(self, payloads: Iterable[Mapping[str, Any]]) -> list[RunHandle | Exception]:
        """As `Task.batch_trigger`."""
        items = [self._item(payload) for payload in payloads]
        started = iter(await context.client().start_many(item for item in items if isinstance(item, RunCreated)))
        return [next(started) if isinstance(item, RunCreated) else item for item in items]

    def _item(self, payload: Mapping[str, Any]) -> RunCreated | Exception:
        try:
            return self._created(self._task.signature.encode((), payload))
        except (PayloadError, EncodeError) as error:
            return error

    def _created(self, payload: bytes) -> RunCreated:
        return context.client().new_run(self._task.id, payload, **self._settings)


class Step(Generic[P, R]):
    """One await with a policy of its own. Outside a run it is the plain function."""

    def __init__(self, fn: Callable[P, Awaitable[R]], *, retry: Retry, name: str) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.retry = retry
        self.name = name

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Methods can be steps too."""
        if instance is None:
            return self
        return Step(types.MethodType(self.fn, instance), retry=self.retry, name=self.name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        current = context.execution.get()
        if current is None:
            return self.fn(*args, **kwargs)
        return current.step(self, args, kwargs)


@overload
def task(fn: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...
@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    id: str | None = None,
    queue: str = "default",
    retry: Retry | None = None,
    checkpoint: Checkpoint = "await",
    on: str | Iterable[str] = (),
    max_interruptions: int = MAX_INTERRUPTIONS,
) -> Callable[[Callable[P, Any]], Task[P, Any]]: ...
def task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    id: str | None = None,
    queue: str = "default",
    retry: Retry | None = None,
    checkpoint: Checkpoint = "await",
    on: str | Iterable[str] = (),
    max_interruptions: int = MAX_INTERRUPTIONS,
) -> Any:
    """Make a function a durable task: every `await` in its own body becomes a checkpoint.

    Args:
        id: default: the function's name with '-' for '_'.
        queue: where its runs wait.
        retry: default 3 attempts, 1 s to 60 s, doubling, with jitter.
        checkpoint: "await": each await; "steps": only calls of `@step` functions.
        on: event subjects that start a run with the event's JSON object as payload, NATS wildcards.
        max_interruptions: more crashes of its worker than this in one attempt end a run dead.

    Raises:
        DuplicateTask: another task has the id.
        SourceUnavailable: the source can't be read (REPL, exec): use `checkpoint="steps"`.
        DefinitionError: the function or an option can't work.
    """
    if fn is None:
        return lambda f: task_of(f, id, queue, retry, checkpoint, on, max_interruptions)
    return task_of(fn, id, queue, retry, checkpoint, on, max_interruptions)


def task_of(
    fn: Callable[..., Any],
    id: str | None,
    queue: str,
    retry: Retry | None,
    checkpoint: Checkpoint,
    on: str | Iterable[str],
    max_interruptions: int,
) -> Task[..., Any]:
    """What `task` does, with every setting named."""
    if not callable(fn) or isinstance(fn, type):
        raise DefinitionError(f"@task: expected a function, found {fn!r}")
    name = id or getattr(fn, "__name__", "").replace("_", "-").strip("-")
    for kind, text in (("id", name), ("queue", queue)):
        if not TOKEN.match(text):
            raise DefinitionError(f"task {name!r}: {kind} {text!r}: expected letters, digits, '-' and '_'")
    if checkpoint not in ("await", "steps"):
        raise DefinitionError(f'task {name}: checkpoint is "await" or "steps", found {checkpoint!r}')
    events = (on,) if isinstance(on, str) else tuple(on)
    for event in events:
        if not EVENT.match(event):
            raise DefinitionError(
                f"task {name}: on={event!r}: expected a subject such as 'orders.created' or 'orders.*'"
            )
    made: Task[..., Any] = Task(
        fn,
        id=name,
        queue=queue,
        retry=retry or Retry(),
        checkpoint=checkpoint,
        on=events,
        max_interruptions=max_interruptions,
    )
    _register(made)
    inner = inspect.unwrap(fn)
    if checkpoint == "await" and made.is_async and inspect.isfunction(inner):
        rewrite(inner, context.SEAM)
    return made


def _register(made: Task[..., Any]) -> None:
    there = TASKS.get(made.id)
    if there is not None and _origin(there) != _origin(made):
        raise DuplicateTask(
            f"task id {made.id!r} is taken by {'.'.join(_origin(there))}: give {'.'.join(_origin(made))} another id="
        )
    TASKS[made.id] = made


def _origin(made: Task[..., Any]) -> tuple[str, str]:
    inner = inspect.unwrap(made.fn)
    return getattr(inner, "__module__", "?"), getattr(inner, "__qualname__", made.id)


def _fingerprint(fn: Callable[..., Any]) -> str:
    try:
        source = inspect.getsource(inspect.unwrap(fn))
    except (OSError, TypeError):
        return ""
    return hashlib.blake2b(source.encode(), digest_size=6).hexdigest()


@overload
def step(fn: Callable[P, Awaitable[R]], /) -> Step[P, R]: ...
@overload
def step(
    *, retry: Retry | None = None, name: str | None = None
) -> Callable[[Callable[P, Awaitable[R]]], Step[P, R]]: ...
def step(
    fn: Callable[..., Awaitable[Any]] | None = None, /, *, retry: Retry | None = None, name: str | None = None
) -> Any:
    """Give an async function a policy of its own as a step of any run; each call in a run is a checkpoint.

    Args:
        retry: default: no retry of its own; its error goes to the task's code.
        name: what its checkpoints are called; default: the function's name.

    Raises:
        DefinitionError: not an async function.
    """
    if fn is None:
        return lambda f: step_of(f, retry, name)
    return step_of(fn, retry, name)


def step_of(fn: Callable[..., Awaitable[Any]], retry: Retry | None, name: str | None) -> Step[..., Any]:
    """What `step` does, with every setting named."""
    if not inspect.iscoroutinefunction(inspect.unwrap(fn)):
        raise DefinitionError(f"@step {getattr(fn, '__name__', fn)!r}: expected an async function")
    label = name or fn.__name__
    if "/" in label or "#" in label or not label:
        raise DefinitionError(f"@step name {label!r}: '/' and '#' stand for structure in keys: choose another name=")
    return Step(fn, retry=retry or Retry(max_attempts=1), name=label)
