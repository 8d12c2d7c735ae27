"""The columns of a list: which are shown, in what order, and how wide each is.

A screen declares its columns once; what can be sorted, hidden, moved, saved and filtered follows from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from holdfast.filters import Field

GUTTER = 2
"""Columns of the terminal for the cursor's `>` and the mark's `*`."""


class Column(NamedTuple):
    """A column of a table."""

    title: str
    width: int
    right: bool = False
    flex: bool = False
    """It takes the room that the others leave, and at least its width."""
    spare: int = 0
    """Where there is no room the column with the highest number goes first; 0: never."""
    name: str = ""
    """What it is called behind `:columns`, and in a sort; empty: its title in lower case."""
    letter: str = ""
    """The key behind `s` that sorts by it; empty: nothing does."""
    value: Callable[[Any], Any] | None = None
    """What a row is ordered by in it, None where it has nothing; not needed where the daemon orders."""
    down: bool = False
    """Whether the first sort by it has the largest first."""
    field: Field | None = None
    """How the filter takes it, behind its name; None: it is no field. Not needed where the daemon filters."""

    @property
    def called(self) -> str:
        return self.name or self.title.lower()


class Place(NamedTuple):
    """Where a column stands."""

    at: int
    """In the declared columns."""
    width: int


class Layout(NamedTuple):
    """What the operator made of the columns."""

    first: tuple[str, ...] = ()
    """Names of those that come first, in this order."""
    hidden: frozenset[str] = frozenset()

    def order(self, columns: Sequence[Column]) -> list[int]:
        """Indices of the columns that may be shown, in order; never none."""
        names = [column.called for column in columns]
        moved = [names.index(name) for name in self.first if name in names]
        rest = [index for index in range(len(columns)) if index not in moved]
        return [index for index in (*moved, *rest) if names[index] not in self.hidden] or [0]

    @property
    def text(self) -> str:
        """As `read` takes it."""
        return ",".join((*self.first, *(f"-{name}" for name in sorted(self.hidden))))


def read(text: str, columns: Sequence[Column], now: Layout, home: Layout = Layout()) -> Layout:  # noqa: B008
    """What `a,b,-c` makes of a layout: a and b come first and are shown, c is hidden.

    Args:
        home: how it was at first, which is `*`.

    Raises:
        ValueError: there is no such column, or none would be left.
    """
    names = [column.called for column in columns]
    given = [name for name in text.replace(",", " ").split() if name]
    if given == ["*"]:
        return home
    for name in given:
        if name.lstrip("-") not in names:
            raise ValueError(f"no column {name.lstrip('-')}: expected names of {' '.join(names)}")
    first = tuple(dict.fromkeys(name for name in given if not name.startswith("-")))
    hidden = frozenset(name[1:] for name in given if name.startswith("-"))
    if twice := hidden & set(first):
        raise ValueError(f"expected {min(twice)} either shown or hidden, found both")
    found = Layout(first or now.first, (now.hidden - set(first)) | hidden)
    if set(names) <= found.hidden:
        raise ValueError("expected at least one column that is shown")
    return found


def places(columns: Sequence[Column], layout: Layout, width: int, pan: int = 0) -> tuple[Place, ...]:
    """Which columns are shown in so many columns of the terminal, in order, and how wide.

    Args:
        pan: how many columns behind the first are out of view at the left.
    """
    order = layout.order(columns)
    shown = [*order[:1], *order[1 + max(0, min(pan, len(order) - 2)) :]]
    while (room := _room([columns[index] for index in shown], width)) < 0 and len(shown) > 1:
        gone = _first_to_go(columns, shown, panned=pan > 0)
        if gone is None:
            break
        shown.remove(gone)
    wide = next((index for index in shown if columns[index].flex), None)
    return tuple(
        Place(index, max(0, columns[index].width + (room if index == wide else 0))) for index in shown
    )  # fmt: skip


def out_of_view(columns: Sequence[Column], layout: Layout, width: int, pan: int = 0) -> int:
    """How many columns that are not hidden find no room."""
    return len(layout.order(columns)) - len(places(columns, layout, width, pan))


def _first_to_go(columns: Sequence[Column], shown: Sequence[int], *, panned: bool) -> int | None:
    """Which column goes where there is no room: the sparest; once panned, the last one."""
    if panned:
        return shown[-1] if len(shown) > 2 else None
    sparest = max(shown, key=lambda index: columns[index].spare)
    return sparest if columns[sparest].spare else None


def _room(columns: Sequence[Column], width: int) -> int:
    """What is left over when each has its width; below zero: what is missing."""
    return width - GUTTER - sum(column.width for column in columns) - max(0, len(columns) - 1)
