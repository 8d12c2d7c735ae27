"""What a run is: its states, its policies, and the folded run itself."""

from __future__ import annotations

import math
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

Instant: TypeAlias = float
"""Seconds since the Unix epoch, UTC."""

Seconds: TypeAlias = float
"""A duration in seconds."""


def seconds(value: float | timedelta, what: str) -> Seconds:
    """A duration as users give it, in seconds. Raises: ValueError: not a finite number from 0 on; names `what`."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
        raise ValueError(f"{what}: expected seconds from 0 on or a timedelta, found {value!r}")
    return float(number)


class State(StrEnum):
    """Where a run stands. `lifecycle.ACCEPTED_IN` says which entry is legal in which state."""

    DELAYED = "delayed"
    """Created with a delay; its timer has not fired."""
    QUEUED = "queued"
    """Has a work item; nobody holds it."""
    RUNNING = "running"
    """A worker holds it."""
    WAITING = "waiting"
    """Suspended at its last checkpoint until something arrives; holds no slot."""
    RETRYING = "retrying"
    """An attempt failed; its timer has not fired."""
    COMPENSATING = "compensating"
    """Ended badly; the undos of its steps run."""
    COMPLETED = "completed"
    """Final: it has a result."""
    FAILED = "failed"
    """Final: it failed, and an operator dropped its dead letter."""
    DEAD = "dead"
    """Final: it failed, and its dead letter waits for an operator."""
    CANCELLED = "cancelled"
    """Final: somebody cancelled it."""
    EXPIRED = "expired"
    """Final: its time to live passed before it started."""
    TIMED_OUT = "timed_out"
    """Final: a deadline passed."""


FINAL = frozenset({State.COMPLETED, State.FAILED, State.DEAD, State.CANCELLED, State.EXPIRED, State.TIMED_OUT})
"""The states that only an operator's retry leaves."""

UNHELD = frozenset({State.DELAYED, State.QUEUED, State.WAITING, State.RETRYING})
"""The states of a live run that no worker holds: whoever moves it appends with compare-and-set."""

FIRST_PRIORITY, LAST_PRIORITY, DEFAULT_PRIORITY = 0, 9, 5

MAX_INTERRUPTIONS = 5
"""How often an attempt may take its worker down before the run counts as poison."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """When a failed attempt is tried again.

    The delay after failed attempt n (from 1) is `min(max_timeout, r * min_timeout * factor ** (n - 1))`, with r
    uniform in [1, 2) when `jitter` is on, else 1.
    """

    max_attempts: int = 3
    """At least 1 (no retry), at most 250."""
    factor: float = 2.0
    min_timeout: Seconds = 1.0
    max_timeout: Seconds = 60.0
    jitter: bool = True
    retry_if: Any = None
    """Asked with the exception (`Callable[[BaseException], bool]`); False: do not retry. A function has no place in the
    journal, so this one works where the policy is declared on the task or step, not as a trigger's option."""

    def __post_init__(self) -> None:
        for name in ("min_timeout", "max_timeout"):
            if isinstance(value := getattr(self, name), timedelta):
                msgspec.structs.force_setattr(self, name, value.total_seconds())
        if not 1 <= self.max_attempts <= 250:
            raise ValueError(f"Retry: max_attempts is from 1 (no retry) to 250, found {self.max_attempts}")
        if not (self.factor > 0 and math.isfinite(self.factor)):
            raise ValueError(f"Retry: factor is a number above 0, found {self.factor}")
        if not 0 <= self.min_timeout <= self.max_timeout:
            raise ValueError(
                f"Retry: 0 <= min_timeout <= max_timeout expected, found {self.min_timeout} and {self.max_timeout}"
            )


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long things may take, in seconds (or as timedelta); None: for ever. Of a task, or of one step."""

    schedule_to_start: Seconds | None = None
    """From when an attempt was scheduled to its start; never retried."""
    start_to_close: Seconds | None = None
    """Of one attempt, without the waits that freed its slot; the attempt is cancelled with `TimedOut` and retried."""
    schedule_to_close: Seconds | None = None
    """Of the whole, from the first scheduling, over all attempts and backoffs; never retried."""
    heartbeat: Seconds | None = None
    """Between two heartbeats of an attempt (`run.heartbeat`); the attempt is cancelled with `TimedOut` and retried."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None:
                number = seconds(value, f"Timeouts: {name}")
                if number == 0:
                    raise ValueError(f"Timeouts: {name}: expected more than 0 seconds; None means for ever")
                msgspec.structs.force_setattr(self, name, number)


class Rate(msgspec.Struct, frozen=True):
    """How many runs may start: at most `limit` in any window of `per` seconds (sliding)."""

    limit: int
    """Starts, at least 1."""
    per: Seconds = 1.0
    key: str | None = None
    """Path of the payload's field by whose value they are counted apart; None: all together."""

    def __post_init__(self) -> None:
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 1:
            raise ValueError(f"Rate: limit is a whole number from 1, found {self.limit!r}")
        if (per := seconds(self.per, "Rate: per")) == 0:
            raise ValueError("Rate: per is a number of seconds above 0")
        msgspec.structs.force_setattr(self, "per", per)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs of a task may run at once, and how often they may start, over all workers."""

    concurrency: int | None = None
    """Runs at once; of each concurrency key apart, where its runs have one. None: no limit."""
    concurrency_key: str | None = None
    """Path of the payload's field whose value is a run's concurrency key, where its trigger names none."""
    rate: Rate | None = None

    def __bool__(self) -> bool:
        return self.concurrency is not None or self.rate is not None


class ErrorInfo(msgspec.Struct, frozen=True, array_like=True):
    """An exception as the journal keeps it."""

    type: str
    """Qualified name of its class, e.g. `payments.CardDeclined`."""
    message: str
    traceback: str = ""
    """The user's own frames, formatted as Python prints them; empty where there are none."""
    value: bytes | None = None
    """The exception itself in the value codec, to be raised again; None where it has no exact round trip."""


class Parent(msgspec.Struct, frozen=True, array_like=True):
    """The run that awaits this one."""

    run: str
    key: str
    """The parent's checkpoint that this run's end resolves."""


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """The run that this one was made from: replayed, forked, or imported."""

    run: str
    how: str
    """`replay`, `fork` or `import`."""
    key: str = ""
    """Of a fork: the checkpoint before which it parts from its origin."""
    behind: bool = False
    """It parts behind that checkpoint, of which it keeps the outcome or has another one."""

    @property
    def told(self) -> str:
        """How it was made, in plain words: `fork of 01K... before /ship#1`."""
        where = f" {'behind' if self.behind else 'before'} {self.key}" if self.key else ""
        return f"{self.how} of {self.run}{where}"


class Hook(msgspec.Struct, frozen=True, array_like=True):
    """A task to be triggered when the run has ended."""

    on: str
    """`success`, `failure` (dead, timed out or expired) or `cancel`."""
    task: str
    queue: str = "default"


class KeyKind(StrEnum):
    """What a run's key is for."""

    IDEMPOTENCY = "idempotency"
    """A trigger with the same key gets this run, as long as the key is taken."""
    DEBOUNCE = "debounce"
    """A trigger with the same key puts this run off, as long as it has not become ready."""


class Key(msgspec.Struct, frozen=True, array_like=True):
    """Under which a trigger finds a run again. The run's id is made of task, kind, key and generation."""

    kind: KeyKind
    text: str
    """With its scope: behind `<run>:` for a key that was used inside a run."""
    generation: int = 0
    """How often the key was free again before."""
    until: Instant | None = None
    """Of an idempotency key: how long a run that completed or was cancelled keeps it taken; None: for ever. Of a
    debounce key: how far the run may be put off; None: however far."""
    leading: bool = False
    """Of a debounce key: the trigger that has it changes no payload but its own."""


class Tick(msgspec.Struct, frozen=True, array_like=True):
    """One time of a schedule: what its run needs to know of it."""

    schedule: str
    at: Instant
    """The nominal time, without jitter."""
    before: str = ""
    """The run of the tick before, which must have ended first; empty: runs of the schedule may overlap."""
    before_first: int = 1
    """Stream sequence from which on that one is read."""
    catch_up: Seconds | None = None
    """How much later than its time the tick may fire; None: it was made late on purpose."""
    overlap: str = "skip"
    """What becomes of its run while the one before has not ended (`schedule.Overlap`)."""


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far a run says it has come."""

    done: float
    total: float | None = None
    text: str = ""


class Expected(msgspec.Struct, frozen=True, array_like=True):
    """An event that a run waits for."""

    wait: str
    """Id of the wait."""
    subject: str
    """Event subject with NATS wildcards."""
    match: bytes = b""
    """What its fields must be equal to, by dotted path: a msgpack map; empty: any event."""
    since: Instant = 0.0
    """An event published before then does not count."""
    key: str = ""
    """The await whose outcome gives the wait up."""


class Holder(msgspec.Struct, frozen=True):
    """The worker that holds a run."""

    worker: str
    nonce: str
    """Random per claim: every batch of the attempt carries it."""
    item: str
    """Where the work item is acknowledged; empty where the holder kept none."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run, folded from its entries. Only `lifecycle` makes a new one."""

    id: str
    task: str
    queue: str
    priority: int
    state: State
    created_at: Instant
    first: int = 0
    """Stream sequence of the run's first message: where reading it begins."""
    last: int = 0
    """Stream sequence of the last message on its log subject; what the next append expects. 0: none yet."""
    moved: int = 0
    """Stream sequence of the last message on its log subject that changed it: an offer made before that is stale."""
    payload: bytes = b""
    """The arguments by name, in the value codec."""
    retry: Retry | None = None
    """The policy that the trigger named; None: the task's own."""
    parent: Parent | None = None
    source: str = ""
    """What triggered it."""
    tags: tuple[str, ...] = ()
    due: Instant | None = None
    """When a delayed or retrying run becomes ready, or a suspended one at the latest."""
    offered: bool = False
    """Whether a live work item stands for it."""
    item: int = 0
    """Stream sequence of the RunCreated that is the work item of a run that has not started: a worker begins with it
    unread, so it must go where the run does. 0: there is none (of any other work item a worker reads the run first)."""
    armed: bool = False
    """Whether the timer for `due` stands in the stream."""
    attempt: int = 0
    """Number of the current or last attempt; rises by one with each."""
    spent: int = 0
    """Failed attempts that count against the policy."""
    interruptions: int = 0
    """Impolite interruptions since the last attempt that ended by itself."""
    max_interruptions: int = MAX_INTERRUPTIONS
    fresh: bool = True
    """Whether the next claim begins a new attempt (else it resumes the current one)."""
    holder: Holder | None = None
    """Who holds it; set exactly while it is running, or compensating in a worker's hands."""
    started_at: Instant | None = None
    """First start of its first attempt."""
    finished_at: Instant | None = None
    result: bytes | None = None
    """In the value codec; set when completed."""
    error: ErrorInfo | None = None
    """The last error; kept while retrying, cleared by success."""
    reason: str = ""
    """Why it is dead or cancelled, in plain words."""
    lettered: bool = False
    """Whether a dead letter may stand for it, or have stood."""
    cancel_requested: bool = False
    cancel_at: Instant | None = None
    """When that was asked for first."""
    steps: int = 0
    """Recorded outcomes."""
    last_key: str = ""
    """The checkpoint recorded last."""
    waits: frozenset[str] = frozenset()
    """Ids of what it is suspended on: child runs, tokens, events, signals (`signal:<name>#<n>`), and the answer of an
    operator (`pause:<key>`). A sleep has none: its end is `due`."""
    arrived: frozenset[str] = frozenset()
    """Ids of such as have come in."""
    paused: str = ""
    """Why it waits for an operator's answer, in plain words; empty where it does not."""
    expected: tuple[Expected, ...] = ()
    """Events that it waits for, suspended or not."""
    children: frozenset[str] = frozenset()
    """Child runs that have not ended and follow this run's cancellation."""
    timeouts: Timeouts | None = None
    """As named by the trigger, else the task's own once an attempt has started."""
    scheduled_at: Instant = 0.0
    """When the next or current attempt was scheduled: from then on it could start."""
    deadline: Instant | None = None
    """By when it must have ended: its own `schedule_to_close`, or its parent's deadline if that is sooner."""
    expires: Instant | None = None
    """By when it must have started for the first time."""
    held_since: Instant | None = None
    """When its holder claimed it."""
    used: Seconds = 0.0
    """How long the current attempt was held by those who had it before."""
    undos: tuple[str, ...] = ()
    """Completed steps that have an undo and were not undone, in the order of their completion."""
    ending: State | None = None
    """The final state that it will have when its undos have run; set exactly while it is compensating."""
    hooks: tuple[Hook, ...] = ()
    followed: bool = False
    """Whether the hook of its last ending was triggered."""
    metadata: dict[str, bytes] = {}
    """By name, in the value codec."""
    progress: Progress | None = None
    origin: Origin | None = None
    secrets: dict[str, int] = {}
    """By name: the version of each secret that it has read."""
    key: Key | None = None
    awaited: tuple[Parent, ...] = ()
    """By which runs, beside its parent: their triggers found it by its key."""
    tick: Tick | None = None
    held: str = ""
    """Why it has no work item though it is queued: whoever conducts decides (`entries.Held.why`); empty: it is not."""
    admitted: bool = False
    """Whether it has a slot of a queue with limits: from its admission until it waits, fails or ends."""
    concurrency_key: str = ""
    """Under which runs of its task, and of its queue, are limited apart."""
    rate_key: str = ""
    """Under which starts of its task are counted apart."""
    trace: str = ""
    """Trace context of whatever triggered it: a W3C `traceparent`; empty: none."""
    code: str = ""
    """Fingerprint of the task's code that ran last."""

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL

    @property
    def resumable(self) -> bool:
        """Whether something it is suspended on has arrived."""
        suspended = self.state in (State.WAITING, State.COMPENSATING)
        return suspended and not self.waits.isdisjoint(self.arrived)

    @property
    def suspended(self) -> bool:
        """Whether there is something that it waits for, and nothing of that has come."""
        return bool(self.waits or self.due is not None) and not self.resumable

    @property
    def parents(self) -> tuple[Parent, ...]:
        """Who is to be told of its end."""
        return self.awaited if self.parent is None else (self.parent, *self.awaited)

    @property
    def hook(self) -> Hook | None:
        """What is to be triggered now that it has ended."""
        on = _HOOKED.get(self.state)
        return next((hook for hook in self.hooks if hook.on == on), None) if not self.followed else None


_HOOKED = {
    State.COMPLETED: "success",
    State.DEAD: "failure",
    State.TIMED_OUT: "failure",
    State.EXPIRED: "failure",
    State.CANCELLED: "cancel",
}
