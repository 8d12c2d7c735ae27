"""Queues: what they hold, why a run waits in one, and their purge."""

from __future__ import annotations

import msgspec

from holdfast.core.model import Instant, Rate, Seconds, State

QUEUES_LIST = "queues.list"
"""`Nothing` → `Queues`."""
QUEUES_WHY = "queues.why"
"""`RunRef` → `Why`."""
QUEUES_PURGE = "queues.purge"
"""`QueuePurge` → `QueuePurged`."""


class ReadyRun(msgspec.Struct, frozen=True, array_like=True):
    """A run that waits for a worker."""

    run: str
    task: str
    since: Instant
    """When it became ready."""


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as it stands."""

    name: str
    paused: bool = False
    limit: int | None = None
    depth: int = 0
    """Runs that are ready and that nobody holds, by the journal."""
    running: int = 0
    waiting: int = 0
    retrying: int = 0
    delayed: int = 0
    dead: int = 0
    oldest: Instant | None = None
    """Since when its oldest ready run waits."""
    in_rate: float = 0.0
    """Runs created per second, over the last 10 s."""
    out_rate: float = 0.0
    """Runs ended per second, over the last 10 s."""
    p95: Seconds | None = None
    """Of start to end, over the last 5 minutes."""
    ended: tuple[int, ...] = ()
    """Runs ended in each of the last 60 s by 5 s, oldest first."""
    workers: int = 0
    """Workers that serve it."""
    compensating: int = 0
    paused_runs: int = 0
    """Runs that wait for an operator; each is also counted in its state."""
    key_limit: int | None = None
    """Runs at once of each concurrency key."""
    rate: Rate | None = None
    """Starts in any window of time."""
    limited_by: str = ""
    """What holds the whole queue back just now (`core.admission.Cause`, or `no worker`); empty: nothing does."""
    until: Instant | None = None
    """When that is over at the soonest, where it is known."""
    p50: Seconds | None = None
    """As `p95`."""
    p99: Seconds | None = None
    """As `p95`."""
    depths: tuple[int, ...] = ()
    """How many runs were ready and had never started, at the end of each of the last 30 minutes, oldest first; empty:
    it is not known."""
    oldest_runs: tuple[ReadyRun, ...] = ()
    """Those that wait longest; at most 3."""
    errors: tuple[tuple[int, str, str], ...] = ()
    """How many runs came to an end or a retry by an error in the last hour, its type, and its place (`file.py:88`) or
    else its message's pattern; the most frequent first, at most 3."""


class QueuePurge(msgspec.Struct, frozen=True, kw_only=True):
    """Cancel a page of the runs of a queue that wait and have never started."""

    queue: str
    by: str = ""
    """Who asks."""
    reason: str = ""
    after: int = 0
    """Where the page before ended: sequence of a run's first message."""
    upto: int | None = None
    """The last sequence that is meant, as the first page said it; None: all that there are now."""
    limit: int = 1000
    """At most so many are looked at; at most 1,000."""
    dry_run: bool = False
    """Only count them all."""


class QueuePurged(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a page of a purge."""

    cancelled: int
    """Or that would be, of all pages, where it is a dry run."""
    after: int
    """Where the next page begins."""
    upto: int
    """What the next page says as `QueuePurge.upto`: runs that came later stay."""
    done: bool
    """Whether there is no next one."""


class Reason(msgspec.Struct, frozen=True):
    """Something that a run waits for."""

    cause: str
    """A stable word or two: a `core.admission.Cause`, `schema`, `delay`, `retry`, `schedule`, `waits`, `operator`,
    `workers full`, `running`, or `ended`."""
    text: str
    """The same in plain words, with what would change it."""
    since: Instant | None = None
    until: Instant | None = None
    """When it is over at the soonest, where that is known."""


class Why(msgspec.Struct, frozen=True):
    """Why a run does not run."""

    run: str
    task: str
    queue: str
    state: State
    reasons: tuple[Reason, ...]
    """The one that matters first; empty: nothing holds it back, it is on its way to a worker."""


class Queues(msgspec.Struct, frozen=True):
    queues: tuple[QueueRow, ...]
    at: Instant
    events: float = 0.0
    """Journal messages per second, over the last 10 s."""
