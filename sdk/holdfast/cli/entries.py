"""A journal entry as a line: its name and what it says, short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from holdfast.cli import text
from holdfast.cli.output import Output, Style, plain, progress, short
from holdfast.core.entries import (
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
from holdfast.core.model import ErrorInfo, Instant, Progress

VALUE = 60
"""Cells that a value takes at most."""

NAME = max(len(kind.__name__) for kind in Entry.__args__)
"""Cells of the longest name."""

STYLES: dict[type, Style] = {
    RunCompleted: Style.GOOD,
    StepFailed: Style.BAD,
    RunDead: Style.BAD,
    AttemptFailed: Style.BAD,
    StepRetried: Style.WARN,
    StepVolatile: Style.WARN,
    AttemptInterrupted: Style.WARN,
    RunCancelled: Style.WARN,
    CancelRequested: Style.WARN,
    RunTimedOut: Style.BAD,
    RunExpired: Style.WARN,
    Compensated: Style.WARN,
    Diverged: Style.WARN,
    Offered: Style.DIM,
    Admitted: Style.DIM,
    Held: Style.DIM,
    Heartbeat: Style.DIM,
    Progressed: Style.DIM,
}


HELD = {
    "overlap": "the schedule's run before it has not ended",
    "late": "it fired later than its schedule catches up",
}
"""`Held.why` in plain words."""


def record(entry: Entry) -> dict[str, Any]:
    """The entry for JSON: its name under `entry`, and all its fields."""
    return {"entry": type(entry).__name__, **plain(entry)}


def line(entry: Entry, at: float | None, out: Output) -> str:
    """The entry for people, with the time that it names itself, or `at`."""
    when = getattr(entry, "at", at)
    name = out.paint(type(entry).__name__.ljust(NAME), STYLES.get(type(entry)))
    clock = text.clock(when) if when is not None else " " * 12
    return f"{out.paint(clock, Style.DIM)}  {name}  {text.visible(said(entry))}".rstrip()


def said(entry: Entry) -> str:
    """What an entry says besides its name and time."""
    match entry:
        case RunCreated():
            return _join(
                f"{entry.task} on {entry.queue}",
                f"priority {entry.priority}",
                f"due {text.stamp(entry.due)}" if entry.due is not None else "",
                f"from {entry.source}",
                f"child of {entry.parent.run}" if entry.parent else "",
                f"{entry.key.kind} key {entry.key.text}" if entry.key is not None else "",
                f"concurrency key {entry.concurrency_key}" if entry.concurrency_key else "",
                _origin(entry),
                f"expires {text.stamp(entry.expires)}" if entry.expires is not None else "",
                f"deadline {text.stamp(entry.deadline)}" if entry.deadline is not None else "",
                ",".join(entry.tags),
                _changes(entry.metadata),
                _value(entry.payload),
            )
        case Offered():
            return "work item"
        case AttemptStarted() | AttemptResumed():
            return _join(f"attempt {entry.attempt} by {entry.worker}", f"code {entry.code}" if entry.code else "")
        case StepStarted():
            return _join(entry.key, "at most once" if entry.once else "")
        case StepCompleted():
            undo = "can be undone" if entry.undo is not None else ""
            return _join(entry.key, text.took(entry.took), _value(entry.value), undo)
        case StepFailed():
            return _join(entry.key, text.took(entry.took), _error(entry.error))
        case StepRetried():
            again = f"again in {text.took(entry.due - entry.at)}"
            return _join(entry.key, f"try {entry.number}", text.took(entry.took), again, _error(entry.error))
        case StepVolatile():
            return _join(entry.key, text.took(entry.took), f"value not kept: {entry.reason}")
        case ChildTriggered():
            return _join(f"{entry.key}  {entry.task} {entry.child}", "detached" if entry.detached else "")
        case Suspended():
            return _join(
                f"paused: {entry.paused}" if entry.paused else "",
                f"waits for {', '.join(entry.waits)}" if entry.waits else "",
                _until(entry.due),
            )
        case AttemptFailed():
            again = f"again in {text.took(entry.due - entry.at)}"
            return _join(again, "" if entry.spent else "not counted", _error(entry.error))
        case AttemptInterrupted():
            return _join(entry.reason, "given back" if entry.polite else "")
        case RunCompleted():
            return _value(entry.result)
        case RunDead():
            return _join(entry.reason, _error(entry.error))
        case RunTimedOut():
            return _join(entry.reason, _error(entry.error))
        case RunExpired():
            return entry.reason
        case RunCancelled():
            return _join("killed" if entry.killed else "", "skipped" if entry.skipped else "", entry.reason)
        case RunRetried():
            return _join(
                "from the start" if entry.from_start else "behind the last checkpoint",
                _by(entry.by),
                _value(entry.payload or b""),
            )
        case LetterDropped():
            return _by(entry.by)
        case CancelRequested():
            return _join("kill" if entry.kill else "", _by(entry.by), entry.reason)
        case ChildEnded():
            return _join(f"{entry.key}  {entry.child} {entry.state}", _error(entry.error) if entry.error else "")
        case _:
            return _said_of_waits(entry)


def _said_of_waits(
    entry: WaitStarted
    | TokenCompleted
    | EventArrived
    | Signalled
    | Resolved
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
    | Awaited,
) -> str:
    match entry:
        case WaitStarted():
            return _join(
                entry.key, f"{entry.kind} {entry.subject}".rstrip(), entry.wait, _value(entry.match), _until(entry.due)
            )
        case TokenCompleted():
            return _join(entry.token, _by(entry.by), _error(entry.error) if entry.error else _value(entry.value or b""))
        case EventArrived():
            return _join(entry.subject, f"for {entry.wait}", f"event {entry.event}", _value(entry.value))
        case Signalled():
            return _join(entry.name, _by(entry.by), _value(entry.value))
        case Resolved():
            return _join(entry.key, entry.action, _by(entry.by), _value(entry.value or b""))
        case Compensated():
            return "every undo has run"
        case Heartbeat():
            return _value(entry.details or b"")
        case Progressed():
            return progress(Progress(entry.done, entry.total, entry.text))
        case MetadataChanged():
            return _changes(entry.changes)
        case Diverged():
            return _join(f"{entry.key} is new", f"not come to: {', '.join(entry.missing)}" if entry.missing else "")
        case Inherited():
            outcome = _error(entry.error) if entry.error else _value(entry.value or b"")
            return _join(entry.key, text.took(entry.took), outcome, "edited" if entry.edited else "")
        case HookTriggered():
            return f"on {entry.on}  {entry.run}"
        case SecretPinned():
            return f"{entry.name}  version {entry.version}"
        case Admitted():
            return "got a slot"
        case Held():
            return HELD.get(entry.why, entry.why)
        case Postponed():
            return _join(_until(entry.due), _value(entry.payload or b""))
        case Awaited():
            return f"by {entry.run}  {entry.key}"
        case _:
            assert_never(entry)


def _join(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _origin(created: RunCreated) -> str:
    origin = created.origin
    return "" if origin is None else origin.told


def _until(due: Instant | None) -> str:
    return f"until {text.stamp(due)}" if due is not None else ""


def _changes(metadata: Mapping[str, bytes | None]) -> str:
    """Metadata as `name=value`, removed names as `-name`."""
    said = (f"-{name}" if value is None else f"{name}={short(value)}" for name, value in metadata.items())
    return text.clip(" ".join(said), VALUE)


def _by(who: str) -> str:
    return f"by {who}" if who else ""


def _value(data: bytes) -> str:
    return text.clip(short(data), VALUE)


def _error(error: ErrorInfo) -> str:
    first = error.message.split("\n", 1)[0]
    return f"{error.type}: {first}" if first else error.type
