"""`holdfast logs`: what runs wrote, and with `-f` what they write."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer

from holdfast.cli import given, text
from holdfast.cli.app import Usage
from holdfast.cli.output import Output, Style, plain
from holdfast.cli.session import connected, group, resolve
from holdfast.client import Client
from holdfast.wire.api import LogRow, LogsQuery

app = group()

MOST = 10_000
"""The most that the daemon gives at once."""


class Level(StrEnum):
    """The levels of `logging`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


NUMBERS = {Level.DEBUG: 10, Level.INFO: 20, Level.WARNING: 30, Level.ERROR: 40, Level.CRITICAL: 50}
SHOWN = {
    10: ("DEBUG", Style.DIM),
    20: ("INFO", None),
    30: ("WARN", Style.WARN),
    40: ("ERROR", Style.BAD),
    50: ("CRIT", Style.BAD),
}


@connected(app)
async def logs(
    client: Client,
    out: Output,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")] = False,
    run: Annotated[str, typer.Option("--run", "-r", metavar="RUN", help="Of this run.")] = "",
    task: Annotated[str, typer.Option("--task", "-t", help="Of this task.")] = "",
    level: Annotated[Level, typer.Option("--level", "-l", help="At least.")] = Level.DEBUG,
    grep: Annotated[str, typer.Option("--grep", "-g", metavar="REGEX", help="Lines in which this is found.")] = "",
    since: given.Since = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=MOST, help="The newest so many lines.")] = 200,
) -> None:
    """Print what runs wrote, oldest first."""
    pattern = _pattern(grep)
    run_id = await resolve(client, run) if run else ""
    least = NUMBERS[level] if level is not Level.DEBUG else 0

    def wanted(row: LogRow) -> bool:
        return row.line.level >= least and (pattern is None or pattern.search(row.line.text) is not None)

    asked = MOST if pattern is not None else limit
    page = await client.logs(
        LogsQuery(run=run_id, task=task, level=least, since=given.since(since), limit=max(asked, 1))
    )
    found = [row for row in page.rows if wanted(row)]
    _print(found[-limit:] if limit else [], out, one_run=bool(run))
    if not follow:
        if not found:
            out.note("no line matches")
        return
    async for row in client.follow_logs(task=task or "*", run=run_id or "*", after=page.last_seq):
        if wanted(row):
            _print([row], out, one_run=bool(run))


def _pattern(grep: str) -> re.Pattern[str] | None:
    try:
        return re.compile(grep) if grep else None
    except re.error as error:
        raise Usage(f"--grep: expected a regular expression, found {grep!r}: {error}") from None


def _print(rows: Iterable[LogRow], out: Output, *, one_run: bool) -> None:
    for row in rows:
        if out.json:
            line = plain(row.line)
            out.record({"seq": row.seq, "run": row.run, "task": row.task, "attempt": row.attempt, **line})
        else:
            out.line(_line(row, out, one_run=one_run))


def _line(row: LogRow, out: Output, *, one_run: bool) -> str:
    word, style = SHOWN.get(row.line.level // 10 * 10, (str(row.line.level), None))
    where = "" if one_run else f"{text.visible(row.task)} {row.run[-8:]}"
    origin = " ".join(part for part in (where, text.visible(row.line.key)) if part)
    pieces = [
        out.paint(text.clock(row.line.at), Style.DIM),
        out.paint(word.ljust(5), style),
        out.paint(origin, Style.DIM) if origin else "",
        out.paint(text.visible(row.line.text.rstrip("\n")), style),
    ]
    return "  ".join(piece for piece in pieces if piece)
