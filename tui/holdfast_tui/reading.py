"""Rows of a list that is too long to be loaded, read around where the operator looks: page by page, by keys.

What is loaded is a `Segment`. Each reading asks for the rows at the top where they are loaded, those in view, and the
next page where the view nears an end. An answer that comes after the question has changed is dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from holdfast.wire.api import LettersQuery, RunsOrder, RunsQuery
from holdfast_tui.model.segment import Segment
from holdfast_tui.model.window import Window

HEAD = 100
"""How many rows at the top, and around a row, are read at once."""
PAGE = 200
"""How many are read where the view nears an end."""
SPARSE = frozenset({RunsOrder.STARTED, RunsOrder.ENDED, RunsOrder.TOOK})
"""Orders by what not every row has: those without come last, whichever way it goes."""


class Row(Protocol):
    """A row of the daemon's."""

    def ordered(self, order: RunsOrder) -> float | None:
        """What it is ordered by."""


R = TypeVar("R", bound=Row)


Query: TypeAlias = RunsQuery | LettersQuery


class Page(NamedTuple, Generic[R]):
    """What the daemon answers."""

    rows: Sequence[R]
    total: int
    more: bool


class End(Enum):
    """Where a list begins to be read."""

    TOP = "top"
    LAST = "last"


class Reader(Generic[R]):
    """Reads one list.

    Args:
        ask: asks the daemon for a page. Raises: Lost; HoldfastError.
        key: a row's id.
    """

    def __init__(self, ask: Callable[..., Awaitable[Page[R]]], key: Callable[[R], str]) -> None:
        self._ask = ask
        self._key = key
        self.segment = Segment[R](key)
        self.total = 0
        """How many rows match."""
        self.answered = False
        self._generation = 0
        self._where: End | R | None = End.TOP
        """Where the next reading begins a new segment; None: it goes on with the one that there is."""

    @property
    def beginning(self) -> bool:
        """Whether what is loaded answers an older question."""
        return self._where is not None

    def anew(self, where: End | R = End.TOP) -> None:
        """Begin again, at an end or around a row; what is on its way is dropped when it comes."""
        self._generation += 1
        self._where = where

    async def read(self, query: Query, window: Window[str], *, hold: bool, follows: bool) -> End | R | None:
        """Read what is in view and near it; returns where a new segment began, if one did.

        Args:
            hold: rows keep their places.
            follows: the operator looks at the top, and new rows come in there.
        """
        generation = self._generation
        if self._where is not None:
            return await self._begin(query, self._where, generation)
        if not self.segment.above and not await self._read_top(query, generation, hold=hold, follows=follows):
            return None
        await self._read_view(query, window, generation, hold=hold)
        await self._read_on(query, window, generation)
        return None

    async def page(self, query: Query, *, limit: int, behind: R | None = None) -> Page[R]:
        """One page, behind a row or from the top."""
        asked: Any = query
        if behind is not None:
            asked = asked.behind(behind)
        return await self._ask(msgspec.structs.replace(asked, limit=limit))

    async def before(self, query: Query, row: R | None, *, limit: int) -> Page[R]:
        """The page that ends before a row, or at the end of the list, in the list's order; `more` are before it.

        It is asked for in the order turned round. In a sparse order rows without a value come last that way too, so
        they and the others are asked for apart.
        """
        turned = msgspec.structs.replace(query, descending=not query.descending)
        if query.order not in SPARSE:
            page = await self.page(turned, limit=limit, behind=row)
            return page._replace(rows=page.rows[::-1])
        bare: list[R] = []
        total = 0
        if row is None or row.ordered(query.order) is None:
            id = self._key(row) if row is not None else "" if query.descending else "~"
            asked = msgspec.structs.replace(turned, before=(None, id), limit=limit)
            page = await self._ask(asked)
            if page.more:
                return page._replace(rows=page.rows[::-1])
            bare, total, row = list(page.rows), page.total, None
        if limit == len(bare):
            return Page(bare[::-1], total, True)
        page = await self.page(turned, limit=limit - len(bare), behind=row)
        valued = [each for each in page.rows if each.ordered(query.order) is not None]
        return Page((*valued[::-1], *bare[::-1]), page.total, page.more and len(valued) == len(page.rows))

    async def _begin(self, query: Query, where: End | R, generation: int) -> End | R | None:
        first: int | None
        match where:
            case End.TOP:
                page = await self.page(query, limit=HEAD)
                rows, above, below, first = list(page.rows), False, page.more, 0
            case End.LAST:
                page = await self.before(query, None, limit=HEAD)
                rows, above, below = list(page.rows), page.more, False
                first = page.total - len(rows)
            case _:
                back = await self.before(query, where, limit=HEAD // 2)
                page = await self.page(query, limit=HEAD, behind=where)
                rows, above, below, first = [*back.rows, where, *page.rows], back.more, page.more, None
        if generation != self._generation:
            return None
        self._where = None
        self.answered, self.total = True, page.total
        self.segment.begin(rows, above=above, below=below, first=first)
        return where

    async def _read_top(self, query: Query, generation: int, *, hold: bool, follows: bool) -> bool:
        """Whether it is still the same question."""
        page = await self.page(query, limit=HEAD)
        if generation != self._generation:
            return False
        self.total = page.total
        if not self.segment.splice(None, page.rows, more=page.more, hold=hold):
            if follows:
                self.segment.begin(page.rows, above=False, below=page.more)
            else:
                self.segment.waiting = HEAD
        return True

    async def _read_view(self, query: Query, window: Window[str], generation: int, *, hold: bool) -> None:
        """Read again what is in view and was not read at the top."""
        if not self.segment.above and window.top + window.height <= HEAD:
            return
        rows = list(self.segment.rows.values())
        at = min(window.top, len(rows)) - 1
        if at < 0 or self._where is not None:
            return
        last = rows[at]
        page = await self.page(query, limit=window.height + 2, behind=last)
        if generation == self._generation and self._key(last) in self.segment.rows:
            self.total = page.total
            self.segment.splice(self._key(last), page.rows, more=page.more, hold=hold)

    async def _read_on(self, query: Query, window: Window[str], generation: int) -> None:
        """Read the next page where the view nears an end of what is loaded."""
        rows = list(self.segment.rows.values())
        if not rows:
            return
        if self.segment.below and window.top + 2 * window.height > len(rows):
            page = await self.page(query, limit=PAGE, behind=rows[-1])
            if generation == self._generation:
                self.segment.append(page.rows, more=page.more)
        elif self.segment.above and window.top < window.height:
            page = await self.before(query, rows[0], limit=PAGE)
            if generation == self._generation:
                self.segment.prepend(page.rows, more=page.more)
