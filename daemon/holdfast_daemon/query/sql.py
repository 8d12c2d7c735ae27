"""Questions to the history as SQL, pure: parameters only, always a limit, newest first behind a key (keyset pages).

Ids are time-ordered and a time range lets DuckDB pass over most of a table, so nothing here needs an index. What a
query asks that makes no sense raises ValueError in words for whoever asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from holdfast.core import ids
from holdfast.core.model import ErrorInfo, Instant, Origin, Progress, Seconds, State
from holdfast.wire.api import Letter, LettersQuery, LogLine, LogRow, LogsQuery, RunRow, RunsQuery
from holdfast_daemon.projection.rows import instant, utc

RUNS_MOST, LETTERS_MOST, LINES_MOST, CHILDREN_MOST = 1_000, 1_000, 10_000, 1_000
"""The largest pages."""

NEAR: Seconds = 3600.0
"""The newest part of the history, in which a page of runs is looked for first."""

SKEW: Seconds = 3600.0
"""How far the clocks of clients and workers may be apart before log lines or children are missed."""

LISTED = (
    "id",
    "task",
    "queue",
    "priority",
    "state",
    "created_at",
    "started_at",
    "finished_at",
    "due",
    "attempt",
    "steps",
    "worker",
    "parent",
    "source",
    "tags",
    "error_type",
    "error",
    "reason",
    "last_key",
    "paused",
    "waits",
    "done",
    "total",
    "doing",
    "deadline",
    "expires",
    "origin",
    "code",
    "ending",
)
"""Columns of `runs` that a list shows."""

WHOLE = (
    *LISTED,
    "traceback",
    "error_value",
    "payload",
    "result",
    "first",
    "metadata",
    "origin_how",
    "origin_key",
    "hook",
)
"""Columns of `runs` that a view shows."""

LETTER = (
    "id",
    "task",
    "queue",
    "payload",
    "error_type",
    "error",
    "traceback",
    "error_value",
    "reason",
    "attempt",
    "last_key",
    "created_at",
    "finished_at",
)
"""Columns of `runs` that make a dead letter."""

LINE = ("run_id", "task", "attempt", "seq", "written_at", "level", "stream", "text", "key")
"""Columns of `logs` that make a row."""


SPAN = ("created_at", "finished_at")
"""Columns of `runs` that make a span."""


class Statement(NamedTuple):
    """SQL and its parameters."""

    sql: str
    parameters: tuple[object, ...] = ()


class Listing(NamedTuple):
    """A page, one row longer than asked where there is more, and how many match in all."""

    page: Statement
    total: Statement
    near: Statement | None = None
    """The page looked for in the newest part of the history only: right if it comes back full, and cheaper."""


class Span(NamedTuple):
    """When a run was there."""

    begin: Instant
    end: Instant | None


class _Where:
    """Conditions and their parameters, in order."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.parameters: list[object] = []

    def add(self, condition: str, *parameters: object) -> None:
        self._conditions.append(condition)
        self.parameters += parameters

    def one_of(self, column: str, values: Sequence[object]) -> None:
        if values:
            self.add(f"{column} IN ({', '.join('?' * len(values))})", *values)

    def between(self, column: str, since: Instant | None, until: Instant | None) -> None:
        if since is not None:
            self.add(f"{column} >= ?", _time("since", since))
        if until is not None:
            self.add(f"{column} < ?", _time("until", until))

    def behind(self, time: str, id: str, before: tuple[float | None, str] | None) -> None:
        """Only what comes behind a key where both are ordered downwards."""
        if before is not None:
            if before[0] is None:
                raise ValueError("before: expected when the last run of the page before was created, found nothing")
            at = _time("before", before[0])
            self.add(f"{time} <= ? AND ({time} < ? OR {id} < ?)", at, at, before[1])

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def runs(query: RunsQuery, now: Instant) -> Listing:
    """The runs that a query means."""
    limit = _limit(query.limit, RUNS_MOST)
    listing = _listing(LISTED, _runs(query), ("created_at", "id"), query.before, limit)
    newest = min(at for at in (now, query.until, query.before and query.before[0]) if at is not None)
    if query.since is not None and query.since >= newest - NEAR:
        return listing
    near = _runs(msgspec.structs.replace(query, since=newest - NEAR))
    return listing._replace(near=_listing(LISTED, near, ("created_at", "id"), query.before, limit).page)


def _runs(query: RunsQuery) -> _Where:
    where = _Where()
    where.between("created_at", query.since, query.until)
    where.one_of("state", query.states)
    where.one_of("task", query.tasks)
    if query.queue:
        where.add("queue = ?", query.queue)
    if query.worker:
        where.add("worker = ?", query.worker)
    if query.tag:
        where.add("list_contains(tags, ?)", query.tag)
    if query.paused:
        where.add("paused <> ''")
    if query.origin:
        where.add("origin = upper(?)", query.origin)
    if query.code:
        where.add("starts_with(code, ?)", query.code)
    if query.waits:
        where.add("contains(lower(waits), lower(?))", query.waits)
    if query.deadline is not None:
        where.add("deadline <= ?", _time("deadline", query.deadline))
    if query.text:
        where.add(
            "(contains(id, upper(?)) OR contains(lower(task), lower(?)) OR contains(lower(error), lower(?)))",
            *[query.text] * 3,
        )
    return where


def letters(query: LettersQuery) -> Listing:
    """The dead runs whose letters a query means."""
    where = _Where()
    where.add("state = 'dead'")
    where.between("finished_at", query.since, None)
    where.one_of("task", query.tasks)
    if query.queue:
        where.add("queue = ?", query.queue)
    if query.error:
        where.add(
            "(contains(lower(error_type), lower(?)) OR contains(lower(error), lower(?)))", query.error, query.error
        )
    return _listing(LETTER, where, ("finished_at", "id"), query.before, _limit(query.limit, LETTERS_MOST))


def _listing(
    columns: Sequence[str], where: _Where, key: tuple[str, str], before: tuple[float | None, str] | None, limit: int
) -> Listing:
    total = Statement(f"SELECT count(*) FROM runs{where}", tuple(where.parameters))
    where.behind(*key, before)
    time, id = key
    sql = f"SELECT {', '.join(columns)} FROM runs{where} ORDER BY {time} DESC, {id} DESC LIMIT {limit + 1}"
    return Listing(Statement(sql, tuple(where.parameters)), total)


def run(id: str) -> Statement:
    """Everything of one run."""
    return Statement(f"SELECT {', '.join(WHOLE)} FROM runs WHERE id = ? LIMIT 1", (id,))


def ids_like(part: str) -> Statement:
    """Ids that begin or end like this: two at most, as one is wanted."""
    return Statement("SELECT id FROM runs WHERE starts_with(id, ?) OR ends_with(id, ?) LIMIT 2", (part, part))


def span(id: str) -> Statement:
    """When a run was created and ended."""
    return Statement(f"SELECT {', '.join(SPAN)} FROM runs WHERE id = ? LIMIT 1", (id,))


def children(parent: str, since: Instant) -> Statement:
    """The child runs of a run that was created at `since`, oldest first."""
    sql = (
        f"SELECT {', '.join(LISTED)} FROM runs WHERE created_at >= ? AND parent = ?"
        f" ORDER BY created_at, id LIMIT {CHILDREN_MOST}"
    )
    return Statement(sql, (utc(since - SKEW), parent))


def lines(query: LogsQuery, span: Span | None = None) -> Statement:
    """The newest lines that a query means, newest first.

    Args:
        span: of the run that is asked for. Where its id is all that is known of it, its beginning is read from that.
    """
    where = _Where()
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
    limit = _limit(query.limit, LINES_MOST)
    sql = f"SELECT {', '.join(LINE)} FROM logs{where} ORDER BY written_at DESC, seq DESC, line DESC LIMIT {limit}"
    return Statement(sql, tuple(where.parameters))


def _limit(limit: int, most: int) -> int:
    if not 1 <= limit <= most:
        raise ValueError(f"limit: expected 1 to {most:,}, found {limit}")
    return limit


def _time(name: str, at: Instant) -> datetime:
    if not isfinite(at):
        raise ValueError(f"{name}: expected seconds since the epoch, found {at}")
    return utc(at)


# --- what comes back ------------------------------------------------------------------------------------------------


def listed(values: Mapping[str, Any]) -> RunRow:
    """A row of a list, of the columns `LISTED`."""
    return RunRow(
        id=values["id"],
        task=values["task"],
        queue=values["queue"],
        priority=values["priority"],
        state=State(values["state"]),
        created_at=instant(values["created_at"]),
        started_at=_instant(values["started_at"]),
        finished_at=_instant(values["finished_at"]),
        due=_instant(values["due"]),
        attempt=values["attempt"],
        steps=values["steps"],
        worker=values["worker"] or "",
        parent=values["parent"],
        source=values["source"],
        tags=tuple(values["tags"] or ()),
        error_type=values["error_type"],
        error=values["error"].partition("\n")[0],
        reason=values["reason"],
        last_key=values["last_key"],
        paused=values["paused"],
        progress=progress(values),
        waits=values["waits"],
        deadline=_instant(values["deadline"]),
        expires=_instant(values["expires"]),
        origin=values["origin"],
        code=values["code"],
        ending=State(values["ending"]) if values["ending"] else None,
    )


def progress(values: Mapping[str, Any]) -> Progress | None:
    """How far a run says it has come, or None where it does not."""
    return None if values["done"] is None else Progress(values["done"], values["total"], values["doing"])


def origin(values: Mapping[str, Any]) -> Origin | None:
    """The run that a run was made from, of the columns `WHOLE`, or None."""
    return Origin(values["origin"], values["origin_how"], values["origin_key"]) if values["origin"] else None


def span_of(values: Mapping[str, Any]) -> Span:
    """When a run was there, of the columns `SPAN`."""
    return Span(instant(values["created_at"]), _instant(values["finished_at"]))


def error(values: Mapping[str, Any]) -> ErrorInfo | None:
    """The error of a run, or None where it has none."""
    if not values["error_type"] and not values["error"]:
        return None
    return ErrorInfo(values["error_type"], values["error"], values["traceback"], values["error_value"])


def letter(values: Mapping[str, Any]) -> Letter:
    """A dead letter, of the columns `LETTER`."""
    created_at = instant(values["created_at"])
    return Letter(
        run=values["id"],
        task=values["task"],
        queue=values["queue"],
        payload=values["payload"] or b"",
        error=error(values) or ErrorInfo("", values["reason"]),
        reason=values["reason"],
        attempts=values["attempt"],
        last_key=values["last_key"],
        first_at=created_at,
        last_at=_instant(values["finished_at"]) or created_at,
    )


def line(values: Mapping[str, Any]) -> LogRow:
    """A log line, of the columns `LINE`."""
    told = LogLine(instant(values["written_at"]), values["level"], values["stream"], values["text"], values["key"])
    return LogRow(values["seq"], values["run_id"], values["task"], values["attempt"], told)


def _instant(at: datetime | None) -> Instant | None:
    return None if at is None else instant(at)
