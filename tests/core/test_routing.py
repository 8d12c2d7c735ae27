"""Which events a wait is for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast.core.model import Expected
from holdfast.core.routing import agrees, covers, matches, overlap


def expected(subject: str, match: dict[str, Any] | None = None) -> Expected:
    return Expected("/event#1", subject, msgspec.msgpack.encode(match) if match is not None else b"")


@pytest.mark.parametrize(
    ("pattern", "subject", "is_one"),
    [
        ("orders.paid", "orders.paid", True),
        ("orders.paid", "orders.paid.eu", False),
        ("orders.paid", "orders", False),
        ("orders.*", "orders.paid", True),
        ("orders.*", "orders.paid.eu", False),
        ("*.paid", "orders.paid", True),
        ("orders.>", "orders.paid.eu", True),
        ("orders.>", "orders", False),
        (">", "orders", True),
        ("*.*.eu", "orders.paid.eu", True),
    ],
)
def test_a_wait_is_for_the_subjects_of_its_pattern(pattern: str, subject: str, is_one: bool) -> None:
    assert agrees(expected(pattern), subject, {}) is is_one


@pytest.mark.parametrize(
    ("match", "data", "is_one"),
    [
        ({}, None, True),
        ({}, "text", True),
        ({"id": 7}, {"id": 7, "more": 1}, True),
        ({"id": 7}, {"id": 8}, False),
        ({"id": 7}, {"id": "7"}, False),
        ({"id": 7}, {"id": 7.0}, True),
        ({"id": 1}, {"id": True}, False),
        ({"id": True}, {"id": 1}, False),
        ({"ok": False}, {"ok": False}, True),
        ({"id": None}, {"id": None}, True),
        ({"id": None}, {}, False),
        ({"id": 7}, {}, False),
        ({"id": 7}, [7], False),
        ({"id": 7}, "id", False),
        ({"order.id": 7}, {"order": {"id": 7}}, True),
        ({"order.id": 7}, {"order": 7}, False),
        ({"order.id": 7}, {"order.id": 7}, False),
        ({"a.b.c": "x"}, {"a": {"b": {"c": "x"}}}, True),
        ({"id": 7, "state": "paid"}, {"id": 7, "state": "paid"}, True),
        ({"id": 7, "state": "paid"}, {"id": 7, "state": "open"}, False),
        ({"tags": ["a", 1]}, {"tags": ["a", 1.0]}, True),
        ({"tags": ["a", 1]}, {"tags": ["a", True]}, False),
        ({"tags": ["a"]}, {"tags": ["a", "b"]}, False),
        ({"at": {"x": 1}}, {"at": {"x": 1}}, True),
        ({"at": {"x": 1}}, {"at": {"x": 1, "y": 2}}, False),
        ({"n": 1 << 60}, {"n": (1 << 60) + 1}, False),
    ],
)
def test_a_wait_is_for_data_whose_fields_are_equal(match: dict[str, Any], data: object, is_one: bool) -> None:
    assert agrees(expected("paid", match), "paid", data) is is_one


def test_what_json_does_not_have_is_equal_to_nothing() -> None:
    match = {"id": msgspec.msgpack.Ext(5, b"\x01")}
    assert not agrees(expected("paid", match), "paid", {"id": "\x01"})


PATTERNS = ["a", "a.b", "a.*", "*.b", "*", "*.*", "a.>", "*.>", ">", "a.b.>", "a.*.c", "a.b.*", "b"]
SUBJECTS = ["a", "b", "a.b", "b.b", "a.c", "a.b.c", "a.x.c", "a.b.x", "b.b.b", "a.b.c.d", "b.x.y.z"]


@pytest.mark.parametrize("one", PATTERNS)
@pytest.mark.parametrize("other", PATTERNS)
def test_patterns_are_compared_as_the_subjects_that_they_take_in(one: str, other: str) -> None:
    ours = {subject for subject in SUBJECTS if matches(one, subject)}
    theirs = {subject for subject in SUBJECTS if matches(other, subject)}
    assert overlap(one, other) is bool(ours & theirs)
    assert covers(one, other) is (theirs <= ours)
