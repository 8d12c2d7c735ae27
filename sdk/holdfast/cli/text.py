"""Text for a terminal: untrusted text made visible, cut and padded by cells; durations, ages and instants in words."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""Controls (C0, DEL, C1), what is not seen, what turns the direction of writing, and halves of surrogate pairs."""

_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str) -> str:
    """The text on one line, its control characters as escapes: nothing in it moves the cursor or changes colours."""
    return _UNSEEN.sub(_escape, text)


def block(text: str) -> list[str]:
    """The same for a text of several lines; tabs become blanks."""
    return [visible(line.expandtabs(4)) for line in text.split("\n")]


def of_bytes(data: bytes) -> str:
    """Bytes as text; those that are none as escapes."""
    return data.decode("utf-8", "backslashreplace")


def json_safe(text: str) -> str:
    """A JSON text without control characters that a terminal would obey; still the same JSON."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _NAMED.get(match[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def cells(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(letter) for letter in text)


def _cells(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def clip(text: str, width: int, mark: str = "…") -> str:
    """The text in at most so many cells; where it is cut, a mark of one cell stands at the end."""
    if cells(text) <= width:
        return text
    taken, room = [], max(width, 1) - 1
    for letter in text:
        room -= _cells(letter)
        if room < 0:
            break
        taken.append(letter)
    return "".join(taken) + mark


def pad(text: str, width: int, *, right: bool = False) -> str:
    """The text filled with blanks up to a width in cells."""
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def took(seconds: float) -> str:
    """A measured duration: `4ms`, `3.21s`, `41.3s`, `2m 04s`, `3h 05m`, `2d 04h`."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    if seconds < 9.995:
        return f"{seconds:.2f}s"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def age(seconds: float) -> str:
    """How long ago, in one unit: `3s`, `41m`, `6h`, `12d`."""
    whole = max(int(seconds), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= 2 * size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def iso(at: float) -> str:
    """An instant for programs: `2026-01-02T12:03:38.120Z`."""
    whole, thousandths = divmod(round(at * 1000), 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{thousandths:03}Z"


def stamp(at: float) -> str:
    """An instant for people: `2026-01-02 12:03:38Z`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z"


def clock(at: float) -> str:
    """The time of day: `12:03:38.120`."""
    return iso(at)[11:23]


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 run`, `1,200 runs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
