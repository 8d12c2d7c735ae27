"""Help: every key of a screen, searchable, with why a key is off."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from holdfast_tui import keys, router
from holdfast_tui.format import Cell
from holdfast_tui.widgets.line import LEAST, Line, Room
from holdfast_tui.widgets.pane import Pane


class HelpScreen(Screen[None], inherit_bindings=False):
    """Type to search; esc closes."""

    HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (LEAST[0], "-narrow")]  # noqa: RUF012 - Textual's own annotation
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (LEAST[1], "-short")]  # noqa: RUF012
    AUTO_FOCUS = ""
    ALLOW_SELECT = False

    def __init__(self, screen: str, *, read_only: bool) -> None:
        super().__init__()
        self.of_screen, self.read_only, self.search = screen, read_only, ""
        self.top, self.keys_pane, self.foot = Line(), Pane(id="keys"), Line()

    def compose(self) -> ComposeResult:
        yield Room()
        yield self.top
        yield self.keys_pane
        yield self.foot

    def on_mount(self) -> None:
        self.call_after_refresh(self.paint)

    def on_resize(self) -> None:
        self.call_after_refresh(self.paint)

    def paint(self) -> None:
        self.top.show(
            [(f" {self.of_screen.capitalize()} > help  ", "title"), ("/", "dim"), (self.search, ""), ("▏", "")],
            [("capital letters change things, and ask first ", "")],
        )
        self.keys_pane.show("", self.rows())
        self.foot.show([(" type to search   up down scroll   esc closes", "")])

    def rows(self) -> list[Cell]:
        found = keys.help_rows(self.of_screen, read_only=self.read_only, search=self.search)
        half = max(30, (self.size.width - 2) // 2)
        texts: list[Cell] = []
        for group in ("MOVE", "LOOK", "CHANGE"):
            rows = [row for row in found if row.group == group]
            if rows:
                texts.append((group if group != "CHANGE" else "CHANGE (asks first)", "title"))
            across = 2 if self.size.width >= 70 else 1
            told = [f"  {row.keys:<14} {row.label}" for row in rows]
            down = -(-len(told) // across)
            texts += [("".join(f"{text:<{half}}" for text in told[at::down]).rstrip(), "") for at in range(down)]
        if any(row.off for row in found):
            texts += [("", ""), (f"off: {keys.READ_ONLY}", "warn")]
        return texts or [(f"no key does {self.search!r}", "dim")]

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        key = router.key_name(event.key, event.character)
        if key in ("escape", "enter") or (key == "?" and not self.search):
            self.dismiss()
        elif key == "ctrl+c":
            self.app.exit()
        elif key in ("down", "up", "pagedown", "pageup"):
            self.keys_pane.scroll_lines({"down": 1, "up": -1, "pagedown": 10, "pageup": -10}[key])
        else:
            self.search = router.edit(self.search, key)
        self.paint()

    def tick(self) -> None:
        """Nothing here moves by itself."""
