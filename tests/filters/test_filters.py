"""The filter's grammar: what is read, what is not, and what becomes of it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.core.model import State
from holdfast.filters import LETTERS, RUNS, Field, Filter, Kind, caret, letters_query, quoted, read, runs_query
from holdfast.wire.api import LettersQuery, RunsQuery

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For machines that do other things too."""

NOW = 1_700_000_000.0
OTHERS = tuple(state for state in State if state not in (State.COMPLETED, State.CANCELLED))
RUN = "01HF8Q00000000000000002895"


def test_fields_words_and_quotes_make_one_question_to_the_daemon() -> None:
    text = (
        'state:fail,dead queue:emails worker:w-* task:charge_*,pay last:1h tries:>3 took:>2s took:<=1m error:"HTTP 410"'
        f" Time out -skipped id:{RUN.lower()} tag:x is:paused prio:3 schedule:nightly"
    )
    assert runs_query(read(text), NOW, limit=7) == RunsQuery(
        states=(State.FAILED, State.DEAD),
        queue="emails",
        worker="w-*",
        tasks=("charge_*", "pay"),
        since=NOW - 3600,
        attempts_least=4,
        took_least=2.0,
        took_most=60.0,
        errors=("HTTP 410",),
        words=("time", "out"),
        without=("skipped",),
        keys=(RUN,),
        tag="x",
        paused=True,
        priority=3,
        schedule="nightly",
        limit=7,
    )


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", RunsQuery()),
        ("queue:a,b queue:c", RunsQuery(queues=("a", "b", "c"))),
        ("-state:ok,cancel", RunsQuery(states=OTHERS)),
        ("state:*", RunsQuery()),
        ("state:DEAD", RunsQuery(states=(State.DEAD,))),
        ("tries:>=2", RunsQuery(attempts_least=2)),
        ("since:2h until:30m", RunsQuery(since=NOW - 7200, until=NOW - 1800)),
        ("since:2023-11-14T22:00 last:10m", RunsQuery(since=NOW - 600)),
        ("until:2023-11-14T22:00Z", RunsQuery(until=1_699_999_200.0)),
        ("id:4q9k2m7p", RunsQuery(text="4Q9K2M7P")),
        ('error:"a,b",c', RunsQuery(errors=("a,b", "c"))),
        ('"state:x" http://x 10:30', RunsQuery(words=("state:x", "http://x", "10:30"))),
        ('error:"say \\"no\\""', RunsQuery(errors=('say "no"',))),
        ('-"not this"', RunsQuery(without=("not this",))),
        ("-", RunsQuery()),
    ],
)  # fmt: skip
def test_a_text_becomes_a_question(text: str, query: RunsQuery) -> None:
    found = read(text)
    assert (found.wrong, found.half) == ("", "")
    assert runs_query(found, NOW) == query


@pytest.mark.parametrize(
    ("text", "at", "wrong"),
    [
        ("state:nope", 0, "expected states by commas: delay queue"),
        ("x stae:fail y", 2, "no field stae: expected one of state queue"),
        ("state: y", 0, "expected states"),
        ("took:2s", 0, "expected longer or shorter than how long"),
        ("took:>2x", 0, "found >2x"),
        ("tries:<3", 0, "expected more than how many, like tries:>3"),
        ("worker:a,b", 0, "expected one value, found 2"),
        ("tag:a tag:b", 6, "expected tag: once"),
        ("-queue:a", 0, "-word: queue: can't be left out"),
        ("state:paused", 0, "is:paused"),
        ("is:dead", 0, "expected paused: what waits for an operator, found dead"),
        ("last:forever", 0, "expected how long ago at most"),
        ("since:yesterday", 0, "or a UTC time"),
        ("prio:>3", 0, "expected a priority"),
        ("state:ok -state:ok", 9, "nothing is both"),
        ("id:4q9k,5r0l", 0, "found several and not all whole"),
        ("took:>1e999s", 0, "found >1e999s"),
    ],
)
def test_what_cannot_be_read_says_what_was_expected_and_where(text: str, at: int, wrong: str) -> None:
    found = read(text)
    assert wrong in found.wrong
    assert found.at == at
    assert caret(text, found) == f"{text}\n{' ' * at}^ {found.wrong}"


@pytest.mark.parametrize(
    "text", ["state:", "state:fai", "state:fail,de", "is:pau", "took:>", "took:>2", "last:1", "queue:", "since:2023-1"]
)
def test_what_may_be_half_typed_is_no_mistake_yet_and_filters_nothing(text: str) -> None:
    found = read(f"word {text}")
    assert (found.wrong, found.at, found.terms) == ("", 5, ())
    assert found.half.startswith("expected")
    assert read(f"{text} word").wrong
    assert caret(text, read(text))


@given(st.text(max_size=40))
@CALM
def test_any_text_is_read(text: str) -> None:
    runs_query(read(text), NOW)
    letters_query(read(text, LETTERS), NOW)


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4))
@CALM
def test_what_is_quoted_is_read_as_it_was(values: list[str]) -> None:
    found = read("error:" + ",".join(map(quoted, values)))
    assert found.values("error") == tuple(dict.fromkeys(values)) or found.values("error") == tuple(values)


@given(st.sampled_from(["state:fail", "queue:a*", "took:>2s", "word", "-out", 'error:"x y"']), st.integers(0, 12))
@CALM
def test_every_beginning_of_a_filter_that_is_right_is_read(text: str, length: int) -> None:
    assert not read(text[:length]).wrong


def test_letters_are_asked_for_by_what_they_have() -> None:
    found = read("task:a queue:b error:Time last:1h tries:>3 word -out", LETTERS)
    assert letters_query(found, NOW, limit=5) == LettersQuery(
        tasks=("a",), queue="b", errors=("Time",), since=NOW - 3600, attempts_least=4, words=("word",),
        without=("out",), limit=5,
    )  # fmt: skip
    assert "no field state" in read("state:dead", LETTERS).wrong


OWN = {
    "depth": Field(Kind.NUMBER, "a number"),
    "oldest": Field(Kind.DURATION, "how long"),
    "state": Field(Kind.WORDS, "a state", {"paused": "PAUSED", "ok": "ok"}),
    "name": Field(Kind.NAMES, "names"),
    "seen": Field(Kind.AGE, "how long ago", operator="<="),
    "about": Field(Kind.PARTS, "parts"),
    "born": Field(Kind.TIME, "when", operator=">="),
}
ROW: dict[str, object] = {
    "depth": 904,
    "oldest": 124.0,
    "state": "PAUSED",
    "name": "images",
    "seen": NOW - 50,
    "about": ("Big", "Pictures"),
    "born": NOW - 7200,
}


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("depth:>903", True),
        ("depth:904", True),
        ("depth:<=903.5", False),
        ("-depth:>903", False),
        ("oldest:>2m", True),
        ("state:paused,ok", True),
        ("-state:paused", False),
        ("name:im*s", True),
        ("name:im", False),
        ("-name:a,b", True),
        ("seen:1m", True),
        ("seen:40s", False),
        ("about:pict", True),
        ("born:3h", True),
        ("born:2023-11-15", False),
        ("PICTURES -movies", True),
        ("-pictures", False),
    ],
)
def test_a_list_of_its_own_is_filtered_by_fields_of_its_own(text: str, stays: bool) -> None:
    found = read(text, OWN)
    assert not found.wrong
    assert found.admits(ROW.get, "images", "big pictures", now=NOW) is stays


def test_what_has_no_value_is_found_by_nothing_but_what_leaves_it_out() -> None:
    assert not read("depth:>0", OWN).admits(lambda _: None)
    assert read("-depth:>0", OWN).admits(lambda _: None)


def test_an_empty_filter_keeps_everything() -> None:
    assert Filter().empty
    assert read("  ").empty
    assert not read("-x").empty
    assert read("").admits(lambda _: None)
    assert set(LETTERS) <= set(RUNS)
