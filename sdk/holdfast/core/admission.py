"""Which runs of queues with limits may go to a worker. Slots and starts are counted from the fold: no crash leaks one.

A run has a slot from its admission until it waits, fails or ends. Who was promised one (its admission is on its way, or
its outcome unknown) has it too, and its start counts from then on: so no limit is exceeded, whatever lies between
promise, admission and start, and however often the one who promises dies. The order is that of `turns`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

import msgspec

from holdfast.core.model import Instant, Limits, Rate, Run, State
from holdfast.core.turns import TurnKey, Turns, turn_key
from holdfast.core.window import Window


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a queue. On the wire: control value `queue` as configured, `limits` as an operator set them."""

    concurrency: int | None = None
    """Runs at once, over all workers and keys; None: no limit."""
    key_concurrency: int | None = None
    """Runs at once of each concurrency key."""
    rate: Rate | None = None
    """Starts, over all keys."""
    by: str = ""
    """Who set them; empty: the configuration."""

    def __bool__(self) -> bool:
        return self.concurrency is not None or self.key_concurrency is not None or self.rate is not None


class Cause(StrEnum):
    """What holds a run back."""

    PAUSED = "paused"
    """Its queue is paused."""
    QUEUE = "queue limit"
    """As many runs of its queue as may run at once have a slot."""
    KEY = "key limit"
    """The same of its concurrency key."""
    TASK = "task limit"
    """The same of its task."""
    RATE = "queue rate"
    """As many runs of its queue have started as may within the window."""
    TASK_RATE = "task rate"
    """The same of its task, or of its rate key."""
    UNSERVED = "no worker"
    """No worker serves its task."""
    TURN = "its turn"
    """Nothing but that others go first."""


class Hold(NamedTuple):
    """Why a run has no slot."""

    cause: Cause
    bound: int = 0
    """The limit; 0 where the cause is none."""
    per: float = 0.0
    """Seconds of a rate's window."""
    until: Instant | None = None
    """When the cause is over at the soonest; None: not known."""


class Admission:
    """The runs of governed queues: who waits, who has a slot, who is next."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._tasks: dict[str, Limits] = {}
        self._served: frozenset[str] = frozenset()
        self._running: Counter[tuple[str, str]] = Counter()
        """Slots by task and concurrency key, over all queues."""
        self._windows: dict[tuple[str, str], _Shared] = {}
        """By task and rate key."""
        self._known: dict[str, _Known] = {}
        self._promised: set[str] = set()

    # --- what it is told --------------------------------------------------------------------------------------------

    def govern(self, queue: str, limits: QueueLimits) -> None:
        """Decide about this queue from now on, or by other limits."""
        if queue not in self._queues:
            self._queues[queue] = _Queue(limits, self._stands)
        else:
            self._queues[queue].limit(limits)

    @property
    def queues(self) -> frozenset[str]:
        """Those that are governed."""
        return frozenset(self._queues)

    def pause(self, queues: frozenset[str]) -> None:
        """These queues are paused, and no others."""
        for name, queue in self._queues.items():
            queue.paused = name in queues

    def declare(self, task: str, limits: Limits) -> None:
        """The limits of a task."""
        if self._tasks.get(task, Limits()) == limits:
            return
        self._tasks[task] = limits
        for (name, _), shared in list(self._windows.items()):
            if name == task and limits.rate is not None:
                shared.window.rate = limits.rate
        self._wake_all()

    def serve(self, tasks: frozenset[str]) -> None:
        """Workers serve these tasks, and no others."""
        if tasks != self._served:
            self._served = tasks
            self._wake_all()

    def note(self, run: Run, at: Instant, *, started: bool = False, told: bool = False) -> None:
        """A run stands like this now; of a queue that is not governed it is passed over.

        Args:
            at: when the message that says so was stored.
            started: whether an attempt of it began with that.
            told: whether that was its admission, whatever came of it.
        """
        queue = self._queues.get(run.queue)
        if queue is None:
            return
        if told or not wants(run):
            self._promised.discard(run.id)
        self._count(queue, run)
        if started:
            for window in self._windows_of(queue, run):
                window.start(run.id, at)
            self._wake_waiters(run)
        elif run.id not in self._promised and not run.admitted:
            dropped = [window.drop(run.id) for window in self._windows_of(queue, run)]
            if any(dropped):
                self._wake_waiters(run)

    def remember(self, run: Run, at: Instant) -> None:
        """A run, over by now, began an attempt at that time."""
        queue = self._queues.get(run.queue)
        if queue is not None:
            for window in self._windows_of(queue, run):
                window.start(run.id, at)

    def withdraw(self, run_id: str) -> None:
        """A promised admission was refused: nothing of it is stored, nor will be."""
        known = self._known.get(run_id)
        self._promised.discard(run_id)
        if known is not None:
            self.note(known.run, 0.0)

    # --- what it says -----------------------------------------------------------------------------------------------

    def take(self, now: Instant, most: int = 1000) -> list[Run]:
        """The runs to admit now, in order; each is promised until its admission is noted, or withdrawn."""
        taken: list[Run] = []
        for queue in self._queues.values():
            while len(taken) < most and (run := self._next(queue, now)) is not None:
                self._promised.add(run.id)
                self._count(queue, run)
                for window in self._windows_of(queue, run) if run.fresh else ():
                    window.promise(run.id)
                taken.append(run)
        return taken

    def wake_at(self) -> Instant:
        """When `take` may give more than the last time though nothing was noted; infinity: not before something is."""
        return min((queue.wake_at for queue in self._queues.values()), default=math.inf)

    def why(self, run: Run, now: Instant) -> Hold | None:
        """What holds a run back; None: nothing does, or its queue is not governed."""
        queue = self._queues.get(run.queue)
        if queue is None or not wants(run) or self._has_slot(run):
            return None
        if queue.paused:
            return Hold(Cause.PAUSED)
        return self._block(queue, run, now) or queue.block(now) or Hold(Cause.TURN)

    def holds_back(self, queue: str, now: Instant) -> Hold | None:
        """What holds a whole queue back; None: nothing does."""
        known = self._queues.get(queue)
        return None if known is None else known.block(now)

    def slots(self, queue: str) -> int:
        """How many runs of a queue have a slot."""
        known = self._queues.get(queue)
        return 0 if known is None else known.slots

    # --- deciding ---------------------------------------------------------------------------------------------------

    def _next(self, queue: _Queue, now: Instant) -> Run | None:
        block = queue.block(now)
        if block is not None:
            queue.wake_at = math.inf if block.until is None else block.until
            return None
        queue.turns.awaken(now)
        found = queue.turns.next(lambda run_id: self._blocked(queue, self._known[run_id].run, now))
        queue.wake_at = queue.turns.awaken(now) if found is None else now
        return None if found is None else self._known[found].run

    def _blocked(self, queue: _Queue, run: Run, now: Instant) -> Instant | None:
        hold = self._block(queue, run, now)
        if hold is None:
            return None
        if hold.cause is Cause.TASK_RATE and hold.until is None:  # until a promised run starts, of whatever key
            self._windows[run.task, run.rate_key].waiters.add((run.queue, turn_key(run)))
        return math.inf if hold.until is None else hold.until

    def _block(self, queue: _Queue, run: Run, now: Instant) -> Hold | None:
        """What holds this run back, of what concerns not the whole queue."""
        key, limits = run.concurrency_key, self._tasks.get(run.task, Limits())
        if run.task not in self._served:
            return Hold(Cause.UNSERVED)
        bound = queue.limits.key_concurrency
        if bound is not None and key and queue.of_key[key] >= bound:
            return Hold(Cause.KEY, bound)
        if limits.concurrency is not None and self._running[run.task, key] >= limits.concurrency:
            return Hold(Cause.KEY if key else Cause.TASK, limits.concurrency)
        if limits.rate is not None and run.fresh:
            return _full(Cause.TASK_RATE, self._window(run, limits.rate).window, now)
        return None

    def _stands(self, run_id: str, first: int) -> bool:
        known = self._known.get(run_id)
        return known is not None and not known.slot and known.run.first == first

    # --- counting ---------------------------------------------------------------------------------------------------

    def _has_slot(self, run: Run) -> bool:
        return run.holder is not None or run.admitted or run.id in self._promised

    def _count(self, queue: _Queue, run: Run) -> None:
        """Count a run as it stands now instead of as it was counted."""
        before = self._known.pop(run.id, None)
        slot = not run.final and self._has_slot(run)
        if slot or wants(run):
            self._known[run.id] = _Known(run, slot)
        if before is not None and before.slot and not slot:
            self._move(queue, before.run, -1)
        if slot and not (before is not None and before.slot):
            self._move(queue, run, 1)
        if not slot and wants(run) and (before is None or before.slot or before.run.priority != run.priority):
            queue.turns.add(run)

    def _move(self, queue: _Queue, run: Run, by: int) -> None:
        key = run.concurrency_key
        queue.slots += by
        queue.of_key[key] += by
        self._running[run.task, key] += by
        if by < 0:
            if not queue.of_key[key]:
                del queue.of_key[key]
            if not self._running[run.task, key]:
                del self._running[run.task, key]
            for other in self._queues.values():
                other.turns.wake(key)

    def _windows_of(self, queue: _Queue, run: Run) -> Iterator[Window]:
        """The windows in which a start of the run counts."""
        if queue.window is not None:
            yield queue.window
        rate = self._tasks.get(run.task, Limits()).rate
        if rate is not None:
            yield self._window(run, rate).window

    def _window(self, run: Run, rate: Rate) -> _Shared:
        place = run.task, run.rate_key
        if place not in self._windows:
            self._windows[place] = _Shared(rate)
        return self._windows[place]

    def _wake_waiters(self, run: Run) -> None:
        shared = self._windows.get((run.task, run.rate_key))
        if shared is None:
            return
        for queue, key in shared.waiters:
            self._queues[queue].turns.wake_key(key)
        shared.waiters.clear()

    def _wake_all(self) -> None:
        for queue in self._queues.values():
            queue.turns.wake_all()


def wants(run: Run) -> bool:
    """Whether a run is to go to a worker, as far as it is concerned."""
    if run.holder is not None or run.held or run.cancel_requested:
        return False
    return run.state is State.QUEUED or (run.state is State.COMPENSATING and not run.suspended)


class _Known(NamedTuple):
    """A run that waits or has a slot, as it was counted."""

    run: Run
    slot: bool


class _Shared:
    """A window of a task, and who waits for a start that it was promised."""

    def __init__(self, rate: Rate) -> None:
        self.window = Window(rate)
        self.waiters: set[tuple[str, TurnKey]] = set()


class _Queue:
    """A governed queue."""

    def __init__(self, limits: QueueLimits, stands: Callable[[str, int], bool]) -> None:
        self.limits = limits
        self.window = None if limits.rate is None else Window(limits.rate)
        self.turns = Turns(stands)
        self.paused = False
        self.slots = 0
        self.of_key: Counter[str] = Counter()
        """Slots by concurrency key."""
        self.wake_at: Instant = math.inf

    def limit(self, limits: QueueLimits) -> None:
        """Other limits from now on."""
        if limits == self.limits:
            return
        if limits.rate is None:
            self.window = None
        elif self.window is None:
            self.window = Window(limits.rate)
        else:
            self.window.rate = limits.rate
        self.limits = limits
        self.turns.wake_all()

    def block(self, now: Instant) -> Hold | None:
        """What holds all of its runs back."""
        if self.paused:
            return Hold(Cause.PAUSED)
        bound = self.limits.concurrency
        if bound is not None and self.slots >= bound:
            return Hold(Cause.QUEUE, bound)
        return None if self.window is None else _full(Cause.RATE, self.window, now)


def _full(cause: Cause, window: Window, now: Instant) -> Hold | None:
    until = window.full(now)
    if until is None:
        return None
    return Hold(cause, window.rate.limit, window.rate.per, until if until < math.inf else None)
