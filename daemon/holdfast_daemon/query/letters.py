"""Dead letters asked for: one by one, and by kind of error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.core.model import ErrorInfo
from holdfast.wire.api import Letter, LetterGroup, LetterGroups, LettersQuery, RunsOrder
from holdfast_daemon.projection.rows import instant
from holdfast_daemon.query.ordered import Order, parts
from holdfast_daemon.query.runs import TEXTS, Listing, counted, error, failed, optional
from holdfast_daemon.query.sql import Statement, Where, limited

LETTERS_MOST, GROUPS_MOST, NAMES_MOST = 1_000, 200, 20
"""The largest page, the most groups, and the most names of tasks or queues of one."""

ORDERS = (RunsOrder.ENDED, RunsOrder.CREATED, RunsOrder.ATTEMPTS)
"""By what letters can be ordered: by what a letter says of itself."""

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


def listing(query: LettersQuery) -> Listing:
    """The letters that a query means."""
    limited(query.limit, LETTERS_MOST)
    if query.order not in ORDERS:
        raise ValueError(f"order: expected one of {', '.join(ORDERS)} for dead letters, found {query.order}")
    where = meant(query)
    return Listing(tuple(parts(where, Order(query.order, query.descending), query.before)), counted(where))


def meant(query: LettersQuery) -> Where:
    """The dead runs whose letters a query means, as conditions."""
    where = Where()
    where.add("state = 'dead'")
    where.between("finished_at", query.since, query.until)
    where.named("task", query.tasks)
    where.named("queue", [query.queue] if query.queue else [])
    where.named("queue", query.queues)
    where.keyed("id", query.keys)
    if query.attempts_least > 0:
        where.add("attempt >= ?", query.attempts_least)
    failed(where, query.error_type, query.pattern, query.errors)
    failed(where, "", "", (query.error,) if query.error else ())
    where.holds(("id", "task", "error"), [query.text] if query.text else [])
    where.holds_not(TEXTS, query.without)
    for word in query.words:
        where.holds(TEXTS, [word])
    return where


def groups(query: LettersQuery) -> Statement:
    """The largest groups of letters of one kind of error, each with how many groups and letters there are in all.

    Letters are counted by task and queue first: so names are gathered of few rows.
    """
    where = meant(query)
    narrow = (
        "SELECT error_type, pattern, task, queue, count(*) AS letters, min(finished_at) AS first_at,"
        f" max(finished_at) AS last_at, arg_max(id, finished_at) AS example FROM runs{where} GROUP BY ALL"
    )
    sql = (
        "SELECT error_type, pattern, sum(letters)::BIGINT AS letters, min(first_at), max(last_at),"
        f" list_slice(list_sort(list(DISTINCT task)), 1, {NAMES_MOST}),"
        f" list_slice(list_sort(list(DISTINCT queue)), 1, {NAMES_MOST}), arg_max(example, last_at),"
        " count(*) OVER (), (sum(sum(letters)) OVER ())::BIGINT"
        f" FROM ({narrow}) GROUP BY error_type, pattern ORDER BY letters DESC, error_type, pattern LIMIT {GROUPS_MOST}"
    )
    return Statement(sql, where.parameters)


def grouped(rows: Sequence[Sequence[Any]]) -> LetterGroups:
    """What `groups` gives."""
    found = tuple(
        LetterGroup(
            error_type=type,
            pattern=pattern,
            count=count,
            first_at=optional(first) or 0.0,
            last_at=optional(last) or 0.0,
            tasks=tuple(tasks),
            queues=tuple(queues),
            example=example,
        )
        for type, pattern, count, first, last, tasks, queues, example, _, _ in rows
    )
    kinds, total = rows[0][-2:] if rows else (0, 0)
    return LetterGroups(found, total, kinds)


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
        last_at=optional(values["finished_at"]) or created_at,
    )
