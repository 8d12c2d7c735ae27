"""One run as its journal tells it: folded from the history, moved on by what is heard live, flattened into rows.

What is heard carries no sequence. A batch that is in the history already is told by its bytes; one that was missed by
what comes behind it not counting, or by the daemon having counted more outcomes than we have.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from holdfast.core.entries import Batch, Entry
from holdfast.core.lifecycle import Kind, Record, apply, taken
from holdfast.core.model import FINAL, ErrorInfo, Instant, Run, Seconds, State
from holdfast.core.tree import Node, NodeState, Tree
from holdfast.wire import api, codec
from holdfast_tui.format import NODES, STATES, Cell, error_name

ROOT = "/"
"""Id of the row that stands for the task itself; keys of awaits are longer."""


class NodeRow(NamedTuple):
    """A line of the tree."""

    id: str
    guide: str
    """Lines and fold mark before the name."""
    name: str
    state: Cell
    tries: int
    """How often it was tried; 0: not worth saying."""
    start: Instant | None
    took: Seconds | None
    """None: still under way."""
    node: Node | None = None
    error: ErrorInfo | None = None
    folded: int = 0
    """How many lines are folded away below it."""


class Story:
    """A run, its tree, and which branches are folded."""

    def __init__(self, run: str) -> None:
        self.id = run
        self.run: Run | None = None
        self.tree = Tree()
        self.folded: set[str] = set()
        self.stale = False
        """Something was missed: the history must be read again."""
        self._read = False
        self._known: set[bytes] = set()
        self._early: list[tuple[Kind, bytes]] = []

    @property
    def final(self) -> bool:
        return self.run is not None and self.run.final

    def load(self, history: api.History) -> None:
        """Begin anew from the history; what was heard meanwhile and is not in it comes on top."""
        self.run, self.tree, self._known, self._read, self.stale = None, Tree(), set(), True, False
        for message in history.messages:
            record = message.record
            self._known.add(_bytes(record.kind, record.writer, record.entries))
            self._take(record)
        early, self._early = self._early, []
        for kind, data in early:
            self.hear(kind, data)

    def hear(self, kind: Kind, data: bytes) -> bool:
        """Take in a message heard live; returns whether anything is new."""
        if not self._read:
            self._early.append((kind, data))
            return False
        if data in self._known:
            return False
        self._known.add(data)
        try:
            batch = codec.decode_batch(data) if kind is Kind.LOG else Batch("", (codec.decode_entry(data),))
        except msgspec.DecodeError:
            self.stale = True
            return False
        seq = 0 if self.run is None else self.run.last + 1
        if not self._take(Record(seq, kind, batch.writer, batch.entries)):
            self.stale = True
        return True

    def missed(self) -> None:
        """The connection was lost and is back: what was sent meanwhile was not heard."""
        self.stale = True

    def compare(self, row: api.RunRow) -> None:
        """Hold what we have against what the daemon has counted."""
        if self.run is None or row.steps > self.run.steps or (row.state in FINAL and not self.run.final):
            self.stale = True

    def _take(self, record: Record) -> bool:
        """Returns whether all that it says counts."""
        counts = [entry for entry, _ in taken(self.run, record)]
        for entry in counts:
            self.tree.add(entry)
        self.run = apply(self.run, record)
        return len(counts) == len(record.entries)

    def rows(self, now: Instant) -> list[NodeRow]:
        """The lines that are not folded away; the first stands for the task itself."""
        if self.run is None:
            return []
        run = self.run
        start = run.started_at or run.created_at
        took = None if run.finished_at is None else run.finished_at - start
        tries = run.attempt if run.attempt > 1 else 0
        mark = "▸ " if ROOT in self.folded else ""
        rows = [NodeRow(ROOT, mark, run.task, STATES[run.state], tries, start, took, error=run.error)]
        if ROOT not in self.folded:
            for index, node in enumerate(self.tree.roots):
                self._flatten(node, "", index == len(self.tree.roots) - 1, now, rows)
        return rows

    def _flatten(self, node: Node, lead: str, last: bool, now: Instant, rows: list[NodeRow]) -> None:
        below = len(node.children) + (len(node.tries) if node.tries else 0)
        folded = node.key in self.folded and below > 0
        branch = "└" if last else "├"
        mark = "▸ " if folded else "▾ " if below else " "
        rows.append(
            NodeRow(
                node.key,
                lead + branch + mark,
                node.name,
                NODES[node.state],
                len(node.tries) + 1 if node.tries else 0,
                _start(node),
                _took(node),
                node,
                node.error,
                below if folded else 0,
            )
        )
        if folded:
            return
        lead += "  " if last else "│ "
        for index, attempt in enumerate(node.tries):
            end = index == below - 1
            rows.append(
                NodeRow(
                    f"{node.key}!{attempt.number}",
                    lead + ("└ " if end else "├ "),
                    f"try {attempt.number}  {error_name(attempt.error.type)}",
                    ("fail", "fail"),
                    0,
                    attempt.at - attempt.took,
                    attempt.took,
                    node,
                    attempt.error,
                )
            )
        for index, child in enumerate(node.children):
            self._flatten(child, lead, index == len(node.children) - 1, now, rows)

    def fold(self, row: NodeRow) -> None:
        self.folded.add(row.id)

    def unfold(self, row: NodeRow) -> None:
        self.folded.discard(row.id)

    def parent(self, id: str) -> str:
        """The row above in the tree."""
        if "!" in id:
            return id.rpartition("!")[0]
        return id.rpartition("/")[0] or ROOT

    def span(self, now: Instant) -> tuple[Instant, Seconds]:
        """Start and length of the whole run so far."""
        if self.run is None:
            return now, 0.0
        start = self.run.started_at or self.run.created_at
        return start, max(0.0, (self.run.finished_at or now) - start)


RETRIABLE = frozenset({State.DEAD, State.FAILED, State.CANCELLED})
"""The states that a retry leaves (`lifecycle.ACCEPTED_IN`)."""


def _start(node: Node) -> Instant | None:
    """When a node was first under way: its first failed try counts, and so do its children where it has no entry."""
    starts = [node.started_at, *(attempt.at - attempt.took for attempt in node.tries[:1])]
    if node.started_at is None:
        starts += [_start(child) for child in node.children]
    return min((at for at in starts if at is not None), default=None)


def _took(node: Node) -> Seconds | None:
    """How long a node was under way; None while it is. A node without entries of its own spans its children."""
    start = _start(node)
    if node.state is NodeState.LOST:
        return 0.0
    if start is None or node.ended_at is not None or not node.children or node.started_at is not None:
        return None if start is None or node.ended_at is None else node.ended_at - start
    if any(child.state in (NodeState.RUNNING, NodeState.RETRYING, NodeState.WAITING) for child in node.children):
        return None
    return max((child.ended_at or start for child in node.children), default=start) - start


def _bytes(kind: Kind, writer: str, entries: tuple[Entry, ...]) -> bytes:
    if kind is Kind.LOG:
        return codec.encode(Batch(writer, entries))
    return codec.encode(entries[0]) if entries else b""
