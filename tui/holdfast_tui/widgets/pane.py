"""A pane of lines under a title: what is known of the row under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.segment import Segment
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from holdfast_tui.format import Cell, fit, wrap
from holdfast_tui.theme import base, style


class Pane(Widget, can_focus=False, inherit_bindings=False):
    """A title and wrapped lines; beside a list it draws the bar that parts them."""

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    Pane { background: $background; color: $foreground; }
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.barred = False
        """Whether a bar stands at its left."""
        self.first = 0
        """The first line shown."""
        self._title = ""
        self._given: tuple[Cell, ...] = ()
        self._lines: list[Cell] = []
        self._room = 0
        """Columns that the lines are wrapped to; 0: they are not yet."""
        self._painted: dict[int, Cell] = {}

    def show(self, title: str, lines: Sequence[Cell]) -> None:
        """Show these lines; another title begins at the top."""
        if title != self._title:
            self.first = 0
        self._title = title
        given = tuple(lines)
        if given != self._given:
            self._given, self._room = given, 0
        self._flow()

    def _flow(self) -> None:
        room = max(1, self.size.width - 1 - 2 * self.barred)
        if room != self._room:
            self._room = room
            self._lines = [(piece, role) for text, role in self._given for piece in wrap(text, room)]
        self.first = max(0, min(self.first, len(self._lines) - max(1, self.size.height - 1)))
        for y in range(self.size.height):
            if self._painted.get(y) != self._line(y):
                self.refresh(Region(0, y, self.size.width, 1))

    def on_resize(self, event: events.Resize) -> None:
        self._painted.clear()
        self._flow()

    def scroll_lines(self, by: int) -> None:
        self.first += by
        self._flow()

    def _line(self, y: int) -> Cell:
        if y == 0:
            return self._title, "title"
        at = self.first + y - 1
        return self._lines[at] if at < len(self._lines) else ("", "")

    def render_line(self, y: int) -> Strip:
        text, role = self._painted[y] = self._line(y)
        plain, width = base(self.rich_style), self.size.width
        lead = "│" if self.barred else ""
        rest = width - len(lead)
        if y == 0 and not self.barred:
            body = fit(f"─ {text} " + "─" * rest, rest)
        else:
            body = fit(f"{'─' if y == 0 else ''} {text}", rest)
        return Strip([Segment(lead, plain), Segment(body, plain + style(role))]).adjust_cell_length(width, plain)

    def forget(self) -> None:
        self._painted.clear()
        self.refresh()
