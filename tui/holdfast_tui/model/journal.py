"""The raw entries of a run as lines: what each says, and what it did to the state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from holdfast.core.entries import Entry
from holdfast.core.model import ErrorInfo, Instant
from holdfast_tui.format import STATES, Cell, clean, clock, date, error_name, lines, took, value
from holdfast_tui.model.run import Told

_TIMES = frozenset({"due", "expires", "deadline", "since", "until"})
_UNSAID = frozenset({"at", "run", "first", "cause", "nonce"})
"""Fields that a line leaves out: the time stands before it, the run is the one that is shown."""

BIG = 4096
"""Bytes of a value that is not looked into for a line."""

ROLES = {
    "StepFailed": "fail",
    "RunDead": "dead",
    "AttemptFailed": "fail",
    "RunTimedOut": "fail",
    "RunExpired": "fail",
    "StepRetried": "warn",
    "StepVolatile": "warn",
    "AttemptInterrupted": "warn",
    "RunCancelled": "warn",
    "CancelRequested": "warn",
    "Diverged": "warn",
    "Offered": "dim",
    "Admitted": "dim",
    "Held": "dim",
    "Heartbeat": "dim",
    "Progressed": "dim",
}
"""The colour of an entry by its name; others have none."""


def name(told: Told) -> Cell:
    """An entry's name and its role."""
    kind = type(told.entry).__name__
    return kind, ROLES.get(kind, "") if told.counts else "dim"


def name_of(entry: Entry) -> str:
    """As people write it: `step completed`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(entry).__name__).lower()


def said(entry: Entry) -> str:
    """An entry's fields on one line, those that say nothing left out."""
    return clean("  ".join(_fields(entry)))


def _fields(entry: Entry) -> Iterator[str]:
    for field in msgspec.structs.fields(entry):
        found = getattr(entry, field.name)
        if field.name in _UNSAID or found in (None, "", b"", (), {}, False) or found == field.default:
            continue
        yield _field(field.name, found)


def _field(name: str, found: Any) -> str:
    match found:
        case ErrorInfo():
            return f"{error_name(found.type)}: {(found.message.splitlines() or [''])[0]}"
        case bytes():
            return f"{name} {_short(found)}"
        case True:
            return name
        case float() if name == "took":
            return took(found)
        case float() if name in _TIMES:
            return f"{name} {clock(found)}"
        case str() if name in ("key", "task", "reason", "why", "outcome"):
            return found
        case tuple():
            return f"{name} {', '.join(_text(one) for one in found)}"
        case dict():
            return f"{name} " + " ".join(f"{key}={_text(item)}" for key, item in found.items())
    return f"{name} {_text(found)}"


def _text(found: Any) -> str:
    match found:
        case bytes():
            return _short(found)
        case None:
            return "-"
        case msgspec.Struct():
            parts = ((field.name, getattr(found, field.name)) for field in msgspec.structs.fields(found))
            return " ".join(f"{name}={_text(part)}" for name, part in parts if part not in (None, "", b"", (), {}))
    return str(found)


def _short(data: bytes) -> str:
    """A value on one line, cut; of a big one its size, as lines are drawn again and again."""
    if len(data) > BIG:
        return f"{len(data):,} bytes"
    text = " ".join(value(data).split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def did(told: Told) -> Cell:
    """What an entry did to the run's state; nothing where it only told something."""
    if not told.counts:
        return "did not count", "dim"
    if told.before == told.after or told.after is None:
        return "", ""
    before = "-" if told.before is None else STATES[told.before][0]
    word, role = STATES[told.after]
    return f"{before} → {word}", role


def whole(told: Told) -> list[Cell]:
    """Everything that an entry says, a field a line."""
    word, role = did(told)
    where = f"message {told.seq} of the journal" if told.seq else "heard live; its place in the journal is not read yet"
    cells: list[Cell] = [
        (name_of(told.entry), "title"),
        (_moment(told.at), ""),
        (f"{where}, kind {told.kind}" + (f", written by {clean(told.writer)}" if told.writer else ""), ""),
        (f"state: {word or 'as it was'}", role),
        ("", ""),
    ]
    for field in msgspec.structs.fields(told.entry):
        found = getattr(told.entry, field.name)
        text = value(found) if isinstance(found, bytes) and found else _plain(field.name, found)
        first, *rest = lines(text) or [""]
        cells += [(f"{field.name}: {first}", ""), *((line, "") for line in rest)]
    return cells


def _plain(name: str, found: Any) -> str:
    match found:
        case ErrorInfo():
            return f"{found.type}: {found.message}\n{found.traceback}".rstrip()
        case float() if name in _TIMES or name == "at":
            return _moment(found) if found else "-"
        case None | "" | b"" | ():
            return "-"
    return _text(found)


def _moment(at: Instant) -> str:
    """Date and time, UTC, with milliseconds."""
    return f"{date(at)[:10]} {clock(at, millis=True)}Z"


def of_key(told: Sequence[Told], key: str) -> Iterator[Told]:
    """The entries about an await and what lies within it."""
    for one in told:
        at = getattr(one.entry, "key", "")
        if isinstance(at, str) and (at == key or at.startswith(f"{key}/")):
            yield one


def has(told: Told, low: str) -> bool:
    """Whether an entry has a text, in lower case, in its name, what it says, or what it did."""
    return low in f"{name(told)[0]} {name_of(told.entry)} {said(told.entry)} {did(told)[0]}".lower()
