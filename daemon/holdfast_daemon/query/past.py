"""What became of the runs of schedules, from the history: how many each day, how they ended, how long they took."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

from holdfast.core.model import Instant
from holdfast.errors import Refused
from holdfast.wire.api import RunRow
from holdfast.wire.schedules import Day, Past, PastQuery, Pasts
from holdfast_daemon.projection.rows import utc
from holdfast_daemon.query import runs
from holdfast_daemon.query.sql import Statement

MOST = 90
"""Days that are looked back at most."""

LAST = 5
"""Runs of each schedule that are shown."""

SCHEDULES = 1000
"""Schedules that are answered for at most."""

SOURCE = "schedule "
"""How the source of a schedule's runs begins, before its name; of those by hand it ends with `BY_HAND`."""

BY_HAND = " by hand"

_NAME = f"regexp_replace(substr(source, {len(SOURCE) + 1}), '{BY_HAND}$', '') AS schedule"  # no value of anybody's
_OF_SCHEDULES = "FROM runs WHERE created_at >= ? AND created_at < ? AND starts_with(source, ?)"

COUNTED = ("schedule", "ago", "runs", "failed", "took")

Ask: TypeAlias = Callable[[Statement, Sequence[str]], Awaitable[list[dict[str, Any]]]]


def days(query: PastQuery, now: Instant) -> Statement:
    """How many runs each schedule began in each 24 hours before now, in columns `COUNTED`."""
    if not 1 <= query.days <= MOST:
        raise Refused(f"days: expected 1 to {MOST}, found {query.days}", code="bad_request")
    return Statement(
        f"SELECT {_NAME}, floor(epoch(?::TIMESTAMP - created_at) / 86400)::INTEGER AS ago, count(*), "
        "count(*) FILTER (state IN ('dead', 'failed', 'timed_out', 'expired')), "
        "avg(epoch(finished_at - started_at)) "
        f"{_OF_SCHEDULES} GROUP BY ALL ORDER BY schedule LIMIT ?",
        (utc(now), *_span(query, now), SOURCE, SCHEDULES * MOST),
    )


def last(query: PastQuery, now: Instant) -> Statement:
    """The last runs of each schedule, newest first, in columns `runs.LISTED`."""
    return Statement(
        f"SELECT {', '.join(runs.LISTED)} FROM (SELECT *, {_NAME} {_OF_SCHEDULES}) "
        f"QUALIFY row_number() OVER (PARTITION BY schedule ORDER BY created_at DESC, id DESC) <= {LAST} "
        "ORDER BY created_at DESC, id DESC LIMIT ?",
        (*_span(query, now), SOURCE, SCHEDULES * LAST),
    )


def _span(query: PastQuery, now: Instant) -> tuple[object, object]:
    end = utc(now)
    return end - timedelta(days=query.days), end


def name(row: RunRow) -> str:
    """The schedule that a run is of."""
    return row.source.removeprefix(SOURCE).removesuffix(BY_HAND)


async def past(query: PastQuery, now: Instant, ask: Ask) -> Pasts:
    """What became of the runs of every schedule that began any. Raises: Refused: too many days."""
    counted = await ask(days(query, now), COUNTED)
    latest = [runs.listed(values) for values in await ask(last(query, now), runs.LISTED)]
    found = dict.fromkeys(str(values["schedule"]) for values in counted)
    return Pasts(
        tuple(
            Past(
                name=schedule,
                days=_days(query, [values for values in counted if values["schedule"] == schedule]),
                last=tuple(row for row in latest if name(row) == schedule),
            )
            for schedule in sorted(found)
        )
    )


def _days(query: PastQuery, counted: Sequence[Mapping[str, Any]]) -> tuple[Day, ...]:
    known = {values["ago"]: Day(values["runs"], values["failed"], values["took"]) for values in counted}
    return tuple(known.get(ago, Day()) for ago in range(query.days - 1, -1, -1))
