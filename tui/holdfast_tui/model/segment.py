"""A stretch of a list that is too long to be loaded: neighbours in the daemon's order, a bounded number of them.

It grows at either end page by page, and drops at the other end what goes beyond its bound. What is read again is
spliced in: rows that should have been there and were not are gone, others are new between their neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

R = TypeVar("R")

MOST = 2_000
"""So many rows are loaded at most."""


class Segment(Generic[R]):
    """Rows by their ids, in order."""

    def __init__(self, key: Callable[[R], str], *, most: int = MOST) -> None:
        self._key = key
        self._most = most
        self.rows: dict[str, R] = {}
        """In the order shown."""
        self.above = False
        """Whether there are rows before the first."""
        self.below = False
        """Whether there are rows behind the last."""
        self.first: int | None = 0
        """How many rows there are before the first; None: not known."""
        self.waiting = 0
        """Rows that have come at the top and are not shown yet."""

    def begin(self, rows: Sequence[R], *, above: bool, below: bool, first: int | None = None) -> None:
        """Be these rows, and nothing else."""
        self.rows = {self._key(row): row for row in rows}
        self.above, self.below, self.waiting = above, below, 0
        self.first = first if above else 0

    def append(self, rows: Iterable[R], *, more: bool) -> None:
        """Add the page behind the last row; what goes beyond the bound is dropped at the top."""
        self.rows |= {self._key(row): row for row in rows}
        self.below = more
        over = len(self.rows) - self._most
        if over > 0:
            self.rows = dict(list(self.rows.items())[over:])
            self.above = True
            self.first = None if self.first is None else self.first + over

    def prepend(self, rows: Sequence[R], *, more: bool) -> None:
        """Add the page before the first row, in the order shown; what goes beyond the bound is dropped at the end."""
        new = {self._key(row): row for row in rows}
        size = len(self.rows.keys() | new.keys()) - len(self.rows)
        self.rows = new | {key: row for key, row in self.rows.items() if key not in new}
        self.above = more
        self.first = 0 if not more else None if self.first is None else max(0, self.first - size)
        self._cut_end()

    def _cut_end(self) -> None:
        if len(self.rows) > self._most:
            self.rows = dict(list(self.rows.items())[: self._most])
            self.below = True

    def splice(self, after: str | None, rows: Sequence[R], *, more: bool, hold: bool = False) -> bool:
        """Take a page that was read again; False where nothing joins it to what is loaded, and nothing is changed.

        Args:
            after: the row that it begins behind; None: the top of the list.
            more: whether there are rows behind the page.
            hold: keep rows and order; only values change, and what is new at the top is counted.
        """
        read = {self._key(row): row for row in rows}
        keys = list(self.rows)
        begin = 0 if after is None else keys.index(after) + 1
        joined = [index for index in range(begin, len(keys)) if keys[index] in read]
        if hold and keys:
            self.waiting = sum(key not in self.rows for key in read) if after is None else self.waiting
            for index in joined:
                self.rows[keys[index]] = read[keys[index]]
            return True
        if not joined and more and keys[begin:]:
            return False
        end = joined[-1] + 1 if joined and more else len(keys)
        head = {key: self.rows[key] for key in keys[:begin] if key not in read}
        tail = {key: self.rows[key] for key in keys[end:] if key not in read}
        self.rows = head | read | tail
        if not more or end == len(keys):
            self.below = more
        self.waiting = 0 if after is None else self.waiting
        self._cut_end()
        return True

    def put(self, row: R) -> None:
        """Change the values of one row that is there."""
        if (key := self._key(row)) in self.rows:
            self.rows[key] = row
