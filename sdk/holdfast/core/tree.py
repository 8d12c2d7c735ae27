"""The checkpoint tree of a run, folded from the same entries as the run itself.

Keys are paths: `/gather#1/ship#3` lies below `/gather#1`, which may have no entry of its own (a fan-out that succeeded
is told by its branches). Nodes keep the order in which they first appeared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import pairwise
from typing import Self

import msgspec

from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Compensated,
    Diverged,
    Entry,
    EventArrived,
    Heartbeat,
    Inherited,
    Progressed,
    Resolved,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunExpired,
    RunRetried,
    RunTimedOut,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.lifecycle import PAUSE, UNDO
from holdfast.core.model import ErrorInfo, Instant, Progress, Seconds
from holdfast.core.recall import SIGNAL


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
    PAUSED = "paused"
    """It waits for an operator's answer; the note says why."""
    UNDONE = "undone"
    """It returned, and its undo has run."""
    ORPHANED = "orphaned"
    """It is recorded, and the code took another way; kept."""


_UNDER_WAY = (NodeState.RUNNING, NodeState.RETRYING)
_LIVE = (NodeState.PAUSED, NodeState.RUNNING, NodeState.RETRYING, NodeState.WAITING, NodeState.LOST)
WAITS = frozenset({"sleep", "token", "event", "signal"})
"""Kinds of nodes that are a wait: one goes on until it is over or the run has ended, whatever its attempts do."""
_OVER = frozenset({"dead", "cancelled", "killed", "completed", "timed_out", "expired", "compensated"})
"""Outcomes of an attempt after which the task's code runs no more; its undos may."""


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
    """When a step that retries tries again, or until when it waits; None: no limit."""
    children: list[Node] = []
    kind: str = ""
    """`child`, `undo`, `timeout` (of the task's own awaits), `issued` (a token was made), one of `WAITS`, or empty: a
    step or any other await."""
    wait: str = ""
    """Id of what it waits for: the token that an operator may complete, or the event."""
    subject: str = ""
    """Of an event: its subject with wildcards. Of a signal: its name."""
    match: bytes = b""
    """Of an event: what its fields must be equal to (`model.Expected.match`)."""
    once: bool = False
    """It began, and must run at most once: lost, its outcome is not known."""
    asks: str = ""
    """What it asks while it is paused: `once`, `undo` or `divergence`."""
    diverged: bool = False
    """The first await of another way than the one recorded."""
    origin: str = ""
    """The run whose outcome this is, in a fork."""
    edited: bool = False
    """Whether that outcome was replaced when the fork was made."""
    code: str = ""
    """Fingerprint of the code that it was recorded under."""

    @property
    def name(self) -> str:
        """The key's last part without the ordinal of a first occurrence: `charge`, `charge#2`."""
        return self.key.rpartition("/")[2].removesuffix("#1")

    @property
    def took(self) -> Seconds | None:
        if self.started_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.started_at

    def signal_in(self, waits: Iterable[str]) -> bool:
        """Whether it waits for a signal that is among these waits; which of its name it will be is not recorded."""
        return self.kind == "signal" and any(wait.startswith(f"{SIGNAL}{self.subject}#") for wait in waits)

    @property
    def stands(self) -> NodeState:
        """The state to show: one without an entry of its own stands as the branches that are still under way."""
        if self.started_at is not None or self.ended_at is not None or not self.children:
            return self.state
        below = {child.stands for child in self.children}
        if self.state is NodeState.PAUSED or below == {NodeState.ORPHANED}:
            return self.state if self.state is NodeState.PAUSED else NodeState.ORPHANED
        return next((state for state in _LIVE if state in below), NodeState.OK)


class AttemptSpan(msgspec.Struct):
    """One stretch in which a worker held the run."""

    attempt: int
    worker: str
    started_at: Instant
    resumed: bool
    ended_at: Instant | None = None
    outcome: str = ""
    """`completed`, `failed`, `snoozed`, `interrupted`, `suspended`, `dead`, `cancelled`, `killed`, `timed_out`,
    `compensated`, or while it runs: `compensating` where only undos run, else empty."""
    error: ErrorInfo | None = None
    reason: str = ""
    code: str = ""
    """Fingerprint of the task's code."""


class Tree:
    """A run's awaits and attempts so far; feed it entries in journal order with `add`."""

    def __init__(self) -> None:
        self.roots: list[Node] = []
        self.attempts: list[AttemptSpan] = []
        self.heartbeat_at: Instant | None = None
        """When the task last said that it lives."""
        self.progress: Progress | None = None
        """Of the current or last attempt."""
        self._skipped: dict[str, str] = {}
        """By key: undos that an operator counts as done, and in whose words."""
        self._nodes: dict[str, Node] = {}
        self._ended: dict[tuple[str, str], ChildEnded] = {}
        """How children ended, by key and child: it may be told before the entry that names the child is written."""
        self._awaited: dict[str, list[str]] = {}
        """Keys that wait for a token or event, by its id."""
        self._arrived: dict[str, TokenCompleted | EventArrived] = {}
        """The same as `_ended`, of tokens and events."""
        self._diverged: set[str] = set()
        self._origin = ""
        self._over = False
        """Whether the task's code has ended: who holds the run from then on runs its undos."""

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """The tree that these entries tell, in journal order."""
        tree = cls()
        for entry in entries:
            tree.add(entry)
        return tree

    def add(self, entry: Entry) -> None:
        """Take in one entry; those that say nothing about awaits or attempts are passed over."""
        match entry:
            case RunCreated():
                self._origin = entry.origin.run if entry.origin is not None else ""
            case AttemptStarted() | AttemptResumed():
                self._claimed(entry)
            case StepStarted():
                node = self._begun(entry.key, NodeState.RUNNING, entry.at)
                node.once = node.once or entry.once
            case StepCompleted():
                self._done(entry.key, NodeState.OK, entry).value = entry.value
                self._undone(entry.key)
            case StepFailed():
                self._done(entry.key, NodeState.FAILED, entry).error = entry.error
            case StepVolatile():
                self._done(entry.key, NodeState.VOLATILE, entry).note = entry.reason
            case StepRetried():
                node = self._begun(entry.key, NodeState.RETRYING, entry.at - entry.took)
                node.error, node.due = entry.error, entry.due
                node.tries.append(Try(len(node.tries) + 1, entry.at, entry.took, entry.error, node.attempt))
            case Inherited():
                self._inherit(entry)
            case ChildTriggered():
                node = self._begun(entry.key, NodeState.WAITING, entry.at)
                node.kind, node.child, node.note = "child", entry.child, f"child {entry.task}"
                self._join(entry.key, entry.child)
            case ChildEnded():
                self._ended.setdefault((entry.key, entry.child), entry)
                self._join(entry.key, entry.child)
            case WaitStarted():
                self._wait(entry)
            case TokenCompleted():
                self._arrive(entry.token, entry)
            case EventArrived():
                self._arrive(entry.wait, entry)
            case Diverged():
                self._part(entry)
            case Suspended():
                self._close(entry.at, "suspended", reason=entry.paused)
                self._wait_for(entry)
            case Resolved():
                self._answered(entry)
            case Heartbeat():
                self.heartbeat_at = entry.at
            case Progressed():
                self.progress = Progress(entry.done, entry.total, entry.text)
            case RunRetried():
                self._retry(entry.from_start)
            case _:
                self._end(entry)

    def _end(self, entry: Entry) -> None:
        """Take in an entry that takes the run from its holder, or ends it."""
        match entry:
            case AttemptFailed():
                self._close(entry.at, "failed" if entry.spent else "snoozed", entry.error)
            case AttemptInterrupted():
                self._close(entry.at, "interrupted", reason=entry.reason)
            case RunDead():
                self._close(entry.at, "dead", entry.error, entry.reason)
            case RunTimedOut():
                self._close(entry.at, "timed_out", entry.error, entry.reason)
            case RunExpired():
                self._close(entry.at, "expired", reason=entry.reason)
            case RunCancelled():
                self._close(entry.at, "killed" if entry.killed else "cancelled", reason=entry.reason)
            case RunCompleted():
                self._close(entry.at, "completed")
            case Compensated():
                self._close(entry.at, "compensated")

    def walk(self) -> Iterator[tuple[int, Node]]:
        """Every node with its depth (0: the run's own awaits), parents first."""
        pending = [(0, node) for node in reversed(self.roots)]
        while pending:
            depth, node = pending.pop()
            yield depth, node
            if node.children:
                pending.extend((depth + 1, child) for child in reversed(node.children))

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    def node(self, key: str) -> Node | None:
        return self._nodes.get(key)

    def recoded(self) -> frozenset[str]:
        """Keys of the nodes that were recorded under other code than the one before, as `walk` goes; undos left out."""
        coded = [node for _, node in self.walk() if node.code and node.kind != "undo"]
        return frozenset(node.key for before, node in pairwise(coded) if node.code != before.code)

    def _claimed(self, claim: AttemptStarted | AttemptResumed) -> None:
        self._close(claim.at, "interrupted")
        resumed = isinstance(claim, AttemptResumed)
        self._over = self._over and resumed
        if not resumed:
            self.progress = None
        for node in self._nodes.values():
            if node.kind == "timeout" and node.state is NodeState.WAITING:
                node.state = NodeState.RUNNING
        outcome = "compensating" if self._over else ""
        span = AttemptSpan(claim.attempt, claim.worker, claim.at, resumed, outcome=outcome, code=claim.code)
        self.attempts.append(span)

    def _begun(self, key: str, state: NodeState, at: Instant) -> Node:
        """The node of an await that is under way: since its first try while it retries, else since its last one."""
        node = self._nodes.get(key) or self._insert(key, state)
        if node.state not in _UNDER_WAY:
            self._clear(node)
        if node.started_at is None or state is not NodeState.RETRYING:
            node.started_at = at
        self._recorded(node)
        node.state, node.error, node.note, node.due, node.asks = state, None, "", None, ""
        return node

    def _recorded(self, node: Node) -> None:
        """Put down under which attempt and code a node was recorded last."""
        if self.attempts:
            node.attempt, node.code = self.attempts[-1].attempt, self.attempts[-1].code

    def _clear(self, node: Node) -> None:
        """Forget what came of an await that now runs again; a failure stays as one of its tries."""
        if node.error is not None and node.ended_at is not None:
            took = node.ended_at - (node.started_at or node.ended_at)
            node.tries.append(Try(len(node.tries) + 1, node.ended_at, took, node.error, node.attempt))
        if node.state is NodeState.UNDONE:
            node.children = [child for child in node.children if child.kind != "undo"]
            self._nodes.pop(node.key + UNDO, None)
        node.started_at = node.ended_at = node.value = None
        node.child = node.wait = node.subject = node.origin = ""
        node.kind, node.match, node.edited = _kind(node.key), b"", False

    def _done(self, key: str, state: NodeState, entry: StepCompleted | StepFailed | StepVolatile | Inherited) -> Node:
        node = self._nodes.get(key)
        if node is not None and node.kind in WAITS and node.ended_at is None:
            self._recorded(node)
            node.state, node.due = state, None
        else:
            node = self._begun(key, state, entry.at - entry.took)
        node.ended_at = entry.at
        return node

    def _undone(self, key: str) -> None:
        """Mark the step whose undo has run."""
        step = self._nodes.get(key.removesuffix(UNDO)) if key.endswith(UNDO) else None
        if step is None:
            return
        if (skipped := self._skipped.pop(key, "")) == "":
            step.state = NodeState.UNDONE
        else:  # it counts as done, and was not
            self._nodes[key].state, self._nodes[key].note = NodeState.FAILED, skipped

    def _inherit(self, entry: Inherited) -> None:
        node = self._done(entry.key, NodeState.OK if entry.error is None else NodeState.FAILED, entry)
        node.value, node.error = entry.value, entry.error
        node.origin, node.edited = self._origin, entry.edited
        node.note = f"from {self._origin or 'its origin'}{', edited' if entry.edited else ''}"

    def _wait(self, entry: WaitStarted) -> None:
        if entry.kind == "issued":
            node = self._begun(entry.key, NodeState.OK, entry.at)
            node.kind, node.wait, node.ended_at = entry.kind, entry.wait, entry.at
            return
        scope = entry.kind == "timeout"  # it stands as its branches do
        node = self._begun(entry.key, NodeState.RUNNING if scope else NodeState.WAITING, entry.at)
        node.kind, node.wait, node.due = entry.kind, entry.wait, entry.due
        node.subject, node.match = entry.subject, entry.match
        if scope:
            node.started_at = None
        if entry.kind in ("token", "event"):
            self._awaited.setdefault(entry.wait, []).append(entry.key)
            if (known := self._arrived.get(entry.wait)) is not None:
                self._settle(node, known)

    def _arrive(self, wait: str, entry: TokenCompleted | EventArrived) -> None:
        if wait in self._arrived:
            return
        self._arrived[wait] = entry
        for key in self._awaited.get(wait, ()):
            node = self._nodes[key]
            if node.wait == wait and node.ended_at is None:
                self._settle(node, entry)

    def _settle(self, node: Node, entry: TokenCompleted | EventArrived) -> None:
        """End the wait for a token or event; what came before the wait began ended it at once."""
        node.error = entry.error if isinstance(entry, TokenCompleted) else None
        node.state = NodeState.OK if node.error is None else NodeState.FAILED
        node.value, node.due = entry.value, None
        node.ended_at = entry.at if node.started_at is None else max(entry.at, node.started_at)

    def _part(self, entry: Diverged) -> None:
        """Mark where the code left the recorded way, and what it left behind."""
        self._diverged.add(entry.key)
        if (first := self._nodes.get(entry.key)) is not None:
            first.diverged = True
        for key in entry.missing:
            if (node := self._nodes.get(key)) is not None:
                node.state = NodeState.ORPHANED

    def _join(self, key: str, child: str) -> None:
        """Put a child's end into the node that waits for this very child, once both are known."""
        node, end = self._nodes.get(key), self._ended.get((key, child))
        if node is None or end is None or node.child != child:
            return
        node.state = NodeState.OK if end.state == "completed" else NodeState.FAILED
        node.ended_at, node.value, node.error = end.at, end.value, end.error

    def _wait_for(self, entry: Suspended) -> None:
        """Show waits as such, also where they were given up with a run that was retried since, and questions."""
        waits = frozenset(entry.waits)
        for node in self._nodes.values():
            if node.ended_at is not None:
                continue
            again = node.kind == "sleep" and node.state is NodeState.LOST and node.due == entry.due
            if again or node.child in waits or node.wait in waits or node.signal_in(waits):
                node.state = NodeState.WAITING
            if node.kind == "timeout" and (entry.due is None or (node.due is not None and entry.due > node.due)):
                node.state, node.due = NodeState.OK, None  # it is over, or the run would be woken for it
        for wait in entry.waits:
            if wait.startswith(f"{PAUSE}/"):
                self._ask(wait.removeprefix(PAUSE), entry.paused)

    def _ask(self, key: str, why: str) -> None:
        node = self._nodes.get(key) or self._insert(key, NodeState.PAUSED)
        node.state, node.note, node.due = NodeState.PAUSED, why, None
        node.asks = "undo" if node.kind == "undo" else "once" if node.once else "divergence"

    def _answered(self, entry: Resolved) -> None:
        node = self._nodes.get(entry.key)
        if node is not None and node.state is NodeState.PAUSED:
            node.state, node.asks = NodeState.WAITING, ""
            node.note = f"answered: {entry.action}{f' by {entry.by}' if entry.by else ''}"
            if entry.action == "skip":
                self._skipped[entry.key] = f"skipped{f' by {entry.by}' if entry.by else ''}"

    def _retry(self, from_start: bool) -> None:
        self._over = False
        if from_start:
            self.roots.clear()
            self._nodes.clear()
            self._awaited.clear()
            self._diverged.clear()

    def _insert(self, key: str, state: NodeState) -> Node:
        node = Node(key, state, 0, tries=[], children=[], kind=_kind(key), diverged=key in self._diverged)
        self._nodes[key] = node
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
        over = outcome in _OVER
        self._over = self._over or over
        for node in self._nodes.values():
            if node.state in _UNDER_WAY:
                node.state = _left(node, outcome)
                node.due = node.due if node.kind == "timeout" and node.state is NodeState.WAITING else None
            elif node.state is NodeState.PAUSED and over:
                node.state, node.asks = NodeState.LOST, ""
            elif node.state is NodeState.WAITING and (over or (held and not node.child and node.kind not in WAITS)):
                node.state = NodeState.WAITING if outcome == "suspended" else NodeState.LOST


def _left(node: Node, outcome: str) -> NodeState:
    """What becomes of a node that was under way when its attempt ended."""
    if outcome == "suspended":
        return NodeState.WAITING
    kept = node.kind == "timeout" and outcome == "completed"
    return NodeState.OK if kept else NodeState.LOST


def _kind(key: str) -> str:
    return "undo" if key.endswith(UNDO) else ""
