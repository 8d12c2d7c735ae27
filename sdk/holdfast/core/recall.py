"""What a resumed attempt already knows: recorded outcomes by key, and the keys of new awaits.

A key is a path of names with the occurrence of each within its scope: `/charge#1`, `/gather#1/ship#3`. The occurrence
is taken when the awaitable is created, so no key depends on timing, and keys survive moved lines.
"""

from __future__ import annotations

from collections import Counter
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
        self._outcomes: dict[str, Outcome] = {}
        self._children: dict[str, str] = {}
        self._tried: dict[str, Tried] = {}
        self._unseen: set[str] = set()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, entry: Entry) -> None:
        """Take in one entry; those that say nothing about awaits are passed over."""
        match entry:
            case StepCompleted() | StepFailed() | ChildEnded():
                if entry.key not in self._outcomes:
                    self._outcomes[entry.key] = entry
                    self._unseen.add(entry.key)
            case ChildTriggered():
                self._children[entry.key] = entry.child
            case StepRetried():
                self._tried[entry.key] = Tried(entry.number, entry.due)
            case AttemptFailed() | RunDead():
                self._forget(entry.fatal)
            case RunRetried():
                if entry.from_start:
                    self._forget([*self._outcomes, *self._children, *self._tried])
                self._tried.clear()

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
        self._unseen.discard(key)
        return self._outcomes.get(key)

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
