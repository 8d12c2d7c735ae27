"""Screen 4: dead letters, for triage: read the error, retry what can succeed, drop what cannot."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast.wire import api
from holdfast_tui import filter, keys
from holdfast_tui.format import Cell, age, clean, date, error_name, lines, plural, short, value
from holdfast_tui.model import frames
from holdfast_tui.model.window import Listing
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.page import Page, marked, told
from holdfast_tui.widgets.table import Column

HEAD = 200
PAGES = ("error", "payload", "about")
NEWEST_ID = "~"
"""Behind every run's id: a page `before` it begins with the letters of that very instant."""


class Dead(Page):
    kind = keys.DEAD
    columns = (
        Column("AGE", 4, right=True),
        Column("ID", 8),
        Column("TASK", 14),
        Column("QUEUE", 9, spare=2),
        Column("TRY", 3, right=True, spare=1),
        Column("ERROR", 20, flex=True),
    )

    def __init__(self, *, filter: str = "") -> None:
        self.listing = Listing[api.Letter](lambda letter: letter.run, lambda letter: (-letter.last_at, letter.run))
        self.total = 0
        self.more = False
        self.answered = False
        self.page = 0
        self._generation = 0
        super().__init__(filter=filter)

    def asking(self) -> api.LettersQuery:
        """What of the filter the daemon can decide; words are matched here."""
        given = filter.read(self.filter)
        return api.LettersQuery(tasks=given.tasks, queue=given.queue, limit=HEAD)

    async def read(self) -> None:
        generation, query = self._generation, self.asking()
        head = await self.desk.gateway.letters(query)
        if generation != self._generation:
            return
        if not self.answered or not head.more:
            self.more = head.more
        self.answered, self.total = True, head.total
        read = {letter.run for letter in head.letters}
        oldest = head.letters[-1].last_at if head.more and head.letters else 0.0
        gone = {run for run, letter in self.listing.rows.items() if run not in read and letter.last_at > oldest}
        self.listing.take(head.letters, hold=self.held, gone=gone)
        if self.more and self.window.top + 2 * self.window.height > len(self.window):
            last = list(self.listing.rows.values())[-1]
            page = await self.desk.gateway.letters(msgspec.structs.replace(query, before=(last.last_at, last.run)))
            if generation == self._generation:
                self.listing.take(page.letters, gone=())
                self.more = page.more

    def arrange_rows(self) -> None:
        given = filter.read(self.filter)
        shown = [run for run, letter in self.listing.rows.items() if given.matches(*_texts(letter))]
        self.window.sync(shown)

    def narrowed(self) -> None:
        self._generation += 1
        self.arrange_rows()
        self.refresh_data()

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        letter = self.listing.rows[key]
        error = letter.error
        return (
            (age(self.as_of - letter.last_at), ""),
            (short(letter.run), ""),
            (letter.task, ""),
            (letter.queue, ""),
            (str(letter.attempts), ""),
            (f"{error_name(error.type)}: {lines(error.message)[0]}" if error.type else letter.reason, ""),
        )

    def empty(self) -> Sequence[str]:
        if not self.answered:
            return ["", "  Waiting for the first answer ..."]
        if self.filter:
            return ["", f"  0 of {len(self.listing.rows):,} loaded letters match; esc clears the filter"]
        return [
            "",
            "  No dead letters.",
            "",
            "  A run whose attempts are used up comes here, to be retried or dropped.",
        ]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        loaded, shown = len(self.listing.rows), len(self.window)
        parts: list[Cell] = []
        if shown != loaded:
            parts.append((f"{shown:,} of {loaded:,}", ""))
        elif loaded < self.total:
            parts.append((f"{loaded:,} loaded of", ""))
        parts.append((plural(self.total, "dead letter"), ""))
        if self.listing.waiting:
            parts.append((f"{self.listing.waiting} new", "title"))
        return told(self.filter, parts) + marked(self.window), [("newest first", "")]

    def detail(self) -> tuple[str, list[Cell]]:
        letter = self.listing.rows.get(self.window.cursor or "")
        if letter is None:
            return "", []
        page = PAGES[self.page]
        title = " ".join(f"[{name}]" if name == page else name for name in PAGES) + f" ─ {short(letter.run)}"
        match page:
            case "error":
                return title, frames.told(letter.error)
            case "payload":
                return title, [(line, "") for line in lines(value(letter.payload))]
        kept = f"behind {letter.last_key}" if letter.last_key else "from the start: no checkpoint"
        return title, [
            (f"{clean(letter.task)}   queue {clean(letter.queue)}", ""),
            (f"{plural(letter.attempts, 'attempt')}: {letter.reason}", ""),
            (f"created {date(letter.first_at)}", ""),
            (f"died    {date(letter.last_at)}", ""),
            ("", ""),
            (f"R goes on {kept}", ""),
            ("", ""),
            (letter.run, "dim"),
        ]

    # --- what keys do -------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        self.page = (self.page + 1) % len(PAGES)

    def do_open(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_run(self.window.cursor)

    def do_output(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_logs(self.window.cursor)

    def do_retry(self) -> None:
        self._propose(Verb.RETRY, "dead run")

    def do_drop(self) -> None:
        self._propose(Verb.DROP, "dead letter")

    def _propose(self, verb: Verb, what: str) -> None:
        hidden = self.window.hidden() if self.window.marks else 0
        self.propose(Plan(verb=verb, targets=tuple(self.window.chosen()), hidden=hidden, what=what))

    def do_drain(self) -> None:
        """Retry all that match now; letters that come later, also those of this drain that die again, are left."""
        given = filter.read(self.filter)
        query = msgspec.structs.replace(self.asking(), before=(self.now, NEWEST_ID))
        total = len(self.window) if given.words else self.total
        more = bool(given.words) and self.more
        self.propose(Plan(verb=Verb.DRAIN, query=query, filter=given, total=total, more=more))


def _texts(letter: api.Letter) -> tuple[str, ...]:
    return letter.run, letter.task, letter.queue, letter.error.type, letter.error.message
