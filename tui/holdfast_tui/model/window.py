"""Where the operator looks: cursor, marks and first line over rows that come, go and change places.

The cursor and the marks are ids. Whatever happens to the rows, the cursor stays on its id and that on its screen line;
where the id is gone, on the next one that is left. Rows and order belong to `Listing`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Generic, TypeVar

from holdfast_tui.model.sorting import ordered

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class Follow(Enum):
    """Which end the cursor keeps to."""

    OFF = "off"
    FIRST = "first"
    LAST = "last"


class Window(Generic[K]):
    """A view of `height` lines on a sequence of ids."""

    def __init__(self, height: int = 1, *, follow: Follow = Follow.OFF) -> None:
        self.keys: Sequence[K] = ()
        self.height = height
        self.top = 0
        """Index of the row in the first line."""
        self.cursor: K | None = None
        self.marks: dict[K, None] = {}
        """In the order in which they were set; they may be hidden by a filter."""
        self.lost = 0
        """How many marks were dropped because what they marked is gone, since somebody asked (`take_lost`)."""
        self._marked: K | None = None
        """Where the last mark was set: ranges begin there."""
        self.follow = follow
        self._places: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def position(self) -> int:
        """The cursor's index; 0 where there are no rows."""
        return 0 if self.cursor is None else self._place(self.cursor) or 0

    def _place(self, key: K) -> int | None:
        if isinstance(self.keys, range):
            return self.keys.index(key) if key in self.keys else None  # type: ignore[arg-type]
        return self._places.get(key)

    def sync(self, keys: Sequence[K], alive: Collection[K] | None = None) -> None:
        """Look at these ids now, in this order.

        Args:
            alive: all that exist, also such as a filter hides: marks of others are dropped. None: not known.
        """
        old, at = self.keys, self.position
        line = at - self.top
        self.keys = keys
        self._places = {} if isinstance(keys, range) else {key: index for index, key in enumerate(keys)}
        if alive is not None:
            self.drop([key for key in self.marks if key not in alive])
        self.cursor = self._anchor(old, at)
        self.top = self.position - line
        self._clamp()

    def _anchor(self, old: Sequence[K], at: int) -> K | None:
        if not self.keys:
            return None
        if self.follow is not Follow.OFF:
            return self.keys[0 if self.follow is Follow.FIRST else -1]
        if self.cursor is None:
            return self.keys[0]
        neighbours = (old[index] for index in (*range(at, len(old)), *range(at - 1, -1, -1)))
        return next((key for key in neighbours if self._place(key) is not None), self.keys[0])

    def resize(self, height: int) -> None:
        self.height = max(1, height)
        self._clamp()

    def _clamp(self) -> None:
        """Keep the cursor's row in view and the view within the rows."""
        at = self.position
        self.top = max(at - self.height + 1, min(at, self.top))
        self.top = max(0, min(len(self.keys) - self.height, self.top))

    def move(self, by: int) -> None:
        self.to(self.position + by)

    def to(self, index: int) -> None:
        """Put the cursor on a row; from a row that is out of view half a page is seen further on."""
        if not self.keys:
            return
        index = max(0, min(len(self.keys) - 1, index))
        self.cursor = self.keys[index]
        half = self.height // 2
        if index >= self.top + self.height:
            self.top = index - half
        elif index < self.top:
            self.top = index - self.height + 1 + half
        self._clamp()

    def go(self, key: K) -> bool:
        """Put the cursor on an id; False where it is not there."""
        place = self._place(key)
        if place is None:
            return False
        self.to(place)
        return True

    def scroll(self, by: int) -> None:
        """Move the view; the cursor is taken along where it would leave it."""
        self.top = max(0, min(len(self.keys) - self.height, self.top + by))
        if self.keys:
            self.cursor = self.keys[max(self.top, min(self.top + self.height - 1, self.position))]

    def shown(self) -> Sequence[K]:
        return self.keys[self.top : self.top + self.height]

    def mark(self) -> None:
        """Mark what the cursor is on, or unmark it."""
        if self.cursor is None:
            return
        if self.cursor in self.marks:
            del self.marks[self.cursor]
        else:
            self.marks[self.cursor] = None
        self._marked = self.cursor

    def mark_range(self) -> int:
        """Mark from where the last mark was set to the cursor, both too; returns how many were not marked before.

        Where that row is not shown any more, it is the cursor's alone.
        """
        if self.cursor is None:
            return 0
        at = self.position
        begin = None if self._marked is None else self._place(self._marked)
        first, last = sorted((at, at if begin is None else begin))
        before = len(self.marks)
        self.marks |= dict.fromkeys(self.keys[first : last + 1])
        self._marked = self.cursor
        return len(self.marks) - before

    def drop(self, keys: Iterable[K]) -> None:
        """Take the marks of what is gone."""
        for key in keys:
            if key in self.marks:
                del self.marks[key]
                self.lost += 1

    def take_lost(self) -> int:
        """How many marks were dropped since this was asked last."""
        lost, self.lost = self.lost, 0
        return lost

    def unmark(self, keys: Iterable[K] | None = None) -> None:
        for key in list(self.marks if keys is None else keys):
            self.marks.pop(key, None)

    def chosen(self) -> list[K]:
        """What an action hits: the marks, or else what the cursor is on."""
        if self.marks:
            return list(self.marks)
        return [] if self.cursor is None else [self.cursor]

    def hidden(self) -> int:
        """How many marks are not among the rows."""
        return sum(self._place(key) is None for key in self.marks)


class Listing(Generic[R]):
    """The rows of a list, read again and again: values move at once, rows only when nobody is at the keys."""

    def __init__(self, key: Callable[[R], str], order: Callable[[R], Any]) -> None:
        self._key = key
        self._order = order
        self._value: Callable[[R], Any] | None = None
        self._down = False
        self.rows: dict[str, R] = {}
        """In the order shown."""
        self.waiting = 0
        """Rows that have come and are not shown yet."""

    def take(self, rows: Iterable[R], *, hold: bool = False, gone: Collection[str] | None = None) -> None:
        """Take in what was read.

        Args:
            hold: keep rows and order; only values change.
            gone: ids to leave out; None: all that were not read.
        """
        read = {self._key(row): row for row in rows}
        if hold and self.rows:
            self.waiting = sum(key not in self.rows for key in read)
            for key in self.rows.keys() & read.keys():
                self.rows[key] = read[key]
            return
        self.waiting = 0
        kept = {} if gone is None else {key: row for key, row in self.rows.items() if key not in gone}
        self._arrange(kept | read)

    def sort(self, value: Callable[[R], Any] | None, *, down: bool = False) -> None:
        """Order by a value from now on, equal ones in the list's own order; None: by that alone."""
        self._value, self._down = value, down
        self._arrange(self.rows)

    def _arrange(self, rows: Mapping[str, R]) -> None:
        found = sorted(rows.values(), key=self._order)
        if self._value is not None:
            found = ordered(found, self._value, down=self._down)
        self.rows = {self._key(row): row for row in found}

    def put(self, row: R) -> None:
        """Change the values of one row that is there."""
        if (key := self._key(row)) in self.rows:
            self.rows[key] = row
