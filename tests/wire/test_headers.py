"""Header blocks, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire import headers

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"", {}),
        (b"NATS/1.0\r\n\r\n", {}),
        (b"NATS/1.0\r\nA: 1\r\nB:2\r\n\r\n", {"A": "1", "B": "2"}),
        (b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n", {"A": "1"}),
        (b"NATS/1.0\r\nA:  a: b \r\n\r\n", {"A": "a: b"}),
        (b"NATS/1.0\r\nA: \xff\r\n\r\n", {"A": "�"}),
        (b"NATS/1.0\r\nno header\r\nA: 1\r\n\r\n", {"A": "1"}),
        (b"NATS/1.0 100 Idle\r\nA: 1\r\n\r\n", {"A": "1"}),
    ],
)
def test_a_block_is_read(block: bytes, expected: dict[str, str]) -> None:
    assert headers.parse(block) == expected


def test_a_block_is_written_as_nats_has_it() -> None:
    assert headers.render({"A": "1", "B": "ü"}) == "NATS/1.0\r\nA: 1\r\nB: ü\r\n\r\n".encode()
    assert headers.render({}) == b""


NAMES = st.text("abcXYZ-09_", min_size=1).filter(lambda name: not name.lower().startswith("nats-"))
VALUES = st.text(st.characters(exclude_categories=("C", "Z")))


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES))
def test_what_is_written_is_read_also_where_two_blocks_are_joined(first: dict[str, str], more: dict[str, str]) -> None:
    headers.check(first)
    assert headers.parse(headers.render(first)) == first
    assert headers.parse(headers.joined(headers.render(first), headers.render(more))) == {**more, **first}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"traceparent": TRACE}, TRACE),
        ({"Traceparent": TRACE}, TRACE),
        ({}, ""),
        ({"traceparent": "ff" + TRACE[2:]}, ""),
        ({"traceparent": TRACE.upper()}, ""),
        ({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, ""),
        ({"traceparent": "rubbish"}, ""),
    ],
)
def test_only_a_trace_that_means_something_is_one(found: dict[str, str], expected: str) -> None:
    assert headers.trace(found) == expected
