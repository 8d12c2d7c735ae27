"""The timeline of a run: its tree with bars over time, closer or further off, and the path that it took so long on."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast_tui import keys
from holdfast_tui.format import Cell, clean, took
from holdfast_tui.model.outline import ROOT
from holdfast_tui.model.stretch import drawn
from holdfast_tui.model.timeline import PAN, Path, Reach, axis, critical, summary
from holdfast_tui.screens.running import Running
from holdfast_tui.watch import Watch
from holdfast_tui.widgets.table import Column

LEGEND = "   █ work  · wait  x failed"


class Timeline(Running):
    kind = keys.TIMELINE
    beside = False
    columns = (Column("", 20), Column("", 40, flex=True), Column("TOOK", 7, right=True))

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self.reach = Reach()
        self.shows_path = False
        self.at_first = watch.at
        self._path: tuple[tuple[int, int], Path] | None = None

    def on_mount(self) -> None:
        self.arrange_rows()
        self.window.go(self.at_first)

    @property
    def crumbs(self) -> str:
        return f"{super().crumbs} > timeline"

    # --- lines --------------------------------------------------------------------------------------------------------

    def paint(self) -> None:
        name = 20 if self.size.width < 110 else 32
        room = self.size.width - name - 7 - 4
        begun, total = self.story.span(self.as_of)
        self.reach = self.reach.held(total)
        head = axis(self.reach.scale(begun, total, max(0, room)), begun) if self.story.run is not None else ""
        self.table.columns = (Column("", name), Column(head, 40, flex=True), self.columns[2])
        super().paint()

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        now = self.as_of
        row = self.outline.row(key, now)
        begun, total = self.story.span(now)
        ran = row.took if row.took is not None or row.start is None else now - row.start
        bar = drawn(row.bars, self.reach.scale(begun, total, widths[1]), now)
        role = row.state[1].replace("dead", "fail")
        label = "title" if row.id == ROOT else ""
        if self.shows_path and row.id != ROOT:
            on = row.node is not None and row.node.key in self.path.keys
            role, label = (role or "run", "title") if on else ("dim", "dim")
        elif self.filter and key in self.outline.found(self.filter):
            label = "match"
        about = f" {row.about}" if row.about.startswith("(") else ""
        return (
            (row.guide + row.name + about, label),
            (bar, role),
            (took(ran) + ("" if row.took is not None or row.start is None else "."), ""),
        )

    @property
    def path(self) -> Path:
        """The critical path, worked out once for each change and second."""
        made_of = (self.story.version, int(self.as_of) if not self.story.final else 0)
        if self._path is None or self._path[0] != made_of:
            self._path = made_of, critical(self.outline, self.as_of)
        return self._path[1]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        run = self.story.run
        if run is None:
            return [], []
        left, _ = super().scope()
        _, total = self.story.span(self.as_of)
        path = f"  critical path {took(self.path.length)}" if self.shows_path or self.size.width >= 110 else ""
        told = f"  {left[3][0].strip()}  {self.reach.told(total)}"
        legend = LEGEND if self.size.width >= 110 else ""
        return [*left[:2], (told, ""), (path, "title" if self.shows_path else ""), (legend, "dim")], self.counts()

    def counts(self) -> list[Cell]:
        return [cell for cell in super().counts() if " match " in cell[0]]

    def detail(self) -> tuple[str, list[Cell]]:
        row = self.row()
        if row is None:
            return "", []
        return clean(row.name), summary(self.outline, row, self.as_of)

    # --- what keys do -------------------------------------------------------------------------------------------------

    def do_closer(self) -> None:
        self._zoom(2.0)

    def do_further(self) -> None:
        self._zoom(0.5)

    def _zoom(self, by: float) -> None:
        """Closer or further off, around the middle of the bar under the cursor where that is seen."""
        begun, total = self.story.span(self.as_of)
        row = self.row()
        middle = self.reach.start + self.reach.span(total) / 2
        if row is not None and row.start is not None and row.id != ROOT:
            ran = row.took if row.took is not None else self.as_of - row.start
            middle = row.start - begun + ran / 2
        self.reach = self.reach.zoomed(by, middle, total)

    def do_fit(self) -> None:
        self.reach = Reach()

    def do_pan_left(self) -> None:
        self._pan(-PAN)

    def do_pan_right(self) -> None:
        self._pan(PAN)

    def _pan(self, by: float) -> None:
        if self.reach.zoom == 1.0:
            self.say("the whole run is seen: + zooms in")
        self.reach = self.reach.panned(by, self.story.span(self.as_of)[1])

    def do_critical(self) -> None:
        self.shows_path = not self.shows_path
        path = self.path
        said = f"the path that it took so long on: {took(path.length)} in what is bold" if self.shows_path else ""
        self.say(said)

    def do_timeline(self) -> None:
        self.desk.back()

    def do_open(self) -> None:
        """Back to the tree, at this line."""
        self.desk.back()
