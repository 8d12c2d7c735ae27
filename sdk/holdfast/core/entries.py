"""What can happen to a run: the journal's entries, past-tense facts.

An entry is a msgpack array whose first element is its tag (the integer below); a later version may only append fields
with defaults, so that old journals stay readable. `Batch` is what one message on a run's log subject holds.

Three subjects carry entries (`wire.subjects`): the *log* (fenced, by the run's holder or, where nobody holds it, by
whoever moves it), *ready* and its kin (a run is created, offered, admitted), and *in* (what others tell a run,
idempotent).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from holdfast.core.model import (
    DEFAULT_PRIORITY,
    MAX_INTERRUPTIONS,
    ErrorInfo,
    Hook,
    Instant,
    Key,
    Origin,
    Parent,
    Retry,
    Seconds,
    Tick,
    Timeouts,
)


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
    """What triggered it: `sdk`, `cli`, `http`, `child`, `hook`, `replay`, `fork`, or `event <subject>`."""
    tags: tuple[str, ...] = ()
    expires: Instant | None = None
    """By when it must have started for the first time; None: it does not expire."""
    timeouts: Timeouts | None = None
    """That the trigger named; None: the task's own."""
    deadline: Instant | None = None
    """Its parent's, where it has one."""
    metadata: dict[str, bytes] = {}
    """By name, in the value codec."""
    hooks: tuple[Hook, ...] = ()
    origin: Origin | None = None
    key: Key | None = None
    tick: Tick | None = None
    """Where a schedule triggers it."""
    concurrency_key: str = ""
    rate_key: str = ""
    trace: str = ""
    """A W3C `traceparent`."""


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
    timeouts: Timeouts | None = None
    """The task's own."""
    hooks: tuple[Hook, ...] = ()
    """The task's own."""


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
    once: bool = False
    """It must run at most once: recorded before it begins, so that it is known when its outcome is not."""


class StepCompleted(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """An await returned; its value is known for good."""

    key: str
    at: Instant
    took: Seconds
    value: bytes
    undo: bytes | None = None
    """How to undo it (`wire.undo`), where it has an undo. That one's own outcome has the key `<key>/undo`."""


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
    detached: bool = False
    """It goes on when this run is cancelled."""


class Suspended(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Nothing runs in this attempt any more but waits; its slot is free."""

    at: Instant
    waits: tuple[str, ...]
    """Ids of what it waits for: see `Run.waits`."""
    due: Instant | None = None
    """When the first of its sleeps and time-outs ends; None: it has none."""
    paused: str = ""
    """Why it waits for an operator, in plain words; empty where it does not."""


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
    """`attempts used up`, `aborted`, `payload`, `poison`, `not retried`, `result`, `diverged`, or `event`: of the event
    that triggers it no arguments could be made, and it never was anything but dead."""
    fatal: tuple[str, ...] = ()
    """As in `AttemptFailed`, for an operator's retry."""


class RunCancelled(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """The run ended because somebody asked for it."""

    at: Instant
    reason: str = ""
    created: RunCreated | None = None
    """A copy of the run's first fact, where it is cancelled before its first attempt: its work item is then deleted, so
    that no worker starts it, and this entry is all that remains."""
    killed: bool = False
    """Now, without cleanup and without undos."""
    skipped: bool = False
    """A tick of a schedule that was not to run: nothing follows from its end, no hook either."""


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
    kill: bool = False
    """Now, without cleanup: told to the holder, who loses the run with this."""


class ChildEnded(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """A child run ended; told to its parent."""

    key: str
    at: Instant
    child: str
    state: str
    value: bytes | None = None
    error: ErrorInfo | None = None


class WaitStarted(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """A wait for something outside began; a resume goes on waiting for the same."""

    key: str
    at: Instant
    wait: str
    """Its id, by which what it waits for is told; empty for a sleep."""
    kind: str
    """`sleep`, `timeout` (of awaits of the task's own), `token`, `event`, `signal`; or `issued`: a token was made, and
    nobody need wait for it yet."""
    due: Instant | None = None
    """When the sleep ends, or the wait is given up; None: never."""
    subject: str = ""
    """Of an event: its subject with wildcards. Of a signal: its name."""
    match: bytes = b""
    """Of an event: see `Expected.match`."""
    since: Instant = 0.0
    """Of an event: one published before then does not count."""


class TokenCompleted(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """Somebody completed a token; only the first time counts."""

    token: str
    at: Instant
    by: str = ""
    value: bytes | None = None
    """In the value codec; None: nothing."""
    error: ErrorInfo | None = None
    """To be raised where the token is awaited."""


class EventArrived(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """An event came that a wait was for."""

    wait: str
    at: Instant
    """When it was published."""
    event: int
    """Its sequence in the event stream."""
    subject: str
    value: bytes
    """Its data in the value codec."""


class Signalled(msgspec.Struct, frozen=True, array_like=True, tag=24):
    """Somebody sent the run a signal; each is delivered once, in order."""

    id: str
    at: Instant
    name: str
    value: bytes
    by: str = ""


class Resolved(msgspec.Struct, frozen=True, array_like=True, tag=25):
    """An operator answered what a paused run asks."""

    key: str
    """The checkpoint that it is paused at."""
    at: Instant
    action: str
    """`done` (it happened, with this value), `run` (it did not: run it), `skip` (an undo: count it as done), or
    `accept` (a divergence: go on)."""
    by: str = ""
    value: bytes | None = None


class RunExpired(msgspec.Struct, frozen=True, array_like=True, tag=26):
    """The run's time to live passed before it started."""

    at: Instant
    reason: str = ""
    created: RunCreated | None = None
    """As in `RunCancelled`."""


class RunTimedOut(msgspec.Struct, frozen=True, array_like=True, tag=27):
    """A deadline passed that no retry can mend."""

    at: Instant
    error: ErrorInfo
    reason: str
    """`schedule_to_start` or `schedule_to_close`."""
    fatal: tuple[str, ...] = ()
    """As in `AttemptFailed`, for an operator's retry."""
    created: RunCreated | None = None
    """As in `RunCancelled`."""


class Compensated(msgspec.Struct, frozen=True, array_like=True, tag=28):
    """Every undo has run: the run has the end that it was to have."""

    at: Instant


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag=29):
    """The task says that it lives; the last details are there for the next attempt."""

    at: Instant
    details: bytes | None = None
    """In the value codec."""


class Progressed(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """The task says how far it has come."""

    at: Instant
    done: float
    total: float | None = None
    text: str = ""


class MetadataChanged(msgspec.Struct, frozen=True, array_like=True, tag=31):
    """The task changed its run's metadata."""

    at: Instant
    changes: dict[str, bytes | None]
    """By name, in the value codec; None: removed."""


class Diverged(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """The code took another way than the journal: it came to an await that is new while recorded ones are left over."""

    key: str
    """The new await."""
    at: Instant
    missing: tuple[str, ...]
    """Recorded awaits that the code did not come to; a hundred at most."""


class Inherited(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """A fork begins with this outcome of its origin. Undoing what it did stays the origin's business."""

    key: str
    at: Instant
    took: Seconds
    value: bytes | None = None
    error: ErrorInfo | None = None
    """Set where the outcome was an exception."""
    edited: bool = False
    """Whether it was replaced when the fork was made."""


class HookTriggered(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """The run's ending was followed up."""

    on: str
    at: Instant
    run: str
    """Id of the hook's run."""


class SecretPinned(msgspec.Struct, frozen=True, array_like=True, tag=35):
    """The run read a secret and goes on with this version of it, whatever is rotated meanwhile."""

    name: str
    version: int


class Admitted(msgspec.Struct, frozen=True, array_like=True, tag=36):
    """The work item of a run that got a slot of its queue, which has limits."""

    run: str
    first: int
    """As in `Offered`."""
    cause: int = 0
    """As in `Offered`."""
    item: int = 0
    """Sequence of the run's first fact, where nothing else has happened to it: it may begin with that alone. 0: its
    journal is to be read."""


class Held(msgspec.Struct, frozen=True, array_like=True, tag=37):
    """A worker left a queued run to whoever conducts: it may not start yet, or not at all."""

    at: Instant
    why: str
    """`overlap` (the schedule's run before it has not ended) or `late` (its tick fired later than it may)."""


class Postponed(msgspec.Struct, frozen=True, array_like=True, tag=38):
    """A delayed run was put off by another trigger with its debounce key."""

    at: Instant
    due: Instant
    """Never sooner than it was."""
    payload: bytes | None = None
    """The other trigger's, where that counts; None: as it was."""


class Awaited(msgspec.Struct, frozen=True, array_like=True, tag=39):
    """Another run awaits this one too: its trigger found it by its key. It is told of the end."""

    run: str
    at: Instant
    key: str
    """That run's checkpoint."""


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
    | WaitStarted
    | TokenCompleted
    | EventArrived
    | Signalled
    | Resolved
    | RunExpired
    | RunTimedOut
    | Compensated
    | Heartbeat
    | Progressed
    | MetadataChanged
    | Diverged
    | Inherited
    | HookTriggered
    | SecretPinned
    | Admitted
    | Held
    | Postponed
    | Awaited
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
    WaitStarted,
    Compensated,
    Heartbeat,
    Progressed,
    MetadataChanged,
    Diverged,
    SecretPinned,
)
"""Entries that only the run's holder may write."""


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What one message on a run's log subject holds: several entries that commit as one."""

    writer: str
    """The writing claim's nonce; empty where nobody held the run."""
    entries: tuple[Entry, ...]
