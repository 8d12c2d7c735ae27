"""The ring of lines: numbers stay what they were, nothing is lost in silence, a held view stands still."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire.api import LogLine, LogRow
from holdfast_tui import sieve
from holdfast_tui.model.ring import Ring
from holdfast_tui.model.serials import Serials
from holdfast_tui.model.window import Follow, Window


def row(seq: int, number: int = 0, level: int = 20) -> LogRow:
    return LogRow(seq, "R", "t", 1, LogLine(seq, level, "stdout", f"line {seq} of {seq % 3}"), number)


def rows(first: int, last: int) -> list[LogRow]:
    return [row(seq) for seq in range(first, last)]


def said(ring: Ring, end: int | None = None) -> list[int]:
    return [ring[serial].seq for serial in ring.keys(end)]


def test_the_oldest_go_and_are_counted() -> None:
    ring = Ring(10)
    ring.extend(rows(0, 25))
    assert len(ring) <= 11
    assert ring.dropped == 25 - len(ring)
    assert said(ring) == list(range(25 - len(ring), 25))
    assert 0 not in ring


def test_a_held_ring_keeps_what_it_has_and_counts_what_it_cannot_keep() -> None:
    ring = Ring(10)
    ring.extend(rows(0, 10))
    ring.hold(True)
    end = ring.end
    ring.extend(rows(10, 40))
    assert said(ring, end) == list(range(10))
    assert ring.cut
    assert len(ring) == 20
    assert ring.behind(end) == 30
    ring.hold(False)
    ring.begin_anew(rows(32, 40))
    assert (said(ring), ring.cut, ring.behind(ring.end)) == (list(range(32, 40)), False, 0)
    assert ring.begin >= 20
    assert ring.dropped == 32


def test_older_lines_come_before_and_go_with_the_view_that_asked_for_them() -> None:
    ring = Ring(10)
    ring.extend(rows(50, 55))
    ring.hold(True)
    assert ring.prepend(rows(45, 51)) == 5
    assert said(ring) == list(range(45, 55))
    assert ring.oldest() == (45, 0)
    ring.narrow(sieve.read("of\\ 0 /0$/", 0))
    ring.narrow(sieve.read("/0$/", 0))
    assert said(ring) == [51, 54]
    assert ring.prepend(rows(40, 50)) == 3
    assert said(ring) == [42, 45, 48, 51, 54]
    ring.hold(False)
    assert said(ring) == [51, 54]


def test_lines_of_one_message_are_told_apart_by_their_place_in_it() -> None:
    ring = Ring(10)
    ring.extend([row(5, 2)])
    assert ring.prepend([row(5, number) for number in range(4)]) == 2


def test_a_line_is_held_against_the_filter_once() -> None:
    ring = Ring(1000)
    ring.narrow(sieve.read("level>=warn", 0))
    for first in range(0, 500, 50):
        ring.extend(rows(first, first + 50))
        assert len(ring.keys()) == 0
    assert ring.work == 500


@given(st.lists(st.integers(), unique=True).map(sorted), st.integers(), st.data())
def test_serials_are_what_a_list_would_be(numbers: list[int], other: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(numbers)))
    keys, same = Serials(numbers, size), numbers[:size]
    assert list(keys) == same
    assert keys[1:5] == same[1:5]
    assert [keys.find(number) for number in same] == list(range(size))
    assert (other in keys) == (other in same)
    assert not any(number in keys for number in numbers[size:])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(1, 30)),
        st.tuples(st.just("hold"), st.integers(0, 0)),
        st.tuples(st.just("free"), st.integers(0, 0)),
        st.tuples(st.just("older"), st.integers(1, 10)),
        st.tuples(st.just("narrow"), st.sampled_from([0, 1, 2])),
        st.tuples(st.just("move"), st.integers(-5, 5)),
    ),
    max_size=30,
)


@given(STEPS)
def test_whatever_happens_lines_stay_in_order_and_a_number_means_one_line(steps: list[tuple[str, int]]) -> None:
    ring, seq, kind = Ring(20), 1000, 0
    window = Window[int](5, follow=Follow.OFF)
    meant: dict[int, int] = {}
    for what, number in steps:
        cursor, line = window.cursor, window.position - window.top
        match what:
            case "come":
                ring.extend(rows(seq, seq + number))
                seq += number
            case "hold":
                ring.hold(True)
            case "free":
                ring.hold(False)
                if ring.cut:
                    ring.begin_anew(rows(max(1000, seq - 5), seq))
            case "older" if (oldest := ring.oldest()) is not None:
                ring.prepend(rows(oldest[0] - number, oldest[0]))
                meant = {serial: told for serial, told in meant.items() if serial >= ring.first}
            case "narrow":
                kind = number
                ring.narrow(sieve.read(f"/{number}$/", 0) if number else sieve.ALL)
            case "move":
                window.move(number)
        window.sync(ring.keys())
        shown = said(ring)
        assert shown == sorted(set(shown))
        assert all(not kind or each % 3 == kind for each in shown)
        for serial in range(ring.first, ring.end):
            assert meant.setdefault(serial, ring[serial].seq) == ring[serial].seq
        assert ring.dropped + len(ring) >= seq - 1000 or ring.cut or len(ring) == 0
        if what in ("come", "older") and ring.held and cursor is not None:
            assert window.cursor == cursor
            assert what == "older" or window.position - window.top == line
