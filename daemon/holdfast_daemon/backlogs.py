"""The runs that wait for a worker, by queue and task, counted as the journal is followed."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from holdfast.core.entries import AttemptResumed, AttemptStarted
from holdfast.core.model import Instant, Run, State
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import Ready, Standing


class Line(NamedTuple):
    """What waits in a queue."""

    ready: int
    oldest: Instant | None
    """Since when the one waits that waits longest."""
    taken: int
    """Runs that were taken up so far."""


class Backlogs:
    """A projector's listener. What was ready before the following began counts as ready since then."""

    def __init__(self, live: Callable[[], Mapping[str, Run]], clock: Callable[[], Instant] = time.time) -> None:
        """
        Args:
            live: the runs that have not ended, as folded so far.
        """
        self._live = live
        self._clock = clock
        self._ready: defaultdict[tuple[str, str], dict[str, Instant]] = defaultdict(dict)
        """By queue and task: since when each run has been ready, oldest first."""
        self._taken: Counter[tuple[str, str]] = Counter()
        self._counted = False
        """Whether what was ready when the following began is among them."""

    def restart(self, standings: Sequence[Standing], ready: Sequence[Ready]) -> None:
        """Forget what is ready: the following begins anew."""
        self._ready.clear()
        self._counted = False

    def take(self, changes: Sequence[Change]) -> None:
        """Note what became ready, and what no longer is."""
        for change in changes:
            waits = _waits(change.after)
            if waits or (change.before is not None and _waits(change.before)):
                self._note(change, waits)

    def _note(self, change: Change, waits: bool) -> None:
        key = change.after.queue, change.after.task
        if waits:
            self._ready[key].setdefault(change.run_id, change.time)
        else:
            self._ready[key].pop(change.run_id, None)
            self._taken[key] += any(isinstance(one, AttemptStarted | AttemptResumed) for one in change.record.entries)

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        self._count()
        return not any(self._ready.values())

    def lines(self, tasks: Collection[str] | None) -> dict[str, Line]:
        """What waits in each queue for workers of these tasks; None: of any."""
        self._count()
        found: dict[str, Line] = {}
        for (queue, task), ready in self._ready.items():
            if tasks is None or task in tasks:
                ready_before, oldest, taken = found.get(queue, Line(0, None, 0))
                since = [at for at in (oldest, next(iter(ready.values()), None)) if at is not None]
                found[queue] = Line(
                    ready_before + len(ready), min(since, default=None), taken + self._taken[queue, task]
                )
        return found

    def _count(self) -> None:
        """Take in what was ready when the following began."""
        if self._counted:
            return
        self._counted = True
        now = self._clock()
        for run in self._live().values():
            if _waits(run):
                self._ready[run.queue, run.task].setdefault(run.id, now)


def _waits(run: Run) -> bool:
    """Whether all that the run needs is a worker."""
    if run.state is State.QUEUED:
        return True
    return run.state is State.COMPENSATING and run.holder is None and not run.suspended
