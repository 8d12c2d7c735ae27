"""When to look at which run: for each run the next look, found without going through them all."""

from __future__ import annotations

import heapq
import math

from holdfast.core.model import Instant

_CLUTTER = 1000
"""So many looks that were given up are kept at least before they are cleared away."""


class Agenda:
    """A look for each run at most. A hundred thousand of them cost nothing until they are due."""

    def __init__(self) -> None:
        self._looks: dict[str, tuple[Instant, int]] = {}
        self._order: list[tuple[Instant, str]] = []
        """The same as a heap, with looks that were given up or changed since."""

    def __len__(self) -> int:
        return len(self._looks)

    def set(self, run: str, at: Instant, first: int) -> None:
        """Look at a run then, and not as it was noted before; at infinity: not at all.

        Args:
            first: the run's first sequence, where reading it begins.
        """
        if at == math.inf:
            self.drop(run)
            return
        known = self._looks.get(run)
        self._looks[run] = (at, first)
        if known is None or known[0] != at:
            heapq.heappush(self._order, (at, run))
            self._tidy()

    def hasten(self, run: str, at: Instant, first: int) -> None:
        """Look at a run then, where that is sooner than noted before."""
        known = self._looks.get(run)
        if known is None or at < known[0]:
            self.set(run, at, first)

    def drop(self, run: str) -> None:
        """Don't look at a run."""
        self._looks.pop(run, None)

    def clear(self) -> None:
        """Forget everything."""
        self._looks.clear()
        self._order.clear()

    @property
    def next(self) -> Instant:
        """When the next look is due; infinity: there is none."""
        self._skip()
        return self._order[0][0] if self._order else math.inf

    def due(self, now: Instant, most: int = 1 << 30) -> list[tuple[str, int]]:
        """Take looks that are due, at most so many: runs with their first sequences, those due longest first."""
        taken: list[tuple[str, int]] = []
        while self.next <= now and len(taken) < most:
            _, run = heapq.heappop(self._order)
            taken.append((run, self._looks.pop(run)[1]))
        return taken

    def _skip(self) -> None:
        while self._order and not self._stands(self._order[0]):
            heapq.heappop(self._order)

    def _stands(self, noted: tuple[Instant, str]) -> bool:
        look = self._looks.get(noted[1])
        return look is not None and look[0] == noted[0]

    def _tidy(self) -> None:
        if len(self._order) > _CLUTTER + 2 * len(self._looks):
            self._order = sorted({(at, run) for run, (at, _) in self._looks.items()})
