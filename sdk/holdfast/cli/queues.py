"""`holdfast queues`: list, pause, resume, limit, purge, why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from msgspec.structs import replace

from holdfast.cli import text
from holdfast.cli.app import Usage
from holdfast.cli.output import Cell, Column, Output, Style
from holdfast.cli.session import RunName, ask, connected, group
from holdfast.client import Client
from holdfast.core.admission import QueueLimits
from holdfast.core.model import Rate
from holdfast.quantities import rate as rate_of
from holdfast.quantities import readable_rate
from holdfast.wire.api import QueueRow

app = group("List, pause, resume, limit and purge queues; say why a run waits.")

Names = Annotated[list[str], typer.Argument(metavar="QUEUE", help="Names of queues.")]

COLUMNS = (
    Column("QUEUE", cut=True),
    Column("STATE"),
    Column("DEPTH", right=True),
    Column("OLDEST", right=True),
    Column("RUN", right=True),
    Column("LIMIT", right=True),
    Column("RATE", right=True),
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
        _limit(queue),
        readable_rate(queue.rate) if queue.rate is not None else "-",
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


def _limit(queue: QueueRow) -> str:
    """How many runs may run at once, and of each key."""
    whole = f"{queue.limit:,}" if queue.limit is not None else "-"
    return whole if queue.key_limit is None else f"{whole} ({queue.key_limit:,}/key)"


def _state(queue: QueueRow) -> Cell:
    """Why it does not run freely, if so."""
    match queue.limited_by:
        case "":
            return Cell("ok", Style.GOOD)
        case "no worker":
            return Cell("NO WORKER", Style.BAD)
        case "queue limit" | "queue rate" if not queue.depth:
            return Cell("ok", Style.GOOD)
        case "queue limit":
            return Cell("AT LIMIT", Style.WARN)
        case "queue rate":
            return Cell("AT RATE", Style.WARN)
        case cause:
            return Cell(cause.upper(), Style.WARN)


@connected(app)
async def pause(client: Client, out: Output, queue: Names) -> None:
    """Start nothing new; what runs goes on."""
    await _pause(client, out, queue, paused=True)


@connected(app)
async def resume(client: Client, out: Output, queue: Names) -> None:
    """Start runs again."""
    await _pause(client, out, queue, paused=False)


@connected(app)
async def limit(
    client: Client,
    out: Output,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Its name.")],
    concurrency: Annotated[
        str | None, typer.Option("--concurrency", "-c", metavar="N|none", help="Runs at once, over all workers.")
    ] = None,
    per_key: Annotated[
        str | None, typer.Option("--per-key", metavar="N|none", help="Runs at once of each concurrency key.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="RATE|none", help="Starts, e.g. 50/s, 600/m, 100/15s.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="What the configuration says again.")] = False,
) -> None:
    """Set limits of a queue, from now on and over restarts; what runs goes on. Without options: show what was set."""
    given_any = any(option is not None for option in (concurrency, per_key, rate))
    if reset and given_any:
        raise Usage("--reset: expected no other limit beside it: it takes back all that was set")
    if reset:
        await client.limit(queue, None)
    elif given_any:
        stands = await _standing(client, queue)
        changed = replace(
            stands,
            concurrency=_bound(concurrency, stands.concurrency, "--concurrency"),
            key_concurrency=_bound(per_key, stands.key_concurrency, "--per-key"),
            rate=_rate(rate, stands.rate),
        )
        await client.limit(queue, changed)
    _show_limits(queue, await client.limits(queue), out)


async def _standing(client: Client, queue: str) -> QueueLimits:
    """The limits that hold now: options that are not given leave theirs as it is."""
    return await client.limits(queue) or await client.configured_limits(queue)


def _bound(text: str | None, now: int | None, option: str) -> int | None:
    if text is None or text == "none":
        return now if text is None else None
    if not text.isdecimal() or int(text) < 1:
        raise Usage(f'{option}: expected a whole number from 1, or none, found "{text}" (0 is `queues pause`)')
    return int(text)


def _rate(text: str | None, now: Rate | None) -> Rate | None:
    if text is None or text == "none":
        return now if text is None else None
    try:
        return rate_of(text)
    except ValueError as error:
        raise Usage(f'--rate: expected {error} (or none), found "{text}"') from None


def _show_limits(queue: str, limits: QueueLimits | None, out: Output) -> None:
    if out.json:
        out.record({"queue": queue, "set": limits})
    elif limits is None:
        out.line(f"{text.visible(queue)}  as configured")
    else:
        parts = [
            f"{limits.concurrency:,} at once" if limits.concurrency is not None else "",
            f"{limits.key_concurrency:,} at once of each key" if limits.key_concurrency is not None else "",
            readable_rate(limits.rate) if limits.rate is not None else "",
        ]
        out.line(f"{text.visible(queue)}  {', '.join(part for part in parts if part) or 'no limit'}")


@connected(app)
async def purge(
    client: Client,
    out: Output,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Its name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded with each run.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many would be cancelled.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Cancel all runs that wait in a queue and have never started; asks for its name first."""
    name = text.visible(queue)
    waiting = await client.purge_queue(queue, dry_run=True) if dry_run or not yes else None
    if dry_run:
        _purged(
            {"queue": queue, "waiting": waiting}, f"{name}  {text.count(waiting or 0, 'run')} would be cancelled", out
        )
        return
    if waiting:
        typed = await ask(f"cancel {text.count(waiting, 'run')} that wait in {name}? type its name to do it: ")
        if typed != queue:
            raise Usage(f'nothing was cancelled: expected "{queue}", found "{typed}"')
    done = 0 if waiting == 0 else await client.purge_queue(queue, reason=reason)
    _purged({"queue": queue, "cancelled": done}, f"{name}  {text.count(done, 'run')} cancelled", out)


def _purged(record: dict[str, object], line: str, out: Output) -> None:
    if out.json:
        out.record(record)
    else:
        out.line(line)


@connected(app)
async def why(client: Client, out: Output, run: RunName) -> None:
    """Why a run does not run, and since when."""
    found = await client.why(run)
    if out.json:
        out.record(found)
        return
    head = f"run {found.run}  {text.visible(found.task)} on {text.visible(found.queue)}  {found.state}"
    out.line(head)
    for reason in found.reasons:
        times = [
            f"since {text.stamp(reason.since)}" if reason.since is not None else "",
            f"until {text.stamp(reason.until)}" if reason.until is not None else "",
        ]
        told = "  ".join(part for part in times if part)
        out.line(f"  {reason.cause.ljust(12)}  {text.visible(reason.text)}{f'  ({told})' if told else ''}")
    if not found.reasons:
        out.line("  nothing holds it back: it is on its way to a worker")


async def _pause(client: Client, out: Output, queues: list[str], *, paused: bool) -> None:
    for queue in queues:
        await client.pause(queue, paused=paused)
        if out.json:
            out.record({"queue": queue, "paused": paused})
        else:
            out.line(f"{text.visible(queue)}  {'paused' if paused else 'resumed'}")
