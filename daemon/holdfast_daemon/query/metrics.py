"""How much was done and how long it took, in buckets of time, counted from the rows of runs.

A run is told by four times: when it was ready, when it started, when it ended, and how long that took. So the past is
as the runs stand now: one that is retried has not ended any more. What waited or ran at the end of a bucket is what did
so at its beginning, and what came and went in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import ceil
from typing import Any, NamedTuple

from holdfast.core.model import Seconds
from holdfast.wire.api import Metrics, MetricsQuery
from holdfast_daemon.query.sql import Statement, Where, seconds, time

BUCKETS_MOST, WORST_MOST = 500, 5
"""The most buckets, and the most queues that are named as slow."""


class Span(NamedTuple):
    """A stretch of time in buckets, in microseconds."""

    begin: int
    end: int
    step: int

    @classmethod
    def of(cls, query: MetricsQuery) -> Span:
        """Raises: ValueError: there is no such stretch, or it has too many buckets."""
        time("since", query.since), time("until", query.until), seconds("step", query.step)
        span = cls(*(round(at * 1e6) for at in (query.since, query.until, query.step)))
        if span.end <= span.begin:
            raise ValueError(f"until: expected a time after since ({query.since}), found {query.until}")
        least = ceil((span.end - span.begin) / BUCKETS_MOST)
        if span.step < max(1, least):
            raise ValueError(
                f"step: expected at least {max(1, least) / 1e6:g} s, that is at most {BUCKETS_MOST} buckets"
                f" in this time, found {query.step:g} s"
            )
        return span

    @property
    def buckets(self) -> int:
        return -(-(self.end - self.begin) // self.step)

    def bucket(self, column: str) -> str:
        """The number of the bucket in which a time lies."""
        return f"CAST(floor((epoch_us({column}) - {self.begin}) / {self.step}.0) AS INTEGER)"


CREATED, READY, STARTED, ENDED, FAILED, NEVER, QUEUE, BEFORE = range(8)
"""What a row of the answer counts: in a bucket, those created; delayed ones, when they were ready, less those that were
created so; started; ended; ended badly; ended without having started. The queues that were slowest. And those that
waited and ran before the first bucket."""


def series(query: MetricsQuery) -> Statement:
    """All that is asked, as rows: what they count, bucket, queue, number, and p50 and p95 in microseconds.

    Raises: ValueError: the query makes no sense.
    """
    span = Span.of(query)
    meant = Where()
    meant.named("queue", [query.queue] if query.queue else [])
    meant.named("task", [query.task] if query.task else [])
    asked = [
        _counted(CREATED, "created_at", meant, span, query),
        _counted(READY, "ready_at", meant, span, query),
        _counted(READY, "created_at", meant.but("ready_at IS NOT NULL"), span, query, number="-count(*)"),
        _counted(STARTED, "started_at", meant, span, query),
        _counted(FAILED, "finished_at", meant.but("state IN ('dead', 'failed', 'timed_out')"), span, query),
        _counted(NEVER, "finished_at", meant.but("started_at IS NULL"), span, query),
        _lengths(meant, span, query),
        _slowest(meant, query),
        _before(meant, query),
    ]
    sql = " UNION ALL ".join(statement.sql for statement in asked)
    return Statement(sql, tuple(value for statement in asked for value in statement.parameters))


def _counted(
    what: int, column: str, meant: Where, span: Span, query: MetricsQuery, *, number: str = "count(*)"
) -> Statement:
    """How many runs have this time in each bucket."""
    where = _within(meant, column, query)
    sql = f"SELECT {what}, {span.bucket(column)} AS bucket, NULL, {number}, NULL, NULL FROM runs{where} GROUP BY bucket"
    return Statement(sql, where.parameters)


def _lengths(meant: Where, span: Span, query: MetricsQuery) -> Statement:
    """How many ended and how long they took, by bucket."""
    where = _within(meant, "finished_at", query)
    ended = (
        f"SELECT {span.bucket('finished_at')} AS bucket, count(*) AS runs, quantile_disc(took, [0.5, 0.95]) AS lengths"
        f" FROM runs{where} GROUP BY bucket"
    )
    return Statement(f"SELECT {ENDED}, bucket, NULL, runs, lengths[1], lengths[2] FROM ({ended})", where.parameters)


def _slowest(meant: Where, query: MetricsQuery) -> Statement:
    """How long those took that ended, by queue. One look at the rows for this and the buckets would cost more."""
    where = _within(meant, "finished_at", query)
    slowest = (
        f"SELECT queue, quantile_disc(took, 0.95) AS high FROM runs{where} GROUP BY queue"
        f" ORDER BY high DESC NULLS LAST, queue LIMIT {WORST_MOST}"
    )
    return Statement(f"SELECT {QUEUE}, NULL, queue, NULL, NULL, high FROM ({slowest})", where.parameters)


def _within(meant: Where, column: str, query: MetricsQuery) -> Where:
    since, until = time("since", query.since), time("until", query.until)
    return meant.but(f"{column} >= ? AND {column} < ?", since, until)


def _before(meant: Where, query: MetricsQuery) -> Statement:
    """Those that waited and ran when the first bucket began."""
    since = time("since", query.since)
    live = meant.but("created_at < ? AND (finished_at IS NULL OR finished_at >= ?)", since, since)
    waited = "started_at IS NULL OR started_at >= ?"
    sql = (
        f"SELECT {BEFORE}, NULL, NULL, count(*) FILTER (({waited}) AND (ready_at IS NULL OR ready_at < ?)),"
        f" count(*) FILTER (NOT ({waited})), NULL FROM runs{live}"
    )
    return Statement(sql, (since, since, since, *live.parameters))


def told(query: MetricsQuery, rows: Sequence[Sequence[Any]]) -> Metrics:
    """What `series` gives."""
    span = Span.of(query)
    counts = {what: [0] * span.buckets for what in (CREATED, READY, STARTED, ENDED, FAILED, NEVER)}
    p50: list[Seconds | None] = [None] * span.buckets
    p95: list[Seconds | None] = [None] * span.buckets
    slow: list[tuple[str, Seconds]] = []
    waiting = running = 0
    for what, bucket, queue, number, median, high in rows:
        if what == BEFORE:
            waiting, running = number, median
        elif what == QUEUE:
            slow += [] if high is None else [(queue, high / 1e6)]
        else:
            counts[what][bucket] += number
            if what == ENDED:
                p50[bucket], p95[bucket] = _seconds(median), _seconds(high)
    created, ready, started, ended, failed, never = counts.values()
    came = [made + delayed for made, delayed in zip(created, ready, strict=True)]
    left = [begun + gone for begun, gone in zip(started, never, strict=True)]
    done = [over - gone for over, gone in zip(ended, never, strict=True)]
    return Metrics(
        at=tuple((span.begin + number * span.step) / 1e6 for number in range(span.buckets)),
        step=span.step / 1e6,
        created=tuple(created),
        started=tuple(started),
        ended=tuple(ended),
        failed=tuple(failed),
        waiting=tuple(_standing(waiting, came, left)),
        running=tuple(_standing(running, started, done)),
        p50=tuple(p50),
        p95=tuple(p95),
        worst=tuple(sorted(slow, key=lambda one: (-one[1], one[0]))),
    )


def _seconds(microseconds: int | None) -> Seconds | None:
    return None if microseconds is None else microseconds / 1e6


def _standing(before: int, came: Sequence[int], left: Sequence[int]) -> Iterator[int]:
    """How many there were at the end of each bucket; times of different clocks may leave before they came."""
    changes = (more - less for more, less in zip(came, left, strict=True))
    return (max(0, stood) for stood in list(accumulate(changes, initial=before))[1:])
