"""Numbers, times and untrusted text as cells of a terminal. Pure; a cell is a text and the role that colours it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size

from holdfast.core.model import Instant, Progress, Seconds, State
from holdfast.core.tree import NodeState
from holdfast.wire.render import render_json

Cell: TypeAlias = tuple[str, str]
"""A text and its role (`theme`); the empty role is plain."""

SPARKS = "▁▂▃▄▅▆▇█"
SHORT = 8
"""How many characters of a run's id lists show: its end, which is random; its beginning is the time."""

STATES: dict[State, Cell] = {
    State.DELAYED: ("delay", "dim"),
    State.QUEUED: ("queue", ""),
    State.RUNNING: ("run", "run"),
    State.WAITING: ("wait", "dim"),
    State.RETRYING: ("retry", "warn"),
    State.COMPENSATING: ("undo", "warn"),
    State.COMPLETED: ("ok", ""),
    State.FAILED: ("FAIL", "fail"),
    State.DEAD: ("DEAD", "dead"),
    State.CANCELLED: ("cancel", "dim"),
    State.EXPIRED: ("EXPIRE", "fail"),
    State.TIMED_OUT: ("TIMEUP", "fail"),
}
"""The word and the role of each state of a run; success has no colour."""

NODES: dict[NodeState, Cell] = {
    NodeState.OK: ("ok", ""),
    NodeState.RUNNING: ("run", "run"),
    NodeState.RETRYING: ("retry", "warn"),
    NodeState.WAITING: ("wait", "dim"),
    NodeState.FAILED: ("FAIL", "fail"),
    NodeState.VOLATILE: ("again", "warn"),
    NodeState.LOST: ("LOST", "dead"),
    NodeState.PAUSED: ("PAUSED", "warn"),
    NodeState.UNDONE: ("undone", "warn"),
    NodeState.ORPHANED: ("orphan", "dim"),
}
"""The same for an await; `again`: its value was not kept, so it runs again on resume; `orphan`: recorded, and the code
took another way."""

PAUSED: Cell = NODES[NodeState.PAUSED]
"""Stands for the state of a run that waits for an operator."""

LEVELS: dict[int, Cell] = {
    10: ("DEBUG", "dim"),
    20: ("INFO", ""),
    30: ("WARN", "warn"),
    40: ("ERROR", "fail"),
    50: ("FATAL", "dead"),
}


def clean(text: str) -> str:
    """Text from outside with nothing in it that a terminal would obey: what is invisible is made visible.

    Control characters become their pictures (␛), other invisible ones (direction marks, zero-width, C1) `\\u202e`.
    """
    if text.isprintable() and "\ufe0f" not in text:
        return text
    return "".join(map(_visible, text))


def _visible(char: str) -> str:
    code = ord(char)
    if code == 0xFE0F or char == "\u00a0":
        return "" if code == 0xFE0F else " "
    if char.isprintable():
        return char
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def lines(text: str) -> list[str]:
    """Text from outside as clean lines; tabs are widened, line ends are where they were."""
    return [clean(line) for line in text.expandtabs(4).replace("\r\n", "\n").split("\n")]


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Clean text in exactly `width` columns, cut or padded."""
    text = clean(text)
    if right and (room := width - cell_len(text)) > 0:
        return " " * room + text
    return set_cell_size(text, width)


def clipped(text: str, most: int) -> str:
    """At most so many characters of a text, the last one a `…` where there were more."""
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def ends(text: str, width: int) -> str:
    """Clean text of at most `width` columns that keeps its end, which tells names apart that begin alike."""
    text = clean(text)
    if cell_len(text) <= width or not text.isascii():
        return text
    behind = (2 * width - 1) // 3
    return f"{text[: max(0, width - 1 - behind)]}…{text[len(text) - behind :]}"


def spread(left: Sequence[Cell], right: Sequence[Cell], width: int) -> list[Cell]:
    """Two groups at both ends of a line of exactly `width` columns; what is on the right stays, the left is cut."""
    tail = sum(cell_len(text) for text, _ in right)
    room = max(0, width - tail)
    cells: list[Cell] = []
    for text, role in left:
        size = min(cell_len(text), room)
        cells.append((set_cell_size(text, size), role))
        room -= size
    cells.append((" " * room, ""))
    cells.extend(right)
    return cells


def wrap(text: str, width: int) -> list[str]:
    """Clean lines cut into pieces of at most `width` columns, behind a space where one is near the end of the piece; in
    time that grows with the text, however long a line."""
    return [piece for line in lines(text) for piece in _pieces(line, width)]


def _pieces(line: str, width: int) -> Iterable[str]:
    if width <= 0 or len(line) * 2 <= width or (len(line) <= width and line.isascii()):
        return (line,)
    return _plain_pieces(line, width) if line.isascii() else _wide_pieces(line, width)


def _plain_pieces(line: str, width: int) -> Iterator[str]:
    """Of a line whose characters take a column each."""
    first = 0
    while len(line) - first > width:
        behind = line.rfind(" ", first + width // 2, first + width) + 1 or first + width
        yield line[first:behind]
        first = behind
    yield line[first:]


def _wide_pieces(line: str, width: int) -> Iterator[str]:
    """Of a line with characters that may take two columns or none."""
    first = used = 0
    for at, char in enumerate(line):
        size = cell_len(char)
        if used + size > width and at > first:
            behind = line.rfind(" ", first + (at - first) // 2, at) + 1 or at
            yield line[first:behind]
            first, used = behind, cell_len(line[behind:at])
        used += size
    yield line[first:]


def short(run: str) -> str:
    return clean(run[-SHORT:])


def error_name(type: str) -> str:
    """The class of an error without its module."""
    return type.rpartition(".")[2]


def count(number: float) -> str:
    """In at most five columns: 904, 2.4k, 18.2k, 640k, 1.2M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            value = number / size
            return f"{value:.1f}".removesuffix(".0") + unit if value < 99.95 else f"{value:.0f}{unit}"
    return f"{number:.0f}"


def rate(number: float) -> str:
    """Events per second: 0, 0.2, 41, 1.2k."""
    if 0 < number < 9.95:
        return f"{number:.1f}".removesuffix(".0")
    return count(number)


def age(seconds: Seconds | None) -> str:
    """How long ago, in at most four columns up to 999 days: 3s, 41m, 6h, 12d; `-` where there is none."""
    if seconds is None:
        return "-"
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.0f}s" if seconds < 59.5 else "1m"
    if seconds < 7200:
        return f"{seconds // 60:.0f}m"
    if seconds < 172_800:
        return f"{seconds // 3600:.0f}h"
    return f"{seconds // 86_400:.0f}d"


def took(seconds: Seconds | None) -> str:
    """A duration in at most six columns: 4ms, 1.1s, 41s, 2m04s, 3h05m, 2d; `-` where there is none."""
    if seconds is None:
        return "-"
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 100 else f"{hours // 24}d"


def offset(seconds: Seconds | None) -> str:
    """When in a run, from its start: +0.05, +12.3, +4m10s."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    return f"+{seconds:.2f}" if seconds < 9.995 else f"+{seconds:.1f}" if seconds < 99.95 else "+" + took(seconds)


class Zone(StrEnum):
    """How times are written."""

    UTC = "UTC"
    LOCAL = "local"
    RELATIVE = "relative"
    """How long ago, or in how long."""


class Times:
    """How the times of a desk are written: one for all its screens, as there is one operator at one terminal."""

    def __init__(self) -> None:
        self.zone = Zone.UTC
        self.now: Instant = 0.0
        """What relative times count from."""

    def turn(self) -> Zone:
        """The next way."""
        zones = list(Zone)
        self.zone = zones[(zones.index(self.zone) + 1) % len(zones)]
        return self.zone

    def at(self, instant: Instant) -> datetime:
        """An instant in the operator's zone, or in UTC."""
        found = datetime.fromtimestamp(instant, UTC)
        return found.astimezone() if self.zone is Zone.LOCAL else found

    def ago(self, instant: Instant) -> str:
        """In at most eight columns: `41m ago`, `in 3s`."""
        past = self.now - instant
        return f"{age(past)} ago" if past >= 0 else f"in {age(-past)}"


TIMES = Times()
"""Those of this process; `z` turns them."""


def clock(at: Instant | None, *, millis: bool = False) -> str:
    """The time of day as `TIMES` says; relative ones in at most eight columns."""
    if at is None:
        return "-"
    if TIMES.zone is Zone.RELATIVE:
        return TIMES.ago(at)
    text = TIMES.at(at).strftime("%H:%M:%S.%f")
    return text[:12] if millis else text[:8]


def time_now(at: Instant) -> str:
    """The time of day just now, which is never relative; `Z` stands for UTC."""
    text = TIMES.at(at).strftime("%H:%M:%S")
    return text if TIMES.zone is Zone.LOCAL else f"{text}Z"


def date(at: Instant | None) -> str:
    """Date and time as `TIMES` says; `Z` stands for UTC."""
    if at is None:
        return "-"
    if TIMES.zone is Zone.RELATIVE:
        return TIMES.ago(at)
    text = TIMES.at(at).strftime("%Y-%m-%d %H:%M:%S")
    return text if TIMES.zone is Zone.LOCAL else f"{text}Z"


def moment(at: Instant, now: Instant) -> str:
    """When something was, in eight columns: the time of day, or of what is longer ago the day and its hour."""
    if TIMES.zone is Zone.RELATIVE or now - at < 86_400:
        return clock(at)
    return TIMES.at(at).strftime("%m-%dT%H")


def minute(at: Instant) -> str:
    """The hour and the minute, in the operator's zone or in UTC."""
    return TIMES.at(at).strftime("%H:%M")


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def spark(values: Sequence[float]) -> str:
    """A block for each value, as high as it is against the highest; nothing at all is a space."""
    most = max(values, default=0)
    if most <= 0:
        return " " * len(values)
    return "".join(" " if value <= 0 else SPARKS[min(7, int(value / most * 7.999))] for value in values)


def bar(start: float, end: float, total: float, width: int, block: str = "█") -> str:
    """A stretch of time within `total` as blocks, at least one."""
    if width <= 0:
        return ""
    if total <= 0:
        return block.ljust(width)
    first = min(width - 1, int(start / total * width))
    size = max(1, min(width - first, round((end - start) / total * width)))
    return (" " * first + block * size).ljust(width)


def progress(made: Progress | None) -> str:
    """How far a run has come: `3/10 resizing`; empty where it does not say."""
    if made is None:
        return ""
    total = f"/{made.total:.6g}" if made.total is not None else ""
    return clean(f"{made.done:.6g}{total} {made.text}".rstrip())


def until(due: Instant, now: Instant) -> str:
    """When a wait ends, short: without its date where that is less than a day from now."""
    if TIMES.zone is Zone.RELATIVE:
        return TIMES.ago(due)
    return f"until {clock(due)}" if due - now < 86_400 else f"until {date(due)[5:16]}"


def value(data: bytes | None) -> str:
    """A value of the journal for reading; empty where there is none."""
    return "" if data is None else render_json(data)


def size(number: float) -> str:
    """Bytes in at most five columns: 212, 4.1K, 200M, 1.2G."""
    for bytes_, unit in ((2**40, "T"), (2**30, "G"), (2**20, "M"), (2**10, "K")):
        if number >= 0.9995 * bytes_:
            value = number / bytes_
            return f"{value:.1f}".removesuffix(".0") + unit if value < 9.95 else f"{value:.0f}{unit}"
    return f"{number:.0f}"
