"""The checkpoint tree of a run, folded from the same entries as the run itself.

Keys are paths: `/gather#1/ship#3` lies below `/gather#1`, which may have no entry of its own (a fan-out that succeeded
is told by its branches). Nodes keep the order in which they first appeared.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Entry,
    RunCancelled,
    RunCompleted,
    RunDead,
    RunRetried,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
)
from holdfast.core.model import ErrorInfo, Instant, Seconds


class NodeState(StrEnum):
    """How an await stands."""

    OK = "ok"
    RUNNING = "run"
    RETRYING = "retry"
    WAITING = "wait"
    FAILED = "fail"
    VOLATILE = "volatile"
    """It ran and its value was not kept."""
    LOST = "lost"
    """It was under way when its attempt was interrupted or failed."""


class Try(msgspec.Struct, frozen=True):
    """One failed try of a step that its own policy repeated."""

    number: int
    at: Instant
    took: Seconds
    error: ErrorInfo


class Node(msgspec.Struct):
    """An await of the task."""

    key: str
    state: NodeState
    attempt: int
    """The run's attempt that recorded it."""
    started_at: Instant | None = None
    ended_at: Instant | None = None
    value: bytes | None = None
    error: ErrorInfo | None = None
    tries: list[Try] = []
    child: str = ""
    """Id of the child run, for a node that is one."""
    note: str = ""
    children: list[Node] = []

    @property
    def name(self) -> str:
        """The key's last part without the ordinal of a first occurrence: `charge`, `charge#2`."""
        return self.key.rpartition("/")[2].removesuffix("#1")

    @property
    def took(self) -> Seconds | None:
        if self.started_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.started_at


class AttemptSpan(msgspec.Struct):
    """One stretch in which a worker held the run."""

    attempt: int
    worker: str
    started_at: Instant
    resumed: bool
    ended_at: Instant | None = None
    outcome: str = ""
    """`completed`, `failed`, `interrupted`, `suspended`, `dead`, `cancelled`, or empty while it runs."""
    error: ErrorInfo | None = None
    reason: str = ""


class Tree:
    """A run's awaits and attempts so far; feed it entries in journal order with `add`."""

    def __init__(self) -> None:
        self.roots: list[Node] = []
        self.attempts: list[AttemptSpan] = []
        self._nodes: dict[str, Node] = {}

    def add(self, entry: Entry) -> None:
        """Take in one entry; those that say nothing about awaits or attempts are passed over."""
        match entry:
            case AttemptStarted() | AttemptResumed():
                self._close(entry.at, "interrupted")
                self.attempts.append(
                    AttemptSpan(entry.attempt, entry.worker, entry.at, isinstance(entry, AttemptResumed))
                )
            case StepStarted():
                self._set(entry.key, NodeState.RUNNING, started_at=entry.at)
            case StepCompleted():
                self._set(
                    entry.key, NodeState.OK, started_at=entry.at - entry.took, ended_at=entry.at, value=entry.value
                )
            case StepFailed():
                self._set(
                    entry.key, NodeState.FAILED, started_at=entry.at - entry.took, ended_at=entry.at, error=entry.error
                )
            case StepVolatile():
                self._set(
                    entry.key,
                    NodeState.VOLATILE,
                    started_at=entry.at - entry.took,
                    ended_at=entry.at,
                    note=entry.reason,
                )
            case StepRetried():
                node = self._set(entry.key, NodeState.RETRYING, error=entry.error)
                node.tries.append(Try(entry.number, entry.at, entry.took, entry.error))
                node.started_at = node.started_at or entry.at - entry.took
            case ChildTriggered():
                self._set(
                    entry.key, NodeState.WAITING, started_at=entry.at, child=entry.child, note=f"child {entry.task}"
                )
            case ChildEnded():
                state = NodeState.OK if entry.state == "completed" else NodeState.FAILED
                self._set(entry.key, state, ended_at=entry.at, value=entry.value, error=entry.error, child=entry.child)
            case Suspended():
                self._close(entry.at, "suspended")
                for key in entry.waits:
                    if key in self._nodes and self._nodes[key].ended_at is None:
                        self._nodes[key].state = NodeState.WAITING
            case AttemptFailed():
                self._close(entry.at, "failed" if entry.spent else "snoozed", entry.error)
            case AttemptInterrupted():
                self._close(entry.at, "interrupted", reason=entry.reason)
            case RunDead():
                self._close(entry.at, "dead", entry.error, entry.reason)
            case RunCancelled():
                self._close(entry.at, "cancelled", reason=entry.reason)
            case RunCompleted():
                self._close(entry.at, "completed")
            case RunRetried() if entry.from_start:
                self.roots.clear()
                self._nodes.clear()

    def walk(self) -> Iterator[tuple[int, Node]]:
        """Every node with its depth (0: the run's own awaits), parents first."""
        pending = [(0, node) for node in reversed(self.roots)]
        while pending:
            depth, node = pending.pop()
            yield depth, node
            pending.extend((depth + 1, child) for child in reversed(node.children))

    def node(self, key: str) -> Node | None:
        return self._nodes.get(key)

    def _set(self, key: str, state: NodeState, **changed: object) -> Node:
        node = self._nodes.get(key)
        if node is None:
            node = self._insert(key, state)
        elif node.ended_at is None or "started_at" in changed:
            node.ended_at = None
        node.state = state
        node.attempt = self.attempts[-1].attempt if self.attempts else 0
        for name, value in changed.items():
            setattr(node, name, value)
        return node

    def _insert(self, key: str, state: NodeState) -> Node:
        node = self._nodes[key] = Node(key, state, 0, tries=[], children=[])
        parent_key = key.rpartition("/")[0]
        if not parent_key:
            self.roots.append(node)
            return node
        parent = self._nodes.get(parent_key) or self._insert(parent_key, NodeState.OK)
        parent.children.append(node)
        return node

    def _close(self, at: Instant, outcome: str, error: ErrorInfo | None = None, reason: str = "") -> None:
        """End the attempt that is under way, and what it had under way."""
        if not self.attempts or self.attempts[-1].ended_at is not None:
            return
        span = self.attempts[-1]
        span.ended_at, span.outcome, span.error, span.reason = at, outcome, error, reason
        for node in self._nodes.values():
            if node.state in (NodeState.RUNNING, NodeState.RETRYING) and outcome != "suspended":
                node.state = NodeState.LOST
