"""Help: every key of a screen, searchable, with why a key is off."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from holdfast_tui import keys, router
from holdfast_tui.format import Cell, clean
from holdfast_tui.keys import Help
from holdfast_tui.screens.frame import Frame
from holdfast_tui.widgets.line import Line, Room
from holdfast_tui.widgets.pane import Pane

TITLES = {"MOVE": "MOVE", "LOOK": "LOOK", "CHANGE": "CHANGE (asks first)"}
GAP = 2
"""Columns between two columns of keys."""


class HelpScreen(Screen[None], inherit_bindings=False):
    """Type to search; esc closes."""

    AUTO_FOCUS = ""
    ALLOW_SELECT = False

    def __init__(self, of: Frame) -> None:
        super().__init__()
        self.of, self.search = of, ""
        self.top, self.keys_pane, self.foot = Line(), Pane(id="keys"), Line()

    def compose(self) -> ComposeResult:
        yield Room()
        yield self.top
        yield self.keys_pane
        yield self.foot

    def on_resize(self) -> None:
        self.paint()

    def paint(self) -> None:
        self.top.show(
            [(f" {clean(self.of.crumbs)} > help  ", "title"), ("/", "dim"), (clean(self.search), ""), ("▏", "")],
            [("capital letters change things, and ask first ", "")],
        )
        self.keys_pane.show("", self.rows())
        self.foot.show([(" type to search keys and what they do   up down scroll   esc closes", "")])

    def rows(self) -> list[Cell]:
        desk = self.of.desk
        found = keys.help_rows(
            self.of.kind,
            off=desk.gateway.refusal(),
            idle=self.of.idle(),
            search=self.search,
            actions=desk.actions,
        )
        off: list[Cell] = []
        for why in dict.fromkeys(row.off for row in found if row.off):
            off += [("", ""), (f"off: {why}", "warn")]
            off += [(f"  {row.keys}  {row.label}", "dim") for row in found if row.off == why]
        room = self.size.height - 3 - len(off)
        texts = laid_out([row for row in found if not row.off], self.size.width - 2, room) + off
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

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self.search += "".join(event.text.splitlines()[:1])
        self.paint()

    def tick(self) -> None:
        """Nothing here moves by itself."""


def laid_out(rows: Sequence[Help], width: int, height: int) -> list[Cell]:
    """A column for each group side by side; where that does not fit, one below the other, each in as many as fit."""
    groups = {group: [f"{row.keys}  {row.label}" for row in rows if row.group == group] for group in TITLES}
    columns = [[TITLES[group], *told] for group, told in groups.items() if told]
    wide = [max(map(len, column)) + GAP for column in columns]
    if sum(wide) - GAP <= width and max(map(len, columns), default=0) <= height:
        return _beside(columns, wide)
    texts: list[Cell] = []
    for title, *told in columns:
        size = max(map(len, told)) + GAP
        across = max(1, (width + GAP) // size)
        down = -(-len(told) // across)
        pieces = [told[at : at + down] for at in range(0, len(told), down)]
        texts += [(title, "title"), *_beside(pieces, [size] * len(pieces), titled=False)]
    return texts


def _beside(columns: Sequence[Sequence[str]], wide: Sequence[int], *, titled: bool = True) -> list[Cell]:
    lines = []
    for at in range(max(map(len, columns), default=0)):
        across = (column[at] if at < len(column) else "" for column in columns)
        lines.append(("".join(map(str.ljust, across, wide)).rstrip(), "title" if titled and at == 0 else ""))
    return lines
