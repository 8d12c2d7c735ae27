"""The client for code that does not await: Flask, Django, scripts.

with connect() as hf:
    handle = hf.trigger("process-order", {"order_id": "A1"})
    print(handle.result(timeout=30))

An event loop in a thread of its own runs the client; any number of threads may call at once, and each waits only for
its own answer. What the client has as `async def` is here under the same name with the same arguments, made by one of
four descriptors; errors come through as they are.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from holdfast.client import Client
from holdfast.errors import HoldfastError
from holdfast.handle import RunHandle
from holdfast.portal import Portal

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class _Method(Generic[P, R]):
    """A blocking method of a front, made from an async one of what stands behind it."""

    def __init__(self, method: Callable[Concatenate[Any, P], Any]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, front: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, front: _Front[Any], owner: type[Any]) -> Callable[P, R]: ...
    def __get__(self, front: _Front[Any] | None, owner: type[Any]) -> Self | Callable[P, R]:
        if front is None:
            return self

        @functools.wraps(self._method)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return self._called(front, lambda behind: self._method(behind, *args, **kwargs))

        return call

    def _called(self, front: _Front[Any], call: Callable[[Any], Any]) -> R:
        raise NotImplementedError


class _Answers(_Method[P, R]):
    """It returns what the async one does."""

    def __init__(self, method: Callable[Concatenate[Any, P], Awaitable[R]]) -> None:
        super().__init__(method)

    def _called(self, front: _Front[Any], call: Callable[[Any], Any]) -> R:
        answer: R = front.ask(call)
        return answer


class _Starts(_Method[P, "BlockingHandle"]):
    """It returns a handle on a run."""

    def __init__(self, method: Callable[Concatenate[Any, P], Awaitable[RunHandle]]) -> None:
        super().__init__(method)

    def _called(self, front: _Front[Any], call: Callable[[Any], Any]) -> BlockingHandle:
        return BlockingHandle(front.portal, front.ask(call))


class _StartsMany(_Method[P, "list[BlockingHandle | Exception]"]):
    """It returns handles on runs, and what went wrong in place of some."""

    def __init__(self, method: Callable[Concatenate[Any, P], Awaitable[list[RunHandle | Exception]]]) -> None:
        super().__init__(method)

    def _called(self, front: _Front[Any], call: Callable[[Any], Any]) -> list[BlockingHandle | Exception]:
        return [one if isinstance(one, Exception) else BlockingHandle(front.portal, one) for one in front.ask(call)]


class _Iterates(_Method[P, Iterator[R]]):
    """It is iterated."""

    def __init__(self, method: Callable[Concatenate[Any, P], AsyncIterator[R]]) -> None:
        super().__init__(method)

    def _called(self, front: _Front[Any], call: Callable[[Any], Any]) -> Iterator[R]:
        source: Any = call(front.behind())
        end = object()

        async def step() -> Any:
            return await anext(source, end)

        async def leave() -> None:
            await source.aclose()

        try:
            while (item := front.portal.call(step)) is not end:
                yield item
        finally:
            with suppress(HoldfastError):  # the connection is gone, and the source with it
                front.portal.call(leave)


class _Front(Generic[S]):
    """What blocking code holds instead of something async."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def behind(self) -> S:
        """The thing itself."""
        raise NotImplementedError

    def ask(self, call: Callable[[S], Awaitable[R]]) -> R:
        """What comes of a call of it, in its event loop."""

        behind = self.behind()

        async def asked() -> R:
            return await call(behind)

        return self.portal.call(asked)


class BlockingClient(_Front[Client]):
    """A connection to one project, for blocking code in any thread; made by `with connect() as hf` or
    `connect().blocking()`, which connects when it is used first. See `Client`."""

    trigger = _Starts(Client.trigger)
    batch_trigger = _StartsMany(Client.batch_trigger)
    emit = _Answers(Client.emit)
    cancel = _Answers(Client.cancel)
    kill = _Answers(Client.kill)
    complete = _Answers(Client.complete)
    signal = _Answers(Client.signal)
    resolve = _Answers(Client.resolve)
    query = _Answers(Client.query)
    retry = _Answers(Client.retry)
    replay = _Starts(Client.replay)
    fork = _Starts(Client.fork)
    runs = _Answers(Client.runs)
    get = _Answers(Client.get)
    history = _Answers(Client.history)
    run_counts = _Answers(Client.run_counts)
    queues = _Answers(Client.queues)
    purge_queue = _Answers(Client.purge_queue)
    letters = _Answers(Client.letters)
    letter_groups = _Answers(Client.letter_groups)
    metrics = _Answers(Client.metrics)
    drop_letter = _Answers(Client.drop_letter)
    logs = _Answers(Client.logs)
    follow_logs = _Iterates(Client.follow_logs)
    follow_output = _Iterates(Client.follow_output)
    health = _Answers(Client.health)
    misfits = _Answers(Client.misfits)
    pause = _Answers(Client.pause)
    workers = _Answers(Client.workers)
    drain_worker = _Answers(Client.drain_worker)
    resume_worker = _Answers(Client.resume_worker)
    stop_worker = _Answers(Client.stop_worker)
    audit = _Answers(Client.audit)
    audited = _Answers(Client.audited)
    cards = _Answers(Client.cards)
    card = _Answers(Client.card)
    why = _Answers(Client.why)
    limit = _Answers(Client.limit)
    limits = _Answers(Client.limits)
    configured_limits = _Answers(Client.configured_limits)
    faults = _Answers(Client.faults)
    event_runs = _Answers(Client.event_runs)
    replay_events = _Answers(Client.replay_events)
    schedules = _Answers(Client.schedules)
    create_schedule = _Answers(Client.create_schedule)
    delete_schedule = _Answers(Client.delete_schedule)
    pause_schedule = _Answers(Client.pause_schedule)
    resume_schedule = _Answers(Client.resume_schedule)
    run_schedule = _Starts(Client.run_schedule)
    next_ticks = _Answers(Client.next_ticks)
    reschedule = _Answers(Client.reschedule)
    schedule_pasts = _Answers(Client.schedule_pasts)
    events = _Answers(Client.events)
    event = _Answers(Client.event)
    tokens = _Answers(Client.tokens)
    create_token = _Answers(Client.create_token)
    revoke_token = _Answers(Client.revoke_token)

    def behind(self) -> Client:
        return self.portal.open()

    def run(self, id: str) -> BlockingHandle:
        """A handle on a run by its id; nothing is asked yet."""
        return BlockingHandle(self.portal, self.behind().run(id))

    def close(self) -> None:
        """Deliver what was sent and disconnect; calls that are under way end with `ConnectError`. Idempotent."""
        self.portal.close()

    def __enter__(self) -> Self:
        self.portal.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class BlockingHandle(_Front[RunHandle]):
    """A run, seen from blocking code. See `RunHandle`."""

    def __init__(self, portal: Portal, handle: RunHandle) -> None:
        super().__init__(portal)
        self._handle = handle

    status = _Answers(RunHandle.status)
    result = _Answers(RunHandle.result)
    cancel = _Answers(RunHandle.cancel)
    kill = _Answers(RunHandle.kill)
    retry = _Answers(RunHandle.retry)
    signal = _Answers(RunHandle.signal)
    resolve = _Answers(RunHandle.resolve)
    query = _Answers(RunHandle.query)
    replay = _Starts(RunHandle.replay)
    fork = _Starts(RunHandle.fork)
    events = _Iterates(RunHandle.events)

    def behind(self) -> RunHandle:
        return self._handle

    @property
    def id(self) -> str:
        return self._handle.id

    @property
    def cached(self) -> bool:
        """Whether the trigger found the run by its key, instead of creating it."""
        return self._handle.cached

    def __repr__(self) -> str:
        return f"<run {self.id}>"
