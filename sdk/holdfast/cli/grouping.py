"""`holdfast dlq groups`: dead letters by kind of error."""

from __future__ import annotations

import time
from collections.abc import Sequence

from holdfast.cli import given, text
from holdfast.cli.dlq import Error, Queue, Tasks, letters_of
from holdfast.cli.output import Cell, Column, Output, Style
from holdfast.cli.session import connected, group
from holdfast.client import Client
from holdfast.wire.api import LetterGroup

app = group()


@app.callback()
def _beside_others() -> None:
    """One command alone would be the group itself."""


COLUMNS = (
    Column("LETTERS", right=True),
    Column("ERROR", cut=True),
    Column("TASK", cut=True),
    Column("QUEUE", cut=True),
    Column("FIRST", right=True),
    Column("LAST", right=True),
    Column("NEWEST"),
)


@connected(app)
async def groups(
    client: Client,
    out: Output,
    task: Tasks = None,
    queue: Queue = "",
    error: Error = "",
    since: given.Since = None,
) -> None:
    """Dead letters by kind of error: one whose messages differ in numbers, ids and quoted texts only."""
    found = await client.letter_groups(letters_of(task, queue, error, since))
    if out.json:
        out.records(found.groups)
    elif found.groups:
        now = time.time()
        out.table(COLUMNS, [_row(group, now, out) for group in found.groups])
    if not found.groups:
        out.note("no dead letter matches")
    elif out.tty:
        shown = f"{len(found.groups):,} of " if found.kinds > len(found.groups) else ""
        out.note(f"{text.count(found.total, 'letter')}, {shown}{text.count(found.kinds, 'kind')} of error")


def _row(group: LetterGroup, now: float, out: Output) -> list[Cell | str]:
    kind = group.error_type.rpartition(".")[2]
    return [
        f"{group.count:,}",
        Cell(f"{kind}: {group.pattern}" if kind else group.pattern, Style.BAD),
        _first(group.tasks),
        _first(group.queues),
        text.age(now - group.first_at),
        text.age(now - group.last_at),
        out.run(group.example),
    ]


def _first(names: Sequence[str]) -> str:
    """The first name, and how many there are beside it."""
    return f"{names[0]} +{len(names) - 1}" if len(names) > 1 else "".join(names)
