"""What each entry does to a run: one table of what is legal, one function that moves it, one that folds a history.

`advance` raises `IllegalEntry` and changes nothing where the table says no. `apply` takes a whole stored message and is
total: what is illegal there is skipped, because the journal may hold what a worker wrote that no longer had the run, a
work item offered twice, or a message to a run that had ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple, assert_never

from msgspec.structs import replace

from holdfast.core.entries import (
    ENTRIES,
    HOLDERS_OWN,
    Admitted,
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    Awaited,
    CancelRequested,
    ChildEnded,
    ChildTriggered,
    Compensated,
    Diverged,
    Entry,
    EventArrived,
    Heartbeat,
    Held,
    HookTriggered,
    Inherited,
    LetterDropped,
    MetadataChanged,
    Offered,
    Postponed,
    Progressed,
    Resolved,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunExpired,
    RunRetried,
    RunTimedOut,
    SecretPinned,
    Signalled,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.model import FINAL, ErrorInfo, Expected, Holder, Parent, Progress, Run, State

_LIVE = frozenset(State) - FINAL
_ENDABLE = _LIVE - {State.COMPENSATING}
_RUNNING = frozenset({State.RUNNING})
_HELD = frozenset({State.RUNNING, State.COMPENSATING})
_ANY = frozenset(State)

ACCEPTED_IN: dict[type[Entry], frozenset[State]] = {
    RunCreated: frozenset(),
    Offered: _ANY,
    AttemptStarted: frozenset({State.QUEUED, State.RETRYING}),
    AttemptResumed: frozenset({State.QUEUED, State.COMPENSATING}),
    StepStarted: _HELD,
    StepCompleted: _HELD,
    StepFailed: _HELD,
    StepRetried: _HELD,
    StepVolatile: _HELD,
    ChildTriggered: _RUNNING,
    Suspended: _HELD,
    AttemptFailed: _RUNNING,
    AttemptInterrupted: _HELD,
    RunCompleted: _RUNNING,
    RunDead: frozenset({State.RUNNING, State.QUEUED}),
    RunCancelled: _LIVE,
    RunRetried: frozenset({State.DEAD, State.FAILED, State.CANCELLED, State.TIMED_OUT}),
    LetterDropped: frozenset({State.DEAD}),
    CancelRequested: _ANY,
    ChildEnded: _ANY,
    WaitStarted: _RUNNING,
    TokenCompleted: _ANY,
    EventArrived: _ANY,
    Signalled: _LIVE,
    Resolved: _LIVE,
    RunExpired: frozenset({State.QUEUED}),
    RunTimedOut: _ENDABLE,
    Compensated: frozenset({State.COMPENSATING}),
    Heartbeat: _HELD,
    Progressed: _HELD,
    MetadataChanged: _HELD,
    Diverged: _RUNNING,
    Inherited: frozenset({State.QUEUED}),
    HookTriggered: FINAL,
    SecretPinned: _HELD,
    Admitted: _ANY,
    Held: frozenset({State.QUEUED}),
    Postponed: frozenset({State.DELAYED}),
    Awaited: _ANY,
}
"""In which states of an existing run an entry is legal. `RunCreated` is legal only where there is no run yet.

Besides: what only a holder may write needs one, and so does `AttemptInterrupted`; `AttemptResumed` needs that there is
none; of a compensating run only a kill is accepted as `RunCancelled`; `RunExpired` and `Inherited` are for a run
without an attempt.
"""

PAUSE = "pause:"
"""Prefix of the id by which a run waits for an operator's answer about a checkpoint."""

COMPENSATION = "compensation"
"""Stands for the checkpoint where a run's undos took down too many workers."""

UNDO = "/undo"
"""Ends the key of an undo, below the step that it undoes."""

SHORT = 0.3
"""Seconds up to which a worker waits for a retry itself, and the run keeps its slot: timers fire up to 0.25 s late."""


class IllegalEntry(Exception):
    """An entry that the run's state does not accept; nothing was changed."""


def advance(run: Run | None, entry: Entry) -> Run:
    """The run after one entry.

    Raises:
        IllegalEntry: the run's state does not accept it, or an attempt's number is not the expected one.
    """
    if run is None:
        if isinstance(entry, RunCreated):
            return _created(entry)
        if isinstance(entry, RunCancelled | RunExpired | RunTimedOut) and entry.created is not None:
            return _moved(_created(entry.created), entry)
        raise IllegalEntry(f"{type(entry).__name__}: expected RunCreated first")
    if run.state not in ACCEPTED_IN[type(entry)]:
        raise IllegalEntry(f"{type(entry).__name__} is not accepted while {run.state} (run {run.id})")
    if isinstance(entry, HOLDERS_OWN) and (run.holder is None) is not isinstance(entry, _CLAIMS):
        raise IllegalEntry(f"{type(entry).__name__} is not accepted {_held_in_words(run)} (run {run.id})")
    return _moved(run, entry)


_CLAIMS = AttemptStarted | AttemptResumed


def _held_in_words(run: Run) -> str:
    return "while nobody holds it" if run.holder is None else f"while {run.holder.worker} holds it"


def _created(entry: RunCreated) -> Run:
    return Run(
        id=entry.run,
        task=entry.task,
        queue=entry.queue,
        priority=entry.priority,
        state=State.QUEUED if entry.due is None else State.DELAYED,
        created_at=entry.at,
        payload=entry.payload,
        retry=entry.retry,
        parent=entry.parent,
        source=entry.source,
        tags=entry.tags,
        due=entry.due,
        expires=entry.expires,
        timeouts=entry.timeouts,
        scheduled_at=entry.at if entry.due is None else entry.due,
        deadline=_deadline(entry),
        metadata=entry.metadata,
        hooks=entry.hooks,
        origin=entry.origin,
        key=entry.key,
        tick=entry.tick,
        concurrency_key=entry.concurrency_key,
        rate_key=entry.rate_key,
        trace=entry.trace,
    )


def _deadline(entry: RunCreated) -> float | None:
    """By when it must have ended, as far as that is known at its creation."""
    limit = entry.timeouts.schedule_to_close if entry.timeouts is not None else None
    own = None if limit is None else (entry.at if entry.due is None else entry.due) + limit
    return min((at for at in (own, entry.deadline) if at is not None), default=None)


def recreated(run: Run) -> RunCreated:
    """The run's first fact again, for entries that outlive its work item. Not for a run that has started."""
    return RunCreated(
        run=run.id,
        at=run.created_at,
        task=run.task,
        payload=run.payload,
        queue=run.queue,
        priority=run.priority,
        retry=run.retry,
        parent=run.parent,
        source=run.source,
        tags=run.tags,
        expires=run.expires,
        timeouts=run.timeouts,
        deadline=run.deadline,
        metadata=run.metadata,
        hooks=run.hooks,
        origin=run.origin,
        key=run.key,
        tick=run.tick,
        concurrency_key=run.concurrency_key,
        rate_key=run.rate_key,
        trace=run.trace,
    )


def _moved(run: Run, entry: Entry) -> Run:
    match entry:
        case StepCompleted() | StepFailed() | StepVolatile():
            return _recorded(run, entry)
        case StepStarted() | StepRetried() | Heartbeat() | Diverged():
            return run
        case Progressed():
            return replace(run, progress=Progress(entry.done, entry.total, entry.text))
        case SecretPinned():
            return replace(run, secrets={**run.secrets, entry.name: entry.version})
        case MetadataChanged():
            return replace(run, metadata=_changed(run.metadata, entry.changes))
        case ChildTriggered():
            follows = not entry.detached and entry.child not in run.arrived
            return replace(run, children=run.children | {entry.child}) if follows else run
        case WaitStarted():
            known = entry.wait in run.arrived or any(each.wait == entry.wait for each in run.expected)
            if entry.kind != "event" or known:
                return run
            event = Expected(entry.wait, entry.subject, entry.match, entry.since, entry.key)
            return replace(run, expected=(*run.expected, event))
        case Offered():
            return _offered(run, entry)
        case Admitted():
            return _admitted(run, entry)
        case Held():
            return replace(run, held=entry.why, offered=False, admitted=False)
        case Postponed():
            return _postponed(run, entry)
        case AttemptStarted():
            if not run.fresh or entry.attempt != run.attempt + 1:
                raise _wrong_attempt(run, entry.attempt)
            return _started(run, entry)
        case AttemptResumed():
            if run.fresh or entry.attempt != run.attempt:
                raise _wrong_attempt(run, entry.attempt)
            return _held(run, entry)
        case Suspended():
            return _suspended(run, entry)
        case AttemptFailed():
            return replace(
                _given_up(run, entry.at),
                state=State.RETRYING,
                offered=False,
                armed=False,
                due=entry.due,
                scheduled_at=entry.due,
                fresh=True,
                error=entry.error,
                spent=run.spent + entry.spent,
                interruptions=0,
                admitted=run.admitted and entry.due - entry.at <= SHORT,
            )
        case AttemptInterrupted():
            if run.holder is None:
                raise IllegalEntry(f"run {run.id}: nobody holds it who could be interrupted (AttemptInterrupted)")
            return _interrupted(run, entry)
        case RunCompleted():
            if run.cancel_requested:
                return _ended(run, State.CANCELLED, entry.at, reason="cancelled during its last step")
            return _final(run, State.COMPLETED, entry.at, result=entry.result)
        case RunDead():
            if run.cancel_requested:
                return replace(_ended(run, State.CANCELLED, entry.at, reason="cancelled"), error=entry.error)
            return replace(_ended(run, State.DEAD, entry.at, reason=entry.reason), error=entry.error)
        case RunTimedOut():
            if run.cancel_requested:
                return replace(_ended(run, State.CANCELLED, entry.at, reason="cancelled"), error=entry.error)
            return replace(_ended(run, State.TIMED_OUT, entry.at, reason=entry.reason), error=entry.error)
        case RunExpired():
            if run.attempt:
                raise IllegalEntry(f"run {run.id} has started: it does not expire")
            if run.cancel_requested:
                return _final(run, State.CANCELLED, entry.at, reason="cancelled")
            return _final(run, State.EXPIRED, entry.at, reason=entry.reason)
        case RunCancelled():
            if entry.killed:
                return _final(run, State.CANCELLED, entry.at, reason=entry.reason or "killed")
            if run.state is State.COMPENSATING:
                raise IllegalEntry(f"run {run.id} has ended {run.ending} and compensates: it can only be killed")
            if entry.skipped and run.attempt == 0:
                return replace(_final(run, State.CANCELLED, entry.at, reason=entry.reason), followed=True)
            return _ended(run, State.CANCELLED, entry.at, reason=entry.reason or run.reason)
        case Compensated():
            assert run.ending is not None
            return replace(_final(run, run.ending, entry.at, reason=run.reason), error=run.error)
        case RunRetried():
            return _retried(run, entry)
        case LetterDropped():
            return replace(run, state=State.FAILED)
        case CancelRequested():
            if run.final or run.state is State.COMPENSATING:
                return run
            return replace(
                run, cancel_requested=True, cancel_at=run.cancel_at or entry.at, reason=run.reason or entry.reason
            )
        case ChildEnded():  # an ended run may be retried and ask for it
            return replace(run, arrived=run.arrived | {entry.child}, children=run.children - {entry.child})
        case TokenCompleted():
            return replace(run, arrived=run.arrived | {entry.token})
        case EventArrived():
            expected = tuple(each for each in run.expected if each.wait != entry.wait)
            return replace(run, arrived=run.arrived | {entry.wait}, expected=expected)
        case Signalled():
            return _signalled(run, entry)
        case Resolved():
            return replace(run, arrived=run.arrived | {PAUSE + entry.key})
        case Awaited():
            return _awaited(run, Parent(entry.run, entry.key))
        case Inherited():
            if run.attempt:
                raise IllegalEntry(f"run {run.id} has started: it inherits nothing any more")
            return _recorded(run, entry)
        case HookTriggered():  # of another ending: told too late
            return replace(run, followed=True) if run.hook is not None and run.hook.on == entry.on else run
        case RunCreated():
            raise IllegalEntry(f"RunCreated: run {run.id} exists")
        case _:
            assert_never(entry)


def _changed(metadata: dict[str, bytes], changes: dict[str, bytes | None]) -> dict[str, bytes]:
    merged = {**metadata, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def _recorded(run: Run, entry: StepCompleted | StepFailed | StepVolatile | Inherited) -> Run:
    """The run after an outcome; one with an undo is to be undone, and an undo's own settles it."""
    undos, expected = run.undos, run.expected
    if expected and isinstance(entry, StepCompleted | StepFailed):
        expected = tuple(each for each in expected if each.key != entry.key)  # given up: its time was over
    if getattr(entry, "undo", None) is not None and entry.key not in undos:
        undos = (*undos, entry.key)
    elif isinstance(entry, StepCompleted) and undos and entry.key.endswith(UNDO):
        undos = tuple(key for key in undos if key != entry.key.removesuffix(UNDO))
    return replace(run, steps=run.steps + 1, last_key=entry.key, undos=undos, expected=expected)


def _wrong_attempt(run: Run, found: int) -> IllegalEntry:
    expected = f"a new attempt {run.attempt + 1}" if run.fresh else f"attempt {run.attempt} resumed"
    return IllegalEntry(f"run {run.id}: expected {expected}, found attempt {found}")


def _offered(run: Run, entry: Offered) -> Run:
    if run.final or _stale(run, entry):
        return run
    match run.state:
        case State.DELAYED | State.RETRYING:
            return replace(run, state=State.QUEUED, offered=True, armed=False, due=None, admitted=False)
        case State.WAITING if run.resumable or run.due is not None:
            return replace(run, state=State.QUEUED, offered=True, armed=False, due=None, waits=frozenset(), paused="")
        case State.COMPENSATING if run.holder is None and (run.due is not None or not run.suspended):
            return replace(run, offered=True, armed=False, due=None, waits=frozenset(), paused="", admitted=False)
        case State.QUEUED:
            return replace(run, offered=True, held="", admitted=False)
    return run


def _awaited(run: Run, other: Parent) -> Run:
    return run if other in run.parents else replace(run, awaited=(*run.awaited, other))


def _admitted(run: Run, entry: Admitted) -> Run:
    """The run with a slot of its queue, where it is ready for a worker."""
    if run.holder is not None or _stale(run, entry):
        return run
    if run.state is State.QUEUED or (run.state is State.COMPENSATING and not run.suspended):
        return replace(run, offered=True, admitted=True, held="")
    return run


def _postponed(run: Run, entry: Postponed) -> Run:
    due = max(entry.due, run.due or entry.due)
    later = due - (run.due or due)
    return replace(
        run,
        due=due,
        armed=False,
        payload=run.payload if entry.payload is None else entry.payload,
        scheduled_at=due,
        expires=None if run.expires is None else run.expires + later,
        deadline=None if run.deadline is None else run.deadline + later,
    )


def _started(run: Run, claim: AttemptStarted) -> Run:
    timeouts = run.timeouts or claim.timeouts
    limit = timeouts.schedule_to_close if timeouts is not None else None
    deadline = run.deadline
    if run.attempt == 0 and run.timeouts is None and limit is not None:
        own = run.scheduled_at + limit
        deadline = own if deadline is None else min(own, deadline)
    return replace(
        _held(run, claim),
        started_at=run.started_at or claim.at,
        max_interruptions=claim.max_interruptions,
        timeouts=timeouts,
        deadline=deadline,
        hooks=claim.hooks or run.hooks,
        used=0.0,
        progress=None,
    )


def _held(run: Run, claim: AttemptStarted | AttemptResumed) -> Run:
    return replace(
        run,
        state=State.COMPENSATING if run.state is State.COMPENSATING else State.RUNNING,
        attempt=claim.attempt,
        fresh=False,
        holder=Holder(worker=claim.worker, nonce=claim.nonce, item=claim.item),
        held_since=claim.at,
        offered=bool(claim.item),
        item=0,
        due=None,
        armed=False,
        waits=frozenset(),
        paused="",
        held="",
        code=claim.code or run.code,
    )


def _given_up(run: Run, at: float) -> Run:
    """The run without its holder."""
    held = at - run.held_since if run.held_since is not None else 0.0
    return replace(run, holder=None, held_since=None, used=run.used + max(0.0, held))


def _suspended(run: Run, entry: Suspended) -> Run:
    if not entry.waits and entry.due is None:
        raise IllegalEntry(f"run {run.id}: expected something to wait for, found nothing")
    waits = frozenset(entry.waits)
    answered = frozenset(wait for wait in waits if wait.startswith(PAUSE))  # answers to earlier questions
    return replace(
        _given_up(run, entry.at),
        state=State.COMPENSATING if run.state is State.COMPENSATING else State.WAITING,
        offered=False,
        armed=False,
        due=entry.due,
        waits=waits,
        arrived=run.arrived - answered if answered else run.arrived,
        paused=entry.paused,
        interruptions=0,
        admitted=False,
    )


def _interrupted(run: Run, entry: AttemptInterrupted) -> Run:
    interruptions = run.interruptions + (not entry.polite)
    given_up = replace(_given_up(run, entry.at), interruptions=interruptions)
    if run.state is State.RUNNING:
        return replace(given_up, state=State.QUEUED)
    if interruptions <= run.max_interruptions:
        return given_up
    return replace(
        given_up,
        offered=False,
        admitted=False,
        interruptions=0,
        waits=frozenset({PAUSE + COMPENSATION}),
        arrived=run.arrived - {PAUSE + COMPENSATION},
        paused=f"its undos were interrupted {interruptions} times, the last time: {entry.reason}",
    )


def _signalled(run: Run, entry: Signalled) -> Run:
    """The run after a signal: the n-th of a name arrives as `signal:<name>#<n>`; a repetition changes nothing."""
    if (known := f"signal-id:{entry.id}") in run.arrived:
        return run
    before = sum(arrived.startswith(f"signal:{entry.name}#") for arrived in run.arrived)
    return replace(run, arrived=run.arrived | {known, f"signal:{entry.name}#{before + 1}"})


def _signals(run: Run) -> frozenset[str]:
    """The signals that have arrived: a retry from the start is given them again, and counts the next ones on."""
    return frozenset(arrived for arrived in run.arrived if arrived.startswith(("signal:", "signal-id:")))


def _retried(run: Run, entry: RunRetried) -> Run:
    limit = run.timeouts.schedule_to_close if run.timeouts is not None else None
    ttl = run.expires - run.scheduled_at if run.expires is not None and run.attempt == 0 else None
    return replace(
        run,
        state=State.QUEUED,
        offered=False,
        admitted=False,
        held="",
        armed=False,
        due=None,
        fresh=True,
        spent=0,
        interruptions=0,
        error=None,
        reason="",
        result=None,
        finished_at=None,
        cancel_requested=False,
        cancel_at=None,
        waits=frozenset(),
        paused="",
        ending=None,
        followed=False,
        scheduled_at=entry.at,
        deadline=None if limit is None else entry.at + limit,
        expires=run.expires if ttl is None else entry.at + ttl,
        undos=() if entry.from_start else run.undos,
        arrived=_signals(run) if entry.from_start else run.arrived,
        steps=0 if entry.from_start else run.steps,
        secrets={} if entry.from_start else run.secrets,
        last_key="" if entry.from_start else run.last_key,
        payload=run.payload if entry.payload is None else entry.payload,
    )


def _ended(run: Run, state: State, at: float, *, reason: str = "") -> Run:
    """The run at its end, or on its way there over the undos of its steps."""
    if not run.undos:
        return _final(run, state, at, reason=reason)
    return replace(
        _given_up(run, at),
        state=State.COMPENSATING,
        ending=state,
        held="",
        offered=False,
        armed=False,
        due=None,
        fresh=False,
        interruptions=0,
        waits=frozenset(),
        paused="",
        expected=(),
        reason=reason,
    )


def _final(run: Run, state: State, at: float, *, result: bytes | None = None, reason: str = "") -> Run:
    return replace(
        run,
        state=state,
        holder=None,
        held_since=None,
        offered=False,
        admitted=False,
        held="",
        armed=False,
        due=None,
        waits=frozenset(),
        paused="",
        expected=(),
        ending=None,
        lettered=run.lettered or state is State.DEAD,
        finished_at=at,
        result=result,
        reason=reason,
        error=None if state is State.COMPLETED else run.error,
    )


def interruption(run: Run, at: float, reason: str, *, polite: bool = False) -> AttemptInterrupted | RunDead:
    """The entry that takes a run from its holder: back to the queue, or dead where it did so too often."""
    if polite or run.interruptions < run.max_interruptions or run.state is State.COMPENSATING:
        return AttemptInterrupted(at=at, reason=reason, polite=polite)
    text = f"interrupted {run.interruptions + 1} times in attempt {run.attempt}, the last time: {reason}"
    return RunDead(at=at, error=ErrorInfo(type="holdfast.Poison", message=text), reason="poison")


class Kind(StrEnum):
    """Which of a run's subjects a message was stored on."""

    READY = "ready"
    LOG = "log"
    IN = "in"
    TIMER = "timer"
    GO = "go"


class Record(NamedTuple):
    """One stored message of a run."""

    seq: int
    """Its sequence in the journal stream."""
    kind: Kind
    writer: str
    """Nonce of the claim that wrote it; empty off the log or where nobody held the run."""
    entries: tuple[Entry, ...]


MAY_CARRY: dict[Kind, tuple[type[Entry], ...]] = {
    Kind.READY: (RunCreated, Offered),
    Kind.GO: (Admitted,),
    Kind.LOG: tuple(entry for entry in ENTRIES if entry not in (Offered, Admitted)),
    Kind.IN: (
        CancelRequested,
        ChildEnded,
        TokenCompleted,
        EventArrived,
        Signalled,
        Resolved,
        HookTriggered,
        Awaited,
    ),
    Kind.TIMER: (RunCreated,),
}
"""Which entries count on which subject. What a timer carries besides counts when it fires, not when it is set."""


def apply(run: Run | None, record: Record) -> Run | None:
    """The run after one stored message; what is illegal in it is skipped."""
    after = run
    for _, moved in taken(run, record):
        after = moved
    return stored(run, record, after)


def stored(run: Run | None, record: Record, after: Run | None) -> Run | None:
    """The run with a message in the stream, given what its entries made of it (`taken`)."""
    if after is None:
        return None
    match record.kind:
        case Kind.LOG if after == run:
            return replace(after, last=record.seq)
        case Kind.LOG:  # a timer of before is stale now
            return replace(after, last=record.seq, moved=record.seq, armed=False)
        case Kind.READY:
            return _readied(after, record, created=run is None)
        case Kind.TIMER if after.due is not None:
            return replace(after, armed=_arms(after, record))
    return after


def _arms(run: Run, record: Record) -> bool:
    """Whether the run's timer stands now that one was set: the last one takes the place of that before."""
    match record.entries[:1]:
        case (RunCreated(),):
            return run.state is State.DELAYED
        case (Offered() as offer,):
            return not _stale(run, offer)
    return run.armed  # a timer of another kind


def _stale(run: Run, entry: Entry) -> bool:
    """Whether an offer was made before the run last moved: by somebody slow, for where it stood then."""
    return isinstance(entry, Offered | Admitted) and 0 < entry.cause < run.moved


def taken(run: Run | None, record: Record) -> Iterator[tuple[Entry, Run]]:
    """The entries of a stored message that count, each with the run after it."""
    for entry in record.entries:
        if isinstance(entry, MAY_CARRY[record.kind]) and not _is_parked(entry, record.kind):
            moved = _try(run, entry, record)
            if moved is not None:
                run = moved
                yield entry, run


def _is_parked(entry: Entry, kind: Kind) -> bool:
    """Whether this is the tick of a schedule before its time: no run yet, and none ever if its timer is removed."""
    return kind is Kind.TIMER and isinstance(entry, RunCreated) and entry.tick is not None


def _readied(run: Run, record: Record, *, created: bool) -> Run:
    """A work item stands in the stream: a RunCreated that is one makes a delayed run ready too."""
    if not any(isinstance(entry, RunCreated) for entry in record.entries):
        return run
    if created or run.state is State.DELAYED:
        run = _offered(run, Offered(run.id, run.first))
    unstarted = run.state is State.QUEUED and run.attempt == 0 and not run.item
    return replace(run, item=record.seq) if unstarted else run


def _try(run: Run | None, entry: Entry, record: Record) -> Run | None:
    """The run after an entry; None where it does not count."""
    if record.kind is Kind.LOG and run is not None and not _may_write(run, entry, record.writer):
        return None
    try:
        moved = advance(run, entry)
    except IllegalEntry:
        return None
    return replace(moved, first=record.seq) if run is None else moved


def _may_write(run: Run, entry: Entry, writer: str) -> bool:
    """Whether the writer may: a holder's entry carries the nonce of the claim that holds the run."""
    if isinstance(entry, AttemptStarted | AttemptResumed):
        return entry.nonce == writer
    if isinstance(entry, HOLDERS_OWN):
        return run.holder is not None and run.holder.nonce == writer
    return True


def fold(records: Iterable[Record], run: Run | None = None) -> Run | None:
    """The run after these messages, in stream order; None where none of them creates it."""
    for record in records:
        run = apply(run, record)
    return run


def story(records: Iterable[Record]) -> Iterator[Entry]:
    """The entries of a run's messages that count, in order: what `Recall` and `Tree` are to be fed with."""
    run: Run | None = None
    for record in records:
        yield from (entry for entry, _ in taken(run, record))
        run = apply(run, record)
