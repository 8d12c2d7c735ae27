"""Questions as SQL: parameters only, a limit always."""

from datetime import datetime

import pytest

from histories import T0, run_id
from holdfast.core.model import State
from holdfast.wire.api import LettersQuery, LogsQuery, RunsQuery
from holdfast_daemon.query import sql
from holdfast_daemon.query.sql import Span

AT = datetime(2023, 11, 14, 22, 13, 20)


def test_a_query_without_filters_asks_for_the_newest_runs_and_one_more() -> None:
    page, total, _ = sql.runs(RunsQuery(), T0)
    assert page.sql.endswith(" FROM runs ORDER BY created_at DESC, id DESC LIMIT 51")
    assert total.sql == "SELECT count(*) FROM runs"
    assert page.parameters == total.parameters == ()


def test_a_page_goes_on_behind_its_key_and_the_total_does_not_depend_on_it() -> None:
    page, total, _ = sql.runs(RunsQuery(before=(T0, "X"), states=(State.DEAD,)), T0)
    assert "state IN (?) AND created_at <= ? AND (created_at < ? OR id < ?)" in page.sql
    assert page.parameters == (State.DEAD, AT, AT, "X")
    assert total == ("SELECT count(*) FROM runs WHERE state IN (?)", (State.DEAD,))


def test_a_page_is_looked_for_in_the_last_hour_before_its_key_first() -> None:
    _, total, near = sql.runs(RunsQuery(before=(T0 - 7200, "X")), T0)
    assert near is not None
    assert near.parameters[0] == datetime(2023, 11, 14, 19, 13, 20)
    assert "created_at >= ?" not in total.sql
    assert sql.runs(RunsQuery(since=T0 - 60), T0).near is None


HOSTILE = "'; DROP TABLE runs; --"


@pytest.mark.parametrize(
    "statement",
    [
        *sql.runs(
            RunsQuery(tasks=(HOSTILE,), queue=HOSTILE, tag=HOSTILE, worker=HOSTILE, text=HOSTILE, before=(T0, HOSTILE)),
            T0,
        ),
        *sql.letters(LettersQuery(tasks=(HOSTILE,), queue=HOSTILE, error=HOSTILE, before=(T0, HOSTILE)))[:2],
        sql.lines(LogsQuery(run=HOSTILE, task=HOSTILE, text=HOSTILE)),
        sql.run(HOSTILE),
        sql.ids_like(HOSTILE),
        sql.children(HOSTILE, T0),
    ],
)
def test_nothing_that_is_asked_becomes_sql(statement: sql.Statement) -> None:
    assert "DROP" not in statement.sql
    assert HOSTILE in statement.parameters
    assert statement.sql.count("?") == len(statement.parameters)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_bounds_is_refused_in_words(limit: int) -> None:
    with pytest.raises(ValueError, match="limit: expected 1 to 1,000, found"):
        sql.runs(RunsQuery(limit=limit), T0)


def test_a_time_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="since: expected seconds since the epoch, found nan"):
        sql.runs(RunsQuery(since=float("nan")), T0)


def test_lines_of_a_run_are_looked_for_while_it_was_there() -> None:
    asked = sql.lines(LogsQuery(run=run_id(0), level=30), Span(T0, T0 + 60))
    assert "written_at >= ? AND written_at < ? AND run_id = ? AND level >= ?" in asked.sql
    assert asked.parameters == (datetime(2023, 11, 14, 21, 13, 20), datetime(2023, 11, 14, 23, 14, 20), run_id(0), 30)


def test_lines_of_a_run_that_is_not_projected_are_looked_for_since_its_id() -> None:
    assert sql.lines(LogsQuery(run=run_id(0))).parameters == (datetime(2023, 11, 14, 21, 13, 20), run_id(0))
