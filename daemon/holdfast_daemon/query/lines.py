"""Log lines asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.core import ids
from holdfast.wire.api import LogLine, LogRow, LogsQuery
from holdfast_daemon.projection.rows import instant
from holdfast_daemon.query.sql import SKEW, Span, Statement, Where, limited

LINES_MOST = 10_000
"""The largest page."""

LINE = ("run_id", "task", "attempt", "seq", "written_at", "level", "stream", "text", "key")
"""Columns of `logs` that make a row."""


def lines(query: LogsQuery, span: Span | None = None) -> Statement:
    """The newest lines that a query means, newest first.

    Args:
        span: of the run that is asked for. Where its id is all that is known of it, its beginning is read from that.
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
    if query.level > 0:
        where.add("level >= ?", query.level)
    if query.text:
        where.add("contains(lower(text), lower(?))", query.text)
    limit = limited(query.limit, LINES_MOST)
    sql = f"SELECT {', '.join(LINE)} FROM logs{where} ORDER BY written_at DESC, seq DESC, line DESC LIMIT {limit}"
    return Statement(sql, where.parameters)


def line(values: Mapping[str, Any]) -> LogRow:
    """A log line, of the columns `LINE`."""
    told = LogLine(instant(values["written_at"]), values["level"], values["stream"], values["text"], values["key"])
    return LogRow(values["seq"], values["run_id"], values["task"], values["attempt"], told)
