"""Questions as SQL: parameters only, a limit always."""

from collections.abc import Callable, Iterable
from datetime import datetime

import pytest

from histories import T0, run_id
from holdfast.core.model import State
from holdfast.wire.api import LettersQuery, LogsQuery, MetricsQuery, RunsOrder, RunsQuery
from holdfast_daemon.query import letters, lines, metrics, recent, runs
from holdfast_daemon.query.sql import Span, Statement

AT = datetime(2023, 11, 14, 22, 13, 20)


def test_a_query_without_filters_counts_all_runs() -> None:
    assert runs.listing(RunsQuery(), T0).total == ("SELECT count(*) FROM runs", ())


def test_the_total_does_not_depend_on_the_page() -> None:
    found = runs.listing(RunsQuery(before=(T0, "X"), states=(State.DEAD,)), T0)
    assert found.total == ("SELECT count(*) FROM runs WHERE state IN (?)", (State.DEAD,))


def test_a_page_of_the_newest_is_looked_for_in_the_last_hour_before_its_key_first() -> None:
    found = runs.listing(RunsQuery(before=(T0 - 7200, "X")), T0)
    assert found.near[0].where.parameters[0] == datetime(2023, 11, 14, 19, 13, 20)
    assert "created_at >= ?" not in found.total.sql
    assert runs.listing(RunsQuery(since=T0 - 60), T0).near == ()
    assert runs.listing(RunsQuery(order=RunsOrder.TOOK), T0).near == ()
    assert runs.listing(RunsQuery(descending=False), T0).near == ()


HOSTILE = "'; DROP TABLE runs; --"
STARRED = f"*{HOSTILE}"


def statements(listing: runs.Listing) -> Iterable[Statement]:
    yield listing.total
    for part in (*listing.parts, *listing.near):
        yield part.last(51)
        yield part.first(("id",), 51)
        yield part.first(("id",), 51, AT)


@pytest.mark.parametrize(
    "statement",
    [
        *statements(
            runs.listing(
                RunsQuery(
                    tasks=(HOSTILE,), queue=HOSTILE, tag=HOSTILE, worker=HOSTILE, text=HOSTILE, before=(T0, HOSTILE),
                    queues=(HOSTILE, STARRED), keys=(HOSTILE,), errors=(HOSTILE,), error_type=HOSTILE, pattern=HOSTILE,
                    without=(HOSTILE,), schedule=HOSTILE, source=HOSTILE, origin=HOSTILE, code=HOSTILE, waits=HOSTILE,
                ),
                T0,
            )
        ),
        *statements(
            letters.listing(
                LettersQuery(
                    tasks=(HOSTILE,), queue=HOSTILE, error=HOSTILE, before=(T0, HOSTILE), queues=(STARRED,),
                    errors=(HOSTILE,), error_type=HOSTILE, pattern=HOSTILE, text=HOSTILE, without=(HOSTILE,),
                )
            )
        ),
        letters.groups(LettersQuery(tasks=(HOSTILE,), pattern=HOSTILE)),
        runs.counts(RunsQuery(text=HOSTILE), T0),
        runs.counted(runs.untouched(HOSTILE, 0, 9)),
        runs.oldest(runs.untouched(HOSTILE, 0, 9), 10),
        metrics.series(MetricsQuery(since=T0, until=T0 + 60, step=1.0, queue=HOSTILE, task=HOSTILE)),
        lines.lines(LogsQuery(run=HOSTILE, task=HOSTILE, text=HOSTILE)),
        runs.run(HOSTILE),
        runs.ids_like(HOSTILE),
        runs.children(HOSTILE, T0),
    ],
)  # fmt: skip
def test_nothing_that_is_asked_becomes_sql(statement: Statement) -> None:
    assert "DROP" not in statement.sql
    assert HOSTILE in statement.parameters
    assert statement.sql.count("?") == len(statement.parameters)


@pytest.mark.parametrize("statement", [recent.depths(T0), recent.errors(T0)])
def test_what_is_asked_of_all_queues_has_its_parameters_and_a_limit(statement: Statement) -> None:
    assert statement.sql.count("?") == len(statement.parameters)
    assert " LIMIT " in statement.sql


@pytest.mark.parametrize("limit", [0, -1, 1001])
@pytest.mark.parametrize(
    "ask",
    [
        lambda limit: runs.listing(RunsQuery(limit=limit), T0),
        lambda limit: letters.listing(LettersQuery(limit=limit)),
        lambda limit: runs.oldest(runs.untouched("q", 0, 1), limit),
    ],
)
def test_a_limit_out_of_bounds_is_refused_in_words(ask: Callable[[int], object], limit: int) -> None:
    with pytest.raises(ValueError, match="limit: expected 1 to 1,000, found"):
        ask(limit)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (RunsQuery(since=float("nan")), "since: expected seconds since the epoch, found nan"),
        (RunsQuery(before=(float("inf"), "X")), "before: expected seconds since the epoch, found inf"),
        (RunsQuery(order=RunsOrder.STEPS, before=(float("nan"), "X")), "before: expected what the last run"),
        (RunsQuery(order=RunsOrder.TOOK, before=(1e300, "X")), "before: expected what the last run"),
        (RunsQuery(took_least=-1.0), "took_least: expected seconds, 0 or more, found -1.0"),
        (RunsQuery(took_most=float("nan")), "took_most: expected seconds"),
        (RunsQuery(keys=("X",) * 1001), "keys: expected at most 1,000 ids, found 1,001"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_in_words(query: RunsQuery, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runs.listing(query, T0)


@pytest.mark.parametrize("order", [RunsOrder.TOOK, RunsOrder.STEPS, RunsOrder.STARTED])
def test_letters_are_ordered_only_by_what_they_say_of_themselves(order: RunsOrder) -> None:
    with pytest.raises(ValueError, match="order: expected one of ended, created, attempts for dead letters, found"):
        letters.listing(LettersQuery(order=order))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (MetricsQuery(since=T0, until=T0, step=1.0), "until: expected a time after since"),
        (MetricsQuery(since=T0 + 1, until=T0, step=1.0), "until: expected a time after since"),
        (MetricsQuery(since=T0, until=T0 + 3600, step=7.0), "step: expected at least 7.2 s, that is at most 500"),
        (MetricsQuery(since=T0, until=T0 + 3600, step=0.0), "step: expected at least 7.2 s"),
        (MetricsQuery(since=T0, until=T0 + 3600, step=-5.0), "step: expected seconds, 0 or more, found -5.0"),
        (MetricsQuery(since=T0, until=float("inf"), step=5.0), "until: expected seconds since the epoch, found inf"),
    ],
)
def test_metrics_of_no_time_or_too_many_buckets_are_refused_in_words(query: MetricsQuery, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.series(query)


def test_lines_of_a_run_are_looked_for_while_it_was_there() -> None:
    asked = lines.lines(LogsQuery(run=run_id(0), level=30), Span(T0, T0 + 60))
    assert "written_at >= ? AND written_at < ? AND run_id = ? AND level >= ?" in asked.sql
    assert asked.parameters == (datetime(2023, 11, 14, 21, 13, 20), datetime(2023, 11, 14, 23, 14, 20), run_id(0), 30)


def test_lines_of_a_run_that_is_not_projected_are_looked_for_since_its_id() -> None:
    assert lines.lines(LogsQuery(run=run_id(0))).parameters == (datetime(2023, 11, 14, 21, 13, 20), run_id(0))
