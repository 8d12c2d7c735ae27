"""What a list is ordered by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from holdfast_tui.model.columns import Column

R = TypeVar("R")


class Sort(NamedTuple):
    """An order."""

    column: str
    """Its name; empty: the list's own order."""
    down: bool = False
    """Whether the largest comes first."""

    @property
    def text(self) -> str:
        """As `read` takes it."""
        return f"{self.column} {'down' if self.down else 'up'}" if self.column else ""


def by(column: Column, now: Sort) -> Sort:
    """The order after the column's letter: the same column again turns it round."""
    return Sort(column.called, not now.down if now.column == column.called else column.down)


def read(text: str, columns: Sequence[Column]) -> Sort:
    """An order as it was saved. Raises: ValueError: there is no such column, or nothing sorts by it."""
    name, _, way = text.partition(" ")
    names = [column.called for column in columns if column.letter]
    if not name:
        return Sort("")
    if name not in names or way not in ("", "up", "down"):
        raise ValueError(f"expected an order like {names[0] if names else 'name'} down, found {text}")
    return Sort(name, way == "down")


def ordered(rows: Iterable[R], value: Callable[[R], Any], *, down: bool) -> list[R]:
    """Rows by their value, those without one last either way; equal ones stay in the order that they came in."""
    known: list[R] = []
    unknown: list[R] = []
    for row in rows:
        (unknown if value(row) is None else known).append(row)
    return [*sorted(known, key=value, reverse=down), *unknown]
