"""`holdfast metrics`: how much was done and how long it took, over time."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from holdfast.cli import given, text
from holdfast.cli.output import Cell, Column, Output, Style
from holdfast.cli.session import connected, group
from holdfast.client import Client
from holdfast.core.model import Seconds
from holdfast.wire.api import Metrics, MetricsQuery

app = group()

ROWS = 30
"""So many buckets at most where no step is given."""

STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
"""Steps that are chosen of then."""

COLUMNS = (
    Column("FROM"),
    Column("CREATED", right=True),
    Column("STARTED", right=True),
    Column("ENDED", right=True),
    Column("FAILED", right=True),
    Column("WAITING", right=True),
    Column("RUNNING", right=True),
    Column("P50", right=True),
    Column("P95", right=True),
)


@connected(app)
async def metrics(
    client: Client,
    out: Output,
    since: Annotated[
        float, typer.Option("--since", parser=given.seconds, metavar="AGE", help="How far back, e.g. 15m, 1h, 7d.")
    ] = 3600.0,
    step: Annotated[
        float | None, typer.Option("--step", parser=given.seconds, metavar="TIME", help="Of one row, e.g. 30s, 1h.")
    ] = None,
    queue: Annotated[str, typer.Option("--queue", "-q", help="Of this queue; * stands for any characters.")] = "",
    task: Annotated[str, typer.Option("--task", "-t", help="Of this task; * stands for any characters.")] = "",
) -> None:
    """How much was done and how long it took, over time."""
    query = _query(since, _step(since) if step is None else step, queue, task)
    found = await client.metrics(query)
    if out.json:
        out.record(_record(found))
        return
    out.table(COLUMNS, [_row(found, number) for number in range(len(found.at))])
    if found.worst:
        out.line()
        out.table((Column("SLOWEST"), Column("P95", right=True)), [(name, text.took(p95)) for name, p95 in found.worst])


def _step(since: Seconds) -> Seconds:
    return next((step for step in STEPS if since / step <= ROWS), since / ROWS)


def _query(since: Seconds, step: Seconds, queue: str, task: str) -> MetricsQuery:
    """From a whole step on, so that rows are the same ones a moment later."""
    now = time.time()
    begin = now - since
    return MetricsQuery(since=begin - begin % step if step > 0 else begin, until=now, step=step, queue=queue, task=task)


def _row(found: Metrics, number: int) -> list[Cell | str]:
    failed, p50, p95 = found.failed[number], found.p50[number], found.p95[number]
    return [
        text.stamp(found.at[number]),
        f"{found.created[number]:,}",
        f"{found.started[number]:,}",
        f"{found.ended[number]:,}",
        Cell(f"{failed:,}", Style.BAD if failed else None),
        f"{found.waiting[number]:,}",
        f"{found.running[number]:,}",
        "-" if p50 is None else text.took(p50),
        "-" if p95 is None else text.took(p95),
    ]


def _record(found: Metrics) -> dict[str, object]:
    names = ("at", "created", "started", "ended", "failed", "waiting", "running", "p50", "p95")
    columns = [getattr(found, name) for name in names]
    return {
        "step": found.step,
        "buckets": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)],
        "worst": [{"queue": queue, "p95": p95} for queue, p95 in found.worst],
    }
