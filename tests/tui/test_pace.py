"""The schedule of a batch: accurate over many, never faster than it says, honest about how long it takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_tui.model.pace import LOOKED_BACK, SLACK, Pace, Tally


def sent(rate: float, delays: list[float]) -> list[float]:
    """When each is sent, where waking up comes so much too late each time."""
    pace, now, times = Pace(rate, 100.0), 100.0, []
    for delay in delays:
        now = max(now, pace.due(now)) + delay
        times.append(now)
    return times


def test_three_hundred_at_ten_a_second_take_thirty_seconds_however_late_each_wakes_up() -> None:
    times = sent(10, [0.004] * 300)
    assert times[-1] - times[0] == pytest.approx(29.9, abs=0.01)
    for second in range(29):
        assert len([at for at in times if second <= at - times[0] < second + 1]) in (9, 10, 11)


@given(st.floats(0.5, 1000), st.lists(st.floats(0, 2), min_size=2, max_size=100))
def test_what_was_missed_is_made_up_for_within_a_moment_and_no_more(rate: float, delays: list[float]) -> None:
    times = sent(rate, delays)
    for first in range(len(times)):
        for last in range(first + 1, len(times)):
            span = times[last] - times[first]
            assert last - first <= (span + SLACK + max(delays)) * rate + 1


def test_without_a_rate_all_are_due_at_once() -> None:
    pace = Pace(None, 5.0)
    assert [pace.due(7.0) for _ in range(3)] == [7.0] * 3


def test_a_tally_says_how_fast_it_went_lately_and_how_long_it_will_take() -> None:
    tally = Tally(300, 0.0, 10)
    assert tally.eta(0.0) == 30
    for number in range(100):
        tally.took(number / 10)
    tally.refuse(9.9)
    assert (tally.done, tally.refused, tally.left) == (100, 1, 199)
    assert tally.rate(9.9) == pytest.approx(10, abs=0.5)
    assert tally.eta(9.9) == pytest.approx(19.9, abs=0.5)
    assert tally.rate(9.9 + 2 * LOOKED_BACK) == 0


def test_what_cannot_be_said_of_a_tally_is_not() -> None:
    assert Tally(5, 0.0).eta(1.0) is None
    tally = Tally(1, 0.0)
    tally.took(1.0)
    tally.took(1.0)
    assert tally.left == 0
