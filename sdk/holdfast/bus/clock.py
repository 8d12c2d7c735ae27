"""Time as holdfast sees it: the wall's, or one that a test moves."""

from __future__ import annotations

import functools
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import anyio

from holdfast.core.model import Instant, Seconds

Cancel: TypeAlias = Callable[[], None]
"""Idempotent, also after the call."""


class Clock(Protocol):
    """Tells the time and calls back."""

    def now(self) -> Instant:
        """Seconds since the epoch."""

    def call_at(self, due: Instant, call: Callable[[], None]) -> Cancel:
        """Have something called at an instant, never before; at once, but not from within this, where it is past."""


async def sleep(clock: Clock, seconds: Seconds) -> None:
    """Wait on a clock; at least for one turn of the loop."""
    await until(clock, clock.now() + seconds, anyio.Event())


async def until(clock: Clock, due: Instant, stirred: anyio.Event) -> None:
    """Wait for an instant on a clock, or for an event before it; the event is set either way."""
    cancel = clock.call_at(due, stirred.set)
    try:
        await stirred.wait()
    finally:
        cancel()


class WallClock:
    """Real time, in the running loop."""

    def now(self) -> Instant:
        return time.time()

    def call_at(self, due: Instant, call: Callable[[], None]) -> Cancel:
        cancel: Cancel = _running_loop().call_later(max(due - time.time(), 0.0), call).cancel
        return cancel


@functools.cache
def _loop_getter() -> Callable[[], Any]:
    from asyncio import get_running_loop  # 20 ms, for who only imports a task or the configuration

    return get_running_loop


def _running_loop() -> Any:
    return _loop_getter()()


class VirtualClock:
    """Stands still until it is moved; then what is due is called in order, each at its own instant."""

    def __init__(self, now: Instant = 1_800_000_000.0) -> None:
        self._now = now
        self._order = itertools.count()
        self._calls: list[tuple[Instant, int, Callable[[], None]]] = []
        self._cancelled: set[int] = set()

    def now(self) -> Instant:
        return self._now

    def call_at(self, due: Instant, call: Callable[[], None]) -> Cancel:
        number = next(self._order)
        heapq.heappush(self._calls, (due, number, call))
        return lambda: self._cancelled.add(number)

    def advance(self, seconds: Seconds) -> None:
        """Move on, calling what becomes due, also what those calls ask for."""
        until = self._now + seconds
        while (due := self.next_due) is not None and due <= until:
            _, _, call = heapq.heappop(self._calls)
            self._now = max(self._now, due)
            call()
        self._now = until

    @property
    def next_due(self) -> Instant | None:
        """When the next call is due, or None; a test may jump there."""
        while self._calls and self._calls[0][1] in self._cancelled:
            self._cancelled.discard(heapq.heappop(self._calls)[1])
        return self._calls[0][0] if self._calls else None
