"""What the screens of rows are made of: a list that is arranged, marked, copied, written and explained.

A screen declares columns (`Column.letter`, `value`, `field`), what its rows are, and what it reads; where its list is
not whole, how it is paged. Its own keys are `do_<id>`, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from holdfast_tui.format import Cell
from holdfast_tui.screens.taking import Taking


class Listed(Taking):
    """A screen of rows."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sheet: tuple[str, list[Cell]] | None = None
        """Title and lines that fill the body over the list, until esc."""

    def about(self) -> tuple[str, list[Cell]]:
        """Title and lines of the pane: what is known of the row under the cursor."""
        return "", []

    def detail(self) -> tuple[str, list[Cell]]:
        return self.about() if self.sheet is None else self.sheet

    def show_sheet(self, title: str, lines: Sequence[Cell]) -> None:
        """Show lines over the whole body; j and k scroll them, esc goes back to the list."""
        self.sheet = title, list(lines)
        self.zoom(True)

    def zoom(self, on: bool) -> None:
        if not on:
            self.sheet = None
        super().zoom(on)

    # --- failures -----------------------------------------------------------------------------------------------------

    def failed(self, row: Any) -> bool:
        """Whether a row is a failure, for `{` and `}`."""
        return False

    def do_previous_failure(self) -> None:
        self.seek_failure(-1)

    def do_next_failure(self) -> None:
        self.seek_failure(1)

    def seek_failure(self, step: int) -> None:
        """Put the cursor on the next failure that way."""
        if not self.to_failure(step):
            self.say(f"no failure {'below' if step > 0 else 'above'}")

    def to_failure(self, step: int) -> bool:
        """The same among the rows that are loaded; False where there is none."""
        keys = self.window.keys
        end = len(keys) if step > 0 else -1
        for index in range(self.window.position + step, end, step):
            if self.failed(self.loaded[keys[index]]):
                self.moved(partial(self.window.to, index))
                return True
        return False
