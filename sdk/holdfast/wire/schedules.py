"""What the control stream keeps of schedules, by name: those of operators, which are paused, and where each stands.

Removing a control value tells nobody who follows, so what is no more is said: a deleted schedule is empty bytes for a
while, a schedule that is not paused any more is one that is said not to be.
"""

from __future__ import annotations

import msgspec

from holdfast.core.model import Instant, Seconds, State
from holdfast.core.schedule import Schedule
from holdfast.wire.api import RunRow

SCHEDULE = "schedule"
"""Control value: `Dynamic`, or empty bytes: deleted."""

PAUSED = "schedule-paused"
"""Control value: `Pause`."""

TICK = "tick"
"""Control value: `Ticking`."""

DELETED_FOR: Seconds = 7 * 86400.0
"""How long it is said that a schedule was deleted; whoever was not there to hear it that long looks at all anyway."""


class Dynamic(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule that an operator created."""

    schedule: Schedule
    by: str
    at: Instant
    """When; its ticks before then were never to run."""


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a schedule is paused."""

    paused: bool
    by: str
    at: Instant


class Parked(msgspec.Struct, frozen=True, array_like=True):
    """The next tick, as it stands in the server: it fires by itself."""

    at: Instant
    """Its nominal time."""
    run: str
    due: Instant
    """When it fires: with jitter."""
    seq: int
    """Of its timer in the journal: nothing of its run lies before it."""


class Fired(msgspec.Struct, frozen=True, array_like=True):
    """A tick that has been given its run."""

    at: Instant
    """Its nominal time."""
    run: str
    first: int
    """Sequence in the journal from which on the run is read."""


class Ticking(msgspec.Struct, frozen=True, kw_only=True):
    """Where a schedule stands. Written with compare-and-set by whoever moves it on."""

    since: Instant
    """Its ticks up to then are done with: given a run, counted, or not to be."""
    rhythm: str = ""
    """Of the schedule that this is about (`Schedule.rhythm`)."""
    digest: str = ""
    """Of all that the parked tick was made of."""
    next: Parked | None = None
    making: tuple[Instant, ...] = ()
    """Ticks that were missed and are just being given their runs."""
    last: Fired | None = None
    missed: int = 0
    """Ticks that came too late to be caught up with."""
    skipped: int = 0
    """Ticks that did not run, as another one stood for them or the run before had not ended."""
    counted: tuple[str, ...] = ()
    """Runs that were counted last, so that each is once."""


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as lists show it."""

    name: str
    task: str
    when: str
    """The cron expression, or `every 30s`."""
    tz: str
    overlap: str
    catch_up: Seconds
    jitter: Seconds
    declared: bool
    """By the task; else an operator created it."""
    state: str
    """`active`, `paused`, `new` (nobody has attended to it yet), `behind` (a tick has fired and nobody parked the next
    one: no daemon runs), or `over` (no tick comes any more)."""
    next_at: Instant | None = None
    """When its next tick is due; None: no more, or it is paused."""
    last_at: Instant | None = None
    """Nominal time of the last tick that was given a run."""
    last_run: str = ""
    last_state: State | None = None
    """Of the last run; None where there is none."""
    missed: int = 0
    skipped: int = 0
    by: str = ""
    """Who created it, or paused it last."""
    every: Seconds | None = None
    """Between two ticks; None: `when` is a cron expression."""
    created_at: Instant | None = None
    """When an operator created it or changed it last; None: its task declares it."""
    paused_at: Instant | None = None
    """Since when it is paused; None: it is not."""


PAST = "schedules.past"
"""The service that answers `PastQuery` with `Pasts`."""


class PastQuery(msgspec.Struct, frozen=True):
    """What became of the runs of schedules; of all that started any in that time."""

    days: int = 30
    """Up to now, at most 90; days are of 24 hours, back from now."""


class Day(msgspec.Struct, frozen=True, array_like=True):
    """The runs that a schedule began in 24 hours."""

    runs: int = 0
    failed: int = 0
    """Those that ended dead, failed, timed out or expired."""
    took: Seconds | None = None
    """Start to end of those that ended, on average; None: none did."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the runs of a schedule, also of those by hand."""

    name: str
    days: tuple[Day, ...]
    """Oldest first."""
    last: tuple[RunRow, ...]
    """Newest first, at most 5."""


class Pasts(msgspec.Struct, frozen=True):
    schedules: tuple[Past, ...]
    """By name; those without any runs are left out."""
