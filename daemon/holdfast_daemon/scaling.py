"""How many worker processes a pool wants, by what waits for them. Pure: time and demand come in as parameters.

Up fast: where all slots are taken and what waits has waited too long, or will at the pace at which runs are taken up;
at most twice as many at a time, and not again before those serve. Where slots are free and runs wait all the same (a
worker may be blocked, or something holds them that nobody here knows of) one more is tried, once until nothing waits.

Down slowly: one at a time, when one less would have done for a while. Slots alone don't tell that: a process that is
out of breath with a hundred short runs has nearly all its slots free once it has help. So it is remembered what one
process did when it could no more, and none is given up whose work the others could not do. That memory is dropped when
each process does far more than that: then the runs are others.

Processes that an operator drained have no slots; while all are drained none is begun in their place.

What no further worker could take up does not count: runs in a paused queue, and those that a queue's limit holds back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil, inf
from typing import NamedTuple

from msgspec import Struct

from holdfast.core.model import Seconds

FULL = 0.8
"""The share of the slots that counts as all of them; as many are in use at most where one process is given up."""

PROOF: Seconds = 1.0
"""How long the slots have been taken before it is believed: a burst is often gone by then."""

OTHERS = 2.0
"""So many times what a process could do, as measured over some seconds, is more than it ever could with such runs."""


class Backlog(Struct, frozen=True, kw_only=True):
    """What waits in a queue for the workers of a pool."""

    queue: str
    ready: int
    """Runs that are ready and that nobody holds."""
    age: Seconds = 0.0
    """How long the oldest of them has waited."""
    taken: int = 0
    """Runs that were taken up so far; only ever more."""
    paused: bool = False
    room: int | None = None
    """How many more runs the queue's limit lets start; None: any number."""

    @property
    def workable(self) -> int:
        """Runs that a worker with a free slot would take up now."""
        if self.paused:
            return 0
        return self.ready if self.room is None else max(0, min(self.ready, self.room))


class Demand(Struct, frozen=True, kw_only=True):
    """What is asked of a pool."""

    backlogs: tuple[Backlog, ...] = ()
    runs: dict[str, int] = {}
    """How many runs each process of the pool has that serves, by its name."""
    elsewhere: bool = False
    """Whether workers that are not the pool's serve the same tasks."""
    drained: int = 0
    """How many of those processes take up nothing, as an operator told them."""

    @property
    def serving(self) -> int:
        """Processes of the pool that serve."""
        return len(self.runs)

    @property
    def busy(self) -> int:
        """Slots of theirs that are in use."""
        return sum(self.runs.values())

    @property
    def workable(self) -> int:
        """Runs that a worker with a free slot would take up now."""
        return sum(backlog.workable for backlog in self.backlogs)


class _Mark(NamedTuple):
    """Since when something holds, and what had been taken up by then."""

    at: Seconds
    taken: Mapping[str, int]

    def since(self, backlogs: Iterable[Backlog]) -> int:
        """How many runs were taken up since then."""
        return sum(max(0, backlog.taken - self.taken.get(backlog.queue, backlog.taken)) for backlog in backlogs)


class _Wait(NamedTuple):
    """How long the runs of a queue wait, or will; the greatest one is the worst."""

    seconds: Seconds
    age: Seconds
    workable: int
    why: str


class Scaler:
    """The size of one pool."""

    def __init__(
        self, *, least: int, most: int, concurrency: int, up_after: Seconds, idle_after: Seconds, size: int
    ) -> None:
        """
        Args:
            concurrency: slots of a process.
            up_after: how long ready runs may wait.
            idle_after: how long one process less must have done before one is given up.
            size: how many there are.
        """
        self.size = size
        """As decided last."""
        self.why = ""
        """What led to it."""
        self._least = least
        self._most = most
        self._concurrency = concurrency
        self._up_after = up_after
        self._idle_after = idle_after
        self._unsettled_at: Seconds = -inf
        """When, the last time, not all processes served."""
        self._full = False
        """Whether all slots are taken."""
        self._behind: _Mark | None = None
        """Since when runs have been waiting at each look."""
        self._calm: _Mark | None = None
        """Since when one process less would do."""
        self._tried = False
        """Whether one more was tried for what waits though slots are free."""
        self._pace: float | None = None
        """Runs per second that one process took up when it could no more."""

    def decide(self, now: Seconds, demand: Demand) -> int:
        """How many processes there should be; `now` is of a clock that never goes back."""
        self._note(now, demand)
        wait = None if self._tried and not self._full else self._waits_too_long(now, demand)
        if wait is not None:
            self._calm = None
            if self._may_grow(now, demand):
                self._grow(now, demand, wait)
        elif self._spare(now, demand):
            self._move(now, self.size - 1, f"{self.size - 1} would have done for {self._idle_after:g} s")
        return self.size

    def _note(self, now: Seconds, demand: Demand) -> None:
        """Keep in mind since when it is like this."""
        if demand.serving < self.size:
            self._unsettled_at = now
        able = demand.serving - demand.drained
        self._full = 0 < FULL * able * self._concurrency <= demand.busy
        if not demand.workable:
            self._tried, self._behind = False, None
        elif self._behind is None:
            self._behind = _mark(now, demand)

    # --- more -------------------------------------------------------------------------------------------------------

    def _waits_too_long(self, now: Seconds, demand: Demand) -> _Wait | None:
        """The queue whose runs wait longest, if that is too long."""
        waits = [self._wait(now, backlog, demand) for backlog in demand.backlogs if backlog.workable]
        worst = max(waits, default=None)
        return worst if worst is not None and worst.seconds > self._up_after else None

    def _wait(self, now: Seconds, backlog: Backlog, demand: Demand) -> _Wait:
        """How long a queue's runs wait, or will. The age of what a limit holds back says nothing."""
        ready = f"{_runs(backlog.workable)} of {backlog.queue} {'is' if backlog.workable == 1 else 'are'} ready"
        if self.size == 0 and not demand.elsewhere:
            return _Wait(inf, backlog.age, backlog.workable, f"{ready} and no worker is there")
        age = backlog.age if backlog.room is None else 0.0
        left = self._left(now, backlog)
        if age > self._up_after:
            why = f"{ready}, the oldest for {age:.0f} s"
        else:
            why = f"{ready}, " + (f"enough for {left:.0f} s at this pace" if left < inf else "none is taken up")
        return _Wait(max(age, left), age, backlog.workable, why)

    def _left(self, now: Seconds, backlog: Backlog) -> Seconds:
        """How long what waits will last where all slots are taken, at the pace at which runs are taken up."""
        if not self._full or self._behind is None or now - self._behind.at < self._proof:
            return 0.0
        taken = self._behind.since([backlog])
        return backlog.workable * (now - self._behind.at) / taken if taken else inf

    @property
    def _proof(self) -> Seconds:
        return min(PROOF, self._up_after)

    def _may_grow(self, now: Seconds, demand: Demand) -> bool:
        if self.size >= self._most or demand.serving < self.size:
            return False
        if 0 < demand.serving == demand.drained:
            return False  # who drained all of them wants nothing to be taken up
        if self.size == 0:
            return True
        proven = self._behind is not None and now - self._behind.at >= self._proof
        return proven and now - self._unsettled_at >= self._up_after

    def _grow(self, now: Seconds, demand: Demand, wait: _Wait) -> None:
        size = self.size + 1
        if self._full:
            wanted = ceil((demand.busy + demand.workable) / self._concurrency)
            size = max(size, min(wanted, 2 * self.size))
        self._tried = self.size > 0 and not self._full
        if self.size and self._behind is not None:
            lasted, taken = now - self._behind.at, self._behind.since(demand.backlogs)
            self._pace = taken / lasted / self.size if taken and lasted else None
        self._unsettled_at = now
        self._move(now, min(size, self._most), wait.why)

    # --- fewer ------------------------------------------------------------------------------------------------------

    def _spare(self, now: Seconds, demand: Demand) -> bool:
        """Whether one process less has done for long enough."""
        left = self.size - 1
        wanted = demand.busy + (0 if self._tried else demand.workable)
        if left < self._least or wanted > FULL * left * self._concurrency:
            self._calm = None
        elif self._calm is None:
            self._calm = _mark(now, demand)
        elif now - self._calm.at >= self._idle_after:
            taken, lasted = self._calm.since(demand.backlogs), now - self._calm.at
            self._calm = _mark(now, demand)
            return self._could(left, taken, lasted)
        return False

    def _could(self, left: int, taken: int, lasted: Seconds) -> bool:
        """Whether so many processes could have taken up so many runs."""
        if left == 0:
            return taken == 0
        load = taken / lasted if lasted else 0.0
        if self._pace is None or load > OTHERS * self._pace * self.size:
            self._pace = None
            return True
        return load <= FULL * self._pace * left

    def _move(self, now: Seconds, size: int, why: str) -> None:
        self.size, self.why = size, why
        self._behind = self._calm = None


def _mark(now: Seconds, demand: Demand) -> _Mark:
    return _Mark(now, {backlog.queue: backlog.taken for backlog in demand.backlogs})


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"
