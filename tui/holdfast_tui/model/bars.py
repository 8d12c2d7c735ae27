"""A chart of bars, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast_tui.format import SPARKS, count


def bars(values: Sequence[float], height: int, *, label: int = 4) -> list[str]:
    """One column for each value, `height` lines, the highest first; a label at the top and at the bottom.

    Args:
        label: columns for the labels, without the axis behind them.
    """
    most = max(values, default=0)
    names = [count(most), *[""] * (height - 2), "0"][:height]
    lines = []
    for row in range(height):
        below = height - 1 - row
        cells = (_block(value / most * height - below if most > 0 else 0.0) for value in values)
        lines.append(f"{names[row].rjust(label)}|{''.join(cells)}".rstrip())
    return lines


def axis(width: int, begin: str, middle: str, end: str, *, label: int = 4) -> str:
    """The line below: when it begins, its middle and its end."""
    left, right = width // 2, width - width // 2
    first = begin.ljust(left - len(middle) // 2, "-") + middle
    return " " * label + "+" + first + end.rjust(left + right - len(first), "-")


def _block(filled: float) -> str:
    """So much of a cell, in eighths; what is there at all is seen in the lowest line only by `filled` above 0."""
    if filled <= 0:
        return " "
    return SPARKS[min(7, max(0, round(filled * 8) - 1))]
