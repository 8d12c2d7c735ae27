"""Cells: short, exact, and harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from holdfast.core.model import Progress, State
from holdfast.core.tree import NodeState
from holdfast.wire.values import encode_value
from holdfast_tui import format
from holdfast_tui.theme import ANSI, style


@given(st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=0x2FFF)))
def test_no_text_from_outside_carries_anything_that_a_terminal_obeys(text: str) -> None:
    cleaned = format.clean(text)
    assert cleaned.isprintable()
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in cleaned)


def test_what_is_invisible_is_made_visible() -> None:
    assert format.clean("a\x1b[2J\x07\n\t") == "a␛[2J␇␊␉"
    assert format.clean("x\u202egnp\u200b\x9b") == "x\\u202egnp\\u200b\\x9b"
    assert format.clean("naïve 日本") == "naïve 日本"
    assert format.clean("❤\ufe0f") == "❤"


@given(st.text(), st.integers(0, 30), st.booleans())
def test_fit_is_exactly_as_wide_as_asked(text: str, width: int, right: bool) -> None:
    assert cell_len(format.fit(text, width, right=right)) == width


@given(st.text(max_size=60), st.integers(2, 20))
def test_wrapped_lines_fit(text: str, width: int) -> None:
    assert all(cell_len(line) <= width for line in format.wrap(text, width))


@given(st.floats(0, 8e7))
def test_numbers_keep_to_their_columns(number: float) -> None:
    assert len(format.count(number)) <= 5
    assert len(format.age(number)) <= 4
    assert len(format.took(number)) <= 6


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (format.count(904), "904"),
        (format.count(2412), "2.4k"),
        (format.count(18_200), "18.2k"),
        (format.count(1_000_000), "1M"),
        (format.rate(0), "0"),
        (format.rate(0.21), "0.2"),
        (format.rate(5100), "5.1k"),
        (format.age(None), "-"),
        (format.age(3.4), "3s"),
        (format.age(59.9), "1m"),
        (format.age(41 * 60), "41m"),
        (format.age(6 * 3600), "6h"),
        (format.took(0.0041), "4ms"),
        (format.took(2.05), "2.0s"),
        (format.took(59.9), "1m00s"),
        (format.took(124), "2m04s"),
        (format.took(11_100), "3h05m"),
        (format.offset(0.05), "+0.05"),
        (format.offset(12.34), "+12.3"),
        (format.clock(1_700_000_624.1204, millis=True), "22:23:44.120"),
        (format.spark([0, 1, 8]), " ▁█"),
        (format.bar(1, 2, 4, 8), "  ██    "),
        (format.bar(4, 4, 4, 8), "       █"),
        (format.bar(1, 2, 4, 8, "·"), "  ··    "),
        (format.progress(None), ""),
        (format.progress(Progress(3, 10, "resizing")), "3/10 resizing"),
        (format.progress(Progress(0.5)), "0.5"),
        (format.progress(Progress(1, 2, "a\x1b[2J")), "1/2 a␛[2J"),
        (format.until(1_700_000_624.0, 1_700_000_000.0), "until 22:23:44"),
        (format.until(1_700_200_624.0, 1_700_000_000.0), "until 11-17 05:57"),
        (format.short("01HF8Q00000000000000002895"), "00002895"),
        (format.value(encode_value({"a": 1})), '{\n  "a": 1\n}'),
        (format.value(None), ""),
    ],
)
def test_cells(shown: str, expected: str) -> None:
    assert shown == expected


def test_every_state_has_a_word_and_a_role_and_no_word_is_shared() -> None:
    for table, states in ((format.STATES, State), (format.NODES, NodeState)):
        assert set(table) == set(states)
        assert len({word for word, _ in table.values()}) == len(table)
        assert all(len(word) <= 6 and style(role) is not None for word, role in table.values())


def test_no_two_roles_differ_by_colour_alone_where_they_warn() -> None:
    looks = [(ANSI[role].bold, ANSI[role].reverse) for role in ("warn", "fail", "dead")]
    assert len(set(looks)) == 3


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_a_spark_has_a_character_for_each_value(values: list[float]) -> None:
    assert len(format.spark(values)) == len(values)


def test_a_line_of_a_megabyte_is_wrapped_in_one_pass() -> None:
    pieces = format.wrap("x" * 1_000_000, 43)
    assert (len(pieces), "".join(pieces)) == (23_256, "x" * 1_000_000)
    wide = format.wrap("é漢" * 100_000, 43)
    assert "".join(wide) == "é漢" * 100_000
    assert max(map(cell_len, wide)) <= 43


def test_a_line_is_cut_behind_a_space_where_one_is_near() -> None:
    assert format.wrap("expected an address, found 'user 7'", 16) == ["expected an ", "address, found ", "'user 7'"]
    assert format.wrap("é expected an address", 12) == ["é expected ", "an address"]
    assert format.wrap("aaaa bbbbbbbbbbbbbbbb", 10) == ["aaaa bbbbb", "bbbbbbbbbb", "b"]


def test_a_long_name_keeps_its_end() -> None:
    assert format.ends("w65779a-7eb746-default-1", 12) == "w657…fault-1"
    assert format.ends("w-1", 12) == "w-1"
