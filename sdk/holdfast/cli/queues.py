"""`holdfast queues`: list, pause, resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from holdfast.cli import text
from holdfast.cli.output import Cell, Column, Output, Style
from holdfast.cli.session import connected, group
from holdfast.client import Client
from holdfast.wire.api import QueueRow

app = group("List, pause and resume queues.")

Names = Annotated[list[str], typer.Argument(metavar="QUEUE", help="Names of queues.")]

COLUMNS = (
    Column("QUEUE", cut=True),
    Column("STATE"),
    Column("DEPTH", right=True),
    Column("OLDEST", right=True),
    Column("RUN", right=True),
    Column("LIMIT", right=True),
    Column("WAIT", right=True),
    Column("RETRY", right=True),
    Column("DELAY", right=True),
    Column("DEAD", right=True),
    Column("IN/s", right=True),
    Column("OUT/s", right=True),
    Column("P95", right=True),
    Column("WORKERS", right=True),
)

EXTRA = {"compensating": Column("UNDO", right=True), "paused_runs": Column("PAUSED", right=True)}
"""Columns that are there where a count of theirs is not zero: runs that undo their steps, or wait for an operator."""


@connected(app, "list")
async def list_(client: Client, out: Output) -> None:
    """Queues as they stand."""
    found = await client.queues()
    if out.json:
        out.records(found.queues)
    elif found.queues:
        extra = [field for field in EXTRA if any(getattr(queue, field) for queue in found.queues)]
        columns = (*COLUMNS, *(EXTRA[field] for field in extra))
        out.table(columns, [[*_row(queue, found.at), *_counts(queue, extra)] for queue in found.queues])
    if not found.queues:
        out.note("no queues yet: the first run makes one")


def _row(queue: QueueRow, at: float) -> list[Cell | str]:
    return [
        queue.name,
        _state(queue),
        f"{queue.depth:,}",
        text.age(at - queue.oldest) if queue.oldest is not None else "-",
        f"{queue.running:,}",
        f"{queue.limit:,}" if queue.limit is not None else "-",
        f"{queue.waiting:,}",
        f"{queue.retrying:,}",
        f"{queue.delayed:,}",
        Cell(f"{queue.dead:,}", Style.BAD if queue.dead else None),
        f"{queue.in_rate:.1f}",
        f"{queue.out_rate:.1f}",
        text.took(queue.p95) if queue.p95 is not None else "-",
        f"{queue.workers:,}",
    ]


def _counts(queue: QueueRow, fields: Sequence[str]) -> list[Cell | str]:
    counts = [int(getattr(queue, field)) for field in fields]
    return [Cell(f"{runs:,}", Style.WARN if runs else None) for runs in counts]


def _state(queue: QueueRow) -> Cell:
    """Why it does not run freely, if so."""
    if queue.paused:
        return Cell("PAUSED", Style.WARN)
    if queue.depth and not queue.workers:
        return Cell("NO WORKER", Style.BAD)
    if queue.depth and queue.limit is not None and queue.running >= queue.limit:
        return Cell("AT LIMIT", Style.WARN)
    return Cell("ok", Style.GOOD)


@connected(app)
async def pause(client: Client, out: Output, queue: Names) -> None:
    """Start nothing new; what runs goes on."""
    await _pause(client, out, queue, paused=True)


@connected(app)
async def resume(client: Client, out: Output, queue: Names) -> None:
    """Start runs again."""
    await _pause(client, out, queue, paused=False)


async def _pause(client: Client, out: Output, queues: list[str], *, paused: bool) -> None:
    for queue in queues:
        await client.pause(queue, paused=paused)
        if out.json:
            out.record({"queue": queue, "paused": paused})
        else:
            out.line(f"{text.visible(queue)}  {'paused' if paused else 'resumed'}")
