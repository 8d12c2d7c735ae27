"""One line of the frame (rows 1, 2, 23 and 24): it repaints the columns that changed; and one that asks for room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.segment import Segment
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from holdfast_tui.format import Cell, spread
from holdfast_tui.theme import base, style


class Line(Widget, can_focus=False, inherit_bindings=False):
    """Cells at the left and at the right; the left is cut where both do not fit."""

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    Line { height: 1; width: 1fr; background: $background; color: $foreground; }
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._left: tuple[Cell, ...] = ()
        self._right: tuple[Cell, ...] = ()

    def show(self, left: Sequence[Cell], right: Sequence[Cell] = ()) -> None:
        if (tuple(left), tuple(right)) == (self._left, self._right):
            return
        before = self._chars()
        self._left, self._right = tuple(left), tuple(right)
        after = self._chars()
        differ = [at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]]
        if len(before) != len(after) or len(after) != self.size.width:  # wide characters: not a column each
            self.refresh()
        elif differ:
            self.refresh(Region(differ[0], 0, differ[-1] - differ[0] + 1, 1))

    def _chars(self) -> list[tuple[str, str]]:
        cells = spread(self._left, self._right, self.size.width)
        return [(char, role) for text, role in cells for char in text]

    def render_line(self, y: int) -> Strip:
        plain, width = base(self.rich_style), self.size.width
        cells = spread(self._left, self._right, width)
        segments = [Segment(text, plain + style(role) if role else plain) for text, role in cells if text]
        return Strip(segments).adjust_cell_length(width, plain)


LEAST = (60, 10)
"""Columns and lines that a screen needs."""


class Room(Line):
    """All that is shown on a terminal with less than `LEAST`; style sheets show it instead of the rest."""

    def on_resize(self, event: events.Resize) -> None:
        have = self.screen.size
        self.show([(f"needs {LEAST[0]}x{LEAST[1]}, is {have.width}x{have.height}", "warn")])
