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
    keys, part = _ids(given)
    least, most = _took(given)
    priority = next((round(bound.number) for bound in given.bounds("prio")), None)
    return RunsQuery(
        states=given.states,
        tasks=given.tasks,
        queue=given.queue,
        queues=() if given.queue else given.values("queue"),
        worker=given.worker,
        tag=given.tag,
        text=part,
        words=given.words,
        without=given.without,
        errors=given.values("error"),
        error_type=_one(given, "type"),
        pattern=_one(given, "pattern"),
        keys=keys,
        since=since,
        until=until,
        attempts_least=_tries(given),
        took_least=least,
        took_most=most,
        priority=priority,
        paused=given.paused,
        schedule=_one(given, "schedule"),
        source=_one(given, "source"),
        origin=_one(given, "origin"),
        code=_one(given, "code"),
        waits=_one(given, "waits"),
        **more,
    )


def letters_query(given: Filter, now: Instant, **more: Any) -> LettersQuery:
    """The letters that a filter means; as `runs_query`."""
    since, until = _span(given, now)
    keys, part = _ids(given)
    return LettersQuery(
        tasks=given.tasks,
        queue=given.queue,
        queues=() if given.queue else given.values("queue"),
        errors=given.values("error"),
        error_type=_one(given, "type"),
        pattern=_one(given, "pattern"),
        text=part,
        words=given.words,
        without=given.without,
        keys=keys,
        attempts_least=_tries(given),
        since=since,
        until=until,
        **more,
    )


def _one(given: Filter, field: str) -> str:
    return next(iter(given.values(field)), "")


def _ids(given: Filter) -> tuple[tuple[str, ...], str]:
    """Whole ids, or the part of one that is looked for as text."""
    keys = tuple(key.upper() for key in given.values("id"))
    part = next((key for key in keys if not ids.is_run_id(key)), "")
    return () if part else keys, part


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
