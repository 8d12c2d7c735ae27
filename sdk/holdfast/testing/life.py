"""The life of a worker's code in a loop that belongs to somebody else: its own time, and a death without last words.

While `lived_in` holds, whatever runs in the context of a `Life` sees virtual time in the loop (`asyncio.sleep`,
`asyncio.timeout`, `loop.call_later`: all that asks the loop), and everybody else sees the real one. When a life ends,
the loop drops every further step of its tasks and callbacks: no `finally` runs, no entry is written, as with SIGKILL.
Python can't forget a suspended coroutine, so `bury` ends them when nobody looks any more; only then cleanup runs.

Threads are real. They are counted, so that whoever waits for quiet waits for them; nobody can kill one.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakSet

from holdfast.bus.clock import Cancel, Clock
from holdfast.core.model import Instant, Seconds

ROUNDS = 5
"""How often code that is buried is cancelled before it is left behind."""

TURNS = 20
"""Of the loop, in each of these rounds."""

MOST_TURNS = 100_000
"""Turns of the loop after which code that never comes to rest is taken as it is."""

BLIND_TURNS = 200
"""Turns of a loop that does not say whether anything is left to run (uvloop)."""

_life: ContextVar[Life | None] = ContextVar("holdfast_life", default=None)


_left_behind: list[asyncio.Task[Any]] = []
"""Code that does not end: were it forgotten, Python would wake it once more."""


class _Dropped(NamedTuple):
    callback: Callable[..., Any]
    args: tuple[Any, ...]
    context: contextvars.Context | None


class Life:
    """What one worker runs, from its start to its end."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.time: Clock = _OwnTime(self, clock)
        """The clock for what lives: after its end nothing of it is called any more."""
        self.ended = False
        self.context = contextvars.copy_context()
        """What belongs to this life runs in here, or in a copy."""
        self.context.run(_life.set, self)
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.threads: set[asyncio.Future[Any]] = set()
        """Calls in threads that have not returned."""
        self.waker: asyncio.Future[None] | None = None
        """Done as soon as something of it is to run."""
        self._dropped: list[_Dropped] = []

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call something as part of this life; nothing is called after its end."""
        return None if self.ended else self.context.copy().run(function, *args)

    async def stirs(self, patience: Seconds) -> bool:
        """Wait in real time for something outside (a socket, a thread) to wake it; whether that came about."""
        self.waker = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait([self.waker], timeout=patience)
            return self.waker.done()
        finally:
            self.waker = None

    def end(self) -> None:
        """From now on nothing of it runs, not even what was about to. Callable from within."""
        self.ended = True
        for handle in getattr(asyncio.get_running_loop(), "_ready", ()):
            context = getattr(handle, "_context", None)
            if not handle.cancelled() and context is not None and context.get(_life) is self:
                self._dropped.append(_Dropped(handle._callback, handle._args, context))
                handle.cancel()

    def drop(self, callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context | None) -> None:
        """Keep what was to run after the end: tasks can't be cancelled without it."""
        self._dropped.append(_Dropped(callback, args, context or contextvars.copy_context()))

    async def bury(self) -> None:
        """End what is suspended: cancelled until it gives in, or left behind."""
        loop = asyncio.get_running_loop()
        self.ended = False
        left = self._left()
        for task in left:
            task.cancel()
        dropped, self._dropped = self._dropped, []
        for callback, args, context in dropped:
            loop.call_soon(callback, *args, context=context)
        for _ in range(ROUNDS):
            for _ in range(TURNS):
                await asyncio.sleep(0)
            left = self._left()
            if not left:
                break
            for task in left:
                task.cancel()
        self.ended = True
        _left_behind.extend(left)
        for task in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with suppress(AttributeError):
                asyncio.tasks._unregister_task(task)

    def _left(self) -> list[asyncio.Task[Any]]:
        return [task for task in self.tasks if not task.done()]


class _OwnTime:
    """A clock that calls back only as long as a life lasts: what is called might ask for the next call, for ever."""

    def __init__(self, life: Life, clock: Clock) -> None:
        self._life = life
        self._clock = clock

    def now(self) -> Instant:
        return self._clock.now()

    def call_at(self, due: Instant, call: Callable[[], None]) -> Cancel:
        return self._clock.call_at(due, lambda: self._life.call(call))


class _Timer:
    """What `loop.call_at` returns: for those who cancel it."""

    def __init__(self, when: float) -> None:
        self._when = when
        self._cancelled = False
        self.stop: Cancel = lambda: None

    def when(self) -> float:
        return self._when

    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self.stop()


@contextmanager
def lived_in() -> Iterator[None]:
    """Let lives have their own time and end in the running loop. May be nested."""
    loop = asyncio.get_running_loop()
    ours = _replacements(loop)
    before = {name: vars(loop)[name] for name in ours if name in vars(loop)}
    for name, function in ours.items():
        setattr(loop, name, function)
    try:
        yield
    finally:
        for name in ours:
            if name in before:
                setattr(loop, name, before[name])
            else:
                delattr(loop, name)


def _replacements(loop: asyncio.AbstractEventLoop) -> dict[str, Callable[..., Any]]:
    """Functions of the loop that know of lives, by name."""
    time, call_soon, call_at, call_later = loop.time, loop.call_soon, loop.call_at, loop.call_later
    create_task, run_in_executor = loop.create_task, loop.run_in_executor

    def time_(*_: Any) -> float:
        life = _life.get()
        return time() if life is None else life.clock.now()

    def call_soon_(callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        life = _life.get() if context is None else context.get(_life)
        if life is None or not life.ended:
            if life is not None and life.waker is not None and not life.waker.done():
                contextvars.Context().run(life.waker.set_result, None)
            return call_soon(callback, *args, context=context)
        life.drop(callback, args, context)
        return asyncio.Handle(callback, args, loop, context)

    def call_at_(when: float, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:
        life = _life.get() if context is None else context.get(_life)
        if life is None:
            return call_at(when, callback, *args, context=context)
        timer, scope = _Timer(when), context or contextvars.copy_context()

        def fire() -> None:
            timer.stop = lambda: None
            call_soon_(run, context=scope)

        def run() -> None:
            if not timer.cancelled():
                callback(*args)

        timer.stop = life.clock.call_at(when, fire)
        return timer

    def call_later_(delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:
        life = _life.get() if context is None else context.get(_life)
        if life is None:
            return call_later(delay, callback, *args, context=context)
        return call_at_(life.clock.now() + delay, callback, *args, context=context)

    def create_task_(coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = create_task(coroutine, **options)
        context = options.get("context")
        life = _life.get() if context is None else context.get(_life)
        if life is not None:
            life.tasks.add(task)
        return task

    def run_in_executor_(executor: Any, function: Any, *args: Any) -> asyncio.Future[Any]:
        called = run_in_executor(executor, function, *args)
        life = _life.get()
        if life is not None:
            threads = life.threads
            threads.add(called)
            contextvars.Context().run(called.add_done_callback, threads.discard)  # counted whoever lives
        return called

    return {
        "time": time_,
        "call_soon": call_soon_,
        "call_at": call_at_,
        "call_later": call_later_,
        "create_task": create_task_,
        "run_in_executor": run_in_executor_,
    }


def sockets() -> int:
    """How many sockets and pipes the loop listens to; 0 where it does not say."""
    selector = getattr(asyncio.get_running_loop(), "_selector", None)
    return len(selector.get_map()) if selector is not None else 0


async def quiet(threads: Callable[[], set[asyncio.Future[Any]]], patience: Seconds) -> None:
    """Wait until nothing is left to run in the loop but what waits: for time, for somebody, or for the outside.

    Args:
        threads: the calls in threads that have not returned.
        patience: seconds after which a thread is taken for one that waits too.
    """
    ready = getattr(asyncio.get_running_loop(), "_ready", None)
    while True:
        for _ in range(BLIND_TURNS if ready is None else MOST_TURNS):
            await asyncio.sleep(0)
            if ready is not None and not ready:
                break
        running = threads()
        if not running:
            return
        done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return
