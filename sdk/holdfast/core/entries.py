"""What can happen to a run: the journal's entries, past-tense facts.

An entry is a msgpack array whose first element is its tag (the integer below); a later version may only append fields
with defaults, so that old journals stay readable. `Batch` is what one message on a run's log subject holds.

Three subjects carry entries (`wire.subjects`): the *log* (fenced, by the run's holder or, where nobody holds it, by
whoever moves it), *ready* (a run is created or offered), and *in* (what others tell a run, idempotent).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from holdfast.core.model import DEFAULT_PRIORITY, MAX_INTERRUPTIONS, ErrorInfo, Instant, Parent, Retry, Seconds


class RunCreated(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first fact of a run; also its first work item."""

    run: str
    at: Instant
    task: str
    payload: bytes
    queue: str = "default"
    priority: int = DEFAULT_PRIORITY
    due: Instant | None = None
    """Delayed until then; None: ready at once."""
    retry: Retry | None = None
    parent: Parent | None = None
    source: str = "sdk"
    """What triggered it: `sdk`, `cli`, `http`, `child`, or `event <subject>`."""
    tags: tuple[str, ...] = ()


class Offered(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A further work item of a run: resume, retry due, or offered again."""

    run: str
    first: int
    """The run's first sequence, so that whoever takes it can read it."""
    cause: int = 0
    """Last sequence of the run's log when it was offered: one that is older than the run's last move is stale."""


class AttemptStarted(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A worker began a new attempt."""

    at: Instant
    attempt: int
    worker: str
    nonce: str
    item: str = ""
    code: str = ""
    """Fingerprint of the task's code."""
    max_interruptions: int = MAX_INTERRUPTIONS
    """More impolite interruptions than this in one attempt end the run dead."""


class AttemptResumed(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A worker took an interrupted or suspended attempt up again behind its last checkpoint."""

    at: Instant
    attempt: int
    worker: str
    nonce: str
    item: str = ""
    code: str = ""


class StepStarted(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A step has been under way for a while; recorded so that operators see what runs."""

    key: str
    at: Instant


class StepCompleted(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """An await returned; its value is known for good."""

    key: str
    at: Instant
    took: Seconds
    value: bytes


class StepFailed(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """An await raised into the task's code; the exception is its outcome."""

    key: str
    at: Instant
    took: Seconds
    error: ErrorInfo


class StepRetried(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """One try of a step failed and the step's own policy tries again."""

    key: str
    at: Instant
    took: Seconds
    error: ErrorInfo
    number: int
    """Of the failed try, from 1."""
    due: Instant
    """When the next one begins."""


class StepVolatile(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """An await returned a value that has no exact round trip; it runs again on resume."""

    key: str
    at: Instant
    took: Seconds
    reason: str


class ChildTriggered(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """A child run was created; its end resolves the key."""

    key: str
    at: Instant
    child: str
    task: str


class Suspended(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Nothing runs in this attempt any more but waits; its slot is free."""

    at: Instant
    waits: tuple[str, ...]
    """Ids of what it waits for: child runs."""


class AttemptFailed(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """An attempt raised, and there will be another."""

    at: Instant
    error: ErrorInfo
    due: Instant
    """When the next attempt becomes ready."""
    spent: bool = True
    """False for a snooze: it does not count against the policy."""
    fatal: tuple[str, ...] = ()
    """Checkpoints whose exception ended the attempt: the next one runs these again instead of raising it again."""


class AttemptInterrupted(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """The holder lost the run or gave it back; the attempt goes on elsewhere and is not spent."""

    at: Instant
    reason: str
    polite: bool = False
    """Given back by a draining worker: does not count as poison."""


class RunCompleted(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """The task returned."""

    at: Instant
    result: bytes


class RunDead(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """No attempt is left, or none may be made."""

    at: Instant
    error: ErrorInfo
    reason: str
    """`attempts used up`, `aborted`, `payload`, `poison`, `not retried`, `result`."""
    fatal: tuple[str, ...] = ()
    """As in `AttemptFailed`, for an operator's retry."""


class RunCancelled(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """The run ended because somebody asked for it."""

    at: Instant
    reason: str = ""
    created: RunCreated | None = None
    """A copy of the run's first fact, where it is cancelled before its first attempt: its work item is then deleted, so
    that no worker starts it, and this entry is all that remains."""


class RunRetried(msgspec.Struct, frozen=True, array_like=True, tag=17):
    """An operator took a run that had ended up again."""

    at: Instant
    by: str = ""
    from_start: bool = False
    """Forget the recorded outcomes."""
    payload: bytes | None = None
    """A corrected payload; None: as it was."""


class LetterDropped(msgspec.Struct, frozen=True, array_like=True, tag=18):
    """An operator dropped the dead letter."""

    at: Instant
    by: str = ""


class CancelRequested(msgspec.Struct, frozen=True, array_like=True, tag=19):
    """Somebody asks for the run to end."""

    at: Instant
    by: str = ""
    reason: str = ""


class ChildEnded(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """A child run ended; told to its parent."""

    key: str
    at: Instant
    child: str
    state: str
    value: bytes | None = None
    error: ErrorInfo | None = None


Entry: TypeAlias = (
    RunCreated
    | Offered
    | AttemptStarted
    | AttemptResumed
    | StepStarted
    | StepCompleted
    | StepFailed
    | StepRetried
    | StepVolatile
    | ChildTriggered
    | Suspended
    | AttemptFailed
    | AttemptInterrupted
    | RunCompleted
    | RunDead
    | RunCancelled
    | RunRetried
    | LetterDropped
    | CancelRequested
    | ChildEnded
)
"""Every entry."""

ENTRIES: tuple[type[Entry], ...] = Entry.__args__
"""The same, to be iterated."""

HOLDERS_OWN = (
    AttemptStarted,
    AttemptResumed,
    StepStarted,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepVolatile,
    ChildTriggered,
    Suspended,
    AttemptFailed,
    RunCompleted,
)
"""Entries that only the run's holder may write."""


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What one message on a run's log subject holds: several entries that commit as one."""

    writer: str
    """The writing claim's nonce; empty where nobody held the run."""
    entries: tuple[Entry, ...]
