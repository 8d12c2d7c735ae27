"""What was measured: named values with their units, and how many samples stand behind each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Measure(NamedTuple):
    """One figure of a workload."""

    figure: str
    unit: str
    """`ms`, `s`, `/s`, `MiB`, `KiB`, `B` or `B/s`."""
    value: float
    samples: int
    """How many runs, steps or kills it was made from."""


PERCENTILES = (50, 90, 99)


def spread(figure: str, seconds: Sequence[float], percentiles: Sequence[int] = PERCENTILES) -> list[Measure]:
    """The percentiles of durations, in milliseconds."""
    ordered = sorted(seconds)
    return [
        Measure(f"{figure} p{percent}", "ms", 1e3 * percentile(ordered, percent), len(ordered))
        for percent in percentiles
    ]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that so many percent of the samples do not exceed (nearest rank); `ordered` is sorted, not empty."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def rate(figure: str, count: int, seconds: float) -> Measure:
    """How many there were in a second."""
    return Measure(figure, "/s", count / seconds, count)
