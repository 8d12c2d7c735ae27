"""What a run waits for, and when it does nothing but wait, so that its slot can be given away.

A run that only waits is first left where it is (`LINGER`), then suspended: what it waits for is recorded and its worker
takes other work. Its code may stay in memory, *parked*: nothing wakes it until it is claimed again, for only the
journal says who goes on with a run.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from holdfast.bus.clock import Clock, sleep
from holdfast.core.entries import ChildEnded, Entry, EventArrived, Resolved, Signalled, TokenCompleted, WaitStarted
from holdfast.core.lifecycle import PAUSE
from holdfast.core.model import Instant, Seconds
from holdfast.core.recall import SIGNAL, Recall

T = TypeVar("T")

LINGER: Seconds = 0.1
"""For how long a run that only waits stays with its worker: what comes quickly needs no resume."""

MOMENT: Seconds = 0.01
"""The same of a run that only sleeps: nothing comes to it before its time."""

TURNS = 5
"""Of the event loop, in which the branches of a run come to waits that are over."""

SOON: Seconds = 0.6
"""What is due so soon is waited for here: a timer may be a quarter of a second late, and a resume costs too."""


BREATH: Seconds = 0.05
"""That code which was resumed past a time limit has to show that what it waited for had come in time."""


class _Pending(NamedTuple):
    """An await that waits for something outside."""

    wait: str
    due: Instant | None
    paused: str
    woken: asyncio.Future[None]


class Standing(NamedTuple):
    """What a run waits for, all of it."""

    waits: tuple[str, ...]
    due: Instant | None
    paused: str
    timeouts: tuple[WaitStarted, ...]
    """Time-outs of the task's own awaits that are not in the journal yet."""


class Alarm:
    """Calls back at an instant, but never while the run is parked; what came due then is called when it goes on."""

    def __init__(self, waits: Waits, due: Instant, call: Callable[[], None]) -> None:
        self._waits = waits
        self._call = call
        self._rung = False
        self._cancel = waits.clock.call_at(due, self._ring)
        waits.alarms.add(self)

    def _ring(self) -> None:
        self._rung = True
        if not self._waits.parked:
            self.cancel()
            self._call()

    def again(self) -> None:
        """The run goes on."""
        if self._rung:
            self._cancel = self._waits.clock.call_at(self._waits.clock.now() + BREATH, self._ring)

    def cancel(self) -> None:
        """Idempotent."""
        self._cancel()
        self._waits.alarms.discard(self)


class Waits:
    """The waits of a run in one worker."""

    def __init__(self, recall: Recall, under_way: Mapping[str, float], clock: Clock) -> None:
        """
        Args:
            under_way: the steps that run, by key.
        """
        self.on_quiet: Callable[[], None] = lambda: None
        """Called when nothing is under way but waits, for a while."""
        self.clock = clock
        self.alarms: set[Alarm] = set()
        self.parked = False
        self.kept = 0
        """How many blocks with a time limit that only this process knows are open: the run is not suspended within."""
        self._recall = recall
        self._under_way = under_way
        self._pending: dict[str, _Pending] = {}
        self._keys: defaultdict[str, set[str]] = defaultdict(set)
        """By id of a wait: the awaits that wait for it."""
        self._overdue: list[tuple[Instant, int, asyncio.Future[None]]] = []
        """Waits that the code has come to when they were over."""
        self._timeouts: dict[str, Instant] = {}
        self._reached: dict[str, Instant] = {}
        """Those that are over, and not in the journal."""
        self._moves = 0
        self._parked_at: Instant = 0.0
        self.delays: set[Callable[[Seconds], None]] = set()
        """Told, when the run goes on, how long it was parked."""

    async def arrival(
        self,
        key: str,
        ready: Callable[[], T | None],
        *,
        wait: Callable[[], str] = lambda: "",
        due: Instant | None = None,
        paused: str = "",
    ) -> T | None:
        """Wait until something has come in.

        Args:
            ready: what has come, or None.
            wait: id of what is waited for; none for a sleep.
            due: then it is given up, with None.
            paused: the question, where an operator is asked.
        """
        while (found := ready()) is None:
            if due is not None and self.clock.now() >= due:
                if any(limit < due for limit in self._timeouts.values()):
                    await sleep(self.clock, 2 * BREATH)  # long past both, but the limit was reached first
                await self._turn_of(due)
                return ready()
            woken = asyncio.get_running_loop().create_future()
            pending = self._pending[key] = _Pending(wait(), due, paused, woken)
            self._keys[pending.wait].add(key)
            alarm = Alarm(self, due, lambda woken=woken: _wake(woken)) if due is not None else None  # type: ignore[misc]
            self.stir()
            try:
                await woken
            finally:
                del self._pending[key]
                self._keys[pending.wait].discard(key)
                if alarm is not None:
                    alarm.cancel()
                self.stir()
        return found

    async def _turn_of(self, due: Instant) -> None:
        """Of what is long due, the earliest first: as it would have been, had the run not been suspended."""
        turn = asyncio.get_running_loop().create_future()
        self._overdue.append((due, len(self._overdue), turn))
        if len(self._overdue) == 1:
            self._let_go(TURNS)
        await turn

    def _let_go(self, turns: int) -> None:
        if turns:  # the other branches come to their waits
            asyncio.get_running_loop().call_soon(self._let_go, turns - 1)
            return
        overdue, self._overdue = sorted(self._overdue), []
        for _, _, turn in overdue:
            _wake(turn)

    def limit(self, key: str, due: Instant) -> None:
        """A time-out of the task's own (`asyncio.timeout`) is open: should the run be suspended, it is kept."""
        self._timeouts[key] = due
        self.stir()

    def unlimit(self, key: str) -> None:
        """It is over."""
        self._timeouts.pop(key, None)

    def reach(self, key: str, due: Instant) -> None:
        """It was reached: a resume comes there without waiting as long again."""
        if self._recall.wait(key) is None:
            self._reached[key] = due

    def reached(self) -> tuple[WaitStarted, ...]:
        """The time-outs that were reached and are not in the journal; from now on they are."""
        reached, self._reached = self._reached, {}
        entries = tuple(WaitStarted(key, due, "", "timeout", due) for key, due in reached.items())
        for entry in entries:
            self._recall.add(entry)
        return entries

    def hear(self, entry: Entry) -> None:
        """Take in what somebody told the run."""
        self._recall.add(entry)
        if self.parked:
            return
        keys: Iterable[str]
        match entry:
            case ChildEnded():
                keys = self._keys.get(entry.child, ())
            case TokenCompleted():
                keys = self._keys.get(entry.token, ())
            case EventArrived():
                keys = self._keys.get(entry.wait, ())
            case Resolved():
                keys = self._keys.get(PAUSE + entry.key, ())
            case Signalled():
                prefix = f"{SIGNAL}{entry.name}#"
                keys = [key for key, pending in self._pending.items() if pending.wait.startswith(prefix)]
            case _:
                return
        for key in tuple(keys):
            _wake(self._pending[key].woken)

    def standing(self, now: Instant) -> Standing:
        """What is waited for just now."""
        waits = tuple(dict.fromkeys(pending.wait for pending in self._pending.values() if pending.wait))
        dues = [pending.due for pending in self._pending.values() if pending.due is not None]
        paused = "; ".join(pending.paused for pending in self._pending.values() if pending.paused)
        timeouts = tuple(
            WaitStarted(key, now, "", "timeout", due)
            for key, due in self._timeouts.items()
            if self._recall.wait(key) is None
        )
        return Standing(waits, min([*dues, *self._timeouts.values()], default=None), paused, timeouts)

    def park(self) -> None:
        """From now on nothing wakes the code."""
        self.parked = True
        self._parked_at = self.clock.now()

    def go_on(self) -> None:
        """The run is held again: wake what has come meanwhile."""
        self.parked = False
        away = self.clock.now() - self._parked_at
        for delay in tuple(self.delays):
            delay(away)
        for pending in list(self._pending.values()):
            _wake(pending.woken)
        for alarm in list(self.alarms):
            alarm.again()

    def stir(self) -> None:
        """Something began or ended: only when nothing does so for a while is the run quiet."""
        self._moves += 1
        if self._pending and not self.parked:
            told = any(pending.wait for pending in self._pending.values())
            linger = LINGER if told else MOMENT
            self.clock.call_at(self.clock.now() + linger, lambda moves=self._moves: self._check(moves))  # type: ignore[misc]

    def rest(self) -> None:
        """Nothing comes of itself any more: no need to linger."""
        self._check(self._moves)

    def _check(self, moves: int) -> None:
        if moves != self._moves or not self._pending or self.kept or self.parked:
            return
        now = self.clock.now()
        due = min([*self._timeouts.values(), *(p.due for p in self._pending.values() if p.due)], default=None)
        if due is not None and due - now <= SOON:
            self.clock.call_at(max(due, now) + LINGER, lambda: self._check(moves))
        elif self._all_blocked():
            self.on_quiet()

    def _all_blocked(self) -> bool:
        """Whether each step that is under way does nothing but wait, in an await below it."""
        if not self._under_way:
            return True
        blocked: set[str] = set()
        for key in self._pending:
            blocked.add(key)
            while key := key.rpartition("/")[0]:
                blocked.add(key)
        return all(key in blocked for key in self._under_way)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
