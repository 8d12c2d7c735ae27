"""The tree of a run as lines: which are seen, what each says, where the failures and the matches are.

A line's id is its node's key; a try's is `<key>!<number>`; `ROOT` stands for the task itself. Lines are laid out once
after the run or the folds have changed, as ids only; what a line says is made when it is asked for, and kept until the
next change. So a key costs what is in view, whatever the tree holds (`visited` counts).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from holdfast.core.model import ErrorInfo, Instant, Seconds
from holdfast.core.tree import Node, NodeState
from holdfast_tui.format import NODES, PAUSED, STATES, Cell, clean, error_name, progress
from holdfast_tui.model.nodes import (
    BAD,
    Facts,
    about,
    held,
    is_wait,
    lines_of_tries,
    marks,
    parallel_of,
    start_of,
    took_of,
)
from holdfast_tui.model.run import Story
from holdfast_tui.model.stretch import Mark, Stretch

ROOT = "/"
"""Id of the line that stands for the task itself; keys of awaits are longer."""


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
    """None: still under way, or not known."""
    node: Node | None = None
    error: ErrorInfo | None = None
    folded: int = 0
    """How many lines are folded away below it."""
    about: str = ""
    """What is to be known besides the name: what it waits for, marks."""
    attempt: int = 0
    """Number of the try that the line is of; 0: it is of the whole await."""
    waits: bool = False
    """Whether nothing ran in its time."""
    bars: tuple[Stretch, ...] = ()
    """When it was under way; the last one without an end where it still is."""


class Outline:
    """The lines of a story that are not folded away."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.folded: set[str] = set()
        self.visited = 0
        """Nodes that were looked at so far."""
        self._folds = 0
        self._laid: tuple[int, int] | None = None
        self._keys: list[str] = []
        self._facts: dict[str, Facts] = {}
        self._order: list[str] = []
        self._bad: list[str] = []
        self._recoded: frozenset[str] = frozenset()
        self._seen: tuple[str, int] = ("", -1)
        self._matches: list[str] = []
        self._found: tuple[Sequence[str], frozenset[str]] = ((), frozenset())
        self._version = -1

    @property
    def keys(self) -> Sequence[str]:
        """Ids of the lines that are seen, from the top; the same object until something changes."""
        now = (self.story.version, self._folds)
        if self._laid != now:
            self._laid = now
            self._keys = self._lay()
        return self._keys

    def _lay(self) -> list[str]:
        if self.story.run is None:
            return []
        found = [ROOT]
        if ROOT in self.folded:
            return found
        folded, pending = self.folded, self.story.tree.roots[::-1]
        while pending:
            node = pending.pop()
            found.append(node.key)
            if (node.tries or node.children) and node.key not in folded:
                found += [f"{node.key}!{number}" for number in range(1, lines_of_tries(node) + 1)]
                pending += reversed(node.children)
        self.visited += len(found)
        return found

    def _fresh(self) -> None:
        """Forget what was made before the last change."""
        if self._version != self.story.version:
            self._version = self.story.version
            self._facts.clear()
            self._order, self._bad = [], []
            coded = {span.code for span in self.story.tree.attempts if span.code}
            self._recoded = self.story.tree.recoded() if len(coded) > 1 else frozenset()

    # --- lines --------------------------------------------------------------------------------------------------------

    def node(self, id: str) -> tuple[Node | None, int]:
        """The node that a line is of, and which of its tries; None: it is the task's, or there is none."""
        if (node := self.story.tree.node(id)) is not None:
            return node, 0
        key, _, number = id.rpartition("!")
        node = self.story.tree.node(key)
        return (node, int(number)) if node is not None and number.isdecimal() else (None, 0)

    def row(self, id: str, now: Instant) -> NodeRow:
        """What a line says. Raises: KeyError: there is no such line."""
        self._fresh()
        self.visited += 1
        if id == ROOT:
            return self._root()
        node, attempt = self.node(id)
        if node is None:
            raise KeyError(id)
        return self._try(node, attempt) if attempt else self._node(node, now)

    def _root(self) -> NodeRow:
        run = self.story.run
        assert run is not None
        start, _ = self.story.span(0.0)
        took = None if run.finished_at is None else run.finished_at - start
        tree = self.story.tree
        folded = len(self.story.tree.roots) if ROOT in self.folded else 0
        return NodeRow(
            ROOT,
            "▸ " if folded else "",
            clean(run.task),
            PAUSED if run.paused else STATES[run.state],
            run.attempt if run.attempt > 1 else 0,
            start,
            took,
            error=run.error,
            folded=folded,
            about="" if run.final else progress(run.progress),
            bars=(Stretch(start, run.finished_at, Mark.WAIT), *(held(span) for span in tree.attempts)),
        )

    def _node(self, node: Node, now: Instant) -> NodeRow:
        facts = self._facts_of(node)
        below = lines_of_tries(node) + len(node.children)
        folded = below if node.key in self.folded else 0
        waits = is_wait(node)
        end = None if facts.start is None or facts.took is None else facts.start + facts.took
        mark = Mark.WAIT if waits else Mark.FAIL if not below and node.state is NodeState.FAILED else Mark.WORK
        return NodeRow(
            node.key,
            self._guide(node) + ("▸ " if folded else "▾ " if below else " "),
            clean(node.name),
            NODES[facts.state],
            len(node.tries) + (node.state is not NodeState.RETRYING) if node.tries else 0,
            facts.start,
            facts.took,
            node,
            node.error,
            folded,
            "  ".join([*about(node, facts, now), *marks(node, self._recoded)]),
            waits=waits,
            bars=() if facts.start is None else (Stretch(facts.start, end, mark),),
        )

    def _try(self, node: Node, number: int) -> NodeRow:
        lead = self._lead(node)
        guide = lead + ("└ " if number == lines_of_tries(node) and not node.children else "├ ")
        if number <= len(node.tries):
            one = node.tries[number - 1]
            start, took, state, error = one.at - one.took, one.took, ("fail", "fail"), one.error
            bars = (Stretch(start, one.at, Mark.FAIL),)
        else:
            return self._last(node, number, guide)
        return NodeRow(
            f"{node.key}!{number}",
            guide,
            f"try {number}  {clean(error_name(error.type))}",
            state,
            0,
            start,
            took,
            node,
            error,
            attempt=number,
            bars=bars,
        )

    def _last(self, node: Node, number: int, guide: str) -> NodeRow:
        """The try that ended the step or is under way; its start is known where the step's is behind the failed try."""
        began = node.started_at is not None and node.started_at >= node.tries[-1].at
        start = node.started_at if began else None
        took = node.ended_at - start if start is not None and node.ended_at is not None else None
        failed = node.state is NodeState.FAILED
        name = f"  {clean(error_name(node.error.type))}" if failed and node.error is not None else ""
        mark = Mark.FAIL if failed else Mark.WORK
        return NodeRow(
            f"{node.key}!{number}",
            guide,
            f"try {number}{name}",
            NODES[node.state],
            0,
            start,
            0.0 if node.state is NodeState.LOST and took is None else took,
            node,
            node.error if failed else None,
            attempt=number,
            bars=() if start is None else (Stretch(start, node.ended_at, mark),),
        )

    def _guide(self, node: Node) -> str:
        parent = self.story.tree.node(node.key.rpartition("/")[0])
        siblings = self.story.tree.roots if parent is None else parent.children
        lead = "" if parent is None else self._lead(parent)
        return lead + ("└" if siblings[-1] is node else "├")

    def _lead(self, node: Node) -> str:
        """What stands before the lines below a node."""
        return self._guide(node)[:-1] + ("  " if self._guide(node)[-1] == "└" else "│ ")

    def times(self, node: Node) -> tuple[Instant | None, Seconds | None]:
        """When a node was first under way, and how long; None: not known, or still under way."""
        self._fresh()
        facts = self._facts_of(node)
        return facts.start, facts.took

    def _facts_of(self, node: Node) -> Facts:
        found = self._facts.get(node.key)
        if found is None:
            below = [self._facts_of(child) for child in node.children]
            self.visited += 1 + len(below)
            start = start_of(node, below)
            found = Facts(node.stands, start, took_of(node, start, below), parallel_of(below))
            self._facts[node.key] = found
        return found

    # --- folds --------------------------------------------------------------------------------------------------------

    def foldable(self, id: str) -> bool:
        """Whether there is something below a line."""
        if id == ROOT:
            return bool(self.story.tree.roots)
        node, attempt = self.node(id)
        return node is not None and not attempt and bool(node.children or node.tries)

    def fold(self, id: str) -> None:
        if self.foldable(id) and id not in self.folded:
            self.folded.add(id)
            self._folds += 1

    def unfold(self, id: str) -> None:
        if id in self.folded:
            self.folded.discard(id)
            self._folds += 1

    def fold_all(self) -> None:
        """Fold everything but the task itself."""
        self.folded = {node.key for _, node in self.story.tree.walk() if node.children or node.tries}
        self._folds += 1

    def unfold_all(self) -> None:
        self.folded.clear()
        self._folds += 1

    def reveal(self, id: str) -> None:
        """Unfold what a line lies below."""
        while id != ROOT:
            id = self.parent(id)
            self.unfold(id)

    def parent(self, id: str) -> str:
        """The line above in the tree."""
        node, attempt = self.node(id)
        if node is not None and attempt:
            return node.key
        return id.rpartition("/")[0] or ROOT

    def holding(self, id: str) -> str:
        """The line itself, or where it is folded away the one that holds it; ROOT where there is none."""
        found = id if id == ROOT or self.node(id)[0] is not None else ROOT
        above = found
        while above != ROOT:
            above = self.parent(above)
            if above in self.folded:
                found = above
        return found

    # --- finding ------------------------------------------------------------------------------------------------------

    def matches(self, text: str) -> Sequence[str]:
        """Ids of the nodes that have a text in their name, error or what they wait for, in order, folded or not."""
        if not text:
            return ()
        if self._seen != (text, self.story.version):
            self._seen = (text, self.story.version)
            low = text.lower()
            self._matches = [key for key in self._walked() if low in self._said(key)]
        return self._matches

    def found(self, text: str) -> Collection[str]:
        """The same as `matches`, to look one up in."""
        matches = self.matches(text)
        if self._found[0] is not matches:
            self._found = matches, frozenset(matches)
        return self._found[1]

    def _said(self, key: str) -> str:
        node = self.story.tree.node(key)
        assert node is not None
        errors = [node.error, *(one.error for one in node.tries)]
        told = " ".join(f"{error.type} {error.message}" for error in errors if error is not None)
        return f"{node.name} {node.subject} {node.wait} {node.child} {told}".lower()

    def failures(self) -> Sequence[str]:
        """Ids of the nodes that failed, were lost, or had to be tried again, in order, folded or not."""
        self._walked()
        return self._bad

    def _walked(self) -> Sequence[str]:
        self._fresh()
        if not self._order and self.story.tree.roots:
            for _, node in self.story.tree.walk():
                self._order.append(node.key)
                if node.state in BAD or node.tries:
                    self._bad.append(node.key)
            self.visited += len(self._order)
        return self._order

    def step(self, found: Sequence[str], at: str, by: int) -> str | None:
        """The next of these nodes behind a line, or the one before it; round the ends. None: there is none."""
        if not found:
            return None
        places = {key: index for index, key in enumerate(self._walked())}
        node, attempt = self.node(at)
        here = -1 if node is None else places[node.key]
        if by > 0:
            return next((key for key in found if places[key] > here), found[0])
        here += bool(attempt)  # a try lies behind its own node
        return next((key for key in reversed(found) if places[key] < here), found[-1])

    @property
    def size(self) -> int:
        """How many nodes there are, folded or not."""
        return len(self.story.tree)
