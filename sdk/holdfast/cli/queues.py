"""`holdfast queues`: list, pause, resume."""

from __future__ import annotations

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


@connected(app, "list")
async def list_(client: Client, out: Output) -> None:
    """Queues as they stand."""
    found = await client.queues()
    if out.json:
        out.records(found.queues)
    elif found.queues:
        out.table(COLUMNS, [_row(queue, found.at) for queue in found.queues])
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
