"""Durations, sizes and rates as people write them: "30d", "250ms", "512MB", "2GiB", "100/s"."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""Units of durations."""

BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
"""Units of sizes: decimal, and binary with an `i`."""

_ALLOWANCE = re.compile(r"(\d{1,9})/(s|m|h|d)")

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def duration(value: object) -> float:
    """Seconds of a number or of a string with a unit; ValueError says what was expected."""
    seconds = _product(value, SECONDS)
    if seconds is None:
        raise ValueError('seconds or a duration like "30d", "12h", "90s", "250ms"')
    return float(seconds)


def size(value: object) -> int:
    """Bytes of a whole number or of a string with a unit; ValueError says what was expected."""
    count = None if isinstance(value, float) else _product(value, BYTES)
    if not count:
        raise ValueError('bytes or a size like "512MB" or "2GiB"')
    return round(count)


class Allowance(NamedTuple):
    """So many of something in so many seconds."""

    most: int
    per: float
    """Seconds."""

    def __str__(self) -> str:
        unit = next((unit for unit in "smhd" if SECONDS[unit] == self.per), f"{self.per:g}s")
        return f"{self.most}/{unit}"


def allowance(value: object) -> Allowance:
    """What a string like "100/s" allows; ValueError says what was expected."""
    match = _ALLOWANCE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or int(match[1]) < 1:
        raise ValueError('a rate of at least 1 like "100/s", "600/m", "5000/h"')
    return Allowance(int(match[1]), SECONDS[match[2]])


def readable_size(count: int) -> str:
    """Bytes for people, in binary units: "12.3 MiB"."""
    if count < BYTES["KiB"]:
        return f"{count} B"
    unit = next((name for name in ("KiB", "MiB", "GiB") if count < 1023.95 * BYTES[name]), "TiB")
    return f"{count / BYTES[unit]:,.1f} {unit}"


def _product(value: object, units: dict[str, float] | dict[str, int]) -> float | None:
    """The quantity in its base unit, or None if it is none: negative, infinite, another type, an unknown unit."""
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value.strip())) and match[2] in units:
        return float(match[1]) * units[match[2]]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and math.isfinite(value):
        return value
    return None
