"""What went wrong with the last look, on a screen of its own."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from holdfast_tui import router
from holdfast_tui.failure import Failure
from holdfast_tui.widgets.line import Line, Room
from holdfast_tui.widgets.pane import Pane

SCROLLS = {"down": 1, "j": 1, "up": -1, "k": -1, "pagedown": 10, "pageup": -10}


class Details(Screen[None], inherit_bindings=False):
    """A failure, to be read and copied; esc closes."""

    AUTO_FOCUS = ""
    ALLOW_SELECT = False

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure
        self.said = ""
        self.top, self.told, self.foot = Line(), Pane(id="keys"), Line()

    def compose(self) -> ComposeResult:
        yield Room()
        yield self.top
        yield self.told
        yield self.foot

    def on_resize(self) -> None:
        self.paint()

    def paint(self) -> None:
        self.top.show([(" what went wrong", "title")])
        self.told.show("what was asked, and what came back", [(line, "") for line in self.failure.text.split("\n")])
        self.foot.show([(f" {self.said}" if self.said else " y copies   j k scroll   esc closes", "")])

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        key, self.said = router.key_name(event.key, event.character), ""
        if key in ("escape", "q", "enter"):
            self.dismiss()
        elif key == "ctrl+c":
            self.app.exit()
        elif key in SCROLLS:
            self.told.scroll_lines(SCROLLS[key])
        elif key == "y":
            self.app.copy_to_clipboard(self.failure.text)
            self.said = "copied, where the terminal lets it"
        self.paint()

    def tick(self) -> None:
        """Nothing here moves by itself."""
