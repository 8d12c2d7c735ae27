"""A journal entry as a line: its name and what it says, short."""

from __future__ import annotations

from typing import Any, assert_never

from holdfast.cli import text
from holdfast.cli.output import Output, Style, plain, short
from holdfast.core.entries import (
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
from holdfast.core.model import ErrorInfo

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
    Offered: Style.DIM,
}


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
                ",".join(entry.tags),
                _value(entry.payload),
            )
        case Offered():
            return "work item"
        case AttemptStarted() | AttemptResumed():
            return f"attempt {entry.attempt} by {entry.worker}"
        case StepStarted():
            return entry.key
        case StepCompleted():
            return _join(entry.key, text.took(entry.took), _value(entry.value))
        case StepFailed():
            return _join(entry.key, text.took(entry.took), _error(entry.error))
        case StepRetried():
            again = f"again in {text.took(entry.due - entry.at)}"
            return _join(entry.key, f"try {entry.number}", text.took(entry.took), again, _error(entry.error))
        case StepVolatile():
            return _join(entry.key, text.took(entry.took), f"value not kept: {entry.reason}")
        case ChildTriggered():
            return f"{entry.key}  {entry.task} {entry.child}"
        case Suspended():
            return f"waits for {', '.join(entry.waits)}"
        case AttemptFailed():
            again = f"again in {text.took(entry.due - entry.at)}"
            return _join(again, "" if entry.spent else "not counted", _error(entry.error))
        case AttemptInterrupted():
            return _join(entry.reason, "given back" if entry.polite else "")
        case RunCompleted():
            return _value(entry.result)
        case RunDead():
            return _join(entry.reason, _error(entry.error))
        case RunCancelled():
            return entry.reason
        case RunRetried():
            return _join(
                "from the start" if entry.from_start else "behind the last checkpoint",
                _by(entry.by),
                _value(entry.payload or b""),
            )
        case LetterDropped():
            return _by(entry.by)
        case CancelRequested():
            return _join(_by(entry.by), entry.reason)
        case ChildEnded():
            return _join(f"{entry.key}  {entry.child} {entry.state}", _error(entry.error) if entry.error else "")
        case _:
            assert_never(entry)


def _join(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _by(who: str) -> str:
    return f"by {who}" if who else ""


def _value(data: bytes) -> str:
    return text.clip(short(data), VALUE)


def _error(error: ErrorInfo) -> str:
    first = error.message.split("\n", 1)[0]
    return f"{error.type}: {first}" if first else error.type
