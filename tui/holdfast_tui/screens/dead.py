"""Screen 4: dead letters, for triage: read the error, mend what can be mended, retry it, drop the rest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from textual.app import ComposeResult
from textual.containers import Container
from textual.timer import Timer

from holdfast.core.model import Instant, Seconds
from holdfast.errors import HoldfastError
from holdfast.wire import api
from holdfast.wire.api import RunsOrder
from holdfast_tui import keys
from holdfast_tui.filter import LETTERS, Grammar, letters_query
from holdfast_tui.format import Cell, age, clean, clipped, clock, error_name, plural, short
from holdfast_tui.model import letter as letters
from holdfast_tui.model.autopsy import Autopsy, autopsy
from holdfast_tui.model.columns import Layout
from holdfast_tui.model.letter import PAGES
from holdfast_tui.model.sorting import Sort
from holdfast_tui.reading import Page
from holdfast_tui.screens import triage
from holdfast_tui.screens.mending import Mending
from holdfast_tui.screens.page import marked, told
from holdfast_tui.widgets.pane import Pane
from holdfast_tui.widgets.table import Column

NEWEST = Sort("age", True)
ORDERS: Mapping[str, RunsOrder] = MappingProxyType(
    {"age": RunsOrder.ENDED, "created": RunsOrder.CREATED, "try": RunsOrder.ATTEMPTS}
)
"""By column: what the daemon orders by."""

REST = 0.08
"""Seconds that the cursor rests on a letter before its history is read."""
KINDS_EVERY: Seconds = 5.0
"""How old the kinds of errors may be while there are as many letters: to find them takes the daemon a while."""
KNOWN = 100
"""So many letters' histories are kept."""
GROUPS = 4
"""Lines of unique errors below the list, where there is room."""


class Dead(Mending):
    kind = keys.DEAD
    row_type, noun = api.Letter, "dead letter"
    sort = NEWEST
    columns = (
        Column("AGE", 5, right=True, letter="a", down=True),
        Column("ID", 8),
        Column("TASK", 14),
        Column("QUEUE", 9, spare=2),
        Column("TRY", 3, right=True, spare=1, letter="t", down=True),
        Column("CREATED", 8, spare=9, letter="c", down=True),
        Column("TYPE", 16, spare=9),
        Column("REASON", 16, spare=9),
        Column("CHECKPOINT", 12, spare=9),
        Column("ERROR", 20, flex=True),
    )
    layout_at_first = Layout(hidden=frozenset({"created", "type", "reason", "checkpoint"}))

    def __init__(self, *, filter: str = "") -> None:
        self.page = 0
        self.groups = Pane(id="groups")
        self.kinds: api.LetterGroups | str | None = None
        """The kinds of errors of what matches; None: not read yet, a text: why they could not be."""
        self._kinds_of: tuple[str, int] | None = None
        """The filter that they were read for, and of how many letters."""
        self._kinds_at: Instant = 0.0
        self._histories: OrderedDict[str, Autopsy | str] = OrderedDict()
        self._resting: str | None = None
        self._rest: Timer | None = None
        super().__init__(filter=filter)

    @property
    def grammar(self) -> Grammar:
        return LETTERS

    def key(self, row: api.Letter) -> str:
        return row.run

    def body(self) -> ComposeResult:
        with Container(id="list"):
            yield self.table
            yield self.groups
        yield self.pane

    # --- reading ------------------------------------------------------------------------------------------------------

    def asking(self) -> api.LettersQuery:
        sort = self.table.sort
        return letters_query(self.given(), self.now, order=ORDERS[sort.column], descending=sort.down)

    async def ask(self, query: api.LettersQuery) -> Page[api.Letter]:
        page = await self.desk.gateway.letters(query)
        return Page(page.letters, page.total, page.more)

    def by_keys(self, keys: Sequence[str]) -> api.LettersQuery:
        return api.LettersQuery(keys=tuple(keys), limit=len(keys))

    async def read(self) -> None:
        await super().read()
        what = self.filter, self.reader.total
        due = what != self._kinds_of or self.now >= self._kinds_at + KINDS_EVERY
        if due and self.groups.size.height and self.groups.size.width:
            await self._read_kinds(what)

    async def _read_kinds(self, what: tuple[str, int]) -> None:
        """The list is worth showing without them."""
        found: api.LetterGroups | str
        try:
            found = await self.desk.gateway.letter_groups(self.asking())
        except HoldfastError as error:
            found = str(error)
        if what[0] == self.filter:
            self.kinds = found
            self._kinds_of, self._kinds_at = None if isinstance(found, str) else what, self.now

    def failures(self) -> api.LettersQuery | None:
        return self.asking()

    def failed(self, row: api.Letter) -> bool:
        return True

    def paint(self) -> None:
        super().paint()
        if self.is_mounted and self.groups.size.height:
            self.groups.show(*self._told_groups())
            if self.kinds is None and not self._reading:
                self.refresh_data()  # there was no room for them when the list was read
        self._look_closer()

    def _look_closer(self) -> None:
        """Read the history of the letter that the cursor has come to rest on."""
        cursor = self.window.cursor
        if cursor == self._resting or not self.pane.size.width:
            return
        self._resting = cursor
        if self._rest is not None:
            self._rest.stop()
        if cursor is not None and cursor not in self._histories:
            self._rest = self.set_timer(REST, lambda: self._read_history(cursor))

    def _read_history(self, run: str) -> None:
        if self.is_mounted:
            self.begin("history", self._autopsy, run)

    async def _autopsy(self, run: str) -> None:
        found: Autopsy | str
        try:
            found = autopsy(await self.desk.gateway.history(run))
        except HoldfastError as error:
            found = f"its history could not be read: {error}"
            self._resting = None
        self._histories[run] = found
        while len(self._histories) > KNOWN:
            self._histories.popitem(last=False)
        self.paint()

    # --- what is shown ------------------------------------------------------------------------------------------------

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        letter = self.loaded[key]
        return (
            (age(self.as_of - letter.last_at), ""),
            (short(letter.run), ""),
            (letter.task, ""),
            (letter.queue, ""),
            (str(letter.attempts), ""),
            (clock(letter.first_at), ""),
            (error_name(letter.error.type), ""),
            (letter.reason, ""),
            (letter.last_key, ""),
            (letters.said(letter), ""),
        )

    def empty(self) -> Sequence[str]:
        if not self.reader.answered:
            return ["", "  Waiting for the first answer ..."]
        if self.filter:
            esc = "clears the filter" if self.filter != self.home else "goes back"
            return ["", f"  No dead letter matches {clean(self.filter)}; esc {esc}"]
        return [
            "",
            "  No dead letters.",
            "",
            "  A run whose attempts are used up comes here, to be retried or dropped.",
        ]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        parts: list[Cell] = [] if self.filter else [("queue:*", "")]
        parts.append((plural(self.reader.total, "dead letter"), ""))
        left = (
            self.unread() + told(clipped(self.filter, self.size.width - 46), parts) + marked(self.window, self.hidden())
        )
        return left, [*self.told_new(), *self.told_sort()]

    def told_sort(self) -> list[Cell]:
        return [("newest first (s)", "")] if self.table.sort == NEWEST else super().told_sort()

    def about(self) -> tuple[str, list[Cell]]:
        letter = self.loaded.get(self.window.cursor or "")
        if letter is None:
            return "", []
        page = PAGES[self.page]
        return letters.title(letter, page), letters.told(letter, self._histories.get(letter.run), page, self.as_of)

    def _told_groups(self) -> tuple[str, list[Cell]]:
        if self.kinds is None:
            return "unique errors (u)", [("reading them ...", "dim")]
        if isinstance(self.kinds, str):
            return "unique errors (u)", [(clean(self.kinds), "fail")]
        return "unique errors (u)", letters.told_groups(self.kinds.groups, self.kinds.total, GROUPS)

    def shell(self, key: str) -> str:
        return f"holdfast dlq show {key}"

    def value(self, row: api.Letter, column: str) -> Any:
        return row.ordered(ORDERS[column]) if column in ORDERS else None

    # --- what keys do -------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        self.page = (self.page + 1) % len(PAGES)

    def do_open(self) -> None:
        """The run, at the await that failed."""
        if self.window.cursor is not None:
            found = self._histories.get(self.window.cursor)
            at = found.failed if isinstance(found, Autopsy) else ""
            self.desk.open_run(self.window.cursor, at=at)

    def do_output(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_logs(self.window.cursor)

    def do_explain(self) -> None:
        """Everything about the letter under the cursor, over the whole body; and why keys are off."""
        if self.desk.gateway.refusal():
            super().do_explain()
        letter = self.loaded.get(self.window.cursor or "")
        if letter is None:
            self.say("no dead letter to explain", "warn")
        else:
            self._take(self._explain(letter))

    async def _explain(self, letter: api.Letter) -> None:
        if not isinstance(self._histories.get(letter.run), Autopsy):
            await self._autopsy(letter.run)
        found, cells = self._histories.get(letter.run), list[Cell]()
        for page in PAGES:
            lines = letters.told(letter, found, page, self.as_of)
            cells += [(f"─ {page}", "title"), *lines, ("", "")]
        self.show_sheet(letters.title(letter, PAGES[0]), cells)

    def do_unique(self) -> None:
        """The kinds of errors of what matches, each with what can be done to all of it."""
        self.desk.open_groups(self.filter)

    def do_retry(self) -> None:
        chosen = self.window.chosen()
        found = self._histories.get(chosen[0]) if len(chosen) == 1 else None
        note = f"keeps {found.kept} of {plural(found.all, 'step')}" if isinstance(found, Autopsy) else ""
        self.propose(triage.retry(chosen, self._hidden_marks(), note))

    def do_drop(self) -> None:
        self.propose(triage.drop(self.window.chosen(), self._hidden_marks()))

    def _hidden_marks(self) -> int:
        return self.hidden() if self.window.marks else 0

    def do_drain(self) -> None:
        """Retry all that match now; letters that come later, also those of this drain that die again, are left."""
        self._take(triage.ask_about_all(self, self.filter, triage.ask_drain))

    def do_purge_letters(self) -> None:
        self._take(triage.ask_about_all(self, self.filter, triage.ask_purge))
