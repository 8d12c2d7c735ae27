"""How a batch goes: when each of its targets is due, how far it has come, when it will be over."""

from __future__ import annotations

from collections import deque

from holdfast.core.model import Instant, Seconds

SLACK: Seconds = 0.25
"""How far behind its schedule a batch may be and still catch up; what is later than that is not made up for."""
LOOKED_BACK: Seconds = 5.0
"""Over which time a rate is measured."""


class Pace:
    """A schedule: each is due so long after the one before, however long that one took."""

    def __init__(self, rate: float | None, begin: Instant) -> None:
        """
        Args:
            rate: how many a second; None: all at once.
        """
        self.rate = rate
        self._next = begin

    def due(self, now: Instant) -> Instant:
        """When the next one is to be sent: asked once for each."""
        if self.rate is None:
            return now
        due = max(self._next, now - SLACK)
        self._next = due + 1 / self.rate
        return due


class Tally:
    """What became of a batch so far."""

    def __init__(self, total: int, begin: Instant, rate: float | None = None) -> None:
        """
        Args:
            total: how many it is about, as far as is known.
            rate: how many a second are sent at most.
        """
        self.total = total
        self.done = 0
        self.refused = 0
        self.begin = begin
        self._most = rate
        self._ended: deque[Instant] = deque()

    def took(self, now: Instant) -> None:
        """One was done."""
        self.done += 1
        self._end(now)

    def refuse(self, now: Instant) -> None:
        self.refused += 1
        self._end(now)

    def _end(self, now: Instant) -> None:
        self._ended.append(now)
        self._forget(now)

    def _forget(self, now: Instant) -> None:
        while self._ended and now - self._ended[0] > LOOKED_BACK:
            self._ended.popleft()

    @property
    def left(self) -> int:
        return max(0, self.total - self.done - self.refused)

    def rate(self, now: Instant) -> float:
        """How many a second were answered, lately."""
        self._forget(now)
        spent = min(now - self.begin, LOOKED_BACK)
        return len(self._ended) / spent if spent > 0 else 0.0

    def eta(self, now: Instant) -> Seconds | None:
        """How long it will take from now on; None: that can't be said yet."""
        rate = self.rate(now)
        if self._most is not None:
            rate = min(rate, self._most) if rate > 0 else self._most
        return self.left / rate if rate > 0 else None
