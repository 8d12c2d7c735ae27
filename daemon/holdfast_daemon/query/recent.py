"""What the history adds to how a queue stands: how deep it was, and which errors there were lately.

Both are asked for as often as somebody looks at the queues, which is every second: so an answer is kept for a while.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import anyio
from msgspec.structs import replace

from holdfast.core.model import Instant, Seconds
from holdfast.wire.api import Queues
from holdfast_daemon.projection.rows import utc
from holdfast_daemon.projection.store import TooSlow, Unavailable
from holdfast_daemon.query.sql import Statement

DEPTHS = 30
"""Minutes of which the depth is told."""

ERRORS_OVER: Seconds = 3600.0
"""How far back errors count."""

ERRORS_EVERY: Seconds = 5.0
"""How old what is told of errors may be."""

ERRORS_MOST, ROWS_MOST = 3, 100_000
"""Errors of a queue, and rows of an answer of all queues."""

_MINUTE = 60


class _Kept(NamedTuple):
    """An answer and when it was given; by queue."""

    at: Instant
    by_queue: Mapping[str, Any]


_NEVER = _Kept(float("-inf"), {})


class Recent:
    """Of one project."""

    def __init__(self, ask: Callable[[Statement], Awaitable[list[tuple[Any, ...]]]]) -> None:
        self._ask = ask
        self._asking = anyio.Lock()
        self._depths = self._errors = _NEVER

    async def add(self, queues: Queues) -> Queues:
        """The queues with their `depths` and `errors`; without them where the history can't say just now."""
        async with self._asking:  # of several that look at once, one asks
            try:
                await self._look(queues.at)
            except (TooSlow, Unavailable):
                return queues
        none = (0,) * DEPTHS
        return replace(
            queues,
            queues=tuple(
                replace(
                    row,
                    depths=self._depths.by_queue.get(row.name, none),
                    errors=self._errors.by_queue.get(row.name, ()),
                )
                for row in queues.queues
            ),
        )

    async def _look(self, now: Instant) -> None:
        minute = now // _MINUTE * _MINUTE
        if minute != self._depths.at:
            self._depths = _Kept(minute, depths_of(await self._ask(depths(minute))))
        if not self._errors.at <= now < self._errors.at + ERRORS_EVERY:
            self._errors = _Kept(now, errors_of(await self._ask(errors(now))))


def depths(until: Instant) -> Statement:
    """How many runs came to wait in a queue (or stopped waiting, negative) in each of the minutes before, as queue,
    minute (0: before the first one) and number."""
    since, end = utc(until - DEPTHS * _MINUTE), utc(until)
    minute = f"CAST(floor((epoch_us({{}}) - epoch_us(?)) / {_MINUTE}e6) AS INTEGER) + 1"
    asked: list[Statement] = []
    for column, sign, further in (
        ("created_at", "", " AND ready_at IS NULL"),
        ("ready_at", "", ""),
        ("started_at", "-", ""),
        ("finished_at", "-", " AND started_at IS NULL"),
    ):
        sql = (
            f"SELECT queue, {minute.format(column)} AS minute, {sign}count(*) FROM runs"
            f" WHERE {column} >= ? AND {column} < ?{further} GROUP BY queue, minute"
        )
        asked.append(Statement(sql, (since, since, end)))
    waited = (
        "SELECT queue, 0, count(*) FROM runs WHERE created_at < ? AND (ready_at IS NULL OR ready_at < ?)"
        " AND (started_at IS NULL OR started_at >= ?) AND (finished_at IS NULL OR finished_at >= ?) GROUP BY queue"
    )
    asked.append(Statement(waited, (since,) * 4))
    sql = " UNION ALL ".join(statement.sql for statement in asked)
    parameters = tuple(value for statement in asked for value in statement.parameters)
    return Statement(f"SELECT * FROM ({sql}) LIMIT {ROWS_MOST}", parameters)


def depths_of(rows: Sequence[Sequence[Any]]) -> dict[str, tuple[int, ...]]:
    """The depth at the end of each minute, oldest first, of what `depths` gives."""
    changes: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (DEPTHS + 1))
    for queue, minute, number in rows:
        changes[queue][minute] += number
    return {queue: tuple(max(0, depth) for depth in accumulate(found))[1:] for queue, found in changes.items()}


def errors(now: Instant) -> Statement:
    """The most frequent errors by which the runs of each queue ended or are to be retried, as queue, number, type and
    place or else pattern, those of a queue most frequent first."""
    sql = (
        "SELECT queue, runs, error_type, place FROM ("
        "SELECT queue, count(*) AS runs, error_type, if(place <> '', place, pattern) AS place FROM runs"
        " WHERE moved_at >= ? AND state IN ('dead', 'failed', 'timed_out', 'retrying') AND pattern <> '' GROUP BY ALL)"
        " QUALIFY row_number() OVER (PARTITION BY queue ORDER BY runs DESC, error_type, place)"
        f" <= {ERRORS_MOST} ORDER BY queue, runs DESC, error_type, place LIMIT {ROWS_MOST}"
    )
    return Statement(sql, (utc(now - ERRORS_OVER),))


def errors_of(rows: Sequence[Sequence[Any]]) -> dict[str, tuple[tuple[int, str, str], ...]]:
    """The same by queue."""
    found: defaultdict[str, tuple[tuple[int, str, str], ...]] = defaultdict(tuple)
    for queue, runs, type, place in rows:
        found[queue] += ((runs, type, place),)
    return dict(found)
