"""A time limit on the code of a run: what `asyncio.timeout` does, on the run's clock and over its suspensions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from holdfast.core.model import Instant, Seconds
from holdfast.worker.waits import BREATH, Alarm, Waits


class Limit:
    """Cancels the code in its block at an instant, and raises TimeoutError there. As `asyncio.Timeout`, used once."""

    def __init__(
        self, waits: Waits, due: Instant | None, *, key: str = "", resumed: bool = False, working: bool = False
    ) -> None:
        """
        Args:
            due: by the run's clock; None: never.
            key: of a limit that is to outlive a suspension of the run.
            resumed: its time runs since before the code was resumed.
            working: what counts is the time in which the run is not suspended.
        """
        self._waits = waits
        self._due = due
        self._key = key
        self._resumed = resumed
        self._working = working
        self._alarm: Alarm | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False

    @property
    def due(self) -> Instant | None:
        """By the run's clock."""
        return self._due

    def when(self) -> float | None:
        """As `asyncio.Timeout.when`: by the loop's clock."""
        if self._due is None:
            return None
        return asyncio.get_running_loop().time() + self._due - self._waits.clock.now()

    def reschedule(self, when: float | None) -> None:
        """As `asyncio.Timeout.reschedule`: by the loop's clock."""
        now = asyncio.get_running_loop().time()
        self.move(None if when is None else self._waits.clock.now() + when - now)

    def move(self, due: Instant | None) -> None:
        """Another instant, by the run's clock."""
        self._due = due
        if self._task is not None:
            self._arm()

    def _delay(self, away: Seconds) -> None:
        if self._due is not None:
            self.move(self._due + away)

    def expired(self) -> bool:
        """Whether the limit was reached."""
        return self._expired

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        if self._working:
            self._waits.delays.add(self._delay)
        self._arm()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        assert task is not None
        self._waits.delays.discard(self._delay)
        self._disarm()
        if self._expired and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _arm(self) -> None:
        self._disarm()
        if self._due is None or self._expired:
            return
        if self._key:
            self._waits.limit(self._key, self._due)
        now = self._waits.clock.now()
        past = self._resumed and self._due <= now
        self._alarm = Alarm(self._waits, now + BREATH if past else self._due, self._expire)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._key:
            self._waits.unlimit(self._key)

    def _expire(self) -> None:
        assert self._task is not None
        self._expired = True
        if self._key and self._due is not None:
            self._waits.reach(self._key, self._due)
        self._task.cancel()


class Kept:
    """A block whose time limit only this process knows (anyio's): the run is not suspended within."""

    def __init__(self, waits: Waits, block: object) -> None:
        self._waits = waits
        self._block = block

    def __getattr__(self, name: str) -> object:
        return getattr(self._block, name)

    def __enter__(self) -> object:
        entered = self._block.__enter__()  # type: ignore[attr-defined]
        self._waits.kept += 1
        return entered

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> object:
        self._waits.kept -= 1
        self._waits.stir()
        leave: Callable[..., object] = self._block.__exit__  # type: ignore[attr-defined]
        return leave(kind, error, trace)
