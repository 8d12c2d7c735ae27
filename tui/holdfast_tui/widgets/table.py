"""A virtual table: it asks for the rows in view, and repaints the lines that differ from what was painted last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from holdfast_tui.format import Cell, fit
from holdfast_tui.model.window import Window
from holdfast_tui.theme import base, style

_Painted: TypeAlias = tuple[Hashable, ...]

GUTTER = 2
"""Columns for the cursor's `>` and the mark's `*`."""
CACHE = 512


class Column(NamedTuple):
    """A column of a table."""

    title: str
    width: int
    right: bool = False
    flex: bool = False
    """It takes the room that the others leave, and at least its width."""
    spare: int = 0
    """Where there is no room the column with the highest number goes first; 0: never."""


class Table(ScrollView, can_focus=False, inherit_bindings=False):
    """Rows of a `Window` under a header line; `sync` after anything has changed."""

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    Table { height: 1fr; width: 1fr; overflow: hidden hidden; background: $background; color: $foreground; }
    """

    class Opened(Message):
        """A row was clicked while the cursor was on it."""

    def __init__(
        self,
        window: Window[Any],
        columns: Sequence[Column],
        cells: Callable[[Any, Sequence[int]], Sequence[Cell]],
        empty: Callable[[], Sequence[str]],
        **kwargs: Any,
    ) -> None:
        """
        Args:
            cells: the cells of a row by its id, one for each column; told how wide each is.
            empty: what to say where there are no rows.
        """
        super().__init__(**kwargs)
        self.window = window
        self.columns = tuple(columns)
        self.dimmed = False
        """Whether what is shown is old."""
        self._cells = cells
        self._empty = empty
        self._painted: dict[int, _Painted] = {}
        self._strips: OrderedDict[_Painted, Strip] = OrderedDict()

    def widths(self) -> tuple[int, ...]:
        """How wide each column is; 0: not shown."""
        return widths(self.columns, self.size.width)

    def on_resize(self, event: events.Resize) -> None:
        self._strips.clear()
        self._painted.clear()
        self.window.resize(event.size.height - 1)
        self.sync()

    def sync(self) -> None:
        """Repaint what differs; nothing is sent to the terminal where nothing does."""
        size = Size(self.size.width, len(self.window) + 1)
        if self.virtual_size != size:
            self.virtual_size = size
        if round(self.scroll_y) != self.window.top:
            self.scroll_to(y=self.window.top, animate=False, force=True, immediate=True)
        self._repaint()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Scrolling repaints lines that differ, not the view."""
        self._repaint()

    def _repaint(self) -> None:
        widths = self.widths()
        for y in range(self.size.height):
            if self._painted.get(y) != self._line(y, widths):
                self.refresh(Region(0, y, self.size.width, 1))

    def _line(self, y: int, widths: tuple[int, ...]) -> _Painted:
        """All that the look of a line depends on."""
        if y == 0:
            return ("head", tuple(column.title for column in self.columns), widths)
        at = self.window.top + y - 1
        if at >= len(self.window):
            said = self._empty() if not len(self.window) else ()
            return ("said", said[y - 1] if y - 1 < len(said) else "", self.size.width)
        key = self.window.keys[at]
        cells = tuple(self._cells(key, widths))
        return ("row", cells, key == self.window.cursor, key in self.window.marks, self.dimmed, widths)

    def render_line(self, y: int) -> Strip:
        line = self._line(y, self.widths())
        self._painted[y] = line
        strip = self._strips.get(line)
        if strip is None:
            strip = self._strips[line] = self._strip(line)
            if len(self._strips) > CACHE:
                self._strips.popitem(last=False)
        return strip

    def _strip(self, line: _Painted) -> Strip:
        width = self.size.width
        if line[0] == "head":
            return self._head(width)
        if line[0] == "said":
            return Strip([Segment(fit(str(line[1]), width), base(self.rich_style))], width)
        _, cells, cursor, marked, dimmed, widths = line
        plain = base(self.rich_style)
        if dimmed:
            plain += style("dim")
        if cursor:
            plain += style("cursor")
        parts: list[tuple[str, Style]] = [
            (">" if cursor else " ", plain),
            ("*" if marked else " ", plain + style("mark") if marked and not cursor else plain),
        ]
        shown = [item for item in zip(cells, self.columns, widths, strict=True) if item[2]]  # type: ignore[call-overload]
        for index, ((text, role), column, room) in enumerate(shown):
            gap = " " if index < len(shown) - 1 else ""
            painted = plain if cursor or dimmed or not role else plain + style(role)
            cell = fit(text, room, right=column.right)
            if painted.reverse and not cursor:
                word = cell.rstrip()
                parts.append((word, painted))
                parts.append((cell[len(word) :] + gap, plain))
            else:
                parts.append((cell + gap, painted))
        return Strip(_merged(parts)).adjust_cell_length(width, plain)

    def _head(self, width: int) -> Strip:
        titles = [
            fit(column.title, room, right=column.right)
            for column, room in zip(self.columns, self.widths(), strict=True)
            if room
        ]
        text = fit(" " * GUTTER + " ".join(titles), width)
        return Strip([Segment(text, base(self.rich_style) + style("head"))], width)

    def forget(self) -> None:
        """Paint everything anew."""
        self._painted.clear()
        self._strips.clear()
        self.refresh()

    # --- mouse ------------------------------------------------------------------------------------------------------

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, -3)

    def _wheel(self, event: events.MouseEvent, by: int) -> None:
        event.stop()
        event.prevent_default()
        self.window.scroll(by)
        self.sync()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the row was painted that was clicked; a second click opens."""
        at = self.window.top + event.y - 1
        if event.y == 0 or at >= len(self.window):
            return
        again = self.window.keys[at] == self.window.cursor
        self.window.to(at)
        self.sync()
        if again and event.chain > 1:
            self.post_message(self.Opened())


def _merged(parts: Sequence[tuple[str, Style]]) -> list[Segment]:
    """Segments, neighbours of one style as one."""
    segments: list[Segment] = []
    for text, look in parts:
        if segments and segments[-1].style == look:
            segments[-1] = Segment(segments[-1].text + text, look)
        elif text:
            segments.append(Segment(text, look))
    return segments


def widths(columns: Sequence[Column], width: int) -> tuple[int, ...]:
    """How wide each column is in a table of so many columns of the terminal; 0: not shown."""
    shown = list(columns)
    while (room := _room(shown, width)) < 0 and any(column.spare for column in shown):
        shown.remove(max(shown, key=lambda column: column.spare))
    return tuple(
        0 if column not in shown else max(0, column.width + room) if column.flex else column.width for column in columns
    )


def _room(columns: Sequence[Column], width: int) -> int:
    """What is left over when each has its width; below zero: what is missing."""
    return width - GUTTER - sum(column.width for column in columns) - max(0, len(columns) - 1)
