"""What a run recorded of each await, and where in its history: what a fork takes over and a comparison compares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from holdfast.core.entries import (
    AttemptFailed,
    ChildEnded,
    ChildTriggered,
    Entry,
    EventArrived,
    Inherited,
    RunDead,
    RunRetried,
    RunTimedOut,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.lifecycle import UNDO
from holdfast.core.model import Instant, Seconds
from holdfast.core.recall import Arrival

Recorded: TypeAlias = StepCompleted | StepFailed | StepVolatile | Inherited | Arrival
"""What can be recorded of an await: how it came out, or that its value could not be kept."""


class Mark(NamedTuple):
    """One record of an await."""

    place: int
    """Number of its entry in the history, from 0."""
    entry: Recorded
    took: Seconds


class Outcomes:
    """The records of a run since its last start from the beginning; `entries` is its story, in journal order."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.last: dict[str, Mark] = {}
        """By key: the last record, also where it was forgotten since."""
        self.standing: dict[str, Mark] = {}
        """By key: the outcome that a resumed attempt would be given."""
        self.seen: dict[str, int] = {}
        """By key: where the history speaks of it first."""
        self.length = 0
        """Entries in the history."""
        self._begun: dict[str, Instant] = {}
        self._waits: dict[str, str] = {}
        self._arrived: dict[str, Arrival] = {}
        for entry in entries:
            self._add(entry)
            self.length += 1

    def __contains__(self, key: object) -> bool:
        """Whether the run came to this await, or to one within it."""
        return any(seen == key or seen.startswith(f"{key}/") for seen in self.seen)

    def place(self, key: str) -> int:
        """Where an await came out; where it has no record of its own, where the last one within it did, or the end."""
        if key in self.last:
            return self.last[key].place
        return max((mark.place for _, mark in self._within(key)), default=self.length)

    def _within(self, key: str) -> Iterator[tuple[str, Mark]]:
        return ((other, mark) for other, mark in self.last.items() if other.startswith(f"{key}/"))

    def _add(self, entry: Entry) -> None:
        match entry:
            case StepCompleted() | StepFailed() | StepVolatile() | Inherited():
                self._see(entry.key)
                self._record(entry.key, entry, entry.took)
                if isinstance(entry, StepCompleted) and entry.key.endswith(UNDO):
                    self._forget(_path(entry.key.removesuffix(UNDO)))  # an await of which a part was undone runs again
            case ChildTriggered():
                self._await(entry.key, entry.child, entry.at)
            case WaitStarted():
                waits = entry.kind in ("token", "event")
                self._await(entry.key, entry.wait if waits else "", entry.at)
            case StepStarted() | StepRetried():
                self._see(entry.key)
            case ChildEnded():
                self._arrive(entry.child, entry)
            case TokenCompleted():
                self._arrive(entry.token, entry)
            case EventArrived():
                self._arrive(entry.wait, entry)
            case AttemptFailed() | RunDead() | RunTimedOut():
                self._forget(entry.fatal)
            case RunRetried():
                self._retry(from_start=entry.from_start)

    def _see(self, key: str) -> None:
        self.seen.setdefault(key, self.length)

    def _record(self, key: str, entry: Recorded, took: Seconds) -> None:
        if key in self.standing and not key.endswith(UNDO):
            return  # the first outcome counts; an undo that failed is tried again
        mark = self.last[key] = Mark(self.length, entry, took)
        if not isinstance(entry, StepVolatile):
            self.standing[key] = mark

    def _await(self, key: str, wait: str, at: Instant) -> None:
        self._see(key)
        self._begun[key], self._waits[key] = at, wait
        if (known := self._arrived.get(wait)) is not None:
            self._record(key, known, 0.0)

    def _arrive(self, wait: str, entry: Arrival) -> None:
        if wait in self._arrived:
            return
        self._arrived[wait] = entry
        for key, awaited in self._waits.items():
            if awaited == wait:
                self._record(key, entry, max(0.0, entry.at - self._begun[key]))

    def _forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.standing.pop(key, None)
            self._waits.pop(key, None)

    def _retry(self, *, from_start: bool) -> None:
        if from_start:
            for known in (self.last, self.standing, self.seen, self._begun, self._waits):
                known.clear()
        self._forget([key for key in self.standing if key.endswith(UNDO)])


def _path(key: str) -> list[str]:
    """A key and those that it lies within."""
    path = []
    while key:
        path.append(key)
        key = key.rpartition("/")[0]
    return path
