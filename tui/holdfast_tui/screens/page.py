"""What a screen of the desk is made of, for the screens.

A screen is a list of columns, a scope line, a pane, what to read each second, and a `do_<id>` for each of its actions
(`keys.ACTIONS`). The frame is in `frame`, the keys are in `keyboard`, what changes something is in `asking`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holdfast.errors import ConfigError
from holdfast_tui.format import TIMES, Cell, clean, count
from holdfast_tui.model.window import Window
from holdfast_tui.screens.asking import Asking


class Page(Asking):
    """A screen of the desk."""

    def do_times(self) -> None:
        """Write times another way, on all screens."""
        self.say(f"times are {TIMES.turn()}")

    def command_theme(self, name: str) -> None:
        """Raises: ValueError: there is no such theme, or it is wrong."""
        try:
            self.say(self.desk.use_theme(name.strip()))
        except ConfigError as error:
            raise ValueError(str(error).replace(f"{self.desk.config_dir}/", "")) from error

    # --- views --------------------------------------------------------------------------------------------------------

    def command_view(self, name: str) -> None:
        """Show what was kept under a name. Raises: ValueError: nothing was."""
        self.desk.show_view(self.desk.views.get(name))

    def command_views(self, rest: str) -> None:
        """Say which views there are. Raises: ValueError: their file can't be read."""
        found = self.desk.views.all()
        told = "   ".join(f"{name}: {view.screen} {view.filter}".strip() for name, view in found.items())
        self.say(told or "no views yet: :save NAME keeps what a list shows")

    def command_forget(self, name: str) -> None:
        """Keep a view no more. Raises: ValueError: there is none of that name."""
        self.desk.views.forget(name)
        self.say(f"forgotten: {name}")


def marked(window: Window[Any], hidden: int | None = None) -> list[Cell]:
    """How many are marked, for row 2.

    Args:
        hidden: how many of them the filter hides; None: those that are not among the rows.
    """
    if not window.marks:
        return []
    hidden = window.hidden() if hidden is None else hidden
    text = f"{count(len(window.marks))} marked" + (f", {count(hidden)} hidden" if hidden else "")
    return [(text + "  ", "mark")]


def told(filter: str, parts: Iterable[Cell]) -> list[Cell]:
    """Row 2: the filter, then the rest, two blanks between."""
    cells: list[Cell] = [(clean(filter) + "  ", "match")] if filter else []
    for text, role in parts:
        cells.append((text + "  ", role))
    return cells
