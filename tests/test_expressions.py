"""Filters and maps as text: what they see, what is refused when they are read, and what an event can't do to them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import EventError
from holdfast.events import Event
from holdfast.expressions import LARGEST, LONGEST, ROUNDS, Expression, Facts

AT = 1_767_355_418.12
"""2026-01-02 12:03:38.120 UTC."""


def facts(data: Any = None, *, subject: str = "orders.eu.created", raw: bytes | None = None) -> Facts:
    found = json.dumps(data).encode() if raw is None else raw
    return Facts(Event.of(subject, found, b"NATS/1.0\r\nX-Shop: north\r\n\r\n", AT, 17))


ORDER = {"id": "A1", "amount": 3, "rate": 2.0, "customer": {"id": "c1"}, "tags": ["new", "eu"], "note": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.amount > 2", True),
        ("event.amount > 2.5 && event.rate == 2", True),
        ('event.customer.id.startsWith("x")', False),
        ('"eu" in event.tags', True),
        ("event.tags.exists(t, t == 'eu')", True),
        ("has(event.coupon)", False),
        ("event.note == null", True),
        ('subject == "orders.eu.created" && tokens[1] == "eu"', True),
        ('headers["X-Shop"] == "north" && !("X-None" in headers)', True),
        ('time > timestamp("2026-01-02T12:03:38Z") && time < timestamp("2026-01-02T12:03:39Z")', True),
        ("seq == 17", True),
        ("event.id.matches('^A[0-9]+$')", True),
        ("// a comment.map(\n'a.map(' == 'a.map('", True),
    ],
)
def test_a_filter_sees_the_event_and_what_is_known_of_it(text: str, expected: bool) -> None:
    assert Expression(text).accepts(facts(ORDER)) is expected


def test_a_map_makes_arguments() -> None:
    text = '{"order": event.id, "region": tokens[1], "amount": double(event.amount) * 1.5, "at": time}'
    found = Expression(text).arguments(facts(ORDER))
    assert {**found, "at": found["at"].isoformat()} == {
        "order": "A1",
        "region": "eu",
        "amount": 4.5,
        "at": "2026-01-02T12:03:38.120000+00:00",
    }


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(b"", None), (b"plain text", "plain text"), (b"\xff\x00", b"\xff\x00"), (b"[1, 2]", [1, 2]), (b"17", 17)],
)
def test_an_event_is_json_or_text_or_bytes_or_null(raw: bytes, expected: object) -> None:
    assert Expression('{"event": event}').arguments(facts(raw=raw)) == {"event": expected}


def test_whole_numbers_are_not_turned_into_others_but_compare() -> None:
    assert Expression("event.amount == 3.0 && event.rate == 2").accepts(facts(ORDER))
    assert Expression('{"n": event.amount}').arguments(facts(ORDER)) == {"n": 3}
    with pytest.raises(EventError, match=r"double\(x\)"):
        Expression('{"n": event.amount * 1.5}').arguments(facts(ORDER))


# --- what is refused when it is read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("event.amount ==", r"can be read \(line 1, column 16: mismatched input"),
        ("event.amount > 1 &&\n  event.id = 'A'", r"line 2, column 12: token recognition error"),
        ("", "1 to 4,096 characters"),
        ("   ", "1 to 4,096 characters"),
        (f"'{'x' * LONGEST}' == subject", "1 to 4,096 characters"),
        ("evnt.amount > 1", "not of evnt; did you mean event"),
        ("event.tags.exists(t, t == x)", "not of x"),
        ("lower(event.id) == 'a'", r"not lower\(\)"),
        ("event.id.startWith('a')", r"not startWith\(\); did you mean startsWith"),
        ("(" * 2000, "can be read"),
        ("[" * 1000 + "1" + "]" * 1000 + " == 1", "can be read"),
    ],
)
def test_what_is_no_expression_is_refused_with_where_and_why(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Expression(text)


def test_names_in_texts_and_comments_are_none() -> None:
    Expression("""event.id == "nobody.map(x, y)" || event.id == r'\\' || event.id == 'it\\'s.map(' // zork(1)""")


# --- what an event can't answer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("event.coupon == 'x'", "expected 'coupon' in the event, found none"),
        ("event.amount", "expected true or false, found 3"),
        ("event.tags[5] == 'x'", "out of bounds"),
        ("event.amount / 0 == 1", "zero"),
        ("event.id + 1 == 2", "string"),
        ("headers['X-None'] == ''", "expected 'X-None'"),
        ("event.amount + 9223372036854775807 > 0", "overflow"),
        ("event.id.matches('(')", "unclosed group"),
    ],
)
def test_a_filter_that_has_no_answer_says_why(text: str, said: str) -> None:
    with pytest.raises(EventError, match=said) as caught:
        Expression(text).accepts(facts(ORDER))
    assert str(caught.value).startswith(f"filter {text}: ")


@pytest.mark.parametrize("text", ["event.amount", "[event.id]", "{1: event.id}", "null"])
def test_a_map_that_makes_no_arguments_says_so(text: str) -> None:
    with pytest.raises(EventError, match="expected arguments by name"):
        Expression(text).arguments(facts(ORDER))


def test_an_event_with_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(EventError):
        Expression("event == ''").accepts(
            Facts(Event(subject="a", data="\ud800", raw=b"", time=facts().event.time, seq=1))
        )


# --- what an event can't do


@pytest.mark.parametrize(
    ("text", "length", "allowed"),
    [
        ("event.l.exists(x, x == -1)", 100_000, True),
        ("event.l.map(x, x) == []", 500, True),
        ("event.l.map(x, x) == []", 501, False),
        ("event.l.filter(x, x > 0).map(x, x) == []", 500, True),
        ("event.l.exists(x, event.l.exists(y, y == -x - 1))", 500, True),
        ("event.l.exists(x, event.l.exists(y, y == -x - 1))", 501, False),
        ("event.l.map(x, event.l.map(y, y)) == []", 62, True),
        ("event.l.map(x, event.l.map(y, y)) == []", 63, False),
        ("(event.l).all ( x , (x >= 0) && event.l.all(y, event.l.all(z, true)))", 64, False),
    ],
)
def test_comprehensions_go_round_no_more_often_than_they_may(text: str, length: int, allowed: bool) -> None:
    found = Expression(text)
    if allowed:
        found.accepts(facts({"l": list(range(length))}))
        return
    with pytest.raises(EventError, match="too long for its comprehensions"):
        found.accepts(facts({"l": list(range(length))}))


def test_many_short_lists_are_no_long_one() -> None:
    data = {"lines": [{"tags": [1, 2, 3]} for _ in range(200)], "more": [[n] for n in range(400)]}
    assert not Expression("event.lines.exists(l, l.tags.exists(t, t == 4))").accepts(facts(data))


def test_a_large_event_is_not_given_to_an_expression() -> None:
    with pytest.raises(EventError, match="at most 1,048,576 bytes"):
        Expression("size(event) > 0").accepts(facts("x" * LARGEST))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_whatever_an_event_holds_an_expression_answers_or_says_why(data: Any) -> None:
    for text in ("event == event", "event.exists(x, x == 1)", "{'a': event}.a == event"):
        with suppress(EventError):
            assert Expression(text).accepts(facts(data)) in (True, False)


def test_what_goes_round_most_is_bounded_whatever_is_nested() -> None:
    assert ROUNDS == 250_000
    deep = "event.l.exists(a, event.l.exists(b, event.l.exists(c, event.l.exists(d, event.l.map(e, e) == []))))"
    with pytest.raises(EventError, match="too long"):
        Expression(deep).accepts(facts({"l": list(range(10))}))
    Expression(deep).accepts(facts({"l": [1, 2, 3]}))
