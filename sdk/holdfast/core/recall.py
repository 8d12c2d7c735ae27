"""What a resumed attempt already knows: recorded outcomes by key, and the keys of new awaits.

A key is a path of names with the occurrence of each within its scope: `/charge#1`, `/gather#1/ship#3`. The occurrence
is taken when the awaitable is created, so no key depends on timing, and keys survive moved lines.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple, TypeAlias

from holdfast.core.entries import (
    AttemptFailed,
    ChildEnded,
    ChildTriggered,
    Entry,
    RunDead,
    RunRetried,
    StepCompleted,
    StepFailed,
    StepRetried,
)
from holdfast.core.model import Instant

Outcome: TypeAlias = StepCompleted | StepFailed | ChildEnded
"""What is known of an await for good."""


class Tried(NamedTuple):
    """How far a step's own retries had come."""

    failed: int = 0
    due: Instant = 0.0


class Recall:
    """The outcomes of a run so far; feed it entries in journal order with `add`, then ask by key."""

    def __init__(self) -> None:
        self._outcomes: dict[str, StepCompleted | StepFailed] = {}
        self._children: dict[str, str] = {}
        self._ended: dict[tuple[str, str], ChildEnded] = {}
        """How children ended, by key and child: an earlier child's end is no outcome of the one that follows it."""
        self._tried: dict[str, Tried] = {}
        self._unseen: set[str] = set()
        self._below: defaultdict[str, set[str]] = defaultdict(set)
        """By key: the recorded outcomes of what was awaited within it."""
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, entry: Entry) -> None:
        """Take in one entry; those that say nothing about awaits are passed over."""
        match entry:
            case StepCompleted() | StepFailed():
                if entry.key not in self._outcomes:
                    self._outcomes[entry.key] = entry
                    self._know(entry.key)
            case ChildTriggered():
                self._children[entry.key] = entry.child
                self._know_child(entry.key, entry.child)
            case ChildEnded():
                if (entry.key, entry.child) not in self._ended:
                    self._ended[entry.key, entry.child] = entry
                    self._know_child(entry.key, entry.child)
            case StepRetried():
                self._tried[entry.key] = Tried(entry.number, entry.due)
            case AttemptFailed() | RunDead():
                self._forget(entry.fatal)
            case RunRetried():
                if entry.from_start:
                    self._forget([*self._outcomes, *self._children, *self._tried])
                self._tried.clear()

    def _know(self, key: str) -> None:
        self._unseen.add(key)
        above = key
        while above := above.rpartition("/")[0]:
            self._below[above].add(key)

    def _know_child(self, key: str, child: str) -> None:
        if self._children.get(key) == child and (key, child) in self._ended:
            self._know(key)

    def _forget(self, keys: tuple[str, ...] | list[str]) -> None:
        for key in keys:
            self._outcomes.pop(key, None)
            self._children.pop(key, None)
            self._tried.pop(key, None)
            self._unseen.discard(key)

    def key(self, scope: str, name: str) -> str:
        """The key of a new awaitable in a scope ("" for the task's own body)."""
        self._counts[scope, name] += 1
        return f"{scope}/{name}#{self._counts[scope, name]}"

    def take(self, key: str) -> Outcome | None:
        """The recorded outcome of an await that the code has come to, or None."""
        outcome = self._outcomes.get(key) or self._ended.get((key, self._children.get(key, "")))
        if outcome is not None:
            self._unseen.discard(key)
            self._unseen -= self._below.pop(key, set())  # what happened within it is not come to again
        return outcome

    def child(self, key: str) -> str | None:
        """The child run that this await had created, or None."""
        return self._children.get(key)

    def tried(self, key: str) -> Tried:
        """How far the step's own retries had come."""
        return self._tried.get(key, Tried())

    @property
    def unseen(self) -> frozenset[str]:
        """Recorded outcomes that the code has not come to."""
        return frozenset(self._unseen)

    @property
    def caught_up(self) -> bool:
        """Whether the code has come to every recorded outcome."""
        return not self._unseen
