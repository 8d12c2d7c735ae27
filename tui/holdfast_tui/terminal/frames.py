"""What the terminal shows, as far as it was told, and what to tell it so that it shows the next frame.

Textual repaints regions; here their lines are compared with what was sent, and only cells that differ are sent.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from textual._compositor import ChopsUpdate, Compositor, CompositorUpdate
from textual.geometry import Size
from textual.strip import Strip

GAP = 6
"""Cells alike between two that differ that are rather sent again than skipped: a move costs as much."""

_Cell: TypeAlias = tuple[str, Style | None]
"""A character and its style; the second column of a wide one is the empty text."""


class Span(NamedTuple):
    """Columns of a line, the last one exclusive."""

    first: int
    last: int


class Frames:
    """Lines that were sent, lines that wait to be sent."""

    def __init__(self, *, compare: bool) -> None:
        """
        Args:
            compare: send cells that differ; else all that Textual would repaint.
        """
        self._compare = compare
        self._size = Size(0, 0)
        self._sent: list[Strip | None] = []
        self._dirty: dict[int, Span] = {}

    def mark(self, update: CompositorUpdate, size: Size) -> None:
        """These lines may differ; those that were marked before and not sent are so still."""
        if size != self._size:
            self._size = size
            self.forget()
        elif isinstance(update, ChopsUpdate):
            for y, first, last in update.spans:
                known = self._dirty.get(y, Span(first, last))
                self._dirty[y] = Span(min(known.first, first), max(known.last, last))
        else:
            self._mark_all()

    def forget(self) -> None:
        """Nothing is known of what the terminal shows: the next frame is a whole one."""
        self._sent = [None] * self._size.height
        self._mark_all()

    def _mark_all(self) -> None:
        self._dirty = {y: Span(0, self._size.width) for y in range(self._size.height)}

    def waits(self) -> bool:
        """Whether there may be something to send."""
        return bool(self._dirty)

    def take(self, compositor: Compositor, console: Console) -> str:
        """What to send for the lines that wait, as they are now; empty where nothing differs."""
        dirty, self._dirty = self._dirty, {}
        chops = compositor._render_chops(self._size.region, dirty.__contains__)
        out: list[str] = []
        for y, span in sorted(dirty.items()):
            if y >= len(chops):
                continue
            line = Strip.join([chop for chop in chops[y].values() if chop is not None])
            for first, last in self._spans(y, span, line):
                piece = line if last - first >= line.cell_length else line.crop(first, last)
                out.append(f"\x1b[{y + 1};{first + 1}H{piece.render(console)}")
            self._sent[y] = line
        return "".join(out)

    def _spans(self, y: int, span: Span, line: Strip) -> list[Span]:
        sent = self._sent[y]
        whole = Span(0, line.cell_length)
        if sent is None:
            return [whole]
        if not self._compare:
            return [Span(span.first, min(span.last, line.cell_length))]
        if sent._segments == line._segments:
            return []
        before, after = cells(sent), cells(line)
        if len(before) != len(after) or len(after) != line.cell_length:
            return [whole]
        return differing(before, after)


def cells(strip: Strip) -> list[_Cell]:
    """A line as columns; none where something combines, as a piece of such a line is not as wide as its cells."""
    found: list[_Cell] = []
    for text, style, control in strip:
        if control:
            continue
        if text.isascii():
            found.extend((char, style) for char in text)
            continue
        for char in text:
            width = cell_len(char)
            if width == 0:
                return []
            found.append((char, style))
            found.extend([("", style)] * (width - 1))
    return found


def differing(before: list[_Cell], after: list[_Cell]) -> list[Span]:
    """Columns to send so that one line becomes the other; a wide character is sent whole, and so is what it covered."""
    spans: list[Span] = []
    x, end = 0, len(after)
    while x < end:
        if before[x] == after[x]:
            x += 1
            continue
        first = last = x
        while x < end and x - last <= GAP:
            if before[x] != after[x]:
                last = x
            x += 1
        while first > 0 and "" in (before[first][0], after[first][0]):
            first -= 1
        last += 1
        while last < end and "" in (before[last][0], after[last][0]):
            last += 1
        if spans and first <= spans[-1].last:
            first = spans.pop().first
        spans.append(Span(first, last))
        x = max(x, last)
    return spans
