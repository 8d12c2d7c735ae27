"""Where a fork leaves its origin, and what it begins with: worked out before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast.core import forking
from holdfast.core.entries import ChildEnded
from holdfast.core.lifecycle import UNDO
from holdfast.core.model import ErrorInfo
from holdfast.core.outcomes import Outcomes
from holdfast_tui.format import Cell, clean, plural
from holdfast_tui.model.run import Story

NAMED = 40
"""Checkpoints that are named; of more it says how many."""


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A fork before or behind a checkpoint."""

    key: str
    behind: bool = False
    edits: Mapping[str, Any] = {}
    """Other results, as `Client.fork` takes them."""
    changed: tuple[Cell, ...] = ()
    """The lines of the result that differ."""
    editable: bool = False
    """Whether its result can be edited, so that the fork goes on behind it."""
    kept: tuple[str, ...] = ()
    """Checkpoints whose outcome it begins with."""
    anew: tuple[str, ...] = ()
    """Checkpoints that its origin came to and that it comes to by itself."""

    @property
    def told(self) -> list[Cell]:
        """The whole of it, for the pane."""
        cells: list[Cell] = []
        if self.edits:
            cells += [(f"{self.key} returns another result", "title"), *self.changed, ("", "")]
        cells += _named(f"keeps {plural(len(self.kept), 'result')}", self.kept)
        return cells + _named(f"runs anew {plural(len(self.anew), 'step')}, and what comes then", self.anew)


def _named(what: str, keys: Sequence[str]) -> list[Cell]:
    """How many, and the first of them."""
    more = f"  and {len(keys) - NAMED:,} more" if len(keys) > NAMED else ""
    return [(what, "title"), (clean("  " + "  ".join(keys[:NAMED]) + more), "")] if keys else [(what, "title")]


def cut(story: Story, key: str, *, behind: bool = False) -> Cut:
    """What a fork of the run there would begin with.

    Raises:
        UnknownKey: the run did not come to such a checkpoint.
        EditError: there is nothing behind it.
    """
    made = forking.fork(story.records, key, run="", at=0.0, child_error=_error, behind=behind)
    kept = tuple(one.key for one in made.inherited)
    seen = Outcomes(told.entry for told in story.told if told.counts).seen
    anew = tuple(other for other in seen if other not in kept and not other.endswith(UNDO) and not _holds(other, kept))
    return Cut(key=key, behind=behind, kept=kept, anew=anew)


def _holds(key: str, kept: tuple[str, ...]) -> bool:
    """Whether an await is told by one that is kept: it lies within it."""
    return any(key.startswith(f"{other}/") for other in kept)


def _error(ended: ChildEnded) -> ErrorInfo:
    assert ended.error is not None
    return ended.error
