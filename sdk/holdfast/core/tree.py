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


_UNDER_WAY = (NodeState.RUNNING, NodeState.RETRYING)


class Try(msgspec.Struct, frozen=True):
    """One failed try of a step: its own policy repeated it, or a later attempt of the run did."""

    number: int
    at: Instant
    """When it had failed."""
    took: Seconds
    error: ErrorInfo
    attempt: int = 0
    """The run's attempt that made it."""


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
    due: Instant | None = None
    """When a step that retries tries again."""
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
    """`completed`, `failed`, `snoozed`, `interrupted`, `suspended`, `dead`, `cancelled`, or empty while it runs."""
    error: ErrorInfo | None = None
    reason: str = ""


class Tree:
    """A run's awaits and attempts so far; feed it entries in journal order with `add`."""

    def __init__(self) -> None:
        self.roots: list[Node] = []
        self.attempts: list[AttemptSpan] = []
        self._nodes: dict[str, Node] = {}
        self._ended: dict[tuple[str, str], ChildEnded] = {}
        """How children ended, by key and child: it may be told before the entry that names the child is written."""

    def add(self, entry: Entry) -> None:
        """Take in one entry; those that say nothing about awaits or attempts are passed over."""
        match entry:
            case AttemptStarted() | AttemptResumed():
                self._close(entry.at, "interrupted")
                resumed = isinstance(entry, AttemptResumed)
                self.attempts.append(AttemptSpan(entry.attempt, entry.worker, entry.at, resumed))
            case StepStarted():
                self._begun(entry.key, NodeState.RUNNING, entry.at)
            case StepCompleted():
                self._done(entry.key, NodeState.OK, entry).value = entry.value
            case StepFailed():
                self._done(entry.key, NodeState.FAILED, entry).error = entry.error
            case StepVolatile():
                self._done(entry.key, NodeState.VOLATILE, entry).note = entry.reason
            case StepRetried():
                node = self._begun(entry.key, NodeState.RETRYING, entry.at - entry.took)
                node.error, node.due = entry.error, entry.due
                node.tries.append(Try(len(node.tries) + 1, entry.at, entry.took, entry.error, node.attempt))
            case ChildTriggered():
                node = self._begun(entry.key, NodeState.WAITING, entry.at)
                node.child, node.note = entry.child, f"child {entry.task}"
                self._join(entry.key, entry.child)
            case ChildEnded():
                self._ended.setdefault((entry.key, entry.child), entry)
                self._join(entry.key, entry.child)
            case Suspended():
                self._close(entry.at, "suspended")
                self._wait_for(entry.waits)
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

    def _begun(self, key: str, state: NodeState, at: Instant) -> Node:
        """The node of an await that is under way: since its first try while it retries, else since its last one."""
        node = self._nodes.get(key) or self._insert(key, state)
        if node.state not in _UNDER_WAY:
            self._clear(node)
        if node.started_at is None or state is not NodeState.RETRYING:
            node.started_at = at
        node.attempt = self.attempts[-1].attempt if self.attempts else 0
        node.state, node.error, node.note, node.due = state, None, "", None
        return node

    def _clear(self, node: Node) -> None:
        """Forget what came of an await that now runs again; a failure stays as one of its tries."""
        if node.error is not None and node.ended_at is not None:
            took = node.ended_at - (node.started_at or node.ended_at)
            node.tries.append(Try(len(node.tries) + 1, node.ended_at, took, node.error, node.attempt))
        node.started_at = node.ended_at = node.value = None
        node.child = ""

    def _done(self, key: str, state: NodeState, entry: StepCompleted | StepFailed | StepVolatile) -> Node:
        node = self._begun(key, state, entry.at - entry.took)
        node.ended_at = entry.at
        return node

    def _join(self, key: str, child: str) -> None:
        """Put a child's end into the node that waits for this very child, once both are known."""
        node, end = self._nodes.get(key), self._ended.get((key, child))
        if node is None or end is None or node.child != child:
            return
        node.state = NodeState.OK if end.state == "completed" else NodeState.FAILED
        node.ended_at, node.value, node.error = end.at, end.value, end.error

    def _wait_for(self, children: tuple[str, ...]) -> None:
        """Show children as waited for, also where they were given up with a run that was retried since."""
        for node in self._nodes.values():
            if node.child in children and node.ended_at is None:
                node.state = NodeState.WAITING

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
        """End the attempt that is under way, and what it had under way; a child goes on until the run has ended."""
        held = bool(self.attempts) and self.attempts[-1].ended_at is None
        if held:
            span = self.attempts[-1]
            span.ended_at, span.outcome, span.error, span.reason = at, outcome, error, reason
        over = outcome in ("dead", "cancelled", "completed")
        for node in self._nodes.values():
            waits = node.state is NodeState.WAITING
            if node.state in _UNDER_WAY or (waits and (over or (held and not node.child))):
                node.state = NodeState.WAITING if outcome == "suspended" else NodeState.LOST
                node.due = None
