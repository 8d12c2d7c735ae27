"""What a worker stores in the journal, in words."""

from __future__ import annotations

import msgspec

from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    ChildTriggered,
    Compensated,
    Entry,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunTimedOut,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
    WaitStarted,
)
from holdfast.core.lifecycle import Kind
from holdfast.wire import codec
from holdfast.wire.subjects import Subjects

_KINDS: dict[str, tuple[type[Entry], ...]] = {
    "end": (RunCompleted, RunDead, RunCancelled, RunTimedOut, Compensated),
    "failed attempt": (AttemptFailed, AttemptInterrupted),
    "suspension": (Suspended,),
    "outcome": (StepCompleted, StepFailed, StepVolatile),
    "try of a step": (StepRetried, StepStarted),
    "child or wait": (ChildTriggered, WaitStarted),
    "claim": (AttemptStarted, AttemptResumed),
}
"""Of several entries in one write the first of these names it."""

OTHER = "mark"
"""What a run says of itself: progress, heartbeat, metadata."""


class Write(msgspec.Struct, frozen=True):
    """One message that a worker stores."""

    kind: str
    """Its class: `outcome`, `end`, `claim`, `creation`, `timer`, ..."""
    what: str

    def __str__(self) -> str:
        return self.what


def write_of(subjects: Subjects, subject: str, data: bytes) -> Write:
    """The write that stores this message."""
    if not subject.startswith(subjects.journal[:-1]):
        return Write("letter", "the dead letter")
    match subjects.parse(subject).kind:
        case Kind.LOG:
            entries = codec.decode_batch(data).entries
            return Write(_kind(entries), " + ".join(_named(entry) for entry in entries))
        case Kind.TIMER:
            return Write("timer", "the timer that makes it ready")
        case Kind.READY:
            entry = codec.decode_entry(data)
            if isinstance(entry, RunCreated):
                return Write("creation", f"a run of {entry.task}")
            return Write("work item", "its work item")
        case _:
            entry = codec.decode_entry(data)
            return Write("word to a run", _named(entry))


def _kind(entries: tuple[Entry, ...]) -> str:
    return next((kind for kind, types in _KINDS.items() if any(isinstance(one, types) for one in entries)), OTHER)


def _named(entry: Entry) -> str:
    return f"{type(entry).__name__} {getattr(entry, 'key', '')}".rstrip()
