"""One run: its tree of checkpoints, growing while the run is open, and what is known of the one under the cursor."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast_tui import keys
from holdfast_tui.format import Cell, clean, offset, short, took
from holdfast_tui.model import pages
from holdfast_tui.model.meta import LETTERS, links
from holdfast_tui.model.outline import ROOT
from holdfast_tui.model.sight import Sight
from holdfast_tui.model.stretch import Scale, drawn
from holdfast_tui.screens.steering import Steering
from holdfast_tui.watch import ASKING, Watch
from holdfast_tui.widgets.table import Column

NAME = 24
"""Characters of a name in the pane's title."""

BARS = Column("", 14, spare=3)
"""When each was under way."""


class RunTree(Steering):
    kind = keys.RUN
    columns = (
        Column("STEP", 20, flex=True),
        Column("STATE", 6),
        Column("TRY", 3, right=True, spare=1),
        Column("AT", 7, right=True, spare=2),
        Column("TOOK", 6, right=True),
        BARS,
    )

    def __init__(self, run: str, *, new: bool = False) -> None:
        """
        Args:
            new: it was made just now.
        """
        super().__init__(Watch(run, new=new))
        self.page = ""
        """The page that the operator has turned to; empty: the one that says most of each line."""
        self._made: dict[tuple[str, str], list[Cell]] = {}
        self._made_of: tuple[object, ...] = ()

    async def on_unmount(self) -> None:
        await self.watched.stop()

    def on_screen_resume(self) -> None:
        """Back from the timeline or the history: the cursor is where it was moved to there."""
        if self.watched.at != self.window.cursor:
            at = self.watched.at
            self.arrange_rows()
            self.window.go(at)

    # --- lines --------------------------------------------------------------------------------------------------------

    def paint(self) -> None:
        self.table.columns = (*self.columns[:-1], BARS._replace(title=self._head()))
        super().paint()

    def _head(self) -> str:
        """Above the bars: `0 --- 3.2s`."""
        if self.story.run is None:
            return ""
        total = took(self.story.span(self.as_of)[1])
        return f"0 {'─' * (BARS.width - len(total) - 3)} {total}"

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        now = self.as_of
        row = self.outline.row(key, now)
        start, total = self.story.span(now)
        ran = row.took if row.took is not None or row.start is None else now - row.start
        about = f"  {row.about}" if row.about and not row.about.startswith("(") else f" {row.about}".rstrip()
        more = f"  ({row.folded} folded)" if row.folded else ""
        found = self.filter and row.node is not None and not row.attempt and key in self.outline.found(self.filter)
        return (
            (row.guide + row.name + about + more, "match" if found else "title" if row.id == ROOT else ""),
            row.state,
            (str(row.tries or ""), ""),
            ("0" if row.id == ROOT else offset(None if row.start is None else row.start - start), ""),
            (took(ran) + ("" if row.took is not None or row.start is None else "."), ""),
            (drawn(row.bars, Scale(start, total, widths[5]), now), row.state[1].replace("dead", "fail") or "dim"),
        )

    # --- pane ---------------------------------------------------------------------------------------------------------

    def detail(self) -> tuple[str, list[Cell]]:
        if (told := self.told()) is not None:
            return told
        sight = self.sight()
        if sight is None:
            return "", []
        shown, page = pages.there(sight), self._page(sight)
        name = clean(sight.row.name)
        name = name if len(name) <= NAME else f"{name[: NAME - 1]}…"
        if self.size.width < 110 or self.has_class("-zoom"):
            names = " | ".join(f"[{each}]" if each == page else each for each in shown)
            return f"{name} ─ {names}  (tab)", self._cells_of(page, sight)
        cells = list(self._cells_of(page, sight))
        for each in [*shown[shown.index(page) + 1 :], *shown[: shown.index(page)]]:
            if each != "history" and (further := pages.PAGES[each](sight)):
                cells += [("", ""), (f"─ {each}", "title"), *further]
        return f"{name} ─ {page} (tab)", cells

    def _page(self, sight: Sight) -> str:
        return self.page if self.page in pages.there(sight) else pages.first(sight)

    def _cells_of(self, page: str, sight: Sight) -> list[Cell]:
        """A page's lines, made once for each line and change."""
        made_of = (self.story.version, self.watched.view, self.watched.why, dict(self.watched.values))
        if made_of != self._made_of or page == "why":
            self._made, self._made_of = {}, made_of
        if (page, sight.row.id) not in self._made:
            self._made[page, sight.row.id] = pages.page(page, sight)
        return self._made[page, sight.row.id]

    def turn(self) -> None:
        sight = self.sight()
        if sight is not None:
            shown = pages.there(sight)
            self.page = shown[(shown.index(self._page(sight)) + 1) % len(shown)]
            self.refresh_data()

    @property
    def explaining(self) -> bool:
        return self.page == "why"

    def do_explain(self) -> None:
        """Ask why it does not go on; the answer is a page of the pane."""
        self.page = "why"
        if self.watched.why is None:
            self.watched.why = ASKING
        self.refresh_data()
        if not self.pane.size.width:
            self.zoom(True)

    def do_zoom(self) -> None:
        """Go where the line or its page leads, else read the pane over the whole screen."""
        sight = self.sight()
        if sight is None or self.has_class("-zoom"):
            self.zoom(False)
            return
        page, found = self._page(sight), links(sight)
        if page == "history":
            self.desk.open_history(self.watched)
        elif page == "meta" and len(found) > 1:
            lettered = dict(zip(LETTERS, found, strict=False))
            choices = tuple((letter, f"{link.label} {short(link.run)}") for letter, link in lettered.items())
            self.pick("open which run?", choices, lambda letter: self.desk.open_run(lettered[letter].run))
        elif page == "meta" and found:
            self.desk.open_run(found[0].run)
        elif sight.row.node is not None and sight.row.node.child and not sight.row.attempt:
            self.desk.open_run(sight.row.node.child)
        else:
            self.zoom(True)

    # --- folds --------------------------------------------------------------------------------------------------------

    def do_fold(self) -> None:
        """Fold the branch; on a line without one go up to its parent."""
        at = self.window.cursor
        if at is None:
            return
        if self.outline.foldable(at) and at not in self.outline.folded:
            self.outline.fold(at)
        else:
            self.window.go(self.outline.parent(at))

    def do_unfold(self) -> None:
        if self.window.cursor is not None:
            self.outline.unfold(self.window.cursor)

    def do_fold_all(self) -> None:
        self.outline.fold_all()

    def do_unfold_all(self) -> None:
        self.outline.unfold_all()

    # --- elsewhere ----------------------------------------------------------------------------------------------------

    def do_timeline(self) -> None:
        self.desk.show_timeline(self.watched)
