"""How the queues stand, counted as the journal is followed: nothing is asked of the history after the start.

Rates and durations go by the times at which messages were stored, so that catching up does not look like a rush. Time
comes in as a parameter.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from math import ceil
from typing import NamedTuple

from holdfast.core.admission import Cause, Hold, QueueLimits
from holdfast.core.model import Instant, Run, Seconds, State
from holdfast.wire.api import Presence, QueueRow, Queues, ReadyRun
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import Ready, Standing

RATE_OVER = 10
"""Seconds over which rates are taken."""

ENDED_OVER, ENDED_STEP = 60, 5
"""Seconds that `QueueRow.ended` covers, and of each of its numbers."""

LENGTHS_OVER: Seconds = 300.0
"""How far back durations count."""

OLDEST = 3
"""Runs that are named as waiting longest."""

_DURATIONS_KEPT = 2048


class Rule(NamedTuple):
    """What is set of a queue, and what holds it back."""

    limits: QueueLimits = QueueLimits()
    hold: Hold | None = None


class Gauges:
    """Counters of every queue. A projector's listener."""

    def __init__(self) -> None:
        self._queues: defaultdict[str, _Queue] = defaultdict(_Queue)
        self._messages = _PerSecond()

    def restart(self, standings: Sequence[Standing], ready: Sequence[Ready]) -> None:
        """Forget everything and begin from what the history holds; `ready` is ordered, oldest first."""
        self._queues.clear()
        self._messages = _PerSecond()
        for queue, state, runs, paused in standings:
            self._queues[queue].states[state] = runs
            self._queues[queue].paused += paused
        for run, queue, since, task in ready:
            self._queues[queue].ready[run] = (since, task)

    def take(self, changes: Sequence[Change]) -> None:
        """Count what happened."""
        for change in changes:
            self._messages.add(change.time)
            before, after = change.before, change.after
            if before is None or before.state is not after.state:
                self._queues[after.queue].move(change)
            asks = bool(after.paused) - (before is not None and bool(before.paused))
            if asks:
                self._queues[after.queue].pause(asks)

    def runs(self) -> dict[tuple[str, State], int]:
        """How many runs there are, by queue and state, ended ones too."""
        return {(name, state): runs for name, queue in self._queues.items() for state, runs in queue.states.items()}

    def queues(
        self,
        now: Instant,
        workers: Iterable[Presence] = (),
        rules: Mapping[str, Rule] | None = None,
    ) -> Queues:
        """All queues that have runs, workers or rules, by name.

        What the server's consumers count is of no use here: work items are hints, and one that a lost worker had is
        neither pending nor done.
        """
        present = list(workers)
        serving = Counter(queue for worker in present if not worker.draining for queue in worker.queues)
        known = {queue for worker in present for queue in worker.queues}
        ruled = rules or {}
        rows = [
            (self._queues[name] if name in self._queues else _Queue()).row(
                name, now, serving[name], ruled.get(name, Rule())
            )
            for name in sorted({*self._queues, *known, *ruled})
        ]
        return Queues(tuple(rows), now, self._messages.rate(now))

    def ready_since(self, run: Run) -> Instant | None:
        """Since when a run is queued; None: it is not, as far as is known here."""
        found = self._queues[run.queue].ready.get(run.id) if run.queue in self._queues else None
        return None if found is None else found[0]


class _Queue:
    def __init__(self) -> None:
        self.states: Counter[State] = Counter()
        self.ready: dict[str, tuple[Instant, str]] = {}
        """When each queued run came to be so, and its task; oldest first."""
        self.paused = 0
        """Runs that wait for an operator."""
        self._created = _PerSecond()
        self._ended = _PerSecond()
        self._durations: deque[tuple[Instant, Seconds]] = deque(maxlen=_DURATIONS_KEPT)
        """End and length of the newest runs that ended."""

    def move(self, change: Change) -> None:
        before, after = change.before, change.after
        if before is None:
            self._created.add(change.time)
        else:
            self._count(before.state, -1)
        self._count(after.state, 1)
        if after.state is State.QUEUED:
            self.ready[after.id] = (change.time, after.task)
        else:
            self.ready.pop(after.id, None)
        if after.final and (before is None or not before.final):
            self._ended.add(change.time)
            if after.started_at is not None and after.finished_at is not None:
                self._durations.append((change.time, after.finished_at - after.started_at))

    def pause(self, by: int) -> None:
        self.paused = max(0, self.paused + by)

    def _count(self, state: State, by: int) -> None:
        self.states[state] = max(0, self.states[state] + by)

    def row(self, name: str, now: Instant, workers: int, rule: Rule) -> QueueRow:
        states = self.states
        hold = rule.hold
        limited_by = str(hold.cause) if hold is not None else ""
        if not limited_by and states[State.QUEUED] and not workers:
            limited_by = str(Cause.UNSERVED)
        oldest = [ReadyRun(run, task, since) for run, (since, task) in islice(self.ready.items(), OLDEST)]
        lengths = sorted(length for at, length in self._durations if at >= now - LENGTHS_OVER)
        return QueueRow(
            name=name,
            paused=hold is not None and hold.cause is Cause.PAUSED,
            limit=rule.limits.concurrency,
            key_limit=rule.limits.key_concurrency,
            rate=rule.limits.rate,
            limited_by=limited_by,
            until=hold.until if hold is not None else None,
            depth=states[State.QUEUED],
            running=states[State.RUNNING],
            waiting=states[State.WAITING],
            retrying=states[State.RETRYING],
            delayed=states[State.DELAYED],
            dead=states[State.DEAD],
            oldest=oldest[0].since if oldest else None,
            oldest_runs=tuple(oldest),
            in_rate=self._created.rate(now),
            out_rate=self._ended.rate(now),
            p50=_rank(lengths, 0.5),
            p95=_rank(lengths, 0.95),
            p99=_rank(lengths, 0.99),
            ended=self._ended.buckets(now),
            workers=workers,
            compensating=states[State.COMPENSATING],
            paused_runs=self.paused,
        )


def _rank(lengths: Sequence[Seconds], share: float) -> Seconds | None:
    """So many of these sorted lengths are not longer; by nearest rank."""
    return lengths[ceil(share * len(lengths)) - 1] if lengths else None


class _PerSecond:
    """How often something happened in each of the last `ENDED_OVER` seconds and in the one that runs."""

    _SLOTS = ENDED_OVER + 4

    def __init__(self) -> None:
        self._counts = [0] * self._SLOTS
        self._seconds = [-1] * self._SLOTS
        """Which second each slot is of."""

    def add(self, at: Instant) -> None:
        second = int(at)
        slot = second % self._SLOTS
        if self._seconds[slot] == second:
            self._counts[slot] += 1
        elif self._seconds[slot] < second:
            self._seconds[slot], self._counts[slot] = second, 1

    def rate(self, now: Instant) -> float:
        """Per second, over the `RATE_OVER` full seconds before this one."""
        return self._sum(int(now) - RATE_OVER, int(now)) / RATE_OVER

    def buckets(self, now: Instant) -> tuple[int, ...]:
        """Over the last full minute, oldest first."""
        end = int(now)
        return tuple(self._sum(at, at + ENDED_STEP) for at in range(end - ENDED_OVER, end, ENDED_STEP))

    def _sum(self, begin: int, end: int) -> int:
        return sum(
            self._counts[second % self._SLOTS]
            for second in range(begin, end)
            if self._seconds[second % self._SLOTS] == second
        )
