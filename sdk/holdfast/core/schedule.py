"""What a schedule is, and what is decided about its ticks: which of the missed ones run, and what an overlap leads to.

A tick has a nominal time, and is due then or, with jitter, a little later. When which ticks are is a matter of
calendars and zones (`holdfast.ticks`); here is only what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from holdfast.core import ids
from holdfast.core.model import Instant, Run, Seconds

CATCH_UP: Seconds = 3600.0
"""How late a missed tick may run, where its schedule does not say."""

SLACK: Seconds = 5.0
"""Nothing counts as late that is later by so much: timers fire a quarter of a second late, a daemon takes a moment."""

SHORTEST: Seconds = 1.0
"""Between two ticks of a schedule that says how often."""


_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


class Overlap(StrEnum):
    """What a tick does while the run of the one before has not ended."""

    SKIP = "skip"
    """It does not run."""
    BUFFER_ONE = "buffer_one"
    """It runs afterwards; while one waits so, the next ones do not run."""
    BUFFER_ALL = "buffer_all"
    """It runs afterwards, each in its turn."""
    CANCEL_OTHER = "cancel_other"
    """It has the other run cancelled, and runs when that has ended."""
    ALLOW = "allow"
    """It runs beside it."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a task is to run by itself."""

    name: str
    """Unique in the project, whether declared with a task or created by an operator."""
    task: str
    cron: str = ""
    """A cron expression; empty where `every` is set."""
    every: Seconds | None = None
    """Between two ticks, which are the multiples of it since the epoch."""
    tz: str = "UTC"
    """IANA name of the zone that the cron expression is meant in, and that its times are told in."""
    overlap: str = Overlap.SKIP
    catch_up: Seconds = CATCH_UP
    """How late a tick may run that the system missed."""
    jitter: Seconds = 0.0
    """Within how long after their nominal time its ticks are due: all of them by the same part of it."""
    payload: bytes = b""
    """In the value codec; empty: no arguments but the tick itself, where the task takes it."""
    queue: str = ""
    """Empty: the task's own."""
    priority: int | None = None
    """None: the task's own."""

    @property
    def when(self) -> str:
        """Its rhythm for people: the cron expression, or `every 30s`, `every 2h`."""
        every = self.every or 0.0
        size, unit = next((unit for unit in _UNITS if every % unit[0] == 0), (1, "s"))
        return self.cron or f"every {every / size:g}{unit}"

    @property
    def rhythm(self) -> str:
        """A digest of what its times follow from."""
        return ids.digest(self.cron, repr(self.every), self.tz)

    @property
    def offset(self) -> Seconds:
        """How much later than their nominal time its ticks are due, to the millisecond: a function of its name."""
        fraction = int.from_bytes(blake2b(self.name.encode(), digest_size=6).digest()) / 2**48
        return int(self.jitter * fraction * 1000) / 1000


def run_id(schedule: str, at: Instant) -> str:
    """The id of the run of a tick: whoever creates it, it comes about once."""
    return ids.derive(at, "schedule", schedule, str(float(at)))


class CaughtUp(NamedTuple):
    """What becomes of missed ticks that are recent enough."""

    run: tuple[Instant, ...]
    """Those that run now."""
    skipped: int
    """How many do not, as a later one of them, or one that has run just now, stands for them."""


def catch_up(overlap: str, missed: Sequence[Instant], *, made_up: bool = False) -> CaughtUp:
    """Which ticks run that the system missed, and that are recent enough.

    Args:
        missed: in order.
        made_up: whether an earlier one of them has run late by itself: the one that was parked in the server.
    """
    if overlap in (Overlap.ALLOW, Overlap.BUFFER_ALL):
        return CaughtUp(tuple(missed), 0)
    run = () if made_up else tuple(missed[-1:])
    return CaughtUp(run, len(missed) - len(run))


def is_late(run: Run, stored: Instant) -> bool:
    """Whether a tick's run was made so late that it counts as missed.

    Args:
        stored: when its first fact was.
    """
    if run.tick is None or run.tick.catch_up is None:
        return False
    return stored > run.scheduled_at + run.tick.catch_up + SLACK


def passes_on(run: Run) -> bool:
    """Whether a tick's run ended without ever having run: then the one before it is what the next one must wait for."""
    return run.tick is not None and run.final and run.attempt == 0


class Verdict(StrEnum):
    """What becomes of a tick's run while one before it has not ended."""

    SKIP = "skip"
    """It ends, unrun."""
    WAIT = "wait"
    """It waits for that one's end."""
    REPLACE = "replace"
    """The same, and that one is made to end."""


def verdict(overlap: str, *, buffered: bool) -> Verdict:
    """What becomes of a tick's run while one before it has not ended.

    Args:
        buffered: whether that one has not started either, and waits for one before it.
    """
    match overlap:
        case Overlap.BUFFER_ALL | Overlap.ALLOW:
            return Verdict.WAIT
        case Overlap.BUFFER_ONE:
            return Verdict.SKIP if buffered else Verdict.WAIT
        case Overlap.CANCEL_OTHER:
            return Verdict.REPLACE
        case _:  # what an older version does not know
            return Verdict.SKIP
