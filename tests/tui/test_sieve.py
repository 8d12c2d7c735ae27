"""The filter of the logs: what it says is what passes, and half of it never breaks anything."""

from __future__ import annotations

import re
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire.api import LogLine, LogRow
from holdfast_tui import sieve
from holdfast_tui.sieve import Sieve
from tui.world import NOW, run_id


def row(text: str = "", **fields: object) -> LogRow:
    known = {"at": NOW - 60, "level": 20, "run": run_id(7), "task": "charge-card", "queue": "billing"} | fields
    line = LogLine(known["at"], known["level"], "stdout", text)  # type: ignore[arg-type]
    return LogRow(1, known["run"], known["task"], 1, line, 0, known["queue"])  # type: ignore[arg-type]


def read(text: str) -> Sieve:
    return sieve.read(text, NOW)


@pytest.mark.parametrize(
    ("filter", "passing", "stopped"),
    [
        ("time out", row("TIMEOUT"), row("out")),
        ('"time out"', row("a time out"), row("timeout")),
        ("-health", row("ready"), row("Healthy")),
        ("/^t[io]me/", row("time"), row("a time")),
        ("/^T/i", row("time"), row("a time")),
        (r"/a\/b c/", row("a/b c"), row("a/b")),
        ("level>=warn", row(level=30), row(level=29)),
        ("level>warn", row(level=40), row(level=39)),
        ("level<=info", row(level=29), row(level=30)),
        ("level<20", row(level=19), row(level=20)),
        ("level:err", row(level=45), row(level=50)),
        ("level=25", row(level=25), row(level=26)),
        ("run:0007", row(), row(run=run_id(8))),
        ("run:01hf8q", row(), row(run="01HZ")),
        ("task:charge-*,ship", row(), row(task="recharge-card")),
        ("task:ship,pack", row(task="pack"), row(task="pack-far")),
        ("queue:bill*", row(), row(queue="")),
        ("last:2m", row(at=NOW - 119), row(at=NOW - 121)),
        ("since:22:23", row(at=NOW - 44), row(at=NOW - 45)),
        ("until:2023-11-14T22:23:00", row(at=NOW - 45), row(at=NOW - 44)),
        ("level>=warn x -y /z/", row("xz", level=30), row("xyz", level=30)),
        ("http://x.example", row("GET http://x.example"), row("GET http://y.example")),
    ],
)
def test_a_filter_lets_through_what_it_says_and_nothing_else(filter: str, passing: LogRow, stopped: LogRow) -> None:
    found = read(filter)
    assert found.wrong is None
    assert found.passes(passing)
    assert not found.passes(stopped)


@pytest.mark.parametrize(
    ("filter", "at", "why"),
    [
        (
            "x level>=loud",
            2,
            "level: expected debug info warn error fatal or a number, found 'loud'",
        ),
        ("/a(/ b", 0, "expected a regular expression, found /a(/"),
        ("/a/x", 0, "expected nothing or i behind /a/, found 'x'"),
        ("a -/b/", 2, "a pattern can't be left out"),
        ("run:a,b", 0, "run: expected one run's id"),
        ("  last:soon", 2, "last: expected 90s, 15m"),
        ("since:25:00", 0, "since: expected a time like 12:30"),
        ("task>=x", 0, "expected task:, found task>="),
    ],
)
def test_what_cannot_be_read_is_named_where_it_stands_and_passed_over(filter: str, at: int, why: str) -> None:
    wrong = read(filter).wrong
    assert wrong is not None
    assert wrong.at == at
    assert why in wrong.text
    assert "x" not in read(filter).words or read(filter).passes(row("x"))


@pytest.mark.parametrize(
    "half", ["level>=", "level>=w", "run:", "task:", "last:", "last:1", "/", "/a(", "/[a", "-", '"a b']
)
def test_half_a_filter_is_not_wrong_yet(half: str) -> None:
    assert read(half).wrong is None


def test_a_time_of_day_is_the_last_one_in_the_zone_of_the_reader() -> None:
    assert read("since:23:00").since == NOW - 84_224
    zone = timezone(timedelta(hours=2))
    assert sieve.read("since:00:23", NOW, zone=zone).since == NOW - 44


def test_the_daemon_is_asked_for_the_same() -> None:
    query = read("level>=warn run:0007 task:a* queue:q last:1m two -three /f(o+)/i /bar/").query(limit=5)
    assert (query.level, query.run, query.tasks, query.queues, query.since) == (30, "0007", ("a*",), ("q",), NOW - 60)
    assert (query.words, query.without, query.patterns) == (("two",), ("three",), ("(?i)f(o+)", "bar"))
    assert (query.stored, query.limit) == (True, 5)
    around = read("level>=warn two -three /x/").query(around=True)
    assert (around.level, around.words, around.without, around.patterns) == (30, (), (), ())


def test_lines_around_pass_by_their_fields_alone() -> None:
    found = read("level>=warn boom")
    assert found.passes(row("calm", level=30), around=True)
    assert not found.passes(row("boom", level=20), around=True)


def test_what_is_looked_for_is_found_where_it_stands_and_never_twice() -> None:
    assert read("ab /b+c/ ").spans("xABbc ab") == [(1, 3), (3, 5), (6, 8)]
    assert read("a").spans("") == []


@given(st.text(alphabet='levl>=<:run/task -"\\(i)[]*,019aw.\n', max_size=40), st.text(max_size=20))
def test_any_text_can_be_typed_and_what_it_makes_can_be_asked(filter: str, text: str) -> None:
    found = read(filter)
    passes = found.passes(row(text))
    assert passes or found != sieve.ALL
    for pattern in found.query().patterns:
        re.compile(pattern)
    end = 0
    for start, stop in found.spans(text):
        assert end <= start < stop <= len(text)
        end = stop
