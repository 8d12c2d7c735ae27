"""What the screens about one run have in common: how it is read, where the cursor is, finding, copying."""

from __future__ import annotations

from typing import Any

from holdfast_tui.format import PAUSED, STATES, Cell, clean, clock, plural, short, took
from holdfast_tui.model import copies
from holdfast_tui.model.outline import ROOT, NodeRow, Outline
from holdfast_tui.model.run import Story
from holdfast_tui.model.sight import Sight
from holdfast_tui.screens.page import Page
from holdfast_tui.watch import Watch

REPAINT = 0.1
"""Seconds between repaints while live entries come in."""


class Running(Page):
    """A screen about the run of a watch."""

    def __init__(self, watch: Watch) -> None:
        self.watched = watch
        self._painted_at = -1
        super().__init__()

    @property
    def story(self) -> Story:
        return self.watched.story

    @property
    def outline(self) -> Outline:
        return self.watched.outline

    @property
    def crumbs(self) -> str:
        return f"Runs > {short(self.story.id)}"

    def on_mount(self) -> None:
        self.set_interval(REPAINT, self._grow)

    async def on_screen_suspend(self) -> None:
        """While a page about something else is shown nothing is heard; what was missed is read when it is left."""
        shown = next(reversed(self.app.screen_stack), None)
        if isinstance(shown, Page) and not (isinstance(shown, Running) and shown.watched is self.watched):
            await self.watched.stop()

    def _grow(self) -> None:
        """What came in live, at most ten times a second."""
        if self.story.version != self._painted_at and self.is_current:
            self.paint()

    async def read(self) -> None:
        await self.watched.read(self.desk.gateway, self.now, self.window.cursor or ROOT, explain=self.explaining)

    @property
    def explaining(self) -> bool:
        """Whether it is to be asked why the run does not run."""
        return False

    def paint(self) -> None:
        self._painted_at = self.story.version
        super().paint()

    def arrange_rows(self) -> None:
        keys = self.outline.keys
        if keys is not self.window.keys:
            if self.window.cursor is not None and keys:  # a line that was folded away is held by another one
                self._hold(self.window.cursor)
            self.window.sync(keys)
        if self.window.cursor is not None:
            self.watched.at = self.window.cursor

    def _hold(self, cursor: Any) -> None:
        held = self.outline.holding(cursor)
        if held != cursor:
            self.window.go(held)

    def sight(self) -> Sight | None:
        """What the pane is about; None: nothing is read yet."""
        if self.story.run is None or self.window.cursor is None:
            return None
        return self.watched.sight(self.as_of, self.window.cursor)

    def row(self) -> NodeRow | None:
        """The line under the cursor."""
        sight = self.sight()
        return None if sight is None else sight.row

    def empty(self) -> list[str]:
        if self.watched.missing:
            return ["", f"  {clean(self.watched.missing)}", "", "  q goes back; 2 shows all runs"]
        return ["", f"  Reading run {clean(self.story.id)} ..."]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        run = self.story.run
        if run is None:
            return [], []
        word, role = PAUSED if run.paused else STATES[run.state]
        _, total = self.story.span(self.as_of)
        most = f"/{run.retry.max_attempts}" if run.retry is not None else ""
        asked = "  cancel asked" if run.cancel_requested and not run.final else ""
        worker = f"  worker {clean(run.holder.worker)}" if run.holder is not None and self.size.width >= 110 else ""
        left: list[Cell] = [
            (clean(run.task) + "  ", "title"),
            (word, role),
            (f"  {clean(run.queue)}  try {run.attempt}{most}  started {clock(run.started_at, millis=True)}", ""),
            (f"  took {took(total)}" if run.final else f"  for {took(total)}", ""),
            (worker, ""),
            (asked, "warn"),
            (f"  will be {STATES[run.ending][0]}" if run.ending is not None else "", "warn"),
        ]
        return left, self.counts()

    def counts(self) -> list[Cell]:
        """What is found, in row 2 at the right; in a wide terminal also how many lines there are."""
        cells: list[Cell] = []
        if self.filter:
            found = self.outline.matches(self.filter)
            cells.append((f"{len(found):,} match {clean(self.filter)}", "match" if found else "warn"))
        if self.size.width >= 110:
            folded = len(self.outline.folded)
            cells.insert(0, (plural(self.outline.size, "node") + (f", {folded:,} folded" if folded else "") + "  ", ""))
        return cells

    # --- finding ------------------------------------------------------------------------------------------------------

    def narrowed(self) -> None:
        """Go to the first line at the cursor or behind it that has the text."""
        found = self.outline.matches(self.filter)
        at = self.window.cursor or ROOT
        if found and at not in found:
            self._go(self.outline.step(found, at, 1))

    def do_next_match(self) -> None:
        self._match(1)

    def do_previous_match(self) -> None:
        self._match(-1)

    def _match(self, by: int) -> None:
        if not self.filter:
            self.say("nothing to find: / takes a text", "warn")
        elif not self._go(self.outline.step(self.outline.matches(self.filter), self.window.cursor or ROOT, by)):
            self.say(f"no node has {self.filter}", "warn")

    def do_next_failure(self) -> None:
        self._failure(1)

    def do_previous_failure(self) -> None:
        self._failure(-1)

    def _failure(self, by: int) -> None:
        if not self._go(self.outline.step(self.outline.failures(), self.window.cursor or ROOT, by)):
            self.say("no node failed, was lost or was tried again")

    def _go(self, key: str | None) -> bool:
        """Put the cursor on a node, with what it lies below unfolded."""
        if key is None:
            return False
        self.outline.reveal(key)
        self.arrange_rows()
        return self.window.go(key)

    # --- elsewhere ----------------------------------------------------------------------------------------------------

    def do_output(self) -> None:
        self.desk.open_logs(self.story.id)

    def do_copy(self) -> None:
        self.pick("copy", copies.CHOICES, self._copy)

    def _copy(self, letter: str) -> None:
        sight = self.sight()
        text = "" if sight is None else copies.copied(letter, sight)
        self.say(self.desk.copy(text) if text else f"no {dict(copies.CHOICES)[letter]} here", "" if text else "warn")
