"""What commands print: aligned tables for people, one JSON object a line for programs.

Colours are used on a terminal only, and not where NO_COLOR is set (https://no-color.org) or TERM is `dumb`. What comes
from users passes `text.visible` before it is printed. A table on a terminal is cut to its width; elsewhere it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, NamedTuple, TextIO, TypeAlias

import msgspec

from holdfast.cli import text
from holdfast.core.model import ErrorInfo, Progress, State
from holdfast.wire.api import RunRow
from holdfast.wire.render import render

TIMES = frozenset(
    {
        "at",
        "created_at",
        "started_at",
        "finished_at",
        "ended_at",
        "due",
        "next_at",
        "deadline",
        "expires",
        "since",
        "until",
        "first_at",
        "last_at",
        "oldest",
        "revoked_at",
        "time",
    }
)
"""The fields that hold an instant: ISO 8601 in JSON."""


class Style(StrEnum):
    """How a piece of text is shown; the values are parameters of SGR, of the terminal's own 16 colours."""

    GOOD = "32"
    BUSY = "36"
    WARN = "33"
    BAD = "31"
    DIM = "2"
    BOLD = "1"


STATES: Mapping[State, Style] = {
    State.COMPLETED: Style.GOOD,
    State.RUNNING: Style.BUSY,
    State.COMPENSATING: Style.BUSY,
    State.WAITING: Style.BUSY,
    State.RETRYING: Style.WARN,
    State.DEAD: Style.BAD,
    State.FAILED: Style.BAD,
    State.TIMED_OUT: Style.BAD,
    State.EXPIRED: Style.WARN,
    State.CANCELLED: Style.WARN,
    State.DELAYED: Style.DIM,
    State.QUEUED: Style.DIM,
}


class Cell(NamedTuple):
    """A cell of a table with its style."""

    text: str
    style: Style | None = None


class Column(NamedTuple):
    """A column of a table."""

    title: str
    right: bool = False
    cut: bool = False
    """Whether it gives way where the terminal is too narrow."""


Row: TypeAlias = Sequence[Cell | str]


class Output:
    """Where a command prints, and how."""

    def __init__(
        self, file: TextIO | None = None, *, json: bool = False, colour: bool | None = None, width: int | None = None
    ) -> None:
        self.file = file if file is not None else sys.stdout
        self.json = json
        """Whether one JSON object a line is wanted."""
        self.tty = self.file.isatty()
        self.colour = _colours(self.tty) if colour is None else colour
        self.width = shutil.get_terminal_size().columns if width is None and self.tty else width
        """Cells in a line; None: no terminal, no limit."""

    @property
    def ascii(self) -> bool:
        """Whether the output's encoding has no box characters."""
        try:
            "├└│█…".encode(getattr(self.file, "encoding", None) or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return True
        return False

    def paint(self, piece: str, style: Style | None) -> str:
        """The text in a style, where colours are on."""
        return f"\x1b[{style}m{piece}\x1b[0m" if self.colour and style and piece.strip() else piece

    def line(self, line: str = "") -> None:
        """Print a line that holds no untrusted text; it is out when this returns."""
        print(line, file=self.file, flush=True)

    def lines(self, lines: Iterable[str]) -> None:
        print("\n".join(lines), file=self.file, flush=True)

    def note(self, message: str) -> None:
        """Tell the person, beside the output: on stderr, and not where programs read."""
        if not self.json:
            print(text.visible(message), file=sys.stderr, flush=True)

    def record(self, value: object) -> None:
        """Print a value as one line of JSON."""
        self.line(text.json_safe(_json(plain(value))))

    def records(self, values: Iterable[object]) -> None:
        for value in values:
            self.record(value)

    def run(self, id: str) -> str:
        """A run's id: enough of it on a terminal, whole elsewhere."""
        return id[-8:] if self.tty else id

    def table(self, columns: Sequence[Column], rows: Iterable[Row]) -> None:
        """Print a table; every text in it is made visible first."""
        self.lines(self.table_lines(columns, rows))

    def table_lines(self, columns: Sequence[Column], rows: Iterable[Row]) -> list[str]:
        clean = [[_cell(cell) for cell in row] for row in rows]
        widths = [
            max(text.cells(column.title), *(text.cells(row[index].text) for row in clean), 0)
            for index, column in enumerate(columns)
        ]
        if self.width is not None:
            _narrow(widths, columns, self.width)
        head = [Cell(column.title, Style.DIM) for column in columns]
        return [self._table_line(columns, widths, row) for row in [head, *clean]]

    def _table_line(self, columns: Sequence[Column], widths: Sequence[int], row: Sequence[Cell]) -> str:
        last = len(columns) - 1
        pieces = []
        for index, (column, width, cell) in enumerate(zip(columns, widths, row, strict=True)):
            piece = text.clip(cell.text, width)
            if column.right or index < last:
                piece = text.pad(piece, width, right=column.right)
            pieces.append(self.paint(piece, cell.style))
        return "  ".join(pieces).rstrip()

    def fields(self, fields: Iterable[tuple[str, Cell | str]]) -> None:
        """Print names and values below each other; a field without a value is left out."""
        shown = [(name, _cell(value)) for name, value in fields if _cell(value).text]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            self.line(f"{self.paint(name.ljust(width), Style.DIM)}  {self.paint(value.text, value.style)}")

    def block(self, title: str, body: str, style: Style | None = None) -> None:
        """Print a text of several lines below a title, indented; nothing where it is empty."""
        if body.strip():
            self.line()
            self.line(self.paint(title, Style.BOLD))
            self.lines(self.paint(f"  {line}", style) for line in text.block(body.strip("\n")))


def state(value: State) -> Cell:
    """A run's state as a cell."""
    return Cell(value.value, STATES[value])


def stands(row: RunRow) -> Cell:
    """A run's state as a cell, with the word `paused` where it waits for an operator."""
    return Cell(f"{row.state.value} (paused)", Style.WARN) if row.paused else state(row.state)


def progress(made: Progress | None) -> str:
    """How far a run has come: `3/10 resizing`, `3 resizing`, empty where it does not say."""
    if made is None:
        return ""
    total = f"/{made.total:.6g}" if made.total is not None else ""
    return f"{made.done:.6g}{total} {made.text}".rstrip()


def _cell(cell: Cell | str) -> Cell:
    made = cell if isinstance(cell, Cell) else Cell(cell)
    return made._replace(text=text.visible(made.text))


def _narrow(widths: list[int], columns: Sequence[Column], room: int) -> None:
    """Take from the columns that give way, widest first, what is more than the room; each keeps 8 cells."""
    over = sum(widths) + 2 * (len(widths) - 1) - room
    while over > 0:
        able = [index for index, column in enumerate(columns) if column.cut and widths[index] > 8]
        if not able:
            return
        widths[max(able, key=lambda index: widths[index])] -= 1
        over -= 1


def _colours(tty: bool) -> bool:
    return tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def plain(value: Any, name: str = "") -> Any:
    """A value for JSON: structs by field name, instants (by the field's name) as ISO 8601, stored values as JSON."""
    match value:
        case ErrorInfo():
            return {"type": value.type, "message": value.message, "traceback": value.traceback}
        case msgspec.Struct():
            return {field: plain(getattr(value, field), field) for field in value.__struct_fields__}
        case Enum():
            return value.value
        case bytes():
            return stored(value)
        case Mapping():
            return {str(key): plain(item, str(key)) for key, item in value.items()}
        case tuple() | list() | set() | frozenset():
            return [plain(item) for item in value]
        case float() | int() if name in TIMES and not isinstance(value, bool):
            return text.iso(value)
        case _:
            return value


def stored(data: bytes) -> Any:
    """A value of the value codec (payload, result, checkpoint) as JSON has it."""
    return render(data) if data else None


def json_value(written: str) -> Any:
    """What a JSON text says; empty is None, and what is no JSON is the text itself."""
    try:
        return json.loads(written) if written else None
    except ValueError:
        return written


def short(data: bytes | None) -> str:
    """A stored value on one line."""
    return _json(stored(data)) if data else ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
