"""What a node of the tree says: when it was under way, how often it was tried, what it waits for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from holdfast.core.model import Instant, Seconds
from holdfast.core.tree import WAITS, AttemptSpan, Node, NodeState, Try
from holdfast_tui.format import clean, short, until
from holdfast_tui.model.stretch import Mark, Stretch

CODE = 7
"""Characters of a code's fingerprint that are shown."""

_LIVE = (NodeState.RUNNING, NodeState.RETRYING, NodeState.WAITING, NodeState.PAUSED)
BAD = (NodeState.FAILED, NodeState.LOST)
"""States of an await that did not go well."""
_TRIED = (NodeState.OK, NodeState.VOLATILE, NodeState.FAILED, NodeState.RUNNING, NodeState.UNDONE, NodeState.LOST)
"""States of a node whose last try has a line of its own below the failed ones."""


class Facts(NamedTuple):
    """What a node says with its children, until the next change."""

    state: NodeState
    start: Instant | None
    took: Seconds | None
    parallel: int


def is_wait(node: Node) -> bool:
    """Whether nothing runs in a node's time."""
    return bool(node.child) or node.kind in WAITS or node.state in (NodeState.WAITING, NodeState.PAUSED)


def worker_of(spans: Sequence[AttemptSpan], at: Instant | None) -> str:
    """Who held the run then; empty where nobody did."""
    held = [span.worker for span in spans if at is not None and span.started_at <= at]
    return clean(held[-1]) if held else ""


def tries_of(node: Node) -> Sequence[Try]:
    """The failed tries of a node, with the failure that ended it."""
    if node.state is not NodeState.FAILED or node.error is None or node.ended_at is None:
        return node.tries
    took = node.ended_at - (node.started_at or node.ended_at)
    return [*node.tries, Try(len(node.tries) + 1, node.ended_at, took, node.error, node.attempt)]


def held(span: AttemptSpan) -> Stretch:
    return Stretch(span.started_at, span.ended_at, Mark.WORK)


def lines_of_tries(node: Node) -> int:
    """How many lines the tries of a node take."""
    return len(node.tries) + (node.state in _TRIED) if node.tries else 0


def about(node: Node, facts: Facts, now: Instant) -> Iterator[str]:
    """What a node waits for, or where its outcome is from."""
    if facts.parallel > 1:
        yield f"({facts.parallel} parallel)"
    if node.child:
        yield f"→ {short(node.child)}"
    elif node.kind in ("token", "issued"):
        yield f"→ token {short(node.wait)}"
    elif node.kind in ("event", "signal"):
        yield f"→ {clean(node.subject)}"
    if node.state is NodeState.RETRYING and node.due is not None:
        yield f"try {len(node.tries) + 1} {until(node.due, now).replace('until', 'at')}"
    elif node.due is not None and node.stands in _LIVE:
        yield until(node.due, now)
    if node.once and node.state in (NodeState.RUNNING, NodeState.LOST, NodeState.PAUSED):
        yield "at most once"
    if node.state is NodeState.VOLATILE and node.note:
        yield f"not kept: {clean(node.note)}"
    if node.origin:
        yield f"from {short(node.origin)}{', edited' if node.edited else ''}"


def marks(node: Node, recoded: frozenset[str]) -> Iterator[str]:
    """Where the code changed or took another way."""
    if node.diverged:
        yield "◆ another way"
    if node.key in recoded:
        yield f"Δ code {clean(node.code[:CODE])}"


def start_of(node: Node, below: Sequence[Facts]) -> Instant | None:
    """When a node was first under way: its first failed try counts, and so do its children where it has no entry."""
    if node.origin:  # its origin's times mean nothing here
        return None
    starts = [node.started_at, *(one.at - one.took for one in node.tries[:1])]
    if node.started_at is None:
        starts += [facts.start for facts in below]
    return min((at for at in starts if at is not None), default=None)


def took_of(node: Node, start: Instant | None, below: Sequence[Facts]) -> Seconds | None:
    """How long a node was under way; None while it is. A node without entries of its own spans its children."""
    if node.state is NodeState.LOST:
        return 0.0
    if start is None:
        return None
    if node.ended_at is not None or not below or node.started_at is not None:
        return None if node.ended_at is None else max(0.0, node.ended_at - start)
    if any(facts.state in _LIVE for facts in below):
        return None
    ends = [facts.start + facts.took for facts in below if facts.start is not None and facts.took is not None]
    return max(ends, default=start) - start


def parallel_of(below: Sequence[Facts]) -> int:
    """How many children there are, where any two of them were under way at once; else 0."""
    spans = sorted((one.start, _end(one)) for one in below if one.start is not None)
    return len(below) if any(later[0] < earlier[1] for earlier, later in pairwise(spans)) else 0


def _end(facts: Facts) -> Instant:
    return float("inf") if facts.start is None or facts.took is None else facts.start + facts.took
