"""`holdfast schedules`: list, create, change, delete, pause, resume, run, next. None of it needs the daemon."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from holdfast.cli import given, text
from holdfast.cli.app import Usage
from holdfast.cli.output import Cell, Column, Output, Style, state
from holdfast.cli.session import connected, group
from holdfast.client import Client
from holdfast.core.model import FIRST_PRIORITY, LAST_PRIORITY
from holdfast.core.schedule import CATCH_UP, Overlap
from holdfast.errors import DefinitionError, UnknownSchedule
from holdfast.scheduling import MOST
from holdfast.ticks import Cron, Every
from holdfast.wire.schedules import ScheduleRow

app = group("List, create, change, delete, pause and resume schedules; run one by hand; look ahead.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of a schedule.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME", help="Of schedules.")]

COLUMNS = (
    Column("SCHEDULE", cut=True),
    Column("TASK", cut=True),
    Column("WHEN"),
    Column("ZONE"),
    Column("STATE"),
    Column("NEXT"),
    Column("LAST"),
    Column("LAST RUN"),
    Column("MISSED", right=True),
    Column("SKIPPED", right=True),
    Column("BY", cut=True),
)

STYLES = {"active": Style.GOOD, "paused": Style.WARN, "behind": Style.BAD}


@connected(app, "list")
async def list_(client: Client, out: Output) -> None:
    """Schedules as they stand. NEXT counts jitter in; MISSED came too late to be caught up with; SKIPPED did not run,
    as the run before had not ended or a later tick stood for it."""
    rows = await client.schedules()
    if out.json:
        out.records(rows)
    elif rows:
        now = time.time()
        out.table(COLUMNS, [_row(row, now) for row in rows])
    if not rows:
        out.note("no schedules: declare one with @task(schedule=...), or see `holdfast schedules create --help`")
    if any(row.state == "behind" for row in rows):
        out.note("behind: a tick has fired and nobody parked the next one: is the daemon running (`holdfast up`)?")


def _row(row: ScheduleRow, now: float) -> list[Cell | str]:
    return [
        row.name,
        row.task,
        row.when,
        row.tz,
        Cell(row.state, STYLES.get(row.state)),
        _next(row, now),
        text.stamp(row.last_at) if row.last_at is not None else "-",
        state(row.last_state) if row.last_state is not None else "-",
        Cell(f"{row.missed:,}", Style.WARN if row.missed else None),
        f"{row.skipped:,}",
        row.by or ("task" if row.declared else ""),
    ]


def _next(row: ScheduleRow, now: float) -> str:
    """When it is due, and in how long."""
    if row.next_at is None:
        return "-"
    return f"{text.stamp(row.next_at)} in {text.age(row.next_at - now)}" if row.next_at > now else "now"


@connected(app)
async def create(
    client: Client,
    out: Output,
    name: Name,
    task: Annotated[str, typer.Option("--task", "-t", metavar="TASK", help="Whose runs it starts.")],
    cron: Annotated[
        str | None, typer.Option("--cron", metavar="EXPR", help='Five fields like "*/5 * * * *", six with seconds.')
    ] = None,
    every: Annotated[
        float | None, typer.Option("--every", parser=given.seconds, metavar="DURATION", help="Or: every 30s, 5m, 2h.")
    ] = None,
    tz: Annotated[str, typer.Option("--tz", metavar="ZONE", help="In which the cron expression is meant.")] = "UTC",
    payload: Annotated[
        str | None, typer.Option("--payload", metavar="JSON|@FILE|-", help="Arguments by name, of each run.")
    ] = None,
    overlap: Annotated[
        str,
        typer.Option("--overlap", metavar="RULE", help=f"While the run before has not ended: {', '.join(Overlap)}."),
    ] = Overlap.SKIP.value,
    catch_up: Annotated[
        float,
        typer.Option(
            "--catch-up",
            parser=given.seconds,
            metavar="DURATION",
            help="How late a missed tick may run. Default: 1h.",
            show_default=False,
        ),
    ] = CATCH_UP,
    jitter: Annotated[
        float,
        typer.Option(
            "--jitter",
            parser=given.seconds,
            metavar="DURATION",
            help="Within how long after its time a tick is due. Default: none.",
            show_default=False,
        ),
    ] = 0.0,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="Another queue than the task's own.")] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=FIRST_PRIORITY, max=LAST_PRIORITY, help="0 first, 9 last.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Change it, where an operator created it before.")] = False,
) -> None:
    """Have a task run at certain times, without changing its code."""
    when = _when(cron, every, tz, overlap, catch_up, jitter)
    arguments = None if payload is None else given.payload_of(payload)
    await client.create_schedule(name, task, when, arguments, queue=queue, priority=priority, replace=replace)
    await _show(client, out, name, "created")


def _when(cron: str | None, every: float | None, tz: str, overlap: str, catch_up: float, jitter: float) -> Cron | Every:
    """Raises: Usage: that can't be."""
    if (cron is None) is (every is None):
        found = "neither" if cron is None else "both"
        raise Usage(f'expected either --cron "EXPR" or --every DURATION, found {found}')
    try:
        if cron is not None:
            return Cron(cron, tz=tz, overlap=overlap, catch_up=catch_up, jitter=jitter)
        assert every is not None
        return Every(every, tz=tz, overlap=overlap, catch_up=catch_up, jitter=jitter)
    except DefinitionError as error:
        raise Usage(str(error)) from None


@connected(app)
async def change(
    client: Client,
    out: Output,
    name: Name,
    cron: Annotated[
        str | None, typer.Option("--cron", metavar="EXPR", help='Five fields like "*/5 * * * *", six with seconds.')
    ] = None,
    every: Annotated[
        float | None, typer.Option("--every", parser=given.seconds, metavar="DURATION", help="Or: every 30s, 5m, 2h.")
    ] = None,
    tz: Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="Another zone.")] = None,
    overlap: Annotated[
        str | None, typer.Option("--overlap", metavar="RULE", help=f"Another rule: {', '.join(Overlap)}.")
    ] = None,
    catch_up: Annotated[
        float | None,
        typer.Option("--catch-up", parser=given.seconds, metavar="DURATION", help="How late a missed tick may run."),
    ] = None,
    jitter: Annotated[
        float | None,
        typer.Option("--jitter", parser=given.seconds, metavar="DURATION", help="Within how long a tick is due."),
    ] = None,
) -> None:
    """Change when a schedule that an operator created ticks; what is not said stays as it is, as does its payload."""
    rows = {row.name: row for row in await client.schedules()}
    if name not in rows:
        raise UnknownSchedule(f"no schedule {text.visible(name)!r}: see `holdfast schedules list`")
    row = rows[name]
    if cron is None and every is None:
        cron, every = (None, row.every) if row.every is not None else (row.when, None)
    when = _when(
        cron,
        every,
        row.tz if tz is None else tz,
        row.overlap if overlap is None else overlap,
        row.catch_up if catch_up is None else catch_up,
        row.jitter if jitter is None else jitter,
    )
    await client.reschedule(name, when)
    await _show(client, out, name, "changed")


@connected(app)
async def delete(client: Client, out: Output, name: Names) -> None:
    """Delete schedules that operators created; runs that they started go on."""
    for one in name:
        await client.delete_schedule(one)
        out.record({"schedule": one, "deleted": True}) if out.json else out.line(f"{text.visible(one)}  deleted")


@connected(app)
async def pause(client: Client, out: Output, name: Names) -> None:
    """Let no ticks come about; what would have come meanwhile counts as nothing."""
    for one in name:
        await client.pause_schedule(one)
        await _show(client, out, one, "paused")


@connected(app)
async def resume(client: Client, out: Output, name: Names) -> None:
    """Let ticks come about again, from now on."""
    for one in name:
        await client.resume_schedule(one)
        await _show(client, out, one, "resumed")


async def _show(client: Client, out: Output, name: str, verb: str) -> None:
    """Say what was done to a schedule, and what comes next."""
    (row,) = [row for row in await client.schedules() if row.name == name]
    if out.json:
        out.record(row)
        return
    next_ = f", next {text.stamp(row.next_at)}" if row.next_at is not None else ""
    out.line(f"{text.visible(name)}  {verb}{next_}")


@connected(app)
async def run(client: Client, out: Output, name: Name) -> None:
    """Start a run as the schedule would, now, paused or not, and print its id."""
    handle = await client.run_schedule(name)
    out.record({"schedule": name, "run": handle.id}) if out.json else out.line(handle.id)


@connected(app, "next")
async def next_(
    client: Client,
    out: Output,
    name: Name,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=MOST, help="How many.")] = 5,
) -> None:
    """The next times of a schedule, in its zone and in UTC, paused or not; without its jitter."""
    for at in await client.next_ticks(name, count):
        utc = at.astimezone(UTC)
        if out.json:
            out.record({"schedule": name, "at": at.timestamp(), "local": at.isoformat()})
        else:
            out.line(f"{_local(at)}  {utc:%Y-%m-%d %H:%M:%SZ}")


def _local(at: datetime) -> str:
    return f"{at:%a %Y-%m-%d %H:%M:%S %z} {at.tzname() or ''}".rstrip()
