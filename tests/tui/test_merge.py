"""A change to one value, done to others: it fits where its parts are, and the rest stays as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_tui.model.mend import checked, mend
from holdfast_tui.model.merge import Change, Unfit, changes, merged

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(VALUES, VALUES)
def test_the_changes_make_of_the_one_the_other(before: Any, after: Any) -> None:
    kept = text(before)
    assert text(merged(before, changes(before, after))) == text(after)
    assert text(before) == kept
    assert (changes(before, after) == ()) == (text(before) == text(after))


def test_only_the_smallest_parts_that_differ_are_changed() -> None:
    before = {"to": {"url": "x", "tries": 1}, "lines": [1, 2, 3], "old": True}
    after = {"to": {"url": "y", "tries": 1}, "lines": [1, 5, 3], "new": None}
    assert changes(before, after) == (
        Change(("lines", 1), 5),
        Change(("new",), None, added=True),
        Change(("old",), removed=True),
        Change(("to", "url"), "y"),
    )
    assert merged({"to": {"url": "z", "who": 1}, "lines": [9, 9]}, changes(before, after)) == {
        "to": {"url": "y", "who": 1},
        "lines": [9, 5],
        "new": None,
    }


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({}, "expected to, found no such part"),
        ({"to": "x"}, "expected an object at to, found a text"),
        ({"to": {"lines": [1]}}, "expected a list with an item 2 at to.lines, found a list of 1"),
        ({"to": {"lines": None}}, "found null"),
        ([], "expected an object at the top, found a list of 0"),
    ],
)
def test_where_a_part_is_not_there_a_change_does_not_fit(value: Any, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        merged(value, [Change(("to", "lines", 2), 5)])


def test_a_preview_says_whom_a_change_fits_and_why_it_does_not_fit_others() -> None:
    made = changes({"hook": 1}, {"hook": 2})
    payloads: dict[str, Any] = {
        "A": {"hook": 1, "url": "u"},
        "B": {"hook": 2},
        "C": {"url": "u"},
        "D": {"hook": {"$type": "bytes", "base64": ""}},
        "E": "it is no dead letter any more",
        "F": {"hook": 7},
    }
    found = mend(payloads, made)
    assert {run: dict(payload.arguments) for run, payload in found.fit.items()} == {
        "A": {"hook": 2, "url": "u"},
        "F": {"hook": 2},
    }
    assert found.unfit["B"] == "it is like that already: R retries it"
    assert "JSON can't say" in found.unfit["D"]
    result = checked(found, {"A": "a", "F": "f"}, {"a": ["no such hook"], "f": None})
    assert (list(result.fit), result.unfit["A"], result.unchecked) == (["F"], "no such hook", ("f",))
    told = [cell for cell, _ in result.told]
    assert told[:3] == [
        "1 payload fits",
        "no worker of f answers: not checked against its signature",
        "5 payloads left out:",
    ]
