"""A virtual table: it asks for the rows in view, and repaints the lines that differ from what was painted last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from holdfast_tui.format import Cell, fit, wrap
from holdfast_tui.model.columns import GUTTER, Column, Layout, Place, out_of_view, places
from holdfast_tui.model.sorting import Sort
from holdfast_tui.model.window import Window
from holdfast_tui.theme import base, style

__all__ = ["Column", "Table"]

_Painted: TypeAlias = tuple[Hashable, ...]

CACHE = 512


class Table(ScrollView, can_focus=False, inherit_bindings=False):
    """Rows of a `Window` under a header line; `sync` after anything has changed."""

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    Table { height: 1fr; width: 1fr; overflow: hidden hidden; background: $background; color: $foreground; }
    """

    class Opened(Message):
        """A row was clicked while the cursor was on it."""

    class Headed(Message):
        """A column's title was clicked."""

        def __init__(self, column: Column) -> None:
            super().__init__()
            self.column = column

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
        self.arrangement = Layout()
        """Which columns are shown, in what order."""
        self.pan = 0
        """How many columns behind the first are out of view at the left."""
        self.sort = Sort("")
        """What the rows are ordered by; the header shows it."""
        self.dimmed = False
        """Whether what is shown is old."""
        self._cells = cells
        self._empty = empty
        self._painted: dict[int, _Painted] = {}
        self._strips: OrderedDict[_Painted, Strip] = OrderedDict()

    def places(self) -> tuple[Place, ...]:
        """Which columns are shown, in order, and how wide."""
        return places(self.columns, self.arrangement, self.size.width, self.pan)

    def widths(self) -> tuple[int, ...]:
        """How wide each declared column is; 0: not shown."""
        return self._widths(self.places())

    def _widths(self, shown: Sequence[Place]) -> tuple[int, ...]:
        found = [0] * len(self.columns)
        for place in shown:
            found[place.at] = place.width
        return tuple(found)

    def pan_by(self, by: int) -> bool:
        """Move the columns behind the first out of view, or back; False where none is out of view that way."""
        if by < 0:
            moved = self.pan > 0
            self.pan = max(0, self.pan + by)
            return moved
        if out_of_view(self.columns, self.arrangement, self.size.width, self.pan) <= self.pan:
            return False
        self.pan += by
        return True

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
        shown = self.places()
        for y in range(self.size.height):
            if self._painted.get(y) != self._line(y, shown):
                self.refresh(Region(0, y, self.size.width, 1))

    def _line(self, y: int, shown: tuple[Place, ...]) -> _Painted:
        """All that the look of a line depends on."""
        if y == 0:
            return ("head", tuple((self.columns[place.at].title, place) for place in shown), self.sort)
        at = self.window.top + y - 1
        if at >= len(self.window):
            said = self._told() if not len(self.window) else ()
            return ("said", said[y - 1] if y - 1 < len(said) else "", self.size.width)
        key = self.window.keys[at]
        cells = self._cells(key, self._widths(shown))
        line = tuple(cells[place.at] for place in shown)
        return ("row", line, key == self.window.cursor, key in self.window.marks, self.dimmed, shown)

    def _told(self) -> Sequence[str]:
        """What is said where there are no rows; what does not fit goes on below, as far in as it began."""
        told: list[str] = []
        for line in self._empty():
            lead = line[: len(line) - len(line.lstrip())]
            told += [lead + piece for piece in wrap(line.lstrip(), max(1, self.size.width - len(lead)))] or [""]
        return told

    def render_line(self, y: int) -> Strip:
        line = self._line(y, self.places())
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
        _, cells, cursor, marked, dimmed, places = line
        plain = base(self.rich_style)
        if dimmed:
            plain += style("dim")
        if cursor:
            plain += style("cursor")
        parts: list[tuple[str, Style]] = [
            (">" if cursor else " ", plain),
            ("*" if marked else " ", plain + style("mark") if marked and not cursor else plain),
        ]
        shown = list(zip(cells, places, strict=True))  # type: ignore[call-overload]
        for number, ((text, role), place) in enumerate(shown):
            gap = " " if number < len(shown) - 1 else ""
            painted = plain if cursor or dimmed or not role else plain + style(role)
            cell = fit(text, place.width, right=self.columns[place.at].right)
            if painted.reverse and not cursor:
                word = cell.rstrip()
                parts.append((word, painted))
                parts.append((cell[len(word) :] + gap, plain))
            else:
                parts.append((cell + gap, painted))
        return Strip(_merged(parts)).adjust_cell_length(width, plain)

    def _head(self, width: int) -> Strip:
        text = fit(" " * GUTTER + "".join(map(self._title, self.places())), width)
        return Strip([Segment(text, base(self.rich_style) + style("head"))], width)

    def _title(self, place: Place) -> str:
        """A column's title with the gap behind it, in which an arrow shows the order."""
        column = self.columns[place.at]
        if not self.sort.column or column.called != self.sort.column:
            return fit(column.title, place.width, right=column.right) + " "
        arrow = "↓" if self.sort.down else "↑"
        if column.right and len(column.title) < place.width:
            return fit(arrow + column.title, place.width, right=True) + " "
        title = fit(column.title, place.width)
        return title.rstrip() + arrow + " " * (len(title) - len(title.rstrip()))

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
        if event.y == 0:
            self._click_title(event.x)
            return
        at = self.window.top + event.y - 1
        if at >= len(self.window):
            return
        again = self.window.keys[at] == self.window.cursor
        self.window.to(at)
        self.sync()
        if again and event.chain > 1:
            self.post_message(self.Opened())

    def _click_title(self, x: int) -> None:
        left = GUTTER
        for place in self.places():
            if left <= x < left + place.width and self.columns[place.at].letter:
                self.post_message(self.Headed(self.columns[place.at]))
            left += place.width + 1


def _merged(parts: Sequence[tuple[str, Style]]) -> list[Segment]:
    """Segments, neighbours of one style as one."""
    segments: list[Segment] = []
    for text, look in parts:
        if segments and segments[-1].style == look:
            segments[-1] = Segment(segments[-1].text + text, look)
        elif text:
            segments.append(Segment(text, look))
    return segments
