"""A chart of blocks as lines of cells: bars over an axis of time. Pure: values and a size in, text out.

A value that is not there is a hole, drawn as a dot; a value of zero is nothing above the axis. Where there are more
values than columns the largest of those that share one is drawn, so that no peak is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from holdfast_tui.format import SPARKS, Cell, fit

GUTTER = 8
"""Columns for the numbers at the left and the axis."""

HOLE = "·"

ROUND = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
"""Steps of an axis, times a power of ten."""


class Plot(NamedTuple):
    """A chart to be drawn."""

    title: str
    values: Sequence[float | None]
    """Oldest first; None: a hole."""
    written: Callable[[float], str]
    """A value for people, in at most six columns."""
    note: str = ""
    """Behind the title."""
    whole: bool = False
    """Whether the values are whole numbers, so that the axis has no others."""


def draw(
    plot: Plot, width: int, height: int, *, cursor: int | None = None, labels: Sequence[str] = ()
) -> list[list[Cell]]:
    """The lines of a chart: a title, bars, an axis, and times below it where there are any.

    Args:
        cursor: index of the value that is looked at.
        labels: of the axis from left to right, the first and the last at its ends.
    """
    room = max(1, width - GUTTER)
    bars = max(1, height - 2 - bool(labels))
    columns = spread(plot.values, room)
    at = None if cursor is None else column_of(cursor, len(plot.values), room)
    most = max((value for value in columns if value is not None), default=0.0)
    top = bars * step_of(most, bars, whole=plot.whole)
    found = [_title(plot, width)]
    found += [_bars(columns, row, bars, top, at, _number(plot, row, bars, top)) for row in range(bars)]
    found.append(_axis(room, at))
    if labels:
        found.append([(" " * GUTTER + along(labels, room), "dim")])
    return found[:height]


def sheet(
    plots: Sequence[Plot],
    width: int,
    height: int,
    *,
    across: int = 1,
    cursor: int | None = None,
    labels: Sequence[str] = (),
) -> list[list[Cell]]:
    """Several charts in one picture, row by row, so many beside each other; the lowest ones have the labels."""
    rows = [plots[at : at + across] for at in range(0, len(plots), across)]
    found: list[list[Cell]] = []
    for number, row in enumerate(rows):
        high = height * (number + 1) // len(rows) - height * number // len(rows)
        under = labels if number == len(rows) - 1 else ()
        found += _beside(row, width, high, across, cursor, under)
    return found


def _beside(
    plots: Sequence[Plot], width: int, height: int, across: int, cursor: int | None, labels: Sequence[str]
) -> list[list[Cell]]:
    lines: list[list[Cell]] = [[] for _ in range(height)]
    for number, plot in enumerate(plots):
        wide = width * (number + 1) // across - width * number // across - (number < across - 1)
        drawn = draw(plot, wide, height, cursor=cursor, labels=labels)
        for line, cells in zip(lines, drawn, strict=True):
            line.extend([(" ", ""), *cells] if number else cells)
    return lines


def spread(values: Sequence[float | None], columns: int) -> list[float | None]:
    """The values over so many columns: each repeated, or the largest of those that share one; a hole where all are."""
    count = len(values)
    if not count:
        return [None] * columns
    found: list[float | None] = []
    for column in range(columns):
        first = column * count // columns
        behind = max(first + 1, (column + 1) * count // columns)
        there = [value for value in values[first:behind] if value is not None]
        found.append(max(there) if there else None)
    return found


def column_of(index: int, count: int, columns: int) -> int:
    """In which column a value is drawn: the first, where it has several."""
    if count <= 0:
        return 0
    return min(columns - 1, ceil(index * columns / count) if count < columns else ((index + 1) * columns - 1) // count)


def index_of(column: int, count: int, columns: int) -> int:
    """The value that is drawn in a column: the last, where it has several."""
    found = max(column * count // columns, (column + 1) * count // columns - 1)
    return max(0, min(count - 1, found))


def step_of(most: float, bars: int, *, whole: bool = False) -> float:
    """What one of so many lines stands for, so that the largest value has room: a round number."""
    least = max(most / bars, 1.0) if whole else most / bars
    if least <= 0:
        return 1.0
    power = 10.0 ** floor(log10(least))
    steps = [step * power for step in ROUND if not whole or step * power == round(step * power)]
    return next((step for step in steps if step >= least * (1 - 1e-9)), 10 * power)


def along(labels: Sequence[str], columns: int) -> str:
    """Labels at even distances, from the left end to the right one; those without room are left out."""
    text, steps = "", max(1, len(labels) - 1)
    for number, label in enumerate(labels):
        begin = round(number * columns / steps) - (len(label) if number == steps else len(label) // 2 if number else 0)
        begin = min(begin, columns - len(label))
        if begin >= len(text) + bool(text):
            text = text.ljust(begin) + label
    return text.ljust(columns)[:columns]


def _title(plot: Plot, width: int) -> list[Cell]:
    head = f"─ {plot.title}  {plot.note} " if plot.note else f"─ {plot.title} "
    return [(fit(head + "─" * max(0, width - len(head)), width), "title")]


def _number(plot: Plot, row: int, bars: int, top: float) -> str:
    """What a row's upper edge stands for: every row of a low chart, every second of a higher one."""
    if bars > 8 and row % 2:
        return ""
    return plot.written(top * (bars - row) / bars)


def _bars(
    columns: Sequence[float | None], row: int, bars: int, top: float, cursor: int | None, number: str
) -> list[Cell]:
    below = (bars - row - 1) * top / bars
    line = "".join(_block(value, below, top / bars, lowest=row == bars - 1) for value in columns)
    lead = f"{fit(number, 6, right=True)} |"
    if cursor is None:
        return [(lead, "dim"), (line, "")]
    parts = [(lead, "dim"), (line[:cursor], ""), (line[cursor], "cursor"), (line[cursor + 1 :], "")]
    return [(text, role) for text, role in parts if text]


def _block(value: float | None, below: float, step: float, *, lowest: bool) -> str:
    if value is None:
        return HOLE if lowest else " "
    share = (value - below) / step
    if share <= 0:
        return " "
    return SPARKS[-1] if share >= 1 else SPARKS[max(0, min(7, round(share * 8) - 1))]


def _axis(room: int, cursor: int | None) -> list[Cell]:
    line = "-" * room
    if cursor is not None:
        line = f"{line[:cursor]}^{line[cursor + 1 :]}"
    return [(" " * (GUTTER - 1) + "+" + line, "dim")]
