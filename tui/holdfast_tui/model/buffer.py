"""Text that is being edited: lines, a cursor, and what undoes each change. Pure; the editor gives it its keys."""

from __future__ import annotations

import re
from typing import NamedTuple

INDENT = 2
"""Blanks that tab puts in."""
UNDOS = 500
"""How many changes can be taken back."""


class Place(NamedTuple):
    """Where the cursor is, both counted from 0, in characters."""

    line: int
    column: int


class Buffer:
    """Lines with a cursor. There is always a line; the cursor is never outside of the text."""

    def __init__(self, text: str) -> None:
        self.lines = _lines(text)
        self.cursor = Place(0, 0)
        self._goal = 0
        """The column that moving up and down keeps to."""
        self._done: list[tuple[list[str], Place]] = []
        self._undone: list[tuple[list[str], Place]] = []
        self._typing = False
        """Whether the last change was a typed character: a word is taken back as one."""

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    # --- moving -------------------------------------------------------------------------------------------------------

    def to(self, line: int, column: int) -> None:
        """Put the cursor there, or as near as the text allows."""
        line = max(0, min(len(self.lines) - 1, line))
        self.cursor = Place(line, max(0, min(len(self.lines[line]), column)))
        self._goal, self._typing = self.cursor.column, False

    def down(self, by: int) -> None:
        goal = self._goal
        self.to(self.cursor.line + by, goal)
        self._goal = goal

    def right(self) -> None:
        line, column = self.cursor
        ends = column == len(self.lines[line]) and line + 1 < len(self.lines)
        self.to(line + 1, 0) if ends else self.to(line, column + 1)

    def left(self) -> None:
        line, column = self.cursor
        self.to(line, column - 1) if column or not line else self.to(line - 1, len(self.lines[line - 1]))

    def word_right(self) -> None:
        line, column = self.cursor
        found = re.compile(r"\W*\w+|\W+").match(self.lines[line], column)
        self.right() if found is None else self.to(line, found.end())

    def word_left(self) -> None:
        line, column = self.cursor
        found = re.search(r"(\w+\W*|\W+)$", self.lines[line][:column])
        self.left() if found is None else self.to(line, found.start())

    def home(self) -> None:
        """To the first character that is no blank; from there to the beginning of the line."""
        line, column = self.cursor
        first = len(_indent(self.lines[line]))
        self.to(line, 0 if column == first else first)

    def end(self) -> None:
        self.to(self.cursor.line, len(self.lines[self.cursor.line]))

    # --- changing -----------------------------------------------------------------------------------------------------

    def insert(self, text: str) -> None:
        """Put text in at the cursor, also several lines of it."""
        self._note(typed=len(text) == 1 and text.isalnum())
        typing = self._typing
        line, column = self.cursor
        head, tail = self.lines[line][:column], self.lines[line][column:]
        new = _lines(text)
        new[0] = head + new[0]
        end = len(new[-1])
        new[-1] += tail
        self.lines[line : line + 1] = new
        self.to(line + len(new) - 1, end)
        self._typing = typing

    def replace(self, text: str) -> None:
        """Put another text in place of all."""
        self._note()
        self.lines = _lines(text)
        self.to(*self.cursor)

    def newline(self) -> None:
        """Begin a line that is indented as this one, further behind an opening bracket."""
        before = self.lines[self.cursor.line][: self.cursor.column]
        deeper = " " * INDENT if before.rstrip().endswith(("{", "[")) else ""
        self.insert("\n" + _indent(before) + deeper)

    def indent(self) -> None:
        self.insert(" " * (INDENT - self.cursor.column % INDENT))

    def backspace(self) -> None:
        """Delete the character before the cursor; of the blanks that begin a line, back to the indent before."""
        line, column = self.cursor
        before = self.lines[line][:column]
        size = (column - 1) % INDENT + 1 if before and before.isspace() else 1
        if column:
            self._cut(Place(line, column - size), self.cursor)
        elif line:
            self._cut(Place(line - 1, len(self.lines[line - 1])), self.cursor)

    def delete(self) -> None:
        line, column = self.cursor
        if column < len(self.lines[line]):
            self._cut(self.cursor, Place(line, column + 1))
        elif line + 1 < len(self.lines):
            self._cut(self.cursor, Place(line + 1, 0))

    def cut_word(self) -> None:
        """Delete the word before the cursor."""
        there = self.cursor
        self.word_left()
        self._cut(self.cursor, there)

    def cut_head(self) -> None:
        """Delete what stands before the cursor on its line."""
        self._cut(Place(self.cursor.line, 0), self.cursor)

    def cut_tail(self) -> None:
        """Delete what stands behind the cursor on its line; where nothing does, the line's end."""
        line, column = self.cursor
        size = len(self.lines[line])
        if column < size:
            self._cut(self.cursor, Place(line, size))
        else:
            self.delete()

    def _cut(self, first: Place, last: Place) -> None:
        if first == last:
            return
        self._note()
        rest = self.lines[last.line][last.column :]
        self.lines[first.line : last.line + 1] = [self.lines[first.line][: first.column] + rest]
        self.to(*first)

    # --- taking back --------------------------------------------------------------------------------------------------

    def _note(self, *, typed: bool = False) -> None:
        """Remember the text before a change; characters of one word are one change."""
        if not (typed and self._typing):
            self._done.append((list(self.lines), self.cursor))
            del self._done[:-UNDOS]
        self._undone.clear()
        self._typing = typed

    def undo(self) -> bool:
        """Take the last change back; False where there is none."""
        return self._swap(self._done, self._undone)

    def redo(self) -> bool:
        return self._swap(self._undone, self._done)

    def _swap(self, source: list[tuple[list[str], Place]], sink: list[tuple[list[str], Place]]) -> bool:
        if not source:
            return False
        sink.append((self.lines, self.cursor))
        self.lines, place = source.pop()
        self.to(*place)
        return True


def _lines(text: str) -> list[str]:
    """Lines as a terminal shows them: every end of a line is the same, tabs are blanks."""
    return text.replace("\r\n", "\n").replace("\r", "\n").expandtabs(INDENT).split("\n")


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]
