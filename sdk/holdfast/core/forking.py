"""What a run that is made from another one begins with: of a replay the same first fact, of a fork outcomes besides.

A fork before checkpoint K takes over what was recorded before K in journal order and still stands: nothing that a later
failure, retry or undo forgot, neither K itself nor what lies within it, and no await that K lies within. Undos are not
taken over: what the origin did is the origin's to undo. A fork behind K keeps K's own outcome too, or is given another.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, assert_never

from msgspec.structs import replace

from holdfast.core.entries import (
    ChildEnded,
    Entry,
    EventArrived,
    Inherited,
    MetadataChanged,
    RunCancelled,
    RunCreated,
    RunExpired,
    RunTimedOut,
    StepCompleted,
    StepFailed,
    StepVolatile,
    TokenCompleted,
)
from holdfast.core.lifecycle import UNDO, Record, fold, story
from holdfast.core.model import ErrorInfo, Instant, Origin
from holdfast.core.outcomes import Mark, Outcomes
from holdfast.errors import EditError, UnknownKey

NOTHING = b"\xc0"
"""None in the value codec."""

ChildError = Callable[[ChildEnded], ErrorInfo]
"""The error to record where a child's bad end is inherited, with the exception that its parent is to see."""


class Fork(NamedTuple):
    """What a fork begins with."""

    created: RunCreated
    inherited: tuple[Inherited, ...]


class Target(NamedTuple):
    """What an edit is about."""

    key: str
    path: str
    """Below the outcome, by dots; empty: the whole of it."""


def replay(records: Sequence[Record], *, run: str, at: Instant) -> RunCreated:
    """The first fact of a new run with the payload and settings of another one: from the start, with today's code.

    The payload is the last one that a retry corrected. Delay, parent, tick and key are not those of the origin; the
    time to live is as long.
    """
    first, origin = first_fact(records), fold(records)
    assert origin is not None
    ready = first.at if first.due is None else first.due
    return replace(
        first,
        run=run,
        at=at,
        due=None,
        payload=origin.payload,
        parent=None,
        key=None,
        deadline=None,
        expires=None if first.expires is None else at + (first.expires - ready),
        source="replay",
        origin=Origin(origin.id, "replay"),
        tick=None,
    )


def fork(
    records: Sequence[Record], key: str, *, run: str, at: Instant, child_error: ChildError, behind: bool = False
) -> Fork:
    """A run that goes another way from a checkpoint on: the origin's first fact, and the outcomes before the key.

    Args:
        behind: it keeps the outcome of the checkpoint itself too; None stands for one that there is not.

    Raises:
        UnknownKey: the run did not come to such a checkpoint.
        EditError: what came of it is told by the awaits within it alone, or it is an undo: there is nothing behind it.
    """
    entries = list(story(records))
    outcomes = Outcomes(entries)
    if key not in outcomes:
        raise unknown(key, outcomes.seen)
    end = outcomes.place(key) + behind
    first = replay(records, run=run, at=at)
    created = replace(
        first,
        source="fork",
        origin=Origin(first_fact(records).run, "fork", key, behind),
        metadata=_metadata(first.metadata, entries[:end]),
    )
    kept = [(other, mark) for other, mark in outcomes.standing.items() if mark.place < end and not _apart(other, key)]
    kept.sort(key=lambda pair: pair[1].place)
    own = (_own(outcomes, key, at, child_error),) if behind else ()
    return Fork(created, (*(inherited(other, mark, child_error) for other, mark in kept), *own))


def _own(outcomes: Outcomes, key: str, at: Instant, child_error: ChildError) -> Inherited:
    """What came of the checkpoint itself, also where a failure of it was forgotten since."""
    within = any(other.startswith(f"{key}/") for other in outcomes.seen if other != key + UNDO)
    mark = outcomes.last.get(key)
    if key.endswith(UNDO) or (mark is None and within):
        what = "is an undo" if key.endswith(UNDO) else "has no result of its own, its awaits have"
        raise EditError(f"{key}: expected a checkpoint to go on behind, found that it {what}")
    if mark is None or isinstance(mark.entry, StepVolatile):
        return Inherited(key, at if mark is None else mark.entry.at, 0.0 if mark is None else mark.took, NOTHING)
    return inherited(key, mark, child_error)


def has_outcome(records: Iterable[Record], key: str) -> bool:
    """Whether something came of a checkpoint that a fork can begin with."""
    mark = Outcomes(story(records)).last.get(key)
    return mark is not None and not isinstance(mark.entry, StepVolatile)


def _apart(other: str, key: str) -> bool:
    """Whether an await is the key, lies within it, holds it, or is an undo."""
    return other == key or other.startswith(f"{key}/") or key.startswith(f"{other}/") or other.endswith(UNDO)


def _metadata(metadata: Mapping[str, bytes], entries: Iterable[Entry]) -> dict[str, bytes]:
    """The metadata as the run's code had made it until then."""
    known = dict(metadata)
    for entry in entries:
        if isinstance(entry, MetadataChanged):
            for name, value in entry.changes.items():
                known.pop(name, None)
                if value is not None:
                    known[name] = value
    return known


def first_fact(records: Iterable[Record]) -> RunCreated:
    """The entry that created the run; also that of one which ended before it began."""
    for entry in story(records):
        match entry:
            case RunCreated():
                return entry
            case RunCancelled(created=RunCreated() as created):
                return created
            case RunExpired(created=RunCreated() as created) | RunTimedOut(created=RunCreated() as created):
                return created
    raise ValueError("expected the history of a run, found no entry that creates one")


def inherited(key: str, mark: Mark, child_error: ChildError) -> Inherited:
    """A recorded outcome as a fork begins with it."""
    entry, took = mark.entry, mark.took
    match entry:
        case StepCompleted() | EventArrived():
            return Inherited(key, entry.at, took, entry.value)
        case StepFailed():
            return Inherited(key, entry.at, took, None, entry.error)
        case Inherited():
            return replace(entry, edited=False)
        case TokenCompleted(error=None) | ChildEnded(error=None):
            return Inherited(key, entry.at, took, entry.value if entry.value is not None else NOTHING)
        case TokenCompleted():
            return Inherited(key, entry.at, took, None, entry.error)
        case ChildEnded():
            return Inherited(key, entry.at, took, None, child_error(entry))
        case StepVolatile():
            raise ValueError(f"{key}: its value was not kept")
        case _:
            assert_never(entry)


def target(text: str, made: Fork) -> Target:
    """Which of the outcomes that a fork keeps an edit is about: `KEY` or `KEY.path.to.field`.

    Raises:
        EditError: it is none that the fork keeps.
    """
    keys = [one.key for one in made.inherited]
    key = max((key for key in keys if text == key or text.startswith(f"{key}.")), key=len, default=None)
    if key is not None:
        return Target(key, text[len(key) + 1 :])
    origin = made.created.origin
    where = "" if origin is None else f"{'up to' if origin.behind else 'before'} {origin.key}"
    raise EditError(
        f"{text}: expected a checkpoint whose outcome the fork keeps (one recorded {where}), found "
        f"{'none at all' if not keys else 'none of this key'}{_nearest(text, keys)}"
    )


def edited(made: Fork, key: str, value: bytes) -> Fork:
    """The fork with another outcome of an await: it returned this value."""
    changed = [replace(one, value=value, error=None, edited=True) if one.key == key else one for one in made.inherited]
    return made._replace(inherited=tuple(changed))


def unknown(key: str, keys: Iterable[str]) -> UnknownKey:
    """The error to raise for a checkpoint that the run has not."""
    known = list(keys)
    found = "none at all" if not known else "no such one"
    return UnknownKey(f"{key}: expected a checkpoint of the run, found {found}{_nearest(key, known)}")


def _nearest(text: str, keys: Sequence[str]) -> str:
    near = difflib.get_close_matches(text, keys, n=1, cutoff=0.0)
    return f"; the nearest is {near[0]} (see `holdfast runs tree`)" if near else ""
