"""How a line of output looks: in a list, and as a whole record."""

from __future__ import annotations

import msgspec

from holdfast.core.model import Instant
from holdfast.wire.api import LogRow
from holdfast_tui.format import LEVELS, Cell, clean, clock, date, lines, short
from holdfast_tui.sieve import Sieve
from holdfast_tui.widgets.lines import Look
from holdfast_tui.writing import plain

LONGEST = 20_000
"""Characters of a line that are shown in a list; the record has them all."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A line as files have it."""

    at: Instant
    level: str
    queue: str
    task: str
    run: str
    attempt: int
    step: str
    stream: str
    text: str
    seq: int
    """Of its message in the stream of output."""
    number: int
    """Which line of that message."""


def written(row: LogRow) -> Written:
    line = row.line
    return Written(
        at=line.at,
        level=level_of(line.level)[0],
        queue=row.queue,
        task=row.task,
        run=row.run,
        attempt=row.attempt,
        step=line.key,
        stream=line.stream,
        text=line.text,
        seq=row.seq,
        number=row.number,
    )


COPIES = (("r", "text"), ("i", "id of its run"), ("j", "JSON"), ("c", "command"))


def copied(row: LogRow, letter: str) -> str:
    """What a letter of `COPIES` means of a line."""
    match letter:
        case "i":
            return row.run
        case "j":
            return msgspec.json.encode(plain(written(row))).decode()
        case "c":
            return f"holdfast logs --run {row.run}"
    return row.line.text.rstrip("\n")


def level_of(number: int) -> Cell:
    """A level in five letters, with its role."""
    return LEVELS.get(number // 10 * 10, (str(number)[:5], ""))


def head(row: LogRow) -> tuple[Cell, ...]:
    """What stands before a line in the list."""
    level = level_of(row.line.level)
    return (clock(row.line.at, millis=True), "dim"), level, (row.queue, ""), (row.task, ""), (short(row.run), "")


def look(row: LogRow, sieve: Sieve) -> Look:
    """A line in the list, with what is looked for underlined."""
    role = level_of(row.line.level)[1]
    role = role if role != "dead" else "fail"
    step = row.line.key.rpartition("/")[2].removesuffix("#1")
    first, *more = (
        _pieces(line, role, sieve) for line in row.line.text[:LONGEST].expandtabs(4).rstrip("\n").split("\n")
    )
    lead: tuple[Cell, ...] = ((f"{clean(step)}: ", role),) if step else ()
    return Look(
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
        ("written", f"{date(line.at)}  {clock(line.at, millis=True)}"),
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
