"""Tasks: what `@task` makes of a function."""

from __future__ import annotations

import functools
import hashlib
import inspect
import typing
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Generic, Literal, ParamSpec, TypeVar, Unpack, overload

from holdfast import context
from holdfast.client import RunHandle
from holdfast.core.model import MAX_INTERRUPTIONS, Hook, Limits, Rate, Retry, Timeouts
from holdfast.core.schedule import Schedule
from holdfast.declared import BatchItem, Declaration
from holdfast.errors import ConfigError, DefinitionError, DuplicateTask, RunFailed
from holdfast.intake import Filter, Intake, Map
from holdfast.payload import Signature
from holdfast.rewrite import rewrite
from holdfast.ticks import Cron, Every
from holdfast.triggering import Settings, TriggerOptions
from holdfast.wire.ended import Ended
from holdfast.wire.subjects import EVENT, TOKEN

P = ParamSpec("P")
R = TypeVar("R")

Checkpoint = Literal["await", "steps"]
OnDivergence = Literal["branch", "pause", "fail"]

TASKS: dict[str, Task[..., Any]] = {}
"""Every task declared in this process, by id."""


class Task(Generic[P, R]):
    """A durable task. Called plainly it just runs; `trigger` makes it a run of its own.

    Inside another task's run a plain call runs inline, as a sub-tree of that run.
    """

    def __init__(
        self,
        fn: Callable[P, Any],
        *,
        id: str,
        settings: Settings,
        retry: Retry,
        checkpoint: Checkpoint,
        on: tuple[str, ...],
        max_interruptions: int,
        on_divergence: OnDivergence,
        intake: Intake | None = None,
        schedules: tuple[Schedule, ...] = (),
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.id = id
        self.settings = settings
        """How its runs are triggered."""
        self.retry = retry
        self.checkpoint = checkpoint
        self.on = on
        self.intake = intake or Intake()
        """What it takes in of the events that it asks for."""
        self.max_interruptions = max_interruptions
        self.on_divergence = on_divergence
        self.schedules = schedules
        self.signature = Signature(id, fn)
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(fn))
        self.code = _fingerprint(fn)
        """Changes with the task's own source."""

    @property
    def queue(self) -> str:
        """Where its runs wait."""
        return self.settings.queue

    def __repr__(self) -> str:
        return f"<task {self.id}>"

    @property
    def declaration(self) -> Declaration:
        """What triggering it needs to know of it."""
        return self.options().declaration

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

    async def batch_trigger(self, items: Iterable[BatchItem]) -> list[RunHandle | Exception]:
        """Start a run for each item, in order, in few round trips; an item that can't be started is its error.

        Args:
            items: payloads, or pairs of a payload and options of its own: `({"order_id": "A1"}, {"priority": 0})`.
        """
        return await self.options().batch_trigger(items)

    def trigger_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Inside a run: start a child run and await its result; the parent's slot is free meanwhile.

        Raises:
            ChildFailed: the child ended without a result.
        """
        return self.options().trigger_and_wait(*args, **kwargs)

    def batch_trigger_and_wait(self, items: Iterable[BatchItem]) -> Awaitable[list[Any]]:
        """Inside a run: a child run for each item, awaited together: results and failures as values, in order."""
        return self.options().batch_trigger_and_wait(items)

    def options(self, **options: Unpack[TriggerOptions]) -> Options[P, R]:
        """The same task, triggered with other settings: `TriggerOptions`. Raises: ConfigError: one that can't be."""
        return Options(self, self.settings.but(**options))


class Options(Generic[P, R]):
    """A task with trigger settings of its own."""

    def __init__(self, task: Task[P, R], settings: Settings) -> None:
        self._task = task
        self._settings = settings

    @property
    def declaration(self) -> Declaration:
        """What triggering it needs to know of it."""
        return Declaration(self._task.id, self._settings, lambda payload: self._task.signature.encode((), payload))

    async def trigger(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle:
        """As `Task.trigger`."""
        client, payload = context.client(), self._task.signature.encode(args, kwargs)
        return await client.start(client.new_run(self._task.id, payload, self._settings))

    async def batch_trigger(self, items: Iterable[BatchItem]) -> list[RunHandle | Exception]:
        """As `Task.batch_trigger`."""
        return await context.client().batch_trigger(self, items)

    def trigger_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """As `Task.trigger_and_wait`."""
        current = context.execution.get()
        if current is None:
            return self._triggered_result(*args, **kwargs)
        return current.child(self._task.id, self._task.signature.encode(args, kwargs), self._settings)

    def batch_trigger_and_wait(self, items: Iterable[BatchItem]) -> Awaitable[list[Any]]:
        """As `Task.batch_trigger_and_wait`."""
        current = context.execution.get()
        if current is None:
            return self._triggered_results(list(items))
        return current.children(self._task.id, [self.declaration.order(item) for item in items])

    async def _triggered_result(self, *args: P.args, **kwargs: P.kwargs) -> R:
        handle = await self.trigger(*args, **kwargs)
        return typing.cast(R, await handle.result())

    async def _triggered_results(self, items: list[BatchItem]) -> list[Any]:
        started = await self.batch_trigger(items)
        return [item if isinstance(item, Exception) else await _result_or_failure(item) for item in started]


async def _result_or_failure(handle: RunHandle) -> Any:
    try:
        return await handle.result()
    except RunFailed as error:
        return error


@overload
def task(fn: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...
@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    id: str | None = None,
    queue: str = "default",
    priority: int | None = None,
    retry: Retry | None = None,
    timeouts: Timeouts | None = None,
    ttl: float | timedelta | None = None,
    checkpoint: Checkpoint = "await",
    on: str | Iterable[str] = (),
    filter: Filter | None = None,
    map: Map | None = None,
    schedule: Cron | Every | Sequence[Cron | Every] = (),
    concurrency: int | None = None,
    concurrency_key: str | None = None,
    rate: Rate | None = None,
    max_interruptions: int = MAX_INTERRUPTIONS,
    on_divergence: OnDivergence = "branch",
    on_success: Callable[..., Any] | None = None,
    on_failure: Callable[..., Any] | None = None,
    on_cancel: Callable[..., Any] | None = None,
) -> Callable[[Callable[P, Any]], Task[P, Any]]: ...
def task(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a durable task: every `await` in its own body becomes a checkpoint.

    Args:
        id: default: the function's name with '-' for '_'.
        queue: where its runs wait.
        priority: 0 (first) to 9; default 5.
        retry: default 3 attempts, 1 s to 60 s, doubling, with jitter.
        timeouts: of a run and its attempts; default: none.
        ttl: seconds within which a run must have started once it is ready; 0: for ever, whatever the project's default.
        checkpoint: "await": each await; "steps": only calls of `@step` functions.
        on: event subjects that start a run with the event's JSON object as payload, NATS wildcards.
        filter: which of these events: an expression (CEL) like `"event.amount > 100"`, which the daemon evaluates, or
            a function of a `holdfast.events.Event`, which a worker runs.
        map: the run's arguments by name, likewise: `'{"order_id": event.id}'`, or a function. An event that filter or
            map can't read becomes a dead letter with its bytes.
        schedule: when it runs by itself: a `Cron` or an `Every`; or several, each with a name. A parameter named `tick`
            is given the time, as a `holdfast.ticks.Scheduled`; every other one needs a default.
        concurrency: runs at once, over all workers; of each concurrency key apart, where runs have one.
        concurrency_key: path of the payload's field that is a run's concurrency key, such as "customer.id".
        rate: starts in any window of time.
        max_interruptions: more crashes of its worker than this in one attempt end a run dead.
        on_divergence: where changed code takes another way than a run's journal: "branch" goes on with the new one,
            "pause" asks an operator, "fail" ends the run dead.
        on_success, on_failure, on_cancel: a function or task that is run, durably, as a run of its own, when a run has
            ended so, however it came about; called with an `Ended` where it takes an argument.

    Raises:
        DuplicateTask: another task has the id.
        SourceUnavailable: the source can't be read (REPL, exec): use `checkpoint="steps"`.
        DefinitionError: the function or an option can't work.
    """
    if fn is None:
        return lambda f: task_of(f, **options)
    return task_of(fn, **options)


def task_of(
    fn: Callable[..., Any],
    *,
    id: str | None = None,
    queue: str = "default",
    priority: int | None = None,
    retry: Retry | None = None,
    timeouts: Timeouts | None = None,
    ttl: float | timedelta | None = None,
    checkpoint: Checkpoint = "await",
    on: str | Iterable[str] = (),
    filter: Filter | None = None,
    map: Map | None = None,
    schedule: Cron | Every | Sequence[Cron | Every] = (),
    concurrency: int | None = None,
    concurrency_key: str | None = None,
    rate: Rate | None = None,
    max_interruptions: int = MAX_INTERRUPTIONS,
    on_divergence: OnDivergence = "branch",
    on_success: Callable[..., Any] | None = None,
    on_failure: Callable[..., Any] | None = None,
    on_cancel: Callable[..., Any] | None = None,
) -> Task[..., Any]:
    """What `task` does to a function."""
    if not callable(fn) or isinstance(fn, type):
        raise DefinitionError(f"@task: expected a function, found {fn!r}")
    name = id or getattr(fn, "__name__", "").replace("_", "-").strip("-")
    for kind, text in (("id", name), ("queue", queue)):
        if not TOKEN.match(text):
            raise DefinitionError(f"task {name!r}: {kind} {text!r}: expected letters, digits, '-' and '_'")
    for option, value, allowed in (
        ("checkpoint", checkpoint, typing.get_args(Checkpoint)),
        ("on_divergence", on_divergence, typing.get_args(OnDivergence)),
    ):
        if value not in allowed:
            raise DefinitionError(f"task {name}: {option} is one of {', '.join(allowed)}, found {value!r}")
    events = (on,) if isinstance(on, str) else tuple(on)
    for event in events:
        if not EVENT.match(event):
            raise DefinitionError(
                f"task {name}: on={event!r}: expected a subject such as 'orders.created' or 'orders.*'"
            )
    hooks = {"success": on_success, "failure": on_failure, "cancel": on_cancel}
    try:
        settings = Settings(queue=queue).but(
            priority=priority,
            timeouts=timeouts,
            ttl=ttl,
            limits=_limits(concurrency, concurrency_key, rate),
            hooks=tuple(_hook(name, on, hook, queue) for on, hook in hooks.items() if hook is not None),
        )
    except ConfigError as error:
        raise DefinitionError(f"task {name}: {error}") from None
    made: Task[..., Any] = Task(
        fn,
        id=name,
        settings=settings,
        retry=retry or Retry(),
        checkpoint=checkpoint,
        on=events,
        max_interruptions=max_interruptions,
        on_divergence=on_divergence,
        intake=_intake(name, events, filter, map),
        schedules=_schedules(name, schedule),
    )
    _check_schedules(made)
    _register(made)
    if checkpoint == "await" and made.is_async:
        _rewrite(fn)
    return made


def _intake(task: str, on: tuple[str, ...], filter: Filter | None, map: Map | None) -> Intake:
    """What a task takes in of events. Raises: DefinitionError: a filter or map that can't be one."""
    for option, part in (("filter", filter), ("map", map)):
        if part is None:
            continue
        if not on:
            raise DefinitionError(f"task {task}: {option}= is about events, and it asks for none: give it on=")
        if not isinstance(part, str) and (not callable(part) or inspect.iscoroutinefunction(part)):
            raise DefinitionError(
                f"task {task}: {option}={part!r}: expected an expression, or a plain function of an Event, which must "
                "only look at it"
            )
        try:
            Intake(map=part) if option == "map" else Intake(part)  # type: ignore[arg-type]
        except ValueError as error:
            raise DefinitionError(f"task {task}: {option}: expected {error}, found {part!r}") from None
    return Intake(filter, map)


def _limits(concurrency: int | None, concurrency_key: str | None, rate: Rate | None) -> Limits:
    """The limits that a task declares. Raises: ConfigError: one that can't be."""
    if concurrency is not None and (
        isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1
    ):
        raise ConfigError(f"concurrency: expected a whole number from 1, found {concurrency!r}")
    for what, path in (("concurrency_key", concurrency_key), ("rate: key", None if rate is None else rate.key)):
        if path is not None and (not isinstance(path, str) or not all(path.split("."))):
            raise ConfigError(f'{what}: expected the path of a field of the payload like "user.id", found {path!r}')
    return Limits(concurrency=concurrency, concurrency_key=concurrency_key, rate=rate)


def _schedules(task: str, declared: Cron | Every | Sequence[Cron | Every]) -> tuple[Schedule, ...]:
    """The schedules that a task declares. Raises: DefinitionError: one that can't be."""
    found = tuple(declared) if isinstance(declared, list | tuple) else (declared,)
    for spec in found:
        if not isinstance(spec, Cron | Every):
            raise DefinitionError(
                f"task {task}: schedule: expected a Cron, an Every, or a list of them, found {spec!r:.100}"
            )
        if spec.name and not TOKEN.match(spec.name):
            raise DefinitionError(f"task {task}: schedule {spec.name!r}: expected letters, digits, '-' and '_'")
    names = [spec.name for spec in found]
    if len(found) > 1 and ("" in names or len(set(names)) < len(names)):
        raise DefinitionError(f"task {task}: of several schedules each has a name= of its own, found {names}")
    return tuple(spec.of(task) for spec in found)


def _check_schedules(made: Task[..., Any]) -> None:
    """Raises: DefinitionError: a schedule can't call the task, or has the name of another task's."""
    if made.schedules and not (made.signature.takes() or made.signature.takes("tick")):
        raise DefinitionError(
            f"task {made.id}: a schedule runs it without arguments, or with `tick`, a holdfast.ticks.Scheduled, found "
            f"{made.name}{made.signature}: give the other parameters a default"
        )
    for name in (schedule.name for schedule in made.schedules):
        others = (task.id for task in TASKS.values() if any(name == one.name for one in task.schedules))
        if taken := [id for id in others if id != made.id]:
            raise DefinitionError(f"task {made.id}: task {taken[0]} has a schedule {name} too: name= it otherwise")


_rewritten: set[Any] = set()


def _rewrite(fn: Callable[..., Any]) -> None:
    inner = inspect.unwrap(fn)
    if inspect.isfunction(inner) and inner not in _rewritten:
        rewrite(inner, context.SEAM)
        _rewritten.add(inner)


def _hook(task: str, on: str, hook: Callable[..., Any], queue: str) -> Hook:
    """What is triggered when a run of the task has ended so: a task as it is, a function as a task of its own."""
    if isinstance(hook, Task):
        if not hook.signature.takes("ended"):
            raise DefinitionError(
                f"task {task}: on_{on}={hook!r}: expected a task of `ended`, an Ended, found {hook.name}"
                f"{hook.signature}: name its parameter so, and give others a default"
            )
        return Hook(on, hook.id, hook.queue)
    if not inspect.isfunction(hook):
        raise DefinitionError(f"task {task}: on_{on}={hook!r}: expected a function or a task")
    takes = len(inspect.signature(hook).parameters)
    if takes > 1:
        raise DefinitionError(f"task {task}: on_{on}: expected a function of one argument (an Ended) or of none")
    if inspect.iscoroutinefunction(hook):
        _rewrite(hook)
    called = _calling(hook, takes)
    called.__name__, called.__qualname__ = hook.__name__, f"{hook.__qualname__} (on_{on} of {task})"
    called.__module__, called.__doc__ = hook.__module__, hook.__doc__
    made = task_of(called, id=f"{task}--on-{on}", queue=queue, checkpoint="steps")
    return Hook(on, made.id, queue)


def _calling(hook: Callable[..., Any], takes: int) -> Callable[..., Any]:
    """The hook as a function of an `Ended`."""

    async def awaited(ended: Ended) -> Any:
        return await hook(*(ended,)[:takes])

    def called(ended: Ended) -> Any:
        return hook(*(ended,)[:takes])

    return awaited if inspect.iscoroutinefunction(hook) else called


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
