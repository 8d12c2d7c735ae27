"""A filter as a question to the daemon."""

from __future__ import annotations

from typing import Any

from holdfast.core import ids
from holdfast.core.model import Instant, Seconds
from holdfast.filters.filter import Filter
from holdfast.wire.api import LettersQuery, RunsQuery


def runs_query(given: Filter, now: Instant, **more: Any) -> RunsQuery:
    """The runs that a filter means.

    Args:
        now: what ages count from.
        more: other fields of the query, such as `limit`.
    """
    since, until = _span(given, now)
    exact = tuple(key.upper() for key in given.values("id") if ids.is_run_id(key.upper()))
    parts = [key for key in given.values("id") if not ids.is_run_id(key.upper())]
    least, most = _took(given)
    priority = next((round(bound.number) for bound in given.bounds("prio")), None)
    return RunsQuery(
        states=given.states,
        tasks=given.tasks,
        queue=given.queue,
        queues=() if given.queue else given.values("queue"),
        worker=given.worker,
        tag=given.tag,
        text=" ".join((*given.words, *parts)),
        without=given.without,
        errors=given.values("error"),
        keys=exact,
        since=since,
        until=until,
        attempts_least=_tries(given),
        took_least=least,
        took_most=most,
        priority=priority,
        paused=given.paused,
        schedule=next(iter(given.values("schedule")), ""),
        source=next(iter(given.values("source")), ""),
        origin=next(iter(given.values("origin")), ""),
        code=next(iter(given.values("code")), ""),
        waits=next(iter(given.values("waits")), ""),
        **more,
    )


def letters_query(given: Filter, now: Instant, **more: Any) -> LettersQuery:
    """The letters that a filter means, as far as the daemon decides: words, tries and ids are for `Filter.admits`."""
    since, until = _span(given, now)
    return LettersQuery(
        tasks=given.tasks,
        queue=given.queue,
        error=next(iter(given.values("error")), ""),
        since=since,
        until=until,
        **more,
    )


def _span(given: Filter, now: Instant) -> tuple[Instant | None, Instant | None]:
    begins = [now - bound.number for bound in given.bounds("last")]
    begins += [_instant(bound.number, now) for bound in given.bounds("since")]
    ends = [_instant(bound.number, now) for bound in given.bounds("until")]
    return max(begins, default=None), min(ends, default=None)


def _instant(number: float, now: Instant) -> Instant:
    """A time as it was read: below zero is so long ago."""
    return now + number if number <= 0 else number


def _tries(given: Filter) -> int:
    for bound in given.bounds("tries"):
        return int(bound.number // 1) + 1 if bound.operator == ">" else -int(-bound.number // 1)
    return 0


def _took(given: Filter) -> tuple[Seconds | None, Seconds | None]:
    bounds = given.bounds("took")
    least = [bound.number for bound in bounds if bound.operator.startswith(">")]
    most = [bound.number for bound in bounds if bound.operator.startswith("<")]
    return max(least, default=None), min(most, default=None)
