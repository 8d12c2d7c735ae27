"""The history of a run: every entry of its journal in order, what it says, and what it did to the state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast_tui import keys
from holdfast_tui.format import Cell, clean, clock, plural
from holdfast_tui.model import journal
from holdfast_tui.model.outline import ROOT
from holdfast_tui.model.run import Told
from holdfast_tui.model.sight import Sight
from holdfast_tui.screens.running import Running
from holdfast_tui.watch import Watch
from holdfast_tui.widgets.table import Column

BAD = frozenset({"fail", "dead"})


class History(Running):
    kind = keys.HISTORY
    columns = (
        Column("SEQ", 6, right=True, spare=2),
        Column("TIME", 12),
        Column("ENTRY", 17),
        Column("WHAT IT SAYS", 20, flex=True),
        Column("STATE", 15, spare=1),
    )

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._shown: Sequence[int] = ()
        self._shown_of: tuple[int, str] = (-1, "")

    @property
    def crumbs(self) -> str:
        return f"{super().crumbs} > history"

    def on_mount(self) -> None:
        self.arrange_rows()
        self._start()

    def _start(self) -> None:
        """On the last entry about what the cursor was on in the tree."""
        node, _ = self.outline.node(self.watched.at)
        found = [one.number for one in journal.of_key(self.story.told, node.key)] if node is not None else []
        if found:
            self.window.go(found[-1])

    async def read(self) -> None:
        await self.watched.read(self.desk.gateway, self.now, ROOT)

    def arrange_rows(self) -> None:
        made_of = (self.story.version, self.filter)
        if made_of != self._shown_of:
            low = self.filter.lower()
            told = self.story.told
            self._shown = [one.number for one in told if journal.has(one, low)] if low else range(1, len(told) + 1)
            self._shown_of = made_of
            self.window.sync(self._shown)

    def narrowed(self) -> None:
        self.arrange_rows()

    def entry(self, number: int) -> Told:
        """An entry by its number."""
        return self.story.told[number - 1]

    def cells(self, key: int, widths: Sequence[int]) -> Sequence[Cell]:
        told = self.entry(key)
        role = "" if told.counts else "dim"
        return (
            (str(told.seq) if told.seq else "live", role or "dim"),
            (clock(told.at, millis=True), role),
            journal.name(told),
            (journal.said(told.entry), role),
            journal.did(told),
        )

    def counts(self) -> list[Cell]:
        count = f"{len(self.window):,} of " if self.filter else ""
        found: list[Cell] = [(f"{clean(self.filter)}  ", "match")] if self.filter else []
        entries = plural(len(self.story.told), "entry").replace("entrys", "entries")
        return [("  ", ""), *found, (f"{count}{entries}", "")]

    def detail(self) -> tuple[str, list[Cell]]:
        if self.window.cursor is None:
            return "", []
        told = self.entry(self.window.cursor)
        return f"entry {told.number}", journal.whole(told)

    def sight(self) -> Sight | None:
        return None if self.story.run is None else self.watched.sight(self.as_of, ROOT)

    def empty(self) -> list[str]:
        if self.filter and self.story.told:
            return ["", f"  no entry of {len(self.story.told):,} has {clean(self.filter)}: esc clears the filter"]
        return super().empty()

    # --- what keys do -------------------------------------------------------------------------------------------------

    def do_zoom(self) -> None:
        self.zoom(not self.has_class("-zoom"))

    def _failure(self, by: int) -> None:
        at = self.window.position
        keys: Sequence[Any] = self.window.keys
        order = range(at + 1, len(keys)) if by > 0 else range(at - 1, -1, -1)
        found = next((keys[each] for each in order if journal.name(self.entry(keys[each]))[1] in BAD), None)
        if found is None or not self.window.go(found):
            self.say("no failure further down" if by > 0 else "no failure further up")

    def do_copy(self) -> None:
        choices = (("e", "the entry"), ("r", "row"), ("c", "command"))
        self.pick("copy", choices, self._copy)

    def _copy(self, letter: str) -> None:
        if letter == "c":
            self.say(self.desk.copy(f"holdfast runs history {self.story.id}"))
            return
        if self.window.cursor is None:
            return
        told = self.entry(self.window.cursor)
        row = (str(told.seq), clock(told.at, millis=True), *(cell[0] for cell in self.cells(told.number, ())[2:]))
        whole = "\n".join(line for line, _ in journal.whole(told))
        self.say(self.desk.copy(whole if letter == "e" else "\t".join(row)))
