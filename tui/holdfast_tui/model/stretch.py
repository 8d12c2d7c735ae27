"""Stretches of time as characters of a line: work, waiting, and tries that failed, on a scale. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from holdfast.core.model import Instant, Seconds


class Mark(StrEnum):
    """What a part of a bar says, as it is drawn."""

    WORK = "█"
    WAIT = "·"
    FAIL = "x"


class Stretch(NamedTuple):
    """A part of a bar."""

    start: Instant
    end: Instant | None
    """None: it goes on."""
    mark: Mark


class Scale(NamedTuple):
    """Which time a line of so many columns shows."""

    start: Instant
    span: Seconds
    width: int

    @property
    def end(self) -> Instant:
        return self.start + self.span

    def column(self, at: Instant) -> float:
        """Where an instant lies, in columns; it may be outside."""
        return (at - self.start) / max(self.span, 1e-9) * self.width


def drawn(stretches: Iterable[Stretch], scale: Scale, now: Instant) -> str:
    """Stretches on a scale, later ones on top. Each that reaches into it takes a column at least."""
    if scale.width <= 0:
        return ""
    cells = [" "] * scale.width
    for start, end, mark in stretches:
        until = max(start, now if end is None else end)
        if until < scale.start or start > scale.end:
            continue
        first = min(max(math.floor(scale.column(start) + 1e-6), 0), scale.width - 1)
        after = min(max(math.ceil(scale.column(until) - 1e-6), first + 1), scale.width)
        cells[first:after] = [mark.value] * (after - first)
    return "".join(cells)
