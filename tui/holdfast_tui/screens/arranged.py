"""How the rows of a list are narrowed, ordered and laid out, on every screen of rows alike, and kept as a view."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, ClassVar

from holdfast_tui import filter
from holdfast_tui.filter import Filter, Grammar
from holdfast_tui.format import Cell, clean
from holdfast_tui.model import columns, sorting
from holdfast_tui.model.columns import Column, Layout
from holdfast_tui.model.sorting import Sort
from holdfast_tui.model.window import Listing
from holdfast_tui.router import Mode
from holdfast_tui.screens.page import Page
from holdfast_tui.views import View
from holdfast_tui.widgets.table import Table


class Arranged(Page):
    """A screen of rows. What its columns declare can be sorted and filtered; a list that is whole needs no more.

    Where the daemon orders and filters a list, the screen says so in `ordered`, `grammar` and its own reading.
    """

    listing: Listing[Any]
    """The rows, where they are all there."""
    sort: ClassVar[Sort] = Sort("")
    """The order at first."""
    layout_at_first: ClassVar[Layout] = Layout()
    """Which columns are shown at first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.table.sort, self.table.arrangement = self.sort, self.layout_at_first

    # --- for each screen to say ---------------------------------------------------------------------------------------

    @property
    def grammar(self) -> Grammar:
        """The fields of the filter."""
        return {column.called: column.field for column in self.table.columns if column.field is not None}

    def value(self, row: Any, column: str) -> Any:
        """What a row has in a column, for order and filter; None: nothing."""
        found = next((each.value for each in self.table.columns if each.called == column), None)
        return None if found is None else found(row)

    def ordered(self) -> None:
        """The order is `self.table.sort` now."""
        sort = self.table.sort
        value = partial(self._valued, sort.column) if sort.column else None
        self.listing.sort(value, down=sort.down)
        self.arrange_rows()

    def _valued(self, column: str, row: Any) -> Any:
        return self.value(row, column)

    # --- filter -------------------------------------------------------------------------------------------------------

    def given(self) -> Filter:
        """The filter, read."""
        return filter.read(self.filter, self.grammar)

    def admits(self, given: Filter, row: Any, texts: Sequence[str]) -> bool:
        """Whether a row of a whole list stays."""
        return given.admits(partial(self.value, row), *texts, now=self.as_of)

    def filter_foot(self, text: str) -> str:
        """Row 24 while the filter is typed: what it can't read, under its caret; or what there is."""
        found = filter.read(text, self.grammar)
        wrong = found.wrong or found.half
        if not wrong:
            fields = " ".join(f"{name}:" for name in self.grammar)
            return f" enter keeps it  esc as it was  {fields}"
        at = 2 + len(clean(text[: found.at]))
        if at + 2 + len(wrong) > self.size.width and at > len(wrong):
            return f"{wrong} ^".rjust(at + 1)
        return " " * at + f"^ {wrong}"

    def unread(self) -> list[Cell]:
        """For row 2: that a part of the filter can't be read and does not count."""
        found = self.given()
        wrong = (found.wrong or found.half) if self.state.mode is not Mode.FILTER else ""
        return [(f"not read: {clean(self.filter[found.at :]).partition(' ')[0]}  ", "warn")] if wrong else []

    # --- order --------------------------------------------------------------------------------------------------------

    def do_sort(self) -> None:
        """Let a letter choose the column; the same again turns the order round."""
        found = {column.letter: column for column in self.table.columns if column.letter}
        choices = tuple((letter, self._way(column)) for letter, column in found.items())
        self.pick("sort by", choices, lambda letter: self.sort_by(found[letter]))

    def _way(self, column: Column) -> str:
        after = sorting.by(column, self.table.sort)
        turned = column.called == self.table.sort.column
        return f"{column.called}{' up' if turned and not after.down else ' down' if turned else ''}"

    def sort_by(self, column: Column) -> None:
        self.table.sort = sorting.by(column, self.table.sort)
        self.ordered()

    def on_table_headed(self, message: Table.Headed) -> None:
        self.sort_by(message.column)
        self.paint()

    def told_sort(self) -> list[Cell]:
        """For row 2: the order."""
        sort = self.table.sort
        return [(f"sort {sort.column}{' down' if sort.down else ''} (s)", "")] if sort.column else []

    # --- columns ------------------------------------------------------------------------------------------------------

    def do_pan_left(self) -> None:
        if not self.table.pan_by(-1):
            self.say("no column is out of view at the left")

    def do_pan_right(self) -> None:
        if not self.table.pan_by(1):
            self.say("no column is out of view at the right")

    def command_columns(self, text: str) -> None:
        """Show, hide and move columns: `a,b,-c`. Raises: ValueError: there is no such column."""
        known = self._known()
        if not text:
            shown = [known[index].called for index in self.table.arrangement.order(known)]
            hidden = [f"-{name}" for name in sorted(self.table.arrangement.hidden)]
            self.say(f"columns {','.join((*shown, *hidden))}   :columns a,b,-c   :columns * is as at first")
            return
        self.table.arrangement = columns.read(text, known, self.table.arrangement, self.layout_at_first)
        self.table.pan = 0

    def _known(self) -> Sequence[Column]:
        """The columns that there are, also those that are not there just now."""
        names = {column.called for column in self.table.columns}
        return (*self.table.columns, *(column for column in self.columns if column.called not in names))

    # --- views --------------------------------------------------------------------------------------------------------

    def view(self) -> View:
        """What is shown, to be kept."""
        return View(
            screen=self.kind, filter=self.filter, sort=self.table.sort.text, columns=self.table.arrangement.text
        )

    def take_view(self, view: View) -> None:
        """Show what was kept; what is not there any more is said and passed over."""
        wrong: list[str] = []
        known = self._known()
        self.table.arrangement, self.table.pan = self.layout_at_first, 0
        if view.columns:
            try:
                self.table.arrangement = columns.read(view.columns, known, Layout())
            except ValueError as error:
                wrong.append(str(error))
        try:
            self.table.sort = sorting.read(view.sort, known) if view.sort else self.sort
        except ValueError as error:
            wrong.append(str(error))
        self.filter = view.filter
        self.ordered()
        self.narrowed()
        if wrong:
            self.say("; ".join(wrong), "warn")
        self.paint()

    def command_save(self, name: str) -> None:
        """Keep what is shown under a name. Raises: ValueError: it can't be."""
        self.desk.views.save(name, self.view())
        self.say(f"kept: :view {name} shows it again")

    # --- marks of what is gone ----------------------------------------------------------------------------------------

    def gone(self, marks: Collection[Any]) -> None:
        """Drop the marks of what is gone, and say so."""
        self.window.drop(marks)
        self.say_lost()

    def say_lost(self) -> None:
        """Say how many marks were dropped because what they marked is gone."""
        if lost := self.window.take_lost():
            self.say(f"{lost:,} marked {'is' if lost == 1 else 'are'} gone", "warn")
