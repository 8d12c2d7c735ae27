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
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    ChildTriggered,
    Entry,
    LetterDropped,
    Offered,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunRetried,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
)
from holdfast.core.model import FINAL, ErrorInfo, Holder, Run, State

_LIVE = frozenset(State) - FINAL
_RUNNING = frozenset({State.RUNNING})
_ANY = frozenset(State)

ACCEPTED_IN: dict[type[Entry], frozenset[State]] = {
    RunCreated: frozenset(),
    Offered: _ANY,
    AttemptStarted: frozenset({State.QUEUED, State.RETRYING}),
    AttemptResumed: frozenset({State.QUEUED}),
    StepStarted: _RUNNING,
    StepCompleted: _RUNNING,
    StepFailed: _RUNNING,
    StepRetried: _RUNNING,
    StepVolatile: _RUNNING,
    ChildTriggered: _RUNNING,
    Suspended: _RUNNING,
    AttemptFailed: _RUNNING,
    AttemptInterrupted: _RUNNING,
    RunCompleted: _RUNNING,
    RunDead: frozenset({State.RUNNING, State.QUEUED}),
    RunCancelled: frozenset({State.DELAYED, State.QUEUED, State.RUNNING, State.WAITING, State.RETRYING}),
    RunRetried: frozenset({State.DEAD, State.FAILED, State.CANCELLED}),
    LetterDropped: frozenset({State.DEAD}),
    CancelRequested: _ANY,
    ChildEnded: _ANY,
}
"""In which states of an existing run an entry is legal. `RunCreated` is legal only where there is no run yet."""


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
        if isinstance(entry, RunCancelled) and entry.created is not None:
            return _moved(_created(entry.created), entry)
        raise IllegalEntry(f"{type(entry).__name__}: expected RunCreated first")
    if run.state not in ACCEPTED_IN[type(entry)]:
        raise IllegalEntry(f"{type(entry).__name__} is not accepted while {run.state} (run {run.id})")
    return _moved(run, entry)


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
    )


def _moved(run: Run, entry: Entry) -> Run:
    match entry:
        case StepCompleted() | StepFailed() | StepVolatile():
            return replace(run, steps=run.steps + 1, last_key=entry.key)
        case StepStarted() | StepRetried() | ChildTriggered():
            return run
        case Offered():
            return _offered(run, entry)
        case AttemptStarted():
            if not run.fresh or entry.attempt != run.attempt + 1:
                raise _wrong_attempt(run, entry.attempt)
            return replace(
                _held(run, entry),
                started_at=run.started_at or entry.at,
                max_interruptions=entry.max_interruptions,
            )
        case AttemptResumed():
            if run.fresh or entry.attempt != run.attempt:
                raise _wrong_attempt(run, entry.attempt)
            return _held(run, entry)
        case Suspended():
            if not entry.waits:
                raise IllegalEntry(f"run {run.id}: expected something to wait for, found nothing")
            return replace(
                run, state=State.WAITING, holder=None, offered=False, waits=frozenset(entry.waits), interruptions=0
            )
        case AttemptFailed():
            return replace(
                run,
                state=State.RETRYING,
                holder=None,
                offered=False,
                armed=False,
                due=entry.due,
                fresh=True,
                error=entry.error,
                spent=run.spent + entry.spent,
                interruptions=0,
            )
        case AttemptInterrupted():
            return replace(run, state=State.QUEUED, holder=None, interruptions=run.interruptions + (not entry.polite))
        case RunCompleted():
            if run.cancel_requested:
                return _ended(run, State.CANCELLED, entry.at, reason="cancelled during its last step")
            return _ended(run, State.COMPLETED, entry.at, result=entry.result)
        case RunDead():
            if run.cancel_requested:
                return replace(_ended(run, State.CANCELLED, entry.at, reason="cancelled"), error=entry.error)
            return replace(_ended(run, State.DEAD, entry.at, reason=entry.reason), error=entry.error, lettered=True)
        case RunCancelled():
            return _ended(run, State.CANCELLED, entry.at, reason=entry.reason)
        case RunRetried():
            return replace(
                run,
                state=State.QUEUED,
                offered=False,
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
                waits=frozenset(),
                arrived=frozenset() if entry.from_start else run.arrived,
                steps=0 if entry.from_start else run.steps,
                last_key="" if entry.from_start else run.last_key,
                payload=run.payload if entry.payload is None else entry.payload,
            )
        case LetterDropped():
            return replace(run, state=State.FAILED)
        case CancelRequested():
            return run if run.final else replace(run, cancel_requested=True)
        case ChildEnded():
            return replace(run, arrived=run.arrived | {entry.child})  # an ended run may be retried and ask for it
        case RunCreated():
            raise IllegalEntry(f"RunCreated: run {run.id} exists")
        case _:
            assert_never(entry)


def _wrong_attempt(run: Run, found: int) -> IllegalEntry:
    expected = f"a new attempt {run.attempt + 1}" if run.fresh else f"attempt {run.attempt} resumed"
    return IllegalEntry(f"run {run.id}: expected {expected}, found attempt {found}")


def _offered(run: Run, entry: Offered) -> Run:
    if run.final or _stale(run, entry):
        return run
    if run.state in (State.DELAYED, State.RETRYING):
        return replace(run, state=State.QUEUED, offered=True, armed=False, due=None)
    if run.resumable:
        return replace(run, state=State.QUEUED, offered=True, waits=frozenset())
    return replace(run, offered=True) if run.state is State.QUEUED else run


def _held(run: Run, claim: AttemptStarted | AttemptResumed) -> Run:
    return replace(
        run,
        state=State.RUNNING,
        attempt=claim.attempt,
        fresh=False,
        holder=Holder(worker=claim.worker, nonce=claim.nonce, item=claim.item),
        offered=bool(claim.item),
        item=0,
        due=None,
        armed=False,
        waits=frozenset(),
    )


def _ended(run: Run, state: State, at: float, *, result: bytes | None = None, reason: str = "") -> Run:
    return replace(
        run,
        state=state,
        holder=None,
        offered=False,
        armed=False,
        due=None,
        waits=frozenset(),
        finished_at=at,
        result=result,
        reason=reason,
        error=None if state is State.COMPLETED else run.error,
    )


def interruption(run: Run, at: float, reason: str, *, polite: bool = False) -> AttemptInterrupted | RunDead:
    """The entry that takes a run from its holder: back to the queue, or dead where it did so too often."""
    if polite or run.interruptions < run.max_interruptions:
        return AttemptInterrupted(at=at, reason=reason, polite=polite)
    text = f"interrupted {run.interruptions + 1} times in attempt {run.attempt}, the last time: {reason}"
    return RunDead(at=at, error=ErrorInfo(type="holdfast.Poison", message=text), reason="poison")


class Kind(StrEnum):
    """Which of a run's subjects a message was stored on."""

    READY = "ready"
    LOG = "log"
    IN = "in"
    TIMER = "timer"


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
    Kind.LOG: tuple(entry for entry in ENTRIES if entry is not Offered),
    Kind.IN: (CancelRequested, ChildEnded),
    Kind.TIMER: (RunCreated,),
}
"""Which entries count on which subject. What a timer carries besides counts when it fires, not when it is set."""


def apply(run: Run | None, record: Record) -> Run | None:
    """The run after one stored message; what is illegal in it is skipped."""
    after = run
    for _, moved in taken(run, record):
        after = moved
    if after is None:
        return None
    match record.kind:
        case Kind.LOG:
            return replace(after, last=record.seq, moved=after.moved if after == run else record.seq)
        case Kind.READY:
            return _readied(after, record, created=run is None)
        case Kind.TIMER if after.state in (State.DELAYED, State.RETRYING):
            return replace(after, armed=not any(_stale(after, entry) for entry in record.entries))
    return after


def _stale(run: Run, entry: Entry) -> bool:
    """Whether an offer was made before the run last moved: by somebody slow, for where it stood then."""
    return isinstance(entry, Offered) and 0 < entry.cause < run.moved


def taken(run: Run | None, record: Record) -> Iterator[tuple[Entry, Run]]:
    """The entries of a stored message that count, each with the run after it."""
    for entry in record.entries:
        if isinstance(entry, MAY_CARRY[record.kind]):
            moved = _try(run, entry, record)
            if moved is not None:
                run = moved
                yield entry, run


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
