"""By when a run must have started or ended, and the entry that says that it has not: pure functions of the fold.

A worker that claims a run asks first; while nobody holds it the conductor does. The deadlines of an attempt itself
(start_to_close, heartbeat) are its holder's, who alone can tell the code.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from holdfast.core.entries import RunCancelled, RunExpired, RunTimedOut
from holdfast.core.lifecycle import recreated
from holdfast.core.model import ErrorInfo, Instant, Run, Seconds, State

GRACE: Seconds = 30.0
"""How long a task that is told to end may take for its cleanup, before its run is taken away from it."""

LATE: Seconds = 5.0
"""How much longer the conductor leaves a run to its holder, who has the first say."""

TIMED_OUT = "holdfast.errors.TimedOut"


def next_look(run: Run) -> Instant:
    """When `overdue` may have something to say for the first time; infinity: never, as the run stands."""
    return min((at for at, _ in _limits(run)), default=math.inf)


def overdue(run: Run, now: Instant) -> RunExpired | RunTimedOut | RunCancelled | None:
    """The entry that ends a run whose time is over, whoever appends it; None while it has time."""
    past = [limit for limit in _limits(run) if limit[0] <= now]
    if not past:
        return None
    created = recreated(run) if run.attempt == 0 else None
    match min(past)[1]:
        case "ttl":
            assert run.expires is not None
            return RunExpired(now, f"it had to start by {_clock(run.expires)}", created)
        case "cancel":
            return RunCancelled(now, f"its task did not end within {GRACE:g} s of being cancelled")
        case limit:
            return RunTimedOut(now, timed_out(run, limit), limit, created=created)


def timed_out(run: Run, limit: str) -> ErrorInfo:
    """What a run that ran out of time says."""
    allowed = getattr(run.timeouts, limit, None)
    if limit == "schedule_to_start":
        return ErrorInfo(TIMED_OUT, f"attempt {run.attempt + 1} did not start within {allowed:g} s")
    if allowed is None or run.deadline is None or run.deadline < run.created_at + allowed:
        return ErrorInfo(TIMED_OUT, "the run did not end by its parent's deadline")
    return ErrorInfo(TIMED_OUT, f"the run did not end within {allowed:g} s of its first scheduling")


def _limits(run: Run) -> list[tuple[Instant, str]]:
    """When which time is over, given where the run stands."""
    if run.final or run.state is State.COMPENSATING:
        return []
    held = run.state is State.RUNNING
    limits = []
    if run.deadline is not None:
        limits.append((run.deadline + (GRACE + LATE if held else 0.0), "schedule_to_close"))
    if held and run.cancel_at is not None:
        limits.append((run.cancel_at + GRACE + LATE, "cancel"))
    if run.state is State.QUEUED and run.fresh:
        if run.attempt == 0 and run.expires is not None:
            limits.append((run.expires, "ttl"))
        if run.timeouts is not None and run.timeouts.schedule_to_start is not None:
            limits.append((run.scheduled_at + run.timeouts.schedule_to_start, "schedule_to_start"))
    return limits


def _clock(at: Instant) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
