"""How many starts lie within a sliding window: those that were promised, and those that came about lately."""

from __future__ import annotations

import heapq
import math

from holdfast.core.model import Instant, Rate, Seconds

MARGIN: Seconds = 0.02
"""How much longer a start counts than the window: code may begin a moment after its start was recorded."""


class Window:
    """The starts that one rate is about.

    A start counts from its promise on: first as open, however late it comes about, then for the window's length.
    """

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        """May be changed at any time."""
        self._open: set[str] = set()
        self._starts: list[Instant] = []
        """A heap of those that count yet."""

    def promise(self, run: str) -> None:
        """A run may start from now on."""
        self._open.add(run)

    def start(self, run: str, at: Instant) -> None:
        """A run has started, promised or not."""
        self._open.discard(run)
        heapq.heappush(self._starts, at)

    def drop(self, run: str) -> bool:
        """A promised run does not start after all; whether it was promised and had not started."""
        if run not in self._open:
            return False
        self._open.discard(run)
        return True

    def full(self, now: Instant) -> Instant | None:
        """When there may be room at the soonest; None: there is; infinity: a promised run has to start first."""
        while self._starts and self._over(self._starts[0]) <= now:
            heapq.heappop(self._starts)
        excess = len(self._open) + len(self._starts) - self.rate.limit + 1
        if excess <= 0:
            return None
        if excess > len(self._starts):
            return math.inf
        return self._over(self._starts[0] if excess == 1 else heapq.nsmallest(excess, self._starts)[-1])

    def _over(self, start: Instant) -> Instant:
        return start + self.rate.per + MARGIN
