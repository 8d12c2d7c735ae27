"""How the terminal paces frames, and which cells of a frame are sent; without a terminal."""

from __future__ import annotations

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from holdfast_tui.model.terminal import FIRST, HINT, LOST, SILENT_PACE, SLOW, Terminal
from holdfast_tui.terminal.frames import cells, differing
from tui.terminals import Screen


def test_two_frames_may_be_under_way_and_an_answer_makes_room_for_one() -> None:
    terminal = Terminal()
    assert terminal.wait(0.0) == 0
    assert terminal.sent(0.0)
    terminal.answered(0.1)
    assert terminal.sent(0.2)
    assert terminal.wait(0.3) == 0
    assert terminal.sent(0.3)
    assert terminal.wait(0.4) is None
    terminal.answered(0.5)
    assert terminal.trip == 0.5 - 0.2
    assert terminal.wait(0.5) == 0


def test_a_terminal_that_never_answers_gets_two_frames_a_second_and_no_more_questions() -> None:
    terminal = Terminal()
    assert terminal.sent(0.0)
    assert terminal.sent(0.1)
    assert terminal.wait(0.2) == pytest.approx(FIRST - 0.2)
    assert terminal.wait(FIRST) == 0
    assert not terminal.sent(FIRST)
    assert terminal.wait(FIRST + 0.1) == pytest.approx(SILENT_PACE - 0.1)
    assert terminal.wait(FIRST + SILENT_PACE) == 0


def test_answers_that_come_late_are_believed() -> None:
    terminal = Terminal()
    terminal.sent(0.0)
    terminal.sent(0.1)
    assert terminal.wait(3.0) == 0
    assert terminal.silent
    terminal.answered(4.0)
    assert not terminal.silent
    assert terminal.trip == 4.0
    assert terminal.slow
    assert terminal.wait(4.0) == 0
    terminal.sent(4.0)
    assert terminal.wait(4.1) is None


def test_a_terminal_that_stops_answering_is_asked_again_after_a_while() -> None:
    terminal = Terminal()
    terminal.sent(0.0)
    terminal.answered(0.1)
    terminal.sent(1.0)
    terminal.sent(2.0)
    assert terminal.wait(1.0 + LOST - 0.1) is None
    assert terminal.wait(1.0 + LOST) == 0
    assert terminal.sent(1.0 + LOST)


def test_an_answer_to_nothing_and_another_program_in_the_terminal_change_no_pace() -> None:
    terminal = Terminal()
    terminal.answered(0.0)
    assert terminal.trip is None
    terminal.sent(0.0)
    terminal.sent(0.1)
    terminal.forget()
    assert terminal.wait(0.2) == 0
    terminal.answered(0.3)
    assert terminal.trip is None


def test_slow_is_said_with_its_round_trip_until_it_is_well_below() -> None:
    terminal = Terminal()
    now = 0.0
    for trip, said in ((SLOW, ""), (3.2, "SLOW terminal 3.2s"), (0.4, "SLOW terminal 0.4s"), (0.2, ""), (0.4, "")):
        terminal.sent(now)
        now += trip
        terminal.answered(now)
        assert "".join(text for text, _ in terminal.cells()).strip() == said
        assert terminal.hint() == (HINT if trip == 3.2 else "")


# --- cells ------------------------------------------------------------------------------------------------------------

STYLES = st.sampled_from([Style(), Style(bold=True), Style(color="red"), Style(reverse=True)])
PIECES = st.lists(st.tuples(st.text("ab é接拒e\u0301", max_size=4), STYLES), max_size=12)
WIDTH = 24


def line(pieces: list[tuple[str, Style]]) -> Strip:
    return Strip([Segment(text, style) for text, style in pieces]).adjust_cell_length(WIDTH)


def shown(*written: tuple[int, Strip]) -> list[object]:
    """What a terminal shows that these were written to, each at its column."""
    console = Console(force_terminal=True, color_system="standard", legacy_windows=False)
    screen = Screen(WIDTH, 1)
    stream = pyte.Stream(screen)
    for column, strip in written:
        stream.feed(f"\x1b[1;{column + 1}H{strip.render(console)}")
    return list(screen.cells()[0])


@given(PIECES, PIECES)
def test_a_line_and_the_cells_that_differ_make_the_other_line(
    one: list[tuple[str, Style]], two: list[tuple[str, Style]]
) -> None:
    before, after = line(one), line(two)
    if len(cells(before)) != WIDTH or len(cells(after)) != WIDTH:
        return  # something combines: it is sent whole
    spans = differing(cells(before), cells(after))
    assert shown((0, before), *((first, after.crop(first, last)) for first, last in spans)) == shown((0, after))
    assert all(first < last for first, last in spans)


@given(PIECES)
def test_nothing_is_sent_for_a_line_that_is_the_same(pieces: list[tuple[str, Style]]) -> None:
    assert differing(cells(line(pieces)), cells(line(pieces))) == []
