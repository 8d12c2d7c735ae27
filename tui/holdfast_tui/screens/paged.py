"""A list that is too long to be loaded: narrowed and ordered by the daemon, read around where the operator looks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from textual.timer import Timer

from holdfast_tui.format import Cell
from holdfast_tui.model.window import Follow
from holdfast_tui.reading import HEAD, End, Page, Query, Reader, Row
from holdfast_tui.screens.listed import Listed

R = TypeVar("R", bound=Row)

DEBOUNCE = 0.06
"""Seconds without a key before the daemon is asked with the new filter."""
CHUNK = 1_000
"""So many rows are asked for at once by their ids, or page by page."""


class Paged(Listed, Generic[R]):
    """A screen of rows that a `Reader` reads. A screen says what is asked, and how the daemon answers."""

    def __init__(self, **options: Any) -> None:
        self.reader = Reader[R](self.ask, self.key)
        self._matching: set[str] = set()
        """Marked rows that are known to match the filter, loaded or not."""
        self._unchecked = False
        """Whether marks are to be looked for: do they match, are they there?"""
        self._debounce: Timer | None = None
        super().__init__(**options)
        self.window.follow = Follow.FIRST

    # --- for each screen to say ---------------------------------------------------------------------------------------

    def asking(self) -> Query:
        """What the daemon is asked: the filter and the order."""
        raise NotImplementedError

    async def ask(self, query: Any) -> Page[R]:
        """Ask for a page. Raises: Lost; HoldfastError."""
        raise NotImplementedError

    def by_keys(self, keys: Sequence[str]) -> Query:
        """The query for rows by their ids, whatever the filter."""
        raise NotImplementedError

    def failures(self) -> Query | None:
        """The query for those of the filter that are failures; None: there can be none."""
        return None

    @property
    def loaded(self) -> Mapping[str, R]:
        return self.reader.segment.rows

    # --- reading ------------------------------------------------------------------------------------------------------

    async def read(self) -> None:
        follows = self.window.follow is Follow.FIRST
        self._unchecked = self._unchecked or bool(self.note[0])  # what was marked before the link was lost
        began = await self.reader.read(self.asking(), self.window, hold=self.held and not follows, follows=follows)
        self.arrange_rows()
        if began is End.LAST:
            self.window.to(len(self.window) - 1)
        elif began is not None and not isinstance(began, End):
            self.window.go(self.key(began))
        if self._unchecked and not self.reader.beginning:
            self._unchecked = False
            await self._check_marks()

    async def _check_marks(self) -> None:
        """Find out which marks match the filter, and drop those of runs that are not there any more."""
        query, filter = self.asking(), self.filter
        unknown = [key for key in self.window.marks if key not in self.loaded]
        for at in range(0, len(unknown), CHUNK):
            chunk = tuple(unknown[at : at + CHUNK])
            there = await self.ask(self.by_keys(chunk))
            self.gone(set(chunk) - {self.key(row) for row in there.rows})
            wanted = tuple(key for key in chunk if not query.keys or key in query.keys)
            found = await self.ask(msgspec.structs.replace(query, keys=wanted, limit=CHUNK)) if wanted else None
            if self.filter != filter:
                return
            self._matching |= {self.key(row) for row in found.rows} if found is not None else set()

    async def pages(self) -> AsyncIterator[Sequence[R]]:
        query, last = self.asking(), None
        while True:
            page = await self.reader.page(query, limit=CHUNK, behind=last)
            yield page.rows
            if not page.more or not page.rows:
                return
            last = page.rows[-1]

    async def rows(self, keys: Sequence[str]) -> Sequence[R]:
        found: dict[str, R] = {}
        for at in range(0, len(keys), CHUNK):
            page = await self.ask(self.by_keys(keys[at : at + CHUNK]))
            found |= {self.key(row): row for row in page.rows}
        return [found[key] for key in keys if key in found]

    def arrange_rows(self) -> None:
        self.window.sync(list(self.loaded))
        if not self.reader.beginning:
            self._matching |= self.window.marks.keys() & self.loaded.keys()

    def marked_matching(self, keys: Mapping[str, None]) -> None:
        self._matching |= keys.keys()

    def hidden(self) -> int:
        """How many marks the filter hides."""
        return len(self.window.marks.keys() - self._matching)

    def narrowed(self) -> None:
        """Ask 60 ms after the last key; what is on its way already is dropped when it comes."""
        self.reader.anew()
        self._matching.clear()
        self._unchecked = True
        if self._debounce is not None:
            self._debounce.stop()
        self._debounce = self.set_timer(DEBOUNCE, self._anew)

    def _anew(self) -> None:
        """Read a new list; the cursor stays on its run where that is in it."""
        self.window.follow = Follow.FIRST if self.window.position == 0 else Follow.OFF
        self.refresh_data()

    def ordered(self) -> None:
        self._from(End.TOP)

    def _from(self, where: End | R) -> None:
        """Read anew from somewhere."""
        self.reader.anew(where)
        self.window.follow = Follow.FIRST if where is End.TOP else Follow.OFF
        self.refresh_data()

    # --- moving -------------------------------------------------------------------------------------------------------

    def moved(self, move: Callable[[], None]) -> None:
        move()
        segment, at = self.reader.segment, self.window.position
        if at:
            self.window.follow = Follow.OFF
        reach = 2 * self.window.height
        if (segment.below and at > len(self.window) - reach) or (segment.above and at < reach):
            self.refresh_data()

    def do_first(self) -> None:
        """The first; from here on new ones come in at the top."""
        self.window.to(0)
        if self.reader.segment.above or self.reader.segment.waiting:
            self._from(End.TOP)
        else:
            self.window.follow = Follow.FIRST
            self.refresh_data()

    def do_last(self) -> None:
        """The very last, however many there are."""
        if self.reader.segment.below:
            self._from(End.LAST)
        else:
            super().do_last()

    def do_follow(self) -> None:
        if self.window.follow is Follow.FIRST:
            self.window.follow = Follow.OFF
            self.say("frozen: new runs wait above; f or g follows again")
        else:
            self.do_first()

    def do_again(self) -> None:
        self._unchecked = True
        super().do_again()

    def seek_failure(self, step: int) -> None:
        row = self.loaded.get(self.window.cursor or "")
        more = self.reader.segment.below if step > 0 else self.reader.segment.above
        if row is None or self.to_failure(step):
            return
        if more:
            self._take(self._seek_failure(row, step))
        else:
            super().seek_failure(step)

    async def _seek_failure(self, row: R, step: int) -> None:
        """Ask for the next failure beyond what is loaded, and read around it."""
        query = self.failures()
        found: Sequence[R] = ()
        if query is not None:
            ask = self.reader.before(query, row, limit=1) if step < 0 else self.reader.page(query, limit=1, behind=row)
            found = (await ask).rows
        if found:
            self._from(found[0])
        else:
            self.say(f"no failure {'below' if step > 0 else 'above'}")

    # --- what is shown ------------------------------------------------------------------------------------------------

    def told_new(self) -> list[Cell]:
        """What is new above, or that it comes in by itself."""
        waiting = self.reader.segment.waiting
        if self.window.follow is Follow.FIRST:
            return [("FOLLOW  ", "title")]
        if waiting:
            return [(f"{'many' if waiting >= HEAD else waiting} new above (g)  ", "title")]
        return []
