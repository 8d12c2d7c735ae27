"""An editor of a few lines of text on a screen of its own: what is taken is valid, whatever is typed.

    text = await edit(app, "payload of 4Q9K2895", before, read_json)

`ctrl+s` takes, `esc` leaves. What is wrong stands on the last line but one, with the cursor where it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from holdfast_tui.format import Cell, clean
from holdfast_tui.model.buffer import Buffer
from holdfast_tui.theme import base, style
from holdfast_tui.widgets.line import Line

KEYS = " ctrl+s takes it  esc leaves  ctrl+z undo  ctrl+y redo"
CUTS = "  ctrl+k cuts to the end"
NUMBERS = 5
"""Columns for the number of a line."""


OWN = "  ctrl+o your own editor"

Own: TypeAlias = Callable[[str], Awaitable[tuple[str | None, str]]]
"""Another editor: gives the text that comes back, or None and why there is none."""


async def edit(
    app: App[Any], title: str, text: str, validate: Callable[[str], object], *, own: Own | None = None
) -> str | None:
    """Let the operator edit a text. Await it in a worker: a message handler of a screen would never hear the answer.

    Args:
        title: what is edited; may come from outside.
        validate: called with the text when it is to be taken. It raises ValueError where it can't be; with attributes
            `line` and `column` (from 1) the cursor goes there, as with `NotJson` of `model.typed.read_json`.
        own: the operator's own editor, on `ctrl+o`; what comes back from it stands here, to be taken or mended.

    Returns the text that is valid, the same as before where nothing was changed; None: the operator left.
    """
    answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def answered(found: str | None) -> None:
        if not answer.done():
            answer.set_result(found)

    await app.push_screen(Editor(title, text, validate, own), answered)
    return await answer


class Area(Widget, can_focus=False, inherit_bindings=False):
    """The lines in view, with their numbers; it repaints those that changed."""

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    Area { height: 1fr; width: 1fr; background: $background; color: $foreground; }
    """

    def __init__(self, buffer: Buffer) -> None:
        super().__init__()
        self.buffer = buffer
        self.top = 0
        self.left = 0
        """Cells that are out of view at the left."""
        self._painted: dict[int, tuple[Cell, ...]] = {}

    def sync(self) -> None:
        """Bring the view to the cursor, and repaint what differs."""
        height, width = max(1, self.size.height), max(1, self.size.width - NUMBERS - 1)
        line, column = self.buffer.cursor
        self.top = max(line - height + 1, min(line, self.top))
        at = cell_len(clean(self.buffer.lines[line][:column]))
        self.left = 0 if at < width else max(at - width + 1, min(at, self.left))
        for y in range(self.size.height):
            if self._painted.get(y) != self._cells(y):
                self.refresh(Region(0, y, self.size.width, 1))

    def on_resize(self) -> None:
        self._painted.clear()
        self.sync()

    def _cells(self, y: int) -> tuple[Cell, ...]:
        number = self.top + y
        if number >= len(self.buffer.lines):
            return (("~", "dim"),)
        text, (line, column) = self.buffer.lines[number], self.buffer.cursor
        head: Cell = (f"{number + 1:>{NUMBERS - 1}} ", "dim")
        if number != line:
            return (head, (clean(text), ""))
        under = clean(text[column : column + 1]) or " "
        return (head, (clean(text[:column]), ""), (under, "cursor"), (clean(text[column + 1 :]), ""))

    def render_line(self, y: int) -> Strip:
        cells = self._painted[y] = self._cells(y)
        plain, width = base(self.rich_style), self.size.width
        head, *rest = [Segment(text, plain + style(role)) for text, role in cells]
        body = Strip(rest).crop(self.left, self.left + max(0, width - NUMBERS))
        return Strip([head, *body]).adjust_cell_length(width, plain)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where it was clicked."""
        line = min(self.top + event.y, len(self.buffer.lines) - 1)
        text, at = self.buffer.lines[line], event.x - NUMBERS + self.left
        column = next((size for size in range(len(text) + 1) if cell_len(clean(text[: size + 1])) > at), len(text))
        self.buffer.to(line, column)
        self.sync()

    def on_mouse_scroll_down(self) -> None:
        self._wheel(3)

    def on_mouse_scroll_up(self) -> None:
        self._wheel(-3)

    def _wheel(self, by: int) -> None:
        self.buffer.down(by)
        self.sync()


class Editor(Screen[str | None], inherit_bindings=False):
    """A title, the text, what is wrong with it, and the keys."""

    AUTO_FOCUS = ""
    ALLOW_SELECT = False

    def __init__(self, title: str, text: str, validate: Callable[[str], object], own: Own | None = None) -> None:
        super().__init__()
        self.name_of, self.validate, self.own = clean(title), validate, own
        self.buffer = Buffer(text)
        self.before = self.buffer.text
        self.said: Cell = ("", "")
        self.warned = ""
        """The key that throws away what was typed when it is pressed once more."""
        self.top, self.area, self.foot, self.hints = Line(), Area(self.buffer), Line(), Line()

    def compose(self) -> ComposeResult:
        yield self.top
        yield self.area
        yield self.foot
        yield self.hints

    def on_mount(self) -> None:
        self.call_after_refresh(self.paint)

    def on_resize(self) -> None:
        self.call_after_refresh(self.paint)

    def paint(self) -> None:
        line, column = self.buffer.cursor
        changed = "  changed" if self.changed else ""
        place = f"line {line + 1} of {len(self.buffer.lines)}, column {column + 1} "
        self.top.show([(f" edit {self.name_of}", "title"), (changed, "warn")], [(place, "")])
        self.area.sync()
        self.foot.show([(" ", ""), self.said])
        self.hints.show([(KEYS + (CUTS if self.own is None else OWN), "")])

    @property
    def changed(self) -> bool:
        return self.buffer.text != self.before

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        warned, self.warned, self.said = self.warned, "", ("", "")
        match event.key:
            case "ctrl+s":
                self._take()
            case "ctrl+o" if self.own is not None:
                self.run_worker(self._outside(self.own), exclusive=True)
            case "escape" | "ctrl+c" as key:
                self._leave(key, warned)
            case key if key in _KEYS:
                _KEYS[key](self.buffer)
            case "pagedown" | "pageup":
                by = max(1, self.area.size.height - 1)
                self.buffer.down(by if event.key == "pagedown" else -by)
            case _ if event.character is not None and event.character.isprintable():
                self.buffer.insert(event.character)
        self.paint()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self.buffer.insert(event.text)
        self.paint()

    def _take(self) -> None:
        text = self.buffer.text
        try:
            self.validate(text)
        except ValueError as error:
            self.said = (clean(str(error)), "fail")
            if line := getattr(error, "line", 0):
                self.buffer.to(line - 1, getattr(error, "column", 1) - 1)
            return
        self.dismiss(text)

    async def _outside(self, own: Own) -> None:
        """Let another editor have the text; what comes back is one change, that can be taken back."""
        text, why = await own(self.buffer.text)
        if text is None:
            self.said = (clean(why), "warn")
        else:
            self.buffer.replace(text)
        self.paint()

    def _leave(self, key: str, warned: str) -> None:
        """Leave; what was changed is thrown away only when the same key is pressed twice."""
        if self.changed and warned != key:
            self.warned = key
            self.said = (f"not taken yet: {key} once more throws the changes away, ctrl+s takes them", "warn")
        elif key == "ctrl+c":
            self.app.exit()
        else:
            self.dismiss(None)

    def tick(self) -> None:
        """Nothing here moves by itself."""


_KEYS: dict[str, Callable[[Buffer], object]] = {
    "up": lambda buffer: buffer.down(-1),
    "down": lambda buffer: buffer.down(1),
    "left": Buffer.left,
    "right": Buffer.right,
    "ctrl+left": Buffer.word_left,
    "ctrl+right": Buffer.word_right,
    "home": Buffer.home,
    "end": Buffer.end,
    "ctrl+a": Buffer.home,
    "ctrl+e": Buffer.end,
    "ctrl+home": lambda buffer: buffer.to(0, 0),
    "ctrl+end": lambda buffer: buffer.to(len(buffer.lines), len(buffer.lines[-1])),
    "enter": Buffer.newline,
    "tab": Buffer.indent,
    "backspace": Buffer.backspace,
    "delete": Buffer.delete,
    "ctrl+d": Buffer.delete,
    "ctrl+w": Buffer.cut_word,
    "ctrl+u": Buffer.cut_head,
    "ctrl+k": Buffer.cut_tail,
    "ctrl+z": Buffer.undo,
    "ctrl+y": Buffer.redo,
}
"""What keys do to the text; the others are typed."""
