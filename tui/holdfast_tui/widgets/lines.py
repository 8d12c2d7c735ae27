"""A table whose last column is text of any length: cut and panned, or wrapped, with what was looked for underlined.

Only what is in view is ever coloured; what was coloured once is kept, as a line of output never changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.strip import Strip

from holdfast_tui.format import Cell, fit
from holdfast_tui.model.columns import GUTTER, Place
from holdfast_tui.model.window import Window
from holdfast_tui.theme import base, style
from holdfast_tui.widgets.table import CACHE, Column, Table


class Look(NamedTuple):
    """How a line looks."""

    text: tuple[Cell, ...]
    """Its text in pieces, clean; a role may be two, parted by a blank."""
    more: tuple[tuple[Cell, ...], ...] = ()
    """What stands below where lines are wrapped."""
    rest: str = ""
    """What is said of it where they are not."""


class Lines(Table):
    """Lines of output, one under the other."""

    def __init__(
        self,
        window: Window[Any],
        columns: Sequence[Column],
        head: Callable[[Any], tuple[Cell, ...]],
        look: Callable[[Any], Look],
        empty: Callable[[], Sequence[str]],
        **kwargs: Any,
    ) -> None:
        """
        Args:
            head: the cells of a line by its id, but for the last column.
            look: how its text looks; asked once, until `forget` or `recolour`.
        """
        super().__init__(window, columns, lambda key, widths: (), empty, **kwargs)
        self.wrapped = False
        self.shift = 0
        """Columns of the text that are out of view at the left, where lines are not wrapped."""
        self.coloured = 0
        """How many lines were coloured so far."""
        self._head_of = head
        self._look = look
        self._looks: OrderedDict[Hashable, Look] = OrderedDict()
        self._pieces: OrderedDict[Hashable, tuple[tuple[Cell, ...], ...]] = OrderedDict()
        self._layout: list[tuple[Any, int]] = []
        """Of each line of the screen: which line of output, and which piece of it."""

    @property
    def room(self) -> int:
        """Columns for the text."""
        return max(1, self.widths()[-1])

    def recolour(self) -> None:
        """What is looked for is something else now."""
        self._looks.clear()
        self._pieces.clear()

    def shift_by(self, columns: int) -> None:
        """Move the text sideways, no further than the longest that is in view."""
        longest = max((_length(self._looked(key)) for key in self.window.shown()), default=0)
        furthest = max(self.shift if columns > 0 else 0, longest - self.room // 2)
        self.shift = max(0, min(self.shift + columns, furthest))

    def sync(self) -> None:
        self._lay_out()
        self._repaint()

    def _lay_out(self) -> None:
        """Which piece of which line stands where; wrapped lines need more room, so the view begins later for them."""
        window, height = self.window, max(1, self.size.height - 1)
        if not self.wrapped:
            self._layout = [(key, 0) for key in window.shown()[:height]]
            return
        window.top, spare = self._top(height)
        above = window.keys[window.top - 1] if spare else None
        self._layout = [(above, piece) for piece in range(len(self._cut(above)) if spare else 0)][-spare:]
        for index in range(window.top, len(window)):
            key = window.keys[index]
            self._layout += [(key, piece) for piece in range(len(self._cut(key)))]
            if len(self._layout) >= height:
                break
        del self._layout[height:]

    def _top(self, height: int) -> tuple[int, int]:
        """The first line that is whole in view, and how much of the one before is: the cursor's is whole in it, and no
        room is left below the last one."""
        window = self.window
        if not len(window):
            return 0, 0

        def size(index: int) -> int:
            return len(self._cut(window.keys[index]))

        top = at = window.position
        room = height - size(at)
        while top > window.top and size(top - 1) <= room:
            top -= 1
            room -= size(top)
        while room > 0 and at + 1 < len(window):
            at += 1
            room -= size(at)
        while room > 0 and top > 0 and size(top - 1) <= room:
            top -= 1
            room -= size(top)
        return top, max(0, room) if top else 0

    def _looked(self, key: Any) -> Look:
        look = self._looks.get(key)
        if look is None:
            self.coloured += 1
            look = _kept(self._looks, key, self._look(key))
        return look

    def _cut(self, key: Any) -> tuple[tuple[Cell, ...], ...]:
        """The pieces that a line takes when it is wrapped, as many as there is room for."""
        pieces = self._pieces.get((key, self.room))
        if pieces is None:
            look = self._looked(key)
            most = max(1, self.size.height - 1)
            found = [piece for line in (look.text, *look.more) for piece in _wrapped(line, self.room, most)]
            pieces = _kept(self._pieces, (key, self.room), tuple(found[:most]))
        return pieces

    def _line(self, y: int, shown: tuple[Place, ...]) -> tuple[Hashable, ...]:
        if y == 0 or not len(self.window):
            return super()._line(y, shown)
        if y > len(self._layout):
            return ("said", "", self.size.width)
        key, piece = self._layout[y - 1]
        look = self._looked(key)
        head = self._head_of(key) if piece == 0 else ()
        cursor, widths = key == self.window.cursor, self._widths(shown)
        if self.wrapped:
            return ("line", head, self._cut(key)[piece], "", 0, cursor, self.dimmed, widths)
        return ("line", head, look.text, look.rest, self.shift, cursor, self.dimmed, widths)

    def _strip(self, line: tuple[Any, ...]) -> Strip:
        if line[0] != "line":
            return super()._strip(line)
        _, head, text, rest, pan, cursor, dimmed, widths = line
        plain = base(self.rich_style)
        if dimmed:
            plain += style("dim")
        if cursor:
            plain += style("cursor")

        def painted(role: str) -> Style:
            if cursor or dimmed:
                return plain + style("match") if "match" in role.split() else plain
            found = plain
            for one in role.split():
                found += style(one)
            return found

        parts = [Segment((">" if cursor and head else " ") + " " * (GUTTER - 1), plain)]
        cells = [*head, *[("", "")] * (len(widths) - 1 - len(head))]
        for (word, role), column, room in zip(cells, self.columns, widths, strict=False):
            if room:
                cell = fit(word, room, right=column.right)
                shown = cell.rstrip() if painted(role).reverse and not cursor else cell
                parts += [Segment(shown, painted(role)), Segment(cell[len(shown) :] + " ", plain)]
        room = widths[-1]
        body = Strip([Segment(piece, painted(role)) for piece, role in text]).crop(pan, pan + room)
        if rest and (left := room - body.cell_length) < len(rest):
            body = body.crop(0, max(0, room - len(rest))) if left >= 0 else body
        parts += body
        if rest:
            parts.append(Segment(rest[: max(0, room - body.cell_length)], painted("dim")))
        return Strip([part for part in parts if part.text]).adjust_cell_length(self.size.width, plain)

    def forget(self) -> None:
        self.recolour()
        super().forget()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the line that was painted where it was clicked; a second click opens."""
        event.prevent_default()  # the table's own
        if not 0 < event.y <= len(self._layout):
            return
        key = self._layout[event.y - 1][0]
        again = key == self.window.cursor
        self.window.go(key)
        self.sync()
        if again and event.chain > 1:
            self.post_message(self.Opened())


def _kept(cache: OrderedDict[Any, Any], key: Hashable, value: Any) -> Any:
    cache[key] = value
    if len(cache) > CACHE:
        cache.popitem(last=False)
    return value


def _length(look: Look) -> int:
    return sum(cell_len(text) for text, _ in look.text) + len(look.rest)


def _wrapped(cells: tuple[Cell, ...], room: int, most: int) -> list[tuple[Cell, ...]]:
    """A line in pieces of so many columns, at least one."""
    strip = Strip([Segment(text) for text, _ in cells])
    pieces: list[tuple[Cell, ...]] = []
    at = 0
    while at == 0 or (at < strip.cell_length and len(pieces) < most):
        pieces.append(_cropped(cells, at, at + room))
        at += room
    return pieces


def _cropped(cells: tuple[Cell, ...], start: int, end: int) -> tuple[Cell, ...]:
    found: list[Cell] = []
    at = 0
    for text, role in cells:
        size = cell_len(text)
        if at + size > start and at < end:
            piece = Strip([Segment(text)]).crop(max(0, start - at), min(size, end - at))
            found.append((piece.text, role))
        at += size
    return tuple(found)
