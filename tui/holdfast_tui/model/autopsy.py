"""What a dead run's history says of it: how it came to its end, and what a retry would keep and run again."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.core.lifecycle import UNDO, story
from holdfast.core.model import ErrorInfo, Instant
from holdfast.core.outcomes import Outcomes
from holdfast.core.tree import Tree
from holdfast.wire.api import History
from holdfast_tui.format import Cell, clean, clock, error_name, lines, plural


class Try(NamedTuple):
    """One attempt of the run."""

    number: int
    at: Instant
    """When it ended; of one that has not, when it began."""
    worker: str
    error: ErrorInfo | None
    outcome: str
    """A word; empty: it is under way."""


class Autopsy(NamedTuple):
    """What the history of a run says."""

    tries: tuple[Try, ...]
    kept: int
    """Results that a retry begins with."""
    again: int
    """Awaits that it runs again."""
    all: int
    """Awaits that a retry from the start runs again, as far as the history tells."""
    failed: str = ""
    """The checkpoint that failed last."""


def autopsy(history: History) -> Autopsy:
    """Counted as the core takes a run up again: what failed for good, was lost or undone runs again."""
    entries = list(story(message.record for message in history.messages))
    outcomes, tree = Outcomes(entries), Tree.of(entries)
    standing = {key for key in outcomes.standing if not key.endswith(UNDO)}
    seen = {key for key in outcomes.seen if not key.endswith(UNDO)}
    tries = tuple(
        Try(span.attempt, span.ended_at or span.started_at, span.worker, span.error, span.outcome)
        for span in tree.attempts
    )
    failed = [node for _, node in tree.walk() if node.error is not None and node.ended_at is not None]
    last = max(failed, key=lambda node: node.ended_at or 0.0, default=None)
    return Autopsy(tries, len(standing), len(seen - standing), len(seen), "" if last is None else last.key)


def told_retry(found: Autopsy) -> list[Cell]:
    """What a retry does."""
    cells: list[Cell] = [
        (f"last checkpoint: {found.kept} of {plural(found.all, 'step')} kept", ""),
        (f"from start: all {plural(found.all, 'step')} run again", ""),
    ]
    if not found.all:
        return [("no step recorded: all of it runs again", "")]
    return cells


def told_tries(found: Autopsy) -> list[Cell]:
    """How it came to its end, one line an attempt."""
    return [
        (
            f"{clock(one.at)[:5]} try {one.number}  {_came_to(one)}" + (f"  {clean(one.worker)}" if one.worker else ""),
            "fail" if one.error is not None else "",
        )
        for one in found.tries
    ]


def _came_to(one: Try) -> str:
    if one.error is None:
        return clean(one.outcome or "under way")
    return clean(f"{error_name(one.error.type)}: {lines(one.error.message)[0]}")
