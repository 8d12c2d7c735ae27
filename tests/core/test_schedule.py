"""Which missed ticks run, what an overlap leads to, and by how much the ticks of a schedule are moved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.core import ids
from holdfast.core.entries import AttemptStarted, RunCancelled, RunCreated
from holdfast.core.lifecycle import advance, recreated
from holdfast.core.model import Run, State, Tick
from holdfast.core.schedule import Schedule, catch_up, is_late, passes_on, run_id, verdict

AT = 1_800_000_000.0

# --- missed ticks


@pytest.mark.parametrize("overlap", ["skip", "buffer_one", "cancel_other"])
def test_of_ticks_that_were_missed_the_last_one_stands_for_all(overlap: str) -> None:
    assert catch_up(overlap, [1.0, 2.0, 3.0]) == ((3.0,), 2)
    assert catch_up(overlap, [1.0]) == ((1.0,), 0)
    assert catch_up(overlap, []) == ((), 0)


@pytest.mark.parametrize("overlap", ["skip", "buffer_one", "cancel_other"])
def test_a_parked_tick_that_ran_late_stands_for_those_behind_it(overlap: str) -> None:
    assert catch_up(overlap, [1.0, 2.0], made_up=True) == ((), 2)
    assert catch_up(overlap, [], made_up=True) == ((), 0)


@pytest.mark.parametrize("overlap", ["buffer_all", "allow"])
@pytest.mark.parametrize("made_up", [True, False])
def test_where_every_tick_counts_every_missed_one_runs(overlap: str, made_up: bool) -> None:
    assert catch_up(overlap, [1.0, 2.0, 3.0], made_up=made_up) == ((1.0, 2.0, 3.0), 0)


@given(
    st.sampled_from(["skip", "buffer_one", "buffer_all", "cancel_other", "allow"]),
    st.lists(st.floats(0, 2e9), unique=True).map(sorted),
    st.booleans(),
)
def test_each_missed_tick_runs_or_is_counted(overlap: str, missed: list[float], made_up: bool) -> None:
    found = catch_up(overlap, missed, made_up=made_up)
    assert len(found.run) + found.skipped == len(missed)
    assert list(found.run) == sorted(set(found.run) & set(missed))


# --- late


def tick(catch_up: float | None = 60.0, before: str = "") -> Tick:
    return Tick("nightly", AT, before, 1, catch_up)


def created(tick_: Tick | None = None, due: float | None = AT) -> Run:
    return advance(None, RunCreated("r", AT, "task", b"", due=due, tick=tick_ or tick()))


@pytest.mark.parametrize(
    ("after", "late"), [(0.0, False), (0.25, False), (60.0, False), (65.0, False), (65.1, True), (86400.0, True)]
)
def test_a_tick_is_late_when_it_was_made_later_than_it_catches_up(after: float, late: bool) -> None:
    assert is_late(created(), AT + after) is late


def test_a_tick_that_catches_nothing_up_may_still_be_as_late_as_a_timer_is() -> None:
    assert not is_late(created(tick(0.0)), AT + 0.25)
    assert is_late(created(tick(0.0)), AT + 6)


def test_jitter_does_not_make_a_tick_late() -> None:
    assert not is_late(created(due=AT + 300), AT + 360)
    assert is_late(created(due=AT + 300), AT + 370)


def test_a_tick_that_was_made_late_on_purpose_is_not_late() -> None:
    assert not is_late(created(tick(None)), AT + 1e6)


def test_a_run_without_a_tick_is_not_late() -> None:
    assert not is_late(replace(created(), tick=None), AT + 1e6)


# --- overlap

WORDS = ["skip", "buffer_one", "buffer_all", "cancel_other", "allow", "of a later version"]
FREE = ["skip", "wait", "wait", "replace", "wait", "skip"]
BUFFERED = ["skip", "skip", "wait", "replace", "wait", "skip"]


@pytest.mark.parametrize(("overlap", "expected"), list(zip(WORDS, FREE, strict=True)))
def test_while_the_one_before_runs(overlap: str, expected: str) -> None:
    assert verdict(overlap, buffered=False) == expected


@pytest.mark.parametrize(("overlap", "expected"), list(zip(WORDS, BUFFERED, strict=True)))
def test_while_the_one_before_waits_itself(overlap: str, expected: str) -> None:
    assert verdict(overlap, buffered=True) == expected


def test_a_tick_that_never_ran_passes_the_question_on() -> None:
    run = created(due=None)
    skipped = advance(run, RunCancelled(AT, "skipped", recreated(run), skipped=True))
    assert passes_on(skipped)
    assert not passes_on(run)
    begun = advance(run, AttemptStarted(AT, 1, "w", "n"))
    assert not passes_on(begun)
    assert not passes_on(advance(begun, RunCancelled(AT)))
    assert not passes_on(replace(skipped, tick=None, state=State.CANCELLED))


# --- ids and jitter


def test_the_run_of_a_tick_is_named_by_schedule_and_time_whoever_makes_it() -> None:
    assert run_id("nightly", AT) == run_id("nightly", int(AT))
    assert run_id("nightly", AT) != run_id("nightly", AT + 60)
    assert run_id("nightly", AT) != run_id("hourly", AT)
    assert ids.instant(run_id("nightly", AT)) == AT


@given(st.text(min_size=1), st.floats(0, 86400))
def test_jitter_is_the_same_for_each_tick_of_a_schedule_and_within_bounds(name: str, jitter: float) -> None:
    schedule = Schedule(name=name, task="t", every=60.0, jitter=jitter)
    assert 0 <= schedule.offset <= jitter
    assert schedule.offset == Schedule(name=name, task="other", cron="* * * * *", jitter=jitter).offset


def test_jitter_spreads_schedules() -> None:
    offsets = {Schedule(name=f"s{n}", task="t", every=60.0, jitter=60.0).offset for n in range(100)}
    assert len(offsets) > 95
    assert min(offsets) < 10
    assert max(offsets) > 50


def test_only_what_decides_its_times_is_its_rhythm() -> None:
    schedule = Schedule(name="s", task="t", cron="0 * * * *")
    assert schedule.rhythm == replace(schedule, overlap="allow", payload=b"x", queue="q", jitter=3.0).rhythm
    assert schedule.rhythm != replace(schedule, cron="1 * * * *").rhythm
    assert schedule.rhythm != replace(schedule, tz="Europe/Paris").rhythm
    assert schedule.rhythm != replace(schedule, cron="", every=3600.0).rhythm


@pytest.mark.parametrize(
    ("every", "shown"),
    [(1.0, "1s"), (1.5, "1.5s"), (30.0, "30s"), (60.0, "1m"), (90.0, "90s"), (7200.0, "2h"), (604800.0, "7d")],
)
def test_a_rhythm_is_shown_in_its_largest_unit(every: float, shown: str) -> None:
    assert Schedule(name="s", task="t", every=every).when == f"every {shown}"
