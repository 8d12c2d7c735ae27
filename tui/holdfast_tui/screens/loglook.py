"""How a line of output looks: in a list, and as a whole record."""

from __future__ import annotations

from holdfast.wire.api import LogRow
from holdfast_tui.format import LEVELS, Cell, clean, clock, date, lines, short
from holdfast_tui.sieve import Sieve
from holdfast_tui.widgets.lines import Look

LONGEST = 20_000
"""Characters of a line that are shown in a list; the record has them all."""


def level_of(number: int) -> Cell:
    """A level in five letters, with its role."""
    return LEVELS.get(number // 10 * 10, (str(number)[:5], ""))


def look(row: LogRow, sieve: Sieve) -> Look:
    """A line in the list, with what is looked for underlined."""
    level = level_of(row.line.level)
    role = level[1] if level[1] != "dead" else "fail"
    step = row.line.key.rpartition("/")[2].removesuffix("#1")
    first, *more = (
        _pieces(line, role, sieve) for line in row.line.text[:LONGEST].expandtabs(4).rstrip("\n").split("\n")
    )
    lead: tuple[Cell, ...] = ((f"{clean(step)}: ", role),) if step else ()
    return Look(
        ((clock(row.line.at, millis=True), "dim"), level, (row.queue, ""), (row.task, ""), (short(row.run), "")),
        lead + first,
        tuple(more),
        f"  (+{len(more)} line{'s' * (len(more) > 1)}, enter)" if more else "",
    )


def _pieces(text: str, role: str, sieve: Sieve) -> tuple[Cell, ...]:
    pieces: list[Cell] = []
    at = 0
    for start, end in sieve.spans(text):
        pieces += [(clean(text[at:start]), role), (clean(text[start:end]), f"{role} match".strip())]
        at = end
    return (*(piece for piece in pieces if piece[0]), (clean(text[at:]), role))


def told_record(row: LogRow) -> tuple[str, list[Cell]]:
    """Title and lines of everything that is known of a line."""
    line = row.line
    level, role = level_of(line.level)
    facts = (
        ("written", f"{date(line.at)[:-1]}{clock(line.at, millis=True)[8:]}Z"),
        ("level", f"{level} ({line.level})"),
        ("stream", line.stream),
        ("task", row.task),
        ("queue", row.queue),
        ("run", row.run),
        ("attempt", str(row.attempt)),
        ("step", line.key),
        ("stored as", f"message {row.seq}, line {row.number + 1} of it"),
    )
    text: list[Cell] = [(piece, role if role != "dead" else "fail") for piece in lines(line.text.rstrip("\n"))]
    told: list[Cell] = [(f"{name:<9} {clean(value)}", "") for name, value in facts if value]
    return f"line of {clean(row.task)} {short(row.run)} ─ enter opens the run, esc closes", [*text, ("", ""), *told]
