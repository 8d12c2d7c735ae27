"""Charts in a terminal: lines of cells as `model.chart` lays them out; those that changed are painted again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.segment import Segment
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from holdfast_tui.format import Cell
from holdfast_tui.theme import base, style


class Picture(Widget, can_focus=False, inherit_bindings=False):
    """Lines of cells."""

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    Picture { background: $background; color: $foreground; height: 1fr; width: 1fr; }
    """

    class Clicked(Message):
        """Somebody clicked into it."""

        def __init__(self, x: int, y: int) -> None:
            super().__init__()
            self.x, self.y = x, y

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dimmed = False
        """Whether what is shown is old."""
        self._lines: list[tuple[Cell, ...]] = []
        self._painted: dict[int, tuple[tuple[Cell, ...], bool]] = {}

    def show(self, lines: Sequence[Sequence[Cell]]) -> None:
        self._lines = [tuple(line) for line in lines]
        for y in range(self.size.height):
            if self._painted.get(y) != (self._line(y), self.dimmed):
                self.refresh(Region(0, y, self.size.width, 1))

    def on_resize(self, event: events.Resize) -> None:
        self._painted.clear()

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Clicked(event.x, event.y))

    def _line(self, y: int) -> tuple[Cell, ...]:
        return self._lines[y] if y < len(self._lines) else ()

    def render_line(self, y: int) -> Strip:
        cells = self._line(y)
        self._painted[y] = cells, self.dimmed
        plain, width = base(self.rich_style), self.size.width
        if self.dimmed:
            plain += style("dim")
        segments = [Segment(text, plain + style(role) if role else plain) for text, role in cells if text]
        return Strip(segments).adjust_cell_length(width, plain)

    def forget(self) -> None:
        """Paint everything anew."""
        self._painted.clear()
        self.refresh()
