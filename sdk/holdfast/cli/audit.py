"""`holdfast audit`: who paused, retried, cancelled what; newest first."""

from __future__ import annotations

from typing import Annotated

import msgspec.structs
import typer

from holdfast.cli import given, text
from holdfast.cli.output import Cell, Column, Output, Style
from holdfast.cli.session import connected, group
from holdfast.client import Client
from holdfast.wire.api import AuditEntry, AuditQuery

app = group("List who paused, retried, cancelled what.")

PAGE = 500

COLUMNS = (
    Column("TIME"),
    Column("WHO", cut=True),
    Column("FROM", cut=True),
    Column("ACTION"),
    Column("TARGET", cut=True),
    Column("N", right=True),
    Column("RESULT", cut=True),
    Column("REASON", cut=True),
    Column("COMMAND", cut=True),
)


@connected(app)
async def audit(
    client: Client,
    out: Output,
    since: given.Since = None,
    until: Annotated[
        float | None, typer.Option("--until", parser=given.seconds, metavar="AGE", help="Not newer, e.g. 15m, 2h.")
    ] = None,
    who: Annotated[
        str, typer.Option("--who", "-w", help="By this user, or the bearer of this token; `*`: any text.")
    ] = "",
    via: Annotated[str, typer.Option("--via", help="With tui, cli, http or sdk.")] = "",
    action: Annotated[
        str, typer.Option("--action", "-a", help="E.g. pause, retry, cancel, secret-set, schedule-*; `*`: any text.")
    ] = "",
    target: Annotated[
        str,
        typer.Option("--target", "-t", help="Done to this run, queue, worker, ..., by its whole name; `*`: any text."),
    ] = "",
    grep: Annotated[
        str, typer.Option("--grep", "-g", metavar="TEXT", help="Part of a target, the reason, the filter, the command.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
) -> None:
    """Who paused, retried, cancelled what, newest first: a change to many things at once is one line."""
    query = AuditQuery(
        since=given.since(since), until=given.since(until), who=who, via=via, action=action, target=target, text=grep
    )
    entries, total = await _pages(client, query, limit)
    if out.json:
        out.records(entries)
    elif entries:
        out.table(COLUMNS, [_row(entry) for entry in entries])
    if not entries:
        out.note("nothing that was done matches")
    elif total > len(entries) and out.tty:
        out.note(f"{len(entries):,} of {total:,}; --limit shows more")


async def _pages(client: Client, query: AuditQuery, limit: int) -> tuple[list[AuditEntry], int]:
    """The newest entries that match, page by page, and how many match in all."""
    found: list[AuditEntry] = []
    while True:
        before = found[-1].seq if found else None
        most = min(limit - len(found), PAGE)
        page = await client.audit(msgspec.structs.replace(query, before=before, limit=most))
        found += page.entries
        if not page.more or not page.entries or len(found) >= limit:
            return found, max(page.total, len(found))


def _row(entry: AuditEntry) -> list[Cell | str]:
    return [
        text.stamp(entry.at),
        entry.who,
        " ".join(part for part in (entry.via, entry.address or entry.host) if part),
        entry.action,
        f"{entry.kind} {_target(entry)}".rstrip(),
        f"{entry.count:,}",
        result(entry),
        entry.reason,
        entry.command,
    ]


def _target(entry: AuditEntry) -> str:
    """What it was done to: the one thing, how they were chosen, or the first of them."""
    if entry.filter:
        return entry.filter
    first, *others = entry.targets or ("",)
    more = max(entry.count, len(entry.targets)) - 1
    return f"{first} and {more:,} more" if others or more > 0 else first


def result(entry: AuditEntry) -> Cell:
    """How many were accepted and refused, and why."""
    if entry.accepted == entry.count:
        return Cell("ok", Style.GOOD)
    parts = [f"{entry.accepted:,} ok"] if entry.accepted else []
    if entry.refused:
        parts.append(f"{entry.refused:,} refused: {entry.why}")
    if left := entry.count - entry.accepted - entry.refused:
        parts.append(f"{left:,} not reached")
    return Cell(", ".join(parts), Style.WARN if entry.accepted else Style.BAD)
