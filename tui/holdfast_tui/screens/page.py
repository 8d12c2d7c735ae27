"""What a screen of the desk is made of, for the screens.

A screen is a list of columns, a scope line, a pane, what to read each second, and a `do_<id>` for each of its actions
(`keys.ACTIONS`). The frame is in `frame`, the keys are in `keyboard`, what changes something is in `asking`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holdfast.errors import ConfigError
from holdfast_tui.format import Cell, clean, count
from holdfast_tui.model.window import Window
from holdfast_tui.screens.asking import Asking


class Page(Asking):
    """A screen of the desk."""

    def command_theme(self, name: str) -> None:
        """Raises: ValueError: there is no such theme, or it is wrong."""
        try:
            self.say(self.desk.use_theme(name.strip()))
        except ConfigError as error:
            raise ValueError(str(error).replace(f"{self.desk.config_dir}/", "")) from error


def marked(window: Window[Any]) -> list[Cell]:
    """How many are marked, for row 2."""
    if not window.marks:
        return []
    hidden = window.hidden()
    text = f"{count(len(window.marks))} marked" + (f", {count(hidden)} hidden" if hidden else "")
    return [("  " + text, "mark")]


def told(filter: str, parts: Iterable[Cell]) -> list[Cell]:
    """Row 2: the filter, then the rest, two blanks between."""
    cells: list[Cell] = [(clean(filter) + "  ", "match")] if filter else []
    for text, role in parts:
        cells.append((text + "  ", role))
    return cells
