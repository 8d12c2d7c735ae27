"""What must follow from where a run stands: derived from the fold, idempotent, so a crash in between repairs itself.

Whoever appended the entry carries the effects out and then acknowledges the work item. Where that one died, whoever
looks at the run next derives the same effects and carries out what is missing: an effect that leaves a trace in the
run's own journal (`Offer`, `Arm`, `TriggerHook`) is gone from the list once the trace is there; the others may be
repeated.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from holdfast.core.model import Instant, Run, State


class Offer(msgspec.Struct, frozen=True):
    """Publish a work item."""

    run: str
    queue: str
    priority: int
    first: int
    cause: int
    """Sequence of the run's log that asks for it; makes a repetition harmless."""


class Arm(msgspec.Struct, frozen=True):
    """Publish the timer that makes the run ready."""

    run: str
    queue: str
    priority: int
    first: int
    due: Instant
    cause: int


class Withdraw(msgspec.Struct, frozen=True):
    """Remove the run's timers, and its work item where no attempt has begun."""

    run: str
    item: int | None
    """Sequence of the work item that a worker would begin with unread, or None where there is none."""


class CancelChild(msgspec.Struct, frozen=True):
    """Ask for a child run to end, as its parent has."""

    child: str
    reason: str


class TriggerHook(msgspec.Struct, frozen=True):
    """Create the run of a hook, and say so to the run that has ended."""

    run: str
    on: str
    task: str
    queue: str
    cause: int
    """Sequence of the run's log that ended it: each ending triggers its hook once."""


class Cancel(msgspec.Struct, frozen=True):
    """Append that the run is cancelled: it was asked for, and nobody holds it."""

    run: str


class Tell(msgspec.Struct, frozen=True):
    """Tell a run that awaits this one how it ended."""

    parent: str
    key: str


class PutLetter(msgspec.Struct, frozen=True):
    """Publish the run's dead letter."""

    run: str
    queue: str


class DropLetter(msgspec.Struct, frozen=True):
    """Remove the run's dead letter."""

    run: str
    queue: str


Effect: TypeAlias = Offer | Arm | Withdraw | Cancel | CancelChild | TriggerHook | Tell | PutLetter | DropLetter
"""Everything that can follow."""


def effects(run: Run) -> tuple[Effect, ...]:
    """What must follow from where the run stands, in the order in which to do it."""
    match run.state:
        case State.QUEUED | State.WAITING | State.RETRYING | State.DELAYED if run.cancel_requested:
            return (Cancel(run.id),)
        case State.QUEUED if not run.offered and not run.held:
            return (*_letter_gone(run), _offer(run))
        case State.WAITING if run.resumable and not run.offered:
            return (_offer(run),)
        case State.RETRYING | State.DELAYED | State.WAITING:
            return _armed(run)
        case State.COMPENSATING:
            return (*_children(run), *_compensation(run))
        case State.DEAD:
            return (*_told(run), PutLetter(run.id, run.queue), *_hook(run))
        case State.FAILED:
            return (*_told(run), *_letter_gone(run))
        case State.CANCELLED | State.EXPIRED | State.TIMED_OUT:
            withdrawn = Withdraw(run.id, run.item or None)
            return (withdrawn, *_children(run), *_told(run), *_letter_gone(run), *_hook(run))
        case State.COMPLETED:
            return (*_told(run), *_letter_gone(run), *_hook(run))
        case _:
            return ()


def _offer(run: Run) -> Offer:
    return Offer(run.id, run.queue, run.priority, run.first, run.last)


def _armed(run: Run) -> tuple[Arm, ...]:
    if run.armed or run.due is None:
        return ()
    return (Arm(run.id, run.queue, run.priority, run.first, run.due, run.last),)


def _compensation(run: Run) -> tuple[Offer | Arm, ...]:
    """A worker to run the undos, at once or when the next try of one is due."""
    if run.holder is not None or run.offered:
        return ()
    return _armed(run) if run.suspended else (_offer(run),)


def _letter_gone(run: Run) -> tuple[DropLetter, ...]:
    """The letter of a run that is dead no more: retried by an operator, dropped, or ended otherwise since."""
    return (DropLetter(run.id, run.queue),) if run.lettered else ()


def _children(run: Run) -> tuple[CancelChild, ...]:
    """The children follow a run that was cancelled or timed out."""
    ending = run.ending or run.state
    if ending not in (State.CANCELLED, State.TIMED_OUT):
        return ()
    reason = f"its parent {run.id} was {'cancelled' if ending is State.CANCELLED else 'timed out'}"
    return tuple(CancelChild(child, reason) for child in sorted(run.children))


def _hook(run: Run) -> tuple[TriggerHook, ...]:
    hook = run.hook
    return () if hook is None else (TriggerHook(run.id, hook.on, hook.task, hook.queue, run.moved),)


def _told(run: Run) -> tuple[Tell, ...]:
    return tuple(Tell(parent.run, parent.key) for parent in run.parents)
