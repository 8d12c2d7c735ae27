"""The order in which waiting runs of a queue are looked at: by priority, keys in turn, within a key by age.

A key that was looked at in vain rests until it is woken, so that a thousand keys at their limit cost nothing.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import NamedTuple

from holdfast.core.model import Instant, Run


class TurnKey(NamedTuple):
    """What takes turns: runs that are limited and counted alike, but for their tasks."""

    concurrency: str
    rate: str


class Turns:
    """The waiting runs of one queue."""

    def __init__(self, stands: Callable[[str, int], bool]) -> None:
        """
        Args:
            stands: whether a run of this id and first sequence waits yet; one that does not is dropped when met.
        """
        self._stands = stands
        self._rings: dict[int, _Ring] = {}
        """By priority."""
        self._sleepers: list[tuple[Instant, TurnKey]] = []
        """A heap of keys to be woken then."""

    def add(self, run: Run) -> None:
        """A run waits from now on; one that does already is added to no harm."""
        if run.priority not in self._rings:
            self._rings[run.priority] = _Ring()
            self._rings = dict(sorted(self._rings.items()))
        self._rings[run.priority].add(turn_key(run), run)

    def next(self, blocked: Callable[[str], Instant | None]) -> str | None:
        """The run whose turn it is; its key goes to the end of the ring.

        Args:
            blocked: of a run, why not: when to look at its key again, infinity: when it is woken; None: nothing
                holds it back.
        """
        for ring in self._rings.values():
            while (key := ring.first) is not None:
                found = self._of_key(ring, key, blocked)
                if found is not None:
                    ring.awake.move_to_end(key)
                    return found
                del ring.awake[key]
        return None

    def _of_key(self, ring: _Ring, key: TurnKey, blocked: Callable[[str], Instant | None]) -> str | None:
        """The oldest of a key's runs, at most one of each task, that nothing holds back."""
        best: tuple[int, str] | None = None
        for task, line in list(ring.lines[key].items()):
            head = self._head(line)
            if head is None:
                del ring.lines[key][task]
                continue
            until = blocked(head[1])
            if until is None:
                best = head if best is None else min(best, head)
            elif until < math.inf:
                heapq.heappush(self._sleepers, (until, key))
        if not ring.lines[key]:
            ring.forget(key)
        return None if best is None else best[1]

    def _head(self, line: list[tuple[int, str]]) -> tuple[int, str] | None:
        while line:
            first, run = line[0]
            if self._stands(run, first):
                return line[0]
            heapq.heappop(line)
        return None

    def wake(self, concurrency_key: str) -> None:
        """Something of a concurrency key has changed."""
        for ring in self._rings.values():
            ring.wake(concurrency_key)

    def wake_key(self, key: TurnKey) -> None:
        """Look at this key again."""
        for ring in self._rings.values():
            if key in ring.lines:
                ring.awake[key] = None

    def wake_all(self) -> None:
        """Something that concerns every key has changed."""
        for ring in self._rings.values():
            for key in ring.lines:
                ring.awake.setdefault(key)

    def awaken(self, now: Instant) -> Instant:
        """Wake the keys whose time has come; when to do so again."""
        while self._sleepers and self._sleepers[0][0] <= now:
            self.wake_key(heapq.heappop(self._sleepers)[1])
        return self._sleepers[0][0] if self._sleepers else math.inf


class _Ring:
    """The keys of one priority."""

    def __init__(self) -> None:
        self.awake: OrderedDict[TurnKey, None] = OrderedDict()
        """Those to be looked at, whose turn it is next first."""
        self.lines: defaultdict[TurnKey, dict[str, list[tuple[int, str]]]] = defaultdict(dict)
        """By key and task: a heap of first sequences and ids."""
        self._alike: defaultdict[str, set[TurnKey]] = defaultdict(set)
        """The keys of each concurrency key."""

    @property
    def first(self) -> TurnKey | None:
        return next(iter(self.awake), None)

    def add(self, key: TurnKey, run: Run) -> None:
        heapq.heappush(self.lines[key].setdefault(run.task, []), (run.first, run.id))
        self._alike[key.concurrency].add(key)
        self.awake.setdefault(key)

    def wake(self, concurrency_key: str) -> None:
        for key in self._alike.get(concurrency_key, ()):
            self.awake.setdefault(key)

    def forget(self, key: TurnKey) -> None:
        """Nothing of this key waits any more."""
        self.lines.pop(key, None)
        alike = self._alike[key.concurrency]
        alike.discard(key)
        if not alike:
            del self._alike[key.concurrency]


def turn_key(run: Run) -> TurnKey:
    """The key of a run."""
    return TurnKey(run.concurrency_key, run.rate_key)
