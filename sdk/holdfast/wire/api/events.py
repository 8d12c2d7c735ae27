"""Events that are routed again, and what became of them."""

from __future__ import annotations

import msgspec

from holdfast.core.model import Instant, State

EVENTS_REPLAY = "events.replay"
"""`EventsReplay` → `EventsReplayed`."""
EVENTS_RUNS = "events.runs"
"""`EventRef` → `EventRuns`."""


class EventsReplay(msgspec.Struct, frozen=True, kw_only=True):
    """Route past events once more: a page of them."""

    first: int
    """From this one on."""
    last: int
    """Up to this one."""
    limit: int = 200
    """At most so many are looked at, whether they are meant or not; at most 1,000."""
    subject: str = ""
    """Only those of this name, NATS wildcards."""
    task: str = ""
    """Only to this task."""
    route: str = ""
    """Only by the route of this name."""
    at: Instant
    """When the replay was asked for: as of when its runs are created."""
    again: str = ""
    """Make another run also where there is one, under ids derived from this text and `at` too: the same two make none
    twice."""
    dry_run: bool = False
    """Only say what would be."""


class EventsReplayed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a page of events."""

    next: int
    """Where the next page begins."""
    done: bool
    """Whether there is none."""
    events: int = 0
    """That were meant."""
    created: int = 0
    """Runs."""
    existed: int = 0
    """Runs that there are already; nothing was done."""
    unwanted: int = 0
    """Events that no route wants."""
    unmapped: int = 0
    """Runs created dead: of these events no arguments could be made."""
    refused: int = 0
    """Runs that the server does not take, being too large."""


class EventRef(msgspec.Struct, frozen=True):
    """Names an event of the event stream."""

    seq: int


class EventRun(msgspec.Struct, frozen=True):
    """A run that an event started."""

    run: str
    task: str
    route: str
    """Name of the route; empty where the task itself asks for the event."""
    state: State
    unmapped: bool = False
    """No arguments could be made of the event: it was created dead."""


class EventRuns(msgspec.Struct, frozen=True):
    """The runs that an event started, by the routes of today; not those of a replay that made others."""

    runs: tuple[EventRun, ...]
