"""One run as its journal tells it: folded from the history, moved on by what is heard live, flattened into rows.

What is heard carries no sequence. A batch that is in the history already is told by its bytes; one that was missed by
what comes behind it not counting, or by the daemon having counted more outcomes than we have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from holdfast.core.entries import Batch, Entry
from holdfast.core.lifecycle import Kind, Record, apply, taken
from holdfast.core.model import FINAL, ErrorInfo, Instant, Run, Seconds, State
from holdfast.core.pending import Wait, pending
from holdfast.core.tree import Node, NodeState, Tree
from holdfast.wire import api, codec
from holdfast_tui.format import NODES, PAUSED, STATES, Cell, clean, error_name, progress, short, until

ROOT = "/"
"""Id of the row that stands for the task itself; keys of awaits are longer."""


CODE = 7
"""Characters of a code's fingerprint that are shown."""

_LIVE = (NodeState.RUNNING, NodeState.RETRYING, NodeState.WAITING, NodeState.PAUSED)


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
    about: str = ""
    """What is to be known besides the name: what it waits for, marks."""


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
        state = PAUSED if run.paused else STATES[run.state]
        about = "" if run.final else progress(run.progress)
        rows = [NodeRow(ROOT, mark, run.task, state, tries, start, took, error=run.error, about=about)]
        if ROOT not in self.folded:
            recoded = self.tree.recoded()
            for index, node in enumerate(self.tree.roots):
                self._flatten(node, "", index == len(self.tree.roots) - 1, now, rows, recoded)
        return rows

    def waits(self) -> tuple[Wait, ...]:
        """What the run waits for just now, and what it asks."""
        return pending(self.run, self.tree) if self.run is not None else ()

    def _flatten(
        self, node: Node, lead: str, last: bool, now: Instant, rows: list[NodeRow], recoded: frozenset[str]
    ) -> None:
        below = len(node.children) + (len(node.tries) if node.tries else 0)
        folded = node.key in self.folded and below > 0
        branch = "└" if last else "├"
        mark = "▸ " if folded else "▾ " if below else " "
        rows.append(
            NodeRow(
                node.key,
                lead + branch + mark,
                node.name,
                NODES[node.stands],
                len(node.tries) + 1 if node.tries else 0,
                _start(node),
                _took(node),
                node,
                node.error,
                below if folded else 0,
                "  ".join([*_about(node, now), *_marks(node, recoded)]),
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
            self._flatten(child, lead, index == len(node.children) - 1, now, rows, recoded)

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


RETRIABLE = frozenset({State.DEAD, State.FAILED, State.CANCELLED, State.TIMED_OUT})
"""The states that a retry leaves (`lifecycle.ACCEPTED_IN`)."""
CANCELLABLE = frozenset(State) - FINAL - {State.COMPENSATING}
"""The states in which a run can be cancelled; one that undoes its steps can only be killed."""


def _about(node: Node, now: Instant) -> Iterator[str]:
    """What a node waits for, or where its outcome is from."""
    if node.child:
        yield f"→ {short(node.child)}"
    elif node.kind in ("token", "issued"):
        yield f"→ token {short(node.wait)}"
    elif node.kind == "event":
        yield f"→ {clean(node.subject)}"
    elif node.due is not None and node.stands in _LIVE and node.state is not NodeState.RETRYING:
        yield until(node.due, now)
    if node.once and node.state in (NodeState.RUNNING, NodeState.LOST, NodeState.PAUSED):
        yield "at most once"
    if node.origin:
        yield f"from {short(node.origin)}{', edited' if node.edited else ''}"


def _marks(node: Node, recoded: frozenset[str]) -> Iterator[str]:
    """Where the code changed or took another way."""
    if node.diverged:
        yield "◆ another way"
    if node.key in recoded:
        yield f"Δ code {clean(node.code[:CODE])}"


def _start(node: Node) -> Instant | None:
    """When a node was first under way: its first failed try counts, and so do its children where it has no entry."""
    if node.origin:  # its origin's times mean nothing here
        return None
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
    if any(child.stands in _LIVE for child in node.children):
        return None
    return max((child.ended_at or start for child in node.children), default=start) - start


def _bytes(kind: Kind, writer: str, entries: tuple[Entry, ...]) -> bytes:
    if kind is Kind.LOG:
        return codec.encode(Batch(writer, entries))
    return codec.encode(entries[0]) if entries else b""
