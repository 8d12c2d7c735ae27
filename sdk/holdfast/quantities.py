"""Durations, sizes and rates as people write them: "30d", "250ms", "512MB", "2GiB", "50/s"."""

from __future__ import annotations

import math
import re

from holdfast.core.model import Rate

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

_RATE = re.compile(r"(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*([a-z]+)")
_PACE = re.compile(r"(\d+(?:\.\d+)?)(?:\s*/\s*([a-z]+))?", re.ASCII)
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def duration(value: object) -> float:
    """Seconds of a number or of a string with a unit; ValueError says what was expected."""
    seconds = _product(value, SECONDS)
    if seconds is None:
        raise ValueError('seconds or a duration like "30d", "12h", "90s", "250ms"')
    return float(seconds)


def rate(value: object) -> Rate:
    """How often: "50/s", "600/m", "100/15s"; ValueError says what was expected."""
    expected = ValueError('a rate like "50/s", "600/m" or "100/15s"')
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[3] not in SECONDS or int(match[1]) == 0:
        raise expected
    per = float(match[2] or 1) * SECONDS[match[3]]
    if per == 0:
        raise expected
    return Rate(int(match[1]), per)


def pace(value: str) -> float:
    """How many a second, of "10", "10/s", "0.5/s", "600/m"; ValueError says what was expected."""
    match = _PACE.fullmatch(value.strip())
    per_second = float(match[1]) / SECONDS.get(match[2] or "s", math.inf) if match else 0.0
    if not 0 < per_second < math.inf:
        raise ValueError('so many a second, like "10", "10/s" or "600/m"')
    return per_second


def readable_rate(rate: Rate) -> str:
    """A rate for people, as `rate` reads it."""
    unit = next((name for name in ("w", "d", "h", "m", "s") if rate.per % SECONDS[name] == 0), "ms")
    count = rate.per / SECONDS[unit]
    return f"{rate.limit}/{'' if count == 1 else f'{count:g}'}{unit}"


def size(value: object) -> int:
    """Bytes of a whole number or of a string with a unit; ValueError says what was expected."""
    count = None if isinstance(value, float) else _product(value, BYTES)
    if not count:
        raise ValueError('bytes or a size like "512MB" or "2GiB"')
    return round(count)


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
