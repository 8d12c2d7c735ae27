"""Questions about log lines as SQL: the newest that match, by when they were written or by when they were stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.core import ids
from holdfast.wire.api import LogLine, LogRow, LogsQuery
from holdfast_daemon.projection.rows import instant
from holdfast_daemon.query.sql import SKEW, Span, Statement, Where, limited

LINES_MOST = 10_000
"""The largest page."""

LINE = ("run_id", "task", "attempt", "seq", "written_at", "level", "stream", "text", "key", "line", "queue")
"""Columns of `logs` that make a row."""


def lines(query: LogsQuery, span: Span | None = None) -> Statement:
    """The newest lines that a query means, newest first, one more than asked where there are more.

    Args:
        span: of the run that is asked for. Where its id is all that is known of it, its beginning is read from that.

    Raises:
        ValueError: the limit is out of bounds.
    """
    where = Where()
    if query.run:
        begin = span.begin if span else ids.instant(query.run) if ids.is_run_id(query.run) else None
        end = None if span is None or span.end is None else span.end + SKEW
        where.between("written_at", None if begin is None else begin - SKEW, end)
        where.add("run_id = ?", query.run)
    where.between("written_at", query.since, query.until)
    if query.task:
        where.add("task = ?", query.task)
    where.named("task", query.tasks)
    where.named("queue", query.queues)
    if query.level > 0:
        where.add("level >= ?", query.level)
    if query.below > 0:
        where.add("level < ?", query.below)
    for word in (query.text, *query.words):
        where.holds(("text",), (word,) if word else ())
    where.holds_not(("text",), query.without)
    for pattern in query.patterns:
        where.add("regexp_matches(text, ?)", pattern)
    if query.before is not None:
        seq, number = query.before
        where.add("seq <= ? AND (seq < ? OR line < ?)", seq, seq, number)
    if query.after is not None:
        where.add("seq > ?", query.after)
    order = "seq DESC, line DESC" if query.stored else "written_at DESC, seq DESC, line DESC"
    limit = limited(query.limit, LINES_MOST) + 1
    sql = f"SELECT {', '.join(LINE)} FROM logs{where} ORDER BY {order} LIMIT {limit}"
    return Statement(sql, where.parameters)


def line(values: Mapping[str, Any]) -> LogRow:
    """A log line, of the columns `LINE`."""
    told = LogLine(instant(values["written_at"]), values["level"], values["stream"], values["text"], values["key"])
    return LogRow(
        values["seq"], values["run_id"], values["task"], values["attempt"], told, values["line"], values["queue"] or ""
    )
