"""Runs asked for: lists, counts, one by its id; and what comes back as `wire.api` has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from holdfast.core.model import ErrorInfo, Instant, Origin, Progress, Seconds, State
from holdfast.wire.api import RunRow, RunsOrder, RunsQuery
from holdfast_daemon.projection.rows import BEHIND, instant, utc
from holdfast_daemon.query.ordered import Order, Part, parts
from holdfast_daemon.query.sql import SKEW, Span, Statement, Where, limited, seconds, time

RUNS_MOST, CHILDREN_MOST = 1_000, 1_000
"""The largest pages."""

NEAR: Seconds = 3600.0
"""The newest part of the history, in which a page of runs is looked for first."""

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

TEXTS = ("id", "task", "error_type", "error")
"""Columns of `runs` in which words are looked for that must not be there."""


SPAN = ("created_at", "finished_at")
"""Columns of `runs` that make a span."""


class Listing(NamedTuple):
    """What a page is made of, one row longer than asked where there is more, and how many match in all."""

    parts: tuple[Part, ...]
    total: Statement
    near: tuple[Part, ...] = ()
    """The same in the newest part of the history only: right if it fills the page, and cheaper."""


def listing(query: RunsQuery, now: Instant) -> Listing:
    """The runs that a query means."""
    limited(query.limit, RUNS_MOST)
    where = meant(query, now)
    order = Order(query.order, query.descending)
    found = Listing(tuple(parts(where, order, query.before)), counted(where))
    if order != Order(RunsOrder.CREATED):
        return found
    newest = min(at for at in (now, query.until, query.before and query.before[0]) if at is not None)
    if query.since is not None and query.since >= newest - NEAR:
        return found
    near = meant(msgspec.structs.replace(query, since=newest - NEAR), now)
    return found._replace(near=tuple(parts(near, order, query.before)))


def counted(where: Where) -> Statement:
    """How many runs these are."""
    return Statement(f"SELECT count(*) FROM runs{where}", where.parameters)


def counts(query: RunsQuery, now: Instant) -> Statement:
    """How many runs a query means, by state."""
    where = meant(query, now)
    return Statement(f"SELECT state, count(*) FROM runs{where} GROUP BY state ORDER BY state", where.parameters)


def meant(query: RunsQuery, now: Instant) -> Where:
    """The runs that a query means, as conditions."""
    where = Where()
    where.between("created_at", query.since, query.until)
    where.one_of("state", query.states)
    where.named("task", query.tasks)
    where.named("queue", [query.queue] if query.queue else [])
    where.named("queue", query.queues)
    where.named("worker", [query.worker] if query.worker else [])
    where.keyed("id", query.keys)
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
        where.add("deadline <= ?", time("deadline", query.deadline))
    if query.priority is not None:
        where.add("priority = ?", query.priority)
    if query.attempts_least > 0:
        where.add("attempt >= ?", query.attempts_least)
    started(where, query)
    _took(where, query, now)
    failed(where, query.error_type, query.pattern, query.errors)
    where.holds(("id", "task", "error"), [query.text] if query.text else [])
    where.holds_not(TEXTS, query.without)
    for word in query.words:
        where.holds(TEXTS, [word])
    return where


def started(where: Where, query: RunsQuery) -> None:
    """Only those that this started."""
    if query.schedule:
        where.named("source", [f"schedule {query.schedule}", f"schedule {query.schedule} by hand"])
    if "*" in query.source:
        where.named("source", [query.source])
    elif query.source:
        where.add("starts_with(source, ?)", query.source)


def failed(where: Where, type: str, pattern: str, parts: tuple[str, ...]) -> None:
    """Only those with this error: its type, its pattern, and one of these parts of its type or message."""
    if type:
        where.add("error_type = ?", type)
    if pattern:
        where.add("pattern = ?", pattern)
    where.holds(("error_type", "error"), parts)


def _took(where: Where, query: RunsQuery, now: Instant) -> None:
    for name, bound, than, began in (
        ("took_least", query.took_least, ">=", "<="),
        ("took_most", query.took_most, "<=", ">="),
    ):
        if bound is not None:
            length = seconds(name, bound)
            lasting = f"(state = 'running' AND started_at {began} ?)"
            where.add(f"(took {than} ? OR {lasting})", min(round(length * 1e6), 2**63 - 1), utc(now - length))


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


def untouched(queue: str, after: int, upto: int) -> Where:
    """The runs of a queue that wait and have never started, whose first message lies behind `after`, up to `upto`."""
    where = Where()
    where.add("queue = ? AND state IN ('queued', 'delayed') AND started_at IS NULL", queue)
    where.add("first > ? AND first <= ?", after, upto)
    return where


def oldest(where: Where, limit: int) -> Statement:
    """Id and first sequence of runs, by that sequence; one more than the limit where there are more."""
    limited(limit, RUNS_MOST)
    return Statement(f"SELECT id, first FROM runs{where} ORDER BY first LIMIT {limit + 1}", where.parameters)


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
        started_at=optional(values["started_at"]),
        finished_at=optional(values["finished_at"]),
        due=optional(values["due"]),
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
        deadline=optional(values["deadline"]),
        expires=optional(values["expires"]),
        origin=values["origin"],
        code=values["code"],
        ending=State(values["ending"]) if values["ending"] else None,
    )


def progress(values: Mapping[str, Any]) -> Progress | None:
    """How far a run says it has come, or None where it does not."""
    return None if values["done"] is None else Progress(values["done"], values["total"], values["doing"])


def origin(values: Mapping[str, Any]) -> Origin | None:
    """The run that a run was made from, of the columns `WHOLE`, or None."""
    if not values["origin"]:
        return None
    how: str = values["origin_how"]
    return Origin(values["origin"], how.removesuffix(BEHIND), values["origin_key"], how.endswith(BEHIND))


def span_of(values: Mapping[str, Any]) -> Span:
    """When a run was there, of the columns `SPAN`."""
    return Span(instant(values["created_at"]), optional(values["finished_at"]))


def error(values: Mapping[str, Any]) -> ErrorInfo | None:
    """The error of a run, or None where it has none."""
    if not values["error_type"] and not values["error"]:
        return None
    return ErrorInfo(values["error_type"], values["error"], values["traceback"], values["error_value"])


def optional(at: datetime | None) -> Instant | None:
    """A time of the tables that may be missing."""
    return None if at is None else instant(at)
