"""What the lists of what happened are made of: the newest first, within a span of time that `<` and `>` turn.

They are read from the newest on, as far as the view goes. In any other order that is not enough: then all within the
span are read, up to `MOST_ORDERED`, and the list says if there are more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from holdfast.core.model import Instant
from holdfast_tui.format import Cell
from holdfast_tui.model import span
from holdfast_tui.model.sorting import Sort
from holdfast_tui.model.span import Span
from holdfast_tui.model.window import Follow
from holdfast_tui.screens.listed import Listed

NEWEST = Sort("time", True)


class Dated(Listed):
    """A list by time."""

    MOST_ORDERED: ClassVar[int]
    """So many rows are read where they are wanted in another order."""

    sort = NEWEST

    def __init__(self, begin: Span, **options: Any) -> None:
        self.span = begin
        self.more = False
        """Whether there are older ones than those that are here."""
        self._generation = 0
        """Which filter and span: an answer of before is none."""
        super().__init__(**options)

    @property
    def newest_first(self) -> bool:
        return self.table.sort == NEWEST

    @property
    def wants_older(self) -> bool:
        """Whether older ones are to be read now."""
        if not self.more:
            return False
        if self.newest_first:
            return self.window.top + 2 * self.window.height > len(self.window)
        return len(self.listing.rows) < self.MOST_ORDERED

    async def older(self, query: Any) -> tuple[Sequence[Any], bool]:
        """The page behind the oldest that is here, and whether there are more behind that."""
        raise NotImplementedError

    async def read_older(self, query: Any, generation: int) -> None:
        """Read older ones as far as they are wanted: one page where the view goes on, else all."""
        while self.wants_older:
            rows, more = await self.older(query)
            if generation != self._generation:
                return
            self.listing.take(rows, gone=())
            self.more = more
            self.arrange_rows()
            if self.newest_first:
                return

    def outdated(self, since: Instant | None) -> set[str]:
        """Those that are older than the span by now."""
        return {key for key, row in self.listing.rows.items() if row.at < (since or 0.0)}

    @property
    def within(self) -> str:
        return "all time" if self.span.seconds is None else f"the last {self.span.name}"

    def told_span(self) -> Cell:
        """For row 2."""
        return f"{'all' if self.span.seconds is None else f'last {self.span.name}'} (< >)", ""

    def told_sort(self) -> list[Cell]:
        if self.newest_first:
            return [("newest first (s)", "")]
        return [*super().told_sort(), *([("  the newest only", "warn")] if self.more else [])]

    def ordered(self) -> None:
        super().ordered()
        self.window.follow = Follow.FIRST if self.newest_first and not self.window.position else Follow.OFF
        self.refresh_data()

    def do_shorter(self) -> None:
        self._turn(-1)

    def do_longer(self) -> None:
        self._turn(1)

    def _turn(self, by: int) -> None:
        self.span = span.turned(span.LISTED, self.span, by)
        self.narrowed()
