"""Where two runs part: their histories side by side, await by await, compared by key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from operator import eq
from typing import NamedTuple

from holdfast.core.entries import ChildEnded, EventArrived, Inherited, StepCompleted, StepVolatile
from holdfast.core.lifecycle import Record, fold, story
from holdfast.core.model import ErrorInfo, Run, State
from holdfast.core.outcomes import Outcomes, Recorded

PAYLOAD, END = "payload", "end"
"""What is compared besides awaits; no key of one, for these begin with a slash."""

Same = Callable[[bytes, bytes], bool]
"""Whether two stored values are the same."""


class Came(StrEnum):
    """How an await came out."""

    RETURNED = "returned"
    RAISED = "raised"
    VOLATILE = "volatile"
    """It returned, and its value was not kept."""
    OPEN = "open"
    """It began, and no outcome was recorded."""
    ABSENT = "absent"
    """The run did not come to it."""


class Side(NamedTuple):
    """What one of the runs recorded."""

    came: Came
    value: bytes | None = None
    error: ErrorInfo | None = None
    edited: bool = False
    """Whether it was replaced when the run was forked."""


class Pair(NamedTuple):
    """An await, or payload or end, of both runs."""

    key: str
    left: Side
    right: Side
    same: bool


class Diff(NamedTuple):
    """Two runs compared."""

    pairs: tuple[Pair, ...]
    """Payload first, then the awaits in journal order of the left run, the end last."""

    @property
    def parting(self) -> Pair | None:
        """Where the runs part: the first pair that differs; None: they are the same throughout."""
        return next((pair for pair in self.pairs if not pair.same), None)


def diff(left: Sequence[Record], right: Sequence[Record], *, same: Same = eq) -> Diff:
    """Compare two runs by what they recorded last of each await; when and where it happened does not count."""
    one, other = fold(left), fold(right)
    assert one is not None
    assert other is not None
    ours, theirs = _sides(left), _sides(right)
    nowhere = Side(Came.ABSENT)
    pairs = [
        _pair(PAYLOAD, Side(Came.RETURNED, one.payload), Side(Came.RETURNED, other.payload), same),
        *(
            _pair(key, ours.get(key, nowhere), theirs.get(key, nowhere), same)
            for key in _merged(list(ours), list(theirs))
        ),
    ]
    end = _pair(END, _end(one), _end(other), same)
    return Diff((*pairs, end._replace(same=end.same and one.state is other.state)))


def _pair(key: str, left: Side, right: Side, same: Same) -> Pair:
    return Pair(key, left, right, _alike(left, right, same))


def _sides(records: Sequence[Record]) -> dict[str, Side]:
    """By key, in the order in which the outcomes were recorded; what is open comes last."""
    outcomes = Outcomes(story(records))
    ended = sorted(outcomes.last.items(), key=lambda pair: pair[1].place)
    sides = {key: _side(mark.entry) for key, mark in ended}
    return {**sides, **{key: Side(Came.OPEN) for key in outcomes.seen if key not in sides}}


def _side(entry: Recorded) -> Side:
    match entry:
        case StepVolatile():
            return Side(Came.VOLATILE)
        case StepCompleted() | EventArrived():
            return Side(Came.RETURNED, entry.value)
        case _ if entry.error is not None:
            return Side(Came.RAISED, None, entry.error)
        case Inherited():
            return Side(Came.RETURNED, entry.value, edited=entry.edited)
        case ChildEnded(value=value) if value is None:
            return Side(Came.RETURNED)
        case _:
            return Side(Came.RETURNED, getattr(entry, "value", None))


def _end(run: Run) -> Side:
    if run.state is State.COMPLETED:
        return Side(Came.RETURNED, run.result)
    if not run.final:
        return Side(Came.OPEN, None, ErrorInfo("", run.state))
    return Side(Came.RAISED, None, run.error or ErrorInfo(run.state, run.reason))


def _alike(left: Side, right: Side, same: Same) -> bool:
    if left.came is not right.came:
        return False
    if left.error is not None and right.error is not None:
        return (left.error.type, left.error.message) == (right.error.type, right.error.message)
    nothing = b"\xc0"
    one, other = left.value or nothing, right.value or nothing
    return one == other or same(one, other)


def _merged(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """All keys: in our order, each of theirs alone behind the one that it followed there."""
    known = set(ours)
    behind: dict[str, list[str]] = {}
    last = ""
    for key in theirs:
        if key in known:
            last = key
        else:
            behind.setdefault(last, []).append(key)
    merged = list(behind.get("", ()))
    for key in ours:
        merged += [key, *behind.get(key, ())]
    return merged
