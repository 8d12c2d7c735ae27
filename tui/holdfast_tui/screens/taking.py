"""What can be taken from a list: marks for what is done to many, copies, and files of all that match."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from textual.worker import Worker

from holdfast.errors import HoldfastError
from holdfast_tui import writing
from holdfast_tui.format import clean, plural
from holdfast_tui.router import Mode
from holdfast_tui.screens.arranged import Arranged
from holdfast_tui.screens.filing import Filing

MOST_MARKED = 10_000
"""So many rows are marked at once at most."""

COPIES = (("i", "id"), ("j", "JSON"), ("r", "row"), ("c", "command"))


class Taking(Filing, Arranged):
    """A screen whose rows can be marked, copied and written."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._taker: Worker[None] | None = None
        """What marks or copies just now."""

    # --- for each screen to say ---------------------------------------------------------------------------------------

    async def pages(self) -> AsyncIterator[Sequence[Any]]:
        yield [self.loaded[key] for key in self.window.keys]

    async def rows(self, keys: Sequence[Any]) -> Sequence[Any]:
        """The rows of some keys, as far as they are there. Raises: HoldfastError."""
        return [self.loaded[key] for key in keys if key in self.loaded]

    def key(self, row: Any) -> Any:
        """A row's id."""
        raise NotImplementedError

    def shell(self, key: Any) -> str:
        """The command that shows a row in a shell."""
        raise NotImplementedError

    # --- marks --------------------------------------------------------------------------------------------------------

    def do_range(self) -> None:
        """Mark from the last mark to the cursor."""
        new = self.window.mark_range()
        self.say(f"{plural(new, self.noun)} more marked" if new else "nothing more to mark: v marks from the last mark")

    def do_mark_all(self) -> None:
        """Mark all that match the filter, also what is not loaded."""
        self._take(self._mark_all())

    async def _mark_all(self) -> None:
        filter, found, more = self.filter, dict[Any, None](), False
        async for page in self.pages():
            if self.filter != filter:
                return
            room = MOST_MARKED - len(found)
            found |= dict.fromkeys(map(self.key, page[:room]))
            more = len(page) > room
            if more:
                break
            self.say(f"marking: {len(found):,} so far")
            self.paint()
        self.window.marks |= found
        self.marked_matching(found)
        limit = f", the first {MOST_MARKED:,}: more match" if more else ": all that match" if found else ""
        self.say(f"{plural(len(found), self.noun)} marked{limit}", "warn" if more else "")

    def marked_matching(self, keys: Mapping[Any, None]) -> None:
        """These were marked because they match the filter."""

    # --- copies -------------------------------------------------------------------------------------------------------

    def do_copy(self) -> None:
        """Let a letter choose what of the marked rows, or of the one under the cursor, is copied."""
        keys = self.window.chosen()
        if not keys:
            self.say("nothing to copy", "warn")
            return
        which = f"{len(keys):,} {self.noun}s" if len(keys) > 1 else clean(str(keys[0]))
        self.pick(f"copy of {which}", COPIES, lambda letter: self._take(self._copy(letter, keys)))

    async def _copy(self, letter: str, keys: Sequence[Any]) -> None:
        match letter:
            case "i":
                lines = [str(key) for key in keys]
            case "c":
                lines = [self.shell(key) for key in keys]
            case "j":
                rows = await self.rows(keys)
                lines = [msgspec.json.encode(writing.plain(row)).decode() for row in rows]
            case _:
                shown = self.table.places()
                lines = [self._line(key, [place.at for place in shown]) for key in keys if key in self.loaded]
        left = f"; {len(keys) - len(lines):,} are not loaded" if len(lines) < len(keys) else ""
        self.say(self.desk.copy("\n".join(lines)) + left)

    def _line(self, key: Any, shown: Sequence[int]) -> str:
        """A row as it is shown, parted by tabs."""
        wide = [1000] * len(self.table.columns)
        cells = self.cells(key, wide)
        return "\t".join(clean(cells[index][0]).strip() for index in shown)

    def _take(self, work: Any) -> None:
        """Do what needs answers; what is asked for later takes its place."""
        if self._taker is not None:
            self._taker.cancel()
        self._taker = self.run_worker(self._taken(work), group="take", exit_on_error=True)

    @property
    def undisturbed(self) -> bool:
        """Whether nothing else was begun while an answer was awaited: only then may a question follow from it."""
        return self.state.mode is Mode.NORMAL and self.is_current

    async def _taken(self, work: Any) -> None:
        try:
            await work
        except HoldfastError as error:
            self.say(str(error), "fail")
        self.paint()
